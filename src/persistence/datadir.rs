//! The data directory: its layout, its lock, its format number and its ballast.
//!
//! ```text
//! <data>/FORMAT          format number, one line of text
//!        LOCK            held exclusively while a process uses the directory
//!        BALLAST         reserved bytes, given back when the disk is full (P28)
//!        log/            raft-engine: the truth
//!        checkpoints/    one file per shard snapshot: the truth once the log before it is purged
//!        sled/           entity journals and snapshots: rebuildable
//!        search/         tantivy: rebuildable
//!        backups/        backups nobody asked to be put elsewhere
//!        set-aside/      what was damaged or cut off, kept for inspection
//! ```
//!
//! Refuses: a directory another process uses, one written by a newer Stockroom, and one that holds anything else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs4::fs_std::FileExt;

/// What this binary writes and reads.
pub const FORMAT: u32 = 1;

const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";
/// How often the lock is asked for, and the pause between. A living holder is worth a third of a second; one that is
/// being taken apart ten seconds, because the system gives gigabytes of memory back before it lets go of locks.
const LOCK_ATTEMPTS: u32 = 7;
const LOCK_ATTEMPTS_OF_A_GOING_HOLDER: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
const BALLAST_FILE: &str = "BALLAST";
/// How ballast is written: zeros would be a hole on file systems that compress.
const BALLAST_CHUNK_BYTES: usize = 1 << 20;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{path} is in use by another process{holder}; stop it or choose another --data directory")]
    InUse {
        /// Which directory.
        path: String,
        /// ` (process 123)`, when it left its number.
        holder: String,
    },
    /// Written by a newer Stockroom.
    #[error("{path} has format {found}, this program knows up to {known}; use a newer Stockroom")]
    NewerFormat {
        /// Which directory.
        path: String,
        /// What it says.
        found: u32,
        /// What this binary knows.
        known: u32,
    },
    /// Not a data directory.
    #[error("{path} is not a Stockroom data directory: {reason}")]
    Foreign {
        /// Which directory.
        path: String,
        /// What gives it away.
        reason: String,
    },
    /// To be filled, and filled already.
    #[error("{path} is a data directory already")]
    Occupied {
        /// Which directory.
        path: String,
    },
    /// The operating system refused.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A data directory that is ours until dropped.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl DataDir {
    /// Locks the directory, creating and initialising an empty or missing one.
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        create(root)?;
        let lock = lock(root)?;
        let format = root.join(FORMAT_FILE);
        match fs::read_to_string(&format) {
            Ok(text) => check_format(root, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse_foreign(root)?;
                initialise(&format)?;
            }
            Err(source) => return Err(io_error("read", &format, source)),
        }
        Ok(Self { root: root.to_path_buf(), _lock: lock })
    }

    /// Locks a missing or empty directory, to be filled and then declared with [`DataDir::declare`]: until then nobody
    /// takes it for a data directory.
    pub fn prepare(root: &Path) -> Result<Self, DataDirError> {
        create(root)?;
        let lock = lock(root)?;
        if Self::is_initialised(root) {
            return Err(DataDirError::Occupied { path: root.display().to_string() });
        }
        refuse_foreign(root)?;
        Ok(Self { root: root.to_path_buf(), _lock: lock })
    }

    /// Declares a filled directory a data directory of this format.
    pub fn declare(&self) -> Result<(), DataDirError> {
        initialise(&self.root.join(FORMAT_FILE))
    }

    /// Whether this directory was initialised before; says nothing about who uses it.
    pub fn is_initialised(root: &Path) -> bool {
        root.join(FORMAT_FILE).is_file()
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the log is.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Where checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Where the store is.
    pub fn store(&self) -> PathBuf {
        self.root.join("sled")
    }

    /// Where the search index is.
    pub fn search(&self) -> PathBuf {
        self.root.join("search")
    }

    /// Where backups go unless said otherwise.
    pub fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }

    /// Where damaged things go.
    pub fn set_aside(&self) -> PathBuf {
        self.root.join("set-aside")
    }

    /// Moves something out of the way under a fresh name and returns where it is now.
    pub fn move_aside(&self, path: &Path) -> Result<PathBuf, DataDirError> {
        let aside = self.set_aside();
        fs::create_dir_all(&aside).map_err(|source| io_error("create", &aside, source))?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("unnamed");
        let target = (1..).map(|number| aside.join(format!("{name}.{number}"))).find(|target| !target.exists());
        let target = target.expect("numbers do not run out");
        fs::rename(path, &target).map_err(|source| io_error("move aside", path, source))?;
        sync_directory(&self.root).map_err(|source| io_error("sync", &self.root, source))?;
        Ok(target)
    }

    /// Sees to it that the ballast has its size, so that there is something to give back when the disk is full.
    /// Answers whether it is complete; a disk without room for it is not an error.
    pub fn restore_ballast(&self, bytes: u64) -> Result<bool, DataDirError> {
        let path = self.root.join(BALLAST_FILE);
        let mut file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.as_mut().map_err(|error| io_error("open", &path, error.kind().into()))?;
        let mut present = file.metadata().map_err(|source| io_error("read", &path, source))?.len();
        let chunk: Vec<u8> = (0..BALLAST_CHUNK_BYTES).map(|position| (position % 251) as u8).collect();
        while present < bytes {
            let wanted = usize::try_from(bytes - present).unwrap_or(usize::MAX).min(chunk.len());
            match file.write(&chunk[..wanted]) {
                Ok(written) => present += written as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(false),
                Err(source) => return Err(io_error("write", &path, source)),
            }
        }
        file.sync_data().map_err(|source| io_error("sync", &path, source))?;
        Ok(true)
    }

    /// Gives the ballast back to the file system; answers how many bytes that were.
    pub fn release_ballast(&self) -> Result<u64, DataDirError> {
        let path = self.root.join(BALLAST_FILE);
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path, error)),
            _ => Ok(bytes),
        }
    }

    /// Bytes the file system still has for us. The one place that asks.
    pub fn free_bytes(&self) -> Result<u64, DataDirError> {
        fs4::available_space(&self.root).map_err(|source| io_error("read free space of", &self.root, source))
    }
}

