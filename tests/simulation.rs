//! Scenarios under the simulator: each passes, and has the same trace in two processes.
//!
//! Every seed is a process of its own, as always. A failure prints the law, and the command that runs the seed again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

fn simulator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stockroom-sim"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .unwrap()
}

fn passes(arguments: &[&str]) -> String {
    let output = simulator(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?} ended with {}:\n{out}\n{err}", output.status);
    out.into_owned()
}

#[test]
fn a_quiet_shop_sells_what_it_has() {
    passes(&["run", "simulations/smoke.toml", "--seeds", "3"]);
}

#[test]
fn a_node_that_keeps_crashing_loses_nothing() {
    let told = passes(&["run", "simulations/crash-loop.toml", "--seed", "20", "--seeds", "3", "--json"]);
    let crashes = serde_json::from_str::<serde_json::Value>(&told).unwrap()["faults"]["crash"].as_u64().unwrap();
    assert!(crashes >= 3, "too few crashes to show anything: {told}");
}

#[test]
fn a_seed_has_one_trace() {
    passes(&["doublecheck", "simulations/smoke.toml", "--seed", "5"]);
    passes(&["doublecheck", "simulations/crash-loop.toml", "--seed", "21"]);
}

#[test]
fn another_seed_has_another_trace() {
    let trace = |seed| {
        let told = passes(&["run", "simulations/smoke.toml", "--seed", seed, "--json"]);
        serde_json::from_str::<serde_json::Value>(&told).unwrap()["trace"].as_str().unwrap().to_owned()
    };
    assert_ne!(trace("6"), trace("7"));
}

#[test]
fn every_scenario_can_be_drawn() {
    let listed = passes(&["list"]);
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/simulations")).unwrap();
    assert_eq!(listed.lines().count(), files.count(), "{listed}");
}

#[test]
fn a_bad_scenario_or_flag_is_told_and_exits_with_2() {
    for arguments in [
        &["run", "simulations/none.toml"][..],
        &["run", "simulations/smoke.toml", "--set", "shop.product=3"],
        &["run", "simulations/smoke.toml", "--set", "shop.units=0"],
        &["run", "simulations/smoke.toml", "--sed", "3"],
    ] {
        let output = simulator(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
}

/// Seeded hash maps are for the simulator alone: in the shop they would be a way to slow it down from outside.
#[test]
fn only_the_simulator_brings_its_own_randomness() {
    let defines = |binary: &str| {
        let symbols = Command::new("nm").arg("--defined-only").arg(binary).output().unwrap();
        assert!(symbols.status.success(), "nm {binary}: {symbols:?}");
        let text = String::from_utf8_lossy(&symbols.stdout).into_owned();
        text.lines().any(|line| line.split_whitespace().last() == Some("getrandom"))
    };
    assert!(defines(env!("CARGO_BIN_EXE_stockroom-sim")));
    assert!(!defines(env!("CARGO_BIN_EXE_stockroom")));
}
