use super::*;
use crate::domain::entity::VaultChange;
use crate::domain::invariants::check_cart;
use crate::domain::payment::PaymentToken;
use crate::domain::privacy::Secret;
use crate::domain::testkit::{Subject, id16, offer, order_id, sku, units};

type Subjected = Subject<Cart>;

fn cart_id(byte: u8) -> CartId {
    CartId(id16(byte))
}

fn create(byte: u8) -> CartCommand {
    CartCommand::Create { currency: Currency::USD, fingerprint: Fingerprint([byte; 32]) }
}

/// A new cart, at version 1.
pub(super) fn cart(byte: u8) -> Subjected {
    let mut cart = Subjected::new(&EntityId::cart(cart_id(byte)));
    cart.yes(create(byte));
    cart
}

pub(super) fn put(name: &str, count: u32, cents: u64) -> CartCommand {
    let (sku, quantity) = (sku(name), units(count));
    CartCommand::SetLine { sku, quantity, offer: offer(name, cents, cents), expected_version: None }
}

/// A checkout that proposes order `byte` and reads the same price for every SKU named.
pub(super) fn check_out(byte: u8, version: u64, prices: &[(&str, u64)]) -> CartCommand {
    CartCommand::CheckOut(Box::new(CheckOut {
        order: order_id(byte),
        fingerprint: Fingerprint([byte; 32]),
        version,
        offers: prices.iter().map(|(name, cents)| (sku(name), offer(name, *cents, *cents))).collect(),
        provider: "simulated".into(),
        token: PaymentToken("tok_ok".into()),
        holds: BTreeMap::new(),
    }))
}

fn buyer(byte: u8) -> CartCommand {
    let sealed = Sealed { key: DataKeyId(id16(byte)), nonce: [byte; 24], ciphertext: vec![byte; 40] };
    CartCommand::SetBuyer { sealed, secret: Secret([byte; 32]), expected_version: None }
}

fn view(cart: &mut Subjected) -> CartView {
    let CartReply::Shown(view) = cart.yes(CartCommand::Show) else { panic!("Show shows") };
    *view
}

fn place_of(cart: &Subjected) -> (Outgoing, Arc<Placement>) {
    let owed = cart.state.outstanding();
    let [outgoing] = owed.as_slice() else { panic!("one thing is owed, not {owed:?}") };
    let Destination::Entity(_, AnyCommand::Order(OrderCommand::Place(placement))) = &outgoing.to else { panic!() };
    (outgoing.clone(), placement.clone())
}

fn surrender_of(cart: &Subjected) -> (Outgoing, CartCommand) {
    let owed = cart.state.outstanding();
    let [outgoing] = owed.as_slice() else { panic!("one thing is owed, not {owed:?}") };
    let Destination::Entity(_, AnyCommand::Cart(command)) = &outgoing.to else { panic!() };
    (outgoing.clone(), command.clone())
}

/// Delivers what `target` owes `source` and settles it.
fn merge(target: &mut Subjected, source: &mut Subjected) {
    let (outgoing, command) = surrender_of(target);
    let settlement = match source.when(command) {
        Ok(decision) => Settlement::Accepted(AnyReply::Cart(decision.reply)),
        Err(rejection) => Settlement::Rejected(rejection),
    };
    let settled = target.state.settle(&outgoing.obligation, &settlement).expect("the merge waits for it");
    target.yes(settled.clone());
    target.again(settled);
}

#[test]
fn editing_keeps_totals_and_counts_versions() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    cart.yes(put("CUP", 1, 900));
    let CartReply::Edited { version, lines, totals, .. } = cart.yes(put("TEA", 3, 400)) else { panic!() };
    assert_eq!((version, lines, totals.total), (4, 2, 2100));
    cart.yes(CartCommand::RemoveLine { sku: sku("CUP"), expected_version: Some(4) });
    let names: Vec<_> = view(&mut cart).lines.into_iter().map(|line| line.sku.to_string()).collect();
    assert_eq!((names, cart.state.totals().subtotal), (vec!["TEA".to_owned()], 1200));
    assert_eq!(check_cart(&cart.state), []);
}

