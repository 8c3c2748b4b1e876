//! More buyers than units: exactly the units are sold, everybody else hears a clean no.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE, PAUSE};
use crate::shop::Home;

/// Units of the one SKU everybody wants.
const UNITS: u64 = 10;
/// Buyers who want one each.
const BUYERS: usize = 60;

/// A shop with `UNITS` of one SKU.
async fn scarce(home: &Home, book: &Book) -> (crate::shop::Shop, Client) {
    let shop = home.start().await;
    let client = Client::new(home);
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", UNITS).await;
    (shop, client)
}

/// One buyer, who clicks again under the same key and under another one, and waits for the end.
async fn buy(client: Client, book: Book, cart: String, call: Call) -> Value {
    let placed = client.send(&call).await;
    let id = placed.body["id"].as_str().unwrap_or_else(|| panic!("{:#}", placed.body)).to_owned();
    book.order(&id);
    let (same, other) = (client.send(&call).await, client.send(&Client::order(&cart, "tok_ok")).await);
    assert_eq!((same.body["id"].as_str(), other.body["id"].as_str()), (Some(id.as_str()), Some(id.as_str())));
    client.settled(&id).await
}

/// All of these buy at once, each one unit.
async fn wave(client: &Client, book: &Book, tokens: impl Iterator<Item = &str>) -> Vec<Value> {
    let mut carts = Vec::new();
    for token in tokens {
        carts.push((client.cart(&[("CUP-1", 1)]).await, token.to_owned()));
    }
    let buying = carts.into_iter().map(|(cart, token)| {
        let call = Client::order(&cart, &token);
        tokio::spawn(buy(client.clone(), book.clone(), cart, call))
    });
    let mut orders = Vec::new();
    for buyer in buying.collect::<Vec<_>>() {
        orders.push(buyer.await.unwrap());
    }
    orders
}

