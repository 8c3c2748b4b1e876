//! Carts: what a shopper wants to buy. An edit is one command to the cart; title and prices of a line are read from its
//! stock item just before. Every answer is the whole cart as it is after the edit, read once: only the answer grows
//! with the cart ([ADR 14](../../../docs/adr/0014-an-edit-costs-its-line-the-answer-the-cart.md)).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use crate::actors::messages::{Answer, AskError};
use crate::domain::cart::{CartCommand, CartReply, CartView};
use crate::domain::ids::{CartId, EntityId, Sku};
use crate::domain::money::Currency;
use crate::domain::pricing::{Listing, Offer};
use crate::domain::privacy::Sealed;
use crate::domain::quantity::Quantity;
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::rejection::Rejection;
use crate::http::AppState;
use crate::http::call::{self, Call, Identity, Json, NoBody, Params};
use crate::http::error::{Code, Problem};
use crate::http::follow::Follower;
use crate::http::route::{Access, Route};
use crate::http::sealing;
use crate::http::wire::buyer::Buyer;
use crate::http::wire::cart::{Cart, LineQuantity, Merge, NewCart};
use crate::http::wire::schemas::CartTag;
use crate::http::wire::{self, Time};

const TAG: &str = "Carts";
const ID: (&str, &str) = ("id", "The cart.");
const IF_MATCH: (&str, &str) = ("If-Match", "Only if the cart is at this version, e.g. `\"7\"`.");
/// What every edit of a cart can be refused with.
const EDIT_FAILURES: [Code; 4] = [Code::NotFound, Code::CartGone, Code::CartMerging, Code::CartVersion];

/// How long the answer to a merge waits for the other cart's lines.
const MERGE_WAIT: Duration = Duration::from_secs(5);

/// The table.
pub fn routes() -> Vec<Route> {
    let mut routes = cart_routes();
    routes.extend(edit_routes());
    routes
}

fn cart_routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v1/carts", Access::Public, create).describe(|route| {
            route
                .called(TAG, "createCart", "Begin a cart")
                .body::<NewCart>()
                .answers::<Cart>(StatusCode::CREATED, "An empty cart.")
                .with_header("Location", "The cart.")
                .with_header("ETag", "The cart's version.")
                .fails(&[Code::CartGone])
        }),
        Route::new(Method::GET, "/v1/carts/{id}", Access::Public, show).describe(|route| {
            route
                .called(TAG, "getCart", "See a cart")
                .path::<CartId>(ID.0, ID.1)
                .answers::<Cart>(StatusCode::OK, "The cart.")
                .with_header("ETag", "The cart's version.")
                .fails(&[Code::NotFound, Code::CartGone])
        }),
        Route::new(Method::POST, "/v1/carts/{id}/merge", Access::Public, merge).describe(|route| {
            route
                .called(TAG, "mergeCarts", "Take over another cart's lines")
                .text(
                    "Quantities of the same SKU add up. The other cart is closed. Nothing is lost when it is refused.",
                )
                .path::<CartId>(ID.0, ID.1)
                .header::<CartTag>(IF_MATCH.0, IF_MATCH.1)
                .body::<Merge>()
                .answers::<Cart>(StatusCode::OK, "The cart with the lines of both.")
                .with_header("ETag", "The cart's version.")
                .fails(&EDIT_FAILURES)
                .fails(&[Code::TooLarge, Code::Unavailable])
        }),
    ]
}

fn edit_routes() -> Vec<Route> {
    vec![
        Route::new(Method::PUT, "/v1/carts/{id}/lines/{sku}", Access::Public, set_line).describe(|route| {
            route
                .called(TAG, "setLine", "Say how many units of a SKU the cart holds")
                .path::<CartId>(ID.0, ID.1)
                .path::<Sku>("sku", "What.")
                .header::<CartTag>(IF_MATCH.0, IF_MATCH.1)
                .body::<LineQuantity>()
                .answers::<Cart>(StatusCode::OK, "The cart after the edit.")
                .with_header("ETag", "The cart's version.")
                .fails(&EDIT_FAILURES)
                .fails(&[Code::Unavailable, Code::TooLarge])
        }),
        Route::new(Method::DELETE, "/v1/carts/{id}/lines/{sku}", Access::Public, remove_line).describe(|route| {
            route
                .called(TAG, "removeLine", "Take a SKU out of the cart")
                .path::<CartId>(ID.0, ID.1)
                .path::<Sku>("sku", "What.")
                .header::<CartTag>(IF_MATCH.0, IF_MATCH.1)
                .answers::<Cart>(StatusCode::OK, "The cart after the edit; also when the SKU was not in it.")
                .with_header("ETag", "The cart's version.")
                .fails(&EDIT_FAILURES)
        }),
        Route::new(Method::PUT, "/v1/carts/{id}/buyer", Access::Public, set_buyer).describe(|route| {
            route
                .called(TAG, "setBuyer", "Say who buys")
                .text("Sealed before it is stored; erased with the order's personal data.")
                .path::<CartId>(ID.0, ID.1)
                .header::<CartTag>(IF_MATCH.0, IF_MATCH.1)
                .body::<Buyer>()
                .answers::<Cart>(StatusCode::OK, "The cart after the edit.")
                .with_header("ETag", "The cart's version.")
                .fails(&EDIT_FAILURES)
        }),
    ]
}

