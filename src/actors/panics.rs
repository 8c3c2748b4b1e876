//! Entities whose commands panicked: for operators, who alone can do something about it.
//!
//! A panic while deciding or applying a command is our bug and costs that command: it is answered, nothing is stored,
//! the entity goes on (P9). However often it happens, the entity is not set aside for it: whoever can provoke the panic
//! could take it away from everybody else that way. So it is counted here, shown at `/ops/v1/panics` and in the status,
//! and `stockroom_commands_total` has it under the outcome `panicked`; the log names entity and command.
//!
//! Kept in memory, bounded: of more entities than [`ENTITIES_MAX`] the one that has been quiet longest is forgotten.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::EntityId;

/// Entities remembered: more than a person reads.
const ENTITIES_MAX: usize = 1_000;

/// The panics of one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanickedEntity {
    /// Which.
    pub entity: EntityId,
    /// Commands of it that panicked.
    pub panics: u64,
    /// How long ago the last one did.
    pub quiet: Duration,
}

/// Counts them.
#[derive(Debug, Default)]
pub struct Panics(Mutex<BTreeMap<EntityId, Case>>);

#[derive(Clone, Copy, Debug)]
struct Case {
    panics: u64,
    last: Instant,
}

impl Panics {
    /// A command of this entity panicked.
    pub fn note(&self, entity: &EntityId) {
        let now = Instant::now();
        let mut cases = self.0.lock().expect("no holder of the counts panics");
        if !cases.contains_key(entity) && cases.len() >= ENTITIES_MAX {
            let quietest = cases.iter().min_by_key(|(_, case)| case.last).map(|(entity, _)| entity.clone());
            quietest.map(|entity| cases.remove(&entity));
        }
        let case = cases.entry(entity.clone()).or_insert(Case { panics: 0, last: now });
        *case = Case { panics: case.panics + 1, last: now };
    }

    /// All of them, the most panics first.
    pub fn list(&self) -> Vec<PanickedEntity> {
        let cases = self.0.lock().expect("no holder of the counts panics");
        let mut list: Vec<PanickedEntity> = cases
            .iter()
            .map(|(entity, case)| PanickedEntity {
                entity: entity.clone(),
                panics: case.panics,
                quiet: case.last.elapsed(),
            })
            .collect();
        list.sort_by_key(|case| std::cmp::Reverse(case.panics));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(number: usize) -> EntityId {
        format!("stock/SKU-{number}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_entity_that_panicked_most_comes_first_and_memory_is_bounded() {
        let panics = Panics::default();
        panics.note(&stock(0));
        for number in 1..=ENTITIES_MAX {
            tokio::time::advance(Duration::from_secs(1)).await;
            panics.note(&stock(number));
        }
        panics.note(&stock(7));
        let list = panics.list();
        assert_eq!(list[0], PanickedEntity { entity: stock(7), panics: 2, quiet: Duration::ZERO });
        assert_eq!(list.len(), ENTITIES_MAX);
        assert!(list.iter().all(|case| case.entity != stock(0)), "the one that was quiet longest is forgotten");
    }
}
