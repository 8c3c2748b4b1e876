//! The reference shop: what a shop must be like after what it acknowledged, as plainly as it can be said.
//!
//! Single-threaded, without time, without any code of the domain. It hears the acknowledged history line by line and
//! then looks at the shop at rest: whatever nobody outside knew (a request given up, an order that may still have been
//! placed) is resolved by what the shop shows, and everything must then add up, to the unit and the cent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::history::{Fact, Row};
use super::laws;

/// A law that does not hold: its name, and how.
pub type Complaint = (&'static str, String);

/// What the provider has for one order, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Money {
    /// Authorisations that were not voided, together.
    pub authorised: u64,
    /// How many there are.
    pub charges: u64,
    /// Taken.
    pub captured: u64,
    /// Given back.
    pub refunded: u64,
}

/// What was acknowledged about one order.
#[derive(Clone, Debug, Default)]
struct Order {
    cart: String,
    lines: BTreeMap<String, u64>,
    holds: BTreeMap<String, String>,
    cancelled: bool,
    fulfilled: bool,
    delivered: bool,
    refunded: bool,
    restocked: bool,
}

impl Order {
    /// What was acknowledged and does not show.
    fn lost(&self, shown: &Value) -> impl Iterator<Item = &'static str> + use<> {
        let now = state(shown);
        let acknowledged = [
            (self.cancelled, now == "cancelled", "cancelled"),
            (self.fulfilled, ["fulfilled", "delivered", "refunded"].contains(&now), "sent out"),
            (self.delivered, ["delivered", "refunded"].contains(&now), "delivered"),
            (self.refunded, now == "refunded", "refunded"),
        ];
        acknowledged.into_iter().filter(|(said, shows, _)| *said && !shows).map(|(_, _, what)| what)
    }
}

/// The reference shop.
#[derive(Debug, Default)]
pub struct Shop {
    received: BTreeMap<String, u64>,
    orders: BTreeMap<String, Order>,
    /// Hold → SKU and units.
    holds: BTreeMap<String, (String, u64)>,
    complaints: Vec<Complaint>,
}

/// States in which an order has sold its units.
const SOLD: &[&str] = &["confirmed", "fulfilled", "delivered", "refunded"];

impl Shop {
    /// The shop that this history is about.
    pub fn of(history: &[Row]) -> Self {
        let mut shop = Self::default();
        history.iter().for_each(|row| shop.hear(&row.fact));
        shop
    }

    /// Ids of orders that were acknowledged.
    pub fn order_ids(&self) -> impl Iterator<Item = &String> {
        self.orders.keys()
    }

    fn hear(&mut self, fact: &Fact) {
        match fact {
            Fact::Received { sku, units } => *self.received.entry(sku.clone()).or_default() += units,
            Fact::Ordered { order, cart, lines, holds, .. } => {
                let known = self.orders.entry(order.clone()).or_default();
                (known.cart, known.lines, known.holds) = (cart.clone(), lines.clone(), holds.clone());
            }
            Fact::Held { hold, sku, units } => self.hear_hold(hold, sku, *units),
            Fact::Cancelled { order } => self.orders.entry(order.clone()).or_default().cancelled = true,
            Fact::Fulfilled { order } => self.orders.entry(order.clone()).or_default().fulfilled = true,
            Fact::Delivered { order } => self.orders.entry(order.clone()).or_default().delivered = true,
            Fact::Refunded { order, restock } => {
                let known = self.orders.entry(order.clone()).or_default();
                known.refunded = true;
                known.restocked |= restock;
            }
            Fact::Odd { law, detail } => self.complain(law, detail.clone()),
            _ => {}
        }
    }

    fn hear_hold(&mut self, hold: &str, sku: &str, units: u64) {
        laws::checked("SIM-IDS-ARE-FRESH");
        if self.holds.insert(hold.to_owned(), (sku.to_owned(), units)).is_some() {
            self.complain("SIM-IDS-ARE-FRESH", format!("hold {hold} was given out twice"));
        }
    }

