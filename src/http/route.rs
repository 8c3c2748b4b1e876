//! One table entry per route: how it is answered and how it is described.
//!
//! The router and the OpenAPI document are both made from the same entries, so neither can drift from the other. Each
//! handler stands behind its own door (see `door`), which knows from the entry's [`Site`] who may pass and what counts.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter};

use super::describe::Description;
use super::door::{self, Door};
use super::error::Problem;
use super::metrics::RouteMetrics;
use super::state::AppState;

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody; a key, if sent, must be valid and becomes the principal.
    Public,
    /// A key of role merchant.
    Merchant,
    /// Loopback clients, a key of role ops, or the ops token.
    Ops,
    /// Anybody, unlimited and never turned away: probes.
    Probe,
}

/// What an `Idempotency-Key` means on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRule {
    /// The call changes nothing; a key is ignored.
    Ignored,
    /// Honoured when sent.
    Optional,
    /// Refused without.
    Required,
}

/// What the door and the handlers know about a route.
#[derive(Debug)]
pub struct Site {
    /// Method and path template: `POST /v1/carts`. Part of every command id (P1): never change one.
    pub name: String,
    /// Who may call.
    pub access: Access,
    /// What a key means.
    pub key: KeyRule,
    /// Whether it may take as long as it takes.
    pub is_untimed: bool,
    /// What is counted.
    pub metrics: RouteMetrics,
}

impl Site {
    fn of(route: &Route) -> Self {
        let (name, metrics) = (route.name(), RouteMetrics::new(&route.name()));
        Self { name, access: route.access, key: route.key, is_untimed: route.is_untimed, metrics }
    }

    /// Where requests end up that no route takes.
    fn stranger() -> Self {
        let (name, metrics) = ("other".to_owned(), RouteMetrics::new("other"));
        Self { name, access: Access::Probe, key: KeyRule::Ignored, is_untimed: false, metrics }
    }
}

type Attach = Box<dyn FnOnce(MethodRouter<AppState>, Door) -> MethodRouter<AppState>>;

/// One route.
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path template, in axum's and OpenAPI's common notation.
    pub path: &'static str,
    /// Who may call.
    pub access: Access,
    /// What a key means.
    pub key: KeyRule,
    /// Whether it may take as long as it takes; its handler then bounds every wait itself.
    pub is_untimed: bool,
    /// What it says about itself.
    pub description: Description,
    attach: Attach,
}

impl Route {
    /// A route answered by `handler`.
    pub fn new<H, T>(method: Method, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("the table names methods axum knows");
        let attach: Attach =
            Box::new(move |methods, door| methods.on(filter, handler.layer(from_fn_with_state(door, door::pass))));
        let key = if method == Method::GET { KeyRule::Ignored } else { KeyRule::Optional };
        Self { method, path, access, key, is_untimed: false, description: Description::default(), attach }
    }

    /// The same route, refusing calls without an `Idempotency-Key`.
    #[must_use]
    pub fn key_required(mut self) -> Self {
        self.key = KeyRule::Required;
        self
    }

    /// The same route, ignoring `Idempotency-Key`: repeating the call is harmless by itself.
    #[must_use]
    pub fn key_ignored(mut self) -> Self {
        self.key = KeyRule::Ignored;
        self
    }

    /// The same route, taking as long as it takes.
    #[must_use]
    pub fn untimed(mut self) -> Self {
        self.is_untimed = true;
        self
    }

    /// The same route, described.
    #[must_use]
    pub fn describe(mut self, describe: impl FnOnce(Description) -> Description) -> Self {
        self.description = describe(self.description);
        self
    }

    /// `METHOD path`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Makes the router of a listener from its table.
pub fn router(routes: Vec<Route>, state: &AppState) -> Router {
    let stranger = Door { state: state.clone(), site: Arc::new(Site::stranger()) };
    let mut paths: Vec<(&'static str, MethodRouter<AppState>)> = Vec::new();
    for route in routes {
        let door = Door { state: state.clone(), site: Arc::new(Site::of(&route)) };
        let known = paths.iter().position(|(path, _)| *path == route.path);
        let methods = known.map_or_else(MethodRouter::new, |index| paths.swap_remove(index).1);
        paths.push((route.path, (route.attach)(methods, door)));
    }
    let layer = || from_fn_with_state(stranger.clone(), door::pass);
    let mut router = Router::new();
    for (path, methods) in paths {
        router = router.route(path, methods.fallback(no_such_method.layer(layer())));
    }
    router.fallback(no_such_path.layer(layer())).with_state(state.clone())
}

async fn no_such_method() -> Problem {
    Problem::method_not_allowed()
}

async fn no_such_path() -> Problem {
    Problem::new(super::error::Code::NotFound, "no such path; /docs lists them all")
}
