//! The simulated provider as a process of its own: a small HTTP service, and the gateway that talks to it.
//!
//! `POST /v1/operations` takes a request as JSON and answers its outcome; 503 when the provider is out of order, 409
//! for a key used for something else, nothing at all when a token says so. `GET /v1/audit` shows the books. Webhooks
//! go to the address the service was started with. No authentication: it moves no money; bind it to loopback.
//!
//! The gateway makes one attempt and maps every trouble to `PaymentUnknown`; patience is the courier's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::Url;

use super::gateway::{PaymentGateway, PaymentUnknown};
use super::ledger::Audit;
use super::simulated::SimulatedProvider;
use super::webhook::{BODY_BYTES_MAX, NotDelivered, SignedWebhook, WebhookError, WebhookNotice};
use super::webhook::{WebhookSecret, WebhookSink};
use crate::domain::payment::{PaymentOutcome, PaymentRequest};
use crate::domain::time::Timestamp;

/// Connecting takes less than this or is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A shop that has not taken a webhook within this time is tried again later.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// The provider's HTTP interface.
pub fn service(provider: Arc<SimulatedProvider>) -> Router {
    Router::new()
        .route("/v1/operations", post(operate))
        .route("/v1/audit", get(audit))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(provider)
}

async fn operate(State(provider): State<Arc<SimulatedProvider>>, Json(request): Json<PaymentRequest>) -> Response {
    match provider.execute(&request).await {
        Ok(outcome) => Json(outcome).into_response(),
        Err(PaymentUnknown::KeyReused) => StatusCode::CONFLICT.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn audit(State(provider): State<Arc<SimulatedProvider>>) -> Json<Audit> {
    Json(provider.audit())
}

/// What the service's answer means; `None`: a body that is not an outcome.
pub fn outcome_of(status: StatusCode, outcome: Option<PaymentOutcome>) -> Result<PaymentOutcome, PaymentUnknown> {
    match (status, outcome) {
        (StatusCode::OK, Some(outcome)) => Ok(outcome),
        (StatusCode::CONFLICT, _) => Err(PaymentUnknown::KeyReused),
        (StatusCode::SERVICE_UNAVAILABLE, _) => Err(PaymentUnknown::Unavailable),
        _ => Err(PaymentUnknown::Unreadable { status: status.as_u16() }),
    }
}

/// Speaks to a provider's HTTP interface.
pub struct HttpGateway {
    client: reqwest::Client,
    operations: Url,
    webhook_secret: WebhookSecret,
}

/// The address or the TLS setup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpGatewayError {
    /// Not a base address for paths.
    #[error("{0} is not an address of a payment provider; expected e.g. http://127.0.0.1:8090/")]
    Address(Url),
    /// No HTTP client could be built.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

impl HttpGateway {
    /// A gateway to the service at `base`, with or without a slash at its end.
    pub fn new(base: &Url, webhook_secret: WebhookSecret) -> Result<Self, HttpGatewayError> {
        let mut directory = base.clone();
        if !directory.path().ends_with('/') {
            directory.set_path(&format!("{}/", base.path()));
        }
        let operations = directory.join("v1/operations").map_err(|_| HttpGatewayError::Address(base.clone()))?;
        Ok(Self { client: client()?, operations, webhook_secret })
    }
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    // The program's one cryptography provider; an error only says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy().build()
}

#[async_trait]
impl PaymentGateway for HttpGateway {
    async fn execute(&self, request: &PaymentRequest) -> Result<PaymentOutcome, PaymentUnknown> {
        let sent = self.client.post(self.operations.clone()).json(request).send().await;
        let response = sent.map_err(|_| PaymentUnknown::Unreachable)?;
        outcome_of(response.status(), response.json().await.ok())
    }

    fn verify_webhook(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<WebhookNotice, WebhookError> {
        self.webhook_secret.verify(headers, body, now)
    }
}

/// Posts webhooks to a shop.
pub struct HttpWebhookSink {
    client: reqwest::Client,
    address: Url,
}

impl HttpWebhookSink {
    /// To the full address, e.g. `http://127.0.0.1:8080/v1/webhooks/payments/simulated`.
    pub fn new(address: Url) -> Result<Self, reqwest::Error> {
        Ok(Self { client: client()?, address })
    }
}

#[async_trait]
impl WebhookSink for HttpWebhookSink {
    async fn deliver(&self, webhook: &SignedWebhook) -> Result<(), NotDelivered> {
        let post = self.client.post(self.address.clone()).headers(webhook.headers());
        let post = post.header("content-type", "application/json").body(webhook.body.clone()).timeout(WEBHOOK_TIMEOUT);
        match post.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            _ => Err(NotDelivered),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::ids::OrderId;
    use crate::domain::money::{Currency, Money};
    use crate::domain::payment::{PaymentOperation, PaymentToken};
    use crate::payments::simulated::{PROVIDER_NAME, Parts};
    use crate::rng::SeededRng;

    fn secret() -> WebhookSecret {
        WebhookSecret::new("shared")
    }

    async fn serve(router: Router) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/").parse().unwrap()
    }

    fn provider() -> Arc<SimulatedProvider> {
        let rng = Arc::new(SeededRng::stream(1, "provider"));
        SimulatedProvider::in_memory(Parts { rng, clock: Arc::new(SystemClock::new()), webhook_secret: secret() })
    }

    fn request(key: &str, token: &str) -> PaymentRequest {
        let amount = Money { amount: 1999, currency: Currency::USD };
        let operation = PaymentOperation::Authorise { amount, token: PaymentToken(token.into()) };
        PaymentRequest { provider: PROVIDER_NAME.into(), key: key.into(), order: OrderId([1; 16]), operation }
    }

    #[tokio::test]
    async fn the_service_answers_as_the_provider_does() {
        let provider = provider();
        let gateway = HttpGateway::new(&serve(service(provider.clone())).await, secret()).unwrap();
        assert_eq!(gateway.execute(&request("a", "tok_ok")).await, Ok(PaymentOutcome::Authorised));
        let declined = PaymentOutcome::Declined { reason: "card_declined".into() };
        assert_eq!(gateway.execute(&request("b", "tok_declined")).await, Ok(declined));
        assert_eq!(gateway.execute(&request("c", "tok_flaky")).await, Err(PaymentUnknown::Unavailable));
        let lookup = PaymentOperation::Lookup { of: "a".into() };
        let lookup = PaymentRequest { operation: lookup, ..request("l", "") };
        assert_eq!(gateway.execute(&lookup).await, Ok(PaymentOutcome::Authorised));
        let other_order = PaymentRequest { order: OrderId([2; 16]), ..request("a", "tok_ok") };
        assert_eq!(gateway.execute(&other_order).await, Err(PaymentUnknown::KeyReused));
        assert_eq!(provider.audit().accounts.len(), 2);
    }

    #[tokio::test]
    async fn trouble_on_the_way_is_unknown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let gateway = HttpGateway::new(&nobody, secret()).unwrap();
        assert_eq!(gateway.execute(&request("a", "tok_ok")).await, Err(PaymentUnknown::Unreachable));
        let garbled = Router::new().route("/v1/operations", post(async || "well, yes"));
        let gateway = HttpGateway::new(&serve(garbled).await, secret()).unwrap();
        assert_eq!(gateway.execute(&request("a", "tok_ok")).await, Err(PaymentUnknown::Unreadable { status: 200 }));
    }

    #[tokio::test]
    async fn a_webhook_crosses_http_and_is_believed() {
        let (taken, mut inbox) = tokio::sync::mpsc::channel(8);
        let shop = Router::new().route(
            "/hook",
            post(async move |headers: HeaderMap, body: axum::body::Bytes| {
                taken.send((headers, body)).await.unwrap();
                StatusCode::NO_CONTENT
            }),
        );
        let sink = HttpWebhookSink::new(serve(shop).await.join("hook").unwrap()).unwrap();
        let provider = provider();
        tokio::spawn(provider.clone().send_webhooks(Arc::new(sink)));
        assert_eq!(provider.execute(&request("a", "tok_webhook")).await, Ok(PaymentOutcome::Pending));
        let (headers, body) = inbox.recv().await.unwrap();
        let now = crate::clock::Clock::wall(&SystemClock::new());
        let notice = provider.verify_webhook(&headers, &body, now).unwrap();
        assert_eq!((notice.key.as_str(), notice.outcome), ("a", PaymentOutcome::Authorised));
    }
}
