//! A full disk: writes are refused clearly, reads go on, and with room again everything goes on, with nothing lost.
//!
//! The data directory lies on a small file system of its own, which needs the right to mount. Without it the test
//! fails: a promise that is not tested is not kept.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE, PAUSE};
use crate::shop::{Home, Shop};

/// Room on the file system, bytes.
const ROOM: u64 = 160 << 20;
/// Free space below which the shop refuses writes, bytes.
const RESERVE: u64 = 16 << 20;
/// Clients that go on while it fills up.
const BUYERS: usize = 24;
/// How often it does.
const FILLS: usize = 4;

/// A small file system, there as long as this is.
struct SmallDisk {
    root: TempDir,
}

impl SmallDisk {
    fn mount() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("disk")).unwrap();
        let disk = Self { root };
        let size = format!("size={ROOM}");
        let mut mount = Command::new("mount");
        let done = run(mount.args(["-t", "tmpfs", "-o", &size, "stockroom-test"]).arg(disk.path()));
        assert!(done.is_ok(), "this test needs to mount a small file system (run it as root): {done:?}");
        disk
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("disk")
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Takes room until this many bytes are left, or all of it.
    fn fill(&self, leave: u64) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        let chunk = vec![1_u8; 64 << 10];
        loop {
            let room = free_bytes(&self.path());
            let take = room.saturating_sub(leave).div_ceil(chunk.len() as u64);
            if take == 0 || (0..take).any(|_| filler.write_all(&chunk).is_err()) {
                return;
            }
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn free_bytes(path: &Path) -> u64 {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}

fn hold() -> Call {
    Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1, "ttl_seconds": 3600}))
}

/// Writes until one is refused for want of room; what was accepted before is noted. Answers the writes that were let
/// in just before the disk was found full and whose outcome is unknown until there is room.
async fn refused_for_want_of_room(client: &Client, book: &Book) -> Vec<Call> {
    let (deadline, mut unknown) = (Instant::now() + PATIENCE, Vec::new());
    loop {
        let call = hold();
        let answer = client.once(&call).await.unwrap();
        match (answer.status, answer.code()) {
            (201, _) => book.hold("CUP-1", answer.body["id"].as_str().unwrap(), 1),
            (504, "outcome_unknown") => unknown.push(call),
            (status, code) => {
                assert_eq!((status, code), (503, "storage_full"), "{:#}", answer.body);
                assert_eq!(answer.body["outcome"], "rejected", "{:#}", answer.body);
                assert!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
                return unknown;
            }
        }
        assert!(Instant::now() < deadline, "the shop goes on writing to a full disk");
        tokio::time::sleep(PAUSE).await;
    }
}

/// With room again, whatever had no outcome gets one under its key, and everything sells.
async fn sells_again(client: &Client, book: &Book, unknown: Vec<Call>) {
    for call in unknown.into_iter().chain([hold()]) {
        let held = client.send(&call).await.expect(201);
        book.hold("CUP-1", held["id"].as_str().unwrap(), 1);
    }
    let cart = client.cart(&[("CUP-1", 1)]).await;
    let placed = client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
    assert_eq!(placed["state"], "confirmed", "{placed:#}");
    book.order(placed["id"].as_str().unwrap());
}

/// A shop on a small disk.
async fn small(disk: &SmallDisk) -> (Home, Book, Client, Shop) {
    let home = Home::with_data(disk.root.path(), disk.path().join("data"));
    home.set("STOCKROOM_STORAGE__RESERVE_BYTES", &RESERVE.to_string());
    home.set("STOCKROOM_STORAGE__CHECKPOINT_BYTES_MIN", "1048576");
    let (book, client, shop) = (Book::default(), Client::new(&home), home.start().await);
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 1_000_000).await;
    sells_again(&client, &book, Vec::new()).await;
    (home, book, client, shop)
}

