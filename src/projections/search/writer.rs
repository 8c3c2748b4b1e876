//! The thread that owns tantivy's writer: gathers changes, commits them with the cursors, empties a broken index.
//!
//! tantivy panics on some kinds of damage, such as a segment that rotted while it was open. That is caught here and is
//! damage like any other: the index is built anew, and the thread goes on.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tantivy::TantivyError;
use tantivy::directory::error::LockError;
use tokio::sync::oneshot;

use super::engine::{Engine, View};
use super::pending::Pending;
use super::{FeedCursors, SearchBatch, SearchChange, SearchError};
use crate::clock::Clock;
use crate::domain::ids::Sku;
use crate::persistence::patience::while_held;

/// Time between commits under load. Search must see a change within a second; every commit costs several fsyncs.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(300);
/// How long the first change after a quiet time waits for company.
const GATHER_INTERVAL: Duration = Duration::from_millis(25);
/// Time between commits that only move cursors: bounds how much of the feed is read again after a crash.
const CURSOR_INTERVAL: Duration = Duration::from_secs(10);
/// Time to the next try after a failed commit, e.g. while the disk is full.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Gathered documents that force a commit; a document is at most some 100 KiB.
const PENDING_MAX: usize = 2_048;
/// Failed commits, other than for lack of space, after which the index counts as damaged.
const FAILURES_MAX: u32 = 3;
/// SKUs whose indexed in-stock flag is remembered, so that a hot SKU costs one lookup and not one per change.
const FLAGS_MAX: usize = 100_000;

/// What the thread is asked.
pub enum Message {
    /// See [`super::SearchIndex::cursors`].
    Cursors(oneshot::Sender<FeedCursors>),
    /// See [`super::SearchIndex::apply`].
    Apply(SearchBatch, oneshot::Sender<Result<(), SearchError>>),
    /// See [`super::SearchIndex::commit`].
    Commit(oneshot::Sender<Result<(), SearchError>>),
    /// A search could not read the index of this generation.
    Damaged {
        /// Which index was read.
        generation: u64,
        /// What happened.
        reason: String,
    },
    /// Commit and stop.
    Close(oneshot::Sender<()>),
}

/// See the module.
pub struct Writer {
    directory: PathBuf,
    clock: Arc<dyn Clock>,
    engine: Engine,
    view: Arc<RwLock<Arc<View>>>,
    /// Products changed since the last commit, as they are now.
    pending: Pending,
    /// How far the feed is, gathered changes included.
    cursors: FeedCursors,
    /// SKU → the in-stock flag it is indexed with, if it is indexed at all.
    flags: BTreeMap<Sku, bool>,
    /// When the oldest gathered change or cursor move came.
    waiting_since: Option<Duration>,
    last_commit: Duration,
    failures: u32,
    /// Set when the index was emptied and the feeder does not know yet.
    emptied: Option<String>,
}

