//! The turn, against a log held in hand: what is decided when, and when an answer may leave (P3, P9–P11, P15).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::dedup::{CLIENT_KEYS_MAX, Dedup};
use super::messages::{AskError, Origin, Request};
use super::testkit::{
    Bench, GROUP, Outcome, QUIET, WAITING_MAX, foreign_batch, hold, receive, release, sequences, show, stock,
};
use super::turn::{Entity, Waiting};
use crate::domain::cart::CartCommand;
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{CommandId, EntityId, HoldId, OrderId};
use crate::domain::pricing::{JsonText, Prices};
use crate::domain::product::{ProductCommand, ProductDocument, ProductStatus, Variant};
use crate::domain::registry::{AnyCommand, AnyEvent, AnyReply, AnyState};
use crate::domain::rejection::Rejection;
use crate::domain::stock::{Holder, Releaser, StockCommand, StockEvent, StockReply};
use crate::domain::testkit::{id16, sku, units};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::codec;
use crate::persistence::fold::Folder;
use crate::persistence::records::{CommandRow, EntityBatch, Record, Remembered, Verdict};
use crate::persistence::testkit::record;
use crate::persistence::turns::Turns;

fn available(outcome: &Outcome) -> u64 {
    match outcome.as_ref().map(|answer| &answer.reply) {
        Ok(AnyReply::Stock(StockReply::Shown(view))) => view.numbers.available,
        other => panic!("{other:?}"),
    }
}

fn is_unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Err(AskError::Unknown { .. }))
}

