//! What a stock item can be asked, what can happen to it and what it answers.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::entity::{Command, Fingerprint, Nature, Versioned};
use crate::domain::ids::{HoldId, OrderId, ProductId, RefundId, Sku};
use crate::domain::pricing::Listing;
use crate::domain::quantity::Quantity;
use crate::domain::time::Timestamp;

/// For whom units are set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    /// A shopper; the hold ends by itself when its time is over.
    Shopper,
    /// An order; the hold is pinned: only a command ends it (P17).
    Order(OrderId),
}

/// Who asks to end a hold early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Releaser {
    /// The shopper who made it. Cannot touch an order's hold; an unknown hold is rejected.
    Shopper,
    /// The order that asked for it. An unknown hold is accepted and its id barred (P8).
    Order(OrderId),
    /// A merchant repairing things. Ends any hold; an unknown one is rejected.
    Merchant,
}

/// Why units come back; each key returns at most once per hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReturnKey {
    /// The order was undone before anything was shipped.
    Undone,
    /// Restocked with a refund.
    Refund(RefundId),
}

/// What a stock item can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StockCommand {
    /// The product says how the SKU is sold. Owed by the product. Rejects with `SkuTaken` when another product lists
    /// it; a version at or below the known one changes nothing.
    List(Arc<Listing>),
    /// The product no longer has this SKU. Owed by the product; accepted when it is not the owner.
    Unlist {
        /// Who gives it up.
        product: ProductId,
        /// The product's version that says so.
        version: u64,
    },
    /// Units arrived.
    Receive {
        /// How many.
        quantity: Quantity,
        /// Delivery note or the like, at most [`super::REASON_BYTES_MAX`] bytes.
        reference: String,
    },
    /// A count said otherwise. Rejects with `InsufficientStock` when more would be taken than is free.
    Adjust {
        /// Units to add (positive) or take (negative); not zero.
        delta: i64,
        /// Why.
        reason: String,
    },
    /// Set units aside. A shopper's hold needs a SKU that is known and not withdrawn.
    Reserve(Reserve),
    /// Make a shopper's hold an order's, with the quantity the order needs: more is taken, less is given back.
    /// Rejects with `HoldExpired` when the hold is gone.
    Pin {
        /// Which hold.
        hold: HoldId,
        /// For whom.
        order: OrderId,
        /// Units it has afterwards.
        quantity: Quantity,
    },
    /// Give the units back before they were sold. See [`Releaser`].
    Release {
        /// Which hold.
        hold: HoldId,
        /// Who asks.
        by: Releaser,
    },
    /// The held units are sold. Rejects with `HoldExpired` when the hold is gone.
    Commit {
        /// Which hold.
        hold: HoldId,
        /// Whose.
        order: OrderId,
    },
    /// Sold units come back. Idempotent by hold and key until forgotten.
    Return {
        /// Under which hold they were sold.
        hold: HoldId,
        /// By which order.
        order: OrderId,
        /// Why; names this return.
        key: ReturnKey,
        /// How many.
        quantity: Quantity,
    },
    /// The order has every outcome about this hold: what is remembered about its sale and returns may go an hour later.
    Forget {
        /// Which hold.
        hold: HoldId,
        /// Whose.
        order: OrderId,
        /// Returns whose outcome the order has heard. A hold with any other return is kept: that Return may come again.
        heard: Vec<ReturnKey>,
    },
    /// End what is due. Sent by the item's own deadline.
    Expire,
    /// Everything about the item but its holds. Rejects with `NotFound` when it was never received nor listed.
    Show,
    /// Live holds in id order.
    ShowHolds {
        /// Continue behind this one.
        after: Option<HoldId>,
        /// At most this many, clamped to [`super::HOLDS_PAGE_MAX`].
        limit: u32,
    },
}

/// Set units aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// The new hold: derived from the client's key, drawn, or named by the order.
    pub hold: HoldId,
    /// How many units.
    pub quantity: Quantity,
    /// How long a shopper's hold lives, up to [`super::HOLD_TTL_MAX`]; ignored for an order's.
    pub ttl: Duration,
    /// For whom.
    pub holder: Holder,
    /// Content of the request that made it; a repeat with another is `IdempotencyKeyReused`.
    pub fingerprint: Fingerprint,
}

impl Command for StockCommand {
    const VERSION: u16 = 1;

    fn nature(&self) -> Nature {
        match self {
            Self::Show | Self::ShowHolds { .. } => Nature::Read,
            Self::Receive { .. } | Self::Adjust { .. } => Nature::Remembered,
            _ => Nature::ByState,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Unlist { .. } => "unlist",
            Self::Receive { .. } => "receive",
            Self::Adjust { .. } => "adjust",
            Self::Reserve(_) => "reserve",
            Self::Pin { .. } => "pin",
            Self::Release { .. } => "release",
            Self::Commit { .. } => "commit",
            Self::Return { .. } => "return",
            Self::Forget { .. } => "forget",
            Self::Expire => "expire",
            Self::Show => "show",
            Self::ShowHolds { .. } => "show_holds",
        }
    }
}

