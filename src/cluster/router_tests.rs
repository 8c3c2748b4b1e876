//! The router against a shard that answers as told (P7, P15).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::*;
use crate::actors::messages::Answer;
use crate::actors::region::HostedShards;
use crate::actors::shard::ShardMessage;
use crate::cluster::transport::DirectTransport;
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::CommandId;
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::rejection::Rejection;
use crate::domain::stock::{StockCommand, StockReply};
use crate::domain::testkit::{id16, sku};
use crate::domain::time::{Sequence, Timestamp};

/// What the shard does with one attempt.
#[derive(Clone)]
enum Act {
    Answer(Result<Answer, AskError>),
    /// Drops the reply: the entity ended.
    Drop,
    /// Never answers.
    Silence,
}

#[derive(Default)]
struct Script {
    acts: VecDeque<Act>,
    seen: Vec<Request>,
    silent: Vec<crate::actors::turn::ReplySender>,
}

struct ScriptedShard;

impl Actor for ScriptedShard {
    type Msg = ShardMessage;
    type State = Arc<Mutex<Script>>;
    type Arguments = Arc<Mutex<Script>>;

    async fn pre_start(
        &self,
        _myself: ActorRef<ShardMessage>,
        script: Arc<Mutex<Script>>,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(script)
    }

    async fn handle(
        &self,
        _myself: ActorRef<ShardMessage>,
        message: ShardMessage,
        script: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let ShardMessage::Ask { request, reply } = message else { return Ok(()) };
        let mut script = script.lock().unwrap();
        script.seen.push(request);
        match script.acts.pop_front().unwrap_or(Act::Drop) {
            Act::Answer(outcome) => drop(reply.map(|reply| reply.send(outcome))),
            Act::Drop => {}
            Act::Silence => script.silent.push(reply),
        }
        Ok(())
    }
}

struct Bench {
    router: Router,
    hosted: HostedShards,
    script: Arc<Mutex<Script>>,
}

impl Bench {
    async fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        let hosted = HostedShards::default();
        let home = Arc::new(Gateway::new(hosted.clone()));
        let router = Router::new(1, home, Arc::new(DirectTransport::default()), 3);
        router.learn(ShardCount::new(1).unwrap());
        let script = Arc::new(Mutex::new(Script { acts: acts.into_iter().collect(), ..Script::default() }));
        let (shard, _) = Actor::spawn(None, ScriptedShard, script.clone()).await.unwrap();
        hosted.set(GroupId(1), Some(shard));
        Self { router, hosted, script }
    }

    fn attempts(&self) -> usize {
        self.script.lock().unwrap().seen.len()
    }
}

fn request(origin: Origin) -> Request {
    Request {
        entity: EntityId::stock(&sku("TEA")),
        command: AnyCommand::Stock(StockCommand::Show),
        stamp: Stamp { command: CommandId(id16(1)), fingerprint: Fingerprint([1; 32]) },
        origin,
        budget: Duration::from_secs(3),
    }
}

fn yes() -> Act {
    let (reply, sequence, at) = (AnyReply::Stock(StockReply::Forgotten), Sequence(1), Timestamp(1));
    Act::Answer(Ok(Answer { reply, sequence, at, replayed: false }))
}

fn no() -> AskError {
    AskError::Rejected(Rejection::CartEmpty)
}

