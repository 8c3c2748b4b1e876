//! Planted bugs: the simulator's own test. Compiled only with the feature `canaries`; no other build contains a line.
//!
//! An oracle that never failed may be one that cannot fail. So every promise of the protocol has a bug that breaks it,
//! planted at the place where it would really be made, as a line or block under `cfg(feature = "canaries")` that asks
//! [`is`]. One process plants at most one of them, once, before its run: `stockroom-sim` does, for a scenario with a
//! `[canary]` section. Unplanted, a build with the feature behaves as any other.
//!
//! Promises: nothing here changes what the shop does unless a bug is planted. Refuses a second bug in one process.
//! `tests/tidy.rs` lists every place; `simulations/canary/` has a scenario per bug, `docs/canaries.md` what they found.

use std::sync::OnceLock;

macro_rules! canaries {
    ($($(#[$doc:meta])* $canary:ident = $name:literal, $rule:literal;)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Canary { $($(#[$doc])* $canary),* }

        impl Canary {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$canary),*];

            /// What scenarios call it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$canary => $name),* }
            }

            /// The rule of the protocol it breaks.
            pub fn rule(self) -> &'static str {
                match self { $(Self::$canary => $rule),* }
            }
        }
    };
}

canaries! {
    /// The log says that entries are durable before they are synced.
    AckBeforeFsync = "ack-before-fsync", "P23";
    /// A command that was accepted before is decided afresh.
    DedupSkipped = "dedup-skipped", "P3";
    /// Snapshots leave out the router-drawn command ids of the last ten minutes.
    WindowNotInSnapshot = "window-not-in-snapshot", "P3";
    /// Holds whose time is over are not ended.
    HoldExpiryIgnored = "hold-expiry-ignored", "P17";
    /// An entity that comes to life replays its last record once more.
    RecordAppliedTwice = "record-applied-twice", "P10";
    /// A shard that is hosted does not look who is due.
    WakeUpLost = "wake-up-lost", "P13";
    /// A capture told by webhook and by answer is booked twice.
    DoubleCapture = "double-capture", "P18";
    /// The last free unit of a SKU cannot be set aside.
    ReserveOffByOne = "reserve-off-by-one", "P17";
    /// The first line of a merged cart gets lost.
    MergeDropsLine = "merge-drops-line", "P20";
    /// Of a batch that begins too early the records beyond the journal's end are stored.
    StaleSuffixAccepted = "stale-suffix-accepted", "P10";
    /// The key of a payment request has the order's sequence in it.
    IdFromSequence = "id-from-sequence", "P5";
    /// Every attempt at a checkout proposes a new order id.
    OrderIdPerAttempt = "order-id-per-attempt", "P4";
    /// Callers of a refused batch are answered as if it had been stored.
    RefusedIsAnswered = "refused-is-answered", "P10";
    /// A cancelled order does not wait for its authorisation before it voids it.
    EarlyVoid = "early-void", "P18";
    /// Records do not say when their entity wants attention.
    WakeAtOmitted = "wake-at-omitted", "P13";
    /// An order whose hold was ended under it keeps the money set aside.
    VoidForgotten = "void-forgotten", "P19";
    /// The projector's cursor skips a log entry each time it looks.
    CursorSkips = "cursor-skips", "P29";
    /// A request's fingerprint leaves out its body.
    BodyIgnored = "body-ignored", "P2";
    /// Client writes refused while the disk was nearly full are refused for ever.
    GateStaysClosed = "gate-stays-closed", "P28";
    /// What happened to an order within the last moment is not shown.
    StaleRead = "stale-read", "P11";
}

static PLANTED: OnceLock<Canary> = OnceLock::new();

/// Plants a bug for the rest of this process.
pub fn plant(canary: Canary) {
    assert!(PLANTED.set(canary).is_ok(), "one bug per process");
}

/// Whether this bug is planted.
pub fn is(canary: Canary) -> bool {
    PLANTED.get() == Some(&canary)
}

impl Canary {
    /// The bug of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|canary| canary.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own_and_none_is_planted_by_itself() {
        for canary in Canary::ALL {
            assert_eq!(Canary::named(canary.name()), Some(*canary));
            assert!(!is(*canary));
        }
        assert_eq!(Canary::named("no-such-bug"), None);
    }
}
