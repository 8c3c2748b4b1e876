//! The scene: what everybody was doing when a world stopped.
//!
//! Read aside after the last step, when nothing moves any more: the phase, each machine's power, disk and journal,
//! requests under way, and the entity somebody wants to look at. Lines for people; nothing reads them back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::history::{Fact, Row};
use super::host::Machine;
use super::meter;
use super::time::now_ms;
use super::watch::Watch;

/// Describes a world that stopped after this step.
pub fn describe(
    machines: &[Arc<Machine>],
    watch: &Watch,
    history: &[Row],
    step: u64,
    entity: Option<&str>,
) -> Vec<String> {
    let phase = history.iter().rev().find_map(|row| match row.fact {
        Fact::Phase { name } => Some(name),
        _ => None,
    });
    let mut lines = vec![format!("step {step}, {} ms, phase {}", now_ms(), phase.unwrap_or("setup"))];
    lines.extend(machines.iter().map(|machine| node(machine, history)));
    let under_way = meter::under_way();
    lines.push(format!("{} requests under way", under_way.len()));
    lines.extend(under_way.into_iter().map(|request| format!("  {request}")));
    if let Some(entity) = entity {
        let state = watch.state(entity).unwrap_or_else(|| "no record of it is stored".to_owned());
        lines.push(format!("{entity}, {} records: {state}", watch.journal(entity).len()));
    }
    lines
}

fn node(machine: &Machine, history: &[Row]) -> String {
    let own = history.iter().rev().filter(|row| row.actor == machine.name);
    let last = own.filter_map(|row| match &row.fact {
        Fact::Crashed { kind, .. } => Some((row.at_ms, format!("down ({kind})"))),
        Fact::Started => Some((row.at_ms, "up".to_owned())),
        _ => None,
    });
    let (since, state) = last.into_iter().next().unwrap_or((0, "up".to_owned()));
    let (starts, disk) = (machine.starts.load(Ordering::Relaxed), &machine.disk);
    format!(
        "{}: {state} since {since} ms, started {starts} times, {} unsynced log changes, store changed {} times, \
         wall clock {} ms",
        machine.name,
        disk.log.unsynced(),
        disk.store.changes(),
        machine.wall.read().0,
    )
}
