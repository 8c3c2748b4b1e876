//! What can happen to a cart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::entity::{Fingerprint, Versioned};
use crate::domain::ids::{CartId, DataKeyId, HoldId, OrderId, Sku};
use crate::domain::money::Currency;
use crate::domain::payment::PaymentToken;
use crate::domain::pricing::Offer;
use crate::domain::privacy::Sealed;
use crate::domain::quantity::Quantity;
use crate::domain::rejection::Rejection;

/// One line: what, how many, at which price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// Title and price.
    pub offer: Offer,
}

/// What can happen to a cart. An edit carries only the line it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CartEvent {
    /// It exists, at version 1.
    Created {
        /// In which currency.
        currency: Currency,
        /// Content of the request that made it.
        fingerprint: Fingerprint,
    },
    /// A line is there with this quantity and price. One version further.
    LineSet(CartLine),
    /// A line is gone. One version further.
    LineRemoved {
        /// Which.
        sku: Sku,
    },
    /// Who buys. One version further.
    BuyerSet {
        /// Sealed.
        sealed: Sealed,
    },
    /// Another cart's lines are wanted.
    MergeStarted {
        /// Whose.
        from: CartId,
        /// How often that was tried.
        attempt: u32,
    },
    /// They are here; each line as it is afterwards. One version further.
    LinesMerged {
        /// Whose they were.
        from: CartId,
        /// The lines that changed, with their new quantity.
        lines: Vec<CartLine>,
    },
    /// The other cart does not give them.
    MergeRefused {
        /// Which cart.
        from: CartId,
        /// Why.
        reason: Rejection,
    },
    /// All lines were handed to another cart; this one is closed for good and keeps them only to say so again.
    Surrendered {
        /// To whom.
        to: CartId,
    },
    /// A checkout found another total; the lines carry the new prices. One version further.
    Repriced {
        /// The order that was not made; a repeat under the same key gets the same answer.
        order: OrderId,
        /// Content of the request.
        fingerprint: Fingerprint,
        /// The lines whose offer changed.
        offers: Vec<(Sku, Offer)>,
        /// The total before, minor units.
        was: u64,
        /// The total now, minor units.
        is: u64,
    },
    /// The current version became an order: its lines and its buyer leave with it. The version stays.
    CheckedOut {
        /// Which order.
        order: OrderId,
        /// Content of the request.
        fingerprint: Fingerprint,
        /// Which version.
        version: u64,
        /// Lines whose title or listing version changed while the total did not.
        offers: Vec<(Sku, Offer)>,
        /// Who charges.
        provider: String,
        /// With which token. Journaled because the order owes it until the provider has answered; useless afterwards.
        token: PaymentToken,
        /// Shoppers' holds to adopt.
        holds: BTreeMap<Sku, HoldId>,
    },
    /// The order took over.
    PlaceSettled {
        /// Which.
        order: OrderId,
    },
    /// The cart was idle too long; lines and buyer are gone.
    Expired,
    /// What an ended cart still knew is gone: from here on it answers `CartGone` to everything.
    Purged,
    /// The key of a buyer's data was erased.
    BuyerErased {
        /// Which key.
        key: DataKeyId,
    },
    /// A checkout under another key was answered with the order that version had become.
    AlreadyOrdered {
        /// The order it proposed; a repeat under the same key gets the same answer.
        asked: OrderId,
        /// Content of the request.
        fingerprint: Fingerprint,
        /// Which version.
        version: u64,
    },
}

impl Versioned for CartEvent {
    const VERSION: u16 = 1;
}
