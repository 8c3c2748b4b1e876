//! Makes events true. No rules: what happened, happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::{Placement, RefundRequest, StockStep, Units};
use super::event::{OrderEvent, OrderState, PaymentStep, Phase};
use super::reply::{HistoryRow, Shipment};
use super::state::{Erasure, Fulfilment, Line, Operation, Payment, Position, Process, Refund, Stage, Tally};
use super::{HISTORY_ROWS_MAX, Order};
use crate::domain::ids::{HoldId, RefundId, Sku};
use crate::domain::payment::{PaymentOutcome, PaymentToken};
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;

/// See [`crate::domain::entity::Entity::apply`].
pub(super) fn apply(order: &mut Order, event: &OrderEvent, at: Timestamp) {
    if let OrderEvent::Placed(placement) = event {
        order.process = Some(Box::new(placed(placement, at)));
        return;
    }
    let process = order.process.as_mut().expect("ORD-1: an order begins with its placement");
    match event {
        OrderEvent::Placed(_) => {}
        OrderEvent::Entered { phase, reason } => process.enter(*phase, reason.as_ref(), at),
        OrderEvent::StockSettled { sku, step, outcome } => process.settle_stock(sku, *step, outcome),
        OrderEvent::PaymentSettled { step, outcome } => process.settle_payment(*step, outcome),
        OrderEvent::PaymentPending { step, poll_at } => process.stage(*step, Stage::Waiting { poll_at: *poll_at }),
        OrderEvent::PollStarted { step } => process.start_poll(*step),
        OrderEvent::PaymentAttempted { step } => process.attempt(*step),
        OrderEvent::PaymentPostponed { step, retry_at, lost } => {
            process.stage(*step, Stage::Postponed { retry_at: *retry_at, lost: *lost });
        }
        OrderEvent::Doomed(failure) => process.failure = Some(failure.clone()),
        OrderEvent::CancelRequested { reason } => process.cancelled = Some(reason.clone()),
        OrderEvent::FulfilmentRequested { lines, tracking } => {
            for units in lines {
                process.line(&units.sku).queued += units.quantity.get();
            }
            process.queue.push(Fulfilment { lines: lines.clone(), tracking: tracking.clone() });
        }
        OrderEvent::Shipped { lines, tracking } => process.ship(lines, tracking.as_ref(), at),
        OrderEvent::RefundRequested { request, amount, restock } => process.refund(request, *amount, restock, at),
        OrderEvent::EraseRequested => {
            process.erasure = process.buyer.take().map_or(Erasure::Done, |buyer| Erasure::Owed(buyer.key));
        }
        OrderEvent::BuyerErased => process.erasure = Erasure::Done,
    }
}

fn placed(placement: &Placement, at: Timestamp) -> Process {
    let mut lines: BTreeMap<Sku, Line> = BTreeMap::new();
    let mut tally = Tally::default();
    for ordered in &placement.lines {
        if let Some(line) = lines.get_mut(&ordered.sku) {
            line.quantity = line.quantity.checked_add(ordered.quantity).expect("ORD-1: sums of lines were checked");
            continue;
        }
        let adopted = placement.holds.get(&ordered.sku).copied();
        tally.enter(Position::Asked);
        let line = Line {
            quantity: ordered.quantity,
            hold: adopted.unwrap_or(HoldId(placement.order.0)),
            adopted: adopted.is_some(),
            position: Position::Asked,
            queued: 0,
            sent: 0,
            refunded: 0,
            restocked: 0,
            forgets_done: 0,
            forgets_wanted: 0,
        };
        lines.insert(ordered.sku.clone(), line);
    }
    Process {
        order: placement.order,
        placement: Arc::new(Placement { token: PaymentToken(String::new()), buyer: None, ..placement.clone() }),
        token: Some(placement.token.clone()),
        buyer: placement.buyer.clone(),
        erasure: Erasure::No,
        phase: Phase::Placed,
        shown: OrderState::Placed,
        failure: None,
        cancelled: None,
        lines,
        tally,
        payment: Payment::default(),
        queue: Vec::new(),
        shipments: Vec::new(),
        refunds: BTreeMap::new(),
        created_at: at,
        history: vec![HistoryRow { at, state: OrderState::Placed, reason: None }],
    }
}

impl Process {
    fn line(&mut self, sku: &Sku) -> &mut Line {
        self.lines.get_mut(sku).expect("ORD-5: events name the order's own SKUs")
    }

    fn enter(&mut self, phase: Phase, reason: Option<&String>, at: Timestamp) {
        self.phase = phase;
        if phase != Phase::Capturing {
            for fulfilment in std::mem::take(&mut self.queue) {
                for units in fulfilment.lines {
                    self.line(&units.sku).queued -= units.quantity.get();
                }
            }
        }
        if matches!(phase, Phase::Unwinding | Phase::Confirmed) {
            self.token = None;
        }
        let Some(state) = phase.shown() else { return };
        let changed = state != self.shown;
        self.shown = state;
        if changed || (reason.is_some() && self.history.len() < HISTORY_ROWS_MAX) {
            self.history.push(HistoryRow { at, state, reason: reason.cloned() });
        }
    }

