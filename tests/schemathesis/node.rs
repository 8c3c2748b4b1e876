//! A real node with the demo catalogue.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Killed when dropped.
pub struct Node {
    /// Where its public listener is.
    pub http: String,
    /// Where its operators' listener is.
    pub ops: String,
    process: Child,
    data: PathBuf,
}

impl Node {
    pub fn start(directory: &Path) -> Self {
        let data = directory.join("data");
        let mut process = Command::new(env!("CARGO_BIN_EXE_stockroom"))
            .args(["serve", "--demo", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .env("STOCKROOM_TELEMETRY__LOG_FILTER", "warn")
            // A machine that is busy with other tests is slow, which is no fault of the shop's.
            .env("STOCKROOM_ROUTER__DEADLINE_MS", "35000")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the node is not ready: {line:?}"));
        let address = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { http: address("http"), ops: address("ops"), process, data }
    }

    /// A new API key.
    pub fn key(&self, role: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockroom"));
        let output = command.args(["key", "create", "--role", role, "--data"]).arg(&self.data).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().split_whitespace().last().unwrap().to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
