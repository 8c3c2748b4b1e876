//! `stockroom-sim`: run, list, check and doublecheck scenarios.
//!
//! One process runs one seed. Several seeds, and checking a seed twice, start this program again as children, which
//! answer with their outcome as JSON. stdout is data, stderr is talk. Exit codes: 0 passed, 1 a law is broken, 2 bad
//! scenario or flag, 3 not deterministic, 5 a planted bug was not caught.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks")]
#![allow(clippy::disallowed_methods, reason = "the simulator's own command runs in real time")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode, Stdio};
use std::time::Instant;

use clap::{Parser, Subcommand};

use super::canaries::{self, Catch};
use super::report::{Counts, Outcome, Summary, Totals};
use super::runner;
use super::scenario::{Open, Planted, Scenario};
use super::trace::Trace;

const PASSED: u8 = 0;
const BROKEN: u8 = 1;
const USAGE: u8 = 2;
const NOT_DETERMINISTIC: u8 = 3;
const NOT_CAUGHT: u8 = 5;

/// The shop in virtual time, broken on purpose.
#[derive(Parser)]
#[command(name = "stockroom-sim", version, about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 passed · 1 a law is broken · 2 bad scenario or flag · 3 not deterministic · \
                          5 canary not caught";

#[derive(Subcommand)]
enum Command {
    /// List the scenarios of a directory
    List {
        /// Where they are
        #[arg(default_value = "simulations")]
        directory: PathBuf,
    },
    /// Read a scenario, draw it and print it
    Check(Chosen),
    /// Run a scenario
    Run {
        #[command(flatten)]
        chosen: Chosen,
        /// Run this many seeds, from --seed on, each in a process of its own
        #[arg(long)]
        seeds: Option<u64>,
        /// Processes at a time
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Print the outcome as JSON
        #[arg(long)]
        json: bool,
        /// Go on after a seed failed
        #[arg(long)]
        keep_going: bool,
        /// Write the trace there
        #[arg(long)]
        trace: Option<PathBuf>,
    },
    /// Run a seed in two processes and compare their traces line by line
    Doublecheck(Chosen),
}

#[derive(clap::Args, Clone)]
struct Chosen {
    /// The scenario
    file: PathBuf,
    /// Everything not fixed in the scenario is drawn from it; 1, or the seed a canary is known to be caught under
    #[arg(long)]
    seed: Option<u64>,
    /// Replace an option, e.g. `shop.products=5`
    #[arg(long)]
    set: Vec<String>,
    /// Run the scenario of a canary without its bug
    #[arg(long)]
    healthy: bool,
}

impl Chosen {
    fn open(&self) -> Result<Open, String> {
        let mut open = Open::read(&self.file).map_err(|error| error.to_string())?;
        self.set.iter().try_for_each(|set| open.set(set)).map_err(|error| error.to_string())?;
        Ok(open)
    }

    /// The scenario as the seed draws it, and the seed.
    fn draw(&self) -> Result<(Scenario, u64), String> {
        let open = self.open()?;
        let draw = |seed| open.draw(seed).map_err(|error| error.to_string());
        let mut scenario = draw(self.seed.unwrap_or(1))?;
        let pinned = scenario.canary.as_ref().map(|planted| planted.seed).filter(|_| self.seed.is_none());
        if let Some(pinned) = pinned {
            scenario = draw(pinned)?;
        }
        if self.healthy {
            scenario.canary = None;
        }
        Ok((scenario, self.seed.or(pinned).unwrap_or(1)))
    }

    /// The same, as arguments of a child.
    fn arguments(&self, seed: u64) -> Vec<String> {
        let mut arguments = vec![self.file.display().to_string(), "--seed".to_owned(), seed.to_string()];
        self.set.iter().for_each(|set| arguments.extend(["--set".to_owned(), set.clone()]));
        arguments.extend(self.healthy.then(|| "--healthy".to_owned()));
        arguments
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::List { directory } => list(&directory),
        Command::Check(chosen) => check(&chosen),
        Command::Run { chosen, seeds: None, json, trace, .. } => run_one(&chosen, json, trace.as_deref()),
        Command::Run { chosen, seeds: Some(seeds), jobs, json, keep_going, .. } => {
            run_many(&chosen, seeds, jobs.max(1), json, keep_going)
        }
        Command::Doublecheck(chosen) => doublecheck(&chosen),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("stockroom-sim: {message}");
        ExitCode::from(USAGE)
    })
}

