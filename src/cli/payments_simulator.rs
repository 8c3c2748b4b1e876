//! `stockroom payments-simulator`: the simulated payment provider as a process of its own.
//!
//! A shop with `payments.simulated_url` pays here over HTTP and hears results by signed webhooks, as it would from a
//! provider that is somebody else's machine: slow, silent, or gone. The books are a file, locked while in use, and
//! nothing is answered before it is on disk: a provider that was killed goes on with them at its next start, and sends
//! the webhooks it still owes. It moves no money and asks nobody who they are: keep it on loopback.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use reqwest::Url;
use serde::Serialize;
use tokio::net::TcpListener;

use super::exit::{Exit, Failure};
use super::serve::Signals;
use super::{Context, output};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::payments::ledger_file::OpenLedgerError;
use crate::payments::remote::{HttpWebhookSink, service};
use crate::payments::simulated::{Parts, SimulatedProvider};
use crate::payments::webhook::WebhookSecret;
use crate::rng::SeededRng;
use crate::telemetry::Telemetry;

/// How it ends, for `--help`.
pub(super) const HELP: &str = "\
When it answers, it prints one line of JSON: {\"ready\":true,\"payments\":\"IP:PORT\",…}

Exit codes:
  0  stopped by SIGTERM or SIGINT
  1  failed; the message on stderr says why
  2  the command line is wrong, or the address cannot be listened on
  4  the ledger is damaged; the message names the line
  6  another process uses the ledger";

/// Arguments of `payments-simulator`.
#[derive(Args)]
pub(super) struct SimulatorArguments {
    /// Address to listen on; port 0 picks a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Where the shop hears results, e.g. http://127.0.0.1:8080/v1/webhooks/payments/simulated
    #[arg(long, value_name = "URL", value_parser = web_address)]
    notify: Url,
    /// Signs webhooks; the shop's payments.simulated_webhook_secret
    #[arg(long, env = "STOCKROOM_PAYMENTS__SIMULATED_WEBHOOK_SECRET", hide_env_values = true)]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    secret: String,
    /// File of the provider's books; made when missing
    #[arg(long, value_name = "FILE", default_value = "simulated-payments.ledger")]
    ledger: PathBuf,
}

/// The readiness line.
#[derive(Serialize)]
struct Ready {
    /// Always true: the line is printed when it is.
    ready: bool,
    /// Where it listens, `IP:PORT`.
    payments: String,
    /// Process id.
    pid: u32,
    /// Program version.
    version: &'static str,
}

/// Runs until stopped.
pub(super) fn run(arguments: &SimulatorArguments, context: &Context) -> Result<(), Failure> {
    let config = context.config([])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(simulate(arguments, &config))
}

async fn simulate(arguments: &SimulatorArguments, config: &Config) -> Result<(), Failure> {
    let _telemetry = Telemetry::install(&config.telemetry)?;
    let _lock = lock(&arguments.ledger)?;
    let parts = Parts {
        rng: Arc::new(SeededRng::from_os()),
        clock: Arc::new(SystemClock::new()),
        webhook_secret: WebhookSecret::new(arguments.secret.as_bytes()),
    };
    let provider = SimulatedProvider::open(parts, &arguments.ledger).await.map_err(unusable)?;
    let sink = HttpWebhookSink::new(arguments.notify.clone())?;
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| {
        let text = format!("cannot listen on {}: {error}", arguments.listen);
        Failure::said(Exit::Usage, text).advise("choose another address with --listen; port 0 picks a free one")
    })?;
    let payments = listener.local_addr()?.to_string();
    tokio::spawn(provider.clone().send_webhooks(Arc::new(sink)));
    let signals = Signals::listen()?;
    output::talk(format_args!("set payments.simulated_url to http://{payments}/"));
    output::json(&Ready { ready: true, payments, pid: std::process::id(), version: env!("CARGO_PKG_VERSION") })?;
    // Requests that were told nothing yet are not waited for: some never are, and their keys can be looked up.
    tokio::select! {
        biased;
        () = signals.wait() => {}
        served = axum::serve(listener, service(provider)).into_future() => served?,
    }
    tracing::info!("stopping");
    Ok(())
}

/// Holds the ledger for this process until dropped.
fn lock(ledger: &Path) -> Result<File, Failure> {
    let opened = File::options().create(true).append(true).open(ledger);
    let file = opened.map_err(|source| unusable(OpenLedgerError::Io { path: ledger.to_owned(), source }))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            let text = format!("the ledger {} is in use by another process", ledger.display());
            Err(Failure::said(Exit::DataDirectory, text)
                .advise("stop it, or give this one a file of its own by --ledger"))
        }
        Err(std::fs::TryLockError::Error(source)) => {
            Err(unusable(OpenLedgerError::Io { path: ledger.to_owned(), source }))
        }
    }
}

fn unusable(error: OpenLedgerError) -> Failure {
    match error {
        OpenLedgerError::Io { .. } => Failure::new(Exit::Failed, error),
        OpenLedgerError::Damaged { .. } => Failure::new(Exit::Findings, error),
    }
}

/// An address that can be posted to.
fn web_address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{other}: is not http or https")),
    }
}
