//! Writes the catalogue to a file, or to stdout. A file appears under its name when it is complete.

use std::io::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::{Method, Response};
use serde_json::Value;

use super::{Door, ExportArguments, format_of};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::projections::catalogue::CatalogueFormat;

/// Exports everything.
pub(super) async fn run(arguments: &ExportArguments, door: &Door) -> Result<(), Failure> {
    let format = match (&arguments.file, arguments.format) {
        (Some(file), said) => format_of(said, file)?,
        (None, said) => said.map_or(CatalogueFormat::NdJson, CatalogueFormat::from),
    };
    let name = match format {
        CatalogueFormat::Csv => "csv",
        CatalogueFormat::NdJson => "ndjson",
    };
    let path = format!("/v1/admin/products:export?format={name}");
    let answer = door.request(Method::GET, &path).send().await.map_err(|error| door.unanswered(error))?;
    let status = answer.status();
    if !status.is_success() {
        let problem: Value = answer.json().await.unwrap_or(Value::Null);
        let detail = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("no reason given");
        return Err(Failure::said(Exit::Failed, format_args!("the node answered {status}: {detail}")));
    }
    let Some(file) = &arguments.file else {
        return copy(door, answer, output::bytes).await;
    };
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let mut writer = std::io::BufWriter::new(std::fs::File::create(&unfinished)?);
    copy(door, answer, |piece| Ok(writer.write_all(piece)?)).await?;
    writer.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&unfinished, file)?;
    Ok(())
}

async fn copy(
    door: &Door,
    mut answer: Response,
    mut write: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {bytes} {bytes_per_sec}");
    bar.set_style(style.expect("the template is a constant"));
    while let Some(piece) = answer.chunk().await.map_err(|error| door.unanswered(error))? {
        bar.inc(piece.len() as u64);
        write(&piece)?;
    }
    bar.finish_and_clear();
    Ok(())
}