/// The command ids of a batch, by their test numbers.
fn numbers(records: &[Record]) -> Vec<u8> {
    records.iter().map(|record| record.stamp.command.0[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_leaves_only_when_its_record_is_stored() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    bench.log.hold();
    let mut answer = bench.send(hold("TEA", 1, 1));
    tokio::time::sleep(QUIET).await;
    assert!(answer.try_recv().is_err(), "answered before the verdict");
    bench.log.release().await;
    assert!(answer.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_batch_is_in_flight_and_what_arrives_meanwhile_forms_the_next() {
    let bench = Bench::new().await;
    bench.receive("TEA", 9).await;
    bench.log.hold();
    let first = bench.send(hold("TEA", 1, 1));
    tokio::time::sleep(QUIET).await;
    let others = [2, 3, 4].map(|number| bench.send(hold("TEA", number, 1)));
    tokio::time::sleep(QUIET).await;
    assert_eq!(bench.log.records().len(), 2, "the receipt and one batch in flight");
    bench.log.release().await;
    assert!(first.await.unwrap().is_ok());
    for other in others {
        assert!(other.await.unwrap().is_ok());
    }
    let batches: Vec<_> = bench.log.records().iter().map(|records| numbers(records)).collect();
    assert_eq!(batches[1..], [vec![1], vec![2, 3, 4]]);
    assert_eq!(sequences(&bench.log.records()[2]), [Sequence(3), Sequence(4), Sequence(5)]);
}

#[tokio::test(start_paused = true)]
async fn owed_commands_are_decided_before_those_of_clients_that_came_earlier() {
    let bench = Bench::new().await;
    bench.receive("TEA", 1).await;
    bench.log.hold();
    drop(bench.send(receive("TEA", 9, 1, Origin::Router)));
    tokio::time::sleep(QUIET).await;
    drop(bench.send(hold("TEA", 1, 1)));
    let bar = StockCommand::Release { hold: HoldId(id16(7)), by: Releaser::Order(OrderId(id16(7))) };
    drop(bench.send(stock("TEA", bar, Origin::Owed, 2)));
    tokio::time::sleep(QUIET).await;
    bench.log.release().await;
    bench.until("both are stored", async |bench| bench.log.records().len() == 3).await;
    assert_eq!(numbers(&bench.log.records()[2]), [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_another_incarnation_overtook_is_unknown_and_its_actor_recovers() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    bench.log.hold();
    let overtaken = bench.send(receive("TEA", 1, 1, Origin::Router));
    tokio::time::sleep(QUIET).await;
    assert_eq!(bench.log.apply(foreign_batch("TEA", 2)).await, Verdict::Stored);
    bench.log.release().await;
    assert!(overtaken.await.is_err(), "nobody may say yes or no");
    let retried = bench.ask_until_known(receive("TEA", 1, 1, Origin::Router)).await.unwrap();
    assert_eq!((retried.sequence, retried.replayed), (Sequence(3), false));
}

#[tokio::test(start_paused = true)]
async fn a_batch_nobody_knows_about_is_unknown_and_decided_afresh_when_it_is_nowhere() {
    let bench = Bench::new().await;
    bench.log.hold();
    let lost = bench.send(receive("TEA", 1, 5, Origin::ClientKey));
    tokio::time::sleep(QUIET).await;
    bench.log.forget_waiting();
    bench.log.release().await;
    assert!(lost.await.is_err());
    let again = bench.ask_until_known(receive("TEA", 1, 5, Origin::ClientKey)).await.unwrap();
    assert!(!again.replayed);
    assert_eq!(available(&bench.ask(show("TEA")).await), 5);
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_what_was_stored_after_all_gets_the_first_answer_under_either_kind_of_id() {
    for origin in [Origin::ClientKey, Origin::Router] {
        let bench = Bench::new().await;
        bench.log.hold();
        let lost = bench.send(receive("TEA", 1, 5, origin));
        tokio::time::sleep(QUIET).await;
        let batch = bench.log.appended.lock().unwrap()[0].clone();
        bench.log.apply(batch).await;
        bench.log.forget_waiting();
        bench.log.release().await;
        assert!(lost.await.is_err());
        let again = bench.ask_until_known(receive("TEA", 1, 5, origin)).await.unwrap();
        assert!(again.replayed, "{origin:?}");
        assert_eq!(available(&bench.ask(show("TEA")).await), 5, "{origin:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_appends_nothing_needs_a_lease_confirmed_after_it_arrived() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    let before = bench.log.leases.load(Ordering::SeqCst);
    bench.log.hold_leases();
    let early = bench.send(show("TEA"));
    tokio::time::sleep(QUIET).await;
    let late = [bench.send(show("TEA")), bench.send(hold("TEA", 1, 6))];
    tokio::time::sleep(QUIET).await;
    bench.log.set_lease(false);
    bench.log.release_one_lease();
    assert_eq!(available(&early.await.unwrap()), 5);
    tokio::time::sleep(QUIET).await;
    let checks = bench.log.leases.load(Ordering::SeqCst) - before;
    assert_eq!(checks, 2, "one for the first read, one for both that came after it");
    bench.log.release().await;
    for outcome in late {
        assert!(is_unknown(&outcome.await.unwrap()), "the first check says nothing about them");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_can_be_told_needs_no_check() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    bench.log.tell_lease();
    let before = bench.log.leases.load(Ordering::SeqCst);
    assert_eq!(available(&bench.ask(show("TEA")).await), 5);
    bench.log.hold();
    drop(bench.send(receive("TEA", 9, 1, Origin::Router)));
    tokio::time::sleep(QUIET).await;
    let mut read = bench.send(show("TEA"));
    tokio::time::sleep(QUIET).await;
    assert!(read.try_recv().is_err(), "a read left before the record it rests on was stored");
    bench.log.release().await;
    assert_eq!(available(&read.await.unwrap()), 6);
    assert_eq!(bench.log.leases.load(Ordering::SeqCst), before);
    bench.log.set_lease(false);
    assert!(is_unknown(&bench.ask(show("TEA")).await), "a lease that is not there is not told");
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_reads_noes_and_repeats_are_unknown() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    bench.ask(hold("TEA", 1, 1)).await.unwrap();
    bench.log.set_lease(false);
    assert!(is_unknown(&bench.ask(show("TEA")).await));
    assert!(is_unknown(&bench.ask(hold("TEA", 2, 6)).await), "a no");
    assert!(is_unknown(&bench.ask(hold("TEA", 1, 1)).await), "a repeat");
    bench.log.set_lease(true);
    let no = bench.ask(hold("TEA", 2, 6)).await;
    assert!(matches!(no, Err(AskError::Rejected(Rejection::InsufficientStock { available: 4, .. }))), "{no:?}");
    assert!(bench.ask(hold("TEA", 1, 1)).await.unwrap().replayed);
}

#[tokio::test(start_paused = true)]
async fn a_no_that_rests_on_a_record_waits_for_that_record() {
    let bench = Bench::new().await;
    bench.receive("TEA", 1).await;
    bench.log.hold();
    drop(bench.send(receive("TEA", 9, 1, Origin::Router)));
    tokio::time::sleep(QUIET).await;
    let (yes, mut no) = (bench.send(hold("TEA", 1, 2)), bench.send(hold("TEA", 2, 1)));
    tokio::time::sleep(QUIET).await;
    bench.log.release_one().await;
    tokio::time::sleep(QUIET).await;
    assert!(no.try_recv().is_err(), "a no left before the hold it rests on was stored");
    bench.log.forget_waiting();
    assert!(yes.await.is_err());
    assert!(no.await.is_err(), "the hold it rests on may be nowhere");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_deciding_costs_one_answer() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    bench.log.hold();
    drop(bench.send(receive("TEA", 9, 1, Origin::Router)));
    tokio::time::sleep(QUIET).await;
    let misled = Request { command: AnyCommand::Cart(CartCommand::Show), ..hold("TEA", 3, 1) };
    let outcomes = [hold("TEA", 1, 1), misled, hold("TEA", 2, 1)].map(|request| bench.send(request));
    tokio::time::sleep(QUIET).await;
    bench.log.release().await;
    let [before, panicked, after] = outcomes;
    assert!(before.await.unwrap().is_ok());
    assert_eq!(panicked.await.unwrap(), Err(AskError::Panicked));
    assert!(after.await.unwrap().is_ok());
    assert_eq!(numbers(&bench.log.records()[2]), [1, 2], "the panic left no record");
}

/// A journal whose end is a hold that nobody can release: its units were counted twice, by a bug long ago.
async fn plant_a_hold_that_panics(bench: &Bench) {
    let holder = Holder::Order(OrderId(id16(8)));
    let reserved = |count| StockEvent::Reserved {
        hold: HoldId(id16(8)),
        quantity: units(count),
        holder,
        expires_at: None,
        fingerprint: Fingerprint::default(),
        available: 0,
    };
    let received = StockEvent::Received { quantity: units(20), reference: String::new(), available: 20 };
    let events = vec![received, reserved(5), reserved(1)];
    plant(bench, "TEA", Timestamp(1_000), events.into_iter().map(AnyEvent::Stock).collect()).await;
}

/// Stores one record of these events as the entity's first.
async fn plant(bench: &Bench, name: &str, at: Timestamp, events: Vec<AnyEvent>) {
    let record = Record { at, events, ..record(1) };
    let batch = EntityBatch { last_at: at, records: codec::encode_records(&[record]), ..foreign_batch(name, 1) };
    assert_eq!(bench.log.apply(batch).await, Verdict::Stored);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_applying_keeps_what_was_accepted_before_it_and_nothing_of_its_own() {
    let bench = Bench::new().await;
    plant_a_hold_that_panics(&bench).await;
    bench.log.hold();
    drop(bench.send(receive("TEA", 9, 1, Origin::Router)));
    tokio::time::sleep(QUIET).await;
    let poison = StockCommand::Release { hold: HoldId(id16(8)), by: Releaser::Merchant };
    let requests =
        [receive("TEA", 1, 3, Origin::ClientKey), stock("TEA", poison.clone(), Origin::Router, 2), hold("TEA", 3, 1)];
    let outcomes = requests.map(|request| bench.send(request));
    tokio::time::sleep(QUIET).await;
    bench.log.release().await;
    let [before, poisoned, after] = outcomes;
    assert!(before.await.unwrap().is_ok());
    assert_eq!(poisoned.await.unwrap(), Err(AskError::Panicked));
    assert!(is_unknown(&after.await.unwrap()), "decided on a state nobody trusts");
    assert!(bench.ask(receive("TEA", 1, 3, Origin::ClientKey)).await.unwrap().replayed);
    assert_eq!(available(&bench.ask(show("TEA")).await), 18, "20 received, 6 held, 1 and 3 received");
    assert_eq!(bench.ask(stock("TEA", poison, Origin::Router, 4)).await, Err(AskError::Panicked));
    assert!(bench.ask(hold("TEA", 3, 1)).await.is_ok());
}

/// What nobody waits for is an outcome of the entity's own deliveries.
#[tokio::test(start_paused = true)]
async fn an_outcome_lost_to_a_panic_is_noticed() {
    let bench = Bench::new().await;
    let sku = sku("TEA");
    let mut entity = Entity {
        id: EntityId::stock(&sku),
        state: AnyState::new(&EntityId::stock(&sku)),
        sequence: Sequence::ZERO,
        at: Timestamp::ZERO,
        dedup: Dedup::default(),
        gate: bench.gate.clone(),
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let unasked = |request| Waiting { request, reply: None, deadline };
    let misled = || Request { command: AnyCommand::Cart(CartCommand::Show), ..hold("TEA", 3, 1) };
    assert!(entity.form(vec![unasked(misled())], Timestamp(5)).outcome_lost);
    let (reply, _answer) = tokio::sync::oneshot::channel();
    let asked = Waiting { request: misled(), reply: Some(reply), deadline };
    let harmless = unasked(receive("TEA", 1, 5, Origin::Owed));
    assert!(!entity.form(vec![asked, harmless], Timestamp(5)).outcome_lost);
}

#[tokio::test(start_paused = true)]
async fn a_client_key_is_remembered_for_a_day_across_restarts_with_its_content() {
    let mut bench = Bench::new().await;
    let first = bench.ask(receive("TEA", 1, 5, Origin::ClientKey)).await.unwrap();
    bench.restart().await;
    let again = bench.ask(receive("TEA", 1, 5, Origin::ClientKey)).await.unwrap();
    assert_eq!((again.reply, again.sequence, again.replayed), (first.reply, first.sequence, true));
    let mut other = receive("TEA", 1, 6, Origin::ClientKey);
    other.stamp.fingerprint = Fingerprint([9; 32]);
    assert_eq!(bench.ask(other).await, Err(AskError::Rejected(Rejection::IdempotencyKeyReused)));
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60 + 10)).await;
    assert!(!bench.ask(receive("TEA", 1, 5, Origin::ClientKey)).await.unwrap().replayed);
}

#[tokio::test(start_paused = true)]
async fn a_drawn_id_is_remembered_for_ten_minutes_also_by_a_snapshot() {
    let mut bench = Bench::new().await;
    bench.ask(receive("TEA", 1, 5, Origin::Router)).await.unwrap();
    let folder = Folder::new(bench.journal.store().clone(), Turns::new());
    let entity = receive("TEA", 1, 5, Origin::Router).entity;
    let folded = folder.fold(GROUP, &entity).await.unwrap().expect("something to fold");
    assert_eq!(folded.sequence, Sequence(1));
    bench.restart().await;
    assert!(bench.ask(receive("TEA", 1, 5, Origin::Router)).await.unwrap().replayed);
    tokio::time::sleep(Duration::from_secs(10 * 60 + 10)).await;
    assert!(!bench.ask(receive("TEA", 1, 5, Origin::Router)).await.unwrap().replayed);
}

#[tokio::test(start_paused = true)]
async fn a_client_key_too_many_is_refused_and_none_is_forgotten_for_it() {
    let bench = Bench::new().await;
    let row = |number: u64| CommandRow {
        command: crate::persistence::testkit::command_id(number),
        fingerprint: Fingerprint::default(),
        sequence: Sequence(1),
        expires_at: Timestamp(u64::MAX),
    };
    let command_rows = (0..CLIENT_KEYS_MAX as u64).map(row).collect();
    bench.log.apply(EntityBatch { command_rows, ..foreign_batch("TEA", 1) }).await;
    let refused = bench.ask(receive("TEA", 1, 5, Origin::ClientKey)).await;
    assert!(matches!(refused, Err(AskError::Rejected(Rejection::QuotaExceeded { .. }))), "{refused:?}");
    assert!(bench.ask(receive("TEA", 1, 5, Origin::Router)).await.is_ok(), "no key, no row");
    let known = Request { stamp: row_stamp(&row(7)), ..receive("TEA", 1, 5, Origin::ClientKey) };
    assert!(bench.ask(known).await.unwrap().replayed);
}

fn row_stamp(row: &CommandRow) -> Stamp {
    Stamp { command: row.command, fingerprint: row.fingerprint }
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_its_own_dedup_entry_and_writes_no_row() {
    let bench = Bench::new().await;
    bench.ask(receive("TEA", 9, 5, Origin::ClientKey)).await.unwrap();
    bench.ask(hold("TEA", 1, 1)).await.unwrap();
    let rows: Vec<_> = bench.log.appended.lock().unwrap().iter().map(|batch| batch.command_rows.len()).collect();
    assert_eq!(rows, [1, 0], "a row for the receipt, none for the hold");
    assert_eq!(bench.log.records()[1][0].remembered, Remembered::ByState);
    let again = bench.ask(hold("TEA", 1, 1)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(bench.log.records().len(), 2, "a repeat appends nothing");
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_caller_has_gone_is_not_decided() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    bench.log.hold();
    drop(bench.send(receive("TEA", 9, 1, Origin::Router)));
    tokio::time::sleep(QUIET).await;
    let spent = bench.send(Request { budget: Duration::from_millis(50), ..hold("TEA", 1, 1) });
    tokio::time::sleep(QUIET).await;
    bench.log.release().await;
    assert!(is_unknown(&spent.await.unwrap()));
    assert_eq!(available(&bench.ask(show("TEA")).await), 6);
}

#[tokio::test(start_paused = true)]
async fn more_than_can_wait_is_refused_and_owed_commands_are_not() {
    let bench = Bench::new().await;
    bench.log.hold();
    drop(bench.send(receive("TEA", 9, 1, Origin::Router)));
    tokio::time::sleep(QUIET).await;
    let waiting: Vec<_> = (0..=WAITING_MAX).map(|_| bench.send(show("TEA"))).collect();
    let bar = StockCommand::Release { hold: HoldId(id16(7)), by: Releaser::Order(OrderId(id16(7))) };
    let owed = bench.send(stock("TEA", bar, Origin::Owed, 2));
    tokio::time::sleep(QUIET).await;
    bench.log.release().await;
    let mut refused = 0;
    for answer in waiting {
        refused += usize::from(matches!(answer.await.unwrap(), Err(AskError::Overloaded { .. })));
    }
    assert_eq!(refused, 1);
    assert!(owed.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_client_writes_and_nothing_else() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    bench.ask(hold("TEA", 1, 1)).await.unwrap();
    bench.gate.set_closed(true);
    assert_eq!(bench.ask(hold("TEA", 2, 1)).await, Err(AskError::StorageFull));
    assert_eq!(bench.ask(release("TEA", 1)).await, Err(AskError::StorageFull));
    assert!(bench.ask(hold("TEA", 1, 1)).await.unwrap().replayed, "a repeat writes nothing");
    assert_eq!(available(&bench.ask(show("TEA")).await), 4);
    let owed = StockCommand::Release { hold: HoldId(id16(7)), by: Releaser::Order(OrderId(id16(7))) };
    assert!(bench.ask(stock("TEA", owed, Origin::Owed, 3)).await.is_ok(), "orders under way are finished");
}

#[tokio::test(start_paused = true)]
async fn time_never_goes_back_within_an_entity() {
    let bench = Bench::new().await;
    let next_year = Timestamp(31_536_000_000);
    let received = StockEvent::Received { quantity: units(3), reference: String::new(), available: 3 };
    plant(&bench, "TEA", next_year, vec![AnyEvent::Stock(received)]).await;
    bench.ask(hold("TEA", 1, 1)).await.unwrap();
    assert_eq!(bench.log.records()[0][0].at, next_year);
}

#[test]
fn an_owed_command_has_the_id_of_its_obligation() {
    let id = super::dedup::command_id_of("order/01/reserve/TEA/1");
    assert_eq!(id, super::dedup::command_id_of("order/01/reserve/TEA/1"));
    assert_ne!(id, super::dedup::command_id_of("order/01/reserve/TEA/2"));
    assert_ne!(id, CommandId([0; 16]));
}

/// A product of about 300 kB under another title.
fn put_large(number: u8) -> Request {
    let text = JsonText(format!("{{\"notes\":\"{}\"}}", "x".repeat(15_000)).into());
    let (title, prices) = (format!("Tea {number}"), Prices([].into()));
    let variant = |sibling: u8| Variant {
        sku: sku(&format!("TEA-{sibling}")),
        title: title.clone(),
        attributes: text.clone(),
        prices: prices.clone(),
    };
    let document = ProductDocument {
        variants: (0..20).map(variant).collect(),
        title: title.clone(),
        description: String::new(),
        categories: Vec::new(),
        attributes: text.clone(),
        media: Vec::new(),
        status: ProductStatus::Draft,
    };
    let command = AnyCommand::Product(ProductCommand::Put { document: document.into(), expected_version: None });
    Request { entity: "product/tea".parse().unwrap(), command, ..receive("TEA", number, 1, Origin::Router) }
}

#[tokio::test(start_paused = true)]
async fn a_turn_ends_before_its_batch_outgrows_a_log_entry_and_the_rest_keeps_its_order() {
    let bench = Bench::new().await;
    bench.log.hold();
    let first = bench.send(put_large(1));
    tokio::time::sleep(QUIET).await;
    let others: Vec<_> = (2..=9).map(|number| bench.send(put_large(number))).collect();
    tokio::time::sleep(QUIET).await;
    bench.log.release().await;
    assert!(first.await.unwrap().is_ok());
    for answer in others {
        assert!(answer.await.unwrap().is_ok());
    }
    let batches: Vec<_> = bench.log.records().iter().map(|records| numbers(records)).collect();
    assert_eq!(batches, [vec![1], vec![2, 3, 4, 5, 6], vec![7, 8, 9]]);
    let largest = bench.log.appended.lock().unwrap().iter().map(|batch| batch.records.len()).max();
    assert!(largest < Some(2 << 20), "{largest:?}");
}
