//! What is left, live, and holds.

use futures::StreamExt;
use serde_json::json;

use crate::shop::Shop;

const KEY: &str = "0123456789abcdef";

#[tokio::test(start_paused = true)]
async fn stock_tells_what_is_left_and_answers_304_while_nothing_changed() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let first = shop.get("/v1/stock/TEA").send().await;
    assert_eq!(first.expect(200), json!({ "sku": "TEA", "available": 5, "as_of": "2026-11-22T16:00:00.000Z" }));
    let tag = first.header("etag");
    shop.get("/v1/stock/TEA").header("if-none-match", tag).send().await.expect(304);
    shop.post("/v1/stock/TEA/holds", json!({ "quantity": 1 })).send().await.expect(201);
    shop.get("/v1/stock/TEA").header("if-none-match", tag).send().await.expect(200);
    shop.get("/v1/stock/NOTHING").send().await.problem(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_hold_takes_units_until_it_is_given_back() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let placed = shop.post("/v1/stock/TEA/holds", json!({ "quantity": 2, "ttl_seconds": 60 })).send().await;
    let hold = placed.expect(201);
    assert_eq!(hold["expires_at"], "2026-11-22T16:01:00.000Z");
    assert_eq!((&hold["sku"], &hold["quantity"]), (&json!("TEA"), &json!(2)));
    assert_eq!(shop.available("TEA").await, 3);
    shop.delete(placed.header("location")).send().await.expect(204);
    assert_eq!(shop.available("TEA").await, 5);
    shop.delete("/v1/stock/TEA/holds/00000000000000000000000000000000").send().await.problem(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_by_itself() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    shop.post("/v1/stock/TEA/holds", json!({ "quantity": 2, "ttl_seconds": 60 })).send().await.expect(201);
    shop.world.wait(61);
    assert_eq!(shop.available("TEA").await, 5);
}

#[tokio::test(start_paused = true)]
async fn the_last_unit_is_held_once() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 1).await;
    shop.post("/v1/stock/TEA/holds", json!({ "quantity": 1 })).send().await.expect(201);
    let problem = shop.post("/v1/stock/TEA/holds", json!({ "quantity": 1 })).send().await;
    let problem = problem.problem(409, "insufficient_stock");
    assert_eq!((&problem["sku"], &problem["requested"], &problem["available"]), (&json!("TEA"), &json!(1), &json!(0)));
    assert_eq!((&problem["retryable"], &problem["outcome"]), (&json!(false), &json!("rejected")));
}

#[tokio::test(start_paused = true)]
async fn a_hold_repeated_under_its_key_is_the_same_hold_and_takes_nothing_more() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let place = |body| shop.post("/v1/stock/TEA/holds", body).key(KEY).send();
    let first = place(json!({ "quantity": 2 })).await;
    let again = place(json!({ "quantity": 2 })).await;
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_eq!(shop.available("TEA").await, 3);
    place(json!({ "quantity": 3 })).await.problem(422, "idempotency_key_reused");
    assert_eq!(shop.available("TEA").await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_bad_hold_request_is_told_what_is_wrong() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let bodies = [
        (json!({}), ""),
        (json!({ "quantity": 0 }), "quantity"),
        (json!({ "quantity": 1_000_001 }), "quantity"),
        (json!({ "quantity": 1.5 }), "quantity"),
        (json!({ "quantity": "1" }), "quantity"),
        (json!({ "quantity": 1, "ttl_seconds": 0 }), "ttl_seconds"),
        (json!({ "quantity": 1, "ttl_seconds": 86_401 }), "ttl_seconds"),
        (json!({ "quantity": 1, "colour": "red" }), "colour"),
    ];
    for (body, field) in bodies {
        let problem = shop.post("/v1/stock/TEA/holds", body.clone()).send().await;
        assert_eq!(problem.problem(400, "invalid_request")["field"], field, "{body}");
    }
    assert_eq!(shop.available("TEA").await, 5);
}

#[tokio::test(start_paused = true)]
async fn the_stream_tells_the_state_now_and_the_latest_after_a_change() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let stream = shop.get("/v1/stock/TEA/events").begin().await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut pieces = stream.into_body().into_data_stream();
    let mut seen = String::new();
    while !seen.contains("\"available\":5") {
        seen.push_str(std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(seen.contains("event: stock"), "{seen}");
    for _ in 0..3 {
        shop.post("/v1/stock/TEA/holds", json!({ "quantity": 1 })).send().await.expect(201);
    }
    while !seen.contains("\"available\":2") {
        seen.push_str(std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(!seen.contains("\"available\":4"), "what came in between is told together: {seen}");
}

#[tokio::test(start_paused = true)]
async fn a_resumed_stream_is_silent_until_something_is_newer() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let sequence = shop.get("/v1/stock/TEA").send().await.header("etag").trim_matches('"').to_owned();
    let stream = shop.get("/v1/stock/TEA/events").header("last-event-id", &sequence).begin().await;
    let mut pieces = stream.into_body().into_data_stream();
    let mut seen = String::new();
    shop.post("/v1/stock/TEA/holds", json!({ "quantity": 1 })).send().await.expect(201);
    while !seen.contains("\"available\"") {
        seen.push_str(std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(seen.contains("\"available\":4"), "{seen}");
    let ahead = shop.get("/v1/stock/TEA/events").header("last-event-id", "999").begin().await;
    let piece = ahead.into_body().into_data_stream().next().await.unwrap().unwrap();
    assert!(!piece.is_empty());
    shop.get("/v1/stock/NOTHING/events").send().await.problem(404, "not_found");
}
