//! What a cart can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::entity::{Command, Fingerprint, Nature};
use crate::domain::ids::{CartId, DataKeyId, HoldId, OrderId, Sku};
use crate::domain::money::Currency;
use crate::domain::payment::PaymentToken;
use crate::domain::pricing::{Listing, Offer};
use crate::domain::privacy::{Sealed, Secret};
use crate::domain::quantity::Quantity;
use crate::domain::rejection::Rejection;

use super::event::CartLine;

/// What a cart can be asked. Every edit may name the version it expects (`If-Match`) and is rejected with `CartVersion`
/// when the cart has moved on, with `CartGone` when it expired or was merged away, with `CartMerging` while a merge
/// into it is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CartCommand {
    /// Begin. A repeat with the same content gets the same answer.
    Create {
        /// All prices in it are in this currency.
        currency: Currency,
        /// Content of the request that made it.
        fingerprint: Fingerprint,
    },
    /// Put a SKU in, or change how many. The cart takes title and price in its own currency from the listing, so
    /// that nobody has to ask it for the currency first. Rejects with `Unavailable` when it is not for sale in it,
    /// with `TooLarge` above the limits of lines and of money.
    SetLine {
        /// What.
        sku: Sku,
        /// How many from now on.
        quantity: Quantity,
        /// What the stock item just said; `None` when nobody lists the SKU, which is for the cart to refuse: a repeat
        /// of what it accepted hears the same answer whatever became of the SKU since.
        listing: Option<Arc<Listing>>,
        /// The version the shopper saw.
        expected_version: Option<u64>,
    },
    /// Take a SKU out; accepted when it is not in.
    RemoveLine {
        /// What.
        sku: Sku,
        /// The version the shopper saw.
        expected_version: Option<u64>,
    },
    /// Say who buys. An earlier buyer's key is erased.
    SetBuyer {
        /// The data.
        sealed: Sealed,
        /// Its key, kept in an erasable row.
        secret: Secret,
        /// The version the shopper saw.
        expected_version: Option<u64>,
    },
    /// Take over another cart's lines (P20). Answers `Merging`; watch `merging` and `last_merge` of the view.
    Merge {
        /// Whose lines.
        from: CartId,
        /// The version the shopper saw.
        expected_version: Option<u64>,
    },
    /// What became of the Surrender this cart owes. Made by `settle`.
    Absorb {
        /// Whom it was owed to.
        from: CartId,
        /// Which attempt.
        attempt: u32,
        /// Its lines, or why not.
        outcome: Result<Vec<CartLine>, Rejection>,
    },
    /// Hand all lines over and close. Owed by the merging cart; a repeat by the same cart gets the same lines.
    Surrender {
        /// To whom.
        to: CartId,
        /// The currency the other cart uses; another is rejected.
        currency: Currency,
        /// How many lines the other cart has room for; more are rejected with `TooLarge`.
        lines_max: u32,
    },
    /// Turn a version into an order (P4).
    CheckOut(Box<CheckOut>),
    /// The order took over what it was given. Made by `settle`.
    Placed {
        /// Which order.
        order: OrderId,
    },
    /// End an idle cart, or forget what an ended one kept. Sent by the cart's own deadline.
    Expire,
    /// Forget the key that sealed a buyer. Owed by an order; always accepted.
    EraseBuyer {
        /// Which key.
        key: DataKeyId,
    },
    /// The whole cart. Rejects with `NotFound` before it exists and `CartGone` afterwards.
    Show,
}

/// Turn a version of the cart into an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckOut {
    /// The id the order gets: derived from the client's key, else drawn. A repeat under the same key has the same id
    /// and gets the same answer even when the cart has moved on.
    pub order: OrderId,
    /// Content of the request.
    pub fingerprint: Fingerprint,
    /// The version that is bought: the client's `cart_version`, else the one just read. A version already turned into
    /// an order answers with that order; any other than the current one is rejected with `CartVersion`.
    pub version: u64,
    /// What the stock items just said about the lines of that version; a line without one is `Unavailable`.
    pub offers: BTreeMap<Sku, Offer>,
    /// Who charges, e.g. `simulated`.
    pub provider: String,
    /// The shopper's one-time token for it.
    pub token: PaymentToken,
    /// Holds the shopper already has, to be adopted; each SKU must be in the cart.
    pub holds: BTreeMap<Sku, HoldId>,
}

impl Command for CartCommand {
    const VERSION: u16 = 1;

    fn nature(&self) -> Nature {
        match self {
            Self::Show => Nature::Read,
            Self::SetLine { .. } | Self::RemoveLine { .. } | Self::SetBuyer { .. } | Self::Merge { .. } => {
                Nature::Remembered
            }
            _ => Nature::ByState,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::SetLine { .. } => "set_line",
            Self::RemoveLine { .. } => "remove_line",
            Self::SetBuyer { .. } => "set_buyer",
            Self::Merge { .. } => "merge",
            Self::Absorb { .. } => "absorb",
            Self::Surrender { .. } => "surrender",
            Self::CheckOut(_) => "check_out",
            Self::Placed { .. } => "placed",
            Self::Expire => "expire",
            Self::EraseBuyer { .. } => "erase_buyer",
            Self::Show => "show",
        }
    }
}
