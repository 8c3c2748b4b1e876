//! What operators see of this node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::outgoing::{WebhookStatus, WebhookStatuses};
use super::ports::{
    ActorStatus, NodeStatus, OldOrderHold, OpsView, PanickedEntity, QuarantinedEntity, Readiness, ShardStatus,
};
use super::wire::Time;
use crate::actors::messages::EntityDescription;
use crate::actors::shard::ShardMessage;
use crate::cluster::node::Node;
use crate::cluster::raft::group::Group;
use crate::domain::ids::EntityId;
use crate::domain::time::Timestamp;
use crate::persistence::log::GroupId;
use crate::projections::lists::holds::{HoldPlace, LiveHolds, OrderHold};

/// How long an actor may take to describe itself.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(1);
/// An order's hold older than this is shown in the status (P17).
const OLD: Duration = Duration::from_secs(60 * 60);
/// Due wake rows counted for status; more are shown as this many.
const DUE_COUNTED_MAX: usize = 10_000;

/// What the computer around a node knows and the node does not.
#[async_trait]
pub trait Computer: Send + Sync {
    /// Bytes free where the data is; zero when it cannot be asked.
    fn disk_free_bytes(&self) -> u64;

    /// Bytes the data takes.
    async fn disk_used_bytes(&self) -> u64;

    /// All metrics of the process in Prometheus' text form.
    fn metrics(&self) -> String;
}

/// The node, for operators.
pub struct NodeOps {
    node: Arc<Node>,
    computer: Arc<dyn Computer>,
    holds: LiveHolds,
    webhooks: WebhookStatuses,
    started: Duration,
}

impl NodeOps {
    /// A view of this node and of the holds its read side knows.
    pub fn new(node: Arc<Node>, computer: Arc<dyn Computer>, holds: LiveHolds) -> Self {
        let started = node.clock().monotonic();
        Self { node, computer, holds, webhooks: WebhookStatuses::default(), started }
    }

    /// The same, showing these endpoints.
    #[must_use]
    pub fn with_webhooks(self, webhooks: WebhookStatuses) -> Self {
        Self { webhooks, ..self }
    }

    async fn ask_shard<T>(
        &self,
        group: GroupId,
        message: impl FnOnce(oneshot::Sender<T>) -> ShardMessage,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.node.hosted().get(group)?.cast(message(sender)).ok()?;
        tokio::time::timeout(DESCRIBE_TIMEOUT, receiver).await.ok()?.ok()
    }

    fn old_order_holds(&self, older_than: Duration, limit: usize) -> (u64, Vec<(HoldPlace, OrderHold)>) {
        let now = self.node.clock().now();
        let moment = Timestamp(now.0.saturating_sub(u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX)));
        self.holds.of_orders_since_before(moment, limit)
    }

    /// The entities of a group used last, and how long ago that was.
    async fn used_last(&self, group: GroupId, limit: usize) -> Vec<(EntityDescription, Duration)> {
        let listed = self.ask_shard(group, |reply| ShardMessage::Residents { limit, reply }).await;
        let mut described = Vec::new();
        for (entity, idle) in listed.unwrap_or_default().used_last {
            let ask = |reply| ShardMessage::Describe { entity: entity.clone(), reply };
            described.extend(self.ask_shard(group, ask).await.map(|description| (description, idle)));
        }
        described
    }

    async fn shard(&self, group: GroupId) -> ShardStatus {
        let raft = &self.node.groups()[&group];
        let hosted = self.node.hosted().get(group).is_some();
        let now = self.node.clock().now();
        let due = self.node.journal().due_wakes(group, None, now, DUE_COUNTED_MAX).await;
        let residents = self.ask_shard(group, |reply| ShardMessage::Residents { limit: 0, reply }).await;
        ShardStatus {
            shard: group.0,
            role: if hosted { "leader" } else { "follower" }.to_owned(),
            term: raft.term(),
            leader: raft.leader().map(|member| member.to_string()),
            committed: raft.committed_index().max(raft.applied_index()).unwrap_or(0),
            applied: raft.applied_index().unwrap_or(0),
            resident_actors: residents.map_or(0, |residents| residents.count as u64),
            due: due.map_or(0, |due| due.len() as u64),
        }
    }
}

#[async_trait]
impl OpsView for NodeOps {
    fn readiness(&self) -> Readiness {
        let missing: Vec<String> = self
            .node
            .groups()
            .keys()
            .filter(|group| self.node.hosted().get(**group).is_none())
            .map(|group| format!("shard {group} is not led here"))
            .collect();
        Readiness { ready: missing.is_empty(), reasons: missing }
    }

