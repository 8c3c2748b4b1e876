//! Orders on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use super::buyer::Buyer;
use super::cart::{Line, Totals};
use super::numbers::{whole, whole_or_null};
use super::objects::{object, objects_or_null};
use super::schemas::minor_units;
use crate::domain::ids::{CartId, HoldId, OrderId, RefundId, Sku};
use crate::domain::money::{Currency, Money};
use crate::domain::order::{self, Failure, OrderView, RefundStatus, Units};
use crate::domain::quantity::Quantity;
use crate::projections::query::OrderItem;

/// Turn a cart into an order.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// Which cart.
    pub cart_id: CartId,
    /// Which version of it; the newest unless said.
    #[serde(default, deserialize_with = "whole_or_null")]
    #[schema(minimum = 1)]
    pub cart_version: Option<u64>,
    /// Holds the shopper already has, to be bought.
    #[serde(default, deserialize_with = "objects_or_null")]
    #[schema(max_items = 1000)]
    pub holds: Option<Vec<HeldSku>>,
    /// How it is paid.
    #[serde(deserialize_with = "object")]
    pub payment: PaymentMeans,
}

/// A hold the shopper has.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeldSku {
    /// Of what.
    pub sku: Sku,
    /// Which.
    pub id: HoldId,
}

/// How an order is paid.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentMeans {
    /// Who charges.
    #[schema(min_length = 1, max_length = 64, example = "simulated")]
    pub provider: String,
    /// The provider's one-time token.
    #[schema(min_length = 1, max_length = 512, example = "tok_ok")]
    pub token: String,
}

impl std::fmt::Debug for PaymentMeans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PaymentMeans({}, …)", self.provider)
    }
}

/// Longest name of a provider, in bytes.
pub const PROVIDER_BYTES_MAX: usize = 64;
/// Longest payment token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 512;

/// Where an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Taken over from the cart.
    Placed,
    /// Setting units aside.
    Reserving,
    /// Setting the money aside.
    Authorizing,
    /// Sold.
    Confirmed,
    /// Everything was sent.
    Fulfilled,
    /// Everything arrived.
    Delivered,
    /// Undone at the shopper's wish.
    Cancelled,
    /// Could not be done.
    Failed,
    /// All money was given back.
    Refunded,
}

impl From<OrderState> for order::OrderState {
    fn from(state: OrderState) -> Self {
        match state {
            OrderState::Placed => Self::Placed,
            OrderState::Reserving => Self::Reserving,
            OrderState::Authorizing => Self::Authorizing,
            OrderState::Confirmed => Self::Confirmed,
            OrderState::Fulfilled => Self::Fulfilled,
            OrderState::Delivered => Self::Delivered,
            OrderState::Cancelled => Self::Cancelled,
            OrderState::Failed => Self::Failed,
            OrderState::Refunded => Self::Refunded,
        }
    }
}

impl From<order::OrderState> for OrderState {
    fn from(state: order::OrderState) -> Self {
        match state {
            order::OrderState::Placed => Self::Placed,
            order::OrderState::Reserving => Self::Reserving,
            order::OrderState::Authorizing => Self::Authorizing,
            order::OrderState::Confirmed => Self::Confirmed,
            order::OrderState::Fulfilled => Self::Fulfilled,
            order::OrderState::Delivered => Self::Delivered,
            order::OrderState::Cancelled => Self::Cancelled,
            order::OrderState::Failed => Self::Failed,
            order::OrderState::Refunded => Self::Refunded,
        }
    }
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct OrderFailure {
    /// `insufficient_stock`, `hold_expired`, `unavailable`, `payment_declined` or `payment_unresolved`.
    pub code: String,
    /// Which SKU was the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<Sku>,
    /// Units that were left of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// The provider's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&Failure> for OrderFailure {
    fn from(failure: &Failure) -> Self {
        let (sku, available, reason) = match failure {
            Failure::InsufficientStock { sku, available } => (Some(sku.clone()), Some(*available), None),
            Failure::HoldExpired { sku } | Failure::Unavailable { sku } => (Some(sku.clone()), None, None),
            Failure::PaymentDeclined { reason } => (None, None, Some(reason.clone())),
            Failure::PaymentUnresolved => (None, None, None),
        };
        Self { code: failure.code().to_owned(), sku, available, reason }
    }
}

/// Where an order's money is, in minor units of its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Payment {
    /// Who charges.
    pub provider: String,
    /// `none`, `pending`, `authorised`, `declined`, `voided`, `captured` or `refunded`.
    pub status: String,
    /// Taken.
    #[schema(schema_with = minor_units)]
    pub captured: u64,
    /// Given back.
    #[schema(schema_with = minor_units)]
    pub refunded: u64,
}

/// One state an order was in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct HistoryRow {
    /// Since when.
    pub at: Time,
    /// Which.
    pub state: OrderState,
    /// Why, when there is something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&order::HistoryRow> for HistoryRow {
    fn from(row: &order::HistoryRow) -> Self {
        Self { at: Time(row.at), state: row.state.into(), reason: row.reason.clone() }
    }
}

/// Units of one SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SkuUnits {
    /// What.
    pub sku: Sku,
    /// How many.
    #[serde(deserialize_with = "whole")]
    pub quantity: Quantity,
}

