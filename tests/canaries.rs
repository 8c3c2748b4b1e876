//! The simulator's own test: every planted bug is caught by the law its scenario names, and without the bug the same
//! scenario passes.
//!
//! One file per bug in `simulations/canary/`, each pinned to a seed that shows it. Every run is a process of its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use stockroom::canary::Canary;

/// Runs at a time: one per core of a small machine.
const JOBS: usize = 2;

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("simulations/canary");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn planted(file: &Path) -> (String, String) {
    let scenario: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
    let said = |name: &str| scenario["canary"][name].as_str().unwrap().to_owned();
    (said("bug"), said("law"))
}

fn simulator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stockroom-sim"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What is wrong with one scenario, if anything.
fn problem(file: &Path) -> Option<String> {
    let (path, (_, law)) = (file.to_str().unwrap(), planted(file));
    let ended = |output: &Output| {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        format!("{path} ended with {}:\n{out}{err}", output.status)
    };
    let sick = simulator(&["run", path]);
    if !sick.status.success() || !String::from_utf8_lossy(&sick.stdout).contains(&format!(": caught by {law} ")) {
        return Some(format!("not caught: {}", ended(&sick)));
    }
    let healthy = simulator(&["run", path, "--healthy"]);
    (!healthy.status.success()).then(|| format!("without the bug: {}", ended(&healthy)))
}

#[test]
fn every_planted_bug_is_caught_and_without_it_its_scenario_passes() {
    let (waiting, problems) = (Mutex::new(files().into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                loop {
                    let Some(file) = waiting.lock().unwrap().next() else { return };
                    let found = problem(&file);
                    problems.lock().unwrap().extend(found);
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_bug_has_a_scenario() {
    let planted: BTreeSet<String> = files().iter().map(|file| planted(file).0).collect();
    let known: BTreeSet<String> = Canary::ALL.iter().map(|canary| canary.name().to_owned()).collect();
    assert_eq!(planted, known);
}

#[test]
fn a_bug_that_no_law_breaks_by_is_not_caught() {
    let wrong = ["run", "simulations/canary/body-ignored.toml", "--set", "canary.law=\"NO-SUCH-LAW\""];
    for more in [&[][..], &["--seeds", "2"], &["--json"]] {
        let output = simulator(&[&wrong, more].concat());
        assert_eq!(output.status.code(), Some(5), "{more:?}: {output:?}");
    }
    let output = simulator(&["run", "simulations/canary/body-ignored.toml", "--set", "canary.bug=\"no-such-bug\""]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn many_seeds_are_searched_and_what_caught_the_bug_is_counted() {
    let search = ["run", "simulations/canary/body-ignored.toml", "--seeds", "3"];
    let output = simulator(&search);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("caught by SIM-KEY-MEANS-ONE-THING under 3 of 3 seeds: [1, 2, 3]"), "{told}");
    let output = simulator(&[&search[..], &["--json"]].concat());
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["canary"]["caught"], serde_json::json!([1, 2, 3]), "{told}");
}

#[test]
fn a_planted_run_has_one_trace_and_leaves_no_failure_behind() {
    let file = "simulations/canary/body-ignored.toml";
    let output = simulator(&["doublecheck", file]);
    assert!(output.status.success(), "{output:?}");
    let failures = tempfile::tempdir().unwrap();
    assert!(simulator(&["run", file, "--failures", failures.path().to_str().unwrap()]).status.success());
    assert_eq!(fs::read_dir(failures.path()).unwrap().count(), 0);
}
