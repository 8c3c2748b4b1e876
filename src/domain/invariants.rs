//! The named laws, in one list: asserted in production after every command, recounted by `journal verify`, the auditor
//! and the simulator.
//!
//! Each entity asserts its own laws in constant time from maintained counters (`assert_invariants`). The checks here
//! recount from scratch, and [`super::books`] compares entities with each other: stock with orders to the unit, orders
//! with the payment provider to the cent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::cart::Cart;
use super::order::Order;
use super::registry::{AnyState, Kind};
use super::stock::StockItem;

/// A promise with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Law {
    /// E.g. `STK-1`; panics, breaches, tests and docs use it.
    pub id: &'static str,
    /// What always holds.
    pub sentence: &'static str,
}

macro_rules! laws {
    ($($id:literal: $sentence:literal;)*) => {
        /// Every law, in the order of the documentation.
        pub const LAWS: &[Law] = &[$(Law { id: $id, sentence: $sentence }),*];
    };
}

laws! {
    "STK-1": "received + adjusted + returned = available + held + sold";
    "STK-2": "available, held and sold are never negative";
    "STK-3": "held units are exactly those of live holds";
    "STK-4": "the expiry index holds exactly the shoppers' live holds";
    "STK-5": "no more units came back than were sold, in total and per hold";
    "STK-6": "a hold is live or ended, never both, and a sale is forgotten only when its order said so";
    "CRT-1": "a cart has at most 1000 lines";
    "CRT-2": "a cart's total is the sum of its lines";
    "CRT-3": "every line is in the cart's currency and within the limits of units and money";
    "CRT-4": "only a version that was reached became an order";
    "CRT-5": "a consumed version has no lines left";
    "CRT-6": "every order of a cart answers the checkout that asked for it, and each order is of one version";
    "ORD-1": "an order begins with its placement, and every operation with a request for it";
    "ORD-2": "given back and on its way back never exceed what was captured, nor captured the total";
    "ORD-3": "units are sold only under an authorised payment, goods leave only when it is captured";
    "ORD-4": "a cancelled or failed order holds no unit and keeps no money";
    "ORD-5": "every line is in exactly one position, and no more of it is sent or taken back than was sold";
    "ORD-6": "goods wait for a capture exactly while one is under way";
    "ORD-7": "a phase is entered only from one it may follow";
    "PRD-1": "a product has content only with a version";
    "PRD-2": "a deleted product claims no SKU";
    "PRD-3": "a product changes fewer than four billion times";
    "CLU-1": "a cluster has a number of shards within bounds before it has keys";
    "CLU-2": "a cluster has at most 10000 keys, each id once";
    "BOOK-1": "every hold pinned for an order is claimed by it, and every claim is backed by a hold";
    "BOOK-2": "what stock items sold, took back and hold for orders is what orders say, to the unit";
    "BOOK-3": "every order a cart handed over exists";
    "BOOK-4": "what providers set aside, took and gave back is what orders say, to the cent";
}

/// A law that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which law.
    pub law: &'static str,
    /// Who breaks it, with the numbers.
    pub detail: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.detail)
    }
}

/// What was found, and how often each law was evaluated to find it.
#[derive(Debug, Default)]
pub struct Recount {
    /// In the order it was looked at.
    pub breaches: Vec<Breach>,
    /// Law → times.
    pub checked: BTreeMap<&'static str, u64>,
}

/// Collects breaches.
#[derive(Default)]
pub(super) struct Audit {
    recount: Recount,
}

impl Audit {
    /// Notes a breach of `law` unless it holds.
    pub(super) fn must(&mut self, law: &'static str, holds: bool, detail: impl FnOnce() -> String) {
        debug_assert!(LAWS.iter().any(|known| known.id == law), "{law} is not on the list");
        *self.recount.checked.entry(law).or_default() += 1;
        if !holds {
            self.recount.breaches.push(Breach { law, detail: detail() });
        }
    }

    /// What was found.
    pub(super) fn finish(self) -> Recount {
        self.recount
    }
}

/// Laws that replaying a record asserts in an entity of this kind, by `apply` and `assert_invariants`. Not among them:
/// ORD-7, which `decide` asserts before anything is journaled, and PRD-3, which is about what is owed.
pub fn asserted(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Stock => &["STK-1", "STK-2", "STK-3", "STK-4", "STK-5", "STK-6"],
        Kind::Cart => &["CRT-1", "CRT-2", "CRT-4", "CRT-5", "CRT-6"],
        Kind::Order => &["ORD-1", "ORD-2", "ORD-3", "ORD-4", "ORD-5", "ORD-6"],
        Kind::Product => &["PRD-1", "PRD-2"],
        Kind::Cluster => &["CLU-1", "CLU-2"],
    }
}

/// Recounts one entity of any kind. Products and clusters have no counters: their laws are asserted, see
/// [`AnyState::assert_invariants`].
pub fn recount(state: &AnyState) -> Recount {
    let mut audit = Audit::default();
    match state {
        AnyState::Stock(item) => recount_stock(item, &mut audit),
        AnyState::Cart(cart) => recount_cart(cart, &mut audit),
        AnyState::Order(order) => order.recount(&mut audit),
        AnyState::Product(_) | AnyState::Cluster(_) => {}
    }
    audit.finish()
}

/// What [`recount`] finds.
pub fn check(state: &AnyState) -> Vec<Breach> {
    recount(state).breaches
}

/// Recounts one order from its lines and refunds.
pub fn check_order(order: &Order) -> Vec<Breach> {
    let mut audit = Audit::default();
    order.recount(&mut audit);
    audit.finish().breaches
}

