//! Sends a catalogue file, and goes on where it broke off.

use std::time::Duration;

use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::{Body, Method, Response};
use serde_json::{Value, json};
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use super::{Door, ImportArguments, format_of};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::projections::catalogue::CatalogueFormat;
use crate::rng::{Rng, SeededRng};

/// Bytes read and sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// How often an import goes on by itself after it broke off without getting further.
const ATTEMPTS_MAX: u32 = 10;
/// Pause before it goes on.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often the progress bar is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// What the attempts came to together.
#[derive(Default)]
struct Total {
    created: u64,
    changed: u64,
    unchanged: u64,
    failed: u64,
    errors: Vec<Value>,
    /// Every row up to here has its outcome.
    done_through_line: u64,
}

/// Why an attempt ended before the file did.
struct Broken {
    failure: Failure,
    /// Whether going on may help.
    is_passing: bool,
}

/// Imports and reports; fails with [`Exit::Findings`] when rows were refused.
pub(super) async fn run(arguments: &ImportArguments, door: &Door, json: bool) -> Result<(), Failure> {
    let format = format_of(arguments.format, &arguments.file)?;
    let bytes = tokio::fs::metadata(&arguments.file).await.map_err(|error| unreadable(arguments, error))?.len();
    let bar = bar(bytes);
    let key = hex::encode(SeededRng::from_os().next_id());
    let mut total = Total { done_through_line: arguments.resume_after, ..Total::default() };
    let mut attempt = 0;
    loop {
        let before = total.done_through_line;
        bar.set_position(0);
        let Err(broken) = send(arguments, door, format, &key, &bar, &mut total).await else { break };
        attempt = if total.done_through_line > before { 0 } else { attempt + 1 };
        if !broken.is_passing || attempt >= ATTEMPTS_MAX {
            bar.abandon();
            let line = total.done_through_line;
            return Err(broken.failure.advise(format_args!(
                "run it again with --resume-after {line}, or without: what is in already stays as it is"
            )));
        }
        bar.suspend(|| output::talk(format_args!("broken off; going on behind line {}", total.done_through_line)));
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    bar.finish_and_clear();
    report(&total, arguments.dry_run, json)
}

/// Sends the file once, from the line on that has no outcome.
async fn send(
    arguments: &ImportArguments,
    door: &Door,
    format: CatalogueFormat,
    key: &str,
    bar: &ProgressBar,
    total: &mut Total,
) -> Result<(), Broken> {
    let final_failure = |failure| Broken { failure, is_passing: false };
    let file = File::open(&arguments.file).await.map_err(|error| final_failure(unreadable(arguments, error)))?;
    let watched = bar.clone();
    let pieces = ReaderStream::with_capacity(file, PIECE_BYTES);
    let pieces = pieces.inspect_ok(move |piece| watched.inc(piece.len() as u64));
    let media_type = match format {
        CatalogueFormat::Csv => "text/csv",
        CatalogueFormat::NdJson => "application/x-ndjson",
    };
    let (line, dry_run) = (total.done_through_line, arguments.dry_run);
    let path = format!("/v1/admin/products:import?resume_after={line}&dry_run={dry_run}");
    let request = door.request(Method::POST, &path).header("content-type", media_type).header("idempotency-key", key);
    let answer = request.body(Body::wrap_stream(pieces)).send().await;
    let answer = answer.map_err(|error| Broken { failure: door.unanswered(error), is_passing: true })?;
    take(door, answer, total).await
}

async fn take(door: &Door, answer: Response, total: &mut Total) -> Result<(), Broken> {
    let status = answer.status();
    let text = answer.text().await.map_err(|error| Broken { failure: door.unanswered(error), is_passing: true })?;
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let count = |name: &str| value[name].as_u64().unwrap_or(0);
    total.created += count("created");
    total.changed += count("changed");
    total.unchanged += count("unchanged");
    total.failed += count("failed");
    total.errors.extend(value["errors"].as_array().into_iter().flatten().cloned());
    total.done_through_line = total.done_through_line.max(count("done_through_line"));
    if status.is_success() {
        return Ok(());
    }
    let detail = value["detail"].as_str().or(value["title"].as_str()).unwrap_or("no reason given");
    let is_passing = value["retryable"] == true;
    let exit = if is_passing { Exit::Unknown } else { Exit::Failed };
    Err(Broken { failure: Failure::said(exit, format_args!("the node answered {status}: {detail}")), is_passing })
}

fn report(total: &Total, dry_run: bool, json: bool) -> Result<(), Failure> {
    let Total { created, changed, unchanged, failed, errors, done_through_line } = total;
    if json {
        output::json(&json!({
            "created": created, "changed": changed, "unchanged": unchanged, "failed": failed, "errors": errors,
            "done_through_line": done_through_line, "dry_run": dry_run,
        }))?;
    } else {
        for error in errors {
            let (field, reason) = (error["field"].as_str().unwrap_or(""), error["reason"].as_str().unwrap_or(""));
            let field = if field.is_empty() { String::new() } else { format!(" {field}:") };
            output::line(format!("line {}:{field} {reason}", error["line"]))?;
        }
        let checked = if dry_run { "; only checked" } else { "" };
        output::line(format!(
            "{created} created, {changed} changed, {unchanged} unchanged, {failed} refused{checked}"
        ))?;
    }
    if *failed == 0 {
        return Ok(());
    }
    Err(Failure::said(Exit::Findings, format_args!("{failed} rows were refused"))
        .advise("correct them and import the file again; the others stay as they are"))
}

fn unreadable(arguments: &ImportArguments, error: std::io::Error) -> Failure {
    let shown = arguments.file.display();
    Failure::new(Exit::Usage, anyhow::Error::new(error).context(format!("{shown} cannot be read")))
}

fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.set_style(style.expect("the template is a constant"));
    bar.enable_steady_tick(DRAW_INTERVAL);
    bar
}
