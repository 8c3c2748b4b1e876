//! What the page shows live, it heard on its event stream: the node reads nothing without a signal, the page's own
//! asking now and then is switched off, and every event is counted.

use fantoccini::Client;
use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::{DESKTOP, Stage};
use crate::{fill_cart, fill_form, open_product, see, wait_for};

/// Writes down what every stream of this page tells, and lets nothing be asked at intervals. A reload forgets it all.
const LISTEN: &str = "
    const Real = window.EventSource;
    window.told = [];
    window.EventSource = class extends Real {
        constructor(path) {
            super(path);
            const listen = (event) => window.told.push({ path, name: event.type, data: JSON.parse(event.data) });
            for (const name of ['stock', 'order']) this.addEventListener(name, listen);
        }
    };
    window.setInterval = () => 0;";

async fn told(browser: &Client, name: &str) -> Vec<Value> {
    let script = "return window.told.filter((event) => event.name === arguments[0]).map((event) => event.data)";
    let told = browser.execute(script, vec![json!(name)]).await.unwrap();
    told.as_array().expect("the page was never loaded again").clone()
}

/// Something done to the shop by somebody else.
async fn outside(stage: &Stage, path: &str, body: Value, key: Option<&str>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().request(Method::POST, stage.url(path)).json(&body);
    let request = request.header("idempotency-key", format!("from-the-outside-{body}"));
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_product_changes_while_one_looks_at_it() {
    let stage = Stage::set(DESKTOP).await;
    let browser = stage.browser();
    see(browser, ".card").await;
    browser.execute(LISTEN, vec![]).await.unwrap();
    let sku = open_product(browser).await;
    let first = "return window.told.find((event) => event.data.sku === arguments[0])?.data.available ?? null";
    let before = wait_for(browser, first, vec![json!(sku)]).await.as_u64().unwrap();
    assert!(before > 10, "the demo has plenty of it");
    let shown = "return document.getElementById('stock').textContent === arguments[0] || null";
    wait_for(browser, shown, vec![json!(format!("{before} in stock"))]).await;

    outside(&stage, &format!("/v1/stock/{sku}/holds"), json!({"quantity": 3}), None).await;
    wait_for(browser, shown, vec![json!(format!("{} in stock", before - 3))]).await;
    outside(&stage, &format!("/v1/stock/{sku}/holds"), json!({"quantity": before - 3 - 1, "ttl_seconds": 60}), None)
        .await;
    wait_for(browser, shown, vec![json!("Last one")]).await;
    let events = told(browser, "stock").await.into_iter().filter(|event| event["sku"] == sku.as_str());
    let left: Vec<u64> = events.map(|event| event["available"].as_u64().unwrap()).collect();
    assert_eq!(left, [before, before - 3, 1], "each told once");
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_followed_to_the_door_without_asking() {
    let stage = Stage::set(DESKTOP).await;
    let browser = stage.browser();
    fill_cart(browser).await;
    browser.execute(LISTEN, vec![]).await.unwrap();
    fill_form(browser, "tok_webhook").await;
    see(browser, "#buy").await.click().await.unwrap();
    see(browser, "[data-state=confirmed]").await;
    let here = wait_for(browser, "return location.hash.split('/').at(-1)", vec![]).await;
    let (id, merchant) = (here.as_str().unwrap().to_owned(), stage.merchant());
    for (step, state) in [("fulfil", "fulfilled"), ("deliver", "delivered")] {
        outside(&stage, &format!("/v1/admin/orders/{id}/{step}"), json!({}), Some(&merchant)).await;
        see(browser, &format!("[data-state={state}]")).await;
    }
    let states: Vec<Value> = told(browser, "order").await.into_iter().map(|event| event["state"].clone()).collect();
    let way = ["placed", "reserving", "authorizing", "confirmed", "fulfilled", "delivered"];
    assert_eq!(states, way.map(Value::from), "each told once, in order");
    stage.strike().await;
}
