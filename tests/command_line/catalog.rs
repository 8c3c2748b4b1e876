//! Catalogue files through the command line: imported twice, refused by line, exported and imported again, found.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::{Api, Node, merchant_key as key, run, stdout, stockroom};

fn catalog(data: &Path, key: &str, arguments: &[&str]) -> std::process::Output {
    let all = [&["catalog"], arguments, &["--key", key]].concat();
    run(data, &all)
}

fn line(number: u64) -> String {
    let prices = json!({"USD": 100 + number});
    let variant = json!({"sku": format!("SKU-{number}"), "prices": prices});
    json!({"id": format!("p{number}"), "title": format!("Product {number}"), "variants": [variant]}).to_string()
}

fn file(directory: &Path, name: &str, lines: impl IntoIterator<Item = String>) -> PathBuf {
    let path = directory.join(name);
    let text: Vec<String> = lines.into_iter().collect();
    std::fs::write(&path, text.join("\n")).unwrap();
    path
}

#[test]
fn rows_are_taken_once_and_refused_by_line() {
    let data = tempfile::tempdir().unwrap();
    let _node = Node::start(data.path(), &[]);
    let key = key(data.path());
    let lines = (1..=300).map(|number| if number == 7 { "{\"id\":\"p7\"}".to_owned() } else { line(number) });
    let path = file(data.path(), "shop.ndjson", lines);
    let path = path.to_str().unwrap();
    let checked = catalog(data.path(), &key, &["import", path, "--dry-run", "--json"]);
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((&checked["created"], &checked["failed"]), (&json!(0), &json!(1)), "{checked}");
    let first = catalog(data.path(), &key, &["import", path]);
    assert_eq!(first.status.code(), Some(4), "rows were refused");
    let said = String::from_utf8(first.stdout).unwrap();
    assert!(said.starts_with("line 7: "), "{said}");
    assert!(said.contains("299 created, 0 changed, 0 unchanged, 1 refused"), "{said}");
    let again = catalog(data.path(), &key, &["import", path, "--json"]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&again["created"], &again["unchanged"]), (&json!(0), &json!(299)), "{again}");
    let rest = catalog(data.path(), &key, &["import", path, "--json", "--resume-after", "290"]);
    let rest: Value = serde_json::from_str(&stdout(&rest)).unwrap();
    assert_eq!((&rest["unchanged"], &rest["done_through_line"]), (&json!(10), &json!(300)), "{rest}");
    let wrong = catalog(data.path(), "nobody", &["import", path]);
    assert_eq!(wrong.status.code(), Some(1), "{}", String::from_utf8_lossy(&wrong.stderr));
    assert_eq!(run(data.path(), &["catalog", "import", path]).status.code(), Some(2), "a key is needed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_goes_on_by_itself_when_the_node_was_killed_and_came_back() {
    const ROWS: u64 = 2_000;
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &[]);
    let api = Api::to(&node, data.path());
    let address = node.ready["http"].as_str().unwrap().to_owned();
    let key = key(data.path());
    let path = file(data.path(), "shop.ndjson", (1..=ROWS).map(line));
    let mut command = stockroom(data.path());
    command.args(["catalog", "import", path.to_str().unwrap(), "--json", "--key", &key]);
    command.args(["--url", &format!("http://{address}")]);
    let import = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while api.call(Method::GET, "/v1/products/p50", None).await.0 != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the import does not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(node);
    let _node = Node::start(data.path(), &["--listen", &address]);
    let ended = tokio::task::block_in_place(|| import.wait_with_output().unwrap());
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let report: Value = serde_json::from_str(&stdout(&ended)).unwrap();
    assert!(said.contains("broken off"), "the node was killed too late to show anything: {said}");
    let taken = report["created"].as_u64().unwrap() + report["unchanged"].as_u64().unwrap();
    assert_eq!((taken, &report["done_through_line"]), (ROWS, &json!(ROWS)), "{report}");
}

#[test]
fn what_is_exported_imports_as_the_same_products_in_either_form() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _node = Node::demo(data.path());
    let _empty = Node::start(other.path(), &[]);
    let (key, other_key) = (key(data.path()), key(other.path()));
    let ndjson = data.path().join("all.ndjson");
    stdout(&catalog(data.path(), &key, &["export", ndjson.to_str().unwrap()]));
    let csv = data.path().join("all.csv");
    stdout(&catalog(data.path(), &key, &["export", csv.to_str().unwrap()]));
    let exported = std::fs::read_to_string(&ndjson).unwrap();
    assert!(exported.lines().count() >= 200, "every product of the demo");
    let into = |path: &Path| -> Value {
        let imported = catalog(other.path(), &other_key, &["import", path.to_str().unwrap(), "--json"]);
        serde_json::from_str(&stdout(&imported)).unwrap()
    };
    assert_eq!(into(&csv)["created"], exported.lines().count());
    assert_eq!(into(&ndjson)["unchanged"], exported.lines().count());
    let mut back: Vec<String> =
        stdout(&catalog(other.path(), &other_key, &["export"])).lines().map(str::to_owned).collect();
    let mut there: Vec<String> = exported.lines().map(str::to_owned).collect();
    back.sort();
    there.sort();
    assert_eq!(back, there);
}

#[test]
fn a_revoked_key_opens_nothing() {
    let data = tempfile::tempdir().unwrap();
    let offline = stdout(&run(data.path(), &["key", "create", "--role", "merchant"]));
    let offline = offline.split_whitespace().last().unwrap().to_owned();
    let listed: Value = serde_json::from_str(&stdout(&run(data.path(), &["key", "list", "--json"]))).unwrap();
    let id = listed["items"][0]["id"].as_str().unwrap().to_owned();
    let _node = Node::start(data.path(), &[]);
    stdout(&catalog(data.path(), &offline, &["export"]));
    stdout(&run(data.path(), &["key", "revoke", &id]));
    let refused = catalog(data.path(), &offline, &["export"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("401"), "{}", String::from_utf8_lossy(&refused.stderr));
    let shown = stdout(&run(data.path(), &["key", "list"]));
    assert!(shown.contains("revoked"), "{shown}");
    let unknown = run(data.path(), &["key", "revoke", "00000000000000000000000000000000"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", String::from_utf8_lossy(&unknown.stderr));
}