#[test]
fn a_changed_line_keeps_its_place() {
    let mut cart = cart(1);
    ["C", "A", "B"].iter().for_each(|name| drop(cart.yes(put(name, 1, 100))));
    cart.yes(put("C", 5, 100));
    let names: Vec<_> = view(&mut cart).lines.into_iter().map(|line| line.sku.to_string()).collect();
    assert_eq!(names, ["C", "A", "B"]);
}

#[test]
fn an_edit_of_another_version_is_refused() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    let no = cart.no(CartCommand::RemoveLine { sku: sku("TEA"), expected_version: Some(1) });
    assert_eq!(no, Rejection::CartVersion { expected: 1, actual: 2 });
}

#[test]
fn an_edit_that_changes_nothing_keeps_the_version() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    cart.again(put("TEA", 2, 500));
    cart.again(CartCommand::RemoveLine { sku: sku("CUP"), expected_version: None });
    assert_eq!(view(&mut cart).version, 2);
}

#[test]
fn an_edit_journals_one_line_however_long_the_cart_is() {
    let mut cart = cart(1);
    (0..LINES_MAX).for_each(|number| cart.state.apply(&line_set(number), cart.at));
    let bytes = crate::domain::testkit::hex_of(&cart.when(put("SKU-7", 9, 100)).unwrap().reply).len() / 2;
    assert!(bytes < 64, "{bytes} bytes for one edit");
    assert!(matches!(cart.no(put("ONE-MORE", 1, 1)), Rejection::TooLarge { .. }));
}

fn line_set(number: usize) -> CartEvent {
    let name = format!("SKU-{number}");
    CartEvent::LineSet(CartLine { sku: sku(&name), quantity: units(1), offer: offer(&name, 100, 1) })
}

#[test]
fn more_money_than_a_line_can_hold_is_refused() {
    let mut cart = cart(1);
    let no = cart.no(put("GOLD", 1_000_000, 1_000_000_000));
    assert!(matches!(no, Rejection::TooLarge { .. }), "{no}");
}

#[test]
fn prices_in_another_currency_are_not_for_sale_here() {
    let mut cart = Subjected::new(&EntityId::cart(cart_id(1)));
    cart.yes(CartCommand::Create { currency: Currency::EUR, fingerprint: Fingerprint::default() });
    assert!(matches!(cart.no(put("TEA", 1, 100)), Rejection::Unavailable { .. }));
}

#[test]
fn a_repeated_create_gets_its_answer_and_another_is_refused() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 1, 100));
    assert!(matches!(cart.again(create(1)), CartReply::Created { version: 1, .. }));
    assert_eq!(cart.no(create(2)), Rejection::IdempotencyKeyReused);
}

#[test]
fn checkout_turns_a_version_into_one_order_under_any_key() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    let first = cart.yes(check_out(1, 2, &[("TEA", 500)]));
    assert_eq!(cart.again(check_out(1, 2, &[("TEA", 500)])), first, "same key");
    assert_eq!(cart.yes(check_out(2, 2, &[("TEA", 500)])), first, "another key, same version");
    assert_eq!(cart.again(check_out(2, 2, &[("TEA", 500)])), first, "that key again");
    let (_, placement) = place_of(&cart);
    assert_eq!((placement.order, placement.cart_version, placement.totals.total), (order_id(1), 2, 1000));
    assert_eq!(view(&mut cart).order, Some(order_id(1)));
}

#[test]
fn the_same_key_is_answered_alike_after_the_cart_moved_on() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    let first = cart.yes(check_out(1, 2, &[("TEA", 500)]));
    cart.yes(put("CUP", 1, 900));
    assert_eq!(cart.again(check_out_as(1, 3, 1)), first);
    assert_eq!(cart.no(check_out_as(1, 3, 9)), Rejection::IdempotencyKeyReused);
    let second = cart.yes(check_out(2, 3, &[("CUP", 900)]));
    assert!(matches!(second, CartReply::CheckedOut { order, version: 3, .. } if order == order_id(2)));
}

#[test]
fn a_key_answered_with_anothers_order_gets_it_again_after_the_cart_moved_on() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    let first = cart.yes(check_out(1, 2, &[("TEA", 500)]));
    assert_eq!(cart.yes(check_out(2, 2, &[("TEA", 500)])), first);
    cart.yes(put("CUP", 1, 900));
    assert_eq!(cart.again(check_out_as(2, 3, 2)), first);
    assert_eq!(cart.no(check_out_as(2, 3, 9)), Rejection::IdempotencyKeyReused);
}

