//! Puts a shop together: data directory, log, store, node, read side, payments, HTTP. The only place that knows them all.
//!
//! Order of start: disk → node (groups recover and lead) → projections → listeners. Order of stop: listeners (requests
//! in flight are answered) → projections → node (actors end, groups stop, store and log are synced and closed). A
//! crash at any moment is an unclean stop and nothing else: the next start recovers what the log holds.

mod disk;
mod ops_view;
mod options;
mod ports;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

use super::exit::{Exit, Failure};
use crate::clock::{Clock, SystemClock};
use crate::cluster::node::{Node, Seams};
use crate::config::Config;
use crate::http;
use crate::payments::courier::PaymentCourier;
use crate::payments::gateway::{Gateways, PaymentGateway};
use crate::payments::simulated::{Parts as ProviderParts, SimulatedProvider};
use crate::payments::webhook::WebhookSecret;
use crate::projections::read_side::ReadSide;
use crate::projections::search::tantivy_index::TantivySearchIndex;
use crate::rng::{Rng, SeededRng};
use disk::Disk;

/// Name of the simulated payment provider, as orders give it.
const SIMULATED: &str = "simulated";

/// A running shop.
pub(crate) struct Shop {
    /// The node.
    pub(crate) node: Arc<Node>,
    /// The listeners.
    pub(crate) server: http::Server,
    /// Lists and search.
    read_side: Arc<ReadSide>,
    /// Keeps the directory locked.
    disk: Disk,
}

impl Shop {
    /// Starts everything the configuration asks for.
    pub(crate) async fn open(config: &Config, prometheus: PrometheusHandle) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::from_os());
        let disk = Disk::open(config).await?;
        let gateways = gateways(config, &disk, &clock, &rng).await?;
        let payments = PaymentCourier::new(gateways.clone(), rng.clone(), options::courier(config));
        let seams = Seams {
            clock,
            rng: rng.clone(),
            log: disk.log.clone(),
            store: disk.store.clone(),
            checkpoints: disk.checkpoints.clone(),
            payments,
        };
        let node =
            Node::start(seams, options::node(config)).await.map_err(|error| Failure::new(Exit::Failed, error))?;
        let node = Arc::new(node);
        let search = TantivySearchIndex::open(disk.search(), Arc::new(SystemClock::new())).await?;
        let groups = node.shards().groups().collect();
        let read_side = ReadSide::start(node.journal().clone(), node.feed().clone(), groups, Arc::new(search)).await?;
        let read_side = Arc::new(read_side);
        let parts = ports::parts(&node, &read_side, rng, gateways, &disk, prometheus)?;
        let state = http::AppState::new(options::http(config)?, parts);
        let server = http::serve(state).await.map_err(|error| Failure::new(Exit::Usage, error))?;
        Ok(Self { node, server, read_side, disk })
    }

    /// Answers what is in flight, then stops everything in order.
    pub(crate) async fn close(self, grace: std::time::Duration) {
        if !self.server.shutdown(grace).await {
            tracing::warn!("some requests were still in flight when the grace was over");
        }
        self.read_side.close().await;
        self.node.stop().await;
        drop(self.disk);
    }
}

/// The configured providers.
async fn gateways(
    config: &Config,
    disk: &Disk,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> Result<Gateways, Failure> {
    if !config.payments.simulated {
        return Ok(Gateways::default());
    }
    let configured = &config.payments.simulated_webhook_secret;
    let secret = if configured.is_empty() {
        let mut drawn = [0; 32];
        rng.fill(&mut drawn);
        WebhookSecret::new(drawn)
    } else {
        WebhookSecret::new(configured.as_bytes())
    };
    let parts = ProviderParts { rng: rng.clone(), clock: clock.clone(), webhook_secret: secret };
    let provider = SimulatedProvider::open(parts, &disk.simulated_ledger())
        .await
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let gateway: Arc<dyn PaymentGateway> = provider;
    Ok(Gateways::new([(SIMULATED.to_owned(), gateway)]))
}
