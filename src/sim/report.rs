//! What a run says: for machines as JSON, for people as a line, and what was never exercised.
//!
//! A child answers its parent with an [`Outcome`], of which the parent reads back a [`Summary`]; several of those are
//! [`Totals`]. The line for people is made from totals, of one seed or of many.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xxhash_rust::xxh3::Xxh3;

use super::checks::{Broken, Orders};
use super::faults::KINDS;
use super::history::{Fact, Row};
use super::laws;
use super::meter::Reading;
use super::scenario::Scenario;
use crate::domain::order::OrderState;
use crate::http::error::Code;

/// What is counted: of one run, or of several together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Virtual milliseconds it lasted.
    pub simulated_ms: u64,
    /// Order state → how many ended there.
    pub orders: BTreeMap<String, u64>,
    /// Order state → how many were seen in it.
    pub states: BTreeMap<String, u64>,
    /// Stock items and carts whose answers were not found to fit together, nor not to.
    #[serde(default)]
    pub undecided: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// How often each law was looked at.
    pub laws: BTreeMap<String, u64>,
    /// What the shop was like to those who use it.
    pub requests: Reading,
}

impl Counts {
    /// Counts what happened in one run.
    pub fn of(elapsed: Duration, history: &[Row], orders: &Orders) -> Self {
        let mut counts = Self { simulated_ms: elapsed.as_millis() as u64, ..Self::default() };
        for order in orders.values() {
            count(&mut counts.orders, order["state"].as_str().unwrap_or("?"));
        }
        for row in history {
            match &row.fact {
                Fact::Crashed { kind, .. } | Fact::Fault { kind, .. } => count(&mut counts.faults, kind),
                Fact::Undecided { .. } => counts.undecided += 1,
                _ => {}
            }
        }
        counts
    }

    fn add(&mut self, other: &Self) {
        self.simulated_ms += other.simulated_ms;
        self.requests.add(&other.requests);
        self.undecided += other.undecided;
        for (sum, part) in [
            (&mut self.orders, &other.orders),
            (&mut self.states, &other.states),
            (&mut self.faults, &other.faults),
            (&mut self.laws, &other.laws),
        ] {
            part.iter().for_each(|(name, number)| *sum.entry(name.clone()).or_default() += number);
        }
    }
}

fn count(of: &mut BTreeMap<String, u64>, what: &str) {
    *of.entry(what.to_owned()).or_default() += 1;
}

/// One record of an entity's journal, and when the world first saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Its sequence.
    pub sequence: u64,
    /// After which step of the world it was there.
    pub step: u64,
    /// Virtual milliseconds.
    pub at_ms: u64,
    /// Its events.
    pub events: String,
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
    /// Steps the world made.
    pub steps: u64,
    /// Records replayed at the end.
    pub records: u64,
    /// Laws that do not hold; empty when it passed.
    pub broken: Vec<Broken>,
    /// Expectations that were missed.
    pub missed: Vec<String>,
    /// Hash of the trace.
    pub trace: String,
    /// Lines of the trace.
    pub trace_lines: u64,
    /// Errors somebody logged.
    pub errors: Vec<String>,
    /// The scenario as drawn.
    pub drawn: Value,
    /// The journal of the entity that broke a law.
    #[serde(skip)]
    pub journal: Vec<Mark>,
    /// Hosts of the world that things happen to.
    #[serde(skip)]
    pub hosts: Vec<String>,
    /// What everybody was doing when the world stopped.
    #[serde(skip)]
    pub scene: Vec<String>,
    /// The history, for a failure's files.
    #[serde(skip)]
    pub history: Vec<Row>,
}

impl Outcome {
    /// The outcome of a run of this scenario about which nothing else is known.
    pub fn new(scenario: &Scenario, seed: u64, counts: Counts) -> Self {
        let drawn = serde_json::to_value(scenario).expect("a scenario is JSON");
        let missed = scenario.expect.missed(&counts.requests, Duration::from_secs(scenario.world.safety_s));
        Self {
            scenario: scenario.name.clone(),
            seed,
            counts,
            steps: 0,
            records: 0,
            broken: Vec::new(),
            missed,
            trace: String::new(),
            trace_lines: 0,
            errors: Vec::new(),
            drawn,
            journal: Vec::new(),
            hosts: Vec::new(),
            scene: Vec::new(),
            history: Vec::new(),
        }
    }

