//! Fulfilling, refunding, forgetting who bought, and the list of orders.

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use crate::domain::ids::{EntityId, OrderId, RefundId};
use crate::domain::order::{OrderCommand, RefundRequest, Units};
use crate::http::AppState;
use crate::http::call::{Call, NoBody, OptionalJson, Params, Query};
use crate::http::describe::Description;
use crate::http::error::{Code, Problem};
use crate::http::route::{Access, Route};
use crate::http::v1::orders::change;
use crate::http::wire::order::{Fulfilment, Order, OrderState, OrderSummary, RefundOrder, SkuUnits};
use crate::http::wire::{self, Listing, PageSize};
use crate::projections::query::{OrderQuery, Page, PageLimit};

const TAG: &str = "Merchants: orders";

/// Most lines one call may name: as many as an order has.
const LINES_MAX: usize = 1_000;

/// The table.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v1/admin/orders", Access::Merchant, list).describe(|route| {
            route
                .called(TAG, "listOrders", "Orders, newest first")
                .query::<OrderState>("state", "Only orders in this state.")
                .query::<wire::Time>("since", "Only orders placed at or after this time.")
                .query::<PageSize>("limit", "At most this many items; 24 unless said.")
                .query::<String>("cursor", "`next_cursor` of the page before, with the same filters.")
                .answers_list::<OrderSummary>("A page of orders.")
        }),
        Route::new(Method::POST, "/v1/admin/orders/{id}/fulfil", Access::Merchant, fulfil).describe(|route| {
            changes_order(route, "fulfilOrder", "Goods leave")
                .text("The first fulfilment captures the whole payment; the order is fulfilled once everything left.")
                .optional_body::<Fulfilment>()
        }),
        Route::new(Method::POST, "/v1/admin/orders/{id}/deliver", Access::Merchant, deliver)
            .describe(|route| changes_order(route, "deliverOrder", "Goods arrived")),
        Route::new(Method::POST, "/v1/admin/orders/{id}/refund", Access::Merchant, refund).key_required().describe(
            |route| {
                changes_order(route, "refundOrder", "Give money back")
                    .text("Without `amount` and `lines` everything left is given back.")
                    .optional_body::<RefundOrder>()
            },
        ),
        Route::new(Method::POST, "/v1/admin/orders/{id}/erase", Access::Merchant, erase).describe(|route| {
            changes_order(route, "eraseOrder", "Forget who bought")
                .text("Deletes the key that seals the buyer's data. The order's money and units stay.")
        }),
    ]
}

fn changes_order(route: Description, operation: &'static str, summary: &'static str) -> Description {
    route
        .called(TAG, operation, summary)
        .path::<OrderId>("id", "The order.")
        .answers::<Order>(StatusCode::OK, "The order as it is now.")
        .fails(&[Code::NotFound, Code::OrderState])
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    state: Option<OrderState>,
    since: Option<String>,
    limit: Option<PageSize>,
    cursor: Option<String>,
}

async fn list(State(state): State<AppState>, Query(query): Query<ListQuery>) -> Result<Response, Problem> {
    let since = query.since.map(|since| wire::time_input("since", &since)).transpose()?;
    let page = Page { limit: query.limit.map_or_else(PageLimit::default, PageLimit::from), cursor: query.cursor };
    let found = state.queries().orders(&OrderQuery { state: query.state.map(Into::into), since, page }).await?;
    let items = found.items.into_iter().map(OrderSummary::from).collect();
    Ok(wire::json(StatusCode::OK, &Listing { items, next_cursor: found.next_cursor }))
}

async fn fulfil(
    State(state): State<AppState>,
    call: Call,
    Params(id): Params<OrderId>,
    body: OptionalJson<Fulfilment>,
) -> Result<Response, Problem> {
    let Fulfilment { lines, tracking } = body.value;
    if let Some(tracking) = &tracking {
        wire::check_text("tracking", tracking, 1)?;
    }
    let lines = units(lines)?;
    let identity = call.identity(&state, Some(&EntityId::order(id)), &body.bytes)?;
    change(&state, id, OrderCommand::Fulfil { lines, tracking }, identity).await
}

async fn deliver(
    State(state): State<AppState>,
    call: Call,
    Params(id): Params<OrderId>,
    _body: NoBody,
) -> Result<Response, Problem> {
    let identity = call.identity(&state, Some(&EntityId::order(id)), &[])?;
    change(&state, id, OrderCommand::Deliver, identity).await
}

async fn refund(
    State(state): State<AppState>,
    call: Call,
    Params(id): Params<OrderId>,
    body: OptionalJson<RefundOrder>,
) -> Result<Response, Problem> {
    let RefundOrder { amount, lines, restock } = body.value;
    if amount == Some(0) {
        return Err(Problem::invalid("amount", "at least 1"));
    }
    let lines = units(lines)?;
    let identity = call.identity(&state, Some(&EntityId::order(id)), &body.bytes)?;
    let request = RefundRequest {
        refund: RefundId(identity.stamp.command.0),
        fingerprint: identity.stamp.fingerprint,
        amount,
        lines,
        restock: restock.unwrap_or_default(),
    };
    change(&state, id, OrderCommand::Refund(Box::new(request)), identity).await
}

async fn erase(
    State(state): State<AppState>,
    call: Call,
    Params(id): Params<OrderId>,
    _body: NoBody,
) -> Result<Response, Problem> {
    let identity = call.identity(&state, Some(&EntityId::order(id)), &[])?;
    change(&state, id, OrderCommand::Erase, identity).await
}

fn units(lines: Option<Vec<SkuUnits>>) -> Result<Vec<Units>, Problem> {
    let lines = lines.unwrap_or_default();
    if lines.len() > LINES_MAX {
        return Err(Problem::invalid("lines", format!("at most {LINES_MAX}")));
    }
    Ok(lines.into_iter().map(Units::from).collect())
}
