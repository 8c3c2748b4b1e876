//! Notices of a payment provider at the shop's door: what is signed is believed, as often as it comes; nothing else is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE, PAUSE, plain};
use crate::provider::{Provider, SECRET};
use crate::shop::Home;

/// Older than any clock is wrong.
const HOUR: u64 = 3_600;
/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9/";

/// What the provider would say of a payment.
fn notice(order: &str, key: &str) -> Value {
    json!({"id": format!("{key}/result"), "order": order, "key": key, "outcome": "authorised"})
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Posts a notice as the published contract says it is signed; status and problem code.
async fn post(home: &Home, notice: &Value, secret: &str, seconds: u64) -> (u16, String) {
    let body = notice.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{seconds}.{body}").as_bytes());
    let signature = format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()));
    let url = format!("{}/v1/webhooks/payments/simulated", home.address().lock().unwrap().http);
    let request = plain().post(url).header("stockroom-signature", signature).body(body);
    let answer = request.header("content-type", "application/json").send().await.unwrap();
    let status = answer.status().as_u16();
    let problem: Value = answer.json().await.unwrap_or_default();
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

/// The key under which the provider was asked for this order's money, once it was.
async fn asked_for(home: &Home, order: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let books = std::fs::read_to_string(home.books()).unwrap_or_default();
        let entries = books.lines().filter_map(|line| serde_json::from_str::<Value>(line.get(9..)?).ok());
        let mut answered = entries.map(|entry| entry["Answered"].clone());
        let own = answered.find(|answered| answered["order"] == order && answered["asked"]["Authorise"].is_object());
        if let Some(answered) = own {
            return answered["key"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "the provider was never asked: {}", home.tail());
        tokio::time::sleep(PAUSE).await;
    }
}

async fn state(client: &Client, order: &str) -> Value {
    client.send(&Call::get(format!("/v1/orders/{order}"))).await.expect(200)["state"].clone()
}

/// A shop with stock, and an order paid in this manner.
async fn ordered(client: &Client, book: &Book, token: &str) -> String {
    client.list(&["CUP-1"], 1999).await;
    book.stock(client, "CUP-1", 5).await;
    let cart = client.cart(&[("CUP-1", 2)]).await;
    let placed = client.send(&Client::order(&cart, token)).await;
    let order = placed.body["id"].as_str().unwrap_or_else(|| panic!("{:#}", placed.body)).to_owned();
    book.order(&order);
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_provider_is_gone_is_decided_by_a_signed_notice_and_by_no_other() {
    let (home, book) = (Home::new(), Book::default());
    let provider = Provider::of(&home);
    let (shop, process, client) = (home.start().await, provider.start(NOWHERE).await, Client::new(&home));
    let order = ordered(&client, &book, "tok_webhook").await;
    let key = asked_for(&home, &order).await;
    client.until_state(&order, "authorizing").await;
    // Nothing but a notice can tell the shop now.
    process.kill().await;

    let right = notice(&order, &key);
    let unauthenticated = (401, "unauthenticated".to_owned());
    assert_eq!(post(&home, &right, "guessed", now()).await, unauthenticated);
    assert_eq!(post(&home, &right, SECRET, now() - HOUR).await, unauthenticated);
    assert_eq!(post(&home, &right, SECRET, now() + HOUR).await, unauthenticated);
    assert_eq!(post(&home, &json!({"key": key}), SECRET, now()).await, (400, "invalid_request".to_owned()));
    assert_eq!(state(&client, &order).await, "authorizing", "none of them was believed");

    assert_eq!(post(&home, &right, SECRET, now()).await.0, 204);
    let decided = client.settled(&order).await;
    assert_eq!(decided["state"], "confirmed", "{decided:#}");
    assert_eq!(post(&home, &right, SECRET, now()).await.0, 204, "a repeat is taken");
    let mut renamed = right.clone();
    renamed["id"] = json!("the same news under another name");
    assert_eq!(post(&home, &renamed, SECRET, now()).await.0, 204);
    assert_eq!(client.send(&Call::get(format!("/v1/orders/{order}"))).await.expect(200), decided);

    let process = provider.start(NOWHERE).await;
    let summary = book.audit(&home, &client).await;
    assert_eq!((summary.sold, summary.units), (1, 2), "{summary:?}");
    shop.stop().await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_about_what_is_known_already_changes_nothing() {
    let (home, book) = (Home::new(), Book::default());
    home.set("STOCKROOM_PAYMENTS__SIMULATED_WEBHOOK_SECRET", SECRET);
    let (shop, client) = (home.start().await, Client::new(&home));
    let order = ordered(&client, &book, "tok_ok").await;
    let decided = client.settled(&order).await;
    let key = asked_for(&home, &order).await;
    for _ in 0..2 {
        assert_eq!(post(&home, &notice(&order, &key), SECRET, now()).await.0, 204);
    }
    assert_eq!(post(&home, &notice(&order, &key), "guessed", now()).await.0, 401);
    assert_eq!(client.send(&Call::get(format!("/v1/orders/{order}"))).await.expect(200), decided);
    let declined = json!({"id": "late", "order": order, "key": key, "outcome": "declined", "reason": "card_declined"});
    assert_eq!(post(&home, &declined, SECRET, now()).await.0, 204, "the first definite answer stands");
    shop.kill().await;

    let shop = home.start().await;
    assert_eq!(post(&home, &notice(&order, &key), SECRET, now()).await.0, 204);
    assert_eq!(client.send(&Call::get(format!("/v1/orders/{order}"))).await.expect(200), decided);
    let summary = book.audit(&home, &client).await;
    assert_eq!((summary.sold, summary.units), (1, 2), "{summary:?}");
    shop.stop().await;
}
