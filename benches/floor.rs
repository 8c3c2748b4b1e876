//! What the libraries below us take without us: the least that any shop built on them can cost.
//!
//! `cargo bench --bench floor -- DIRECTORY` prints one line of JSON each for an idle actor (resident bytes, of 100,000
//! that live under one supervisor) and for a row of the store (processor time in microseconds, of a million rows of 180
//! bytes at random keys, a thousand at a time as the store's owner gives them). The directory is where the store goes;
//! without one it is the system's for temporary files.

#![allow(clippy::disallowed_methods, reason = "a bench reads its own command line and clock, on no node")]

use std::path::PathBuf;

use ractor::{Actor, ActorProcessingErr, ActorRef};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ACTORS: u64 = 100_000;
const ROWS: u64 = 1_000_000;
const BATCH_ROWS: u64 = 1_000;
const VALUE: &[u8] = &[7; 150];

/// Hears nothing and holds nothing.
struct Idle;

impl Actor for Idle {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _myself: ActorRef<()>, _arguments: ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[allow(clippy::print_stdout, reason = "the result")]
fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!(r#"{{"idle_actor_bytes":{}}}"#, runtime.block_on(idle_actor()));
    runtime.shutdown_background();
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let directory = match named {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    println!(r#"{{"store_row_cpu_us":{:.1}}}"#, store_row(directory.expect("a directory").path()));
}

/// Resident bytes of one actor that waits for its first message.
async fn idle_actor() -> u64 {
    let (supervisor, _) = Actor::spawn(None, Idle, ()).await.expect("spawns");
    let before = resident_bytes();
    let mut actors = Vec::with_capacity(usize::try_from(ACTORS).expect("few"));
    for _ in 0..ACTORS {
        let (actor, _) = Actor::spawn_linked(None, Idle, (), supervisor.get_cell()).await.expect("spawns");
        actors.push(actor);
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    (resident_bytes() - before) / ACTORS
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("the second number");
    pages * 4_096
}

/// Processor time of all threads for one row.
fn store_row(directory: &std::path::Path) -> f64 {
    let store = sled::Config::new().path(directory.join("sled")).cache_capacity(64 << 20).flush_every_ms(None);
    let store = store.open().expect("opens");
    let before = processor_us();
    for batch in 0..ROWS / BATCH_ROWS {
        let mut rows = sled::Batch::default();
        for row in batch * BATCH_ROWS..(batch + 1) * BATCH_ROWS {
            let mut key = [0; 30];
            // Spread over the whole range, as SKUs are.
            key[..8].copy_from_slice(&row.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            rows.insert(&key, VALUE);
        }
        store.apply_batch(rows).expect("writes");
    }
    store.flush().expect("flushes");
    (processor_us() - before) / ROWS as f64
}

fn processor_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, after_name) = stat.rsplit_once(") ").expect("a name in brackets");
    // Hundredths of a second of user and system time are fields 14 and 15 of the line.
    let fields: Vec<f64> =
        after_name.split(' ').skip(11).take(2).map(|field| field.parse().expect("a number")).collect();
    fields.iter().sum::<f64>() * 10_000.0
}