fn lock(root: &Path) -> Result<File, DataDirError> {
    let path = root.join(LOCK_FILE);
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = opened.map_err(|source| io_error("open", &path, source))?;
    if !try_lock_patiently(&file, &path).map_err(|source| io_error("lock", &path, source))? {
        let holder = holder(&path).map(|process| format!(" (process {process})")).unwrap_or_default();
        return Err(DataDirError::InUse { path: root.display().to_string(), holder });
    }
    let process = std::process::id().to_string();
    file.set_len(0).and_then(|()| file.write_all(process.as_bytes())).map_err(|e| io_error("write", &path, e))?;
    Ok(file)
}

/// A process that was just killed holds its locks until the system has taken it apart: worth a moment's patience.
#[allow(clippy::disallowed_methods, reason = "opening a directory blocks anyway, before anything runs")]
fn try_lock_patiently(file: &File, path: &Path) -> io::Result<bool> {
    for attempt in 1.. {
        if FileExt::try_lock_exclusive(file)? {
            return Ok(true);
        }
        let attempts = if holder(path).is_some_and(is_going) { LOCK_ATTEMPTS_OF_A_GOING_HOLDER } else { LOCK_ATTEMPTS };
        if attempt >= attempts {
            break;
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Ok(false)
}

/// The process that wrote its number into the lock file.
fn holder(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether the system is taking this process apart, or has: it has no memory any more, and with it no command line.
/// `false` where the system does not say.
fn is_going(process: u32) -> bool {
    let of_processes = Path::new("/proc");
    let command_line = fs::read(of_processes.join(process.to_string()).join("cmdline"));
    of_processes.join("self").exists() && command_line.map_or(true, |text| text.is_empty())
}

/// Creates a missing directory for its owner alone: the log holds what opens carts and orders. The rights of one that
/// is there are its owner's to choose.
fn create(root: &Path) -> Result<(), DataDirError> {
    use std::os::unix::fs::DirBuilderExt;
    let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
    let created =
        parent.map_or(Ok(()), fs::create_dir_all).and_then(|()| match fs::DirBuilder::new().mode(0o700).create(root) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && root.is_dir() => Ok(()),
            created => created,
        });
    created.map_err(|source| io_error("create", root, source))
}

fn check_format(root: &Path, text: &str) -> Result<(), DataDirError> {
    let path = root.display().to_string();
    match text.trim().strip_prefix("stockroom ").map(str::parse::<u32>) {
        Some(Ok(found)) if found > FORMAT => Err(DataDirError::NewerFormat { path, found, known: FORMAT }),
        Some(Ok(_)) => Ok(()),
        _ => Err(DataDirError::Foreign { path, reason: format!("its {FORMAT_FILE} file says {text:?}") }),
    }
}

/// Refuses a directory that holds anything but our lock.
fn refuse_foreign(root: &Path) -> Result<(), DataDirError> {
    let entries = fs::read_dir(root).map_err(|source| io_error("list", root, source))?;
    let found = entries
        .flatten()
        .map(|entry| entry.file_name())
        .find(|name| name != LOCK_FILE && name.to_str().is_none_or(|name| !name.starts_with(FORMAT_FILE)));
    if let Some(found) = found {
        let reason = format!("it has no {FORMAT_FILE} file but holds {}", found.display());
        return Err(DataDirError::Foreign { path: root.display().to_string(), reason });
    }
    Ok(())
}

/// Writes the format file.
fn initialise(format: &Path) -> Result<(), DataDirError> {
    let written = write_durably(format, format!("stockroom {FORMAT}\n").as_bytes());
    written.map_err(|source| io_error("write", format, source))
}

/// Writes a file so that after a crash it is either wholly there or not at all.
pub(super) fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Renames so that after a crash it has either happened or not.
pub(super) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), sync_directory)
}

