//! Scenarios under the simulator: each passes, and has the same trace in two processes.
//!
//! Every seed is a process of its own, as always. A failure prints the law, and the command that runs the seed again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;
mod timeline;
mod tools;

use std::process::Command;

use kit::{passes, passes_with_json, simulator};

#[test]
fn a_quiet_shop_sells_what_it_has() {
    passes(&["run", "simulations/smoke.toml", "--seeds", "3"]);
}

#[test]
fn a_node_that_keeps_crashing_loses_nothing() {
    let told = passes(&[
        "run",
        "simulations/crash-loop.toml",
        "--seed",
        "20",
        "--seeds",
        "3",
        "--set",
        "world.safety_s=20",
        "--json",
    ]);
    let crashes = serde_json::from_str::<serde_json::Value>(&told).unwrap()["faults"]["crash"].as_u64().unwrap();
    assert!(crashes >= 3, "too few crashes to show anything: {told}");
}

/// Runs seeds of a shortened scenario, which must meet what they are for, and the last of them twice, shorter still.
fn strikes(scenario: &str, seeds: u64, wanted: &[&str]) {
    let (file, short) = (format!("simulations/{scenario}.toml"), "world.safety_s=12");
    let count = seeds.to_string();
    let told = passes(&["run", &file, "--seeds", &count, "--set", short, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    for fault in wanted {
        assert!(told["faults"][fault].as_u64() > Some(0), "{scenario} shows nothing about {fault}: {told}");
    }
    passes(&["doublecheck", &file, "--seed", &count, "--set", "world.safety_s=5"]);
}

#[test]
fn a_slow_disk_slows_and_a_failed_sync_ends_the_node() {
    strikes("slow-disk", 2, &["slow disk"]);
    let often = ["--set", "faults.sync_fails_every_s=2", "--set", "world.safety_s=12"];
    let told = passes(&[&["run", "simulations/slow-disk.toml", "--seed", "3", "--json"][..], &often].concat());
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(told["faults"]["sync failed"].as_u64() > Some(0), "no sync failed: {told}");
}

#[test]
fn a_full_disk_is_survived() {
    strikes("disk-full", 2, &["disk full"]);
}

#[test]
fn a_torn_tail_is_cut_off_and_nothing_acknowledged_with_it() {
    strikes("torn-tail", 2, &["torn tail", "bit flip"]);
}

#[test]
fn clocks_that_jump_and_drift_change_no_promise() {
    strikes("clock-jump", 2, &["clock jump"]);
}

#[test]
fn a_provider_at_its_worst_charges_once() {
    strikes("payment-chaos", 2, &["provider silent"]);
}

#[test]
fn the_last_unit_is_sold_once() {
    strikes("last-unit", 2, &[]);
}

#[test]
fn a_flash_sale_sells_what_there_is() {
    strikes("flash-sale", 2, &[]);
}

#[test]
fn a_storm_of_retries_buys_once() {
    strikes("retry-storm", 2, &["reset", "packet lost", "one-way cut"]);
}

#[test]
fn holds_run_out_whatever_happens() {
    strikes("hold-expiry", 2, &[]);
}

#[test]
fn a_long_day_ends_with_everything_in_its_place() {
    let short = ["--set", "world.safety_s=180", "--set", "shoppers.arrivals_per_minute=10"];
    let told = passes_with_json(&[&["run", "simulations/black-friday.toml", "--seed", "1"][..], &short].concat());
    let accepted = told["requests"]["accepted"].as_u64();
    assert!(accepted > Some(50), "a day on which hardly anybody came: {told}");
}

#[test]
fn a_swarm_finds_nothing() {
    strikes("swarm", 3, &[]);
}

/// What seeds 10239 and 10627 of the swarm found: a second host came while a shard had no first one; the first came
/// then, was nobody's to stop, and left the shard without any.
#[test]
fn a_shard_that_gets_a_second_host_between_two_first_ones_is_hosted_in_the_end() {
    let often = ["faults.host_twice_every_s=1", "faults.host_twice_max_ms=600", "world.safety_s=14"];
    let unexpected = ["expect.p99_ms_max=0", "expect.availability_percent_min=0", "expect.accepted_per_minute_min=0"];
    let set = often.into_iter().chain(unexpected).flat_map(|option| ["--set", option]);
    let arguments = ["run", "simulations/smoke.toml", "--seed", "4", "--seeds", "2"].into_iter().chain(set);
    passes(&arguments.collect::<Vec<_>>());
}

/// What seed 50130 of the swarm found: a second host looked at a journal to which the first still added an edit that it
/// then acknowledged.
#[test]
fn a_second_host_gets_the_clients_once_the_first_has_answered_those_it_had() {
    passes(&["run", "simulations/swarm.toml", "--seed", "50130", "--set", "world.safety_s=4"]);
}

#[test]
fn a_seed_has_one_trace() {
    passes(&["doublecheck", "simulations/smoke.toml", "--seed", "5"]);
    passes(&["doublecheck", "simulations/crash-loop.toml", "--seed", "21", "--set", "world.safety_s=8"]);
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
    let simulations = concat!(env!("CARGO_MANIFEST_DIR"), "/simulations");
    let count = |directory: &str| {
        let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|end| end == "toml")).count()
    };
    let files = count(simulations) + count(&format!("{simulations}/canary"));
    assert_eq!(listed.lines().count(), files, "{listed}");
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

/// A canary that is not planted would be a canary that is not caught.
#[cfg(not(feature = "canaries"))]
#[test]
fn a_build_without_bugs_plants_none_and_says_so() {
    let file = "simulations/canary/body-ignored.toml";
    for more in [&[][..], &["--seeds", "2"]] {
        let (_, err) = kit::ends_with(2, &[&["run", file][..], more].concat());
        assert!(err.contains("--features canaries") && err.contains("--healthy"), "{err}");
    }
    passes(&["run", file, "--healthy"]);
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
