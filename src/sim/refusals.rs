//! An order that was refused for want of units: were they ever missing while it was on its way?
//!
//! From the journals alone. What an item's records leave available is at most what could be had: holds whose time is
//! over count as held until a record ends them. So when that was enough at every moment between the order's first
//! record and its last, the refusal was wrong; otherwise nothing is said.

use std::collections::BTreeMap;

use super::checks::{Broken, broken};
use super::laws;
use crate::domain::ids::Sku;
use crate::domain::order::{Failure, OrderCommand, OrderReply};
use crate::domain::registry::{AnyCommand, AnyReply, AnyState};
use crate::domain::time::Timestamp;

/// An order that failed because a SKU had too little.
#[derive(Clone, Debug)]
struct Refused {
    order: String,
    sku: Sku,
    asked: u64,
    from: Timestamp,
    to: Timestamp,
}

/// Gathers while journals are replayed.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Units available after each record, in the order of the journal.
    shelves: BTreeMap<Sku, Vec<(Timestamp, u64)>>,
    refused: Vec<Refused>,
}

impl Refusals {
    /// A state after a record.
    pub fn after_record(&mut self, state: &AnyState, at: Timestamp) {
        if let AnyState::Stock(item) = state {
            self.shelves.entry(item.sku().clone()).or_default().push((at, item.numbers().available));
        }
    }

    /// A state after its last record.
    pub fn at_rest(&mut self, state: &AnyState, at: Timestamp) {
        let AnyState::Order(_) = state else { return };
        let shows = state.decide(&AnyCommand::Order(OrderCommand::Show), at);
        let Ok(Some(view)) = shows.map(|shows| match shows.reply {
            AnyReply::Order(OrderReply::Shown(view)) => Some(view),
            _ => None,
        }) else {
            return;
        };
        let Some(Failure::InsufficientStock { sku, .. }) = &view.failure else { return };
        let lines = view.placement.lines.iter().filter(|line| line.sku == *sku);
        let asked = lines.map(|line| u64::from(line.quantity.get())).sum();
        let (order, sku) = (view.id.to_string(), sku.clone());
        self.refused.push(Refused { order, sku, asked, from: view.created_at, to: at });
    }

    /// Orders that should not have been refused.
    pub fn judge(&self) -> Vec<Broken> {
        let wrong = self.refused.iter().filter_map(|refused| {
            laws::checked("SIM-REFUSED-FOR-WANT");
            let fewest = self.fewest(refused);
            let told = || {
                format!(
                    "order {} of {} {} was refused: never fewer than {fewest}",
                    refused.order, refused.asked, refused.sku
                )
            };
            (fewest >= refused.asked).then(|| broken("SIM-REFUSED-FOR-WANT", told()))
        });
        wrong.collect()
    }

    /// The fewest units that were available while an order was on its way.
    fn fewest(&self, refused: &Refused) -> u64 {
        let shelf = self.shelves.get(&refused.sku).map_or(&[][..], Vec::as_slice);
        let before = shelf.iter().rev().find(|(at, _)| *at <= refused.from).map_or(0, |(_, available)| *available);
        let during = shelf.iter().filter(|(at, _)| refused.from < *at && *at <= refused.to);
        during.map(|(_, available)| *available).fold(before, u64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(shelf: &[(u64, u64)], asked: u64) -> bool {
        let sku: Sku = "TEA".parse().unwrap();
        let shelf = shelf.iter().map(|(at, available)| (Timestamp(*at), *available)).collect();
        let refused =
            Refused { order: "1".to_owned(), sku: sku.clone(), asked, from: Timestamp(10), to: Timestamp(20) };
        let refusals = Refusals { shelves: [(sku, shelf)].into(), refused: vec![refused] };
        !refusals.judge().is_empty()
    }

    #[test]
    fn units_that_were_there_all_the_time_are_not_refused() {
        assert!(wrong(&[(5, 3)], 3));
        assert!(wrong(&[(1, 0), (10, 4), (15, 3), (20, 5)], 3));
    }

    #[test]
    fn units_that_were_missing_for_a_moment_may_be() {
        assert!(!wrong(&[], 1));
        assert!(!wrong(&[(5, 2)], 3));
        assert!(!wrong(&[(5, 3), (15, 2), (16, 9)], 3));
        assert!(!wrong(&[(5, 9), (20, 2)], 3));
        assert!(wrong(&[(5, 9), (21, 2)], 3));
    }
}
