//! `stockroom key`: API keys, through the running node or, when none runs, on the data directory itself.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::assembly::Core;
use super::exit::{Exit, Failure, must_be_shop};
use super::ops_client::OpsClient;
use super::{Context, output};
use crate::actors::messages::{Ask, Origin, Request};
use crate::cluster::node::Node;
use crate::cluster::setup;
use crate::config::Config;
use crate::domain::cluster::{ApiKey as KeyRow, ClusterCommand, Role};
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{ApiKeyId, CommandId, EntityId};
use crate::domain::registry::AnyCommand;
use crate::http::auth::KeyText;
use crate::http::wire::Time;
use crate::rng::Rng;

/// What to do with keys.
#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print it as the last word; it is shown this once, only its hash is kept
    Create {
        /// What it may do
        #[arg(long)]
        role: KeyRole,
        /// A note about whose it is, shown by `key list`
        #[arg(long, default_value = "", hide_default_value = true)]
        label: String,
    },
    /// List keys, revoked ones included
    List,
    /// Revoke a key: from now on it opens nothing
    Revoke {
        /// Its id, as `key list` shows it
        id: ApiKeyId,
    },
}

/// A role, as typed.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum KeyRole {
    /// Catalogue, stock and orders (/v1/admin)
    Merchant,
    /// The operators' listener, from elsewhere than loopback
    Ops,
}

impl From<KeyRole> for Role {
    fn from(role: KeyRole) -> Self {
        match role {
            KeyRole::Merchant => Self::Merchant,
            KeyRole::Ops => Self::Ops,
        }
    }
}

/// Carries it out.
pub(super) fn run(command: &KeyCommand, context: &Context) -> Result<(), Failure> {
    let config = context.config([])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let answer = runtime.block_on(carry_out(command, &config))?;
    if context.json() { output::json(&answer) } else { show(command, &answer) }
}

/// On the directory itself; when a node has it, through that node. Only the first key of a shop may come before the
/// shop: whoever lists or revokes keys means one that is there.
async fn carry_out(command: &KeyCommand, config: &Config) -> Result<Value, Failure> {
    if !matches!(command, KeyCommand::Create { .. }) {
        must_be_shop(&config.node.data_dir)?;
    }
    match Core::open(config).await {
        Ok(core) => {
            let done = offline(command, &core.node, &*core.rng).await;
            core.close().await;
            done
        }
        Err(failure) if failure.exit() == Exit::DataDirectory => online(command, config)
            .await
            .map_err(|online| if online.exit() == Exit::Unreachable { failure } else { online }),
        Err(failure) => Err(failure),
    }
}

async fn online(command: &KeyCommand, config: &Config) -> Result<Value, Failure> {
    let client = OpsClient::find(None, config)?;
    match command {
        KeyCommand::Create { role, label } => {
            let body = json!({"role": Role::from(*role).name(), "label": label});
            client.call(reqwest::Method::POST, "/ops/v1/keys", Some(&body)).await
        }
        KeyCommand::List => client.get("/ops/v1/keys").await,
        KeyCommand::Revoke { id } => client.call(reqwest::Method::DELETE, &format!("/ops/v1/keys/{id}"), None).await,
    }
}

async fn offline(command: &KeyCommand, node: &Node, rng: &dyn Rng) -> Result<Value, Failure> {
    match command {
        KeyCommand::Create { role, label } => {
            let key = KeyText::generate(rng);
            let (id, hash, role) = (key.id(), key.hash(), Role::from(*role));
            ask(node, rng, ClusterCommand::CreateKey { id, role, hash, label: label.clone() }).await?;
            Ok(json!({"id": id.to_string(), "role": role.name(), "key": key.reveal()}))
        }
        KeyCommand::List => {
            let rows = setup::show(node.router(), rng).await?.keys;
            Ok(json!({"items": rows.iter().map(row).collect::<Vec<_>>()}))
        }
        KeyCommand::Revoke { id } => {
            ask(node, rng, ClusterCommand::RevokeKey { id: *id }).await?;
            Ok(Value::Null)
        }
    }
}

async fn ask(node: &Node, rng: &dyn Rng, command: ClusterCommand) -> Result<(), Failure> {
    let stamp = Stamp { command: CommandId(rng.next_id()), fingerprint: Fingerprint::default() };
    let (entity, command) = (EntityId::cluster(), AnyCommand::Cluster(command));
    let budget = std::time::Duration::from_secs(10);
    node.router().ask(Request { entity, command, stamp, origin: Origin::Router, budget }).await?;
    Ok(())
}

fn row(key: &KeyRow) -> Value {
    let (created_at, revoked_at) = (Time(key.created_at), key.revoked_at.map(Time));
    let (id, role) = (key.id.to_string(), key.role.name());
    json!({"id": id, "role": role, "label": key.label, "created_at": created_at, "revoked_at": revoked_at})
}

fn show(command: &KeyCommand, answer: &Value) -> Result<(), Failure> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    match command {
        KeyCommand::Create { .. } => {
            let (role, id, key) = (text(&answer["role"]), text(&answer["id"]), text(&answer["key"]));
            output::line(format!("{role} key {id}, shown this once: {key}"))
        }
        KeyCommand::List => answer["items"].as_array().into_iter().flatten().try_for_each(|key| {
            let state = if key["revoked_at"].is_null() { "valid" } else { "revoked" };
            let (id, role, label) = (text(&key["id"]), text(&key["role"]), text(&key["label"]));
            output::line(format!("{id}  {role:<8}  {state:<7}  {}  {label}", text(&key["created_at"])))
        }),
        KeyCommand::Revoke { id } => {
            output::talk(format_args!("key {id} works no more"));
            Ok(())
        }
    }
}
