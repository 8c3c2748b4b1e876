//! Puts a shop together: data directory, log, store, node, read side, payments, HTTP. The only place that knows them
//! all.
//!
//! Order of start: addresses (taken, not listened on) → disk → node (groups recover and lead) → projections →
//! listeners. Order of stop: listeners (requests in flight are answered) → projections → node (entities finish what
//! they heard, groups stop, store and log are synced and closed). A crash at any moment is an unclean stop and nothing
//! else: the next start recovers what the log holds.

pub(super) mod backups;
mod disk;
mod options;
mod outgoing;
mod payments;
mod ports;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use super::exit::{Exit, Failure};
use crate::clock::{Clock, SystemClock};
use crate::cluster::node::{Node, Seams};
use crate::cluster::transport::DirectTransport;
use crate::cluster::upkeep::{Upkeep, UpkeepOptions, ballast_bytes};
use crate::config::Config;
use crate::http;
use crate::http::ServeError;
use crate::http::outgoing::Outgoing;
use crate::payments::courier::PaymentCourier;
use crate::persistence::trim::Trimmer;
use crate::projections::query::{ProductQuery, Queries};
use crate::projections::read_side::ReadSide;
use crate::projections::search::tantivy_index::TantivySearchIndex;
use crate::rng::{Rng, SeededRng};
pub(super) use disk::Disk;
use payments::Providers;

/// A running shop.
pub(crate) struct Shop {
    /// The node.
    pub(crate) node: Arc<Node>,
    /// The listeners.
    pub(crate) server: http::Server,
    /// Lists and search.
    read_side: Arc<ReadSide>,
    /// Tells endpoints what happened.
    outgoing: Outgoing,
    /// Sends the simulated provider's webhooks.
    webhooks: Option<AbortOnDrop>,
    /// Keeps the disk in bounds.
    upkeep: AbortOnDrop,
    /// Keeps the directory locked.
    disk: Disk,
}

/// A node without listeners and lists: what `serve` builds on, and all that offline commands need.
pub(crate) struct Core {
    /// The node.
    pub(crate) node: Arc<Node>,
    /// The node's randomness.
    pub(crate) rng: Arc<dyn Rng>,
    disk: Disk,
    providers: Providers,
}

impl Core {
    /// Opens the data directory and starts its node. Payment providers are there too: orders that owe them something
    /// go on wherever their node runs.
    pub(crate) async fn open(config: &Config) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::from_os());
        let disk = Disk::open_to_serve(config).await?;
        let providers = Providers::open(config, &disk, &clock, &rng).await?;
        let payments = PaymentCourier::new(providers.gateways.clone(), rng.clone(), options::courier(config));
        let seams = Seams {
            clock,
            rng: rng.clone(),
            transport: Arc::new(DirectTransport::default()),
            log: disk.log.clone(),
            store: disk.store.clone(),
            checkpoints: disk.checkpoints.clone(),
            turns: disk.turns.clone(),
            payments,
        };
        let node =
            Node::start(seams, options::node(config)).await.map_err(|error| Failure::new(Exit::Failed, error))?;
        Ok(Self { node: Arc::new(node), rng, disk, providers })
    }

    /// Stops the node and closes the directory.
    pub(crate) async fn close(self) {
        self.node.stop().await;
        drop(self.disk);
    }
}

impl Shop {
    /// Starts everything the configuration asks for.
    pub(crate) async fn open(config: &Config, prometheus: PrometheusHandle) -> Result<Self, Failure> {
        let endpoints = outgoing::endpoints(config)?;
        let http = options::http(config)?;
        let doors = http::Doors::take(&http).map_err(not_listening)?;
        let Core { node, disk, providers, rng } = Core::open(config).await?;
        let search = TantivySearchIndex::open(disk.search(), Arc::new(SystemClock::new())).await?;
        let groups = node.shards().groups().collect();
        let read_side = ReadSide::start(node.journal().clone(), node.feed().clone(), groups, Arc::new(search)).await?;
        let read_side = Arc::new(read_side);
        let upkeep = start_upkeep(config, &node, &disk).await?;
        let webhooks = providers.in_process.map(|provider| webhooks::send(provider, &node, &rng));
        let outgoing = outgoing::start(endpoints, &node, &disk).await?;
        let shown = (outgoing.statuses(), prometheus);
        let parts = ports::parts(&node, &read_side, rng, providers.gateways, &disk, shown)?;
        let state = http::AppState::new(http, parts);
        let server = http::serve(state, doors).await.map_err(|error| Failure::new(Exit::Failed, error))?;
        Ok(Self { node, server, read_side, outgoing, webhooks, upkeep, disk })
    }

    /// Returns once the node cannot go on with what is on disk.
    pub(crate) async fn failed(&self) -> Failure {
        tokio::select! {
            biased;
            failure = self.disk.failed() => failure,
            error = self.node.failed() => Failure::new(Exit::Failed, error)
                .advise("start again: nothing acknowledged is lost; should it stop again, look at the disk"),
        }
    }

    /// How many products shoppers find.
    pub(crate) async fn products_found(&self) -> Result<u64, Failure> {
        Ok(self.read_side.products(&ProductQuery::default()).await?.total)
    }

    /// Answers what is in flight, then stops everything in order.
    pub(crate) async fn close(self, grace: Duration) {
        if !self.server.shutdown(grace).await {
            tracing::warn!("some requests were still in flight when the grace was over");
        }
        drop((self.webhooks, self.upkeep));
        self.outgoing.close().await;
        self.read_side.close().await;
        self.node.stop().await;
        drop(self.disk);
    }
}

/// Told before anything is opened.
fn not_listening(error: ServeError) -> Failure {
    let advice = match error {
        ServeError::Bind { .. } => "stop what uses the address, or choose another with --listen and --ops-listen",
        ServeError::Tls { .. } => "http.tls_certificate and http.tls_key name PEM files this user can read",
    };
    Failure::new(Exit::Usage, error).advise(advice)
}

/// Ends its task with itself.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn start_upkeep(config: &Config, node: &Arc<Node>, disk: &Disk) -> Result<AbortOnDrop, Failure> {
    let trimmer = Trimmer::new(disk.store.clone(), disk.turns.clone(), options::retention(config)?);
    let reserve_bytes = config.storage.reserve_bytes.0;
    let space = disk.space(ballast_bytes(reserve_bytes));
    space.restore_ballast().await;
    let upkeep = Upkeep {
        options: UpkeepOptions {
            checkpoint_bytes_min: config.storage.checkpoint_bytes_min.0,
            reserve_bytes,
            sweep_interval: Duration::from_secs(config.journal.sweep_seconds.0),
        },
        groups: node.groups().clone(),
        log: disk.log.clone(),
        store: disk.store.clone(),
        checkpoints: disk.checkpoints.clone(),
        trimmer,
        clock: node.clock().clone(),
        gate: node.gate().clone(),
        space,
    };
    Ok(AbortOnDrop(tokio::spawn(upkeep.run())))
}
