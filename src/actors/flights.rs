//! Which entities of a group have a batch on its way to the log, whether or not their actor still lives.
//!
//! An actor that ends while its batch is under way leaves nobody to hear the verdict, yet the batch may be stored. Its
//! next incarnation must not look at the journal before that is settled: it would say no to a command that happens a
//! moment later (P7, P10). So the shard brings an entity to life only when nothing of it is in the air. A new leader
//! needs no such care: it hosts only behind an entry of its own term (P12).
//!
//! Shared by all actors of a group; survives a shard actor that fails and is hosted again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::EntityId;

/// The entities of one group with a batch under way. Clones are the same set.
#[derive(Clone, Debug, Default)]
pub struct Flights(Arc<Mutex<BTreeSet<EntityId>>>);

impl Flights {
    /// A batch of this entity is on its way until the landing is dropped. An entity has one batch in flight (P9).
    pub fn take_off(&self, entity: &EntityId) -> Landing {
        let is_first = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(entity.clone());
        assert!(is_first, "ENT-5: {entity} has two batches in flight");
        Landing { flights: self.clone(), entity: entity.clone() }
    }

    /// Whether nobody knows yet what becomes of a batch of this entity.
    pub fn is_under_way(&self, entity: &EntityId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(entity)
    }
}

/// Dropped when a batch has its verdict, or never will have one.
#[derive(Debug)]
pub struct Landing {
    flights: Flights,
    entity: EntityId,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.entity);
    }
}
