//! Replays every journal that is kept and checks every law: each entity's own after every record, a recount at its
//! end, that records are dense and their times in order, that the stored wake-up is what the state asks for, that the
//! newest snapshot is the state its records lead to, and in the end whether entities agree with each other and with
//! the simulated provider's ledger. The report names the laws that were evaluated and those that could not be.
//!
//! What the log has and the store lacks is applied first, so that everything acknowledged is covered.
//!
//! One entity is in memory at a time, once, its records page by page, so memory does not grow with the directory: a
//! snapshot's bytes are compared with the encoding of the replayed state as that is made, and never become a second
//! state. An entity whose first records were trimmed is replayed from its snapshot; how many were is part of the
//! result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::groups;
use super::laws::{Checked, Checking, NotChecked};
use crate::cli::assembly::Disk;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::clock::{Clock, SystemClock};
use crate::cluster::raft::replay::catch_up;
use crate::domain::ids::EntityId;
use crate::domain::registry::AnyState;
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::journal::{Journal, JournalError};
use crate::persistence::log::GroupId;
use crate::persistence::records::{Record, Snapshot};

/// Records read at once.
const PAGE_RECORDS: usize = 2_048;
/// Entities listed at once.
const PAGE_ENTITIES: usize = 512;
/// Findings printed; more are only counted.
const FINDINGS_MAX: usize = 100;
/// How often the progress line is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Something wrong.
#[derive(Debug, Serialize)]
struct Finding {
    entity: String,
    sequence: u64,
    what: String,
}

/// What was checked.
#[derive(Debug, Default, Serialize)]
pub(in crate::cli) struct Report {
    entities: u64,
    records: u64,
    events: u64,
    /// Entities whose oldest records were trimmed, replayed from their snapshot.
    started_at_snapshot: u64,
    snapshots_compared: u64,
    /// Log entries the store had not applied; they were applied first, as the next start would have done.
    log_entries_ahead: u64,
    /// Laws that were evaluated, with how often.
    laws: Vec<Checked>,
    /// Laws that were not, with the reason.
    not_checked: Vec<NotChecked>,
    #[serde(skip)]
    checking: Checking,
    /// How many findings there are.
    pub(in crate::cli) findings_total: u64,
    findings: Vec<Finding>,
    seconds: f64,
}

impl Report {
    fn found(&mut self, entity: &dyn std::fmt::Display, sequence: Sequence, what: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { entity: entity.to_string(), sequence: sequence.0, what });
        }
    }
}

/// Verifies and reports; fails with [`Exit::Findings`] when anything is wrong.
pub(super) async fn run(journal: &Journal, disk: &Disk, json: bool) -> Result<(), Failure> {
    let report = check(journal, disk).await?;
    if json { output::json(&report) } else { print(&report) }?;
    if report.findings_total == 0 {
        return Ok(());
    }
    Err(Failure::said(Exit::Findings, format_args!("{} findings", report.findings_total))
        .advise("keep a copy of the data directory; `stockroom journal inspect ENTITY` shows the records"))
}

/// Verifies everything.
pub(in crate::cli) async fn check(journal: &Journal, disk: &Disk) -> Result<Report, Failure> {
    let clock = SystemClock::new();
    let progress = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {pos} records, {per_sec}, {elapsed}");
    progress.set_style(style.expect("the template is a constant"));
    progress.enable_steady_tick(DRAW_INTERVAL);
    let mut report = Report::default();
    for group in disk.log.ranges().await?.into_keys() {
        let (store, checkpoints) = (disk.store.clone(), disk.checkpoints.clone());
        report.log_entries_ahead += catch_up(group, &*disk.log, store, checkpoints).await?;
    }
    for group in groups() {
        verify_group(journal, group, &mut report, &progress).await?;
    }
    for breach in report.checking.close_books(&disk.simulated_ledger()).await {
        report.found(&"books", Sequence::ZERO, breach.to_string());
    }
    (report.laws, report.not_checked) = (report.checking.checked(), report.checking.not_checked());
    progress.finish_and_clear();
    report.seconds = clock.monotonic().as_secs_f64();
    Ok(report)
}

/// Prints the report for a person.
pub(in crate::cli) fn print(report: &Report) -> Result<(), Failure> {
    for NotChecked { law, why } in &report.not_checked {
        output::line(format!("{law} was not checked: {why}"))?;
    }
    for finding in &report.findings {
        output::line(format!("{} at {}: {}", finding.entity, finding.sequence, finding.what))?;
    }
    output::line(format!(
        "{} entities, {} records, {} events replayed in {:.1} s; {} started at a snapshot; {} snapshots compared; \
         {} log entries applied first; {} laws checked; {} findings",
        report.entities,
        report.records,
        report.events,
        report.seconds,
        report.started_at_snapshot,
        report.snapshots_compared,
        report.log_entries_ahead,
        report.laws.len(),
        report.findings_total,
    ))
}