fn failures<'a>(orders: impl IntoIterator<Item = &'a Value>) -> BTreeMap<&'a str, usize> {
    let mut codes = BTreeMap::new();
    for order in orders.into_iter().filter(|order| order["state"] == "failed") {
        *codes.entry(order["failure"]["code"].as_str().unwrap()).or_default() += 1;
    }
    codes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_units_and_sixty_buyers_are_ten_confirmed_orders() {
    let (home, book) = (Home::new(), Book::default());
    let (shop, client) = scarce(&home, &book).await;
    let orders = wave(&client, &book, ["tok_ok"; BUYERS].into_iter()).await;
    let confirmed = orders.iter().filter(|order| order["state"] == "confirmed").count() as u64;
    assert_eq!((confirmed, failures(&orders)), (UNITS, BTreeMap::from([("insufficient_stock", BUYERS - 10)])));
    let summary = book.audit(&home, &client).await;
    assert_eq!((summary.sold as u64, summary.units), (UNITS, UNITS), "{summary:?}");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn payments_of_every_manner_sell_no_unit_twice_and_strand_none() {
    let (home, book) = (Home::new(), Book::default());
    let (shop, client) = scarce(&home, &book).await;
    let manners =
        ["tok_declined", "tok_slow", "tok_ok", "tok_flaky", "tok_timeout", "tok_lost", "tok_webhook", "tok_declined"];
    let orders = wave(&client, &book, manners.into_iter().cycle().take(40)).await;
    let codes = failures(&orders);
    let known = ["insufficient_stock", "payment_declined", "payment_unresolved"];
    assert!(codes.keys().all(|code| known.contains(code)), "{codes:?}");
    let first = book.audit(&home, &client).await;
    assert!(first.units <= UNITS, "{first:?}");
    // What declined payments gave back can be bought by those who come later: to the last unit and not one more.
    wave(&client, &book, ["tok_ok"; 15].into_iter()).await;
    let summary = book.audit(&home, &client).await;
    assert_eq!((summary.sold as u64, summary.units), (UNITS, UNITS), "{summary:?}");
    eprintln!("every manner of payment: {summary:?}");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn carts_that_got_the_same_sku_twice_by_merging_buy_the_sum_or_nothing() {
    let (home, book) = (Home::new(), Book::default());
    let (shop, client) = scarce(&home, &book).await;
    let mut buying = Vec::new();
    for _ in 0..12 {
        let (cart, other) = (client.cart(&[("CUP-1", 1)]).await, client.cart(&[("CUP-1", 2)]).await);
        let merge = Call::post(format!("/v1/carts/{cart}/merge"), json!({"from": other}));
        let merged = client.send(&merge).await.expect(200);
        let lines = merged["lines"].as_array().unwrap();
        assert_eq!((lines.len(), lines[0]["quantity"].as_u64()), (1, Some(3)), "{merged:#}");
        let call = Client::order(&cart, "tok_ok");
        buying.push(tokio::spawn(buy(client.clone(), book.clone(), cart, call)));
    }
    let mut orders = Vec::new();
    for buyer in buying {
        orders.push(buyer.await.unwrap());
    }
    assert_eq!(failures(&orders), BTreeMap::from([("insufficient_stock", 9)]));
    let summary = book.audit(&home, &client).await;
    assert_eq!((summary.sold, summary.units), (3, 9), "{summary:?}");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn holds_that_would_expire_during_the_payment_are_sold_to_their_holder() {
    let (home, book) = (Home::new(), Book::default());
    home.set("STOCKROOM_PAYMENTS__TIMEOUT_MS", "5000");
    let (shop, client) = scarce(&home, &book).await;
    let (mut carts, mut holders) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        carts.push(client.cart(&[("CUP-1", 1)]).await);
    }
    // One after the other, so that the order is placed well before its hold ends, also where everything is slow.
    for cart in carts {
        holders.push(hold_and_buy(client.clone(), cart).await);
    }
    // While the slow payments run, rivals find nothing to buy; a holder who came too late lost the unit to them.
    wave(&client, &book, ["tok_ok"; 15].into_iter()).await;
    let mut settled = Vec::new();
    for order in holders {
        book.order(&order);
        settled.push(client.settled(&order).await);
    }
    let codes = failures(&settled);
    assert!(codes.keys().all(|code| *code == "hold_expired"), "{codes:?}");
    let confirmed = settled.iter().filter(|order| order["state"] == "confirmed").count();
    assert!(confirmed > 0, "no holder got what was held: {codes:?}");
    let summary = book.audit(&home, &client).await;
    assert!(summary.units <= UNITS, "{summary:?}");
    wave(&client, &book, ["tok_ok"; 12].into_iter()).await;
    let summary = book.audit(&home, &client).await;
    assert_eq!((summary.sold as u64, summary.units), (UNITS, UNITS), "{summary:?}");
    shop.stop().await;
}

/// Sets the unit aside for less time than the payment takes, and orders it.
async fn hold_and_buy(client: Client, cart: String) -> String {
    let held = Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1, "ttl_seconds": 2}));
    let held = client.send(&held).await.expect(201);
    let placed = client.send(&Client::order_with_hold(&cart, "tok_slow", &held["id"])).await;
    placed.body["id"].as_str().unwrap_or_else(|| panic!("{:#}", placed.body)).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_gone_before_the_order_fails_it_as_hold_expired() {
    let (home, book) = (Home::new(), Book::default());
    let (shop, client) = scarce(&home, &book).await;
    let cart = client.cart(&[("CUP-1", 1)]).await;
    let held = Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1, "ttl_seconds": 1}));
    let held = client.send(&held).await.expect(201);
    let deadline = Instant::now() + PATIENCE;
    while client.send(&Call::get("/v1/stock/CUP-1")).await.expect(200)["available"] != UNITS {
        assert!(Instant::now() < deadline, "the hold never expired");
        tokio::time::sleep(PAUSE).await;
    }
    let placed = client.send(&Client::order_with_hold(&cart, "tok_ok", &held["id"]).wait(20)).await.expect(201);
    assert_eq!((placed["state"].as_str(), placed["failure"]["code"].as_str()), (Some("failed"), Some("hold_expired")));
    book.order(placed["id"].as_str().unwrap());
    let summary = book.audit(&home, &client).await;
    assert_eq!(summary.sold, 0);
    shop.stop().await;
}
