//! The shop over HTTP: two listeners, one table of routes each, and everything a request meets on its way.
//!
//! A request passes `door` (request id, who calls, is there room), is read by `call`'s extractors, becomes a command
//! with an identity (`idempotency`), is asked of its entity through `AppState`, and its reply leaves in the shapes of
//! `wire`. Whatever goes wrong on the way is an `error::Problem`, rendered by the door. The tables (`route`) make both
//! the routers and the OpenAPI document.
//!
//! Nothing here decides anything about stock, carts or orders. What the node knows and entities do not (candidate ids,
//! prices read from stock items, sealing keys) is put into commands here, before they are sent.

pub mod admin;
pub mod admission;
pub mod auth;
pub mod call;
pub mod describe;
pub mod door;
pub mod error;
pub mod follow;
pub mod idempotency;
pub mod metrics;
pub mod node_ops;
pub mod node_ports;
pub mod openapi;
pub mod ops;
pub mod options;
pub mod outgoing;
pub mod ports;
pub mod reference;
pub mod route;
pub mod sealing;
pub mod serve;
pub mod shop;
pub mod state;
pub mod v1;
pub mod webhooks;
pub mod wire;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

pub use options::HttpOptions;
pub use serve::{Doors, ServeError, Server, serve};
pub use state::{AppState, Parts};

/// The table of the public listener.
fn public_routes() -> Vec<route::Route> {
    let mut routes = v1::routes();
    routes.extend(admin::routes());
    routes.extend(webhooks::routes());
    routes.extend(reference::routes());
    routes
}

/// The OpenAPI document of both listeners.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut routes = public_routes();
    routes.extend(ops::routes());
    openapi::document(&routes)
}

/// Everything on the public listener.
pub fn public_router(state: &AppState) -> Router {
    let routes = public_routes().into_iter().chain(shop::routes()).collect();
    let router = route::router(routes, state);
    match cors(&state.options().cors_origins) {
        Some(layer) => router.layer(layer),
        None => router,
    }
}

/// Everything on the operators' listener.
pub fn ops_router(state: &AppState) -> Router {
    route::router(ops::routes(), state)
}

/// Lets pages of these origins call the API; `None` when no other origin may.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let sent = [
        header::CONTENT_TYPE,
        header::AUTHORIZATION,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        HeaderName::from_static("prefer"),
        HeaderName::from_static("last-event-id"),
        idempotency::IDEMPOTENCY_KEY,
        door::REQUEST_ID,
    ];
    let seen =
        [header::LOCATION, header::ETAG, header::RETRY_AFTER, idempotency::IDEMPOTENCY_REPLAYED, door::REQUEST_ID];
    let methods = [Method::GET, Method::PUT, Method::POST, Method::DELETE];
    Some(CorsLayer::new().allow_origin(allowed).allow_methods(methods).allow_headers(sent).expose_headers(seen))
}
