use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::persistence::applier::Applier;
use crate::persistence::codec;
use crate::persistence::datadir::DataDir;
use crate::persistence::log::LogEntry;
use crate::persistence::sled_store::StoreOptions;
use crate::persistence::storage::Storage;
use crate::persistence::testkit::{batch, raft};

const GROUP: GroupId = GroupId(2);

/// Appends and, when asked, applies the entries with these indexes.
async fn commit(storage: &Storage, indexes: std::ops::Range<u64>, is_applied: bool) {
    let mut applier = Applier::open(storage.store.clone(), GROUP).await.unwrap();
    for index in indexes {
        let batches = [batch("TEA", index + 1, index + 1)];
        let entry = LogEntry { index, bytes: codec::encode_entry(&batches) };
        let (done, flushed) = tokio::sync::oneshot::channel();
        storage.log.append(GROUP, vec![entry], Box::new(move |result| drop(done.send(result))));
        flushed.await.unwrap().unwrap();
        if is_applied {
            applier.apply(index, raft(), &batches).await.unwrap();
        }
    }
}

fn about() -> About {
    let text = str::to_owned;
    About {
        format: About::FORMAT,
        data_format: 1,
        version: text("0.1.0"),
        created_at: text("2026-11-22T16:00:00.000Z"),
        cluster: text("c"),
        node: text("n"),
    }
}

/// Twenty entries applied, five more in the log only, and a provider's books.
async fn filled(root: &Path) -> (Storage, Source) {
    let storage = Storage::open(&DataDir::open(root).unwrap(), 64 << 20, StoreOptions::default()).await.unwrap();
    commit(&storage, 0..20, true).await;
    commit(&storage, 20..25, false).await;
    std::fs::write(root.join("books"), "paid").unwrap();
    let source = Source {
        log: storage.log.clone(),
        checkpoints: storage.checkpoints.clone(),
        extras: vec![root.join("books"), root.join("not there")],
    };
    (storage, source)
}

#[tokio::test]
async fn a_backup_holds_a_checkpoint_the_log_behind_it_and_the_files_of_others() {
    let root = tempfile::tempdir().unwrap();
    let (_storage, source) = filled(&root.path().join("data")).await;
    let path = root.path().join("backups/first");
    let made = create(&source, about(), &path, &|_| ()).await.unwrap();
    assert_eq!(Manifest::read(&path).await.unwrap(), made);
    assert_eq!(made.check(&path, &|_| ()).await.unwrap(), []);
    let [group] = made.groups.as_slice() else { panic!("one group: {made:?}") };
    assert_eq!((group.group, group.checkpoint().unwrap().index, group.next), (2, 19, 25));
    assert_eq!(made.extras().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["books"]);
    let files = DiskFiles::reading(&path);
    let mut tail = TailReader::open(&files, &group.tail).await.unwrap();
    let entries = tail.entries().await.unwrap().unwrap();
    assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [20, 21, 22, 23, 24]);
    assert!(tail.entries().await.unwrap().is_none());
    assert!(create(&source, about(), &path, &|_| ()).await.is_err(), "a backup is never written over");
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_found_and_its_file_named() {
    let root = tempfile::tempdir().unwrap();
    let (_storage, source) = filled(&root.path().join("data")).await;
    let path = root.path().join("backup");
    create(&source, about(), &path, &|_| ()).await.unwrap();
    let names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 5, "checkpoint, tail, books, manifest and its checksum: {names:?}");
    for name in names {
        let (file, name) = (path.join(&name), name.to_str().unwrap().to_owned());
        let good = std::fs::read(&file).unwrap();
        for position in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[position] ^= 0x01;
            std::fs::write(&file, &bad).unwrap();
            let findings = match Manifest::read(&path).await {
                Ok(manifest) => manifest.check(&path, &|_| ()).await.unwrap(),
                Err(error) => vec![Finding { file: "manifest.json".to_owned(), what: error.to_string() }],
            };
            let blamed = if name.starts_with("manifest") { "manifest.json" } else { name.as_str() };
            let said = findings.iter().any(|finding| finding.file == blamed);
            assert!(said, "byte {position} of {name} flipped: {findings:?}");
        }
        std::fs::write(&file, good).unwrap();
    }
    let manifest = Manifest::read(&path).await.unwrap();
    assert_eq!(manifest.check(&path, &|_| ()).await.unwrap(), []);
    std::fs::remove_file(path.join("0000000002.tail")).unwrap();
    let missing = Finding { file: "0000000002.tail".to_owned(), what: "it is missing".to_owned() };
    assert_eq!(manifest.check(&path, &|_| ()).await.unwrap(), [missing]);
}

#[tokio::test]
async fn logs_are_not_purged_while_a_backup_is_made() {
    let root = tempfile::tempdir().unwrap();
    let (storage, source) = filled(&root.path().join("data")).await;
    let keeper = storage.checkpoints.clone();
    let held = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watched = held.clone();
    let progress = move |progress: Progress| {
        if progress.files == 1 {
            watched.store(keeper.try_hold_logs().is_none(), std::sync::atomic::Ordering::Relaxed);
        }
    };
    create(&source, about(), &root.path().join("backup"), &progress).await.unwrap();
    assert!(held.load(std::sync::atomic::Ordering::Relaxed), "held between the checkpoint and the tail");
    assert!(storage.checkpoints.try_hold_logs().is_some(), "and let go afterwards");
}

#[tokio::test]
async fn entries_that_are_gone_make_the_backup_fail_and_leave_nothing_under_its_name() {
    let root = tempfile::tempdir().unwrap();
    let storage = Storage::open(&DataDir::open(&root.path().join("data")).unwrap(), 64 << 20, StoreOptions::default())
        .await
        .unwrap();
    commit(&storage, 0..20, false).await;
    storage.log.purge(GROUP, 10).await.unwrap();
    let source = Source { log: storage.log.clone(), checkpoints: storage.checkpoints.clone(), extras: Vec::new() };
    let path = root.path().join("backup");
    let refused = create(&source, about(), &path, &|_| ()).await.unwrap_err();
    assert!(matches!(refused, BackupError::Gap { group: GROUP, missing_from: 0, first: 10 }), "{refused}");
    assert!(!path.exists());
}
