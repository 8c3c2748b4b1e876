//! Which group an entity lives in. Fixed when the cluster is created; the hash is part of the contract with the data.

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::ids::EntityId;
use crate::domain::registry::Kind;
use crate::persistence::log::GroupId;

/// How many shards a cluster has: 1 to [`ShardCount::MAX`], fixed for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardCount(u32);

impl ShardCount {
    /// Idle Raft groups cost CPU; above this they cost more than they spread.
    pub const MAX: u32 = 256;
    /// The measured sweet spot of small clusters.
    pub const DEFAULT: Self = Self(12);

    /// `None` outside 1 to [`ShardCount::MAX`].
    pub fn new(shards: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&shards).then_some(Self(shards))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The groups of all shards, in order; the meta group is not among them.
    pub fn groups(self) -> impl Iterator<Item = GroupId> {
        (1..=self.0).map(GroupId)
    }

    /// Where an entity lives.
    pub fn group_of(self, entity: &EntityId) -> GroupId {
        if entity.kind == Kind::Cluster {
            return GroupId::META;
        }
        let mut name = Vec::with_capacity(entity.key.len() + 1);
        name.push(entity.kind.number());
        name.extend_from_slice(entity.key.as_bytes());
        let shard = xxh3_64(&name) % u64::from(self.0);
        GroupId(1 + u32::try_from(shard).expect("a remainder below 256"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_is_pinned() {
        let placed: Vec<u32> =
            ["stock/TEA-100", "stock/TEA-101", "cart/00ff", "order/00ff", "product/tea", "cluster/cluster"]
                .iter()
                .map(|id| ShardCount::DEFAULT.group_of(&id.parse().unwrap()).0)
                .collect();
        assert_eq!(placed, [8, 6, 1, 9, 8, 0]);
    }

    #[test]
    fn shards_fill_evenly() {
        let mut filled = [0u32; 12];
        for number in 0..12_000 {
            let entity: EntityId = format!("stock/SKU-{number}").parse().unwrap();
            filled[ShardCount::DEFAULT.group_of(&entity).0 as usize - 1] += 1;
        }
        assert!(filled.iter().all(|count| (850..1150).contains(count)), "{filled:?}");
    }
}
