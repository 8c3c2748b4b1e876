//! The watch: laws looked at after every step of the world, from outside it.
//!
//! It follows every node's journal as records are stored, applies each to a state of its own and lets that state assert
//! its laws; now and then it recounts what changed, compares the books between entities and looks at the provider's.
//! A panic, an entity taken out of service and an answer a visitor found odd are seen at the step they happen, too.
//! A record once stored is committed: after a crash it must come back as it was, or what was accepted is lost. The
//! watch's own states never fall back, so together they are always a state the shop was in.
//!
//! It reads disks aside (`SimStore::aside`): no power is needed, no armed step notices, nothing is drawn. A world with
//! a watch runs exactly as one without.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use xxhash_rust::xxh3::xxh3_64;

use super::callbook;
use super::checks::{self, Broken};
use super::history::{Fact, History};
use super::host::Machine;
use super::laws;
use super::report::Mark;
use super::time::now_ms;
use super::trace::Trace;
use crate::cluster::hashing::ShardCount;
use crate::domain::books::Books;
use crate::domain::ids::EntityId;
use crate::domain::invariants;
use crate::domain::order::HistoryRow;
use crate::domain::registry::AnyState;
use crate::domain::time::Sequence;
use crate::payments::ledger::{Audit, Status};
use crate::persistence::journal::{Journal, JournalError};
use crate::persistence::log::GroupId;
use crate::persistence::records::Record;

/// Books are compared about this often in a safety phase.
const COMPARISONS: u64 = 100;
/// And not more often than this.
const COMPARE_EVERY_MIN: Duration = Duration::from_millis(250);
/// Feed rows read at once.
const ROWS_MAX: usize = 512;

/// One node's journal, as far as it was followed.
struct Followed {
    machine: Arc<Machine>,
    journal: Journal,
    /// Changes of the store when it was last looked at.
    changes: u64,
    /// Per group: log index applied when last looked at.
    applied: BTreeMap<GroupId, u64>,
}

/// What is known of an entity.
struct Known {
    group: GroupId,
    state: AnyState,
    /// Of every record, in order: its digest and how it is shown.
    records: Vec<(u64, Mark)>,
}

/// Looks at one world.
pub struct Watch {
    nodes: Vec<Followed>,
    entities: BTreeMap<EntityId, Known>,
    /// Changed since they were last recounted.
    touched: BTreeSet<EntityId>,
    states: BTreeMap<String, u64>,
    history: History,
    /// Lines of the history looked at.
    heard: usize,
    /// What the provider was asked and told.
    calls: callbook::Book,
    trace: Trace,
    compare_every: Duration,
    compare_next: Duration,
    step: u64,
    found: Vec<Broken>,
}

impl Watch {
    /// Watches these machines, whose safety phase lasts so long.
    pub fn new(machines: &[Arc<Machine>], history: History, trace: Trace, safety: Duration) -> Self {
        let follow = |machine: &Arc<Machine>| Followed {
            machine: machine.clone(),
            journal: Journal::new(machine.disk.store.aside()),
            changes: 0,
            applied: BTreeMap::new(),
        };
        Self {
            nodes: machines.iter().map(follow).collect(),
            entities: BTreeMap::new(),
            touched: BTreeSet::new(),
            states: BTreeMap::new(),
            history,
            heard: 0,
            calls: callbook::Book::default(),
            trace,
            compare_every: (safety / COMPARISONS as u32).max(COMPARE_EVERY_MIN),
            compare_next: Duration::ZERO,
            step: 0,
            found: Vec::new(),
        }
    }

    /// After a step of the world, before anything crashes: the laws that do not hold. `audit` asks for the provider's
    /// books.
    pub fn look(&mut self, step: u64, now: Duration, audit: impl FnOnce() -> Option<Audit>) -> Vec<Broken> {
        self.step = step;
        for index in 0..self.nodes.len() {
            self.follow(index);
        }
        if now >= self.compare_next {
            self.compare_next = now + self.compare_every;
            self.recount();
            if let Some(audit) = audit() {
                self.compare(&audit);
            }
        }
        self.hear();
        std::mem::take(&mut self.found)
    }

    /// At rest: everything ever stored must be in somebody's journal.
    pub fn rest(&mut self) -> Vec<Broken> {
        let mut lost = Vec::new();
        for (entity, known) in &self.entities {
            laws::checked("SIM-ACCEPTED-IS-KEPT");
            let last = |node: &Followed| now(node.journal.tail(known.group, entity)).map_or(0, |tail| tail.last.0);
            let there = self.nodes.iter().map(last).max().unwrap_or(0);
            if (there as usize) < known.records.len() {
                let detail = format!("{entity}: {} records were stored, {there} are there", known.records.len());
                lost.push(Broken::new("SIM-ACCEPTED-IS-KEPT", detail));
            }
        }
        lost
    }

    /// How often an order came into each state.
    pub fn states(&self) -> BTreeMap<String, u64> {
        self.states.clone()
    }