fn check_out_as(order: u8, version: u64, fingerprint: u8) -> CartCommand {
    let CartCommand::CheckOut(mut asked) = check_out(order, version, &[("CUP", 900)]) else { panic!() };
    asked.fingerprint = Fingerprint([fingerprint; 32]);
    CartCommand::CheckOut(asked)
}

#[test]
fn checkout_of_a_version_that_moved_on_is_refused_and_loses_nothing() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    cart.yes(put("CUP", 1, 900));
    let no = cart.no(check_out(1, 2, &[("TEA", 500)]));
    assert_eq!(no, Rejection::CartVersion { expected: 2, actual: 3 });
    assert_eq!(view(&mut cart).lines.len(), 2);
}

#[test]
fn lines_added_after_checkout_belong_to_the_next_version() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    cart.yes(check_out(1, 2, &[("TEA", 500)]));
    cart.yes(put("CUP", 1, 900));
    let now = view(&mut cart);
    assert_eq!((now.version, now.lines.len(), now.totals.total, now.order), (3, 1, 900, None));
}

#[test]
fn a_changed_price_is_shown_and_ordered_only_when_asked_again() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    let told = cart.yes(check_out(1, 2, &[("TEA", 600)]));
    assert_eq!(told, CartReply::PriceChanged { was: 1000, is: 1200, version: 3 });
    assert_eq!(cart.again(check_out(1, 3, &[("TEA", 600)])), told, "the same key gets the same answer");
    assert!(cart.state.outstanding().is_empty());
    assert_eq!(view(&mut cart).totals.total, 1200);
    cart.yes(check_out(2, 3, &[("TEA", 600)]));
}

#[test]
fn what_is_no_longer_offered_and_what_is_empty_is_not_ordered() {
    let mut cart = cart(1);
    assert_eq!(cart.no(check_out(1, 1, &[])), Rejection::CartEmpty);
    cart.yes(put("TEA", 2, 500));
    assert_eq!(cart.no(check_out(1, 2, &[])), Rejection::Unavailable { sku: sku("TEA") });
}

#[test]
fn the_order_is_owed_until_it_took_over() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    cart.yes(check_out(1, 2, &[("TEA", 500)]));
    assert_eq!(cart.state.deadline(), None, "a cart that owes something does not expire");
    let (outgoing, _) = place_of(&cart);
    assert_eq!(outgoing.obligation.to_string(), format!("cart/{}/place/{}/1", cart_id(1), order_id(1)));
    let accepted = Settlement::Accepted(AnyReply::Cart(CartReply::Noted));
    let settled = cart.state.settle(&outgoing.obligation, &accepted).unwrap();
    cart.yes(settled.clone());
    cart.again(settled);
    assert!(cart.state.outstanding().is_empty());
    assert_eq!(cart.state.settle(&outgoing.obligation, &accepted), None);
}

#[test]
fn the_buyer_goes_with_the_order_and_a_replaced_buyer_is_forgotten() {
    let mut cart = cart(1);
    cart.yes(buyer(1));
    let decision = cart.when(buyer(2)).unwrap();
    let erased = VaultChange::Erase { key: DataKeyId(id16(1)) };
    assert_eq!(decision.vault, [VaultChange::Put { key: DataKeyId(id16(2)), secret: [2; 32] }, erased]);
    cart.yes(put("TEA", 2, 500));
    cart.yes(check_out(1, 4, &[("TEA", 500)]));
    assert_eq!(place_of(&cart).1.buyer.as_ref().unwrap().key, DataKeyId(id16(2)));
    assert_eq!(view(&mut cart).buyer, None);
}

#[test]
fn erasing_a_buyer_is_accepted_in_every_state_and_done_once() {
    let mut cart = cart(1);
    cart.wait(CART_IDLE).yes(CartCommand::Expire);
    let erase = CartCommand::EraseBuyer { key: DataKeyId(id16(3)) };
    assert_eq!(cart.when(erase.clone()).unwrap().vault, [VaultChange::Erase { key: DataKeyId(id16(3)) }]);
    cart.wait(CART_IDLE).again(erase);
}

