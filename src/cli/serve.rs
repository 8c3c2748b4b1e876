//! `stockroom serve`: runs a node until it is told to stop.
//!
//! Starts telemetry, then the node, then the listeners, and prints one line of JSON on stdout once requests are
//! answered. SIGTERM and SIGINT stop it in the reverse order; a second signal stops it at once.

use clap::Args;

use super::Context;
use super::exit::Failure;
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
    let telemetry = runtime.block_on(async {
        let telemetry = Telemetry::install(&config.telemetry)?;
        tracing::info!(data = %config.node.data_dir.display(), demo = arguments.demo, "starting");
        Ok::<_, Failure>(telemetry)
    })?;
    telemetry.flush();
    Ok(())
}
