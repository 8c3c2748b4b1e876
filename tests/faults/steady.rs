//! A shop that does the same day after day does not need more disk every day.
//!
//! Days pass by the shop's clock, which a preloaded library falsifies. Each day is the same load: units held and given
//! back, products rewritten over and over. Journals of stock items are kept for ever by default, here nothing is. The
//! log has a lower bound that these days do not fill; that it is reclaimed beyond it is seen in [`crate::checkpoints`].

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::client::{Call, Client};
use crate::clocks::Shift;
use crate::damage::files;
use crate::shop::Home;

/// Clients at once.
const CLIENTS: u64 = 8;
/// Holds made and given back by each client a day.
const HOLDS: u64 = 20;
/// Versions of its product that each client writes a day.
const VERSIONS: u64 = 40;
/// Days of this load: without anything given back, the store needs more than it may on the third already.
const DAYS: i64 = 9;
/// What the store takes right after it was made anew, at most, in days' writes: the rows of some days and what copying
/// them beside the load wasted.
const COPY_DAYS_MAX: u64 = 9;
/// What a day adds to the store at most, in that day's writes.
const ADDED_DAYS_MAX: u64 = 2;
/// Below this the store is not made anew.
const COMPACT_BYTES_MIN: u64 = 4 << 20;
/// Days apart, so that everything of the day before is past its time.
const DAYS_APART: i64 = 3;
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// Bytes of a product's text, close to the longest there may be.
const TEXT_BYTES: usize = 19_000;

/// What the directories take on the disk, in bytes.
#[derive(Clone, Copy, Debug)]
struct Room {
    checkpoints: u64,
    store: u64,
}

impl Room {
    fn of(home: &Home) -> Self {
        let taken = |name: &str| files(&home.data().join(name)).iter().map(|path| blocks(path)).sum();
        Self { checkpoints: taken("checkpoints"), store: taken("sled") }
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

/// Bytes of the store when it was last made anew.
fn last_copy(home: &Home) -> u64 {
    let log = home.log();
    let mut copies = log.lines().filter_map(|line| line.split_once("made anew")?.1.split_once("after="));
    copies.next_back().map_or(0, |(_, after)| after.trim().parse().unwrap())
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
async fn days_of_the_same_load_need_no_more_disk_than_a_few_of_them_hold() {
    let home = Home::new();
    for (name, value) in [
        ("NODE__SHARDS", "1"),
        ("STORAGE__CHECKPOINT_BYTES_MIN", "1048576"),
        ("STORAGE__STORE_COMPACT_BYTES_MIN", &COMPACT_BYTES_MIN.to_string()),
        ("JOURNAL__RETENTION_DAYS", "1"),
        ("JOURNAL__KEPT_FOR_EVER", "[]"),
        ("JOURNAL__FEED_ROWS_MAX", "1000"),
        ("JOURNAL__SWEEP_SECONDS", "1"),
    ] {
        home.set(&format!("STOCKROOM_{name}"), value);
    }
    let shift = Shift::of(&home);
    let a_day = CLIENTS * VERSIONS * TEXT_BYTES as u64;
    for number in 1..=DAYS {
        let room = day(&home, &shift, number).await;
        let copy = last_copy(&home);
        eprintln!("day {number}: {room:?}, made anew with {copy} bytes");
        assert!(copy <= COPY_DAYS_MAX * a_day, "day {number}: made anew, the store still takes {copy} bytes");
        // Growing by half and copying take less than a day each: the day before it may have been just below.
        let bound = COMPACT_BYTES_MIN.max(copy + copy / 2) + 2 * ADDED_DAYS_MAX * a_day;
        assert!(room.store <= bound, "day {number} needs {room:?}, more than {bound} bytes");
        assert!(room.checkpoints <= 3 * a_day, "day {number}: two checkpoints take {room:?}");
    }
}
