//! API keys: listed, made and revoked. A new key is shown once, in the answer that makes it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TAG;
use crate::actors::messages::{Answer, Ask, AskError, Origin, Request};
use crate::domain::cluster::{ApiKey, ClusterCommand, ClusterReply, ClusterView, LABEL_BYTES_MAX, Role};
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{ApiKeyId, CommandId, EntityId};
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::http::AppState;
use crate::http::auth::{KeySource, KeyText, StoredKey};
use crate::http::call::{Call, Json, NoBody, Params};
use crate::http::error::{Code, Problem};
use crate::http::route::{Access, Route};
use crate::http::wire::{self, Listing, Time};
use crate::rng::Rng;

/// The table.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/ops/v1/keys", Access::Ops, list).describe(|route| {
            route
                .called(TAG, "listKeys", "API keys, oldest first")
                .answers_list::<KeyInfo>("The keys, without their secrets.")
        }),
        Route::new(Method::POST, "/ops/v1/keys", Access::Ops, create).key_ignored().describe(|route| {
            route
                .called(TAG, "createKey", "Make an API key")
                .text("Not repeatable: a retry makes another key. Revoke the one that was lost.")
                .body::<NewKey>()
                .answers::<CreatedKey>(StatusCode::CREATED, "The key; this is the only time it is shown.")
        }),
        Route::new(Method::DELETE, "/ops/v1/keys/{id}", Access::Ops, revoke).key_ignored().describe(|route| {
            route
                .called(TAG, "revokeKey", "Make an API key worthless")
                .path::<ApiKeyId>("id", "The key's public part.")
                .answers_nothing(StatusCode::NO_CONTENT, "It is worthless: here at once, on other nodes in seconds.")
                .fails(&[Code::NotFound])
        }),
    ]
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// `/v1/admin`.
    Merchant,
    /// The operators' listener.
    Ops,
}

impl From<Role> for KeyRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Merchant => Self::Merchant,
            Role::Ops => Self::Ops,
        }
    }
}

impl From<KeyRole> for Role {
    fn from(role: KeyRole) -> Self {
        match role {
            KeyRole::Merchant => Self::Merchant,
            KeyRole::Ops => Self::Ops,
        }
    }
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it may do.
    role: KeyRole,
    /// What it is for, for people.
    #[serde(default)]
    #[schema(max_length = 200)]
    label: Option<String>,
}

/// A key just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedKey {
    /// Its public part.
    id: ApiKeyId,
    /// What it may do.
    role: KeyRole,
    /// All of it: keep it, it is not shown again.
    key: String,
}

/// A key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyInfo {
    /// Its public part.
    id: ApiKeyId,
    /// What it may do.
    role: KeyRole,
    /// What it is for.
    label: String,
    /// Since when.
    created_at: Time,
    /// Since when it is worthless; null while it works.
    revoked_at: Option<Time>,
}

impl From<ApiKey> for KeyInfo {
    fn from(key: ApiKey) -> Self {
        let ApiKey { id, role, label, created_at, revoked_at, .. } = key;
        Self { id, role: role.into(), label, created_at: Time(created_at), revoked_at: revoked_at.map(Time) }
    }
}

async fn list(State(state): State<AppState>) -> Result<Response, Problem> {
    let answer = state.read(EntityId::cluster(), AnyCommand::Cluster(ClusterCommand::Show)).await?;
    let AnyReply::Cluster(ClusterReply::Shown(view)) = answer.reply else { return Err(wire::unexpected(&answer)) };
    Ok(wire::json(StatusCode::OK, &Listing::whole(view.keys.into_iter().map(KeyInfo::from).collect())))
}

async fn create(State(state): State<AppState>, body: Json<NewKey>) -> Result<Response, Problem> {
    let NewKey { role, label } = body.value;
    let label = label.unwrap_or_default();
    if label.len() > LABEL_BYTES_MAX {
        return Err(Problem::invalid("label", format!("at most {LABEL_BYTES_MAX} bytes")));
    }
    let key = KeyText::generate(state.rng());
    let command = ClusterCommand::CreateKey { id: key.id(), role: role.into(), hash: key.hash(), label };
    state.ask(EntityId::cluster(), AnyCommand::Cluster(command), state.drawn_identity()).await?;
    state.keys().forget();
    let created = CreatedKey { id: key.id(), role, key: key.reveal().to_owned() };
    Ok(wire::json(StatusCode::CREATED, &created))
}

async fn revoke(
    State(state): State<AppState>,
    _call: Call,
    Params(id): Params<ApiKeyId>,
    _body: NoBody,
) -> Result<Response, Problem> {
    let command = AnyCommand::Cluster(ClusterCommand::RevokeKey { id });
    state.ask(EntityId::cluster(), command, state.drawn_identity()).await?;
    state.keys().forget();
    Ok(wire::nothing())
}

/// Reads the stored keys from the cluster entity.
pub struct ClusterKeys {
    ask: Arc<dyn Ask>,
    rng: Arc<dyn Rng>,
}

/// How long a reading may take: whoever waits for it waits for a merchant's answer.
const READ_BUDGET: Duration = Duration::from_secs(3);

impl ClusterKeys {
    /// Asks the cluster entity through `ask`.
    pub fn new(ask: Arc<dyn Ask>, rng: Arc<dyn Rng>) -> Self {
        Self { ask, rng }
    }
}

#[async_trait]
impl KeySource for ClusterKeys {
    async fn keys(&self) -> Result<Vec<StoredKey>, AskError> {
        let stamp = Stamp { command: CommandId(self.rng.next_id()), fingerprint: Fingerprint::default() };
        let answer: Answer = self
            .ask
            .ask(Request {
                entity: EntityId::cluster(),
                command: AnyCommand::Cluster(ClusterCommand::Show),
                stamp,
                origin: Origin::Router,
                budget: READ_BUDGET,
            })
            .await?;
        let AnyReply::Cluster(ClusterReply::Shown(view)) = answer.reply else {
            return Err(AskError::Unknown { reason: "the cluster answered something else" });
        };
        let ClusterView { keys, .. } = *view;
        let valid = keys.into_iter().filter(|key| key.revoked_at.is_none());
        Ok(valid.map(|key| StoredKey { id: key.id, role: key.role, hash: key.hash }).collect())
    }
}
