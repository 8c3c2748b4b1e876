//! What engineers do with the simulator: pass, fail, look into a failure, go back to it, make it smaller.

use serde_json::Value;

use crate::kit::{LAW, copy_of_failed, ends_with, failed, passes, passes_with_json, replace, run_json, text};

const SMOKE: &str = "simulations/smoke.toml";

#[test]
fn a_pass_is_a_line_and_what_was_never_exercised() {
    let told = passes(&["run", SMOKE, "--seeds", "2", "--jobs", "1"]);
    let line = told.lines().next().unwrap();
    for part in [
        "smoke: 2 seeds",
        "simulated (",
        " accepted, ",
        " rejected, ",
        "faults: none",
        "p50 ",
        "p99 ",
        "max ",
        "available 100.00 %",
        "seeds/hour",
        "trace ",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    let never = |what: &str| told.lines().find(|line| line.contains(&format!("never exercised, {what}"))).unwrap();
    assert!(never("faults").contains("torn tail"));
    assert!(never("laws").contains("SIM-MERGE-KEEPS-ALL") && !never("laws").contains("STK-1"));
    assert!(never("order states").contains("delivered") && !never("order states").contains("confirmed"));
    assert!(never("refusals").contains("storage_full"));
}

#[test]
fn the_outcome_of_many_seeds_does_not_depend_on_how_many_run_at_once() {
    let run = |jobs| passes_with_json(&["run", SMOKE, "--seeds", "3", "--jobs", jobs]);
    let (one, two) = (run("1"), run("2"));
    for told in ["trace", "laws", "requests", "orders", "simulated_ms", "never_exercised"] {
        assert_eq!(one[told], two[told], "{told}");
        assert!(!one[told].is_null(), "{told} is missing");
    }
    assert!(one["latency_ms"]["p99"].as_f64() >= one["latency_ms"]["p50"].as_f64());
    assert!(one["requests"]["accepted"].as_u64() > Some(50) && one["laws"]["STK-1"].as_u64() > Some(50));
    assert_eq!((one["seeds"].as_u64(), one["availability_percent"].as_f64()), (Some(3), Some(100.0)));
}

#[test]
fn seeds_run_until_the_time_is_over() {
    let told = passes_with_json(&["run", SMOKE, "--for", "2s", "--jobs", "1"]);
    assert!(told["real_ms"].as_u64() >= Some(2_000) && told["seeds"].as_u64() >= Some(1), "{told}");
    ends_with(2, &["run", SMOKE, "--for", "2"]);
    ends_with(2, &["run", SMOKE, "--for", "2s", "--seeds", "3"]);
}

#[test]
fn a_missed_expectation_is_a_failure_of_its_own_sort() {
    let failures = tempfile::tempdir().unwrap();
    let missed = ["--set", "expect.p99_ms_max=1", "--failures", text(failures.path())];
    let (_, err) = ends_with(4, &[&["run", SMOKE, "--seed", "3"][..], &missed].concat());
    assert!(err.contains("p99 latency is ") && err.contains("expected at most 1"), "{err}");
    let directory = failures.path().join("smoke/3");
    assert_eq!(run_json(&directory)["law"], "expectation");
    let (out, _) = ends_with(4, &["replay", text(&directory)]);
    assert!(out.contains("the same failure"), "{out}");
    let (out, _) = ends_with(4, &[&["run", SMOKE, "--seeds", "1", "--json"][..], &missed].concat());
    assert!(serde_json::from_str::<Value>(&out).unwrap()["missed"]["1"].is_string(), "{out}");
}

#[test]
fn every_law_has_a_sentence_and_every_law_named_anywhere_is_listed() {
    let listed = passes_with_json(&["laws"]);
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|law| law["id"].as_str().unwrap()).collect();
    assert!(listed.as_array().unwrap().iter().all(|law| law["sentence"].as_str().unwrap().len() > 10));
    let printed = passes(&["laws"]);
    assert!(ids.iter().all(|id| printed.contains(id)) && ids.contains(&"STK-1") && ids.contains(&"BOOK-4"));
    let mut directories = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sim")];
    let mut named = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            for (at, _) in source.match_indices("\"SIM-") {
                let id = source[at + 1..].split('"').next().unwrap();
                assert!(ids.contains(&id), "{}: {id} has no sentence in laws.rs", path.display());
                named += 1;
            }
        }
    }
    assert!(named > ids.len(), "the sources were not read");
}

