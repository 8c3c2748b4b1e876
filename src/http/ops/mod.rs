//! The operators' listener: probes, metrics, and what the node looks like inside.

pub mod backups;
pub mod keys;

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::call::{Json, Query};
use super::error::{Code, Problem};
use super::outgoing::WebhookStatus;
use super::ports::{ActorStatus, NodeStatus, OldOrderHold, PanickedEntity, QuarantinedEntity, Readiness, ShardStatus};
use super::route::{Access, Route};
use super::wire::{self, Listing};
use crate::domain::ids::EntityId;

/// The chapter of the reference.
const TAG: &str = "Operation";

/// The table.
pub fn routes() -> Vec<Route> {
    let mut routes = node_routes();
    routes.extend(trouble_routes());
    routes.extend(keys::routes());
    routes.extend(backups::routes());
    routes
}

fn node_routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/healthz", Access::Probe, health).describe(|route| {
            route.called(TAG, "health", "Whether the process is alive").answers::<Health>(StatusCode::OK, "It answers.")
        }),
        Route::new(Method::GET, "/readyz", Access::Probe, ready).describe(|route| {
            route
                .called(TAG, "ready", "Whether the node should get traffic")
                .answers::<Readiness>(StatusCode::OK, "It should.")
                .answers::<Readiness>(StatusCode::SERVICE_UNAVAILABLE, "It should not, and why.")
        }),
        Route::new(Method::GET, "/metrics", Access::Ops, metrics).describe(|route| {
            route.called(TAG, "metrics", "Metrics in Prometheus' text format").answers_raw(
                StatusCode::OK,
                &["text/plain"],
                "The metrics.",
            )
        }),
        Route::new(Method::GET, "/ops/v1/status", Access::Ops, status).describe(|route| {
            route.called(TAG, "status", "The node in a page").answers::<NodeStatus>(StatusCode::OK, "The node.")
        }),
        Route::new(Method::GET, "/ops/v1/shards", Access::Ops, shards).describe(|route| {
            route
                .called(TAG, "shards", "Every shard this node has a replica of")
                .answers_list::<ShardStatus>("The replicas, by shard.")
        }),
        Route::new(Method::GET, "/ops/v1/actors", Access::Ops, actors).describe(|route| {
            route
                .called(TAG, "actors", "Entities in memory")
                .query::<wire::PageSize>("limit", "At most this many; 50 unless said.")
                .answers_list::<ActorStatus>("The busiest first.")
        }),
    ]
}

fn trouble_routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/ops/v1/order-holds", Access::Ops, order_holds).describe(|route| {
            route
                .called(TAG, "oldOrderHolds", "Holds that orders have neither sold nor released for long")
                .text("Nobody else can buy these units: their orders do not get on.")
                .query::<Seconds>("older_than_seconds", "Only holds older than this; 3600 unless said.")
                .query::<wire::PageSize>("limit", "At most this many; 50 unless said.")
                .answers_list::<OldOrderHold>("The oldest first.")
        }),
        Route::new(Method::GET, "/ops/v1/panics", Access::Ops, panicked).describe(|route| {
            route
                .called(TAG, "panicked", "Entities whose commands ended in a panic since the node started")
                .text("Each such command was answered `internal_error` and changed nothing; the log names it.")
                .answers_list::<PanickedEntity>("The entities, the most panics first.")
        }),
        Route::new(Method::GET, "/ops/v1/webhooks", Access::Ops, webhooks).describe(|route| {
            route
                .called(TAG, "webhooks", "How the endpoints of outgoing webhooks are doing")
                .answers_list::<WebhookStatus>("The endpoints, in the order of the configuration.")
        }),
        Route::new(Method::GET, "/ops/v1/quarantine", Access::Ops, quarantined).describe(|route| {
            route
                .called(TAG, "quarantined", "Entities taken out of service after repeated faults")
                .answers_list::<QuarantinedEntity>("The entities.")
        }),
        Route::new(Method::POST, "/ops/v1/quarantine:release", Access::Ops, release).key_ignored().describe(|route| {
            route
                .called(TAG, "release", "Put an entity back into service")
                .body::<Release>()
                .answers_nothing(StatusCode::NO_CONTENT, "It is tried again at its next command.")
                .fails(&[Code::NotFound])
        }),
    ]
}

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always true.
    healthy: bool,
}

