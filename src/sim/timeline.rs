//! The picture of a failure: one page that needs nothing besides itself.
//!
//! Hosts are lanes, faults are bands on them, the records and history rows of the entity that broke a law are marks,
//! the law is a line. The page draws itself from data put into it here; `timeline.html` is the page without its data.

use serde_json::{Value, json};

use super::failure::{Run, concerns};

/// The page without its data.
const PAGE: &str = include_str!("timeline.html");
/// What stands in it for the data.
const DATA: &str = "\"DATA\"";
/// Rows that are part of every picture, whoever broke a law.
const WORLD: &[&str] = &["phase", "crashed", "started", "fault", "mended"];

/// The page of this run.
pub fn page(run: &Run, history: &[Value]) -> String {
    let data = data(run, history).to_string();
    // In a script nothing may look like its end.
    PAGE.replacen(DATA, &data.replace('<', "\\u003c"), 1)
}

fn data(run: &Run, history: &[Value]) -> Value {
    let fact = |row: &Value| row["fact"].as_str().unwrap_or_default().to_owned();
    let mine = |row: &&Value| {
        !WORLD.contains(&fact(row).as_str()) && run.entity.as_deref().is_none_or(|entity| concerns(row, entity))
    };
    let marks: Vec<&Value> = history.iter().filter(mine).collect();
    let phases: Vec<Value> = history
        .iter()
        .filter(|row| row["fact"] == "phase")
        .map(|row| json!({"at_ms": row["at_ms"], "name": row["name"]}))
        .collect();
    json!({
        "run": {
            "scenario": run.scenario, "seed": run.seed, "law": run.law, "detail": run.detail, "entity": run.entity,
            "step": run.step, "at_ms": run.at_ms, "command": run.command, "commit": run.provenance.commit,
        },
        "hosts": run.hosts,
        "end_ms": run.simulated_ms.max(run.at_ms).max(1),
        "phases": phases,
        "bands": bands(history, run.simulated_ms),
        "marks": marks,
        "records": run.journal,
    })
}

/// What was broken from when to when, by host; what has no end is a moment.
fn bands(history: &[Value], end_ms: u64) -> Vec<Value> {
    let at = |row: &Value| row["at_ms"].as_u64().unwrap_or_default();
    let mut bands = Vec::new();
    for (index, row) in history.iter().enumerate() {
        let later = || history[index + 1..].iter().filter(|later| later["actor"] == row["actor"]);
        let (kind, end, detail) = match row["fact"].as_str() {
            Some("crashed") => {
                let started = later().find(|later| later["fact"] == "started");
                (row["kind"].as_str(), Some(started.map_or(end_ms, at)), row["disk"].as_str())
            }
            Some("fault") => {
                let same = later().filter(|later| later["kind"] == row["kind"]);
                // The same kind again before it was mended: this one had no length.
                let next = same.into_iter().next().filter(|next| next["fact"] == "mended");
                (row["kind"].as_str(), next.map(at), row["detail"].as_str())
            }
            _ => continue,
        };
        bands.push(json!({
            "host": row["actor"], "kind": kind, "from_ms": at(row), "to_ms": end.unwrap_or(at(row)),
            "moment": end.is_none(), "detail": detail,
        }));
    }
    bands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at_ms: u64, fact: &str, kind: &str) -> Value {
        json!({"at_ms": at_ms, "actor": "node-1", "fact": fact, "kind": kind})
    }

    #[test]
    fn a_band_lasts_from_what_breaks_to_what_mends_it() {
        let history = [
            row(10, "fault", "clog"),
            row(20, "crashed", "crash"),
            row(25, "fault", "torn tail"),
            row(30, "mended", "clog"),
            row(40, "started", ""),
            row(50, "crashed", "crash at owe"),
        ];
        let spans = bands(&history, 90);
        let spans = spans.iter().map(|band| (band["from_ms"].as_u64().unwrap(), band["to_ms"].as_u64().unwrap()));
        assert_eq!(spans.collect::<Vec<_>>(), [(10, 30), (20, 40), (25, 25), (50, 90)]);
    }

    #[test]
    fn the_page_has_its_data_and_asks_nobody_for_more() {
        assert_eq!(PAGE.matches(DATA).count(), 1);
        for foreign in ["http:", "https:", "src=", "url(/", "@import", "<link"] {
            assert!(!PAGE.contains(foreign), "the page reaches for {foreign}");
        }
    }
}
