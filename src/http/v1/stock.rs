//! What is left of a SKU, live, and units set aside. Placing a hold is the hot path: one body, one command, one answer.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use axum::response::sse::Event;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::actors::messages::Answer;
use crate::domain::ids::{EntityId, HoldId, Sku};
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::stock::{Holder, Releaser, Reserve, StockCommand, StockReply, StockView};
use crate::http::AppState;
use crate::http::call::{Call, Json, NoBody, Params};
use crate::http::error::{Code, Problem};
use crate::http::follow::{self, Look, News};
use crate::http::route::{Access, Route};
use crate::http::wire::stock::{
    HOLD_TTL_SECONDS_DEFAULT, HOLD_TTL_SECONDS_MAX, HOLD_TTL_SECONDS_MIN, Hold, HoldRequest, Stock,
};
use crate::http::wire::{self};

const TAG: &str = "Stock";
const SKU: (&str, &str) = ("sku", "The stock keeping unit.");

/// The table.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v1/stock/{sku}", Access::Public, show).describe(|route| {
            route
                .called(TAG, "getStock", "What is left of a SKU")
                .path::<Sku>(SKU.0, SKU.1)
                .header::<String>("If-None-Match", "The `ETag` already known.")
                .answers::<Stock<'_>>(StatusCode::OK, "What is left.")
                .with_header("ETag", "Changes with the answer.")
                .with_header("Cache-Control", "`no-cache`: ask again with `If-None-Match`.")
                .answers_nothing(StatusCode::NOT_MODIFIED, "The answer already known is still right.")
                .fails(&[Code::NotFound])
        }),
        Route::new(Method::GET, "/v1/stock/{sku}/events", Access::Public, events).describe(|route| {
            route
                .called(TAG, "followStock", "What is left of a SKU, live")
                .text(
                    "Server-sent events named `stock`; `data` is what `GET /v1/stock/{sku}` answers, `id` the item's \
                     sequence. What changes faster than the stream is told together: every event is the latest state.",
                )
                .path::<Sku>(SKU.0, SKU.1)
                .header::<String>("Last-Event-ID", "The last `id` seen: nothing is sent until something newer exists.")
                .answers_events("stock", "The stream.")
                .fails(&[Code::NotFound])
        }),
        Route::new(Method::POST, "/v1/stock/{sku}/holds", Access::Public, place_hold).describe(|route| {
            route
                .called(TAG, "placeHold", "Set units aside for a while")
                .text("Decided by the stock item alone: as long as the hold lives nobody else can buy these units.")
                .path::<Sku>(SKU.0, SKU.1)
                .body::<HoldRequest>()
                .answers::<Hold<'_>>(StatusCode::CREATED, "The units are set aside.")
                .with_header("Location", "Where the hold can be given back.")
                .fails(&[Code::InsufficientStock, Code::NotFound, Code::Unavailable])
        }),
        Route::new(Method::DELETE, "/v1/stock/{sku}/holds/{id}", Access::Public, release_hold).describe(|route| {
            route
                .called(TAG, "releaseHold", "Give units back")
                .path::<Sku>(SKU.0, SKU.1)
                .path::<HoldId>("id", "The hold.")
                .answers_nothing(StatusCode::NO_CONTENT, "The hold has ended.")
                .fails(&[Code::NotFound, Code::HoldExpired])
        }),
    ]
}

async fn show(
    State(state): State<AppState>,
    Params(sku): Params<Sku>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (view, answer) = read(&state, &sku).await?;
    let known = headers.get(header::IF_NONE_MATCH);
    Ok(wire::tagged_json(&Stock::new(&view, answer.at), answer.sequence.0, known))
}

