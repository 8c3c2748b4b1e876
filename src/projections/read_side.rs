//! The read side of a node put together: the projector running, and [`Queries`] answered from what it keeps.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::feed::{FeedError, FlushRequest, Projector, ProjectorParts};
use super::hub::EntityHub;
use super::lists::ListWriter;
use super::lists::holds::LiveHolds;
use super::lists::reader::ListReader;
use super::query::{
    ExpiringHoldsPage, ExpiringHoldsQuery, LowStockPage, LowStockQuery, OrderPage, OrderQuery, ProductPage,
    ProductQuery, Queries, QueryError,
};
use super::search::SearchIndex;
use crate::actors::feed_signal::FeedSignal;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;

/// How long a list waits for the projector to write what it gathered; then it answers a second old.
const FLUSH_WAIT: Duration = Duration::from_millis(500);
/// Flush requests waiting at most; with more the answer is not waited for.
const FLUSH_REQUESTS_MAX: usize = 64;

/// Answers queries; follows the feed until stopped.
pub struct ReadSide {
    search: Arc<dyn SearchIndex>,
    lists: ListReader,
    hub: EntityHub,
    holds: LiveHolds,
    flushes: mpsc::Sender<FlushRequest>,
    stop: CancellationToken,
    projector: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl ReadSide {
    /// Opens the lists and starts following the feed of these groups.
    pub async fn start(
        journal: Journal,
        signal: FeedSignal,
        groups: Vec<GroupId>,
        search: Arc<dyn SearchIndex>,
    ) -> Result<Self, FeedError> {
        let (flushes, requests) = mpsc::channel(FLUSH_REQUESTS_MAX);
        let (hub, stop) = (EntityHub::default(), CancellationToken::new());
        let watchers = hub.clone();
        signal.listen(Box::new(move |entity, last| watchers.publish(entity, last)));
        let writer = ListWriter::open(journal.store().clone()).await?;
        let holds = writer.holds();
        let lists = ListReader::new(journal.clone(), writer.recent(), groups.clone());
        let parts =
            ProjectorParts { journal, signal, groups, search: search.clone(), hub: hub.clone(), flushes: requests };
        let projector = tokio::spawn(Projector::open(parts, writer).await?.run(stop.clone()));
        Ok(Self { search, lists, hub, holds, flushes, stop, projector: tokio::sync::Mutex::new(Some(projector)) })
    }

    /// Wakes watchers of single entities.
    pub fn hub(&self) -> &EntityHub {
        &self.hub
    }

    /// The live holds, as far as the feed was followed.
    pub fn holds(&self) -> &LiveHolds {
        &self.holds
    }

    /// Stops following the feed, writes what was gathered and closes the search index. Call before the store closes.
    pub async fn close(&self) {
        self.stop.cancel();
        let projector = self.projector.lock().await.take();
        if let Some(projector) = projector {
            let _ = projector.await;
        }
        self.search.close().await;
    }

    /// Lets the lists show what the feed has brought so far.
    async fn flush(&self) {
        let (request, answer) = oneshot::channel();
        if self.flushes.try_send(request).is_ok() {
            let _ = tokio::time::timeout(FLUSH_WAIT, answer).await;
        }
    }
}

#[async_trait]
impl Queries for ReadSide {
    async fn products(&self, query: &ProductQuery) -> Result<ProductPage, QueryError> {
        let mut page = self.search.search(query).await?;
        for variant in page.items.iter_mut().flat_map(|item| &mut item.variants) {
            variant.available = self.lists.available(&variant.sku).await?;
        }
        Ok(page)
    }

    async fn orders(&self, query: &OrderQuery) -> Result<OrderPage, QueryError> {
        self.flush().await;
        self.lists.orders(query).await
    }

    async fn low_stock(&self, query: &LowStockQuery) -> Result<LowStockPage, QueryError> {
        self.flush().await;
        self.lists.low_stock(query).await
    }

    async fn expiring_holds(&self, query: &ExpiringHoldsQuery) -> Result<ExpiringHoldsPage, QueryError> {
        self.lists.expiring_holds(query).await
    }
}
