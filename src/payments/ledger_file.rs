//! The simulated provider's books on disk: a real provider survives our crash, so its stand-in does.
//!
//! Append-only text, one entry per line: eight hex digits of CRC-32C, a space, the entry as JSON. A task owns the file,
//! writes whatever waits in one go and syncs it (group commit) before anyone is answered. Opening replays every line.
//! A last line without its line feed is a write that was cut short and never answered: it is dropped. Any other
//! damage is refused, naming file and line. After a failed write or sync nothing is answered any more until restart.
//!
//! Without a path the same handle keeps nothing and answers at once: for unit tests and the simulator.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::ledger::Entry;

/// Why a ledger file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenLedgerError {
    /// Reading or creating it failed.
    #[error("cannot open the payment ledger {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line that was once answered for is damaged.
    #[error("the payment ledger {path} is damaged at line {line}; restore it or move it away")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
}

/// The entries did not reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payment ledger cannot be written")]
pub struct WriteError;

/// Handle to the task that owns the file. Its queue is bounded by its callers: each waits for its own line.
pub struct LedgerFile(Option<mpsc::UnboundedSender<Write>>);

struct Write {
    lines: Vec<u8>,
    done: oneshot::Sender<()>,
}

/// Resolves when everything queued up to here is on disk.
pub struct Durable(Option<oneshot::Receiver<()>>);

impl Durable {
    /// Waits for it.
    pub async fn reached(self) -> Result<(), WriteError> {
        match self.0 {
            Some(done) => done.await.map_err(|_| WriteError),
            None => Ok(()),
        }
    }
}

impl LedgerFile {
    /// Keeps nothing.
    pub fn in_memory() -> Self {
        Self(None)
    }

    /// Opens or creates the file; also answers the entries in it, oldest first. Starts its task on this runtime.
    pub async fn open(path: &Path) -> Result<(Self, Vec<Entry>), OpenLedgerError> {
        let io = |source| OpenLedgerError::Io { path: path.to_owned(), source };
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).await.map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await.map_err(io)?;
        let whole = whole_lines(&bytes);
        let entries =
            read_lines(&bytes[..whole]).map_err(|line| OpenLedgerError::Damaged { path: path.to_owned(), line })?;
        if whole < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - whole, "payment ledger ended mid-line");
            file.set_len(whole as u64).await.map_err(io)?;
        }
        file.seek(io::SeekFrom::End(0)).await.map_err(io)?;
        file.sync_all().await.map_err(io)?;
        sync_directory(path).await.map_err(io)?;
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(write_all_queued(file, waiting));
        Ok((Self(Some(queue)), entries))
    }

    /// Queues entries behind all earlier ones; no entries at all ask for a barrier. Never blocks.
    pub fn append(&self, entries: &[Entry]) -> Durable {
        let Some(queue) = &self.0 else { return Durable(None) };
        let (done, durable) = oneshot::channel();
        let lines = entries.iter().flat_map(write_line).collect();
        // When the task has ended, `done` is dropped with the message, and `durable` says so.
        let _ = queue.send(Write { lines, done });
        Durable(Some(durable))
    }
}

/// The entries of a ledger nobody has open, oldest first; `None` when there is none. Leaves the file as it is.
pub async fn read(path: &Path) -> Result<Option<Vec<Entry>>, OpenLedgerError> {
    let bytes = match tokio::fs::read(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenLedgerError::Io { path: path.to_owned(), source }),
    };
    let damaged = |line| OpenLedgerError::Damaged { path: path.to_owned(), line };
    read_lines(&bytes[..whole_lines(&bytes)]).map(Some).map_err(damaged)
}

/// Bytes through the last line feed: what follows was cut short and never answered.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

async fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => tokio::fs::File::open(parent).await?.sync_all().await,
        None => Ok(()),
    }
}

/// Most writes joined into one sync.
const GROUP_MAX: usize = 1024;

