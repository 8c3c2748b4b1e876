//! `stockroom bench`: drives a running node over real HTTP and says how fast it answered.
//!
//! One connection per client, no pool, nothing between the measurement and the socket. Closed loop: every client sends
//! its next operation when the last one is answered. Open loop (`--rate`): operations start when they are due, whether
//! or not earlier ones are answered, and latency counts from when they were due, so that a stall is not hidden by the
//! clients waiting through it. Refusals by the shop (sold out) are counted apart from failures.

mod connection;
mod measure;
mod pacer;
mod scenario;
mod setup;
mod shopper;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::exit::{Exit, Failure};
use super::{Context, output};
use connection::Target;
use measure::{Report, Tally};
use scenario::Scenario;
use shopper::Shopper;

/// Arguments of `bench`.
#[derive(Args, Clone, Debug)]
pub(super) struct BenchArguments {
    /// What the clients do
    scenario: Scenario,
    /// Public address of the node (plain HTTP)
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// How many clients, one connection each
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    duration: u64,
    /// Seconds of load before measuring starts
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    warmup: u64,
    /// Open loop: operations per second of all clients together. Without it, closed loop
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// SKUs of the scenarios that spread over many
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    skus: u32,
    /// Merchant key, to stock what is sold. Without it the bench SKUs must exist already
    #[arg(long, value_name = "KEY", env = "STOCKROOM_MERCHANT_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Life of the holds that are placed
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    hold_seconds: u64,
    /// Send an Idempotency-Key with every hold, as careful shoppers do
    #[arg(long)]
    keyed: bool,
}

/// When measuring starts and ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: Instant,
    measure_from: Instant,
    end: Instant,
}

/// Sets up, drives, reports.
pub(super) fn run(arguments: &BenchArguments, context: &Context) -> Result<(), Failure> {
    let target = runtime()?.block_on(prepare(arguments))?;
    let report = drive(arguments, &target)?;
    if context.json() { output::json(&report) } else { output::line(report.to_string()) }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn prepare(arguments: &BenchArguments) -> Result<Arc<Target>, Failure> {
    let target = Arc::new(Target::resolve(&arguments.url).await.map_err(unreachable)?);
    setup::stock(arguments, &target).await?;
    Ok(target)
}

/// Half of the machine's processors drive: the node under test is mostly on the same machine.
fn threads(clients: u32) -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |many| u32::try_from(many.get()).unwrap_or(1));
    (processors / 2).clamp(1, clients)
}

fn drive(arguments: &BenchArguments, target: &Arc<Target>) -> Result<Report, Failure> {
    let start = tokio_now();
    let measure_from = start + Duration::from_secs(arguments.warmup);
    let schedule = Schedule { start, measure_from, end: measure_from + Duration::from_secs(arguments.duration) };
    output::talk(format_args!(
        "{} with {} clients, {} s after {} s of warm-up",
        arguments.scenario, arguments.clients, arguments.duration, arguments.warmup
    ));
    let mut dues = arguments.rate.map(|rate| pacer::start(schedule, rate, arguments.clients).into_iter());
    let mut shares: Vec<Vec<_>> = (0..threads(arguments.clients)).map(|_| Vec::new()).collect();
    for (number, thread) in (0..arguments.clients).zip((0..shares.len()).cycle()) {
        let shopper = Shopper::new(number, arguments.clone(), target.clone());
        shares[thread].push((shopper, dues.as_mut().and_then(Iterator::next)));
    }
    let mut total = Tally::default();
    #[allow(clippy::disallowed_methods, reason = "the load generator's own threads, on no node")]
    std::thread::scope(|scope| {
        let driving: Vec<_> =
            shares.into_iter().map(|share| scope.spawn(|| runtime()?.block_on(clients(share, schedule)))).collect();
        driving.into_iter().try_for_each(|driving| {
            let tally = driving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            total.merge(&tally);
            Ok::<(), Failure>(())
        })
    })?;
    if total.operations() == 0 {
        let failed = total.misses().next().map_or_else(|| "no operation finished".to_owned(), |(what, _)| what.clone());
        return Err(Failure::said(Exit::Failed, format_args!("nothing was measured: {failed}"))
            .advise("check --url, and give --key so that the bench can stock what it sells"));
    }
    // A scenario may run out of things to do before its time is over.
    let measured = tokio_now().min(schedule.end).saturating_duration_since(schedule.measure_from);
    let measured = measured.max(Duration::from_millis(1));
    Ok(Report::new(arguments.scenario, arguments.clients, arguments.rate, measured, total))
}

/// One thread's clients.
async fn clients(
    share: Vec<(Shopper, Option<UnboundedReceiver<Instant>>)>,
    schedule: Schedule,
) -> Result<Tally, Failure> {
    let mut clients: tokio::task::JoinSet<_> =
        share.into_iter().map(|(shopper, due)| client(shopper, schedule, due)).collect();
    let mut total = Tally::default();
    while let Some(tally) = clients.join_next().await {
        total.merge(&tally?);
    }
    Ok(total)
}

/// Does operations when they are `due`; without that, one after the other.
async fn client(mut shopper: Shopper, schedule: Schedule, due: Option<UnboundedReceiver<Instant>>) -> Tally {
    let Some(mut dues) = due else {
        let mut begins = tokio_now().max(schedule.start);
        while begins < schedule.end && shopper.has_more() {
            shopper.operate(begins, begins >= schedule.measure_from).await;
            begins = tokio_now();
        }
        return shopper.into_tally();
    };
    while shopper.has_more()
        && let Some(due) = dues.recv().await
    {
        shopper.operate(due, due >= schedule.measure_from).await;
    }
    shopper.into_tally()
}

/// Now, by the clock of tokio's timers.
fn tokio_now() -> Instant {
    Instant::now()
}

fn unreachable(error: connection::ConnectionError) -> Failure {
    Failure::new(Exit::Unreachable, error).advise("start a node with `stockroom serve`, or give its address with --url")
}