/// Stock, an order nobody looked at for a while, the list of orders: all answered although nothing can be written.
async fn reads_go_on(client: &Client, order: &str) {
    client.once(&Call::get("/v1/stock/CUP-1")).await.unwrap().expect(200);
    client.once(&Call::get(format!("/v1/orders/{order}"))).await.unwrap().expect(200);
    client.once(&Call::get("/v1/admin/orders?limit=5").merchant()).await.unwrap().expect(200);
    client.once(&Call::get("/v1/products")).await.unwrap().expect(200);
    assert_eq!(client.once(&Call::get("/healthz").ops()).await.unwrap().status, 200);
}

/// Search follows products again; it cannot be written to a full disk either.
async fn search_follows(client: &Client, sku: &str, total: u64) {
    client.list(&[sku], 450).await;
    let deadline = Instant::now() + PATIENCE;
    while client.send(&Call::get("/v1/products?q=product")).await.expect(200)["total"] != total {
        assert!(Instant::now() < deadline, "{sku} is never found");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_answers_reads_and_recovers_with_nothing_lost() {
    let disk = SmallDisk::mount();
    let (home, book, client, shop) = small(&disk).await;
    let cart = client.cart(&[("CUP-1", 2)]).await;
    let placed = client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
    let order = placed["id"].as_str().unwrap();
    book.order(order);
    for (leave, sku, total) in [(RESERVE / 2, "POT-1", 2), (0, "TEA-1", 3)] {
        disk.fill(leave);
        let unknown = refused_for_want_of_room(&client, &book).await;
        reads_go_on(&client, order).await;
        disk.make_room();
        sells_again(&client, &book, unknown).await;
        search_follows(&client, sku, total).await;
        book.audit(&home, &client).await;
    }

    // Killed with the last byte taken, it says why it cannot start, or starts; with room again it has everything.
    disk.fill(0);
    let unknown = refused_for_want_of_room(&client, &book).await;
    shop.kill().await;
    disk.fill(0);
    match home.try_start().await {
        Ok(shop) => shop.kill().await,
        Err(refused) => assert!(refused.said.contains("free space"), "{refused:#?}"),
    }
    disk.make_room();
    let shop = home.start().await;
    sells_again(&client, &book, unknown).await;
    book.audit(&home, &client).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_that_fills_up_under_load_again_and_again_stops_nothing_for_good() {
    let disk = SmallDisk::mount();
    let (home, book, client, shop) = small(&disk).await;
    let stop = Arc::new(AtomicBool::new(false));
    let buyers = (0..BUYERS).map(|_| tokio::spawn(hold_until(stop.clone(), client.clone(), book.clone())));
    let buyers: Vec<_> = buyers.collect();
    for _ in 0..FILLS {
        book.grown_to(book.acknowledged() + 500, &home).await;
        disk.fill(0);
        let unknown = refused_for_want_of_room(&client, &book).await;
        disk.fill(0);
        // Not the SKU itself: a batch of it that waits for room must have its outcome first.
        client.once(&Call::get("/v1/products")).await.unwrap().expect(200);
        client.once(&Call::get("/v1/admin/orders?limit=5").merchant()).await.unwrap().expect(200);
        disk.make_room();
        sells_again(&client, &book, unknown).await;
    }
    stop.store(true, Ordering::Relaxed);
    for buyer in buyers {
        buyer.await.unwrap();
    }
    let summary = book.audit(&home, &client).await;
    eprintln!("{FILLS} times full, {} acknowledged, {summary:?}", book.acknowledged());
    shop.kill().await;
    let shop = home.start().await;
    book.audit(&home, &client).await;
    shop.stop().await;
}

/// Takes holds as fast as they are given, until told to stop. Some are given back, so that the rest stays countable.
async fn hold_until(stop: Arc<AtomicBool>, client: Client, book: Book) {
    while !stop.load(Ordering::Relaxed) {
        let held = client.send(&hold()).await.expect(201);
        let id = held["id"].as_str().unwrap();
        if book.acknowledged().is_multiple_of(8) {
            book.hold("CUP-1", id, 1);
        } else {
            client.send(&Call::delete(format!("/v1/stock/CUP-1/holds/{id}"))).await.expect(204);
            book.counted();
        }
    }
}
