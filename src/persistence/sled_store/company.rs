//! Lets a write wait a moment for company, because nobody waits for it: what is written is durable in the log.
//!
//! Without it every write would wake the owner's thread, which costs more than the write. A request that somebody waits
//! for ends the pause at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// How long a write waits at most.
const PAUSE: Duration = Duration::from_millis(2);

/// Between the owner's thread and those who ask it.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Requests somebody waits for that the owner has not taken yet.
    awaited: AtomicUsize,
    owner: OnceLock<Thread>,
}

impl Company {
    /// Told by the owner's thread, before it takes requests.
    pub(super) fn owner_is_here(&self) {
        let _ = self.owner.set(thread::current());
    }

    /// Told before a request is sent that somebody waits for.
    pub(super) fn awaits(&self) {
        self.awaited.fetch_add(1, Ordering::SeqCst);
    }

    /// Told when it is sent.
    pub(super) fn sent(&self) {
        if let Some(owner) = self.owner.get() {
            owner.unpark();
        }
    }

    /// Told when it is taken.
    pub(super) fn taken(&self) {
        self.awaited.fetch_sub(1, Ordering::SeqCst);
    }

    /// The owner's pause. One that begins after [`Company::awaits`] is none; one that has begun ends with
    /// [`Company::sent`].
    pub(super) fn pause(&self) {
        if self.awaited.load(Ordering::SeqCst) == 0 {
            thread::park_timeout(PAUSE);
        }
    }
}
