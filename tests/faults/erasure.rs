//! Erased personal data: gone for everybody at once, and from the disk with the directory it was on.

use std::path::Path;

use bytes::Bytes;
use serde_json::json;
use stockroom::persistence::codec;
use stockroom::persistence::keys::{self, ParsedKey};
use stockroom::persistence::sled_store::{SledStore, StoreOptions};
use stockroom::persistence::store::{Direction, Scan, Store};

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE, PAUSE};
use crate::shop::Home;

const EMAIL: &str = "ada.lovelace@example.org";

/// The data keys in a stopped shop's store.
async fn data_keys(home: &Home) -> Vec<[u8; 32]> {
    let store = SledStore::open(&home.data().join("sled"), StoreOptions::default()).unwrap();
    let (from, to) = (Bytes::new(), keys::end_of_groups());
    let scan = Scan { from, to, direction: Direction::Forward, rows_max: usize::MAX, bytes_max: usize::MAX };
    let rows = store.scan(scan).await.unwrap();
    let is_key = |key: &Bytes| matches!(keys::parse(key), Some((_, ParsedKey::Vault(_))));
    let found = rows.iter().filter(|(key, _)| is_key(key)).map(|(_, value)| codec::decode_vault_key(value).unwrap());
    let found = found.collect();
    store.close().await;
    found
}

/// Files below a directory that contain these bytes.
fn files_with(directory: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&entry.path(), bytes));
        } else if std::fs::read(entry.path()).unwrap().windows(bytes.len()).any(|window| window == bytes) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

/// Waits until an entity owes nothing: an erasure asks the cart, which has the key.
async fn settled(client: &Client, entity: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let actors = client.send(&Call::get("/ops/v1/actors?limit=200").ops()).await.expect(200);
        let mut actors = actors["items"].as_array().unwrap().iter();
        if actors.any(|actor| actor["entity"] == entity && actor["owed"] == 0) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{entity} does not settle");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_key_is_in_no_byte_of_a_directory_restored_from_a_later_backup() {
    let (home, book) = (Home::new(), Book::default());
    let client = Client::new(&home);
    let shop = home.start().await;
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 5).await;
    let cart = client.cart(&[("CUP-1", 1)]).await;
    client.send(&Call::put(format!("/v1/carts/{cart}/buyer"), json!({"email": EMAIL}))).await.expect(200);
    let placed = client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
    let id = placed["id"].as_str().unwrap();
    book.order(id);
    shop.stop().await;
    assert!(files_with(home.data(), EMAIL.as_bytes()).is_empty(), "personal data lies on disk in the clear");
    let [secret] = data_keys(&home).await[..] else { panic!("one buyer, one key") };
    assert!(!files_with(home.data(), &secret).is_empty(), "the search finds what is there");

    let shop = home.start().await;
    client.send(&Call::post(format!("/v1/admin/orders/{id}/fulfil"), json!({})).merchant()).await.expect(200);
    client.until_state(id, "fulfilled").await;
    client.send(&Call::post(format!("/v1/admin/orders/{id}/deliver"), json!({})).merchant()).await.expect(200);
    let erase = Call::post(format!("/v1/admin/orders/{id}/erase"), json!({})).merchant();
    assert!(client.send(&erase).await.expect(200).get("buyer").is_none());
    settled(&client, &format!("order/{id}")).await;
    let backups = home.root().join("backups");
    let made = home.command(&["backup", "create", "--to", backups.to_str().unwrap()]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    shop.stop().await;
    let said = String::from_utf8(made.stdout).unwrap();
    let backup = said.split_whitespace().last().unwrap();
    assert!(files_with(Path::new(backup), &secret).is_empty(), "the backup still has the key");

    let restored = Home::with_data(home.root(), home.root().join("restored"));
    let done = restored.command(&["backup", "restore", backup]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let shop = restored.start().await;
    let client = Client::new(&restored);
    let shown = client.send(&Call::get(format!("/v1/orders/{id}"))).await.expect(200);
    assert_eq!((shown.get("buyer"), &shown["state"]), (None, &json!("delivered")));
    shop.stop().await;
    let left = files_with(restored.data(), &secret);
    assert!(left.is_empty(), "the key is still in {left:?}");
}
