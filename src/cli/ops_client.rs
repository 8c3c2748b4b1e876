//! Calls to the operators' listener of a running node, for commands that look into one.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;

use super::endpoints::Endpoints;
use super::exit::{Exit, Failure};
use crate::config::Config;

/// How long one call may take: creating a key waits for a commit, the rest is a read.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// File in the data directory with the operators' token.
const TOKEN_FILE: &str = "ops.token";

/// A way to one node's operators' listener.
pub(super) struct OpsClient {
    client: Client,
    base: String,
    token: Option<String>,
}

impl OpsClient {
    /// The node at `url`; without it the one that runs on the data directory.
    pub(super) fn find(url: Option<&str>, config: &Config) -> Result<Self, Failure> {
        let data = &config.node.data_dir;
        let base = match url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => Endpoints::of_running(data)?.ops_url(),
        };
        let token = std::fs::read_to_string(data.join(TOKEN_FILE)).ok().map(|token| token.trim().to_owned());
        Ok(Self { client: Client::builder().timeout(CALL_TIMEOUT).build()?, base, token })
    }

    /// Reads something.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// Makes one call; the answer's JSON, or null when it has none.
    pub(super) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.unanswered(error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| self.unanswered(error))?;
        let value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() { Ok(value) } else { Err(refused(status, &value)) }
    }

    fn unanswered(&self, error: reqwest::Error) -> Failure {
        let exit = if error.is_connect() { Exit::Unreachable } else { Exit::Unknown };
        Failure::new(exit, anyhow::Error::new(error.without_url()).context(format!("no answer from {}", self.base)))
            .advise("is the node running? Name its data directory with --data, or its operators' address with --ops")
    }
}

fn refused(status: reqwest::StatusCode, problem: &Value) -> Failure {
    let detail = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("no reason given");
    let exit = if problem["outcome"] == "unknown" { Exit::Unknown } else { Exit::Failed };
    let failure = Failure::said(exit, format_args!("the node answered {status}: {detail}"));
    match status.as_u16() {
        401 | 403 => failure.advise("run it as a user who may read ops.token in the node's data directory"),
        _ => failure,
    }
}