async fn verify_group(
    journal: &Journal,
    group: GroupId,
    report: &mut Report,
    progress: &ProgressBar,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let entities = journal.entities(group, after.as_ref(), PAGE_ENTITIES).await?;
        let Some(last) = entities.last().cloned() else { return Ok(()) };
        for entity in &entities {
            verify_entity(journal, group, entity, report).await?;
            progress.set_position(report.records);
        }
        after = Some(last);
    }
}

async fn verify_entity(
    journal: &Journal,
    group: GroupId,
    entity: &EntityId,
    report: &mut Report,
) -> Result<(), Failure> {
    report.entities += 1;
    let checked = match replay(journal, group, entity, report).await {
        Ok(Some(replay)) => replay.check_end(journal, group, report).await,
        Ok(None) => {
            report.checking.gave_up();
            Ok(())
        }
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) => Ok(()),
        Err(error @ (JournalError::Damaged { .. } | JournalError::Gap { .. })) => {
            report.checking.gave_up();
            report.found(entity, Sequence::ZERO, error.to_string());
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Replays all records of an entity; `None` when a law broke on the way, which is then a finding.
async fn replay<'a>(
    journal: &Journal,
    group: GroupId,
    entity: &'a EntityId,
    report: &mut Report,
) -> Result<Option<Replay<'a>>, JournalError> {
    let head = journal.snapshot_head(group, entity).await?.map(|head| head.sequence);
    let first = journal.history(group, entity, Sequence(1), 1).await?;
    let whole = first.first().is_some_and(|record| record.sequence == Sequence(1));
    let snapshot = if whole || head.is_none() { None } else { journal.snapshot(group, entity).await? };
    let mut replay = match snapshot {
        Some(snapshot) => {
            report.started_at_snapshot += 1;
            Replay::from_snapshot(entity, snapshot)
        }
        None => Replay::from_nothing(entity),
    };
    loop {
        let records = journal.history(group, entity, replay.sequence.next(), PAGE_RECORDS).await?;
        let Some(last) = records.last().map(|record| record.sequence) else { break };
        for record in &records {
            if let Err(what) = replay.take(record) {
                report.found(entity, record.sequence, what);
                return Ok(None);
            }
            report.checking.replayed(entity.kind);
            report.records += 1;
            report.events += record.events.len() as u64;
            if head == Some(record.sequence) {
                report.snapshots_compared += 1;
                if !journal.snapshot_holds(group, entity, &replay.state).await? {
                    let what = "the snapshot at this record is not the state its records lead to";
                    report.found(entity, record.sequence, what.to_owned());
                    return Ok(None);
                }
            }
        }
        debug_assert_eq!(replay.sequence, last);
    }
    Ok(Some(replay))
}

/// An entity on its way from its first record to its last.
struct Replay<'a> {
    entity: &'a EntityId,
    state: AnyState,
    sequence: Sequence,
    at: Timestamp,
}

impl<'a> Replay<'a> {
    fn from_nothing(entity: &'a EntityId) -> Self {
        Self { entity, state: AnyState::new(entity), sequence: Sequence::ZERO, at: Timestamp::ZERO }
    }

    fn from_snapshot(entity: &'a EntityId, snapshot: Snapshot) -> Self {
        Self { entity, state: snapshot.state, sequence: snapshot.sequence, at: snapshot.at }
    }

    /// Applies one record. Says what is wrong with it, if anything is.
    fn take(&mut self, record: &Record) -> Result<(), String> {
        let expected = self.sequence.next();
        if record.sequence != expected {
            return Err(format!("record {expected} expected, {} found", record.sequence));
        }
        if record.at < self.at {
            return Err(format!("time goes back from {} to {}", self.at, record.at));
        }
        let state = &mut self.state;
        catch_unwind(AssertUnwindSafe(|| {
            record.events.iter().for_each(|event| state.apply(event, record.at));
            state.assert_invariants();
        }))
        .map_err(|panic| message_of(&*panic))?;
        (self.sequence, self.at) = (record.sequence, record.at);
        Ok(())
    }

    /// Recounts the final state and compares its wake-up with the stored one.
    async fn check_end(self, journal: &Journal, group: GroupId, report: &mut Report) -> Result<(), JournalError> {
        for breach in report.checking.ended(&self.state) {
            report.found(self.entity, self.sequence, breach.to_string());
        }
        let tail = journal.tail(group, self.entity).await?;
        if tail.last != self.sequence {
            report.found(self.entity, self.sequence, format!("the index says that {} is the last record", tail.last));
        }
        let owes = !self.state.outstanding().is_empty();
        let wanted = if owes { Some(self.at) } else { self.state.deadline().map(|(at, _)| at) };
        if tail.wake_at != wanted {
            let (stored, wanted) = (tail.wake_at, wanted);
            report.found(self.entity, self.sequence, format!("wakes at {stored:?}, should wake at {wanted:?}"));
        }
        Ok(())
    }
}

pub(super) fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "replaying it panics".to_owned())
}
