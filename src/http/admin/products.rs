//! Keeping products. A product owns its SKUs (P21): it tells their stock items how they are sold, and the answer waits
//! for theirs, so that a SKU another product has is refused here and not found out later.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;

use crate::domain::ids::{EntityId, ProductId};
use crate::domain::product::{ProductCommand, ProductDocument, ProductReply, ProductView};
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::rejection::Rejection;
use crate::http::AppState;
use crate::http::call::{Call, Json, NoBody, Params};
use crate::http::error::{Code, Problem};
use crate::http::follow::Follower;
use crate::http::route::{Access, Route};
use crate::http::v1::{self, products::read, products::with_stock};
use crate::http::wire;
use crate::http::wire::product::{Product, ProductInput};

const TAG: &str = "Merchants: catalogue";
const ID: (&str, &str) = ("id", "The product.");

/// How long the answer to a PUT waits for the stock items.
const LISTING_WAIT: Duration = Duration::from_secs(5);

/// The table.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::PUT, "/v1/admin/products/{id}", Access::Merchant, put).describe(|route| {
            route
                .called(TAG, "putProduct", "Create or replace a product")
                .path::<ProductId>(ID.0, ID.1)
                .body::<ProductInput>()
                .answers::<Product>(StatusCode::CREATED, "The product is new.")
                .with_header("Location", "The product.")
                .answers::<Product>(StatusCode::OK, "The product is replaced, or was just like this.")
                .fails(&[Code::SkuTaken, Code::TooLarge])
        }),
        Route::new(Method::GET, "/v1/admin/products/{id}", Access::Merchant, show).describe(|route| {
            route
                .called(TAG, "getAdminProduct", "See a product, drafts included")
                .path::<ProductId>(ID.0, ID.1)
                .answers::<Product>(StatusCode::OK, "The product.")
                .fails(&[Code::NotFound])
        }),
        Route::new(Method::DELETE, "/v1/admin/products/{id}", Access::Merchant, delete).describe(|route| {
            route
                .called(TAG, "deleteProduct", "Take a product out of the catalogue")
                .text("Its SKUs are free for other products; their stock stays.")
                .path::<ProductId>(ID.0, ID.1)
                .answers_nothing(StatusCode::NO_CONTENT, "It is gone.")
                .fails(&[Code::NotFound])
        }),
    ]
}

async fn put(
    State(state): State<AppState>,
    call: Call,
    Params(id): Params<ProductId>,
    body: Json<ProductInput>,
) -> Result<Response, Problem> {
    let document = Arc::new(body.value.document()?);
    refuse_taken(&state, &id, &document).await?;
    let entity = EntityId::product(&id);
    let identity = call.identity(&state, Some(&entity), &body.bytes)?;
    let mut follower = Follower::new(&state, entity.clone());
    let command = AnyCommand::Product(ProductCommand::Put { document, expected_version: None });
    let answer = state.ask(entity, command, identity).await?;
    let AnyReply::Product(ProductReply::Put { created, .. }) = answer.reply else {
        return Err(wire::unexpected(&answer));
    };
    let view = listed(&state, &id, &mut follower).await?;
    if let Some((sku, product)) = view.conflicts.into_iter().next() {
        return Err(Rejection::SkuTaken { sku, product }.into());
    }
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = wire::json(status, &with_stock(&state, &read(&state, &id).await?).await?);
    if created {
        response.headers_mut().insert(header::LOCATION, wire::location(format_args!("/v1/products/{id}")));
    }
    Ok(wire::marked(response, answer.replayed))
}

/// Rejects before anything is stored when another product has one of the SKUs.
async fn refuse_taken(state: &AppState, id: &ProductId, document: &ProductDocument) -> Result<(), Problem> {
    let skus = document.variants.iter().map(|variant| variant.sku.clone()).collect();
    for (sku, stock) in v1::stock::read_many(state, skus).await? {
        match stock.listing {
            Some(listing) if listing.product != *id => {
                return Err(Rejection::SkuTaken { sku, product: listing.product.clone() }.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The product once every stock item has answered, or as it is when they take too long: they will.
async fn listed(state: &AppState, id: &ProductId, follower: &mut Follower) -> Result<ProductView, Problem> {
    let deadline = state.now_monotonic() + LISTING_WAIT;
    loop {
        let view = read(state, id).await?;
        if view.pending.is_empty() || state.now_monotonic() >= deadline || !follower.changed_soon().await {
            return Ok(view);
        }
    }
}

async fn show(State(state): State<AppState>, Params(id): Params<ProductId>) -> Result<Response, Problem> {
    let product = with_stock(&state, &read(&state, &id).await?).await?;
    Ok(wire::json(StatusCode::OK, &product))
}

async fn delete(
    State(state): State<AppState>,
    call: Call,
    Params(id): Params<ProductId>,
    _body: NoBody,
) -> Result<Response, Problem> {
    let entity = EntityId::product(&id);
    let identity = call.identity(&state, Some(&entity), &[])?;
    let command = AnyCommand::Product(ProductCommand::Delete { expected_version: None });
    let answer = state.ask(entity, command, identity).await?;
    Ok(wire::marked(wire::nothing(), answer.replayed))
}
