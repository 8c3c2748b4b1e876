//! What an order does by itself once something happened: a function of its state, repeated until nothing follows.
//!
//! A step is left only on that step's outcome (P18): a cancelled or failing order goes on waiting for what it asked and
//! turns back afterwards. Turning back is total (P19): every hold is released or its sale returned, the money let go or
//! given back, and only then the order is over.

use super::command::RefundRequest;
use super::decide::Draft;
use super::event::{OrderEvent, PaymentStep, Phase};
use super::state::{Operation, Position, Process};
use crate::domain::entity::Fingerprint;
use crate::domain::ids::RefundId;
use crate::domain::payment::PaymentOutcome;

impl Draft {
    /// Adds everything that follows.
    pub fn follow(&mut self) {
        loop {
            let next = next(self.process());
            if next.is_empty() {
                return;
            }
            next.into_iter().for_each(|event| self.push(event));
        }
    }
}

fn next(process: &Process) -> Vec<OrderEvent> {
    match process.phase {
        Phase::Placed => entered(Phase::Reserving),
        Phase::Reserving if process.tally.of(Position::Asked) > 0 => Vec::new(),
        Phase::Reserving if process.is_halted() => entered(Phase::Unwinding),
        Phase::Reserving => {
            let attempted = OrderEvent::PaymentAttempted { step: PaymentStep::Authorise };
            entered(Phase::Authorizing).into_iter().chain([attempted]).collect()
        }
        Phase::Authorizing => after_authorisation(process),
        Phase::Committing if process.tally.of(Position::Held) > 0 => Vec::new(),
        Phase::Committing if process.is_halted() => entered(Phase::Unwinding),
        Phase::Committing => entered(Phase::Confirmed),
        Phase::Confirmed => after_confirmation(process),
        Phase::Capturing => after_capture(process),
        Phase::Fulfilled | Phase::Delivered if is_all_back(process) => entered(Phase::Refunded),
        Phase::Unwinding | Phase::Cancelled | Phase::Failed => unwind(process),
        Phase::Fulfilled | Phase::Delivered | Phase::Refunded => Vec::new(),
    }
}

fn entered(phase: Phase) -> Vec<OrderEvent> {
    vec![OrderEvent::Entered { phase, reason: None }]
}

fn after_authorisation(process: &Process) -> Vec<OrderEvent> {
    match process.payment.authorised() {
        #[cfg(feature = "canaries")]
        None if process.is_halted() && crate::canary::is(crate::canary::Canary::EarlyVoid) => {
            let attempted = OrderEvent::PaymentAttempted { step: PaymentStep::Void };
            entered(Phase::Unwinding).into_iter().chain([attempted]).collect()
        }
        None => Vec::new(),
        Some(PaymentOutcome::Authorised) if !process.is_halted() => entered(Phase::Committing),
        Some(_) => entered(Phase::Unwinding),
    }
}

fn after_confirmation(process: &Process) -> Vec<OrderEvent> {
    if process.is_halted() {
        return entered(Phase::Unwinding);
    }
    if is_all_back(process) {
        return entered(Phase::Refunded);
    }
    let is_sent = process.payment.is_captured() && process.unsent() == 0;
    // Units a pending refund would restock are sendable again should the provider refuse it.
    let is_open = process.refunds.values().any(|refund| !refund.restock.is_empty() && !refund.operation.is_done());
    if is_sent && !is_open { entered(Phase::Fulfilled) } else { Vec::new() }
}

fn after_capture(process: &Process) -> Vec<OrderEvent> {
    match process.payment.capture.as_ref().and_then(Operation::outcome) {
        None => Vec::new(),
        Some(PaymentOutcome::Captured) => {
            let shipped = process.queue.iter().map(|fulfilment| {
                let (lines, tracking) = (fulfilment.lines.clone(), fulfilment.tracking.clone());
                OrderEvent::Shipped { lines, tracking }
            });
            let phase = if process.unsent() == 0 { Phase::Fulfilled } else { Phase::Confirmed };
            shipped.chain(entered(phase)).collect()
        }
        Some(outcome) => {
            let reason = match outcome {
                PaymentOutcome::Declined { reason } => format!("capture declined: {reason}"),
                _ => "capture declined".to_owned(),
            };
            vec![OrderEvent::Entered { phase: Phase::Confirmed, reason: Some(reason) }]
        }
    }
}

fn is_all_back(process: &Process) -> bool {
    process.payment.refunded > 0 && process.payment.refunded == process.payment.captured
}

/// Money first: what is set aside is let go of, what was taken after all is given back. Holds follow from the phase.
/// Also after the end, because an authorisation may land late.
fn unwind(process: &Process) -> Vec<OrderEvent> {
    if wants_void(process) {
        return vec![OrderEvent::PaymentAttempted { step: PaymentStep::Void }];
    }
    if process.payment.left() > 0 {
        return vec![give_all_back(process)];
    }
    if process.phase == Phase::Unwinding && is_at_rest(process) {
        return vec![ended(process)];
    }
    Vec::new()
}

/// A declined authorisation needs no void; one the provider never saw does, because it bars the key (P18).
fn wants_void(process: &Process) -> bool {
    let payment = &process.payment;
    #[cfg(feature = "canaries")]
    if crate::canary::is(crate::canary::Canary::VoidForgotten)
        && matches!(process.failure, Some(super::event::Failure::HoldExpired { .. }))
    {
        return false;
    }
    let may_be_set_aside = matches!(payment.authorised(), Some(PaymentOutcome::Authorised | PaymentOutcome::NeverSeen));
    let is_covered = match &payment.void {
        None => false,
        Some(void) => !void.is_done() || !payment.authorised_anew,
    };
    may_be_set_aside && !payment.is_captured() && !is_covered
}

/// The order's own refund, named like the order.
fn give_all_back(process: &Process) -> OrderEvent {
    let request = RefundRequest {
        refund: RefundId(process.order.0),
        fingerprint: Fingerprint::default(),
        amount: None,
        lines: Vec::new(),
        restock: false,
    };
    OrderEvent::RefundRequested { request, amount: process.payment.left(), restock: Vec::new() }
}

fn is_at_rest(process: &Process) -> bool {
    let money = process.operations().all(|(_, operation)| operation.is_done());
    money && process.tally.over() == process.tally.lines() && process.payment.refunded == process.payment.captured
}

fn ended(process: &Process) -> OrderEvent {
    match (&process.cancelled, &process.failure) {
        (None, Some(failure)) => OrderEvent::Entered { phase: Phase::Failed, reason: Some(failure.to_string()) },
        (reason, _) => {
            let reason = reason.clone().filter(|reason| !reason.is_empty());
            OrderEvent::Entered { phase: Phase::Cancelled, reason }
        }
    }
}
