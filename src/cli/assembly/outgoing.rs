//! Outgoing webhooks of this node: from the configuration to running senders.
//!
//! Names of endpoints that were ever started here are kept in a small file of the data directory. It tells an endpoint
//! that is new, and begins now, from one whose cursors were lost with the store, and is sent again what the feed has.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::Disk;
use crate::cli::exit::{Exit, Failure};
use crate::cluster::node::Node;
use crate::config::Config;
use crate::http::outgoing::endpoint::{Endpoint, EndpointParts};
use crate::http::outgoing::{Outgoing, Parts};

/// File in the data directory with the names, one a line.
const NAMES_FILE: &str = "webhook-endpoints";

/// Starts telling these endpoints.
pub(super) async fn start(endpoints: Vec<Endpoint>, node: &Arc<Node>, disk: &Disk) -> Result<Outgoing, Failure> {
    let names: BTreeSet<String> = endpoints.iter().map(|endpoint| endpoint.name().to_owned()).collect();
    let path = disk.file(NAMES_FILE);
    let known = read(&path)?;
    let hosted = node.hosted().clone();
    let parts = Parts {
        journal: node.journal().clone(),
        signal: node.feed().clone(),
        groups: node.shards().groups().collect(),
        leads: Arc::new(move |group| hosted.get(group).is_some()),
        clock: node.clock().clone(),
    };
    let started = Outgoing::start(&parts, endpoints, |name| known.contains(name)).await;
    let outgoing = started.map_err(|error| Failure::new(Exit::Failed, error))?;
    // Only now: an endpoint counts as known once its cursors are on disk.
    let all: BTreeSet<String> = known.union(&names).cloned().collect();
    if all != known {
        write(&path, &all)?;
    }
    Ok(outgoing)
}

/// The configured endpoints, checked.
pub(super) fn endpoints(config: &Config) -> Result<Vec<Endpoint>, Failure> {
    let wrong = |reason: String| {
        Failure::said(Exit::Usage, format!("webhooks.endpoints: {reason}"))
            .advise("see `webhooks.endpoints` in config/default.toml")
    };
    let (mut endpoints, mut names) = (Vec::new(), BTreeSet::new());
    for endpoint in &config.webhooks.endpoints {
        if !names.insert(&endpoint.name) {
            return Err(wrong(format!("two endpoints are called {:?}", endpoint.name)));
        }
        let parts = EndpointParts {
            name: endpoint.name.clone(),
            url: endpoint.url.clone(),
            secret: endpoint.secret.clone(),
            events: endpoint.events.clone(),
            attempt_timeout: config.webhooks.attempt_timeout_ms.duration(),
            pause_max: config.webhooks.retry_pause_max_seconds.duration(),
        };
        endpoints.push(Endpoint::new(parts).map_err(|error| wrong(error.to_string()))?);
    }
    Ok(endpoints)
}

fn read(path: &Path) -> Result<BTreeSet<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error.into()),
    }
}

/// Replaces the file as a whole.
fn write(path: &Path, names: &BTreeSet<String>) -> Result<(), Failure> {
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    for name in names {
        writeln!(file, "{name}")?;
    }
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    Ok(())
}