async fn place_hold(
    State(state): State<AppState>,
    call: Call,
    Params(sku): Params<Sku>,
    body: Json<HoldRequest>,
) -> Result<Response, Problem> {
    let ttl = ttl_of(&body.value)?;
    let entity = EntityId::stock(&sku);
    let identity = call.identity(&state, Some(&entity), &body.bytes)?;
    let reserve = Reserve {
        hold: HoldId(identity.stamp.command.0),
        quantity: body.value.quantity,
        ttl,
        holder: Holder::Shopper,
        fingerprint: identity.stamp.fingerprint,
    };
    let answer = state.ask(entity, AnyCommand::Stock(StockCommand::Reserve(reserve)), identity).await?;
    let AnyReply::Stock(StockReply::Held { hold, quantity, expires_at: Some(expires_at) }) = answer.reply else {
        return Err(wire::unexpected(&answer));
    };
    let held = Hold { id: hold, sku: &sku, quantity, expires_at: wire::Time(expires_at) };
    let mut response = wire::json(StatusCode::CREATED, &held);
    response.headers_mut().insert(header::LOCATION, wire::location(format_args!("/v1/stock/{sku}/holds/{hold}")));
    Ok(wire::marked(response, answer.replayed))
}

fn ttl_of(request: &HoldRequest) -> Result<Duration, Problem> {
    let seconds = request.ttl_seconds.unwrap_or(HOLD_TTL_SECONDS_DEFAULT);
    if (HOLD_TTL_SECONDS_MIN..=HOLD_TTL_SECONDS_MAX).contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    Err(Problem::invalid("ttl_seconds", format!("{HOLD_TTL_SECONDS_MIN} to {HOLD_TTL_SECONDS_MAX} seconds")))
}

async fn release_hold(
    State(state): State<AppState>,
    call: Call,
    Params((sku, hold)): Params<(Sku, HoldId)>,
    _body: NoBody,
) -> Result<Response, Problem> {
    let entity = EntityId::stock(&sku);
    let identity = call.identity(&state, Some(&entity), &[])?;
    let command = AnyCommand::Stock(StockCommand::Release { hold, by: Releaser::Shopper });
    let answer = state.ask(entity, command, identity).await?;
    Ok(wire::marked(wire::nothing(), answer.replayed))
}

/// A stock item as it is now.
pub async fn read(state: &AppState, sku: &Sku) -> Result<(StockView, Answer), Problem> {
    let mut answer = state.read(EntityId::stock(sku), AnyCommand::Stock(StockCommand::Show)).await?;
    let forgotten = AnyReply::Stock(StockReply::Forgotten);
    match std::mem::replace(&mut answer.reply, forgotten) {
        AnyReply::Stock(StockReply::Shown(view)) => Ok((*view, answer)),
        other => Err(wire::unexpected(&Answer { reply: other, ..answer })),
    }
}

/// Stock items read at once for one request.
const READS_AT_ONCE: usize = 16;

/// Many stock items as they are now, some at a time; those that were never received nor listed are left out.
pub async fn read_many(state: &AppState, skus: Vec<Sku>) -> Result<BTreeMap<Sku, StockView>, Problem> {
    let reads = skus.into_iter().map(|sku| {
        let state = state.clone();
        async move {
            match read(&state, &sku).await {
                Ok((view, _)) => Ok(Some((sku, view))),
                Err(problem) if problem.code() == Code::NotFound => Ok(None),
                Err(problem) => Err(problem),
            }
        }
    });
    let found = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
    found.try_filter_map(|found| std::future::ready(Ok(found))).try_collect().await
}

async fn events(
    State(state): State<AppState>,
    Params(sku): Params<Sku>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let entity = EntityId::stock(&sku);
    let look = StockLook { sku, seen: follow::last_event_id(&headers) };
    follow::stream_events(&state, entity, look).await
}

/// Tells the latest state when it is not the one seen last. A client ahead of the item (restored from a backup) gets
/// the state as well.
struct StockLook {
    sku: Sku,
    seen: Option<u64>,
}

impl Look for StockLook {
    async fn look(&mut self, state: &AppState) -> Result<News, Problem> {
        let (view, answer) = read(state, &self.sku).await?;
        if self.seen.replace(answer.sequence.0) == Some(answer.sequence.0) {
            return Ok(News { events: Vec::new(), is_over: false });
        }
        let data = wire::text(&Stock::new(&view, answer.at));
        let event = Event::default().event("stock").id(answer.sequence.to_string()).data(data);
        Ok(News { events: vec![event], is_over: false })
    }
}
