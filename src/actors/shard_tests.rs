//! The shard and its residents: coming to life, resting, waking, failing, being set aside (P10, P13, P16).

use std::time::Duration;

use tokio::sync::oneshot;

use super::messages::{AskError, Origin, Request};
use super::shard::{ShardMessage, ShardOptions};
use super::testkit::{Bench, QUIET, foreign_batch, hold, hold_for, receive, show};
use crate::domain::entity::{Destination, Fingerprint, Settlement, Stamp};
use crate::domain::ids::{CommandId, EntityId, HoldId};
use crate::domain::pricing::{JsonText, Prices};
use crate::domain::product::{ProductCommand, ProductDocument, ProductStatus, Variant};
use crate::domain::registry::{AnyCommand, AnyEvent, AnyReply};
use crate::domain::stock::{StockEvent, StockReply};
use crate::domain::testkit::{id16, sku};
use crate::persistence::codec;
use crate::persistence::records::{EntityBatch, Record, Verdict};
use crate::persistence::testkit::record;

/// Entities rest one second after their last command.
fn restless() -> ShardOptions {
    ShardOptions { idle_after: Duration::from_secs(1), ..ShardOptions::default() }
}

fn id(name: &str) -> EntityId {
    EntityId::stock(&sku(name))
}

async fn held(bench: &Bench, name: &str) -> u64 {
    match bench.ask(show(name)).await.unwrap().reply {
        AnyReply::Stock(StockReply::Shown(view)) => view.numbers.held,
        other => panic!("{other:?}"),
    }
}

