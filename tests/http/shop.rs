//! A shop under test: both routers over a world in memory, and a client that speaks to them without a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router as HttpRouter;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use stockroom::clock::{Clock, NodeClock};
use stockroom::domain::ids::EntityId;
use stockroom::domain::payment::{PaymentOutcome, PaymentRequest};
use stockroom::domain::time::Timestamp;
use stockroom::http::ops::keys::ClusterKeys;
use stockroom::http::outgoing::WebhookStatus;
use stockroom::http::ports::{
    ActorStatus, BackupState, BackupStatus, Backups, CatalogueExport, NodeStatus, OldOrderHold, OpsView,
    PanickedEntity, QuarantinedEntity, Readiness, ShardStatus,
};
use stockroom::http::{self, AppState, HttpOptions, Parts};
use stockroom::payments::gateway::{Gateways, PaymentGateway, PaymentUnknown};
use stockroom::payments::webhook::{WebhookError, WebhookNotice};
use stockroom::projections::catalogue::CatalogueFormat;
use stockroom::projections::query::{
    ExpiringHoldsPage, ExpiringHoldsQuery, LowStockPage, LowStockQuery, OrderPage, OrderQuery, ProductPage,
    ProductQuery, Queries, QueryError,
};
use stockroom::rng::SeededRng;
use tower::ServiceExt;

use crate::world::{BEGINNING_MS, Router, World};

/// Virtual time: what tokio's paused clock says. The wall clock is off by as many ms as somebody set it.
struct TestClock {
    start: tokio::time::Instant,
    wall_off_ms: Arc<AtomicI64>,
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        let right = Timestamp(BEGINNING_MS).after(self.start.elapsed());
        Timestamp(right.0.checked_add_signed(self.wall_off_ms.load(Ordering::Relaxed)).unwrap())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed() + Duration::from_secs(3600)
    }
}

/// Lists that are always empty: what they hold is the read side's own business.
struct NoLists;

#[async_trait]
impl Queries for NoLists {
    async fn products(&self, _query: &ProductQuery) -> Result<ProductPage, QueryError> {
        Ok(ProductPage::default())
    }

    async fn orders(&self, _query: &OrderQuery) -> Result<OrderPage, QueryError> {
        Ok(OrderPage::default())
    }

    async fn low_stock(&self, _query: &LowStockQuery) -> Result<LowStockPage, QueryError> {
        Ok(LowStockPage::default())
    }

    async fn expiring_holds(&self, _query: &ExpiringHoldsQuery) -> Result<ExpiringHoldsPage, QueryError> {
        Ok(ExpiringHoldsPage::default())
    }
}

/// A node that is fine and has one entity in quarantine.
struct Node;

#[async_trait]
impl OpsView for Node {
    fn readiness(&self) -> Readiness {
        Readiness { ready: true, reasons: Vec::new() }
    }

    fn metrics(&self) -> String {
        "stockroom_up 1\n".to_owned()
    }

    async fn status(&self) -> NodeStatus {
        NodeStatus {
            node: "one".to_owned(),
            version: "0".to_owned(),
            cluster: "c".to_owned(),
            uptime_seconds: 1,
            readiness: self.readiness(),
            clock_offset_ms: 0,
            shards: 12,
            shards_led: 12,
            resident_actors: 0,
            quarantined_entities: 1,
            panicked_entities: 0,
            old_order_holds: 0,
            free_places: 1,
            disk_free_bytes: 1,
            disk_used_bytes: 1,
        }
    }

    async fn shards(&self) -> Vec<ShardStatus> {
        Vec::new()
    }

    async fn actors(&self, _limit: usize) -> Vec<ActorStatus> {
        Vec::new()
    }

    fn order_holds(&self, _older_than: Duration, _limit: usize) -> Vec<OldOrderHold> {
        Vec::new()
    }

    fn webhooks(&self) -> Vec<WebhookStatus> {
        Vec::new()
    }