/// Recounts one stock item from its holds. Linear in the number of holds.
pub fn check_stock(item: &StockItem) -> Vec<Breach> {
    let mut audit = Audit::default();
    recount_stock(item, &mut audit);
    audit.finish().breaches
}

/// Recounts one cart from its lines.
pub fn check_cart(cart: &Cart) -> Vec<Breach> {
    let mut audit = Audit::default();
    recount_cart(cart, &mut audit);
    audit.finish().breaches
}

fn recount_stock(item: &StockItem, audit: &mut Audit) {
    let (sku, numbers) = (item.sku(), item.numbers());
    let came = i128::from(numbers.received) + i128::from(numbers.adjusted) + i128::from(numbers.returned);
    let are = i128::from(numbers.available) + i128::from(numbers.held) + i128::from(numbers.sold);
    audit.must("STK-1", came == are, || format!("{sku}: {came} units came, {are} are accounted for"));
    let held: u64 = item.holds.values().map(|hold| u64::from(hold.quantity.get())).sum();
    audit.must("STK-3", held == numbers.held, || format!("{sku}: holds hold {held}, held is {}", numbers.held));
    let expiries = item.holds.iter().filter_map(|(id, hold)| Some((hold.expires_at()?, *id)));
    let same = is_exactly(&item.expiries, expiries);
    audit.must("STK-4", same, || format!("{sku}: expiry index differs from the holds"));
    audit.must("STK-5", numbers.returned <= numbers.sold, || format!("{sku}: {numbers:?}"));
    for (id, ended) in &item.ended {
        let known = ended.units > 0;
        let fits = !known || ended.returned() <= u64::from(ended.units);
        audit.must("STK-5", fits, || format!("{sku}: hold {id} sold {}, returned {}", ended.units, ended.returned()));
        audit.must("STK-6", !item.holds.contains_key(id), || format!("{sku}: hold {id} is live and ended"));
    }
    let forgettable = item.ended.iter().filter_map(|(id, ended)| Some((ended.forget_at?, *id)));
    let same = is_exactly(&item.forgettable, forgettable);
    audit.must("STK-6", same, || format!("{sku}: forgetting index differs"));
}

/// Whether an index holds these entries and no others. Entries are distinct; no second index is built, because one of
/// a million holds takes as much memory as many a data directory.
fn is_exactly<T: Ord>(index: &BTreeSet<T>, entries: impl Iterator<Item = T>) -> bool {
    let mut present = 0;
    entries.inspect(|_| present += 1).all(|entry| index.contains(&entry)) && present == index.len()
}

fn recount_cart(cart: &Cart, audit: &mut Audit) {
    let (id, totals) = (cart.id(), cart.totals());
    audit.must("CRT-1", cart.lines.len() <= super::cart::LINES_MAX, || format!("cart {id}: {}", cart.lines.len()));
    let sum: u64 = cart.lines.values().map(|line| line.total()).sum();
    audit.must("CRT-2", sum == totals.subtotal, || format!("cart {id}: lines come to {sum}, {totals:?}"));
    for (sku, line) in &cart.lines {
        let same = line.offer.unit_price.currency == totals.currency;
        let fits = line.offer.line_total(line.quantity).is_some();
        audit.must("CRT-3", same && fits, || format!("cart {id}: {sku}: {line:?}"));
    }
    for (version, order) in &cart.orders {
        audit.must("CRT-4", *version <= cart.version, || format!("cart {id}: order {order} of version {version}"));
        audit.must("CRT-6", cart.answers.contains_key(order), || format!("cart {id}: order {order} was not asked for"));
    }
    let consumed = cart.order().is_some();
    audit.must("CRT-5", !consumed || cart.lines.is_empty(), || format!("cart {id}: {} lines", cart.lines.len()));
    let distinct: BTreeSet<_> = cart.orders.values().collect();
    audit.must("CRT-6", distinct.len() == cart.orders.len(), || format!("cart {id}: one order, two versions"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a kind's source asserts, from the given words on to the end of the function.
    fn named_in(source: &str, from: &str) -> BTreeSet<String> {
        let body = source.split_once(from).expect("the function is there").1;
        let body = body.split("\n    }\n").next().expect("it ends");
        let laws = LAWS.iter().map(|law| law.id).filter(|law| body.contains(&format!("\"{law}:")));
        laws.map(str::to_owned).collect()
    }

    #[test]
    fn every_law_counted_as_asserted_is_asserted_in_the_source() {
        let stock = include_str!("stock/mod.rs");
        let sources = [
            (Kind::Stock, named_in(stock, "fn assert_invariants")),
            (Kind::Cart, named_in(include_str!("cart/mod.rs"), "fn assert_invariants")),
            (Kind::Order, named_in(include_str!("order/laws.rs"), "fn assert_laws")),
            (Kind::Product, named_in(include_str!("product/mod.rs"), "fn assert_invariants")),
            (Kind::Cluster, named_in(include_str!("cluster/mod.rs"), "fn assert_invariants")),
        ];
        // Asserted where an event is applied.
        let by_apply = [(Kind::Stock, "STK-2", stock), (Kind::Order, "ORD-1", include_str!("order/apply.rs"))];
        for (kind, mut named) in sources {
            for (_, law, source) in by_apply.iter().filter(|(other, ..)| *other == kind) {
                assert!(source.contains(&format!("\"{law}:")), "{law}");
                named.insert((*law).to_owned());
            }
            assert_eq!(asserted(kind).iter().map(|law| (*law).to_owned()).collect::<BTreeSet<_>>(), named, "{kind:?}");
        }
    }
}
