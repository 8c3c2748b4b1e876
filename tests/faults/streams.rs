//! Event streams: news comes by the feed, and a client that names the last event it saw misses none and hears none
//! twice, kills of the shop included.
//!
//! The nodes here re-read an entity without a signal once an hour only: an event that comes at all came by the feed.

use serde_json::{Value, json};

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE};
use crate::shop::{Home, Shop};

/// One event.
#[derive(Debug)]
struct Event {
    name: String,
    id: u64,
    data: Value,
}

/// An open stream.
struct Events {
    response: reqwest::Response,
    unread: String,
}

impl Events {
    /// Opens a stream; `seen` is the id of the last event seen.
    async fn open(home: &Home, path: &str, seen: Option<u64>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}{path}", home.address().lock().unwrap().http);
        let mut request = reqwest::Client::new().get(url);
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, unread: String::new() }
    }

    /// The next event; none once the stream is over. Comments are skipped.
    async fn next(&mut self) -> Option<Event> {
        let next = tokio::time::timeout(PATIENCE, async {
            loop {
                while let Some((block, rest)) = self.unread.split_once("\n\n") {
                    let (event, rest) = (read(block), rest.to_owned());
                    self.unread = rest;
                    if event.is_some() {
                        return event;
                    }
                }
                let piece = self.response.chunk().await.ok()??;
                self.unread.push_str(std::str::from_utf8(&piece).unwrap());
            }
        });
        next.await.expect("an event, or the end of the stream")
    }
}

/// An event, unless the block is a comment.
fn read(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = serde_json::from_str(field("data")?).unwrap();
    Some(Event { name: field("event")?.to_owned(), id: field("id")?.parse().unwrap(), data })
}

async fn open_shop(home: &Home) -> Shop {
    home.set("STOCKROOM_HTTP__EVENT_REREAD_SECONDS", "3600");
    home.start().await
}

async fn hold(client: &Client, book: &Book) {
    let held = client.send(&Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1, "ttl_seconds": 3600}))).await;
    book.hold("CUP-1", held.expect(201)["id"].as_str().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_told_at_once_and_from_where_a_client_left_off_after_a_kill() {
    let (home, book) = (Home::new(), Book::default());
    let (shop, client) = (open_shop(&home).await, Client::new(&home));
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 9).await;
    const PATH: &str = "/v1/stock/CUP-1/events";
    let mut events = Events::open(&home, PATH, None).await;
    let mut last = events.next().await.unwrap();
    assert_eq!((last.name.as_str(), &last.data["available"]), ("stock", &json!(9)));
    for left in [8, 7] {
        hold(&client, &book).await;
        let event = events.next().await.unwrap();
        assert_eq!(event.data["available"], left, "{event:?}");
        assert!(event.id > last.id, "{event:?} after {last:?}");
        last = event;
    }
    // Nobody reads what the third hold leaves before the kill.
    hold(&client, &book).await;
    shop.kill().await;
    drop(events);

    let shop = home.start().await;
    let mut events = Events::open(&home, PATH, Some(last.id)).await;
    let missed = events.next().await.unwrap();
    assert_eq!((missed.id > last.id, &missed.data["available"]), (true, &json!(6)), "{missed:?}");
    // One who missed nothing hears nothing until there is news.
    let mut quiet = Events::open(&home, PATH, Some(missed.id)).await;
    hold(&client, &book).await;
    let (heard, other) = (events.next().await.unwrap(), quiet.next().await.unwrap());
    assert_eq!((heard.id > missed.id, &heard.data["available"]), (true, &json!(5)), "{heard:?}");
    assert_eq!((other.id, &other.data["available"]), (heard.id, &heard.data["available"]));
    book.audit(&home, &client).await;
    shop.stop().await;
}

/// States and ids of the next events, up to and with one of this state.
async fn until(events: &mut Events, state: &str, told: &mut Vec<(u64, String)>) {
    while told.last().is_none_or(|(_, last)| last != state) {
        let event = events.next().await.unwrap_or_else(|| panic!("the stream ended before {state}: {told:?}"));
        assert_eq!(event.name, "order");
        told.push((event.id, event.data["state"].as_str().unwrap().to_owned()));
    }
}

/// What was under way when the shop died; the connection goes with it.
async fn rest(events: &mut Events, told: &mut Vec<(u64, String)>) {
    while let Some(event) = events.next().await {
        told.push((event.id, event.data["state"].as_str().unwrap().to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_an_order_is_told_once_in_spite_of_a_kill_in_the_middle() {
    let (home, book) = (Home::new(), Book::default());
    home.set("STOCKROOM_PAYMENTS__TIMEOUT_MS", "5000");
    let (shop, client) = (open_shop(&home).await, Client::new(&home));
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 5).await;
    let cart = client.cart(&[("CUP-1", 1)]).await;
    let placed = client.send(&Client::order(&cart, "tok_slow")).await;
    let id = placed.body["id"].as_str().unwrap().to_owned();
    book.order(&id);
    let path = format!("/v1/orders/{id}/events");
    let (mut told, mut events) = (Vec::new(), Events::open(&home, &path, None).await);
    until(&mut events, "authorizing", &mut told).await;
    // The payment takes three seconds: the kill comes before its end.
    shop.kill().await;
    rest(&mut events, &mut told).await;

    let shop = home.start().await;
    let mut events = Events::open(&home, &path, told.last().map(|(id, _)| *id)).await;
    until(&mut events, "confirmed", &mut told).await;
    for (step, state) in [("fulfil", "fulfilled"), ("deliver", "delivered")] {
        let call = Call::post(format!("/v1/admin/orders/{id}/{step}"), json!({})).merchant();
        client.send(&call).await.expect(200);
        until(&mut events, state, &mut told).await;
        book.reached(&id, state);
    }
    let order = client.send(&Call::get(format!("/v1/orders/{id}"))).await.expect(200);
    let history = order["history"].as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap());
    assert_eq!(told.iter().map(|(_, state)| state.as_str()).collect::<Vec<_>>(), history.collect::<Vec<_>>());
    assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0), "each has an id of its own: {told:?}");
    book.audit(&home, &client).await;
    shop.stop().await;
}
