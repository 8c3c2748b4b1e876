//! Compares what was ever acknowledged with what the shop says now.
//!
//! A [`Book`] is filled while a scenario runs, only with definite answers. [`Book::audit`] then asks the shop, once it
//! has come to rest, and fails with every difference found:
//!
//! - every acknowledged receipt is in its SKU's account, and no other;
//! - received + adjusted + returned = available + held + sold;
//! - sold − returned = the units of orders that were sold, less those restocked, whether or not anyone was told of
//!   them;
//! - held = the holds listed; every acknowledged hold that should still live is listed; no order holds units;
//! - every acknowledged cart has exactly the lines of its last acknowledged edits;
//! - every order has ended or is confirmed; sold ones were charged exactly once and their total, others not at all;
//! - the provider captured and gave back, to the cent, what orders say; sent ones are paid, refunded ones paid back;
//! - every acknowledged step of an order is in its history, every acknowledged refund among its refunds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Call, Client, PAUSE, SETTLED};
use crate::ledger::{self, Charges};
use crate::shop::Home;

/// How long the shop may take to come to rest.
const REST: Duration = Duration::from_secs(45);
/// States of orders whose units were sold.
const SOLD: [&str; 4] = ["confirmed", "fulfilled", "delivered", "refunded"];

/// Everything acknowledged.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Facts>>);

#[derive(Clone, Debug, Default)]
struct Facts {
    acknowledged: u64,
    received: BTreeMap<String, u64>,
    carts: BTreeMap<String, BTreeMap<String, u64>>,
    orders: BTreeSet<String>,
    holds: BTreeMap<(String, String), u64>,
    steps: BTreeSet<(String, String)>,
    refunds: BTreeMap<String, u64>,
}

/// How the orders of a shop ended.
#[derive(Debug, Default)]
pub struct Summary {
    /// Orders whose units were sold.
    pub sold: usize,
    /// Units sold.
    pub units: u64,
    /// Money taken and given back, in cents.
    pub money: (u64, u64),
    /// Orders by state, failed ones with their code.
    pub endings: BTreeMap<String, usize>,
}

impl Book {
    /// A book with the same facts, for a copy of the shop that goes its own way.
    pub fn fork(&self) -> Self {
        let facts = self.0.lock().unwrap().clone();
        Self(Arc::new(Mutex::new(facts)))
    }

    /// Definite answers so far.
    pub fn acknowledged(&self) -> u64 {
        self.0.lock().unwrap().acknowledged
    }

    fn note(&self, enter: impl FnOnce(&mut Facts)) {
        let mut facts = self.0.lock().unwrap();
        facts.acknowledged += 1;
        enter(&mut facts);
    }

    /// Something was acknowledged that the audit needs to know nothing of.
    pub fn counted(&self) {
        self.note(|_| ());
    }

    /// Waits until this many outcomes were acknowledged.
    pub async fn grown_to(&self, enough: u64, home: &Home) {
        let deadline = Instant::now() + REST;
        while self.acknowledged() < enough {
            assert!(Instant::now() < deadline, "the shop acknowledges nothing any more:\n{}", home.tail());
            tokio::time::sleep(PAUSE / 10).await;
        }
    }

    /// Units were received.
    pub fn received(&self, sku: &str, quantity: u64) {
        self.note(|facts| *facts.received.entry(sku.to_owned()).or_default() += quantity);
    }

    /// A cart's line was set.
    pub fn line(&self, cart: &str, sku: &str, quantity: u64) {
        self.note(|facts| {
            let lines = facts.carts.entry(cart.to_owned()).or_default();
            lines.insert(sku.to_owned(), quantity);
            lines.retain(|_, quantity| *quantity > 0);
        });
    }

    /// An order was placed.
    pub fn order(&self, order: &str) {
        self.note(|facts| {
            facts.orders.insert(order.to_owned());
        });
    }

    /// An order reached a state.
    pub fn reached(&self, order: &str, state: &str) {
        self.note(|facts| {
            facts.steps.insert((order.to_owned(), state.to_owned()));
        });
    }

    /// A refund of an order was asked for and accepted.
    pub fn refunding(&self, order: &str) {
        self.note(|facts| *facts.refunds.entry(order.to_owned()).or_default() += 1);
    }

    /// Units were set aside and must stay so.
    pub fn hold(&self, sku: &str, hold: &str, quantity: u64) {
        self.note(|facts| {
            facts.holds.insert((sku.to_owned(), hold.to_owned()), quantity);
        });
    }

    /// A hold was given back.
    pub fn released(&self, sku: &str, hold: &str) {
        self.note(|facts| {
            facts.holds.remove(&(sku.to_owned(), hold.to_owned()));
        });
    }

