//! Business noes: every way an entity can refuse, with the facts a caller needs to do better.
//!
//! A rejection is never journaled (P8): a retry decides afresh. Each maps to one code of the HTTP contract.

use serde::{Deserialize, Serialize};

use super::ids::{ApiKeyId, EntityId, HoldId, ProductId, Sku};

/// Why an entity said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// Nothing of that id exists.
    #[error("{entity} does not exist")]
    NotFound {
        /// What was looked for.
        entity: EntityId,
    },
    /// A hold of that id does not exist.
    #[error("hold {hold} of {sku} does not exist")]
    HoldNotFound {
        /// Where.
        sku: Sku,
        /// Which.
        hold: HoldId,
    },
    /// A value is outside what the rules allow.
    #[error("{field}: {reason}")]
    InvalidRequest {
        /// Which input, as a JSON path.
        field: String,
        /// What is allowed.
        reason: String,
    },
    /// Fewer units are left than asked for.
    #[error("{requested} of {sku} requested, {available} available")]
    InsufficientStock {
        /// Of what.
        sku: Sku,
        /// Units asked for.
        requested: u64,
        /// Units left.
        available: u64,
    },
    /// The hold has expired or was released.
    #[error("hold {hold} of {sku} has expired")]
    HoldExpired {
        /// Of what.
        sku: Sku,
        /// Which.
        hold: HoldId,
    },
    /// The cart has moved on.
    #[error("the cart is at version {actual}, not {expected}")]
    CartVersion {
        /// What the caller believed.
        expected: u64,
        /// What is.
        actual: u64,
    },
    /// The cart is being merged into or away.
    #[error("the cart is being merged")]
    CartMerging,
    /// Nothing to check out.
    #[error("the cart is empty")]
    CartEmpty,
    /// The cart has expired or was merged away.
    #[error("the cart is gone")]
    CartGone,
    /// Prices changed since the shopper saw them; the cart now shows the new ones.
    #[error("the price changed from {was} to {is} minor units")]
    PriceChanged {
        /// Total seen before, minor units.
        was: u64,
        /// Total now, minor units.
        is: u64,
    },
    /// Another product lists this SKU.
    #[error("{sku} belongs to product {product}")]
    SkuTaken {
        /// Which.
        sku: Sku,
        /// Who has it.
        product: ProductId,
    },
    /// The order is in a state that does not allow this.
    #[error("the order is {state}, which does not allow to {attempted} it")]
    OrderState {
        /// Where it is.
        state: String,
        /// What was tried.
        attempted: String,
    },
    /// The SKU is not for sale (not listed, no price in this currency, product not active).
    #[error("{sku} is not for sale")]
    Unavailable {
        /// Which.
        sku: Sku,
    },
    /// The same command id came with different content (P2).
    #[error("this Idempotency-Key was used for a different request")]
    IdempotencyKeyReused,
    /// A limit of this entity is reached; waiting may help.
    #[error("at most {limit} {what}")]
    QuotaExceeded {
        /// Of what.
        what: String,
        /// How many.
        limit: u64,
    },
    /// More than this entity can hold; waiting does not help.
    #[error("at most {limit} {what}")]
    TooLarge {
        /// Of what.
        what: String,
        /// How many.
        limit: u64,
    },
    /// The product has moved on.
    #[error("the product is at version {actual}, not {expected}")]
    ProductVersion {
        /// What the caller believed.
        expected: u64,
        /// What is.
        actual: u64,
    },
    /// No API key of that id was ever made.
    #[error("API key {key} does not exist")]
    ApiKeyNotFound {
        /// Which.
        key: ApiKeyId,
    },
}
