//! Checkpoints: one file per group that, with the log behind it, rebuilds everything the store holds of that group
//! (P26).
//!
//! ```text
//! file = head frame ‖ rows frame… ‖ end frame          each frame an envelope (P30); named GROUP-INDEX.checkpoint
//! ```
//!
//! A checkpoint is **fuzzy**: it is labelled with what was applied before its rows were read, and entries applied
//! meanwhile may be in it. Replay from the label is harmless because the applier knows what is there. Wake rows are not
//! in it but made again from the journals' ends. Making one reads page by page and holds up nobody, except that the
//! group's snapshots are not folded and its journals not trimmed meanwhile ([`Turns`]).
//!
//! The two newest are kept. The log may be purged behind the older one, after both were read back and found whole:
//! should the newest go bad, the older one and the log still hold everything.
//!
//! Restoring replaces all rows of the group and writes `applied` last: a crash in between leaves a group without it,
//! which is restored again at the next start.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::codec::{self, Applied, CheckpointEnd, CheckpointHead, DecodeError};
use super::envelope;
use super::files::Files;
use super::frames::{FrameError, Frames};
use super::journal::{Journal, JournalError, just_after};
use super::keys::{self, KeyRange, ParsedKey};
use super::log::GroupId;
use super::store::{Direction, Row, Scan, Store, StoreError, WriteBatch};
use super::turns::{Turn, Turns};
use crate::domain::ids::EntityId;
use crate::domain::time::Timestamp;

/// Rows per frame and per store message.
const FRAME_ROWS_MAX: usize = 512;
/// Value bytes per frame and per store message; one row may go above it.
const FRAME_BYTES_MAX: usize = 256 << 10;
/// Checkpoints kept of each group.
const KEPT: usize = 2;
const SUFFIX: &str = ".checkpoint";

/// Why a checkpoint cannot be made, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Reading the journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Writing the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is not what was written.
    #[error("checkpoint {file} is damaged at byte {offset}: {source}")]
    Damaged {
        /// Which file.
        file: String,
        /// Where the frame starts that cannot be read.
        offset: u64,
        /// How.
        source: DecodeError,
    },
    /// The file system refused.
    #[error("checkpoint {operation} failed: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The group has applied nothing yet.
    #[error("group {group} has applied nothing that could be kept")]
    Empty {
        /// Which group.
        group: GroupId,
    },
}

impl From<FrameError> for CheckpointError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Damaged { file, offset, source } => Self::Damaged { file, offset, source },
            FrameError::Io { source, .. } => Self::Io { operation: "read", source },
        }
    }
}

/// One kept checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its file.
    pub name: String,
    /// Which group it is of.
    pub group: GroupId,
    /// The last log entry that is certainly in it.
    pub index: u64,
    /// Size of the file.
    pub bytes: u64,
}

impl Checkpoint {
    /// A checkpoint by its file's name; `None` for a file that is none.
    pub fn parse(name: &str, bytes: u64) -> Option<Self> {
        let (group, index) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        Some(Self { name: name.to_owned(), group: GroupId(group.parse().ok()?), index: index.parse().ok()?, bytes })
    }
}

/// Reads a checkpoint from front to back, wherever it is. Answers what it is labelled with.
pub async fn verify_file(files: &dyn Files, checkpoint: &Checkpoint) -> Result<Applied, CheckpointError> {
    let mut reader = Reader::open(files, checkpoint).await?;
    while reader.rows().await?.is_some() {}
    Ok(reader.applied)
}

/// Makes, keeps and restores the checkpoints of a node.
#[derive(Clone)]
pub struct CheckpointKeeper {
    files: Arc<dyn Files>,
    store: Arc<dyn Store>,
    turns: Turns,
}

impl CheckpointKeeper {
    /// Keeps checkpoints of the groups in `store` as files. `turns` is shared with the folder and the trimmer.
    pub fn new(files: Arc<dyn Files>, store: Arc<dyn Store>, turns: Turns) -> Self {
        Self { files, store, turns }
    }

    /// Keeps checkpoints of the same groups elsewhere, taking turns with this one: what a backup is made with.
    pub fn beside(&self, files: Arc<dyn Files>) -> Self {
        Self { files, store: self.store.clone(), turns: self.turns.clone() }
    }

    /// Where checkpoints are kept.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Waits until nobody else holds the logs; until the turn is over, no log is purged.
    pub async fn hold_logs(&self) -> Turn {
        self.turns.hold_logs().await
    }

    /// A turn at purging logs, unless somebody holds them.
    pub fn try_hold_logs(&self) -> Option<Turn> {
        self.turns.try_hold_logs()
    }