    /// Receives units and notes them.
    pub async fn stock(&self, client: &Client, sku: &str, quantity: u64) {
        client.send(&Client::receipt(sku, quantity)).await.expect(200);
        self.received(sku, quantity);
    }

    /// Holds of a SKU that nobody was told of and no order has.
    pub async fn strangers(&self, client: &Client, sku: &str) -> Vec<String> {
        let listed = listed_holds(client, sku).await;
        let facts = self.0.lock().unwrap();
        let known = |id: &String| facts.holds.contains_key(&(sku.to_owned(), id.clone()));
        let strange = listed.into_iter().filter(|(id, hold)| hold["order_id"].is_null() && !known(id));
        strange.map(|(id, _)| id).collect()
    }

    /// Waits for the shop to come to rest and compares.
    pub async fn audit(&self, home: &Home, client: &Client) -> Summary {
        let deadline = Instant::now() + REST;
        loop {
            let (orders, mut problems) = all_orders(client).await;
            {
                let facts = self.0.lock().unwrap();
                let missing = facts.orders.iter().filter(|order| !orders.contains_key(*order));
                problems.extend(missing.map(|order| format!("order {order} was acknowledged and is not listed")));
            }
            problems.extend(self.compare_stock(client, &orders).await);
            problems.extend(self.compare_carts(client).await);
            problems.extend(self.compare_steps(&orders));
            problems.extend(compare_money(&orders, &ledger::read(home)));
            if problems.is_empty() {
                return summary(&orders);
            }
            assert!(Instant::now() < deadline, "the audit found:\n{}\n{}", problems.join("\n"), home.tail());
            tokio::time::sleep(PAUSE * 5).await;
        }
    }

    async fn compare_stock(&self, client: &Client, orders: &BTreeMap<String, Value>) -> Vec<String> {
        let (received, holds) = {
            let facts = self.0.lock().unwrap();
            (facts.received.clone(), facts.holds.clone())
        };
        let mut problems = Vec::new();
        for (sku, expected) in received {
            let account = client.send(&Call::get(format!("/v1/admin/stock/{sku}")).merchant()).await.expect(200);
            let units = |name: &str| account[name].as_i64().unwrap();
            if units("received") != i64::try_from(expected).unwrap() {
                problems.push(format!("{sku}: {expected} units were acknowledged as received: {account}"));
            }
            let (come, there) = (
                units("received") + units("adjusted") + units("returned"),
                units("available") + units("held") + units("sold"),
            );
            if come != there || units("available") < 0 {
                problems.push(format!("{sku}: the account does not balance: {account}"));
            }
            let sold: i64 = orders.values().map(|order| units_sold(order, &sku)).sum();
            if units("sold") - units("returned") != sold {
                problems.push(format!("{sku}: orders bought {sold} units: {account}"));
            }
            let listed = listed_holds(client, &sku).await;
            let held: i64 = listed.values().map(|hold| hold["quantity"].as_i64().unwrap()).sum();
            if held != units("held") {
                problems.push(format!("{sku}: holds of {held} units are listed: {account}"));
            }
            let pinned = listed.values().filter(|hold| !hold["order_id"].is_null());
            problems.extend(pinned.map(|hold| format!("{sku}: an order left a hold: {hold}")));
            for ((_, id), quantity) in holds.iter().filter(|((of, _), _)| *of == sku) {
                if listed.get(id).is_none_or(|hold| hold["quantity"] != *quantity) {
                    problems.push(format!("{sku}: hold {id} of {quantity} was acknowledged and is not listed"));
                }
            }
        }
        problems
    }

    fn compare_steps(&self, orders: &BTreeMap<String, Value>) -> Vec<String> {
        let facts = self.0.lock().unwrap();
        let mut problems = Vec::new();
        for (order, state) in &facts.steps {
            let history = orders.get(order).and_then(|order| order["history"].as_array());
            if !history.is_some_and(|history| history.iter().any(|row| row["state"] == state.as_str())) {
                problems.push(format!("order {order} was acknowledged as {state} and never was: {history:?}"));
            }
        }
        for (order, acknowledged) in &facts.refunds {
            let shown = orders.get(order).and_then(|order| order["refunds"].as_array());
            if shown.is_none_or(|refunds| refunds.len() as u64 != *acknowledged) {
                problems.push(format!("order {order}: {acknowledged} refunds were acknowledged: {shown:?}"));
            }
        }
        problems
    }

