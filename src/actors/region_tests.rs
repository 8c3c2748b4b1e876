//! The region: what is hosted follows leadership, and a shard that fails comes back (P12).

use std::time::Duration;

use ractor::{Actor, ActorRef};

use super::region::{HostedShards, RegionActor, RegionArguments, RegionMessage};
use super::shard::{ShardMessage, ShardOptions};
use super::testkit::{Bench, GROUP};

struct Region {
    hosted: HostedShards,
    actor: ActorRef<RegionMessage>,
    bench: Bench,
}

impl Region {
    async fn new() -> Self {
        let hosted = HostedShards::default();
        let arguments = RegionArguments { hosted: hosted.clone() };
        let (actor, _) = Actor::spawn(None, RegionActor, arguments).await.unwrap();
        Self { hosted, actor, bench: Bench::new().await }
    }

    fn lead(&self, term: u64) {
        self.actor
            .cast(RegionMessage::Host {
                term,
                surroundings: self.bench.surroundings(),
                options: ShardOptions::default(),
            })
            .unwrap();
    }

    async fn shard(&self) -> Option<ActorRef<ShardMessage>> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.hosted.get(GROUP)
    }

    /// How long a shard that ends now is away.
    async fn absence(&self) -> Duration {
        let before = self.shard().await.expect("it is hosted");
        before.stop_and_wait(None, None).await.unwrap();
        let gone = tokio::time::Instant::now();
        loop {
            match self.shard().await {
                Some(shard) if shard.get_id() != before.get_id() => return gone.elapsed(),
                _ => {}
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_hosted_while_its_group_is_led_and_anew_in_each_term() {
    let region = Region::new().await;
    assert!(region.shard().await.is_none());
    region.lead(1);
    let first = region.shard().await.expect("led");
    region.lead(2);
    let second = region.shard().await.expect("led again");
    assert_ne!(first.get_id(), second.get_id(), "nothing of an earlier term is trusted");
    region.actor.cast(RegionMessage::Drop { group: GROUP }).unwrap();
    assert!(region.shard().await.is_none());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(region.shard().await.is_none(), "nobody brings back what is not led");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_ends_comes_back_later_each_time_and_is_forgiven_after_a_while() {
    let region = Region::new().await;
    region.lead(1);
    let (first, second) = (region.absence().await, region.absence().await);
    assert!(second > first * 3 / 2, "{first:?}, {second:?}");
    tokio::time::sleep(Duration::from_secs(120)).await;
    let forgiven = region.absence().await;
    assert!(forgiven < second, "{forgiven:?}");
}
