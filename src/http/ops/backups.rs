//! Backups of a running node: started here, made in the background, watched here.

use std::path::PathBuf;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::TAG;
use crate::http::AppState;
use crate::http::call::Json;
use crate::http::error::{Code, Problem};
use crate::http::ports::BackupStatus;
use crate::http::route::{Access, Route};
use crate::http::wire::{self, Listing};

/// The table.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/ops/v1/backups", Access::Ops, list).describe(|route| {
            route
                .called(TAG, "listBackups", "Backups made since this node started")
                .answers_list::<BackupStatus>("The newest first.")
        }),
        Route::new(Method::POST, "/ops/v1/backups", Access::Ops, create).key_ignored().describe(|route| {
            route
                .called(TAG, "createBackup", "Make a backup while serving")
                .text(
                    "What was acknowledged before this call is in it. It is made in the background and appears under \
                     its path when it is complete. One is made at a time.",
                )
                .body::<NewBackup>()
                .answers::<BackupStatus>(StatusCode::ACCEPTED, "It is being made.")
                .fails(&[Code::Overloaded])
        }),
    ]
}

/// A backup to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// Absolute path of a directory on the node's machine in which the backup gets a directory of its own; `backups`
    /// in the data directory unless said.
    #[serde(default)]
    directory: Option<String>,
}

async fn list(State(state): State<AppState>) -> Response {
    wire::json(StatusCode::OK, &Listing::whole(state.backups().list()))
}

async fn create(State(state): State<AppState>, body: Json<NewBackup>) -> Result<Response, Problem> {
    let directory = body.value.directory.map(PathBuf::from);
    if directory.as_ref().is_some_and(|directory| !directory.is_absolute()) {
        return Err(Problem::invalid("directory", "an absolute path"));
    }
    let started = state.backups().start(directory);
    let started = started.ok_or_else(|| Problem::new(Code::Overloaded, "a backup is being made already"))?;
    Ok(wire::json(StatusCode::ACCEPTED, &started))
}
