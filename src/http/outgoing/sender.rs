//! The task that serves one endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::events::{self, Event};
use super::{Parts, WebhookStatuses};
use crate::domain::ids::EntityId;
use crate::domain::registry::Kind;
use crate::domain::time::Sequence;
use crate::http::wire::Time;
use crate::persistence::journal::{FeedRow, JournalError};
use crate::persistence::log::GroupId;
use crate::persistence::store::StoreError;
use crate::projections::webhook_cursors::{CursorError, WebhookCursors};

/// Log entries looked at together.
const PAGE_ENTRIES: usize = 256;
/// Events of one delivery.
const DELIVERY_EVENTS_MAX: usize = 100;
/// How long records gather after a wake-up.
const GATHER_INTERVAL: Duration = Duration::from_millis(20);
/// Pause after the first failed attempt; doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// Pause after a journal that could not be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Why a sender cannot go on right now.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Cursor(#[from] CursorError),
}

/// Serves one endpoint until stopped.
pub(super) struct Sender {
    parts: Parts,
    endpoint: Endpoint,
    cursors: WebhookCursors,
    taken: BTreeMap<GroupId, u64>,
    status: (WebhookStatuses, usize),
}

impl Sender {
    /// Continues where the endpoint's cursors are; groups without one begin now, or, when the endpoint was known
    /// before, with the oldest the feed has.
    pub(super) async fn open(
        parts: Parts,
        endpoint: Endpoint,
        is_known: bool,
        status: (WebhookStatuses, usize),
    ) -> Result<Self, CursorError> {
        let cursors = WebhookCursors::new(parts.journal.store().clone(), endpoint.name());
        let mut taken = cursors.read().await?;
        let mut new = BTreeMap::new();
        for group in parts.groups.iter().filter(|group| !taken.contains_key(group)) {
            let applied = parts.signal.subscribe(*group).map_or(0, |watch| watch.borrow().index);
            new.insert(*group, if is_known { 0 } else { applied });
        }
        if !new.is_empty() {
            cursors.write(&new).await?;
            cursors.sync().await?;
            taken.extend(new);
        }
        Ok(Self { parts, endpoint, cursors, taken, status })
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut wakes = self.parts.signal.subscribe_all();
        loop {
            wakes.mark_unchanged();
            let pause = match self.catch_up(&stop).await {
                Ok(()) => None,
                Err(SendError::Journal(JournalError::Store(StoreError::Closed))) => return,
                Err(SendError::Cursor(CursorError::Store(StoreError::Closed))) => return,
                Err(error) => {
                    tracing::warn!(endpoint = self.endpoint.name(), %error, "webhooks cannot follow the feed");
                    Some(RETRY_INTERVAL)
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                changed = wakes.changed(), if pause.is_none() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHER_INTERVAL).await;
                }
            }
        }
    }

    async fn catch_up(&mut self, stop: &CancellationToken) -> Result<(), SendError> {
        for group in self.parts.groups.clone() {
            while !stop.is_cancelled() && (self.parts.leads)(group) && self.step(group, stop).await? {
                self.tell_lag();
            }
        }
        self.tell_lag();
        Ok(())
    }

    /// The next page of a group's feed; whether there may be more.
    async fn step(&mut self, group: GroupId, stop: &CancellationToken) -> Result<bool, SendError> {
        let applied = self.parts.signal.subscribe(group).map_or(0, |watch| watch.borrow().index);
        let taken = self.taken.get(&group).copied().unwrap_or(0);
        let rows = match self.parts.journal.feed(group, taken + 1, PAGE_ENTRIES).await {
            Err(JournalError::FeedTrimmed { floor }) => {
                self.skip(group, taken, floor).await?;
                return Ok(true);
            }
            rows => rows?,
        };
        let is_last = rows.len() < PAGE_ENTRIES;
        let last = rows.last().map(|row| row.log_index);
        let reached = if is_last { last.max(Some(applied)) } else { last };
        let events = self.events_of(group, rows).await?;
        for delivery in events.chunks(DELIVERY_EVENTS_MAX) {
            if !self.deliver(delivery, stop).await {
                return Ok(false);
            }
        }
        if let Some(reached) = reached.filter(|reached| *reached > taken) {
            self.advance(group, reached).await?;
        }
        Ok(!is_last)
    }

    async fn advance(&mut self, group: GroupId, reached: u64) -> Result<(), CursorError> {
        self.cursors.write(&[(group, reached)].into()).await?;
        self.taken.insert(group, reached);
        Ok(())
    }

    async fn skip(&mut self, group: GroupId, taken: u64, floor: u64) -> Result<(), CursorError> {
        let missed = floor.saturating_sub(taken + 1);
        // A cursor at the very beginning was lost or never made: that there is nothing older is no news.
        if taken > 0 {
            let endpoint = self.endpoint.name();
            tracing::error!(endpoint, %group, missed, "the feed no longer has what this endpoint was not told of");
            self.status.0.change(self.status.1, |status| status.missed_entries += missed);
        }
        self.advance(group, floor.saturating_sub(1).max(taken + 1)).await
    }

    /// The wanted events of these entries, entity by entity in the order of the entries.
    async fn events_of(&self, group: GroupId, rows: Vec<FeedRow>) -> Result<Vec<Event>, JournalError> {
        let mut events = Vec::new();
        for item in rows.into_iter().flat_map(|row| row.items) {
            if !self.endpoint.wanted().has_of(item.entity.kind) {
                continue;
            }
            let (first, count) = (item.first_sequence, item.record_count as usize);
            let records = self.records_of(group, &item.entity, first, count).await?;
            events.extend(events::of_records(&item.entity, &records, first, self.endpoint.wanted()));
        }
        Ok(events)
    }

    async fn records_of(
        &self,
        group: GroupId,
        entity: &EntityId,
        first: Sequence,
        count: usize,
    ) -> Result<Vec<crate::persistence::records::Record>, JournalError> {
        let last = Sequence(first.0 + count as u64 - 1);
        let from = if entity.kind == Kind::Order { Sequence(1) } else { first };
        let limit = usize::try_from(last.0 - from.0 + 1).unwrap_or(usize::MAX);
        let mut records = self.parts.journal.history(group, entity, from, limit).await?;
        records.retain(|record| record.sequence <= last);
        Ok(records)
    }

    /// Tries until the endpoint has taken them; false when told to stop.
    async fn deliver(&self, delivery: &[Event], stop: &CancellationToken) -> bool {
        let mut pause = PAUSE_FIRST;
        loop {
            let (now, wall) = (self.parts.clock.now(), self.parts.clock.wall());
            let attempt = tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                attempt = self.endpoint.attempt(delivery, wall) => attempt,
            };
            let outcome = if attempt.is_ok() { "taken" } else { "failed" };
            metrics::counter!("stockroom_webhook_deliveries_total", "outcome" => outcome).increment(1);
            let Err(reason) = attempt else {
                self.status.0.change(self.status.1, |status| {
                    status.delivered_events += delivery.len() as u64;
                    (status.failing_since, status.last_error) = (None, None);
                });
                return true;
            };
            tracing::warn!(endpoint = self.endpoint.name(), reason, "a webhook was not taken, trying again");
            self.status.0.change(self.status.1, |status| {
                status.failed_attempts += 1;
                status.failing_since.get_or_insert(Time(now));
                status.last_error = Some(reason);
            });
            self.tell_lag();
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
            pause = self.endpoint.pause_max().min(pause * 2);
        }
    }

    fn tell_lag(&self) {
        let lag_of = |group: &GroupId| {
            let applied = self.parts.signal.subscribe(*group).map_or(0, |watch| watch.borrow().index);
            applied.saturating_sub(self.taken.get(group).copied().unwrap_or(0))
        };
        let lag = self.parts.groups.iter().map(lag_of).sum();
        self.status.0.change(self.status.1, |status| status.lag_entries = lag);
        let largest = self.status.0.list().iter().map(|status| status.lag_entries).max().unwrap_or(0);
        metrics::gauge!("stockroom_webhook_lag_entries").set(largest as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::http::HeaderMap;

    use super::super::endpoint::EndpointParts;
    use super::*;
    use crate::actors::feed_signal::FeedSignal;
    use crate::clock::{Clock, NodeClock};
    use crate::domain::time::Timestamp;
    use crate::payments::webhook::SIGNATURE_HEADER;
    use crate::persistence::journal::Journal;
    use crate::persistence::memory::MemoryStore;

    const START: Timestamp = Timestamp(1_700_000_000_000);
    const HOUR_MS: u64 = 3_600_000;

    /// A wall clock that somebody sets; no time passes by itself.
    struct Hands(Mutex<Timestamp>);

    impl Clock for Hands {
        fn wall(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// An endpoint that takes everything; where it is, and what signatures it got.
    async fn receiver() -> (String, Arc<Mutex<Vec<String>>>) {
        let signatures = Arc::<Mutex<Vec<String>>>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let seen = signatures.clone();
        let take = move |headers: HeaderMap| async move {
            seen.lock().unwrap().push(headers[SIGNATURE_HEADER].to_str().unwrap().to_owned());
        };
        let router = axum::Router::new().fallback(take);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, signatures)
    }

    async fn sender(url: String, clock: Arc<NodeClock>) -> Sender {
        let parts = Parts {
            journal: Journal::new(Arc::new(MemoryStore::new())),
            signal: FeedSignal::new([]),
            groups: Vec::new(),
            leads: Arc::new(|_| true),
            clock,
        };
        let endpoint = EndpointParts {
            name: "till".to_owned(),
            url,
            secret: "a secret of sufficient length".to_owned(),
            events: vec!["order.*".to_owned()],
            attempt_timeout: Duration::from_secs(5),
            pause_max: Duration::from_secs(1),
        };
        let endpoint = Endpoint::new(endpoint).unwrap();
        let statuses = WebhookStatuses::default();
        statuses.with(|statuses| statuses.push(endpoint.status()));
        Sender::open(parts, endpoint, false, (statuses, 0)).await.unwrap()
    }

    #[tokio::test]
    async fn deliveries_are_signed_with_the_wall_clock_however_far_the_nodes_own_is_off() {
        let hands = Arc::new(Hands(Mutex::new(START)));
        let clock = NodeClock::new(hands.clone(), Timestamp::ZERO);
        let (url, signatures) = receiver().await;
        let sender = sender(url, clock.clone()).await;
        for wall in [Timestamp(START.0 + HOUR_MS), Timestamp(START.0 - HOUR_MS)] {
            *hands.0.lock().unwrap() = wall;
            assert_eq!(clock.now(), START, "the node's own clock does not step");
            assert!(sender.deliver(&[], &CancellationToken::new()).await);
            let signature = signatures.lock().unwrap().pop().unwrap();
            assert!(signature.starts_with(&format!("t={},", wall.0 / 1000)), "{signature}");
        }
    }
}
