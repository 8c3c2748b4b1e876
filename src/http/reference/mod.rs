//! The OpenAPI document and the reference page made from it, both served offline.

use std::sync::OnceLock;

use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;

use super::route::{Access, Route};
use super::wire;

const TAG: &str = "Operation";
/// Both change only with the program.
const CACHE: &str = "public, max-age=300";

/// The table.
pub fn routes() -> Vec<Route> {
    vec![Route::new(Method::GET, "/openapi.json", Access::Probe, document).describe(|route| {
        route.called(TAG, "openapi", "This document").answers_raw(StatusCode::OK, "application/json", "OpenAPI 3.1.")
    })]
}

async fn document(headers: HeaderMap) -> Response {
    static DOCUMENT: OnceLock<utoipa::openapi::OpenApi> = OnceLock::new();
    wire::cached_json(DOCUMENT.get_or_init(super::openapi), headers.get(header::IF_NONE_MATCH), CACHE)
}
