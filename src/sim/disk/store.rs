//! The store on a simulated disk: a crash takes it back to any earlier state between two batches since its last sync.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::below;
use crate::persistence::memory::scan_rows;
use crate::persistence::store::{Change, Reads, Row, Scan, Store, StoreError, WriteBatch, removal_of_unchanged};
use crate::rng::Rng;
use crate::sim::power::{Power, Step};

/// Batches since the last sync that can be taken back; older ones count as synced, as an engine's own flushing does.
const UNDO_BATCHES_MAX: usize = 4_096;

/// What a batch replaced: key and former value.
type Undo = Vec<(Bytes, Option<Bytes>)>;

#[derive(Default)]
struct State {
    rows: BTreeMap<Bytes, Bytes>,
    /// How often the rows changed, crashes included.
    changes: u64,
    /// Of every batch since the last sync, oldest first.
    undo: std::collections::VecDeque<Undo>,
    closed: bool,
}

impl State {
    fn write(&mut self, batch: WriteBatch) {
        self.changes += 1;
        let mut undo = Undo::with_capacity(batch.changes.len());
        for change in batch.changes {
            let (key, value) = match change {
                Change::Put { key, value } => (key, Some(value)),
                Change::Delete { key } => (key, None),
            };
            let former = self.set(key.clone(), value);
            undo.push((key, former));
        }
        self.undo.push_back(undo);
        if self.undo.len() > UNDO_BATCHES_MAX {
            self.undo.pop_front();
        }
    }

    fn set(&mut self, key: Bytes, value: Option<Bytes>) -> Option<Bytes> {
        match value {
            Some(value) => self.rows.insert(key, value),
            None => self.rows.remove(&key),
        }
    }
}

/// The store of one node; outlives its crashes.
pub struct SimStore {
    state: Mutex<State>,
    power: Power,
}

impl SimStore {
    /// An empty store of a node with this power.
    pub fn new(power: Power) -> Self {
        Self { state: Mutex::default(), power }
    }

    /// The node is gone: reverts a random number of batches, and says how many.
    pub fn crash(&self, rng: &dyn Rng) -> u64 {
        let mut state = self.lock();
        let reverted = below(rng, state.undo.len() as u64 + 1);
        state.changes += 1;
        for _ in 0..reverted {
            let undo = state.undo.pop_back().expect("not more than there are");
            for (key, value) in undo.into_iter().rev() {
                state.set(key, value);
            }
        }
        state.undo.clear();
        state.closed = false;
        reverted
    }

    /// Everything is gone; says how many batches could have been reverted.
    pub fn vanish(&self) -> u64 {
        let mut state = self.lock();
        let batches = state.undo.len() as u64;
        *state = State { changes: state.changes + 1, ..State::default() };
        batches
    }

    /// How often its rows changed: as long as that is the same, so are they.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// The same rows for somebody who looks from outside the world: without power, and seen by no armed step.
    pub fn aside(self: &Arc<Self>) -> Arc<dyn Store> {
        Arc::new(Aside(self.clone()))
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.lock();
        if state.closed { Err(StoreError::Closed) } else { Ok(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store as somebody outside the world sees it; reads are answered at once, writes not at all.
struct Aside(Arc<SimStore>);

#[async_trait]
impl Store for Aside {
    async fn write(&self, _: WriteBatch) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn remove_unchanged(&self, _: Vec<Row>) -> Result<u64, StoreError> {
        Err(StoreError::Closed)
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.lock().rows.get(&key).cloned())
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        scan_rows(&self.0.lock().rows, &scan)
    }

    async fn read(&self, reads: Reads) -> Result<(), StoreError> {
        reads(&self.0.lock().rows)
    }

    async fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn queue_depth(&self) -> usize {
        0
    }

    async fn disk_bytes(&self) -> u64 {
        self.0.disk_bytes().await
    }

    async fn close(&self) {}
}

#[async_trait]
impl Store for SimStore {
    async fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.power.pass(Step::Store).await;
        self.open()?.write(batch);
        Ok(())
    }

    async fn remove_unchanged(&self, rows: Vec<Row>) -> Result<u64, StoreError> {
        self.power.pass(Step::Store).await;
        let mut state = self.open()?;
        let removal = removal_of_unchanged(&state.rows, &rows)?;
        let removed = removal.changes.len() as u64;
        state.write(removal);
        Ok(removed)
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, StoreError> {
        self.power.pass(Step::Recall).await;
        Ok(self.open()?.rows.get(&key).cloned())
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.power.pass(Step::Recall).await;
        scan_rows(&self.open()?.rows, &scan)
    }

    async fn read(&self, reads: Reads) -> Result<(), StoreError> {
        self.power.pass(Step::Recall).await;
        reads(&self.open()?.rows)
    }

    async fn sync(&self) -> Result<(), StoreError> {
        if !self.power.is_on() {
            std::future::pending::<()>().await;
        }
        self.open()?.undo.clear();
        Ok(())
    }

    fn queue_depth(&self) -> usize {
        0
    }

    async fn disk_bytes(&self) -> u64 {
        self.lock().rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    async fn close(&self) {
        let mut state = self.lock();
        state.undo.clear();
        state.closed = true;
    }
}