fn unseen() -> [AskError; 4] {
    let entity = EntityId::stock(&sku("TEA"));
    let retry_after = Duration::from_secs(1);
    [AskError::Overloaded { retry_after }, AskError::StorageFull, AskError::Panicked, AskError::Quarantined { entity }]
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_asked_for_again_under_the_same_id_with_what_is_left_of_the_time() {
    let unknown = Act::Answer(Err(AskError::Unknown { reason: "test" }));
    let bench = Bench::new([Act::Drop, unknown, Act::Drop, yes()]).await;
    assert!(bench.router.ask(request(Origin::ClientKey)).await.is_ok());
    let script = bench.script.lock().unwrap();
    assert_eq!(script.seen.len(), 4);
    assert!(script.seen.iter().all(|seen| seen.stamp == request(Origin::ClientKey).stamp));
    assert!(script.seen.windows(2).all(|pair| pair[1].budget < pair[0].budget), "the budget shrinks");
}

#[tokio::test(start_paused = true)]
async fn a_first_refusal_is_told_at_once_and_says_that_nothing_happened() {
    for error in unseen().into_iter().chain([no()]) {
        let bench = Bench::new([Act::Answer(Err(error.clone())), yes()]).await;
        assert_eq!(bench.router.ask(request(Origin::ClientKey)).await, Err(error));
        assert_eq!(bench.attempts(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn once_an_attempt_may_have_happened_no_refusal_that_did_not_look_is_told() {
    for error in unseen() {
        let bench = Bench::new([Act::Drop, Act::Answer(Err(error.clone())), yes()]).await;
        assert!(bench.router.ask(request(Origin::ClientKey)).await.is_ok(), "{error:?} is asked past");
        let refusals = std::iter::repeat_n(Act::Answer(Err(error.clone())), 10_000);
        let bench = Bench::new(std::iter::once(Act::Drop).chain(refusals)).await;
        let outcome = bench.router.ask(request(Origin::ClientKey)).await;
        assert!(matches!(outcome, Err(AskError::Unknown { .. })), "{error:?} became {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_no_decided_after_an_unknown_attempt_is_a_no() {
    let bench = Bench::new([Act::Drop, Act::Answer(Err(no()))]).await;
    assert_eq!(bench.router.ask(request(Origin::ClientKey)).await, Err(no()));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_unknown_at_the_deadline() {
    let bench = Bench::new([Act::Silence]).await;
    let started = Instant::now();
    let outcome = bench.router.ask(request(Origin::ClientKey)).await;
    assert!(matches!(outcome, Err(AskError::Unknown { .. })), "{outcome:?}");
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_shard_without_leader_is_waited_for_and_named_when_it_never_comes() {
    let bench = Bench::new([yes()]).await;
    let shard = bench.hosted.get(GroupId(1));
    bench.hosted.set(GroupId(1), None);
    assert_eq!(bench.router.ask(request(Origin::Router)).await, Err(AskError::NoLeader { shard: 1 }));
    let (router, hosted) = (bench.router.clone(), bench.hosted.clone());
    let asking = tokio::spawn(async move { router.ask(request(Origin::Router)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    hosted.set(GroupId(1), shard);
    assert!(asking.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn leadership_lost_after_an_attempt_leaves_the_outcome_unknown() {
    let bench = Bench::new([Act::Silence]).await;
    let (router, hosted) = (bench.router.clone(), bench.hosted.clone());
    let asking = tokio::spawn(async move { router.ask(request(Origin::Router)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    hosted.set(GroupId(1), None);
    bench.script.lock().unwrap().silent.clear();
    let outcome = asking.await.unwrap();
    assert!(matches!(outcome, Err(AskError::Unknown { .. })), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn so_many_client_commands_are_under_way_per_shard_and_owed_ones_pass() {
    let bench = Bench::new(std::iter::repeat_n(Act::Silence, 10_000)).await;
    let router = bench.router.clone();
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { router.ask(request(Origin::Router)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(router.free_places(), 0);
    let refused = router.ask(request(Origin::ClientKey)).await;
    assert!(matches!(refused, Err(AskError::Overloaded { .. })), "{refused:?}");
    let owed = router.clone();
    let owed = tokio::spawn(async move { owed.ask(request(Origin::Owed)).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.attempts(), 4, "the owed one reached the shard");
    asking.into_iter().chain([owed]).for_each(|task| task.abort());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(router.free_places(), 3, "places come back, also those of callers that went away");
}
