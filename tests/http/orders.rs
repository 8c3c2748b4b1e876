//! Checkout, watching, cancelling, and the payment provider's webhook.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use serde_json::{Value, json};
use stockroom::domain::payment::PaymentOutcome;
use stockroom::domain::time::Timestamp;
use stockroom::http::HttpOptions;
use stockroom::payments::gateway::{Gateways, PaymentGateway, PaymentUnknown};
use stockroom::payments::webhook::{WebhookError, WebhookNotice, WebhookSecret};

use crate::shop::{Reply, Shop};
use crate::world::BEGINNING_MS;

const KEY: &str = "0123456789abcdef";
const OTHER_KEY: &str = "fedcba9876543210";

fn order_of(cart: &str, token: &str) -> Value {
    json!({ "cart_id": cart, "payment": { "provider": "simulated", "token": token } })
}

async fn check_out(shop: &Shop, cart: &str, token: &str, key: &str) -> Reply {
    shop.post("/v1/orders", order_of(cart, token)).key(key).send().await
}

async fn open_with(units: u32) -> Shop {
    let shop = Shop::open().await;
    shop.stocked("TEA", units).await;
    shop
}

/// Five units for sale, and a provider that signs its webhooks with this.
async fn open_with_provider(secret: &WebhookSecret) -> Shop {
    let gateway: Arc<dyn PaymentGateway> = Arc::new(Signed(secret.clone()));
    let shop = Shop::with(HttpOptions::default(), Gateways::new([("simulated".to_owned(), gateway)])).await;
    shop.stocked("TEA", 5).await;
    shop
}

/// The provider's news that the order's first payment is authorised.
fn authorised(shop: &Shop, order: &Value) -> WebhookNotice {
    WebhookNotice {
        id: "notice-1".to_owned(),
        order: order["id"].as_str().unwrap().parse().unwrap(),
        key: shop.world.payments()[0].key.clone(),
        outcome: PaymentOutcome::Authorised,
    }
}

fn report(shop: &Shop, provider: &str, signature: &str, body: &[u8]) -> impl Future<Output = Reply> + use<> {
    let path = format!("/v1/webhooks/payments/{provider}");
    let call = shop.call(axum::http::Method::POST, &path).header("content-type", "application/json");
    call.header("stockroom-signature", signature).body(body.to_vec()).send()
}

#[tokio::test(start_paused = true)]
async fn a_checkout_needs_a_key_of_sixteen_visible_characters() {
    let shop = open_with(5).await;
    let cart = shop.cart(&[("TEA", 1)]).await;
    let body = order_of(&cart, "tok_ok");
    shop.post("/v1/orders", body.clone()).send().await.problem(400, "idempotency_key_required");
    shop.post("/v1/orders", body).key("short").send().await.problem(400, "idempotency_key_invalid");
}

#[tokio::test(start_paused = true)]
async fn a_checkout_sells_what_is_in_the_cart_and_repeats_harmlessly() {
    let shop = open_with(5).await;
    let cart = shop.cart(&[("TEA", 2)]).await;
    let first = check_out(&shop, &cart, "tok_ok", KEY).await;
    let order = first.expect(201);
    assert_eq!((&order["state"], &order["totals"]["total"]), (&json!("confirmed"), &json!(3998)));
    let line = json!([{ "sku": "TEA", "title": "Product TEA", "quantity": 2, "unit_price": 1999, "total": 3998 }]);
    assert_eq!(order["lines"], line);
    assert_eq!(order["payment"]["provider"], "simulated");
    assert_eq!(shop.get(first.header("location")).send().await.expect(200), order);
    let again = check_out(&shop, &cart, "tok_ok", KEY).await;
    assert_eq!((again.expect(201), again.header("idempotency-replayed")), (order.clone(), "true"));
    let other_key = check_out(&shop, &cart, "tok_ok", OTHER_KEY).await;
    assert_eq!(
        (other_key.expect(200)["id"].clone(), other_key.header("idempotency-replayed")),
        (order["id"].clone(), "")
    );
    check_out(&shop, &cart, "tok_declined", KEY).await.problem(422, "idempotency_key_reused");
    assert_eq!(shop.available("TEA").await, 3);
    assert_eq!(shop.world.payments().len(), 1, "charged once");
    let cart = shop.get(&format!("/v1/carts/{cart}")).send().await.expect(200);
    assert_eq!((&cart["order_id"], &cart["lines"]), (&order["id"], &json!([])));
}

