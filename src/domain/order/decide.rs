//! What an order says yes and no to: one function per command.
//!
//! Each function writes what happens onto a draft, which makes it true on a copy at once; what then follows by itself
//! (the next phase, a void, a retry) is added by `follow`, so no function has to think one step ahead.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::{OrderCommand, Placement, RefundRequest, StockStep, Units};
use super::event::{Failure, OrderEvent, OrderState, PaymentStep, Phase};
use super::reply::OrderReply;
use super::state::{Line, Process};
use super::table::{self, Ruling};
use super::{LINES_MAX, Order, PROVIDER_BYTES_MAX, REASON_BYTES_MAX, REFUNDS_MAX, SHIPMENTS_MAX, TRACKING_BYTES_MAX};
use crate::domain::entity::{Command, Decision};
use crate::domain::ids::{EntityId, Sku};
use crate::domain::money::Money;
use crate::domain::quantity::Quantity;
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;

/// What `decide` answers.
pub(super) type Outcome = Result<Decision<OrderEvent, OrderReply>, Rejection>;

/// See [`crate::domain::entity::Entity::decide`].
pub(super) fn decide(order: &Order, command: &OrderCommand, at: Timestamp) -> Outcome {
    let Some(process) = &order.process else {
        return match command {
            OrderCommand::Place(placement) => place(order, placement, at),
            _ => Err(Rejection::NotFound { entity: order.id.clone() }),
        };
    };
    match table::ruling(process.phase, command) {
        Ruling::Decides => {}
        Ruling::Ignored => return Ok(Decision::replay(noted(process))),
        Ruling::Refused => return Err(refused(process, command)),
    }
    match command {
        OrderCommand::Place(placement) => place_again(process, placement),
        OrderCommand::StockSettled { sku, step, outcome } => stock_settled(order, process, sku, *step, outcome, at),
        OrderCommand::PaymentReported { key, outcome } => Draft::of(order, at).report(key, outcome),
        OrderCommand::PaymentLookedUp { key, poll, outcome } => Draft::of(order, at).looked_up(key, *poll, outcome),
        OrderCommand::Poll => Draft::of(order, at).poll(),
        OrderCommand::Cancel { reason } => cancel(order, process, reason, at),
        OrderCommand::Fulfil { lines, tracking } => fulfil(order, process, lines, tracking.as_ref(), at),
        OrderCommand::Deliver => deliver(order, process, at),
        OrderCommand::Refund(request) => refund(order, process, request, at),
        OrderCommand::Erase => erase(order, process, at),
        OrderCommand::BuyerErased => buyer_erased(order, process, at),
        OrderCommand::Show => Ok(Decision::new(Vec::new(), OrderReply::Shown(Box::new(process.view())))),
    }
}

/// A decision being written: what happens, and the order as it is afterwards.
pub(super) struct Draft {
    /// The order after the events so far.
    order: Order,
    /// Now.
    pub at: Timestamp,
    events: Vec<OrderEvent>,
}

impl Draft {
    /// Nothing happened yet.
    pub fn of(order: &Order, at: Timestamp) -> Self {
        Self { order: order.clone(), at, events: Vec::new() }
    }

    /// The order's process after the events so far.
    pub fn process(&self) -> &Process {
        self.order.process.as_ref().expect("ORD-1: a draft begins with a placed order or its placement")
    }

    /// This happens.
    pub fn push(&mut self, event: OrderEvent) {
        if let OrderEvent::Entered { phase, .. } = &event {
            let from = self.process().phase;
            assert!(table::may_follow(from, *phase), "ORD-7: {phase:?} does not follow {from:?}");
        }
        super::apply::apply(&mut self.order, &event, self.at);
        self.events.push(event);
    }

    /// The order cannot be done, unless it is being undone already.
    pub fn doom(&mut self, failure: Failure) {
        if !self.process().is_halted() {
            self.push(OrderEvent::Doomed(failure));
        }
    }

    /// What follows, and where the order is then. A draft without events is a repeat or news nobody waits for.
    pub fn noted(mut self) -> Outcome {
        self.follow();
        let reply = noted(self.process());
        Ok(if self.events.is_empty() { Decision::replay(reply) } else { Decision::new(self.events, reply) })
    }

    /// The same for a command that is remembered by its id: even without events its answer is its own.
    fn remembered(mut self) -> Outcome {
        self.follow();
        let reply = noted(self.process());
        Ok(Decision::new(self.events, reply))
    }
}

fn noted(process: &Process) -> OrderReply {
    OrderReply::Noted { state: process.shown }
}

fn refused(process: &Process, command: &OrderCommand) -> Rejection {
    Rejection::OrderState { state: process.shown.name().to_owned(), attempted: command.name().to_owned() }
}

pub(super) fn invalid(field: &str, reason: impl Into<String>) -> Rejection {
    Rejection::InvalidRequest { field: field.to_owned(), reason: reason.into() }
}

