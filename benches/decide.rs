//! What rules cost, without actors or disk: `cargo bench --bench decide`.
//!
//! One iteration is what a turn does with a command: decide on the state, apply the events, assert the laws. The cost
//! of a hold must not grow with the holds there are, nor that of a cart edit with the lines there are.

use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use stockroom::domain::cart::CartCommand;
use stockroom::domain::entity::Fingerprint;
use stockroom::domain::ids::{CartId, EntityId, HoldId};
use stockroom::domain::money::Currency;
use stockroom::domain::pricing::{Listing, Prices};
use stockroom::domain::quantity::Quantity;
use stockroom::domain::registry::{AnyCommand, AnyState};
use stockroom::domain::stock::{Holder, Reserve, StockCommand};
use stockroom::domain::time::Timestamp;

fn main() {
    divan::main();
}

const AT: Timestamp = Timestamp(1_000_000);

/// One turn.
fn turn(state: &mut AnyState, command: &AnyCommand) {
    let decision = state.decide(command, AT).expect("accepted");
    decision.events.iter().for_each(|event| state.apply(event, AT));
    state.assert_invariants();
}

fn hold(number: u64) -> AnyCommand {
    let mut id = [0; 16];
    // Real ids are random: spread them over the whole range.
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    AnyCommand::Stock(StockCommand::Reserve(Reserve {
        hold: HoldId(id),
        quantity: Quantity::new(1).expect("not zero"),
        ttl: Duration::from_secs(600),
        holder: Holder::Shopper,
        fingerprint: Fingerprint::default(),
    }))
}

/// Holding a unit of an item that has this many live holds.
#[divan::bench(args = [0, 1_000, 100_000])]
fn hold_among(bencher: Bencher<'_, '_>, live: u64) {
    let mut state = AnyState::new(&EntityId::stock(&"HOT".parse().expect("a sku")));
    for _ in 0..100 {
        let quantity = Quantity::new(1_000_000).expect("not zero");
        turn(&mut state, &AnyCommand::Stock(StockCommand::Receive { quantity, reference: String::new() }));
    }
    (0..live).for_each(|number| turn(&mut state, &hold(number)));
    let mut number = live;
    bencher.bench_local(|| {
        number += 1;
        turn(&mut state, &hold(number));
    });
}

fn set_line(number: u32, quantity: u32) -> AnyCommand {
    let sku = format!("SKU-{number:04}").parse().expect("a sku");
    let listing = Listing {
        product: "product".parse().expect("an id"),
        title: Arc::from("A product with a title of ordinary length"),
        prices: Prices([(Currency::USD, 1_999)].into()),
        version: 1,
        active: true,
    };
    let quantity = Quantity::new(quantity).expect("not zero");
    let listing = Some(Arc::new(listing));
    AnyCommand::Cart(CartCommand::SetLine { sku, quantity, listing, expected_version: None })
}

/// Changing one line of a cart that has this many.
#[divan::bench(args = [5, 50, 500])]
fn edit_cart_of(bencher: Bencher<'_, '_>, lines: u32) {
    let mut state = AnyState::new(&EntityId::cart(CartId([1; 16])));
    let create = CartCommand::Create { currency: Currency::USD, fingerprint: Fingerprint::default() };
    turn(&mut state, &AnyCommand::Cart(create));
    (0..lines).for_each(|number| turn(&mut state, &set_line(number, 1)));
    let mut quantity = 1;
    bencher.bench_local(|| {
        quantity = quantity % 9 + 1;
        turn(&mut state, &set_line(lines / 2, quantity));
    });
}
