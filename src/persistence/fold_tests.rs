//! Folding and trimming: the same state afterwards, constant cost, nothing needed forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::applier::Applier;
use super::codec;
use super::fold::{self, FoldRequests, Folder};
use super::journal::{Journal, JournalError};
use super::keys;
use super::log::GroupId;
use super::memory::MemoryStore;
use super::records::{CommandRow, EntityBatch, Record, Remembered};
use super::store::Store;
use super::testkit::{batch, command_id, raft, record, stock};
use super::trim::{Retention, Trimmed, Trimmer};
use super::turns::Turns;
use crate::domain::entity::Fingerprint;
use crate::domain::ids::HoldId;
use crate::domain::quantity::Quantity;
use crate::domain::registry::{AnyEvent, AnyReply, AnyState, Kind};
use crate::domain::stock::{Holder, StockEvent, StockReply};
use crate::domain::time::{Sequence, Timestamp};

const GROUP: GroupId = GroupId(1);

fn replayed(records: &[Record]) -> String {
    let mut state = AnyState::new(&stock("TEA"));
    records.iter().for_each(|record| record.events.iter().for_each(|event| state.apply(event, record.at)));
    format!("{state:?}")
}

async fn filled(count: u64) -> (Arc<MemoryStore>, Applier) {
    let store = Arc::new(MemoryStore::new());
    let mut applier = Applier::open(store.clone(), GROUP).await.unwrap();
    for number in 1..=count {
        applier.apply(number, raft(), &[batch("TEA", number, number)]).await.unwrap();
    }
    (store, applier)
}

#[tokio::test]
async fn snapshot_and_later_records_give_what_all_records_give() {
    let (store, mut applier) = filled(30).await;
    let folder = Folder::new(store.clone(), Turns::new());
    let head = folder.fold(GROUP, &stock("TEA")).await.unwrap().unwrap();
    assert_eq!((head.sequence, head.log_index), (Sequence(30), 30));
    assert_eq!(folder.fold(GROUP, &stock("TEA")).await.unwrap(), None, "nothing new, nothing done");
    applier.apply(31, raft(), &[batch("TEA", 31, 33)]).await.unwrap();
    let loaded = Journal::new(store.clone()).load(GROUP, &stock("TEA")).await.unwrap();
    assert_eq!(loaded.records, (31..=33).map(record).collect::<Vec<_>>());
    let snapshot = loaded.snapshot.unwrap();
    assert_eq!(format!("{:?}", snapshot.state), replayed(&(1..=30).map(record).collect::<Vec<_>>()));
    folder.fold(GROUP, &stock("TEA")).await.unwrap().unwrap();
    let again = Journal::new(store).snapshot(GROUP, &stock("TEA")).await.unwrap().unwrap();
    assert_eq!(format!("{:?}", again.state), replayed(&(1..=33).map(record).collect::<Vec<_>>()));
}

#[tokio::test]
async fn the_window_of_router_drawn_ids_travels_in_the_snapshot_for_ten_minutes() {
    let (store, _) = filled(0).await;
    let mut applier = Applier::open(store.clone(), GROUP).await.unwrap();
    for number in 1..=700 {
        let mut one = batch("TEA", number, number);
        let remembered = if number % 2 == 0 { Remembered::Window } else { Remembered::ByState };
        one.records = codec::encode_records(&[Record { remembered, ..record(number) }]);
        applier.apply(number, raft(), &[one]).await.unwrap();
    }
    Folder::new(store.clone(), Turns::new()).fold(GROUP, &stock("TEA")).await.unwrap();
    let window = Journal::new(store).snapshot(GROUP, &stock("TEA")).await.unwrap().unwrap().window;
    let kept: Vec<_> = window.iter().map(|entry| entry.stamp.command).collect();
    let expected: Vec<_> = (100..=700).filter(|number| number % 2 == 0).map(command_id).collect();
    assert_eq!(kept, expected, "even records of the last 600 seconds");
}

