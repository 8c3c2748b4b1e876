//! Cluster: what the whole shop was born with, and the API keys of its merchants and operators.
//!
//! There is exactly one, in the meta group. Its number of shards and its secret never change: every entity's place and
//! every command id derived from a client's key depend on them. Keys are only ever added or revoked; a revoked key
//! stays listed, so that a log line naming it can still be explained.

mod messages;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use messages::{ApiKey, ClusterCommand, ClusterEvent, ClusterReply, ClusterView, Genesis, KeyHash, Role};

use serde::{Deserialize, Serialize};

use super::entity::{Decision, Entity};
use super::ids::{ApiKeyId, EntityId};
use super::rejection::Rejection;
use super::time::Timestamp;

/// Most shards of a cluster.
pub const SHARDS_MAX: u32 = 256;
/// Longest label of a key, in bytes.
pub const LABEL_BYTES_MAX: usize = 200;
/// Most keys ever made, revoked ones included: every node holds them in memory.
pub const KEYS_MAX: usize = 10_000;

type Decided = Result<Decision<ClusterEvent, ClusterReply>, Rejection>;

/// State.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    id: EntityId,
    genesis: Option<Genesis>,
    /// In order of creation.
    keys: Vec<ApiKey>,
}

impl Entity for Cluster {
    type Command = ClusterCommand;
    type Event = ClusterEvent;
    type Reply = ClusterReply;
    const STATE_VERSION: u16 = 1;

    fn new(id: &EntityId) -> Self {
        Self { id: id.clone(), genesis: None, keys: Vec::new() }
    }

    fn decide(&self, command: &ClusterCommand, _at: Timestamp) -> Decided {
        match command {
            ClusterCommand::Init(genesis) => self.init(genesis),
            ClusterCommand::CreateKey { id, role, hash, label } => self.create_key(*id, *role, *hash, label),
            ClusterCommand::RevokeKey { id } => self.revoke_key(*id),
            ClusterCommand::Show => {
                let view = ClusterView { genesis: self.genesis.clone(), keys: self.keys.clone() };
                Ok(Decision::new(Vec::new(), ClusterReply::Shown(Box::new(view))))
            }
        }
    }

    fn apply(&mut self, event: &ClusterEvent, at: Timestamp) {
        match event {
            ClusterEvent::Initialised(genesis) => self.genesis = Some(genesis.clone()),
            ClusterEvent::KeyCreated { id, role, hash, label } => self.keys.push(ApiKey {
                id: *id,
                role: *role,
                hash: *hash,
                label: label.clone(),
                created_at: at,
                revoked_at: None,
            }),
            ClusterEvent::KeyRevoked { id } => {
                if let Some(key) = self.keys.iter_mut().find(|key| key.id == *id) {
                    key.revoked_at = Some(at);
                }
            }
        }
    }

    fn assert_invariants(&self) {
        let born = self.genesis.as_ref().is_some_and(|genesis| (1..=SHARDS_MAX).contains(&genesis.shards));
        assert!(born || self.keys.is_empty(), "CLU-1: a cluster has 1 to {SHARDS_MAX} shards before it has keys");
        assert!(self.keys.len() <= KEYS_MAX, "CLU-2: a cluster has at most {KEYS_MAX} keys");
    }
}

impl Cluster {
    fn init(&self, genesis: &Genesis) -> Decided {
        if !(1..=SHARDS_MAX).contains(&genesis.shards) {
            return invalid("shards", format!("expected 1 to {SHARDS_MAX}"));
        }
        match &self.genesis {
            None => Ok(Decision::new(vec![ClusterEvent::Initialised(genesis.clone())], ClusterReply::Initialised)),
            Some(known) if known.cluster == genesis.cluster => Ok(Decision::replay(ClusterReply::Initialised)),
            Some(_) => invalid("cluster", "this cluster exists already".to_owned()),
        }
    }

    fn create_key(&self, id: ApiKeyId, role: Role, hash: KeyHash, label: &str) -> Decided {
        if self.genesis.is_none() {
            return Err(Rejection::NotFound { entity: self.id.clone() });
        }
        if let Some(known) = self.keys.iter().find(|key| key.id == id) {
            let same = known.role == role && known.hash == hash && known.label == label;
            let replay = Decision::replay(ClusterReply::KeyCreated { id });
            return if same { Ok(replay) } else { Err(Rejection::IdempotencyKeyReused) };
        }
        if label.len() > LABEL_BYTES_MAX {
            return invalid("label", format!("at most {LABEL_BYTES_MAX} bytes"));
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(Rejection::TooLarge { what: "API keys".to_owned(), limit: KEYS_MAX as u64 });
        }
        let event = ClusterEvent::KeyCreated { id, role, hash, label: label.to_owned() };
        Ok(Decision::new(vec![event], ClusterReply::KeyCreated { id }))
    }

    fn revoke_key(&self, id: ApiKeyId) -> Decided {
        let known = self.keys.iter().find(|key| key.id == id).ok_or(Rejection::ApiKeyNotFound { key: id })?;
        let reply = ClusterReply::KeyRevoked { id };
        match known.revoked_at {
            Some(_) => Ok(Decision::replay(reply)),
            None => Ok(Decision::new(vec![ClusterEvent::KeyRevoked { id }], reply)),
        }
    }
}

fn invalid(field: &str, reason: String) -> Decided {
    Err(Rejection::InvalidRequest { field: field.to_owned(), reason })
}
