//! A shard and its entities over a scripted log: the rules of a turn (P8–P11, P15), of rest (P16), of failure.

use std::time::Duration;

use tokio::sync::oneshot;

use super::entity::EntityMessage;
use super::messages::{Answer, AskError, Origin};
use super::ports::LeaseError;
use super::shard::{ShardMessage, ShardOptions};
use super::testkit::{Fate, GROUP, HostedShard, receive, reserve_owed, show, to_stock, until};
use super::turn::Entity;
use crate::domain::ids::{EntityId, HoldId, OrderId};
use crate::domain::quantity::Quantity;
use crate::domain::registry::{AnyCommand, AnyEvent, AnyReply};
use crate::domain::rejection::Rejection;
use crate::domain::stock::{Holder, ReturnKey, StockCommand, StockEvent, StockReply};
use crate::domain::time::Sequence;
use crate::persistence::codec;
use crate::persistence::records::EntityBatch;
use crate::persistence::testkit::{batch, record, stock};

async fn hosted() -> HostedShard {
    HostedShard::start(ShardOptions::default()).await
}

fn available(answer: &Answer) -> u64 {
    match &answer.reply {
        AnyReply::Stock(StockReply::Counted(numbers)) => numbers.available,
        AnyReply::Stock(StockReply::Shown(view)) => view.numbers.available,
        other => panic!("no numbers in {other:?}"),
    }
}

/// One record that takes five units from an item that has none: no rule allows it, replay panics.
fn poison(sku: &str) -> EntityBatch {
    let mut record = record(1);
    let (delta, reason, available) = (-5, "planted".to_owned(), 0);
    record.events = vec![AnyEvent::Stock(StockEvent::Adjusted { delta, reason, available })];
    EntityBatch { records: codec::encode_records(&[record]), ..batch(sku, 1, 1) }
}

