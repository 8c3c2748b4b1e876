//! Everything on disk, opened together so that it fits together: store, checkpoints, log.
//!
//! The order matters. The store is opened first, because it knows how far the log must reach. If sled's files are
//! missing, damaged or cannot be opened, they are set aside and every group is restored from its newest good
//! checkpoint; Raft then replays the log behind it (nothing is lost, one warning is logged). Then the log is opened and
//! verified against what the store has applied. Last, a store that ends before the log begins (an old copy put back)
//! is brought forward by a checkpoint.
//!
//! Refuses, naming what and where: a log that lost its tail, and a gap between log and checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::checkpoint::{CheckpointError, CheckpointKeeper};
use super::datadir::{DataDir, DataDirError};
use super::files::DiskFiles;
use super::journal::{Journal, JournalError};
use super::log::{GroupId, Log, LogError};
use super::raft_engine_log::{LogOptions, RaftEngineLog};
use super::sled_store::{SledStore, StoreOptions, settle_renaming};
use super::store::{Store, StoreError};
use super::turns::Turns;

/// Why what is on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The directory.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store, even after a rebuild.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's content, even after a rebuild.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint directory.
    #[error("cannot open the checkpoint directory: {0}")]
    Files(#[from] io::Error),
    /// Nothing on disk holds these entries of a group.
    #[error(
        "entries {missing_from} to {} of group {group} are neither in the log nor in a good checkpoint; restore a \
         backup, or let this node join again as an empty replica",
        log_first - 1
    )]
    Gap {
        /// Which group.
        group: GroupId,
        /// The first entry that is nowhere.
        missing_from: u64,
        /// The first entry of the log.
        log_first: u64,
    },
}

/// A node's storage.
#[derive(Clone)]
pub struct Storage {
    /// The replicated truth.
    pub log: Arc<RaftEngineLog>,
    /// What actors recover from.
    pub store: Arc<SledStore>,
    /// Checkpoints of all groups.
    pub checkpoints: CheckpointKeeper,
    /// Turns at upkeep, to be shared with the folder.
    pub turns: Turns,
    /// Why the store was rebuilt at this start, if it was.
    pub rebuilt: Option<String>,
}

impl Storage {
    /// Opens everything in a data directory, repairing what can be repaired. The log is reclaimed
    /// beyond `log_bytes_max`.
    pub async fn open(data: &DataDir, log_bytes_max: u64, options: StoreOptions) -> Result<Self, StorageError> {
        let turns = Turns::new();
        let files = Arc::new(DiskFiles::open(&data.checkpoints())?);
        let (mut store, mut rebuilt) = open_store(data, options)?;
        let mut checkpoints = CheckpointKeeper::new(files.clone(), store.clone(), turns.clone());
        let applied = match restore_missing(&(store.clone() as Arc<dyn Store>), &checkpoints).await {
            Ok(applied) => applied,
            Err(error) if is_store_damage(&error) && rebuilt.is_none() => {
                store.close().await;
                (store, rebuilt) = set_aside(data, options, &error.to_string())?;
                checkpoints = CheckpointKeeper::new(files, store.clone(), turns.clone());
                restore_missing(&(store.clone() as Arc<dyn Store>), &checkpoints).await?
            }
            Err(error) => return Err(error),
        };
        let log_options = LogOptions {
            directory: data.log(),
            set_aside: data.set_aside(),
            purge_threshold_bytes: log_bytes_max,
            applied: applied.clone(),
        };
        let log = Arc::new(RaftEngineLog::open(&log_options)?);
        for group in log.groups() {
            bring_forward(&*log, &checkpoints, group, applied.get(&group).copied()).await?;
        }
        Ok(Self { log, store, checkpoints, turns, rebuilt })
    }

    /// Flushes and closes both engines; the directory can then be opened again.
    pub async fn close(&self) {
        self.log.close().await;
        self.store.close().await;
    }
}

/// Opens the store, or sets it aside and opens an empty one. A store that is gone although there is a log is told of.
fn open_store(data: &DataDir, options: StoreOptions) -> Result<(Arc<SledStore>, Option<String>), StorageError> {
    settle_renaming(&data.store())?;
    if !data.store().exists() && data.log().exists() {
        let reason = "the store is missing";
        count_rebuild();
        tracing::warn!(reason, "the store cannot be used; rebuilding it from checkpoints and log");
        return Ok((Arc::new(SledStore::open(&data.store(), options)?), Some(reason.to_owned())));
    }
    match SledStore::open(&data.store(), options) {
        Ok(store) => Ok((Arc::new(store), None)),
        Err(error @ (StoreError::Damaged { .. } | StoreError::Io { .. })) => {
            set_aside(data, options, &error.to_string())
        }
        Err(other) => Err(other.into()),
    }
}

