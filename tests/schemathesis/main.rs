//! Every field of every call, fuzzed: schemathesis reads the OpenAPI document and sends what it allows and what it does
//! not, one call alone and calls in sequence, to a real node with its demo catalogue. No answer may be a fault of ours,
//! and each must be what the document says. Ids are drawn from what is really there as often as from thin air.
//!
//! Schemathesis is a Python program: it is installed from PyPI into a virtual environment under the target directory
//! when it is not there. Without Python (Debian: python3-venv) or PyPI this test fails, it does not skip.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod node;
mod shop;

use std::path::{Path, PathBuf};
use std::process::Command;

use node::Node;
use serde_json::Value;

/// Pinned, so that a new release cannot fail a build nobody changed.
const VERSION: &str = "4.32.5";
/// Fixed, so that a failure is the same failure on the next run.
const SEED: &str = "20261122";
/// Test cases per call and phase.
const CASES: &str = "20";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_input_causes_a_fault_or_an_answer_the_document_does_not_know() {
    let schemathesis = installed();
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path());
    let (merchant, ops) = (node.key("merchant"), node.key("ops"));
    let document = directory.path().join("openapi.json");
    let backups = directory.path().join("backups");
    let served = shop::document_with_real_ids(&node.http, &merchant, &backups).await;
    std::fs::write(&document, served.to_string()).unwrap();
    let mut tested = 0;
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis/schemathesis.toml");
    let listeners =
        [("^/(v1|docs|openapi)", &node.http, &merchant), ("^/(ops/|healthz|readyz|metrics)", &node.ops, &ops)];
    for (paths, address, key) in listeners {
        let report = directory.path().join("report.json");
        let status = Command::new(&schemathesis)
            .current_dir(directory.path())
            .arg("--config-file")
            .arg(&config)
            .arg("run")
            .arg(&document)
            .args(["--url", &format!("http://{address}"), "--no-color", "--include-path-regex", paths])
            .args(["--header", &format!("Authorization: Bearer {key}")])
            .args(["--max-examples", CASES, "--seed", SEED])
            .args(["--report", "json", "--report-json-path"])
            .arg(&report)
            .status()
            .unwrap();
        assert!(status.success(), "schemathesis found the failures above among {paths}");
        tested += operations_tested(&report);
    }
    assert_eq!(tested, operations(&served), "calls of the document, each tested at one of the listeners");
}

/// Calls the document describes.
fn operations(document: &Value) -> u64 {
    let methods = ["get", "put", "post", "delete", "patch", "head", "options"];
    let paths = document["paths"].as_object().unwrap().values();
    let calls = paths.flat_map(|path| path.as_object().unwrap().keys()).filter(|key| methods.contains(&key.as_str()));
    let calls = calls.count() as u64;
    assert!(calls > 0, "the document describes calls");
    calls
}

/// Calls that were really sent, every one that was selected, in every phase.
fn operations_tested(report: &Path) -> u64 {
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let count = |name: &str| report["operations"][name].as_u64().unwrap();
    let whole = (&report["complete"], count("errored"), count("skipped"));
    assert_eq!(whole, (&Value::Bool(true), 0, 0), "{:#}", report["operations"]);
    for phase in ["coverage", "fuzzing"] {
        assert_eq!(report["phases"][phase]["status"], "success", "{:#}", report["phases"]);
    }
    assert_eq!(count("tested"), count("selected"), "{:#}", report["operations"]);
    count("tested")
}

/// The program, installed when it is missing.
fn installed() -> PathBuf {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("schemathesis-{VERSION}"));
    let (program, complete) = (environment.join("bin/schemathesis"), environment.join("complete"));
    if !complete.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
        let requirement = format!("schemathesis=={VERSION}");
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", &requirement]));
        std::fs::write(complete, "").unwrap();
    }
    program
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error} (Debian: python3-venv)"));
    assert!(status.success(), "{command:?} failed (Debian: python3-venv; PyPI must be reachable once)");
}
