//! `stockroom serve`: runs a node until it is told to stop.
//!
//! Starts telemetry, then the node, then the listeners, and prints one line of JSON on stdout once requests are
//! answered. SIGTERM and SIGINT stop it in the reverse order; a second signal stops it at once. A store that
//! fails ends it too: whoever supervises it starts it again, and the store is rebuilt.

use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Context;
use super::assembly::Shop;
use super::demo::{self, Loaded};
use super::endpoints::Endpoints;
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Config;
use crate::telemetry::Telemetry;

/// How long a start waits for search to have found the demo catalogue, and how often it looks.
const FIND_WAIT: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What it says and how it stops, for `--help`.
pub(super) const HELP: &str = "\
When it answers requests it prints one line of JSON: {\"ready\":true,\"http\":\"IP:PORT\",\"ops\":\"IP:PORT\",…}
Logs go to stderr. SIGTERM and SIGINT stop it in order, a second one at once.";

/// Arguments of `serve`.
#[derive(Args)]
pub(super) struct ServeArguments {
    /// Address of the public listener; port 0 picks a free one. Without it http.listen, 127.0.0.1:8080 unless set
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Address of the operators' listener; port 0 picks a free one. Without it http.ops_listen, 127.0.0.1:8081 unless
    /// set
    #[arg(long, value_name = "IP:PORT")]
    ops_listen: Option<String>,
    /// Fill the shop with a demo catalogue and stock, unless it is there already
    #[arg(long)]
    demo: bool,
}

/// Runs until stopped.
pub(super) fn run(arguments: &ServeArguments, context: &Context) -> Result<(), Failure> {
    let flags = [("http.listen", arguments.listen.clone()), ("http.ops_listen", arguments.ops_listen.clone())];
    let config = context.config(flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(arguments, &config))
}

async fn serve(arguments: &ServeArguments, config: &Config) -> Result<(), Failure> {
    let telemetry = Telemetry::install(&config.telemetry)?;
    tracing::info!(data = %config.node.data_dir.display(), demo = arguments.demo, "starting");
    let shop = Shop::open(config, telemetry.prometheus.clone()).await?;
    if arguments.demo {
        fill(&shop).await?;
    }
    // Heard before anybody is told that the shop is ready: whoever was told may stop it in order.
    let signals = Signals::listen()?;
    let endpoints = Endpoints::of(&shop, config);
    endpoints.write(&config.node.data_dir)?;
    output::talk(format_args!("shop window {}/  ·  operators {}/ops/v1/status", endpoints.url(), endpoints.ops_url()));
    output::json(&endpoints)?;
    tokio::select! {
        biased;
        () = signals.wait() => {}
        // An end like a crash: nothing in order can be done without a store, and nothing acknowledged needs it.
        failure = shop.failed() => return Err(failure),
    }
    tracing::info!("stopping");
    Endpoints::remove(&config.node.data_dir);
    shop.close(config.http.shutdown_grace_ms.duration()).await;
    telemetry.flush();
    Ok(())
}

/// Puts the demo catalogue on the shelves.
async fn fill(shop: &Shop) -> Result<(), Failure> {
    tracing::info!("loading the demo catalogue, unless it is there already");
    match demo::load(shop.node.router()).await {
        Ok(Loaded::Already) => tracing::info!("the demo catalogue is there already"),
        Ok(Loaded::Products(products)) => {
            until_found(shop, products as u64).await?;
            tracing::info!(products, "demo catalogue loaded");
        }
        Err(error) => {
            return Err(Failure::new(Exit::Failed, error)
                .advise("what was loaded stays; start again with --demo to load the rest"));
        }
    }
    Ok(())
}

/// Lists and search hear of the products a moment after they are put: whoever is told that the shop is ready finds all.
async fn until_found(shop: &Shop, products: u64) -> Result<(), Failure> {
    let found = async {
        while shop.products_found().await? < products {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    tokio::time::timeout(FIND_WAIT, found).await.unwrap_or_else(|_elapsed| {
        tracing::warn!("search is behind; products are listed as it catches up");
        Ok(())
    })
}

/// SIGTERM and SIGINT, from the moment this is made: before it, they end the process as they always do.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they are heard here.
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Returns at the first one; a second one ends the process at once.
    #[allow(clippy::disallowed_methods, reason = "a second signal means: do not wait for anything")]
    pub(super) async fn wait(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("second signal: stopping at once");
            std::process::exit(1);
        });
    }
}
