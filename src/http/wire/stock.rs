//! Stock and holds on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};

use super::Time;
use super::numbers::{whole, whole_or_null};
use crate::domain::ids::{HoldId, OrderId, Sku};
use crate::domain::quantity::Quantity;
use crate::domain::stock::{HoldView, Holder, StockNumbers, StockView};
use crate::domain::time::Timestamp;
use crate::projections::query::{ExpiringHoldItem, LowStockItem};

/// Shortest life of a hold that may be asked for, in seconds.
pub const HOLD_TTL_SECONDS_MIN: u64 = 1;
/// Longest life of a hold that may be asked for, in seconds: a day.
pub const HOLD_TTL_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Life of a hold when nothing is asked for, in seconds.
pub const HOLD_TTL_SECONDS_DEFAULT: u64 = 15 * 60;

/// What is left of a SKU.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stock<'a> {
    /// Which.
    pub sku: &'a Sku,
    /// Units that can be sold.
    #[schema(minimum = 0)]
    pub available: u64,
    /// When this was true.
    pub as_of: Time,
}

/// Set units aside.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// How many units.
    #[serde(deserialize_with = "whole")]
    pub quantity: Quantity,
    /// How long; 900 seconds unless said.
    #[serde(default, deserialize_with = "whole_or_null")]
    #[schema(minimum = 1, maximum = 86400)]
    pub ttl_seconds: Option<u64>,
}

/// Units set aside.
#[derive(Debug, Serialize, ToSchema)]
pub struct Hold<'a> {
    /// Its id, and the only way to give it back or buy it.
    pub id: HoldId,
    /// Of what.
    pub sku: &'a Sku,
    /// How many units.
    pub quantity: Quantity,
    /// When it ends by itself. A replayed answer may show a moment in the past.
    pub expires_at: Time,
}

/// Units arrived.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// How many.
    #[serde(deserialize_with = "whole")]
    pub quantity: Quantity,
    /// Delivery note or the like.
    #[schema(min_length = 1, max_length = 125)]
    pub reference: String,
}

/// A count said otherwise.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// Units to add, or to take when negative; not zero.
    #[serde(deserialize_with = "whole")]
    #[schema(schema_with = units_but_not_zero)]
    pub delta: i64,
    /// Why.
    #[schema(min_length = 1, max_length = 125)]
    pub reason: String,
}

/// Units to add, or to take; zero would say nothing.
fn units_but_not_zero() -> RefOr<Schema> {
    let most = i64::from(Quantity::MAX);
    let between = |least: i64, most: i64| {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least)).maximum(Some(most))
    };
    OneOfBuilder::new().item(between(1, most)).item(between(-most, -1)).into()
}

/// A SKU as merchants see it: received + adjusted + returned = available + held + sold.
#[derive(Debug, Serialize, ToSchema)]
pub struct StockAccount<'a> {
    /// Which.
    pub sku: &'a Sku,
    /// Units that can be sold.
    #[schema(minimum = 0)]
    pub available: u64,
    /// Units set aside.
    #[schema(minimum = 0)]
    pub held: u64,
    /// Units ever sold.
    #[schema(minimum = 0)]
    pub sold: u64,
    /// Units ever received.
    #[schema(minimum = 0)]
    pub received: u64,
    /// Net of all counts.
    pub adjusted: i64,
    /// Units ever returned.
    #[schema(minimum = 0)]
    pub returned: u64,
    /// Units physically there: available + held.
    #[schema(minimum = 0)]
    pub on_hand: u64,
}

impl<'a> StockAccount<'a> {
    /// The numbers of a SKU.
    pub fn new(sku: &'a Sku, numbers: &StockNumbers) -> Self {
        Self {
            sku,
            available: numbers.available,
            held: numbers.held,
            sold: numbers.sold,
            received: numbers.received,
            adjusted: numbers.adjusted,
            returned: numbers.returned,
            on_hand: numbers.on_hand(),
        }
    }
}

impl<'a> Stock<'a> {
    /// The shopper's part of a stock item.
    pub fn new(view: &'a StockView, at: Timestamp) -> Self {
        Self { sku: &view.sku, available: view.numbers.available, as_of: Time(at) }
    }
}

/// A live hold as merchants see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeldUnits {
    /// Which.
    pub id: HoldId,
    /// How many units.
    pub quantity: Quantity,
    /// The order it is for; null for a shopper's.
    pub order_id: Option<OrderId>,
    /// Since when.
    pub since: Time,
    /// Until when; null for an order's, which only the order ends.
    pub expires_at: Option<Time>,
}

impl From<&HoldView> for HeldUnits {
    fn from(view: &HoldView) -> Self {
        let order_id = match view.holder {
            Holder::Shopper => None,
            Holder::Order(order) => Some(order),
        };
        let HoldView { id, quantity, since, expires_at, .. } = view;
        Self { id: *id, quantity: *quantity, order_id, since: Time(*since), expires_at: expires_at.map(Time) }
    }
}

/// A shopper's hold whose time is nearly over.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExpiringHold {
    /// Which.
    pub id: HoldId,
    /// Of what.
    pub sku: Sku,
    /// How many units.
    #[schema(minimum = 1)]
    pub quantity: u64,
    /// When it ends.
    pub expires_at: Time,
}

impl From<ExpiringHoldItem> for ExpiringHold {
    fn from(item: ExpiringHoldItem) -> Self {
        let ExpiringHoldItem { sku, hold, quantity, expires_at } = item;
        Self { id: hold, sku, quantity, expires_at: Time(expires_at) }
    }
}

/// A SKU with few units left.
#[derive(Debug, Serialize, ToSchema)]
pub struct LowStock {
    /// Which.
    pub sku: Sku,
    /// The product that lists it, if any.
    pub product_id: Option<crate::domain::ids::ProductId>,
    /// Its title; empty when not listed.
    pub title: String,
    /// Units that can be sold.
    #[schema(minimum = 0)]
    pub available: u64,
    /// Units set aside.
    #[schema(minimum = 0)]
    pub held: u64,
}

impl From<LowStockItem> for LowStock {
    fn from(item: LowStockItem) -> Self {
        let LowStockItem { sku, product, title, available, held } = item;
        Self { sku, product_id: product, title, available, held }
    }
}
