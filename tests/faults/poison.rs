//! A journal that cannot be replayed, and commands that panic: they cost what they touch, and operators see it.

use std::time::Duration;

use serde_json::{Value, json};
use stockroom::domain::entity::Fingerprint;
use stockroom::domain::ids::{EntityId, HoldId, OrderId};
use stockroom::domain::order::{OrderEvent, OrderReply, OrderState, StockStep};
use stockroom::domain::registry::{AnyEvent, AnyReply};
use stockroom::domain::stock::{Holder, StockEvent, StockReply};
use stockroom::domain::time::Timestamp;

use crate::auditor::Book;
use crate::client::{Answer, Call, Client, PATIENCE, PAUSE};
use crate::forge::{self, Forged};
use crate::shop::Home;

/// A hold nobody ever made, given back: units would come from nowhere.
fn released_out_of_nothing() -> Forged {
    let hold = HoldId([13; 16]);
    let event = StockEvent::Released { hold, available: 99 };
    (AnyEvent::Stock(event), AnyReply::Stock(StockReply::Released { hold }))
}

/// A SKU the order does not have answers it.
fn settled_by_a_stranger() -> Forged {
    let sku = "NOT-ORDERED".parse().unwrap();
    let event = OrderEvent::StockSettled { sku, step: StockStep::Release, outcome: Ok(()) };
    let reply = OrderReply::Noted { state: OrderState::Confirmed };
    (AnyEvent::Order(event), AnyReply::Order(reply))
}

async fn quarantine(client: &Client) -> Vec<String> {
    let listed = client.send(&Call::get("/ops/v1/quarantine").ops()).await.expect(200);
    let items = listed["items"].as_array().unwrap().iter();
    items.map(|item| item["entity"].as_str().unwrap().to_owned()).collect()
}

/// Asks until the shop has made up its mind about an entity: three failed replays take a moment.
async fn refused_as_quarantined(client: &Client, call: &Call) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let answer: Answer = client.once(call).await.unwrap();
        if answer.code() == "quarantined" {
            assert_eq!((answer.status, &answer.body["outcome"]), (503, &json!("rejected")), "{:#}", answer.body);
            assert!(answer.headers.contains_key("retry-after"));
            return;
        }
        assert!(matches!(answer.status, 503 | 504), "{} {:#}", answer.status, answer.body);
        assert!(std::time::Instant::now() < deadline, "never quarantined: {:#}", answer.body);
        tokio::time::sleep(PAUSE).await;
    }
}

/// A moment ago.
const NOW: Duration = Duration::ZERO;

async fn buy(client: &Client, book: &Book, sku: &str) -> Value {
    let cart = client.cart(&[(sku, 1)]).await;
    let placed = client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
    assert_eq!(placed["state"], "confirmed", "{placed:#}");
    book.order(placed["id"].as_str().unwrap());
    placed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_item_that_cannot_be_replayed_is_quarantined_and_others_go_on() {
    let (home, book) = (Home::new(), Book::default());
    let client = Client::new(&home);
    let shop = home.start().await;
    client.list(&["CUP-1", "POT-1"], 1999).await;
    for sku in ["CUP-1", "POT-1"] {
        book.stock(&client, sku, 5).await;
    }
    shop.stop().await;
    let poisoned: EntityId = "stock/CUP-1".parse().unwrap();
    forge::append(&home, &poisoned, vec![released_out_of_nothing()], None, NOW).await;

    let shop = home.start().await;
    let hold = Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1}));
    refused_as_quarantined(&client, &hold).await;
    assert_eq!(quarantine(&client).await, ["stock/CUP-1"]);
    let status = client.send(&Call::get("/ops/v1/status").ops()).await.expect(200);
    assert_eq!(status["quarantined_entities"], 1, "{status:#}");
    assert_eq!(client.metric("stockroom_quarantines_total").await, 1.0);
    let told = home.command(&["status"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.lines().any(|line| line.starts_with("quarantined_entities") && line.ends_with('1')), "{told}");

    buy(&client, &book, "POT-1").await;
    refused_as_quarantined(&client, &Client::receipt("CUP-1", 1)).await;

    let release = |entity: &str| Call::post("/ops/v1/quarantine:release", json!({"entity": entity})).ops();
    client.send(&release("stock/POT-1")).await.expect(404);
    client.send(&release("stock/CUP-1")).await.expect(204);
    assert!(quarantine(&client).await.is_empty());
    refused_as_quarantined(&client, &hold).await;
    assert_eq!(client.metric("stockroom_quarantines_total").await, 2.0, "it was tried again, in vain");

    let verified = shop_is_verified(&home, shop).await;
    assert!(verified.contains("CUP-1"), "verify names the entity: {verified}");
}

