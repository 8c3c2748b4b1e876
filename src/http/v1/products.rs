//! The catalogue: one product as it is, and the lists and facets of search.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::stock;
use crate::domain::ids::{EntityId, ProductId};
use crate::domain::money::Currency;
use crate::domain::product::{ProductCommand, ProductReply, ProductView};
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::http::AppState;
use crate::http::call::Params;
use crate::http::error::{Code, Problem};
use crate::http::route::{Access, Route};
use crate::http::wire::product::{Product, Products};
use crate::http::wire::{self, PageSize};
use crate::projections::query::{PageLimit, ProductQuery, ProductSort};

const TAG: &str = "Catalogue";
/// Long enough to spare a burst of the same page view, shorter than anybody notices.
const CACHE: &str = "public, max-age=1";
/// What attribute filters begin with.
const ATTRIBUTE_PREFIX: &str = "attr.";

/// The table.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v1/products", Access::Public, search).describe(|route| {
            route
                .called(TAG, "searchProducts", "Find products")
                .text(
                    "Filters of different names must all hold; a name given several times means any of its values. \
                     `attr.NAME=VALUE` filters by an attribute, e.g. `attr.origin=Japan`.",
                )
                .query::<String>("q", "Words that must all occur; the last may be the beginning of one.")
                .query::<String>("category", "A category, with everything below it.")
                .query::<bool>("in_stock", "Only products with, or without, units that can be sold.")
                .query::<Currency>("currency", "Which prices are meant; only products sold in it match.")
                .input(ParameterIn::Query, "price_min", "Lowest price, minor units; needs `currency`.", price())
                .input(ParameterIn::Query, "price_max", "Highest price, minor units; needs `currency`.", price())
                .input(ParameterIn::Query, "sort", "The order; `relevance` unless said.", sort())
                .query::<PageSize>("limit", "At most this many; 24 unless said.")
                .query::<String>("cursor", "`next_cursor` of the page before, with the same filters.")
                .header::<String>("If-None-Match", "The `ETag` already known.")
                .answers::<Products>(StatusCode::OK, "A page of products.")
                .with_header("ETag", "Changes with the answer.")
                .with_header("Cache-Control", "How long caches may keep it.")
                .answers_nothing(StatusCode::NOT_MODIFIED, "The answer already known is still right.")
        }),
        Route::new(Method::GET, "/v1/products/{id}", Access::Public, show).describe(|route| {
            route
                .called(TAG, "getProduct", "See a product")
                .path::<ProductId>("id", "The product.")
                .header::<String>("If-None-Match", "The `ETag` already known.")
                .answers::<Product>(StatusCode::OK, "The product and what is left of it.")
                .with_header("ETag", "Changes with the answer.")
                .with_header("Cache-Control", "How long caches may keep it.")
                .answers_nothing(StatusCode::NOT_MODIFIED, "The answer already known is still right.")
                .fails(&[Code::NotFound])
        }),
    ]
}

fn price() -> Schema {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).build().into()
}

fn sort() -> Schema {
    let names = ProductSort::ALL.map(|(name, _)| name);
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build().into()
}

async fn search(State(state): State<AppState>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let query = query_of(uri.query().unwrap_or_default())?;
    let page = state.queries().products(&query).await?;
    Ok(wire::cached_json(&Products::from(page), headers.get(header::IF_NONE_MATCH), CACHE))
}

async fn show(
    State(state): State<AppState>,
    Params(id): Params<ProductId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut view = read(&state, &id).await?;
    // What another product sells is not this one's to offer; search leaves it out as well.
    if !view.conflicts.is_empty() {
        let conflicts = std::mem::take(&mut view.conflicts);
        Arc::make_mut(&mut view.document).variants.retain(|variant| !conflicts.contains_key(&variant.sku));
    }
    let product = with_stock(&state, &view).await?;
    Ok(wire::cached_json(&product, headers.get(header::IF_NONE_MATCH), CACHE))
}

