//! Outgoing webhooks: whatever fails on the way, every event arrives, and nobody waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE, PAUSE};
use crate::shop::Home;

const SECRET: &str = "a secret of sufficient length";

/// An endpoint as a merchant would have one.
#[derive(Clone, Default)]
struct Receiver {
    /// Whether it takes deliveries.
    works: Arc<AtomicBool>,
    /// Events taken, in order of arrival, repeats included.
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    /// Starts it; the address to post to.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(take).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        format!("http://{address}/hooks/very-secret-path")
    }

    fn works(&self, works: bool) {
        self.works.store(works, Ordering::Relaxed);
    }

    fn taken(&self) -> Vec<Value> {
        self.taken.lock().unwrap().clone()
    }

    /// The types of what was told about an order, without repeats, in order of first arrival.
    fn told_of(&self, order: &str) -> Vec<String> {
        let (mut ids, mut types) = (BTreeSet::new(), Vec::new());
        for event in self.taken().iter().filter(|event| event["data"]["order_id"] == order) {
            if ids.insert(event["id"].as_str().unwrap().to_owned()) {
                types.push(event["type"].as_str().unwrap().to_owned());
            }
        }
        types
    }

    async fn until_confirmed(&self, orders: &[String], home: &Home) {
        let deadline = Instant::now() + PATIENCE;
        while !orders.iter().all(|order| self.told_of(order).iter().any(|kind| kind == "order.confirmed")) {
            assert!(Instant::now() < deadline, "some events never came: {}", home.tail());
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers["stockroom-signature"].to_str().unwrap();
    let (seconds, signature) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(seconds.as_bytes());
    mac.update(b".");
    mac.update(&body);
    mac.verify_slice(&hex::decode(signature).unwrap()).expect("signed with the secret of both");
    if !receiver.works.load(Ordering::Relaxed) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let delivery: Value = serde_json::from_slice(&body).unwrap();
    receiver.taken.lock().unwrap().extend(delivery["events"].as_array().unwrap().iter().cloned());
    StatusCode::NO_CONTENT
}

async fn buy(client: &Client, book: &Book, orders: &mut Vec<String>, times: usize) {
    for _ in 0..times {
        let cart = client.cart(&[("CUP-1", 1)]).await;
        let placed = client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
        assert_eq!(placed["state"], "confirmed", "{placed:#}");
        let id = placed["id"].as_str().unwrap();
        book.order(id);
        orders.push(id.to_owned());
    }
}

/// The endpoint as operators see it, once it is as wanted.
async fn seen(client: &Client, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = client.send(&Call::get("/ops/v1/webhooks").ops()).await.expect(200);
        let endpoint = &list["items"][0];
        if wanted(endpoint) {
            return endpoint.clone();
        }
        assert!(Instant::now() < deadline, "{list:#}");
        tokio::time::sleep(PAUSE).await;
    }
}

