//! Catalogue files far larger than what a node may take of memory for them: they stream, in, through and out.
//!
//! The node keeps few entities in memory here, so that what grows is what the file takes and not what the shop keeps
//! for its shoppers (`entities.resident_max`).

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::{Api, Node, merchant_key, stockroom};

/// Text of one product.
const DESCRIPTION_BYTES: usize = 16_000;
/// Products stored and written out.
const PRODUCTS: usize = 2_000;
const MIB: u64 = 1 << 20;
/// What a file on its way may take of the node's memory; measured: nothing coming in, 1 to 5 MiB going out.
const FILE_BYTES_MAX: u64 = 20 * MIB;
/// Everything the command has in memory; measured: 45 MiB, most of it the program itself.
const CLIENT_BYTES_MAX: u64 = 64 * MIB;

/// Writes a file of so many products, every so many of which lack a title; its length.
fn write(path: &Path, products: usize, wrong_every: usize) -> u64 {
    let words = "linen oak brass silk river stone lamp wool amber cedar copper mint ";
    let description: String = words.chars().cycle().take(DESCRIPTION_BYTES).collect();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    for number in 1..=products {
        let title = if number % wrong_every == 0 { "" } else { "large" };
        let variants = json!([{"sku": format!("LARGE-{number}"), "prices": {"USD": number}}]);
        let id = format!("large-{number}");
        writeln!(file, "{}", json!({"id": id, "title": title, "description": description, "variants": variants}))
            .unwrap();
    }
    file.into_inner().unwrap().metadata().unwrap().len()
}

/// A number of `/proc/PID/status`, bytes.
fn memory(process: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// By how much a process grew at most while `work` was done, bytes.
fn growth<T>(process: u32, work: impl FnOnce() -> T) -> (T, u64) {
    // Sets the peak to what is in memory now (proc(5)).
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
    let before = memory(process, "VmRSS");
    let done = work();
    (done, memory(process, "VmHWM").saturating_sub(before))
}

/// Runs `stockroom catalog …`: its report, and the most memory it had, bytes.
#[allow(clippy::zombie_processes, reason = "wait4 waits for it, as only that tells what it had of memory")]
fn catalog(data: &Path, key: &str, arguments: &[&str]) -> (Value, u64) {
    let mut command = stockroom(data);
    command.arg("catalog").args(arguments).args(["--json", "--key", key]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut report = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut report).unwrap();
    let process = i32::try_from(child.id()).unwrap();
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: waits for a child nobody else waits for, and fills in what is pointed to before it returns its number.
    let usage = unsafe {
        assert_eq!(libc::wait4(process, &raw mut status, 0, usage.as_mut_ptr()), process);
        usage.assume_init()
    };
    let peak = u64::try_from(usage.ru_maxrss).unwrap() * 1024;
    (serde_json::from_slice(&report).unwrap_or(Value::Null), peak)
}

/// Reads all that an export will read, and waits until the node has done what the import left to be done, e.g. for
/// search: both fill caches that are as large for a small file.
async fn settle(node: &Node, api: &Api) {
    for number in 1..=PRODUCTS {
        let (status, _) = api.call(Method::GET, &format!("/v1/products/large-{number}"), None).await;
        assert_eq!(status, 200);
    }
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = memory(node.id(), "VmRSS");
        if now.abs_diff(before) < MIB {
            return;
        }
        before = now;
    }
}

#[tokio::test]
async fn files_larger_than_what_they_may_take_of_memory_stream_in_and_out() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &[], &[("STOCKROOM_ENTITIES__RESIDENT_MAX", "100")]);
    let key = merchant_key(data.path());
    let path = data.path().join("large.ndjson");
    let large = path.to_str().unwrap();

    let bytes = write(&path, 8_000, 100);
    let dry_run = || catalog(data.path(), &key, &["import", large, "--dry-run"]);
    let ((checked, client_peak), node_grew) = growth(node.id(), dry_run);
    assert_eq!((&checked["failed"], &checked["done_through_line"]), (&json!(80), &json!(8_000)));
    assert_eq!(checked["errors"][79]["line"], 8_000);
    assert!(bytes > 120 * MIB, "{bytes} show nothing");
    assert!(node_grew < FILE_BYTES_MAX, "{bytes} in, and the node grew by {node_grew}");
    assert!(client_peak < CLIENT_BYTES_MAX, "{bytes} out, and the command had {client_peak}");

    // That no more of an import is under way than is being stored is its own test,
    // `a_shop_that_is_behind_stops_the_reading`.
    write(&path, PRODUCTS, usize::MAX);
    let (taken, client_peak) = catalog(data.path(), &key, &["import", large]);
    assert_eq!((&taken["failed"], &taken["created"]), (&json!(0), &json!(PRODUCTS)), "{taken}");
    assert!(client_peak < CLIENT_BYTES_MAX, "the command had {client_peak}");

    settle(&node, &Api::to(&node, data.path())).await;
    for name in ["out.ndjson", "out.csv"] {
        let out = data.path().join(name);
        let export = || catalog(data.path(), &key, &["export", out.to_str().unwrap()]);
        let ((_, client_peak), node_grew) = growth(node.id(), export);
        let bytes = out.metadata().unwrap().len();
        assert!(bytes > 30 * MIB, "{bytes} show nothing");
        assert!(node_grew < FILE_BYTES_MAX, "{bytes} out, and the node grew by {node_grew}");
        assert!(client_peak < CLIENT_BYTES_MAX, "{bytes} in, and the command had {client_peak}");
    }
}
