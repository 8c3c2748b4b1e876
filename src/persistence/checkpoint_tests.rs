//! Checkpoints against stores that change while they are read, files that rot, and crashes while restoring.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use super::applier::Applier;
use super::checkpoint::{CheckpointError, CheckpointKeeper};
use super::files::{Files, MemoryFiles};
use super::keys;
use super::log::GroupId;
use super::memory::MemoryStore;
use super::records::EntityBatch;
use super::store::{Direction, Reads, Row, Scan, Store, StoreError, WriteBatch};
use super::testkit::{batch_waking, raft};
use super::turns::Turns;

const GROUP: GroupId = GroupId(4);

/// A store in which something else happens before every scan.
#[derive(Default)]
struct Busy {
    rows: MemoryStore,
    /// Writes that come in between, one per scan.
    meanwhile: Mutex<VecDeque<WriteBatch>>,
    /// Everything written through this store.
    written: Mutex<Vec<WriteBatch>>,
}

#[async_trait]
impl Store for Busy {
    async fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.written.lock().unwrap().push(batch.clone());
        self.rows.write(batch).await
    }
    async fn remove_unchanged(&self, rows: Vec<Row>) -> Result<u64, StoreError> {
        self.rows.remove_unchanged(rows).await
    }
    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, StoreError> {
        self.rows.get(key).await
    }
    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        let next = self.meanwhile.lock().unwrap().pop_front();
        if let Some(batch) = next {
            self.rows.write(batch).await?;
        }
        self.rows.scan(scan).await
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

/// Log entries of some entities over some rounds; every round one of them is refused.
fn entries(rounds: u64) -> Vec<Vec<EntityBatch>> {
    let entry = |round: u64| {
        let key = |name: u64| format!("SKU-{name:03}");
        let mut batches: Vec<_> = (0..60)
            .filter(|name| !(name + round).is_multiple_of(3))
            .map(|name| {
                let sequence = (0..=round).filter(|earlier| (name + earlier) % 3 != 0).count() as u64;
                batch_waking(&key(name), sequence, sequence, (round.is_multiple_of(2)).then_some(1000 + name + round))
            })
            .collect();
        batches.push(batch_waking(&key(99), 5, 5, None));
        batches
    };
    (0..rounds).map(entry).collect()
}

async fn apply(store: Arc<dyn Store>, entries: &[Vec<EntityBatch>]) {
    let mut applier = Applier::open(store, GROUP).await.unwrap();
    let from = applier.applied().map_or(0, |applied| applied + 1);
    for (index, batches) in (0..).zip(entries).skip(from as usize) {
        applier.apply(index, raft(), batches).await.unwrap();
    }
}

async fn dump(store: &dyn Store) -> Vec<Row> {
    let range = keys::group_range(GROUP);
    let (rows_max, bytes_max) = (usize::MAX, usize::MAX);
    let scan = Scan { from: range.from, to: range.to, direction: Direction::Forward, rows_max, bytes_max };
    store.scan(scan).await.unwrap()
}

fn keeper(files: &MemoryFiles, store: Arc<dyn Store>) -> CheckpointKeeper {
    CheckpointKeeper::new(Arc::new(files.clone()), store, Turns::new())
}

#[tokio::test]
async fn a_restored_group_has_the_same_rows() {
    let (files, original) = (MemoryFiles::new(), Arc::new(MemoryStore::new()));
    apply(original.clone(), &entries(12)).await;
    let made = keeper(&files, original.clone()).make(GROUP).await.unwrap();
    assert_eq!((made.group, made.index), (GROUP, 11));
    let copy = Arc::new(MemoryStore::new());
    apply(copy.clone(), &entries(3)).await;
    let applied = keeper(&files, copy.clone()).restore(&made).await.unwrap();
    assert_eq!((applied.index, applied.raft), (11, raft()));
    assert_eq!(dump(copy.as_ref()).await, dump(original.as_ref()).await);
}

