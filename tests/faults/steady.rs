//! A shop that does the same day after day does not need more log and checkpoints every day. The store is not judged
//! here: sled does not use all the room of rows that went again, see "Limits" in docs/operating.md.
//!
//! Days pass by the shop's clock, which a preloaded library falsifies. Each day is the same load: units held and given
//! back, products rewritten over and over, which fills the log. Journals of stock items are kept for ever by default,
//! here nothing is.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::client::{Call, Client};
use crate::clocks::Shift;
use crate::damage::files;
use crate::shop::Home;

/// Clients at once.
const CLIENTS: u64 = 16;
/// Holds made and given back by each client a day.
const HOLDS: u64 = 60;
/// Versions of its product that each client writes a day. All together fill the log beyond the size at which it is
/// reclaimed.
const VERSIONS: u64 = 150;
/// What grows without bound is not there on any later day.
const DAYS_MAX: i64 = 4;
/// Days apart, so that everything of the day before is past its time.
const DAYS_APART: i64 = 3;
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// Bytes of a product's text, close to the longest there may be.
const TEXT_BYTES: usize = 19_000;

/// What the directories take on the disk.
#[derive(Clone, Copy, Debug)]
struct Room {
    log: u64,
    checkpoints: u64,
}

impl Room {
    fn of(home: &Home) -> Self {
        let taken = |name: &str| files(&home.data().join(name)).iter().map(|path| blocks(path)).sum();
        Self { log: taken("log"), checkpoints: taken("checkpoints") }
    }

    fn total(self) -> u64 {
        self.log + self.checkpoints
    }
}

fn blocks(path: &Path) -> u64 {
    path.metadata().unwrap().blocks() * 512
}

async fn one_client(client: Client, number: u64) {
    let product = format!("/v1/admin/products/bulk-{number}");
    let variant = json!({"sku": format!("BULK-{number}"), "prices": {"USD": 100}});
    for round in 0..HOLDS.max(VERSIONS) {
        if round < HOLDS {
            let held = client.send(&Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1}))).await.expect(201);
            let hold = held["id"].as_str().unwrap();
            client.send(&Call::delete(format!("/v1/stock/CUP-1/holds/{hold}"))).await.expect(204);
        }
        if round < VERSIONS {
            let description = text(number * VERSIONS + round);
            let body = json!({"title": "Bulk", "description": description, "variants": [variant]});
            let answer = client.send(&Call::put(&product, body).merchant()).await;
            assert!(answer.status < 300, "{:#}", answer.body);
        }
    }
}

/// Text that is another one for every seed.
fn text(seed: u64) -> String {
    let word = |index: u64| format!("{:016x}", (seed * 1_000_003 + index).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (0..TEXT_BYTES as u64 / 16).map(word).collect()
}

/// A day's load, and the upkeep behind it.
async fn day(home: &Home, shift: &Shift, number: i64) -> Room {
    shift.set((number - 10) * DAYS_APART * DAY_SECONDS);
    let before = home.log().len();
    let (shop, client) = (home.start().await, Client::new(home));
    if number == 1 {
        client.list(&["CUP-1"], 1999).await;
        client.send(&Client::receipt("CUP-1", 1_000_000)).await.expect(200);
    }
    let load = (0..CLIENTS).map(|number| tokio::spawn(one_client(client.clone(), number)));
    for client in load.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    // Two more rounds of upkeep, which looks every five seconds.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let swept = home.log()[before..].contains("swept out what was past its time");
    assert!(swept || number == 1, "day {number}: nothing of the day before was swept out: {}", home.tail());
    shop.stop().await;
    Room::of(home)
}

#[tokio::test(flavor = "multi_thread")]
async fn days_of_the_same_load_need_hardly_more_log_and_checkpoints_than_the_first() {
    let home = Home::new();
    for (name, value) in [
        ("NODE__SHARDS", "1"),
        ("STORAGE__CHECKPOINT_BYTES_MIN", "1048576"),
        ("STORAGE__LOG_BYTES_MAX", "67108864"),
        ("JOURNAL__RETENTION_DAYS", "1"),
        ("JOURNAL__KEPT_FOR_EVER", "[]"),
        ("JOURNAL__FEED_ROWS_MAX", "1000"),
        ("JOURNAL__SWEEP_SECONDS", "1"),
    ] {
        home.set(&format!("STOCKROOM_{name}"), value);
    }
    let shift = Shift::of(&home);
    let first = day(&home, &shift, 1).await;
    let mut later = vec![day(&home, &shift, 2).await];
    for number in 3..=DAYS_MAX {
        let today = day(&home, &shift, number).await;
        later.push(today);
        if today.total() * 10 <= first.total() * 16 {
            eprintln!("first {first:?}, later {later:?}");
            return;
        }
    }
    panic!("every day needs more: first {first:?}, later {later:?}");
}
