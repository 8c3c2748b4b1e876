//! The simulated payment provider's books, read as an outside auditor would: from its file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::shop::Home;

/// What the provider did for one order.
#[derive(Debug, Default)]
pub struct Charges {
    /// Keys under which money was ever set aside, and how much.
    pub authorised: BTreeMap<String, u64>,
    /// Keys given up.
    pub voided: BTreeSet<String>,
    /// Captures, by key.
    pub captured: BTreeMap<String, u64>,
    /// Money given back, by key.
    pub refunded: BTreeMap<String, u64>,
}

impl Charges {
    /// Money the shopper is without: set aside and not given up.
    pub fn live(&self) -> BTreeMap<&str, u64> {
        let live = self.authorised.iter().filter(|(key, _)| !self.voided.contains(*key));
        live.map(|(key, amount)| (key.as_str(), *amount)).collect()
    }
}

/// All of it, by order.
pub fn read(home: &Home) -> BTreeMap<String, Charges> {
    let text = std::fs::read_to_string(home.books()).unwrap();
    let mut orders: BTreeMap<String, Charges> = BTreeMap::new();
    let mut pending: BTreeMap<String, (String, u64)> = BTreeMap::new();
    for line in text.lines().filter(|line| line.len() > 9) {
        let entry: Value = serde_json::from_str(&line[9..]).unwrap();
        if let Some(key) = entry["Settled"]["key"].as_str() {
            let (order, amount) = pending[key].clone();
            orders.entry(order).or_default().authorised.insert(key.to_owned(), amount);
        }
        if let Some(answered) = entry.get("Answered") {
            enter(answered, &mut orders, &mut pending);
        }
    }
    orders
}

fn enter(answered: &Value, orders: &mut BTreeMap<String, Charges>, pending: &mut BTreeMap<String, (String, u64)>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (key, order, asked) = (text(&answered["key"]), text(&answered["order"]), &answered["asked"]);
    let amount = |asked: &Value| asked["amount"]["amount"].as_u64().unwrap();
    let charges = orders.entry(order.clone()).or_default();
    match (asked.as_object().unwrap().keys().next().unwrap().as_str(), answered["outcome"].as_str()) {
        ("Authorise", Some("Authorised")) => {
            charges.authorised.insert(key, amount(&asked["Authorise"]));
        }
        ("Authorise", Some("Pending")) => {
            pending.insert(key, (order, amount(&asked["Authorise"])));
        }
        ("Void", Some("Voided")) => {
            charges.voided.insert(text(&asked["Void"]["authorisation"]));
        }
        ("Capture", Some("Captured")) => {
            charges.captured.insert(key, amount(&asked["Capture"]));
        }
        ("Refund", Some("Refunded")) => {
            charges.refunded.insert(key, amount(&asked["Refund"]));
        }
        _ => {}
    }
}