#[tokio::test]
async fn a_checkpoint_of_a_changing_group_and_the_log_behind_its_label_give_the_final_state() {
    let all = entries(30);
    let recording = Arc::new(Busy::default());
    apply(recording.clone(), &all).await;
    let written = recording.written.lock().unwrap().clone();
    for already in [1, 10, 20] {
        let busy = Busy::default();
        for batch in &written[..already] {
            busy.rows.write(batch.clone()).await.unwrap();
        }
        busy.meanwhile.lock().unwrap().extend(written[already..].iter().cloned());
        let files = MemoryFiles::new();
        let made = keeper(&files, Arc::new(busy)).make(GROUP).await.unwrap();
        assert_eq!(made.index, already as u64 - 1, "labelled with what was applied before");
        let copy = Arc::new(MemoryStore::new());
        keeper(&files, copy.clone()).restore(&made).await.unwrap();
        apply(copy.clone(), &all).await;
        assert_eq!(dump(copy.as_ref()).await, dump(recording.as_ref()).await, "from entry {already}");
    }
}

#[tokio::test]
async fn every_flipped_byte_and_every_cut_of_a_checkpoint_is_noticed() {
    let (files, store) = (MemoryFiles::new(), Arc::new(MemoryStore::new()));
    apply(store.clone(), &entries(2)).await;
    let keeper = keeper(&files, store);
    let made = keeper.make(GROUP).await.unwrap();
    let intact = files.read(&made.name, 0, usize::MAX).await.unwrap();
    for position in 0..intact.len() {
        let mut damaged = intact.to_vec();
        damaged[position] ^= 1 << (position % 8);
        assert!(keeper.receive(GROUP, made.index, damaged).await.is_err(), "byte {position} went unnoticed");
    }
    for length in (0..intact.len()).step_by(7) {
        let cut = intact[..length].to_vec();
        assert!(keeper.receive(GROUP, made.index, cut).await.is_err(), "cut at {length}");
    }
    let mut longer = intact.to_vec();
    longer.push(0);
    assert!(keeper.receive(GROUP, made.index, longer).await.is_err());
    assert!(keeper.receive(GROUP, made.index + 1, intact.to_vec()).await.is_err(), "under another label");
    assert!(keeper.receive(GroupId(5), made.index, intact.to_vec()).await.is_err(), "as another group");
    keeper.receive(GROUP, made.index, intact.to_vec()).await.unwrap();
}

#[tokio::test]
async fn two_are_kept_and_the_log_goes_behind_the_older_good_one() {
    let (files, store) = (MemoryFiles::new(), Arc::new(MemoryStore::new()));
    let keeper = keeper(&files, store.clone());
    assert!(matches!(keeper.make(GROUP).await, Err(CheckpointError::Empty { group: GROUP })));
    for rounds in [2, 4, 6] {
        assert_eq!(keeper.purgeable_before(GROUP).await.unwrap(), (rounds == 6).then_some(2));
        apply(store.clone(), &entries(rounds)).await;
        keeper.make(GROUP).await.unwrap();
    }
    let kept: Vec<_> = keeper.list(GROUP).await.unwrap().iter().map(|checkpoint| checkpoint.index).collect();
    assert_eq!(kept, [5, 3]);
    assert_eq!(keeper.purgeable_before(GROUP).await.unwrap(), Some(4));
    let newest = keeper.newest_good(GROUP).await.unwrap().unwrap();
    let mut rotten = files.read(&newest.name, 0, usize::MAX).await.unwrap().to_vec();
    rotten[100] ^= 1;
    let mut writer = files.create(&newest.name).await.unwrap();
    writer.append(rotten).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(keeper.newest_good(GROUP).await.unwrap().unwrap().index, 3, "the older one steps in");
    let refused = keeper.purgeable_before(GROUP).await.unwrap_err().to_string();
    assert!(refused.contains(&newest.name) && refused.contains("at byte"), "{refused}");
}

#[tokio::test]
async fn a_restore_that_stops_half_way_leaves_nothing_applied() {
    let (files, original) = (MemoryFiles::new(), Arc::new(MemoryStore::new()));
    apply(original.clone(), &entries(12)).await;
    let made = keeper(&files, original.clone()).make(GROUP).await.unwrap();
    let recording = Arc::new(Busy::default());
    apply(recording.clone(), &entries(3)).await;
    let before = recording.written.lock().unwrap().len();
    keeper(&files, recording.clone()).restore(&made).await.unwrap();
    let written = recording.written.lock().unwrap().clone();
    assert!(written.len() > before + 2);
    let crashed = MemoryStore::new();
    for (number, batch) in written[..written.len() - 1].iter().enumerate() {
        crashed.write(batch.clone()).await.unwrap();
        let applied = crashed.get(keys::applied(GROUP)).await.unwrap();
        assert_eq!(applied.is_some(), number < before, "after write {number}");
    }
}
