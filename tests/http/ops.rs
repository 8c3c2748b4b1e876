//! The operators' listener: who may, probes, keys, quarantine.

use axum::http::Method;
use serde_json::json;

use crate::shop::Shop;

const OUTSIDE: [u8; 4] = [192, 0, 2, 1];

#[tokio::test(start_paused = true)]
async fn probes_answer_everybody_and_the_rest_only_operators() {
    let shop = Shop::open().await;
    let outside = |path: &str| shop.ops(Method::GET, path).from(OUTSIDE);
    assert_eq!(outside("/healthz").send().await.expect(200), json!({ "healthy": true }));
    assert_eq!(outside("/readyz").send().await.expect(200)["ready"], true);
    for path in ["/metrics", "/ops/v1/status", "/ops/v1/shards", "/ops/v1/actors", "/ops/v1/keys"].into_iter().chain([
        "/ops/v1/quarantine",
        "/ops/v1/panics",
        "/ops/v1/order-holds",
        "/ops/v1/webhooks",
    ]) {
        outside(path).send().await.problem(401, "unauthenticated");
        assert_eq!(outside(path).bearer("the ops token").send().await.status, 200, "{path}");
        assert_eq!(shop.ops(Method::GET, path).send().await.status, 200, "{path} from loopback");
    }
    let (ops, merchant) = (shop.new_key("ops").await, shop.new_key("merchant").await);
    outside("/ops/v1/status").bearer(&ops).send().await.expect(200);
    outside("/ops/v1/status").bearer(&merchant).send().await.problem(403, "forbidden");
    assert!(outside("/metrics").bearer(&ops).send().await.text.contains("stockroom_up"));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_shown_once_listed_without_its_secret_and_revoked() {
    let shop = Shop::open().await;
    let created = shop.ops(Method::POST, "/ops/v1/keys").json(json!({ "role": "merchant", "label": "till" }));
    let created = created.send().await.expect(201);
    let key = created["key"].as_str().unwrap();
    shop.get("/v1/admin/stock").bearer(key).send().await.expect(200);
    let list = shop.ops(Method::GET, "/ops/v1/keys").send().await;
    assert!(!list.text.contains(key.rsplit('_').next().unwrap()), "no secrets in the list");
    let path = format!("/ops/v1/keys/{}", created["id"].as_str().unwrap());
    shop.ops(Method::DELETE, &path).send().await.expect(204);
    shop.get("/v1/admin/stock").bearer(key).send().await.problem(401, "unauthenticated");
    let unknown = "/ops/v1/keys/00000000000000000000000000000000";
    shop.ops(Method::DELETE, unknown).send().await.problem(404, "not_found");
    let role = shop.ops(Method::POST, "/ops/v1/keys").json(json!({ "role": "king" })).send().await;
    assert_eq!(role.problem(400, "invalid_request")["field"], "role");
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_entity_is_seen_and_released() {
    let shop = Shop::open().await;
    let list = shop.ops(Method::GET, "/ops/v1/quarantine").send().await.expect(200);
    assert_eq!(list["items"][0]["entity"], "stock/BAD");
    let release = |entity: &str| shop.ops(Method::POST, "/ops/v1/quarantine:release").json(json!({ "entity": entity }));
    release("stock/BAD").send().await.expect(204);
    release("stock/GOOD").send().await.problem(404, "not_found");
    release("nonsense").send().await.problem(400, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn a_backup_is_asked_for_watched_and_made_one_at_a_time() {
    let shop = Shop::open().await;
    let ask = |body| shop.ops(Method::POST, "/ops/v1/backups").json(body);
    ask(json!({ "directory": "relative" })).send().await.problem(400, "invalid_request");
    ask(json!({ "directory": "/mnt", "extra": 1 })).send().await.problem(400, "invalid_request");
    ask(json!({})).from(OUTSIDE).send().await.problem(401, "unauthenticated");
    let started = ask(json!({ "directory": "/mnt" })).send().await.expect(202);
    assert_eq!((&started["path"], &started["state"]), (&json!("/mnt/backup-1"), &json!("running")));
    let listed = shop.ops(Method::GET, "/ops/v1/backups").send().await.expect(200);
    assert_eq!(listed["items"][0], started);
    assert_eq!(ask(json!({})).send().await.problem(503, "overloaded")["retryable"], true);
}
