//! Something in the shop to ask for: carts, holds and orders in several states, whose ids are then written into the
//! OpenAPI document, so that generated calls reach behind the door.

use std::path::Path;

use serde_json::{Value, json};

/// Carts with lines and a buyer, each good for one checkout.
const CARTS: usize = 24;
/// SKUs and products whose names are given away, and units each SKU must have: enough for all carts.
const SKUS: usize = 8;
const UNITS_MIN: u64 = 60;
/// Orders by what their payment will do.
const TOKENS: [&str; 5] = ["tok_ok", "tok_ok", "tok_declined", "tok_webhook", "tok_ok"];

struct Shop {
    client: reqwest::Client,
    base: String,
    merchant: String,
    keys: std::cell::Cell<u32>,
}

impl Shop {
    async fn get(&self, path: &str) -> Value {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap().json().await.unwrap()
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        self.keys.set(self.keys.get() + 1);
        let request = self.client.request(method, format!("{}{path}", self.base)).json(&body);
        let request = request.header("idempotency-key", format!("preparation-{:08}", self.keys.get()));
        let request = request.header("prefer", "wait=10").bearer_auth(&self.merchant);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.send(reqwest::Method::POST, path, body).await
    }

    async fn cart(&self, sku: &Value) -> Value {
        let cart = self.post("/v1/carts", json!({ "currency": "USD" })).await["id"].clone();
        let (path, sku) = (format!("/v1/carts/{}", text(&cart)), text(sku));
        self.send(reqwest::Method::PUT, &format!("{path}/lines/{sku}"), json!({ "quantity": 2 })).await;
        self.send(reqwest::Method::PUT, &format!("{path}/buyer"), json!({ "email": "ada@example.org" })).await;
        cart
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The served document, its ids being what is in the shop or anything of the right form, and backups being made in one
/// directory only.
pub async fn document_with_real_ids(address: &str, merchant: &str, backups: &Path) -> Value {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let shop = Shop { client, base: format!("http://{address}"), merchant: merchant.to_owned(), keys: 0.into() };
    let products = shop.get("/v1/products?in_stock=true&currency=USD&sort=title&limit=100").await;
    let products = products["items"].as_array().unwrap();
    let variants = products.iter().flat_map(|product| product["variants"].as_array().unwrap());
    let plenty = variants.filter(|variant| variant["available"].as_u64().unwrap() >= UNITS_MIN);
    let skus: Vec<Value> = plenty.map(|variant| variant["sku"].clone()).take(SKUS).collect();
    assert_eq!(skus.len(), SKUS, "the demo catalogue has enough in stock");
    let (mut carts, mut orders, mut holds) = (Vec::new(), Vec::new(), Vec::new());
    for sku in skus.iter().cycle().take(CARTS) {
        carts.push(shop.cart(sku).await);
    }
    for token in TOKENS {
        let cart = shop.cart(&skus[0]).await;
        let payment = json!({ "provider": "simulated", "token": token });
        orders.push(shop.post("/v1/orders", json!({ "cart_id": cart, "payment": payment })).await["id"].clone());
    }
    for sku in &skus {
        holds.push(shop.post(&format!("/v1/stock/{}/holds", text(sku)), json!({ "quantity": 1 })).await["id"].clone());
    }
    let products = products.iter().map(|product| product["id"].clone()).take(SKUS).collect();
    let mut document = shop.get("/openapi.json").await;
    let real = [("Sku", skus), ("ProductId", products), ("CartId", carts), ("OrderId", orders), ("HoldId", holds)];
    for (name, ids) in real {
        let schema = &mut document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name} is a schema of the document");
        *schema = json!({ "anyOf": [{ "enum": ids }, schema.take()] });
    }
    let directory = &mut document["components"]["schemas"]["NewBackup"]["properties"]["directory"];
    assert!(directory.is_object(), "a backup's directory is in the document");
    *directory = json!({ "enum": [backups.to_str().unwrap()] });
    document
}
