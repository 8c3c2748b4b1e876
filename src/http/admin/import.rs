//! Catalogue files over HTTP: importing one, and exporting everything as one.
//!
//! Importing: The body is read piece by piece and never held whole; what a row came to is told at the
//! end, in the order of the file. A row that cannot be taken stops nobody else's.
//!
//! An import that stops in the middle says behind which line everything is in: the same file with that line as
//! `resume_after` goes on there. Importing a file twice changes nothing.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::call::{Call, Query};
use crate::http::error::{Code, Problem};
use crate::http::route::{Access, Route};
use crate::http::wire;
use crate::projections::catalogue::import::{Import, ImportError, ImportOptions, ImportReport, ImportRun};
use crate::projections::catalogue::{CatalogueFormat, CatalogueParser};

const MEDIA_TYPES: [&str; 2] = ["text/csv", "application/x-ndjson"];

/// The table.
pub fn routes() -> Vec<Route> {
    vec![import_route(), export_route()]
}

fn import_route() -> Route {
    Route::new(Method::POST, "/v1/admin/products:import", Access::Merchant, import).untimed().describe(|route| {
        route
            .called("Merchants: catalogue", "importProducts", "Import a catalogue file")
            .text(
                "CSV (one row per variant) or NDJSON (one product per line, `id` and the body of `putProduct`). \
                 Products are replaced one by one, in the order of the file.",
            )
            .query::<bool>("dry_run", "Only check the rows; change nothing.")
            .query::<u64>("resume_after", "Go on behind this line: `done_through_line` of an import that stopped.")
            .raw_body(&MEDIA_TYPES)
            .answers::<Imported>(StatusCode::OK, "What became of the file; rows that were not taken are in `errors`.")
    })
}

fn export_route() -> Route {
    Route::new(Method::GET, "/v1/admin/products:export", Access::Merchant, export).untimed().describe(|route| {
        route
            .called("Merchants: catalogue", "exportProducts", "Export the catalogue as a file")
            .text(
                "Products of every status, each as it was at some moment of the export; imports as the same products.",
            )
            .query::<ExportFormat>("format", "Form of the file; `ndjson` unless said.")
            .answers_raw(StatusCode::OK, &["application/x-ndjson", "text/csv"], "The file, `text/csv` when asked for.")
    })
}

/// Form of an exported file.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// One row per variant.
    Csv,
    /// One product per line.
    #[default]
    Ndjson,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    #[serde(default)]
    format: ExportFormat,
}

async fn export(State(state): State<AppState>, Query(query): Query<ExportQuery>) -> Response {
    let (format, media_type) = match query.format {
        ExportFormat::Csv => (CatalogueFormat::Csv, MEDIA_TYPES[0]),
        ExportFormat::Ndjson => (CatalogueFormat::NdJson, MEDIA_TYPES[1]),
    };
    let mut response = Response::new(Body::from_stream(state.catalogue().export(format)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportQuery {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    resume_after: u64,
}

/// What became of a catalogue file.
#[derive(Debug, Serialize, ToSchema)]
pub struct Imported {
    /// Products that did not exist.
    #[schema(minimum = 0)]
    created: u64,
    /// Products that say something else now.
    #[schema(minimum = 0)]
    changed: u64,
    /// Products that already said this.
    #[schema(minimum = 0)]
    unchanged: u64,
    /// Products skipped because of `resume_after`.
    #[schema(minimum = 0)]
    skipped: u64,
    /// Rows and products that were not taken.
    #[schema(minimum = 0)]
    failed: u64,
    /// Why, in file order; at most 1,000.
    errors: Vec<RefusedRow>,
    /// Every row up to this line has its final outcome.
    #[schema(minimum = 0)]
    done_through_line: u64,
}

/// Why a row was not taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedRow {
    /// Line in the file, from 1.
    #[schema(minimum = 1)]
    line: u64,
    /// Column or JSON path; empty when the whole row is meant.
    field: String,
    /// What is wrong, for people.
    reason: String,
}

impl From<ImportReport> for Imported {
    fn from(report: ImportReport) -> Self {
        let ImportReport { created, changed, unchanged, skipped, failed, errors, done_through_line } = report;
        let errors = errors.into_iter();
        let errors = errors.map(|row| RefusedRow { line: row.line, field: row.field, reason: row.reason }).collect();
        Self { created, changed, unchanged, skipped, failed, errors, done_through_line }
    }
}

async fn import(
    State(state): State<AppState>,
    call: Call,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = media_type.and_then(CatalogueFormat::of_media_type).ok_or_else(|| {
        Problem::new(Code::UnsupportedMediaType, "send Content-Type: text/csv or application/x-ndjson")
    })?;
    let identity = call.identity(&state, None, &[])?;
    let run = ImportRun(identity.stamp.command.0);
    let options = ImportOptions { run, resume_after: query.resume_after, dry_run: query.dry_run };
    let mut import = Import::new(state.ask_port(), options);
    let taken = take_all(&state, &mut import, format, request.into_body()).await;
    let report = match (taken, import.finish().await) {
        (Ok(()), Ok(report)) => report,
        (Err(problem), Ok(report) | Err((_, report))) => return Err(stopped(problem, &report)),
        (Ok(()), Err((error, report))) => return Err(stopped(error.into(), &report)),
    };
    Ok(wire::json(StatusCode::OK, &Imported::from(report)))
}

async fn take_all(state: &AppState, import: &mut Import, format: CatalogueFormat, body: Body) -> Result<(), Problem> {
    let (limit, patience) = (state.options().limits.import_bytes_max, state.options().timeouts.body);
    let (mut parser, mut parsed, mut bytes_read) = (CatalogueParser::new(format), Vec::new(), 0_u64);
    let mut pieces = body.into_data_stream();
    loop {
        let piece = tokio::time::timeout(patience, pieces.next()).await;
        let piece = piece.map_err(|_elapsed| Problem::invalid("", "the body did not arrive in time"))?;
        let Some(piece) = piece else { break };
        let piece = piece.map_err(|_broken| Problem::invalid("", "the body could not be read to its end"))?;
        bytes_read = bytes_read.saturating_add(piece.len() as u64);
        if bytes_read > limit {
            let problem = Problem::new(Code::TooLarge, format!("an import may have at most {limit} bytes"));
            return Err(problem.with_fact("what", "bytes of body").with_fact("limit", limit));
        }
        parser.push(&piece, &mut parsed);
        import.take(std::mem::take(&mut parsed)).await?;
    }
    parser.finish(&mut parsed);
    Ok(import.take(parsed).await?)
}

/// What stopped an import, and how far it had come.
fn stopped(problem: Problem, report: &ImportReport) -> Problem {
    problem
        .with_fact("created", report.created)
        .with_fact("changed", report.changed)
        .with_fact("unchanged", report.unchanged)
        .with_fact("failed", report.failed)
        .with_fact("done_through_line", report.done_through_line)
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        let detail = error.to_string();
        match error {
            ImportError::Stopped { line, source } => Self::from(source).with_fact("line", line),
            ImportError::TooLarge => Self::new(Code::TooLarge, detail),
        }
    }
}
