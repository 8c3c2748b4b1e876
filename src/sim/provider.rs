//! How the payment provider misbehaves besides what tokens make it do: between its network and its books.
//!
//! A request may be lost before it reaches the books, find the provider out of order, be answered slowly or never, and
//! be told by webhook before its answer. Whether an authorisation is declined is drawn once per key, so that asking
//! again finds the same provider. Nothing here touches the books behind their back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::disk::within;
use super::history::Fact;
use super::payments::{HOST, webhook_secret};
use super::scenario::Provider;
use super::time::SimClock;
use super::trouble::Trouble;
use crate::clock::Clock;
use crate::domain::payment::{PaymentOperation, PaymentOutcome, PaymentRequest, PaymentToken};
use crate::payments::webhook::{BODY_BYTES_MAX, NotDelivered, SignedWebhook, WebhookNotice, WebhookSink};
use crate::rng::Rng;

/// Between two copies of a webhook.
const COPY_GAP: Duration = Duration::from_millis(300);

/// The provider's bad days. Clones share them.
#[derive(Clone)]
pub struct Moods {
    /// What may happen.
    pub options: Provider,
    /// Whether it may happen now.
    pub trouble: Trouble,
    /// Draws whether it does.
    pub rng: Arc<dyn Rng>,
    /// Takes webhooks to the shop.
    pub sink: Arc<dyn WebhookSink>,
    /// Keys of authorisations seen, and whether each is declined.
    declined: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Moods {
    /// The moods of a provider whose webhooks go there.
    pub fn new(options: Provider, trouble: Trouble, rng: Arc<dyn Rng>, sink: Arc<dyn WebhookSink>) -> Self {
        Self { options, trouble, rng, sink, declined: Arc::default() }
    }

    fn strikes(&self, kind: &'static str, one_in: u64) -> bool {
        self.trouble.strikes(HOST, kind, one_in, &*self.rng)
    }

    /// With a card that is declined, if that is what was drawn for this key.
    fn with_card(&self, mut request: PaymentRequest) -> PaymentRequest {
        if let PaymentOperation::Authorise { token, .. } = &mut request.operation {
            let mut declined = self.declined.lock().unwrap_or_else(PoisonError::into_inner);
            let draw = || self.strikes("provider declines", self.options.decline_one_in);
            if *declined.entry(request.key.clone()).or_insert_with(draw) {
                *token = PaymentToken("tok_declined".into());
            }
        }
        request
    }

    /// The provider's call book: see `callbook`.
    fn note_request(&self, request: &PaymentRequest) {
        let own = || request.key.clone();
        let (what, of) = match &request.operation {
            PaymentOperation::Authorise { .. } => ("authorise", own()),
            PaymentOperation::Capture { .. } => ("capture", own()),
            PaymentOperation::Void { authorisation } => ("void", authorisation.clone()),
            PaymentOperation::Refund { .. } => ("refund", own()),
            PaymentOperation::Lookup { of } => ("lookup", of.clone()),
        };
        let order = request.order.to_string();
        self.trouble.tell(HOST, Fact::PaymentAsked { order, key: own(), what, of });
    }

    fn note_told(&self, of: &str, outcome: &PaymentOutcome) {
        self.trouble.tell(HOST, Fact::PaymentTold { of: of.to_owned(), outcome: name_of(outcome) });
    }

    async fn tell_first(&self, request: &PaymentRequest, outcome: PaymentOutcome) {
        let told = matches!(outcome, PaymentOutcome::Authorised | PaymentOutcome::Declined { .. });
        let asked = matches!(request.operation, PaymentOperation::Authorise { .. });
        if asked && told && self.strikes("webhook first", self.options.webhook_first_one_in) {
            let (key, order) = (request.key.clone(), request.order);
            let notice = WebhookNotice { id: format!("{key}/first"), order, key, outcome };
            self.note_told(&notice.key, &notice.outcome);
            let signed = webhook_secret().sign(&notice, SimClock::right().wall());
            // Not taken, it is as if it had never been sent: the answer follows.
            let _ = self.sink.deliver(&signed).await;
        }
    }
}

/// Between the answer to a capture and its webhook, at most.
const CAPTURE_GAP: Duration = Duration::from_secs(1);

impl Moods {
    /// Tells the shop of a capture by webhook, whatever became of the answer.
    fn tell_capture(&self, request: &PaymentRequest, outcome: &PaymentOutcome) {
        let captured = *outcome == PaymentOutcome::Captured;
        if !captured || !self.strikes("capture webhook", self.options.capture_webhook_one_in) {
            return;
        }
        let (key, order, outcome) = (request.key.clone(), request.order, outcome.clone());
        let notice = WebhookNotice { id: format!("{key}/captured"), order, key, outcome };
        let (sink, delay) = (self.sink.clone(), within(&*self.rng, &(Duration::ZERO..=CAPTURE_GAP)));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let signed = webhook_secret().sign(&notice, SimClock::right().wall());
            // Not taken, it is as if it had never been sent.
            let _ = sink.deliver(&signed).await;
        });
    }
}

