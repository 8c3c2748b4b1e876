//! What every request meets: ids, limits, outages, other origins.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use futures::stream;
use serde_json::json;
use stockroom::actors::messages::AskError;
use stockroom::http::HttpOptions;
use stockroom::http::options::Limits;

use crate::shop::{Shop, simulated};

const OUTSIDE: [u8; 4] = [192, 0, 2, 1];

async fn with(change: impl FnOnce(&mut HttpOptions)) -> Shop {
    let mut options = HttpOptions::default();
    change(&mut options);
    Shop::with(options, simulated()).await
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

#[tokio::test(start_paused = true)]
async fn beyond_what_is_worked_on_at_once_requests_are_refused_and_probes_are_not() {
    let shop = with(|options| options.limits.in_flight_max = 0).await;
    let refused = shop.get("/v1/stock/TEA").send().await;
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    shop.ops(Method::GET, "/healthz").send().await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn behind_a_trusted_proxy_the_client_it_names_is_limited_and_the_proxy_is_not() {
    let shop = with(|options| {
        options.limits = Limits { client_requests_per_second: 1, client_burst: 1, ..Limits::default() };
        options.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let named = |address: &str| shop.get("/v1/stock/X").header("x-forwarded-for", address).send();
    named("2001:db8:1:2::1").await.problem(404, "not_found");
    named("2001:db8:1:2:ffff::9").await.problem(429, "rate_limited");
    named("2001:db8:1:3::1").await.problem(404, "not_found");
    for _ in 0..3 {
        shop.get("/v1/stock/X").send().await.problem(404, "not_found");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_limited_by_itself_wherever_it_comes_from() {
    let shop = with(|options| {
        options.limits = Limits { client_requests_per_second: 1, client_burst: 1, ..Limits::default() };
    })
    .await;
    let key = shop.new_key("merchant").await;
    let list = |address| shop.get("/v1/admin/stock").bearer(&key).from(address).send();
    list(OUTSIDE).await.expect(200);
    list([192, 0, 2, 77]).await.problem(429, "rate_limited");
    shop.get("/v1/stock/X").from(OUTSIDE).send().await.problem(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let shop = Shop::open().await;
    let silence = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let call = shop.call(Method::POST, "/v1/carts").header("content-type", "application/json").body(silence);
    let problem = call.send().await.problem(400, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("in time"), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_may_still_have_happened() {
    let shop = with(|options| options.timeouts.request = Duration::from_secs(1)).await;
    shop.stocked("TEA", 1).await;
    let cart = shop.cart(&[("TEA", 1)]).await;
    let order = json!({ "cart_id": cart, "payment": { "provider": "simulated", "token": "tok_webhook" } });
    let place = || shop.post("/v1/orders", order.clone()).key("0123456789abcdef");
    let problem = place().header("prefer", "wait=30").send().await.problem(504, "outcome_unknown");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&json!("unknown"), &json!(true)));
    let again = place().send().await;
    assert_eq!(
        (again.expect(202)["state"].clone(), again.header("idempotency-replayed")),
        (json!("authorizing"), "true")
    );
}

#[tokio::test(start_paused = true)]
async fn one_key_of_two_callers_is_two_keys() {
    let shop = Shop::open().await;
    let create = || shop.post("/v1/carts", json!({ "currency": "USD" })).key("0123456789abcdef");
    let merchant = shop.new_key("merchant").await;
    let (anonymous, known) = (create().send().await.expect(201), create().bearer(&merchant).send().await.expect(201));
    assert_ne!(anonymous["id"], known["id"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_of_a_key_opens_nothing() {
    let shop = Shop::open().await;
    let key = shop.new_key("merchant").await;
    let (id, secret) = key.rsplit_once('_').unwrap();
    let stored = shop.world.stored_key_hashes();
    assert!(!stored.is_empty() && !stored.iter().any(|hash| hash == secret || key.contains(hash.as_str())));
    for hash in stored {
        shop.get("/v1/admin/stock").bearer(&format!("{id}_{hash}")).send().await.problem(401, "unauthenticated");
    }
}
