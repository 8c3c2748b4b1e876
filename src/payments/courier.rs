//! Takes an owed payment request to a definite outcome, for as long as that takes.
//!
//! One round: execute, wait for the answer no longer than the answer timeout; on silence or failure look the key up
//! (P18); if the provider does not know it either, pause and send the same key again. Nothing else is ever sent, so
//! the opposite cannot overtake an authorisation that may still land: the order owes a void only after it was told an
//! outcome here.
//!
//! What comes back: whatever the provider says, `Pending` included (the order then waits for the webhook and owes a
//! lookup when none comes). `NeverSeen` for an authorisation that the provider did not know after several rounds, each
//! of them ending with that lookup: the order gives up and owes a void, which bars the key should the request arrive
//! after all. Captures, voids and refunds are never given up: money must come to rest.
//!
//! The caller composes this with the courier for entities. Dropping the future gives up the delivery, not the debt.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::gateway::{Gateways, PaymentUnknown};
use crate::domain::payment::{PaymentOperation, PaymentOutcome, PaymentRequest};
use crate::rng::Rng;

/// How patient the courier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CourierOptions {
    /// How long one answer is waited for. Longer than a slow provider takes (3 s), or every slow one is looked up.
    pub answer_timeout: Duration,
    /// First pause between rounds; doubles from round to round.
    pub pause_min: Duration,
    /// Longest pause between rounds.
    pub pause_max: Duration,
    /// Rounds that end with "never seen" before an authorisation is reported so. At least 1.
    pub unseen_rounds_max: u32,
}

impl Default for CourierOptions {
    fn default() -> Self {
        Self {
            answer_timeout: Duration::from_secs(5),
            pause_min: Duration::from_millis(200),
            pause_max: Duration::from_secs(30),
            unseen_rounds_max: 3,
        }
    }
}

/// Delivers payment requests. Cheap to clone.
#[derive(Clone)]
pub struct PaymentCourier {
    gateways: Gateways,
    rng: Arc<dyn Rng>,
    options: CourierOptions,
}

impl PaymentCourier {
    /// A courier to these providers; `rng` spreads the pauses.
    pub fn new(gateways: Gateways, rng: Arc<dyn Rng>, options: CourierOptions) -> Self {
        assert!(options.unseen_rounds_max > 0, "an authorisation is tried at least once");
        Self { gateways, rng, options }
    }

    /// Comes back with a definite outcome only.
    pub async fn deliver(&self, request: &PaymentRequest) -> PaymentOutcome {
        let span = tracing::info_span!(
            "payment",
            provider = %request.provider,
            order = %request.order,
            operation = operation_name(&request.operation),
        );
        self.deliver_in_rounds(request).instrument(span).await
    }

    async fn deliver_in_rounds(&self, request: &PaymentRequest) -> PaymentOutcome {
        let (mut rounds, mut unseen) = (0, 0);
        loop {
            match self.round(request).await {
                Ok(PaymentOutcome::NeverSeen) if !is_lookup(request) => unseen += 1,
                Ok(outcome) => return counted(request, outcome),
                Err(unknown) => tracing::warn!(rounds, %unknown, "payment outcome unknown; asking again"),
            }
            if unseen >= self.options.unseen_rounds_max && is_authorise(request) {
                return counted(request, PaymentOutcome::NeverSeen);
            }
            tokio::time::sleep(self.pause(rounds)).await;
            rounds += 1;
        }
    }

    /// Executes; on silence or failure looks the key up.
    async fn round(&self, request: &PaymentRequest) -> Result<PaymentOutcome, PaymentUnknown> {
        match self.execute(request).await {
            Ok(outcome) => Ok(outcome),
            Err(unknown) if is_lookup(request) => Err(unknown),
            Err(unknown) => {
                tracing::debug!(%unknown, "looking the payment up");
                self.execute(&lookup_of(request)).await
            }
        }
    }

    async fn execute(&self, request: &PaymentRequest) -> Result<PaymentOutcome, PaymentUnknown> {
        let answer = tokio::time::timeout(self.options.answer_timeout, self.gateways.execute(request)).await;
        answer.unwrap_or(Err(PaymentUnknown::NoAnswer))
    }

    /// Between half and all of the doubled pause.
    fn pause(&self, rounds: u32) -> Duration {
        let whole = self.options.pause_min.saturating_mul(1 << rounds.min(16)).min(self.options.pause_max);
        let half_ms = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
        Duration::from_millis(half_ms + self.rng.next_u64() % (half_ms + 1))
    }
}

fn lookup_of(request: &PaymentRequest) -> PaymentRequest {
    PaymentRequest {
        provider: request.provider.clone(),
        key: format!("{}/lookup", request.key),
        order: request.order,
        operation: PaymentOperation::Lookup { of: request.key.clone() },
    }
}

fn is_lookup(request: &PaymentRequest) -> bool {
    matches!(request.operation, PaymentOperation::Lookup { .. })
}

fn is_authorise(request: &PaymentRequest) -> bool {
    matches!(request.operation, PaymentOperation::Authorise { .. })
}

fn operation_name(operation: &PaymentOperation) -> &'static str {
    match operation {
        PaymentOperation::Authorise { .. } => "authorise",
        PaymentOperation::Capture { .. } => "capture",
        PaymentOperation::Void { .. } => "void",
        PaymentOperation::Refund { .. } => "refund",
        PaymentOperation::Lookup { .. } => "lookup",
    }
}

fn counted(request: &PaymentRequest, outcome: PaymentOutcome) -> PaymentOutcome {
    let name = match outcome {
        PaymentOutcome::Authorised => "authorised",
        PaymentOutcome::Declined { .. } => "declined",
        PaymentOutcome::Captured => "captured",
        PaymentOutcome::Voided => "voided",
        PaymentOutcome::Refunded => "refunded",
        PaymentOutcome::Pending => "pending",
        PaymentOutcome::NeverSeen => "never_seen",
    };
    metrics::counter!("stockroom_payments_total", "operation" => operation_name(&request.operation), "outcome" => name)
        .increment(1);
    outcome
}

#[cfg(test)]
mod tests;
