//! A stock item as plainly as it can be said: so many units are free, so many are under each hold.
//!
//! Merchants bring units, shoppers take and return holds and look. By itself the shop may end a hold whose time is
//! over, and an order may take its units at any time after it was asked for and give them back later.

use std::collections::BTreeMap;

use super::search::{Finding, Operation, Spec, linearize};
use super::{STEPS_MAX, View};
use crate::sim::history::{Ask, Fact, Said};

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Shelf {
    free: u64,
    /// Hold, by the place it was asked for at → units.
    held: BTreeMap<usize, u64>,
    /// Units an order took at once → how many orders have that many.
    taken: BTreeMap<u64, u64>,
}

#[derive(Clone, Debug)]
enum Op {
    Bring(u64),
    Hold {
        number: usize,
        units: u64,
    },
    /// There are fewer units than asked for.
    Lacks(u64),
    /// The hold has ended, by this or before.
    Return {
        number: usize,
    },
    Shows(u64),
    /// The time of a hold is over.
    Expire {
        number: usize,
    },
    Take(u64),
    GiveBack(u64),
}

struct Stock;

impl Spec for Stock {
    type State = Shelf;
    type Op = Op;

    fn step(shelf: &Shelf, op: &Op) -> Option<Shelf> {
        let mut next = shelf.clone();
        match op {
            Op::Bring(units) => next.free += units,
            Op::Hold { number, units } => {
                next.free = next.free.checked_sub(*units)?;
                next.held.insert(*number, *units);
            }
            Op::Lacks(units) => return (shelf.free < *units).then_some(next),
            Op::Return { number } => next.free += next.held.remove(number).unwrap_or(0),
            Op::Shows(units) => return (shelf.free == *units).then_some(next),
            Op::Expire { number } => next.free += next.held.remove(number)?,
            Op::Take(units) => {
                next.free = next.free.checked_sub(*units)?;
                *next.taken.entry(*units).or_default() += 1;
            }
            Op::GiveBack(units) => {
                let orders = next.taken.get_mut(units).filter(|orders| **orders > 0)?;
                *orders -= 1;
                next.free += units;
            }
        }
        Some(next)
    }

    fn is_look(op: &Op) -> bool {
        matches!(op, Op::Lacks(_) | Op::Shows(_))
    }

    fn twin(op: &Op) -> Option<u64> {
        match op {
            Op::Take(units) => Some(2 * units),
            Op::GiveBack(units) => Some(2 * units + 1),
            _ => None,
        }
    }
}

/// Whether the answers about one SKU fit.
pub(super) fn judge(view: &View<'_>) -> Finding {
    let mut operations = Vec::new();
    let numbers = holds_of(view);
    if let Some(stuck) = lost_hold(view, &numbers) {
        return Finding::Impossible { stuck };
    }
    for place in view.asked {
        let Fact::Asked { ask, .. } = &view.history[*place].fact else { continue };
        operations.extend(operations_of(view, *place, ask, &numbers));
    }
    linearize::<Stock>(Shelf::default(), &operations, STEPS_MAX)
}

/// Hold id → the place it was asked for at.
fn holds_of<'a>(view: &View<'a>) -> BTreeMap<&'a str, usize> {
    let held = view.asked.iter().filter_map(|place| match view.answer(*place)? {
        (_, _, Said::Held { hold }) => Some((hold.as_str(), *place)),
        _ => None,
    });
    held.collect()
}

/// A hold that was given out and that the shop did not know when it was to be taken back. No state explains that, so
/// nothing needs to be searched: an ended hold is known for an hour, longer than any world with right clocks looks.
fn lost_hold(view: &View<'_>, numbers: &BTreeMap<&str, usize>) -> Option<String> {
    view.asked.iter().filter(|_| view.right_clocks).find_map(|place| {
        let Fact::Asked { ask: Ask::Return { hold }, .. } = &view.history[*place].fact else { return None };
        let (_, _, Said::No { code }) = view.answer(*place)? else { return None };
        let is_known = numbers.contains_key(hold.as_str());
        (is_known && code == "not_found").then(|| format!("{code} to a return of hold {hold}"))
    })
}

fn operations_of(view: &View<'_>, place: usize, ask: &Ask, numbers: &BTreeMap<&str, usize>) -> Vec<Operation<Op>> {
    let answer = view.answer(place);
    let perhaps = |what, from| Operation { what, from, until: None, after: None };
    let surely = |what, until| Operation { what, from: place, until: Some(until), after: None };
    match (ask, answer) {
        (Ask::Receive { units }, Some((until, ..))) => vec![surely(Op::Bring(*units), until)],
        (Ask::Receive { units }, None) => vec![perhaps(Op::Bring(*units), place)],
        (Ask::Hold { units, ttl_s }, answer) => {
            let hold = Op::Hold { number: place, units: *units };
            let expiry = perhaps(Op::Expire { number: place }, not_before(view, place, *ttl_s));
            match answer {
                Some((until, _, Said::Held { .. })) => vec![surely(hold, until), expiry],
                // A refusal says nothing about an earlier attempt that is still on its way.
                Some((until, attempts, Said::No { code })) => {
                    let lacks = (code == "insufficient_stock").then(|| surely(Op::Lacks(*units), until));
                    let late = (attempts > 1).then(|| [perhaps(hold, place), expiry]);
                    lacks.into_iter().chain(late.into_iter().flatten()).collect()
                }
                Some(_) => Vec::new(),
                None => vec![perhaps(hold, place), expiry],
            }
        }
        (Ask::Return { hold }, answer) => {
            let Some(number) = numbers.get(hold.as_str()).copied() else { return Vec::new() };
            match answer {
                Some((until, _, Said::Yes)) => vec![surely(Op::Return { number }, until)],
                _ => vec![perhaps(Op::Return { number }, place)],
            }
        }
        (Ask::ReadStock, Some((until, _, Said::Available { units }))) => vec![surely(Op::Shows(*units), until)],
        (Ask::Order { units }, _) => vec![perhaps(Op::Take(*units), place), perhaps(Op::GiveBack(*units), place)],
        // Once it is the order's, the order alone ends it: early when it fails.
        (Ask::OrderHeld { hold }, _) => {
            let number = numbers.get(hold.as_str()).copied();
            number.map(|number| perhaps(Op::Expire { number }, place)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The place before which a hold asked for at `place` cannot be over: most of its time must have passed.
fn not_before(view: &View<'_>, place: usize, ttl_s: u64) -> usize {
    if !view.right_clocks {
        return place;
    }
    let over_ms = view.history[place].at_ms + ttl_s * 900;
    view.history.partition_point(|row| row.at_ms < over_ms).max(place)
}
