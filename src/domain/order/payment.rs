//! What an order makes of a provider's news. Answer, lookup and webhook are the same command (P18).
//!
//! The first definite answer to an attempt stands, with one exception: news that money moved after all is always
//! believed, whatever was said before, because the order must then move it back. Operations that have to succeed (void,
//! and capture or refund whose request got lost) are tried again after a pause; nothing is tried again at once.

use std::time::Duration;

use super::decide::{Draft, Outcome};
use super::event::{Failure, OrderEvent, PaymentStep, Phase};
use super::state::{Operation, Process, Stage};
use super::{POLL_PAUSE_MAX, POLL_PAUSE_MIN, POLLS_MAX, REASON_BYTES_MAX, RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};
use crate::domain::payment::PaymentOutcome;

impl Draft {
    /// The provider said something about the operation with that key.
    pub fn report(mut self, key: &str, outcome: &PaymentOutcome) -> Outcome {
        if let Some((step, number)) = self.process().named(key) {
            self.hear(step, number, outcome);
        }
        self.noted()
    }

    /// A lookup found something out. Only the present poll is heard.
    pub fn looked_up(mut self, key: &str, poll: u32, outcome: &PaymentOutcome) -> Outcome {
        if let Some((step, number)) = self.process().named(key) {
            let operation = self.process().operation(step);
            if operation.is_some_and(|operation| operation.stage == Stage::Asking && operation.polls == poll) {
                self.hear(step, number, outcome);
            }
        }
        self.noted()
    }

    /// Does what is due: looks pending operations up, tries postponed ones again.
    pub fn poll(mut self) -> Outcome {
        let due: Vec<_> = self
            .process()
            .operations()
            .filter(|(_, operation)| operation.due_at().is_some_and(|due_at| due_at <= self.at))
            .map(|(step, operation)| match operation.stage {
                Stage::Postponed { .. } => OrderEvent::PaymentAttempted { step },
                _ => OrderEvent::PollStarted { step },
            })
            .collect();
        due.into_iter().for_each(|event| self.push(event));
        self.noted()
    }

    fn hear(&mut self, step: PaymentStep, key: u32, outcome: &PaymentOutcome) {
        let Some(operation) = self.process().operation(step) else { return };
        let is_success = *outcome == success_of(step);
        let is_present = key == operation.key;
        if let Some(known) = operation.outcome() {
            let is_late_success =
                matches!(step, PaymentStep::Authorise | PaymentStep::Capture) && is_success && known != outcome;
            if is_late_success {
                self.settled(step, outcome.clone());
            }
            #[cfg(feature = "canaries")]
            if crate::canary::is(crate::canary::Canary::DoubleCapture) && step == PaymentStep::Capture && is_success {
                self.settled(step, outcome.clone());
            }
        } else if is_success && (is_present || step == PaymentStep::Capture) {
            self.settled(step, outcome.clone());
        } else if is_present {
            self.hear_no_success(step, outcome);
        }
    }

    fn hear_no_success(&mut self, step: PaymentStep, outcome: &PaymentOutcome) {
        match outcome {
            PaymentOutcome::Declined { reason } => self.declined(step, clipped(reason)),
            PaymentOutcome::Voided => self.declined(step, "voided".to_owned()),
            PaymentOutcome::NeverSeen => self.never_seen(step),
            _ => self.pending(step),
        }
    }

    fn settled(&mut self, step: PaymentStep, outcome: PaymentOutcome) {
        self.push(OrderEvent::PaymentSettled { step, outcome });
    }

    fn declined(&mut self, step: PaymentStep, reason: String) {
        let is_undoing = matches!(self.process().phase, Phase::Unwinding | Phase::Cancelled | Phase::Failed);
        match step {
            PaymentStep::Void if !self.process().payment.is_captured() => return self.postponed(step, false),
            PaymentStep::Refund(_) if is_undoing => return self.postponed(step, false),
            _ => self.settled(step, PaymentOutcome::Declined { reason: reason.clone() }),
        }
        if step == PaymentStep::Authorise {
            self.doom(Failure::PaymentDeclined { reason });
        }
    }

    fn never_seen(&mut self, step: PaymentStep) {
        if step != PaymentStep::Authorise {
            return self.postponed(step, true);
        }
        self.settled(step, PaymentOutcome::NeverSeen);
        self.doom(Failure::PaymentUnresolved);
    }

    /// A repeated "pending" does not move the time of the poll. An authorisation pending for too long is given up: the
    /// provider has the request, so that the void that follows bars it.
    fn pending(&mut self, step: PaymentStep) {
        let Some(Operation { stage, polls, .. }) = self.process().operation(step) else { return };
        if !matches!(stage, Stage::Owed | Stage::Asking) {
            return;
        }
        if step == PaymentStep::Authorise && *polls >= POLLS_MAX {
            return self.never_seen(step);
        }
        let poll_at = self.at.after(doubled(POLL_PAUSE_MIN, *polls, POLL_PAUSE_MAX));
        self.push(OrderEvent::PaymentPending { step, poll_at });
    }

    fn postponed(&mut self, step: PaymentStep, lost: bool) {
        let Some(Operation { stage, attempt, .. }) = self.process().operation(step) else { return };
        if matches!(stage, Stage::Postponed { .. }) {
            return;
        }
        let retry_at = self.at.after(doubled(RETRY_PAUSE_MIN, attempt - 1, RETRY_PAUSE_MAX));
        self.push(OrderEvent::PaymentPostponed { step, retry_at, lost });
    }
}

impl Process {
    /// The name an operation has at the provider under its `number`th key.
    pub fn key(&self, step: PaymentStep, number: u32) -> String {
        let entity = self.entity();
        match step {
            PaymentStep::Authorise => format!("{entity}/authorise/payment/{number}"),
            PaymentStep::Capture => format!("{entity}/capture/payment/{number}"),
            PaymentStep::Void => format!("{entity}/void/payment/{number}"),
            PaymentStep::Refund(refund) => format!("{entity}/refund/{refund}/{number}"),
        }
    }

    /// The operation with that key, and which of its keys it is.
    fn named(&self, key: &str) -> Option<(PaymentStep, u32)> {
        let own = key.strip_prefix(&self.entity().to_string())?.strip_prefix('/')?;
        let parts: Vec<&str> = own.split('/').collect();
        let (step, number) = match parts[..] {
            ["authorise", "payment", number] => (PaymentStep::Authorise, number),
            ["capture", "payment", number] => (PaymentStep::Capture, number),
            ["void", "payment", number] => (PaymentStep::Void, number),
            ["refund", refund, number] => (PaymentStep::Refund(refund.parse().ok()?), number),
            _ => return None,
        };
        let number = number.parse().ok()?;
        let used = self.operation(step)?.key;
        ((1..=used).contains(&number) && self.key(step, number) == key).then_some((step, number))
    }
}

/// What the operation is for.
fn success_of(step: PaymentStep) -> PaymentOutcome {
    match step {
        PaymentStep::Authorise => PaymentOutcome::Authorised,
        PaymentStep::Capture => PaymentOutcome::Captured,
        PaymentStep::Void => PaymentOutcome::Voided,
        PaymentStep::Refund(_) => PaymentOutcome::Refunded,
    }
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}

/// A provider's reason, no longer than ours may be.
fn clipped(reason: &str) -> String {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}
