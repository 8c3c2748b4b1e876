//! The thread that owns sled: carries out requests in order, and waits when the disk is full.
//!
//! Writes gather in an [`Overlay`] over what sled has, and go to it many at a time, as one batch that holds each key
//! once: what is written and soon replaced or deleted, as most wake-ups are, never costs sled anything. Reads see the
//! overlay. A crash loses it like anything else sled has not flushed; the log has it.
//!
//! A write that finds no room does not fail the store (P28): the overlay keeps it until the queue's bound makes writers
//! wait. Once there is room it is made up for, and nobody has noticed more than a pause. Room is looked for before
//! every write, because sled gives up for good when it runs into a full disk. Should that happen nevertheless, the
//! directory is opened again, and all that sled may not have in its file is done again. Anything else that goes wrong
//! is final: see [`Owner::fail`].
//!
//! Between requests it may be copying itself into a smaller file: see [`compaction`].

mod compaction;
mod engine;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::company::Company;
use super::unflushed::{Overlay, Unflushed};
use super::{Request, StoreOptions, failure, intact};
use crate::persistence::memory::take_limited;
use crate::persistence::store::{Change, Direction, Row, Rows, Scan, StoreError, WriteBatch, removal_of_unchanged};
pub(in crate::persistence) use compaction::settle_renaming;
use compaction::{Compaction, Schedule};
use engine::{Engine, batch_of, guarded, let_go, open_engine, store_error};

/// Most changes given to sled at once: larger batches cost it disproportionate memory.
const BATCH_CHANGES_MAX: usize = 1000;
/// Changes given to sled at once while there is little to do: the thread then never works for ten milliseconds on end,
/// in which readers wait and others find their processor taken. Under load more gather, and cost less each.
const BATCH_CHANGES_CALM: usize = 128;
/// Changes that come between two pauses while there is little to do.
const PAUSE_CHANGES_CALM: usize = 64;
/// Most bytes given to sled at once.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Bytes written between two flushes of sled's buffers, to keep its memory and the replay after a crash bounded.
const FLUSH_BYTES: usize = 4 << 20;
/// Its presence says that sled once found damage here.
const DAMAGE_MARK: &str = "DAMAGED";
/// Between two looks at a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(50);
/// Requests answered between two such looks.
const FULL_REQUESTS: usize = 256;
/// Room beyond what is to be written: sled's file grows by segments of half a MiB, some of them in the background.
const ROOM_BYTES: u64 = 4 << 20;
/// Most requests between two pages of a copy.
const PAGE_REQUESTS: usize = 16;

/// What the thread works with.
pub(super) struct Owner {
    directory: PathBuf,
    /// `None` only while a full disk keeps it from being opened again.
    engine: Option<Engine>,
    /// sled ran into a full disk: it can be read from, and must be opened again.
    gave_up: Cell<bool>,
    /// What sled may not have in its file yet.
    unflushed: Unflushed,
    /// What sled was not given yet; while the disk is full, all it may not have in its file.
    overlay: Overlay,
    /// The disk is full.
    waits_for_room: bool,
    /// Of the writes that joined the overlay.
    permits: Vec<OwnedSemaphorePermit>,
    /// Tells of the first failure that waiting does not cure; everything after it fails the same way.
    failure: watch::Sender<Option<StoreError>>,
    depth: Arc<AtomicUsize>,
    company: Arc<Company>,
    schedule: Schedule,
    compaction: Option<Compaction>,
    /// Requests taken since a page was last copied.
    since_page: usize,
    /// Changes taken since nobody asked for anything.
    since_pause: usize,
}

impl Owner {
    /// Opens or creates the store. Blocks while sled recovers.
    pub(super) fn open(
        directory: &Path,
        options: StoreOptions,
        company: Arc<Company>,
        failure: watch::Sender<Option<StoreError>>,
        depth: Arc<AtomicUsize>,
    ) -> Result<Self, StoreError> {
        if let Ok(reason) = std::fs::read_to_string(directory.join(DAMAGE_MARK)) {
            return Err(StoreError::Damaged { reason });
        }
        intact::verify(directory)?;
        let engine = Some(guarded("open", || open_engine(directory))?);
        let schedule = Schedule::of(directory, options);
        let directory = directory.to_path_buf();
        let (unflushed, overlay, permits) = (Unflushed::default(), Overlay::default(), Vec::new());
        let (gave_up, waits_for_room) = (Cell::new(false), false);
        let (compaction, since_page, since_pause) = (None, 0, 0);
        Ok(Self {
            schedule,
            directory,
            engine,
            gave_up,
            unflushed,
            overlay,
            waits_for_room,
            permits,
            failure,
            depth,
            company,
            compaction,
            since_page,
            since_pause,
        })
    }

