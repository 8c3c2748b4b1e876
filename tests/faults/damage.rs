//! Damaged, missing, locked and foreign files: recovered without a loss, or refused precisely. Never silently less.

use std::os::unix::fs::FileExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use futures::FutureExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::json;

use crate::auditor::Book;
use crate::checkpoints::checkpointed;
use crate::client::{Call, Client};
use crate::shop::{Home, Refused, Shop};

/// Exit code of a refusal because of damage, as `--help` documents it.
pub const FINDINGS: i32 = 4;
/// Exit code of a directory in use or of a newer format.
const DATA_DIRECTORY: i32 = 6;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Places at which a byte is flipped, spread over a file.
const PLACES: u64 = 4;

/// A home with something of everything in it, and no process.
async fn furnished(kill: bool) -> (Home, Book) {
    let (home, book) = (Home::new(), Book::default());
    let client = Client::new(&home);
    let shop = home.start().await;
    client.list(&["CUP-1", "POT-1"], 1999).await;
    for round in 1..=8 {
        book.stock(&client, "CUP-1", 3).await;
        book.stock(&client, "POT-1", 2).await;
        let cart = client.cart(&[("CUP-1", 1), ("POT-1", 1)]).await;
        let token = if round % 4 == 0 { "tok_declined" } else { "tok_ok" };
        let placed = client.send(&Client::order(&cart, token).wait(20)).await.expect(201);
        book.order(placed["id"].as_str().unwrap());
        let cart = client.cart(&[]).await;
        client.send(&Client::line(&cart, "CUP-1", round)).await.expect(200);
        book.line(&cart, "CUP-1", round);
        let held = Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1, "ttl_seconds": 3600}));
        let held = client.send(&held).await.expect(201);
        book.hold("CUP-1", held["id"].as_str().unwrap(), 1);
    }
    book.audit(&home, &client).await;
    if kill {
        shop.kill().await
    } else {
        shop.stop().await
    }
    (home, book)
}

/// Starts on what is left; everything must be there, and the shop must sell.
pub async fn whole(home: &Home, book: &Book) {
    let shop = home.start().await;
    let client = Client::new(home);
    book.audit(home, &client).await;
    let held = client.send(&Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1}))).await;
    book.hold("CUP-1", held.expect(201)["id"].as_str().unwrap(), 1);
    shop.stop().await;
}

pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.metadata().unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub fn length(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

/// Bytes up to the last one that is not zero.
fn used(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

pub fn flip(path: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], offset).unwrap();
}

pub fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Makes a directory what its copy is; the copy stays.
pub fn put_back(directory: &Path, good: &Path) {
    std::fs::remove_dir_all(directory).unwrap();
    copy(good, directory);
}

fn log_file(home: &Home) -> PathBuf {
    let logs = files(&home.data().join("log"));
    logs.into_iter().rfind(|path| path.extension().is_some_and(|kind| kind == "raftlog")).unwrap()
}