#[tokio::test]
async fn a_busy_entity_is_folded_when_due_and_not_more_often() {
    let (store, _) = filled(0).await;
    let (folder, mut requests) = fold::channel();
    let mut applier = Applier::open(store.clone(), GROUP).await.unwrap().with_folding(FoldRequests::new(folder));
    for number in 0..200_u64 {
        let many = batch("TEA", number * 100 + 1, number * 100 + 100);
        applier.apply(number + 1, raft(), &[many]).await.unwrap();
    }
    assert_eq!(requests.len(), 1, "asked once however many batches follow");
    drop(applier);
    let serve = tokio::spawn(Folder::new(store.clone(), Turns::new()).run(requests));
    serve.await.unwrap();
    let head = Journal::new(store).snapshot_head(GROUP, &stock("TEA")).await.unwrap().unwrap();
    assert_eq!(head.sequence, Sequence(20_000));
    (_, requests) = fold::channel();
    assert!(requests.is_empty());
}

/// Group 1 is being checkpointed, which takes long; a fold of it waits, and the one of group 2 behind it does not.
#[tokio::test(start_paused = true)]
async fn a_fold_that_waits_for_its_group_holds_up_no_other_group() {
    let store = Arc::new(MemoryStore::new());
    let (folder, wanted) = fold::channel();
    for group in [GroupId(1), GroupId(2)] {
        let mut applier =
            Applier::open(store.clone(), group).await.unwrap().with_folding(FoldRequests::new(folder.clone()));
        for number in 0..100_u64 {
            let many = batch("TEA", number * 100 + 1, number * 100 + 100);
            applier.apply(number + 1, raft(), &[many]).await.unwrap();
        }
    }
    drop(folder);
    assert_eq!(wanted.len(), 2, "one request of each group");
    let turns = Turns::new();
    let checkpoint = turns.take(GroupId(1)).await;
    let serving = tokio::spawn(Folder::new(store.clone(), turns.clone()).run(wanted));
    let journal = Journal::new(store);
    let is_folded = async |group| journal.snapshot_head(group, &stock("TEA")).await.unwrap().is_some();
    let other = async {
        while !is_folded(GroupId(2)).await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), other).await.expect("group 2 is folded");
    assert!(!is_folded(GroupId(1)).await, "not its turn");
    drop(checkpoint);
    serving.await.unwrap();
    assert!(is_folded(GroupId(1)).await);
}

