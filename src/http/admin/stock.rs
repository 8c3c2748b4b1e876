//! Counting units, and the holds on them.

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use crate::actors::messages::Answer;
use crate::domain::ids::{EntityId, HoldId, Sku};
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::stock::{Releaser, StockCommand, StockReply};
use crate::http::AppState;
use crate::http::call::{Call, Identity, Json, NoBody, Params, Query};
use crate::http::error::{Code, Problem};
use crate::http::route::{Access, Route};
use crate::http::v1;
use crate::http::wire::stock::{Adjustment, ExpiringHold, HeldUnits, LowStock, Receipt, StockAccount};
use crate::http::wire::{self, Listing, PageSize};
use crate::projections::query::{ExpiringHoldsQuery, LOW_STOCK_MAX, LowStockQuery, Page, PageLimit};

const TAG: &str = "Merchants: stock";
const SKU: (&str, &str) = ("sku", "The stock keeping unit.");

/// The table.
pub fn routes() -> Vec<Route> {
    let mut routes = count_routes();
    routes.extend(hold_routes());
    routes
}

fn count_routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v1/admin/stock", Access::Merchant, low).describe(|route| {
            route
                .called(TAG, "listLowStock", "SKUs with few units left, fewest first")
                .query::<LowUnits>("low", "At most this many units available; 10 unless said.")
                .query::<PageSize>("limit", "At most this many items; 24 unless said.")
                .query::<String>("cursor", "`next_cursor` of the page before, with the same filters.")
                .answers_list::<LowStock>("A page of SKUs.")
        }),
        Route::new(Method::GET, "/v1/admin/stock/{sku}", Access::Merchant, show).describe(|route| {
            route
                .called(TAG, "getStockAccount", "Where all units of a SKU are")
                .path::<Sku>(SKU.0, SKU.1)
                .answers::<StockAccount<'_>>(StatusCode::OK, "The account.")
                .fails(&[Code::NotFound])
        }),
        Route::new(Method::POST, "/v1/admin/stock/{sku}/receive", Access::Merchant, receive).key_required().describe(
            |route| {
                route
                    .called(TAG, "receiveStock", "Units arrived")
                    .path::<Sku>(SKU.0, SKU.1)
                    .body::<Receipt>()
                    .answers::<StockAccount<'_>>(StatusCode::OK, "The account afterwards.")
                    .fails(&[Code::TooLarge])
            },
        ),
        Route::new(Method::POST, "/v1/admin/stock/{sku}/adjust", Access::Merchant, adjust).key_required().describe(
            |route| {
                route
                    .called(TAG, "adjustStock", "A count said otherwise")
                    .path::<Sku>(SKU.0, SKU.1)
                    .body::<Adjustment>()
                    .answers::<StockAccount<'_>>(StatusCode::OK, "The account afterwards.")
                    .fails(&[Code::InsufficientStock, Code::NotFound, Code::TooLarge])
            },
        ),
    ]
}

fn hold_routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v1/admin/holds", Access::Merchant, expiring).describe(|route| {
            route
                .called(TAG, "listExpiringHolds", "Shoppers' holds of all SKUs that are about to expire, soonest first")
                .query::<wire::Time>("before", "Only holds that expire before this time; required.")
                .query::<PageSize>("limit", "At most this many items; 24 unless said.")
                .query::<String>("cursor", "`next_cursor` of the page before, with the same `before`.")
                .answers_list::<ExpiringHold>("A page of holds.")
        }),
        Route::new(Method::GET, "/v1/admin/stock/{sku}/holds", Access::Merchant, holds).describe(|route| {
            route
                .called(TAG, "listHolds", "Live holds on a SKU")
                .path::<Sku>(SKU.0, SKU.1)
                .query::<PageSize>("limit", "At most this many items; 100 unless said.")
                .query::<String>("cursor", "`next_cursor` of the page before.")
                .answers_list::<HeldUnits>("A page of holds, by id.")
                .fails(&[Code::NotFound])
        }),
        Route::new(Method::DELETE, "/v1/admin/stock/{sku}/holds/{id}", Access::Merchant, end_hold)
            .key_required()
            .describe(|route| {
                route
                    .called(TAG, "endHold", "End a hold, a shopper's or an order's")
                    .text("For repairs: an order whose hold is ended fails and gives everything back.")
                    .path::<Sku>(SKU.0, SKU.1)
                    .path::<HoldId>("id", "The hold.")
                    .answers_nothing(StatusCode::NO_CONTENT, "The hold has ended.")
                    .fails(&[Code::NotFound, Code::HoldExpired])
            }),
    ]
}

/// How few units are few.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(transparent)]
pub struct LowUnits(u64);

const LOW_DEFAULT: u64 = 10;
const HOLDS_DEFAULT: u16 = 100;

impl utoipa::PartialSchema for LowUnits {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        crate::http::describe::whole_number(0, LOW_STOCK_MAX)
    }
}

