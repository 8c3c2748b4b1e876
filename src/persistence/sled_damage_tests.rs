//! What becomes of damaged files: an error, or the state after some prefix of the batches. Never anything else, because
//! the log replays what is missing only if the rest is exact.
//!
//! sled alone does not promise that: it leaves out what it cannot read in the middle of its log, and what it keeps in
//! files of their own, which it never syncs. The files are read before it opens them. So the store here is of several
//! segments, most of them used again, and of pages too large for a segment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::sled_store::{SledStore, StoreOptions};
use super::store::{Direction, Scan, Store, WriteBatch};

const BATCHES: u64 = 300;
const ROW_BYTES: usize = 9_000;
/// A page of sixteen such rows lies in a file of its own.
const LARGE_ROW_BYTES: usize = 24_000;

/// Changes several keys, old ones too, adds one that stays, and says which batch this is.
fn batch(number: u64) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.put("applied", number.to_be_bytes().to_vec());
    batch.put(format!("row{number:04}"), vec![number as u8; ROW_BYTES]);
    batch.put(format!("kept{number:04}"), vec![number as u8; 300]);
    batch.put(format!("hot{:02}", number % 7), number.to_be_bytes().to_vec());
    if number.is_multiple_of(3) {
        batch.put(format!("large{:02}", number % 20), vec![number as u8; LARGE_ROW_BYTES]);
    }
    if number >= 20 {
        batch.delete(format!("row{:04}", number - 20));
    }
    batch
}

/// The state after the batches `0 ..= last`.
fn expected(last: Option<u64>) -> BTreeMap<Bytes, Bytes> {
    use super::store::Change;
    let mut rows = BTreeMap::new();
    for change in (0..BATCHES).take_while(|number| Some(*number) <= last).flat_map(|number| batch(number).changes) {
        match change {
            Change::Put { key, value } => rows.insert(key, value),
            Change::Delete { key } => rows.remove(&key),
        };
    }
    rows
}

async fn contents(directory: &Path) -> Option<BTreeMap<Bytes, Bytes>> {
    let store = SledStore::open(directory, StoreOptions::default()).ok()?;
    let scan = Scan {
        from: Bytes::new(),
        to: Bytes::from_static(&[0xff]),
        direction: Direction::Forward,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
    };
    let rows = store.scan(scan).await;
    store.close().await;
    Some(rows.ok()?.into_iter().collect())
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), target).unwrap();
        } else {
            copy_files(&entry.path(), &target);
        }
    }
}

#[tokio::test]
async fn damaged_files_give_an_error_or_an_earlier_state() {
    for cleanly_closed in [true, false] {
        let original = tempfile::tempdir().unwrap();
        write_everything(original.path(), cleanly_closed).await;
        damage_everything(original.path(), cleanly_closed).await;
    }
}

/// Leaves a closed directory, or what a crash leaves.
async fn write_everything(directory: &Path, cleanly_closed: bool) {
    let live = tempfile::tempdir().unwrap();
    let store = SledStore::open(live.path(), StoreOptions::default()).unwrap();
    for number in 0..BATCHES {
        store.write(batch(number)).await.unwrap();
        if number % 50 == 0 {
            store.sync().await.unwrap();
        }
    }
    if cleanly_closed {
        store.close().await;
    }
    copy_files(live.path(), directory);
}

async fn damage_everything(original: &Path, cleanly_closed: bool) {
    let intact = tempfile::tempdir().unwrap();
    copy_files(original, intact.path());
    let intact = contents(intact.path()).await.expect("undamaged files open");
    assert!(!cleanly_closed || intact == expected(Some(BATCHES - 1)), "closing keeps everything");
    let (mut refused, mut large) = (0, 0);
    for file in files(original) {
        let is_large = file.starts_with("blobs");
        large += usize::from(is_large);
        for (what, content) in damages(&fs::read(original.join(&file)).unwrap(), is_large) {
            let damaged = tempfile::tempdir().unwrap();
            copy_files(original, damaged.path());
            match content {
                Some(content) => fs::write(damaged.path().join(&file), content).unwrap(),
                None => fs::remove_file(damaged.path().join(&file)).unwrap(),
            }
            match contents(damaged.path()).await {
                None => refused += 1,
                Some(rows) => {
                    let last = rows.get("applied".as_bytes()).map(|at| u64::from_be_bytes(at[..].try_into().unwrap()));
                    let place = format!("{file:?} {what}: applied {last:?}");
                    assert!(rows == expected(last), "{place}: {}", difference(&rows, &expected(last)));
                }
            }
        }
    }
    assert!(refused > 0, "no damage was noticed at all");
    assert!(large > 0, "no page had a file of its own");
}

/// Relative paths of all files.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        let name = PathBuf::from(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|file| name.join(file)));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Ways for a file to be damaged; `None` is that it is gone.
fn damages(bytes: &[u8], is_large_page: bool) -> Vec<(String, Option<Vec<u8>>)> {
    let live = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    // Not a divisor of anything that sled lays out.
    let step = (live / if is_large_page { 3 } else { 150 }).max(1) | 1;
    let flips = (0..live).step_by(step).map(|position| {
        let mut flipped = bytes.to_vec();
        flipped[position] ^= 0x10;
        (format!("at {position}"), Some(flipped))
    });
    let mut damages: Vec<_> = flips.collect();
    if is_large_page {
        // What a power failure leaves of a file that was never synced.
        damages.push(("emptied".to_owned(), Some(Vec::new())));
        damages.push(("halved".to_owned(), Some(bytes[..bytes.len() / 2].to_vec())));
        damages.push(("gone".to_owned(), None));
    }
    damages
}

fn difference(found: &BTreeMap<Bytes, Bytes>, expected: &BTreeMap<Bytes, Bytes>) -> String {
    let missing = expected.iter().filter(|(key, value)| found.get(*key) != Some(value)).count();
    let extra = found.keys().filter(|key| !expected.contains_key(*key)).count();
    format!("{missing} rows missing or different, {extra} extra, of {}", expected.len())
}
