//! A failure's directory, `failures/<scenario>/<seed>/`: written when a run fails, read by whoever looks into it.
//!
//! `scenario.toml` is the scenario as drawn, itself a scenario that `run` takes; `history.jsonl` what happened, a row a
//! line; `run.json` what broke, by which build; `timeline.html` all of it as a picture. Nothing here is needed to run
//! the seed again: scenario and seed say everything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::report::{Mark, Outcome};
use super::timeline;
use crate::domain::ids::EntityId;

/// Rows of the history shown with a failure.
pub const ROWS_SHOWN: usize = 20;
/// Broken laws kept in `run.json`.
const BROKEN_MAX: usize = 50;

/// What built and ran it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The commit checked out when it ran; `-dirty` behind it when files had been changed.
    pub commit: String,
    /// The compiler.
    pub toolchain: String,
    /// Tells one build of this program from another.
    pub build: String,
}

/// `run.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Which scenario.
    pub scenario: String,
    /// The file it was drawn from.
    pub file: String,
    /// Which seed.
    pub seed: u64,
    /// Options replaced.
    pub set: Vec<String>,
    /// The law that broke; `expectation` when none did and something expected was missed.
    pub law: String,
    /// How.
    pub detail: String,
    /// Whom it is about.
    pub entity: Option<String>,
    /// After which step of the world.
    pub step: u64,
    /// Virtual milliseconds since the world began.
    pub at_ms: u64,
    /// Virtual milliseconds the world lasted.
    pub simulated_ms: u64,
    /// The hash of the trace.
    pub trace: String,
    /// Runs it again.
    pub command: String,
    /// What built and ran it.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// Everything that broke, the above first.
    pub broken: Vec<String>,
    /// Errors somebody logged.
    pub errors: Vec<String>,
    /// The entity's journal.
    pub journal: Vec<Mark>,
    /// Hosts of the world.
    pub hosts: Vec<String>,
    /// What everybody was doing when the world stopped.
    pub scene: Vec<String>,
}

/// The law of a run that broke none and missed an expectation.
pub const EXPECTATION: &str = "expectation";

impl Run {
    /// What is kept of a run of this file that failed.
    pub fn of(outcome: &Outcome, file: &Path, set: &[String], provenance: Provenance) -> Self {
        let first = outcome.broken.first();
        let missed = outcome.missed.join("; ");
        let broken = outcome.broken.iter().take(BROKEN_MAX);
        let mut command = format!("stockroom-sim run {} --seed {}", file.display(), outcome.seed);
        set.iter().for_each(|set| command.push_str(&format!(" --set '{set}'")));
        Self {
            scenario: outcome.scenario.clone(),
            file: file.display().to_string(),
            seed: outcome.seed,
            set: set.to_vec(),
            law: first.map_or(EXPECTATION.to_owned(), |broken| broken.law.clone()),
            detail: first.map_or(missed, |broken| broken.detail.clone()),
            entity: first.and_then(|broken| broken.entity.clone()),
            step: first.map_or(outcome.steps, |broken| broken.step),
            at_ms: first.map_or(outcome.counts.simulated_ms, |broken| broken.at_ms),
            simulated_ms: outcome.counts.simulated_ms,
            trace: outcome.trace.clone(),
            command,
            provenance,
            broken: broken.map(|broken| format!("{}: {}", broken.law, broken.detail)).collect(),
            errors: outcome.errors.clone(),
            journal: outcome.journal.clone(),
            hosts: outcome.hosts.clone(),
            scene: outcome.scene.clone(),
        }
    }
}

/// A failure read back.
pub struct Failure {
    /// Where it is.
    pub directory: PathBuf,
    /// What broke.
    pub run: Run,
    /// What happened.
    pub history: Vec<Value>,
}

impl Failure {
    /// The scenario as drawn.
    pub fn scenario(&self) -> PathBuf {
        self.directory.join("scenario.toml")
    }

    /// Reads a directory.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let text = |name: &str| {
            let path = directory.join(name);
            let hint = "expected failures/<scenario>/<seed>, as a failed run writes it";
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}; {hint}", path.display()))
        };
        let run = serde_json::from_str(&text("run.json")?).map_err(|error| format!("run.json: {error}"))?;
        let history = text("history.jsonl")?;
        let rows = history.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        let history = rows.map_err(|error| format!("history.jsonl: {error}"))?;
        Ok(Self { directory: directory.to_owned(), run, history })
    }

    /// Draws the picture anew.
    pub fn draw(&self) -> io::Result<PathBuf> {
        let path = self.directory.join("timeline.html");
        fs::write(&path, timeline::page(&self.run, &self.history))?;
        Ok(path)
    }
}