    /// Looks at the shop at rest: all its orders, its stock accounts by SKU, the provider's money by order.
    pub fn compare(
        mut self,
        orders: &BTreeMap<String, Value>,
        stock: &BTreeMap<String, Value>,
        money: &BTreeMap<String, Money>,
    ) -> Vec<Complaint> {
        for (id, known) in &self.orders.clone() {
            laws::checked("SIM-ACCEPTED-IS-KEPT");
            match orders.get(id) {
                Some(shown) => self.compare_order(id, known, shown),
                None => self.complain("SIM-ACCEPTED-IS-KEPT", format!("order {id} was acknowledged and is not there")),
            }
        }
        self.one_order_per_cart();
        for (id, shown) in orders {
            self.compare_money(id, shown, money.get(id).copied().unwrap_or_default());
        }
        for id in money.keys().filter(|id| !orders.contains_key(*id)) {
            let unowned = money[id];
            if unowned.charges > 0 || unowned.captured > 0 {
                self.complain("SIM-ONE-CHARGE", format!("money of order {id}, which nobody has: {unowned:?}"));
            }
        }
        for (sku, account) in stock {
            self.compare_stock(sku, account, orders);
        }
        self.complaints
    }

    /// Whether something acknowledged is still on its way: a shop is at rest when nothing is.
    pub fn waits(&self, orders: &BTreeMap<String, Value>) -> bool {
        let shown = self.orders.iter().filter_map(|(id, known)| Some((known, orders.get(id)?)));
        shown.into_iter().any(|(known, shown)| known.lost(shown).next().is_some())
    }

    fn compare_order(&mut self, id: &str, known: &Order, shown: &Value) {
        laws::checked("SIM-ORDER-IS-WHAT-WAS-ASKED");
        if !known.lines.is_empty() && lines_of(shown) != known.lines {
            let detail = format!("order {id}: asked {:?}, is {shown}", known.lines);
            self.complain("SIM-ORDER-IS-WHAT-WAS-ASKED", detail);
        }
        for what in known.lost(shown) {
            self.complain("SIM-ACCEPTED-IS-KEPT", format!("order {id} was {what}, it is {shown}"));
        }
        let restocked: u64 = restocked(shown).values().sum();
        if known.refunded && known.restocked != (restocked > 0) {
            self.complain("SIM-ACCEPTED-IS-KEPT", format!("order {id}: restock asked {}, {shown}", known.restocked));
        }
        if !known.holds.is_empty() {
            laws::checked("SIM-HOLD-IS-HELD");
        }
        let failure = &shown["failure"];
        let held = failure["sku"].as_str().is_some_and(|sku| known.holds.contains_key(sku));
        if held && failure["code"] == "insufficient_stock" {
            self.complain("SIM-HOLD-IS-HELD", format!("order {id} brought a hold and found no stock: {shown}"));
        }
    }

    fn one_order_per_cart(&mut self) {
        let (mut carts, mut doubled) = (BTreeSet::new(), Vec::new());
        for (id, order) in self.orders.iter().filter(|(_, order)| !order.cart.is_empty()) {
            laws::checked("SIM-ONE-ORDER-PER-CART");
            if !carts.insert(&order.cart) {
                doubled.push(format!("cart {} became order {id} and another one", order.cart));
            }
        }
        doubled.into_iter().for_each(|detail| self.complain("SIM-ONE-ORDER-PER-CART", detail));
    }

