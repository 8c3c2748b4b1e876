//! What a run says: for machines as JSON, for people as a line, and what was never exercised.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checks::{Broken, Orders};
use super::faults::KINDS;
use super::history::{Fact, Row};
use super::scenario::Scenario;

/// What is counted: of one run, or of several together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Virtual milliseconds it lasted.
    pub simulated_ms: u64,
    /// Order state → how many ended there.
    pub orders: BTreeMap<String, u64>,
    /// Refusals by code.
    pub refused: BTreeMap<String, u64>,
    /// Requests whose outcome nobody outside knows.
    pub unknown: u64,
    /// Stock items and carts whose answers were not found to fit together, nor not to.
    #[serde(default)]
    pub undecided: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
}

impl Counts {
    fn of(elapsed: Duration, history: &[Row], orders: &Orders) -> Self {
        let mut counts = Self { simulated_ms: elapsed.as_millis() as u64, ..Self::default() };
        for order in orders.values() {
            count(&mut counts.orders, order["state"].as_str().unwrap_or("?"));
        }
        for row in history {
            match &row.fact {
                Fact::Refused { code, .. } => count(&mut counts.refused, code),
                Fact::GaveUp { .. } => counts.unknown += 1,
                Fact::Undecided { .. } => counts.undecided += 1,
                Fact::Crashed { kind, .. } | Fact::Fault { kind, .. } => count(&mut counts.faults, kind),
                _ => {}
            }
        }
        counts
    }

    fn add(&mut self, other: &Self) {
        self.simulated_ms += other.simulated_ms;
        self.unknown += other.unknown;
        self.undecided += other.undecided;
        for (sum, part) in
            [(&mut self.orders, &other.orders), (&mut self.refused, &other.refused), (&mut self.faults, &other.faults)]
        {
            part.iter().for_each(|(name, number)| *sum.entry(name.clone()).or_default() += number);
        }
    }
}

/// Everything one run found out.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Which scenario.
    pub scenario: String,
    /// Which seed.
    pub seed: u64,
    /// What happened how often.
    #[serde(flatten)]
    pub counts: Counts,
    /// Records replayed at the end.
    pub records: u64,
    /// Laws that do not hold; empty when it passed.
    pub broken: Vec<Broken>,
    /// Hash of the trace.
    pub trace: String,
    /// Lines of the trace.
    pub trace_lines: u64,
    /// Errors somebody logged.
    pub errors: Vec<String>,
    /// The scenario as drawn.
    pub drawn: Value,
    /// The history, for a failure's files.
    #[serde(skip)]
    pub history: Vec<Row>,
}

/// What the parent process reads back of a child's outcome.
#[derive(Debug, Deserialize)]
pub struct Summary {
    /// Which seed.
    pub seed: u64,
    /// What happened how often.
    #[serde(flatten)]
    pub counts: Counts,
    /// Laws that do not hold.
    pub broken: Vec<Value>,
    /// Hash of the trace.
    pub trace: String,
}

impl Outcome {
    /// Counts what happened.
    pub fn new(
        scenario: &Scenario,
        seed: u64,
        elapsed: Duration,
        history: &[Row],
        orders: Orders,
        records: u64,
        broken: Vec<Broken>,
    ) -> Self {
        Self {
            scenario: scenario.name.clone(),
            seed,
            counts: Counts::of(elapsed, history, &orders),
            records,
            broken,
            trace: String::new(),
            trace_lines: 0,
            errors: Vec::new(),
            drawn: serde_json::to_value(scenario).expect("a scenario is JSON"),
            history: history.to_vec(),
        }
    }

    /// With what the trace says.
    #[must_use]
    pub fn traced(mut self, hash: String, lines: u64, errors: Vec<String>) -> Self {
        (self.trace, self.trace_lines, self.errors) = (hash, lines, errors);
        self
    }

    /// Whether every law held.
    pub fn passed(&self) -> bool {
        self.broken.is_empty()
    }
}

fn count(of: &mut BTreeMap<String, u64>, what: &str) {
    *of.entry(what.to_owned()).or_default() += 1;
}

/// Sums of several seeds.
#[derive(Debug, Default, Serialize)]
pub struct Totals {
    /// Seeds run.
    pub seeds: u64,
    /// Seeds that failed.
    pub failed: Vec<u64>,
    /// What happened how often, all together.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Order states a shop without merchants' hands can reach.
const STATES: &[&str] = &["confirmed", "failed"];
/// Refusals shoppers may meet.
const REFUSALS: &[&str] = &["insufficient_stock", "unavailable", "cart_empty", "price_changed"];

impl Totals {
    /// Adds one seed.
    pub fn add(&mut self, one: &Summary) {
        self.seeds += 1;
        self.counts.add(&one.counts);
        if !one.broken.is_empty() {
            self.failed.push(one.seed);
        }
    }

    /// What no seed ever met.
    pub fn never_exercised(&self) -> Vec<String> {
        let Counts { orders, refused, faults, .. } = &self.counts;
        let all = [("order", STATES, orders), ("refusal", REFUSALS, refused), ("fault", KINDS, faults)];
        let missing = all.into_iter().flat_map(|(what, names, seen)| {
            names.iter().filter(|name| !seen.contains_key(**name)).map(move |name| format!("{what} {name}"))
        });
        missing.collect()
    }
}
