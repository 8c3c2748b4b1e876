//! Says when each operation of an open loop is due.
//!
//! A thread of its own sleeps until then. tokio's timers go off up to a millisecond late, which would look like latency
//! of the shop: at 500 holds a second 1.6 ms instead of 0.5 ms at the median.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::{Schedule, tokio_now};

/// Starts to pace `clients` who together do `rate` operations a second, evenly, one after the other. Each gets the
/// moments its own are due, at those moments, until the schedule ends.
pub(super) fn start(schedule: Schedule, rate: u32, clients: u32) -> Vec<UnboundedReceiver<Instant>> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..clients).map(|_| unbounded_channel()).unzip();
    #[allow(clippy::disallowed_methods, reason = "the load generator's own clock, on no node")]
    std::thread::spawn(move || pace(schedule, Duration::from_secs_f64(1.0 / f64::from(rate)), &senders));
    receivers
}

fn pace(schedule: Schedule, between: Duration, clients: &[UnboundedSender<Instant>]) {
    let (mut due, mut gone) = (schedule.start, 0);
    for client in clients.iter().cycle() {
        if due >= schedule.end || gone == clients.len() {
            return;
        }
        #[allow(clippy::disallowed_methods, reason = "the load generator's own clock, on no node")]
        std::thread::sleep(due.saturating_duration_since(tokio_now()));
        gone = if client.send(due).is_err() { gone + 1 } else { 0 };
        due += between;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_take_turns_and_are_told_when_it_is_time() {
        let (start, millisecond) = (tokio_now(), Duration::from_millis(1));
        let schedule = Schedule { start, measure_from: start, end: start + 20 * millisecond };
        let mut told = Vec::new();
        for (number, mut client) in self::start(schedule, 1_000, 4).into_iter().enumerate() {
            while let Some(due) = client.recv().await {
                assert!(tokio_now() >= due, "nobody is told too early");
                told.push((due, number));
            }
        }
        told.sort();
        let expected = (0..20).map(|index| (start + index * millisecond, index as usize % 4));
        assert_eq!(told, expected.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn pacing_ends_when_all_clients_have_gone() {
        let start = tokio_now();
        let schedule = Schedule { start, measure_from: start, end: start + Duration::from_secs(86_400) };
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| unbounded_channel::<Instant>()).unzip();
        drop(receivers);
        pace(schedule, Duration::from_millis(1), &senders);
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}
