//! HTTP's ports on this node: change signals, data keys, API keys.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use metrics_exporter_prometheus::PrometheusHandle;

use super::backups::NodeBackups;
use super::disk::Disk;
use super::ops_view::NodeOps;
use crate::actors::messages::AskError;
use crate::cli::exit::Failure;
use crate::cluster::node::Node;
use crate::domain::ids::{DataKeyId, EntityId};
use crate::http;
use crate::http::ops::keys::ClusterKeys;
use crate::http::ports::{CatalogueExport, Changes, Vault};
use crate::payments::gateway::Gateways;
use crate::projections::catalogue::{CatalogueFormat, export};
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
        keys: Arc::new(ClusterKeys::new(Arc::new(node.router().clone()), rng.clone())),
        ops: Arc::new(NodeOps::new(node.clone(), disk.clone(), prometheus)),
        catalogue: Arc::new(JournalExport(node.clone())),
        backups: Arc::new(NodeBackups::new(node.clone(), disk.clone())),
        gateways,
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

/// Writes the catalogue out from this node's store.
struct JournalExport(Arc<Node>);

impl CatalogueExport for JournalExport {
    fn export(&self, format: CatalogueFormat) -> BoxStream<'static, std::io::Result<Bytes>> {
        let groups: Vec<_> = self.0.shards().groups().collect();
        export::export(self.0.journal().clone(), &groups, format).map_err(std::io::Error::other).boxed()
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