/// A product as it is now.
pub async fn read(state: &AppState, id: &ProductId) -> Result<ProductView, Problem> {
    let answer = state.read(EntityId::product(id), AnyCommand::Product(ProductCommand::Show)).await?;
    match answer.reply {
        AnyReply::Product(ProductReply::Shown(view)) => Ok(*view),
        _ => Err(wire::unexpected(&answer)),
    }
}

/// A product on the wire, with what its stock items say is left. A SKU that was never received has nothing left.
pub async fn with_stock(state: &AppState, view: &ProductView) -> Result<Product, Problem> {
    let skus = view.document.variants.iter().map(|variant| variant.sku.clone()).collect();
    let stock = stock::read_many(state, skus).await?;
    Ok(Product::new(view, |sku| stock.get(sku).map_or(0, |stock| stock.numbers.available)))
}

/// Reads a query string. Rejects names it does not know and repeated names that can have one value only.
fn query_of(text: &str) -> Result<ProductQuery, Problem> {
    let mut query = ProductQuery::default();
    let mut once = BTreeSet::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let (name, value) = (name.into_owned(), value.into_owned());
        if name == "category" {
            query.categories.insert(value);
        } else if let Some(attribute) = name.strip_prefix(ATTRIBUTE_PREFIX) {
            query.attributes.entry(attribute.to_owned()).or_default().insert(value);
        } else if once.insert(name.clone()) {
            set(&mut query, &name, value)?;
        } else {
            return Err(Problem::invalid(name, "given more than once"));
        }
    }
    query.check()?;
    Ok(query)
}

fn set(query: &mut ProductQuery, name: &str, value: String) -> Result<(), Problem> {
    let minor_units =
        |text: &str| text.parse().map(Some).map_err(|_| Problem::invalid(name, "a whole number of minor units"));
    match name {
        "q" => query.text = Some(value).filter(|text| !text.trim().is_empty()),
        "in_stock" => match value.as_str() {
            "true" => query.in_stock = Some(true),
            "false" => query.in_stock = Some(false),
            _ => return Err(Problem::invalid(name, "true or false")),
        },
        "currency" => query.currency = Some(value.parse().map_err(|error| Problem::invalid(name, error))?),
        "price_min" => query.price_min = minor_units(&value)?,
        "price_max" => query.price_max = minor_units(&value)?,
        "sort" => query.sort = value.parse()?,
        "limit" => {
            let limit = value.parse().ok().and_then(PageLimit::new);
            query.page.limit = limit.ok_or_else(|| Problem::invalid(name, "a whole number from 1 to 200"))?;
        }
        "cursor" => query.page.cursor = Some(value),
        _ => return Err(Problem::invalid(name, "no such query parameter")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_string_is_read_whole() {
        let query = query_of(
            "q=green+tea&category=tea&category=cups&attr.origin=Japan&attr.origin=China&in_stock=true&currency=USD\
             &price_min=100&price_max=2000&sort=-price&limit=10&cursor=abc",
        )
        .unwrap();
        assert_eq!(query.text.as_deref(), Some("green tea"));
        assert_eq!(query.categories.len(), 2);
        assert_eq!(query.attributes["origin"].len(), 2);
        assert_eq!((query.in_stock, query.currency), (Some(true), Some(Currency::USD)));
        assert_eq!((query.price_min, query.price_max), (Some(100), Some(2000)));
        assert_eq!(query.sort, ProductSort::PriceDescending);
        assert_eq!((query.page.limit.get(), query.page.cursor.as_deref()), (10, Some("abc")));
    }

    #[test]
    fn what_is_wrong_with_a_query_string_is_named() {
        let refused = |text| query_of(text).unwrap_err().document("r")["field"].as_str().unwrap().to_owned();
        assert_eq!(refused("colour=red"), "colour");
        assert_eq!(refused("q=a&q=b"), "q");
        assert_eq!(refused("limit=0"), "limit");
        assert_eq!(refused("limit=201"), "limit");
        assert_eq!(refused("in_stock=maybe"), "in_stock");
        assert_eq!(refused("price_min=-1&currency=USD"), "price_min");
        assert_eq!(refused("price_min=1"), "price_min");
        assert_eq!(refused("sort=cheap"), "sort");
        assert_eq!(refused("currency=usd"), "currency");
    }
}
