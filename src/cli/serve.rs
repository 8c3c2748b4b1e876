//! `stockroom serve`: runs a node until it is told to stop.
//!
//! Starts telemetry, then the node, then the listeners, and prints one line of JSON on stdout once requests are
//! answered. SIGTERM and SIGINT stop it in the reverse order; a second signal stops it at once. A store that
//! fails ends it too: whoever supervises it starts it again, and the store is rebuilt.

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

/// Arguments of `serve`.
#[derive(Args)]
pub(super) struct ServeArguments {
    /// Address of the public listener; port 0 picks a free one. Overrides http.listen
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Address of the ops listener. Overrides http.ops_listen
    #[arg(long, value_name = "IP:PORT")]
    ops_listen: Option<String>,
    /// Fill the shop with the demo catalogue, unless it is there already
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
    // Whoever reads that it is ready may tell it to stop in the same moment.
    let signals = Signals::listen()?;
    let endpoints = Endpoints::of(&shop, config);
    endpoints.write(&config.node.data_dir)?;
    output::talk(format_args!("shop window {}/  ·  operators {}/ops/v1/status", endpoints.url(), endpoints.ops_url()));
    output::json(&endpoints)?;
    tokio::select! {
        biased;
        () = signals.first() => {}
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
        Ok(Loaded::Products(products)) => tracing::info!(products, "demo catalogue loaded"),
        Err(error) => {
            return Err(Failure::new(Exit::Failed, error)
                .advise("what was loaded stays; start again with --demo to load the rest"));
        }
    }
    Ok(())
}

/// SIGTERM and SIGINT, heard from the moment they are listened for.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Returns at the first; a second one ends the process at once.
    #[allow(clippy::disallowed_methods, reason = "a second signal means: do not wait for anything")]
    async fn first(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("second signal: stopping at once");
            std::process::exit(1);
        });
    }
}
