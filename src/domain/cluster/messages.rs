//! What the cluster entity can be asked, what can happen to it and what it answers.

use serde::{Deserialize, Serialize};

use crate::domain::entity::{Command, Nature, Versioned};
use crate::domain::ids::{ApiKeyId, ClusterId, NodeId};
use crate::domain::privacy::Secret;
use crate::domain::time::Timestamp;

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Catalogue, stock and orders.
    Merchant,
    /// The ops surface.
    Ops,
}

impl Role {
    /// The CLI's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Merchant => "merchant",
            Self::Ops => "ops",
        }
    }

    /// The role of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Merchant, Self::Ops].into_iter().find(|role| role.name() == name)
    }
}

/// SHA-256 of an API key's secret part. `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// What a cluster is born with, fixed for its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// Which cluster.
    pub cluster: ClusterId,
    /// How many shards all entities are spread over, 1 to [`super::SHARDS_MAX`].
    pub shards: u32,
    /// Turns clients' idempotency keys into command ids (P1).
    pub secret: Secret,
    /// Its first member.
    pub node: NodeId,
}

/// What the cluster can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClusterCommand {
    /// Begin. A repeat for the same cluster id gets the same answer.
    Init(Genesis),
    /// Add an API key. A repeat with the same id and hash gets the same answer.
    CreateKey {
        /// Which; public part of the key.
        id: ApiKeyId,
        /// What it may do.
        role: Role,
        /// Of its secret part.
        hash: KeyHash,
        /// For people, at most [`super::LABEL_BYTES_MAX`] bytes.
        label: String,
    },
    /// Make an API key worthless. Rejects with `ApiKeyNotFound` when it was never there.
    RevokeKey {
        /// Which.
        id: ApiKeyId,
    },
    /// All of it, secret included: for nodes, never for answers outside.
    Show,
}

impl Command for ClusterCommand {
    const VERSION: u16 = 1;

    fn nature(&self) -> Nature {
        match self {
            Self::Show => Nature::Read,
            _ => Nature::ByState,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::CreateKey { .. } => "create_key",
            Self::RevokeKey { .. } => "revoke_key",
            Self::Show => "show",
        }
    }
}

/// What can happen to the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClusterEvent {
    /// It exists. The secret is journaled: whoever reads the data directory is the cluster.
    Initialised(Genesis),
    /// An API key works from here on.
    KeyCreated {
        /// Which.
        id: ApiKeyId,
        /// What it may do.
        role: Role,
        /// Of its secret part.
        hash: KeyHash,
        /// For people.
        label: String,
    },
    /// An API key works no more.
    KeyRevoked {
        /// Which.
        id: ApiKeyId,
    },
}

impl Versioned for ClusterEvent {
    const VERSION: u16 = 1;
}

/// What the cluster answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClusterReply {
    /// To Init.
    Initialised,
    /// To CreateKey.
    KeyCreated {
        /// Which.
        id: ApiKeyId,
    },
    /// To RevokeKey.
    KeyRevoked {
        /// Which.
        id: ApiKeyId,
    },
    /// To Show.
    Shown(Box<ClusterView>),
}

impl Versioned for ClusterReply {
    const VERSION: u16 = 1;
}

/// Everything about the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    /// What it was born with; `None` before Init.
    pub genesis: Option<Genesis>,
    /// Every API key ever made, revoked ones included, oldest first.
    pub keys: Vec<ApiKey>,
}

/// One API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Which.
    pub id: ApiKeyId,
    /// What it may do.
    pub role: Role,
    /// Of its secret part.
    pub hash: KeyHash,
    /// For people.
    pub label: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Since when it is worthless.
    pub revoked_at: Option<Timestamp>,
}
