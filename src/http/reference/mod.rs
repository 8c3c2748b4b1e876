//! The OpenAPI document and the reference page made from it, both served offline.

mod page;

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use super::route::{Access, Route};
use super::wire;

const TAG: &str = "Operation";
/// Both change only with the program.
const CACHE: &str = "public, max-age=300";

/// The table.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/openapi.json", Access::Probe, document).describe(|route| {
            let route = route.called(TAG, "openapi", "This document");
            route
                .header::<String>("If-None-Match", "The `ETag` already known.")
                .answers_object(StatusCode::OK, "OpenAPI 3.1.")
                .with_header("ETag", "Changes with the document.")
                .with_header("Cache-Control", "How long caches may keep it.")
                .answers_nothing(StatusCode::NOT_MODIFIED, "The document already known is still right.")
        }),
        Route::new(Method::GET, "/docs", Access::Probe, reference).describe(|route| {
            route.called(TAG, "docs", "The reference page").answers_raw(StatusCode::OK, &["text/html"], "The page.")
        }),
    ]
}

async fn document(headers: HeaderMap) -> Response {
    static DOCUMENT: OnceLock<utoipa::openapi::OpenApi> = OnceLock::new();
    wire::cached_json(DOCUMENT.get_or_init(super::openapi), headers.get(header::IF_NONE_MATCH), CACHE)
}

/// The page holds text and its own style sheet, nothing else; browsers are told to load nothing else.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'");

async fn reference() -> Response {
    static PAGE: OnceLock<Bytes> = OnceLock::new();
    let page = PAGE.get_or_init(|| {
        let document = serde_json::to_value(super::openapi()).expect("the document is made of JSON");
        Bytes::from(page::render(&document))
    });
    let mut response = Response::new(Body::from(page.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
