//! Carts: lines, buyers, versions, merging.

use axum::http::Method;
use serde_json::{Value, json};
use stockroom::domain::ids::EntityId;

use crate::shop::Shop;

const KEY: &str = "0123456789abcdef";
const OTHER_KEY: &str = "fedcba9876543210";

#[tokio::test(start_paused = true)]
async fn a_cart_begins_empty_and_is_found_again() {
    let shop = Shop::open().await;
    let created = shop.post("/v1/carts", json!({ "currency": "USD" })).send().await;
    let cart = created.expect(201);
    let totals = json!({ "subtotal": 0, "discount": 0, "shipping": 0, "tax": 0, "total": 0, "currency": "USD" });
    assert_eq!((&cart["version"], &cart["lines"], &cart["totals"]), (&json!(1), &json!([]), &totals));
    assert_eq!(created.header("etag"), "\"1\"");
    assert_eq!(shop.get(created.header("location")).send().await.expect(200), cart);
    shop.get("/v1/carts/00000000000000000000000000000000").send().await.problem(404, "not_found");
    shop.get("/v1/carts/not-an-id").send().await.problem(400, "invalid_request");
    shop.post("/v1/carts", json!({ "currency": "usd" })).send().await.problem(400, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn a_cart_created_twice_under_one_key_is_one_cart() {
    let shop = Shop::open().await;
    let create = |currency: &str| shop.post("/v1/carts", json!({ "currency": currency })).key(KEY).send();
    let (first, again) = (create("USD").await, create("USD").await);
    assert_eq!(first.expect(201)["id"], again.expect(201)["id"]);
    assert_eq!(again.header("idempotency-replayed"), "true");
    create("EUR").await.problem(422, "idempotency_key_reused");
}

#[tokio::test(start_paused = true)]
async fn lines_take_title_and_price_from_the_stock_item() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let id = shop.cart(&[]).await;
    let line = format!("/v1/carts/{id}/lines/TEA");
    let cart = shop.put(&line, json!({ "quantity": 3 })).send().await.expect(200);
    let expected = json!([{ "sku": "TEA", "title": "Product TEA", "quantity": 3, "unit_price": 1999, "total": 5997 }]);
    assert_eq!((&cart["lines"], &cart["totals"]["total"], &cart["version"]), (&expected, &json!(5997), &json!(2)));
    assert_eq!(shop.put(&line, json!({ "quantity": 0 })).send().await.expect(200)["lines"], json!([]));
    shop.put(&line, json!({ "quantity": 1 })).send().await.expect(200);
    assert_eq!(shop.delete(&line).send().await.expect(200)["lines"], json!([]));
    assert_eq!(shop.delete(&line).send().await.expect(200)["lines"], json!([]), "taking out what is not in is fine");
}

#[tokio::test(start_paused = true)]
async fn a_line_edited_twice_under_one_key_is_edited_once() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let id = shop.cart(&[]).await;
    let put =
        |quantity: u32| shop.put(&format!("/v1/carts/{id}/lines/TEA"), json!({ "quantity": quantity })).key(KEY).send();
    let (first, again) = (put(2).await, put(2).await);
    assert_eq!(first.expect(200), again.expect(200));
    assert_eq!(again.header("idempotency-replayed"), "true");
    put(3).await.problem(422, "idempotency_key_reused");
}

#[tokio::test(start_paused = true)]
async fn an_accepted_line_is_answered_alike_when_the_sku_is_no_longer_for_sale() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let id = shop.cart(&[]).await;
    let put = |key: &str| shop.put(&format!("/v1/carts/{id}/lines/TEA"), json!({ "quantity": 2 })).key(key).send();
    let first = put(KEY).await;
    shop.delete("/v1/admin/products/TEA").send().await.expect(204);
    let again = put(KEY).await;
    assert_eq!(first.expect(200), again.expect(200));
    assert_eq!(again.header("idempotency-replayed"), "true");
    put(OTHER_KEY).await.problem(409, "unavailable");
}

