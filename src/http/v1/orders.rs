//! Orders: checkout, watching, cancelling.
//!
//! Checkout reads the cart and what its SKUs are offered at now, then asks the cart to turn that version into an order
//! (P4). The order begins by itself; the answer waits until it can be read, and longer when the client prefers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::response::sse::Event;

use super::carts;
use crate::actors::messages::Answer;
use crate::domain::cart::{CartCommand, CartReply, CartView, CheckOut};
use crate::domain::ids::{EntityId, HoldId, OrderId, Sku};
use crate::domain::order::{OrderCommand, OrderReply, OrderView};
use crate::domain::payment::PaymentToken;
use crate::domain::pricing::Offer;
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::http::AppState;
use crate::http::call::{Call, Identity, Json, OptionalJson, Params};
use crate::http::error::{Code, Problem};
use crate::http::follow::{self, Follower, Look, News};
use crate::http::options::WAIT_MAX;
use crate::http::route::{Access, Route};
use crate::http::wire::order::{Cancellation, HistoryRow, NewOrder, Order, PROVIDER_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::http::wire::{self};

const TAG: &str = "Orders";
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

const APPLIED: (&str, &str) = ("Preference-Applied", "The wait, if one was preferred.");

/// How often a checkout that named no version follows a cart that moves on under it.
const CART_MOVES_MAX: usize = 3;
/// Most holds one checkout may bring: as many as a cart has lines.
const HOLDS_MAX: usize = 1_000;

/// The table.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v1/orders", Access::Public, place).key_required().describe(described_checkout),
        Route::new(Method::GET, "/v1/orders/{id}", Access::Public, show).describe(|route| {
            route
                .called(TAG, "getOrder", "See an order")
                .path::<OrderId>("id", "The order.")
                .answers::<Order>(StatusCode::OK, "The order.")
                .fails(&[Code::NotFound])
        }),
        Route::new(Method::GET, "/v1/orders/{id}/events", Access::Public, events).describe(|route| {
            route
                .called(TAG, "followOrder", "See every state of an order, live")
                .text(
                    "Server-sent events named `order`, one for every row of `history`, none left out: `data` is the \
                     row, `id` its number. Ends after a state that nothing can follow.",
                )
                .path::<OrderId>("id", "The order.")
                .header::<String>("Last-Event-ID", "The last `id` seen: the stream goes on behind it.")
                .answers_events("order", "The stream.")
                .fails(&[Code::NotFound])
        }),
        Route::new(Method::POST, "/v1/orders/{id}/cancel", Access::Public, cancel).describe(|route| {
            route
                .called(TAG, "cancelOrder", "Cancel an order")
                .text("Allowed until it is fulfilled. Units and money are given back; watch the state.")
                .path::<OrderId>("id", "The order.")
                .optional_body::<Cancellation>()
                .answers::<Order>(StatusCode::OK, "The order as it is now.")
                .fails(&[Code::NotFound, Code::OrderState])
        }),
    ]
}

fn described_checkout(route: crate::http::describe::Description) -> crate::http::describe::Description {
    route
        .called(TAG, "checkOut", "Turn a cart into an order")
        .text(
            "The order then reserves, charges and confirms by itself: follow it, or wait with `Prefer: wait=10`. A \
             cart version becomes one order, whoever asks and however often.",
        )
        .header::<String>("Prefer", "`wait=N`: answer when the order is decided, after at most N seconds (30).")
        .body::<NewOrder>()
        .answers::<Order>(StatusCode::ACCEPTED, "The order is on its way.")
        .with_header("Location", "The order.")
        .with_header(APPLIED.0, APPLIED.1)
        .answers::<Order>(StatusCode::CREATED, "The order is confirmed, or has ended, within the time waited.")
        .with_header("Location", "The order.")
        .with_header(APPLIED.0, APPLIED.1)
        .answers::<Order>(StatusCode::OK, "This cart version had become this order before, under another key.")
        .with_header("Location", "The order.")
        .with_header(APPLIED.0, APPLIED.1)
        .fails(&[Code::NotFound, Code::CartGone, Code::CartEmpty, Code::CartMerging, Code::CartVersion])
        .fails(&[Code::PriceChanged, Code::Unavailable])
}