fn place(order: &Order, placement: &Arc<Placement>, at: Timestamp) -> Outcome {
    check_placement(order, placement)?;
    let mut draft = Draft::of(order, at);
    draft.push(OrderEvent::Placed(placement.clone()));
    draft.noted()
}

fn place_again(process: &Process, placement: &Placement) -> Outcome {
    let known = &process.placement;
    if (known.cart, known.cart_version) == (placement.cart, placement.cart_version) {
        Ok(Decision::replay(noted(process)))
    } else {
        Err(Rejection::IdempotencyKeyReused)
    }
}

/// The cart checked all this; here it keeps a bug there from becoming a state nobody can compute with.
fn check_placement(order: &Order, placement: &Placement) -> Result<(), Rejection> {
    if EntityId::order(placement.order) != order.id {
        return Err(invalid("order", "the id this order is addressed by"));
    }
    if !(1..=LINES_MAX).contains(&placement.lines.len()) {
        return Err(invalid("lines", "from 1 to 1000 lines"));
    }
    if !(1..=PROVIDER_BYTES_MAX).contains(&placement.provider.len()) {
        return Err(invalid("provider", "from 1 to 64 bytes"));
    }
    let mut units: BTreeMap<&Sku, Quantity> = BTreeMap::new();
    let mut subtotal = Money::zero(placement.totals.currency);
    for line in &placement.lines {
        let price = Money { amount: line.unit_price, currency: placement.totals.currency };
        let sum = price.checked_mul(line.quantity).and_then(|total| subtotal.checked_add(total));
        subtotal = sum.ok_or_else(|| invalid("lines", "a subtotal that can be computed with"))?;
        let before = units.get(&line.sku).copied();
        let quantity = before.map_or(Some(line.quantity), |before| before.checked_add(line.quantity));
        units.insert(&line.sku, quantity.ok_or_else(|| invalid("lines", "at most 1000000 units of one SKU"))?);
    }
    if subtotal.amount != placement.totals.subtotal {
        return Err(invalid("totals.subtotal", "the sum of the lines"));
    }
    if placement.holds.keys().any(|sku| !units.contains_key(sku)) {
        return Err(invalid("holds", "holds of SKUs that are ordered"));
    }
    Ok(())
}

fn stock_settled(
    order: &Order,
    process: &Process,
    sku: &Sku,
    step: StockStep,
    outcome: &Result<(), Rejection>,
    at: Timestamp,
) -> Outcome {
    if !process.owes_stock(sku, step) {
        return Ok(Decision::replay(noted(process)));
    }
    let mut draft = Draft::of(order, at);
    draft.push(OrderEvent::StockSettled { sku: sku.clone(), step, outcome: outcome.clone() });
    if let (StockStep::Reserve | StockStep::Commit, Err(rejection)) = (step, outcome) {
        draft.doom(failure_of(sku, rejection));
    }
    draft.noted()
}

fn failure_of(sku: &Sku, rejection: &Rejection) -> Failure {
    let sku = sku.clone();
    match rejection {
        Rejection::InsufficientStock { available, .. } => Failure::InsufficientStock { sku, available: *available },
        Rejection::HoldExpired { .. } => Failure::HoldExpired { sku },
        _ => Failure::Unavailable { sku },
    }
}

fn cancel(order: &Order, process: &Process, reason: &str, at: Timestamp) -> Outcome {
    if reason.len() > REASON_BYTES_MAX {
        return Err(invalid("reason", "at most 500 bytes"));
    }
    let mut draft = Draft::of(order, at);
    if process.cancelled.is_some() {
        return draft.remembered();
    }
    let command = OrderCommand::Cancel { reason: String::new() };
    if process.failure.is_some() || process.payment.is_captured() {
        return Err(refused(process, &command));
    }
    draft.push(OrderEvent::CancelRequested { reason: reason.to_owned() });
    draft.remembered()
}

fn fulfil(order: &Order, process: &Process, lines: &[Units], tracking: Option<&String>, at: Timestamp) -> Outcome {
    if tracking.is_some_and(|number| number.len() > TRACKING_BYTES_MAX) {
        return Err(invalid("tracking", "at most 200 bytes"));
    }
    let command = OrderCommand::Fulfil { lines: Vec::new(), tracking: None };
    let lines = if lines.is_empty() { units_left(process, Line::unsent) } else { lines_of(lines)? };
    if lines.is_empty() {
        return Err(refused(process, &command));
    }
    check_units(process, &lines, Line::unsent, "sent")?;
    if process.shipments.len() + process.queue.len() >= SHIPMENTS_MAX {
        return Err(Rejection::TooLarge { what: "shipments of one order".into(), limit: SHIPMENTS_MAX as u64 });
    }
    let mut draft = Draft::of(order, at);
    let tracking = tracking.cloned();
    if process.payment.is_captured() {
        draft.push(OrderEvent::Shipped { lines, tracking });
        return draft.remembered();
    }
    if process.phase == Phase::Confirmed {
        draft.push(OrderEvent::Entered { phase: Phase::Capturing, reason: None });
        draft.push(OrderEvent::PaymentAttempted { step: PaymentStep::Capture });
    }
    draft.push(OrderEvent::FulfilmentRequested { lines, tracking });
    draft.remembered()
}

