//! `journal verify` finds what it says it looks for: for each of its checks a directory that is wrong in that one way,
//! made by the program's own code with good envelopes and checksums. Nothing but the check itself can notice.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use stockroom::domain::entity::Fingerprint;
use stockroom::domain::ids::{CartId, EntityId, HoldId, OrderId};
use stockroom::domain::money::Currency;
use stockroom::domain::payment::PaymentToken;
use stockroom::domain::registry::{AnyEvent, AnyReply};
use stockroom::domain::stock::{Holder, StockEvent, StockNumbers, StockReply};
use stockroom::domain::time::{Sequence, Timestamp};
use stockroom::persistence::codec;
use stockroom::persistence::fold::Folder;
use stockroom::persistence::journal::Journal;
use stockroom::persistence::keys;
use stockroom::persistence::store::WriteBatch;
use stockroom::persistence::trim::{Retention, Trimmer};

use crate::auditor::Book;
use crate::client::{Call, Client};
use crate::damage::{FINDINGS, copy, put_back};
use crate::forge::{self, Forged, Offline};
use crate::shop::Home;

/// A moment ago.
const NOW: Duration = Duration::ZERO;

/// A stopped shop with some of everything: sold, held, ordered, refunded.
async fn shop_with_a_past() -> Home {
    let (home, book) = (Home::new(), Book::default());
    let (shop, client) = (home.start().await, Client::new(&home));
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 50).await;
    for _ in 0..3 {
        let cart = client.cart(&[("CUP-1", 2)]).await;
        let placed = client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
        let id = placed["id"].as_str().unwrap();
        client.send(&Call::post(format!("/v1/admin/orders/{id}/fulfil"), json!({})).merchant()).await.expect(200);
        client.until_state(id, "fulfilled").await;
    }
    client.send(&Call::post("/v1/stock/CUP-1/holds", json!({"quantity": 1, "ttl_seconds": 3600}))).await.expect(201);
    client.cart(&[("CUP-1", 1)]).await;
    book.audit(&home, &client).await;
    shop.stop().await;
    home
}