#[test]
fn a_failure_says_what_broke_when_about_whom_and_how_to_see_it_again() {
    let failed = failed();
    let run = run_json(&failed.directory);
    let entity = run["entity"].as_str().unwrap();
    let again = run["command"].as_str().unwrap();
    for part in [LAW, entity, &format!("after step {},", run["step"]), again, "rows of"] {
        assert!(failed.told.contains(part), "no {part:?} in {}", failed.told);
    }
    let rows = failed.told.lines().filter(|line| line.starts_with("  {\"at_ms\"")).count();
    assert!((1..=20).contains(&rows), "{rows} rows in {}", failed.told);
    assert!(run["step"].as_u64() > Some(100) && run["commit"].is_string() && run["toolchain"].is_string(), "{run}");
    let scenario = failed.directory.join("scenario.toml");
    let elsewhere = tempfile::tempdir().unwrap();
    let seed = run["seed"].to_string();
    let drawn = ["run", text(&scenario), "--seed", &seed, "--failures", text(elsewhere.path())];
    ends_with(1, &drawn);
    let second = run_json(&elsewhere.path().join("lying").join(&seed));
    assert_eq!([&run["law"], &run["step"], &run["trace"]], [&second["law"], &second["step"], &second["trace"]]);
}

#[test]
fn a_replay_says_whether_it_is_the_same_failure() {
    let directory = &failed().directory;
    let (out, err) = ends_with(1, &["replay", text(directory), "--log", "info"]);
    assert!(out.contains("the same failure") && out.contains(LAW), "{out}");
    assert!(err.lines().any(|line| line.contains(" INFO ") && line.contains("history")), "{err}");
    let (_copy, changed) = copy_of_failed();
    replace(&changed.join("run.json"), LAW, "STK-1");
    let (out, _) = ends_with(3, &["replay", text(&changed)]);
    assert!(out.contains("fails otherwise"), "{out}");
    let (_copy, changed) = copy_of_failed();
    replace(&changed.join("run.json"), run_json(&changed)["trace"].as_str().unwrap(), "0123456789abcdef");
    let (out, _) = ends_with(3, &["replay", text(&changed)]);
    assert!(out.contains("another trace"), "{out}");
    replace(&changed.join("scenario.toml"), "lose_synced_one_in = 1", "lose_synced_one_in = 0");
    let (out, _) = ends_with(0, &["replay", text(&changed)]);
    assert!(out.contains("no longer fails"), "{out}");
    let (_, err) = ends_with(2, &["replay", "failures/nothing/1"]);
    assert!(err.contains("expected failures/<scenario>/<seed>"), "{err}");
}

#[test]
fn a_replay_stops_where_it_is_told_and_shows_what_everybody_does() {
    let directory = &failed().directory;
    let run = run_json(directory);
    let until = (run["step"].as_u64().unwrap() - 1).to_string();
    let told = passes(&["replay", text(directory), "--until", &until]);
    for part in [
        &format!("stopped after step {until}"),
        "phase ",
        "node-1: ",
        "requests under way",
        run["entity"].as_str().unwrap(),
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    assert!(!told.contains("is broken"), "{told}");
}

#[test]
fn a_failure_shrinks_under_the_same_law() {
    let (_copy, directory) = copy_of_failed();
    let told = passes(&["shrink", text(&directory), "--budget", "25s"]);
    assert!(told.contains(LAW) && told.contains("options that are not default"), "{told}");
    let shrunk = directory.join("shrunk.toml");
    let smaller: toml::Table = std::fs::read_to_string(&shrunk).unwrap().parse().unwrap();
    let faults = smaller["faults"].as_table().unwrap();
    assert!(!faults.contains_key("slow_disk_every_s") && faults.contains_key("lose_synced_one_in"), "{smaller}");
    assert!(!smaller.contains_key("merchants"), "the failure needs nobody who restocks: {smaller}");
    let elsewhere = tempfile::tempdir().unwrap();
    let seed = run_json(&directory)["seed"].to_string();
    ends_with(1, &["run", text(&shrunk), "--seed", &seed, "--failures", text(elsewhere.path())]);
    let again = elsewhere.path().join("lying-shrunk").join(&seed);
    assert!(std::fs::read_to_string(again.join("run.json")).unwrap().contains(LAW));
    replace(&directory.join("scenario.toml"), "lose_synced_one_in = 1", "lose_synced_one_in = 0");
    let (out, _) = ends_with(3, &["shrink", text(&directory), "--budget", "60s"]);
    assert!(out.contains("nothing to shrink"), "{out}");
}

#[test]
fn scenarios_are_listed_for_machines_too() {
    let listed = passes_with_json(&["list"]);
    let smoke = listed.as_array().unwrap().iter().find(|scenario| scenario["name"] == "smoke").unwrap();
    assert_eq!(smoke["file"], SMOKE);
    assert!(smoke["about"].as_str().unwrap().len() > 10);
}