fn list(directory: &Path) -> Result<ExitCode, String> {
    for file in files_in(directory)? {
        let scenario = Open::read(&file).and_then(|open| open.draw(1)).map_err(|error| error.to_string())?;
        println!("{:<32} {}", file.display().to_string(), scenario.about);
    }
    Ok(ExitCode::from(PASSED))
}

/// Scenarios of a directory and those below it, in order.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut files = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            files.extend(files_in(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn check(chosen: &Chosen) -> Result<ExitCode, String> {
    let (scenario, _) = chosen.draw()?;
    print!("{}", toml::to_string_pretty(&scenario).map_err(|error| error.to_string())?);
    Ok(ExitCode::from(PASSED))
}

fn run_one(chosen: &Chosen, json: bool, trace: Option<&Path>) -> Result<ExitCode, String> {
    let (scenario, seed) = chosen.draw()?;
    let planted = scenario.canary.clone();
    planted.as_ref().map_or(Ok(()), canaries::plant)?;
    let file = trace.map(fs::File::create).transpose().map_err(|error| format!("the trace: {error}"))?;
    let trace = Trace::start(file);
    let started = Instant::now();
    let outcome = runner::run(scenario, seed, &trace);
    if let Some(planted) = planted.filter(|_| !json) {
        let catch = Catch::of(&planted, outcome.broken.iter().map(|broken| broken.law.as_str()));
        println!("seed {seed}: {}", catch.sentence(&planted));
        return Ok(ExitCode::from(if catch.is_caught { PASSED } else { NOT_CAUGHT }));
    }
    if !outcome.passed() && outcome.drawn["canary"].is_null() {
        let directory = write_failure(&outcome).map_err(|error| format!("the failure: {error}"))?;
        tell_failure(chosen, &outcome, &directory);
    }
    if json {
        println!("{}", serde_json::to_string(&outcome).map_err(|error| error.to_string())?);
    } else {
        let real = started.elapsed().as_secs_f64();
        let simulated = outcome.counts.simulated_ms as f64 / 1_000.0;
        let Outcome { scenario, seed, counts, trace, .. } = &outcome;
        let Counts { orders, refused, unknown, undecided, faults, .. } = counts;
        println!(
            "{scenario} seed {seed}: {simulated:.1} s simulated in {real:.1} s ({:.0} ×), orders {orders:?}, \
             refused {refused:?}, unknown {unknown}, undecided {undecided}, faults {faults:?}, trace {trace}",
            simulated / real
        );
    }
    Ok(ExitCode::from(if outcome.passed() { PASSED } else { BROKEN }))
}

/// Writes what is needed to look into a failure.
fn write_failure(outcome: &Outcome) -> io::Result<PathBuf> {
    let directory = Path::new("failures").join(&outcome.scenario).join(outcome.seed.to_string());
    fs::create_dir_all(&directory)?;
    let rows = outcome.history.iter().map(|row| serde_json::to_string(row).map_err(io::Error::other));
    fs::write(directory.join("history.jsonl"), rows.collect::<io::Result<Vec<_>>>()?.join("\n"))?;
    let run = serde_json::to_string_pretty(outcome).map_err(io::Error::other)?;
    fs::write(directory.join("run.json"), run)?;
    let drawn = toml::to_string_pretty(&outcome.drawn).map_err(io::Error::other)?;
    fs::write(directory.join("scenario.toml"), drawn)?;
    Ok(directory)
}

fn tell_failure(chosen: &Chosen, outcome: &Outcome, directory: &Path) {
    for broken in outcome.broken.iter().take(20) {
        eprintln!("{}: {}", broken.law, broken.detail);
    }
    for error in &outcome.errors {
        eprintln!("logged: {error}");
    }
    let again = chosen.arguments(outcome.seed).join(" ");
    eprintln!("again: stockroom-sim run {again}; files are in {}", directory.display());
}

