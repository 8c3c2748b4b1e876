//! Backups of a shop that goes on selling: made, checked, damaged, restored, served from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::{Api, Node, run, stdout};

fn json_of(data: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(&run(data, arguments))).unwrap()
}

/// Runs a command without holding up the test's own clients.
fn beside(data: &Path, arguments: &[&str]) -> Value {
    tokio::task::block_in_place(|| json_of(data, arguments))
}

/// Shoppers who hold one unit after the other until told to stop, and how many holds were acknowledged.
struct Shoppers {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Shoppers {
    fn start(api: &Api, sku: &'static str) -> Self {
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let shopper = |api: Api| {
            let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let body = json!({"quantity": 1, "ttl_seconds": 3600});
                    let (status, answer) = api.call(Method::POST, &format!("/v1/stock/{sku}/holds"), Some(body)).await;
                    assert_eq!(status, 201, "{answer}");
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = (0..4).map(|_| shopper(api.clone())).collect();
        Self { acknowledged, stop, tasks }
    }

    async fn until(&self, count: u64) {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while self.acknowledged.load(Ordering::Relaxed) < count {
            assert!(tokio::time::Instant::now() < deadline, "holds are not answered");
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// Flips one byte in the middle of a file, lets somebody look, and puts it right again.
fn with_flipped_byte(file: &Path, look: impl FnOnce()) {
    let good = std::fs::read(file).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 0x10;
    std::fs::write(file, bad).unwrap();
    look();
    std::fs::write(file, good).unwrap();
}

fn files_ending_in(backup: &Path, ending: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(backup).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.to_str().unwrap().ends_with(ending)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_while_selling_is_verified_restored_and_served_from() {
    let root = tempfile::tempdir().unwrap();
    let (data, backups, copy) = (root.path().join("shop"), root.path().join("backups"), root.path().join("copy"));
    let node = Node::start(&data, &[]);
    let api = Api::to(&node, &data);
    api.sell("TEA", 1_000_000).await;
    let order = api.buy("TEA").await;
    assert_eq!(order["state"], "confirmed", "{order}");
    let shoppers = Shoppers::start(&api, "TEA");
    shoppers.until(50).await;
    let before = shoppers.acknowledged.load(Ordering::Relaxed);
    let made = beside(&data, &["backup", "create", "--to", backups.to_str().unwrap(), "--json"]);
    let after = shoppers.stop().await;
    drop(node);
    assert!(after > before, "the shop went on selling");
    let backup = PathBuf::from(made["path"].as_str().unwrap());
    let listed = json_of(&data, &["backup", "list", backups.to_str().unwrap(), "--json"]);
    assert_eq!((&listed["path"], &listed["bytes"]), (&made["path"], &made["bytes"]));

    let verified = json_of(&data, &["backup", "verify", backup.to_str().unwrap(), "--json"]);
    assert_eq!(
        (verified["findings"].as_array().unwrap().len(), &verified["journal"]["findings_total"]),
        (0, &json!(0))
    );
    assert!(verified["journal"]["records"].as_u64().unwrap() > 10, "{verified}");
    let mut restore = vec!["backup", "restore", backup.to_str().unwrap()];
    assert_eq!(run(&data, &restore).status.code(), Some(6), "a directory in use is left alone");
    restore.push("--json");
    json_of(&copy, &restore);

    let node = Node::start(&copy, &[]);
    let api = Api::to(&node, &copy);
    let (_, found) = api.call(Method::GET, &format!("/v1/orders/{}", order["id"].as_str().unwrap()), None).await;
    assert_eq!((&found["state"], &found["totals"]), (&order["state"], &order["totals"]));
    let (_, stock) = api.call(Method::GET, "/v1/admin/stock/TEA", None).await;
    let held = stock["held"].as_u64().unwrap();
    assert!((before..=after).contains(&held), "{before} holds acknowledged before, {after} in all, {held} kept");
    assert_eq!(stock["available"].as_u64().unwrap() + held + 1, 1_000_000);
    assert_eq!(api.buy("TEA").await["state"], "confirmed", "the copy sells");
}

#[test]
fn damage_to_a_backup_is_named_and_it_is_not_restored() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy) = (root.path().join("shop"), root.path().join("copy"));
    drop(Node::demo(&data));
    let made = json_of(&data, &["backup", "create", "--json"]);
    let backup = PathBuf::from(made["path"].as_str().unwrap());
    assert_eq!(backup.parent().unwrap(), data.join("backups"));
    let shown = backup.to_str().unwrap();
    let checkpoint = files_ending_in(&backup, ".checkpoint").remove(0);
    let tail = files_ending_in(&backup, ".tail").remove(0);
    for file in [checkpoint, tail, backup.join("manifest.json.sha256")] {
        with_flipped_byte(&file, || {
            let verify = run(&data, &["backup", "verify", shown]);
            assert_eq!(verify.status.code(), Some(4));
            let said = String::from_utf8(verify.stdout).unwrap();
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(said.contains(name), "{name} is not named in {said}");
            assert_eq!(run(&copy, &["backup", "restore", shown]).status.code(), Some(4));
            assert!(!copy.exists(), "nothing was restored");
        });
    }
    let whole = json_of(&data, &["backup", "verify", shown, "--json"]);
    assert_eq!(whole["journal"]["findings_total"], 0, "{whole}");
    assert!(whole["journal"]["entities"].as_u64().unwrap() > 800, "every product and SKU of the demo: {whole}");
    assert_eq!(run(&data, &["backup", "verify", root.path().to_str().unwrap()]).status.code(), Some(1));
}