/// Records that each make a hold of one unit.
fn holds(first: u64, last: u64) -> EntityBatch {
    let quantity = Quantity::new(1).unwrap();
    let holding = |number: u64| {
        let mut hold = [0; 16];
        hold[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        let (hold, holder, fingerprint) = (HoldId(hold), Holder::Shopper, Fingerprint([7; 32]));
        let expires_at = Some(Timestamp(1_000_000_000 + number));
        let available = 1_000_000 - number;
        let event = StockEvent::Reserved { hold, quantity, holder, expires_at, fingerprint, available };
        let reply = AnyReply::Stock(StockReply::Held { hold, quantity, expires_at });
        Record { events: vec![AnyEvent::Stock(event)], reply, at: Timestamp(1_000), ..record(number) }
    };
    let records: Vec<_> = (first..=last).map(holding).collect();
    EntityBatch { records: codec::encode_records(&records), last_at: Timestamp(1_000), ..batch("TEA", first, last) }
}

/// P25: what is written for snapshots is bounded by what is written for records, however large the item has become.
#[tokio::test]
async fn the_snapshots_of_an_item_that_grows_a_hundredfold_take_at_most_three_times_its_records() {
    let store = Arc::new(MemoryStore::new());
    let mut applier = Applier::open(store.clone(), GROUP).await.unwrap();
    let (folder, journal) = (Folder::new(store.clone(), Turns::new()), Journal::new(store));
    let received = StockEvent::Received {
        quantity: Quantity::new(1_000_000).unwrap(),
        reference: String::new(),
        available: 1_000_000,
    };
    let first = Record { events: vec![AnyEvent::Stock(received)], at: Timestamp(1_000), ..record(1) };
    let first = EntityBatch { records: codec::encode_records(&[first]), ..batch("TEA", 1, 1) };
    applier.apply(1, raft(), &[first]).await.unwrap();
    applier.apply(2, raft(), &[holds(2, 1_000)]).await.unwrap();
    let before = journal.tail(GROUP, &stock("TEA")).await.unwrap().record_bytes_total;
    let (mut snapshots, mut snapshot_bytes) = (0, 0);
    for index in 3..993 {
        let first = (index - 3) * 100 + 1_001;
        applier.apply(index, raft(), &[holds(first, first + 99)]).await.unwrap();
        if fold::is_due(&journal.tail(GROUP, &stock("TEA")).await.unwrap()) {
            let head = folder.fold(GROUP, &stock("TEA")).await.unwrap().expect("there is something to fold");
            (snapshots, snapshot_bytes) = (snapshots + 1, snapshot_bytes + head.snapshot_bytes);
        }
    }
    let record_bytes = journal.tail(GROUP, &stock("TEA")).await.unwrap().record_bytes_total - before;
    assert!(snapshots >= 3, "{snapshots} snapshots of {record_bytes} bytes of records");
    assert!(snapshot_bytes <= 3 * record_bytes, "{snapshots} snapshots: {snapshot_bytes} of {record_bytes} bytes");
}

fn trimmer(store: Arc<dyn Store>, kept_for_ever: &[Kind]) -> Trimmer {
    let kept_for_ever: BTreeSet<_> = kept_for_ever.iter().copied().collect();
    let retention = Retention { records: Duration::ZERO, kept_for_ever, feed_rows_max: 10 };
    Trimmer::new(store, Turns::new(), retention)
}

#[tokio::test]
async fn records_go_only_below_the_snapshot_and_after_a_day() {
    let (store, mut applier) = filled(30).await;
    let day = Timestamp(24 * 60 * 60 * 1000);
    let sweep = trimmer(store.clone(), &[]);
    assert_eq!(sweep.sweep(GROUP, Timestamp(u64::MAX)).await.unwrap().batches, 0, "no snapshot, no trimming");
    Folder::new(store.clone(), Turns::new()).fold(GROUP, &stock("TEA")).await.unwrap();
    applier.apply(31, raft(), &[batch("TEA", 31, 33)]).await.unwrap();
    let kept = trimmer(store.clone(), &[Kind::Stock]).sweep(GROUP, Timestamp(u64::MAX)).await.unwrap();
    assert_eq!(kept.batches, 0, "kept for ever");
    assert_eq!(sweep.sweep(GROUP, Timestamp(day.0 + 10_500)).await.unwrap().batches, 10, "older than a day");
    assert_eq!(sweep.sweep(GROUP, Timestamp(u64::MAX)).await.unwrap().batches, 20);
    let journal = Journal::new(store.clone());
    let loaded = journal.load(GROUP, &stock("TEA")).await.unwrap();
    assert_eq!(loaded.records, (31..=33).map(record).collect::<Vec<_>>());
    assert_eq!(journal.tail(GROUP, &stock("TEA")).await.unwrap().last, Sequence(33));
    let mut restarted = Applier::open(store, GROUP).await.unwrap();
    let verdicts = restarted.apply(32, raft(), &[batch("TEA", 33, 33)]).await.unwrap();
    assert_eq!(verdicts, [super::records::Verdict::Refused { last: Sequence(33) }]);
}

#[tokio::test]
async fn client_keys_go_when_they_expire_and_the_feed_keeps_its_tail() {
    let (store, mut applier) = filled(30).await;
    let mut keyed = batch("TEA", 31, 31);
    for expires_at in [100, 200] {
        keyed.command_rows.push(CommandRow {
            command: command_id(expires_at),
            fingerprint: Fingerprint([1; 32]),
            sequence: Sequence(31),
            expires_at: Timestamp(expires_at),
        });
    }
    applier.apply(31, raft(), &[keyed]).await.unwrap();
    let trimmed = trimmer(store.clone(), &[]).sweep(GROUP, Timestamp(150)).await.unwrap();
    assert_eq!(trimmed, Trimmed { batches: 0, commands: 1, feed_rows: 20 });
    let journal = Journal::new(store.clone());
    assert_eq!(journal.commands(GROUP, &stock("TEA")).await.unwrap().len(), 1);
    assert!(matches!(journal.feed(GROUP, 20, 99).await, Err(JournalError::FeedTrimmed { floor: 21 })));
    assert_eq!(journal.feed(GROUP, 21, 99).await.unwrap().len(), 11);
    assert_eq!(store.get(keys::feed(GROUP, 20)).await.unwrap(), None);
}
