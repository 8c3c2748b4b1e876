//! How far each endpoint of outgoing webhooks is, in the store beside the lists but not among what they drop (P29).
//!
//! ```text
//! ffffffff ‖ 80 ‖ endpoint's name ‖ 00 ‖ group u32 BE  → log index, everything up to it was taken by the endpoint
//! ```
//!
//! A cursor is written after the endpoint has taken what is before it, and never synced by itself: a crash may leave an
//! older one, which sends some events again under their ids. It is never ahead of what was taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::persistence::codec::DecodeError;
use crate::persistence::envelope::{self, ValueKind};
use crate::persistence::log::GroupId;
use crate::persistence::store::{Direction, Scan, Store, StoreError, WriteBatch};

const PREFIX: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x80];
const VERSION: u16 = 1;

/// Why a cursor cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CursorError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row does not hold what was written.
    #[error("webhook cursor damaged: {0}")]
    Damaged(#[from] DecodeError),
}

/// The cursors of one endpoint.
#[derive(Clone)]
pub struct WebhookCursors {
    store: Arc<dyn Store>,
    endpoint: String,
}

impl WebhookCursors {
    /// Those of the endpoint of this name, which has no zero byte.
    pub fn new(store: Arc<dyn Store>, endpoint: &str) -> Self {
        Self { store, endpoint: endpoint.to_owned() }
    }

    /// All of them.
    pub async fn read(&self) -> Result<BTreeMap<GroupId, u64>, CursorError> {
        let (from, to) = (self.key(GroupId(0)), self.key(GroupId(u32::MAX)));
        let scan = Scan { from, to, direction: Direction::Forward, rows_max: usize::MAX, bytes_max: usize::MAX };
        let mut cursors = BTreeMap::new();
        for (key, value) in self.store.scan(scan).await? {
            let group = key.last_chunk::<4>().map_or(u32::MAX, |group| u32::from_be_bytes(*group));
            cursors.insert(GroupId(group), decode(&value)?);
        }
        Ok(cursors)
    }

    /// Everything up to these log indexes was taken.
    pub async fn write(&self, taken: &BTreeMap<GroupId, u64>) -> Result<(), CursorError> {
        let mut batch = WriteBatch::default();
        for (group, index) in taken {
            batch.put(self.key(*group), envelope::seal(ValueKind::WebhookCursor, VERSION, &index.to_be_bytes()));
        }
        Ok(self.store.write(batch).await?)
    }

    /// Returns once everything written would survive a power cut.
    pub async fn sync(&self) -> Result<(), CursorError> {
        Ok(self.store.sync().await?)
    }

    fn key(&self, group: GroupId) -> Bytes {
        let mut key = PREFIX.to_vec();
        key.extend_from_slice(self.endpoint.as_bytes());
        key.push(0);
        key.extend(group.0.to_be_bytes());
        key.into()
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Result<u64, DecodeError> {
    let opened = envelope::open(ValueKind::WebhookCursor, bytes)?;
    if opened.version != VERSION {
        return Err(DecodeError::UnknownVersion { version: opened.version, newest: VERSION });
    }
    let index = opened.payload.try_into();
    index.map(u64::from_be_bytes).map_err(|_| DecodeError::Malformed { reason: "a cursor has eight bytes".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::memory::MemoryStore;
    use crate::projections::lists::ListWriter;

    #[tokio::test]
    async fn endpoints_have_cursors_of_their_own_which_lists_do_not_drop() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (till, stock) = (WebhookCursors::new(store.clone(), "till"), WebhookCursors::new(store.clone(), "till-2"));
        till.write(&[(GroupId(1), 7), (GroupId(2), 9)].into()).await.unwrap();
        till.write(&[(GroupId(1), 8)].into()).await.unwrap();
        stock.write(&[(GroupId(3), 1)].into()).await.unwrap();
        ListWriter::open(store).await.unwrap().drop_everything().await.unwrap();
        assert_eq!(till.read().await.unwrap(), [(GroupId(1), 8), (GroupId(2), 9)].into());
        assert_eq!(stock.read().await.unwrap(), [(GroupId(3), 1)].into());
    }

    #[test]
    fn bytes_are_pinned() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let key = WebhookCursors::new(store, "till").key(GroupId(3));
        assert_eq!(hex::encode(key), "ffffffff8074696c6c0000000003");
        let sealed = envelope::seal(ValueKind::WebhookCursor, VERSION, &258_u64.to_be_bytes());
        assert_eq!(hex::encode(&sealed[envelope::HEADER_BYTES..]), "0000000000000102");
        assert_eq!(decode(&sealed), Ok(258));
    }
}