/// Writes what is needed to look into a failure below `root`; says where.
pub fn write(root: &Path, outcome: &Outcome, run: &Run) -> io::Result<PathBuf> {
    let directory = root.join(&outcome.scenario).join(outcome.seed.to_string());
    fs::create_dir_all(&directory)?;
    let mut history = Vec::with_capacity(outcome.history.len());
    for row in &outcome.history {
        history.push(serde_json::to_value(row).map_err(io::Error::other)?);
    }
    let lines = history.iter().map(|row| format!("{row}\n"));
    fs::write(directory.join("history.jsonl"), lines.collect::<String>())?;
    fs::write(directory.join("run.json"), serde_json::to_string_pretty(run).map_err(io::Error::other)?)?;
    let drawn = toml::to_string_pretty(&outcome.drawn).map_err(io::Error::other)?;
    fs::write(directory.join("scenario.toml"), drawn)?;
    Failure { directory: directory.clone(), run: run.clone(), history }.draw()?;
    Ok(directory)
}

/// What a failure says to people: law, entity, step, time, the entity's last rows, the command.
pub fn tell(run: &Run, history: &[Value], directory: &Path) -> String {
    let entity = run.entity.as_deref().unwrap_or("the world");
    let mut told = format!("{} seed {}: {} is broken\n", run.scenario, run.seed, run.law);
    if run.law == EXPECTATION {
        told = format!("{} seed {}: an expectation is missed\n", run.scenario, run.seed);
    }
    told.push_str(&format!("  {}\n", run.detail));
    told.push_str(&format!("  about {entity}, seen after step {}, at {} ms\n", run.step, run.at_ms));
    for broken in run.broken.iter().skip(1).take(ROWS_SHOWN) {
        told.push_str(&format!("  also {broken}\n"));
    }
    for error in &run.errors {
        told.push_str(&format!("  logged: {error}\n"));
    }
    let rows = last_rows(history, run.entity.as_deref());
    told.push_str(&format!("the last {} rows of {entity}:\n", rows.len()));
    rows.iter().for_each(|row| told.push_str(&format!("  {row}\n")));
    told.push_str(&format!("again: {}\nfiles: {}\n", run.command, directory.display()));
    told
}

/// The last rows about an entity, or of everything when it is about none.
pub fn last_rows<'a>(history: &'a [Value], entity: Option<&str>) -> Vec<&'a Value> {
    let mut rows: Vec<&Value> =
        history.iter().filter(|row| entity.is_none_or(|entity| concerns(row, entity))).collect();
    rows.drain(..rows.len().saturating_sub(ROWS_SHOWN));
    rows
}

/// Whether the row names the entity anywhere, as a value or as a key.
pub fn concerns(row: &Value, entity: &str) -> bool {
    let key = entity.split_once('/').map_or(entity, |(_, key)| key);
    match row {
        Value::String(text) => text == key || text == entity,
        Value::Array(values) => values.iter().any(|value| concerns(value, entity)),
        Value::Object(members) => members.iter().any(|(name, value)| name == key || concerns(value, entity)),
        _ => false,
    }
}

/// Whom a sentence is about: the first entity it names, as `kind/key`, `order …`, `cart …`, `hold …` or a SKU.
pub fn entity_in(detail: &str) -> Option<String> {
    let words = || detail.split(|c: char| !(c.is_alphanumeric() || "/-_.".contains(c))).filter(|word| !word.is_empty());
    let is_id = |word: &str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pairs = words().zip(words().skip(1).map(Some).chain([None]));
    pairs.into_iter().find_map(|(word, next)| {
        if word.parse::<EntityId>().is_ok() {
            return Some(word.to_owned());
        }
        if word.starts_with("SKU-") {
            return Some(format!("stock/{word}"));
        }
        let id = next.filter(|next| ["order", "cart", "hold"].contains(&word) && is_id(next))?;
        Some(format!("{word}/{id}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "00ff10203040506070809010a0b0c0d0";

    #[test]
    fn a_sentence_is_about_the_first_it_names() {
        let about = |text: &str| entity_in(text);
        assert_eq!(about(&format!("order {ID}: asked 3 of SKU-1")), Some(format!("order/{ID}")));
        assert_eq!(about("SKU-0: 3 sold of 2 received"), Some("stock/SKU-0".to_owned()));
        assert_eq!(about(&format!("cart/{ID} panics at record 3")), Some(format!("cart/{ID}")));
        assert_eq!(about(&format!("hold {ID} was given out twice")), Some(format!("hold/{ID}")));
        assert_eq!(about("3 payment keys were reused"), None);
        assert_eq!(about("order by order"), None);
    }

    #[test]
    fn the_last_rows_are_those_of_the_entity() {
        let other = json!({"fact": "ordered", "order": ID, "lines": {"SKU-1": 2}});
        let rows: Vec<Value> =
            (0..30).map(|number| json!({"at_ms": number, "sku": "SKU-0"})).chain([other.clone()]).collect();
        assert_eq!(last_rows(&rows, Some("stock/SKU-1")), [&other]);
        assert_eq!(last_rows(&rows, Some("stock/SKU-0")).len(), ROWS_SHOWN);
        assert_eq!(last_rows(&rows, Some("stock/SKU-0"))[0]["at_ms"], 10);
        assert_eq!(last_rows(&rows, None).last(), Some(&&other));
    }
}