/// Stops the shop and returns what `journal verify` finds.
async fn shop_is_verified(home: &Home, shop: crate::shop::Shop) -> String {
    shop.stop().await;
    let verified = home.command(&["journal", "verify"]).output().unwrap();
    assert_eq!(verified.status.code(), Some(4), "{verified:?}");
    String::from_utf8(verified.stdout).unwrap() + &String::from_utf8(verified.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_replayed_holds_up_neither_orders_nor_lists() {
    let (home, book) = (Home::new(), Book::default());
    let client = Client::new(&home);
    let shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 5).await;
    let placed = buy(&client, &book, "CUP-1").await;
    let id = placed["id"].as_str().unwrap();
    let orders = Call::get("/v1/admin/orders?limit=10").merchant();
    assert_eq!(client.send(&orders).await.expect(200)["items"][0]["id"], id, "the lists know it");
    shop.stop().await;
    let key: OrderId = id.parse().unwrap();
    // It says it owes something, so it is brought to life without anybody asking.
    forge::append(&home, &EntityId::order(key), vec![settled_by_a_stranger()], Some(Timestamp(1)), NOW).await;

    let shop = home.start().await;
    let poisoned = format!("order/{id}");
    let deadline = std::time::Instant::now() + PATIENCE;
    while quarantine(&client).await != [poisoned.clone()] {
        assert!(std::time::Instant::now() < deadline, "the order was not set aside: {}", home.tail());
        tokio::time::sleep(PAUSE).await;
    }
    refused_as_quarantined(&client, &Call::get(format!("/v1/orders/{id}"))).await;
    let other = buy(&client, &book, "CUP-1").await;
    let listed = client.send(&orders).await.expect(200);
    let listed: Vec<&str> = listed["items"].as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap()).collect();
    assert_eq!(listed, [other["id"].as_str().unwrap(), id], "newest first, the poisoned one as it was");
    shop.stop().await;
}

/// A hold made twice: the item keeps its laws as far as they are asserted, until the hold ends and units remain that
/// belong to no hold.
fn held_twice(hold: HoldId) -> Vec<Forged> {
    let once = || {
        let quantity = 1.try_into().unwrap();
        let expires_at = Some(Timestamp(u64::MAX >> 1));
        let (holder, fingerprint) = (Holder::Shopper, Fingerprint::default());
        let event = StockEvent::Reserved { hold, quantity, holder, expires_at, fingerprint, available: 3 };
        (AnyEvent::Stock(event), AnyReply::Stock(StockReply::Held { hold, quantity, expires_at }))
    };
    vec![once(), once()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_panics_costs_one_answer_and_operators_see_it() {
    let (home, book) = (Home::new(), Book::default());
    let client = Client::new(&home);
    let shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 5).await;
    shop.stop().await;
    let (item, hold) = ("stock/CUP-1".parse().unwrap(), HoldId([13; 16]));
    forge::append(&home, &item, held_twice(hold), None, NOW).await;

    let shop = home.start().await;
    let account = Call::get("/v1/admin/stock/CUP-1").merchant();
    let before = client.send(&account).await.expect(200);
    assert_eq!((&before["available"], &before["held"]), (&json!(3), &json!(2)), "{before:#}");
    for _ in 0..5 {
        let refused = client.once(&Call::delete(format!("/v1/stock/CUP-1/holds/{hold}"))).await.unwrap();
        assert_eq!((refused.status, refused.code()), (500, "internal_error"), "{:#}", refused.body);
        assert_eq!(refused.body["outcome"], "rejected");
        let detail = refused.body.to_string();
        assert!(!detail.contains("STK-"), "what went wrong inside is for the log: {detail}");
    }
    assert_eq!(client.send(&account).await.expect(200), before, "nothing was journaled");
    buy(&client, &book, "CUP-1").await;

    assert!(quarantine(&client).await.is_empty(), "whoever can provoke a panic must not take the item from others");
    let panicked = client.send(&Call::get("/ops/v1/panics").ops()).await.expect(200);
    let first = &panicked["items"][0];
    assert_eq!((&first["entity"], &first["panics"]), (&json!("stock/CUP-1"), &json!(5)), "{panicked:#}");
    let status = client.send(&Call::get("/ops/v1/status").ops()).await.expect(200);
    assert_eq!(status["panicked_entities"], 1, "{status:#}");
    let counted = client.metric("stockroom_commands_total{kind=\"stock\",outcome=\"panicked\"}").await;
    assert_eq!(counted, 5.0);
    assert!(home.log().contains("STK-3"), "the log names the law");
    shop.kill().await;
    let shop = home.start().await;
    let after = client.send(&account).await.expect(200);
    assert_eq!((&after["held"], &after["sold"]), (&json!(2), &json!(1)), "{after:#}");
    shop.stop().await;
}
