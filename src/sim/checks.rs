//! The oracles: is everything that was acknowledged there, does everything add up, do the journals lead to it?
//!
//! They look at the shop at rest, through its HTTP API and through its journals, and at the provider's books. What a
//! shop at rest must look like is computed here from the history alone; no rule of the domain is used for it, only the
//! named laws (`domain::invariants`, `domain::books`) are asked in addition, on states replayed from zero.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde_json::Value;

use super::history::{Fact, Row};
use super::workload::{Visitor, sku};
use crate::domain::books::{Books, ProviderAccount};
use crate::domain::ids::EntityId;
use crate::domain::invariants;
use crate::domain::registry::AnyState;
use crate::domain::time::Sequence;
use crate::payments::ledger::{Account, Audit, Status};
use crate::persistence::journal::{Journal, JournalError};
use crate::persistence::log::GroupId;

/// A law that does not hold.
#[derive(Clone, Debug, Serialize)]
pub struct Broken {
    /// Which.
    pub law: String,
    /// About what, and how.
    pub detail: String,
}

fn broken(law: &str, detail: impl Into<String>) -> Broken {
    Broken { law: law.to_owned(), detail: detail.into() }
}

/// Every order the shop knows, by id, as its entity shows it.
pub type Orders = BTreeMap<String, Value>;

/// States in which an order sold its units.
const SOLD: &[&str] = &["confirmed", "fulfilled", "delivered"];
/// States in which an order without merchants' help stays.
const ENDED: &[&str] = &["confirmed", "fulfilled", "delivered", "cancelled", "failed", "refunded"];

/// Whether nothing is under way any more.
pub fn all_ended(orders: &Orders) -> bool {
    orders.values().all(|order| ENDED.contains(&state(order)))
}

