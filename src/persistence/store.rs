//! The store seam: an ordered key–value map with atomic batches, holding what actors recover from (P24).
//!
//! Everything in it can be rebuilt from checkpoint and log, so it need not be durable at every write; it must be
//! *consistent*: a batch is wholly there or not at all, and a crash leaves some prefix of the batches. Writes queue in
//! order behind each other and reads pass through the same queue, so a read sees every write queued before it.
//!
//! Implementors: `sled_store` (production), `memory` (tests), the simulated disk. What the keys mean is in `keys`.

use async_trait::async_trait;
use bytes::Bytes;

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Insert or replace.
    Put {
        /// Where.
        key: Bytes,
        /// What.
        value: Bytes,
    },
    /// Remove, if there.
    Delete {
        /// Where.
        key: Bytes,
    },
}

impl Change {
    /// Where.
    pub fn key(&self) -> &Bytes {
        self.parts().0
    }

    /// Where, and what is to be there.
    pub fn parts(&self) -> (&Bytes, Option<&Bytes>) {
        match self {
            Self::Put { key, value } => (key, Some(value)),
            Self::Delete { key } => (key, None),
        }
    }
}

/// Changes that happen together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    /// In order; a later change of a key wins.
    pub changes: Vec<Change>,
}

impl WriteBatch {
    /// Adds an insert.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push(Change::Put { key: key.into(), value: value.into() });
    }

    /// Adds a removal.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.changes.push(Change::Delete { key: key.into() });
    }

    /// Bytes of its keys and values.
    pub fn bytes(&self) -> usize {
        let bytes = self.changes.iter().map(|change| match change {
            Change::Put { key, value } => key.len() + value.len(),
            Change::Delete { key } => key.len(),
        });
        bytes.sum()
    }
}

/// Which way a scan walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Reverse,
}

/// A bounded walk over `from <= key < to`.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Inclusive lower bound.
    pub from: Bytes,
    /// Exclusive upper bound.
    pub to: Bytes,
    /// Which end first.
    pub direction: Direction,
    /// At most this many rows.
    pub rows_max: usize,
    /// Stop after the row that brings the values above this many bytes.
    pub bytes_max: usize,
}

/// A key and its value.
pub type Row = (Bytes, Bytes);

/// Why the store could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No space left.
    #[error("the store's disk is full")]
    Full,
    /// Its files are not what was written; set it aside and rebuild from checkpoint and log.
    #[error("store damaged: {reason}")]
    Damaged {
        /// What the engine said.
        reason: String,
    },
    /// Somebody else holds the lock of its files, and does not let go.
    #[error("the store's files are in use by another process: {holder}; stop it and start again")]
    InUse {
        /// What the engine said.
        holder: String,
    },
    /// The operating system refused.
    #[error("store {operation} failed: {message}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        message: String,
    },
    /// The store is shut down.
    #[error("the store is closed")]
    Closed,
}

/// The store as a message to it sees it.
pub trait Rows {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Rows of a range.
    fn scan(&self, scan: &Scan) -> Result<Vec<Row>, StoreError>;
}

/// The removal of those of `rows` that still are what `found` has.
pub fn removal_of_unchanged(found: &dyn Rows, rows: &[Row]) -> Result<WriteBatch, StoreError> {
    let mut removal = WriteBatch::default();
    for (key, value) in rows {
        if found.get(key)?.as_ref() == Some(value) {
            removal.delete(key.clone());
        }
    }
    Ok(removal)
}

/// Reads that are one message. Called again when the store had to begin anew; must be quick, others wait behind them.
pub type Reads = Box<dyn Fn(&dyn Rows) -> Result<(), StoreError> + Send>;

/// The node's store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Queues an atomic batch behind everything queued before; returns once it has a place in the bounded queue.
    /// A full disk is waited out behind it; a write that fails otherwise makes every further call fail the same way.
    async fn write(&self, batch: WriteBatch) -> Result<(), StoreError>;

    /// Removes those of these rows that still have this value, all at once, and answers how many. Queued like a write;
    /// nothing comes between the look and the removal, so what was written since the row was read stays.
    async fn remove_unchanged(&self, rows: Vec<Row>) -> Result<u64, StoreError>;

    /// The value of a key as of every write queued before.
    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, StoreError>;

    /// Rows of a range as of every write queued before.
    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError>;

    /// Reads that belong together: as of every write queued before, and with none between them.
    async fn read(&self, reads: Reads) -> Result<(), StoreError>;

    /// Returns once every write queued before would survive a power cut.
    async fn sync(&self) -> Result<(), StoreError>;

    /// Writes queued and not yet carried out, for metrics and back-pressure.
    fn queue_depth(&self) -> usize;

    /// Bytes on disk.
    async fn disk_bytes(&self) -> u64;

    /// Told by readers whose rows contradict each other or their checksums: what is in the store is not what was
    /// written. A store that can be made again gives up, so that the next start makes it.
    fn distrust(&self, reason: &str) {
        tracing::error!(reason, "the store does not hold what was written");
    }

    /// Syncs and stops; later calls answer [`StoreError::Closed`].
    async fn close(&self);
}
