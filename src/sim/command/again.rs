//! Going back: a failure run again, a seed run twice, a picture drawn anew.

use std::fs;
use std::path::{Path, PathBuf};

use super::{BROKEN, Chosen, MISSED, NOT_DETERMINISTIC, PASSED, child};
use crate::sim::canaries;
use crate::sim::failure::{self, EXPECTATION, Failure};
use crate::sim::report::Outcome;
use crate::sim::runner::{self, Stop};
use crate::sim::scenario::Open;
use crate::sim::trace::{Output, Trace};

/// How a failure is run again.
#[derive(clap::Args)]
pub(super) struct Replay {
    /// The failure's directory, `failures/<scenario>/<seed>`
    directory: PathBuf,
    /// Stop after this step of the world and show what everybody is doing
    #[arg(long, value_name = "STEP")]
    until: Option<u64>,
    /// Print what is logged at this level and above to stderr: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log: Option<tracing::Level>,
}

/// Runs a failure again and says whether it is the same.
pub(super) fn replay(replay: &Replay) -> Result<u8, String> {
    let failure = Failure::read(&replay.directory)?;
    let scenario = Open::read(&failure.scenario()).and_then(|open| open.draw(failure.run.seed));
    let scenario = scenario.map_err(|error| error.to_string())?;
    scenario.canary.as_ref().map_or(Ok(()), canaries::plant)?;
    let trace = Trace::start(Output { file: None, print: replay.log });
    let stop = Stop { step: replay.until, entity: failure.run.entity.clone() };
    let outcome = runner::run(scenario, failure.run.seed, &trace, &stop);
    if let (Some(until), []) = (replay.until, outcome.broken.as_slice()) {
        show_scene(&failure, &outcome, until)?;
        return Ok(PASSED);
    }
    let (told, code) = compare(&failure, &outcome);
    if code != PASSED {
        outcome.scene.iter().for_each(|line| println!("{line}"));
    }
    println!("{told}");
    Ok(code)
}

fn show_scene(failure: &Failure, outcome: &Outcome, until: u64) -> Result<(), String> {
    let rows = outcome.history.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    let rows = rows.map_err(|error| error.to_string())?;
    let entity = failure.run.entity.as_deref();
    println!("the last rows of {}:", entity.unwrap_or("the world"));
    failure::last_rows(&rows, entity).iter().for_each(|row| println!("  {row}"));
    outcome.scene.iter().for_each(|line| println!("{line}"));
    let failure = &failure.run;
    println!(
        "stopped after step {} of {until}; the failure was {} after step {}",
        outcome.steps, failure.law, failure.step
    );
    Ok(())
}

/// Whether it is the same failure, in words and as an exit code.
fn compare(failure: &Failure, outcome: &Outcome) -> (String, u8) {
    let was = &failure.run;
    let now = child::provenance();
    let same_trace = outcome.trace == was.trace;
    let same_build = now.build == was.provenance.build;
    let law = match outcome.broken.first() {
        Some(broken) => broken.law.as_str(),
        None if !outcome.missed.is_empty() => EXPECTATION,
        None => return (format!("it no longer fails: {} holds, at {}", was.law, now.commit), PASSED),
    };
    let again = if law == EXPECTATION { MISSED } else { BROKEN };
    if law != was.law {
        let step = outcome.broken.first().map_or(outcome.steps, |broken| broken.step);
        return (format!("it fails otherwise: {law} after step {step}, it was {}", was.law), NOT_DETERMINISTIC);
    }
    match (same_trace, same_build) {
        (true, _) => (format!("the same failure: {law} after step {}, trace {}", was.step, was.trace), again),
        (false, true) => {
            let told = "the same law by another trace, though the build is the same: run doublecheck on it";
            (format!("{told} ({law}, {} was {})", outcome.trace, was.trace), NOT_DETERMINISTIC)
        }
        (false, false) => (format!("the same law, {law}, by another build ({}) and trace", now.commit), again),
    }
}

/// Runs a seed in two processes and compares their traces line by line.
pub(super) fn doublecheck(chosen: &Chosen) -> Result<u8, String> {
    let directory = std::env::temp_dir().join(format!("stockroom-sim-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let outcome = compare_two(chosen, &directory);
    let _ = fs::remove_dir_all(&directory);
    outcome
}

fn compare_two(chosen: &Chosen, directory: &Path) -> Result<u8, String> {
    let (_, seed) = chosen.draw()?;
    let mut traces = Vec::new();
    for which in ["first", "second"] {
        let file = directory.join(which);
        let more = ["--trace", &file.display().to_string(), "--failures", &directory.display().to_string()];
        let output = child::run(chosen, seed, &more.map(str::to_owned))?;
        if output.stdout.is_empty() {
            return Err(format!("no outcome: {}", String::from_utf8_lossy(&output.stderr)));
        }
        traces.push(fs::read_to_string(file).map_err(|error| error.to_string())?);
    }
    let (first, second) = (traces[0].lines(), traces[1].lines());
    let lengths = (first.clone().count(), second.clone().count());
    let parted = first.zip(second).enumerate().find(|(_, (one, other))| one != other);
    if let Some((number, (one, other))) = parted {
        eprintln!("the traces part at line {}:\n  {one}\n  {other}", number + 1);
        return Ok(NOT_DETERMINISTIC);
    }
    if lengths.0 != lengths.1 {
        eprintln!("one trace has {} lines, the other {}", lengths.0, lengths.1);
        return Ok(NOT_DETERMINISTIC);
    }
    println!("seed {seed}: two processes, {} lines, the same", lengths.0);
    Ok(PASSED)
}

/// Draws the picture of a failure anew.
pub(super) fn timeline(directory: &Path) -> Result<u8, String> {
    let path = Failure::read(directory)?.draw().map_err(|error| format!("{}: {error}", directory.display()))?;
    println!("{}", path.display());
    Ok(PASSED)
}
