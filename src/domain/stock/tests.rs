use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::invariants::check_stock;
use crate::domain::money::Currency;
use crate::domain::pricing::Prices;
use crate::domain::testkit::{Subject, id16, order_id, sku, units};

type Item = Subject<StockItem>;

const TTL: Duration = Duration::from_secs(600);

fn hold_id(byte: u8) -> HoldId {
    HoldId(id16(byte))
}

fn with_units(count: u32) -> Item {
    let mut item = Item::new(&EntityId::stock(&sku("TEA-100")));
    item.yes(StockCommand::Receive { quantity: units(count), reference: "delivery 1".into() });
    item
}

fn listing(product: &str, version: u64) -> StockCommand {
    StockCommand::List(Arc::new(Listing {
        product: product.parse().unwrap(),
        title: "Green tea".into(),
        prices: Prices(BTreeMap::from([(Currency::USD, 499)])),
        version,
        active: true,
    }))
}

fn hold(byte: u8, count: u32) -> StockCommand {
    let holder = Holder::Shopper;
    let fingerprint = Fingerprint([byte; 32]);
    StockCommand::Reserve(Reserve { hold: hold_id(byte), quantity: units(count), ttl: TTL, holder, fingerprint })
}

fn order_hold(byte: u8, count: u32) -> StockCommand {
    let holder = Holder::Order(order_id(byte));
    let (hold, quantity, ttl) = (hold_id(byte), units(count), Duration::ZERO);
    StockCommand::Reserve(Reserve { hold, quantity, ttl, holder, fingerprint: Fingerprint::default() })
}

fn pin(byte: u8, order: u8, count: u32) -> StockCommand {
    StockCommand::Pin { hold: hold_id(byte), order: order_id(order), quantity: units(count) }
}

fn release(byte: u8, by: Releaser) -> StockCommand {
    StockCommand::Release { hold: hold_id(byte), by }
}

fn commit(byte: u8) -> StockCommand {
    StockCommand::Commit { hold: hold_id(byte), order: order_id(byte) }
}

fn returned(byte: u8, key: ReturnKey, count: u32) -> StockCommand {
    StockCommand::Return { hold: hold_id(byte), order: order_id(byte), key, quantity: units(count) }
}

fn forget(byte: u8) -> StockCommand {
    forget_having_heard(byte, &[ReturnKey::Undone])
}

fn forget_having_heard(byte: u8, heard: &[ReturnKey]) -> StockCommand {
    StockCommand::Forget { hold: hold_id(byte), order: order_id(byte), heard: heard.to_vec() }
}

fn available(item: &Item) -> u64 {
    item.state.numbers().available
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[test]
fn the_last_unit_is_held_once() {
    let mut item = with_units(1);
    item.yes(hold(1, 1));
    let no = item.no(hold(2, 1));
    assert_eq!(no, Rejection::InsufficientStock { sku: sku("TEA-100"), requested: 1, available: 0 });
}

#[test]
fn what_nobody_ever_had_is_not_found() {
    let mut item = Item::new(&EntityId::stock(&sku("GHOST")));
    assert!(matches!(item.no(StockCommand::Show), Rejection::NotFound { .. }));
    assert!(matches!(item.no(hold(1, 1)), Rejection::NotFound { .. }));
}

#[test]
fn a_withdrawn_sku_cannot_be_held() {
    let mut item = with_units(5);
    item.yes(listing("tea", 1));
    item.yes(StockCommand::Unlist { product: "tea".parse().unwrap(), version: 2 });
    assert!(matches!(item.no(hold(1, 1)), Rejection::Unavailable { .. }));
}

#[test]
fn a_hold_ends_with_its_time_and_gives_its_units_to_the_next_command() {
    let mut item = with_units(1);
    item.yes(hold(1, 1));
    assert_eq!(item.state.deadline(), Some((item.at.after(TTL), StockCommand::Expire)));
    item.wait(TTL);
    item.yes(hold(2, 1));
    assert_eq!(item.state.holds.keys().collect::<Vec<_>>(), [&hold_id(2)]);
}

#[test]
fn one_record_ends_at_most_a_thousand_holds() {
    let mut item = with_units(3000);
    for number in 0..2500_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        item.state.apply(&reserved(HoldId(id), item.at), item.at);
    }
    item.wait(TTL);
    assert_eq!(item.yes(StockCommand::Expire), StockReply::Expired { holds: 1000 });
    assert_eq!(item.yes(StockCommand::Expire), StockReply::Expired { holds: 1000 });
    assert_eq!(item.yes(StockCommand::Expire), StockReply::Expired { holds: 500 });
    assert_eq!(item.again(StockCommand::Expire), StockReply::Expired { holds: 0 });
    assert_eq!(check_stock(&item.state), []);
}