    /// Whether every law held and every expectation was met.
    pub fn passed(&self) -> bool {
        self.broken.is_empty() && self.missed.is_empty()
    }
}

/// What the parent process reads back of a child's outcome.
#[derive(Clone, Debug, Deserialize)]
pub struct Summary {
    /// Which seed.
    pub seed: u64,
    /// What happened how often.
    #[serde(flatten)]
    pub counts: Counts,
    /// Laws that do not hold.
    pub broken: Vec<Broken>,
    /// Expectations that were missed.
    pub missed: Vec<String>,
    /// Hash of the trace.
    pub trace: String,
}

impl Summary {
    /// A seed whose process ended without an outcome.
    pub fn fallen(seed: u64, how: String) -> Self {
        let (broken, missed) = (vec![Broken::new("SIM-RUNS", how)], Vec::new());
        Self { seed, counts: Counts::default(), broken, missed, trace: String::new() }
    }
}

impl From<&Outcome> for Summary {
    fn from(outcome: &Outcome) -> Self {
        let Outcome { seed, counts, broken, missed, trace, .. } = outcome;
        let (counts, broken, missed) = (counts.clone(), broken.clone(), missed.clone());
        Self { seed: *seed, counts, broken, missed, trace: trace.clone() }
    }
}

/// Sums of several seeds of one scenario.
#[derive(Debug, Default)]
pub struct Totals {
    /// Which scenario.
    pub scenario: String,
    /// Seeds that broke a law, with the first law each.
    pub failed: BTreeMap<u64, String>,
    /// Seeds that missed an expectation, and how.
    pub missed: BTreeMap<u64, String>,
    /// What happened how often, all together.
    pub counts: Counts,
    /// Hash of the trace, by seed.
    pub traces: BTreeMap<u64, String>,
}

impl Totals {
    /// Nothing so far.
    pub fn new(scenario: &str) -> Self {
        Self { scenario: scenario.to_owned(), ..Self::default() }
    }

    /// Adds one seed.
    pub fn add(&mut self, one: &Summary) {
        self.counts.add(&one.counts);
        self.traces.insert(one.seed, one.trace.clone());
        if let Some(broken) = one.broken.first() {
            self.failed.insert(one.seed, broken.law.clone());
        }
        if let Some(missed) = one.missed.first() {
            self.missed.insert(one.seed, missed.clone());
        }
    }

    /// Seeds added.
    pub fn seeds(&self) -> u64 {
        self.traces.len() as u64
    }

    /// The hash of the trace of one seed; of several, a hash over their hashes in the order of seeds.
    pub fn trace(&self) -> String {
        if let (1, Some((_, trace))) = (self.traces.len(), self.traces.first_key_value()) {
            return trace.clone();
        }
        let mut hash = Xxh3::new();
        self.traces.iter().for_each(|(seed, trace)| hash.update(format!("{seed} {trace}\n").as_bytes()));
        format!("{:016x}", hash.digest())
    }