impl From<&Units> for SkuUnits {
    fn from(units: &Units) -> Self {
        Self { sku: units.sku.clone(), quantity: units.quantity }
    }
}

impl From<SkuUnits> for Units {
    fn from(units: SkuUnits) -> Self {
        Self { sku: units.sku, quantity: units.quantity }
    }
}

/// Goods that left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Shipment {
    /// When.
    pub at: Time,
    /// What.
    pub lines: Vec<SkuUnits>,
    /// The carrier's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
}

/// Money given back, or on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refund {
    /// Which.
    pub id: RefundId,
    /// When it was asked for.
    pub at: Time,
    /// Minor units.
    #[schema(schema_with = minor_units)]
    pub amount: u64,
    /// `pending`, `refunded` or `refused`.
    pub status: String,
    /// Units that go back on the shelf with it.
    pub restock: Vec<SkuUnits>,
}

impl From<&order::RefundView> for Refund {
    fn from(view: &order::RefundView) -> Self {
        let status = match view.status {
            RefundStatus::Pending => "pending",
            RefundStatus::Refunded => "refunded",
            RefundStatus::Refused => "refused",
        };
        let restock = view.restock.iter().map(SkuUnits::from).collect();
        Self { id: view.id, at: Time(view.at), amount: view.amount, status: status.to_owned(), restock }
    }
}

/// From checkout to delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Order {
    /// Its id, and the only way to see it.
    pub id: OrderId,
    /// For people.
    pub number: String,
    /// Where it is.
    pub state: OrderState,
    /// What is bought.
    pub lines: Vec<Line>,
    /// What it costs.
    pub totals: Totals,
    /// Who buys, unless never said or erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer: Option<Buyer>,
    /// Why it failed, or will once everything is undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<OrderFailure>,
    /// Where the money is.
    pub payment: Payment,
    /// What was sent.
    pub shipments: Vec<Shipment>,
    /// Money given back.
    pub refunds: Vec<Refund>,
    /// When the cart was turned into it.
    pub created_at: Time,
    /// Every state it was in, oldest first.
    pub history: Vec<HistoryRow>,
}

impl Order {
    /// An order with its buyer opened.
    pub fn new(view: &OrderView, buyer: Option<Buyer>) -> Self {
        let line = |line: &order::OrderLine| Line::new(&line.sku, &line.title, line.quantity, line.unit_price);
        let shipment = |shipment: &order::Shipment| Shipment {
            at: Time(shipment.at),
            lines: shipment.lines.iter().map(SkuUnits::from).collect(),
            tracking: shipment.tracking.clone(),
        };
        Self {
            id: view.id,
            number: view.number.clone(),
            state: view.state.into(),
            lines: view.placement.lines.iter().map(line).collect(),
            totals: (*view.totals()).into(),
            buyer,
            failure: view.failure.as_ref().map(OrderFailure::from),
            payment: Payment {
                provider: view.payment.provider.clone(),
                status: view.payment.status.name().to_owned(),
                captured: view.payment.captured,
                refunded: view.payment.refunded,
            },
            shipments: view.shipments.iter().map(shipment).collect(),
            refunds: view.refunds.iter().map(Refund::from).collect(),
            created_at: Time(view.created_at),
            history: view.history.iter().map(HistoryRow::from).collect(),
        }
    }
}

/// Why an order is cancelled.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancellation {
    /// For people.
    #[serde(default)]
    #[schema(max_length = 125)]
    pub reason: Option<String>,
}

/// Goods leave.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fulfilment {
    /// What leaves; everything not yet sent unless said.
    #[serde(default, deserialize_with = "objects_or_null")]
    #[schema(max_items = 1000)]
    pub lines: Option<Vec<SkuUnits>>,
    /// The carrier's number.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 125)]
    pub tracking: Option<String>,
}

/// Money back. Without `amount` and `lines`: everything left.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundOrder {
    /// Minor units; the price of `lines` unless said.
    #[serde(default, deserialize_with = "whole_or_null")]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    pub amount: Option<u64>,
    /// The units it is for.
    #[serde(default, deserialize_with = "objects_or_null")]
    #[schema(max_items = 1000)]
    pub lines: Option<Vec<SkuUnits>>,
    /// Whether those units go back on the shelf; no unless said.
    #[serde(default)]
    pub restock: Option<bool>,
}

/// An amount in minor units of one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Amount {
    /// Minor units.
    #[schema(schema_with = minor_units)]
    pub amount: u64,
    /// ISO 4217.
    pub currency: Currency,
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self { amount: money.amount, currency: money.currency }
    }
}

/// One order in a list; personal data stays in the order itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct OrderSummary {
    /// Which.
    pub id: OrderId,
    /// For people.
    pub number: String,
    /// Where it is.
    pub state: OrderState,
    /// What it costs.
    pub total: Amount,
    /// Units in it.
    #[schema(minimum = 1)]
    pub units: u64,
    /// When the cart was turned into it.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

impl From<OrderItem> for OrderSummary {
    fn from(item: OrderItem) -> Self {
        let OrderItem { id, number, state, total, units, created_at, updated_at } = item;
        Self {
            id,
            number,
            state: state.into(),
            total: total.into(),
            units,
            created_at: Time(created_at),
            updated_at: Time(updated_at),
        }
    }
}
