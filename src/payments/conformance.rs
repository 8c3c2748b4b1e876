//! One suite for the payment seam: what a gateway to the simulated provider does, whatever lies between.
//!
//! Ordinary code (not `cfg(test)`), so that gateways elsewhere, the simulator's for one, can run it too. It needs a
//! provider with empty books whose webhooks nobody sends: a pending payment then stays pending. The provider's time is
//! tokio's; `silence` is how long no answer counts as none, in paused time as long as one likes, else a little longer
//! than a request takes. Panics at the first thing that is not as it must be.

use std::time::Duration;

use axum::http::HeaderMap;

use super::gateway::{PaymentGateway, PaymentUnknown};
use super::simulated::PROVIDER_NAME;
use super::webhook::WebhookError;
use crate::domain::ids::{OrderId, RefundId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{PaymentOperation, PaymentOutcome, PaymentRequest, PaymentToken};
use crate::domain::time::Timestamp;

/// Whose payments the suite makes.
const ORDER: OrderId = OrderId([1; 16]);

/// What the suite asks to be set aside, minor units.
const AMOUNT: u64 = 100;

/// How long a slow provider takes at least, as the contract says.
const SLOW: Duration = Duration::from_secs(3);

type Answer = Result<PaymentOutcome, PaymentUnknown>;

/// Everything a gateway must do. Panics at the first thing it does not.
pub async fn payment_gateway(gateway: &dyn PaymentGateway, silence: Duration) {
    let suite = Suite { gateway, silence };
    suite.tokens_that_are_answered().await;
    suite.tokens_that_are_not_answered().await;
    suite.a_key_moves_money_once().await;
    suite.a_key_is_for_one_request().await;
    suite.a_void_bars_a_late_authorisation().await;
    suite.a_void_gives_up_what_is_not_captured().await;
    suite.captures_and_refunds_are_bounded().await;
    suite.a_lookup_finds_every_request().await;
    let unsigned = gateway.verify_webhook(&HeaderMap::new(), b"{}", Timestamp(0));
    assert_eq!(unsigned, Err(WebhookError::SignatureMissing));
}

struct Suite<'a> {
    gateway: &'a dyn PaymentGateway,
    silence: Duration,
}

