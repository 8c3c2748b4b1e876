//! Real processes: commands run to their end, and a node that serves until it is killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use reqwest::{Client, Method};
use serde_json::{Value, json};

pub fn stockroom(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockroom"));
    command.arg("--data").arg(data).env_remove("STOCKROOM_CONFIG");
    command
}

pub fn run(data: &Path, arguments: &[&str]) -> Output {
    stockroom(data).args(arguments).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Makes a merchant's key for a directory, with or without a node.
pub fn merchant_key(data: &Path) -> String {
    let created = stdout(&run(data, &["key", "create", "--role", "merchant"]));
    created.split_whitespace().last().unwrap().to_owned()
}

/// A serving node, killed when dropped.
pub struct Node {
    process: Child,
    pub ready: Value,
    _stdout: BufReader<ChildStdout>,
}

impl Node {
    pub fn demo(data: &Path) -> Self {
        Self::start(data, &["--demo"])
    }

    /// A node without a catalogue unless `arguments` say otherwise.
    pub fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::start_with(data, arguments, &[])
    }

    /// The same with these environment variables.
    pub fn start_with(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let errors = tempfile::NamedTempFile::new().unwrap();
        let mut process = stockroom(data)
            .args(["serve", "--ops-listen", "127.0.0.1:0"])
            .args(if arguments.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] })
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(errors.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let said = || std::fs::read_to_string(errors.path()).unwrap();
        let ready = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("readiness line {line:?}: {error}; the node said:\n{}", said()));
        Self { process, ready, _stdout: stdout }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn terminate(mut self) -> std::process::ExitStatus {
        let process = i32::try_from(self.process.id()).unwrap();
        // SAFETY: sends a signal to a child that was not waited for yet, so the number is still its own.
        assert_eq!(unsafe { libc::kill(process, libc::SIGTERM) }, 0);
        self.process.wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A merchant's and shoppers' way to a node.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    key: String,
}

impl Api {
    /// Makes a merchant key for the node of this directory.
    pub fn to(node: &Node, data: &Path) -> Self {
        let key = merchant_key(data);
        // Refused when another test was first, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = format!("http://{}", node.ready["http"].as_str().unwrap());
        Self { client: Client::new(), base, key }
    }

    /// Sends JSON under a fresh idempotency key; the status and the answer's JSON. Panics when nobody answers.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.try_call(method, path, body).await.unwrap()
    }

    /// The same; `None` when nobody answers.
    pub async fn try_call(&self, method: Method, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key);
        let request = request.header("idempotency-key", fresh_key()).header("prefer", "wait=10");
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, serde_json::from_str(&answer.text().await.ok()?).unwrap_or(Value::Null)))
    }

    /// One product with one SKU of the same name, and units of it.
    pub async fn sell(&self, sku: &str, units: u64) {
        let body = json!({
            "title": sku, "description": "", "categories": [], "attributes": {}, "media": [], "status": "active",
            "variants": [{"sku": sku, "title": sku, "attributes": {}, "prices": {"USD": 1999}}],
        });
        let path = format!("/v1/admin/products/{}", sku.to_lowercase());
        assert!(self.call(Method::PUT, &path, Some(body)).await.0 < 300);
        let received = json!({"quantity": units, "reference": "first delivery"});
        let path = format!("/v1/admin/stock/{sku}/receive");
        let (status, answer) = self.call(Method::POST, &path, Some(received)).await;
        assert!(status < 300, "{status} {answer}");
    }

    /// A whole purchase of one unit; the order.
    pub async fn buy(&self, sku: &str) -> Value {
        let (_, cart) = self.call(Method::POST, "/v1/carts", Some(json!({"currency": "USD"}))).await;
        let cart = cart["id"].as_str().unwrap();
        self.call(Method::PUT, &format!("/v1/carts/{cart}/lines/{sku}"), Some(json!({"quantity": 1}))).await;
        let buyer = json!({"email": "shopper@example.org"});
        self.call(Method::PUT, &format!("/v1/carts/{cart}/buyer"), Some(buyer)).await;
        let order = json!({"cart_id": cart, "payment": {"provider": "simulated", "token": "tok_ok"}});
        let (status, order) = self.call(Method::POST, "/v1/orders", Some(order)).await;
        assert!(status < 300, "{status} {order}");
        order
    }
}

fn fresh_key() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("test-{}-{:012}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
