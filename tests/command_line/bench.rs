//! `stockroom bench` against a node: every scenario does what it measures, and nothing fails.

use std::path::Path;

use serde_json::{Value, json};

use crate::kit::{Node, run, stdout};

const SCENARIOS: [&str; 5] = ["hot-sku", "uniform", "checkout", "browse", "mixed"];
/// Operations a second, in the open loop.
const RATE: u64 = 40;

/// One second with four clients.
fn bench(data: &Path, url: &str, key: &str, scenario: &str, more: &[&str]) -> Value {
    let common = ["--clients", "4", "--duration", "1", "--warmup", "0", "--skus", "60", "--json"];
    let mut arguments = vec!["bench", scenario, "--url", url, "--key", key];
    arguments.extend(common.iter().chain(more));
    serde_json::from_str(&stdout(&run(data, &arguments))).unwrap()
}

#[test]
fn every_scenario_is_measured_without_a_failure() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::demo(data.path());
    let url = format!("http://{}", node.ready["http"].as_str().unwrap());
    let key = stdout(&run(data.path(), &["key", "create", "--role", "merchant"]));
    let key = key.split_whitespace().last().unwrap();
    let nothing = json!({});
    for scenario in SCENARIOS {
        let report = bench(data.path(), &url, key, scenario, &[]);
        assert_eq!((&report["scenario"], &report["loop"]), (&json!(scenario), &json!("closed")), "{report:#}");
        assert_eq!((&report["failed"], &report["refused"]), (&nothing, &nothing), "{report:#}");
        let (count, rate) = (report["latency_us"]["count"].as_u64(), report["operations_per_second"].as_f64());
        assert!(count > Some(0) && rate > Some(0.0), "{report:#}");
        let steps: Vec<_> = report["steps_us"].as_object().unwrap().keys().map(String::as_str).collect();
        match scenario {
            "checkout" => assert_eq!(steps, ["buyer", "cart", "line", "order", "read"]),
            "hot-sku" | "uniform" => assert_eq!(steps, ["hold"]),
            "browse" => assert_eq!(steps, ["browse"]),
            _ => assert!(steps.contains(&"browse"), "{steps:?}"),
        }
    }
    let open = bench(data.path(), &url, key, "uniform", &["--rate", &RATE.to_string(), "--keyed"]);
    assert_eq!((&open["loop"], &open["rate_per_second"]), (&json!("open"), &json!(RATE)), "{open:#}");
    assert_eq!(open["latency_us"]["count"], RATE, "one second at that rate, however long each takes: {open:#}");
    assert_eq!((&open["failed"], &open["refused"]), (&nothing, &nothing), "{open:#}");
    let sold: Value = serde_json::from_str(&stdout(&run(data.path(), &["status", "--json"]))).unwrap();
    assert_eq!((&sold["panicked_entities"], &sold["quarantined_entities"]), (&json!(0), &json!(0)), "{sold:#}");
}

#[test]
fn nothing_measured_is_a_failure_that_says_why() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &[]);
    let url = format!("http://{}", node.ready["http"].as_str().unwrap());
    let unstocked = run(data.path(), &["bench", "checkout", "--url", &url, "--duration", "1", "--warmup", "0"]);
    let said = String::from_utf8_lossy(&unstocked.stderr).into_owned();
    assert_eq!(unstocked.status.code(), Some(1), "{said}");
    assert!(said.contains("nothing was measured: line: 409 unavailable") && said.contains("give --key"), "{said}");
    drop(node);
    let nobody = run(data.path(), &["bench", "browse", "--url", &url, "--duration", "1", "--warmup", "0"]);
    assert_ne!(nobody.status.code(), Some(0));
}
