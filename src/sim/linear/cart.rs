//! A cart as plainly as it can be said: so many units of each SKU; a checkout takes them all.
//!
//! The answer to an edit is the cart as it is some time after the edit, which is a look of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::search::{Finding, Operation, Spec, linearize};
use super::{STEPS_MAX, View};
use crate::sim::history::{Ask, Fact, Said};

type Lines = BTreeMap<String, u64>;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Basket {
    lines: Lines,
    /// Keys of checkouts that took it.
    used: BTreeSet<String>,
}

#[derive(Clone, Debug)]
enum Op {
    Set(String, u64),
    Add(Lines),
    Shows(Lines),
    /// Under that key; a key that took a cart once takes no other.
    CheckOut(String),
}

struct Cart;

impl Spec for Cart {
    type State = Basket;
    type Op = Op;

    fn step(basket: &Basket, op: &Op) -> Option<Basket> {
        let mut next = basket.clone();
        match op {
            Op::Set(sku, 0) => drop(next.lines.remove(sku)),
            Op::Set(sku, units) => drop(next.lines.insert(sku.clone(), *units)),
            Op::Add(lines) => {
                lines.iter().for_each(|(sku, units)| *next.lines.entry(sku.clone()).or_default() += units)
            }
            Op::Shows(lines) => return (basket.lines == *lines).then_some(next),
            Op::CheckOut(key) if basket.lines.is_empty() || basket.used.contains(key) => {}
            Op::CheckOut(key) => {
                next.lines.clear();
                next.used.insert(key.clone());
            }
        }
        Some(next)
    }

    fn is_look(op: &Op) -> bool {
        matches!(op, Op::Shows(_))
    }
}

/// Whether the answers about one cart fit.
pub(super) fn judge(view: &View<'_>) -> Finding {
    let mut operations: Vec<Operation<Op>> = Vec::new();
    for place in view.asked {
        let Fact::Asked { ask, .. } = &view.history[*place].fact else { continue };
        let (until, attempts, said) = match view.answer(*place) {
            Some((until, attempts, said)) => (Some(until), attempts, Some(said)),
            None => (None, 1, None),
        };
        let refused = matches!(said, Some(Said::No { .. }));
        if refused && attempts == 1 {
            continue;
        }
        let until = until.filter(|_| !refused);
        let effect = match ask {
            Ask::SetLine { sku, units } => Some(Op::Set(sku.clone(), *units)),
            Ask::Merge { lines } => Some(Op::Add(lines.clone())),
            Ask::CheckOut { key } => Some(Op::CheckOut(key.clone())),
            _ => None,
        };
        let after = effect.as_ref().map(|_| operations.len());
        operations.extend(effect.map(|what| Operation { what, from: *place, until, after: None }));
        if let (Some(Said::Lines { lines }), Some(until)) = (said, until) {
            let what = Op::Shows(lines.clone());
            operations.push(Operation { what, from: *place, until: Some(until), after });
        }
    }
    linearize::<Cart>(Basket::default(), &operations, STEPS_MAX)
}