async fn create(State(state): State<AppState>, call: Call, body: Json<NewCart>) -> Result<Response, Problem> {
    let identity = call.identity(&state, None, &body.bytes)?;
    let id = CartId(identity.stamp.command.0);
    let command = CartCommand::Create { currency: body.value.currency, fingerprint: identity.stamp.fingerprint };
    let answer = state.ask(EntityId::cart(id), AnyCommand::Cart(command), identity).await?;
    let mut response = cart_answer(&state, id, StatusCode::CREATED).await?;
    response.headers_mut().insert(header::LOCATION, wire::location(format_args!("/v1/carts/{id}")));
    Ok(wire::marked(response, answer.replayed))
}

async fn show(State(state): State<AppState>, Params(id): Params<CartId>) -> Result<Response, Problem> {
    cart_answer(&state, id, StatusCode::OK).await
}

async fn set_line(
    State(state): State<AppState>,
    call: Call,
    Params((id, sku)): Params<(CartId, Sku)>,
    headers: HeaderMap,
    body: Json<LineQuantity>,
) -> Result<Response, Problem> {
    let expected_version = call::if_match(&headers)?;
    let identity = call.identity(&state, Some(&EntityId::cart(id)), &body.bytes)?;
    let command = match body.value.quantity {
        0 => CartCommand::RemoveLine { sku, expected_version },
        units => {
            let quantity =
                Quantity::new(units).ok_or_else(|| Problem::invalid("quantity", "a whole number from 0 to 1000000"))?;
            let listing = listing_of(&state, &sku).await?;
            CartCommand::SetLine { sku, quantity, listing, expected_version }
        }
    };
    edit(&state, id, command, identity).await
}

async fn remove_line(
    State(state): State<AppState>,
    call: Call,
    Params((id, sku)): Params<(CartId, Sku)>,
    headers: HeaderMap,
    _body: NoBody,
) -> Result<Response, Problem> {
    let expected_version = call::if_match(&headers)?;
    let identity = call.identity(&state, Some(&EntityId::cart(id)), &[])?;
    edit(&state, id, CartCommand::RemoveLine { sku, expected_version }, identity).await
}

async fn set_buyer(
    State(state): State<AppState>,
    call: Call,
    Params(id): Params<CartId>,
    headers: HeaderMap,
    body: Json<Buyer>,
) -> Result<Response, Problem> {
    body.value.check()?;
    let expected_version = call::if_match(&headers)?;
    let identity = call.identity(&state, Some(&EntityId::cart(id)), &body.bytes)?;
    let (sealed, secret) = sealing::seal(state.rng(), &body.value);
    edit(&state, id, CartCommand::SetBuyer { sealed, secret, expected_version }, identity).await
}

async fn edit(state: &AppState, id: CartId, command: CartCommand, identity: Identity) -> Result<Response, Problem> {
    let answer = state.ask(EntityId::cart(id), AnyCommand::Cart(command), identity).await?;
    let shown = match cart_answer(state, id, StatusCode::OK).await {
        Err(problem) if problem.code() == Code::CartGone => as_edited(id, &answer)?,
        shown => shown.map_err(|problem| after_the_fact(&problem))?,
    };
    Ok(wire::marked(shown, answer.replayed))
}

/// Something was accepted and could not be shown: whatever the reason, it was not rejected. The same request again
/// hears the accepted answer.
fn after_the_fact(problem: &Problem) -> Problem {
    tracing::debug!(code = problem.code().as_str(), "an accepted edit could not be shown");
    AskError::Unknown { reason: "the cart could not be read after the edit" }.into()
}

/// What an accepted edit left of a cart that is gone since: the edit happened, so nobody is told that it did not. The
/// lines went where the cart went.
fn as_edited(id: CartId, answer: &Answer) -> Result<Response, Problem> {
    let AnyReply::Cart(CartReply::Edited { version, totals, expires_at, .. }) = answer.reply else {
        return Err(wire::unexpected(answer));
    };
    let cart = Cart {
        id,
        version,
        currency: totals.currency,
        lines: Vec::new(),
        totals: totals.into(),
        buyer: None,
        order_id: None,
        expires_at: Time(expires_at),
    };
    Ok(tagged(StatusCode::OK, &cart))
}