/// Which entity to put back into service.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Text form `kind/key`, e.g. `stock/TEA-100`.
    #[schema(pattern = "^(stock|cart|order|product|cluster)/[A-Za-z0-9._-]{1,64}$")]
    entity: String,
}

/// How many actors to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActorsQuery {
    limit: Option<wire::PageSize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderHoldsQuery {
    older_than_seconds: Option<Seconds>,
    limit: Option<wire::PageSize>,
}

/// A span of time, up to a year.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
pub struct Seconds(u64);

const SECONDS_MAX: u64 = 366 * 24 * 60 * 60;

impl TryFrom<u64> for Seconds {
    type Error = String;

    fn try_from(seconds: u64) -> Result<Self, String> {
        (seconds <= SECONDS_MAX).then_some(Self(seconds)).ok_or(format!("at most {SECONDS_MAX}"))
    }
}

impl utoipa::PartialSchema for Seconds {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        super::describe::whole_number(0, SECONDS_MAX)
    }
}

impl ToSchema for Seconds {}

const LIST_DEFAULT: u16 = 50;
/// Older than this, an order's hold is worth a look.
const OLD_SECONDS: u64 = 60 * 60;

async fn health() -> Response {
    wire::json(StatusCode::OK, &Health { healthy: true })
}

async fn ready(State(state): State<AppState>) -> Response {
    let readiness = state.ops().readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    wire::json(status, &readiness)
}

async fn metrics(State(state): State<AppState>) -> Response {
    let (limits, admission) = (&state.options().limits, state.admission());
    let at_work = limits.in_flight_max.saturating_sub(admission.free_places());
    let streams = limits.event_streams_max.saturating_sub(admission.free_streams());
    ::metrics::gauge!("stockroom_http_in_flight").set(at_work as f64);
    ::metrics::gauge!("stockroom_event_streams").set(streams as f64);
    let mut response = state.ops().metrics().into_response();
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

async fn status(State(state): State<AppState>) -> Response {
    wire::json(StatusCode::OK, &state.ops().status().await)
}

async fn shards(State(state): State<AppState>) -> Response {
    wire::json(StatusCode::OK, &Listing::whole(state.ops().shards().await))
}

async fn actors(State(state): State<AppState>, Query(query): Query<ActorsQuery>) -> Response {
    let limit = query.limit.map_or(LIST_DEFAULT, |limit| limit.0);
    wire::json(StatusCode::OK, &Listing::whole(state.ops().actors(usize::from(limit)).await))
}

async fn quarantined(State(state): State<AppState>) -> Response {
    wire::json(StatusCode::OK, &Listing::whole(state.ops().quarantined().await))
}

async fn order_holds(State(state): State<AppState>, Query(query): Query<OrderHoldsQuery>) -> Response {
    let limit = usize::from(query.limit.map_or(LIST_DEFAULT, |limit| limit.0));
    let older_than = Duration::from_secs(query.older_than_seconds.map_or(OLD_SECONDS, |seconds| seconds.0));
    wire::json(StatusCode::OK, &Listing::whole(state.ops().order_holds(older_than, limit)))
}

async fn webhooks(State(state): State<AppState>) -> Response {
    wire::json(StatusCode::OK, &Listing::whole(state.ops().webhooks()))
}

async fn panicked(State(state): State<AppState>) -> Response {
    wire::json(StatusCode::OK, &Listing::whole(state.ops().panicked()))
}

async fn release(State(state): State<AppState>, body: Json<Release>) -> Result<StatusCode, Problem> {
    let entity: EntityId = body.value.entity.parse().map_err(|error| Problem::invalid("entity", error))?;
    if state.ops().release(&entity).await {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::new(Code::NotFound, format!("{entity} is not quarantined on this node")))
}
