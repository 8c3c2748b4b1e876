//! A disk that fails instead of being full: the process ends at once rather than promise what it cannot keep.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE, PAUSE};
use crate::preload::Orders;
use crate::shop::{Home, Shop};

/// Clients at work when the disk fails.
const CLIENTS: usize = 8;

fn hold() -> Call {
    Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1, "ttl_seconds": 3600}))
}

async fn shop_with_bad_disk(home: &Home, book: &Book) -> (Shop, Client, Orders) {
    let orders = Orders::of(home, "bad_disk.c", "BAD_DISK_FILE");
    let (shop, client) = (home.start().await, Client::new(home));
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 1_000_000).await;
    let cart = client.cart(&[("CUP-1", 1)]).await;
    let placed = client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
    book.order(placed["id"].as_str().unwrap());
    (shop, client, orders)
}

/// Takes holds until there is no answer any more; notes what was acknowledged.
async fn hold_until_the_end(client: Client, book: Book, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        match client.once(&hold()).await {
            Ok(answer) if answer.status == 201 => book.hold("CUP-1", answer.body["id"].as_str().unwrap(), 1),
            Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// What was acknowledged is there afterwards. A hold without an answer may be there or not, so it ends by itself.
async fn starts_again_with_everything(home: &Home, client: &Client, book: &Book, orders: &Orders) {
    orders.give("nothing");
    let shop = home.start().await;
    for hold in book.strangers(client, "CUP-1").await {
        client.send(&Call::delete(format!("/v1/stock/CUP-1/holds/{hold}"))).await.expect(204);
    }
    book.audit(home, client).await;
    let held = client.send(&hold()).await.expect(201);
    book.hold("CUP-1", held["id"].as_str().unwrap(), 1);
    book.audit(home, client).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_of_the_log_ends_the_process_before_the_command_is_acknowledged() {
    let (home, book) = (Home::new(), Book::default());
    let (mut shop, client, orders) = shop_with_bad_disk(&home, &book).await;
    orders.give("sync /log/");
    let answer = client.once(&hold()).await;
    assert!(answer.as_ref().map_or(true, |answer| answer.status >= 500), "acknowledged without an fsync: {answer:?}");
    let status = shop.ended().await;
    assert_eq!(status.signal(), Some(6), "ended by abort: {status} {}", home.tail());
    assert!(home.log().contains("could not be made durable"), "{}", home.tail());
    starts_again_with_everything(&home, &client, &book, &orders).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fsync_that_fails_under_load_loses_nothing_acknowledged() {
    let (home, book) = (Home::new(), Book::default());
    let (mut shop, client, orders) = shop_with_bad_disk(&home, &book).await;
    let over = Arc::new(AtomicBool::new(false));
    let load = (0..CLIENTS).map(|_| tokio::spawn(hold_until_the_end(client.clone(), book.clone(), over.clone())));
    let load: Vec<_> = load.collect();
    book.grown_to(book.acknowledged() + 100, &home).await;
    orders.give("sync /log/");
    let status = shop.ended().await;
    over.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }
    assert_eq!(status.signal(), Some(6), "ended by abort: {status} {}", home.tail());
    starts_again_with_everything(&home, &client, &book, &orders).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_cannot_be_written_ends_the_process_which_starts_again_whole() {
    let (home, book) = (Home::new(), Book::default());
    let (mut shop, client, orders) = shop_with_bad_disk(&home, &book).await;
    orders.give("write /sled/");
    let over = Arc::new(AtomicBool::new(false));
    let load = (0..CLIENTS).map(|_| tokio::spawn(hold_until_the_end(client.clone(), book.clone(), over.clone())));
    let load: Vec<_> = load.collect();
    let deadline = Instant::now() + PATIENCE;
    while !shop.has_ended() {
        assert!(Instant::now() < deadline, "the store failed and nobody said so:\n{}", home.tail());
        tokio::time::sleep(PAUSE).await;
    }
    over.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }
    let status = shop.ended().await;
    assert_eq!(status.code(), Some(1), "{status} {}", home.tail());
    assert!(home.tail().contains("start again"), "{}", home.tail());
    starts_again_with_everything(&home, &client, &book, &orders).await;
}
