//! What every request meets: ids, limits, outages, other origins.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use stockroom::actors::messages::AskError;
use stockroom::http::HttpOptions;
use stockroom::http::options::Limits;
use stockroom::payments::gateway::Gateways;

use crate::shop::Shop;

const OUTSIDE: [u8; 4] = [192, 0, 2, 1];

async fn with(change: impl FnOnce(&mut HttpOptions)) -> Shop {
    let mut options = HttpOptions::default();
    change(&mut options);
    Shop::with(options, Gateways::default()).await
}

#[tokio::test(start_paused = true)]
async fn a_plain_request_id_is_kept_and_any_other_replaced() {
    let shop = Shop::open().await;
    let own = shop.get("/v1/stock/X").header("x-request-id", "abc-123").send().await;
    assert_eq!(own.header("x-request-id"), "abc-123");
    assert_eq!(own.problem(404, "not_found")["instance"], "urn:stockroom:request:abc-123");
    for bad in ["", "a b", "<script>", &"x".repeat(129)] {
        let drawn = shop.get("/v1/stock/X").header("x-request-id", bad).send().await;
        assert_eq!(drawn.header("x-request-id").len(), 32, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_and_methods_are_problems_too() {
    let shop = Shop::open().await;
    shop.get("/v1/nothing").send().await.problem(404, "not_found");
    let reply = shop.call(Method::PATCH, "/v1/carts").send().await;
    reply.problem(405, "invalid_request");
    assert_eq!(reply.header("allow"), "POST");
}

#[tokio::test(start_paused = true)]
async fn every_outage_has_its_code_and_says_whether_it_may_have_happened() {
    let shop = Shop::open().await;
    shop.stocked("TEA", 1).await;
    let entity = stockroom::domain::ids::EntityId::stock(&"TEA".parse().unwrap());
    let outages = [
        (AskError::Overloaded { retry_after: Duration::from_secs(3) }, 503, "overloaded", "rejected", "3"),
        (AskError::StorageFull, 503, "storage_full", "rejected", "10"),
        (AskError::NoLeader { shard: 4 }, 503, "no_leader", "rejected", "1"),
        (AskError::Quarantined { entity }, 503, "quarantined", "rejected", "30"),
        (AskError::Panicked, 500, "internal_error", "rejected", ""),
        (AskError::Unknown { reason: "test" }, 504, "outcome_unknown", "unknown", ""),
    ];
    for (failure, status, code, outcome, retry_after) in outages {
        shop.world.fail_with(Some(failure));
        let reply = shop.post("/v1/stock/TEA/holds", json!({ "quantity": 1 })).send().await;
        assert_eq!(reply.problem(status, code)["outcome"], outcome);
        assert_eq!(reply.header("retry-after"), retry_after, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_above_its_rate_waits_and_loopback_never_does() {
    let shop = with(|options| {
        options.limits = Limits { client_requests_per_second: 1, client_burst: 2, ..Limits::default() };
    })
    .await;
    let from = |address| shop.get("/v1/stock/X").from(address).send();
    from(OUTSIDE).await.problem(404, "not_found");
    from(OUTSIDE).await.problem(404, "not_found");
    let refused = from(OUTSIDE).await;
    refused.problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    from([192, 0, 2, 2]).await.problem(404, "not_found");
    from([127, 0, 0, 1]).await.problem(404, "not_found");
    tokio::time::advance(Duration::from_secs(1)).await;
    from(OUTSIDE).await.problem(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn guessing_keys_is_limited_like_everything_else() {
    let shop = with(|options| {
        options.limits = Limits { client_requests_per_second: 1, client_burst: 1, ..Limits::default() };
    })
    .await;
    let guess = || shop.get("/v1/admin/stock").from(OUTSIDE).bearer("stockroom_guess").send();
    guess().await.problem(401, "unauthenticated");
    guess().await.problem(429, "rate_limited");
}

#[tokio::test(start_paused = true)]
async fn a_client_has_so_many_keys_a_day() {
    let shop = with(|options| options.limits.client_keys_per_day = 1).await;
    let create = |key: &str| shop.post("/v1/carts", json!({ "currency": "USD" })).from(OUTSIDE).key(key).send();
    create("0123456789abcdef").await.expect(201);
    create("fedcba9876543210").await.problem(429, "quota_exceeded");
}

#[tokio::test(start_paused = true)]
async fn a_full_house_refuses_with_a_time_to_come_back() {
    let shop = with(|options| options.limits.event_streams_max = 0).await;
    shop.stocked("TEA", 1).await;
    let refused = shop.get("/v1/stock/TEA/events").send().await;
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test(start_paused = true)]
async fn only_listed_origins_may_call_from_a_browser() {
    let shop = with(|options| options.cors_origins = vec!["https://shop.example".to_owned()]).await;
    let preflight = |origin: &str| {
        let call = shop.call(Method::OPTIONS, "/v1/carts").header("origin", origin);
        call.header("access-control-request-method", "POST")
            .header("access-control-request-headers", "idempotency-key")
            .begin()
    };
    let allowed = preflight("https://shop.example").await;
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://shop.example");
    assert!(!preflight("https://evil.example").await.headers().contains_key("access-control-allow-origin"));
}
