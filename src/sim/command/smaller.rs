//! `shrink`: a failure's scenario made smaller under the same law, every candidate run in a child.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use toml::Table;

use super::{Chosen, NOT_DETERMINISTIC, PASSED, child};
use crate::sim::checks::Broken;
use crate::sim::failure::{EXPECTATION, Failure, Run};
use crate::sim::shrink::{self, Shrinker};

/// How a failure is shrunk.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The failure's directory, `failures/<scenario>/<seed>`
    directory: PathBuf,
    /// Stop after this much time with the smallest found so far, e.g. 5m
    #[arg(long, value_name = "TIME", value_parser = super::duration, default_value = "5m")]
    budget: Duration,
}

/// What a child says of a candidate.
#[derive(Deserialize)]
struct Answer {
    simulated_ms: u64,
    steps: u64,
    faults: std::collections::BTreeMap<String, u64>,
    broken: Vec<Broken>,
    missed: Vec<String>,
}

impl Answer {
    fn is_same(&self, law: &str) -> bool {
        if law == EXPECTATION {
            return self.broken.is_empty() && !self.missed.is_empty();
        }
        self.broken.iter().any(|broken| broken.law == law)
    }
}

/// Where candidates are run, and until when.
struct Bench<'a> {
    run: &'a Run,
    /// Emptied at the end: candidates' files and failures.
    directory: &'a Path,
    until: Instant,
    tried: u64,
}

impl Bench<'_> {
    /// What becomes of this scenario; `None` when there is no time left.
    fn answer(&mut self, scenario: &Table) -> Result<Option<Answer>, String> {
        let file = self.directory.join("candidate.toml");
        let text = toml::to_string_pretty(scenario).map_err(|error| error.to_string())?;
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let chosen = Chosen { file, seed: None, set: Vec::new(), healthy: false };
        let more = ["--failures".to_owned(), self.directory.display().to_string()];
        self.tried += 1;
        let Some(output) = child::run_until(&chosen, self.run.seed, &more, self.until)? else { return Ok(None) };
        // A candidate that is no scenario, or ends its process, does not fail in the same way.
        let nothing =
            || Answer { simulated_ms: 0, steps: 0, faults: Default::default(), broken: Vec::new(), missed: Vec::new() };
        Ok(Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|_| nothing())))
    }

    fn fails(&mut self, scenario: &Table, what: &str) -> Option<bool> {
        let answer = self.answer(scenario).inspect_err(|error| eprintln!("{what}: {error}")).ok().flatten()?;
        let fails = answer.is_same(&self.run.law);
        eprintln!("{} {what}", if fails { "still fails:" } else { "passes:     " });
        Some(fails)
    }
}

/// Makes a failure smaller.
pub(super) fn shrink(options: &Options) -> Result<u8, String> {
    let failure = Failure::read(&options.directory)?;
    let text = fs::read_to_string(failure.scenario()).map_err(|error| error.to_string())?;
    let drawn: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let scratch = std::env::temp_dir().join(format!("stockroom-sim-shrink-{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let until = Instant::now() + options.budget;
    let bench = Bench { run: &failure.run, directory: &scratch, until, tried: 0 };
    let outcome = shrink_on(bench, &failure, drawn);
    let _ = fs::remove_dir_all(&scratch);
    outcome
}

fn shrink_on(mut bench: Bench<'_>, failure: &Failure, drawn: Table) -> Result<u8, String> {
    let law = failure.run.law.clone();
    let Some(before) = bench.answer(&drawn)? else { return Err("the budget is over: give more with --budget".into()) };
    if !before.is_same(&law) {
        println!("{law} is not broken any more: there is nothing to shrink; `replay` says what happens instead");
        return Ok(NOT_DETERMINISTIC);
    }
    let opened_ms = failure.history.iter().find(|row| row["name"] == "safety").and_then(|row| row["at_ms"].as_u64());
    let after_s = failure.run.at_ms.saturating_sub(opened_ms.unwrap_or(0)).div_ceil(1_000);
    let small = Shrinker::new(drawn.clone(), |candidate: &Table, what: &str| bench.fails(candidate, what));
    let mut small = shrink::unusual(&small.shrink(after_s));
    // Under a name of its own its failures do not overwrite the one it came from.
    small.insert("name".into(), format!("{}-shrunk", failure.run.scenario).into());
    let path = failure.directory.join("shrunk.toml");
    let text = toml::to_string_pretty(&small).map_err(|error| error.to_string())?;
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    let tried = bench.tried;
    // The smallest is run once more for its numbers, budget or not.
    bench.until = Instant::now() + Duration::from_secs(3_600);
    let after = bench.answer(&small)?.filter(|answer| answer.is_same(&law));
    let after = after.ok_or("what was found does not fail again: run doublecheck on the failure's scenario.toml")?;
    let usual = shrink::options(&shrink::unusual(&drawn));
    println!("{law}, {tried} candidates tried");
    println!("  options that are not default: {usual} → {}", shrink::options(&small));
    println!(
        "  simulated: {} ms → {} ms, steps: {} → {}",
        before.simulated_ms, after.simulated_ms, before.steps, after.steps
    );
    let struck = |answer: &Answer| answer.faults.values().sum::<u64>();
    println!("  faults that struck: {} → {}", struck(&before), struck(&after));
    println!("again: stockroom-sim run {} --seed {}", path.display(), failure.run.seed);
    Ok(PASSED)
}