    /// For machines.
    pub fn json(&self, real: Duration) -> Value {
        let latency = [50, 99, 100].map(|percent| self.counts.requests.latency_micros(percent) as f64 / 1_000.0);
        let mut told = serde_json::to_value(&self.counts).expect("counts are JSON");
        let more = json!({
            "scenario": self.scenario,
            "seeds": self.seeds(),
            "failed": self.failed.keys().collect::<Vec<_>>(),
            "broken_laws": self.failed,
            "missed": self.missed,
            "real_ms": real.as_millis() as u64,
            "latency_ms": {"p50": latency[0], "p99": latency[1], "max": latency[2]},
            "availability_percent": self.counts.requests.availability_percent(),
            "seeds_per_hour": self.seeds_per_hour(real).round(),
            "trace": self.trace(),
            "never_exercised": self.never_exercised(),
        });
        if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
            told.extend(more);
        }
        told
    }

    fn seeds_per_hour(&self, real: Duration) -> f64 {
        self.seeds() as f64 / real.as_secs_f64() * 3_600.0
    }

    /// For people: a line.
    pub fn line(&self, real: Duration) -> String {
        let Counts { simulated_ms, faults, requests, .. } = &self.counts;
        let simulated = *simulated_ms as f64 / 1_000.0;
        let millis = |percent| requests.latency_micros(percent).div_ceil(1_000);
        let faults: Vec<String> = faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let faults = if faults.is_empty() { "none".to_owned() } else { faults.join(", ") };
        let mut line = format!("{}: {} seeds", self.scenario, self.seeds());
        for (what, seeds) in [("failed", &self.failed), ("missed", &self.missed)] {
            if !seeds.is_empty() {
                let _ = write!(line, ", {} {what}", seeds.len());
            }
        }
        let _ = write!(line, " · {simulated:.1} s simulated ({:.1} ×)", simulated / real.as_secs_f64());
        let Reading { accepted, rejected, unknown, .. } = requests;
        let _ = write!(line, " · commands {accepted} accepted, {rejected} rejected, {unknown} unknown");
        let _ = write!(line, " · faults: {faults}");
        let _ = write!(line, " · latency p50 {} ms, p99 {} ms, max {} ms", millis(50), millis(99), millis(100));
        let _ = write!(line, " · available {:.2} %", requests.availability_percent());
        if self.counts.undecided > 0 {
            let _ = write!(line, " · answers of {} entities undecided", self.counts.undecided);
        }
        let _ = write!(line, " · {:.0} seeds/hour · trace {}", self.seeds_per_hour(real), self.trace());
        line
    }

    /// What no seed ever met, by what it is: faults, laws nobody looked at, order states, refusals.
    pub fn never_exercised(&self) -> BTreeMap<&'static str, Vec<&'static str>> {
        let Counts { states, faults, laws, requests, .. } = &self.counts;
        let all_laws: Vec<_> = laws::all().map(|law| law.id).collect();
        let all_states = OrderState::ALL.map(OrderState::name);
        let all_codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let all: [(&str, &[&'static str], &BTreeMap<String, u64>); 4] = [
            ("faults", KINDS, faults),
            ("laws", &all_laws, laws),
            ("order states", &all_states, states),
            ("refusals", &all_codes, &requests.codes),
        ];
        let missing = all.map(|(what, names, met)| {
            (what, names.iter().copied().filter(|name| !met.contains_key(*name)).collect::<Vec<_>>())
        });
        missing.into_iter().filter(|(_, names)| !names.is_empty()).collect()
    }

    /// For people: what no seed ever met, a line per sort.
    pub fn never_exercised_lines(&self) -> Vec<String> {
        let lines = self.never_exercised().into_iter();
        lines.map(|(what, names)| format!("  never exercised, {what}: {}", names.join(", "))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(seed: u64, trace: &str) -> Summary {
        let (broken, missed, trace) = (Vec::new(), Vec::new(), trace.to_owned());
        Summary { seed, counts: Counts::default(), broken, missed, trace }
    }

    #[test]
    fn the_hash_of_many_seeds_does_not_depend_on_which_ended_first() {
        let trace = |order: &[(u64, &str)]| {
            let mut totals = Totals::new("s");
            order.iter().for_each(|(seed, trace)| totals.add(&summary(*seed, trace)));
            totals.trace()
        };
        assert_eq!(trace(&[(1, "a")]), "a");
        assert_eq!(trace(&[(1, "a"), (2, "b")]), trace(&[(2, "b"), (1, "a")]));
        assert_ne!(trace(&[(1, "a"), (2, "b")]), trace(&[(1, "b"), (2, "a")]));
    }

    #[test]
    fn what_was_met_is_not_listed() {
        let mut totals = Totals::new("s");
        let mut one = summary(1, "a");
        one.counts.faults.insert("crash".to_owned(), 1);
        one.counts.laws.insert("STK-1".to_owned(), 3);
        one.counts.requests.codes.insert("cart_empty".to_owned(), 1);
        totals.add(&one);
        let missing = totals.never_exercised();
        assert!(!missing["faults"].contains(&"crash") && missing["faults"].contains(&"clog"));
        assert!(!missing["laws"].contains(&"STK-1") && missing["laws"].contains(&"SIM-SOLD-ONCE"));
        assert!(!missing["refusals"].contains(&"cart_empty") && missing["order states"].contains(&"placed"));
    }
}
