//! A wall clock that is far off or steps back: the shop's time never goes back, and what waits for time still happens.
//!
//! The shop runs with a small library preloaded that falsifies its wall clock (`clock_shift.c`).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE, PAUSE};
use crate::preload::Orders;
use crate::shop::{Home, Shop};

const HOUR_SECONDS: i64 = 3_600;
const YEAR_SECONDS: i64 = 365 * 24 * HOUR_SECONDS;

/// Says how wrong the wall clock of a home's processes is.
pub struct Shift(Orders);

impl Shift {
    pub fn of(home: &Home) -> Self {
        Self(Orders::of(home, "clock_shift.c", "CLOCK_SHIFT_FILE"))
    }

    pub fn set(&self, seconds: i64) {
        self.0.give(&seconds.to_string());
    }
}

/// The shop's time, ms since 1970.
async fn time_of(client: &Client) -> i64 {
    let shown = client.send(&Call::get("/v1/stock/CUP-1")).await.expect(200);
    let text = shown["as_of"].as_str().unwrap().to_owned();
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A hold of one second ends about when it should, measured by a stopwatch.
async fn holds_expire(client: &Client) {
    let before = client.send(&Call::get("/v1/stock/CUP-1")).await.expect(200)["available"].clone();
    let body = json!({"quantity": 1, "ttl_seconds": 1});
    let begun = Instant::now();
    client.send(&Call::post("/v1/stock/CUP-1/holds", body)).await.expect(201);
    while client.send(&Call::get("/v1/stock/CUP-1")).await.expect(200)["available"] != before {
        assert!(begun.elapsed() < PATIENCE, "the hold never expired");
        tokio::time::sleep(PAUSE).await;
    }
    // The shop's time may run 5 % fast while it is slewed towards the wall clock.
    assert!(begun.elapsed() >= Duration::from_millis(940), "a hold of 1 s ended after {:?}", begun.elapsed());
}

/// A started shop with a wall clock this wrong, one SKU listed and a hundred units of it in stock.
async fn open_shop(home: &Home, client: &Client, book: &Book, shift: &Shift, seconds: i64) -> Shop {
    shift.set(seconds);
    let shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;
    book.stock(client, "CUP-1", 100).await;
    shop
}

async fn buys_one(client: &Client, book: &Book) {
    let cart = client.cart(&[("CUP-1", 1)]).await;
    let placed = client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
    assert_eq!(placed["state"], "confirmed", "{placed:#}");
    book.order(placed["id"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_the_clock_a_year_ahead_is_lived_with_after_it_was_corrected() {
    let (home, book) = (Home::new(), Book::default());
    let (client, shift) = (Client::new(&home), Shift::of(&home));
    let shop = open_shop(&home, &client, &book, &shift, YEAR_SECONDS).await;
    buys_one(&client, &book).await;
    let ahead = time_of(&client).await;
    assert!(ahead > wall_ms() + (YEAR_SECONDS - 600) * 1_000, "the clock was not shifted: {ahead}");
    let held = Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1, "ttl_seconds": 600}));
    let held = client.send(&held).await.expect(201);
    book.hold("CUP-1", held["id"].as_str().unwrap(), 1);
    shop.kill().await;

    shift.set(0);
    let shop = home.start().await;
    let after = time_of(&client).await;
    assert!(after >= ahead, "the shop's time went back by {} ms", ahead - after);
    buys_one(&client, &book).await;
    holds_expire(&client).await;
    book.audit(&home, &client).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_a_year_ahead_between_runs_loses_no_order() {
    let (home, book) = (Home::new(), Book::default());
    let (client, shift) = (Client::new(&home), Shift::of(&home));
    let shop = open_shop(&home, &client, &book, &shift, 0).await;
    buys_one(&client, &book).await;
    shop.kill().await;

    shift.set(YEAR_SECONDS);
    let shop = home.start().await;
    buys_one(&client, &book).await;
    holds_expire(&client).await;
    let summary = book.audit(&home, &client).await;
    assert_eq!(summary.sold, 2, "{summary:?}");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_steps_back_an_hour_stops_nothing_and_turns_nothing_back() {
    let (home, book) = (Home::new(), Book::default());
    let (client, shift) = (Client::new(&home), Shift::of(&home));
    let shop = open_shop(&home, &client, &book, &shift, 0).await;
    holds_expire(&client).await;
    let before = time_of(&client).await;

    shift.set(-HOUR_SECONDS);
    let status = client.send(&Call::get("/ops/v1/status").ops()).await.expect(200);
    let offset = status["clock_offset_ms"].as_i64().unwrap();
    assert!(offset > (HOUR_SECONDS - 60) * 1_000, "operators are not told: {status}");
    holds_expire(&client).await;
    buys_one(&client, &book).await;
    let after = time_of(&client).await;
    assert!(after > before, "the shop's time went back by {} ms", before - after);
    shop.kill().await;

    let shop = home.start().await;
    let again = time_of(&client).await;
    assert!(again >= after - 60_000, "the shop forgot its time by {} ms", after - again);
    holds_expire(&client).await;
    buys_one(&client, &book).await;
    book.audit(&home, &client).await;
    shop.stop().await;
}
