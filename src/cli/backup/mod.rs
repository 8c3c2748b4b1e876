//! `stockroom backup`: copies of a node that prove themselves.
//!
//! `create` asks the node that has the data directory, or works on the directory itself when none does. `verify`
//! checks every checksum, then restores the backup aside and replays it against every law. `restore` fills an empty
//! directory.

mod check;
mod create;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::exit::{Exit, Failure};
use super::{Context, output};
use crate::persistence::backup::{BackupError, Manifest};

/// How often the progress line is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// What to do with backups.
#[derive(Subcommand)]
pub(super) enum BackupCommand {
    /// Make a backup, of a running node or of a directory no node is using; prints its path as the last word
    Create {
        /// Directory in which the backup gets a directory of its own, on the node's machine. Without it, `backups`
        /// in the data directory
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// List the backups in a directory
    List {
        /// The directory given to `create --to`; without it, `backups` in the data directory
        directory: Option<PathBuf>,
    },
    /// Check every checksum of a backup, then restore it aside and replay every record against every law
    Verify(VerifyArguments),
    /// Fill a missing or empty data directory (--data) from a backup, after checking its checksums
    Restore {
        /// The backup's directory, as `create` printed it
        backup: PathBuf,
    },
}

/// Arguments of `backup verify`.
#[derive(Args)]
pub(super) struct VerifyArguments {
    /// The backup's directory, as `create` printed it
    backup: PathBuf,
    /// Only read the files and compare their checksums
    #[arg(long)]
    checksums_only: bool,
    /// Directory in which the backup is restored for the check, into one of its own that is removed afterwards; needs
    /// about twice the backup's size. Without it, where the backup is
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// Carries it out.
pub(super) fn run(command: &BackupCommand, context: &Context) -> Result<(), Failure> {
    let config = context.config([])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match command {
            BackupCommand::Create { to } => create::run(to.as_deref(), &config, context.json()).await,
            BackupCommand::List { directory } => {
                let default = config.node.data_dir.join("backups");
                list(directory.as_deref().unwrap_or(&default), context.json()).await
            }
            BackupCommand::Verify(arguments) => check::verify(arguments, &config, context.json()).await,
            BackupCommand::Restore { backup } => check::restore(backup, &config, context.json()).await,
        }
    })
}

/// Prints one line per complete backup, oldest first.
async fn list(directory: &Path, json: bool) -> Result<(), Failure> {
    let entries = std::fs::read_dir(directory).map_err(|error| {
        Failure::new(Exit::Failed, anyhow::Error::new(error).context(format!("cannot list {}", directory.display())))
            .advise("name the directory that was given to `backup create --to`")
    })?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    paths.sort();
    for path in paths {
        let manifest = match Manifest::read(&path).await {
            Ok(manifest) => manifest,
            Err(BackupError::NotABackup { .. }) => continue,
            Err(error) => {
                output::talk(format_args!("{error}"));
                continue;
            }
        };
        let (about, bytes, files) = (&manifest.about, manifest.bytes(), manifest.files.len());
        if json {
            let path = path.display().to_string();
            output::json(&json!({
                "path": path, "created_at": about.created_at, "cluster": about.cluster, "node": about.node,
                "version": about.version, "files": files, "bytes": bytes,
            }))?;
        } else {
            output::line(format!("{}  {}  {files} files, {bytes} bytes", about.created_at, path.display()))?;
        }
    }
    Ok(())
}

/// Reads a manifest; says which exit a failure is.
async fn manifest(path: &Path) -> Result<Manifest, Failure> {
    Manifest::read(path).await.map_err(|error| match error {
        BackupError::NotABackup { .. } => {
            Failure::new(Exit::Failed, error).advise("`stockroom backup list DIR` shows the backups in a directory")
        }
        BackupError::Manifest { .. } => Failure::new(Exit::Findings, error),
        other => Failure::new(Exit::Failed, other),
    })
}

/// A bar over bytes, on a terminal.
fn bar(bytes: u64, doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {eta}");
    bar.set_style(style.expect("the template is a constant"));
    bar.set_message(doing);
    bar.enable_steady_tick(DRAW_INTERVAL);
    bar
}
