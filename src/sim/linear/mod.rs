//! Linearizability: could answers have come from one thing doing one request after the other?
//!
//! Every request to an entity is in the history with the moment it was made and the moment it was answered. The entity
//! is linearizable when some order of its requests fits both: each takes effect at one instant between its two moments,
//! and a tiny sequential model (`stock`, `cart`, `order`, `product`; no code of the domain) gives the answers that were
//! given. A request nobody got an answer to may have taken effect at any time after it was made, or never; so may
//! whatever the shop does by itself. The moments are places in the history, which is in the order of real time.
//!
//! The search is Wing and Gong's with Lowe's memory of configurations seen (G. Lowe, "Testing for linearizability",
//! 2017), depth first, [`STEPS_MAX`] steps at most; a search that ends there is told of as undecided and breaks no law.

mod cart;
mod order;
mod product;
mod search;
mod stock;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use search::{Finding, Operation, Spec, linearize};

use super::history::{Fact, Row, Said};
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

/// Judges every entity of a history. `right_clocks`: whether a second of the shop is one of the world.
pub fn judge(history: &[Row], right_clocks: bool) -> Report {
    let answers = answers_of(history);
    let mut report = Report::default();
    for (entity, asked) in requests_of(history, &answers) {
        let view = View { history, answers: &answers, asked: &asked, right_clocks };
        let finding = match entity.split_once('/') {
            Some(("cart", _)) => cart::judge(&view),
            Some(("order", _)) => order::judge(&view),
            Some(("product", _)) => product::judge(&view),
            _ => stock::judge(&view),
        };
        report.searched += 1;
        match finding {
            Finding::Linearizable => {}
            Finding::Undecided => report.undecided.push(entity),
            Finding::Impossible { stuck } => {
                let detail = format!("{entity}: no order of its {} requests gives {stuck}", asked.len());
                report.complaints.push(("SIM-LINEARIZABLE", detail));
            }
        }
    }
    report
}

/// Entity → places of its requests. An order is first seen in the answer to the checkout of its cart.
fn requests_of(history: &[Row], answers: &BTreeMap<u64, usize>) -> BTreeMap<String, Vec<usize>> {
    let mut entities: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, row) in history.iter().enumerate() {
        let Fact::Asked { entity, .. } = &row.fact else { continue };
        entities.entry(entity.clone()).or_default().push(place);
        let answer = answers.get(&(place as u64)).map(|answered| &history[*answered].fact);
        if let Some(Fact::Answered { said: Said::Ordered { order, .. }, .. }) = answer {
            entities.entry(format!("order/{order}")).or_default().push(place);
        }
    }
    entities
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

impl<'a> View<'a> {
    /// Place, attempts and content of the answer to the request at `place`.
    fn answer(&self, place: usize) -> Option<(usize, u32, &'a Said)> {
        let answered = *self.answers.get(&(place as u64))?;
        match &self.history[answered].fact {
            Fact::Answered { attempts, said, .. } => Some((answered, *attempts, said)),
            _ => None,
        }
    }
}