    fn settle_stock(&mut self, sku: &Sku, step: StockStep, outcome: &Result<(), Rejection>) {
        let accepted = outcome.is_ok();
        let position = match step {
            StockStep::Reserve => [Position::Refused, Position::Held][usize::from(accepted)],
            StockStep::Commit => [Position::Lost, Position::Committed][usize::from(accepted)],
            StockStep::Release => Position::Released,
            StockStep::Return => Position::Returned,
            StockStep::Restock(refund) => {
                self.refunds.get_mut(&refund).map(|refund| refund.restock_owed.remove(sku));
                return self.want_forget(sku);
            }
            StockStep::Forget => {
                self.line(sku).forgets_done += 1;
                return;
            }
        };
        let line = self.line(sku);
        let from = std::mem::replace(&mut line.position, position);
        self.tally.step(from, position);
        if matches!(position, Position::Committed | Position::Returned) {
            self.want_forget(sku);
        }
    }

    /// There is something new to forget. One more when a Forget is under way already: it may have been answered before.
    fn want_forget(&mut self, sku: &Sku) {
        let late = self.sends_nothing_more();
        let line = self.line(sku);
        let under_way = late && line.forgets_wanted > line.forgets_done;
        line.forgets_wanted = line.forgets_done + 1 + u32::from(under_way);
    }

    fn operation_mut(&mut self, step: PaymentStep) -> &mut Option<Operation> {
        match step {
            PaymentStep::Authorise => &mut self.payment.authorise,
            PaymentStep::Capture => &mut self.payment.capture,
            PaymentStep::Void => &mut self.payment.void,
            PaymentStep::Refund(_) => panic!("ORD-1: refunds keep their own operation"),
        }
    }

    fn change(&mut self, step: PaymentStep, change: impl FnOnce(&mut Operation)) {
        match step {
            PaymentStep::Refund(refund) => {
                let refund = self.refunds.get_mut(&refund).expect("ORD-1: a refund is asked for before it is heard of");
                change(&mut refund.operation);
            }
            step => change(self.operation_mut(step).get_or_insert_with(Operation::first)),
        }
    }

    fn stage(&mut self, step: PaymentStep, stage: Stage) {
        self.change(step, |operation| operation.stage = stage);
    }

    fn start_poll(&mut self, step: PaymentStep) {
        self.change(step, |operation| {
            operation.polls += 1;
            operation.stage = Stage::Asking;
        });
    }

    fn attempt(&mut self, step: PaymentStep) {
        if step == PaymentStep::Void {
            self.payment.authorised_anew = false;
        }
        if self.operation(step).is_none() {
            *self.operation_mut(step) = Some(Operation::first());
            return;
        }
        self.change(step, |operation| {
            operation.attempt += 1;
            operation.key += u32::from(!matches!(operation.stage, Stage::Postponed { lost: true, .. }));
            operation.stage = Stage::Owed;
        });
    }

    fn settle_payment(&mut self, step: PaymentStep, outcome: &PaymentOutcome) {
        let before = self.operation(step).and_then(Operation::outcome).cloned();
        self.stage(step, Stage::Done(outcome.clone()));
        match (step, outcome) {
            (PaymentStep::Authorise, _) => {
                self.token = None;
                self.payment.authorised_anew |= *outcome == PaymentOutcome::Authorised && self.payment.void.is_some();
            }
            #[cfg(feature = "canaries")]
            (PaymentStep::Capture, PaymentOutcome::Captured)
                if crate::canary::is(crate::canary::Canary::DoubleCapture) =>
            {
                self.payment.captured += self.placement.totals.total;
            }
            (PaymentStep::Capture, PaymentOutcome::Captured) => self.payment.captured = self.placement.totals.total,
            (PaymentStep::Refund(refund), outcome) => self.settle_refund(refund, outcome, before.is_none()),
            (PaymentStep::Capture | PaymentStep::Void, _) => {}
        }
    }

    fn settle_refund(&mut self, id: RefundId, outcome: &PaymentOutcome, was_pending: bool) {
        let refund = &self.refunds[&id];
        let (amount, units, restock) = (refund.amount, refund.units.clone(), refund.restock.clone());
        if was_pending {
            self.payment.refunding -= amount;
        }
        let refunded = *outcome == PaymentOutcome::Refunded;
        if refunded {
            self.payment.refunded += amount;
            let owed = restock.iter().map(|units| units.sku.clone()).collect();
            self.refunds.get_mut(&id).expect("just read").restock_owed = owed;
        } else {
            self.count(&units, &restock, |counter, units| *counter -= units);
        }
    }

    fn count(&mut self, units: &[Units], restock: &[Units], change: impl Fn(&mut u32, u32)) {
        for units in units {
            change(&mut self.line(&units.sku).refunded, units.quantity.get());
        }
        for units in restock {
            change(&mut self.line(&units.sku).restocked, units.quantity.get());
        }
    }

    fn ship(&mut self, lines: &[Units], tracking: Option<&String>, at: Timestamp) {
        let waited = self.queue.iter().position(|fulfilment| fulfilment.lines == lines);
        if let Some(waited) = waited {
            self.queue.remove(waited);
        }
        for units in lines {
            let line = self.line(&units.sku);
            line.sent += units.quantity.get();
            if waited.is_some() {
                line.queued -= units.quantity.get();
            }
        }
        self.shipments.push(Shipment { at, lines: lines.to_vec(), tracking: tracking.cloned() });
    }

    fn refund(&mut self, request: &RefundRequest, amount: u64, restock: &[Units], at: Timestamp) {
        let units = if request.lines.is_empty() { restock.to_vec() } else { request.lines.clone() };
        self.count(&units, restock, |counter, units| *counter += units);
        self.payment.refunding += amount;
        let refund = Refund {
            at,
            fingerprint: request.fingerprint,
            amount,
            units,
            restock: restock.to_vec(),
            restock_owed: Default::default(),
            operation: Operation::first(),
        };
        self.refunds.insert(request.refund, refund);
    }
}