impl Suite<'_> {
    async fn ask(&self, key: &str, operation: PaymentOperation) -> Answer {
        let (provider, key) = (PROVIDER_NAME.to_owned(), key.to_owned());
        self.gateway.execute(&PaymentRequest { provider, key, order: ORDER, operation }).await
    }

    async fn lookup(&self, of: &str) -> Answer {
        self.ask(&format!("{of}/lookup"), PaymentOperation::Lookup { of: of.to_owned() }).await
    }

    /// Asks and hears nothing; the key is looked up while the request still waits for its answer.
    async fn lookup_in_silence(&self, key: &str, token: &str) -> Answer {
        tokio::select! {
            biased;
            answer = self.ask(key, authorise(token)) => panic!("{token} was answered: {answer:?}"),
            found = async { tokio::time::sleep(self.silence).await; self.lookup(key).await } => found,
        }
    }

    async fn tokens_that_are_answered(&self) {
        assert_eq!(self.ask("ok", authorise("tok_ok")).await, Ok(PaymentOutcome::Authorised));
        assert_eq!(self.lookup("ok").await, Ok(PaymentOutcome::Authorised));
        for (key, token, reason) in
            [("declined", "tok_declined", "card_declined"), ("invalid", "4242", "invalid_token")]
        {
            let declined = Ok(PaymentOutcome::Declined { reason: reason.to_owned() });
            assert_eq!(self.ask(key, authorise(token)).await, declined);
            assert_eq!(self.ask(key, authorise(token)).await, declined, "the same key again");
            assert_eq!(self.lookup(key).await, declined);
        }
        let asked = tokio::time::Instant::now();
        assert_eq!(self.ask("slow", authorise("tok_slow")).await, Ok(PaymentOutcome::Authorised));
        assert!(asked.elapsed() >= SLOW, "tok_slow took {:?}", asked.elapsed());
        for _ in 0..2 {
            assert_eq!(self.ask("flaky", authorise("tok_flaky")).await, Err(PaymentUnknown::Unavailable));
            assert_eq!(self.lookup("flaky").await, Ok(PaymentOutcome::NeverSeen));
        }
        assert_eq!(self.ask("flaky", authorise("tok_flaky")).await, Ok(PaymentOutcome::Authorised));
        for _ in 0..2 {
            assert_eq!(self.ask("webhook", authorise("tok_webhook")).await, Ok(PaymentOutcome::Pending));
            assert_eq!(self.lookup("webhook").await, Ok(PaymentOutcome::Pending));
        }
    }

    async fn tokens_that_are_not_answered(&self) {
        assert_eq!(self.lookup_in_silence("timeout", "tok_timeout").await, Ok(PaymentOutcome::Authorised));
        assert_eq!(self.ask("timeout", authorise("tok_timeout")).await, Ok(PaymentOutcome::Authorised));
        assert_eq!(self.lookup_in_silence("lost", "tok_lost").await, Ok(PaymentOutcome::NeverSeen));
        assert_eq!(self.ask("lost/void", void("lost")).await, Ok(PaymentOutcome::Voided));
        assert_eq!(self.ask("lost", authorise("tok_lost")).await, Ok(PaymentOutcome::Voided));
    }

    async fn a_key_moves_money_once(&self) {
        for _ in 0..3 {
            assert_eq!(self.ask("once", authorise("tok_ok")).await, Ok(PaymentOutcome::Authorised));
            assert_eq!(self.ask("once/capture", capture("once", 60)).await, Ok(PaymentOutcome::Captured));
            assert_eq!(self.ask("once/refund", refund("once", 25)).await, Ok(PaymentOutcome::Refunded));
        }
        assert_declined(self.ask("once/capture-2", capture("once", 41)).await);
        assert_eq!(self.ask("once/capture-3", capture("once", 40)).await, Ok(PaymentOutcome::Captured));
        assert_declined(self.ask("once/refund-2", refund("once", 76)).await);
        assert_eq!(self.ask("once/refund-3", refund("once", 75)).await, Ok(PaymentOutcome::Refunded));
    }

    async fn a_key_is_for_one_request(&self) {
        assert_eq!(self.ask("mine", authorise("tok_ok")).await, Ok(PaymentOutcome::Authorised));
        assert_eq!(self.ask("mine", void("mine")).await, Err(PaymentUnknown::KeyReused));
        let (provider, key) = (PROVIDER_NAME.to_owned(), "mine".to_owned());
        let others = PaymentRequest { provider, key, order: OrderId([2; 16]), operation: authorise("tok_ok") };
        assert_eq!(self.gateway.execute(&others).await, Err(PaymentUnknown::KeyReused));
        assert_eq!(self.lookup("mine").await, Ok(PaymentOutcome::Authorised), "nothing became of either");
    }

    async fn a_void_bars_a_late_authorisation(&self) {
        assert_eq!(self.lookup("late").await, Ok(PaymentOutcome::NeverSeen));
        for _ in 0..2 {
            assert_eq!(self.ask("late/void", void("late")).await, Ok(PaymentOutcome::Voided));
        }
        for token in ["tok_ok", "tok_ok", "tok_webhook"] {
            assert_eq!(self.ask("late", authorise(token)).await, Ok(PaymentOutcome::Voided));
        }
        assert_eq!(self.lookup("late").await, Ok(PaymentOutcome::Voided));
        assert_declined(self.ask("late/capture", capture("late", 1)).await);
    }

    async fn a_void_gives_up_what_is_not_captured(&self) {
        assert_eq!(self.ask("whole", authorise("tok_ok")).await, Ok(PaymentOutcome::Authorised));
        assert_eq!(self.ask("whole/void", void("whole")).await, Ok(PaymentOutcome::Voided));
        assert_eq!(self.lookup("whole").await, Ok(PaymentOutcome::Voided));
        assert_declined(self.ask("whole/capture", capture("whole", 1)).await);
        assert_eq!(self.ask("part", authorise("tok_ok")).await, Ok(PaymentOutcome::Authorised));
        assert_eq!(self.ask("part/capture", capture("part", 30)).await, Ok(PaymentOutcome::Captured));
        assert_eq!(self.ask("part/void", void("part")).await, Ok(PaymentOutcome::Voided));
        assert_declined(self.ask("part/capture-2", capture("part", 1)).await);
        assert_eq!(self.ask("part/refund", refund("part", 30)).await, Ok(PaymentOutcome::Refunded));
        assert_eq!(self.ask("open", authorise("tok_webhook")).await, Ok(PaymentOutcome::Pending));
        assert_eq!(self.ask("open/void", void("open")).await, Ok(PaymentOutcome::Voided));
        assert_eq!(self.lookup("open").await, Ok(PaymentOutcome::Voided));
    }

    async fn captures_and_refunds_are_bounded(&self) {
        assert_eq!(self.ask("bound", authorise("tok_ok")).await, Ok(PaymentOutcome::Authorised));
        assert_declined(self.ask("bound/capture", capture("bound", AMOUNT + 1)).await);
        assert_declined(self.ask("bound/refund", refund("bound", 1)).await);
        let euros = Money { amount: 1, currency: Currency::EUR };
        let foreign = PaymentOperation::Capture { authorisation: "bound".to_owned(), amount: euros };
        assert_declined(self.ask("bound/foreign", foreign).await);
        assert_eq!(self.ask("bound/capture-2", capture("bound", AMOUNT)).await, Ok(PaymentOutcome::Captured));
        assert_declined(self.ask("bound/void", void("bound")).await);
        assert_declined(self.ask("bound/refund-2", refund("bound", AMOUNT + 1)).await);
        assert_eq!(self.ask("bound/refund-3", refund("bound", AMOUNT)).await, Ok(PaymentOutcome::Refunded));
        assert_declined(self.ask("bound/refund-4", refund("bound", 1)).await);
        assert_declined(self.ask("nobody/capture", capture("nobody", 1)).await);
        assert_declined(self.ask("nobody/refund", refund("nobody", 1)).await);
        assert_declined(self.ask("refused", authorise("tok_declined")).await);
        assert_declined(self.ask("refused/capture", capture("refused", 1)).await);
    }

    async fn a_lookup_finds_every_request(&self) {
        assert_eq!(self.ask("found", authorise("tok_ok")).await, Ok(PaymentOutcome::Authorised));
        assert_eq!(self.lookup("found/capture").await, Ok(PaymentOutcome::NeverSeen));
        assert_eq!(self.ask("found/capture", capture("found", 10)).await, Ok(PaymentOutcome::Captured));
        assert_eq!(self.ask("found/refund", refund("found", 10)).await, Ok(PaymentOutcome::Refunded));
        assert_declined(self.ask("found/refund-2", refund("found", 1)).await);
        assert_eq!(self.ask("found/void", void("found")).await, Ok(PaymentOutcome::Voided));
        assert_eq!(self.lookup("found/capture").await, Ok(PaymentOutcome::Captured));
        assert_eq!(self.lookup("found/refund").await, Ok(PaymentOutcome::Refunded));
        assert_declined(self.lookup("found/refund-2").await);
        assert_eq!(self.lookup("found/void").await, Ok(PaymentOutcome::Voided));
    }
}

