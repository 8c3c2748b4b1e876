//! What must not grow, counted in allocations and bytes: a stopwatch says something else on every machine, an allocator
//! does not.
//!
//! A turn is what the actor runs for a command: dedup, decide, apply, laws, wake-up, and the batch's encoding. It must
//! cost the same whatever an entity already holds (P25), or a popular item gets slower the more popular it is, and
//! whoever fills a large cart pays for every line again with every edit.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../decoders/memory.rs"]
mod memory;

use std::sync::Arc;
use std::time::Duration;

use memory::{Cost, counted};
use stockroom::actors::dedup::Dedup;
use stockroom::actors::messages::{Origin, Request};
use stockroom::actors::storage_gate::StorageGate;
use stockroom::actors::turn::{Entity, Formed, Waiting};
use stockroom::domain::cart::CartCommand;
use stockroom::domain::entity::{Fingerprint, Stamp};
use stockroom::domain::ids::{CartId, CommandId, EntityId, HoldId};
use stockroom::domain::money::Currency;
use stockroom::domain::pricing::{Listing, Prices};
use stockroom::domain::quantity::Quantity;
use stockroom::domain::registry::{AnyCommand, AnyState};
use stockroom::domain::stock::{Holder, Reserve, StockCommand};
use stockroom::domain::time::{Sequence, Timestamp};

const AT: Timestamp = Timestamp(1_000_000);
/// Turns added up: a tree's nodes split now and then, whatever its size.
const TURNS: u64 = 256;

fn entity(id: EntityId) -> Entity {
    let state = AnyState::new(&id);
    let dedup = Dedup::recovered(Vec::new(), Vec::new());
    Entity { id, state, sequence: Sequence::ZERO, at: Timestamp::ZERO, dedup, gate: StorageGate::default() }
}

/// One number after the other, spread over all of them as real ids are.
fn spread(number: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    id
}

fn waiting(entity: &EntityId, command: AnyCommand, number: u64, origin: Origin) -> Waiting {
    let stamp = Stamp { command: CommandId(spread(number)), fingerprint: Fingerprint::default() };
    let request = Request { entity: entity.clone(), command, stamp, origin, budget: Duration::from_secs(60) };
    Waiting { request, reply: None, deadline: tokio::time::Instant::now() + Duration::from_secs(3_600) }
}

/// What the actor hands to the log after a turn.
fn encoded(formed: Formed) -> usize {
    let last = formed.records.last().expect("the command was accepted and journaled");
    formed.encoded.finish(last).len()
}

/// Gives these commands a turn each; what all of them cost, and the bytes of their batches.
fn turns(entity: &mut Entity, commands: impl IntoIterator<Item = (u64, AnyCommand)>) -> (usize, Cost) {
    let (mut bytes, mut cost) = (0, Cost::default());
    for (number, command) in commands {
        let waiting = vec![waiting(&entity.id, command, number, Origin::ClientKey)];
        let (batch, one) = counted(|| encoded(entity.form(waiting, AT)));
        (bytes, cost) = (bytes + batch, cost + one);
    }
    (bytes, cost)
}

/// Within a tenth of each other.
#[track_caller]
fn alike(what: &str, few: u64, many: u64) {
    assert!(few.abs_diff(many) * 10 <= few.max(many), "{what}: {few} with few, {many} with many");
}

fn hold(number: u64) -> AnyCommand {
    AnyCommand::Stock(StockCommand::Reserve(Reserve {
        hold: HoldId(spread(number)),
        quantity: Quantity::new(1).unwrap(),
        ttl: Duration::from_secs(600),
        holder: Holder::Shopper,
        fingerprint: Fingerprint::default(),
    }))
}

/// An item with this many live holds.
fn item_with(holds: u64) -> Entity {
    let mut item = entity(EntityId::stock(&"HOT".parse().unwrap()));
    let quantity = Quantity::new(1_000_000).unwrap();
    item.form(
        vec![waiting(
            &item.id.clone(),
            AnyCommand::Stock(StockCommand::Receive { quantity, reference: String::new() }),
            u64::MAX,
            Origin::Router,
        )],
        AT,
    );
    (0..holds)
        .for_each(|number| drop(item.form(vec![waiting(&item.id.clone(), hold(number), number, Origin::Router)], AT)));
    item
}

#[test]
fn holding_a_unit_costs_the_same_among_a_thousand_holds_and_among_a_hundred_thousand() {
    let measure =
        |holds: u64| turns(&mut item_with(holds), (holds..holds + TURNS).map(|number| (number, hold(number))));
    let ((few_bytes, few), (many_bytes, many)) = (measure(1_000), measure(100_000));
    alike("bytes journaled", few_bytes as u64, many_bytes as u64);
    alike("allocations", few.allocations, many.allocations);
    alike("bytes allocated", few.bytes, many.bytes);
    assert!(few.allocations <= 60 * TURNS, "{} allocations for a hold", few.allocations / TURNS);
}

fn set_line(line: u64, quantity: u32) -> AnyCommand {
    let listing = Listing {
        product: "product".parse().unwrap(),
        title: Arc::from("A product with a title of ordinary length"),
        prices: Prices([(Currency::USD, 1_999)].into()),
        version: 1,
        active: true,
    };
    let (sku, quantity) = (format!("SKU-{line:04}").parse().unwrap(), Quantity::new(quantity).unwrap());
    AnyCommand::Cart(CartCommand::SetLine { sku, quantity, listing: Some(Arc::new(listing)), expected_version: None })
}

fn cart_of(lines: u64) -> Entity {
    let mut cart = entity(EntityId::cart(CartId([1; 16])));
    let create = CartCommand::Create { currency: Currency::USD, fingerprint: Fingerprint::default() };
    turns(&mut cart, [(u64::MAX, AnyCommand::Cart(create))]);
    turns(&mut cart, (0..lines).map(|line| (line, set_line(line, 1))));
    cart
}

#[test]
fn editing_a_cart_of_five_hundred_lines_costs_what_editing_one_of_five_costs() {
    let measure = |lines: u64| {
        let edit = |number: u64| (1_000 + number, set_line(number % lines, 2 + (number / lines) as u32));
        turns(&mut cart_of(lines), (0..TURNS).map(edit))
    };
    let ((few_bytes, few), (many_bytes, many)) = (measure(5), measure(500));
    alike("bytes journaled", few_bytes as u64, many_bytes as u64);
    alike("allocations", few.allocations, many.allocations);
    alike("bytes allocated", few.bytes, many.bytes);
    assert!(many_bytes as u64 <= 400 * TURNS, "{} bytes journaled for an edit", many_bytes as u64 / TURNS);
}