impl Writer {
    /// Opens the index, emptying it when it cannot be opened as it is.
    pub fn open(directory: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, SearchError> {
        let engine = match while_held(is_held, || Engine::open(&directory)) {
            Ok(engine) => engine,
            Err(error) if is_held(&error) => return Err(unavailable(&error)),
            Err(reason) => {
                tracing::warn!(%reason, "search index is unusable, building it anew");
                Engine::remove_all(&directory).map_err(|error| unavailable(&error))?;
                Engine::open(&directory).map_err(|error| unavailable(&error))?
            }
        };
        if let Err(error) = Engine::remove_other_layouts(&directory) {
            tracing::warn!(%error, "older search index could not be removed");
        }
        let view = Arc::new(RwLock::new(Arc::new(view_of(&engine, 0))));
        Ok(Self {
            cursors: engine.cursors.clone(),
            last_commit: clock.monotonic(),
            directory,
            clock,
            engine,
            view,
            pending: Pending::default(),
            flags: BTreeMap::new(),
            waiting_since: None,
            failures: 0,
            emptied: None,
        })
    }

    /// What searches read; stays the same cell for the life of the index.
    pub fn view(&self) -> Arc<RwLock<Arc<View>>> {
        self.view.clone()
    }

    /// Serves messages until the last sender is gone or one says close.
    pub fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = match self.until_commit() {
                Some(Duration::ZERO) => {
                    let _ = self.guarded(Self::commit);
                    continue;
                }
                Some(wait) => messages.recv_timeout(wait),
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let closing = match message {
                Ok(Message::Close(answer)) => Some(answer),
                Ok(message) => {
                    self.handle(message);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => None,
            };
            let _ = self.guarded(Self::commit);
            let _ = self.engine.writer.wait_merging_threads();
            if let Some(answer) = closing {
                let _ = answer.send(());
            }
            return;
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Cursors(answer) => {
                self.emptied = None;
                let _ = answer.send(self.cursors.clone());
            }
            Message::Apply(batch, answer) => {
                let _ = answer.send(self.guarded(|writer| writer.apply(batch)));
            }
            Message::Commit(answer) => {
                let _ = answer.send(self.guarded(Self::commit));
            }
            Message::Damaged { generation, reason } => {
                if self.generation() == generation {
                    self.empty(reason);
                }
            }
            Message::Close(_) => unreachable!("the loop handles closing"),
        }
    }

    /// Does something with the engine. Should that panic, nobody knows what state it is in: it is thrown away.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<(), SearchError>) -> Result<(), SearchError> {
        catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|_| {
            let reason = "the engine panicked".to_owned();
            self.empty(reason.clone());
            Err(SearchError::Emptied { reason })
        })
    }

    /// How long to wait for more before committing; `None` when there is nothing to commit.
    fn until_commit(&self) -> Option<Duration> {
        let since = self.waiting_since?;
        let due = match (self.failures, self.pending.is_empty()) {
            (1.., _) => self.last_commit + RETRY_INTERVAL,
            (_, true) => since + CURSOR_INTERVAL,
            (_, false) => (since + GATHER_INTERVAL).max(self.last_commit + COMMIT_INTERVAL),
        };
        Some(due.saturating_sub(self.clock.monotonic()))
    }

    fn apply(&mut self, batch: SearchBatch) -> Result<(), SearchError> {
        if let Some(reason) = self.emptied.clone() {
            return Err(SearchError::Emptied { reason });
        }
        if self.pending.len() >= PENDING_MAX {
            self.commit()?;
        }
        for change in batch.changes {
            if let Err(error) = self.gather(change) {
                self.empty(error.to_string());
                return Err(SearchError::Emptied { reason: error.to_string() });
            }
        }
        self.cursors.extend(batch.cursors);
        let now = self.clock.monotonic();
        self.waiting_since.get_or_insert(now);
        Ok(())
    }

    fn gather(&mut self, change: SearchChange) -> Result<(), TantivyError> {
        match change {
            SearchChange::Put(document) => {
                for variant in &document.item.variants {
                    self.remember(variant.sku.clone(), variant.available > 0);
                }
                self.start_waiting_for_documents();
                self.pending.put(document.item.id.clone(), Some(*document));
            }
            SearchChange::Remove(product) => {
                self.start_waiting_for_documents();
                self.pending.put(product, None);
            }
            SearchChange::Stock { sku, available } => {
                if self.flags.get(&sku) != Some(&(available > 0)) {
                    self.set_stock(&sku, available)?;
                    self.remember(sku, available > 0);
                }
            }
        }
        Ok(())
    }

    /// Cursor moves may have been waiting for long; documents start their own, shorter wait.
    fn start_waiting_for_documents(&mut self) {
        if self.pending.is_empty() {
            self.waiting_since = Some(self.clock.monotonic());
        }
    }

    fn remember(&mut self, sku: Sku, in_stock: bool) {
        if self.flags.len() >= FLAGS_MAX {
            self.flags.clear();
        }
        self.flags.insert(sku, in_stock);
    }

    /// A SKU is one product's: if one that has it waits here, its older self in the index does not matter.
    fn set_stock(&mut self, sku: &Sku, available: u64) -> Result<(), TantivyError> {
        if self.pending.set_stock(sku, available) {
            return Ok(());
        }
        for mut document in self.engine.with_sku(sku)? {
            if !self.pending.contains(&document.item.id) && document.set_stock(sku, available) {
                self.start_waiting_for_documents();
                self.pending.put(document.item.id.clone(), Some(document));
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), SearchError> {
        if self.waiting_since.is_none() {
            return Ok(());
        }
        let result = self.write_and_commit();
        self.last_commit = self.clock.monotonic();
        let Err(error) = result else {
            self.pending.clear();
            self.waiting_since = None;
            self.failures = 0;
            return Ok(());
        };
        tracing::warn!(%error, "search index could not be committed");
        self.failures += u32::from(!is_storage_full(&error));
        if self.failures >= FAILURES_MAX || self.reopen().is_err() {
            self.empty(error.to_string());
            return Err(SearchError::Emptied { reason: error.to_string() });
        }
        self.failures = self.failures.max(1);
        Err(unavailable(&error))
    }

    fn write_and_commit(&mut self) -> Result<(), TantivyError> {
        for (product, document) in self.pending.iter() {
            self.engine.write(product, document)?;
        }
        self.engine.commit(&self.cursors)
    }

    /// A writer that failed once refuses everything after: takes a new one. What was gathered stays gathered.
    fn reopen(&mut self) -> Result<(), TantivyError> {
        self.engine.writer.rollback().map(|_| ())
    }

    fn generation(&self) -> u64 {
        self.view.read().expect("no code panics while holding this lock").generation
    }

    /// Starts over with an empty index; the feeder learns of it at its next call.
    fn empty(&mut self, reason: String) {
        tracing::warn!(%reason, "search index is damaged, building it anew");
        self.pending.clear();
        self.flags.clear();
        self.cursors.clear();
        self.waiting_since = None;
        self.failures = 0;
        self.emptied = Some(reason);
        let directory = self.directory.clone();
        let replaced =
            Engine::remove_all(&directory).map_err(TantivyError::from).and_then(|()| Engine::open(&directory));
        match replaced {
            Ok(engine) => {
                let next = view_of(&engine, self.generation() + 1);
                *self.view.write().expect("no code panics while holding this lock") = Arc::new(next);
                self.engine = engine;
            }
            Err(error) => tracing::error!(%error, "search index cannot be created; search stays unavailable"),
        }
    }
}

fn view_of(engine: &Engine, generation: u64) -> View {
    View { reader: engine.reader.clone(), fields: engine.fields.clone(), generation }
}

fn unavailable(error: &dyn std::error::Error) -> SearchError {
    SearchError::Unavailable { reason: error.to_string() }
}

/// Somebody who is going still has the directory: it is not damaged.
fn is_held(error: &TantivyError) -> bool {
    matches!(error, TantivyError::LockFailure(LockError::LockBusy, _))
}

fn is_storage_full(error: &TantivyError) -> bool {
    matches!(error, TantivyError::IoError(error) if error.kind() == std::io::ErrorKind::StorageFull)
}
