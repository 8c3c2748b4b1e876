//! Trimming while others write.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use super::applier::Applier;
use super::keys;
use super::log::GroupId;
use super::memory::MemoryStore;
use super::records::{CommandRow, EntityBatch};
use super::store::{Reads, Row, Scan, Store, StoreError, WriteBatch};
use super::testkit::{batch, command_id, raft, stock};
use super::trim::{Retention, Trimmer};
use super::turns::Turns;
use crate::domain::entity::Fingerprint;
use crate::domain::time::{Sequence, Timestamp};

const GROUP: GroupId = GroupId(1);

/// A store in which something is applied as soon as a scan has found the row under this key.
struct Meanwhile {
    rows: Arc<MemoryStore>,
    key: Bytes,
    applied: Mutex<Option<(Applier, EntityBatch)>>,
}

#[async_trait]
impl Store for Meanwhile {
    async fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.rows.write(batch).await
    }

    async fn remove_unchanged(&self, rows: Vec<Row>) -> Result<u64, StoreError> {
        self.rows.remove_unchanged(rows).await
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, StoreError> {
        self.rows.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        let found = self.rows.scan(scan).await?;
        let is_found = found.len() == 1 && found[0].0 == self.key;
        let due = if is_found { self.applied.lock().unwrap().take() } else { None };
        if let Some((mut applier, batch)) = due {
            applier.apply(2, raft(), &[batch]).await.unwrap();
        }
        Ok(found)
    }

    async fn read(&self, reads: Reads) -> Result<(), StoreError> {
        self.rows.read(reads).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.rows.sync().await
    }

    fn queue_depth(&self) -> usize {
        0
    }

    async fn disk_bytes(&self) -> u64 {
        0
    }

    async fn close(&self) {}
}

/// The record `sequence` of an entity, asked for under one key.
fn keyed(sequence: u64, expires_at: u64) -> EntityBatch {
    let (fingerprint, expires_at) = (Fingerprint([1; 32]), Timestamp(expires_at));
    let row = CommandRow { command: command_id(7), fingerprint, sequence: Sequence(sequence), expires_at };
    EntityBatch { command_rows: vec![row], ..batch("TEA", sequence, sequence) }
}

#[tokio::test]
async fn a_key_used_anew_between_the_look_and_the_removal_is_still_known() {
    let rows = Arc::new(MemoryStore::new());
    let mut applier = Applier::open(rows.clone(), GROUP).await.unwrap();
    applier.apply(1, raft(), &[keyed(1, 100)]).await.unwrap();
    let key = keys::command(GROUP, &stock("TEA"), command_id(7));
    let applied = Mutex::new(Some((applier, keyed(2, 900))));
    let store = Arc::new(Meanwhile { rows: rows.clone(), key: key.clone(), applied });
    let retention = Retention { records: Default::default(), kept_for_ever: Default::default(), feed_rows_max: 10 };
    let trimmed = Trimmer::new(store.clone(), Turns::new(), retention).sweep(GROUP, Timestamp(150)).await.unwrap();
    assert!(store.applied.lock().unwrap().is_none(), "the race took place");
    let row = rows.get(key).await.unwrap().expect("the fresh row is there");
    let known = super::codec::decode_command_row(command_id(7), &row).unwrap();
    assert_eq!((known.sequence, known.expires_at, trimmed.commands), (Sequence(2), Timestamp(900), 0));
}