fn run_many(chosen: &Chosen, seeds: u64, jobs: usize, json: bool, keep_going: bool) -> Result<ExitCode, String> {
    let first = chosen.seed.unwrap_or(1);
    let scenario = Chosen { seed: Some(first), ..chosen.clone() }.draw()?.0;
    if let Some(planted) = &scenario.canary {
        return search(chosen, planted, first..first.saturating_add(seeds), jobs);
    }
    let started = Instant::now();
    let mut totals = Totals::default();
    let mut waiting = first..first.saturating_add(seeds);
    let mut running = BTreeMap::new();
    loop {
        while running.len() < jobs && (keep_going || totals.failed.is_empty()) {
            let Some(seed) = waiting.next() else { break };
            running.insert(seed, child(chosen, seed, &[])?);
        }
        let Some((seed, process)) = running.pop_first() else { break };
        let output = process.wait_with_output().map_err(|error| error.to_string())?;
        let summary: Summary = serde_json::from_slice(&output.stdout).map_err(|_| {
            format!("seed {seed} ended without an outcome: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        if !summary.broken.is_empty() {
            eprintln!("seed {seed} failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        totals.add(&summary);
    }
    let real = started.elapsed().as_secs_f64();
    if json {
        println!("{}", serde_json::to_string(&totals).map_err(|error| error.to_string())?);
    } else {
        let simulated = totals.counts.simulated_ms as f64 / 1_000.0;
        println!(
            "{} seeds, {} failed {:?}; {simulated:.0} s simulated in {real:.0} s ({:.0} ×, {:.0} seeds an hour); \
             orders {:?}, refused {:?}, unknown {}, undecided {}, faults {:?}",
            totals.seeds,
            totals.failed.len(),
            totals.failed,
            simulated / real,
            totals.seeds as f64 / real * 3_600.0,
            totals.counts.orders,
            totals.counts.refused,
            totals.counts.unknown,
            totals.counts.undecided,
            totals.counts.faults,
        );
        println!("never exercised: {}", totals.never_exercised().join(", "));
    }
    Ok(ExitCode::from(if totals.failed.is_empty() { PASSED } else { BROKEN }))
}

/// Which of these seeds catch a planted bug.
fn search(chosen: &Chosen, planted: &Planted, seeds: Range<u64>, jobs: usize) -> Result<ExitCode, String> {
    let (mut caught, mut laws, count) = (Vec::new(), BTreeMap::<String, u64>::new(), seeds.end - seeds.start);
    let (mut waiting, mut running) = (seeds, BTreeMap::new());
    loop {
        while running.len() < jobs {
            let Some(seed) = waiting.next() else { break };
            running.insert(seed, child(chosen, seed, &[])?);
        }
        let Some((seed, process)) = running.pop_first() else { break };
        let output = process.wait_with_output().map_err(|error| error.to_string())?;
        let summary: Summary = serde_json::from_slice(&output.stdout).map_err(|_| {
            format!("seed {seed} ended without an outcome: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        let catch = Catch::of(planted, summary.broken.iter().filter_map(|broken| broken["law"].as_str()));
        caught.extend(catch.is_caught.then_some(seed));
        catch.laws.into_iter().for_each(|law| *laws.entry(law).or_default() += 1);
    }
    println!("{}: {} of {count} seeds break {}: {caught:?}; by law: {laws:?}", planted.bug, caught.len(), planted.law);
    Ok(ExitCode::from(if caught.is_empty() { NOT_CAUGHT } else { PASSED }))
}

fn child(chosen: &Chosen, seed: u64, more: &[String]) -> Result<std::process::Child, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut process = Process::new(program);
    process.arg("run").args(chosen.arguments(seed)).arg("--json").args(more);
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.spawn().map_err(|error| error.to_string())
}

fn doublecheck(chosen: &Chosen) -> Result<ExitCode, String> {
    let (directory, (_, seed)) = (std::env::temp_dir(), chosen.draw()?);
    let file = |which: &str| directory.join(format!("stockroom-sim-{}-{which}", std::process::id()));
    let files = [file("first"), file("second")];
    let mut traces = Vec::new();
    for file in &files {
        let more = ["--trace".to_owned(), file.display().to_string()];
        let output = child(chosen, seed, &more)?.wait_with_output().map_err(|error| error.to_string())?;
        if output.stdout.is_empty() {
            return Err(format!("no outcome: {}", String::from_utf8_lossy(&output.stderr)));
        }
        traces.push(fs::read_to_string(file).map_err(|error| error.to_string())?);
        let _ = fs::remove_file(file);
    }
    let (first, second) = (traces[0].lines(), traces[1].lines());
    let lengths = (first.clone().count(), second.clone().count());
    let parted = first.zip(second).enumerate().find(|(_, (one, other))| one != other);
    if let Some((number, (one, other))) = parted {
        eprintln!("the traces part at line {}:\n  {one}\n  {other}", number + 1);
        return Ok(ExitCode::from(NOT_DETERMINISTIC));
    }
    if lengths.0 != lengths.1 {
        eprintln!("one trace has {} lines, the other {}", lengths.0, lengths.1);
        return Ok(ExitCode::from(NOT_DETERMINISTIC));
    }
    println!("seed {seed}: two processes, {} lines, the same", lengths.0);
    Ok(ExitCode::from(PASSED))
}
