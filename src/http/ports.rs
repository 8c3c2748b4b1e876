//! What HTTP needs from the node around it, as small traits: implemented by the cluster, the projections and the
//! payments, and by fakes in tests.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::Serialize;
use utoipa::ToSchema;

use super::outgoing::WebhookStatus;
use super::wire::Time;
use crate::actors::messages::AskError;
use crate::domain::ids::{DataKeyId, EntityId, HoldId, OrderId, Sku};
use crate::projections::catalogue::CatalogueFormat;

/// Tells when entities change.
pub trait Changes: Send + Sync + 'static {
    /// Wakes after each committed record of `entity` from now on; several records may be one wake-up. A record
    /// committed after this call returned is never missed. The stream ends when the node stops or the shard's feed is
    /// lost; whoever follows it then reads the entity and subscribes again.
    fn of(&self, entity: &EntityId) -> BoxStream<'static, ()>;
}

/// Keeps the data keys that seal personal data (P22).
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// The key called `key`, kept with `owner`; `None` once it was erased.
    async fn secret(&self, owner: &EntityId, key: DataKeyId) -> Result<Option<[u8; 32]>, AskError>;
}

/// What operators see of a node, and the little they may change through it.
#[async_trait]
pub trait OpsView: Send + Sync + 'static {
    /// Whether this node should get traffic.
    fn readiness(&self) -> Readiness;
    /// Metrics in Prometheus' text format.
    fn metrics(&self) -> String;
    /// The node in a page.
    async fn status(&self) -> NodeStatus;
    /// Every shard this node has a replica of.
    async fn shards(&self) -> Vec<ShardStatus>;
    /// Resident actors, busiest first, at most `limit`.
    async fn actors(&self, limit: usize) -> Vec<ActorStatus>;
    /// Entities whose commands panicked since the node started, the most panics first.
    fn panicked(&self) -> Vec<PanickedEntity>;
    /// Orders' holds older than this, the oldest first, at most `limit`.
    fn order_holds(&self, older_than: Duration, limit: usize) -> Vec<OldOrderHold>;
    /// How the endpoints of outgoing webhooks are doing.
    fn webhooks(&self) -> Vec<WebhookStatus>;
    /// Entities taken out of service.
    async fn quarantined(&self) -> Vec<QuarantinedEntity>;
    /// Puts an entity back into service; `false` when it is not quarantined here.
    async fn release(&self, entity: &EntityId) -> bool;
}

/// Writes the catalogue out.
pub trait CatalogueExport: Send + Sync + 'static {
    /// The file in pieces, one page of products in memory at a time; an error ends it.
    fn export(&self, format: CatalogueFormat) -> BoxStream<'static, std::io::Result<Bytes>>;
}

/// Makes backups of a node.
pub trait Backups: Send + Sync + 'static {
    /// Starts one, in a directory of its own within `directory`; `None` while one is being made.
    fn start(&self, directory: Option<PathBuf>) -> Option<BackupStatus>;
    /// Those of this node since it started, newest first.
    fn list(&self) -> Vec<BackupStatus>;
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BackupStatus {
    /// Where it is, once done.
    pub path: String,
    /// How it goes.
    pub state: BackupState,
    /// When it began: what was acknowledged before is in it.
    pub started_at: String,
    /// Files written.
    pub files: u64,
    /// Files there will be, as far as known.
    pub files_total: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Why it failed; null unless it did.
    pub error: Option<String>,
}

/// How a backup goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// It is being made.
    Running,
    /// It is complete.
    Done,
    /// It could not be made; nothing is under its path.
    Failed,
}

/// Whether a node should get traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Readiness {
    /// All shards led somewhere, storage writable, not draining.
    pub ready: bool,
    /// What is missing, for people; empty when ready.
    pub reasons: Vec<String>,
}

/// The node in a page.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct NodeStatus {
    /// This node.
    pub node: String,
    /// Version of the program.
    pub version: String,
    /// The cluster it belongs to.
    pub cluster: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Whether it should get traffic, and why not.
    pub readiness: Readiness,
    /// Node clock minus wall clock.
    pub clock_offset_ms: i64,
    /// How many shards the cluster has.
    pub shards: u32,
    /// How many of them this node leads.
    pub shards_led: u32,
    /// Entities in memory.
    pub resident_actors: u64,
    /// Entities out of service: see `/ops/v1/quarantine`.
    pub quarantined_entities: u64,
    /// Entities with commands that panicked since the node started: see `/ops/v1/panics`.
    pub panicked_entities: u64,
    /// Holds of orders older than an hour: see `/ops/v1/order-holds`.
    pub old_order_holds: u64,
    /// Requests in flight that may still be admitted.
    pub free_places: u64,
    /// Bytes free on the data directory's disk.
    pub disk_free_bytes: u64,
    /// Bytes of log, checkpoints and store.
    pub disk_used_bytes: u64,
}

/// One shard's replica.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ShardStatus {
    /// Which.
    pub shard: u32,
    /// `leader`, `follower`, `learner` or `candidate`.
    pub role: String,
    /// Fencing number of the leadership.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<String>,
    /// Last log index known committed.
    pub committed: u64,
    /// Last log index applied here.
    pub applied: u64,
    /// Entities in memory.
    pub resident_actors: u64,
    /// Obligations and deadlines due.
    pub due: u64,
}

/// One entity in memory.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ActorStatus {
    /// Which; text form `kind/key`.
    pub entity: String,
    /// Its last record.
    pub sequence: u64,
    /// Commands waiting.
    pub waiting: u64,
    /// Commands it owes that are being delivered.
    pub owed: u64,
    /// Milliseconds since its last command.
    pub idle_ms: u64,
}

/// An entity whose commands panicked: each was answered with `internal_error` and changed nothing.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PanickedEntity {
    /// Which; text form `kind/key`.
    pub entity: String,
    /// How many of its commands panicked since the node started.
    pub panics: u64,
    /// Seconds since the last one.
    pub quiet_seconds: u64,
}

/// A hold of an order that has neither sold nor released it for long.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct OldOrderHold {
    /// Of what.
    pub sku: Sku,
    /// Which.
    pub hold: HoldId,
    /// Whose.
    pub order_id: OrderId,
    /// Units.
    pub quantity: u64,
    /// Since when.
    pub since: Time,
    /// Seconds since then.
    pub age_seconds: u64,
}

/// An entity out of service.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct QuarantinedEntity {
    /// Which; text form `kind/key`.
    pub entity: String,
    /// What went wrong.
    pub reason: String,
    /// How often.
    pub crashes: u32,
}
