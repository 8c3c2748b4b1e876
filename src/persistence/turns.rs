//! Turns at a group's upkeep: a checkpoint, a fold or a trim of one group happens one at a time, so that a checkpoint
//! never sees half of a fold. Different groups do not wait for each other, and nobody who serves a request ever waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::log::GroupId;

/// Hands out turns.
#[derive(Clone, Default)]
pub struct Turns {
    groups: Arc<Mutex<BTreeMap<GroupId, Arc<Semaphore>>>>,
}

/// A turn; over when dropped.
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Everybody's turn.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for a turn at this group, first come, first served.
    pub async fn take(&self, group: GroupId) -> Turn {
        let semaphore = {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            groups.entry(group).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        Turn { _permit: semaphore.acquire_owned().await.ok() }
    }
}
