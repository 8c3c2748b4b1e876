//! What things cost and how they are offered: price maps, the listing a stock item carries, the offer a cart line takes
//! from it, and totals.
//!
//! The product owns prices; the stock item is told them by its product (P21) and is what carts read. An [`Offer`] names
//! the listing version it was read from, so that a cart can tell an old price from a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::ProductId;
use super::money::{Currency, MINOR_UNITS_MAX, Money};
use super::quantity::Quantity;

/// Prices of one variant: minor units per currency. At most [`Prices::ENTRIES_MAX`] currencies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prices(pub BTreeMap<Currency, u64>);

impl Prices {
    /// Currencies one variant can be priced in; more is a mistake, not a shop.
    pub const ENTRIES_MAX: usize = 64;

    /// The price in that currency, if it is sold in it.
    pub fn get(&self, currency: Currency) -> Option<Money> {
        self.0.get(&currency).map(|amount| Money { amount: *amount, currency })
    }

    /// Whether every amount and their number are within limits.
    pub fn is_valid(&self) -> bool {
        self.0.len() <= Self::ENTRIES_MAX && self.0.values().all(|amount| *amount <= UNIT_PRICE_MAX)
    }
}

/// Most minor units one unit may cost: ten billion in a two-digit currency. Times a cart's limits it stays exact in
/// JSON.
pub const UNIT_PRICE_MAX: u64 = 1_000_000_000_000;

/// Most minor units one cart line may come to, so that a full cart's total never exceeds [`MINOR_UNITS_MAX`].
pub const LINE_TOTAL_MAX: u64 = MINOR_UNITS_MAX / 1000;

/// What a product tells the stock item of one of its variants (P21).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The owner of the SKU.
    pub product: ProductId,
    /// What a cart line shows, at most [`TITLE_BYTES_MAX`] bytes.
    pub title: Arc<str>,
    /// Prices per currency.
    pub prices: Prices,
    /// The product's version that says so; a later one wins.
    pub version: u64,
    /// Whether the product is for sale.
    pub active: bool,
}

/// Longest title of a product, a variant or a cart line, in bytes.
pub const TITLE_BYTES_MAX: usize = 512;

impl Listing {
    /// What a cart would take from this listing now; `None` when it is not for sale in that currency.
    pub fn offer(&self, currency: Currency) -> Option<Offer> {
        let unit_price = self.prices.get(currency).filter(|_| self.active)?;
        Some(Offer {
            product: self.product.clone(),
            title: self.title.clone(),
            unit_price,
            listing_version: self.version,
        })
    }
}

/// Title and price of a SKU as a stock item listed it at some moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The product that sells it.
    pub product: ProductId,
    /// What the line shows.
    pub title: Arc<str>,
    /// Price of one unit.
    pub unit_price: Money,
    /// The listing version this was read from.
    pub listing_version: u64,
}

impl Offer {
    /// Price of `quantity` units; `None` above [`LINE_TOTAL_MAX`].
    pub fn line_total(&self, quantity: Quantity) -> Option<Money> {
        self.unit_price.checked_mul(quantity).filter(|total| total.amount <= LINE_TOTAL_MAX)
    }
}

/// What a cart or an order comes to. Discount, shipping and tax are 0 until they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Sum of the lines.
    pub subtotal: u64,
    /// Taken off.
    pub discount: u64,
    /// Added for delivery.
    pub shipping: u64,
    /// Added for the state.
    pub tax: u64,
    /// What is paid.
    pub total: u64,
    /// Of all of them.
    pub currency: Currency,
}

impl Totals {
    /// Totals of lines that sum up to `subtotal`.
    pub fn of(subtotal: Money) -> Self {
        Self {
            subtotal: subtotal.amount,
            discount: 0,
            shipping: 0,
            tax: 0,
            total: subtotal.amount,
            currency: subtotal.currency,
        }
    }

    /// What is paid.
    pub fn total(&self) -> Money {
        Money { amount: self.total, currency: self.currency }
    }
}

/// JSON as canonical text, written by the layer that knows JSON. The domain keeps it and never looks inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(pub Arc<str>);

impl JsonText {
    /// Longest text accepted, in bytes: generous for attributes, small enough for a message.
    pub const BYTES_MAX: usize = 16 << 10;

    /// `{}`.
    pub fn empty_object() -> Self {
        Self("{}".into())
    }
}
