//! What domain values look like in the OpenAPI document.

use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::{PageSize, Time};
use crate::domain::ids::{ApiKeyId, CartId, HoldId, OrderId, ProductId, RefundId, Sku};
use crate::domain::money::{Currency, MINOR_UNITS_MAX};
use crate::domain::quantity::Quantity;
use crate::http::describe::{pattern, whole_number};
use crate::projections::query::PageLimit;

/// An `If-Match` for a cart: its version in double quotes, or `*`.
pub struct CartTag;

macro_rules! schema {
    ($($name:ident => $schema:expr;)*) => {
        $(
            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    $schema
                }
            }

            impl ToSchema for $name {}
        )*
    };
}

const HEX_128: &str = "^[0-9a-f]{32}$";
const WORD: &str = "^[A-Za-z0-9._-]{1,64}$";

schema! {
    CartId => pattern(HEX_128, "00ff10203040506070809010a0b0c0d0");
    OrderId => pattern(HEX_128, "00ff10203040506070809010a0b0c0d0");
    HoldId => pattern(HEX_128, "00ff10203040506070809010a0b0c0d0");
    ApiKeyId => pattern(HEX_128, "00ff10203040506070809010a0b0c0d0");
    RefundId => pattern(HEX_128, "00ff10203040506070809010a0b0c0d0");
    Sku => pattern(WORD, "TEA-100");
    ProductId => pattern(WORD, "green-tea");
    Currency => pattern("^[A-Z]{3}$", "USD");
    CartTag => pattern("^(\"[0-9]{1,18}\"|[*])$", "\"7\"");
    Quantity => whole_number(1, u64::from(Quantity::MAX));
    PageSize => whole_number(1, u64::from(PageLimit::MAX));
    Time => ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples(["2026-11-22T16:36:46.123Z"])
        .into();
}

/// Bare minor units, in price maps and totals.
pub fn minor_units() -> RefOr<Schema> {
    whole_number(0, MINOR_UNITS_MAX)
}