fn deliver(order: &Order, process: &Process, at: Timestamp) -> Outcome {
    let mut draft = Draft::of(order, at);
    if process.phase != Phase::Delivered {
        draft.push(OrderEvent::Entered { phase: Phase::Delivered, reason: None });
    }
    draft.remembered()
}

fn refund(order: &Order, process: &Process, request: &RefundRequest, at: Timestamp) -> Outcome {
    if let Some(known) = process.refunds.get(&request.refund) {
        let same = known.fingerprint == request.fingerprint;
        let reply = OrderReply::Refunding { refund: request.refund, amount: known.amount };
        return if same { Ok(Decision::replay(reply)) } else { Err(Rejection::IdempotencyKeyReused) };
    }
    if !process.payment.is_captured() || process.shown == OrderState::Refunded {
        return Err(refused(process, &OrderCommand::Refund(Box::new(request.clone()))));
    }
    if process.refunds.len() >= REFUNDS_MAX {
        return Err(Rejection::TooLarge { what: "refunds of one order".into(), limit: REFUNDS_MAX as u64 });
    }
    let lines = lines_of(&request.lines)?;
    let unrefunded = |line: &Line| line.quantity.get() - line.refunded;
    check_units(process, &lines, unrefunded, "refunded")?;
    let left = process.payment.left();
    let price = |units: &Units| {
        let skip = process.lines[&units.sku].refunded;
        process.price_of(&units.sku, skip, units.quantity.get())
    };
    let amount = match request.amount {
        Some(amount) => amount,
        None if lines.is_empty() => left,
        None => lines.iter().map(price).sum(),
    };
    if !(1..=left).contains(&amount) {
        return Err(invalid("amount", format!("from 1 to the {left} minor units that are left to give back")));
    }
    let restock = match (request.restock, lines.is_empty(), request.amount) {
        (false, ..) => Vec::new(),
        (true, false, _) => lines.clone(),
        (true, true, None) => units_left(process, unrefunded),
        (true, true, Some(_)) => return Err(invalid("lines", "the units to restock")),
    };
    let request = RefundRequest { lines, ..request.clone() };
    let reply = OrderReply::Refunding { refund: request.refund, amount };
    let mut draft = Draft::of(order, at);
    draft.push(OrderEvent::RefundRequested { request, amount, restock });
    draft.follow();
    Ok(Decision::new(draft.events, reply))
}

fn erase(order: &Order, process: &Process, at: Timestamp) -> Outcome {
    let mut draft = Draft::of(order, at);
    if process.erasure == super::state::Erasure::No {
        let nothing_to_erase = process.buyer.is_none();
        draft.push(OrderEvent::EraseRequested);
        if nothing_to_erase {
            draft.push(OrderEvent::BuyerErased);
        }
    }
    draft.remembered()
}

fn buyer_erased(order: &Order, process: &Process, at: Timestamp) -> Outcome {
    let mut draft = Draft::of(order, at);
    if matches!(process.erasure, super::state::Erasure::Owed(_)) {
        draft.push(OrderEvent::BuyerErased);
    }
    draft.noted()
}

/// Lines as asked, one per SKU, in SKU order.
fn lines_of(asked: &[Units]) -> Result<Vec<Units>, Rejection> {
    if asked.len() > LINES_MAX {
        return Err(invalid("lines", "at most 1000 lines"));
    }
    let mut sums: BTreeMap<&Sku, Quantity> = BTreeMap::new();
    for units in asked {
        let sum = sums.get(&units.sku).map_or(Some(units.quantity), |sum| sum.checked_add(units.quantity));
        sums.insert(&units.sku, sum.ok_or_else(|| invalid("lines", "at most 1000000 units of one SKU"))?);
    }
    Ok(sums.into_iter().map(|(sku, quantity)| Units { sku: sku.clone(), quantity }).collect())
}

/// What is left of every line, by that measure.
fn units_left(process: &Process, left: impl Fn(&Line) -> u32) -> Vec<Units> {
    let lines = process.lines.iter();
    lines.filter_map(|(sku, line)| Some(Units { sku: sku.clone(), quantity: Quantity::new(left(line))? })).collect()
}

fn check_units(process: &Process, lines: &[Units], left: impl Fn(&Line) -> u32, what: &str) -> Result<(), Rejection> {
    for units in lines {
        let left = process.lines.get(&units.sku).map_or(0, &left);
        if units.quantity.get() > left {
            let reason = format!("{left} of {} can be {what}, not {}", units.sku, units.quantity);
            return Err(invalid("lines", reason));
        }
    }
    Ok(())
}
