//! A retry never does anything twice, and says so.

use serde_json::json;

use crate::auditor::Book;
use crate::client::{Answer, Call, Client, new_key};
use crate::shop::Home;

/// Sends a call twice; the second answer must be the first one, marked.
async fn twice(client: &Client, call: &Call) -> Answer {
    let (first, second) = (client.send(call).await, client.send(call).await);
    assert!(!first.replayed(), "{call:?} was never sent before");
    assert!(second.replayed(), "{call:?} was not recognised: {:#}", second.body);
    assert_eq!((first.status, &first.body), (second.status, &second.body));
    first
}

async fn refused_as_reused(client: &Client, call: &Call) {
    let refused = client.send(call).await;
    assert_eq!((refused.status, refused.code()), (422, "idempotency_key_reused"), "{:#}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_has_the_same_answer_even_after_a_kill() {
    let (home, book) = (Home::new(), Book::default());
    let client = Client::new(&home);
    let shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;

    let receipt_key = new_key();
    let receipt = Client::receipt("CUP-1", 7).key(&receipt_key);
    twice(&client, &receipt).await.expect(200);
    book.received("CUP-1", 7);
    refused_as_reused(&client, &Client::receipt("CUP-1", 8).key(&receipt_key)).await;

    let hold_key = new_key();
    let hold = |quantity: u64| Call::post("/v1/stock/CUP-1/holds", json!({"quantity": quantity})).key(&hold_key);
    let held = twice(&client, &hold(2)).await.expect(201);
    book.hold("CUP-1", held["id"].as_str().unwrap(), 2);
    refused_as_reused(&client, &hold(3)).await;

    let cart_key = new_key();
    let made = twice(&client, &Call::post("/v1/carts", json!({"currency": "USD"})).key(&cart_key)).await.expect(201);
    refused_as_reused(&client, &Call::post("/v1/carts", json!({"currency": "EUR"})).key(&cart_key)).await;
    let cart = made["id"].as_str().unwrap();
    let line_key = new_key();
    twice(&client, &Client::line(cart, "CUP-1", 1).key(&line_key)).await.expect(200);
    book.line(cart, "CUP-1", 1);
    refused_as_reused(&client, &Client::line(cart, "CUP-1", 2).key(&line_key)).await;

    shop.kill().await;
    let shop = home.start().await;
    let again = client.send(&hold(2)).await;
    assert_eq!((again.replayed(), &again.body), (true, &held));
    assert!(client.send(&receipt).await.replayed(), "a receipt was counted again after a kill");
    refused_as_reused(&client, &hold(3)).await;
    refused_as_reused(&client, &Client::receipt("CUP-1", 8).key(&receipt_key)).await;
    book.audit(&home, &client).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_click_is_one_order_under_any_key() {
    let (home, book) = (Home::new(), Book::default());
    let (left, right) = (Client::new(&home), Client::new(&home));
    let shop = home.start().await;
    left.list(&["CUP-1"], 1999).await;
    book.stock(&left, "CUP-1", 9).await;
    for _ in 0..5 {
        let cart = left.cart(&[("CUP-1", 1)]).await;
        let call = Client::order(&cart, "tok_ok").key(&new_key());
        let (one, two) = tokio::join!(left.send(&call), right.send(&call));
        let id = one.body["id"].as_str().unwrap_or_else(|| panic!("{:#}", one.body)).to_owned();
        assert_eq!(two.body["id"], id.as_str(), "{:#}", two.body);
        assert!(!(one.replayed() && two.replayed()), "somebody was first");
        book.order(&id);
        let changed = right.send(&Client::order(&cart, "tok_ok")).await;
        assert_eq!((changed.status, changed.body["id"].as_str()), (200, Some(id.as_str())), "{:#}", changed.body);
        left.settled(&id).await;
    }
    let summary = book.audit(&home, &left).await;
    assert_eq!((summary.sold, summary.units), (5, 5), "{summary:?}");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_key_with_another_body_is_refused() {
    let (home, book) = (Home::new(), Book::default());
    let client = Client::new(&home);
    let shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 3).await;
    let (cart, key) = (client.cart(&[("CUP-1", 1)]).await, new_key());
    let placed = client.send(&Client::order(&cart, "tok_ok").key(&key).wait(20)).await.expect(201);
    book.order(placed["id"].as_str().unwrap());
    refused_as_reused(&client, &Client::order(&cart, "tok_slow").key(&key)).await;
    let again = client.send(&Client::order(&cart, "tok_ok").key(&key).wait(20)).await;
    assert!(again.replayed());
    assert_eq!(again.body["id"], placed["id"]);
    book.audit(&home, &client).await;
    shop.stop().await;
}
