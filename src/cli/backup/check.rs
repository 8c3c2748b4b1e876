//! Checks a backup, and turns one back into a data directory.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{VerifyArguments, bar, manifest};
use crate::cli::assembly::Disk;
use crate::cli::exit::{Exit, Failure};
use crate::cli::journal::verify;
use crate::cli::output;
use crate::cluster::restore::{self, RestoreError};
use crate::config::Config;
use crate::persistence::backup::{Finding, Manifest};
use crate::persistence::datadir::DataDirError;
use crate::persistence::journal::Journal;

/// Reads every file; then, unless told otherwise, restores the backup aside and replays it.
pub(super) async fn verify(arguments: &VerifyArguments, config: &Config, json: bool) -> Result<(), Failure> {
    let path = &arguments.backup;
    let manifest = manifest(path).await?;
    let findings = checksums(&manifest, path).await?;
    let (files, bytes) = (manifest.files.len(), manifest.bytes());
    if !findings.is_empty() || arguments.checksums_only {
        if json {
            output::json(&json!({"files": files, "bytes": bytes, "findings": findings, "journal": null}))?;
        } else {
            told(&findings)?;
            output::line(format!("{files} files, {bytes} bytes read; {} findings", findings.len()))?;
        }
        return concluded(findings.len() as u64);
    }
    let scratch = scratch(path, arguments.scratch.as_deref());
    let report = replay(&manifest, path, &scratch, config).await?;
    if json {
        output::json(&json!({"files": files, "bytes": bytes, "findings": [], "journal": report}))?;
    } else {
        output::line(format!("{files} files, {bytes} bytes read; 0 findings"))?;
        verify::print(&report)?;
    }
    concluded(report.findings_total)
}

/// Fills the empty data directory of the configuration.
pub(super) async fn restore(path: &Path, config: &Config, json: bool) -> Result<(), Failure> {
    let manifest = manifest(path).await?;
    let findings = checksums(&manifest, path).await?;
    if !findings.is_empty() {
        told(&findings)?;
        return Err(Failure::said(Exit::Findings, "the backup is damaged; nothing was restored")
            .advise("take another backup: `stockroom backup list DIR` shows them"));
    }
    let target = &config.node.data_dir;
    fill(&manifest, path, target).await?;
    let (target, files, bytes) = (target.display().to_string(), manifest.files.len(), manifest.bytes());
    if json {
        return output::json(&json!({"data": target, "files": files, "bytes": bytes}));
    }
    output::line(format!("{files} files, {bytes} bytes restored into {target}"))?;
    output::talk(format_args!("start it with: stockroom serve --data {target}"));
    Ok(())
}

async fn checksums(manifest: &Manifest, path: &Path) -> Result<Vec<Finding>, Failure> {
    let bar = bar(manifest.bytes(), "reading");
    let watched = bar.clone();
    let findings = manifest.check(path, &move |bytes| watched.inc(bytes)).await?;
    bar.finish_and_clear();
    Ok(findings)
}

async fn fill(manifest: &Manifest, path: &Path, target: &Path) -> Result<(), Failure> {
    let bar = bar(manifest.bytes(), "restoring");
    let watched = bar.clone();
    let restored = restore::restore(manifest, path, target, &move |bytes| watched.inc(bytes)).await;
    bar.finish_and_clear();
    restored.map_err(|error| match error {
        RestoreError::Directory(
            refused @ (DataDirError::Foreign { .. } | DataDirError::InUse { .. } | DataDirError::Occupied { .. }),
        ) => Failure::new(Exit::DataDirectory, refused).advise("name a missing or empty directory with --data"),
        other => Failure::new(Exit::Failed, other)
            .advise("nothing can be served from the half-filled directory: remove it and try again"),
    })
}

/// Restores into a directory of its own, replays and removes it.
async fn replay(manifest: &Manifest, path: &Path, scratch: &Path, config: &Config) -> Result<verify::Report, Failure> {
    remove(scratch)?;
    let mut aside = config.clone();
    aside.node.data_dir = scratch.to_path_buf();
    let checked = async {
        fill(manifest, path, scratch).await?;
        let disk = Disk::open(&aside).await?;
        let report = verify::check(&Journal::new(disk.store.clone()), &disk).await;
        disk.store.close().await;
        disk.log.close().await;
        report
    };
    let checked = checked.await;
    remove(scratch)?;
    checked
}

fn remove(scratch: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let shown = scratch.display();
            Err(Failure::new(Exit::Failed, anyhow::Error::new(error).context(format!("cannot remove {shown}"))))
        }
        _ => Ok(()),
    }
}

/// A directory of our own, in `parent` or beside the backup.
fn scratch(path: &Path, parent: Option<&Path>) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".verifying");
    parent.map_or_else(|| path.with_file_name(&name), |parent| parent.join(&name))
}

fn told(findings: &[Finding]) -> Result<(), Failure> {
    findings.iter().try_for_each(|finding| output::line(format!("{}: {}", finding.file, finding.what)))
}

fn concluded(findings: u64) -> Result<(), Failure> {
    if findings == 0 {
        return Ok(());
    }
    Err(Failure::said(Exit::Findings, format_args!("{findings} findings"))
        .advise("keep it for inspection and rely on another backup"))
}
