//! The books: whether entities agree with each other, to the unit and to the cent.
//!
//! No entity can see another, so no entity can assert this. An auditor collects the states of all of them (offline from
//! a journal, or in the simulator at any moment) and asks for the [`Breach`]es. While a command is on its way the two
//! sides may differ by what it moves, so an order claims a [`Range`]; once nothing is under way the range is one number
//! and the books must balance exactly.

use std::collections::{BTreeMap, BTreeSet};

use super::cart::Cart;
use super::ids::{CartId, EntityId, HoldId, OrderId, Sku};
use super::invariants::{Audit, Breach, Recount};
use super::registry::AnyState;
use super::stock::{Holder, StockItem};

/// The least and the most something can be; equal when nothing is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// If nothing under way has arrived.
    pub low: u64,
    /// If everything under way has.
    pub high: u64,
}

impl Range {
    /// Certainly this.
    pub fn exactly(value: u64) -> Self {
        Self { low: value, high: value }
    }

    /// Nothing yet, or all of it.
    pub fn perhaps(value: u64) -> Self {
        Self { low: 0, high: value }
    }

    fn add(&mut self, other: Self) {
        self.low += other.low;
        self.high += other.high;
    }

    fn holds(self, value: u64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// What one order says about its units of one SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitClaim {
    /// Of what.
    pub sku: Sku,
    /// Under which hold.
    pub hold: HoldId,
    /// Set aside for it.
    pub held: Range,
    /// Ever sold to it.
    pub sold: Range,
    /// Come back from it.
    pub returned: Range,
}

/// What one order says about its money, minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoneyClaim {
    /// Set aside and neither taken nor let go.
    pub authorised: Range,
    /// Taken.
    pub captured: Range,
    /// Given back.
    pub refunded: Range,
}

/// Everything one order says about others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderClaims {
    /// Which.
    pub order: OrderId,
    /// Units, one claim per SKU.
    pub units: Vec<UnitClaim>,
    /// Money.
    pub money: MoneyClaim,
}

/// What a payment provider says about one order, minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderAccount {
    /// Set aside and neither taken nor let go.
    pub authorised: u64,
    /// Taken.
    pub captured: u64,
    /// Given back.
    pub refunded: u64,
}

/// Units of one SKU, as orders say.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    held: Range,
    sold: Range,
    returned: Range,
}

/// Collects what everybody says and compares.
#[derive(Debug, Default)]
pub struct Books {
    stock: BTreeMap<Sku, StockSide>,
    expected: BTreeMap<Sku, Expected>,
    /// What orders say about single holds, by who says it.
    claims: BTreeMap<(Sku, HoldId, OrderId), Range>,
    orders: BTreeMap<OrderId, MoneyClaim>,
    /// Orders that carts handed over for good.
    placed: BTreeSet<(CartId, OrderId)>,
    accounts: BTreeMap<OrderId, ProviderAccount>,
}

/// What one stock item says.
#[derive(Debug)]
struct StockSide {
    sold: u64,
    returned: u64,
    /// Pinned holds: whose, and how many units.
    pinned: BTreeMap<HoldId, (OrderId, u64)>,
}

impl Books {
    /// Adds an entity of any kind; those that keep no books are passed over.
    pub fn add(&mut self, state: &AnyState) {
        match state {
            AnyState::Stock(item) => self.add_stock(item),
            AnyState::Cart(cart) => self.add_cart(cart),
            AnyState::Order(order) => order.claims().iter().for_each(|claims| self.add_order(claims)),
            AnyState::Product(_) | AnyState::Cluster(_) => {}
        }
    }

    /// Adds a stock item.
    pub fn add_stock(&mut self, item: &StockItem) {
        let pinned = item.holds().filter_map(|hold| match hold.holder {
            Holder::Order(order) => Some((hold.id, (order, u64::from(hold.quantity.get())))),
            Holder::Shopper => None,
        });
        let numbers = item.numbers();
        let side = StockSide { sold: numbers.sold, returned: numbers.returned, pinned: pinned.collect() };
        self.stock.insert(item.sku().clone(), side);
    }

    /// Adds a cart.
    pub fn add_cart(&mut self, cart: &Cart) {
        let placed = cart.orders().filter(|(_, order)| !cart.is_placing(*order));
        self.placed.extend(placed.map(|(_, order)| (cart.id(), order)));
    }

    /// Adds an order.
    pub fn add_order(&mut self, claims: &OrderClaims) {
        self.orders.insert(claims.order, claims.money);
        for claim in &claims.units {
            let expected = self.expected.entry(claim.sku.clone()).or_default();
            expected.held.add(claim.held);
            expected.sold.add(claim.sold);
            expected.returned.add(claim.returned);
            self.claims.insert((claim.sku.clone(), claim.hold, claims.order), claim.held);
        }
    }

    /// Adds what a provider says about an order. Only orders added here are compared with a provider.
    pub fn add_account(&mut self, order: OrderId, account: ProviderAccount) {
        self.accounts.insert(order, account);
    }

    /// Everything that does not agree.
    pub fn breaches(&self) -> Vec<Breach> {
        self.recount().breaches
    }