async fn write_all_queued(mut file: tokio::fs::File, mut waiting: mpsc::UnboundedReceiver<Write>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while waiting.recv_many(&mut group, GROUP_MAX).await > 0 {
        let lines: Vec<u8> = group.iter().flat_map(|write| write.lines.iter().copied()).collect();
        if let Err(error) = write_and_sync(&mut file, &lines).await {
            tracing::error!(%error, "payment ledger cannot be written; the simulated provider answers nothing more");
            return;
        }
        for write in group.drain(..) {
            // Whoever asked may have gone; what is written stays true.
            let _ = write.done.send(());
        }
    }
}

async fn write_and_sync(file: &mut tokio::fs::File, lines: &[u8]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    file.write_all(lines).await?;
    file.flush().await?;
    file.sync_data().await
}

pub(crate) fn write_line(entry: &Entry) -> Vec<u8> {
    let json = serde_json::to_string(entry).expect("an entry is plain fields");
    format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes()
}

/// All entries, or the number of the first damaged line.
pub(crate) fn read_lines(bytes: &[u8]) -> Result<Vec<Entry>, usize> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.enumerate().map(|(index, line)| read_line(line).ok_or(index + 1)).collect()
}

fn read_line(line: &[u8]) -> Option<Entry> {
    let (checksum, json) = line.strip_suffix(b"\n")?.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    let checksum = u32::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
    (crc32c::crc32c(json) == checksum).then(|| serde_json::from_slice(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::OrderId;
    use crate::domain::money::{Currency, Money};
    use crate::domain::payment::PaymentOutcome;
    use crate::payments::ledger::Asked;

    fn entry(key: &str) -> Entry {
        let asked = Asked::Authorise { amount: Money { amount: 1999, currency: Currency::USD } };
        Entry::Answered { key: key.into(), order: OrderId([1; 16]), asked, outcome: PaymentOutcome::Authorised }
    }

    async fn written(path: &Path, entries: &[Entry]) {
        let (file, _) = LedgerFile::open(path).await.unwrap();
        file.append(entries).reached().await.unwrap();
    }

    #[test]
    fn a_line_is_the_bytes_it_has_always_been() {
        let json = r#"{"Answered":{"key":"a","order":"01010101010101010101010101010101","#.to_owned()
            + r#""asked":{"Authorise":{"amount":{"amount":1999,"currency":"USD"}}},"outcome":"Authorised"}}"#;
        let line = String::from_utf8(write_line(&entry("a"))).unwrap();
        assert_eq!(line, format!("236f905e {json}\n"));
    }

    #[tokio::test]
    async fn what_was_answered_is_there_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        written(&path, &[entry("a"), entry("b")]).await;
        written(&path, &[Entry::Settled { key: "b".into() }]).await;
        let (_, entries) = LedgerFile::open(&path).await.unwrap();
        assert_eq!(entries, [entry("a"), entry("b"), Entry::Settled { key: "b".into() }]);
    }

    #[tokio::test]
    async fn a_write_cut_short_is_dropped_wherever_the_cut_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (first, second) = (write_line(&entry("a")), write_line(&entry("b")));
        for cut in 0..second.len() {
            std::fs::write(&path, [&first[..], &second[..cut]].concat()).unwrap();
            written(&path, &[entry("c")]).await;
            let (_, entries) = LedgerFile::open(&path).await.unwrap();
            assert_eq!(entries, [entry("a"), entry("c")], "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_in_an_answered_line_is_refused_naming_the_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (first, second) = (write_line(&entry("a")), write_line(&entry("b")));
        for position in 0..first.len() - 1 {
            let mut bytes = [&first[..], &second[..]].concat();
            bytes[position] ^= 0x04;
            std::fs::write(&path, &bytes).unwrap();
            let refused = LedgerFile::open(&path).await.err();
            assert!(matches!(refused, Some(OpenLedgerError::Damaged { line: 1, .. })), "at {position}: {refused:?}");
        }
    }
}
