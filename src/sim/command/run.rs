//! `run`: one seed in this process, many in children of their own; a line of what they were like.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{BROKEN, Chosen, MISSED, NOT_CAUGHT, PASSED, child};
use crate::sim::canaries::{self, Catches};
use crate::sim::failure::{self, Run};
use crate::sim::report::{Outcome, Summary, Totals};
use crate::sim::runner::{self, Stop};
use crate::sim::trace::{Output, Trace};

/// How a scenario is run.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    chosen: Chosen,
    /// Run this many seeds, from --seed on, each in a process of its own
    #[arg(long)]
    seeds: Option<u64>,
    /// Run seeds, from --seed on, until this much time is over, e.g. 10m
    #[arg(long = "for", value_name = "TIME", value_parser = super::duration, conflicts_with = "seeds")]
    time: Option<Duration>,
    /// Processes at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// Go on after a seed failed
    #[arg(long)]
    keep_going: bool,
    /// Write the trace of the seed there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "time"])]
    trace: Option<PathBuf>,
    /// Where failures are written
    #[arg(long, value_name = "DIRECTORY", default_value = "failures")]
    failures: PathBuf,
}

/// Runs a scenario.
pub(super) fn run(options: &Options) -> Result<u8, String> {
    let (scenario, seed) = options.chosen.draw()?;
    let started = Instant::now();
    let mut totals = Totals::new(&scenario.name);
    let mut catches = scenario.canary.clone().map(Catches::of);
    let mut told = Value::Null;
    if options.seeds.is_none() && options.time.is_none() {
        scenario.canary.as_ref().map_or(Ok(()), canaries::plant)?;
        let file = options.trace.as_ref().map(fs::File::create).transpose();
        let file = file.map_err(|error| format!("the trace cannot be written: {error}"))?;
        let trace = Trace::start(Output { file, print: None });
        let outcome = runner::run(scenario, seed, &trace, &Stop::default());
        match &mut catches {
            Some(catches) => catches.add(seed, &outcome.broken),
            None => keep_failure(options, &outcome)?,
        }
        totals.add(&Summary::from(&outcome));
        told = serde_json::to_value(&outcome).map_err(|error| error.to_string())?;
    } else {
        let first = options.chosen.seed.unwrap_or(1);
        run_many(options, first, started, (&mut totals, &mut catches))?;
    }
    say(options, (&totals, catches.as_ref()), told, started.elapsed());
    if let Some(catches) = catches {
        return Ok(if catches.is_caught() { PASSED } else { NOT_CAUGHT });
    }
    Ok(match (totals.failed.is_empty(), totals.missed.is_empty()) {
        (false, _) => BROKEN,
        (true, false) => MISSED,
        (true, true) => PASSED,
    })
}

/// `one` is the outcome of the only seed, if there was only one.
fn say(options: &Options, (totals, catches): (&Totals, Option<&Catches>), one: Value, real: Duration) {
    if options.json {
        let mut told = totals.json(real);
        if let (Value::Object(told), Value::Object(one)) = (&mut told, one) {
            told.extend(one);
        }
        if let Some(catches) = catches {
            told["canary"] = catches.json();
        }
        return println!("{told}");
    }
    println!("{}", totals.line(real));
    if let Some(catches) = catches {
        return println!("  {}", catches.sentence());
    }
    totals.never_exercised_lines().iter().for_each(|line| println!("{line}"));
    let by_law = totals.failed.iter().fold(BTreeMap::<&str, Vec<u64>>::new(), |mut by_law, (seed, law)| {
        by_law.entry(law).or_default().push(*seed);
        by_law
    });
    by_law.iter().for_each(|(law, seeds)| println!("  {law} is broken by seeds {seeds:?}"));
    totals.missed.iter().for_each(|(seed, missed)| println!("  seed {seed}: {missed}"));
}

/// Writes the files of a failure and tells of it.
fn keep_failure(options: &Options, outcome: &Outcome) -> Result<(), String> {
    if outcome.passed() {
        return Ok(());
    }
    let Chosen { file, set, healthy, .. } = &options.chosen;
    let mut run = Run::of(outcome, file, set, child::provenance());
    run.command.push_str(if *healthy { " --healthy" } else { "" });
    let written = failure::write(&options.failures, outcome, &run).and_then(|directory| {
        let rows = outcome.history.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
        eprint!("{}", failure::tell(&run, &rows, &directory));
        Ok(())
    });
    written.map_err(|error| format!("{}: the failure cannot be written: {error}", options.failures.display()))
}

/// Runs seeds from `first` on. A planted bug is searched for to the end: that a seed fails is what is wanted.
fn run_many(
    options: &Options,
    first: u64,
    started: Instant,
    (totals, catches): (&mut Totals, &mut Option<Catches>),
) -> Result<(), String> {
    let last = options.seeds.map_or(u64::MAX, |seeds| first.saturating_add(seeds));
    let progress = progress(options);
    let (seeds, over) = (Mutex::new(first..last), AtomicBool::new(false));
    let next = || {
        let late = options.time.is_some_and(|time| started.elapsed() >= time);
        let ends = late || over.load(Ordering::Relaxed);
        if ends { None } else { seeds.lock().expect("no holder panics").next() }
    };
    let (told, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            let (told, next) = (told.clone(), &next);
            scope.spawn(move || {
                while let Some(seed) = next() {
                    // Nobody listens any more only when the run has ended.
                    let _ = told.send((seed, run_child(&options.chosen, seed, &options.failures)));
                }
            });
        }
        drop(told);
        for (seed, outcome) in heard {
            let (summary, talk) = outcome.inspect_err(|_| over.store(true, Ordering::Relaxed))?;
            if let Some(catches) = catches {
                catches.add(summary.seed, &summary.broken);
            } else if !talk.is_empty() {
                progress.suspend(|| eprintln!("seed {seed} failed:\n{talk}"));
            }
            totals.add(&summary);
            let failed = !totals.failed.is_empty() || !totals.missed.is_empty();
            over.fetch_or(failed && !options.keep_going && catches.is_none(), Ordering::Relaxed);
            progress.set_message(format!("{} seeds, {} failed", totals.seeds(), totals.failed.len()));
            progress.set_position(if options.seeds.is_some() { totals.seeds() } else { started.elapsed().as_secs() });
        }
        progress.finish_and_clear();
        Ok(())
    })
}

/// On a terminal, a bar of seeds or of time; elsewhere nothing.
fn progress(options: &Options) -> ProgressBar {
    let length = options.seeds.or(options.time.map(|time| time.as_secs())).unwrap_or_default();
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {msg}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Runs one seed in a child: its outcome, and what it had to say if it failed.
fn run_child(chosen: &Chosen, seed: u64, failures: &Path) -> Result<(Summary, String), String> {
    let output = child::run(chosen, seed, &["--failures".to_owned(), failures.display().to_string()])?;
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    let usage = output.status.code() == Some(i32::from(super::USAGE));
    match serde_json::from_slice::<Summary>(&output.stdout) {
        Ok(summary) if summary.broken.is_empty() && summary.missed.is_empty() => Ok((summary, String::new())),
        Ok(summary) => Ok((summary, talk)),
        Err(_) if usage => Err(format!("seed {seed}: {talk}")),
        Err(_) => Ok((Summary::fallen(seed, format!("the process ended with {}", output.status)), talk)),
    }
}