async fn merge(
    State(state): State<AppState>,
    call: Call,
    Params(id): Params<CartId>,
    headers: HeaderMap,
    body: Json<Merge>,
) -> Result<Response, Problem> {
    let from = body.value.from;
    let entity = EntityId::cart(id);
    let expected_version = call::if_match(&headers)?;
    let identity = call.identity(&state, Some(&entity), &body.bytes)?;
    let command = AnyCommand::Cart(CartCommand::Merge { from, expected_version });
    let mut answer = state.ask(entity.clone(), command.clone(), identity).await?;
    let mut cart = merged(&state, id, from).await.map_err(|problem| after_the_fact(&problem))?;
    // A refusal is not remembered: whoever asks again under the same key asks the other cart again.
    if answer.replayed && refusal(&cart, from).is_some() {
        answer = state.ask(entity, command, state.drawn_identity()).await?;
        cart = merged(&state, id, from).await.map_err(|problem| after_the_fact(&problem))?;
    }
    match refusal(&cart, from) {
        Some(rejection) => Err(rejection.into()),
        None => Ok(wire::marked(rendered(&state, &cart, StatusCode::OK).await?, answer.replayed)),
    }
}

/// The cart once the other one has answered.
async fn merged(state: &AppState, id: CartId, from: CartId) -> Result<CartView, Problem> {
    let mut follower = Follower::new(state, EntityId::cart(id));
    let answered = async {
        loop {
            let cart = read(state, id).await?;
            if cart.merging != Some(from) {
                return Ok(cart);
            }
            if !follower.changed_soon().await {
                return Err(Problem::new(Code::OutcomeUnknown, "the node stops; ask again"));
            }
        }
    };
    let waited = tokio::time::timeout(MERGE_WAIT, answered).await;
    waited.map_err(|_elapsed| Problem::new(Code::OutcomeUnknown, "the other cart has not answered yet; ask again"))?
}

/// Why the other cart did not give its lines away, when it was asked last.
fn refusal(cart: &CartView, from: CartId) -> Option<Rejection> {
    cart.last_merge.as_ref().filter(|merge| merge.from == from)?.refused.clone()
}

/// A cart as it is now.
pub async fn read(state: &AppState, id: CartId) -> Result<CartView, Problem> {
    let answer = state.read(EntityId::cart(id), AnyCommand::Cart(CartCommand::Show)).await?;
    match answer.reply {
        AnyReply::Cart(CartReply::Shown(view)) => Ok(*view),
        _ => Err(wire::unexpected(&answer)),
    }
}

/// What a SKU is offered at now; `None` when it is not for sale in that currency.
pub async fn offer_of(state: &AppState, sku: &Sku, currency: Currency) -> Result<Option<Offer>, Problem> {
    Ok(listing_of(state, sku).await?.and_then(|listing| listing.offer(currency)))
}

/// What a SKU's stock item says about it; `None` when nobody ever listed it.
async fn listing_of(state: &AppState, sku: &Sku) -> Result<Option<Arc<Listing>>, Problem> {
    match super::stock::read(state, sku).await {
        Ok((view, _)) => Ok(view.listing),
        Err(problem) if problem.code() == Code::NotFound => Ok(None),
        Err(problem) => Err(problem),
    }
}

async fn cart_answer(state: &AppState, id: CartId, status: StatusCode) -> Result<Response, Problem> {
    let view = read(state, id).await?;
    rendered(state, &view, status).await
}

async fn rendered(state: &AppState, view: &CartView, status: StatusCode) -> Result<Response, Problem> {
    Ok(tagged(status, &opened(state, view).await?))
}

fn tagged(status: StatusCode, cart: &Cart) -> Response {
    let mut response = wire::json(status, cart);
    let tag = HeaderValue::from_str(&format!("\"{}\"", cart.version)).expect("digits are visible");
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// The cart on the wire, its buyer opened.
pub async fn opened(state: &AppState, view: &CartView) -> Result<Cart, Problem> {
    let buyer = match &view.buyer {
        Some(sealed) => open_buyer(state, view.id, sealed).await?,
        None => None,
    };
    Ok(Cart::new(view, buyer))
}

/// Who buys; `None` once the key is erased. The key is kept on the cart's shard, also for the order that came of it.
pub async fn open_buyer(state: &AppState, cart: CartId, sealed: &Sealed) -> Result<Option<Buyer>, Problem> {
    let Some(secret) = state.vault().secret(&EntityId::cart(cart), sealed.key).await? else { return Ok(None) };
    let buyer = sealing::open(&secret, sealed).map_err(|error| {
        tracing::error!(%cart, %error, "personal data cannot be opened");
        Problem::new(Code::InternalError, "personal data cannot be opened")
    })?;
    Ok(Some(buyer))
}
