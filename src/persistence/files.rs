//! The files checkpoints are kept in: a small seam, because the simulator has no disk.
//!
//! A file is written once, from front to back, and appears under its name only when it is complete and durable. It is
//! then read in pieces and removed, never changed. Implementors: [`DiskFiles`] (production), [`MemoryFiles`] (tests
//! and simulation).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::datadir::sync_directory;

/// A place for named files.
#[async_trait]
pub trait Files: Send + Sync + 'static {
    /// Starts a file. It does not exist until finished; one of that name is then replaced.
    async fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>>;

    /// Bytes of a file from an offset on, at most `length_max`; empty at its end.
    async fn read(&self, name: &str, offset: u64, length_max: usize) -> io::Result<Bytes>;

    /// Names and sizes of all complete files, in name order.
    async fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Removes a file, if there.
    async fn remove(&self, name: &str) -> io::Result<()>;
}

/// A file being written.
#[async_trait]
pub trait FileWriter: Send {
    /// Adds bytes.
    async fn append(&mut self, bytes: Vec<u8>) -> io::Result<()>;

    /// Makes the file durable under its name. Dropping the writer instead leaves nothing.
    async fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Copies the file called `name` from one place to another.
pub async fn copy_file(from: &dyn Files, into: &dyn Files, name: &str) -> io::Result<()> {
    let mut writer = into.create(name).await?;
    let mut offset = 0;
    loop {
        let bytes = from.read(name, offset, COPY_BYTES).await?;
        if bytes.is_empty() {
            return writer.finish().await;
        }
        offset += bytes.len() as u64;
        writer.append(bytes.to_vec()).await?;
    }
}

/// Ending of a file that is not finished yet; removed when found by [`DiskFiles::open`].
const UNFINISHED: &str = "unfinished";

/// Files in a directory.
pub struct DiskFiles {
    directory: PathBuf,
}

impl DiskFiles {
    /// Uses a directory, creating it if missing, and removes what was never finished.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { directory: directory.to_path_buf() })
    }

    /// Uses a directory as it is: to read what somebody else keeps there.
    pub fn reading(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf() }
    }
}

/// Disk work blocks; it runs on tokio's blocking threads.
#[allow(clippy::disallowed_methods, reason = "the one home of checkpoint files; memory stands in for it in simulation")]
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    #[allow(clippy::disallowed_methods, reason = "checkpoint files are read and written off the runtime")]
    let work = tokio::task::spawn_blocking(work);
    work.await.map_err(io::Error::other)?
}

#[async_trait]
impl Files for DiskFiles {
    async fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>> {
        let path = self.directory.join(name);
        let unfinished = self.directory.join(format!("{name}.{UNFINISHED}"));
        let writer =
            blocking(move || Ok(DiskWriter { file: Some(File::create(&unfinished)?), unfinished, path })).await?;
        Ok(Box::new(writer))
    }

    async fn read(&self, name: &str, offset: u64, length_max: usize) -> io::Result<Bytes> {
        let path = self.directory.join(name);
        blocking(move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.take(length_max as u64).read_to_end(&mut bytes)?;
            Ok(bytes.into())
        })
        .await
    }

    async fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let directory = self.directory.clone();
        blocking(move || {
            let mut files = Vec::new();
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let name = entry.file_name().into_string().unwrap_or_default();
                if !name.ends_with(UNFINISHED) {
                    files.push((name, entry.metadata()?.len()));
                }
            }
            files.sort();
            Ok(files)
        })
        .await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.directory.join(name);
        blocking(move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }
}

struct DiskWriter {
    /// Lent to the blocking thread while it works.
    file: Option<File>,
    unfinished: PathBuf,
    path: PathBuf,
}

impl DiskWriter {
    async fn with_file(&mut self, work: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let mut file = self.file.take().ok_or_else(|| io::Error::other("an earlier write failed"))?;
        let file = blocking(move || work(&mut file).map(|()| file)).await?;
        self.file = Some(file);
        Ok(())
    }
}

#[async_trait]
impl FileWriter for DiskWriter {
    async fn append(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.with_file(move |file| file.write_all(&bytes)).await
    }

    async fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.with_file(|file| file.sync_all()).await?;
        let (unfinished, path) = (self.unfinished.clone(), self.path.clone());
        blocking(move || {
            fs::rename(unfinished, &path)?;
            path.parent().map_or(Ok(()), sync_directory)
        })
        .await
    }
}

impl Drop for DiskWriter {
    fn drop(&mut self) {
        // Gone already when finished; left over otherwise. A failure here costs only space until the next start.
        let _ = fs::remove_file(&self.unfinished);
    }
}

type Shared = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// Files in memory.
#[derive(Clone, Default)]
pub struct MemoryFiles {
    files: Shared,
}

impl MemoryFiles {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }
}

fn lock(files: &Shared) -> std::sync::MutexGuard<'_, BTreeMap<String, Bytes>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Files for MemoryFiles {
    async fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>> {
        Ok(Box::new(MemoryWriter { files: self.files.clone(), name: name.to_owned(), bytes: Vec::new() }))
    }

    async fn read(&self, name: &str, offset: u64, length_max: usize) -> io::Result<Bytes> {
        let bytes = lock(&self.files).get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.slice(from..from.saturating_add(length_max).min(bytes.len())))
    }

    async fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(lock(&self.files).iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.files).remove(name);
        Ok(())
    }
}

struct MemoryWriter {
    files: Shared,
    name: String,
    bytes: Vec<u8>,
}

#[async_trait]
impl FileWriter for MemoryWriter {
    async fn append(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> io::Result<()> {
        lock(&self.files).insert(self.name, self.bytes.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn suite(files: &dyn Files) {
        let mut writer = files.create("b").await.unwrap();
        writer.append(b"hello ".to_vec()).await.unwrap();
        assert_eq!(files.list().await.unwrap(), []);
        writer.append(b"world".to_vec()).await.unwrap();
        writer.finish().await.unwrap();
        files.create("a").await.unwrap().finish().await.unwrap();
        drop(files.create("never finished").await.unwrap());
        assert_eq!(files.list().await.unwrap(), [("a".to_owned(), 0), ("b".to_owned(), 11)]);
        assert_eq!(files.read("b", 3, 5).await.unwrap(), "lo wo");
        assert_eq!(files.read("b", 11, 5).await.unwrap(), "");
        assert_eq!(files.read("c", 0, 5).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        files.remove("b").await.unwrap();
        files.remove("b").await.unwrap();
        assert_eq!(files.list().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn files_in_memory_conform() {
        suite(&MemoryFiles::new()).await;
    }

    #[tokio::test]
    async fn files_on_disk_conform_and_leave_nothing_unfinished() {
        let directory = tempfile::tempdir().unwrap();
        suite(&DiskFiles::open(directory.path()).unwrap()).await;
        fs::write(directory.path().join("x.unfinished"), "cut short").unwrap();
        DiskFiles::open(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
