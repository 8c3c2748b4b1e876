//! The OpenAPI document is the contract: golden, complete, and the same as what is served.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::shop::Shop;

#[test]
fn the_document_is_the_contract() {
    insta::assert_snapshot!("openapi", serde_json::to_string_pretty(&stockroom::http::openapi()).unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_document_and_its_page_are_served() {
    let shop = Shop::open().await;
    let served = shop.get("/openapi.json").send().await;
    assert_eq!(served.expect(200), serde_json::to_value(stockroom::http::openapi()).unwrap());
    let page = shop.get("/docs").send().await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
}

/// Every route the contract names, in its words.
const CONTRACT: &str = "
GET /v1/products
GET /v1/products/{id}
GET /v1/stock/{sku}
GET /v1/stock/{sku}/events
POST /v1/stock/{sku}/holds
DELETE /v1/stock/{sku}/holds/{id}
POST /v1/carts
GET /v1/carts/{id}
PUT /v1/carts/{id}/lines/{sku}
DELETE /v1/carts/{id}/lines/{sku}
PUT /v1/carts/{id}/buyer
POST /v1/carts/{id}/merge
POST /v1/orders
GET /v1/orders/{id}
GET /v1/orders/{id}/events
POST /v1/orders/{id}/cancel
PUT /v1/admin/products/{id}
GET /v1/admin/products/{id}
DELETE /v1/admin/products/{id}
POST /v1/admin/products:import
GET /v1/admin/products:export
POST /v1/admin/stock/{sku}/receive
POST /v1/admin/stock/{sku}/adjust
GET /v1/admin/stock/{sku}
GET /v1/admin/stock/{sku}/holds
DELETE /v1/admin/stock/{sku}/holds/{id}
GET /v1/admin/stock
GET /v1/admin/holds
GET /v1/admin/orders
POST /v1/admin/orders/{id}/fulfil
POST /v1/admin/orders/{id}/deliver
POST /v1/admin/orders/{id}/refund
POST /v1/admin/orders/{id}/erase
POST /v1/webhooks/payments/{provider}
GET /healthz
GET /readyz
GET /metrics
GET /ops/v1/status
GET /ops/v1/shards
GET /ops/v1/actors
GET /ops/v1/order-holds
GET /ops/v1/panics
GET /ops/v1/webhooks
GET /ops/v1/quarantine
POST /ops/v1/quarantine:release
GET /ops/v1/keys
POST /ops/v1/keys
DELETE /ops/v1/keys/{id}
GET /ops/v1/backups
POST /ops/v1/backups
GET /openapi.json
GET /docs
";

#[test]
fn every_route_of_the_contract_is_there_and_no_other() {
    let document = serde_json::to_value(stockroom::http::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let served: BTreeSet<String> = paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let contract: BTreeSet<String> = CONTRACT.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    assert_eq!(served, contract);
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_is_named_once() {
    let document = serde_json::to_value(stockroom::http::openapi()).unwrap();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    for reference in &references {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut names = BTreeSet::new();
    for operation in document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} names two operations");
    }
    assert_eq!(document["openapi"], "3.1.0");
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                references.insert(reference.clone());
            }
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
