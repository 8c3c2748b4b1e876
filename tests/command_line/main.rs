//! The command line as a person or a script meets it: real processes, real data directories, free ports.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod backup;
mod bench;
mod catalog;
mod freshness;
mod help;
mod kit;
mod payments_simulator;
mod quick_start;
mod streaming;

use std::path::Path;

use kit::{Node, run, stdout};
use serde_json::Value;

#[test]
fn a_node_says_where_it_listens_serves_keys_and_status_and_stops_when_told() {
    let data = tempfile::tempdir().unwrap();
    let offline = stdout(&run(data.path(), &["key", "create", "--role", "merchant"]));
    assert!(offline.split_whitespace().last().unwrap().starts_with("stockroom_"), "{offline}");

    let node = Node::demo(data.path());
    assert_eq!(node.ready["ready"], true);
    assert!(node.ready["http"].as_str().unwrap().starts_with("127.0.0.1:"), "{}", node.ready);
    let status: Value = serde_json::from_str(&stdout(&run(data.path(), &["status", "--json"]))).unwrap();
    assert_eq!(status["readiness"]["ready"], true, "{status}");
    stdout(&run(data.path(), &["key", "create", "--role", "ops", "--label", "night shift"]));
    let keys: Value = serde_json::from_str(&stdout(&run(data.path(), &["key", "list", "--json"]))).unwrap();
    assert_eq!(keys["items"].as_array().unwrap().len(), 2, "the key made offline and the key made online: {keys}");
    let second = run(data.path(), &["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(6), "a second node on the same directory is refused");
    assert!(node.terminate().success());

    let verified: Value = serde_json::from_str(&stdout(&run(data.path(), &["journal", "verify", "--json"]))).unwrap();
    assert_eq!(verified["findings_total"], 0, "{verified}");
    assert!(verified["entities"].as_u64().unwrap() > 800, "every product and SKU of the demo: {verified}");
    assert_eq!(verified["log_entries_ahead"], 0, "a stopped node has applied all it committed: {verified}");
    let records = stdout(&run(data.path(), &["journal", "inspect", "stock/TEA-001-50"]));
    assert!(records.contains("Received"), "{records}");
}

#[test]
fn a_killed_node_comes_back_with_its_catalogue_and_fills_it_once() {
    let data = tempfile::tempdir().unwrap();
    drop(Node::demo(data.path()));
    let first: Value = serde_json::from_str(&stdout(&run(data.path(), &["journal", "verify", "--json"]))).unwrap();
    drop(Node::demo(data.path()));
    let second: Value = serde_json::from_str(&stdout(&run(data.path(), &["journal", "verify", "--json"]))).unwrap();
    assert_eq!(first["entities"], second["entities"]);
    assert_eq!((&second["findings_total"], &first["findings_total"]), (&Value::from(0), &Value::from(0)));
    let received = stdout(&run(data.path(), &["journal", "inspect", "stock/TEA-001-50"]));
    assert_eq!(received.matches("Received").count(), 1, "{received}");
}

#[test]
fn the_operators_token_is_the_owners_alone_and_drawn_anew_once_others_could_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let token = data.path().join("ops.token");
    let read = || (std::fs::read_to_string(&token).unwrap(), token.metadata().unwrap().permissions().mode() & 0o777);
    drop(Node::start(data.path(), &[]));
    let (first, mode) = read();
    assert_eq!(mode, 0o600);
    drop(Node::start(data.path(), &[]));
    assert_eq!(read(), (first.clone(), 0o600), "it stays while nobody else can read it");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(Node::start(data.path(), &[]));
    let (second, mode) = read();
    assert!(second != first && mode == 0o600, "{mode:o}");
}

#[test]
fn an_address_in_use_is_told_before_anything_is_touched() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let inside = data.path().join("shop");
    let refused = run(&inside, &["serve", "--listen", &address, "--ops-listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    assert!(!inside.exists(), "nothing was tried");
}

#[test]
fn exit_codes_tell_failures_apart() {
    let empty = tempfile::tempdir().unwrap();
    let code = |arguments: &[&str]| run(empty.path(), arguments).status.code().unwrap();
    assert_eq!(code(&["no-such-command"]), 2);
    assert_eq!(code(&["serve", "--listen", "nowhere"]), 2);
    assert_eq!(code(&["status", "--ops", "http://127.0.0.1:9"]), 3);
    assert_eq!(code(&["journal", "verify"]), 6);
    assert_eq!(code(&["key", "list"]), 6);
    assert_eq!(code(&["config"]), 0);
}

#[test]
fn a_directory_without_a_node_is_never_taken_for_another_ones() {
    let empty = tempfile::tempdir().unwrap();
    // Somebody listens where a node would by its configuration, and is not asked.
    let others = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [http, ops] = others.each_ref().map(|other| other.local_addr().unwrap().to_string());
    let listens = [("STOCKROOM_HTTP__LISTEN", http), ("STOCKROOM_HTTP__OPS_LISTEN", ops)];
    let file = empty.path().join("products.ndjson");
    std::fs::write(&file, "").unwrap();
    let import = ["catalog", "import", "--key", "sr_1_2", file.to_str().unwrap()];
    for arguments in [["status"].as_slice(), import.as_slice()] {
        let output = kit::stockroom(empty.path()).args(arguments).envs(listens.clone()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains("no node runs on"), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_new_data_directory_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("deep/shop");
    assert!(run(&data, &["key", "create", "--role", "merchant"]).status.success());
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_configuration_in_force_is_a_configuration() {
    let data = tempfile::tempdir().unwrap();
    let printed = stdout(&run(data.path(), &["config"]));
    let file = data.path().join("printed.toml");
    std::fs::write(&file, &printed).unwrap();
    let again = stdout(&run(data.path(), &["--config", file.to_str().unwrap(), "config", "--json"]));
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["node"]["data_dir"], data.path().to_str().unwrap());
}

#[test]
fn documents_are_printed_without_a_node() {
    let nowhere = Path::new("no/such/directory");
    let openapi: Value = serde_json::from_str(&stdout(&run(nowhere, &["openapi"]))).unwrap();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"), "{}", openapi["openapi"]);
    assert!(stdout(&run(nowhere, &["completions", "bash"])).contains("_stockroom"));
    let products = stdout(&run(nowhere, &["catalog", "demo"]));
    assert!(products.lines().count() >= 200);
    for line in products.lines() {
        let product: Value = serde_json::from_str(line).unwrap();
        assert!(product["variants"].as_array().is_some_and(|variants| !variants.is_empty()), "{line}");
    }
}