fn set_aside(
    data: &DataDir,
    options: StoreOptions,
    reason: &str,
) -> Result<(Arc<SledStore>, Option<String>), StorageError> {
    let aside = data.move_aside(&data.store())?;
    let aside = aside.display();
    count_rebuild();
    tracing::warn!(reason, %aside, "the store cannot be used; rebuilding it from checkpoints and log");
    Ok((Arc::new(SledStore::open(&data.store(), options)?), Some(reason.to_owned())))
}

fn count_rebuild() {
    metrics::counter!("stockroom_rebuilds_total", "what" => "store").increment(1);
}

/// Restores every group that has a checkpoint but nothing in the store, and says how far each group is applied.
async fn restore_missing(
    store: &Arc<dyn Store>,
    checkpoints: &CheckpointKeeper,
) -> Result<BTreeMap<GroupId, u64>, StorageError> {
    let journal = Journal::new(store.clone());
    let mut groups: BTreeSet<_> = journal.groups().await?.into_iter().collect();
    groups.extend(checkpoints.list_all().await?.into_iter().map(|checkpoint| checkpoint.group));
    let mut all = BTreeMap::new();
    for group in groups {
        let applied = match journal.applied(group).await? {
            Some(applied) => Some(applied),
            None => restore_newest(checkpoints, group).await?,
        };
        if let Some(applied) = applied {
            all.insert(group, applied.index);
        }
    }
    Ok(all)
}

async fn restore_newest(
    checkpoints: &CheckpointKeeper,
    group: GroupId,
) -> Result<Option<super::codec::Applied>, StorageError> {
    match checkpoints.newest_good(group).await? {
        Some(checkpoint) => {
            tracing::warn!(%group, file = checkpoint.name, "restoring a group of the store from its checkpoint");
            Ok(Some(checkpoints.restore(&checkpoint).await?))
        }
        None => {
            checkpoints.clear(group).await?;
            Ok(None)
        }
    }
}

/// Sees to it that what the store has applied of a group meets the beginning of its log.
async fn bring_forward(
    log: &dyn Log,
    checkpoints: &CheckpointKeeper,
    group: GroupId,
    applied: Option<u64>,
) -> Result<(), StorageError> {
    let log_first = log.range(group).await?.first;
    let mut next = applied.map_or(0, |applied| applied + 1);
    if next < log_first {
        let restored = restore_newest(checkpoints, group).await?;
        next = restored.map_or(0, |applied| applied.index + 1);
    }
    if next < log_first { Err(StorageError::Gap { group, missing_from: next, log_first }) } else { Ok(()) }
}

/// Makes a store and a log that are open agree, as a node's start does: groups the store lost come back from their
/// checkpoints, and nothing is missing between what the store has and where the log begins.
pub async fn reconcile(
    log: &dyn Log,
    store: &Arc<dyn Store>,
    checkpoints: &CheckpointKeeper,
) -> Result<(), StorageError> {
    let applied = restore_missing(store, checkpoints).await?;
    for group in log.ranges().await?.into_keys() {
        bring_forward(log, checkpoints, group, applied.get(&group).copied()).await?;
    }
    Ok(())
}