    /// Makes a checkpoint of what the group has now, and removes all but the two newest.
    pub async fn make(&self, group: GroupId) -> Result<Checkpoint, CheckpointError> {
        let _turn = self.turns.take(group).await;
        let applied = Journal::new(self.store.clone()).applied(group).await?.ok_or(CheckpointError::Empty { group })?;
        let name = format!("{:010}-{:020}{SUFFIX}", group.0, applied.index);
        let head = CheckpointHead { group, applied: codec::encode_applied(&applied) };
        let mut writer = self.files.create(&name).await.map_err(io_error("create"))?;
        let mut bytes = 0_u64;
        let mut end = CheckpointEnd::default();
        let mut frame = codec::encode_checkpoint_head(&head);
        let mut position = keys::group_range(group);
        loop {
            bytes += frame.len() as u64;
            writer.append(frame).await.map_err(io_error("write"))?;
            let rows = self.page(&position).await?;
            let Some((last, _)) = rows.last() else { break };
            position.from = just_after(last);
            let kept: Vec<Row> = rows.into_iter().filter(|(key, _)| belongs_in(key)).collect();
            end.row_count += kept.len() as u64;
            end.row_bytes += kept.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
            frame = codec::encode_checkpoint_rows(&kept);
        }
        let frame = codec::encode_checkpoint_end(end);
        bytes += frame.len() as u64;
        writer.append(frame).await.map_err(io_error("write"))?;
        writer.finish().await.map_err(io_error("finish"))?;
        self.remove_old(group).await?;
        Ok(Checkpoint { name, group, index: applied.index, bytes })
    }

    /// The kept checkpoints of a group, newest first. Their content is not looked at.
    pub async fn list(&self, group: GroupId) -> Result<Vec<Checkpoint>, CheckpointError> {
        let mut all = self.list_all().await?;
        all.retain(|checkpoint| checkpoint.group == group);
        Ok(all)
    }

    /// The kept checkpoints of every group, newest first within a group.
    pub async fn list_all(&self) -> Result<Vec<Checkpoint>, CheckpointError> {
        let files = self.files.list().await.map_err(io_error("list"))?;
        let mut all: Vec<_> = files.iter().filter_map(|(name, bytes)| Checkpoint::parse(name, *bytes)).collect();
        all.sort_by_key(|checkpoint| (checkpoint.group, std::cmp::Reverse(checkpoint.index)));
        Ok(all)
    }

    /// The newest checkpoint of a group that is whole. Damaged ones are passed over with a warning.
    pub async fn newest_good(&self, group: GroupId) -> Result<Option<Checkpoint>, CheckpointError> {
        for checkpoint in self.list(group).await? {
            match self.verify(&checkpoint).await {
                Ok(_) => return Ok(Some(checkpoint)),
                Err(error @ CheckpointError::Damaged { .. }) => {
                    tracing::warn!(%error, "a checkpoint cannot be used; trying the one before it");
                }
                Err(other) => return Err(other),
            }
        }
        Ok(None)
    }

    /// Below which log index the group's log may be purged: everything there is in two checkpoints that were just read
    /// back and found whole. `None` when there are not two.
    pub async fn purgeable_before(&self, group: GroupId) -> Result<Option<u64>, CheckpointError> {
        let kept = self.list(group).await?;
        let [newer, older, ..] = kept.as_slice() else { return Ok(None) };
        self.verify(newer).await?;
        self.verify(older).await?;
        Ok(Some(older.index + 1))
    }

    /// Reads a checkpoint from front to back. Answers what it is labelled with.
    pub async fn verify(&self, checkpoint: &Checkpoint) -> Result<Applied, CheckpointError> {
        verify_file(self.files.as_ref(), checkpoint).await
    }

    /// A piece of a checkpoint's file, to be sent to a new replica; empty at its end.
    pub async fn read(&self, checkpoint: &Checkpoint, offset: u64, length: usize) -> Result<Bytes, CheckpointError> {
        self.files.read(&checkpoint.name, offset, length).await.map_err(io_error("read"))
    }

    /// Keeps a checkpoint received from another replica, whole and verified or not at all.
    pub async fn receive(&self, group: GroupId, index: u64, data: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
        let _turn = self.turns.take(group).await;
        let name = format!("{:010}-{index:020}{SUFFIX}", group.0);
        let checkpoint = Checkpoint { name, group, index, bytes: data.len() as u64 };
        let mut writer = self.files.create(&checkpoint.name).await.map_err(io_error("create"))?;
        writer.append(data).await.map_err(io_error("write"))?;
        writer.finish().await.map_err(io_error("finish"))?;
        if let Err(error) = self.verify(&checkpoint).await {
            self.files.remove(&checkpoint.name).await.map_err(io_error("remove"))?;
            return Err(error);
        }
        Ok(checkpoint)
    }

    /// Replaces everything the store has of the checkpoint's group. Answers what is applied then.
    pub async fn restore(&self, checkpoint: &Checkpoint) -> Result<Applied, CheckpointError> {
        let _turn = self.turns.take(checkpoint.group).await;
        let mut reader = Reader::open(self.files.as_ref(), checkpoint).await?;
        self.clear(checkpoint.group).await?;
        let mut wakes = Wakes { group: checkpoint.group, current: None };
        while let Some(rows) = reader.rows().await? {
            let mut batch = WriteBatch::default();
            for (key, value) in rows {
                wakes.follow(&key, &value, &mut batch).map_err(|source| reader.damaged(source))?;
                batch.put(key, value);
            }
            self.store.write(batch).await?;
        }
        let mut last = WriteBatch::default();
        wakes.finish(&mut last);
        last.put(keys::applied(checkpoint.group), codec::encode_applied(&reader.applied));
        self.store.write(last).await?;
        self.store.sync().await?;
        Ok(reader.applied)
    }