    async fn compare_carts(&self, client: &Client) -> Vec<String> {
        let carts = self.0.lock().unwrap().carts.clone();
        let mut problems = Vec::new();
        for (cart, expected) in carts {
            let shown = client.send(&Call::get(format!("/v1/carts/{cart}"))).await.expect(200);
            let lines = shown["lines"].as_array().unwrap().iter();
            let lines: BTreeMap<String, u64> =
                lines.map(|line| (text(&line["sku"]), line["quantity"].as_u64().unwrap())).collect();
            if lines != expected {
                problems.push(format!("cart {cart} has {lines:?}, acknowledged were {expected:?}"));
            }
        }
        problems
    }
}

fn compare_money(orders: &BTreeMap<String, Value>, books: &BTreeMap<String, Charges>) -> Vec<String> {
    let mut problems = Vec::new();
    for (id, order) in orders {
        let state = order["state"].as_str().unwrap();
        let nothing = Charges::default();
        let charges = books.get(id).unwrap_or(&nothing);
        let live = charges.live();
        let total = order["totals"]["total"].as_u64().unwrap();
        let right = match state {
            _ if !SETTLED.contains(&state) => {
                problems.push(format!("order {id} is still {state}"));
                continue;
            }
            _ if SOLD.contains(&state) => live.values().copied().collect::<Vec<_>>() == [total],
            _ => live.is_empty(),
        };
        if !right || charges.authorised.len() > 1 || !is_settled(order, charges) {
            problems.push(format!("order {id} is {state}, total {total}, but the provider has {charges:?}: {order}"));
        }
    }
    let strangers = books.iter().filter(|(id, charges)| !orders.contains_key(*id) && !charges.live().is_empty());
    problems.extend(strangers.map(|(id, charges)| format!("money of an unknown order {id}: {charges:?}")));
    problems
}

/// Whether money taken and given back is what the order says and its state demands.
fn is_settled(order: &Value, charges: &Charges) -> bool {
    let (captured, refunded) = (charges.captured.values().sum::<u64>(), charges.refunded.values().sum::<u64>());
    let said = |name: &str| order["payment"][name].as_u64().unwrap();
    let fits = match order["state"].as_str().unwrap() {
        "fulfilled" | "delivered" => captured == order["totals"]["total"].as_u64().unwrap(),
        "refunded" => captured > 0 && refunded == captured,
        "confirmed" => true,
        _ => captured == refunded,
    };
    fits && said("captured") == captured && said("refunded") == refunded && refunded <= captured
}

/// Every order the merchants' list knows, as its entity shows it.
async fn all_orders(client: &Client) -> (BTreeMap<String, Value>, Vec<String>) {
    let ids = pages(client, "/v1/admin/orders").await.into_iter().map(|row| text(&row["id"]));
    let (mut orders, mut problems) = (BTreeMap::new(), Vec::new());
    for id in ids {
        let shown = client.send(&Call::get(format!("/v1/orders/{id}"))).await;
        if shown.status == 200 {
            orders.insert(id, shown.body);
        } else {
            problems.push(format!("order {id} is listed, but answers {:#}", shown.body));
        }
    }
    (orders, problems)
}

async fn listed_holds(client: &Client, sku: &str) -> BTreeMap<String, Value> {
    let rows = pages(client, &format!("/v1/admin/stock/{sku}/holds")).await;
    rows.into_iter().map(|row| (text(&row["id"]), row)).collect()
}

/// All rows of a list.
async fn pages(client: &Client, path: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.send(&Call::get(format!("{path}?limit=200{cursor}")).merchant()).await.expect(200);
        rows.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

fn units_sold(order: &Value, sku: &str) -> i64 {
    if !SOLD.contains(&order["state"].as_str().unwrap()) {
        return 0;
    }
    let units = |lines: &Value| -> i64 {
        let lines = lines.as_array().unwrap().iter().filter(|line| line["sku"] == *sku);
        lines.map(|line| line["quantity"].as_i64().unwrap()).sum()
    };
    let given_back = order["refunds"].as_array().unwrap().iter().filter(|refund| refund["status"] == "refunded");
    units(&order["lines"]) - given_back.map(|refund| units(&refund["restock"])).sum::<i64>()
}

fn summary(orders: &BTreeMap<String, Value>) -> Summary {
    let mut summary = Summary::default();
    for order in orders.values() {
        let state = order["state"].as_str().unwrap();
        let money = |name: &str| order["payment"][name].as_u64().unwrap();
        summary.money = (summary.money.0 + money("captured"), summary.money.1 + money("refunded"));
        if SOLD.contains(&state) {
            summary.sold += 1;
            let lines = order["lines"].as_array().unwrap().iter();
            summary.units += lines.map(|line| line["quantity"].as_u64().unwrap()).sum::<u64>();
        }
        let ending = order["failure"]["code"].as_str().map_or(state.to_owned(), |code| format!("{state}: {code}"));
        *summary.endings.entry(ending).or_default() += 1;
    }
    summary
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