    /// The journal of an entity, as it was seen.
    pub fn journal(&self, entity: &str) -> Vec<Mark> {
        let known = entity.parse().ok().and_then(|entity: EntityId| self.entities.get(&entity));
        known.map_or(Vec::new(), |known| known.records.iter().map(|(_, mark)| mark.clone()).collect())
    }

    /// The state of an entity, replayed.
    pub fn state(&self, entity: &str) -> Option<String> {
        let entity: EntityId = entity.parse().ok()?;
        self.entities.get(&entity).map(|known| format!("{:#?}", known.state))
    }

    /// What was stored on a node since the last look.
    fn follow(&mut self, index: usize) {
        let node = &self.nodes[index];
        let changes = node.machine.disk.store.changes();
        if changes == node.changes {
            return;
        }
        let (journal, name) = (node.journal.clone(), node.machine.name.clone());
        let shards = ShardCount::new(node.machine.manner.shards).expect("the scenario was checked");
        for group in std::iter::once(GroupId::META).chain(shards.groups()) {
            let until = now(journal.applied(group)).ok().flatten().map_or(0, |applied| applied.index);
            let seen = self.nodes[index].applied.insert(group, until).unwrap_or(0);
            if until > seen
                && let Err(error) = self.follow_group(&journal, group, seen + 1)
            {
                self.found.push(Broken::new("SIM-REPLAY", format!("the journal of {name} cannot be read: {error}")));
            }
        }
        self.nodes[index].changes = changes;
    }

    fn follow_group(&mut self, journal: &Journal, group: GroupId, from: u64) -> Result<(), JournalError> {
        let mut from = from;
        loop {
            let rows = match now(journal.feed(group, from, ROWS_MAX)) {
                Err(JournalError::FeedTrimmed { floor }) => {
                    from = floor;
                    continue;
                }
                rows => rows?,
            };
            let Some(last) = rows.last() else { return Ok(()) };
            from = last.log_index + 1;
            for item in rows.iter().flat_map(|row| &row.items) {
                let known = self.entities.get(&item.entity).map_or(0, |known| known.records.len() as u64);
                let first = Sequence(item.first_sequence.0.min(known + 1));
                let end = item.first_sequence.0 + u64::from(item.record_count);
                let count = usize::try_from(end - first.0).unwrap_or(usize::MAX);
                for record in now(journal.history(group, &item.entity, first, count))? {
                    self.see(group, &item.entity, &record);
                }
            }
        }
    }

    fn see(&mut self, group: GroupId, entity: &EntityId, record: &Record) {
        let digest = xxh3_64(format!("{record:?}").as_bytes());
        let known = self.entities.entry(entity.clone()).or_insert_with(|| Known {
            group,
            state: AnyState::new(entity),
            records: Vec::new(),
        });
        let number = record.sequence.0 as usize;
        if let Some((before, _)) = number.checked_sub(1).and_then(|index| known.records.get(index)) {
            laws::checked("SIM-ACCEPTED-IS-KEPT");
            if *before != digest {
                let detail = format!("{entity}: record {number} was stored, and is another one now: {record:?}");
                self.found.push(Broken::new("SIM-ACCEPTED-IS-KEPT", detail));
            }
            return;
        }
        let mark = Mark { sequence: record.sequence.0, step: self.step, at_ms: now_ms(), events: shown(record) };
        known.records.push((digest, mark));
        laws::checked_entity(entity.kind);
        let state = &mut known.state;
        let rows_before = rows_of(state).len();
        let replayed = catch_unwind(AssertUnwindSafe(|| {
            record.events.iter().for_each(|event| state.apply(event, record.at));
            state.assert_invariants();
        }));
        if replayed.is_err() {
            self.trace.accuse(entity.to_string());
        }
        for row in rows_of(&known.state).iter().skip(rows_before) {
            *self.states.entry(row.state.name().to_owned()).or_default() += 1;
        }
        self.touched.insert(entity.clone());
    }

    /// Recounts what changed.
    fn recount(&mut self) {
        for entity in std::mem::take(&mut self.touched) {
            let breaches = invariants::check(&self.entities[&entity].state);
            self.found.extend(
                breaches.into_iter().map(|breach| Broken {
                    entity: Some(entity.to_string()),
                    ..Broken::new(breach.law, breach.detail)
                }),
            );
        }
    }

    /// Compares entities with each other and with the provider.
    fn compare(&mut self, audit: &Audit) {
        let mut books = Books::default();
        self.entities.values().for_each(|known| books.add(&known.state));
        for (order, account) in checks::accounts(audit) {
            books.add_account(order, account);
        }
        laws::checked_books();
        let breaches = books.breaches().into_iter();
        self.found.extend(breaches.map(|breach| Broken::new(breach.law, breach.detail)));
        let mut charges: BTreeMap<String, u64> = BTreeMap::new();
        for account in audit.accounts.values() {
            let live = account.status == Status::Authorised && account.authorised > account.voided;
            *charges.entry(account.order.to_string()).or_default() += u64::from(live);
        }
        for (order, charges) in charges {
            laws::checked("SIM-ONE-CHARGE");
            if charges > 1 {
                let detail = format!("order {order} is charged {charges} times at once");
                self.found.push(Broken::new("SIM-ONE-CHARGE", detail));
            }
        }
    }

