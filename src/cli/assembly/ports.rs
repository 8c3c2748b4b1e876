//! HTTP's ports on this node: change signals, data keys, API keys.

use std::sync::Arc;

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusHandle;

use super::backups::NodeBackups;
use super::disk::Disk;
use crate::cli::exit::Failure;
use crate::cluster::node::Node;
use crate::http;
use crate::http::node_ops::{Computer, NodeOps};
use crate::http::node_ports::{HubChanges, JournalExport, NodeVault};
use crate::http::ops::keys::ClusterKeys;
use crate::http::outgoing::WebhookStatuses;
use crate::payments::gateway::Gateways;
use crate::projections::read_side::ReadSide;
use crate::rng::Rng;

/// Everything HTTP is built on, from a running node.
pub fn parts(
    node: &Arc<Node>,
    read_side: &Arc<ReadSide>,
    rng: Arc<dyn Rng>,
    gateways: Gateways,
    disk: &Disk,
    (webhooks, prometheus): (WebhookStatuses, PrometheusHandle),
) -> Result<http::Parts, Failure> {
    Ok(http::Parts {
        ask: Arc::new(node.router().clone()),
        queries: read_side.clone(),
        changes: Arc::new(HubChanges::new(read_side.hub().clone())),
        vault: Arc::new(NodeVault::new(node.clone())),
        keys: Arc::new(ClusterKeys::new(Arc::new(node.router().clone()), rng.clone())),
        ops: Arc::new(
            NodeOps::new(
                node.clone(),
                Arc::new(ThisComputer { disk: disk.clone(), prometheus }),
                read_side.holds().clone(),
            )
            .with_webhooks(webhooks),
        ),
        catalogue: Arc::new(JournalExport::new(node.clone())),
        backups: Arc::new(NodeBackups::new(node.clone(), disk.clone())),
        gateways,
        clock: node.clock().clone(),
        rng: rng.clone(),
        cluster_secret: node.genesis().secret.0,
        ops_token: Some(disk.ops_token(&*rng)?),
    })
}

/// The computer of this process.
struct ThisComputer {
    disk: Disk,
    prometheus: PrometheusHandle,
}

#[async_trait]
impl Computer for ThisComputer {
    fn disk_free_bytes(&self) -> u64 {
        self.disk.free_bytes()
    }

    async fn disk_used_bytes(&self) -> u64 {
        self.disk.log.disk_bytes().await + self.disk.store.disk_bytes().await
    }

    fn metrics(&self) -> String {
        self.prometheus.render()
    }
}
