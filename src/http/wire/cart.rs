//! Carts on the wire.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use super::buyer::Buyer;
use super::numbers::whole;
use super::schemas::minor_units;
use crate::domain::cart::CartView;
use crate::domain::ids::{CartId, OrderId, Sku};
use crate::domain::money::Currency;
use crate::domain::pricing;
use crate::domain::quantity::Quantity;

/// Begin a cart.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCart {
    /// All its prices are in this currency.
    pub currency: Currency,
}

/// How many units of a SKU a cart should hold.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LineQuantity {
    /// Units; 0 takes the line out.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub quantity: u32,
}

/// Take over another cart.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// The cart whose lines are taken; it is closed.
    pub from: CartId,
}

/// What a cart or an order comes to, in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Totals {
    /// Sum of the lines.
    #[schema(schema_with = minor_units)]
    pub subtotal: u64,
    /// Taken off.
    #[schema(schema_with = minor_units)]
    pub discount: u64,
    /// Added for delivery.
    #[schema(schema_with = minor_units)]
    pub shipping: u64,
    /// Added for the state.
    #[schema(schema_with = minor_units)]
    pub tax: u64,
    /// What is paid.
    #[schema(schema_with = minor_units)]
    pub total: u64,
    /// Of all of them.
    pub currency: Currency,
}

impl From<pricing::Totals> for Totals {
    fn from(totals: pricing::Totals) -> Self {
        let pricing::Totals { subtotal, discount, shipping, tax, total, currency } = totals;
        Self { subtotal, discount, shipping, tax, total, currency }
    }
}

/// One line of a cart or an order; amounts are minor units of its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Line {
    /// What.
    pub sku: Sku,
    /// What it is called.
    #[schema(value_type = String)]
    pub title: Arc<str>,
    /// How many.
    pub quantity: Quantity,
    /// Price of one.
    #[schema(schema_with = minor_units)]
    pub unit_price: u64,
    /// Price of all.
    #[schema(schema_with = minor_units)]
    pub total: u64,
}

impl Line {
    /// A line of `quantity` units at one price.
    pub fn new(sku: &Sku, title: &Arc<str>, quantity: Quantity, unit_price: u64) -> Self {
        let total = unit_price.saturating_mul(u64::from(quantity.get()));
        Self { sku: sku.clone(), title: title.clone(), quantity, unit_price, total }
    }
}

/// What a shopper wants to buy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Cart {
    /// Its id, and the only way to see it.
    pub id: CartId,
    /// Counts edits, from 1.
    #[schema(minimum = 1)]
    pub version: u64,
    /// Of all prices.
    pub currency: Currency,
    /// In the order they were put in.
    pub lines: Vec<Line>,
    /// What they come to.
    pub totals: Totals,
    /// Who buys, once said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer: Option<Buyer>,
    /// The order this version became.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// When it ends if nobody touches it.
    pub expires_at: Time,
}

impl Cart {
    /// A cart with its buyer opened.
    pub fn new(view: &CartView, buyer: Option<Buyer>) -> Self {
        let line = |line: &crate::domain::cart::CartLine| {
            Line::new(&line.sku, &line.offer.title, line.quantity, line.offer.unit_price.amount)
        };
        Self {
            id: view.id,
            version: view.version,
            currency: view.currency,
            lines: view.lines.iter().map(line).collect(),
            totals: view.totals.into(),
            buyer,
            order_id: view.order,
            expires_at: Time(view.expires_at),
        }
    }
}
