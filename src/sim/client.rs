//! An HTTP/1.1 client on the simulated network: one connection per request, as unforgiving as a phone on a train.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use turmoil::net::TcpStream;

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Verb.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Body, JSON.
    pub body: Option<Bytes>,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// What the body is; JSON unless said.
    pub content_type: &'static str,
    /// Other headers.
    pub headers: Vec<(String, String)>,
}

impl Call {
    /// A request without body, key or headers.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: None, key: None, content_type: "application/json", headers: Vec::new() }
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(Bytes::from(body.to_string()));
        self
    }

    /// With a body as it is: signed bytes must not change.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// With a body that is not JSON.
    #[must_use]
    pub fn content_type(mut self, media_type: &'static str) -> Self {
        self.content_type = media_type;
        self
    }

    /// With an idempotency key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With an API key or token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), format!("Bearer {token}"))
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// JSON body; `Null` when empty.
    pub body: Value,
}

impl Reply {
    /// The problem's code, of a refusal.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// No answer: nobody can say what became of the request.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// Sends a request to a port of a host and waits this long.
pub async fn send(host: &str, port: u16, call: &Call, timeout: Duration) -> Result<Reply, NoAnswer> {
    match tokio::time::timeout(timeout, attempt(host, port, call)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(NoAnswer("no answer in time".to_owned())),
    }
}

async fn attempt(host: &str, port: u16, call: &Call) -> Result<Reply, NoAnswer> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| NoAnswer(format!("connect: {error}")))?;
    let failed = |error: hyper::Error| NoAnswer(format!("http: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(&call.method).uri(&call.path).header("host", host);
    if call.body.is_some() {
        request = request.header(CONTENT_TYPE, call.content_type);
    }
    if let Some(key) = &call.key {
        request = request.header("idempotency-key", key);
    }
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(call.body.clone().unwrap_or_default()))
        .map_err(|error| NoAnswer(format!("request: {error}")))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let bytes = response.into_body().collect().await.map_err(failed)?.to_bytes();
    connection.abort();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or(Value::Null) };
    Ok(Reply { status, body })
}