async fn place(
    State(state): State<AppState>,
    call: Call,
    headers: HeaderMap,
    body: Json<NewOrder>,
) -> Result<Response, Problem> {
    let wait = preferred_wait(&headers);
    let holds = checked(&state, &body.value)?;
    let identity = call.identity(&state, Some(&EntityId::cart(body.value.cart_id)), &body.bytes)?;
    let own = OrderId(identity.stamp.command.0);
    let mut follower = Follower::new(&state, EntityId::order(own));
    let (order, answer) = check_out(&state, &body.value, &holds, identity).await?;
    if order != own {
        follower = Follower::new(&state, EntityId::order(order));
    } else if !answer.replayed {
        // It is on its way and nothing is there to be read before its first record.
        follower.changed_soon().await;
    }
    let view = placed(&state, order, wait.unwrap_or_default(), follower).await?;
    let status = match view.state.is_decided() {
        _ if order != own => StatusCode::OK,
        true => StatusCode::CREATED,
        false => StatusCode::ACCEPTED,
    };
    let mut response = rendered(&state, &view, status).await?;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, wire::location(format_args!("/v1/orders/{order}")));
    if let Some(wait) = wait {
        let applied = HeaderValue::from_str(&format!("wait={}", wait.as_secs())).expect("digits are visible");
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    Ok(wire::marked(response, answer.replayed && order == own))
}

/// What serde cannot say about the body.
fn checked(state: &AppState, body: &NewOrder) -> Result<BTreeMap<Sku, HoldId>, Problem> {
    let payment = &body.payment;
    if !(1..=PROVIDER_BYTES_MAX).contains(&payment.provider.len()) {
        return Err(Problem::invalid("payment.provider", format!("1 to {PROVIDER_BYTES_MAX} bytes")));
    }
    if state.gateways().get(&payment.provider).is_none() {
        let offered = state.gateways().names().collect::<Vec<_>>().join(", ");
        let offered = if offered.is_empty() { "none at the moment" } else { &offered };
        return Err(Problem::invalid("payment.provider", format!("not offered here; this shop offers: {offered}")));
    }
    if !(1..=TOKEN_BYTES_MAX).contains(&payment.token.len()) {
        return Err(Problem::invalid("payment.token", format!("1 to {TOKEN_BYTES_MAX} bytes")));
    }
    let holds = body.holds.as_deref().unwrap_or_default();
    if holds.len() > HOLDS_MAX {
        return Err(Problem::invalid("holds", format!("at most {HOLDS_MAX}")));
    }
    let mut by_sku = BTreeMap::new();
    for (index, hold) in holds.iter().enumerate() {
        if by_sku.insert(hold.sku.clone(), hold.id).is_some() {
            return Err(Problem::invalid(format!("holds[{index}].sku"), "one hold per SKU"));
        }
    }
    Ok(by_sku)
}

/// Asks the cart for the order of its version. A client that named no version means the newest, so when the cart moves
/// on in between (another tab), the newest is read again.
async fn check_out(
    state: &AppState,
    body: &NewOrder,
    holds: &BTreeMap<Sku, HoldId>,
    identity: Identity,
) -> Result<(OrderId, Answer), Problem> {
    let proposed = identity.stamp.command.0;
    #[cfg(feature = "canaries")]
    let proposed = match crate::canary::is(crate::canary::Canary::OrderIdPerAttempt) {
        true => state.rng().next_id(),
        false => proposed,
    };
    let mut moves = 0;
    loop {
        let (version, offers) = offered(state, body).await?;
        let command = CheckOut {
            order: OrderId(proposed),
            fingerprint: identity.stamp.fingerprint,
            version,
            offers,
            provider: body.payment.provider.clone(),
            token: PaymentToken(body.payment.token.clone()),
            holds: holds.clone(),
        };
        let command = AnyCommand::Cart(CartCommand::CheckOut(Box::new(command)));
        let answer = match state.ask(EntityId::cart(body.cart_id), command, identity).await {
            Err(problem) if problem.code() == Code::CartVersion && body.cart_version.is_none() => {
                moves += 1;
                if moves > CART_MOVES_MAX {
                    return Err(problem);
                }
                continue;
            }
            answer => answer?,
        };
        return match answer.reply {
            AnyReply::Cart(CartReply::CheckedOut { order, .. }) => Ok((order, answer)),
            AnyReply::Cart(CartReply::PriceChanged { was, is, .. }) => Err(price_changed(state, body, was, is).await),
            _ => Err(wire::unexpected(&answer)),
        };
    }
}

