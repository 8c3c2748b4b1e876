//! What is made of a disk that is full and of one that cannot fsync: nothing half-stored, and nobody told otherwise.
//! And what a power cut may find: never more than one batch of a queue that was not synced.

use std::io::{Error, ErrorKind, Result as IoResult};
use std::sync::atomic::{AtomicBool, Ordering};

use raft_engine::env::{Handle, Permission, WriteExt};

use super::*;

const GROUP: GroupId = GroupId(1);

/// The real file system with a switch for each thing that can go wrong, and notes of what was done to `.rewrite` files.
#[derive(Clone, Default)]
struct Faulty {
    full: Arc<AtomicBool>,
    sync_fails: Arc<AtomicBool>,
    rewrites: Arc<Mutex<Vec<Done>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Write(usize),
    Sync,
}

impl Faulty {
    fn note(&self, is_rewrite: bool, done: Done) {
        if is_rewrite {
            self.rewrites.lock().unwrap().push(done);
        }
    }

    fn handle(&self, path: &Path, handle: <DefaultFileSystem as FileSystem>::Handle) -> FaultyHandle {
        let is_rewrite = path.extension().is_some_and(|extension| extension == "rewrite");
        FaultyHandle(Arc::new(handle), self.clone(), is_rewrite)
    }
}

struct FaultyHandle(Arc<<DefaultFileSystem as FileSystem>::Handle>, Faulty, bool);
struct FaultyFile(<DefaultFileSystem as FileSystem>::Writer, Faulty, bool);

impl Handle for FaultyHandle {
    fn truncate(&self, offset: usize) -> IoResult<()> {
        Handle::truncate(self.0.as_ref(), offset)
    }
    fn file_size(&self) -> IoResult<usize> {
        Handle::file_size(self.0.as_ref())
    }
    fn sync(&self) -> IoResult<()> {
        if self.1.sync_fails.load(Ordering::SeqCst) {
            return Err(Error::other("the disk did not answer"));
        }
        self.1.note(self.2, Done::Sync);
        Handle::sync(self.0.as_ref())
    }
}

impl io::Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        if self.1.full.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::StorageFull, "nospace"));
        }
        self.1.note(self.2, Done::Write(bytes.len()));
        io::Write::write(&mut self.0, bytes)
    }
    fn flush(&mut self) -> IoResult<()> {
        io::Write::flush(&mut self.0)
    }
}

impl io::Seek for FaultyFile {
    fn seek(&mut self, position: io::SeekFrom) -> IoResult<u64> {
        io::Seek::seek(&mut self.0, position)
    }
}

impl WriteExt for FaultyFile {
    fn truncate(&mut self, offset: usize) -> IoResult<()> {
        WriteExt::truncate(&mut self.0, offset)
    }
    fn allocate(&mut self, offset: usize, size: usize) -> IoResult<()> {
        WriteExt::allocate(&mut self.0, offset, size)
    }
}

impl FileSystem for Faulty {
    type Handle = FaultyHandle;
    type Reader = <DefaultFileSystem as FileSystem>::Reader;
    type Writer = FaultyFile;

    fn create<P: AsRef<Path>>(&self, path: P) -> IoResult<FaultyHandle> {
        Ok(self.handle(path.as_ref(), DefaultFileSystem.create(path.as_ref())?))
    }
    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> IoResult<FaultyHandle> {
        Ok(self.handle(path.as_ref(), DefaultFileSystem.open(path.as_ref(), permission)?))
    }
    fn delete<P: AsRef<Path>>(&self, path: P) -> IoResult<()> {
        DefaultFileSystem.delete(path)
    }
    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> IoResult<()> {
        DefaultFileSystem.rename(from, to)
    }
    fn new_reader(&self, handle: Arc<FaultyHandle>) -> IoResult<Self::Reader> {
        DefaultFileSystem.new_reader(handle.0.clone())
    }
    fn new_writer(&self, handle: Arc<FaultyHandle>) -> IoResult<FaultyFile> {
        Ok(FaultyFile(DefaultFileSystem.new_writer(handle.0.clone())?, self.clone(), handle.2))
    }
}

fn entry(index: u64) -> LogEntry {
    LogEntry { index, bytes: bytes::Bytes::from(vec![index as u8 + 1; 100]) }
}

fn append(log: &RaftEngineLog, index: u64) -> oneshot::Receiver<Result<(), LogError>> {
    append_to(log, GROUP, entry(index))
}

