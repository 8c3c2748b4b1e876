//! Units set aside that do not move: operators and merchants see whose they are.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockroom::domain::entity::Fingerprint;
use stockroom::domain::ids::{EntityId, HoldId, OrderId};
use stockroom::domain::registry::{AnyEvent, AnyReply};
use stockroom::domain::stock::{Holder, StockEvent, StockNumbers, StockReply};

use crate::client::{Call, Client, PATIENCE, PAUSE};
use crate::forge::{self, Forged};
use crate::shop::Home;

const HOURS: Duration = Duration::from_secs(2 * 60 * 60);

/// Five units, two of them set aside for an order that nobody knows.
fn held_for_a_lost_order(hold: HoldId, order: OrderId) -> Vec<Forged> {
    let (five, two) = (5.try_into().unwrap(), 2.try_into().unwrap());
    let received = StockEvent::Received { quantity: five, reference: "delivery".to_owned(), available: 5 };
    let fingerprint = Fingerprint::default();
    let holder = Holder::Order(order);
    let held = StockEvent::Reserved { hold, quantity: two, holder, expires_at: None, fingerprint, available: 3 };
    vec![
        (AnyEvent::Stock(received), AnyReply::Stock(StockReply::Counted(StockNumbers::default()))),
        (AnyEvent::Stock(held), AnyReply::Stock(StockReply::Held { hold, quantity: two, expires_at: None })),
    ]
}

async fn order_holds(client: &Client, older_than_seconds: u64) -> Vec<Value> {
    let path = format!("/ops/v1/order-holds?older_than_seconds={older_than_seconds}");
    client.send(&Call::get(path).ops()).await.expect(200)["items"].as_array().unwrap().clone()
}

/// Waits until the lists have heard of what was done.
async fn live(client: &Client, of_orders: f64, of_shoppers: f64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let orders = client.metric("stockroom_holds_live{holder=\"order\"}").await;
        let shoppers = client.metric("stockroom_holds_live{holder=\"shopper\"}").await;
        if (orders, shoppers) == (of_orders, of_shoppers) {
            return;
        }
        assert!(Instant::now() < deadline, "{orders} holds of orders, {shoppers} of shoppers");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_an_order_keeps_for_hours_is_shown_until_it_ends() {
    let home = Home::new();
    let client = Client::new(&home);
    home.start().await.stop().await;
    let (hold, order) = (HoldId([7; 16]), OrderId([8; 16]));
    let item: EntityId = "stock/CUP-1".parse().unwrap();
    forge::append(&home, &item, held_for_a_lost_order(hold, order), None, HOURS).await;

    let shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;
    let body = json!({"quantity": 1, "ttl_seconds": 600});
    let shoppers = client.send(&Call::post("/v1/stock/CUP-1/holds", body)).await.expect(201);
    live(&client, 1.0, 1.0).await;
    shop.kill().await;

    let shop = home.start().await;
    live(&client, 1.0, 1.0).await;
    let shown = order_holds(&client, 3600).await;
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!((&shown[0]["sku"], &shown[0]["quantity"]), (&json!("CUP-1"), &json!(2)));
    assert_eq!((&shown[0]["hold"], &shown[0]["order_id"]), (&json!(hold.to_string()), &json!(order.to_string())));
    assert!(shown[0]["age_seconds"].as_u64().unwrap() >= HOURS.as_secs(), "{shown:?}");
    assert!(order_holds(&client, 3 * 3600).await.is_empty(), "it is not that old");
    let status = client.send(&Call::get("/ops/v1/status").ops()).await.expect(200);
    assert_eq!(status["old_order_holds"], 1, "{status:#}");
    assert_eq!(client.metric("stockroom_old_order_holds").await, 1.0);

    let soon = |before: &str| Call::get(format!("/v1/admin/holds?before={before}")).merchant();
    let expiring = client.send(&soon("2100-01-01T00:00:00Z")).await.expect(200);
    assert_eq!(expiring["items"].as_array().unwrap().len(), 1, "an order's hold never expires: {expiring:#}");
    assert_eq!((&expiring["items"][0]["id"], &expiring["items"][0]["sku"]), (&shoppers["id"], &json!("CUP-1")));
    let earlier = client.send(&soon("2020-01-01T00:00:00Z")).await.expect(200);
    assert_eq!(earlier["items"], json!([]));

    let end = Call::delete(format!("/v1/admin/stock/CUP-1/holds/{hold}")).merchant();
    let keyless = client.send(&end.clone().keyless()).await;
    assert_eq!((keyless.status, keyless.code()), (400, "idempotency_key_required"), "{:#}", keyless.body);
    client.send(&end).await.expect(204);
    live(&client, 0.0, 1.0).await;
    assert!(order_holds(&client, 0).await.is_empty());
    shop.stop().await;
}
