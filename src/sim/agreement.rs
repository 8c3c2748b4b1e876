//! What the shop shows must be what its journals say: entities that live, lists and search against replayed states.
//!
//! Asked at rest. Lists bring in everything committed before they answer; search may lag a moment, so it is asked again
//! until [`SEARCH_LAG`] is over. A hold or an order that should be over by itself must be, without anybody looking at
//! it: a look brings an entity to life, and would hide that nobody woke it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::checks::{self, Broken, Orders, broken};
use super::laws;
use super::workload::Visitor;
use crate::domain::order::{OrderCommand, OrderReply};
use crate::domain::registry::{AnyCommand, AnyReply, AnyState};
use crate::domain::time::Timestamp;

/// How long search may show what was.
const SEARCH_LAG: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What the shop shows at rest.
#[derive(Default)]
pub struct Shown {
    /// Orders by id.
    pub orders: Orders,
    /// Stock accounts by SKU.
    pub stock: BTreeMap<String, Value>,
}

impl Shown {
    /// Whether a state replayed from the journal is what is shown of that entity.
    pub fn compare(&self, state: &AnyState) -> Option<Broken> {
        match state {
            AnyState::Stock(item) => {
                let shown = self.stock.get(&item.sku().to_string())?;
                laws::checked("SIM-LIVE-IS-JOURNAL");
                let numbers = item.numbers();
                let fields = [
                    ("available", numbers.available),
                    ("held", numbers.held),
                    ("sold", numbers.sold),
                    ("received", numbers.received),
                    ("returned", numbers.returned),
                ];
                let differs = fields.into_iter().any(|(name, units)| shown[name].as_u64() != Some(units));
                let detail = || format!("stock {}: replayed {numbers:?}, shown {shown}", item.sku());
                differs.then(|| broken("SIM-LIVE-IS-JOURNAL", detail()))
            }
            AnyState::Order(_) => {
                let shows = state.decide(&AnyCommand::Order(OrderCommand::Show), Timestamp::ZERO).ok()?;
                let AnyReply::Order(OrderReply::Shown(view)) = shows.reply else { return None };
                let shown = self.orders.get(&view.id.to_string())?;
                laws::checked("SIM-LIVE-IS-JOURNAL");
                let differs = shown["state"].as_str() != Some(view.state.name());
                let detail = || format!("order {}: replayed {}, shown {shown}", view.id, view.state.name());
                differs.then(|| broken("SIM-LIVE-IS-JOURNAL", detail()))
            }
            _ => None,
        }
    }

    /// Lists and search against the entities.
    pub async fn compare_projections(&self, merchant: &Visitor) -> Result<Vec<Broken>, String> {
        let listed = listed_orders(merchant).await?;
        let shown = self.orders.iter().map(|(id, order)| (id.clone(), checks::state(order).to_owned()));
        let mut found = differences("SIM-LISTS-AGREE", "order", &listed, &shown.collect());
        let available: BTreeMap<String, String> =
            self.stock.iter().map(|(sku, account)| (sku.clone(), account["available"].to_string())).collect();
        let deadline = Instant::now() + SEARCH_LAG;
        loop {
            let differ = differences("SIM-SEARCH-AGREES", "SKU", &searched(merchant).await?, &available);
            if differ.is_empty() || Instant::now() > deadline {
                found.extend(differ);
                return Ok(found);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// What only one side has, or has otherwise.
fn differences(
    law: &str,
    what: &str,
    projected: &BTreeMap<String, String>,
    real: &BTreeMap<String, String>,
) -> Vec<Broken> {
    let mut names: Vec<&String> = projected.keys().chain(real.keys()).collect();
    names.sort();
    names.dedup();
    laws::checked_times(law, names.len() as u64);
    let differ = names.into_iter().filter(|name| projected.get(*name) != real.get(*name));
    differ
        .map(|name| {
            let (shown, is) = (projected.get(name), real.get(name));
            broken(law, format!("{what} {name}: projected {shown:?}, the entity says {is:?}"))
        })
        .collect()
}

/// Order id → state, of all that are listed.
async fn listed_orders(merchant: &Visitor) -> Result<BTreeMap<String, String>, String> {
    let rows = pages(merchant, "/v1/admin/orders?limit=200").await?;
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| (text(row, "id"), text(row, "state"))).collect())
}

/// SKU → units free, of all that search finds.
async fn searched(merchant: &Visitor) -> Result<BTreeMap<String, String>, String> {
    let products = pages(merchant, "/v1/products?limit=100").await?;
    let variants = products.iter().flat_map(|product| product["variants"].as_array().into_iter().flatten());
    let units =
        |variant: &Value| (variant["sku"].as_str().unwrap_or_default().to_owned(), variant["available"].clone());
    Ok(variants.map(units).map(|(sku, available)| (sku, available.to_string())).collect())
}

/// Every item of a list.
pub(super) async fn pages(merchant: &Visitor, path: &str) -> Result<Vec<Value>, String> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = merchant.read(format!("{path}{cursor}")).await?;
        items.extend(page["items"].as_array().ok_or("a list has items")?.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

/// Waits until every listed order is over, asking none of them; those that are not by then.
pub async fn watch_orders(merchant: &Visitor, until: Instant) -> Result<Vec<Broken>, String> {
    loop {
        let orders = listed_orders(merchant).await?;
        let mut under_way = orders.iter().filter(|(_, state)| !checks::ENDED.contains(&state.as_str())).peekable();
        if under_way.peek().is_none() || Instant::now() > until {
            let stuck = under_way.map(|(id, state)| format!("order {id} is {state} and nobody drives it"));
            return Ok(stuck.map(|detail| broken("SIM-ORDERS-END", detail)).collect());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::EntityId;
    use serde_json::json;

    fn map(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
        rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_a_projection_lacks_has_too_much_or_has_otherwise_is_found() {
        let real = map(&[("a", "confirmed"), ("b", "failed")]);
        let count = |projected: &[(&str, &str)]| differences("SIM-LISTS-AGREE", "order", &map(projected), &real).len();
        assert_eq!(count(&[("a", "confirmed"), ("b", "failed")]), 0);
        assert_eq!(count(&[("a", "confirmed")]), 1);
        assert_eq!(count(&[("a", "placed"), ("b", "failed"), ("c", "placed")]), 2);
    }

    #[test]
    fn a_live_stock_item_that_counts_otherwise_than_its_journal_is_found() {
        let state = AnyState::new(&EntityId::stock(&"A".parse().unwrap()));
        let shown = |units: u64| {
            let account = json!({"available": units, "held": 0, "sold": 0, "received": 0, "returned": 0});
            Shown { stock: [("A".to_owned(), account)].into(), ..Shown::default() }
        };
        assert!(shown(0).compare(&state).is_none());
        assert_eq!(shown(1).compare(&state).unwrap().law, "SIM-LIVE-IS-JOURNAL");
    }
}