    fn panicked(&self) -> Vec<PanickedEntity> {
        Vec::new()
    }

    async fn quarantined(&self) -> Vec<QuarantinedEntity> {
        vec![QuarantinedEntity { entity: "stock/BAD".to_owned(), reason: "panicked".to_owned(), crashes: 3 }]
    }

    async fn release(&self, entity: &EntityId) -> bool {
        entity.to_string() == "stock/BAD"
    }
}

/// A catalogue file of two lines, in two pieces.
struct TwoLines;

impl CatalogueExport for TwoLines {
    fn export(&self, format: CatalogueFormat) -> BoxStream<'static, std::io::Result<Bytes>> {
        let lines = [format!("{format:?} one\n"), format!("{format:?} two\n")];
        futures::stream::iter(lines.map(|line| Ok(Bytes::from(line)))).boxed()
    }
}

/// Backups that never end.
#[derive(Default)]
struct OneBackup(std::sync::Mutex<Vec<BackupStatus>>);

impl Backups for OneBackup {
    fn start(&self, directory: Option<std::path::PathBuf>) -> Option<BackupStatus> {
        let mut running = self.0.lock().unwrap();
        let status = BackupStatus {
            path: directory.unwrap_or_else(|| "/backups".into()).join("backup-1").display().to_string(),
            state: BackupState::Running,
            started_at: "2026-11-22T16:00:00.000Z".to_owned(),
            files: 0,
            files_total: 0,
            bytes: 0,
            error: None,
        };
        let is_first = running.is_empty();
        running.push(status.clone());
        is_first.then_some(status)
    }

    fn list(&self) -> Vec<BackupStatus> {
        self.0.lock().unwrap().clone()
    }
}

pub struct Shop {
    pub world: Arc<World>,
    pub state: AppState,
    pub wall_off_ms: Arc<AtomicI64>,
    public: HttpRouter,
    ops: HttpRouter,
    merchant: String,
}

impl Shop {
    /// A shop with a merchant's key.
    pub async fn open() -> Self {
        Self::with(HttpOptions::default(), simulated()).await
    }

    pub async fn with(options: HttpOptions, gateways: Gateways) -> Self {
        let world = World::new();
        let router = Arc::new(Router(world.clone()));
        let rng = Arc::new(SeededRng::stream(7, "http"));
        let wall_off_ms = Arc::<AtomicI64>::default();
        let clock = TestClock { start: tokio::time::Instant::now(), wall_off_ms: wall_off_ms.clone() };
        let state = AppState::new(
            options,
            Parts {
                ask: router.clone(),
                queries: Arc::new(NoLists),
                changes: router.clone(),
                vault: router.clone(),
                keys: Arc::new(ClusterKeys::new(router, rng.clone())),
                ops: Arc::new(Node),
                catalogue: Arc::new(TwoLines),
                backups: Arc::new(OneBackup::default()),
                gateways,
                clock: NodeClock::new(Arc::new(clock), Timestamp::ZERO),
                rng,
                cluster_secret: [9; 32],
                ops_token: Some("the ops token".to_owned()),
            },
        );
        let (public, ops) = (http::public_router(&state), http::ops_router(&state));
        let mut shop = Self { world, state, wall_off_ms, public, ops, merchant: String::new() };
        shop.merchant = shop.new_key("merchant").await;
        shop
    }

    pub async fn new_key(&self, role: &str) -> String {
        let created = self.ops(Method::POST, "/ops/v1/keys").json(json!({ "role": role })).send().await;
        created.expect(201)["key"].as_str().unwrap().to_owned()
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: Value) -> Call {
        self.call(Method::POST, path).json(body)
    }

    pub fn put(&self, path: &str, body: Value) -> Call {
        self.call(Method::PUT, path).json(body)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        let call = Call::new(self.public.clone(), method, path);
        if path.starts_with("/v1/admin") { call.bearer(&self.merchant) } else { call }
    }

