//! `stockroom status`: how a running node is doing, asked at its operators' listener.

use clap::Args;
use serde_json::Value;

use super::exit::Failure;
use super::ops_client::OpsClient;
use super::{Context, output};

/// Arguments of `status`.
#[derive(Args)]
pub(super) struct StatusArguments {
    /// Operators' address of the node. Without it, the node of the data directory
    #[arg(long, value_name = "URL")]
    ops: Option<String>,
}

/// Asks and prints.
pub(super) fn run(arguments: &StatusArguments, context: &Context) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        OpsClient::find(arguments.ops.as_deref(), &context.config([])?)?.get("/ops/v1/status").await
    })?;
    if context.json() {
        return output::json(&status);
    }
    let Value::Object(members) = &status else { return output::json(&status) };
    let width = members.keys().map(String::len).max().unwrap_or(0);
    members.iter().try_for_each(|(name, value)| match value {
        Value::String(text) => output::line(format!("{name:<width$}  {text}")),
        other => output::line(format!("{name:<width$}  {other}")),
    })
}