#[test]
fn merging_adds_lines_and_units_and_closes_the_other_cart() {
    let (mut target, mut source) = (cart(1), cart(2));
    target.yes(put("TEA", 2, 500));
    source.yes(put("TEA", 3, 600));
    source.yes(put("CUP", 1, 900));
    target.yes(CartCommand::Merge { from: cart_id(2), expected_version: None });
    assert_eq!(target.no(put("TEA", 1, 500)), Rejection::CartMerging);
    merge(&mut target, &mut source);
    let now = view(&mut target);
    assert_eq!((now.lines.len(), now.totals.total, now.version), (2, 5 * 600 + 900, 3));
    assert_eq!(now.last_merge, Some(MergeView { from: cart_id(2), refused: None }));
    assert_eq!(source.no(CartCommand::Show), Rejection::CartGone);
    let repeat = target.again(CartCommand::Merge { from: cart_id(2), expected_version: None });
    assert!(matches!(repeat, CartReply::Merging { merged: true, .. }));
    assert_eq!(check_cart(&target.state), []);
}

#[test]
fn a_resent_surrender_gets_the_same_lines_however_late() {
    let (mut target, mut source) = (cart(1), cart(2));
    source.yes(put("TEA", 3, 600));
    target.yes(CartCommand::Merge { from: cart_id(2), expected_version: None });
    let (_, surrender) = surrender_of(&target);
    let lines = source.yes(surrender.clone());
    source.wait(CART_IDLE * 20).again(CartCommand::Expire);
    assert_eq!(source.again(surrender), lines);
    let other = CartCommand::Surrender { to: cart_id(9), currency: Currency::USD, lines_max: 1000 };
    assert_eq!(source.no(other), Rejection::CartGone);
}

#[test]
fn of_carts_that_merge_each_other_one_wins_and_no_line_is_lost() {
    let (mut one, mut two) = (cart(1), cart(2));
    one.yes(put("TEA", 1, 500));
    two.yes(put("CUP", 1, 900));
    one.yes(CartCommand::Merge { from: cart_id(2), expected_version: None });
    two.yes(CartCommand::Merge { from: cart_id(1), expected_version: None });
    merge(&mut one, &mut two);
    assert_eq!(view(&mut one).last_merge.unwrap().refused, Some(Rejection::CartMerging));
    merge(&mut two, &mut one);
    assert_eq!(view(&mut two).lines.len(), 2, "every line is in one of them");
    assert_eq!(one.no(CartCommand::Show), Rejection::CartGone);
}

#[test]
fn a_cart_without_room_refuses_the_merge_and_nothing_is_lost() {
    let (mut target, mut source) = (cart(1), cart(2));
    (0..LINES_MAX).for_each(|number| target.state.apply(&line_set(number), target.at));
    source.yes(put("TEA", 3, 600));
    target.yes(CartCommand::Merge { from: cart_id(2), expected_version: None });
    merge(&mut target, &mut source);
    assert!(matches!(view(&mut target).last_merge.unwrap().refused, Some(Rejection::TooLarge { .. })));
    assert_eq!(view(&mut source).lines.len(), 1);
}

#[test]
fn an_idle_cart_is_gone_but_knows_its_orders_for_a_day() {
    let mut cart = cart(1);
    cart.yes(put("TEA", 2, 500));
    let first = cart.yes(check_out(1, 2, &[("TEA", 500)]));
    cart.yes(CartCommand::Placed { order: order_id(1) });
    cart.yes(buyer(1));
    let (at, command) = cart.state.deadline().unwrap();
    assert_eq!((at, &command), (cart.at.after(CART_IDLE), &CartCommand::Expire));
    cart.again(CartCommand::Expire);
    let expiry = cart.wait(CART_IDLE).when(command).unwrap();
    assert_eq!(expiry.vault, [VaultChange::Erase { key: DataKeyId(id16(1)) }]);
    assert_eq!(cart.no(CartCommand::Show), Rejection::CartGone);
    assert_eq!(cart.again(check_out(7, 2, &[("TEA", 500)])), first, "never a new order");
    cart.wait(ENDED_KEPT).yes(CartCommand::Expire);
    assert_eq!(cart.no(check_out(1, 2, &[("TEA", 500)])), Rejection::CartGone);
    assert_eq!(cart.state.deadline(), None);
}
