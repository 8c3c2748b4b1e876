//! HTTP's ports as a node fills them: change signals from the read side's hub, data keys and the
//! catalogue from the node's store.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::ports::{CatalogueExport, Changes, Vault};
use crate::actors::messages::AskError;
use crate::cluster::node::Node;
use crate::domain::ids::{DataKeyId, EntityId};
use crate::projections::catalogue::{CatalogueFormat, export};
use crate::projections::hub::EntityHub;

/// Wakes followers of single entities.
pub struct HubChanges(EntityHub);

impl HubChanges {
    /// Signals of this hub.
    pub fn new(hub: EntityHub) -> Self {
        Self(hub)
    }
}

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
pub struct NodeVault(Arc<Node>);

impl NodeVault {
    /// The data keys this node stores.
    pub fn new(node: Arc<Node>) -> Self {
        Self(node)
    }
}

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

/// Writes the catalogue out from this node's store.
pub struct JournalExport(Arc<Node>);

impl JournalExport {
    /// Everything for sale that this node stores.
    pub fn new(node: Arc<Node>) -> Self {
        Self(node)
    }
}

impl CatalogueExport for JournalExport {
    fn export(&self, format: CatalogueFormat) -> BoxStream<'static, std::io::Result<Bytes>> {
        let groups: Vec<_> = self.0.shards().groups().collect();
        export::export(self.0.journal().clone(), &groups, format).map_err(std::io::Error::other).boxed()
    }
}
