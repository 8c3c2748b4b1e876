//! HTTP's ports on this node: change signals, data keys, API keys, payment webhooks.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::HeaderMap;
use futures::StreamExt;
use futures::stream::BoxStream;
use metrics_exporter_prometheus::PrometheusHandle;

use super::disk::Disk;
use super::ops_view::NodeOps;
use crate::actors::messages::AskError;
use crate::cli::exit::Failure;
use crate::cluster::node::Node;
use crate::cluster::setup::{self, SetupError};
use crate::domain::cluster::{ApiKey, Role};
use crate::domain::ids::{DataKeyId, EntityId};
use crate::domain::order::OrderCommand;
use crate::domain::registry::AnyCommand;
use crate::domain::time::Timestamp;
use crate::http;
use crate::http::auth::{KeySource, StoredKey};
use crate::http::ports::{Changes, PaymentWebhooks, Vault, WebhookCommand, WebhookRefusal};
use crate::payments::gateway::Gateways;
use crate::payments::webhook::WebhookError;
use crate::projections::hub::EntityHub;
use crate::projections::read_side::ReadSide;
use crate::rng::Rng;

/// Everything HTTP is built on, from a running node.
pub fn parts(
    node: &Arc<Node>,
    read_side: &Arc<ReadSide>,
    rng: Arc<dyn Rng>,
    gateways: Gateways,
    disk: &Disk,
    prometheus: PrometheusHandle,
) -> Result<http::Parts, Failure> {
    Ok(http::Parts {
        ask: Arc::new(node.router().clone()),
        queries: read_side.clone(),
        changes: Arc::new(HubChanges(read_side.hub().clone())),
        vault: Arc::new(NodeVault(node.clone())),
        keys: Arc::new(ClusterKeys(node.clone(), rng.clone())),
        ops: Arc::new(NodeOps::new(node.clone(), disk.clone(), prometheus)),
        webhooks: Arc::new(Webhooks(gateways)),
        clock: node.clock().clone(),
        rng: rng.clone(),
        cluster_secret: node.genesis().secret.0,
        ops_token: Some(disk.ops_token(&*rng)?),
    })
}

/// Wakes followers of single entities.
struct HubChanges(EntityHub);

impl Changes for HubChanges {
    fn of(&self, entity: &EntityId) -> BoxStream<'static, ()> {
        let watch = self.0.watch(entity);
        futures::stream::unfold(watch, |mut watch| async move {
            watch.changed().await;
            Some(((), watch))
        })
        .boxed()
    }
}

/// Reads data keys of the shard their owner lives in.
struct NodeVault(Arc<Node>);

#[async_trait]
impl Vault for NodeVault {
    async fn secret(&self, owner: &EntityId, key: DataKeyId) -> Result<Option<[u8; 32]>, AskError> {
        let group = self.0.shards().group_of(owner);
        self.0.journal().data_key(group, key).await.map_err(|error| {
            tracing::error!(%group, %error, "a data key could not be read");
            AskError::Unknown { reason: "the data key could not be read" }
        })
    }
}

/// API keys from the cluster entity.
struct ClusterKeys(Arc<Node>, Arc<dyn Rng>);

#[async_trait]
impl KeySource for ClusterKeys {
    async fn keys(&self) -> Result<Vec<StoredKey>, AskError> {
        let view = setup::show(self.0.router(), &*self.1).await.map_err(|error| match error {
            SetupError::Ask(error) => error,
            SetupError::Answer => AskError::Unknown { reason: "the cluster entity answered something else" },
        })?;
        Ok(view.keys.iter().filter(|key| key.revoked_at.is_none()).map(stored).collect())
    }
}

fn stored(key: &ApiKey) -> StoredKey {
    let role = match key.role {
        Role::Merchant => http::auth::Role::Merchant,
        Role::Ops => http::auth::Role::Ops,
    };
    StoredKey { id: key.id.0, role, hash: key.hash.0 }
}

/// Turns a provider's signed notice into the command the API path would have sent (P18).
struct Webhooks(Gateways);

impl PaymentWebhooks for Webhooks {
    fn read(
        &self,
        provider: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<WebhookCommand, WebhookRefusal> {
        let notice = self.0.verify_webhook(provider, headers, body, now).map_err(refusal)?;
        Ok(WebhookCommand {
            entity: EntityId::order(notice.order),
            command: AnyCommand::Order(OrderCommand::PaymentReported { key: notice.key, outcome: notice.outcome }),
            event: notice.id,
        })
    }
}

fn refusal(error: WebhookError) -> WebhookRefusal {
    match error {
        WebhookError::NotConfigured => WebhookRefusal::UnknownProvider,
        WebhookError::SignatureMissing => WebhookRefusal::Signature { reason: "missing or malformed" },
        WebhookError::Stale => WebhookRefusal::Signature { reason: "its timestamp is too far from now" },
        WebhookError::SignatureMismatch => WebhookRefusal::Signature { reason: "it does not match the body" },
        WebhookError::Malformed => {
            WebhookRefusal::Malformed { field: "body".to_owned(), reason: "expected a payment notice".to_owned() }
        }
    }
}