/// A product of one variant, which owes its stock item a List.
fn put_product() -> Request {
    let (title, attributes, prices) = (String::from("Tea"), JsonText::empty_object(), Prices([].into()));
    let variant = Variant { sku: sku("TEA"), title: title.clone(), attributes: attributes.clone(), prices };
    let document = ProductDocument {
        title,
        description: String::new(),
        categories: Vec::new(),
        attributes,
        media: Vec::new(),
        status: ProductStatus::Active,
        variants: vec![variant],
    };
    Request {
        entity: "product/tea".parse().unwrap(),
        command: AnyCommand::Product(ProductCommand::Put { document: document.into(), expected_version: None }),
        stamp: Stamp { command: CommandId(id16(50)), fingerprint: Fingerprint([50; 32]) },
        origin: Origin::Router,
        budget: Duration::from_secs(10),
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_entity_rests_and_comes_back_as_it_was() {
    let bench = Bench::with(restless()).await;
    bench.receive("TEA", 5).await;
    bench.ask(hold("TEA", 1, 2)).await.unwrap();
    assert_eq!(bench.residents().await, [id("TEA")]);
    bench
        .until("it rests, its hold's deadline notwithstanding", async |bench| bench.residents().await.is_empty())
        .await;
    assert_eq!(held(&bench, "TEA").await, 2);
    assert_eq!(bench.observer.resident(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_owes_does_not_rest_until_it_is_settled() {
    let mut bench = Bench::with(restless()).await;
    bench.ask(put_product()).await.unwrap();
    let (_, answer) = bench.sent.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.residents().await.len(), 1, "it owes a listing");
    answer.send(Settlement::Accepted(AnyReply::Stock(StockReply::Listed { version: 1 }))).unwrap();
    bench.until("it rests", async |bench| bench.residents().await.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_is_sent_only_once_it_is_stored_and_again_under_its_name_after_a_crash() {
    let mut bench = Bench::new().await;
    bench.log.hold();
    drop(bench.send(put_product()));
    tokio::time::sleep(QUIET).await;
    assert!(bench.sent.try_recv().is_err(), "sent before it was stored");
    bench.log.release().await;
    let (first, _lost) = bench.sent.recv().await.unwrap();
    let (obligation, Destination::Entity(to, command)) = (first.obligation.to_string(), first.to) else { panic!() };
    assert_eq!((obligation.as_str(), to), ("product/tea/list/TEA/1", id("TEA")));
    for _ in 0..2 {
        bench.restart().await;
        let again = tokio::time::timeout(Duration::from_secs(600), bench.sent.recv()).await;
        let (again, _lost) = again.expect("its wake row brings it back").expect("the shard lives");
        assert_eq!(again.obligation, first.obligation);
        assert!(matches!(again.to, Destination::Entity(_, same) if same == command));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_a_resting_item_ends_on_time() {
    let bench = Bench::with(restless()).await;
    bench.receive("TEA", 5).await;
    bench.ask(hold_for("TEA", 1, 2, Duration::from_secs(30))).await.unwrap();
    bench.until("it rests", async |bench| bench.residents().await.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.log.records().len(), 2, "not yet");
    tokio::time::sleep(Duration::from_secs(15)).await;
    let last = bench.log.records().pop().unwrap();
    assert!(matches!(&last[0].events[..], [AnyEvent::Stock(StockEvent::Expired { .. })]), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_missed_while_the_node_was_down_is_made_up_for() {
    let mut bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    bench.ask(hold_for("TEA", 1, 2, Duration::from_secs(30))).await.unwrap();
    bench.shard.stop_and_wait(None, None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    bench.restart().await;
    bench.until("the hold has ended", async |bench| bench.log.records().len() == 3).await;
    assert_eq!(held(&bench, "TEA").await, 0);
}

/// Goes to the end of the queue of tasks that are ready: everybody ready before runs once. tokio's own yield would let
/// the whole conversation end.
async fn let_others_step() {
    let mut stepped = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut stepped, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_meets_an_entity_going_to_rest_is_answered_by_its_next_incarnation() {
    let bench = Bench::with(ShardOptions { idle_after: Duration::ZERO, ..ShardOptions::default() }).await;
    bench.receive("TEA", 5).await;
    for steps in 0..40 {
        let ((first, one), (second, other)) = (oneshot::channel(), oneshot::channel());
        let shard = bench.shard.clone();
        // A task of its own, so that it takes turns with the actors.
        tokio::spawn(async move {
            shard.cast(ShardMessage::Sweep).unwrap();
            for _ in 0..steps {
                let_others_step().await;
            }
            let received = receive("TEA", steps, 1, Origin::Router);
            shard.cast(ShardMessage::Ask { request: show("TEA"), reply: Some(first) }).unwrap();
            shard.cast(ShardMessage::Ask { request: received, reply: Some(second) }).unwrap();
        });
        assert!(matches!(one.await, Ok(Ok(_))), "a read was lost after {steps} steps");
        assert!(matches!(other.await, Ok(Ok(_))), "a write was lost after {steps} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn above_the_limit_the_least_recently_used_rest_first() {
    let bench = Bench::with(ShardOptions { idle_after: Duration::from_secs(3600), residents_max: 3 }).await;
    for name in ["A", "B", "C", "D", "E", "A"] {
        bench.receive(name, 1).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.until("two have gone", async |bench| bench.residents().await.len() == 3).await;
    assert_eq!(bench.residents().await, [id("A"), id("D"), id("E")]);
    assert_eq!(bench.observer.resident(), 3);
    assert!(bench.ask(show("B")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failed_entity_waits_longer_each_time_and_others_go_on() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    bench.receive("CUP", 5).await;
    let mut pauses = Vec::new();
    for number in 1..=5 {
        bench.log.hold();
        let lost = bench.send(hold("TEA", number, 1));
        tokio::time::sleep(QUIET).await;
        bench.log.forget_waiting();
        bench.log.release().await;
        assert!(lost.await.is_err());
        let failed = tokio::time::Instant::now();
        assert!(bench.ask(show("CUP")).await.is_ok());
        while bench.ask(show("TEA")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pauses.push(failed.elapsed());
    }
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0] * 3 / 2), "{pauses:?}");
}

/// A record that cannot be replayed: a sale of a hold that never was.
async fn plant_poison(bench: &Bench, name: &str) {
    let events = vec![AnyEvent::Stock(StockEvent::Committed { hold: HoldId(id16(1)) })];
    let poison = Record { events, ..record(1) };
    let batch = EntityBatch { records: codec::encode_records(&[poison]), ..foreign_batch(name, 1) };
    assert_eq!(bench.log.apply(batch).await, Verdict::Stored);
}

async fn quarantined(bench: &Bench) -> Vec<EntityId> {
    let (reply, answer) = oneshot::channel();
    bench.shard.cast(ShardMessage::Quarantined(reply)).unwrap();
    answer.await.unwrap().into_iter().map(|(entity, _)| entity).collect()
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_cannot_be_replayed_is_set_aside_until_released_and_others_go_on() {
    let bench = Bench::new().await;
    plant_poison(&bench, "BAD").await;
    bench.receive("TEA", 5).await;
    let refused = bench.ask_until_known(show("BAD")).await;
    assert_eq!(refused, Err(AskError::Quarantined { entity: id("BAD") }));
    assert_eq!(quarantined(&bench).await, [id("BAD")]);
    assert_eq!(bench.observer.quarantines(), 1);
    assert!(bench.ask(show("TEA")).await.is_ok());
    let (reply, released) = oneshot::channel();
    bench.shard.cast(ShardMessage::Release { entity: id("BAD"), reply }).unwrap();
    assert!(released.await.unwrap());
    assert!(matches!(bench.ask(show("BAD")).await, Err(AskError::Unknown { .. })), "it is tried again");
    assert_eq!(bench.ask_until_known(show("BAD")).await, Err(AskError::Quarantined { entity: id("BAD") }));
}

#[tokio::test(start_paused = true)]
async fn a_client_cannot_bring_an_entity_into_quarantine() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    let command = AnyCommand::Cart(crate::domain::cart::CartCommand::Show);
    for _ in 0..20 {
        let misled = Request { command: command.clone(), ..show("TEA") };
        assert_eq!(bench.ask(misled).await, Err(AskError::Panicked));
    }
    assert!(quarantined(&bench).await.is_empty());
    assert!(bench.ask(show("TEA")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_speaks_for_an_entity_while_the_batch_of_a_dead_actor_is_under_way() {
    let mut bench = Bench::new().await;
    bench.receive("TEA", 1).await;
    bench.log.hold();
    drop(bench.send(receive("TEA", 1, 5, Origin::Router)));
    tokio::time::sleep(QUIET).await;
    bench.restart().await;
    let early = bench.ask(hold("TEA", 2, 6)).await;
    assert!(matches!(early, Err(AskError::Unknown { .. })), "a no here would be a lie in a moment: {early:?}");
    bench.log.release().await;
    assert!(bench.ask_until_known(hold("TEA", 2, 6)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_order_is_answered_like_everybody_while_thousands_of_entities_wake() {
    let mut bench = Bench::new().await;
    for number in 0..600 {
        let name = format!("SKU-{number}");
        bench.receive(&name, 1).await;
        bench.ask(hold_for(&name, 1, 1, Duration::from_secs(5))).await.unwrap();
    }
    bench.shard.stop_and_wait(None, None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    bench.restart().await;
    bench.receive("TEA", 1).await;
    assert!(bench.residents().await.len() < 600, "activation is bounded");
    bench.until("every hold has ended", async |bench| bench.log.records().len() == 1_801).await;
}

#[tokio::test(start_paused = true)]
async fn a_draining_shard_answers_what_it_heard_and_lets_nobody_in() {
    let bench = Bench::new().await;
    bench.receive("TEA", 5).await;
    bench.log.hold();
    let first = bench.send(hold("TEA", 1, 2));
    let second = bench.send(hold("TEA", 2, 1));
    tokio::time::sleep(QUIET).await;
    let (told, mut drained) = oneshot::channel();
    bench.shard.cast(ShardMessage::Drain(told)).unwrap();
    tokio::time::sleep(QUIET).await;
    assert!(drained.try_recv().is_err(), "a batch is in flight");
    assert!(matches!(bench.ask(hold("TEA", 3, 1)).await, Err(AskError::Unknown { .. })));
    bench.log.release().await;
    drained.await.unwrap();
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
    assert_eq!(bench.residents().await, []);
    assert!(matches!(bench.ask(show("TEA")).await, Err(AskError::Unknown { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_draining_shard_delivers_nothing_more_and_the_next_hosting_does() {
    let mut bench = Bench::new().await;
    bench.ask(put_product()).await.unwrap();
    let (owed, answer) = bench.sent.recv().await.unwrap();
    let (told, drained) = oneshot::channel();
    bench.shard.cast(ShardMessage::Drain(told)).unwrap();
    drained.await.unwrap();
    assert!(answer.is_closed(), "its courier is called back");
    bench.restart().await;
    let (again, _answer) = bench.sent.recv().await.unwrap();
    assert_eq!(again.obligation, owed.obligation);
}

#[tokio::test(start_paused = true)]
async fn those_used_last_are_listed_first_and_all_are_counted() {
    let bench = Bench::new().await;
    for name in ["TEA", "POT", "CUP"] {
        bench.receive(name, 5).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.ask(show("TEA")).await.unwrap();
    let (reply, answer) = oneshot::channel();
    bench.shard.cast(ShardMessage::Residents { limit: 2, reply }).unwrap();
    let residents = answer.await.unwrap();
    let names: Vec<_> = residents.used_last.into_iter().map(|(entity, _)| entity).collect();
    assert_eq!((residents.count, names), (3, vec![id("TEA"), id("CUP")]));
}