#[tokio::test(start_paused = true)]
async fn one_batch_is_in_flight_and_the_next_forms_behind_it() {
    let shard = hosted().await;
    shard.log.set_fate(Fate::Held);
    let first = shard.send(receive("TEA", 1, 10));
    until("the first batch is on its way", async || shard.log.held() == [1]).await;
    let others: Vec<_> = (2..=6).map(|number| shard.send(receive("TEA", number, 1))).collect();
    until("the others have arrived", async || shard.residents().await == [stock("TEA")]).await;
    assert_eq!(shard.log.held(), [1], "a second batch before the first one's verdict");
    shard.log.let_go();
    assert_eq!(available(&first.await.unwrap().unwrap()), 10);
    until("the rest is one batch", async || shard.log.held() == [5]).await;
    shard.log.let_go();
    let mut seen = Vec::new();
    for other in others {
        seen.push(available(&other.await.unwrap().unwrap()));
    }
    assert_eq!(seen, [11, 12, 13, 14, 15]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_leaves_only_after_its_verdict() {
    let shard = hosted().await;
    shard.log.set_fate(Fate::Held);
    let mut answer = shard.send(receive("TEA", 1, 10));
    until("the batch is on its way", async || shard.log.held() == [1]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(answer.try_recv().is_err(), "answered before the verdict");
    shard.log.let_go();
    assert_eq!(available(&answer.await.unwrap().unwrap()), 10);
}

#[tokio::test(start_paused = true)]
async fn a_no_that_rests_on_a_record_waits_for_its_verdict() {
    let shard = hosted().await;
    shard.ask(receive("TEA", 1, 3)).await.unwrap();
    shard.log.set_fate(Fate::Held);
    let adjust = |number, delta| {
        let command = StockCommand::Adjust { delta, reason: "count".to_owned() };
        shard.send(to_stock("TEA", number, Origin::Router, command))
    };
    let blocking = adjust(2, -1);
    until("a batch is on its way", async || shard.log.held() == [1]).await;
    let (taken, mut refused) = (adjust(3, -2), adjust(4, -1));
    shard.log.let_go();
    blocking.await.unwrap().unwrap();
    until("the batch with the no is on its way", async || shard.log.held() == [1]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(refused.try_recv().is_err(), "a no left before the record it rests on was stored");
    shard.log.let_go();
    assert_eq!(available(&taken.await.unwrap().unwrap()), 0);
    let no = refused.await.unwrap();
    assert!(matches!(no, Err(AskError::Rejected(Rejection::InsufficientStock { .. }))), "{no:?}");
}

#[tokio::test(start_paused = true)]
async fn reads_and_refusals_need_the_leader_lease() {
    let shard = hosted().await;
    shard.ask(receive("TEA", 1, 3)).await.unwrap();
    shard.log.set_lease(Err(LeaseError));
    let read = shard.ask_once(show("TEA")).await;
    assert!(matches!(read, Err(AskError::Unknown { .. })), "{read:?}");
    let again = shard.ask_once(receive("TEA", 1, 3)).await;
    assert!(matches!(again, Err(AskError::Unknown { .. })), "a replay needs it too: {again:?}");
    shard.log.set_lease(Ok(()));
    assert_eq!(available(&shard.ask_once(show("TEA")).await.unwrap()), 3);
    assert!(shard.ask_once(receive("TEA", 1, 3)).await.unwrap().replayed);
}

#[tokio::test(start_paused = true)]
async fn a_stale_actor_is_refused_whole_and_its_callers_find_the_journal_as_it_is() {
    let shard = hosted().await;
    shard.ask(receive("TEA", 1, 3)).await.unwrap();
    shard.log.store_behind_its_back(batch("TEA", 2, 4));
    let refused = shard.ask_once(receive("TEA", 2, 5)).await;
    assert!(matches!(refused, Err(AskError::Unknown { .. })), "{refused:?}");
    let answer = shard.ask(receive("TEA", 2, 5)).await.unwrap();
    assert_eq!((answer.sequence, available(&answer), answer.replayed), (Sequence(5), 8, false));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_an_unknown_outcome_never_happens_twice() {
    let shard = hosted().await;
    for (number, fate) in [(1, Fate::AppliedButUnknown), (2, Fate::Lost)] {
        shard.log.set_fate(fate);
        let unknown = shard.ask_once(receive("TEA", number, 5)).await;
        assert!(matches!(unknown, Err(AskError::Unknown { .. })), "{unknown:?}");
        shard.log.set_fate(Fate::Applied);
        let answer = shard.ask(receive("TEA", number, 5)).await.unwrap();
        assert_eq!((available(&answer), answer.replayed), (5 * u64::from(number), fate == Fate::AppliedButUnknown));
    }
}

#[tokio::test(start_paused = true)]
async fn owed_commands_are_decided_before_waiting_clients() {
    let shard = hosted().await;
    shard.ask(receive("TEA", 1, 3)).await.unwrap();
    shard.log.set_fate(Fate::Held);
    shard.send(receive("TEA", 2, 1));
    until("a batch is on its way", async || shard.log.held() == [1]).await;
    let client = shard.send(receive("TEA", 3, 1));
    let owed = shard.send(reserve_owed("TEA", 4));
    shard.log.let_go();
    until("both are in one batch", async || shard.log.held() == [2]).await;
    shard.log.let_go();
    assert_eq!(owed.await.unwrap().unwrap().sequence, Sequence(3));
    assert_eq!(client.await.unwrap().unwrap().sequence, Sequence(4));
}

#[tokio::test(start_paused = true)]
async fn a_panicking_command_is_a_no_and_leaves_no_trace() {
    let shard = hosted().await;
    let entity = shard.lone_entity(stock("TEA")).await;
    let send = |request| {
        let (reply, answer) = oneshot::channel();
        entity.cast(EntityMessage::Ask { request, reply: Some(reply) }).unwrap();
        answer
    };
    send(receive("TEA", 1, 3)).await.unwrap().unwrap();
    let plant = |entity: &mut Entity| {
        let (hold, order) = (HoldId([1; 16]), OrderId([1; 16]));
        let (key, quantity) = (ReturnKey::Undone, Quantity::new(1).unwrap());
        let nothing_was_sold = StockEvent::Returned { hold, order, key, quantity, available: 0 };
        entity.state.apply(&AnyEvent::Stock(nothing_was_sold), entity.at);
    };
    entity.cast(EntityMessage::Corrupt(plant)).unwrap();
    let outcome = send(receive("TEA", 2, 5)).await.unwrap();
    assert_eq!(outcome, Err(AskError::Panicked));
    let after = send(show("TEA")).await.unwrap().unwrap();
    assert_eq!((after.sequence, available(&after)), (Sequence(1), 3), "the state is the journal's again");
    let next = send(receive("TEA", 2, 5)).await.unwrap().unwrap();
    assert_eq!((next.sequence, available(&next)), (Sequence(2), 8));
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_cannot_be_replayed_is_set_aside_and_others_go_on() {
    let shard = hosted().await;
    shard.log.store_behind_its_back(poison("BAD"));
    until("the poison is stored", async || shard.journal.tail(GROUP, &stock("BAD")).await.unwrap().last.0 == 1).await;
    let outcome = shard.ask(show("BAD")).await;
    assert_eq!(outcome, Err(AskError::Quarantined { entity: stock("BAD") }));
    assert_eq!(available(&shard.ask(receive("TEA", 1, 3)).await.unwrap()), 3);
    assert_eq!(quarantined(&shard).await, [(stock("BAD"), 3)]);
    assert!(!release(&shard, stock("TEA")).await, "it was not quarantined");
    assert!(release(&shard, stock("BAD")).await);
    assert_eq!(quarantined(&shard).await, []);
    let outcome = shard.ask(show("BAD")).await;
    assert_eq!(outcome, Err(AskError::Quarantined { entity: stock("BAD") }), "released, tried, set aside again");
}

async fn quarantined(shard: &HostedShard) -> Vec<(EntityId, u32)> {
    let (reply, answer) = oneshot::channel();
    shard.actor.cast(ShardMessage::Quarantined(reply)).unwrap();
    answer.await.unwrap()
}

async fn release(shard: &HostedShard, entity: EntityId) -> bool {
    let (reply, answer) = oneshot::channel();
    shard.actor.cast(ShardMessage::Release { entity, reply }).unwrap();
    answer.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn idle_entities_rest_and_come_back_with_everything() {
    let shard = HostedShard::start(ShardOptions { idle_after: Duration::from_secs(30), residents_max: 100 }).await;
    shard.ask(receive("TEA", 1, 3)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(shard.residents().await, [stock("TEA")], "not idle long enough");
    until("it rests", async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        shard.residents().await.is_empty()
    })
    .await;
    assert_eq!(available(&shard.ask_once(show("TEA")).await.unwrap()), 3);
    assert!(shard.ask_once(receive("TEA", 1, 3)).await.unwrap().replayed, "the window came back too");
}

#[tokio::test(start_paused = true)]
async fn above_the_cap_the_least_recently_used_rest_first() {
    let shard = HostedShard::start(ShardOptions { idle_after: Duration::from_secs(3600), residents_max: 2 }).await;
    for (number, sku) in [(1, "A"), (2, "B"), (3, "C"), (4, "D")] {
        shard.ask(receive(sku, number, 1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shard.ask(show("A")).await.unwrap();
    until("two remain", async || shard.residents().await.len() == 2).await;
    assert_eq!(shard.residents().await, [stock("A"), stock("D")]);
}

#[tokio::test(start_paused = true)]
async fn commands_that_meet_an_entity_going_to_rest_are_not_lost() {
    let shard = HostedShard::start(ShardOptions { idle_after: Duration::ZERO, residents_max: 100 }).await;
    for number in 1..=60 {
        let answer = shard.ask_once(receive("TEA", number, 1)).await.unwrap();
        assert_eq!(available(&answer), u64::from(number));
        shard.actor.cast(ShardMessage::Sweep).unwrap();
        tokio::time::sleep(Duration::from_micros(u64::from(number) * 13)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_wakes_an_entity_at_rest() {
    let shard = HostedShard::start(ShardOptions { idle_after: Duration::ZERO, residents_max: 100 }).await;
    shard.ask(receive("TEA", 1, 3)).await.unwrap();
    let mut hold = reserve_owed("TEA", 2);
    if let AnyCommand::Stock(StockCommand::Reserve(reserve)) = &mut hold.command {
        (reserve.holder, reserve.ttl) = (Holder::Shopper, Duration::from_secs(30));
    }
    hold.origin = Origin::Router;
    shard.ask(hold).await.unwrap();
    until("the hold has ended by itself", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        shard.journal.tail(GROUP, &stock("TEA")).await.unwrap().last == Sequence(3)
    })
    .await;
    assert_eq!(available(&shard.ask(show("TEA")).await.unwrap()), 3);
}
