//! What the courier asks, in which order, and what it reports, against a scripted provider.

use std::sync::Mutex;

use async_trait::async_trait;
use axum::http::HeaderMap;

use super::*;
use crate::domain::ids::OrderId;
use crate::domain::money::{Currency, Money};
use crate::domain::payment::PaymentToken;
use crate::domain::time::Timestamp;
use crate::payments::gateway::PaymentGateway;
use crate::payments::webhook::{WebhookError, WebhookNotice};
use crate::rng::SeededRng;

/// Plays back answers in order, writing down what was asked; `None` is silence. The last one repeats.
struct Script {
    answers: Mutex<Vec<Option<Result<PaymentOutcome, PaymentUnknown>>>>,
    asked: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl PaymentGateway for Script {
    async fn execute(&self, request: &PaymentRequest) -> Result<PaymentOutcome, PaymentUnknown> {
        self.asked.lock().unwrap().push(operation_name(&request.operation));
        if let PaymentOperation::Lookup { of } = &request.operation {
            assert_eq!(of, "key", "looked up under the request's own key");
        }
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    fn verify_webhook(&self, _: &HeaderMap, _: &[u8], _: Timestamp) -> Result<WebhookNotice, WebhookError> {
        Err(WebhookError::NotConfigured)
    }
}

fn authorise() -> PaymentOperation {
    let amount = Money { amount: 1999, currency: Currency::USD };
    PaymentOperation::Authorise { amount, token: PaymentToken("tok_secret".into()) }
}

fn void() -> PaymentOperation {
    PaymentOperation::Void { authorisation: "authorisation".into() }
}

/// What the courier reported, what it asked, how long it took.
async fn deliver(
    operation: PaymentOperation,
    answers: Vec<Option<Result<PaymentOutcome, PaymentUnknown>>>,
) -> (PaymentOutcome, Vec<&'static str>, Duration) {
    let script = Arc::new(Script { answers: Mutex::new(answers), asked: Mutex::default() });
    let gateways = Gateways::new([("scripted".to_owned(), script.clone() as Arc<dyn PaymentGateway>)]);
    let courier = PaymentCourier::new(gateways, Arc::new(SeededRng::stream(1, "courier")), CourierOptions::default());
    let order = OrderId([1; 16]);
    let request = PaymentRequest { provider: "scripted".into(), key: "key".into(), order, operation };
    let start = tokio::time::Instant::now();
    let outcome = courier.deliver(&request).await;
    let asked = std::mem::take(&mut *script.asked.lock().unwrap());
    (outcome, asked, start.elapsed())
}

const UNAVAILABLE: Option<Result<PaymentOutcome, PaymentUnknown>> = Some(Err(PaymentUnknown::Unavailable));
const NEVER_SEEN: Option<Result<PaymentOutcome, PaymentUnknown>> = Some(Ok(PaymentOutcome::NeverSeen));
const AUTHORISED: Option<Result<PaymentOutcome, PaymentUnknown>> = Some(Ok(PaymentOutcome::Authorised));

#[tokio::test(start_paused = true)]
async fn an_answer_is_reported_at_once() {
    for outcome in
        [PaymentOutcome::Authorised, PaymentOutcome::Pending, PaymentOutcome::Declined { reason: "x".into() }]
    {
        let (reported, asked, took) = deliver(authorise(), vec![Some(Ok(outcome.clone()))]).await;
        assert_eq!((reported, asked, took), (outcome, vec!["authorise"], Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_resolved_by_a_lookup_after_the_answer_timeout() {
    let (reported, asked, took) = deliver(authorise(), vec![None, AUTHORISED]).await;
    assert_eq!(reported, PaymentOutcome::Authorised);
    assert_eq!(asked, ["authorise", "lookup"]);
    assert_eq!(took, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_request_the_provider_never_saw_is_sent_again_under_the_same_key() {
    let (reported, asked, took) = deliver(authorise(), vec![UNAVAILABLE, NEVER_SEEN, AUTHORISED]).await;
    assert_eq!(reported, PaymentOutcome::Authorised);
    assert_eq!(asked, ["authorise", "lookup", "authorise"]);
    assert!((Duration::from_millis(100)..=Duration::from_millis(200)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_authorisation_never_seen_in_three_rounds_is_reported_so() {
    let round = [None, NEVER_SEEN];
    let (reported, asked, _) = deliver(authorise(), [round.clone(), round.clone(), round].concat()).await;
    assert_eq!(reported, PaymentOutcome::NeverSeen);
    assert_eq!(asked, ["authorise", "lookup", "authorise", "lookup", "authorise", "lookup"]);
}

#[tokio::test(start_paused = true)]
async fn rounds_without_a_lookup_prove_nothing_and_are_not_counted() {
    let mut answers = vec![UNAVAILABLE; 40];
    answers.push(AUTHORISED);
    let (reported, asked, _) = deliver(authorise(), answers).await;
    assert_eq!(reported, PaymentOutcome::Authorised);
    assert_eq!(asked.len(), 41);
}

#[tokio::test(start_paused = true)]
async fn a_void_is_sent_until_the_provider_took_it() {
    let mut answers = vec![[UNAVAILABLE, NEVER_SEEN]; 20].concat();
    answers.push(Some(Ok(PaymentOutcome::Voided)));
    let (reported, asked, took) = deliver(void(), answers).await;
    assert_eq!(reported, PaymentOutcome::Voided);
    assert_eq!(asked.len(), 41);
    assert!(took <= Duration::from_secs(20 * 30), "pauses are capped: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_is_repeated_until_it_is_answered_and_never_seen_is_an_answer() {
    let lookup = PaymentOperation::Lookup { of: "key".into() };
    let (reported, asked, _) = deliver(lookup, vec![None, UNAVAILABLE, NEVER_SEEN]).await;
    assert_eq!(reported, PaymentOutcome::NeverSeen);
    assert_eq!(asked, ["lookup", "lookup", "lookup"]);
}

#[tokio::test(start_paused = true)]
async fn a_provider_missing_from_the_configuration_is_waited_for() {
    let courier =
        PaymentCourier::new(Gateways::default(), Arc::new(SeededRng::stream(1, "x")), CourierOptions::default());
    let order = OrderId([1; 16]);
    let request = PaymentRequest { provider: "gone".into(), key: "key".into(), order, operation: authorise() };
    let delivery = tokio::time::timeout(Duration::from_secs(86_400), courier.deliver(&request)).await;
    assert!(delivery.is_err());
}
