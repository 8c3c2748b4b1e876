//! Search in production: tantivy, its writer owned by one thread, its reader shared by bounded blocking tasks.
//!
//! Applied changes gather in memory, one entry per product, and are written at most every [`COMMIT_INTERVAL`]: a
//! product changed a hundred times meanwhile is indexed once, and a hot SKU is not indexed at all unless it sells out
//! or comes back. The feed cursors travel in tantivy's commit payload, so documents and cursors are one atomic commit;
//! what was only gathered when the process died is fed again. Nothing here is the only copy of anything: an index that
//! is missing, of another layout, damaged, or found damaged later is emptied, and the projector feeds it from the
//! start.
//!
//! tantivy reads with memory maps and writes with threads of its own; none of it leaves this module.

use std::path::PathBuf;
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};

use super::engine::View;
use super::writer::{Message, Writer};
use super::{FeedCursors, SearchBatch, SearchError, SearchIndex};
use crate::clock::Clock;
use crate::projections::query::{ProductPage, ProductQuery, QueryError};

/// Searches running at once; more wait. Each may use a core for milliseconds.
const SEARCHES_MAX: usize = 16;

/// See the module.
pub struct TantivySearchIndex {
    /// To the writer's thread. Unbounded, but every sender waits for its answer: as many messages as tasks.
    writer: std_mpsc::Sender<Message>,
    /// What searches read; replaced when the index is emptied.
    view: Arc<RwLock<Arc<View>>>,
    searches: Semaphore,
}

