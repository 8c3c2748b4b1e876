//! The program under test as a process: started, killed, stopped, started again on the same data directory.
//!
//! A [`Home`] outlives the processes that use it. [`Shop`] is one running process; dropping it kills it.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A start or a stop that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at a process.
const LOOK: Duration = Duration::from_millis(5);

/// Where the running process listens, shared by all clients: it changes with every start.
#[derive(Clone, Debug, Default)]
pub struct Address {
    /// `http://IP:PORT` of the public listener.
    pub http: String,
    /// `http://IP:PORT` of the operators' listener.
    pub ops: String,
    /// A merchant's key.
    pub merchant: String,
}

/// A data directory and the settings its processes are started with.
pub struct Home {
    _root: Option<TempDir>,
    root: PathBuf,
    data: PathBuf,
    books: RefCell<PathBuf>,
    environment: RefCell<Vec<(String, String)>>,
    address: Arc<Mutex<Address>>,
}

/// A process that ended instead of getting ready.
#[derive(Debug)]
pub struct Refused {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// What it said.
    pub said: String,
}

/// A running process.
pub struct Shop {
    child: Child,
    log: PathBuf,
}

impl Home {
    /// A fresh directory.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_path_buf();
        Self { _root: Some(root), ..Self::with_data(&path, path.join("data")) }
    }

    /// A home whose data directory is somewhere else, e.g. on a file system of its own.
    pub fn with_data(root: &Path, data: PathBuf) -> Self {
        let environment = vec![
            ("STOCKROOM_PAYMENTS__TIMEOUT_MS".to_owned(), "400".to_owned()),
            ("STOCKROOM_NODE__SHARDS".to_owned(), "4".to_owned()),
            ("STOCKROOM_STORAGE__RESERVE_BYTES".to_owned(), "16777216".to_owned()),
        ];
        Self {
            _root: None,
            root: root.to_path_buf(),
            books: RefCell::new(data.join("simulated-payments.ledger")),
            data,
            environment: RefCell::new(environment),
            address: Arc::default(),
        }
    }

    /// The same home, whose processes get this variable as well, from the next start on.
    pub fn set(&self, name: &str, value: &str) {
        let mut environment = self.environment.borrow_mut();
        environment.retain(|(known, _)| known != name);
        environment.push((name.to_owned(), value.to_owned()));
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A directory for what belongs to the test.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where its processes listen.
    pub fn address(&self) -> Arc<Mutex<Address>> {
        self.address.clone()
    }

    /// The payment provider's books.
    pub fn books(&self) -> PathBuf {
        self.books.borrow().clone()
    }

    /// The provider is not inside the shop, and keeps its books here.
    pub fn books_are_at(&self, path: PathBuf) {
        *self.books.borrow_mut() = path;
    }

    /// Everything its processes ever said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("stderr.log")).unwrap_or_default()
    }

    /// The last of what they said.
    pub fn tail(&self) -> String {
        last_lines(&self.log())
    }

    /// A command of the program on this data directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockroom"));
        command.args(arguments).arg("--data").arg(&self.data).envs(self.environment.borrow().iter().cloned());
        command
    }

    /// Starts a process and waits until it is ready.
    pub async fn start(&self) -> Shop {
        self.try_start().await.unwrap_or_else(|refused| panic!("the shop did not start: {refused:#?}"))
    }

    /// Starts a process; it gets ready, or ends with a refusal.
    pub async fn try_start(&self) -> Result<Shop, Refused> {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
        let (shop, ready) = self.run(self.command(&serve)).await?;
        let url = |name: &str| format!("http://{}", ready[name].as_str().unwrap());
        let known = {
            let mut address = self.address.lock().unwrap();
            (address.http, address.ops) = (url("http"), url("ops"));
            !address.merchant.is_empty()
        };
        if !known {
            self.make_merchant().await;
        }
        Ok(shop)
    }

    /// Runs a command that serves something; its readiness line, or why there is none.
    pub async fn run(&self, mut command: Command) -> Result<(Shop, Value), Refused> {
        let log = self.root.join("stderr.log");
        let (errors, before) = append_to(&log);
        dies_with_us(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut shop = Shop { child, log: log.clone() };
        let Some(ready) = shop.first_line().await else {
            let status = shop.ended().await;
            let said = std::fs::read_to_string(&log).unwrap();
            return Err(Refused { code: status.code(), said: said[before..].to_owned() });
        };
        let ready: Value = serde_json::from_str(&ready).unwrap_or_else(|error| panic!("{ready:?}: {error}"));
        assert_eq!(ready["ready"], true, "the first line on stdout says ready");
        Ok((shop, ready))
    }

    async fn make_merchant(&self) {
        let url = format!("{}/ops/v1/keys", self.address.lock().unwrap().ops);
        let body = serde_json::json!({"role": "merchant"});
        let made: Value = crate::client::plain().post(url).json(&body).send().await.unwrap().json().await.unwrap();
        self.address.lock().unwrap().merchant = made["key"].as_str().unwrap().to_owned();
    }
}

impl Shop {
    /// Ends it as a power cut would: at once, whatever it is doing.
    pub async fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.ended().await;
        assert_eq!(status.signal(), Some(9), "the shop ended by itself before it was killed: {}", self.tail());
    }

    /// Tells it to stop and waits until it has.
    pub async fn stop(mut self) {
        self.terminate();
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "the shop stopped uncleanly ({status}): {}", self.tail());
    }

    /// Tells it to stop.
    pub fn terminate(&self) {
        let process = i32::try_from(self.child.id()).unwrap();
        // SAFETY: sends a signal to a child that was not waited for yet, so the number is still its own.
        assert_eq!(unsafe { libc::kill(process, libc::SIGTERM) }, 0);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the shop did not end: {}", self.tail());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Its first line on stdout; none when it ended before.
    async fn first_line(&mut self) -> Option<String> {
        let stdout = self.child.stdout.take().unwrap();
        let reading = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next());
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(line) => line.unwrap().map(Result::unwrap),
            Err(_) => panic!("the shop neither got ready nor ended: {}", self.tail()),
        }
    }

    fn tail(&self) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        last_lines(&said)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let group = i32::try_from(self.child.id()).unwrap();
            // SAFETY: sends a signal to the group of a child that was not waited for yet: the number is still its own.
            unsafe { libc::kill(-group, libc::SIGKILL) };
            let _ = self.child.wait();
        }
    }
}

/// The process leads a group of its own, killed with it as a whole, and is killed when the test's thread ends.
fn dies_with_us(command: &mut Command) {
    command.process_group(0);
    let die_too = || {
        // SAFETY: a system call without pointers, allowed between fork and exec.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure only makes that system call.
    unsafe { command.pre_exec(die_too) };
}

/// The file, open at its end, and where that is.
fn append_to(path: &Path) -> (File, usize) {
    let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let end = usize::try_from(file.metadata().unwrap().len()).unwrap();
    (file, end)
}

/// What a person would look at first.
fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
