//! Shows what is stored: entities with where their journals end, or the records of one.

use serde_json::json;

use super::{InspectArguments, groups};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::domain::ids::EntityId;
use crate::domain::time::Sequence;
use crate::http::wire::Time;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;
use crate::persistence::records::Record;

/// Prints one line each.
pub(super) async fn run(arguments: &InspectArguments, journal: &Journal, json: bool) -> Result<(), Failure> {
    match &arguments.entity {
        Some(entity) => records(arguments, entity, journal, json).await,
        None => entities(arguments.limit, journal, json).await,
    }
}

async fn entities(limit: usize, journal: &Journal, json: bool) -> Result<(), Failure> {
    let mut left = limit;
    for group in groups() {
        for entity in journal.entities(group, None, left).await? {
            let tail = journal.tail(group, &entity).await?;
            left = left.saturating_sub(1);
            if json {
                let (bytes, at) = (tail.record_bytes_total, Time(tail.last_at));
                let entity = entity.to_string();
                let row = json!({"shard": group.0, "entity": entity, "last": tail.last.0, "at": at, "bytes": bytes});
                output::json(&row)?;
            } else {
                output::line(format!(
                    "{group:>3}  {entity}  {} records, {} bytes",
                    tail.last, tail.record_bytes_total
                ))?;
            }
        }
    }
    Ok(())
}

async fn records(
    arguments: &InspectArguments,
    entity: &EntityId,
    journal: &Journal,
    json: bool,
) -> Result<(), Failure> {
    let group = group_of(journal, entity).await?;
    let from = Sequence(arguments.from.max(1));
    for record in journal.history(group, entity, from, arguments.limit).await? {
        print(&record, json)?;
    }
    Ok(())
}

/// The group that holds an entity. Looked for, because the number of shards is part of the data.
async fn group_of(journal: &Journal, entity: &EntityId) -> Result<GroupId, Failure> {
    for group in groups() {
        if journal.tail(group, entity).await?.last != Sequence::ZERO {
            return Ok(group);
        }
    }
    Err(Failure::said(Exit::Failed, format_args!("{entity} has no journal here"))
        .advise("`stockroom journal inspect` without an entity lists some"))
}

fn print(record: &Record, json: bool) -> Result<(), Failure> {
    let events: Vec<_> = record.events.iter().map(|event| format!("{event:?}")).collect();
    let (sequence, at, command) = (record.sequence.0, Time(record.at), record.stamp.command.to_string());
    if json {
        let wake_at = record.wake_at.map(Time);
        return output::json(&json!({
            "sequence": sequence, "at": at, "command": command, "events": events,
            "reply": format!("{:?}", record.reply), "wake_at": wake_at,
        }));
    }
    output::line(format!(
        "{sequence:>8}  {}  {command}  {}",
        serde_json::to_string(&at)?.trim_matches('"'),
        events.join("; ")
    ))
}