    /// What visitors found odd, what the provider must not be asked, what panicked, who was taken out of service.
    fn hear(&mut self) {
        let rows = self.history.since(self.heard);
        self.heard += rows.len();
        for row in rows {
            self.calls.hear(&row.fact);
            if let Fact::Odd { law, detail } = row.fact {
                self.found.push(Broken::new(law, detail));
            }
        }
        let wrong = self.calls.take_complaints().into_iter();
        self.found.extend(wrong.map(|(law, detail)| Broken::new(law, detail)));
        let heard = self.trace.take_heard();
        for panic in heard.panics {
            let law = laws::named_by(&panic).unwrap_or("SIM-NOTHING-PANICS").to_owned();
            let broken = Broken::new(&law, panic);
            let entity = heard.accused.first().cloned().or(broken.entity.clone());
            self.found.push(Broken { entity, ..broken });
        }
        for entity in heard.quarantined {
            self.found.push(Broken::new("SIM-NO-QUARANTINE", format!("{entity} was taken out of service")));
        }
    }
}

/// The states an order was in; nothing of anybody else.
fn rows_of(state: &AnyState) -> &[HistoryRow] {
    match state {
        AnyState::Order(order) => order.history(),
        _ => &[],
    }
}

/// A read from aside, which never waits.
fn now<T>(read: impl Future<Output = Result<T, JournalError>>) -> Result<T, JournalError> {
    read.now_or_never().expect("a store read aside answers at once")
}

/// A record's events, short enough to be read.
fn shown(record: &Record) -> String {
    const CHARS_MAX: usize = 300;
    let all = format!("{:?}", record.events);
    if all.chars().count() <= CHARS_MAX { all } else { all.chars().take(CHARS_MAX).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::OrderId;
    use crate::payments::ledger::Account;
    use crate::sim::trace::Output;

    fn watch() -> (Watch, History, Trace) {
        let (history, trace) = (History::default(), Trace::quiet(Output::default()));
        (Watch::new(&[], history.clone(), trace.clone(), Duration::from_secs(9)), history, trace)
    }

    /// What is found after one more step, as law and entity.
    fn found(watch: &mut Watch, audit: Option<Audit>) -> Vec<(String, Option<String>)> {
        let found = watch.look(watch.step + 1, Duration::from_secs(watch.step + 1), || audit);
        found.into_iter().map(|broken| (broken.law, broken.entity)).collect()
    }

    #[test]
    fn a_panic_breaks_the_law_it_names_and_any_other_panic_one_too() {
        let (mut watch, _, trace) = watch();
        assert!(found(&mut watch, None).is_empty());
        trace.accuse("stock/SKU-0".to_owned());
        trace.panicked("STK-1: held exceeds on hand".to_owned(), "stock.rs:1:1");
        assert_eq!(found(&mut watch, None), [("STK-1".to_owned(), Some("stock/SKU-0".to_owned()))]);
        trace.panicked("index out of bounds".to_owned(), "stock.rs:1:1");
        assert_eq!(found(&mut watch, None), [("SIM-NOTHING-PANICS".to_owned(), None)]);
        assert!(found(&mut watch, None).is_empty());
    }

    #[test]
    fn an_odd_answer_is_seen_at_its_step_and_once() {
        let (mut watch, history, _) = watch();
        history.add("shopper-0", Fact::Odd { law: "SIM-SAME-ANSWER", detail: "SKU-1: another answer".to_owned() });
        assert_eq!(found(&mut watch, None), [("SIM-SAME-ANSWER".to_owned(), Some("stock/SKU-1".to_owned()))]);
        assert!(found(&mut watch, None).is_empty());
    }

    #[test]
    fn an_order_charged_twice_at_once_is_seen_and_one_charged_again_after_a_void_is_not() {
        let (mut watch, ..) = watch();
        let order = OrderId([1; 16]);
        let account = |voided| Account {
            order,
            requested: None,
            status: Status::Authorised,
            authorised: 300,
            captured: 0,
            voided,
            refunded: 0,
            notice_due: false,
        };
        let audit = |voided| {
            let accounts = [("a", account(voided)), ("b", account(0))].map(|(key, one)| (key.to_owned(), one));
            Some(Audit { accounts: accounts.into(), conflicts: 0 })
        };
        let charged = ("SIM-ONE-CHARGE".to_owned(), Some(format!("order/{order}")));
        assert!(!found(&mut watch, audit(300)).contains(&charged));
        assert!(found(&mut watch, audit(0)).contains(&charged));
    }
}