fn authorise(token: &str) -> PaymentOperation {
    PaymentOperation::Authorise { amount: dollars(AMOUNT), token: PaymentToken(token.to_owned()) }
}

fn capture(of: &str, amount: u64) -> PaymentOperation {
    PaymentOperation::Capture { authorisation: of.to_owned(), amount: dollars(amount) }
}

fn void(of: &str) -> PaymentOperation {
    PaymentOperation::Void { authorisation: of.to_owned() }
}

fn refund(of: &str, amount: u64) -> PaymentOperation {
    PaymentOperation::Refund { authorisation: of.to_owned(), refund: RefundId([3; 16]), amount: dollars(amount) }
}

fn dollars(amount: u64) -> Money {
    Money { amount, currency: Currency::USD }
}

#[track_caller]
fn assert_declined(answer: Answer) {
    assert!(matches!(answer, Ok(PaymentOutcome::Declined { .. })), "{answer:?}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::payments::remote::{HttpGateway, service};
    use crate::payments::simulated::{Parts, SimulatedProvider};
    use crate::payments::webhook::WebhookSecret;
    use crate::rng::SeededRng;

    fn parts() -> Parts {
        let (rng, clock) = (Arc::new(SeededRng::stream(1, "provider")), Arc::new(SystemClock::new()));
        Parts { rng, clock, webhook_secret: WebhookSecret::new("shared") }
    }

    async fn on_disk(directory: &Path) -> Arc<SimulatedProvider> {
        SimulatedProvider::open(parts(), &directory.join("ledger")).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_simulated_provider_conforms() {
        payment_gateway(&*SimulatedProvider::in_memory(parts()), Duration::from_secs(3_600)).await;
    }

    #[tokio::test]
    async fn the_gateway_to_a_provider_behind_http_conforms() {
        let directory = tempfile::tempdir().unwrap();
        let provider = on_disk(directory.path()).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let serving = service(provider.clone());
        tokio::spawn(async move { axum::serve(listener, serving).await });
        let gateway = HttpGateway::new(&base, WebhookSecret::new("shared")).unwrap();
        payment_gateway(&gateway, Duration::from_secs(2)).await;
        let books = provider.audit();
        assert_eq!(books.conflicts, 2, "the two requests under a key that was taken");
        drop(provider);
        assert_eq!(on_disk(directory.path()).await.audit().accounts, books.accounts, "every answer is in the file");
    }
}