#[tokio::test(start_paused = true)]
async fn an_accepted_edit_is_still_a_yes_when_the_cart_is_gone() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let (into, from) = (shop.cart(&[]).await, shop.cart(&[]).await);
    let put = |key: &str| shop.put(&format!("/v1/carts/{from}/lines/TEA"), json!({ "quantity": 2 })).key(key).send();
    let first = put(KEY).await.expect(200);
    shop.post(&format!("/v1/carts/{into}/merge"), json!({ "from": from })).send().await.expect(200);
    let again = put(KEY).await;
    let shown = again.expect(200);
    assert_eq!((&shown["version"], &shown["totals"]), (&first["version"], &first["totals"]));
    assert_eq!((&shown["lines"], again.header("etag")), (&json!([]), "\"2\""), "the lines are in the other cart");
    assert_eq!(again.header("idempotency-replayed"), "true");
    put(OTHER_KEY).await.problem(410, "cart_gone");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_for_sale_cannot_be_put_in() {
    let shop = Shop::open().await;
    let id = shop.cart(&[]).await;
    let unknown = shop.put(&format!("/v1/carts/{id}/lines/NOTHING"), json!({ "quantity": 1 })).send().await;
    assert_eq!(unknown.problem(409, "unavailable")["sku"], "NOTHING");
    shop.stocked("TEA", 5).await;
    let yen = shop.post("/v1/carts", json!({ "currency": "JPY" })).send().await.expect(201);
    let path = format!("/v1/carts/{}/lines/TEA", yen["id"].as_str().unwrap());
    shop.put(&path, json!({ "quantity": 1 })).send().await.problem(409, "unavailable");
    let too_many = shop.put(&format!("/v1/carts/{id}/lines/TEA"), json!({ "quantity": 1_000_001 })).send().await;
    too_many.problem(400, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_a_version_that_is_gone_is_refused() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    let id = shop.cart(&[("TEA", 1)]).await;
    let line = format!("/v1/carts/{id}/lines/TEA");
    let stale = shop.put(&line, json!({ "quantity": 2 })).header("if-match", "\"1\"").send().await;
    let problem = stale.problem(409, "cart_version");
    assert_eq!((&problem["expected"], &problem["version"]), (&json!(1), &json!(2)));
    shop.put(&line, json!({ "quantity": 2 })).header("if-match", "\"2\"").send().await.expect(200);
    shop.put(&line, json!({ "quantity": 2 })).header("if-match", "2").send().await.problem(400, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn the_buyer_is_sealed_inside_and_readable_with_the_cart() {
    let shop = Shop::open().await;
    let id = shop.cart(&[]).await;
    let buyer = json!({
        "email": "ada@example.org",
        "shipping_address": { "line1": "1 High Street", "city": "London", "country": "GB" },
    });
    let cart = shop.put(&format!("/v1/carts/{id}/buyer"), buyer.clone()).send().await.expect(200);
    assert_eq!(cart["buyer"], buyer);
    assert!(shop.world.keeps_data_keys());
    assert_eq!(shop.get(&format!("/v1/carts/{id}")).send().await.expect(200)["buyer"], buyer);
    let bad = shop.put(&format!("/v1/carts/{id}/buyer"), json!({ "email": "nobody" })).send().await;
    assert_eq!(bad.problem(400, "invalid_request")["field"], "email");
}

#[tokio::test(start_paused = true)]
async fn merging_adds_the_other_carts_lines_and_closes_it() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    shop.stocked("CUP", 5).await;
    let (into, from) = (shop.cart(&[("TEA", 1)]).await, shop.cart(&[("TEA", 2), ("CUP", 1)]).await);
    let merge = |into: &str, from: &str| shop.post(&format!("/v1/carts/{into}/merge"), json!({ "from": from })).send();
    let cart = merge(&into, &from).await.expect(200);
    let units = |sku: &str| {
        let lines = cart["lines"].as_array().unwrap().iter();
        lines.filter(|line| line["sku"] == sku).map(|line| line["quantity"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((units("TEA"), units("CUP")), (3, 1));
    shop.get(&format!("/v1/carts/{from}")).send().await.problem(410, "cart_gone");
    let line = format!("/v1/carts/{from}/lines/TEA");
    shop.put(&line, json!({ "quantity": 1 })).send().await.problem(410, "cart_gone");
    merge(&into, "00000000000000000000000000000000").await.problem(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_cart_that_waits_for_anothers_lines_is_neither_edited_nor_bought_nor_given_away() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 50).await;
    let (one, two) = (shop.cart(&[("TEA", 1)]).await, shop.cart(&[("TEA", 2)]).await);
    let (three, four) = (shop.cart(&[("TEA", 4)]).await, shop.cart(&[("TEA", 8)]).await);
    let merge = |into: &str, from: &str, key: &str| {
        shop.post(&format!("/v1/carts/{into}/merge"), json!({ "from": from })).key(key).send()
    };
    let units = |cart: Value| cart["lines"][0]["quantity"].as_u64().unwrap();
    shop.world.deafen(EntityId::cart(two.parse().unwrap()));
    let waits = merge(&one, &two, KEY).await.problem(504, "outcome_unknown");
    assert_eq!((&waits["retryable"], &waits["outcome"]), (&json!(true), &json!("unknown")));

    let line = format!("/v1/carts/{one}/lines/TEA");
    let payment = json!({ "provider": "simulated", "token": "tok_ok" });
    let refused = [
        shop.put(&line, json!({ "quantity": 3 })).send().await,
        shop.delete(&line).send().await,
        shop.put(&format!("/v1/carts/{one}/buyer"), json!({ "email": "ada@example.org" })).send().await,
        shop.post("/v1/orders", json!({ "cart_id": one, "payment": payment }))
            .key("order-of-one-00000000")
            .send()
            .await,
        merge(&one, &four, "merge-into-one-0000000").await,
        merge(&three, &one, OTHER_KEY).await,
    ];
    for answer in refused {
        let problem = answer.problem(409, "cart_merging");
        assert_eq!((&problem["retryable"], &problem["outcome"]), (&json!(true), &json!("rejected")), "{problem}");
    }
    assert_eq!(units(shop.get(&format!("/v1/carts/{one}")).send().await.expect(200)), 1);
    assert_eq!(units(shop.get(&format!("/v1/carts/{three}")).send().await.expect(200)), 4);

    shop.world.hear();
    assert_eq!(units(merge(&one, &two, KEY).await.expect(200)), 3, "the retry hears how it ended");
    shop.put(&line, json!({ "quantity": 5 })).send().await.expect(200);
    let given = merge(&three, &one, OTHER_KEY).await;
    assert_eq!(
        units(given.expect(200)),
        9,
        "a refusal is not remembered: the same request under the same key helps now"
    );
    shop.get(&format!("/v1/carts/{one}")).send().await.problem(410, "cart_gone");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_json_is_refused_as_such() {
    let shop = Shop::open().await;
    let text = shop.call(Method::POST, "/v1/carts").header("content-type", "text/plain").body("{}");
    text.send().await.problem(415, "unsupported_media_type");
    let broken = shop.call(Method::POST, "/v1/carts").header("content-type", "application/json").body("{");
    broken.send().await.problem(400, "invalid_request");
    let unknown = shop.post("/v1/carts", json!({ "currency": "USD", "coupon": "X" })).send().await;
    assert_eq!(unknown.problem(400, "invalid_request")["field"], "coupon");
    let twice = r#"{"currency":"USD","currency":"EUR"}"#;
    let twice = shop.call(Method::POST, "/v1/carts").header("content-type", "application/json").body(twice);
    twice.send().await.problem(400, "invalid_request");
    let huge = shop.post("/v1/carts", Value::String("x".repeat(1100 * 1024))).send().await;
    assert_eq!(huge.problem(413, "too_large")["limit"], 1024 * 1024);
}
