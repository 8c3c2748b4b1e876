//! An order as plainly as it can be said: where it stands, and where it is bound for.
//!
//! By itself it goes forward, step by step, until it is confirmed, or is bound to fail. Cancelling it, sending it out
//! and giving back all that is left only bind it: it stands where it stands until, later and by itself, it is there.
//! Bound, it goes nowhere else. That it arrived is noted at once.
//!
//! Nobody sees when it moves by itself, so the model's state is the set of all lives that explain the answers so far.
//! The provider of these worlds captures whatever it authorised and refunds whatever it captured; goods are sent whole.

use std::collections::BTreeSet;

use super::search::{Finding, Operation, Spec, linearize};
use super::{STEPS_MAX, View};
use crate::sim::history::{Ask, Fact, Said};

/// Where an order stands, in the contract's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// There is no such order.
    Nowhere,
    Placed,
    Reserving,
    Authorizing,
    Confirmed,
    Fulfilled,
    Delivered,
    Refunded,
    Cancelled,
    Failed,
    /// A word the contract does not have: no order ever stands there.
    Unheard,
}

use Stage::{Authorizing, Cancelled, Confirmed, Delivered, Failed, Fulfilled, Nowhere, Placed, Refunded, Reserving};

impl Stage {
    fn named(state: &str) -> Self {
        match state {
            "placed" => Placed,
            "reserving" => Reserving,
            "authorizing" => Authorizing,
            "confirmed" => Confirmed,
            "fulfilled" => Fulfilled,
            "delivered" => Delivered,
            "refunded" => Refunded,
            "cancelled" => Cancelled,
            "failed" => Failed,
            _ => Self::Unheard,
        }
    }
}

/// What somebody wants of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Cancel,
    Fulfil,
    Deliver,
    RefundPart,
    RefundRest,
}

#[derive(Clone, Debug)]
enum Op {
    Shows(Stage),
    Grants(Wish),
    /// An order that stands there does no such thing.
    Refuses(Wish, Stage),
    /// Everything was asked back before.
    HasNothingLeft,
}

/// What may be true of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Life {
    stage: Stage,
    bound: Option<Stage>,
}

impl Life {
    fn at(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    fn bound_for(self, end: Stage) -> Self {
        Self { bound: Some(end), ..self }
    }

    /// What it may be next without anybody asking.
    fn moves(self) -> Vec<Self> {
        let onwards = |next| vec![self.at(next), self.bound_for(Failed)];
        match (self.stage, self.bound) {
            (_, Some(end)) => vec![Self { stage: end, bound: None }],
            (Nowhere, None) => vec![self.at(Placed)],
            (Placed, None) => onwards(Reserving),
            (Reserving, None) => onwards(Authorizing),
            (Authorizing, None) => onwards(Confirmed),
            _ => Vec::new(),
        }
    }

    /// What it is once it has agreed; `None` when it cannot.
    fn granting(self, wish: Wish) -> Option<Self> {
        match (wish, self.stage, self.bound) {
            (Wish::Cancel, Cancelled, _) | (Wish::Cancel, _, Some(Cancelled)) => Some(self),
            (Wish::Cancel, Placed | Reserving | Authorizing | Confirmed, None) => Some(self.bound_for(Cancelled)),
            (Wish::Fulfil, Confirmed, None) => Some(self.bound_for(Fulfilled)),
            (Wish::Deliver, Fulfilled | Delivered, _) => Some(self.at(Delivered)),
            (Wish::RefundPart, Fulfilled | Delivered, None) => Some(self),
            (Wish::RefundRest, Fulfilled | Delivered, None) => Some(self.bound_for(Refunded)),
            _ => None,
        }
    }

    fn has_nothing_left(self) -> bool {
        matches!(self.stage, Fulfilled | Delivered) && self.bound == Some(Refunded)
    }

    fn after(self, op: &Op) -> Option<Self> {
        let fits = match op {
            Op::Grants(wish) => return self.granting(*wish),
            Op::Shows(stage) => self.stage == *stage,
            Op::Refuses(wish @ (Wish::RefundPart | Wish::RefundRest), stage) => {
                self.stage == *stage && self.granting(*wish).is_none() && !self.has_nothing_left()
            }
            Op::Refuses(wish, stage) => self.stage == *stage && self.granting(*wish).is_none(),
            Op::HasNothingLeft => self.has_nothing_left(),
        };
        fits.then_some(self)
    }
}

type Lives = BTreeSet<Life>;

/// These lives, and all they may become by themselves.
fn closed(mut lives: Lives) -> Lives {
    let mut open: Vec<Life> = lives.iter().copied().collect();
    while let Some(life) = open.pop() {
        open.extend(life.moves().into_iter().filter(|next| lives.insert(*next)));
    }
    lives
}

struct Order;

impl Spec for Order {
    type State = Lives;
    type Op = Op;

    fn step(lives: &Lives, op: &Op) -> Option<Lives> {
        let after: Lives = lives.iter().filter_map(|life| life.after(op)).collect();
        (!after.is_empty()).then(|| closed(after))
    }

    /// A look leaves fewer lives, so that none is to be taken before another without need.
    fn is_look(_op: &Op) -> bool {
        false
    }
}

/// Whether the answers about one order fit.
pub(super) fn judge(view: &View<'_>) -> Finding {
    let mut operations = Vec::new();
    for place in view.asked {
        let Fact::Asked { ask, .. } = &view.history[*place].fact else { continue };
        add(&mut operations, view, *place, ask);
    }
    let nowhere = Life { stage: Nowhere, bound: None };
    linearize::<Order>(closed([nowhere].into()), &operations, STEPS_MAX)
}

fn add(operations: &mut Vec<Operation<Op>>, view: &View<'_>, place: usize, ask: &Ask) {
    let wish = match ask {
        Ask::Cancel => Some(Wish::Cancel),
        Ask::Fulfil => Some(Wish::Fulfil),
        Ask::Deliver => Some(Wish::Deliver),
        Ask::Refund { rest: false } => Some(Wish::RefundPart),
        Ask::Refund { rest: true } => Some(Wish::RefundRest),
        _ => None,
    };
    let surely = |what, until| Operation { what, from: place, until: Some(until), after: None };
    let perhaps = |wish| Operation { what: Op::Grants(wish), from: place, until: None, after: None };
    let Some((until, attempts, said)) = view.answer(place) else {
        return operations.extend(wish.map(perhaps));
    };
    if let Said::Stands { state } | Said::Ordered { state, .. } = said {
        // The body is the order some time after what was asked of it.
        let after = wish.map(|_| operations.len());
        operations.extend(wish.map(|wish| surely(Op::Grants(wish), until)));
        return operations.push(Operation { after, ..surely(Op::Shows(Stage::named(state)), until) });
    }
    let is_refund = matches!(ask, Ask::Refund { .. });
    let refusal = match (said, wish) {
        (Said::Forbidden { state }, Some(wish)) => Some(Op::Refuses(wish, Stage::named(state))),
        (Said::No { code }, _) if code == "not_found" => Some(Op::Shows(Nowhere)),
        (Said::No { code }, _) if code == "invalid_request" && is_refund => Some(Op::HasNothingLeft),
        _ => None,
    };
    operations.extend(refusal.map(|refusal| surely(refusal, until)));
    // A refusal says nothing about an earlier attempt that is still on its way.
    operations.extend(wish.filter(|_| attempts > 1).map(perhaps));
}
