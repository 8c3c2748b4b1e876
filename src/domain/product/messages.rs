//! What a product can be asked, what can happen to it and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::entity::{Command, Nature, Versioned};
use crate::domain::ids::{ProductId, Sku};
use crate::domain::pricing::{JsonText, Prices};
use crate::domain::time::Timestamp;

/// Whether a product can be bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProductStatus {
    /// Being prepared; not for sale.
    Draft,
    /// For sale.
    Active,
    /// No longer for sale.
    Archived,
}

impl ProductStatus {
    /// The contract's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Archived => "archived",
        }
    }

    /// The status of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Draft, Self::Active, Self::Archived].into_iter().find(|status| status.name() == name)
    }
}

/// Everything a merchant says about a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductDocument {
    /// 1 to [`crate::domain::pricing::TITLE_BYTES_MAX`] bytes.
    pub title: String,
    /// At most [`super::DESCRIPTION_BYTES_MAX`] bytes.
    pub description: String,
    /// Paths such as `drinks/tea`, at most [`super::CATEGORIES_MAX`].
    pub categories: Vec<String>,
    /// An object, canonical text.
    pub attributes: JsonText,
    /// URLs, at most [`super::MEDIA_MAX`].
    pub media: Vec<String>,
    /// Whether it can be bought.
    pub status: ProductStatus,
    /// What is counted and sold, 1 to [`super::VARIANTS_MAX`], each SKU once.
    pub variants: Vec<Variant>,
}

/// One SKU of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Which.
    pub sku: Sku,
    /// What tells it from its siblings; may be empty.
    pub title: String,
    /// An object, canonical text.
    pub attributes: JsonText,
    /// Minor units per currency.
    pub prices: Prices,
}

/// What a product can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProductCommand {
    /// Create or replace it. The same document again changes nothing, unless a SKU was taken: then it is tried again.
    Put {
        /// All of it.
        document: Arc<ProductDocument>,
        /// The version the merchant saw; rejects with `ProductVersion` when it moved on.
        expected_version: Option<u64>,
    },
    /// Take it out of the catalogue; its SKUs become free.
    Delete {
        /// The version the merchant saw.
        expected_version: Option<u64>,
    },
    /// What became of a List or Unlist this product owes. Made by `settle`.
    ListingSettled {
        /// Which SKU.
        sku: Sku,
        /// Of which version of the product.
        version: u64,
        /// Who has it, when it is not this product.
        taken_by: Option<ProductId>,
    },
    /// All of it. Rejects with `NotFound` before it exists and after it was deleted.
    Show,
}

impl Command for ProductCommand {
    const VERSION: u16 = 1;

    fn nature(&self) -> Nature {
        match self {
            Self::Show => Nature::Read,
            Self::Put { .. } | Self::Delete { .. } => Nature::Remembered,
            Self::ListingSettled { .. } => Nature::ByState,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Delete { .. } => "delete",
            Self::ListingSettled { .. } => "listing_settled",
            Self::Show => "show",
        }
    }
}

/// What can happen to a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProductEvent {
    /// It says this now.
    Put {
        /// Its version, one above the last.
        version: u64,
        /// All of it.
        document: Arc<ProductDocument>,
    },
    /// It is gone from the catalogue.
    Deleted {
        /// Its version, one above the last.
        version: u64,
    },
    /// A stock item answered.
    ListingSettled {
        /// Which.
        sku: Sku,
        /// To which version.
        version: u64,
        /// Who has it, when it is not this product.
        taken_by: Option<ProductId>,
    },
}

impl Versioned for ProductEvent {
    const VERSION: u16 = 1;
}

/// What a product answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProductReply {
    /// To Put and Delete.
    Put {
        /// Its version now.
        version: u64,
        /// Whether it exists for the first time, or again after a deletion.
        created: bool,
        /// Whether anything changed.
        changed: bool,
    },
    /// To ListingSettled.
    Noted,
    /// To Show.
    Shown(Box<ProductView>),
}

impl Versioned for ProductReply {
    const VERSION: u16 = 1;
}

/// The whole product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductView {
    /// Which.
    pub id: ProductId,
    /// Counts changes, from 1; goes on through deletion.
    pub version: u64,
    /// What it says.
    pub document: Arc<ProductDocument>,
    /// SKUs whose stock item has not answered this version yet.
    pub pending: BTreeSet<Sku>,
    /// SKUs another product has.
    pub conflicts: BTreeMap<Sku, ProductId>,
    /// When it first existed, or existed again.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