fn is_store_damage(error: &StorageError) -> bool {
    matches!(
        error,
        StorageError::Store(StoreError::Damaged { .. })
            | StorageError::Journal(JournalError::Damaged { .. } | JournalError::Store(StoreError::Damaged { .. }))
            | StorageError::Checkpoint(CheckpointError::Store(StoreError::Damaged { .. }))
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::persistence::applier::Applier;
    use crate::persistence::codec;
    use crate::persistence::log::LogEntry;
    use crate::persistence::testkit::{batch, raft, record, stock};

    const GROUP: GroupId = GroupId(2);
    const LOG_BYTES_MAX: u64 = 64 << 20;

    /// Appends one entry with the next record of every one of five entities and applies it, as Raft would.
    async fn commit(storage: &Storage, applier: &mut Applier) {
        let index = storage.log.range(GROUP).await.unwrap().next;
        let batches: Vec<_> = (0..5).map(|name| batch(&format!("SKU-{name}"), index + 1, index + 1)).collect();
        let entry = LogEntry { index, bytes: codec::encode_entry(&batches) };
        let (done, flushed) = tokio::sync::oneshot::channel();
        storage.log.append(GROUP, vec![entry], Box::new(move |result| drop(done.send(result))));
        flushed.await.unwrap().unwrap();
        applier.apply(index, raft(), &batches).await.unwrap();
    }

    /// What Raft does at start: applies the log behind what the store has.
    async fn replay(storage: &Storage) -> Applier {
        let mut applier = Applier::open(storage.store.clone(), GROUP).await.unwrap();
        let from = applier.applied().map_or(0, |applied| applied + 1);
        for entry in storage.log.read(GROUP, from, u64::MAX, usize::MAX).await.unwrap() {
            let batches = codec::decode_entry(&entry.bytes).unwrap();
            applier.apply(entry.index, raft(), &batches).await.unwrap();
        }
        applier
    }

    async fn assert_holds(storage: &Storage, count: u64) {
        let journal = Journal::new(storage.store.clone());
        for name in 0..5 {
            let loaded = journal.load(GROUP, &stock(&format!("SKU-{name}"))).await.unwrap();
            assert_eq!(loaded.records, (1..=count).map(record).collect::<Vec<_>>(), "SKU-{name}");
        }
    }

    /// Thirty entries, checkpoints after ten and twenty, the log purged behind the first.
    async fn filled(root: &Path) {
        let data = DataDir::open(root).unwrap();
        let storage = Storage::open(&data, LOG_BYTES_MAX, StoreOptions::default()).await.unwrap();
        let mut applier = replay(&storage).await;
        for number in 1..=30 {
            commit(&storage, &mut applier).await;
            if number % 10 == 0 && number < 30 {
                storage.checkpoints.make(GROUP).await.unwrap();
            }
        }
        let before = storage.checkpoints.purgeable_before(GROUP).await.unwrap();
        assert_eq!(before, Some(10));
        storage.log.purge(GROUP, 10).await.unwrap();
        storage.close().await;
    }

    async fn assert_recovers(root: &Path, rebuilt: bool) {
        let data = DataDir::open(root).unwrap();
        let storage = Storage::open(&data, LOG_BYTES_MAX, StoreOptions::default()).await.unwrap();
        assert_eq!(storage.rebuilt.is_some(), rebuilt, "{:?}", storage.rebuilt);
        replay(&storage).await;
        assert_holds(&storage, 30).await;
        storage.close().await;
    }

    #[tokio::test]
    async fn a_missing_store_is_rebuilt_from_checkpoint_and_log() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path()).await;
        assert_recovers(root.path(), false).await;
        fs::remove_dir_all(root.path().join("sled")).unwrap();
        assert_recovers(root.path(), true).await;
        assert_recovers(root.path(), false).await;
    }

    /// Locks a file as a child of this process does that has a copy of it, for a moment.
    #[allow(clippy::disallowed_methods, reason = "somebody else, who takes their time")]
    fn hold(file: PathBuf) -> std::thread::JoinHandle<()> {
        let held = fs::OpenOptions::new().write(true).open(file).unwrap();
        assert!(fs4::fs_std::FileExt::try_lock_exclusive(&held).unwrap());
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            drop(held);
        })
    }

    #[tokio::test]
    async fn locks_held_for_a_moment_by_somebody_who_is_going_are_waited_for() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path()).await;
        let holders = [root.path().join("sled").join("db"), root.path().join("log").join("LOCK")].map(hold);
        assert_recovers(root.path(), false).await;
        holders.into_iter().for_each(|holder| holder.join().unwrap());
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_opened_is_set_aside_and_rebuilt() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path()).await;
        fs::rename(root.path().join("sled"), root.path().join("elsewhere")).unwrap();
        fs::write(root.path().join("sled"), "not even a directory").unwrap();
        assert_recovers(root.path(), true).await;
        assert!(root.path().join("set-aside").join("sled.1").is_file(), "what could not be opened is kept");
        assert_recovers(root.path(), false).await;
    }

    /// Flips bits of the store's file at the positions chosen; answers how long its live part is.
    fn damage_store(root: &Path, choose: impl Fn(usize) -> bool) -> usize {
        let database = root.join("sled").join("db");
        let mut bytes = fs::read(&database).unwrap();
        let live = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        (0..live).filter(|position| choose(*position)).for_each(|position| bytes[position] ^= 1);
        fs::write(&database, bytes).unwrap();
        live
    }

    #[tokio::test]
    async fn whatever_byte_of_the_store_rots_nothing_acknowledged_is_missing() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path()).await;
        let live = damage_store(root.path(), |_| false);
        for at in (0..live).step_by(live / 24) {
            damage_store(root.path(), |position| position == at);
            let data = DataDir::open(root.path()).unwrap();
            let storage = Storage::open(&data, LOG_BYTES_MAX, StoreOptions::default()).await.unwrap();
            replay(&storage).await;
            assert_holds(&storage, 30).await;
            storage.close().await;
        }
    }

    #[tokio::test]
    async fn a_store_that_was_marked_damaged_is_not_trusted_again() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path()).await;
        fs::write(root.path().join("sled").join("DAMAGED"), "a page could not be read").unwrap();
        assert_recovers(root.path(), true).await;
    }

    #[tokio::test]
    async fn a_store_that_lost_a_row_in_the_middle_gives_up_and_is_made_again_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path()).await;
        let data = DataDir::open(root.path()).unwrap();
        let storage = Storage::open(&data, LOG_BYTES_MAX, StoreOptions::default()).await.unwrap();
        let mut rot = crate::persistence::store::WriteBatch::default();
        let sequence = crate::domain::time::Sequence(5);
        rot.delete(crate::persistence::keys::batch(GROUP, &stock("SKU-1"), sequence));
        storage.store.write(rot).await.unwrap();
        let journal = Journal::new(storage.store.clone());
        assert!(matches!(journal.load(GROUP, &stock("SKU-1")).await, Err(JournalError::Gap { .. })));
        let failed = tokio::time::timeout(std::time::Duration::from_secs(60), storage.store.failed()).await;
        assert!(matches!(failed.expect("it is told"), StoreError::Damaged { .. }));
        storage.close().await;
        drop((data, journal, storage));
        assert_recovers(root.path(), true).await;
    }

    #[tokio::test]
    async fn an_old_store_put_back_is_brought_forward() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).unwrap();
        let storage = Storage::open(&data, LOG_BYTES_MAX, StoreOptions::default()).await.unwrap();
        commit(&storage, &mut replay(&storage).await).await;
        storage.close().await;
        let old = tempfile::tempdir().unwrap();
        for file in ["db", "conf"] {
            fs::copy(root.path().join("sled").join(file), old.path().join(file)).unwrap();
        }
        let storage = Storage::open(&data, LOG_BYTES_MAX, StoreOptions::default()).await.unwrap();
        let mut applier = replay(&storage).await;
        for number in 2..=30 {
            commit(&storage, &mut applier).await;
            if number % 10 == 0 {
                storage.checkpoints.make(GROUP).await.unwrap();
            }
        }
        storage.log.purge(GROUP, 20).await.unwrap();
        storage.close().await;
        fs::remove_dir_all(root.path().join("sled")).unwrap();
        fs::rename(old.keep(), root.path().join("sled")).unwrap();
        drop(data);
        assert_recovers(root.path(), false).await;
    }

    #[tokio::test]
    async fn a_bad_newest_checkpoint_costs_only_time() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path()).await;
        fs::remove_dir_all(root.path().join("sled")).unwrap();
        let newest = root.path().join("checkpoints").join("0000000002-00000000000000000019.checkpoint");
        let mut bytes = fs::read(&newest).unwrap();
        bytes[300] ^= 1;
        fs::write(&newest, bytes).unwrap();
        assert_recovers(root.path(), true).await;
    }

    #[tokio::test]
    async fn entries_that_are_nowhere_are_named() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path()).await;
        fs::remove_dir_all(root.path().join("sled")).unwrap();
        fs::remove_dir_all(root.path().join("checkpoints")).unwrap();
        let data = DataDir::open(root.path()).unwrap();
        let refused = Storage::open(&data, LOG_BYTES_MAX, StoreOptions::default()).await.err().expect("refused");
        assert!(refused.to_string().starts_with("entries 0 to 9 of group 2 are neither"), "{refused}");
    }

    #[tokio::test]
    async fn a_lost_log_is_refused_not_forgotten() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path()).await;
        fs::remove_dir_all(root.path().join("log")).unwrap();
        let data = DataDir::open(root.path()).unwrap();
        let refused = Storage::open(&data, LOG_BYTES_MAX, StoreOptions::default()).await.err().expect("refused");
        assert!(matches!(refused, StorageError::Log(LogError::Damaged { .. })), "{refused}");
    }
}
