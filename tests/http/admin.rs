//! Merchants: who may, products, counting units.

use serde_json::json;

use crate::shop::Shop;

const KEY: &str = "0123456789abcdef";
const OTHER_KEY: &str = "fedcba9876543210";

#[tokio::test(start_paused = true)]
async fn merchants_need_a_merchants_key() {
    let shop = Shop::open().await;
    let path = "/v1/admin/stock?low=5";
    shop.get(path).bearer("").send().await.problem(401, "unauthenticated");
    shop.get(path).bearer("stockroom_guess").send().await.problem(401, "unauthenticated");
    let ops = shop.new_key("ops").await;
    shop.get(path).bearer(&ops).send().await.problem(403, "forbidden");
    let refused = shop.get("/v1/stock/TEA").bearer("stockroom_guess").send().await;
    refused.problem(401, "unauthenticated");
    assert!(refused.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(shop.get(path).send().await.expect(200), json!({ "items": [], "next_cursor": null }));
}

#[tokio::test(start_paused = true)]
async fn a_product_is_put_shown_replaced_and_deleted() {
    let shop = Shop::open().await;
    let mut product = json!({
        "title": "Green tea", "description": "From Uji.", "categories": ["drinks/tea"],
        "attributes": { "origin": "Japan", "organic": true }, "media": ["/media/tea.jpg"],
        "variants": [{ "sku": "TEA-100", "title": "100 g", "attributes": { "grams": 100 }, "prices": { "USD": 1999 } }],
    });
    let put = |product| shop.put("/v1/admin/products/green-tea", product).send();
    let created = put(product.clone()).await;
    let shown = created.expect(201);
    assert_eq!((&shown["version"], &shown["status"]), (&json!(1), &json!("active")));
    assert_eq!(shown["attributes"], product["attributes"]);
    assert_eq!(shown["variants"][0]["available"], 0);
    let public = shop.get(created.header("location")).send().await;
    assert_eq!(public.expect(200), shown);
    assert!(public.header("cache-control").contains("max-age"));
    let tag = public.header("etag");
    shop.get("/v1/products/green-tea").header("if-none-match", tag).send().await.expect(304);
    assert_eq!(put(product.clone()).await.expect(200)["version"], 1, "nothing changed");
    product["title"] = json!("Gyokuro");
    assert_eq!(put(product).await.expect(200)["version"], 2);
    assert_eq!(shop.get("/v1/admin/products/green-tea").send().await.expect(200)["title"], "Gyokuro");
    shop.delete("/v1/admin/products/green-tea").send().await.expect(204);
    shop.get("/v1/products/green-tea").send().await.problem(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_sku_belongs_to_one_product() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 1).await;
    let thief = json!({ "title": "Thief", "variants": [{ "sku": "TEA", "prices": {} }] });
    let problem = shop.put("/v1/admin/products/thief", thief).send().await.problem(409, "sku_taken");
    assert_eq!((&problem["sku"], &problem["product"]), (&json!("TEA"), &json!("TEA")));
    shop.get("/v1/admin/products/thief").send().await.problem(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn bad_products_are_told_what_is_wrong() {
    let shop = Shop::open().await;
    let put = async |body| {
        let reply = shop.put("/v1/admin/products/p", body).send().await;
        reply.problem(400, "invalid_request")["field"].as_str().unwrap().to_owned()
    };
    assert_eq!(put(json!({ "title": "x", "variants": [{ "sku": "a b", "prices": {} }] })).await, "variants[0].sku");
    assert_eq!(put(json!({ "title": "x", "variants": [{ "sku": "a" }] })).await, "variants[0]");
    let price = json!({ "title": "x", "variants": [{ "sku": "a", "prices": { "USD": -1 } }] });
    assert!(put(price).await.starts_with("variants[0].prices"));
    assert!(!put(json!({ "title": "", "variants": [{ "sku": "a", "prices": {} }] })).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn units_are_received_and_counted_once_per_key() {
    let shop = Shop::open().await;
    let receive = |units: u32, key: &str| {
        shop.post("/v1/admin/stock/TEA/receive", json!({ "quantity": units, "reference": "note 7" })).key(key).send()
    };
    let account = receive(5, KEY).await.expect(200);
    let expected = json!({
        "sku": "TEA", "available": 5, "held": 0, "sold": 0, "received": 5, "adjusted": 0, "returned": 0, "on_hand": 5,
    });
    assert_eq!(account, expected);
    assert_eq!(receive(5, KEY).await.header("idempotency-replayed"), "true");
    receive(6, KEY).await.problem(422, "idempotency_key_reused");
    let adjust = |delta: i64, key: &str| {
        shop.post("/v1/admin/stock/TEA/adjust", json!({ "delta": delta, "reason": "count" })).key(key).send()
    };
    assert_eq!(adjust(-2, KEY).await.expect(200)["on_hand"], 3, "the same key on another route is another command");
    adjust(-4, OTHER_KEY).await.problem(409, "insufficient_stock");
    assert_eq!(shop.get("/v1/admin/stock/TEA").send().await.expect(200)["adjusted"], -2);
    let keyless = shop.post("/v1/admin/stock/TEA/receive", json!({ "quantity": 1, "reference": "x" })).send().await;
    keyless.problem(400, "idempotency_key_required");
    let nameless = json!({ "quantity": 1, "reference": "" });
    let nameless = shop.post("/v1/admin/stock/TEA/receive", nameless).key(OTHER_KEY).send().await;
    assert_eq!(nameless.problem(400, "invalid_request")["field"], "reference");
}

#[tokio::test(start_paused = true)]
async fn holds_are_listed_page_by_page_and_can_be_ended() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 5).await;
    for _ in 0..3 {
        shop.post("/v1/stock/TEA/holds", json!({ "quantity": 1 })).send().await.expect(201);
    }
    let first = shop.get("/v1/admin/stock/TEA/holds?limit=2").send().await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = shop.get(&format!("/v1/admin/stock/TEA/holds?limit=2&cursor={cursor}")).send().await.expect(200);
    assert_eq!(first["items"].as_array().unwrap().len() + second["items"].as_array().unwrap().len(), 3);
    assert_eq!(second["next_cursor"], json!(null));
    let hold = first["items"][0]["id"].as_str().unwrap();
    let end = || shop.delete(&format!("/v1/admin/stock/TEA/holds/{hold}"));
    end().send().await.problem(400, "idempotency_key_required");
    end().key(KEY).send().await.expect(204);
    assert_eq!(shop.available("TEA").await, 3);
    let bad = shop.get("/v1/admin/stock/TEA/holds?cursor=x").send().await;
    assert_eq!(bad.problem(400, "invalid_request")["field"], "cursor");
}

#[tokio::test(start_paused = true)]
async fn an_import_takes_the_good_rows_and_names_the_bad_ones() {
    let shop = Shop::open().await;
    let rows = concat!(
        r#"{"id":"p1","title":"One","variants":[{"sku":"S1","prices":{"USD":100}}]}"#,
        "\n",
        r#"{"id":"p 2","title":"Two","variants":[{"sku":"S2","prices":{"USD":100}}]}"#,
        "\n",
        r#"{"id":"p3","title":"Three","variants":[{"sku":"S3","prices":{"USD":100}}]}"#,
        "\n",
    );
    let import = || {
        let call = shop.call(axum::http::Method::POST, "/v1/admin/products:import");
        call.header("content-type", "application/x-ndjson").body(rows).send()
    };
    let report = import().await.expect(200);
    assert_eq!((&report["created"], &report["failed"]), (&json!(2), &json!(1)));
    assert_eq!(report["errors"][0]["line"], 2);
    assert_eq!(import().await.expect(200)["unchanged"], 2);
    shop.get("/v1/products/p3").send().await.expect(200);
    let picture = shop.call(axum::http::Method::POST, "/v1/admin/products:import").header("content-type", "image/png");
    picture.body("x").send().await.problem(415, "unsupported_media_type");
}

#[tokio::test(start_paused = true)]
async fn an_export_is_a_file_in_the_form_asked_for_and_for_merchants_only() {
    let shop = Shop::open().await;
    let path = "/v1/admin/products:export";
    shop.call(axum::http::Method::GET, path).bearer("nobody").send().await.problem(401, "unauthenticated");
    assert_eq!(shop.get(path).send().await.text, "NdJson one\nNdJson two\n");
    assert_eq!(shop.get(&format!("{path}?format=csv")).send().await.text, "Csv one\nCsv two\n");
    shop.get(&format!("{path}?format=xml")).send().await.problem(400, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn lists_refuse_parameters_they_do_not_know() {
    let shop = Shop::open().await;
    shop.get("/v1/admin/orders?state=confirmed&since=2026-01-01T00:00:00Z&limit=5").send().await.expect(200);
    for bad in ["state=lost", "since=yesterday", "limit=0", "limit=201", "colour=red", "state=placed&state=failed"] {
        shop.get(&format!("/v1/admin/orders?{bad}")).send().await.problem(400, "invalid_request");
    }
    shop.get("/v1/admin/stock?low=1001").send().await.problem(400, "invalid_request");
    shop.get("/v1/products?q=tea&limit=0").send().await.problem(400, "invalid_request");
    let page = shop.get("/v1/products?q=tea").send().await.expect(200);
    assert_eq!((&page["items"], &page["total"], &page["next_cursor"]), (&json!([]), &json!(0), &json!(null)));
}