fn reserved(hold: HoldId, at: Timestamp) -> StockEvent {
    StockEvent::Reserved {
        hold,
        quantity: units(1),
        holder: Holder::Shopper,
        expires_at: Some(at.after(TTL)),
        fingerprint: Fingerprint::default(),
        available: 0,
    }
}

#[test]
fn a_repeated_hold_gets_its_first_answer_even_after_it_ended() {
    let mut item = with_units(5);
    let first = item.yes(hold(1, 2));
    assert_eq!(item.again(hold(1, 2)), first);
    item.yes(release(1, Releaser::Shopper));
    assert_eq!(item.again(hold(1, 2)), first);
    assert_eq!(available(&item), 5);
}

#[test]
fn a_hold_id_with_other_content_is_refused() {
    let mut item = with_units(5);
    item.yes(hold(1, 2));
    let other = Reserve {
        hold: hold_id(1),
        quantity: units(3),
        ttl: TTL,
        holder: Holder::Shopper,
        fingerprint: Fingerprint([9; 32]),
    };
    assert_eq!(item.no(StockCommand::Reserve(other)), Rejection::IdempotencyKeyReused);
}

#[test]
fn adopting_a_hold_gives_the_order_what_it_needs() {
    let mut item = with_units(5);
    item.yes(hold(1, 2));
    item.yes(pin(1, 7, 4));
    assert_eq!((available(&item), item.state.numbers().held), (1, 4));
    assert_eq!(item.state.deadline(), None, "a pinned hold has no end");
    item.again(pin(1, 7, 4));
    assert!(matches!(item.no(pin(1, 8, 4)), Rejection::HoldExpired { .. }), "only one order adopts it");
}

#[test]
fn a_hold_that_is_over_cannot_be_adopted() {
    let mut item = with_units(5);
    item.yes(hold(1, 2));
    item.wait(TTL);
    assert!(matches!(item.no(pin(1, 7, 2)), Rejection::HoldExpired { .. }));
}

#[test]
fn another_order_and_the_shopper_cannot_release_a_pinned_hold() {
    let mut item = with_units(5);
    item.yes(hold(1, 2));
    item.yes(pin(1, 7, 2));
    item.again(release(1, Releaser::Order(order_id(8))));
    assert!(matches!(item.no(release(1, Releaser::Shopper)), Rejection::HoldNotFound { .. }));
    assert_eq!(item.state.numbers().held, 2);
    item.yes(release(1, Releaser::Order(order_id(7))));
    assert_eq!(item.state.numbers().held, 0);
}

#[test]
fn releasing_an_unknown_hold_bars_its_id() {
    let mut item = with_units(5);
    item.yes(release(1, Releaser::Order(order_id(1))));
    assert!(matches!(item.no(order_hold(1, 2)), Rejection::HoldExpired { .. }));
    item.again(release(1, Releaser::Order(order_id(1))));
}

#[test]
fn a_shopper_cannot_fill_memory_with_unknown_holds() {
    let mut item = with_units(5);
    assert!(matches!(item.no(release(1, Releaser::Shopper)), Rejection::HoldNotFound { .. }));
    assert!(matches!(item.no(release(1, Releaser::Merchant)), Rejection::HoldNotFound { .. }));
}

#[test]
fn counting_never_takes_what_is_held() {
    let mut item = with_units(5);
    item.yes(hold(1, 4));
    let no = item.no(StockCommand::Adjust { delta: -2, reason: "broken".into() });
    assert_eq!(no, Rejection::InsufficientStock { sku: sku("TEA-100"), requested: 2, available: 1 });
    item.yes(StockCommand::Adjust { delta: -1, reason: "broken".into() });
    assert_eq!(available(&item), 0);
}

#[test]
fn a_sku_belongs_to_the_product_that_listed_it_first() {
    let mut item = with_units(5);
    item.yes(listing("tea", 3));
    assert!(matches!(item.no(listing("coffee", 1)), Rejection::SkuTaken { .. }));
    assert_eq!(item.again(listing("tea", 2)), StockReply::Listed { version: 3 }, "an old version changes nothing");
    item.yes(StockCommand::Unlist { product: "tea".parse().unwrap(), version: 4 });
    assert_eq!(item.again(listing("tea", 3)), StockReply::Listed { version: 4 }, "a late List does not list again");
    item.yes(listing("coffee", 1));
}

