//! Reading while the folder and the trimmer are at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::journal::Journal;
use super::keys;
use super::log::GroupId;
use super::memory::MemoryStore;
use super::store::{Reads, Scan, Store, StoreError, WriteBatch};
use super::testkit::{batch, raft, stock};
use super::turns::Turns;
use crate::domain::time::Sequence;
use crate::persistence::applier::Applier;
use crate::persistence::fold::Folder;
use crate::persistence::store::Row;

const GROUP: GroupId = GroupId(1);

/// More records than one message to the store brings.
const LAST: u64 = 1_500;

/// A store in which, after the first message that reads a long journal, everything is folded into a newer snapshot and
/// the records are gone.
struct Racing {
    inner: Arc<MemoryStore>,
    armed: AtomicBool,
}

impl Racing {
    async fn fold_and_trim(&self) {
        let folder = Folder::new(self.inner.clone(), Turns::new());
        folder.fold(GROUP, &stock("TEA")).await.unwrap().expect("something to fold");
        let mut rows = WriteBatch::default();
        (1..=LAST).for_each(|first| rows.delete(keys::batch(GROUP, &stock("TEA"), Sequence(first))));
        self.inner.write(rows).await.unwrap();
    }
}

#[async_trait]
impl Store for Racing {
    async fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.inner.write(batch).await
    }

    async fn remove_unchanged(&self, rows: Vec<Row>) -> Result<u64, StoreError> {
        self.inner.remove_unchanged(rows).await
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.inner.scan(scan).await
    }

    async fn read(&self, reads: Reads) -> Result<(), StoreError> {
        let read = self.inner.read(reads).await;
        if self.armed.swap(false, Ordering::SeqCst) {
            self.fold_and_trim().await;
        }
        read
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync().await
    }

    fn queue_depth(&self) -> usize {
        0
    }

    async fn disk_bytes(&self) -> u64 {
        0
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn a_journal_folded_and_trimmed_while_it_is_read_is_read_again() {
    let inner = Arc::new(MemoryStore::new());
    let mut applier = Applier::open(inner.clone(), GROUP).await.unwrap();
    applier.apply(1, raft(), &[batch("TEA", 1, 2)]).await.unwrap();
    Folder::new(inner.clone(), Turns::new()).fold(GROUP, &stock("TEA")).await.unwrap();
    for sequence in 3..=LAST {
        applier.apply(sequence, raft(), &[batch("TEA", sequence, sequence)]).await.unwrap();
    }
    let store = Arc::new(Racing { inner, armed: AtomicBool::new(true) });
    let loaded = Journal::new(store.clone()).load(GROUP, &stock("TEA")).await.unwrap();
    assert!(!store.armed.load(Ordering::SeqCst), "the race took place");
    let snapshot = loaded.snapshot.expect("there is one").sequence;
    assert_eq!((snapshot, loaded.records.len()), (Sequence(LAST), 0));
}