#[tokio::test(start_paused = true)]
async fn a_declined_payment_fails_the_order_and_frees_the_units() {
    let shop = open_with(5).await;
    let cart = shop.cart(&[("TEA", 2)]).await;
    let order = check_out(&shop, &cart, "tok_declined", KEY).await.expect(201);
    assert_eq!(order["state"], "failed");
    assert_eq!(order["failure"], json!({ "code": "payment_declined", "reason": "card_declined" }));
    assert_eq!(shop.available("TEA").await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_not_offered_is_refused_before_anything_is_held() {
    let shop = open_with(1).await;
    let cart = shop.cart(&[("TEA", 1)]).await;
    let order = json!({ "cart_id": cart, "payment": { "provider": "stripe", "token": "tok_ok" } });
    let problem = shop.post("/v1/orders", order).key(KEY).send().await.problem(400, "invalid_request");
    assert_eq!(problem["field"], "payment.provider");
    assert!(problem["detail"].as_str().unwrap().contains("simulated"), "it says what is offered: {problem}");
    assert_eq!(shop.available("TEA").await, 1);
    // The cart is as it was, and the key is free.
    assert_eq!(check_out(&shop, &cart, "tok_ok", KEY).await.expect(201)["state"], "confirmed");
}

#[tokio::test(start_paused = true)]
async fn an_order_for_more_than_there_is_fails_and_says_how_much_there_was() {
    let shop = open_with(1).await;
    let cart = shop.cart(&[("TEA", 2)]).await;
    let order = check_out(&shop, &cart, "tok_ok", KEY).await.expect(201);
    assert_eq!(order["state"], "failed");
    assert_eq!(order["failure"], json!({ "code": "insufficient_stock", "sku": "TEA", "available": 1 }));
    assert!(shop.world.payments().is_empty(), "nothing was charged");
    assert_eq!(shop.available("TEA").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_bought_with_the_order() {
    let shop = open_with(2).await;
    let hold = shop.post("/v1/stock/TEA/holds", json!({ "quantity": 2 })).send().await.expect(201);
    let cart = shop.cart(&[("TEA", 2)]).await;
    let mut body = order_of(&cart, "tok_ok");
    body["holds"] = json!([{ "sku": "TEA", "id": hold["id"] }]);
    assert_eq!(shop.post("/v1/orders", body.clone()).key(KEY).send().await.expect(201)["state"], "confirmed");
    assert_eq!(shop.available("TEA").await, 0);
    body["holds"] = json!([{ "sku": "TEA", "id": hold["id"] }, { "sku": "TEA", "id": hold["id"] }]);
    let twice = shop.post("/v1/orders", body).key(OTHER_KEY).send().await;
    assert_eq!(twice.problem(400, "invalid_request")["field"], "holds[1].sku");
}

#[tokio::test(start_paused = true)]
async fn a_changed_price_is_shown_before_it_is_paid() {
    let shop = open_with(5).await;
    let cart = shop.cart(&[("TEA", 1)]).await;
    let dearer = json!({ "title": "Product TEA", "variants": [{ "sku": "TEA", "prices": { "USD": 2500 } }] });
    shop.put("/v1/admin/products/TEA", dearer).send().await.expect(200);
    let problem = check_out(&shop, &cart, "tok_ok", KEY).await.problem(409, "price_changed");
    assert_eq!((&problem["was"], &problem["is"]), (&json!(1999), &json!(2500)));
    assert_eq!(problem["cart"]["totals"]["total"], 2500);
    let order = check_out(&shop, &cart, "tok_ok", OTHER_KEY).await.expect(201);
    assert_eq!(order["totals"]["total"], 2500);
}

#[tokio::test(start_paused = true)]
async fn carts_that_cannot_be_bought_are_refused() {
    let shop = open_with(5).await;
    let empty = shop.cart(&[]).await;
    check_out(&shop, &empty, "tok_ok", KEY).await.problem(409, "cart_empty");
    let unknown = "00000000000000000000000000000000";
    check_out(&shop, unknown, "tok_ok", KEY).await.problem(404, "not_found");
    let cart = shop.cart(&[("TEA", 1)]).await;
    let mut stale = order_of(&cart, "tok_ok");
    stale["cart_version"] = json!(1);
    shop.post("/v1/orders", stale).key(KEY).send().await.problem(409, "cart_version");
    shop.delete("/v1/admin/products/TEA").send().await.expect(204);
    let gone = check_out(&shop, &cart, "tok_ok", KEY).await;
    assert_eq!(gone.problem(409, "unavailable")["sku"], "TEA");
}

#[tokio::test(start_paused = true)]
async fn without_a_wait_an_undecided_order_is_answered_202_and_the_webhook_decides_it() {
    let secret = WebhookSecret::new([5; 32]);
    let shop = open_with_provider(&secret).await;
    let cart = shop.cart(&[("TEA", 1)]).await;
    let accepted = check_out(&shop, &cart, "tok_webhook", KEY).await;
    let order = accepted.expect(202);
    assert_eq!(order["state"], "authorizing");
    let waited = shop.post("/v1/orders", order_of(&cart, "tok_webhook")).key(KEY).header("prefer", "wait=2").send();
    let waited = waited.await;
    assert_eq!(
        (waited.expect(202)["state"].as_str(), waited.header("preference-applied")),
        (Some("authorizing"), "wait=2")
    );

    let signed = secret.sign(&authorised(&shop, &order), Timestamp(BEGINNING_MS));
    let send = |provider: &str, signature: &str| report(&shop, provider, signature, &signed.body);
    send("nobody", &signed.signature).await.problem(404, "not_found");
    send("simulated", "t=1,v1=00").await.problem(401, "unauthenticated");
    send("simulated", &signed.signature).await.expect(204);
    send("simulated", &signed.signature).await.expect(204);
    assert_eq!(shop.get(accepted.header("location")).send().await.expect(200)["state"], "confirmed");
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_fresh_by_the_wall_clock_however_far_the_nodes_own_is_off() {
    let secret = WebhookSecret::new([5; 32]);
    let shop = open_with_provider(&secret).await;
    let cart = shop.cart(&[("TEA", 1)]).await;
    let order = check_out(&shop, &cart, "tok_webhook", KEY).await.expect(202);
    let notice = authorised(&shop, &order);
    for off_ms in [3_600_000, -3_600_000] {
        shop.wall_off_ms.store(off_ms, Ordering::Relaxed);
        let wall = Timestamp(BEGINNING_MS.checked_add_signed(off_ms).unwrap());
        for (at, status) in [(Timestamp(BEGINNING_MS), 401), (wall, 204)] {
            let signed = secret.sign(&notice, at);
            report(&shop, "simulated", &signed.signature, &signed.body).await.expect(status);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_order_gives_everything_back() {
    let shop = open_with(5).await;
    let cart = shop.cart(&[("TEA", 2)]).await;
    let placed = check_out(&shop, &cart, "tok_ok", KEY).await;
    let cancel = format!("{}/cancel", placed.header("location"));
    let order = shop.post(&cancel, json!({ "reason": "changed my mind" })).send().await.expect(200);
    assert_eq!(order["state"], "cancelled");
    assert_eq!(shop.available("TEA").await, 5);
    let again = shop.call(axum::http::Method::POST, &cancel).send().await.expect(200);
    assert_eq!(again["state"], "cancelled", "cancelling twice is cancelling once");
    let unknown = "/v1/orders/00000000000000000000000000000000/cancel";
    shop.call(axum::http::Method::POST, unknown).send().await.problem(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn the_stream_tells_every_state_and_resumes_behind_the_last_one_seen() {
    let shop = open_with(5).await;
    let cart = shop.cart(&[("TEA", 1)]).await;
    let placed = check_out(&shop, &cart, "tok_declined", KEY).await;
    let rows = placed.expect(201)["history"].as_array().unwrap().len();
    let events = format!("{}/events", placed.header("location"));
    let all = shop.get(&events).send().await;
    assert_eq!(all.text.matches("event: order").count(), rows, "{}", all.text);
    assert!(all.text.contains("\"state\":\"failed\""), "and ends by itself after a terminal state");
    let rest = shop.get(&events).header("last-event-id", &(rows - 1).to_string()).send().await;
    assert_eq!(rest.text.matches("event: order").count(), 1, "{}", rest.text);
    let ahead = shop.get(&events).header("last-event-id", "99").begin().await;
    let mut pieces = ahead.into_body().into_data_stream();
    let mut seen = String::new();
    while let Some(piece) = pieces.next().await {
        seen.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    assert_eq!(seen.matches("event: order").count(), rows);
}

#[tokio::test(start_paused = true)]
async fn merchants_fulfil_deliver_refund_and_erase() {
    let shop = open_with(5).await;
    let cart = shop.cart(&[("TEA", 2)]).await;
    shop.put(&format!("/v1/carts/{cart}/buyer"), json!({ "email": "ada@example.org" })).send().await.expect(200);
    let order = check_out(&shop, &cart, "tok_ok", KEY).await.expect(201);
    assert_eq!(order["buyer"]["email"], "ada@example.org");
    let admin = |action: &str| format!("/v1/admin/orders/{}/{action}", order["id"].as_str().unwrap());
    shop.post(&admin("deliver"), json!({})).send().await.problem(409, "order_state");
    let fulfilled = shop.post(&admin("fulfil"), json!({ "tracking": "TRACK-1" })).send().await.expect(200);
    assert_eq!((&fulfilled["state"], &fulfilled["payment"]["captured"]), (&json!("fulfilled"), &json!(3998)));
    assert_eq!(fulfilled["shipments"][0]["tracking"], "TRACK-1");
    assert_eq!(shop.post(&admin("deliver"), json!({})).send().await.expect(200)["state"], "delivered");

    let one = json!({ "lines": [{ "sku": "TEA", "quantity": 1 }], "restock": true });
    shop.post(&admin("refund"), one.clone()).send().await.problem(400, "idempotency_key_required");
    let refunded = shop.post(&admin("refund"), one.clone()).key(KEY).send().await.expect(200);
    assert_eq!((&refunded["payment"]["refunded"], &refunded["refunds"][0]["amount"]), (&json!(1999), &json!(1999)));
    shop.post(&admin("refund"), one).key(KEY).send().await.expect(200);
    assert_eq!(shop.available("TEA").await, 4, "one unit came back, once");
    let rest = shop.post(&admin("refund"), json!({})).key(OTHER_KEY).send().await.expect(200);
    assert_eq!((&rest["state"], &rest["payment"]["refunded"]), (&json!("refunded"), &json!(3998)));

    let erased = shop.post(&admin("erase"), json!({})).send().await.expect(200);
    assert!(erased.get("buyer").is_none());
    assert!(!shop.world.keeps_data_keys(), "the key is gone, and with it the data");
}

/// A provider that only signs webhooks.
struct Signed(WebhookSecret);

#[async_trait::async_trait]
impl PaymentGateway for Signed {
    async fn execute(
        &self,
        _request: &stockroom::domain::payment::PaymentRequest,
    ) -> Result<PaymentOutcome, PaymentUnknown> {
        Err(PaymentUnknown::NoAnswer)
    }

    fn verify_webhook(
        &self,
        headers: &axum::http::HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<WebhookNotice, WebhookError> {
        self.0.verify(headers, body, now)
    }
}
