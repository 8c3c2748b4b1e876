//! What every handler has at hand: the way to the entities, the read side, and the seams of this node. Cheap to clone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::HeaderValue;

use super::admission::Admission;
use super::auth::{KeySource, KeyTable};
use super::call::Identity;
use super::door::http_date;
use super::error::Problem;
use super::idempotency::CommandIds;
use super::options::HttpOptions;
use super::ports::{Backups, CatalogueExport, Changes, OpsView, Vault};
use crate::actors::messages::{Answer, Ask, Origin, Request};
use crate::clock::NodeClock;
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{CommandId, EntityId};
use crate::domain::registry::AnyCommand;
use crate::domain::time::Timestamp;
use crate::payments::gateway::Gateways;
use crate::projections::query::Queries;
use crate::rng::Rng;
use tokio_util::sync::CancellationToken;

/// Everything HTTP is built on. Filled once, by whoever starts the node.
pub struct Parts {
    /// The way to any entity.
    pub ask: Arc<dyn Ask>,
    /// Lists and search.
    pub queries: Arc<dyn Queries>,
    /// Tells when an entity changed, for event streams and `Prefer: wait`.
    pub changes: Arc<dyn Changes>,
    /// Data keys of sealed personal data.
    pub vault: Arc<dyn Vault>,
    /// Stored API keys.
    pub keys: Arc<dyn KeySource>,
    /// What operators see of the node.
    pub ops: Arc<dyn OpsView>,
    /// The catalogue as a file.
    pub catalogue: Arc<dyn CatalogueExport>,
    /// Backups of the node.
    pub backups: Arc<dyn Backups>,
    /// Payment providers, to check their webhooks.
    pub gateways: Gateways,
    /// The node's time.
    pub clock: Arc<NodeClock>,
    /// The node's randomness.
    pub rng: Arc<dyn Rng>,
    /// The cluster's secret, from which command ids are derived (P1). The same on every node.
    pub cluster_secret: [u8; 32],
    /// Text of `ops.token` in the data directory.
    pub ops_token: Option<String>,
}

/// Shared by all handlers.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    parts: Parts,
    options: HttpOptions,
    admission: Admission,
    keys: KeyTable,
    command_ids: CommandIds,
    stopping: CancellationToken,
    /// The second it is and how HTTP writes it: the same for every answer of that second.
    date: Mutex<(u64, HeaderValue)>,
}

impl AppState {
    /// Puts the parts together.
    pub fn new(options: HttpOptions, mut parts: Parts) -> Self {
        let token = parts.ops_token.take();
        let refresh = options.timeouts.keys_refresh;
        let keys = KeyTable::new(parts.keys.clone(), parts.clock.clone(), refresh, token.as_deref());
        Self(Arc::new(Inner {
            admission: Admission::new(&options.limits),
            keys,
            command_ids: CommandIds::new(&parts.cluster_secret),
            stopping: CancellationToken::new(),
            date: Mutex::new((0, http_date(Timestamp::ZERO))),
            options,
            parts,
        }))
    }

    /// The node's time as HTTP writes it.
    pub fn date(&self) -> HeaderValue {
        let now = self.clock().now();
        let mut date = self.0.date.lock().expect("no holder of the date panics");
        if date.0 != now.0 / 1_000 {
            *date = (now.0 / 1_000, http_date(now));
        }
        date.1.clone()
    }

    /// Sends a command to its entity and waits for the outcome.
    pub async fn ask(&self, entity: EntityId, command: AnyCommand, identity: Identity) -> Result<Answer, Problem> {
        let Identity { stamp, origin } = identity;
        let request = Request { entity, command, stamp, origin, budget: self.0.options.timeouts.command };
        Ok(self.0.parts.ask.ask(request).await?)
    }

    /// Reads an entity.
    pub async fn read(&self, entity: EntityId, command: AnyCommand) -> Result<Answer, Problem> {
        self.ask(entity, command, self.drawn_identity()).await
    }

    /// The way to any entity, for whoever sends many commands of their own.
    pub fn ask_port(&self) -> Arc<dyn Ask> {
        self.0.parts.ask.clone()
    }

    /// An identity for a command nobody will repeat.
    pub fn drawn_identity(&self) -> Identity {
        let stamp = Stamp { command: CommandId(self.rng().next_id()), fingerprint: Fingerprint::default() };
        Identity { stamp, origin: Origin::Router }
    }

    /// Options of this node.
    pub fn options(&self) -> &HttpOptions {
        &self.0.options
    }

    /// The doorkeeper.
    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// The keys.
    pub fn keys(&self) -> &KeyTable {
        &self.0.keys
    }

    /// Derives command ids from client keys.
    pub fn command_ids(&self) -> &CommandIds {
        &self.0.command_ids
    }

    /// Lists and search.
    pub fn queries(&self) -> &dyn Queries {
        &*self.0.parts.queries
    }

    /// Change signals.
    pub fn changes(&self) -> &dyn Changes {
        &*self.0.parts.changes
    }

    /// Data keys.
    pub fn vault(&self) -> &dyn Vault {
        &*self.0.parts.vault
    }

    /// The operators' view.
    pub fn ops(&self) -> &dyn OpsView {
        &*self.0.parts.ops
    }

    /// The catalogue as a file.
    pub fn catalogue(&self) -> &dyn CatalogueExport {
        &*self.0.parts.catalogue
    }

    /// Backups.
    pub fn backups(&self) -> &dyn Backups {
        &*self.0.parts.backups
    }

    /// Payment providers.
    pub fn gateways(&self) -> &Gateways {
        &self.0.parts.gateways
    }

    /// The node's time.
    pub fn clock(&self) -> &NodeClock {
        &self.0.parts.clock
    }

    /// Monotonic time, for durations.
    pub fn now_monotonic(&self) -> Duration {
        self.0.parts.clock.monotonic()
    }

    /// The node's randomness.
    pub fn rng(&self) -> &dyn Rng {
        &*self.0.parts.rng
    }

    /// Cancelled when the server stops: event streams end, waits are cut short.
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }
}
