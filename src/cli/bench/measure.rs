//! What was measured: latencies per step in HdrHistograms, outcomes by what was answered, and the report of both.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::scenario::Scenario;

/// Longest latency told apart: two minutes, in microseconds.
const MICROSECONDS_MAX: u64 = 120_000_000;

/// Latencies of one step.
#[derive(Clone, Debug)]
struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MICROSECONDS_MAX, 3).expect("the bounds are constants in order"))
    }
}

/// What one client, or all of them, saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    operations: Latencies,
    steps: BTreeMap<&'static str, Latencies>,
    refused: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
}

impl Tally {
    /// An operation that did what it should.
    pub(super) fn operation(&mut self, took: Duration) {
        record(&mut self.operations, took);
    }

    /// One call of it.
    pub(super) fn step(&mut self, name: &'static str, took: Duration) {
        record(self.steps.entry(name).or_default(), took);
    }

    /// A business no, e.g. `409 insufficient_stock`.
    pub(super) fn refused(&mut self, what: String) {
        *self.refused.entry(what).or_default() += 1;
    }

    /// Anything that should not happen.
    pub(super) fn failed(&mut self, what: String) {
        *self.failed.entry(what).or_default() += 1;
    }

    /// Operations that did what they should.
    pub(super) fn operations(&self) -> u64 {
        self.operations.0.len()
    }

    /// What came of operations instead, and how often: failures first.
    pub(super) fn misses(&self) -> impl Iterator<Item = (&String, &u64)> {
        self.failed.iter().chain(&self.refused)
    }

    /// Adds another client's.
    pub(super) fn merge(&mut self, other: &Self) {
        self.operations.0 += &other.operations.0;
        for (name, latencies) in &other.steps {
            self.steps.entry(name).or_default().0 += &latencies.0;
        }
        for (into, from) in [(&mut self.refused, &other.refused), (&mut self.failed, &other.failed)] {
            from.iter().for_each(|(what, times)| *into.entry(what.clone()).or_default() += times);
        }
    }
}

fn record(latencies: &mut Latencies, took: Duration) {
    latencies.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(MICROSECONDS_MAX).max(1));
}

/// Percentiles in microseconds.
#[derive(Debug, Serialize)]
struct Percentiles {
    count: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl From<&Latencies> for Percentiles {
    fn from(latencies: &Latencies) -> Self {
        let at = |quantile| latencies.0.value_at_quantile(quantile);
        let (count, max) = (latencies.0.len(), latencies.0.max());
        Self { count, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max }
    }
}

/// The result, as JSON or as a table.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    scenario: String,
    clients: u32,
    /// `closed`, or `open` at `rate`.
    r#loop: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_second: Option<u32>,
    duration_s: f64,
    operations_per_second: f64,
    latency_us: Percentiles,
    steps_us: BTreeMap<&'static str, Percentiles>,
    refused: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
}

impl Report {
    /// Summarises what all clients saw in `measured`.
    pub(super) fn new(scenario: Scenario, clients: u32, rate: Option<u32>, measured: Duration, tally: Tally) -> Self {
        let seconds = measured.as_secs_f64();
        Self {
            scenario: scenario.to_string(),
            clients,
            r#loop: if rate.is_some() { "open" } else { "closed" },
            rate_per_second: rate,
            duration_s: seconds,
            operations_per_second: tally.operations() as f64 / seconds,
            latency_us: Percentiles::from(&tally.operations),
            steps_us: tally.steps.iter().map(|(name, latencies)| (*name, Percentiles::from(latencies))).collect(),
            refused: tally.refused,
            failed: tally.failed,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} · {} clients · {} loop", self.scenario, self.clients, self.r#loop)?;
        writeln!(f, "{:.0} operations/s over {:.0} s", self.operations_per_second, self.duration_s)?;
        writeln!(f, "{:<20} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}", "µs", "count", "p50", "p90", "p99", "p99.9", "max")?;
        let all = std::iter::once(("operation", &self.latency_us));
        for (name, l) in all.chain(self.steps_us.iter().map(|(name, latencies)| (*name, latencies))) {
            writeln!(
                f,
                "{name:<20} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
                l.count, l.p50, l.p90, l.p99, l.p999, l.max
            )?;
        }
        for (word, counts) in [("refused", &self.refused), ("failed", &self.failed)] {
            counts.iter().try_for_each(|(what, times)| writeln!(f, "{word} {times} × {what}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_of_clients_add_up() {
        let (mut one, mut two) = (Tally::default(), Tally::default());
        one.operation(Duration::from_millis(1));
        two.operation(Duration::from_millis(3));
        two.step("hold", Duration::from_millis(3));
        one.refused("409 insufficient_stock".into());
        two.refused("409 insufficient_stock".into());
        one.merge(&two);
        let report = Report::new(Scenario::HotSku, 2, None, Duration::from_secs(2), one);
        assert_eq!(report.latency_us.count, 2);
        assert!((report.operations_per_second - 1.0).abs() < 1e-9);
        assert_eq!(report.refused["409 insufficient_stock"], 2);
        assert!((2_990..=3_010).contains(&report.steps_us["hold"].p99), "{report:?}");
    }

    #[test]
    fn a_latency_beyond_the_scale_counts_as_the_largest() {
        let mut tally = Tally::default();
        tally.operation(Duration::from_secs(3_600));
        assert_eq!(tally.operations(), 1);
    }
}
