//! What the shop is like to those who use it: how long requests take, how they end, which are under way.
//!
//! Only requests of visitors while the shop is open count: neither those that open it, nor the judges' at rest. The
//! meter belongs to the thread, as one process runs one seed on one thread; it reads virtual time and changes nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::client::{Call, NoAnswer, Reply};

/// The longest latency told apart, a day in microseconds; more counts as that.
const LATENCY_MAX_MICROS: u64 = 24 * 3_600 * 1_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 2;

/// What was measured: of one run, or of several together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Requests made.
    pub requests: u64,
    /// Requests without an answer, or answered with a 5xx.
    pub unavailable: u64,
    /// Commands the shop took.
    pub accepted: u64,
    /// Commands the shop refused for certain.
    pub rejected: u64,
    /// Commands whose outcome nobody outside knows.
    pub unknown: u64,
    /// Refusals by code, of reads and commands.
    pub codes: BTreeMap<String, u64>,
    /// Microseconds until the answer, to two digits, and how often; unanswered requests with all their wait.
    pub latencies: Vec<(u64, u64)>,
}

impl Reading {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.unavailable += other.unavailable;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.unknown += other.unknown;
        other.codes.iter().for_each(|(code, count)| *self.codes.entry(code.clone()).or_default() += count);
        let mut all: BTreeMap<u64, u64> = self.latencies.iter().copied().collect();
        other.latencies.iter().for_each(|(micros, count)| *all.entry(*micros).or_default() += count);
        self.latencies = all.into_iter().collect();
    }

    /// The latency that so many percent of requests do not exceed, microseconds; zero when there were none.
    pub fn latency_micros(&self, percent: u64) -> u64 {
        let total: u64 = self.latencies.iter().map(|(_, count)| count).sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.latencies.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, |(micros, _)| *micros)
    }

    /// Percent of requests that were answered by a shop in order; 100 when there were none.
    pub fn availability_percent(&self) -> f64 {
        if self.requests == 0 {
            return 100.0;
        }
        100.0 * (self.requests - self.unavailable) as f64 / self.requests as f64
    }
}

struct Meter {
    open: bool,
    reading: Reading,
    latencies: Histogram<u64>,
    under_way: BTreeMap<u64, String>,
    next: u64,
}

impl Meter {
    fn new() -> Self {
        let latencies = Histogram::new_with_max(LATENCY_MAX_MICROS, DIGITS).expect("constant bounds are valid");
        Self { open: false, reading: Reading::default(), latencies, under_way: BTreeMap::new(), next: 0 }
    }

    fn request(&mut self, outcome: &Result<Reply, NoAnswer>, micros: u64) {
        let reading = &mut self.reading;
        reading.requests += 1;
        reading.unavailable += u64::from(outcome.as_ref().map_or(true, |reply| reply.status.is_server_error()));
        self.latencies.saturating_record(micros);
        if let Ok(reply) = outcome
            && !reply.code().is_empty()
        {
            *reading.codes.entry(reply.code().to_owned()).or_default() += 1;
        }
    }

    fn command(&mut self, outcome: &Result<Reply, NoAnswer>) {
        match outcome {
            Ok(reply) if reply.status.is_success() => self.reading.accepted += 1,
            Ok(reply) if is_refusal(reply) => self.reading.rejected += 1,
            _ => self.reading.unknown += 1,
        }
    }
}

/// Whether the answer says that nothing happened.
fn is_refusal(reply: &Reply) -> bool {
    reply.body["outcome"] == "rejected"
        || (reply.status.is_client_error() && reply.status != StatusCode::REQUEST_TIMEOUT)
}

thread_local! {
    static METER: RefCell<Meter> = RefCell::new(Meter::new());
}

/// The shop is open from now on, or no longer: requests begun then count, or do not.
pub fn set_open(open: bool) {
    METER.with_borrow_mut(|meter| meter.open = open);
}

/// What was measured so far.
pub fn reading() -> Reading {
    METER.with_borrow(|meter| {
        let steps = meter.latencies.iter_recorded();
        let latencies = steps.map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
        Reading { latencies, ..meter.reading.clone() }
    })
}

/// Requests under way, oldest first.
pub fn under_way() -> Vec<String> {
    METER.with_borrow(|meter| meter.under_way.values().cloned().collect())
}

/// A command ended like this, after however many requests.
pub fn command(call: &Call, outcome: &Result<Reply, NoAnswer>) {
    METER.with_borrow_mut(|meter| {
        if meter.open && call.method != Method::GET {
            meter.command(outcome);
        }
    });
}

/// One request under way. Dropped without an outcome it was given up by whoever made it, and does not count.
pub struct Request {
    number: u64,
    since: Instant,
    counts: bool,
}

impl Request {
    /// Somebody makes a request now.
    pub fn begin(who: &str, call: &Call) -> Self {
        METER.with_borrow_mut(|meter| {
            meter.next += 1;
            let what = format!("{who}: {} {}, since {} ms", call.method, call.path, super::time::now_ms());
            meter.under_way.insert(meter.next, what);
            Self { number: meter.next, since: Instant::now(), counts: meter.open }
        })
    }

    /// It ended like this.
    pub fn end(self, outcome: &Result<Reply, NoAnswer>) {
        let micros = self.since.elapsed().as_micros() as u64;
        if self.counts {
            METER.with_borrow_mut(|meter| meter.request(outcome, micros));
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // A thread that ends drops its meter first; then nobody asks any more.
        let _ = METER.try_with(|meter| meter.borrow_mut().under_way.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: serde_json::Value) -> Result<Reply, NoAnswer> {
        Ok(Reply { status: StatusCode::from_u16(status).unwrap(), body })
    }

    #[test]
    fn requests_are_counted_by_how_they_end() {
        let mut meter = Meter::new();
        let full = json!({"code": "storage_full", "outcome": "rejected"});
        let open = json!({"code": "outcome_unknown", "outcome": "unknown"});
        for outcome in [
            answer(201, json!({})),
            answer(409, json!({"code": "cart_empty", "outcome": "rejected"})),
            answer(503, full),
            answer(504, open),
            Err(NoAnswer("no answer in time".to_owned())),
        ] {
            meter.request(&outcome, 1_000);
            meter.command(&outcome);
        }
        meter.request(&answer(200, json!({})), 5_000);
        let Reading { requests, unavailable, accepted, rejected, unknown, codes, .. } = &meter.reading;
        assert_eq!((requests, unavailable, accepted, rejected, unknown), (&6, &3, &1, &2, &2));
        assert_eq!(codes.len(), 3);
        assert_eq!(meter.reading.availability_percent(), 50.0);
    }

    #[test]
    fn latencies_of_several_runs_are_one_distribution() {
        let mut sum = Reading::default();
        assert_eq!(sum.latency_micros(99), 0);
        let one = Reading { latencies: vec![(10, 97), (200, 1)], ..Reading::default() };
        let other = Reading { latencies: vec![(200, 1), (900, 1)], ..Reading::default() };
        sum.add(&one);
        sum.add(&other);
        assert_eq!([50, 97, 98, 99, 100].map(|percent| sum.latency_micros(percent)), [10, 10, 200, 200, 900]);
    }
}
