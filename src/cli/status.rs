//! `stockroom status`: how a running node is doing, asked at its operators' listener.

use clap::Args;
use serde_json::Value;

use super::exit::Failure;
use super::ops_client::OpsClient;
use super::{Context, output};

/// Arguments of `status`.
#[derive(Args)]
pub(super) struct StatusArguments {
    /// Operators' address of the node, e.g. http://127.0.0.1:8081. Without it, the node of the data directory
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
    members.iter().try_for_each(|(name, value)| output::line(format!("{name:<width$}  {}", plain(name, value))))
}

/// A value as people read it.
fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        readiness if name == "readiness" => {
            let reasons = readiness["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let reasons: Vec<&str> = reasons.collect();
            if readiness["ready"] == true { "ready".to_owned() } else { format!("not ready: {}", reasons.join(", ")) }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_reads_whether_the_node_is_ready_and_why_not() {
        assert_eq!(plain("readiness", &json!({"ready": true, "reasons": []})), "ready");
        let not = json!({"ready": false, "reasons": ["shard 3 is not led here", "draining"]});
        assert_eq!(plain("readiness", &not), "not ready: shard 3 is not led here, draining");
        assert_eq!((plain("node", &json!("node-1")), plain("shards", &json!(12))), ("node-1".into(), "12".into()));
    }
}
