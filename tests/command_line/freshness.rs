//! How old search may be: whatever changes about a product, a search shows it within a second.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::kit::{Api, Node};

/// What is promised, from the answer to a change until a search shows it.
const FRESH: Duration = Duration::from_secs(1);
/// Rounds of all changes: of five, two may fall into a moment in which the computer was busy with something else.
const ROUNDS: u64 = 5;
const PRODUCT: &str = "/v1/admin/products/fresh";
const SKU: &str = "FRESH-1";

/// Waits until a search for this finds so many products; how long that took.
async fn until(api: &Api, query: &str, total: u64) -> Duration {
    let begun = Instant::now();
    loop {
        let (status, found) = api.call(Method::GET, &format!("/v1/products?{query}"), None).await;
        assert_eq!(status, 200, "{query}: {found}");
        if found["total"] == total {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{query} never finds {total} products: {found}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn change(api: &Api, method: Method, path: &str, body: Option<Value>) -> Value {
    let (status, answer) = api.call(method, path, body).await;
    assert!(status < 300, "{path}: {status} {answer}");
    answer
}

fn product(title: &str, status: &str, price: u64) -> Option<Value> {
    let variants = json!([{"sku": SKU, "prices": {"USD": price}}]);
    Some(json!({"title": title, "status": status, "variants": variants}))
}

/// Everything that can happen to a product in the eyes of a search, and how long the search took to see each.
async fn round(api: &Api, number: u64) -> [(&'static str, Duration); 9] {
    let (first, second, price) = (format!("zanzibar{number}"), format!("samarkand{number}"), 1_000 + 10 * number);
    let named = |title: &str| format!("q={title}");
    let costs = |price: u64| format!("currency=USD&price_min={price}&price_max={price}");
    let put = |title: &str, status: &str, price: u64| change(api, Method::PUT, PRODUCT, product(title, status, price));

    put(&first, "draft", price).await;
    put(&first, "active", price).await;
    let published = until(api, &named(&first), 1).await;
    put(&second, "active", price).await;
    let renamed = until(api, &named(&second), 1).await;
    assert_eq!(until(api, &named(&first), 0).await.as_secs(), 0, "gone with the same change");
    put(&second, "active", price + 5).await;
    let repriced = until(api, &costs(price + 5), 1).await;

    let receive = json!({"quantity": 1, "reference": "delivery"});
    change(api, Method::POST, &format!("/v1/admin/stock/{SKU}/receive"), Some(receive)).await;
    let stocked = until(api, "in_stock=true", 1).await;
    let hold = json!({"quantity": 1, "ttl_seconds": 600});
    let hold = change(api, Method::POST, &format!("/v1/stock/{SKU}/holds"), Some(hold)).await;
    let sold_out = until(api, "in_stock=true", 0).await;
    let hold = format!("/v1/stock/{SKU}/holds/{}", hold["id"].as_str().unwrap());
    change(api, Method::DELETE, &hold, None).await;
    let back = until(api, "in_stock=true", 1).await;
    let counted_out = json!({"delta": -1, "reason": "broken"});
    change(api, Method::POST, &format!("/v1/admin/stock/{SKU}/adjust"), Some(counted_out)).await;
    let emptied = until(api, "in_stock=true", 0).await;

    put(&second, "archived", price + 5).await;
    let unpublished = until(api, &named(&second), 0).await;
    put(&second, "active", price + 5).await;
    until(api, &named(&second), 1).await;
    change(api, Method::DELETE, PRODUCT, None).await;
    let deleted = until(api, &named(&second), 0).await;
    [
        ("published", published),
        ("renamed", renamed),
        ("given another price", repriced),
        ("stocked", stocked),
        ("sold out", sold_out),
        ("back in stock", back),
        ("counted out of stock", emptied),
        ("unpublished", unpublished),
        ("deleted", deleted),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn search_shows_every_change_of_a_product_within_a_second() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &[]);
    let api = Api::to(&node, data.path());
    let mut cases: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for number in 0..ROUNDS {
        for (case, took) in round(&api, number).await {
            cases.entry(case).or_default().push(took);
        }
    }
    cases.values_mut().for_each(|took| took.sort_unstable());
    let late = cases.iter().filter(|(_, took)| took[took.len() / 2] >= FRESH);
    assert_eq!(late.count(), 0, "seen late, by the median of {ROUNDS}: {cases:#?}");
}
