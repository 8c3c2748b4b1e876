//! What the tests of the simulator share: the program, and one failure to look into.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// Runs the simulator to its end.
pub fn simulator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stockroom-sim"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What it said on stdout and stderr; fails unless it ends with this code.
pub fn ends_with(code: i32, arguments: &[&str]) -> (String, String) {
    let output = simulator(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?} said:\n{out}\n{err}");
    (out.into_owned(), err.into_owned())
}

/// What it said on stdout; fails unless it passes.
pub fn passes(arguments: &[&str]) -> String {
    ends_with(0, arguments).0
}

/// The same, read as JSON.
pub fn passes_with_json(arguments: &[&str]) -> Value {
    let told = passes(&[arguments, &["--json"]].concat());
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {told}"))
}

/// A small shop on a disk that lies about syncs: sooner or later something accepted is lost.
const LYING: &str = r#"
    name = "lying"
    about = "a disk that lies about syncs"
    world.safety_s = 6
    shop.products = 2
    shoppers.count = 3
    shoppers.purchases = 12
    shoppers.think_ms = 150
    merchants.restock_every_s = 2
    faults.crash_every_s = 1
    faults.down_max_ms = 300
    faults.lose_synced_one_in = 1
    faults.slow_disk_every_s = 1
    faults.slow_disk_max_ms = 500
    faults.slow_sync_max_ms = 20
"#;

/// The law a lying disk breaks.
pub const LAW: &str = "SIM-ACCEPTED-IS-KEPT";

/// A failure of [`LAW`], made once; tests that change it take a copy.
pub struct Failed {
    /// Emptied when the tests end.
    _root: tempfile::TempDir,
    /// `failures/lying/<seed>`.
    pub directory: PathBuf,
    /// What was said when it failed.
    pub told: String,
}

/// The one failure.
pub fn failed() -> &'static Failed {
    static FAILED: OnceLock<Failed> = OnceLock::new();
    FAILED.get_or_init(|| {
        let root = tempfile::tempdir().unwrap();
        let (file, failures) = (root.path().join("lying.toml"), root.path().join("failures"));
        std::fs::write(&file, LYING).unwrap();
        for seed in 1..=10 {
            let seed = seed.to_string();
            let output = simulator(&["run", text(&file), "--seed", &seed, "--failures", text(&failures)]);
            let directory = failures.join("lying").join(&seed);
            if output.status.code() == Some(1) && run_json(&directory)["law"] == LAW {
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                return Failed { _root: root, directory, told };
            }
        }
        panic!("ten seeds on a disk that lies lose nothing");
    })
}

/// A copy of the failure that may be changed.
pub fn copy_of_failed() -> (tempfile::TempDir, PathBuf) {
    let copy = tempfile::tempdir().unwrap();
    let directory = copy.path().join("1");
    std::fs::create_dir(&directory).unwrap();
    for entry in std::fs::read_dir(&failed().directory).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
    }
    (copy, directory)
}

/// `run.json` of a failure.
pub fn run_json(directory: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(directory.join("run.json")).unwrap()).unwrap()
}

/// Replaces something in a file.
pub fn replace(file: &Path, what: &str, with: &str) {
    let before = std::fs::read_to_string(file).unwrap();
    assert!(before.contains(what), "{}: no {what}: {before}", file.display());
    std::fs::write(file, before.replace(what, with)).unwrap();
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
