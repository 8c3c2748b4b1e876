//! The cluster against a map from key ids to whether they work.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::ids::{ClusterId, NodeId};
use crate::domain::privacy::Secret;
use crate::domain::testkit::{Subject, id16};

#[derive(Clone, Debug)]
enum Step {
    Init { cluster: u8 },
    Create { id: u8, hash: u8 },
    Revoke { id: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..3_u8).prop_map(|cluster| Step::Init { cluster }),
        (0..4_u8, 0..2_u8).prop_map(|(id, hash)| Step::Create { id, hash }),
        (0..4_u8).prop_map(|id| Step::Revoke { id }),
    ]
}

fn command(step: &Step) -> ClusterCommand {
    match *step {
        Step::Init { cluster } => {
            let (cluster, secret, node) = (ClusterId(id16(cluster)), Secret([1; 32]), NodeId(1));
            ClusterCommand::Init(Genesis { cluster, shards: 12, secret, node })
        }
        Step::Create { id, hash } => {
            let (id, hash) = (ApiKeyId(id16(id)), KeyHash([hash; 32]));
            ClusterCommand::CreateKey { id, role: Role::Merchant, hash, label: "till".into() }
        }
        Step::Revoke { id } => ClusterCommand::RevokeKey { id: ApiKeyId(id16(id)) },
    }
}

proptest! {
    #[test]
    fn keys_agree_with_a_map(steps in proptest::collection::vec(step(), 1..40)) {
        let mut subject = Subject::<Cluster>::new(&EntityId::cluster());
        let mut born = None;
        let mut keys = BTreeMap::<u8, (u8, bool)>::new();
        for step in steps {
            let accepted = subject.when(command(&step)).is_ok();
            let expected = match step {
                Step::Init { cluster } => *born.get_or_insert(cluster) == cluster,
                Step::Create { id, hash } => born.is_some() && keys.entry(id).or_insert((hash, true)).0 == hash,
                Step::Revoke { id } => keys.get_mut(&id).map(|key| key.1 = false).is_some(),
            };
            prop_assert_eq!(accepted, expected, "{:?}", step);
            let shown: BTreeMap<_, _> =
                subject.state.keys.iter().map(|key| (key.id.0[0], (key.hash.0[0], key.revoked_at.is_none()))).collect();
            prop_assert_eq!(&shown, &keys);
        }
    }
}
