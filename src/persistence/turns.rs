//! Turns at a group's upkeep: a checkpoint, a fold or a trim of one group happens one at a time, so that a checkpoint
//! never sees half of a fold. Different groups do not wait for each other, and nobody who serves a request ever waits.
//!
//! One more turn is about all logs together: whoever purges them takes it for that moment, and a backup holds it from
//! its first checkpoint to the end of its last log tail, so that no entry between the two goes away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::log::GroupId;

/// Hands out turns.
#[derive(Clone)]
pub struct Turns {
    groups: Arc<Mutex<BTreeMap<GroupId, Arc<Semaphore>>>>,
    logs: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { groups: Arc::default(), logs: Arc::new(Semaphore::new(1)) }
    }
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

    /// Waits for the turn at all logs.
    pub async fn hold_logs(&self) -> Turn {
        Turn { _permit: self.logs.clone().acquire_owned().await.ok() }
    }

    /// The turn at all logs, if nobody has it.
    pub fn try_hold_logs(&self) -> Option<Turn> {
        self.logs.clone().try_acquire_owned().ok().map(|permit| Turn { _permit: Some(permit) })
    }
}
