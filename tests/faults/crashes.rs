//! Killed at any moment, the shop comes back with everything it had acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};

use crate::auditor::Book;
use crate::client::{Call, Client, PAUSE};
use crate::shop::Home;

const CYCLES: u32 = 30;
/// Ways to go on with a confirmed order.
const WAYS: usize = 5;
/// Clients of each sort.
const CLIENTS: u64 = 3;
const SKUS: [&str; 4] = ["CUP-1", "POT-1", "TEA-1", "TIN-1"];
const TOKENS: [&str; 8] =
    ["tok_ok", "tok_ok", "tok_ok", "tok_declined", "tok_flaky", "tok_timeout", "tok_lost", "tok_webhook"];

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_there_in_the_same_state_after_a_kill() {
    let (home, book) = (Home::new(), Book::default());
    let client = Client::new(&home);
    let shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 5).await;
    let cart = client.cart(&[("CUP-1", 2)]).await;
    let placed = client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
    assert_eq!(placed["state"], "confirmed", "{placed:#}");
    let id = placed["id"].as_str().unwrap();
    book.order(id);
    shop.kill().await;

    let shop = home.start().await;
    let shown: Value = client.send(&Call::get(format!("/v1/orders/{id}"))).await.expect(200);
    assert_eq!(shown, placed);
    let summary = book.audit(&home, &client).await;
    assert_eq!((summary.sold, summary.units), (1, 2));
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_kills_under_load_lose_nothing_that_was_acknowledged() {
    let (home, book) = (Home::new(), Book::default());
    // So small that some kills come while the store is being made anew.
    home.set("STOCKROOM_STORAGE__STORE_COMPACT_BYTES_MIN", "1048576");
    let client = Client::new(&home);
    let mut shop = home.start().await;
    client.list(&SKUS, 1250).await;
    for sku in SKUS {
        book.stock(&client, sku, 40).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = Vec::new();
    for number in 0..CLIENTS {
        let shopper = |sort: u64| Shopper::new(&home, &book, &stop, number * 4 + sort);
        load.push(tokio::spawn(shopper(0).hold_units()));
        load.push(tokio::spawn(shopper(1).edit_carts()));
        load.push(tokio::spawn(shopper(2).place_orders()));
        load.push(tokio::spawn(shopper(3).receive_units()));
    }
    let mut chance = ChaCha8Rng::seed_from_u64(30);
    for _ in 0..CYCLES {
        let enough = book.acknowledged() + 5 + u64::from(chance.next_u32() % 40);
        book.grown_to(enough, &home).await;
        shop.kill().await;
        shop = home.start().await;
    }
    stop.store(true, Ordering::Relaxed);
    for clients in load {
        clients.await.unwrap();
    }
    Shopper::new(&home, &book, &stop, 0).go_every_way().await;
    shop.kill().await;
    shop = home.start().await;
    let summary = book.audit(&home, &client).await;
    eprintln!("{CYCLES} kills and one, {} acknowledged, {summary:?}", book.acknowledged());
    assert!(summary.sold > 0, "the load sold nothing: {summary:?}");
    assert!(summary.money.0 > summary.money.1 && summary.money.1 > 0, "no money was moved: {summary:?}");
    for state in ["cancelled", "fulfilled", "delivered", "refunded"] {
        assert!(summary.endings.contains_key(state), "no order was {state}: {summary:?}");
    }
    shop.kill().await;
    let log = home.log();
    assert!(log.contains("the store was made anew"), "the store was never made anew");
    assert!(!log.contains("the store cannot be used"), "what a kill leaves was taken for damage");
    crate::verify::sound(&home);
}

/// One client that goes on until told to stop; every call is retried until its outcome is definite.
struct Shopper {
    client: Client,
    book: Book,
    stop: Arc<AtomicBool>,
    chance: ChaCha8Rng,
}

impl Shopper {
    fn new(home: &Home, book: &Book, stop: &Arc<AtomicBool>, seed: u64) -> Self {
        let chance = ChaCha8Rng::seed_from_u64(seed);
        Self { client: Client::new(home), book: book.clone(), stop: stop.clone(), chance }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.chance.next_u32() as usize % limit
    }

    async fn hold_units(mut self) {
        while self.goes_on() {
            let sku = SKUS[self.below(SKUS.len())];
            let quantity = 1 + self.below(2) as u64;
            let body = json!({"quantity": quantity, "ttl_seconds": 3600});
            let held = self.client.send(&Call::post(format!("/v1/stock/{sku}/holds"), body)).await;
            if held.status == 409 {
                assert_eq!(held.code(), "insufficient_stock");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let hold = held.expect(201)["id"].as_str().unwrap().to_owned();
            self.book.hold(sku, &hold, quantity);
            if self.below(3) > 0 {
                // Between the call and its answer it may be there or not: nothing is claimed about it meanwhile.
                self.book.released(sku, &hold);
                self.client.send(&Call::delete(format!("/v1/stock/{sku}/holds/{hold}"))).await.expect(204);
            }
        }
    }

    async fn edit_carts(mut self) {
        while self.goes_on() {
            let cart = self.client.cart(&[]).await;
            for _ in 0..8 {
                let sku = SKUS[self.below(SKUS.len())];
                let quantity = self.below(4) as u64;
                self.client.send(&Client::line(&cart, sku, quantity)).await.expect(200);
                self.book.line(&cart, sku, quantity);
            }
        }
    }

    async fn place_orders(mut self) {
        while self.goes_on() {
            let (first, second) = (SKUS[self.below(SKUS.len())], SKUS[self.below(SKUS.len())]);
            let wanted = BTreeMap::from([(first, 1), (second, 1 + self.below(2) as u64)]);
            let cart = self.client.cart(&wanted.into_iter().collect::<Vec<_>>()).await;
            let call = Client::order(&cart, TOKENS[self.below(TOKENS.len())]);
            let placed = self.client.send(&call).await;
            assert!((200..=202).contains(&placed.status), "{:#}", placed.body);
            let id = placed.body["id"].as_str().unwrap().to_owned();
            self.book.order(&id);
            let again = self.client.send(&call).await;
            assert_eq!(again.body["id"], placed.body["id"], "a retry bought something else");
            if self.below(2) == 0 && self.client.settled(&id).await["state"] == "confirmed" {
                let way = self.below(WAYS);
                self.go_on_with(&id, first, way).await;
            }
        }
    }

    /// One order for each way to go on, whatever chance chose before.
    async fn go_every_way(self) {
        self.book.stock(&self.client, "CUP-1", WAYS as u64).await;
        for way in 0..WAYS {
            let cart = self.client.cart(&[("CUP-1", 1)]).await;
            let placed = self.client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
            assert_eq!(placed["state"], "confirmed", "{placed:#}");
            let id = placed["id"].as_str().unwrap();
            self.book.order(id);
            self.go_on_with(id, "CUP-1", way).await;
        }
    }

    /// What shoppers and merchants do with a confirmed order.
    async fn go_on_with(&self, id: &str, sku: &str, way: usize) {
        if way == 0 {
            self.client.send(&Call::post(format!("/v1/orders/{id}/cancel"), json!({}))).await.expect(200);
            return self.book.reached(id, "cancelled");
        }
        self.merchant(id, "fulfil", json!({"tracking": "TRACK-1"})).await;
        self.client.until_state(id, "fulfilled").await;
        self.book.reached(id, "fulfilled");
        match way {
            1 => {
                self.merchant(id, "deliver", json!({})).await;
                self.book.reached(id, "delivered");
            }
            2 => {
                let lines = json!([{"sku": sku, "quantity": 1}]);
                self.merchant(id, "refund", json!({"lines": lines, "restock": true})).await;
                self.book.refunding(id);
            }
            3 => {
                self.merchant(id, "refund", json!({})).await;
                self.book.refunding(id);
            }
            _ => {}
        }
    }

    async fn merchant(&self, id: &str, action: &str, body: Value) {
        let call = Call::post(format!("/v1/admin/orders/{id}/{action}"), body).merchant();
        self.client.send(&call).await.expect(200);
    }

    async fn receive_units(mut self) {
        while self.goes_on() {
            let sku = SKUS[self.below(SKUS.len())];
            let quantity = 1 + self.below(3) as u64;
            self.book.stock(&self.client, sku, quantity).await;
            tokio::time::sleep(PAUSE).await;
        }
    }
}
