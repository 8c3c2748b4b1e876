//! Wakes whoever watches one entity, e.g. an event stream to a browser, when its journal has grown.
//!
//! A watcher learns the latest sequence and re-reads; changes in between coalesce, so a slow watcher costs nothing and
//! never falls behind by more than one reading. Nothing is stored: at most one entry per watched entity.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::domain::ids::EntityId;
use crate::domain::time::Sequence;

/// An entity's journal has grown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityChanged {
    /// Whose.
    pub entity: EntityId,
    /// Its last record known to this node.
    pub sequence: Sequence,
}

/// Who watches what on this node. Cheap to clone; all clones are the same hub.
#[derive(Clone, Default)]
pub struct EntityHub {
    watched: Arc<Mutex<BTreeMap<EntityId, watch::Sender<Sequence>>>>,
}

impl EntityHub {
    /// Watches an entity from now on. Read its state after this call, then wait: nothing is missed.
    pub fn watch(&self, entity: &EntityId) -> EntityWatch {
        let sequence = self.with(|watched| watched.entry(entity.clone()).or_default().subscribe());
        EntityWatch { entity: entity.clone(), sequence: Some(sequence), hub: self.clone() }
    }

    /// Tells the watchers of an entity. A sequence that is not new tells nobody.
    pub fn publish(&self, entity: &EntityId, sequence: Sequence) {
        self.with(|watched| {
            if let Some(sender) = watched.get(entity) {
                sender.send_if_modified(|known| {
                    let is_new = sequence > *known;
                    *known = sequence.max(*known);
                    is_new
                });
            }
        });
    }

    /// Wakes every watcher to look again: what this node knows was replaced wholesale.
    pub fn wake_all(&self) {
        self.with(|watched| watched.values().for_each(|sender| sender.send_modify(|_| ())));
    }

    /// How many entities are watched.
    pub fn watched_count(&self) -> usize {
        self.with(|watched| watched.len())
    }

    fn with<T>(&self, action: impl FnOnce(&mut BTreeMap<EntityId, watch::Sender<Sequence>>) -> T) -> T {
        action(&mut self.watched.lock().expect("no code panics while holding this lock"))
    }
}

/// One watcher of one entity; ends when dropped.
pub struct EntityWatch {
    entity: EntityId,
    /// `None` only while being dropped.
    sequence: Option<watch::Receiver<Sequence>>,
    hub: EntityHub,
}

impl EntityWatch {
    /// Waits until the entity has changed since the last call, or must be read again. Cancel-safe.
    pub async fn changed(&mut self) -> EntityChanged {
        let receiver = self.sequence.as_mut().expect("present until dropped");
        receiver.changed().await.expect("the hub keeps the sender while somebody watches");
        EntityChanged { entity: self.entity.clone(), sequence: *receiver.borrow_and_update() }
    }
}

impl Drop for EntityWatch {
    fn drop(&mut self) {
        self.sequence = None;
        self.hub.with(|watched| {
            if watched.get(&self.entity).is_some_and(watch::Sender::is_closed) {
                watched.remove(&self.entity);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(key: &str) -> EntityId {
        EntityId { kind: crate::domain::registry::Kind::Order, key: key.into() }
    }

    #[tokio::test]
    async fn changes_coalesce_to_the_latest_sequence() {
        let hub = EntityHub::default();
        let mut watch = hub.watch(&order("a"));
        hub.publish(&order("a"), Sequence(1));
        hub.publish(&order("a"), Sequence(3));
        hub.publish(&order("a"), Sequence(2));
        hub.publish(&order("b"), Sequence(9));
        assert_eq!(watch.changed().await, EntityChanged { entity: order("a"), sequence: Sequence(3) });
        assert!(futures::FutureExt::now_or_never(watch.changed()).is_none());
    }

    #[tokio::test]
    async fn a_wholesale_replacement_wakes_everybody() {
        let hub = EntityHub::default();
        let mut watch = hub.watch(&order("a"));
        hub.wake_all();
        assert_eq!(watch.changed().await.sequence, Sequence::ZERO);
    }

    #[test]
    fn an_entity_nobody_watches_any_more_is_forgotten() {
        let hub = EntityHub::default();
        let (first, second) = (hub.watch(&order("a")), hub.watch(&order("a")));
        drop(first);
        assert_eq!(hub.watched_count(), 1);
        drop(second);
        assert_eq!(hub.watched_count(), 0);
    }
}
