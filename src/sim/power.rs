//! A node's power, as its seams feel it: everything stops in the middle of a call.
//!
//! Production code knows nothing of crash points. Every simulated seam says which step of an entity's turn a call of it
//! belongs to; when that step is armed the power goes off right there: the call never returns, and no other seam of the
//! node lets anything through any more, no byte to the network, none to the disk. The host is taken down at the end of
//! the world's step, which nobody outside can tell from a crash at that very instruction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Steps of an entity's turn, by the seam that sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The store is asked for what is known of an entity or a command.
    Recall,
    /// The clock is read for a decision.
    Decide,
    /// A batch is handed to the log and not synced.
    Append,
    /// A batch is durable and nobody is told.
    Durable,
    /// A batch with its verdict is about to be stored.
    Store,
    /// An answer is about to leave.
    Reply,
    /// Something owed is about to leave.
    Owe,
}

impl Step {
    /// All of them, in the order of a turn.
    pub const ALL: [Self; 7] =
        [Self::Recall, Self::Decide, Self::Append, Self::Durable, Self::Store, Self::Reply, Self::Owe];

    /// The name of a crash there.
    pub fn fault(self) -> &'static str {
        match self {
            Self::Recall => "crash at recall",
            Self::Decide => "crash at decide",
            Self::Append => "crash at append",
            Self::Durable => "crash when durable",
            Self::Store => "crash at store",
            Self::Reply => "crash at reply",
            Self::Owe => "crash at owe",
        }
    }
}

#[derive(Default)]
struct State {
    /// At which step the power goes, after how many more passes of it.
    armed: Option<(Step, u64)>,
    /// Why it went.
    off: Option<&'static str>,
}

/// The power of one node. Clones are the same power.
#[derive(Clone, Default)]
pub struct Power(Arc<(AtomicBool, Mutex<State>)>);

impl Power {
    /// Takes the power away when `step` has been passed this many times more.
    pub fn arm(&self, step: Step, passes: u64) {
        self.lock().armed = Some((step, passes));
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        !self.0.0.load(Ordering::Relaxed)
    }

    /// Why it went off, if it did.
    pub fn gone(&self) -> Option<&'static str> {
        self.lock().off
    }

    /// Off, now.
    pub fn cut(&self, why: &'static str) {
        let mut state = self.lock();
        state.off.get_or_insert(why);
        self.0.0.store(true, Ordering::Relaxed);
    }

    /// No step is armed any more.
    pub fn disarm(&self) {
        self.lock().armed = None;
    }

    /// On again, nothing armed.
    pub fn restore(&self) {
        *self.lock() = State::default();
        self.0.0.store(false, Ordering::Relaxed);
    }

    /// A seam is called at this step; false when the call must not go on.
    pub fn passes(&self, step: Step) -> bool {
        if !self.is_on() {
            return false;
        }
        let mut state = self.lock();
        match &mut state.armed {
            Some((armed, 0)) if *armed == step => {
                drop(state);
                self.cut(step.fault());
                false
            }
            Some((armed, left)) if *armed == step => {
                *left -= 1;
                true
            }
            _ => true,
        }
    }

    /// As [`Power::passes`], for a call that can be left hanging.
    pub async fn pass(&self, step: Step) {
        if !self.passes(step) {
            std::future::pending::<()>().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_goes_at_the_armed_step_and_stops_every_other() {
        let power = Power::default();
        power.arm(Step::Append, 1);
        assert!(power.passes(Step::Store) && power.passes(Step::Append));
        assert!(!power.passes(Step::Append));
        assert_eq!(power.gone(), Some("crash at append"));
        assert!(Step::ALL.into_iter().all(|step| !power.passes(step)));
        power.restore();
        assert!(power.passes(Step::Append));
    }
}
