//! What is made of damaged log files: everything acknowledged is there, or the log refuses and names the place.

use std::path::Path;

use tempfile::TempDir;

use super::*;

const GROUP: GroupId = GroupId(1);

async fn append(log: &RaftEngineLog, index: u64, length: usize) -> Result<(), LogError> {
    let (done, outcome) = oneshot::channel();
    let entry = LogEntry { index, bytes: content(index, length) };
    log.append(GROUP, vec![entry], Box::new(move |result| drop(done.send(result))));
    outcome.await.unwrap()
}

fn content(index: u64, length: usize) -> bytes::Bytes {
    (0..length).map(|position| (position as u64 * 7 + index * 13) as u8 | 1).collect::<Vec<_>>().into()
}

/// A directory whose log holds `lengths.len()` acknowledged entries; closed, or as a crash leaves it.
async fn written(lengths: &[usize], closed: bool) -> TempDir {
    let live = tempfile::tempdir().unwrap();
    let log = RaftEngineLog::open(&super::tests::options(live.path())).unwrap();
    for (index, length) in (0..).zip(lengths) {
        append(&log, index, *length).await.unwrap();
    }
    if closed {
        log.close().await;
        return live;
    }
    let image = tempfile::tempdir().unwrap();
    super::tests::copy_directory(&live.path().join("log"), &image.path().join("log"));
    image
}

/// Opens a copy of `image` after changing its newest file, and says how many entries are readable.
async fn reopened(image: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<u64, LogError> {
    let copy = tempfile::tempdir().unwrap();
    super::tests::copy_directory(&image.join("log"), &copy.path().join("log"));
    let (file, _) = newest_file(&copy.path().join("log"));
    let mut bytes = fs::read(&file).unwrap();
    change(&mut bytes);
    fs::write(&file, bytes).unwrap();
    let log = RaftEngineLog::open(&super::tests::options(copy.path()))?;
    let entries = log.read(GROUP, 0, u64::MAX, usize::MAX).await?;
    for entry in &entries {
        assert_eq!(
            entry.bytes,
            content(entry.index, entry.bytes.len()),
            "entry {} is not what was written",
            entry.index
        );
    }
    let next = log.range(GROUP).await?.next;
    assert_eq!(entries.len() as u64, next);
    log.close().await;
    Ok(next)
}

fn live_bytes(image: &Path) -> usize {
    let (file, length) = newest_file(&image.join("log"));
    let content = fs::read(&file).unwrap();
    match scan::scan_file(&scan::LogFile { sequence: 1, path: file.into() }, &content).unwrap() {
        scan::End::Exact => length as usize,
        scan::End::Zeros(from) | scan::End::Torn(from) => from,
    }
}

#[tokio::test]
async fn every_flipped_byte_of_acknowledged_entries_is_refused_with_file_and_offset() {
    for (closed, step) in [(true, 5), (false, 1)] {
        let image = written(&[40, 300, 3], closed).await;
        for position in (0..live_bytes(image.path())).step_by(step) {
            match reopened(image.path(), |bytes| bytes[position] ^= 1 << (position % 8)).await {
                Ok(3) => panic!("byte {position} went unnoticed"),
                Ok(fewer) => panic!("byte {position}: acknowledged entries lost, {fewer} left"),
                Err(LogError::Damaged { file, offset, .. }) => {
                    assert!(file.ends_with(".raftlog"), "{file}");
                    assert!(offset as usize <= position, "byte {position} reported at {offset}");
                }
                Err(other) => panic!("byte {position}: {other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_tail_cut_anywhere_in_the_last_batch_loses_only_that_batch() {
    let before = live_bytes(written(&[40, 900], false).await.path());
    let image = written(&[40, 900, 2000], false).await;
    let end = live_bytes(image.path());
    assert_eq!(reopened(image.path(), |_| ()).await.unwrap(), 3, "an undamaged crash image is whole");
    for cut in (before..end).step_by(37) {
        assert_eq!(reopened(image.path(), |bytes| bytes.truncate(cut)).await.unwrap(), 2, "cut at {cut}");
    }
    let sector = (before / 512 + 2) * 512;
    let zeroed = |bytes: &mut Vec<u8>| bytes[sector..sector + 512].fill(0);
    assert_eq!(reopened(image.path(), zeroed).await.unwrap(), 2, "a sector that never reached the disk");
    let header_sector = |bytes: &mut Vec<u8>| bytes[before..(before / 512 + 1) * 512].fill(0);
    assert_eq!(reopened(image.path(), header_sector).await.unwrap(), 2, "the first sector never reached the disk");
}

#[tokio::test]
async fn what_is_cut_off_is_kept_aside() {
    let image = written(&[40, 900, 2000], false).await;
    let (file, _) = newest_file(&image.path().join("log"));
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..live_bytes(image.path()) - 600]).unwrap();
    RaftEngineLog::open(&super::tests::options(image.path())).unwrap().close().await;
    let kept: Vec<_> = fs::read_dir(image.path().join("aside")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].file_name().to_str().unwrap().contains("torn-at-"));
}

#[tokio::test]
async fn a_hole_in_the_middle_is_damage_even_if_it_is_zeros() {
    let image = written(&[600, 600, 600], false).await;
    let outcome = reopened(image.path(), |bytes| bytes[100..1024].fill(0)).await;
    assert!(matches!(outcome, Err(LogError::Damaged { offset: 69, .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_log_that_ends_before_what_the_store_applied_is_refused() {
    let image = written(&[40, 40], true).await;
    let mut options = super::tests::options(image.path());
    options.applied.insert(GROUP, 1);
    RaftEngineLog::open(&options).unwrap().close().await;
    options.applied.insert(GROUP, 2);
    let refused = RaftEngineLog::open(&options).err().expect("refused");
    assert!(refused.to_string().contains("group 1 ends before entry 2 although entry 2 was applied"), "{refused}");
}

#[tokio::test]
async fn a_missing_file_is_noticed() {
    let live = tempfile::tempdir().unwrap();
    let log = RaftEngineLog::open(&super::tests::options(live.path())).unwrap();
    for index in 0..14 {
        append(&log, index, 7 << 20).await.unwrap();
    }
    log.close().await;
    let mut files: Vec<_> = fs::read_dir(live.path().join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "raftlog"));
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    for missing in &files[..files.len() - 1] {
        let bytes = fs::read(missing).unwrap();
        fs::remove_file(missing).unwrap();
        let refused = RaftEngineLog::open(&super::tests::options(live.path()));
        assert!(matches!(refused, Err(LogError::Damaged { .. })), "{} can vanish", missing.display());
        fs::write(missing, bytes).unwrap();
    }
    RaftEngineLog::open(&super::tests::options(live.path())).unwrap().close().await;
}
