//! What a cart answers.

use serde::{Deserialize, Serialize};

use crate::domain::entity::Versioned;
use crate::domain::ids::{CartId, OrderId};
use crate::domain::money::Currency;
use crate::domain::pricing::Totals;
use crate::domain::privacy::Sealed;
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;

use super::event::CartLine;

/// What a cart answers. Edits answer with what changed, not with every line: what is journaled per edit does not grow
/// with the cart. Ask [`super::CartCommand::Show`] for the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CartReply {
    /// To Create.
    Created {
        /// 1.
        version: u64,
        /// As asked.
        currency: Currency,
        /// When it ends if nobody touches it.
        expires_at: Timestamp,
    },
    /// To SetLine, RemoveLine, SetBuyer.
    Edited {
        /// The version afterwards.
        version: u64,
        /// How many lines there are.
        lines: u32,
        /// What they come to.
        totals: Totals,
        /// When it ends if nobody touches it again.
        expires_at: Timestamp,
    },
    /// To Merge: the other cart's lines are on their way. To a repeat after they arrived: `merged` is true.
    Merging {
        /// Whose lines.
        from: CartId,
        /// Whether they are in.
        merged: bool,
        /// The version so far.
        version: u64,
    },
    /// To Surrender.
    Surrendered {
        /// Everything the cart held, in the order it was put in.
        lines: Vec<CartLine>,
    },
    /// To CheckOut: the order this version became.
    CheckedOut {
        /// Which.
        order: OrderId,
        /// Which version of the cart.
        version: u64,
        /// The total that will be charged.
        totals: Totals,
    },
    /// To CheckOut: the total changed, nothing was ordered, the cart shows the new prices. HTTP says 409
    /// `price_changed`.
    PriceChanged {
        /// Minor units before.
        was: u64,
        /// Minor units now.
        is: u64,
        /// The version that shows it.
        version: u64,
    },
    /// To Absorb, Placed, Expire, EraseBuyer: noted.
    Noted,
    /// To Show.
    Shown(Box<CartView>),
}

impl Versioned for CartReply {
    const VERSION: u16 = 1;
}

/// The whole cart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CartView {
    /// Which.
    pub id: CartId,
    /// Counts edits, from 1.
    pub version: u64,
    /// Of all prices.
    pub currency: Currency,
    /// In the order they were put in.
    pub lines: Vec<CartLine>,
    /// What they come to.
    pub totals: Totals,
    /// Who buys, sealed.
    pub buyer: Option<Sealed>,
    /// The order this version became. The cart has no lines then until the next edit.
    pub order: Option<OrderId>,
    /// When it ends if nobody touches it.
    pub expires_at: Timestamp,
    /// Whose lines are on their way here.
    pub merging: Option<CartId>,
    /// How the newest merge ended.
    pub last_merge: Option<MergeView>,
}

/// How a merge ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergeView {
    /// Whose lines were wanted.
    pub from: CartId,
    /// Why they did not come; `None` when they did.
    pub refused: Option<Rejection>,
}