    fn compare_money(&mut self, id: &str, shown: &Value, money: Money) {
        laws::checked("SIM-ONE-CHARGE");
        let total = shown["totals"]["total"].as_u64().unwrap_or(u64::MAX);
        let sum =
            |refunds: &Value| refunds.as_array().into_iter().flatten().filter_map(|one| one["amount"].as_u64()).sum();
        let refunded: u64 = sum(&shown["refunds"]);
        let (none, one) = (Money::default(), Money { authorised: total, charges: 1, captured: 0, refunded: 0 });
        let right = match state(shown) {
            "confirmed" => money == one,
            "fulfilled" | "delivered" => money == Money { captured: total, refunded, ..one },
            // Refunded before anything was taken, the authorisation is let go; afterwards the money was given back.
            "refunded" => money == none || money == Money { captured: total, refunded: total, ..one },
            _ => money == none,
        };
        if !right {
            let detail = format!("order {id} is {}, total {total}, the provider has {money:?}: {shown}", state(shown));
            self.complain("SIM-ONE-CHARGE", detail);
        }
    }

    fn compare_stock(&mut self, sku: &str, account: &Value, orders: &BTreeMap<String, Value>) {
        laws::checked("SIM-SOLD-ONCE");
        laws::checked("SIM-UNITS-ADD-UP");
        let received = self.received.get(sku).copied().unwrap_or_default();
        let units = |of: BTreeMap<String, u64>| of.get(sku).copied().unwrap_or_default();
        let selling = orders.values().filter(|order| SOLD.contains(&state(order)));
        let sold: u64 = selling.map(|order| units(lines_of(order)).saturating_sub(units(restocked(order)))).sum();
        if sold > received {
            self.complain("SIM-SOLD-ONCE", format!("{sku}: {sold} sold of {received} received"));
        }
        let expected = [("received", received), ("held", 0), ("available", received.saturating_sub(sold))];
        for (name, expected) in expected {
            if account[name].as_u64() != Some(expected) {
                let detail = format!("{sku}: {name} must be {expected}, the shop has {account}");
                self.complain("SIM-UNITS-ADD-UP", detail);
            }
        }
    }

    fn complain(&mut self, law: &'static str, detail: String) {
        self.complaints.push((law, detail));
    }
}

fn state(order: &Value) -> &str {
    order["state"].as_str().unwrap_or_default()
}

fn units_of(lines: &Value) -> BTreeMap<String, u64> {
    let mut units = BTreeMap::new();
    for line in lines.as_array().into_iter().flatten() {
        let (sku, quantity) = (line["sku"].as_str().unwrap_or_default(), line["quantity"].as_u64().unwrap_or_default());
        *units.entry(sku.to_owned()).or_default() += quantity;
    }
    units
}

fn lines_of(order: &Value) -> BTreeMap<String, u64> {
    units_of(&order["lines"])
}

