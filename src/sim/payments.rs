//! The payment provider on a host of its own, and the gateway and webhooks between it and the shop over the network.
//!
//! The provider is the simulated one of production behind its HTTP service; only the connections are simulated. It
//! never crashes: what it was asked and answered outlives everything, as with a real one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::DATE;
use axum::response::Response;
use hyper::Method;

use super::client::{Call, send};
use super::network::{HTTP_PORT, Line, SimListener};
use super::power::{Power, Step};
use super::provider::{Moods, MoodySink, misbehave};
use super::time::SimClock;
use crate::clock::Clock;
use crate::domain::payment::{PaymentOutcome, PaymentRequest};
use crate::domain::time::Timestamp;
use crate::http::door::http_date;
use crate::payments::gateway::{PaymentGateway, PaymentUnknown};
use crate::payments::remote;
use crate::payments::simulated::{PROVIDER_NAME, Parts, SimulatedProvider};
use crate::payments::webhook::{NotDelivered, SignedWebhook, WebhookError, WebhookNotice, WebhookSecret, WebhookSink};
use crate::rng::Rng;

/// The provider's host.
pub const HOST: &str = "payments";
/// How long the shop has to take a webhook.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// As good as for ever: the courier bounds the wait.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// What both sides sign webhooks with.
pub fn webhook_secret() -> WebhookSecret {
    WebhookSecret::new(b"the simulated world's webhook secret".as_slice())
}

/// The provider of a world. Make it on its host.
pub fn provider(rng: Arc<dyn Rng>) -> Arc<SimulatedProvider> {
    let clock = Arc::new(SimClock::right());
    SimulatedProvider::in_memory(Parts { rng, clock, webhook_secret: webhook_secret() })
}

/// Serves the provider and sends its webhooks.
pub async fn run(provider: Arc<SimulatedProvider>, moods: Moods, line: Line) -> turmoil::Result {
    let listener = SimListener::bind(HTTP_PORT, line).await?;
    tokio::spawn(provider.clone().send_webhooks(Arc::new(MoodySink(moods.clone()))));
    let moods = axum::middleware::from_fn_with_state(moods, misbehave);
    let service = remote::service(provider).layer(moods).layer(axum::middleware::map_response(dated));
    axum::serve(listener, service).await?;
    Ok(())
}

/// The answer with the world's date instead of the system's.
async fn dated(mut response: Response) -> Response {
    response.headers_mut().insert(DATE, http_date(SimClock::right().wall()));
    response
}

/// Takes webhooks to any of these nodes.
pub struct NetworkSink {
    /// Their hosts.
    pub nodes: Vec<String>,
}

#[async_trait]
impl WebhookSink for NetworkSink {
    async fn deliver(&self, webhook: &SignedWebhook) -> Result<(), NotDelivered> {
        let mut call =
            Call::new(Method::POST, format!("/v1/webhooks/payments/{PROVIDER_NAME}")).bytes(webhook.body.clone());
        for (name, value) in &webhook.headers() {
            call = call.header(name.as_str(), value.to_str().unwrap_or_default());
        }
        for node in &self.nodes {
            if let Ok(reply) = send(node, HTTP_PORT, &call, WEBHOOK_TIMEOUT).await
                && reply.status.is_success()
            {
                return Ok(());
            }
        }
        Err(NotDelivered)
    }
}

/// The shop's side, on a node with this power.
pub struct NetworkGateway(pub Power);

#[async_trait]
impl PaymentGateway for NetworkGateway {
    async fn execute(&self, request: &PaymentRequest) -> Result<PaymentOutcome, PaymentUnknown> {
        self.0.pass(Step::Owe).await;
        let body = serde_json::to_vec(request).expect("a payment request is JSON");
        let call = Call::new(Method::POST, "/v1/operations").bytes(body);
        let reply = send(HOST, HTTP_PORT, &call, PATIENCE).await.map_err(|_| PaymentUnknown::Unreachable)?;
        remote::outcome_of(reply.status, serde_json::from_value(reply.body).ok())
    }

    fn verify_webhook(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<WebhookNotice, WebhookError> {
        webhook_secret().verify(headers, body, now)
    }
}
