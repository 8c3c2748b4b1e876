//! Faults that strike single calls: a connection reset, a packet lost, a provider that does not answer.
//!
//! Whoever carries the call asks here whether it goes wrong; the odds are the scenario's, the draw comes from the
//! asker's own stream, what struck enters the history. During healing nothing strikes any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::below;
use super::history::{Fact, History};
use crate::rng::Rng;

/// Whether faults are on, and where they are told. Clones share it.
#[derive(Clone)]
pub struct Trouble {
    on: Arc<AtomicBool>,
    history: History,
}

impl Trouble {
    /// No trouble so far.
    pub fn new(history: History) -> Self {
        Self { on: Arc::default(), history }
    }

    /// Lets faults strike, or no more.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Adds to the history.
    pub fn tell(&self, who: &str, fact: Fact) {
        self.history.add(who, fact);
    }

    /// Whether the fault of this kind strikes, which it does once in so many times; zero: never.
    pub fn strikes(&self, who: &str, kind: &'static str, one_in: u64, rng: &dyn Rng) -> bool {
        let strikes = one_in > 0 && self.on.load(Ordering::Relaxed) && below(rng, one_in) == 0;
        if strikes {
            self.history.add(who, Fact::Fault { kind, detail: String::new() });
        }
        strikes
    }
}