    pub fn ops(&self, method: Method, path: &str) -> Call {
        Call::new(self.ops.clone(), method, path)
    }

    /// A product for sale with one SKU of the same name, at 19.99 USD, and units of it.
    pub async fn stocked(&self, sku: &str, units: u32) {
        let product = json!({
            "title": format!("Product {sku}"),
            "variants": [{ "sku": sku, "prices": { "USD": 1999, "EUR": 1899 } }],
        });
        self.put(&format!("/v1/admin/products/{sku}"), product).send().await.expect(201);
        let receipt = json!({ "quantity": units, "reference": "delivery 1" });
        let receive = self.post(&format!("/v1/admin/stock/{sku}/receive"), receipt);
        receive.key(&format!("receive-{sku}-0000000000")).send().await.expect(200);
    }

    /// A cart in USD with these lines.
    pub async fn cart(&self, lines: &[(&str, u32)]) -> String {
        let cart = self.post("/v1/carts", json!({ "currency": "USD" })).send().await.expect(201);
        let id = cart["id"].as_str().unwrap().to_owned();
        for (sku, quantity) in lines {
            let path = format!("/v1/carts/{id}/lines/{sku}");
            self.put(&path, json!({ "quantity": quantity })).send().await.expect(200);
        }
        id
    }

    /// What is left of a SKU.
    pub async fn available(&self, sku: &str) -> u64 {
        self.get(&format!("/v1/stock/{sku}")).send().await.expect(200)["available"].as_u64().unwrap()
    }
}

/// A call being put together.
pub struct Call {
    router: HttpRouter,
    request: axum::http::request::Builder,
    body: Body,
    peer: SocketAddr,
}

impl Call {
    fn new(router: HttpRouter, method: Method, path: &str) -> Self {
        let request = Request::builder().method(method).uri(path);
        Self { router, request, body: Body::empty(), peer: SocketAddr::from(([127, 0, 0, 1], 4711)) }
    }

    pub fn json(self, body: Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn bearer(mut self, key: &str) -> Self {
        if let Some(headers) = self.request.headers_mut() {
            headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        self
    }

    pub fn from(mut self, address: [u8; 4]) -> Self {
        self.peer = SocketAddr::from((address, 4711));
        self
    }

    /// Sends it and returns once the answer begins.
    pub async fn begin(self) -> axum::response::Response {
        let mut request = self.request.body(self.body).unwrap();
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.router.oneshot(request).await.unwrap()
    }

    pub async fn send(self) -> Reply {
        let (parts, body) = self.begin().await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    /// The document, when the status is this.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert!(self.headers.contains_key("x-request-id"), "every answer names its request");
        if self.text.is_empty() { Value::Null } else { serde_json::from_str(&self.text).unwrap() }
    }

    /// The problem, when it has this status and code.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let document = self.expect(status);
        assert_eq!(document["code"], code, "{document}");
        assert_eq!(document["status"], status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let request = self.headers["x-request-id"].to_str().unwrap();
        assert_eq!(document["instance"], format!("urn:stockroom:request:{request}"));
        document
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The providers of most shops here.
pub fn simulated() -> Gateways {
    let offered: Arc<dyn PaymentGateway> = Arc::new(Offered);
    Gateways::new([("simulated".to_owned(), offered)])
}

/// A provider that is offered and never asked: the world plays it.
struct Offered;

#[async_trait::async_trait]
impl PaymentGateway for Offered {
    async fn execute(&self, _request: &PaymentRequest) -> Result<PaymentOutcome, PaymentUnknown> {
        Err(PaymentUnknown::NoAnswer)
    }

    fn verify_webhook(
        &self,
        _headers: &axum::http::HeaderMap,
        _body: &[u8],
        _now: stockroom::domain::time::Timestamp,
    ) -> Result<WebhookNotice, WebhookError> {
        Err(WebhookError::NotConfigured)
    }
}