/// Stands between the network and the provider's service.
pub async fn misbehave(State(moods): State<Moods>, request: Request, next: Next) -> Response {
    let options = &moods.options;
    if moods.strikes("provider loses", options.lost_one_in) {
        std::future::pending::<()>().await;
    }
    if moods.strikes("provider out of order", options.unavailable_one_in) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let (head, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, BODY_BYTES_MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let Ok(asked) = serde_json::from_slice::<PaymentRequest>(&bytes) else {
        return next.run(Request::from_parts(head, Body::from(bytes))).await;
    };
    moods.note_request(&asked);
    let asked = moods.with_card(asked);
    let body = serde_json::to_vec(&asked).expect("a payment request is JSON");
    let mut head = head;
    head.headers.remove(axum::http::header::CONTENT_LENGTH);
    let answer = next.run(Request::from_parts(head, Body::from(body))).await;
    let (head, body) = answer.into_parts();
    let Ok(bytes) = to_bytes(body, BODY_BYTES_MAX).await else { return StatusCode::BAD_GATEWAY.into_response() };
    let outcome = serde_json::from_slice::<PaymentOutcome>(&bytes).ok();
    if let Some(outcome) = &outcome {
        moods.trouble.tell(HOST, Fact::PaymentBooked { key: asked.key.clone(), outcome: name_of(outcome) });
        moods.tell_capture(&asked, outcome);
        moods.tell_first(&asked, outcome.clone()).await;
    }
    if moods.strikes("provider silent", options.silent_one_in) {
        std::future::pending::<()>().await;
    }
    if moods.strikes("provider slow", options.slow_one_in) {
        let longest = Duration::from_millis(options.slow_max_ms);
        tokio::time::sleep(within(&*moods.rng, &(Duration::ZERO..=longest))).await;
    }
    if let Some(outcome) = &outcome {
        moods.note_told(told_of(&asked), outcome);
    }
    Response::from_parts(head, Body::from(bytes))
}

/// The key of the request an answer is about.
fn told_of(asked: &PaymentRequest) -> &str {
    match &asked.operation {
        PaymentOperation::Lookup { of } => of,
        _ => &asked.key,
    }
}

/// Its lowercase name.
fn name_of(outcome: &PaymentOutcome) -> String {
    let name = match outcome {
        PaymentOutcome::Authorised => "authorised",
        PaymentOutcome::Declined { .. } => "declined",
        PaymentOutcome::Captured => "captured",
        PaymentOutcome::Voided => "voided",
        PaymentOutcome::Refunded => "refunded",
        PaymentOutcome::Pending => "pending",
        PaymentOutcome::NeverSeen => "never_seen",
    };
    name.to_owned()
}

/// Sends webhooks late and twice.
pub struct MoodySink(pub Moods);

#[async_trait]
impl WebhookSink for MoodySink {
    async fn deliver(&self, webhook: &SignedWebhook) -> Result<(), NotDelivered> {
        let Moods { options, rng, sink, .. } = &self.0;
        if let Ok(notice) = serde_json::from_slice::<serde_json::Value>(&webhook.body) {
            let text = |name: &str| notice[name].as_str().unwrap_or_default().to_owned();
            self.0.trouble.tell(HOST, Fact::PaymentTold { of: text("key"), outcome: text("outcome") });
        }
        if options.webhook_late_max_ms > 0 && self.0.strikes("webhook late", 2) {
            let longest = Duration::from_millis(options.webhook_late_max_ms);
            tokio::time::sleep(within(&**rng, &(Duration::ZERO..=longest))).await;
        }
        let outcome = sink.deliver(webhook).await;
        if self.0.strikes("webhook twice", options.webhook_twice_one_in) {
            tokio::time::sleep(COPY_GAP).await;
            return sink.deliver(webhook).await;
        }
        outcome
    }
}