    fn metrics(&self) -> String {
        let depth = |queue: &'static str, waiting: usize| {
            metrics::gauge!("stockroom_queue_depth", "queue" => queue).set(waiting as f64);
        };
        depth("router", self.node.router().in_flight());
        depth("proposals", self.node.groups().values().map(Group::waiting_batches).sum());
        let of_orders = self.holds.of_orders();
        for (holder, live) in [("order", of_orders), ("shopper", self.holds.live().saturating_sub(of_orders))] {
            metrics::gauge!("stockroom_holds_live", "holder" => holder).set(live as f64);
        }
        metrics::gauge!("stockroom_old_order_holds").set(self.old_order_holds(OLD, 0).0 as f64);
        self.computer.metrics()
    }

    async fn status(&self) -> NodeStatus {
        let node = &self.node;
        NodeStatus {
            node: node.options().name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: node.genesis().cluster.to_string(),
            uptime_seconds: node.clock().monotonic().saturating_sub(self.started).as_secs(),
            readiness: self.readiness(),
            clock_offset_ms: node.clock().offset_ms(),
            shards: node.shards().get(),
            shards_led: u32::try_from(node.hosted().groups().iter().filter(|group| **group != GroupId::META).count())
                .unwrap_or(u32::MAX),
            resident_actors: node.observer().resident(),
            quarantined_entities: self.quarantined().await.len() as u64,
            panicked_entities: node.observer().panics().list().len() as u64,
            old_order_holds: self.old_order_holds(OLD, 0).0,
            free_places: node.router().free_places() as u64,
            disk_free_bytes: self.computer.disk_free_bytes(),
            disk_used_bytes: self.computer.disk_used_bytes().await,
        }
    }

    async fn shards(&self) -> Vec<ShardStatus> {
        let mut shards = Vec::new();
        for group in self.node.groups().keys() {
            shards.push(self.shard(*group).await);
        }
        shards
    }

    async fn actors(&self, limit: usize) -> Vec<ActorStatus> {
        let mut actors = Vec::new();
        for group in self.node.hosted().groups() {
            for (resident, idle) in self.used_last(group, limit).await {
                actors.push(ActorStatus {
                    entity: resident.entity.to_string(),
                    sequence: resident.sequence.0,
                    waiting: resident.waiting as u64,
                    owed: resident.delivering as u64,
                    idle_ms: idle.as_millis() as u64,
                });
            }
        }
        // Whoever has commands waiting was used just now, so the busiest are among those used last.
        actors.sort_by_key(|actor| (std::cmp::Reverse(actor.waiting), actor.idle_ms));
        actors.truncate(limit);
        actors
    }

    fn panicked(&self) -> Vec<PanickedEntity> {
        let cases = self.node.observer().panics().list().into_iter();
        cases
            .map(|case| PanickedEntity {
                entity: case.entity.to_string(),
                panics: case.panics,
                quiet_seconds: case.quiet.as_secs(),
            })
            .collect()
    }

    fn order_holds(&self, older_than: Duration, limit: usize) -> Vec<OldOrderHold> {
        let (now, (_, old)) = (self.node.clock().now(), self.old_order_holds(older_than, limit));
        old.into_iter()
            .map(|((sku, hold), OrderHold { order, quantity, since })| OldOrderHold {
                sku,
                hold,
                order_id: order,
                quantity,
                since: Time(since),
                age_seconds: now.since(since).as_secs(),
            })
            .collect()
    }

    fn webhooks(&self) -> Vec<WebhookStatus> {
        self.webhooks.list()
    }

    async fn quarantined(&self) -> Vec<QuarantinedEntity> {
        let mut quarantined = Vec::new();
        for group in self.node.hosted().groups() {
            for (entity, crashes) in self.ask_shard(group, ShardMessage::Quarantined).await.unwrap_or_default() {
                let reason = "replaying its journal panics".to_owned();
                quarantined.push(QuarantinedEntity { entity: entity.to_string(), reason, crashes });
            }
        }
        quarantined
    }

    async fn release(&self, entity: &EntityId) -> bool {
        let group = self.node.shards().group_of(entity);
        let ask = |reply| ShardMessage::Release { entity: entity.clone(), reply };
        self.ask_shard(group, ask).await.unwrap_or(false)
    }
}