    /// Compares everybody with everybody. A law counts as checked when there was something to compare.
    pub fn recount(&self) -> Recount {
        let mut audit = Audit::default();
        self.stock.iter().for_each(|(sku, side)| self.check_item(&mut audit, sku, side));
        for sku in self.expected.keys() {
            let known = self.stock.contains_key(sku) || self.expected[sku].sold.low == 0;
            audit.must("BOOK-2", known, || format!("{sku}: orders bought it and no stock item sold it"));
        }
        for ((sku, hold, order), held) in &self.claims {
            let pinned = self.stock.get(sku).and_then(|side| side.pinned.get(hold));
            let units = pinned.filter(|(holder, _)| holder == order).map_or(0, |(_, units)| *units);
            audit.must("BOOK-1", held.holds(units), || format!("{sku}: order {order} claims {held:?}, held {units}"));
        }
        for (cart, order) in &self.placed {
            let exists = self.orders.contains_key(order);
            audit.must("BOOK-3", exists, || format!("cart {cart} handed over order {order}, which does not exist"));
        }
        self.check_money(&mut audit);
        audit.finish()
    }

    fn check_item(&self, audit: &mut Audit, sku: &Sku, side: &StockSide) {
        let expected = self.expected.get(sku).copied().unwrap_or_default();
        let pairs = [("sold", expected.sold, side.sold), ("returned", expected.returned, side.returned)];
        for (what, range, is) in pairs {
            audit.must("BOOK-2", range.holds(is), || format!("{sku}: {what} {is}, orders say {range:?}"));
        }
        let pinned: u64 = side.pinned.values().map(|(_, units)| units).sum();
        let held = expected.held;
        audit.must("BOOK-2", held.holds(pinned), || format!("{sku}: {pinned} held for orders, which say {held:?}"));
        for (hold, (order, units)) in &side.pinned {
            let claimed = self.claims.contains_key(&(sku.clone(), *hold, *order));
            let detail = || format!("{sku}: {units} units held for {} without its claim", EntityId::order(*order));
            audit.must("BOOK-1", claimed, detail);
        }
    }

    fn check_money(&self, audit: &mut Audit) {
        for (order, account) in &self.accounts {
            let claim = self.orders.get(order).copied().unwrap_or_default();
            let triples = [
                ("authorised", claim.authorised, account.authorised),
                ("captured", claim.captured, account.captured),
                ("refunded", claim.refunded, account.refunded),
            ];
            for (what, range, is) in triples {
                let detail = || format!("order {order}: the provider has {what} {is}, the order says {range:?}");
                audit.must("BOOK-4", range.holds(is), detail);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::Fingerprint;
    use crate::domain::stock::{Reserve, StockCommand};
    use crate::domain::testkit::{Subject, id16, order_id, sku, units};

    fn item_with_a_pinned_hold() -> Subject<StockItem> {
        let mut item = Subject::<StockItem>::new(&EntityId::stock(&sku("TEA")));
        item.yes(StockCommand::Receive { quantity: units(10), reference: String::new() });
        item.yes(StockCommand::Reserve(Reserve {
            hold: HoldId(id16(1)),
            quantity: units(3),
            ttl: std::time::Duration::ZERO,
            holder: Holder::Order(order_id(1)),
            fingerprint: Fingerprint::default(),
        }));
        item
    }

    fn claims(held: Range, sold: Range) -> OrderClaims {
        let (sku, hold, returned) = (sku("TEA"), HoldId(id16(1)), Range::default());
        let money = MoneyClaim { authorised: Range::exactly(300), ..MoneyClaim::default() };
        OrderClaims { order: order_id(1), units: vec![UnitClaim { sku, hold, held, sold, returned }], money }
    }

    fn laws_broken(item: &Subject<StockItem>, claims: Option<OrderClaims>) -> Vec<&'static str> {
        let mut books = Books::default();
        books.add_stock(&item.state);
        claims.iter().for_each(|claims| books.add_order(claims));
        let mut laws: Vec<_> = books.breaches().into_iter().map(|breach| breach.law).collect();
        laws.dedup();
        laws
    }

    #[test]
    fn books_that_agree_have_no_breach() {
        let item = item_with_a_pinned_hold();
        assert!(laws_broken(&item, Some(claims(Range::exactly(3), Range::default()))).is_empty());
        assert!(laws_broken(&item, Some(claims(Range::perhaps(3), Range::perhaps(3)))).is_empty());
    }

    #[test]
    fn a_hold_of_an_order_nobody_knows_is_a_breach() {
        assert_eq!(laws_broken(&item_with_a_pinned_hold(), None), ["BOOK-2", "BOOK-1"]);
    }

    #[test]
    fn a_sale_only_the_order_knows_of_is_a_breach() {
        let mut item = item_with_a_pinned_hold();
        item.yes(StockCommand::Commit { hold: HoldId(id16(1)), order: order_id(1) });
        assert!(laws_broken(&item, Some(claims(Range::default(), Range::exactly(3)))).is_empty());
        assert_eq!(laws_broken(&item, Some(claims(Range::default(), Range::exactly(4)))), ["BOOK-2"]);
        assert_eq!(laws_broken(&item, Some(claims(Range::default(), Range::default()))), ["BOOK-2"]);
    }

    #[test]
    fn money_only_the_provider_knows_of_is_a_breach() {
        let mut books = Books::default();
        books.add_order(&claims(Range::default(), Range::default()));
        books.add_account(order_id(1), ProviderAccount { authorised: 300, ..ProviderAccount::default() });
        assert_eq!(books.breaches(), []);
        books.add_account(order_id(2), ProviderAccount { captured: 1, ..ProviderAccount::default() });
        assert_eq!(books.breaches().iter().map(|breach| breach.law).collect::<Vec<_>>(), ["BOOK-4"]);
    }
}
