//! Every token does what the contract says of it, in memory and after a restart.

use super::*;
use crate::domain::ids::OrderId;
use crate::domain::money::{Currency, Money};
use crate::payments::ledger::Status;
use crate::payments::webhook::{NotDelivered, SignedWebhook};
use crate::rng::SeededRng;

const ORDER: OrderId = OrderId([1; 16]);

struct StoppedClock;

impl Clock for StoppedClock {
    fn wall(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn parts(seed: u64) -> Parts {
    let rng = Arc::new(SeededRng::stream(seed, "provider"));
    Parts { rng, clock: Arc::new(StoppedClock), webhook_secret: WebhookSecret::new("shared") }
}

fn request(key: &str, operation: PaymentOperation) -> PaymentRequest {
    PaymentRequest { provider: PROVIDER_NAME.into(), key: key.into(), order: ORDER, operation }
}

fn authorise(key: &str, token: &str) -> PaymentRequest {
    let amount = Money { amount: 1999, currency: Currency::USD };
    request(key, PaymentOperation::Authorise { amount, token: PaymentToken(token.into()) })
}

fn lookup(of: &str) -> PaymentRequest {
    request("lookup", PaymentOperation::Lookup { of: of.into() })
}

fn void(of: &str) -> PaymentRequest {
    request(&format!("void/{of}"), PaymentOperation::Void { authorisation: of.into() })
}

/// The answer, or `None` when there is none within an hour.
async fn answer(
    provider: &SimulatedProvider,
    request: &PaymentRequest,
) -> Option<Result<PaymentOutcome, PaymentUnknown>> {
    tokio::time::timeout(Duration::from_secs(3600), provider.execute(request)).await.ok()
}

fn yes(outcome: PaymentOutcome) -> Option<Result<PaymentOutcome, PaymentUnknown>> {
    Some(Ok(outcome))
}

#[tokio::test(start_paused = true)]
async fn tok_ok_authorises_and_unknown_tokens_are_declined() {
    let provider = SimulatedProvider::in_memory(parts(1));
    assert_eq!(answer(&provider, &authorise("a", "tok_ok")).await, yes(PaymentOutcome::Authorised));
    let invalid = PaymentOutcome::Declined { reason: "invalid_token".into() };
    assert_eq!(answer(&provider, &authorise("b", "4242")).await, yes(invalid));
}

#[tokio::test(start_paused = true)]
async fn tok_declined_is_declined_again_and_found_declined() {
    let provider = SimulatedProvider::in_memory(parts(1));
    let declined = PaymentOutcome::Declined { reason: "card_declined".into() };
    for _ in 0..2 {
        assert_eq!(answer(&provider, &authorise("a", "tok_declined")).await, yes(declined.clone()));
    }
    assert_eq!(answer(&provider, &lookup("a")).await, yes(declined));
}

#[tokio::test(start_paused = true)]
async fn tok_slow_answers_after_three_seconds() {
    let provider = SimulatedProvider::in_memory(parts(1));
    let start = tokio::time::Instant::now();
    assert_eq!(answer(&provider, &authorise("a", "tok_slow")).await, yes(PaymentOutcome::Authorised));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn tok_timeout_never_answers_but_a_lookup_finds_it_authorised() {
    let provider = SimulatedProvider::in_memory(parts(1));
    assert_eq!(answer(&provider, &authorise("a", "tok_timeout")).await, None);
    assert_eq!(answer(&provider, &lookup("a")).await, yes(PaymentOutcome::Authorised));
}

#[tokio::test(start_paused = true)]
async fn tok_lost_leaves_no_trace_until_a_void_bars_its_key() {
    let provider = SimulatedProvider::in_memory(parts(1));
    assert_eq!(answer(&provider, &authorise("a", "tok_lost")).await, None);
    assert_eq!(answer(&provider, &lookup("a")).await, yes(PaymentOutcome::NeverSeen));
    assert_eq!(answer(&provider, &void("a")).await, yes(PaymentOutcome::Voided));
    assert_eq!(answer(&provider, &authorise("a", "tok_lost")).await, yes(PaymentOutcome::Voided));
    assert_eq!(provider.audit().accounts["a"].authorised, 0);
}

#[tokio::test(start_paused = true)]
async fn tok_flaky_fails_twice_for_each_key_and_then_works() {
    let provider = SimulatedProvider::in_memory(parts(1));
    for key in ["a", "b"] {
        for _ in 0..2 {
            let failed = Some(Err(PaymentUnknown::Unavailable));
            assert_eq!(answer(&provider, &authorise(key, "tok_flaky")).await, failed);
            assert_eq!(answer(&provider, &lookup(key)).await, yes(PaymentOutcome::NeverSeen));
        }
        assert_eq!(answer(&provider, &authorise(key, "tok_flaky")).await, yes(PaymentOutcome::Authorised));
    }
}

/// Collects what arrives, refusing the first `refusals`.
#[derive(Default)]
struct Inbox {
    taken: Mutex<Vec<(Duration, SignedWebhook)>>,
    refusals: Mutex<u32>,
}

#[async_trait]
impl WebhookSink for (Arc<Inbox>, tokio::time::Instant) {
    async fn deliver(&self, webhook: &SignedWebhook) -> Result<(), NotDelivered> {
        let mut refusals = self.0.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(NotDelivered);
        }
        self.0.taken.lock().unwrap().push((self.1.elapsed(), webhook.clone()));
        Ok(())
    }
}

async fn pay_by_webhook(seed: u64, refusals: u32) -> (Duration, Vec<(Duration, SignedWebhook)>) {
    let provider = SimulatedProvider::in_memory(parts(seed));
    let inbox = Arc::new(Inbox { refusals: Mutex::new(refusals), ..Inbox::default() });
    let start = tokio::time::Instant::now();
    let sender = tokio::spawn(provider.clone().send_webhooks(Arc::new((inbox.clone(), start))));
    assert_eq!(answer(&provider, &authorise("a", "tok_webhook")).await, yes(PaymentOutcome::Pending));
    let answered = start.elapsed();
    tokio::time::sleep(Duration::from_secs(600)).await;
    sender.abort();
    assert_eq!(answer(&provider, &lookup("a")).await, yes(PaymentOutcome::Authorised));
    assert!(!provider.audit().accounts["a"].notice_due);
    let taken = std::mem::take(&mut *inbox.taken.lock().unwrap());
    (answered, taken)
}

#[tokio::test(start_paused = true)]
async fn tok_webhook_reports_late_twice_and_before_the_answer() {
    let (mut late, mut twice, mut first) = (false, false, false);
    for seed in 0..24 {
        let (answered, taken) = pay_by_webhook(seed, 0).await;
        for (_, webhook) in &taken {
            let read = WebhookSecret::new("shared").verify(&webhook.headers(), &webhook.body, StoppedClock.wall());
            let expected = ("a".to_owned(), ORDER, PaymentOutcome::Authorised);
            assert_eq!(read.map(|notice| (notice.key, notice.order, notice.outcome)), Ok(expected));
        }
        match taken.as_slice() {
            [(at, _)] if *at < answered => first = true,
            [(at, _)] => late |= *at >= Duration::from_secs(1),
            [(_, one), (_, other)] => twice |= one == other,
            others => panic!("seed {seed}: {} webhooks", others.len()),
        }
    }
    assert!(late && twice && first, "late {late}, twice {twice}, first {first}");
}

#[tokio::test(start_paused = true)]
async fn a_webhook_nobody_took_is_sent_again_until_it_is() {
    let (_, taken) = pay_by_webhook(7, 5).await;
    assert!(!taken.is_empty());
    assert!(taken[0].0 >= Duration::from_secs(1 + 2 + 4 + 8 + 16));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_misbehaves_the_same_way() {
    for seed in 0..6 {
        assert_eq!(pay_by_webhook(seed, 0).await, pay_by_webhook(seed, 0).await);
    }
}

#[tokio::test]
async fn books_survive_the_provider_and_owed_webhooks_are_sent_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("provider.ledger");
    let provider = SimulatedProvider::open(parts(1), &path).await.unwrap();
    provider.execute(&authorise("a", "tok_ok")).await.unwrap();
    provider.execute(&authorise("w", "tok_webhook")).await.unwrap();
    provider.execute(&authorise("f", "tok_flaky")).await.unwrap_err();
    let before = provider.audit();
    drop(provider);

    let provider = SimulatedProvider::open(parts(2), &path).await.unwrap();
    assert_eq!(provider.audit(), before);
    assert_eq!(provider.execute(&authorise("a", "tok_ok")).await, Ok(PaymentOutcome::Authorised));
    provider.execute(&authorise("f", "tok_flaky")).await.unwrap_err();
    assert_eq!(provider.execute(&authorise("f", "tok_flaky")).await, Ok(PaymentOutcome::Authorised));
    let inbox = Arc::new(Inbox::default());
    let sink = Arc::new((inbox.clone(), tokio::time::Instant::now()));
    let sending = provider.clone().send_webhooks(sink);
    let noticed = async {
        while provider.audit().accounts["w"].notice_due {
            tokio::task::yield_now().await
        }
    };
    tokio::select! { () = sending => {}, () = noticed => {} }
    assert_eq!(provider.audit().accounts["w"].status, Status::Authorised);
    assert_eq!(inbox.taken.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_with_other_content_is_unknown_and_counted() {
    let provider = SimulatedProvider::in_memory(parts(1));
    provider.execute(&authorise("a", "tok_ok")).await.unwrap();
    let other = request("a", PaymentOperation::Void { authorisation: "a".into() });
    assert_eq!(provider.execute(&other).await, Err(PaymentUnknown::KeyReused));
    assert_eq!(provider.audit().conflicts, 1);
}
