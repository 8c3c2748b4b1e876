//! Linearizability: could answers have come from one thing doing one request after the other?
//!
//! Every request to a stock item or cart is in the history with the moment it was made and the moment it was answered.
//! The entity is linearizable when some order of its requests fits both: each takes effect at one instant between its
//! two moments, and a tiny sequential model (`stock`, `cart`; no code of the domain) gives the answers that were given.
//! A request nobody got an answer to may have taken effect at any time after it was made, or never; so may whatever the
//! shop does by itself. The moments are places in the history, which is in the order of real time.
//!
//! The search is Wing and Gong's with Lowe's memory of configurations seen (G. Lowe, "Testing for linearizability",
//! 2017), depth first, [`STEPS_MAX`] steps at most; a search that ends there is told of as undecided and breaks no law.

mod cart;
mod search;
mod stock;

use std::collections::BTreeMap;

pub use search::{Finding, Operation, Spec, linearize};

use super::history::{Fact, Row};
use super::model::Complaint;

/// Configurations one entity is searched for.
const STEPS_MAX: u64 = 20_000;

/// What was found about a history.
#[derive(Debug, Default)]
pub struct Report {
    /// Entities whose answers fit no order.
    pub complaints: Vec<Complaint>,
    /// Entities searched.
    pub searched: u64,
    /// Entities whose search was given up.
    pub undecided: Vec<String>,
}

/// Judges every stock item and cart of a history. `right_clocks`: whether a second of the shop is one of the world.
pub fn judge(history: &[Row], right_clocks: bool) -> Report {
    let mut entities: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, row) in history.iter().enumerate() {
        if let Fact::Asked { entity, .. } = &row.fact {
            entities.entry(entity).or_default().push(index);
        }
    }
    let answers = answers_of(history);
    let mut report = Report::default();
    for (entity, asked) in entities {
        let view = View { history, answers: &answers, asked: &asked, right_clocks };
        let finding = match entity.starts_with("cart/") {
            true => cart::judge(&view),
            false => stock::judge(&view),
        };
        report.searched += 1;
        match finding {
            Finding::Linearizable => {}
            Finding::Undecided => report.undecided.push(entity.to_owned()),
            Finding::Impossible { stuck } => {
                let detail = format!("{entity}: no order of its {} requests gives {stuck}", asked.len());
                report.complaints.push(("SIM-LINEARIZABLE", detail));
            }
        }
    }
    report
}

/// Place of a request → place of its answer.
fn answers_of(history: &[Row]) -> BTreeMap<u64, usize> {
    let answered = history.iter().enumerate().filter_map(|(index, row)| match row.fact {
        Fact::Answered { request, .. } => Some((request, index)),
        _ => None,
    });
    answered.collect()
}

/// What a model is told about one entity.
pub(super) struct View<'a> {
    /// Everything that happened.
    pub history: &'a [Row],
    /// Place of a request → place of its answer.
    pub answers: &'a BTreeMap<u64, usize>,
    /// Places of this entity's requests.
    pub asked: &'a [usize],
    /// Whether a second of the shop is one of the world.
    pub right_clocks: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::{Ask, Said};

    fn row(fact: Fact) -> Row {
        Row { at_ms: 0, actor: String::new(), fact }
    }

    fn asked(entity: &str, ask: Ask) -> Row {
        row(Fact::Asked { entity: entity.to_owned(), ask })
    }

    fn answered(request: u64, said: Said) -> Row {
        row(Fact::Answered { request, attempts: 1, said })
    }

    fn laws(history: &[Row]) -> usize {
        let report = judge(history, true);
        assert!(report.undecided.is_empty());
        report.complaints.len()
    }

    #[test]
    fn a_read_after_a_hold_must_see_it() {
        let history = |available| {
            vec![
                asked("stock/A", Ask::Receive { units: 5 }),
                answered(0, Said::Yes),
                asked("stock/A", Ask::Hold { units: 2, ttl_s: 60 }),
                answered(2, Said::Held { hold: "h".to_owned() }),
                asked("stock/A", Ask::ReadStock),
                answered(4, Said::Available { units: available }),
            ]
        };
        assert_eq!(laws(&history(3)), 0);
        assert_eq!(laws(&history(5)), 1);
    }

    #[test]
    fn a_refusal_of_units_that_were_there_fits_no_order() {
        let history = |asked_for| {
            vec![
                asked("stock/A", Ask::Receive { units: 5 }),
                answered(0, Said::Yes),
                asked("stock/A", Ask::Hold { units: asked_for, ttl_s: 60 }),
                answered(2, Said::No { code: "insufficient_stock".to_owned() }),
            ]
        };
        assert_eq!(laws(&history(6)), 0);
        assert_eq!(laws(&history(5)), 1);
    }

    #[test]
    fn concurrent_requests_may_have_been_in_either_order_and_unknown_ones_never() {
        let mut history = vec![
            asked("stock/A", Ask::Receive { units: 1 }),
            answered(0, Said::Yes),
            asked("stock/A", Ask::Hold { units: 1, ttl_s: 60 }),
            asked("stock/A", Ask::ReadStock),
            answered(3, Said::Available { units: 1 }),
        ];
        assert_eq!(laws(&history), 0);
        history.push(asked("stock/A", Ask::ReadStock));
        history.push(answered(5, Said::Available { units: 0 }));
        assert_eq!(laws(&history), 0);
        history.push(asked("stock/A", Ask::ReadStock));
        history.push(answered(7, Said::Available { units: 2 }));
        assert_eq!(laws(&history), 1);
    }

    #[test]
    fn a_hold_that_was_given_out_cannot_be_unknown() {
        let history = |said| {
            vec![
                asked("stock/A", Ask::Receive { units: 5 }),
                answered(0, Said::Yes),
                asked("stock/A", Ask::Hold { units: 2, ttl_s: 60 }),
                answered(2, Said::Held { hold: "h".to_owned() }),
                asked("stock/A", Ask::Return { hold: "h".to_owned() }),
                answered(4, said),
            ]
        };
        assert_eq!(laws(&history(Said::Yes)), 0);
        assert_eq!(laws(&history(Said::No { code: "not_found".to_owned() })), 1);
    }

    #[test]
    fn a_cart_shows_what_was_put_into_it() {
        let lines = |units: u64| [("A".to_owned(), units)].into();
        let history = |shown| {
            vec![
                asked("cart/c", Ask::SetLine { sku: "A".to_owned(), units: 2 }),
                answered(0, Said::Lines { lines: lines(2) }),
                asked("cart/c", Ask::SetLine { sku: "A".to_owned(), units: 3 }),
                asked("cart/c", Ask::ReadCart),
                answered(3, Said::Lines { lines: lines(shown) }),
                answered(2, Said::Lines { lines: lines(3) }),
            ]
        };
        assert_eq!([laws(&history(2)), laws(&history(3)), laws(&history(5))], [0, 0, 1]);
    }
}
