//! A real node with a configuration of its own, and a purchase on it by somebody who has much to hide.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

/// What the buyer says about themselves.
pub const BUYER: [&str; 5] =
    ["ada.lovelace@secret.example", "Augusta Ada King", "+44 20 7946 0958", "12 Hidden Lane", "QX1 7ZZ"];
/// How they pay.
pub const TOKEN: &str = "tok_ok";
/// Where they are, as a proxy says.
pub const CLIENT: &str = "203.0.113.77";

/// Killed when dropped.
pub struct Node {
    process: Child,
    http: String,
    ops: String,
    client: reqwest::Client,
    directory: tempfile::TempDir,
}

impl Node {
    pub fn start(config: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("node.toml");
        std::fs::write(&file, config).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_stockroom"))
            .args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--config"])
            .arg(file)
            .arg("--data")
            .arg(directory.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the node is not ready: {line:?}"));
        let base = |name: &str| format!("http://{}", ready[name].as_str().unwrap());
        let (http, ops, client) = (base("http"), base("ops"), reqwest::Client::new());
        Self { process, http, ops, client, directory }
    }

    fn key(&self) -> String {
        let data = self.directory.path().join("data");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockroom"));
        let output = command.args(["key", "create", "--role", "merchant", "--data"]).arg(data).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().split_whitespace().last().unwrap().to_owned()
    }

    async fn send(&self, method: Method, path: &str, key: Option<&str>, body: Value) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.http)).json(&body);
        let request = request.header("idempotency-key", format!("purchase-{path}")).header("prefer", "wait=20");
        let request = request.header("x-forwarded-for", CLIENT);
        let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn expect(&self, status: u16, method: Method, path: &str, key: Option<&str>, body: Value) -> Value {
        let (got, answer) = self.send(method, path, key, body).await;
        assert_eq!(got, status, "{path}: {answer}");
        answer
    }

    /// Stocks a shelf, buys from it, is refused more than is left, has it sent. Answers the merchant's key.
    pub async fn purchase(&self) -> String {
        let key = self.key();
        let merchant = Some(key.as_str());
        let product = json!({ "title": "Tea", "variants": [{ "sku": "TEA", "prices": { "USD": 1999 } }] });
        self.expect(201, Method::PUT, "/v1/admin/products/tea", merchant, product).await;
        let receipt = json!({ "quantity": 3, "reference": "R1" });
        self.expect(200, Method::POST, "/v1/admin/stock/TEA/receive", merchant, receipt).await;
        self.expect(409, Method::POST, "/v1/stock/TEA/holds", None, json!({ "quantity": 4 })).await;
        let cart = self.expect(201, Method::POST, "/v1/carts", None, json!({ "currency": "USD" })).await;
        let path = format!("/v1/carts/{}", cart["id"].as_str().unwrap());
        self.expect(200, Method::PUT, &format!("{path}/lines/TEA"), None, json!({ "quantity": 2 })).await;
        let [email, name, phone, line1, postal_code] = BUYER;
        let address = json!({ "line1": line1, "city": "London", "postal_code": postal_code, "country": "GB" });
        let buyer = json!({ "email": email, "name": name, "phone": phone, "shipping_address": address });
        self.expect(200, Method::PUT, &format!("{path}/buyer"), None, buyer).await;
        let order = json!({ "cart_id": cart["id"], "payment": { "provider": "simulated", "token": TOKEN } });
        let order = self.expect(201, Method::POST, "/v1/orders", None, order).await;
        assert_eq!(order["state"], "confirmed");
        key
    }

    /// The metrics once they are as wanted.
    pub async fn metrics_when(&self, patience: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let until = tokio::time::Instant::now() + patience;
        loop {
            let answer = self.client.get(format!("{}/metrics", self.ops)).send().await.unwrap();
            let metrics = answer.text().await.unwrap();
            if wanted(&metrics) {
                return metrics;
            }
            assert!(tokio::time::Instant::now() < until, "the metrics never were as wanted:\n{metrics}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the node as an operator would; answers what it logged.
    pub fn terminate(mut self) -> String {
        let process = i32::try_from(self.process.id()).unwrap();
        // SAFETY: sends a signal to a child that was not waited for yet, so the number is still its own.
        assert_eq!(unsafe { libc::kill(process, libc::SIGTERM) }, 0);
        assert!(self.process.wait().unwrap().success());
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