/// Units of the order that refunds put back on the shelf.
fn restocked(order: &Value) -> BTreeMap<String, u64> {
    let mut units = BTreeMap::new();
    for refund in order["refunds"].as_array().into_iter().flatten() {
        for (sku, quantity) in units_of(&refund["restock"]) {
            *units.entry(sku).or_default() += quantity;
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ordered() -> Vec<Row> {
        let lines = BTreeMap::from([("A".to_owned(), 2)]);
        let (order, cart, key, token) = ("o".to_owned(), "c".to_owned(), String::new(), String::new());
        let ordered = Fact::Ordered { order, cart, key, lines, token, holds: BTreeMap::new(), attempts: 1 };
        let received = Fact::Received { sku: "A".to_owned(), units: 5 };
        [received, ordered].map(|fact| Row { at_ms: 0, actor: String::new(), fact }).into()
    }

    fn shown(state: &str, quantity: u64) -> BTreeMap<String, Value> {
        let lines = json!([{"sku": "A", "quantity": quantity}]);
        let order = json!({"state": state, "lines": lines, "totals": {"total": 300}, "refunds": []});
        BTreeMap::from([("o".to_owned(), order)])
    }

    fn stock(available: u64) -> BTreeMap<String, Value> {
        BTreeMap::from([("A".to_owned(), json!({"received": 5, "held": 0, "available": available}))])
    }

    fn paid(charges: u64, captured: u64, refunded: u64) -> BTreeMap<String, Money> {
        BTreeMap::from([("o".to_owned(), Money { authorised: charges * 300, charges, captured, refunded })])
    }

    fn laws(found: Vec<Complaint>) -> Vec<&'static str> {
        found.into_iter().map(|(law, _)| law).collect()
    }

    #[test]
    fn a_sold_order_takes_its_units_and_one_charge() {
        type Shown = BTreeMap<String, Value>;
        let compare = |orders: &Shown, stock: &Shown, money: &BTreeMap<String, Money>| {
            laws(Shop::of(&ordered()).compare(orders, stock, money))
        };
        let sold = shown("confirmed", 2);
        assert!(compare(&sold, &stock(3), &paid(1, 0, 0)).is_empty());
        assert!(compare(&shown("failed", 2), &stock(5), &BTreeMap::new()).is_empty());
        assert_eq!(compare(&sold, &stock(4), &paid(1, 0, 0)), ["SIM-UNITS-ADD-UP"]);
        assert_eq!(compare(&sold, &stock(3), &paid(2, 0, 0)), ["SIM-ONE-CHARGE"]);
        assert_eq!(compare(&sold, &stock(3), &BTreeMap::new()), ["SIM-ONE-CHARGE"]);
        assert_eq!(compare(&shown("failed", 2), &stock(5), &paid(1, 0, 0)), ["SIM-ONE-CHARGE"]);
        assert_eq!(compare(&shown("confirmed", 1), &stock(4), &paid(1, 0, 0)), ["SIM-ORDER-IS-WHAT-WAS-ASKED"]);
        assert_eq!(compare(&shown("confirmed", 6), &stock(0), &paid(1, 0, 0))[1..], ["SIM-SOLD-ONCE"]);
    }

    #[test]
    fn what_was_acknowledged_is_kept() {
        let heard = |fact: Fact, orders: &BTreeMap<String, Value>, money: BTreeMap<String, Money>| {
            let mut shop = Shop::of(&ordered());
            shop.hear(&fact);
            laws(shop.compare(orders, &BTreeMap::new(), &money))
        };
        let order = || "o".to_owned();
        assert_eq!(heard(Fact::Repeated, &BTreeMap::new(), BTreeMap::new()), ["SIM-ACCEPTED-IS-KEPT"]);
        let cancelled = Fact::Cancelled { order: order() };
        assert!(heard(cancelled.clone(), &shown("cancelled", 2), BTreeMap::new()).is_empty());
        assert_eq!(heard(cancelled, &shown("confirmed", 2), paid(1, 0, 0)), ["SIM-ACCEPTED-IS-KEPT"]);
        let fulfilled = Fact::Fulfilled { order: order() };
        assert!(heard(fulfilled.clone(), &shown("fulfilled", 2), paid(1, 300, 0)).is_empty());
        assert_eq!(heard(fulfilled, &shown("fulfilled", 2), paid(1, 600, 0)), ["SIM-ONE-CHARGE"]);
        let delivered = Fact::Delivered { order: order() };
        assert!(heard(delivered.clone(), &shown("delivered", 2), paid(1, 300, 0)).is_empty());
        assert_eq!(heard(delivered, &shown("fulfilled", 2), paid(1, 300, 0)), ["SIM-ACCEPTED-IS-KEPT"]);
        let odd = Fact::Odd { law: "SIM-SAME-ANSWER", detail: String::new() };
        assert_eq!(heard(odd, &shown("failed", 2), BTreeMap::new()), ["SIM-SAME-ANSWER"]);
    }

    #[test]
    fn two_orders_of_one_cart_are_one_too_many() {
        let mut rows = ordered();
        let Fact::Ordered { order, .. } = &mut rows[1].fact else { unreachable!("as made above") };
        *order = "p".to_owned();
        rows.extend(ordered());
        let mut orders = shown("failed", 2);
        orders.insert("p".to_owned(), orders["o"].clone());
        assert_eq!(
            laws(Shop::of(&rows).compare(&orders, &BTreeMap::new(), &BTreeMap::new())),
            ["SIM-ONE-ORDER-PER-CART"]
        );
    }
}
