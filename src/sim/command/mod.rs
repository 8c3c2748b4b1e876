//! `stockroom-sim`: run scenarios, look into their failures, make failures smaller.
//!
//! One process runs one seed. Several seeds, checking a seed twice and shrinking start this program again as children,
//! which answer with their outcome as JSON (`child`). stdout is data, stderr is talk. `run` runs, `show` lists what
//! there is, `again` goes back to a failure, `smaller` shrinks it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks")]
#![allow(clippy::disallowed_methods, reason = "the simulator's own command runs in real time")]

mod again;
mod child;
mod run;
mod show;
mod smaller;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use super::scenario::{Open, Scenario};

/// Every law held and every expectation was met.
const PASSED: u8 = 0;
/// A law is broken.
const BROKEN: u8 = 1;
/// The scenario or a flag is wrong.
const USAGE: u8 = 2;
/// Two runs of one seed differ.
const NOT_DETERMINISTIC: u8 = 3;
/// Latency, availability or throughput are not what the scenario expects.
const MISSED: u8 = 4;
/// A planted bug broke no law, or another one than it must.
const NOT_CAUGHT: u8 = 5;

/// The shop in virtual time, broken on purpose.
#[derive(Parser)]
#[command(name = "stockroom-sim", version, about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 passed · 1 a law is broken · 2 bad scenario or flag · 3 not deterministic · \
                          4 an expectation is missed · 5 a canary is not caught";

#[derive(Subcommand)]
enum Command {
    /// List the scenarios of a directory
    List {
        /// Where they are
        #[arg(default_value = "simulations")]
        directory: PathBuf,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Read a scenario, draw it and print it
    Check(Chosen),
    /// Print every law a run can break
    Laws {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a scenario
    Run(run::Options),
    /// Run a failure again and say whether it is the same
    Replay(again::Replay),
    /// Make a failure's scenario smaller as long as the same law breaks
    Shrink(smaller::Options),
    /// Run a seed in two processes and compare their traces line by line
    Doublecheck(Chosen),
    /// Draw the picture of a failure anew
    Timeline {
        /// The failure's directory, `failures/<scenario>/<seed>`
        directory: PathBuf,
    },
}

/// A scenario and a seed.
#[derive(clap::Args, Clone)]
struct Chosen {
    /// The scenario
    file: PathBuf,
    /// Everything not fixed in the scenario is drawn from it; without, the one a canary is known to be caught under,
    /// or 1
    #[arg(long)]
    seed: Option<u64>,
    /// Replace an option, e.g. `shop.products=5`
    #[arg(long, value_name = "OPTION=VALUE")]
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
        let first = draw(self.seed.unwrap_or(1))?;
        let seed = self.seed.or(first.canary.as_ref().map(|planted| planted.seed)).unwrap_or(1);
        let mut scenario = draw(seed)?;
        if self.healthy {
            scenario.canary = None;
        }
        Ok((scenario, seed))
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
        Command::List { directory, json } => show::list(&directory, json),
        Command::Check(chosen) => show::check(&chosen),
        Command::Laws { json } => show::laws(json),
        Command::Run(options) => run::run(&options),
        Command::Replay(replay) => again::replay(&replay),
        Command::Shrink(options) => smaller::shrink(&options),
        Command::Doublecheck(chosen) => again::doublecheck(&chosen),
        Command::Timeline { directory } => again::timeline(&directory),
    };
    outcome.map_or_else(
        |message| {
            eprintln!("stockroom-sim: {message}");
            ExitCode::from(USAGE)
        },
        ExitCode::from,
    )
}

/// A span of real time: `90s`, `10m`, `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("expected a number of seconds, minutes or hours: 90s, 10m, 2h".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is not a whole number"))?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| format!("{text} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_seconds_minutes_or_hours() {
        let seconds = |text| duration(text).map(|span| span.as_secs()).ok();
        assert_eq!([seconds("90s"), seconds("10m"), seconds("2h")], [Some(90), Some(600), Some(7_200)]);
        assert_eq!([seconds("10"), seconds("m"), seconds("1d"), seconds("")], [None; 4]);
    }
}
