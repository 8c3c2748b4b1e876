//! This program again, as a child that runs one seed; and what this program is.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::Chosen;
use crate::sim::failure::Provenance;

/// Between two looks at a child whose time is limited.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Starts a child that runs this seed and answers with its outcome as JSON.
pub(super) fn start(chosen: &Chosen, seed: u64, more: &[String]) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    let mut process = Command::new(program);
    process.arg("run").args(chosen.arguments(seed)).arg("--json").args(more);
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.spawn().map_err(|error| format!("a child cannot be started: {error}"))
}

/// Runs a child to its end.
pub(super) fn run(chosen: &Chosen, seed: u64, more: &[String]) -> Result<Output, String> {
    start(chosen, seed, more)?.wait_with_output().map_err(|error| error.to_string())
}

/// Runs a child until this moment at the latest; `None` when it had not ended by then.
pub(super) fn run_until(chosen: &Chosen, seed: u64, more: &[String], until: Instant) -> Result<Option<Output>, String> {
    let mut child = start(chosen, seed, more)?;
    // Its pipes are read by threads, or a child with much to say would wait for ever.
    let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    std::thread::scope(|scope| {
        let read = |from: &mut dyn std::io::Read| {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).map(|_| bytes)
        };
        let stdout = scope.spawn(move || read(&mut out));
        let stderr = scope.spawn(move || read(&mut err));
        let mut ended = None;
        while ended.is_none() {
            if Instant::now() >= until {
                let _ = child.kill();
                let _ = child.wait();
                break;
            }
            ended = child.try_wait().map_err(|error| error.to_string())?;
            std::thread::sleep(LOOK_AGAIN);
        }
        let stdout = stdout.join().expect("reading does not panic").map_err(|error| error.to_string())?;
        let stderr = stderr.join().expect("reading does not panic").map_err(|error| error.to_string())?;
        Ok(ended.map(|status| Output { status, stdout, stderr }))
    })
}

/// What this program was built from and by, as far as it can be found out where it runs.
pub(super) fn provenance() -> Provenance {
    let changed =
        said("git", &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    let commit = said("git", &["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let toolchain = said("rustc", &["--version"]).unwrap_or_else(|| "unknown".to_owned());
    Provenance { commit: if changed { commit + "-dirty" } else { commit }, toolchain, build: build() }
}

/// Size and time of this program's file: another build has others.
fn build() -> String {
    let file = std::env::current_exe().and_then(|path| Path::new(&path).metadata());
    let Ok(file) = file else { return "unknown".to_owned() };
    let modified = file.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{} bytes of {}", file.len(), modified.as_millis())
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}
