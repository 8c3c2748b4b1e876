//! Told to stop, the shop answers everybody first.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE, PAUSE};
use crate::shop::Home;

/// Buyers waiting for a slow payment when the signal comes.
const WAITING: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_in_flight_are_answered_before_the_shop_stops() {
    let (home, book) = (Home::new(), Book::default());
    home.set("STOCKROOM_PAYMENTS__TIMEOUT_MS", "10000");
    let client = Client::new(&home);
    let mut shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", WAITING as u64).await;
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        let (client, cart) = (client.clone(), client.cart(&[("CUP-1", 1)]).await);
        let call = Client::order(&cart, "tok_slow").wait(20);
        waiting.push(tokio::spawn(async move { client.once(&call).await }));
    }
    let deadline = Instant::now() + PATIENCE;
    while listed(&client).await < WAITING {
        assert!(Instant::now() < deadline, "the orders are not placed");
        tokio::time::sleep(PAUSE / 4).await;
    }
    let unanswered = waiting.iter().filter(|answer| !answer.is_finished()).count();
    assert!(unanswered > 0, "every payment was faster than the signal");
    shop.terminate();
    for answer in waiting {
        let answer = answer.await.unwrap().expect("a request in flight was cut off");
        assert!(matches!(answer.status, 201 | 202), "{:#}", answer.body);
        book.order(answer.body["id"].as_str().unwrap());
    }
    let status = shop.ended().await;
    assert_eq!(status.code(), Some(0), "{}", home.tail());
    eprintln!("{unanswered} of {WAITING} requests were in flight at the signal");

    let started = Instant::now();
    let shop = home.start().await;
    assert!(started.elapsed() < Duration::from_secs(30), "a clean restart took {:?}", started.elapsed());
    let summary = book.audit(&home, &client).await;
    assert_eq!((summary.sold, summary.units), (WAITING, WAITING as u64), "{summary:?}");
    shop.stop().await;
}

async fn listed(client: &Client) -> usize {
    let page = client.send(&Call::get("/v1/admin/orders?limit=200").merchant()).await.expect(200);
    page["items"].as_array().map_or(0, Vec::<Value>::len)
}
