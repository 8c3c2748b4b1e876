//! What an order can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::entity::{Command, Fingerprint, Nature};
use crate::domain::ids::{CartId, HoldId, OrderId, ProductId, RefundId, Sku};
use crate::domain::payment::{PaymentOutcome, PaymentToken};
use crate::domain::pricing::Totals;
use crate::domain::privacy::Sealed;
use crate::domain::quantity::Quantity;
use crate::domain::rejection::Rejection;

/// Everything an order begins with. Owed by the cart whose version it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Which order.
    pub order: OrderId,
    /// From which cart.
    pub cart: CartId,
    /// From which version of it.
    pub cart_version: u64,
    /// What is bought, one line per SKU, in the cart's order, 1 to 1000 lines.
    pub lines: Vec<OrderLine>,
    /// What it costs.
    pub totals: Totals,
    /// Who buys, sealed under a key the cart's shard keeps.
    pub buyer: Option<Sealed>,
    /// Who charges.
    pub provider: String,
    /// With which one-time token.
    pub token: PaymentToken,
    /// Shoppers' holds to adopt instead of reserving.
    pub holds: BTreeMap<Sku, HoldId>,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// What.
    pub sku: Sku,
    /// Of which product.
    pub product: ProductId,
    /// What it was called when it was bought.
    pub title: Arc<str>,
    /// How many.
    pub quantity: Quantity,
    /// Price of one, minor units of the order's currency.
    pub unit_price: u64,
}

impl OrderLine {
    /// Price of the line, minor units.
    pub fn total(&self) -> u64 {
        self.unit_price * u64::from(self.quantity.get())
    }
}

/// Units of one SKU within an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// A step towards one stock item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StockStep {
    /// Set units aside, or adopt a shopper's hold (`pin`).
    Reserve,
    /// Sell the held units.
    Commit,
    /// Give them back unsold.
    Release,
    /// Take sold units back because the order was undone.
    Return,
    /// Take sold units back with a refund.
    Restock(RefundId),
    /// Nothing more will be asked about this hold.
    Forget,
}

/// Money back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefundRequest {
    /// Derived from the client's key, else drawn; names the refund everywhere.
    pub refund: RefundId,
    /// Content of the request.
    pub fingerprint: Fingerprint,
    /// Minor units; `None` means the price of `lines`, or everything left when those are empty too.
    pub amount: Option<u64>,
    /// Which units it is for; empty means no particular ones, or all left when `amount` is `None`.
    pub lines: Vec<Units>,
    /// Whether those units go back on the shelf.
    pub restock: bool,
}

/// What an order can be asked. What the order's state does not allow is rejected with `OrderState`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderCommand {
    /// Begin. A repeat from the same cart version gets the same answer.
    Place(Arc<Placement>),
    /// What became of a command owed to a stock item. Made by `settle`.
    StockSettled {
        /// Which SKU.
        sku: Sku,
        /// Which step.
        step: StockStep,
        /// Yes, or why not.
        outcome: Result<(), Rejection>,
    },
    /// What a provider said about the operation with this key: by answer, lookup or webhook, all the same (P18).
    PaymentReported {
        /// The operation's key, as it was sent to the provider.
        key: String,
        /// What it said.
        outcome: PaymentOutcome,
    },
    /// What a lookup found about an operation that was pending. Made by `settle`.
    PaymentLookedUp {
        /// The key asked about.
        key: String,
        /// Which poll.
        poll: u32,
        /// What is known.
        outcome: PaymentOutcome,
    },
    /// Ask the provider about what is pending. Sent by the order's own deadline.
    Poll,
    /// The shopper changed their mind. Allowed until fulfilment begins.
    Cancel {
        /// Why, at most [`super::REASON_BYTES_MAX`] bytes; empty when not said.
        reason: String,
    },
    /// Goods leave. The first fulfilment captures the whole amount.
    Fulfil {
        /// What leaves; empty means everything not yet sent.
        lines: Vec<Units>,
        /// The carrier's number.
        tracking: Option<String>,
    },
    /// Goods arrived.
    Deliver,
    /// Give captured money back.
    Refund(Box<RefundRequest>),
    /// Forget who bought. Allowed once nothing more is to be sent.
    Erase,
    /// The cart erased the key. Made by `settle`.
    BuyerErased,
    /// Everything about the order. Rejects with `NotFound` before it exists.
    Show,
}

impl Command for OrderCommand {
    const VERSION: u16 = 1;

    fn nature(&self) -> Nature {
        match self {
            Self::Show => Nature::Read,
            Self::Cancel { .. } | Self::Fulfil { .. } | Self::Deliver | Self::Erase => Nature::Remembered,
            _ => Nature::ByState,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Place(_) => "place",
            Self::StockSettled { .. } => "stock_settled",
            Self::PaymentReported { .. } => "payment_reported",
            Self::PaymentLookedUp { .. } => "payment_looked_up",
            Self::Poll => "poll",
            Self::Cancel { .. } => "cancel",
            Self::Fulfil { .. } => "fulfil",
            Self::Deliver => "deliver",
            Self::Refund(_) => "refund",
            Self::Erase => "erase",
            Self::BuyerErased => "buyer_erased",
            Self::Show => "show",
        }
    }
}
