//! Outgoing webhooks: tells endpoints of a merchant what happened, at least once each, in the order it happened to each
//! thing (P29).
//!
//! One task per endpoint follows the feed of every shard that this node leads from the endpoint's own cursor, posts
//! events in small signed deliveries, and moves the cursor once the endpoint has said 2xx. Anything else is tried again
//! with growing pauses, for as long as it takes: an endpoint that is down holds up nobody but itself. After a crash or
//! a change of leadership what was not confirmed is sent again, under the same event ids.
//!
//! A new endpoint begins with what happens from then on. One whose cursors were lost with the store is sent again
//! whatever the feed still has. What the feed no longer has cannot be sent: it is counted as missed and logged.

pub mod endpoint;
pub mod events;
mod sender;

use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::wire::Time;
use crate::actors::feed_signal::FeedSignal;
use crate::clock::NodeClock;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;
use crate::projections::webhook_cursors::CursorError;
use endpoint::Endpoint;
use sender::Sender;

/// How one endpoint is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct WebhookStatus {
    /// Its name.
    pub endpoint: String,
    /// Scheme, host and port of its address.
    pub origin: String,
    /// The kinds of events it is sent.
    pub events: Vec<String>,
    /// Events it has taken since the node started.
    pub delivered_events: u64,
    /// Deliveries it did not take since the node started.
    pub failed_attempts: u64,
    /// Log entries it has not been told of yet.
    pub lag_entries: u64,
    /// Log entries it will never be told of: the feed no longer had them.
    pub missed_entries: u64,
    /// Since when nothing gets through; null while it does.
    #[schema(value_type = Option<Time>)]
    pub failing_since: Option<Time>,
    /// Why the last delivery was not taken; null once one was.
    pub last_error: Option<String>,
}

/// The statuses of all endpoints, shared with operators' pages.
#[derive(Clone, Default)]
pub struct WebhookStatuses(Arc<Mutex<Vec<WebhookStatus>>>);

impl WebhookStatuses {
    /// All of them, in the order of the configuration.
    pub fn list(&self) -> Vec<WebhookStatus> {
        self.with(|statuses| statuses.clone())
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut WebhookStatus)) {
        self.with(|statuses| change(&mut statuses[number]));
    }

    fn with<T>(&self, action: impl FnOnce(&mut Vec<WebhookStatus>) -> T) -> T {
        action(&mut self.0.lock().expect("no code panics while holding this lock"))
    }
}

/// What deliveries are made from.
#[derive(Clone)]
pub struct Parts {
    /// Where records are read.
    pub journal: Journal,
    /// Wakes the senders.
    pub signal: FeedSignal,
    /// The groups to follow.
    pub groups: Vec<GroupId>,
    /// Whether this node leads a group: only its leader tells of it.
    pub leads: Arc<dyn Fn(GroupId) -> bool + Send + Sync>,
    /// Signs deliveries with its wall time, and dates what is shown of them with its own.
    pub clock: Arc<NodeClock>,
}

/// Deliveries under way.
pub struct Outgoing {
    statuses: WebhookStatuses,
    stop: CancellationToken,
    senders: Vec<tokio::task::JoinHandle<()>>,
}

impl Outgoing {
    /// Starts telling these endpoints. `is_known` says of a name whether it was ever started here: its cursors, if they
    /// are gone, were lost and not never made.
    pub async fn start(
        parts: &Parts,
        endpoints: Vec<Endpoint>,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Self, CursorError> {
        let (statuses, stop) = (WebhookStatuses::default(), CancellationToken::new());
        let mut senders = Vec::new();
        for (number, endpoint) in endpoints.into_iter().enumerate() {
            statuses.with(|statuses| statuses.push(endpoint.status()));
            let is_known = is_known(endpoint.name());
            senders.push(Sender::open(parts.clone(), endpoint, is_known, (statuses.clone(), number)).await?);
        }
        let senders = senders.into_iter().map(|sender| tokio::spawn(sender.run(stop.clone()))).collect();
        Ok(Self { statuses, stop, senders })
    }

    /// How the endpoints are doing.
    pub fn statuses(&self) -> WebhookStatuses {
        self.statuses.clone()
    }

    /// Stops; what is not confirmed is sent again after the next start.
    pub async fn close(self) {
        self.stop.cancel();
        for sender in self.senders {
            let _ = sender.await;
        }
    }
}
