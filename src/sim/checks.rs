//! The oracles: is everything that was acknowledged there, does everything add up, do the journals lead to it?
//!
//! They look at the shop at rest, through its HTTP API and through its journals, and at the provider's books. What a
//! shop at rest must look like is computed by the reference shop (`model`) from the history alone; the named laws
//! (`domain::invariants`, `domain::books`) are asked in addition, on states replayed from zero.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::history::Row;
use super::model::{Money, Shop};
use super::time::now_ms;
use super::workload::{Visitor, sku};
use super::{failure, laws};
use crate::domain::books::{Books, ProviderAccount};
use crate::domain::ids::EntityId;
use crate::domain::invariants;
use crate::domain::registry::AnyState;
use crate::domain::time::Sequence;
use crate::payments::ledger::{Audit, Status};
use crate::persistence::journal::{Journal, JournalError};
use crate::persistence::log::GroupId;

/// A law that does not hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Broken {
    /// Which.
    pub law: String,
    /// About what, and how; names who it is about first.
    pub detail: String,
    /// Whom it is about, `kind/key`, as far as that is one.
    pub entity: Option<String>,
    /// The world's step after which it was seen.
    pub step: u64,
    /// Virtual milliseconds since the world began.
    pub at_ms: u64,
}

impl Broken {
    /// Seen now, about whoever the detail names first; the runner adds the step.
    pub fn new(law: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let entity = failure::entity_in(&detail);
        Self { law: law.to_owned(), detail, entity, step: 0, at_ms: now_ms() }
    }
}

fn broken(law: &str, detail: impl Into<String>) -> Broken {
    Broken::new(law, detail)
}

/// Every order the shop knows, by id, as its entity shows it.
pub type Orders = BTreeMap<String, Value>;

/// States in which an order without merchants' help stays.
const ENDED: &[&str] = &["confirmed", "fulfilled", "delivered", "cancelled", "failed", "refunded"];

/// Whether nothing is under way any more, captures and refunds included.
pub fn all_ended(orders: &Orders) -> bool {
    orders.values().all(|order| {
        let mut refunds = order["refunds"].as_array().into_iter().flatten();
        ENDED.contains(&state(order)) && refunds.all(|refund| refund["status"] != "pending")
    })
}

/// Reads all orders, those acknowledged and those only the list knows.
pub async fn read_orders(merchant: &Visitor, history: &[Row]) -> Result<(Orders, Vec<Broken>), String> {
    let mut ids: Vec<String> = Shop::of(history).order_ids().cloned().collect();
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
        laws::checked("SIM-ACCEPTED-IS-KEPT");
        match merchant.read(format!("/v1/orders/{id}")).await {
            Ok(order) => drop(orders.insert(id, order)),
            Err(error) => missing.push(broken("SIM-ACCEPTED-IS-KEPT", format!("order {id} was acknowledged: {error}"))),
        }
    }
    Ok((orders, missing))
}

/// The stock accounts of all products, by SKU.
async fn read_stock(merchant: &Visitor, products: u32) -> Result<BTreeMap<String, Value>, String> {
    let mut stock = BTreeMap::new();
    for product in 0..products {
        let sku = sku(product);
        let account = merchant.read(format!("/v1/admin/stock/{sku}")).await?;
        stock.insert(sku, account);
    }
    Ok(stock)
}

/// Whether every hold has ended, as holds do by themselves.
pub async fn nothing_is_held(merchant: &Visitor, products: u32) -> Result<bool, String> {
    let stock = read_stock(merchant, products).await?;
    Ok(stock.values().all(|account| account["held"] == 0))
}

/// The shop at rest against the reference shop.
pub async fn check_shop(
    merchant: &Visitor,
    products: u32,
    history: &[Row],
    orders: &Orders,
    audit: &Audit,
) -> Result<Vec<Broken>, String> {
    let stock = read_stock(merchant, products).await?;
    let mut found = Vec::new();
    if audit.conflicts > 0 {
        found.push(broken("SIM-ONE-CHARGE", format!("{} payment keys were reused", audit.conflicts)));
    }
    let complaints = Shop::of(history).compare(orders, &stock, &money(audit));
    found.extend(complaints.into_iter().map(|(law, detail)| broken(law, detail)));
    Ok(found)
}

/// The provider's books by order.
fn money(audit: &Audit) -> BTreeMap<String, Money> {
    let mut orders: BTreeMap<String, Money> = BTreeMap::new();
    for account in audit.accounts.values() {
        let money = orders.entry(account.order.to_string()).or_default();
        if account.status == Status::Authorised && account.authorised > account.voided {
            money.charges += 1;
            money.authorised += account.authorised - account.voided;
        }
        money.captured += account.captured;
        money.refunded += account.refunded;
    }
    orders
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
    laws::checked_books();
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
            laws::checked("SIM-REPLAY");
            laws::checked_entity(entity.kind);
            if replayed.is_err() {
                found.push(broken("SIM-REPLAY", format!("{entity} panics at record {}", record.sequence)));
                return Ok((None, count));
            }
            if let Some(snapshot) = snapshot.as_ref().filter(|snapshot| snapshot.sequence == record.sequence)
                && differs(&snapshot.state, &state)
            {
                found.push(broken("SIM-SNAPSHOT", format!("{entity}: the snapshot at {} differs", record.sequence)));
            }
        }
    }
}

fn differs(snapshot: &AnyState, replayed: &AnyState) -> bool {
    laws::checked("SIM-SNAPSHOT");
    format!("{snapshot:?}") != format!("{replayed:?}")
}

/// What the provider has for each order.
pub fn accounts(audit: &Audit) -> BTreeMap<crate::domain::ids::OrderId, ProviderAccount> {
    let mut accounts: BTreeMap<_, ProviderAccount> = BTreeMap::new();
    for account in audit.accounts.values() {
        let sum = accounts.entry(account.order).or_default();
        sum.authorised += account.authorised - account.captured - account.voided;
        sum.captured += account.captured;
        sum.refunded += account.refunded;
    }
    accounts
}

fn state(order: &Value) -> &str {
    order["state"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::OrderId;
    use crate::payments::ledger::Account;

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
    fn an_authorisation_that_was_voided_is_no_charge() {
        let counted = |account: Account| money(&audit(vec![account])).into_values().next().unwrap_or_default();
        let live = account(Status::Authorised, 300);
        assert_eq!(counted(live.clone()), Money { authorised: 300, charges: 1, captured: 0, refunded: 0 });
        assert_eq!(counted(Account { voided: 300, ..live.clone() }), Money::default());
        assert_eq!(counted(Account { captured: 300, ..live }).captured, 300);
        assert_eq!(counted(account(Status::Declined, 0)), Money::default());
    }

    #[test]
    fn an_order_on_its_way_has_not_ended() {
        assert!(all_ended(&Orders::from([order("confirmed")])));
        assert!(!all_ended(&Orders::from([order("authorizing")])));
    }
}
