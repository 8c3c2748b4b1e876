//! Tells the followers of a shard's committed records that there is more to read, and nothing else.
//!
//! The Raft state machine calls [`FeedSignal::applied`] after it has queued a log entry's rows to the store (so a read
//! that follows the call sees them) and [`FeedSignal::installed`] after a checkpoint replaced the shard's rows. Calls
//! never block and coalesce: followers wake once for any number of entries and read up to the index they find. What is
//! to be read is found in the store by cursor, so a lost wake-up costs time, never data.
//!
//! One listener may also hear which entities an entry touched, at once and without a look at the store: people watching
//! a single order or stock level need not wait for the projections' next page.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::domain::ids::EntityId;
use crate::domain::time::Sequence;
use crate::persistence::log::GroupId;

/// How far a group's records are in this node's store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last log index whose rows are in the store.
    pub index: u64,
    /// How many checkpoints were installed since this node started; a change means rows were replaced wholesale.
    pub installs: u64,
}

/// Told an entity and its last record. Called while the group applies: must be quick and never block.
pub type OnTouched = Box<dyn Fn(&EntityId, Sequence) + Send + Sync>;

/// One watch per group. Cheap to clone; all clones are the same signal.
#[derive(Clone)]
pub struct FeedSignal {
    groups: Arc<BTreeMap<GroupId, watch::Sender<Applied>>>,
    /// Changes whenever any group does.
    any: watch::Sender<()>,
    touched: Arc<OnceLock<OnTouched>>,
}

impl FeedSignal {
    /// A signal for these groups, all at index 0. The groups of a cluster never change.
    pub fn new(groups: impl IntoIterator<Item = GroupId>) -> Self {
        let groups = groups.into_iter().map(|group| (group, watch::Sender::new(Applied::default()))).collect();
        Self { groups: Arc::new(groups), any: watch::Sender::new(()), touched: Arc::default() }
    }

    /// From now on tells this listener of every touched entity. Only the first listener is heard.
    pub fn listen(&self, listener: OnTouched) {
        let _ = self.touched.set(listener);
    }

    /// A record of an entity was applied; its rows are queued to the store.
    pub fn touched(&self, entity: &EntityId, last: Sequence) {
        if let Some(listener) = self.touched.get() {
            listener(entity, last);
        }
    }

    /// Rows up to and including `index` are queued to the store. Lower indexes than before are ignored.
    pub fn applied(&self, group: GroupId, index: u64) {
        self.change(group, |applied| {
            let newer = index > applied.index;
            applied.index = applied.index.max(index);
            newer
        });
    }

    /// A checkpoint labelled `index` replaced the group's rows.
    pub fn installed(&self, group: GroupId, index: u64) {
        self.change(group, |applied| {
            *applied = Applied { index, installs: applied.installs + 1 };
            true
        });
    }

    /// Follows one group. `None` when the group is not one of this signal's.
    pub fn subscribe(&self, group: GroupId) -> Option<watch::Receiver<Applied>> {
        self.groups.get(&group).map(watch::Sender::subscribe)
    }

    /// Wakes when any group has changed.
    pub fn subscribe_all(&self) -> watch::Receiver<()> {
        self.any.subscribe()
    }

    /// The groups of this signal, ascending.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.groups.keys().copied()
    }

    fn change(&self, group: GroupId, change: impl FnOnce(&mut Applied) -> bool) {
        let changed = self.groups.get(&group).is_some_and(|sender| sender.send_if_modified(change));
        if changed {
            self.any.send_modify(|()| ());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_applied_entries_wake_a_follower_once_with_the_last_index() {
        let signal = FeedSignal::new([GroupId(1), GroupId(2)]);
        let mut follower = signal.subscribe(GroupId(1)).unwrap();
        signal.applied(GroupId(1), 7);
        signal.applied(GroupId(1), 9);
        signal.applied(GroupId(1), 8);
        signal.applied(GroupId(2), 50);
        follower.changed().await.unwrap();
        assert_eq!(*follower.borrow_and_update(), Applied { index: 9, installs: 0 });
        assert!(!follower.has_changed().unwrap());
    }

    #[test]
    fn an_installed_checkpoint_is_told_apart_from_an_applied_entry() {
        let signal = FeedSignal::new([GroupId(1)]);
        let follower = signal.subscribe(GroupId(1)).unwrap();
        signal.installed(GroupId(1), 4);
        assert_eq!(*follower.borrow(), Applied { index: 4, installs: 1 });
        assert!(signal.subscribe(GroupId(3)).is_none());
    }
}