/// What can happen to a stock item. Where units move, `available` is how many are free afterwards, so that a reader of
/// the journal needs no state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StockEvent {
    /// A product lists the SKU, or lists it anew.
    Listed(Arc<Listing>),
    /// Its product gave it up.
    Unlisted {
        /// Who.
        product: ProductId,
        /// In which version.
        version: u64,
    },
    /// Units arrived.
    Received {
        /// How many.
        quantity: Quantity,
        /// Delivery note or the like.
        reference: String,
        /// Free afterwards.
        available: u64,
    },
    /// Units were counted in or out.
    Adjusted {
        /// How many, signed.
        delta: i64,
        /// Why.
        reason: String,
        /// Free afterwards.
        available: u64,
    },
    /// Units were set aside.
    Reserved {
        /// Under which id.
        hold: HoldId,
        /// How many.
        quantity: Quantity,
        /// For whom.
        holder: Holder,
        /// When a shopper's hold ends; `None` for an order's.
        expires_at: Option<Timestamp>,
        /// Content of the request.
        fingerprint: Fingerprint,
        /// Free afterwards.
        available: u64,
    },
    /// A shopper's hold became an order's.
    Pinned {
        /// Which.
        hold: HoldId,
        /// Whose it is now.
        order: OrderId,
        /// Units it has now.
        quantity: Quantity,
        /// Free afterwards.
        available: u64,
    },
    /// A hold ended before its sale.
    Released {
        /// Which.
        hold: HoldId,
        /// Free afterwards.
        available: u64,
    },
    /// An unknown hold was released: this id can never hold anything.
    Barred {
        /// Which.
        hold: HoldId,
    },
    /// Held units were sold.
    Committed {
        /// Under which hold.
        hold: HoldId,
    },
    /// Sold units came back.
    Returned {
        /// Under which hold they were sold.
        hold: HoldId,
        /// By which order.
        order: OrderId,
        /// Why.
        key: ReturnKey,
        /// How many.
        quantity: Quantity,
        /// Free afterwards.
        available: u64,
    },
    /// An order needs no answer about this hold any more.
    Forgotten {
        /// Which.
        hold: HoldId,
    },
    /// The time of these holds was over.
    Expired {
        /// Which, at most [`super::EXPIRED_PER_RECORD_MAX`], earliest first.
        holds: Vec<HoldId>,
        /// Free afterwards.
        available: u64,
    },
}

impl StockEvent {
    /// Units free after this event; `None` when it moves none.
    pub fn available_after(&self) -> Option<u64> {
        match self {
            Self::Received { available, .. }
            | Self::Adjusted { available, .. }
            | Self::Reserved { available, .. }
            | Self::Pinned { available, .. }
            | Self::Released { available, .. }
            | Self::Returned { available, .. }
            | Self::Expired { available, .. } => Some(*available),
            _ => None,
        }
    }
}

impl Versioned for StockEvent {
    const VERSION: u16 = 1;
}

/// What a stock item answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StockReply {
    /// To List and Unlist: the item knows that version of the product, or a later one.
    Listed {
        /// The version it goes by now.
        version: u64,
    },
    /// To Receive and Adjust: the numbers afterwards.
    Counted(StockNumbers),
    /// To Reserve and Pin: the hold as it was made.
    Held {
        /// Which.
        hold: HoldId,
        /// How many units.
        quantity: Quantity,
        /// When it ends; `None` for an order's hold.
        expires_at: Option<Timestamp>,
    },
    /// To Release.
    Released {
        /// Which.
        hold: HoldId,
    },
    /// To Commit.
    Committed {
        /// Which.
        hold: HoldId,
    },
    /// To Return.
    Returned {
        /// Which.
        hold: HoldId,
        /// How many units.
        quantity: Quantity,
    },
    /// To Forget.
    Forgotten,
    /// To Expire.
    Expired {
        /// How many holds ended.
        holds: u32,
    },
    /// To Show.
    Shown(Box<StockView>),
    /// To ShowHolds.
    Holds {
        /// In id order.
        items: Vec<HoldView>,
        /// Ask again behind this one; `None` at the end.
        next: Option<HoldId>,
    },
}

impl Versioned for StockReply {
    const VERSION: u16 = 1;
}

/// The numbers of a stock item: received + adjusted + returned = available + held + sold (STK-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockNumbers {
    /// Free to be sold.
    pub available: u64,
    /// Set aside.
    pub held: u64,
    /// Ever sold; returns do not lower it.
    pub sold: u64,
    /// Ever received.
    pub received: u64,
    /// Net of all counts.
    pub adjusted: i64,
    /// Ever returned.
    pub returned: u64,
}

impl StockNumbers {
    /// Units physically there.
    pub fn on_hand(&self) -> u64 {
        self.available + self.held
    }
}

/// A stock item as merchants see it; shoppers get a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StockView {
    /// Which.
    pub sku: Sku,
    /// How it is sold; `None` when no product lists it.
    pub listing: Option<Arc<Listing>>,
    /// Its numbers.
    pub numbers: StockNumbers,
    /// Live holds.
    pub holds: u64,
}

/// A live hold as merchants see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoldView {
    /// Which.
    pub id: HoldId,
    /// How many units.
    pub quantity: Quantity,
    /// For whom.
    pub holder: Holder,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` for an order's.
    pub expires_at: Option<Timestamp>,
}