fn append_to(log: &RaftEngineLog, group: GroupId, entry: LogEntry) -> oneshot::Receiver<Result<(), LogError>> {
    let (done, outcome) = oneshot::channel();
    log.append(group, vec![entry], Box::new(move |result| drop(done.send(result))));
    outcome
}

/// A group with few, large entries is quiet while another fills files and purges them: what the quiet one has is
/// copied out of the oldest file.
#[tokio::test]
async fn a_reclaim_syncs_what_it_rewrites_before_it_rewrites_more() {
    let directory = tempfile::tempdir().unwrap();
    let files = Faulty::default();
    let log = RaftEngineLog::open_on(&super::tests::options(directory.path()), files.clone()).unwrap();
    for index in 0..12 {
        let bytes = vec![7; 60 << 10].into();
        append_to(&log, GroupId(2), LogEntry { index, bytes }).await.unwrap().unwrap();
    }
    for index in 0..14 {
        let bytes = vec![7; 7 << 20].into();
        append_to(&log, GROUP, LogEntry { index, bytes }).await.unwrap().unwrap();
    }
    log.purge(GROUP, 14).await.unwrap();
    log.reclaim().await.unwrap();
    let done = std::mem::take(&mut *files.rewrites.lock().unwrap());
    let batches = done.iter().filter(|done| matches!(done, Done::Write(bytes) if *bytes > 60 << 10)).count();
    assert!(batches > 2, "the reclaim rewrites several batches: {done:?}");
    let unsynced = done.windows(2).find(|pair| pair.iter().all(|done| matches!(done, Done::Write(_))));
    assert_eq!(unsynced, None, "two writes with no sync between them: {done:?}");
    assert_eq!(log.read(GroupId(2), 0, 99, usize::MAX).await.unwrap().len(), 12);
    log.close().await;
}

#[tokio::test]
async fn a_full_disk_is_waited_out_and_nothing_queued_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let files = Faulty::default();
    let log = RaftEngineLog::open_on(&super::tests::options(directory.path()), files.clone()).unwrap();
    append(&log, 0).await.unwrap().unwrap();
    files.full.store(true, Ordering::SeqCst);
    let mut queued = [append(&log, 1), append(&log, 2), append(&log, 3)];
    assert!(queued.iter_mut().all(|outcome| outcome.try_recv().is_err()), "nobody is answered while it is full");
    files.full.store(false, Ordering::SeqCst);
    for outcome in queued {
        outcome.await.unwrap().unwrap();
    }
    log.close().await;
    let again = RaftEngineLog::open(&super::tests::options(directory.path())).unwrap();
    let expected: Vec<_> = (0..4).map(entry).collect();
    assert_eq!(again.read(GROUP, 0, 9, usize::MAX).await.unwrap(), expected);
    again.close().await;
}

#[tokio::test]
async fn what_a_full_disk_still_refuses_at_the_end_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let files = Faulty::default();
    let log = RaftEngineLog::open_on(&super::tests::options(directory.path()), files.clone()).unwrap();
    append(&log, 0).await.unwrap().unwrap();
    files.full.store(true, Ordering::SeqCst);
    let queued = [append(&log, 1), append(&log, 2)];
    log.close().await;
    for outcome in queued {
        assert!(matches!(outcome.await.unwrap(), Err(LogError::Full)));
    }
    let again = RaftEngineLog::open(&super::tests::options(directory.path())).unwrap();
    assert_eq!(again.read(GROUP, 0, 9, usize::MAX).await.unwrap(), [entry(0)]);
    again.close().await;
}

const CHILD: &str = "STOCKROOM_TEST_FSYNC_DIRECTORY";

/// Runs in a process of its own, started by the test below; does nothing otherwise.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "how the parent tells its child where to work")]
async fn child_whose_fsync_fails() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let files = Faulty::default();
    let log = RaftEngineLog::open_on(&super::tests::options(Path::new(&directory)), files.clone()).unwrap();
    append(&log, 0).await.unwrap().unwrap();
    files.sync_fails.store(true, Ordering::SeqCst);
    let _ = append(&log, 1).await;
    fs::write(Path::new(&directory).join("answered"), "").unwrap();
}

#[test]
fn a_failed_fsync_ends_the_process_before_anybody_is_answered() {
    use std::os::unix::process::ExitStatusExt;
    let directory = tempfile::tempdir().unwrap();
    let test = "persistence::raft_engine_log::fault_tests::child_whose_fsync_fails";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", test]).env(CHILD, directory.path()).output().unwrap();
    assert_eq!(output.status.signal(), Some(6), "ended by abort: {output:?}");
    assert!(!directory.path().join("answered").exists(), "somebody was answered");
}