    /// Works until closed or until nobody can ask any more.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut next = None;
        self.company.owner_is_here();
        self.begin_copy_if_due();
        loop {
            if self.waits_for_room && queue.is_closed() && queue.is_empty() && next.is_none() {
                return;
            }
            if self.waits_for_room && next.is_none() {
                match self.work_while_full(&mut queue) {
                    Some(request) => next = Some(request),
                    None => continue,
                }
            }
            let Some(request) = next.take().or_else(|| self.next_request(&mut queue)) else { return };
            self.take_note(&request);
            match request {
                Request::Write(batch, permit) => {
                    self.gather(batch, permit);
                    if queue.is_empty() {
                        self.use_the_pause();
                    }
                }
                Request::RemoveUnchanged(rows, permit, done) => self.remove_unchanged(&rows, permit, done),
                Request::Get(key, done) => self.answer(done, |owner| owner.get(&key)),
                Request::Scan(scan, done) => self.answer(done, |owner| owner.scan(&scan)),
                Request::Read(reads, done) => self.answer(done, |owner| reads(owner)),
                Request::Sync(done) => self.answer(done, Self::sync),
                Request::Distrust(reason) => self.distrust(reason),
                Request::Close(done) => return self.close(queue, done),
            }
        }
    }

    fn take_note(&self, request: &Request) {
        if request.is_awaited() {
            self.company.taken();
        }
    }

    /// Waits for a request; copies meanwhile if there is something to copy, and now and then when there is no pause.
    fn next_request(&mut self, queue: &mut mpsc::Receiver<Request>) -> Option<Request> {
        loop {
            if self.compaction.is_none() {
                return queue.blocking_recv();
            }
            match queue.try_recv() {
                Ok(request) if self.since_page < PAGE_REQUESTS => {
                    self.since_page += 1;
                    return Some(request);
                }
                Ok(request) => {
                    self.copy_page();
                    return Some(request);
                }
                Err(mpsc::error::TryRecvError::Empty) => self.copy_page(),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
            }
        }
    }

    /// One look at the full disk, after at most so many requests. Hands back what it must not answer itself: the
    /// request that closes the store.
    #[allow(clippy::disallowed_methods, reason = "this is the store's own thread, which blocks on the disk anyway")]
    fn work_while_full(&mut self, queue: &mut mpsc::Receiver<Request>) -> Option<Request> {
        for _ in 0..FULL_REQUESTS {
            let request = queue.try_recv();
            if let Ok(request) = &request
                && !matches!(request, Request::Close(_))
            {
                self.take_note(request);
            }
            match request {
                Ok(Request::Write(batch, permit)) => self.write_later(batch, permit),
                Ok(Request::RemoveUnchanged(rows, permit, done)) => self.remove_unchanged(&rows, permit, done),
                Ok(Request::Get(key, done)) => self.answer(done, |owner| owner.get(&key)),
                Ok(Request::Scan(scan, done)) => self.answer(done, |owner| owner.scan(&scan)),
                Ok(Request::Read(reads, done)) => self.answer(done, |owner| reads(owner)),
                Ok(Request::Sync(done)) => self.answer(done, |_| Err(StoreError::Full)),
                Ok(Request::Distrust(reason)) => self.distrust(reason),
                Ok(close) => return Some(close),
                Err(mpsc::error::TryRecvError::Empty | mpsc::error::TryRecvError::Disconnected) => break,
            }
        }
        match guarded("make up", || self.make_up()) {
            Ok(()) => {
                tracing::info!("there is room for the store again");
                self.overlay.clear();
                self.waits_for_room = false;
                self.depth.fetch_sub(self.permits.len(), Ordering::Relaxed);
                self.permits.clear();
            }
            Err(StoreError::Full) => thread::sleep(FULL_PAUSE),
            Err(error) => self.fail(error),
        }
        None
    }

    fn write_later(&mut self, batch: WriteBatch, permit: OwnedSemaphorePermit) {
        self.overlay.add(&batch);
        self.unflushed.push(batch);
        self.permits.push(permit);
    }

    /// Writes what waited for room, after opening sled again if it gave up.
    fn make_up(&mut self) -> Result<(), StoreError> {
        self.look_for_room(self.unflushed.bytes() * 2)?;
        if self.gave_up.get() {
            if let Some(engine) = self.engine.take() {
                let_go(engine)?;
            }
            self.engine = Some(open_engine(&self.directory)?);
            self.gave_up.set(false);
        }
        for batch in self.unflushed.batches() {
            self.give(batch_of(batch.changes.iter().map(Change::parts)))?;
        }
        self.flush()
    }

    fn look_for_room(&self, bytes: usize) -> Result<(), StoreError> {
        let free = fs4::available_space(&self.directory).map_err(|error| failure("read free space", &error))?;
        if free < (bytes as u64).saturating_add(ROOM_BYTES) { Err(StoreError::Full) } else { Ok(()) }
    }

    /// From now on waits for room: what sled holds in memory may be half of a batch, so the overlay covers all of it.
    fn wait_for_room(&mut self) {
        tracing::error!("the disk is full: the store waits for room, reads go on");
        self.abandon_copy();
        self.overlay = Overlay::of(&self.unflushed);
        self.waits_for_room = true;
    }

    fn answer<T>(
        &mut self,
        done: oneshot::Sender<Result<T, StoreError>>,
        work: impl Fn(&mut Self) -> Result<T, StoreError>,
    ) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
        let _ = done.send(self.read(work));
    }

    /// Looks and removes with nothing in between: only this thread writes.
    fn remove_unchanged(
        &mut self,
        rows: &[Row],
        permit: OwnedSemaphorePermit,
        done: oneshot::Sender<Result<u64, StoreError>>,
    ) {
        let removal = self.read(|owner| removal_of_unchanged(owner, rows));
        let removed = removal.as_ref().map(|removal| removal.changes.len() as u64).map_err(StoreError::clone);
        match removal {
            Ok(removal) if self.waits_for_room => self.write_later(removal, permit),
            Ok(removal) => self.gather(removal, permit),
            Err(_) => drop(self.depth.fetch_sub(1, Ordering::Relaxed)),
        }
        let _ = done.send(removed);
    }

    /// What is read, also on a full disk.
    fn read<T>(&mut self, work: impl Fn(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut outcome = self.carry_out("read", &work);
        if matches!(outcome, Err(StoreError::Full)) && !self.waits_for_room {
            self.wait_for_room();
            outcome = self.carry_out("read", &work);
        }
        if let Err(error) = &outcome
            && !self.waits_for_room
        {
            self.fail(error.clone());
        }
        outcome
    }

    /// Does something unless the store has failed.
    fn carry_out<T>(
        &mut self,
        operation: &'static str,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let failed = self.failure.borrow().clone();
        match failed {
            Some(error) => Err(error),
            None => guarded(operation, || work(self)),
        }
    }

    fn distrust(&mut self, reason: String) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
        self.fail(StoreError::Damaged { reason });
    }

    /// Remembers the first failure, beyond this process if it is damage: then the next start sets the directory aside
    /// and rebuilds it from checkpoints and log.
    fn fail(&mut self, error: StoreError) {
        if self.failure.borrow().is_some() {
            return;
        }
        if let StoreError::Damaged { reason } = &error
            && let Err(unmarked) = std::fs::write(self.directory.join(DAMAGE_MARK), reason)
        {
            tracing::error!(%error, %unmarked, "the store is damaged and could not be marked so; remove it by hand");
        }
        self.abandon_copy();
        self.overlay.clear();
        self.waits_for_room = false;
        self.permits.clear();
        self.failure.send_replace(Some(error));
    }

    /// Lets this batch join those that gather; gives them to sled when they are as many as it takes well at once.
    fn gather(&mut self, batch: WriteBatch, _permit: OwnedSemaphorePermit) {
        self.since_pause += batch.changes.len();
        let is_room =
            self.overlay.changes() + batch.changes.len() <= BATCH_CHANGES_MAX && self.overlay.bytes() < BATCH_BYTES_MAX;
        let outcome = if is_room { Ok(()) } else { self.carry_out("write", Self::settle) };
        if outcome.is_ok() {
            self.overlay.add(&batch);
        }
        self.unflushed.push(batch);
        self.take_outcome(outcome);
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }

    /// Nobody asks for anything: gives sled what has gathered if there is little to do, or waits a moment for more.
    fn use_the_pause(&mut self) {
        let is_calm = std::mem::take(&mut self.since_pause) <= PAUSE_CHANGES_CALM;
        if is_calm && self.overlay.changes() >= BATCH_CHANGES_CALM && !self.waits_for_room {
            let outcome = self.carry_out("write", Self::settle);
            self.take_outcome(outcome);
        } else if self.compaction.is_none() {
            self.company.pause();
        }
    }

    fn take_outcome(&mut self, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) => {}
            Err(StoreError::Full) if self.failure.borrow().is_none() => self.wait_for_room(),
            Err(error) => {
                self.unflushed.clear();
                self.fail(error);
            }
        }
    }

    /// Gives what has gathered to sled.
    fn settle(&mut self) -> Result<(), StoreError> {
        if self.overlay.is_empty() {
            return Ok(());
        }
        self.look_for_room(self.overlay.bytes())?;
        self.give(batch_of(self.overlay.rows()))?;
        self.copy_follows();
        self.overlay.clear();
        if self.unflushed.bytes() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    /// What sled said, remembering that it gave up.
    fn noting<T>(&self, operation: &'static str, said: sled::Result<T>) -> Result<T, StoreError> {
        said.map_err(|error| {
            let error = store_error(operation, error);
            self.gave_up.set(self.gave_up.get() || matches!(error, StoreError::Full));
            error
        })
    }

    fn engine(&self) -> Result<&Engine, StoreError> {
        self.engine.as_ref().ok_or(StoreError::Full)
    }

    fn give(&self, rows: sled::Batch) -> Result<(), StoreError> {
        self.noting("write", self.engine()?.database.apply_batch(rows))
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.noting("flush", self.engine()?.database.flush())?;
        self.unflushed.clear();
        self.begin_copy_if_due();
        Ok(())
    }

    fn take_rows(
        &self,
        scan: &Scan,
        rows: impl Iterator<Item = Result<Row, StoreError>>,
    ) -> Result<Vec<Row>, StoreError> {
        take_limited(scan, self.overlay.over(scan, rows))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.look_for_room(0)?;
        self.settle()?;
        self.flush()?;
        let engine = self.engine.as_mut().ok_or(StoreError::Full)?;
        engine.sync().map_err(|error| match failure("sync", &error) {
            StoreError::Full => StoreError::Full,
            // Nobody knows what the file holds then.
            other => StoreError::Damaged { reason: other.to_string() },
        })
    }

    /// Syncs, lets go of the directory, and only then says so. Whatever is still queued is told that it is closed.
    fn close(mut self, mut queue: mpsc::Receiver<Request>, done: oneshot::Sender<()>) {
        queue.close();
        if let Err(error) = self.carry_out("close", Self::sync) {
            tracing::warn!(%error, "the store could not be synced when closing; the log will replay what is missing");
        }
        drop(queue);
        self.abandon_copy();
        if let Some(engine) = self.engine.take_if(|_| self.gave_up.get())
            && let Err(error) = let_go(engine)
        {
            tracing::warn!(%error, "the store could not be closed");
        }
        drop(self);
        let _ = done.send(());
    }
}

impl Rows for Owner {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(known) = self.overlay.get(key) {
            return Ok(known);
        }
        let value = self.noting("read", self.engine()?.database.get(key))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, scan: &Scan) -> Result<Vec<Row>, StoreError> {
        if scan.from >= scan.to {
            return Ok(Vec::new());
        }
        let range = self.engine()?.database.range::<&[u8], _>(scan.from.as_ref()..scan.to.as_ref());
        let owned = |row: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = self.noting("read", row)?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        };
        match scan.direction {
            Direction::Forward => self.take_rows(scan, range.map(owned)),
            Direction::Reverse => self.take_rows(scan, range.rev().map(owned)),
        }
    }
}