/// The version to be bought and what its lines are offered at. A cart that is gone may still know the order its version
/// became, so it is asked all the same.
async fn offered(state: &AppState, body: &NewOrder) -> Result<(u64, BTreeMap<Sku, Offer>), Problem> {
    let cart = match carts::read(state, body.cart_id).await {
        Ok(cart) => cart,
        Err(problem) if problem.code() == Code::CartGone => {
            return Ok((body.cart_version.unwrap_or_default(), BTreeMap::new()));
        }
        Err(problem) => return Err(problem),
    };
    let offers = offers_of(state, &cart).await?;
    Ok((body.cart_version.unwrap_or(cart.version), offers))
}

async fn offers_of(state: &AppState, cart: &CartView) -> Result<BTreeMap<Sku, Offer>, Problem> {
    let skus = cart.lines.iter().map(|line| line.sku.clone()).collect();
    let stock = super::stock::read_many(state, skus).await?.into_iter();
    Ok(stock.filter_map(|(sku, view)| Some((sku, view.listing?.offer(cart.currency)?))).collect())
}

/// 409 with the cart as it is now, new prices included.
async fn price_changed(state: &AppState, body: &NewOrder, was: u64, is: u64) -> Problem {
    let problem = Problem::new(Code::PriceChanged, format!("the total changed from {was} to {is} minor units"));
    let problem = problem.with_fact("was", was).with_fact("is", is);
    let cart = async { carts::opened(state, &carts::read(state, body.cart_id).await?).await };
    match cart.await.ok().and_then(|cart| serde_json::to_value(cart).ok()) {
        Some(cart) => problem.with_fact("cart", cart),
        None => problem,
    }
}

/// The order once it exists, and once it is decided or the wait is over.
async fn placed(
    state: &AppState,
    order: OrderId,
    wait: Duration,
    mut follower: Follower,
) -> Result<OrderView, Problem> {
    let deadline = state.now_monotonic() + wait;
    let patience = state.now_monotonic() + wait.max(state.options().timeouts.command);
    loop {
        let left = |until: Duration| until.saturating_sub(state.now_monotonic());
        let until = match read(state, order).await {
            Ok(view) if view.state.is_decided() || left(deadline).is_zero() => return Ok(view),
            Ok(_deciding) => deadline,
            Err(problem) if problem.code() == Code::NotFound && !left(patience).is_zero() => patience,
            Err(problem) if problem.code() == Code::NotFound => {
                let problem = Problem::new(Code::OutcomeUnknown, "the order is on its way; repeat to see it");
                return Err(problem.with_fact("order_id", order.to_string()));
            }
            Err(problem) => return Err(problem),
        };
        let woken = tokio::time::timeout(left(until), follower.changed_soon()).await;
        if matches!(woken, Ok(false)) {
            return read(state, order).await;
        }
    }
}

async fn show(State(state): State<AppState>, Params(id): Params<OrderId>) -> Result<Response, Problem> {
    answer(&state, id).await
}

async fn cancel(
    State(state): State<AppState>,
    call: Call,
    Params(id): Params<OrderId>,
    body: OptionalJson<Cancellation>,
) -> Result<Response, Problem> {
    let reason = body.value.reason.unwrap_or_default();
    wire::check_text("reason", &reason, 0)?;
    let identity = call.identity(&state, Some(&EntityId::order(id)), &body.bytes)?;
    change(&state, id, OrderCommand::Cancel { reason }, identity).await
}