#[test]
fn resent_owed_commands_do_nothing_again_however_late() {
    let mut item = with_units(10);
    item.yes(order_hold(1, 3));
    item.wait(YEAR).again(order_hold(1, 3));
    item.yes(commit(1));
    item.wait(YEAR).again(commit(1));
    item.yes(returned(1, ReturnKey::Undone, 3));
    item.wait(YEAR).again(returned(1, ReturnKey::Undone, 3));
    item.yes(forget(1));
    item.again(forget(1));
    let numbers = StockNumbers { available: 10, sold: 3, received: 10, returned: 3, ..StockNumbers::default() };
    assert_eq!(item.state.numbers(), numbers);
    item.wait(YEAR).yes(StockCommand::Receive { quantity: units(1), reference: String::new() });
    assert!(item.state.ended.is_empty(), "a forgotten sale goes after an hour");
    item.again(forget(1));
}

#[test]
fn a_resent_pin_does_nothing_again_however_late() {
    let mut item = with_units(10);
    item.yes(hold(1, 3));
    let pin = || StockCommand::Pin { hold: hold_id(1), order: order_id(1), quantity: units(5) };
    item.yes(pin());
    item.wait(YEAR).again(pin());
    assert_eq!(available(&item), 5);
}

#[test]
fn a_return_whose_answer_was_lost_is_not_forgotten_with_its_sale() {
    let mut item = with_units(10);
    item.yes(order_hold(1, 3));
    item.yes(commit(1));
    item.yes(returned(1, ReturnKey::Undone, 3));
    item.again(forget_having_heard(1, &[]));
    item.wait(YEAR).yes(StockCommand::Receive { quantity: units(1), reference: String::new() });
    item.again(returned(1, ReturnKey::Undone, 3));
    item.yes(forget_having_heard(1, &[ReturnKey::Undone]));
    item.wait(YEAR).yes(StockCommand::Receive { quantity: units(1), reference: String::new() });
    assert!(item.state.ended.is_empty(), "then it goes");
}

#[test]
fn resent_list_unlist_and_release_do_nothing_again() {
    let mut item = with_units(10);
    item.yes(listing("tea", 1));
    item.wait(YEAR).again(listing("tea", 1));
    item.yes(order_hold(1, 2));
    item.yes(release(1, Releaser::Order(order_id(1))));
    item.again(release(1, Releaser::Order(order_id(1))));
    item.wait(YEAR).yes(release(1, Releaser::Order(order_id(1))));
    assert_eq!(available(&item), 10);
    item.yes(StockCommand::Unlist { product: "tea".parse().unwrap(), version: 2 });
    item.wait(YEAR).again(StockCommand::Unlist { product: "tea".parse().unwrap(), version: 2 });
}

#[test]
fn no_more_comes_back_than_was_sold() {
    let mut item = with_units(10);
    item.yes(order_hold(1, 3));
    item.yes(commit(1));
    item.yes(returned(1, ReturnKey::Refund(crate::domain::ids::RefundId(id16(1))), 2));
    assert!(matches!(item.no(returned(1, ReturnKey::Undone, 2)), Rejection::InvalidRequest { .. }));
    item.yes(returned(1, ReturnKey::Undone, 1));
}

#[test]
fn units_come_back_long_after_their_sale_was_forgotten() {
    let mut item = with_units(10);
    item.yes(order_hold(1, 3));
    item.yes(commit(1));
    item.yes(forget(1));
    item.wait(YEAR).yes(StockCommand::Receive { quantity: units(1), reference: String::new() });
    item.yes(returned(1, ReturnKey::Undone, 3));
    item.wait(YEAR).again(returned(1, ReturnKey::Undone, 3));
    assert!(matches!(item.no(returned(2, ReturnKey::Undone, 1)), Rejection::InvalidRequest { .. }));
}

#[test]
fn pages_of_holds_meet_without_gap_or_overlap() {
    let mut item = with_units(10);
    (1..=5).for_each(|byte| drop(item.yes(hold(byte, 1))));
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let StockReply::Holds { items, next } = item.yes(StockCommand::ShowHolds { after, limit: 2 }) else { panic!() };
        seen.extend(items.iter().map(|hold| hold.id));
        after = next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=5).map(hold_id).collect::<Vec<_>>());
}

/// The reference: what a shopkeeper with a notebook would have.
#[derive(Default)]
struct Notebook {
    free: i64,
    held: BTreeMap<u8, (u32, Option<u64>)>,
    sold: BTreeMap<u8, u32>,
    ended: std::collections::BTreeSet<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    Receive(u32),
    Adjust(i64),
    Hold(u8, u32),
    OrderHold(u8, u32),
    Pin(u8, u32),
    Release(u8),
    Commit(u8),
    Undo(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..12_u8;
    prop_oneof![
        (1..5_u32).prop_map(Step::Receive),
        (-4..4_i64).prop_map(Step::Adjust),
        (id.clone(), 1..4_u32).prop_map(|(id, count)| Step::Hold(id, count)),
        (id.clone(), 1..4_u32).prop_map(|(id, count)| Step::OrderHold(id, count)),
        (id.clone(), 1..4_u32).prop_map(|(id, count)| Step::Pin(id, count)),
        id.clone().prop_map(Step::Release),
        id.clone().prop_map(Step::Commit),
        id.prop_map(Step::Undo),
        (1..400_u64).prop_map(Step::Wait),
    ]
}

impl Notebook {
    fn expire(&mut self, at: u64) {
        let over: Vec<u8> =
            self.held.iter().filter(|(_, hold)| hold.1.is_some_and(|end| end <= at)).map(|(id, _)| *id).collect();
        for id in over {
            self.free += i64::from(self.held.remove(&id).unwrap().0);
            self.ended.insert(id);
        }
    }

