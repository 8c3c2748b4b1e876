//! What an order asks of a payment provider and what it can hear back. Data only; the gateways live in `payments/`.

use serde::{Deserialize, Serialize};

use super::ids::{OrderId, RefundId};
use super::money::Money;

/// One request to a provider. Every operation is idempotent by `key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRequest {
    /// Which provider, e.g. `simulated`.
    pub provider: String,
    /// The provider's idempotency key: names the operation, and the refund if it is one. A request sent again has the
    /// same.
    pub key: String,
    /// Whose payment.
    pub order: OrderId,
    /// What to do.
    pub operation: PaymentOperation,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PaymentOperation {
    /// Set the amount aside on the shopper's means of payment.
    Authorise {
        /// How much.
        amount: Money,
        /// The shopper's one-time payment token. Never logged.
        token: PaymentToken,
    },
    /// Take what was authorised under `authorisation`.
    Capture {
        /// The authorise request's key.
        authorisation: String,
        /// How much, at most what was authorised.
        amount: Money,
    },
    /// Give up an authorisation.
    Void {
        /// The authorise request's key.
        authorisation: String,
    },
    /// Give captured money back.
    Refund {
        /// The authorise request's key.
        authorisation: String,
        /// Which refund.
        refund: RefundId,
        /// How much.
        amount: Money,
    },
    /// What became of the request with this key (P18).
    Lookup {
        /// The key asked about.
        of: String,
    },
}

/// A shopper's payment token. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentToken(pub String);

impl std::fmt::Debug for PaymentToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PaymentToken(…)")
    }
}

/// What a provider said. Silence is not here: it is Unknown, resolved by lookup (P18).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PaymentOutcome {
    /// The money is set aside.
    Authorised,
    /// The provider says no.
    Declined {
        /// The provider's code, e.g. `card_declined`; safe to show.
        reason: String,
    },
    /// The money is ours.
    Captured,
    /// The authorisation is given up (or never was).
    Voided,
    /// The money went back.
    Refunded,
    /// Accepted; the result comes by webhook (or is found by lookup).
    Pending,
    /// Lookup only: the provider never saw that key and never will.
    NeverSeen,
}