/// Makes renames and removals in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Bytes of all files in a directory and below.
pub(super) fn directory_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { directory_bytes(&entry.path()) } else { metadata.len() })
    });
    sizes.sum()
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { operation, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_made_and_found_again() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("shop");
        assert!(!DataDir::is_initialised(&root));
        drop(DataDir::open(&root).unwrap());
        assert!(DataDir::is_initialised(&root));
        assert_eq!(fs::read_to_string(root.join("FORMAT")).unwrap(), "stockroom 1\n");
        drop(DataDir::open(&root).unwrap());
    }

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let root = tempfile::tempdir().unwrap();
        let held = DataDir::open(root.path()).unwrap();
        let error = DataDir::open(root.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        drop(held);
        DataDir::open(root.path()).unwrap();
    }

    /// A child that has ended and was not waited for is what a process is while the system takes it apart.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "somebody else, who takes their time")]
    fn a_holder_that_is_being_taken_apart_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let held = DataDir::open(root.path()).unwrap();
        let mut going = std::process::Command::new("true").spawn().unwrap();
        let process = going.id();
        while !is_going(process) {
            std::thread::sleep(Duration::from_millis(1));
        }
        fs::write(root.path().join("LOCK"), process.to_string()).unwrap();
        let holder = std::thread::spawn(move || {
            std::thread::sleep(LOCK_PAUSE * (LOCK_ATTEMPTS + 3));
            drop(held);
        });
        DataDir::open(root.path()).unwrap();
        holder.join().unwrap();
        going.wait().unwrap();
        assert!(!is_going(std::process::id()));
    }

    #[test]
    fn a_newer_format_is_refused_with_both_numbers() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("FORMAT"), "stockroom 7\n").unwrap();
        let error = DataDir::open(root.path()).unwrap_err();
        assert!(matches!(error, DataDirError::NewerFormat { found: 7, known: FORMAT, .. }), "{error}");
    }

    #[test]
    fn somebody_elses_directory_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.txt"), "irreplaceable").unwrap();
        assert!(matches!(DataDir::open(root.path()), Err(DataDirError::Foreign { .. })));
        fs::write(root.path().join("FORMAT"), "something else").unwrap();
        assert!(matches!(DataDir::open(root.path()), Err(DataDirError::Foreign { .. })));
    }

    #[test]
    fn ballast_grows_to_its_size_and_is_given_back() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).unwrap();
        assert!(data.restore_ballast(3_000_000).unwrap());
        assert!(data.restore_ballast(3_000_000).unwrap());
        assert_eq!(data.release_ballast().unwrap(), 3_000_000);
        assert_eq!(data.release_ballast().unwrap(), 0);
        assert!(data.free_bytes().unwrap() > 0);
    }

    #[test]
    fn things_moved_aside_keep_apart() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).unwrap();
        for expected in ["sled.1", "sled.2"] {
            fs::create_dir(data.store()).unwrap();
            assert_eq!(data.move_aside(&data.store()).unwrap(), data.set_aside().join(expected));
        }
    }
}