/// Exit code and report.
pub fn verified(home: &Home) -> (Option<i32>, Value) {
    let done = home.command(&["journal", "verify", "--json"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let report = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (done.status.code(), report)
}

/// Nothing is wrong with it.
#[track_caller]
pub fn sound(home: &Home) -> Value {
    let (code, report) = verified(home);
    assert_eq!((code, &report["findings_total"]), (Some(0), &json!(0)), "{report:#}");
    report
}

/// It is found out: the code of findings, and findings about this entity that say so.
#[track_caller]
fn found(home: &Home, entity: &str, words: &str) -> Value {
    let (code, report) = verified(home);
    assert_eq!(code, Some(FINDINGS), "{report:#}");
    let findings = report["findings"].as_array().unwrap();
    let says = |finding: &&Value| finding["entity"] == entity && finding["what"].as_str().unwrap().contains(words);
    assert!(findings.iter().any(|finding| says(&finding)), "no finding about {entity} says {words:?}: {report:#}");
    report
}

fn times(report: &Value, law: &str) -> u64 {
    let laws = report["laws"].as_array().unwrap().iter();
    laws.filter(|checked| checked["law"] == law).map(|checked| checked["times"].as_u64().unwrap()).sum()
}

fn item() -> EntityId {
    "stock/CUP-1".parse().unwrap()
}

fn received(count: u32) -> Forged {
    let event = StockEvent::Received { quantity: count.try_into().unwrap(), reference: String::new(), available: 0 };
    (AnyEvent::Stock(event), AnyReply::Stock(StockReply::Counted(StockNumbers::default())))
}

fn reserved(hold: HoldId, holder: Holder, expires_at: Option<Timestamp>) -> Forged {
    let (quantity, fingerprint) = (1.try_into().unwrap(), Fingerprint::default());
    let event = StockEvent::Reserved { hold, quantity, holder, expires_at, fingerprint, available: 0 };
    (AnyEvent::Stock(event), AnyReply::Stock(StockReply::Held { hold, quantity, expires_at }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_directory_has_no_findings_and_the_report_says_what_was_checked() {
    let home = shop_with_a_past().await;
    let report = sound(&home);
    for law in ["STK-1", "STK-4", "CRT-3", "CRT-6", "ORD-2", "ORD-5", "PRD-1", "CLU-1", "BOOK-1", "BOOK-3", "BOOK-4"] {
        assert!(times(&report, law) > 0, "{law} was not checked: {report:#}");
    }
    assert_eq!(times(&report, "BOOK-4"), 9, "three orders, three amounts each");
    let not_checked = |report: &Value| -> Vec<String> {
        let laws = report["not_checked"].as_array().unwrap().iter();
        laws.map(|law| law["law"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(not_checked(&report), ["ORD-7"], "{report:#}");
    std::fs::remove_file(home.data().join("simulated-payments.ledger")).unwrap();
    let report = sound(&home);
    assert_eq!((times(&report, "BOOK-4"), not_checked(&report)), (0, vec!["ORD-7".to_owned(), "BOOK-4".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_not_the_state_of_its_records_is_found() {
    let home = shop_with_a_past().await;
    let offline = Offline::open(&home).await;
    let group = offline.group_of(&item()).await;
    Folder::new(offline.store(), offline.turns()).fold(group, &item()).await.unwrap().unwrap();
    offline.close().await;
    assert_eq!(sound(&home)["snapshots_compared"], 1);

    let offline = Offline::open(&home).await;
    let mut snapshot = journal_of(&offline).snapshot(group, &item()).await.unwrap().unwrap();
    let (AnyEvent::Stock(event), _) = received(7) else { unreachable!() };
    snapshot.state.apply(&AnyEvent::Stock(event), snapshot.at);
    let mut rows = WriteBatch::default();
    rows.put(keys::snapshot_chunk(group, &item(), 0), codec::encode_snapshot(&snapshot));
    offline.store().write(rows).await.unwrap();
    offline.close().await;
    let report = found(&home, "stock/CUP-1", "not the state its records lead to");
    assert_eq!(times(&report, "BOOK-2"), 0, "books without an entity prove nothing");
}

fn journal_of(offline: &Offline) -> Journal {
    Journal::new(offline.store())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_whose_first_records_were_trimmed_starts_at_its_snapshot() {
    let home = shop_with_a_past().await;
    let before = sound(&home);
    assert_eq!((&before["started_at_snapshot"], &before["snapshots_compared"]), (&json!(0), &json!(0)));
    let offline = Offline::open(&home).await;
    let group = offline.group_of(&item()).await;
    Folder::new(offline.store(), offline.turns()).fold(group, &item()).await.unwrap().unwrap();
    let retention = Retention { records: Duration::ZERO, kept_for_ever: BTreeSet::new(), feed_rows_max: 1_000_000 };
    let trimmer = Trimmer::new(offline.store(), offline.turns(), retention);
    assert!(trimmer.sweep(group, Timestamp(u64::MAX)).await.unwrap().batches > 0);
    offline.close().await;
    let after = sound(&home);
    assert_eq!(after["started_at_snapshot"], 1, "{after:#}");
    assert!(after["records"].as_u64() < before["records"].as_u64(), "{after:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_missing_is_found() {
    let home = shop_with_a_past().await;
    let offline = Offline::open(&home).await;
    let (group, journal) = (offline.group_of(&item()).await, journal_of(&offline));
    let batches = journal.batches(group, &item(), Sequence(1)).await.unwrap();
    let (_, records) = &batches[batches.len() / 2];
    let mut rows = WriteBatch::default();
    rows.delete(keys::batch(group, &item(), records[0].sequence));
    offline.store().write(rows).await.unwrap();
    drop(journal);
    offline.close().await;
    found(&home, "stock/CUP-1", "expected");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_goes_back_is_found() {
    let home = shop_with_a_past().await;
    forge::append(&home, &item(), vec![received(1)], None, Duration::from_secs(3_600)).await;
    found(&home, "stock/CUP-1", "time goes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_be_woken_that_the_state_does_not_have_is_found() {
    let home = shop_with_a_past().await;
    forge::append(&home, &item(), vec![received(1)], Some(Timestamp(5)), NOW).await;
    found(&home, "stock/CUP-1", "wakes at");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_law_that_breaks_on_the_way_is_found_by_name() {
    let home = shop_with_a_past().await;
    let hold = HoldId([13; 16]);
    let released =
        (AnyEvent::Stock(StockEvent::Released { hold, available: 99 }), AnyReply::Stock(StockReply::Released { hold }));
    forge::append(&home, &item(), vec![released], None, NOW).await;
    found(&home, "stock/CUP-1", "STK-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_law_that_only_a_recount_sees_broken_is_found_by_name() {
    let home = shop_with_a_past().await;
    let hold = HoldId([13; 16]);
    let expires_at = Some(Timestamp(u64::MAX >> 1));
    let twice =
        vec![received(5), reserved(hold, Holder::Shopper, expires_at), reserved(hold, Holder::Shopper, expires_at)];
    forge::append(&home, &item(), twice, None, NOW).await;
    found(&home, "stock/CUP-1", "STK-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn units_held_for_an_order_nobody_knows_are_found() {
    let home = shop_with_a_past().await;
    let lost = vec![received(5), reserved(HoldId([13; 16]), Holder::Order(OrderId([8; 16])), None)];
    let wake_at = forge::wake_of(&home, &item()).await;
    forge::append(&home, &item(), lost, wake_at, NOW).await;
    let report = found(&home, "books", "BOOK-1");
    let others = report["findings"].as_array().unwrap().iter().filter(|finding| finding["entity"] != "books");
    assert_eq!(others.count(), 0, "the entities themselves are sound: {report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn units_sold_to_nobody_are_found() {
    let home = shop_with_a_past().await;
    let hold = HoldId([13; 16]);
    let committed = (AnyEvent::Stock(StockEvent::Committed { hold }), AnyReply::Stock(StockReply::Committed { hold }));
    let sale = vec![received(5), reserved(hold, Holder::Order(OrderId([8; 16])), None), committed];
    let wake_at = forge::wake_of(&home, &item()).await;
    forge::append(&home, &item(), sale, wake_at, NOW).await;
    let report = found(&home, "books", "BOOK-2");
    assert_eq!(report["findings_total"], 1, "no hold is left, and every entity is sound by itself: {report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_a_cart_handed_over_and_that_does_not_exist_is_found() {
    let home = shop_with_a_past().await;
    let cart = EntityId::cart(CartId([21; 16]));
    forge::append(&home, &cart, handed_over(OrderId([22; 16])), None, NOW).await;
    found(&home, "books", "BOOK-3");
}

/// A cart whose order took over, as the cart believes.
fn handed_over(order: OrderId) -> Vec<Forged> {
    use stockroom::domain::cart::{CartEvent, CartReply};
    let fingerprint = Fingerprint::default();
    let created = CartEvent::Created { currency: Currency::USD, fingerprint };
    let checked_out = CartEvent::CheckedOut {
        order,
        fingerprint,
        version: 1,
        offers: Vec::new(),
        provider: "simulated".to_owned(),
        token: PaymentToken("tok_ok".to_owned()),
        holds: Default::default(),
    };
    let events = [created, checked_out, CartEvent::PlaceSettled { order }];
    events.into_iter().map(|event| (AnyEvent::Cart(event), AnyReply::Cart(CartReply::Noted))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_only_one_side_knows_of_is_found() {
    let home = shop_with_a_past().await;
    let path = home.data().join("simulated-payments.ledger");
    let ledger = std::fs::read_to_string(&path).unwrap();
    let without_a_capture: Vec<&str> = ledger.lines().filter(|line| !line.contains("Capture")).collect();
    assert!(without_a_capture.len() < ledger.lines().count(), "{ledger}");
    std::fs::write(&path, without_a_capture.join("\n") + "\n").unwrap();
    found(&home, "books", "BOOK-4");
    std::fs::write(&path, format!("0{ledger}")).unwrap();
    found(&home, "books", "damaged at line 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_has_and_the_store_lacks_is_applied_and_counted() {
    let home = shop_with_a_past().await;
    let (store, earlier) = (home.data().join("sled"), home.root().join("earlier"));
    copy(&store, &earlier);
    assert_eq!(sound(&home)["log_entries_ahead"], 0);
    let (shop, client) = (home.start().await, Client::new(&home));
    client.send(&Client::receipt("CUP-1", 3)).await.expect(200);
    shop.stop().await;
    put_back(&store, &earlier);
    let report = sound(&home);
    assert!(report["log_entries_ahead"].as_u64().unwrap() > 0, "{report:#}");
    let shop = home.start().await;
    let account = client.send(&Call::get("/v1/admin/stock/CUP-1").merchant()).await.expect(200);
    assert_eq!(account["received"], 53, "{account:#}");
    shop.stop().await;
}
