//! The oracles: is everything that was acknowledged there, does everything add up, do the journals lead to it?
//!
//! They look at the shop at rest, through its HTTP API and through its journals, and at the provider's books. What a
//! shop at rest must look like is computed by the reference shop (`model`) from the history alone; the named laws
//! (`domain::invariants`, `domain::books`) are asked in addition, on states replayed from zero.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agreement::{self, Shown};
use super::history::{Fact, History, Row};
use super::model::{Money, Shop};
use super::refusals::Refusals;
use super::scenario::Scenario;
use super::time::now_ms;
use super::workload::{Visitor, sku};
use super::{failure, laws, linear};
use crate::domain::books::{Books, ProviderAccount};
use crate::domain::ids::{CommandId, EntityId};
use crate::domain::invariants;
use crate::domain::registry::AnyState;
use crate::domain::time::{Sequence, Timestamp};
use crate::payments::ledger::{Audit, Status};
use crate::persistence::journal::{Journal, JournalError};
use crate::persistence::log::GroupId;
use crate::persistence::records::{Record, Remembered, Snapshot, WINDOW};

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

pub(super) fn broken(law: &str, detail: impl Into<String>) -> Broken {
    Broken::new(law, detail)
}

/// Every order the shop knows, by id, as its entity shows it.
pub type Orders = BTreeMap<String, Value>;

/// States in which an order without merchants' help stays.
pub(super) const ENDED: &[&str] = &["confirmed", "fulfilled", "delivered", "cancelled", "failed", "refunded"];

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
    let listed = agreement::pages(merchant, "/v1/admin/orders?limit=200").await?;
    ids.extend(listed.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)));
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
pub async fn read_stock(merchant: &Visitor, products: u32) -> Result<BTreeMap<String, Value>, String> {
    let mut stock = BTreeMap::new();
    for product in 0..products {
        let sku = sku(product);
        let account = merchant.read(format!("/v1/admin/stock/{sku}")).await?;
        stock.insert(sku, account);
    }
    Ok(stock)
}

/// Of which SKUs something is held; holds end by themselves.
pub async fn what_is_held(merchant: &Visitor, products: u32) -> Result<Vec<Broken>, String> {
    let stock = read_stock(merchant, products).await?;
    let held = stock.values().filter(|account| account["held"] != 0);
    Ok(held.map(|account| broken("SIM-HOLDS-END", format!("holds have not ended: {account}"))).collect())
}

/// The shop at rest against the reference shop, the answers it gave against each other.
pub fn check_shop(scenario: &Scenario, history: &History, shown: &Shown, audit: &Audit) -> Vec<Broken> {
    let rows = history.rows();
    let mut complaints = Shop::of(&rows).compare(&shown.orders, &shown.stock, &money(audit));
    let answers = linear::judge(&rows, scenario.has_right_clocks());
    laws::checked_times("SIM-LINEARIZABLE", answers.searched);
    for entity in answers.undecided {
        history.add("world", Fact::Undecided { entity });
    }
    complaints.extend(answers.complaints);
    if audit.conflicts > 0 {
        complaints.push(("SIM-ONE-CHARGE", format!("{} payment keys were reused", audit.conflicts)));
    }
    complaints.into_iter().map(|(law, detail)| broken(law, detail)).collect()
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
    (shown, audit): (&Shown, &Audit),
) -> Result<(Vec<Broken>, u64), JournalError> {
    let (mut found, mut books, mut records) = (Vec::new(), Books::default(), 0);
    let mut refusals = Refusals::default();
    for group in groups {
        let mut last: Option<EntityId> = None;
        loop {
            let entities = journal.entities(group, last.as_ref(), 256).await?;
            for entity in &entities {
                let (state, count) = replay(journal, group, entity, (&mut found, &mut refusals)).await?;
                records += count;
                if let Some(state) = state {
                    found.extend(invariants::check(&state).into_iter().map(|breach| broken(breach.law, breach.detail)));
                    found.extend(shown.compare(&state));
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
    found.extend(refusals.judge());
    Ok((found, records))
}

async fn replay(
    journal: &Journal,
    group: GroupId,
    entity: &EntityId,
    (found, refusals): (&mut Vec<Broken>, &mut Refusals),
) -> Result<(Option<AnyState>, u64), JournalError> {
    let snapshot = journal.snapshot(group, entity).await?;
    let (mut state, mut next, mut count) = (AnyState::new(entity), Sequence::ZERO.next(), 0);
    let (mut window, mut last_at) = (VecDeque::new(), Timestamp::ZERO);
    loop {
        let records = journal.history(group, entity, next, 512).await?;
        let Some(last) = records.last() else {
            refusals.at_rest(&state, last_at);
            return Ok((Some(state), count));
        };
        last_at = last.at;
        next = last.sequence.next();
        for record in &records {
            count += 1;
            remember(&mut window, record);
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
            refusals.after_record(&state, record.at);
            if let Some(snapshot) = snapshot.as_ref().filter(|snapshot| snapshot.sequence == record.sequence)
                && differs(snapshot, &state, &window)
            {
                found.push(broken("SIM-SNAPSHOT", format!("{entity}: the snapshot at {} differs", record.sequence)));
            }
        }
    }
}

fn differs(snapshot: &Snapshot, replayed: &AnyState, window: &VecDeque<(Timestamp, CommandId)>) -> bool {
    laws::checked("SIM-SNAPSHOT");
    let remembered = snapshot.window.iter().map(|entry| entry.stamp.command);
    format!("{:?}", snapshot.state) != format!("{replayed:?}") || !remembered.eq(window.iter().map(|(_, id)| *id))
}

/// Router-drawn command ids that a snapshot after this record has: those of the last ten minutes.
fn remember(window: &mut VecDeque<(Timestamp, CommandId)>, record: &Record) {
    if record.remembered == Remembered::Window {
        window.push_back((record.at, record.stamp.command));
    }
    while window.front().is_some_and(|(at, _)| record.at.since(*at) > WINDOW) {
        window.pop_front();
    }
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

pub(super) fn state(order: &Value) -> &str {
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
