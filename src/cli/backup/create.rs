//! Makes a backup: through the node that has the data directory, else on the directory itself.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::Method;
use serde_json::{Value, json};

use super::DRAW_INTERVAL;
use crate::cli::assembly::{Disk, backups};
use crate::cli::exit::{Exit, Failure, must_be_shop};
use crate::cli::ops_client::OpsClient;
use crate::cli::output;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::cluster::{ClusterCommand, ClusterReply};
use crate::domain::ids::EntityId;
use crate::domain::registry::{AnyCommand, AnyReply, AnyState};
use crate::domain::time::Timestamp;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;

/// Between two looks at a backup that a node is making.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Makes one and prints where it is.
pub(super) async fn run(to: Option<&Path>, config: &Config, json: bool) -> Result<(), Failure> {
    let to = to.map(std::path::absolute).transpose()?;
    let directory = &config.node.data_dir;
    must_be_shop(directory)?;
    let made = match Disk::open(config).await {
        Ok(disk) => {
            let made = offline(&disk, to.as_deref()).await;
            disk.store.close().await;
            disk.log.close().await;
            made
        }
        Err(failure) if failure.exit() == Exit::DataDirectory => online(to.as_deref(), config)
            .await
            .map_err(|online| if online.exit() == Exit::Unreachable { failure } else { online }),
        Err(failure) => Err(failure),
    }?;
    if json {
        return output::json(&made);
    }
    let path = made["path"].as_str().unwrap_or_default();
    output::line(format!("{} files, {} bytes in {path}", made["files"], made["bytes"]))
}

async fn offline(disk: &Disk, to: Option<&Path>) -> Result<Value, Failure> {
    let now = SystemClock::new().wall();
    let path = backups::new_path(&to.map_or_else(|| disk.backups(), Path::to_path_buf), now);
    let about = backups::about(now, &cluster_of(disk).await?, "offline");
    let bar = counter();
    let watched = bar.clone();
    let progress = move |progress: crate::persistence::backup::Progress| {
        watched.set_length(progress.files_total);
        watched.set_position(progress.files);
    };
    let manifest = backups::create(disk, about, &path, &progress).await?;
    bar.finish_and_clear();
    let files = manifest.files.len();
    Ok(json!({"path": path.display().to_string(), "state": "done", "files": files, "bytes": manifest.bytes()}))
}

/// The id of the cluster a directory belongs to; empty while its store has not caught up with its log.
async fn cluster_of(disk: &Disk) -> Result<String, Failure> {
    let entity = EntityId::cluster();
    let loaded = Journal::new(disk.store.clone()).load(GroupId::META, &entity).await?;
    let mut state = loaded.snapshot.map_or_else(|| AnyState::new(&entity), |snapshot| snapshot.state);
    for record in &loaded.records {
        record.events.iter().for_each(|event| state.apply(event, record.at));
    }
    let shown = state.decide(&AnyCommand::Cluster(ClusterCommand::Show), Timestamp::ZERO);
    let Ok(AnyReply::Cluster(ClusterReply::Shown(view))) = shown.map(|decision| decision.reply) else {
        return Ok(String::new());
    };
    Ok(view.genesis.map(|genesis| genesis.cluster.to_string()).unwrap_or_default())
}

async fn online(to: Option<&Path>, config: &Config) -> Result<Value, Failure> {
    let client = OpsClient::find(None, config)?;
    let body = json!({"directory": to.map(|path| path.display().to_string())});
    let started = client.call(Method::POST, "/ops/v1/backups", Some(&body)).await?;
    let bar = counter();
    loop {
        let listed = client.get("/ops/v1/backups").await?;
        let mine = listed["items"].as_array().into_iter().flatten().find(|item| item["path"] == started["path"]);
        let Some(mine) = mine else {
            return Err(Failure::said(Exit::Unknown, "the node does not know of the backup any more")
                .advise("it may have been restarted; an incomplete backup's directory ends in .unfinished"));
        };
        bar.set_length(mine["files_total"].as_u64().unwrap_or(0));
        bar.set_position(mine["files"].as_u64().unwrap_or(0));
        match mine["state"].as_str() {
            Some("done") => {
                bar.finish_and_clear();
                return Ok(mine.clone());
            }
            Some("failed") => {
                let error = mine["error"].as_str().unwrap_or("no reason given");
                return Err(Failure::said(Exit::Failed, format_args!("the backup failed: {error}"))
                    .advise("what was written is in the directory that ends in .unfinished; it can be removed"));
            }
            _ => tokio::time::sleep(WATCH_INTERVAL).await,
        }
    }
}

/// A bar over files, on a terminal.
fn counter() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {pos}/{len} files, {elapsed}");
    bar.set_style(style.expect("the template is a constant"));
    bar.enable_steady_tick(DRAW_INTERVAL);
    bar
}