fn told_by(home: &Home, url: &str) {
    let endpoint =
        format!(r#"name = "till", url = "{url}", secret = "{SECRET}", events = ["order.*", "stock.changed"]"#);
    home.set("STOCKROOM_WEBHOOKS__ENDPOINTS", &format!("[{{ {endpoint} }}]"));
    home.set("STOCKROOM_WEBHOOKS__RETRY_PAUSE_MAX_SECONDS", "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_in_spite_of_a_failing_endpoint_and_kills() {
    let (home, book, receiver) = (Home::new(), Book::default(), Receiver::default());
    let client = Client::new(&home);
    told_by(&home, &receiver.start().await);
    let shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 50).await;
    let mut orders = Vec::new();
    buy(&client, &book, &mut orders, 4).await;
    let failing = seen(&client, |endpoint| endpoint["failed_attempts"].as_u64() > Some(1)).await;
    assert!(failing["failing_since"].is_string() && failing["lag_entries"].as_u64() > Some(0), "{failing:#}");
    assert_eq!(failing["last_error"], "answered 500 Internal Server Error");
    assert!(!failing.to_string().contains("very-secret-path"), "addresses may hold secrets: {failing}");
    assert!(client.metric("stockroom_webhook_lag_entries").await > 0.0);
    shop.kill().await;

    let shop = home.start().await;
    receiver.works(true);
    buy(&client, &book, &mut orders, 3).await;
    receiver.until_confirmed(&orders, &home).await;
    let well = seen(&client, |endpoint| endpoint["lag_entries"] == 0).await;
    assert_eq!((&well["last_error"], &well["missed_entries"]), (&Value::Null, &json!(0)), "{well:#}");
    buy(&client, &book, &mut orders, 2).await;
    shop.kill().await;

    let shop = home.start().await;
    receiver.until_confirmed(&orders, &home).await;
    for order in &orders {
        let told = receiver.told_of(order);
        assert_eq!(told.first().map(String::as_str), Some("order.placed"), "{told:?}");
        assert_eq!(told.last().map(String::as_str), Some("order.confirmed"), "{told:?}");
    }
    // Orders and stock are told from shards of their own, which do not wait for each other.
    // A shard that has not replayed its log yet lags behind nothing.
    let newest = json!({"sku": "CUP-1", "available": 41});
    seen(&client, |endpoint| {
        let taken = receiver.taken();
        let stock = taken.iter().rev().find(|event| event["type"] == "stock.changed");
        endpoint["lag_entries"] == 0 && stock.is_some_and(|event| event["data"] == newest)
    })
    .await;
    assert_repeats_are_alike(&receiver.taken());
    book.audit(&home, &client).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_cannot_be_used_is_refused_before_anything_is_opened() {
    let right = [("name", "till"), ("url", "http://127.0.0.1:1/"), ("secret", SECRET), ("events", "order.*")];
    for (wrong, value, why) in [
        ("name", "a b", "letters, digits"),
        ("url", "ftp://x", "not an http or https address"),
        ("secret", "short", "fewer than 16 characters"),
        ("events", "order.paid", "no event is called \"order.paid\""),
    ] {
        let home = Home::new();
        let text = |name: &str, text: &str| if name == wrong { value.to_owned() } else { text.to_owned() };
        let quoted = |(name, given): &(&str, &str)| match *name {
            "events" => format!("events = [{:?}]", text(name, given)),
            name => format!("{name} = {:?}", text(name, given)),
        };
        let endpoint = right.iter().map(quoted).collect::<Vec<_>>().join(", ");
        home.set("STOCKROOM_WEBHOOKS__ENDPOINTS", &format!("[{{ {endpoint} }}]"));
        let refused = home.try_start().await.err().unwrap();
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.said.contains(why), "{wrong}: {}", refused.said);
        assert!(!home.data().exists(), "nothing was opened");
    }
}

/// Events with one id say the same thing.
fn assert_repeats_are_alike(taken: &[Value]) {
    let mut known: BTreeMap<&str, &Value> = BTreeMap::new();
    for event in taken {
        let first = known.entry(event["id"].as_str().unwrap()).or_insert(event);
        assert_eq!(*first, event, "one id, two events");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_endpoint_begins_now_and_one_whose_cursor_is_lost_is_told_everything_again() {
    let (home, book, receiver) = (Home::new(), Book::default(), Receiver::default());
    let client = Client::new(&home);
    let shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 50).await;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    buy(&client, &book, &mut before, 1).await;
    shop.stop().await;

    receiver.works(true);
    told_by(&home, &receiver.start().await);
    let shop = home.start().await;
    buy(&client, &book, &mut after, 1).await;
    receiver.until_confirmed(&after, &home).await;
    assert!(receiver.told_of(&before[0]).is_empty(), "what was before it is not its business");
    shop.stop().await;

    std::fs::remove_dir_all(home.data().join("sled")).unwrap();
    let shop = home.start().await;
    receiver.until_confirmed(&before, &home).await;
    let is_repeated = || {
        let told = receiver.taken();
        let repeats = told.iter().filter(|event| event["data"]["order_id"] == after[0].as_str());
        repeats.count() >= 2 * receiver.told_of(&after[0]).len()
    };
    let begun = std::time::Instant::now();
    while !is_repeated() {
        assert!(begun.elapsed() < PATIENCE, "it was told again, under the same ids");
        tokio::time::sleep(PAUSE).await;
    }
    let told = receiver.taken();
    assert_repeats_are_alike(&told);
    shop.stop().await;
}