impl utoipa::ToSchema for LowUnits {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LowQuery {
    low: Option<LowUnits>,
    limit: Option<PageSize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldsQuery {
    limit: Option<PageSize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpiringQuery {
    before: Option<String>,
    limit: Option<PageSize>,
    cursor: Option<String>,
}

async fn low(State(state): State<AppState>, Query(query): Query<LowQuery>) -> Result<Response, Problem> {
    let low = query.low.map_or(LOW_DEFAULT, |low| low.0);
    if low > LOW_STOCK_MAX {
        return Err(Problem::invalid("low", format!("at most {LOW_STOCK_MAX}")));
    }
    let page = Page { limit: query.limit.map_or_else(PageLimit::default, PageLimit::from), cursor: query.cursor };
    let found = state.queries().low_stock(&LowStockQuery { low, page }).await?;
    let items = found.items.into_iter().map(LowStock::from).collect();
    Ok(wire::json(StatusCode::OK, &Listing { items, next_cursor: found.next_cursor }))
}

async fn show(State(state): State<AppState>, Params(sku): Params<Sku>) -> Result<Response, Problem> {
    let (view, _) = v1::stock::read(&state, &sku).await?;
    Ok(wire::json(StatusCode::OK, &StockAccount::new(&view.sku, &view.numbers)))
}

async fn receive(
    State(state): State<AppState>,
    call: Call,
    Params(sku): Params<Sku>,
    body: Json<Receipt>,
) -> Result<Response, Problem> {
    wire::check_text("reference", &body.value.reference, 1)?;
    let identity = call.identity(&state, Some(&EntityId::stock(&sku)), &body.bytes)?;
    let Receipt { quantity, reference } = body.value;
    counted(&state, &sku, StockCommand::Receive { quantity, reference }, identity).await
}

async fn adjust(
    State(state): State<AppState>,
    call: Call,
    Params(sku): Params<Sku>,
    body: Json<Adjustment>,
) -> Result<Response, Problem> {
    wire::check_text("reason", &body.value.reason, 1)?;
    let identity = call.identity(&state, Some(&EntityId::stock(&sku)), &body.bytes)?;
    let Adjustment { delta, reason } = body.value;
    counted(&state, &sku, StockCommand::Adjust { delta, reason }, identity).await
}

async fn counted(state: &AppState, sku: &Sku, command: StockCommand, identity: Identity) -> Result<Response, Problem> {
    let answer = state.ask(EntityId::stock(sku), AnyCommand::Stock(command), identity).await?;
    let AnyReply::Stock(StockReply::Counted(numbers)) = &answer.reply else {
        return Err(wire::unexpected(&answer));
    };
    let response = wire::json(StatusCode::OK, &StockAccount::new(sku, numbers));
    Ok(wire::marked(response, answer.replayed))
}

async fn expiring(State(state): State<AppState>, Query(query): Query<ExpiringQuery>) -> Result<Response, Problem> {
    let before = query.before.ok_or_else(|| Problem::invalid("before", "say until when, e.g. 2026-11-22T16:00:00Z"))?;
    let before = wire::time_input("before", &before)?;
    let page = Page { limit: query.limit.map_or_else(PageLimit::default, PageLimit::from), cursor: query.cursor };
    let found = state.queries().expiring_holds(&ExpiringHoldsQuery { before, page }).await?;
    let items = found.items.into_iter().map(ExpiringHold::from).collect();
    Ok(wire::json(StatusCode::OK, &Listing { items, next_cursor: found.next_cursor }))
}

async fn holds(
    State(state): State<AppState>,
    Params(sku): Params<Sku>,
    Query(query): Query<HoldsQuery>,
) -> Result<Response, Problem> {
    let after = query.cursor.map(|cursor| cursor.parse::<HoldId>()).transpose();
    let after = after.map_err(|_| Problem::invalid("cursor", "not a cursor"))?;
    let limit = u32::from(query.limit.map_or(HOLDS_DEFAULT, |limit| limit.0));
    let command = AnyCommand::Stock(StockCommand::ShowHolds { after, limit });
    let answer = state.read(EntityId::stock(&sku), command).await?;
    let Answer { reply: AnyReply::Stock(StockReply::Holds { items, next }), .. } = &answer else {
        return Err(wire::unexpected(&answer));
    };
    let items = items.iter().map(HeldUnits::from).collect();
    let next_cursor = next.map(|next| next.to_string());
    Ok(wire::json(StatusCode::OK, &Listing { items, next_cursor }))
}

async fn end_hold(
    State(state): State<AppState>,
    call: Call,
    Params((sku, hold)): Params<(Sku, HoldId)>,
    _body: NoBody,
) -> Result<Response, Problem> {
    let entity = EntityId::stock(&sku);
    let identity = call.identity(&state, Some(&entity), &[])?;
    let command = AnyCommand::Stock(StockCommand::Release { hold, by: Releaser::Merchant });
    let answer = state.ask(entity, command, identity).await?;
    Ok(wire::marked(wire::nothing(), answer.replayed))
}