#[track_caller]
pub fn refused(started: Result<crate::shop::Shop, Refused>, code: i32, words: &[&str]) {
    let Err(refused) = started else { panic!("the shop started") };
    assert_eq!(refused.code, Some(code), "{}", refused.said);
    for word in words {
        assert!(refused.said.contains(word), "{word:?} is not in: {}", refused.said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_is_rebuilt_with_a_warning() {
    let (home, book) = furnished(true).await;
    std::fs::remove_dir_all(home.data().join("sled")).unwrap();
    let before = home.log().len();
    whole(&home, &book).await;
    let said = home.log()[before..].to_owned();
    assert!(said.contains("WARN") && said.contains("rebuil"), "nobody was told: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_cut_short_is_rebuilt() {
    let (home, book) = furnished(false).await;
    for file in files(&home.data().join("sled")) {
        let half = length(&file) / 2;
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(half).unwrap();
    }
    whole(&home, &book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_flipped_anywhere_in_the_store_loses_nothing() {
    let (home, book) = furnished(false).await;
    let (store, good) = (home.data().join("sled"), home.root().join("good"));
    copy(&store, &good);
    let database = store.join("db");
    let mut chance = ChaCha8Rng::seed_from_u64(8);
    for place in 0..PLACES {
        flip(&database, (2 * place + 1) * length(&database) / (2 * PLACES));
        whole(&home, &book).await;
        put_back(&store, &good);
        flip(&database, chance.next_u64() % used(&database));
        whole(&home, &book).await;
        put_back(&store, &good);
    }
}

/// Places per file, anywhere from its first byte to its last, the same ones in every run.
const PLACES_ANYWHERE: u64 = 2;

/// Whatever file of the truth and wherever in it: the shop has everything, or says which file and where.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_flipped_anywhere_in_the_truth_loses_nothing_or_is_refused_naming_the_place() {
    let (home, book) = checkpointed().await;
    let good = home.root().join("good");
    copy(home.data(), &good);
    let mut chance = ChaCha8Rng::seed_from_u64(6);
    let (mut recovered, mut refused) = (0, 0);
    for directory in ["log", "checkpoints"] {
        let all = files(&home.data().join(directory));
        assert!(!all.is_empty(), "nothing in {directory}");
        for file in all {
            for _ in 0..PLACES_ANYWHERE {
                let offset = chance.next_u64() % length(&file);
                flip(&file, offset);
                match home.try_start().await {
                    Ok(shop) => {
                        eprintln!("{} at {offset} flipped, it starts", file.display());
                        let (client, book) = (Client::new(&home), book.fork());
                        let shop = audited(&home, &client, &book, shop).await;
                        let sold = client.send(&Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1}))).await;
                        sold.expect(201);
                        shop.stop().await;
                        recovered += 1;
                    }
                    Err(told) => {
                        let name = file.file_name().unwrap().to_str().unwrap();
                        let precise = told.said.contains(name) && told.said.contains("at byte");
                        assert!(precise && told.code == Some(FINDINGS), "{} at {offset}: {told:#?}", file.display());
                        refused += 1;
                    }
                }
                put_back(home.data(), &good);
            }
        }
    }
    assert!(recovered > 0 && refused > 0, "{recovered} starts recovered, {refused} were refused");
}

/// Audits a shop. Damage that shows only when it is read ends the process: then whoever supervises it starts it again,
/// and everything is there.
async fn audited(home: &Home, client: &Client, book: &Book, mut shop: Shop) -> Shop {
    match AssertUnwindSafe(book.audit(home, client)).catch_unwind().await {
        Ok(_) => shop,
        Err(_) if shop.has_ended() => {
            let shop = home.start().await;
            book.audit(home, client).await;
            shop
        }
        Err(failure) => {
            eprintln!("the shop goes on without it: {}", home.tail());
            std::panic::resume_unwind(failure)
        }
    }
}

/// The log of a home as it would be some products later, which no book mentions: they may be there or not.
async fn log_a_little_later(home: &Home) -> Vec<u8> {
    let good = home.root().join("good");
    copy(home.data(), &good);
    let shop = home.start().await;
    Client::new(home).list(&["TIN-1", "TIN-2", "TIN-3", "TIN-4"], 450).await;
    shop.kill().await;
    let later = std::fs::read(log_file(home)).unwrap();
    put_back(home.data(), &good);
    later
}

/// A power cut during a write: what was acknowledged before is there, the write itself partly or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_in_a_torn_write_goes_on_before_it() {
    let (home, book) = furnished(true).await;
    let (log, good) = (log_file(&home), home.root().join("good"));
    let later = log_a_little_later(&home).await;
    let begin = usize::try_from(used(&log)).unwrap();
    let end = later.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(end > begin + 2 * SECTOR, "nothing was written later: {begin} to {end}");
    let cut_off = |at: usize| later[..at].to_vec();
    let unwritten = |at: usize| {
        let mut torn = later.clone();
        torn[at / SECTOR * SECTOR..].fill(0);
        torn
    };
    let middle = begin + (end - begin) / 2;
    for torn in [cut_off(begin + 21), cut_off(middle), cut_off(end - 3), unwritten(middle), unwritten(end)] {
        std::fs::write(&log, torn).unwrap();
        whole(&home, &book.fork()).await;
        put_back(home.data(), &good);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_cut_below_what_was_acknowledged_is_refused() {
    let (home, _) = furnished(false).await;
    let log = log_file(&home);
    std::fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(used(&log) * 3 / 4).unwrap();
    let name = log.file_name().unwrap().to_str().unwrap();
    refused(home.try_start().await, FINDINGS, &["damaged", name, "at byte"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_flipped_in_the_middle_of_the_log_is_refused_naming_file_and_offset() {
    let (home, book) = furnished(true).await;
    let log = log_file(&home);
    let (name, used) = (log.file_name().unwrap().to_str().unwrap(), used(&log));
    for place in 1..PLACES {
        let offset = place * used / PLACES;
        flip(&log, offset);
        refused(home.try_start().await, FINDINGS, &["damaged", name, "at byte"]);
        flip(&log, offset);
    }
    whole(&home, &book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_index_that_is_gone_is_made_again() {
    let (home, book) = furnished(false).await;
    std::fs::remove_dir_all(home.data().join("search")).unwrap();
    let shop = home.start().await;
    let client = Client::new(&home);
    let deadline = std::time::Instant::now() + crate::client::PATIENCE;
    while client.send(&Call::get("/v1/products?q=product")).await.expect(200)["total"] != 2 {
        assert!(std::time::Instant::now() < deadline, "the products are not found any more");
        tokio::time::sleep(crate::client::PAUSE).await;
    }
    book.audit(&home, &client).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    let shop = home.start().await;
    let client = Client::new(&home);
    client.list(&["CUP-1"], 1999).await;
    refused(home.try_start().await, DATA_DIRECTORY, &["in use by another process"]);
    client.send(&Client::receipt("CUP-1", 1)).await.expect(200);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_newer_format_is_refused_and_left_alone() {
    let (home, book) = furnished(false).await;
    let format = home.data().join("FORMAT");
    let ours = std::fs::read_to_string(&format).unwrap();
    let number: String = ours.chars().filter(char::is_ascii_digit).collect();
    std::fs::write(&format, ours.replace(&number, "999")).unwrap();
    refused(home.try_start().await, DATA_DIRECTORY, &["format 999", "newer"]);
    std::fs::write(&format, ours).unwrap();
    whole(&home, &book).await;
}