/// Reads all orders, those acknowledged and those only the list knows.
pub async fn read_orders(merchant: &Visitor, history: &[Row]) -> Result<(Orders, Vec<Broken>), String> {
    let mut ids: Vec<String> = acknowledged(history).map(|(order, _)| order.to_owned()).collect();
    let mut cursor = String::new();
    loop {
        let page = merchant.read(format!("/v1/admin/orders?limit=200{cursor}")).await?;
        let rows = page["items"].as_array().ok_or("a list of orders has items")?;
        ids.extend(rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let (mut orders, mut missing) = (Orders::new(), Vec::new());
    for id in ids {
        if orders.contains_key(&id) {
            continue;
        }
        match merchant.read(format!("/v1/orders/{id}")).await {
            Ok(order) => drop(orders.insert(id, order)),
            Err(error) => missing.push(broken("SIM-ACCEPTED-IS-KEPT", format!("order {id} was acknowledged: {error}"))),
        }
    }
    Ok((orders, missing))
}

/// Orders and stock as the history says they must be.
pub async fn check_shop(
    merchant: &Visitor,
    products: u32,
    history: &[Row],
    orders: &Orders,
) -> Result<Vec<Broken>, String> {
    let mut found = Vec::new();
    for (id, lines) in acknowledged(history) {
        let Some(order) = orders.get(id) else { continue };
        if &lines_of(order) != lines {
            found.push(broken("SIM-ORDER-IS-WHAT-WAS-ASKED", format!("order {id}: asked {lines:?}, is {order}")));
        }
    }
    for product in 0..products {
        let sku = sku(product);
        let account = merchant.read(format!("/v1/admin/stock/{sku}")).await?;
        let units = |name: &str| account[name].as_u64().unwrap_or(u64::MAX);
        let received: u64 = history.iter().map(|row| received(row, &sku)).sum();
        let sold: u64 = orders.values().filter(|order| SOLD.contains(&state(order))).map(|o| line_of(o, &sku)).sum();
        let expected = [("received", received), ("held", 0), ("available", received.saturating_sub(sold))];
        for (name, expected) in expected {
            if units(name) != expected {
                let detail = format!("{sku}: {name} is {}, the history says {expected}: {account}", units(name));
                found.push(broken("SIM-UNITS-ADD-UP", detail));
            }
        }
        if sold > received {
            found.push(broken("SIM-SOLD-ONCE", format!("{sku}: {sold} sold of {received} received")));
        }
    }
    Ok(found)
}

/// What the provider has against what the orders say: one live payment per sold order, none for others.
pub fn check_money(orders: &Orders, audit: &Audit) -> Vec<Broken> {
    let mut live: BTreeMap<String, Vec<&Account>> = BTreeMap::new();
    for account in audit.accounts.values() {
        if account.status == Status::Authorised && account.authorised > account.voided + account.refunded {
            live.entry(account.order.to_string()).or_default().push(account);
        }
    }
    let mut found = Vec::new();
    if audit.conflicts > 0 {
        found.push(broken("SIM-ONE-CHARGE", format!("{} payment keys were reused", audit.conflicts)));
    }
    for (id, order) in orders {
        let charges: Vec<u64> = live.remove(id).unwrap_or_default().iter().map(|account| account.authorised).collect();
        let total = order["totals"]["total"].as_u64().unwrap_or(u64::MAX);
        let right = if SOLD.contains(&state(order)) { charges == [total] } else { charges.is_empty() };
        if !right {
            let detail = format!("order {id} is {}, total {total}, the provider has {charges:?}", state(order));
            found.push(broken("SIM-ONE-CHARGE", detail));
        }
    }
    found.extend(live.keys().map(|id| broken("SIM-ONE-CHARGE", format!("money of order {id}, which nobody has"))));
    found
}

/// Replays every journal of these groups from zero: each record's laws, every snapshot, the books between entities.
pub async fn check_journals(
    journal: &Journal,
    groups: impl Iterator<Item = GroupId>,
    audit: &Audit,
) -> Result<(Vec<Broken>, u64), JournalError> {
    let (mut found, mut books, mut records) = (Vec::new(), Books::default(), 0);
    for group in groups {
        let mut last: Option<EntityId> = None;
        loop {
            let entities = journal.entities(group, last.as_ref(), 256).await?;
            for entity in &entities {
                let (state, count) = replay(journal, group, entity, &mut found).await?;
                records += count;
                if let Some(state) = state {
                    found.extend(invariants::check(&state).into_iter().map(|breach| broken(breach.law, breach.detail)));
                    books.add(&state);
                }
            }
            last = entities.last().cloned();
            if last.is_none() {
                break;
            }
        }
    }
    for (order, account) in accounts(audit) {
        books.add_account(order, account);
    }
    found.extend(books.breaches().into_iter().map(|breach| broken(breach.law, breach.detail)));
    Ok((found, records))
}

async fn replay(
    journal: &Journal,
    group: GroupId,
    entity: &EntityId,
    found: &mut Vec<Broken>,
) -> Result<(Option<AnyState>, u64), JournalError> {
    let snapshot = journal.snapshot(group, entity).await?;
    let (mut state, mut next, mut count) = (AnyState::new(entity), Sequence::ZERO.next(), 0);
    loop {
        let records = journal.history(group, entity, next, 512).await?;
        let Some(last) = records.last() else { return Ok((Some(state), count)) };
        next = last.sequence.next();
        for record in &records {
            count += 1;
            let replayed = catch_unwind(AssertUnwindSafe(|| {
                record.events.iter().for_each(|event| state.apply(event, record.at));
                state.assert_invariants();
            }));
            if replayed.is_err() {
                found.push(broken("SIM-REPLAY", format!("{entity} panics at record {}", record.sequence)));
                return Ok((None, count));
            }
            if let Some(snapshot) = snapshot.as_ref().filter(|snapshot| snapshot.sequence == record.sequence)
                && format!("{:?}", snapshot.state) != format!("{state:?}")
            {
                found.push(broken("SIM-SNAPSHOT", format!("{entity}: the snapshot at {} differs", record.sequence)));
            }
        }
    }
}

fn accounts(audit: &Audit) -> BTreeMap<crate::domain::ids::OrderId, ProviderAccount> {
    let mut accounts: BTreeMap<_, ProviderAccount> = BTreeMap::new();
    for account in audit.accounts.values() {
        let sum = accounts.entry(account.order).or_default();
        sum.authorised += account.authorised - account.captured - account.voided;
        sum.captured += account.captured;
        sum.refunded += account.refunded;
    }
    accounts
}

fn acknowledged(history: &[Row]) -> impl Iterator<Item = (&str, &BTreeMap<String, u64>)> {
    history.iter().filter_map(|row| match &row.fact {
        Fact::Ordered { order, lines, .. } => Some((order.as_str(), lines)),
        _ => None,
    })
}

fn received(row: &Row, of: &str) -> u64 {
    match &row.fact {
        Fact::Received { sku, units } if sku == of => *units,
        _ => 0,
    }
}

fn state(order: &Value) -> &str {
    order["state"].as_str().unwrap_or_default()
}

fn lines_of(order: &Value) -> BTreeMap<String, u64> {
    let lines = order["lines"].as_array().into_iter().flatten();
    lines.filter_map(|line| Some((line["sku"].as_str()?.to_owned(), line["quantity"].as_u64()?))).collect()
}

fn line_of(order: &Value, sku: &str) -> u64 {
    lines_of(order).get(sku).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::OrderId;

    fn order(state: &str) -> (String, Value) {
        let id = OrderId([1; 16]).to_string();
        (id.clone(), json!({"id": id, "state": state, "totals": {"total": 300}, "lines": []}))
    }

    fn account(status: Status, authorised: u64) -> Account {
        let order = OrderId([1; 16]);
        let (captured, voided, refunded, notice_due) = (0, 0, 0, false);
        Account { order, requested: None, status, authorised, captured, voided, refunded, notice_due }
    }

    fn audit(accounts: Vec<Account>) -> Audit {
        let keyed = accounts.into_iter().enumerate().map(|(number, account)| (number.to_string(), account));
        Audit { accounts: keyed.collect(), conflicts: 0 }
    }

    #[test]
    fn one_charge_of_the_total_for_a_sold_order_is_right_and_nothing_else() {
        let (sold, failed) = (Orders::from([order("confirmed")]), Orders::from([order("failed")]));
        let authorised = |units| account(Status::Authorised, units);
        assert!(check_money(&sold, &audit(vec![authorised(300)])).is_empty());
        assert!(check_money(&failed, &audit(vec![account(Status::Declined, 0)])).is_empty());
        let wrong = [
            check_money(&sold, &audit(vec![])),
            check_money(&sold, &audit(vec![authorised(299)])),
            check_money(&sold, &audit(vec![authorised(300), authorised(300)])),
            check_money(&failed, &audit(vec![authorised(300)])),
            check_money(&Orders::new(), &audit(vec![authorised(300)])),
            check_money(&Orders::new(), &Audit { conflicts: 1, ..audit(vec![]) }),
        ];
        assert!(wrong.iter().all(|found| found.len() == 1 && found[0].law == "SIM-ONE-CHARGE"), "{wrong:?}");
    }

    #[test]
    fn an_order_on_its_way_has_not_ended() {
        assert!(all_ended(&Orders::from([order("confirmed")])));
        assert!(!all_ended(&Orders::from([order("authorizing")])));
    }
}