    /// Removes every row of a group, `applied` first.
    pub(super) async fn clear(&self, group: GroupId) -> Result<(), CheckpointError> {
        let mut first = WriteBatch::default();
        first.delete(keys::applied(group));
        self.store.write(first).await?;
        let range = keys::group_range(group);
        loop {
            let rows = self.page(&range).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut batch = WriteBatch::default();
            rows.into_iter().for_each(|(key, _)| batch.delete(key));
            self.store.write(batch).await?;
        }
    }

    async fn remove_old(&self, group: GroupId) -> Result<(), CheckpointError> {
        for old in self.list(group).await?.into_iter().skip(KEPT) {
            self.files.remove(&old.name).await.map_err(io_error("remove"))?;
        }
        Ok(())
    }

    async fn page(&self, range: &KeyRange) -> Result<Vec<Row>, StoreError> {
        let scan = Scan {
            from: range.from.clone(),
            to: range.to.clone(),
            direction: Direction::Forward,
            rows_max: FRAME_ROWS_MAX,
            bytes_max: FRAME_BYTES_MAX,
        };
        self.store.scan(scan).await
    }
}

/// Whether a row is kept in checkpoints: wakes are derived, `applied` is the label.
fn belongs_in(key: &[u8]) -> bool {
    !matches!(keys::parse(key), Some((_, ParsedKey::Wake(..) | ParsedKey::Applied)))
}

/// Reads a file frame by frame and checks that it is whole.
struct Reader<'a> {
    frames: Frames<'a>,
    checkpoint: &'a Checkpoint,
    applied: Applied,
    seen: CheckpointEnd,
}

impl<'a> Reader<'a> {
    async fn open(files: &'a dyn Files, checkpoint: &'a Checkpoint) -> Result<Self, CheckpointError> {
        let mut frames = Frames::new(files, &checkpoint.name);
        let frame = frames.expect().await?;
        let head = codec::decode_checkpoint_head(&frame).map_err(|source| frames.damaged(source))?;
        let applied = codec::decode_applied(&head.applied).map_err(|source| frames.damaged(source))?;
        if head.group != checkpoint.group || applied.index != checkpoint.index {
            return Err(frames.malformed("it is of another group or index than its name says").into());
        }
        Ok(Self { frames, checkpoint, applied, seen: CheckpointEnd::default() })
    }

    /// The next rows; `None` once the end frame was read and confirmed that nothing is missing.
    async fn rows(&mut self) -> Result<Option<Vec<Row>>, CheckpointError> {
        let frame = self.frames.expect().await?;
        if frame[1] == envelope::ValueKind::CheckpointEnd as u8 {
            let end = codec::decode_checkpoint_end(&frame).map_err(|source| self.damaged(source))?;
            if end != self.seen {
                return Err(self.frames.malformed("it does not hold the rows its end counts").into());
            }
            return match self.frames.next().await? {
                None => Ok(None),
                Some(_) => Err(self.frames.malformed("bytes follow its end").into()),
            };
        }
        let rows = codec::decode_checkpoint_rows(&frame).map_err(|source| self.damaged(source))?;
        self.seen.row_count += rows.len() as u64;
        self.seen.row_bytes += rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
        let foreign = |(key, _): &Row| {
            keys::parse(key).is_none_or(|(group, _)| group != self.checkpoint.group) || !belongs_in(key)
        };
        if rows.iter().any(foreign) {
            return Err(self.frames.malformed("a row does not belong in it").into());
        }
        Ok(Some(rows))
    }

    fn damaged(&self, source: DecodeError) -> CheckpointError {
        self.frames.damaged(source).into()
    }
}

/// Makes wake rows from the ends of journals passing by in key order.
struct Wakes {
    group: GroupId,
    current: Option<(EntityId, Option<Timestamp>)>,
}

impl Wakes {
    fn follow(&mut self, key: &[u8], value: &Bytes, batch: &mut WriteBatch) -> Result<(), DecodeError> {
        let (entity, wake_at) = match keys::parse(key) {
            Some((_, ParsedKey::SnapshotHead(entity))) => (entity, codec::decode_snapshot_head(value)?.wake_at),
            Some((_, ParsedKey::Batch(entity, _))) => {
                let row = codec::decode_batch_row(value)?;
                (entity, codec::peek_records(&row.records)?.wake_at)
            }
            _ => return Ok(()),
        };
        if self.current.as_ref().is_some_and(|(current, _)| *current != entity) {
            self.finish(batch);
        }
        self.current = Some((entity, wake_at));
        Ok(())
    }

    fn finish(&mut self, batch: &mut WriteBatch) {
        if let Some((entity, Some(at))) = self.current.take() {
            batch.put(keys::wake(self.group, at, &entity), Bytes::new());
        }
    }
}

fn io_error(operation: &'static str) -> impl FnOnce(io::Error) -> CheckpointError {
    move |source| CheckpointError::Io { operation, source }
}