    fn command(&self, step: &Step) -> Option<StockCommand> {
        Some(match step {
            Step::Receive(count) => StockCommand::Receive { quantity: units(*count), reference: String::new() },
            Step::Adjust(delta) => StockCommand::Adjust { delta: *delta, reason: String::new() },
            Step::Hold(id, count) => hold(*id, *count),
            Step::OrderHold(id, count) => order_hold(*id, *count),
            Step::Pin(id, count) => pin(*id, *id, *count),
            Step::Release(id) => release(*id, Releaser::Order(order_id(*id))),
            Step::Commit(id) => commit(*id),
            Step::Undo(id) => returned(*id, ReturnKey::Undone, *self.sold.get(id)?),
            Step::Wait(_) => StockCommand::Expire,
        })
    }

    /// Notes what the accepted, not repeated, command does.
    fn note(&mut self, step: &Step, at: u64) {
        match *step {
            Step::Receive(count) => self.free += i64::from(count),
            Step::Adjust(delta) => self.free += delta,
            Step::Hold(id, count) => {
                self.free -= i64::from(count);
                self.held.insert(id, (count, Some(at + 600_000)));
            }
            Step::OrderHold(id, count) => {
                self.free -= i64::from(count);
                self.held.insert(id, (count, None));
            }
            Step::Pin(id, count) => {
                self.free += i64::from(self.held[&id].0) - i64::from(count);
                self.held.insert(id, (count, None));
            }
            Step::Release(id) => {
                self.free += self.held.remove(&id).map_or(0, |hold| i64::from(hold.0));
                self.ended.insert(id);
            }
            Step::Commit(id) => {
                let count = self.held.remove(&id).unwrap().0;
                self.sold.insert(id, count);
                self.ended.insert(id);
            }
            Step::Undo(id) => self.free += i64::from(self.sold[&id]),
            Step::Wait(_) => {}
        }
    }

    /// What an honest shopkeeper would say to a command that is not a repeat; `None` for "it depends on memory".
    fn allows(&self, step: &Step) -> Option<bool> {
        let fresh = |id: &u8| !self.held.contains_key(id) && !self.ended.contains(id);
        Some(match step {
            Step::Receive(_) | Step::Wait(_) => true,
            Step::Adjust(delta) => *delta != 0 && self.free + delta >= 0,
            Step::Hold(id, count) | Step::OrderHold(id, count) if fresh(id) => self.free >= i64::from(*count),
            Step::Commit(id) if self.held.get(id).is_some_and(|hold| hold.1.is_some()) => false,
            Step::Commit(id) if self.held.contains_key(id) => true,
            _ => return None,
        })
    }
}

proptest! {
    #[test]
    fn a_stock_item_agrees_with_a_notebook(steps in proptest::collection::vec(step(), 1..80)) {
        let mut item = with_units(3);
        let mut notebook = Notebook { free: 3, ..Notebook::default() };
        for step in steps {
            if let Step::Wait(seconds) = step {
                item.wait(Duration::from_secs(seconds));
            }
            let Some(command) = notebook.command(&step) else { continue };
            let mut then = Notebook {
                held: notebook.held.clone(),
                ended: notebook.ended.clone(),
                sold: notebook.sold.clone(),
                free: notebook.free,
            };
            then.expire(item.at.0);
            let expected = then.allows(&step);
            match item.when(command) {
                Ok(decision) => {
                    prop_assert_ne!(expected, Some(false), "{:?} was accepted", step);
                    if !decision.replayed {
                        then.note(&step, item.at.0);
                        notebook = then;
                    }
                }
                Err(no) => prop_assert_ne!(expected, Some(true), "{:?} was refused: {}", step, no),
            }
            let numbers = item.state.numbers();
            prop_assert_eq!(numbers.available as i64, notebook.free);
            prop_assert_eq!(numbers.held, notebook.held.values().map(|hold| u64::from(hold.0)).sum::<u64>());
            prop_assert_eq!(numbers.sold, notebook.sold.values().map(|count| u64::from(*count)).sum::<u64>());
            prop_assert_eq!(check_stock(&item.state), vec![]);
        }
    }
}
