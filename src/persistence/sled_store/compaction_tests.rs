//! The store while its file is made anew, and after a crash at every step of that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::persistence::conformance::{StoreHost, store_suite};
use crate::persistence::store::Direction;

/// So small that every flush begins a copy.
const ALWAYS: u64 = 1;

fn compacting(compact_bytes_min: u64) -> StoreOptions {
    StoreOptions { compact_bytes_min, reserve_bytes: 0 }
}

fn everything() -> Scan {
    Scan {
        from: Bytes::new(),
        to: Bytes::from_static(&[0xff]),
        direction: Direction::Forward,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
    }
}

async fn rows(store: &SledStore) -> BTreeMap<Bytes, Bytes> {
    store.scan(everything()).await.unwrap().into_iter().collect()
}

/// Replaces and removes rows, some far apart; tells the model too.
async fn churn(store: &SledStore, model: &mut BTreeMap<Bytes, Bytes>, round: u64) {
    let mut batch = WriteBatch::default();
    for row in 0..8 {
        let key = Bytes::from(format!("row{:05}", (round * 7919 + row * 613) % 3000));
        let value = Bytes::from(vec![(round % 251) as u8; 1500]);
        batch.put(key.clone(), value.clone());
        model.insert(key, value);
    }
    let gone = Bytes::from(format!("row{:05}", (round * 31) % 3000));
    batch.delete(gone.clone());
    model.remove(&gone);
    store.write(batch).await.unwrap();
}

fn file_bytes(directory: &Path) -> u64 {
    fs::metadata(directory.join("db")).unwrap().len()
}

fn beside(directory: &Path, what: &str) -> PathBuf {
    directory.with_extension(what)
}

/// Gives the owner pauses to copy in until it has changed over.
async fn until_compacted(store: &SledStore, directory: &Path) {
    for _ in 0..2000 {
        if directory.join("COMPACTED").exists() && !beside(directory, "next").exists() {
            return;
        }
        store.get("nothing".into()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the store was not made anew");
}

#[tokio::test]
async fn the_file_stops_growing_and_every_read_is_right_meanwhile() {
    const MIN: u64 = 8 << 20;
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("sled");
    let store = SledStore::open(&directory, compacting(MIN)).unwrap();
    let (mut model, mut largest) = (BTreeMap::new(), 0);
    for round in 0..6000 {
        churn(&store, &mut model, round).await;
        if round % 100 == 0 {
            let probe = Bytes::from(format!("row{:05}", round % 3000));
            assert!(store.get(probe.clone()).await.unwrap() == model.get(&probe).cloned(), "in round {round}");
            largest = largest.max(file_bytes(&directory));
        }
        if round % 1000 == 0 {
            assert!(rows(&store).await == model, "in round {round}");
        }
    }
    until_compacted(&store, &directory).await;
    assert!(rows(&store).await == model);
    store.close().await;
    let live: usize = model.iter().map(|(key, value)| key.len() + value.len()).sum();
    let written = 6000 * 8 * 1500;
    assert!(largest < 8 * live as u64, "{live} bytes of rows, {written} written, took {largest} bytes");
    let store = SledStore::open(&directory, compacting(MIN)).unwrap();
    assert!(rows(&store).await == model, "after a new start");
}

#[tokio::test]
async fn a_crash_while_copying_leaves_the_store_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("sled");
    let store = SledStore::open(&directory, StoreOptions::default()).unwrap();
    let mut model = BTreeMap::new();
    churn(&store, &mut model, 1).await;
    store.close().await;
    fs::create_dir(beside(&directory, "next")).unwrap();
    fs::write(beside(&directory, "next").join("db"), "half a copy").unwrap();
    let store = SledStore::open(&directory, StoreOptions::default()).unwrap();
    assert!(rows(&store).await == model);
    assert!(!beside(&directory, "next").exists());
}

#[tokio::test]
async fn a_crash_between_the_renamings_is_made_up_for() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("sled");
    let mut model = BTreeMap::new();
    for name in ["old", "next"] {
        let made = root.path().join("made");
        let store = SledStore::open(&made, StoreOptions::default()).unwrap();
        churn(&store, &mut model, 1).await;
        store.close().await;
        fs::rename(made, beside(&directory, name)).unwrap();
    }
    let store = SledStore::open(&directory, StoreOptions::default()).unwrap();
    assert!(rows(&store).await == model);
    assert!(!beside(&directory, "next").exists() && !beside(&directory, "old").exists());
    store.close().await;
    // The other crash: renamed, the old one not yet removed.
    fs::create_dir(beside(&directory, "old")).unwrap();
    let store = SledStore::open(&directory, StoreOptions::default()).unwrap();
    assert!(rows(&store).await == model);
    assert!(!beside(&directory, "old").exists());
}

#[tokio::test]
async fn a_copy_that_fails_is_thrown_away_and_the_store_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("sled");
    // Nothing can be copied to where a file is in the way of every attempt to remove it.
    let store = SledStore::open(&directory, compacting(ALWAYS)).unwrap();
    fs::write(beside(&directory, "next"), "in the way").unwrap();
    let mut model = BTreeMap::new();
    for round in 0..50 {
        churn(&store, &mut model, round).await;
        store.sync().await.unwrap();
    }
    assert!(rows(&store).await == model);
    assert!(!directory.join("COMPACTED").exists());
}

#[tokio::test]
async fn a_copy_never_takes_the_room_that_is_kept_free() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("sled");
    let store =
        SledStore::open(&directory, StoreOptions { compact_bytes_min: ALWAYS, reserve_bytes: 1 << 60 }).unwrap();
    let mut model = BTreeMap::new();
    for round in 0..20 {
        churn(&store, &mut model, round).await;
        store.sync().await.unwrap();
        assert!(!beside(&directory, "next").exists());
    }
    assert!(rows(&store).await == model && !directory.join("COMPACTED").exists());
}

/// Opens a copy of the directory each time, every flush beginning a copy of its own.
#[derive(Default)]
struct Compacting {
    directories: Vec<tempfile::TempDir>,
    running: Option<Arc<SledStore>>,
}

#[async_trait]
impl StoreHost for Compacting {
    async fn open(&mut self) -> Option<Arc<dyn Store>> {
        if let Some(store) = self.running.take() {
            store.close().await;
        } else {
            self.directories.push(tempfile::tempdir().unwrap());
        }
        let directory = self.directories.last().unwrap().path().join("sled");
        let store = Arc::new(SledStore::open(&directory, compacting(ALWAYS)).unwrap());
        self.running = Some(store.clone());
        Some(store)
    }
}

#[tokio::test]
async fn a_store_that_is_always_being_made_anew_conforms() {
    store_suite(&mut Compacting::default()).await;
}
