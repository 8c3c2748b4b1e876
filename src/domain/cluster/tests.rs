use super::*;
use crate::domain::ids::{ClusterId, NodeId};
use crate::domain::privacy::Secret;

fn genesis(cluster: u8) -> Genesis {
    Genesis { cluster: ClusterId([cluster; 16]), shards: 12, secret: Secret([7; 32]), node: NodeId(1) }
}

fn create(id: u8, label: &str) -> ClusterCommand {
    let (id, hash) = (ApiKeyId([id; 16]), KeyHash([id; 32]));
    ClusterCommand::CreateKey { id, role: Role::Merchant, hash, label: label.to_owned() }
}

fn cluster_after(commands: &[ClusterCommand]) -> Cluster {
    let mut cluster = Cluster::new(&EntityId::cluster());
    for (at, command) in (1..).zip(commands) {
        for event in cluster.decide(command, Timestamp(at)).unwrap().events {
            cluster.apply(&event, Timestamp(at));
        }
        cluster.assert_invariants();
    }
    cluster
}

#[test]
fn a_cluster_is_born_once() {
    let cluster = cluster_after(&[ClusterCommand::Init(genesis(1))]);
    let again = cluster.decide(&ClusterCommand::Init(genesis(1)), Timestamp(9)).unwrap();
    assert!(again.replayed && again.events.is_empty());
    assert!(cluster.decide(&ClusterCommand::Init(genesis(2)), Timestamp(9)).is_err());
}

#[test]
fn shards_outside_the_bounds_are_refused() {
    for shards in [0, SHARDS_MAX + 1] {
        let command = ClusterCommand::Init(Genesis { shards, ..genesis(1) });
        assert!(Cluster::new(&EntityId::cluster()).decide(&command, Timestamp(1)).is_err());
    }
}

#[test]
fn keys_need_a_cluster() {
    let unborn = Cluster::new(&EntityId::cluster());
    assert_eq!(
        unborn.decide(&create(1, "till"), Timestamp(1)),
        Err(Rejection::NotFound { entity: EntityId::cluster() })
    );
}

#[test]
fn creating_a_key_again_is_a_replay_unless_it_differs() {
    let cluster = cluster_after(&[ClusterCommand::Init(genesis(1)), create(1, "till")]);
    assert!(cluster.decide(&create(1, "till"), Timestamp(9)).unwrap().replayed);
    assert_eq!(cluster.decide(&create(1, "other"), Timestamp(9)), Err(Rejection::IdempotencyKeyReused));
}

#[test]
fn a_revoked_key_stays_listed_with_the_time_it_ended() {
    let revoke = ClusterCommand::RevokeKey { id: ApiKeyId([1; 16]) };
    let cluster = cluster_after(&[ClusterCommand::Init(genesis(1)), create(1, "till"), revoke.clone()]);
    let ClusterReply::Shown(view) = cluster.decide(&ClusterCommand::Show, Timestamp(9)).unwrap().reply else {
        panic!("Show answers with the cluster");
    };
    assert_eq!(view.keys[0].revoked_at, Some(Timestamp(3)));
    assert!(cluster.decide(&revoke, Timestamp(9)).unwrap().replayed);
    let unknown = ClusterCommand::RevokeKey { id: ApiKeyId([2; 16]) };
    assert!(matches!(cluster.decide(&unknown, Timestamp(9)), Err(Rejection::ApiKeyNotFound { .. })));
}