/// Sends a command to an order and answers with the order as it is then.
pub async fn change(
    state: &AppState,
    id: OrderId,
    command: OrderCommand,
    identity: Identity,
) -> Result<Response, Problem> {
    let changed = state.ask(EntityId::order(id), AnyCommand::Order(command), identity).await?;
    Ok(wire::marked(answer(state, id).await?, changed.replayed))
}

async fn answer(state: &AppState, id: OrderId) -> Result<Response, Problem> {
    rendered(state, &read(state, id).await?, StatusCode::OK).await
}

async fn read(state: &AppState, id: OrderId) -> Result<OrderView, Problem> {
    let answer = state.read(EntityId::order(id), AnyCommand::Order(OrderCommand::Show)).await?;
    match answer.reply {
        #[cfg(feature = "canaries")]
        AnyReply::Order(OrderReply::Shown(view)) if crate::canary::is(crate::canary::Canary::StaleRead) => {
            Ok(a_moment_ago(*view, answer.at))
        }
        AnyReply::Order(OrderReply::Shown(view)) => Ok(*view),
        _ => Err(wire::unexpected(&answer)),
    }
}

/// The order as a copy has it that lags behind.
#[cfg(feature = "canaries")]
fn a_moment_ago(mut view: OrderView, at: crate::domain::time::Timestamp) -> OrderView {
    const LAG: Duration = Duration::from_millis(200);
    let seen = view.history.iter().rev().find(|row| row.at.after(LAG) <= at).or(view.history.first());
    view.state = seen.map_or(view.state, |row| row.state);
    view
}

async fn rendered(state: &AppState, view: &OrderView, status: StatusCode) -> Result<Response, Problem> {
    let buyer = match &view.buyer {
        Some(sealed) => carts::open_buyer(state, view.cart(), sealed).await?,
        None => None,
    };
    Ok(wire::json(status, &Order::new(view, buyer)))
}

/// `Prefer: …, wait=N` (RFC 7240), at most [`WAIT_MAX`]. Preferences not understood are ignored, as the RFC asks.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(&PREFER).iter().filter_map(|line| line.to_str().ok());
    let mut preferences = lines.flat_map(|line| line.split([',', ';'])).filter_map(|part| part.split_once('='));
    let (_, seconds) = preferences.find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))?;
    let seconds: u64 = seconds.trim().trim_matches('"').parse().ok()?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

async fn events(
    State(state): State<AppState>,
    Params(id): Params<OrderId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seen = follow::last_event_id(&headers).unwrap_or_default();
    let look = OrderLook { id, seen };
    follow::stream_events(&state, EntityId::order(id), look).await
}

/// Tells every row of the history behind the one seen last. A client ahead of the order gets all of it.
struct OrderLook {
    id: OrderId,
    seen: u64,
}

impl Look for OrderLook {
    async fn look(&mut self, state: &AppState) -> Result<News, Problem> {
        let view = read(state, self.id).await?;
        let rows = view.history.len() as u64;
        if self.seen > rows {
            self.seen = 0;
        }
        let fresh = view.history.iter().zip(1_u64..).filter(|(_, number)| *number > self.seen);
        let events = fresh
            .map(|(row, number)| {
                let data = wire::text(&HistoryRow::from(row));
                Event::default().event("order").id(number.to_string()).data(data)
            })
            .collect();
        self.seen = rows;
        Ok(News { events, is_over: view.state.is_terminal() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_wait_is_read_as_rfc_7240_says_and_bounded() {
        let wait = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, HeaderValue::from_static(text));
            preferred_wait(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("wait=5"), Some(5));
        assert_eq!(wait("respond-async, Wait = \"10\""), Some(10));
        assert_eq!(wait("wait=3600"), Some(30));
        assert_eq!(wait("wait=soon"), None);
        assert_eq!(wait("return=minimal"), None);
        assert_eq!(preferred_wait(&HeaderMap::new()), None);
    }
}
