//! A client of the shop as the contract wants one: every write carries a key, every unknown outcome is retried with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::shop::{Address, Home};

/// How long a definite outcome may take, restarts included.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two tries of a call or looks at a state.
pub const PAUSE: Duration = Duration::from_millis(20);
/// States nothing leaves by itself.
pub const SETTLED: [&str; 6] = ["confirmed", "fulfilled", "delivered", "cancelled", "failed", "refunded"];

/// One request, repeatable.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    body: Option<Value>,
    key: Option<String>,
    merchant: bool,
    ops: bool,
    prefer: Option<String>,
}

/// An answer, whatever it says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body; null when empty or no JSON.
    pub body: Value,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Answer {
    /// Whether it is a stored answer.
    pub fn replayed(&self) -> bool {
        self.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
    }

    /// The problem's code; empty when it is none.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// Whether the same call may still come to something else.
    fn is_open(&self) -> bool {
        matches!(self.status, 429 | 503 | 504) || (self.status == 500 && self.body["outcome"] == "unknown")
    }
}

impl Call {
    fn new(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        let key = (method != Method::GET).then(new_key);
        Self { method, path: path.into(), body, key, merchant: false, ops: false, prefer: None }
    }

    /// A read.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, None)
    }

    /// A write with a key of its own.
    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::POST, path, Some(body))
    }

    /// A write with a key of its own.
    pub fn put(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::PUT, path, Some(body))
    }

    /// A write with a key of its own.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, None)
    }

    /// The same, under this key.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The same, without a key.
    pub fn keyless(mut self) -> Self {
        self.key = None;
        self
    }

    /// The same, by a merchant.
    pub fn merchant(mut self) -> Self {
        self.merchant = true;
        self
    }

    /// The same, to the operators' listener.
    pub fn ops(mut self) -> Self {
        self.ops = true;
        self
    }

    /// The same, waiting for a decision.
    pub fn wait(mut self, seconds: u32) -> Self {
        self.prefer = Some(format!("wait={seconds}"));
        self
    }
}

/// A key nobody used before.
pub fn new_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("faults-{:08}-{:012}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A client with no shop.
pub fn plain() -> reqwest::Client {
    // A second install is refused, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(45)).build().unwrap()
}

/// Talks to whatever process runs on a home. Clones share connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: Arc<Mutex<Address>>,
}

impl Client {
    /// A client of this home.
    pub fn new(home: &Home) -> Self {
        Self { http: plain(), address: home.address() }
    }

    /// One try.
    pub async fn once(&self, call: &Call) -> Result<Answer, reqwest::Error> {
        let address = self.address.lock().unwrap().clone();
        let base = if call.ops { &address.ops } else { &address.http };
        let mut request = self.http.request(call.method.clone(), format!("{base}{}", call.path));
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        if let Some(key) = &call.key {
            request = request.header("idempotency-key", key);
        }
        if call.merchant {
            request = request.bearer_auth(&address.merchant);
        }
        if let Some(prefer) = &call.prefer {
            request = request.header("prefer", prefer);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null), headers })
    }

    /// The sum of a metric's series whose text begins so.
    pub async fn metric(&self, begins: &str) -> f64 {
        let ops = self.address.lock().unwrap().ops.clone();
        let text = self.http.get(format!("{ops}/metrics")).send().await.unwrap().text().await.unwrap();
        let series = text.lines().filter(|line| line.starts_with(begins));
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Tries until the outcome is definite, always under the same key.
    pub async fn send(&self, call: &Call) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = match self.once(call).await {
                Ok(answer) if !answer.is_open() => return answer,
                Ok(answer) => format!("{} {:#}", answer.status, answer.body),
                Err(error) => format!("{error:?}"),
            };
            assert!(Instant::now() < deadline, "no definite outcome of {call:?}: {last}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Puts SKUs on sale, each as a product of its own.
    pub async fn list(&self, skus: &[&str], price: u64) {
        for sku in skus {
            let id = format!("product-{}", sku.to_lowercase());
            let variant = json!({"sku": sku, "prices": {"USD": price}});
            let product = json!({"title": format!("Product {sku}"), "variants": [variant]});
            let answer = self.send(&Call::put(format!("/v1/admin/products/{id}"), product).merchant()).await;
            assert!(answer.status < 300, "{:#}", answer.body);
        }
    }

    /// The call by which units arrive.
    pub fn receipt(sku: &str, quantity: u64) -> Call {
        let body = json!({"quantity": quantity, "reference": "delivery"});
        Call::post(format!("/v1/admin/stock/{sku}/receive"), body).merchant()
    }

    /// A cart with these lines.
    pub async fn cart(&self, lines: &[(&str, u64)]) -> String {
        let cart = self.send(&Call::post("/v1/carts", json!({"currency": "USD"}))).await.expect(201);
        let cart = cart["id"].as_str().unwrap().to_owned();
        for (sku, quantity) in lines {
            self.send(&Self::line(&cart, sku, *quantity)).await.expect(200);
        }
        cart
    }

    /// The call that sets one line of a cart.
    pub fn line(cart: &str, sku: &str, quantity: u64) -> Call {
        Call::put(format!("/v1/carts/{cart}/lines/{sku}"), json!({"quantity": quantity}))
    }

    /// The call that buys a cart.
    pub fn order(cart: &str, token: &str) -> Call {
        Call::post("/v1/orders", json!({"cart_id": cart, "payment": {"provider": "simulated", "token": token}}))
    }

    /// The call that buys a cart of `CUP-1` out of a hold.
    pub fn order_with_hold(cart: &str, token: &str, hold: &Value) -> Call {
        let payment = json!({"provider": "simulated", "token": token});
        Call::post("/v1/orders", json!({"cart_id": cart, "payment": payment, "holds": [{"sku": "CUP-1", "id": hold}]}))
    }

    /// Waits until an order is in a state.
    pub async fn until_state(&self, order: &str, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.send(&Call::get(format!("/v1/orders/{order}"))).await.expect(200);
            if shown["state"] == state {
                return;
            }
            assert!(Instant::now() < deadline, "order {order} does not get {state}: {shown:#}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The order once nothing changes it any more by itself.
    pub async fn settled(&self, order: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.send(&Call::get(format!("/v1/orders/{order}"))).await.expect(200);
            if SETTLED.contains(&shown["state"].as_str().unwrap()) {
                return shown;
            }
            assert!(Instant::now() < deadline, "order {order} is stuck: {shown:#}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