impl TantivySearchIndex {
    /// Opens the index in `directory`, creating or emptying it when it is missing, of another layout or damaged. Fails
    /// only when the directory cannot be written.
    pub async fn open(directory: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, SearchError> {
        let (sender, receiver) = std_mpsc::channel();
        let (opened, view) = oneshot::channel();
        #[allow(clippy::disallowed_methods, reason = "tantivy's calls block: one thread owns them")]
        let spawned = std::thread::Builder::new().name("search-writer".to_owned()).spawn(move || {
            match Writer::open(directory, clock) {
                Ok(writer) => {
                    let _ = opened.send(Ok(writer.view()));
                    writer.run(&receiver);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        });
        spawned.map_err(|error| SearchError::Unavailable { reason: error.to_string() })?;
        let view = view.await.map_err(|_| SearchError::Closed)??;
        Ok(Self { writer: sender, view, searches: Semaphore::new(SEARCHES_MAX) })
    }

    async fn call<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, SearchError> {
        let (answer, answered) = oneshot::channel();
        self.writer.send(message(answer)).map_err(|_| SearchError::Closed)?;
        answered.await.map_err(|_| SearchError::Closed)
    }
}

#[async_trait]
impl SearchIndex for TantivySearchIndex {
    async fn cursors(&self) -> Result<FeedCursors, SearchError> {
        self.call(Message::Cursors).await
    }

    async fn apply(&self, batch: SearchBatch) -> Result<(), SearchError> {
        self.call(|answer| Message::Apply(batch, answer)).await?
    }

    async fn commit(&self) -> Result<(), SearchError> {
        self.call(Message::Commit).await?
    }

    async fn search(&self, query: &ProductQuery) -> Result<ProductPage, QueryError> {
        query.check()?;
        let _permit = self.searches.acquire().await.map_err(|_| SearchError::Closed)?;
        let view = self.view.read().expect("no code panics while holding this lock").clone();
        let (query, searched) = (query.clone(), view.clone());
        #[allow(clippy::disallowed_methods, reason = "tantivy's reads block on memory maps")]
        let task = tokio::task::spawn_blocking(move || searched.search(&query));
        let reason = match task.await {
            Ok(Ok(page)) => return Ok(page),
            Ok(Err(super::engine::ReadError::Query(error))) => return Err(error),
            Ok(Err(super::engine::ReadError::Damaged(reason))) => reason,
            Err(_) => "a search panicked".to_owned(),
        };
        let _ = self.writer.send(Message::Damaged { generation: view.generation, reason: reason.clone() });
        Err(QueryError::Unavailable { reason })
    }

    async fn close(&self) {
        let _ = self.call(Message::Close).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::schema;
    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::money::Currency;
    use crate::domain::pricing::JsonText;
    use crate::domain::time::Timestamp;
    use crate::persistence::log::GroupId;
    use crate::projections::query::{ProductItem, ProductQuery, VariantItem};
    use crate::projections::search::{SearchChange, SearchDocument};

    async fn open(directory: &Path) -> TantivySearchIndex {
        TantivySearchIndex::open(directory.to_path_buf(), Arc::new(SystemClock::new())).await.unwrap()
    }

    fn batch(index: u64) -> SearchBatch {
        let item = ProductItem {
            id: format!("tea-{index}").parse().unwrap(),
            title: "Tea".to_owned(),
            description: String::new(),
            categories: Vec::new(),
            attributes: JsonText::empty_object(),
            media: Vec::new(),
            version: 1,
            variants: vec![VariantItem {
                sku: format!("tea-{index}").parse().unwrap(),
                title: String::new(),
                attributes: JsonText::empty_object(),
                prices: [(Currency::USD, 100)].into(),
                available: 0,
            }],
        };
        let document = SearchDocument { item, attributes: [].into(), created_at: Timestamp(index) };
        SearchBatch { changes: vec![SearchChange::Put(Box::new(document))], cursors: [(GroupId(1), index)].into() }
    }

    async fn total(index: &TantivySearchIndex) -> u64 {
        index.search(&ProductQuery::default()).await.unwrap().total
    }

    fn files_of(directory: &Path, extension: &str) -> Vec<PathBuf> {
        let home = directory.join(format!("v{}", schema::VERSION));
        let files = std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
    }

    #[tokio::test]
    async fn documents_and_cursors_survive_a_restart_together() {
        let directory = tempfile::tempdir().unwrap();
        let index = open(directory.path()).await;
        index.apply(batch(5)).await.unwrap();
        index.close().await;
        let index = open(directory.path()).await;
        assert_eq!((index.cursors().await.unwrap(), total(&index).await), ([(GroupId(1), 5)].into(), 1));
    }

    #[tokio::test]
    #[allow(clippy::disallowed_methods, reason = "somebody else, who takes their time")]
    async fn a_lock_held_for_a_moment_by_somebody_who_is_going_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let index = open(directory.path()).await;
        index.apply(batch(5)).await.unwrap();
        index.close().await;
        let lock = directory.path().join(format!("v{}", schema::VERSION)).join(".tantivy-writer.lock");
        let held = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(lock).unwrap();
        assert!(fs4::fs_std::FileExt::try_lock_exclusive(&held).unwrap());
        let holder = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        let index = open(directory.path()).await;
        assert_eq!(total(&index).await, 1, "kept, not built anew");
        holder.join().unwrap();
    }

    #[tokio::test]
    async fn what_was_not_committed_is_missing_from_documents_and_cursors_alike() {
        let directory = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let index = open(directory.path()).await;
        index.apply(batch(5)).await.unwrap();
        index.commit().await.unwrap();
        let home = format!("v{}", schema::VERSION);
        std::fs::create_dir_all(copy.path().join(&home)).unwrap();
        index.apply(batch(6)).await.unwrap();
        for entry in std::fs::read_dir(directory.path().join(&home)).unwrap() {
            let file = entry.unwrap();
            std::fs::copy(file.path(), copy.path().join(&home).join(file.file_name())).unwrap();
        }
        let crashed = open(copy.path()).await;
        assert_eq!((crashed.cursors().await.unwrap(), total(&crashed).await), ([(GroupId(1), 5)].into(), 1));
    }

    #[tokio::test]
    async fn a_change_becomes_visible_without_an_explicit_commit() {
        let directory = tempfile::tempdir().unwrap();
        let index = open(directory.path()).await;
        index.apply(batch(1)).await.unwrap();
        let seen = async {
            while total(&index).await == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), seen).await.expect("visible well within a second");
    }

    #[tokio::test]
    async fn a_flipped_byte_empties_the_index_and_its_cursors_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let index = open(directory.path()).await;
        index.apply(batch(5)).await.unwrap();
        index.close().await;
        for extension in ["store", "fast", "term", "json"] {
            let file = files_of(directory.path(), extension).pop().expect("the file exists");
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            std::fs::write(&file, bytes).unwrap();
            let index = open(directory.path()).await;
            assert_eq!((index.cursors().await.unwrap(), total(&index).await), ([].into(), 0), "{extension}");
            index.apply(batch(5)).await.unwrap();
            index.close().await;
        }
    }

    #[tokio::test]
    async fn an_index_of_another_layout_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("v0")).unwrap();
        std::fs::write(directory.path().join("v0/meta.json"), "{}").unwrap();
        let index = open(directory.path()).await;
        assert_eq!(index.cursors().await.unwrap(), [].into());
        assert!(!directory.path().join("v0").exists());
    }

    #[tokio::test]
    async fn damage_found_while_searching_empties_the_index_and_tells_the_feeder_until_it_looks() {
        let directory = tempfile::tempdir().unwrap();
        let index = open(directory.path()).await;
        index.apply(batch(5)).await.unwrap();
        index.commit().await.unwrap();
        index.writer.send(Message::Damaged { generation: 0, reason: "a test says so".to_owned() }).unwrap();
        assert!(matches!(index.apply(batch(6)).await, Err(SearchError::Emptied { .. })));
        assert_eq!((index.cursors().await.unwrap(), total(&index).await), ([].into(), 0));
        index.writer.send(Message::Damaged { generation: 0, reason: "reported twice".to_owned() }).unwrap();
        index.apply(batch(6)).await.unwrap();
        index.commit().await.unwrap();
        assert_eq!((index.cursors().await.unwrap(), total(&index).await), ([(GroupId(1), 6)].into(), 1));
    }

    /// tantivy checks a file when it opens it; what rots later makes it panic. It reads the product whose SKU changes.
    #[tokio::test]
    async fn a_segment_that_rots_while_it_is_open_is_built_anew_and_the_writer_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let index = open(directory.path()).await;
        index.apply(batch(5)).await.unwrap();
        index.commit().await.unwrap();
        let file = files_of(directory.path(), "store").pop().expect("the file exists");
        let half = std::fs::metadata(&file).unwrap().len() / 2;
        let rotten = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&rotten, &vec![0; half as usize], 0).unwrap();
        let change = SearchChange::Stock { sku: "tea-5".parse().unwrap(), available: 1 };
        let heard = index.apply(SearchBatch { changes: vec![change], ..SearchBatch::default() }).await;
        assert!(matches!(heard, Err(SearchError::Emptied { .. })), "{heard:?}");
        assert_eq!((index.cursors().await, total(&index).await), (Ok([].into()), 0));
        index.apply(batch(6)).await.unwrap();
        index.commit().await.unwrap();
        assert_eq!((index.cursors().await, total(&index).await), (Ok([(GroupId(1), 6)].into()), 1));
    }
}
