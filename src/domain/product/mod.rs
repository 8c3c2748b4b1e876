//! Product: what the catalogue says about something, and the owner of the SKUs it is sold under.
//!
//! A merchant replaces the whole document; every change is a version. Each version owes its stock items a List, and
//! the ones it no longer has an Unlist (P21): carts and orders read titles and prices there, never here. A SKU that
//! another product has is a conflict, shown until a later document gives the SKU up or gets it.

mod document;
mod messages;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use messages::{ProductCommand, ProductDocument, ProductEvent, ProductReply, ProductStatus, ProductView, Variant};

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entity::{Decision, Destination, Entity, Obligation, Outgoing, Settlement};
use super::ids::{EntityId, ProductId, Sku};
use super::registry::AnyCommand;
use super::rejection::Rejection;
use super::stock::StockCommand;
use super::time::Timestamp;

/// Longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 20_000;
/// Most categories of one product.
pub const CATEGORIES_MAX: usize = 50;
/// Most media URLs of one product.
pub const MEDIA_MAX: usize = 100;
/// Most variants of one product.
pub const VARIANTS_MAX: usize = 100;

const LIST: &str = "list";
const UNLIST: &str = "unlist";

type Decided = Result<Decision<ProductEvent, ProductReply>, Rejection>;

/// State.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Product {
    entity: EntityId,
    /// Last change; 0 before the first.
    version: u64,
    /// `None` before it exists and after deletion.
    document: Option<Arc<ProductDocument>>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// What stock items are still owed.
    owed: BTreeMap<Sku, Owed>,
    /// SKUs another product has.
    conflicts: BTreeMap<Sku, ProductId>,
}

/// Something a stock item has yet to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owed {
    /// The version of the product that owes it.
    version: u64,
    /// Whether the SKU is claimed or given up.
    listed: bool,
}

impl Entity for Product {
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Reply = ProductReply;
    const STATE_VERSION: u16 = 1;

    fn new(id: &EntityId) -> Self {
        Self {
            entity: id.clone(),
            version: 0,
            document: None,
            created_at: Timestamp::ZERO,
            updated_at: Timestamp::ZERO,
            owed: BTreeMap::new(),
            conflicts: BTreeMap::new(),
        }
    }

    fn decide(&self, command: &ProductCommand, _at: Timestamp) -> Decided {
        match command {
            ProductCommand::Put { document, expected_version } => self.put(document, *expected_version),
            ProductCommand::Delete { expected_version } => self.delete(*expected_version),
            ProductCommand::ListingSettled { sku, version, taken_by } => {
                Ok(self.note(sku, *version, taken_by.as_ref()))
            }
            ProductCommand::Show => self.show(),
        }
    }

    fn apply(&mut self, event: &ProductEvent, at: Timestamp) {
        match event {
            ProductEvent::Put { version, document } => {
                if self.document.is_none() {
                    self.created_at = at;
                }
                self.replace(*version, Some(document.clone()), at);
            }
            ProductEvent::Deleted { version } => self.replace(*version, None, at),
            ProductEvent::ListingSettled { sku, version, taken_by } => {
                if self.owed.get(sku).is_some_and(|owed| owed.version == *version) {
                    self.owed.remove(sku);
                    if let Some(product) = taken_by {
                        self.conflicts.insert(sku.clone(), product.clone());
                    }
                }
            }
        }
    }

    fn outstanding(&self) -> Vec<Outgoing> {
        self.owed.iter().map(|(sku, owed)| self.owe(sku, *owed)).collect()
    }

    fn settle(&self, obligation: &Obligation, settlement: &Settlement) -> Option<ProductCommand> {
        let sku: Sku = obligation.target.parse().ok()?;
        let owed = self.owed.get(&sku).filter(|owed| attempt(owed.version) == obligation.attempt)?;
        let taken_by = match settlement {
            Settlement::Rejected(Rejection::SkuTaken { product, .. }) if owed.listed => Some(product.clone()),
            _ => None,
        };
        Some(ProductCommand::ListingSettled { sku, version: owed.version, taken_by })
    }

    fn assert_invariants(&self) {
        assert!(self.version > 0 || (self.document.is_none() && self.owed.is_empty()), "PRD-1: no version, no content");
        assert!(self.document.is_some() || self.conflicts.is_empty(), "PRD-2: a deleted product claims nothing");
    }
}

impl Product {
    fn put(&self, document: &Arc<ProductDocument>, expected_version: Option<u64>) -> Decided {
        self.check_version(expected_version)?;
        document.check()?;
        if self.document.as_ref() == Some(document) && self.conflicts.is_empty() {
            let reply = ProductReply::Put { version: self.version, created: false, changed: false };
            return Ok(Decision::new(Vec::new(), reply));
        }
        let version = self.version + 1;
        let reply = ProductReply::Put { version, created: self.document.is_none(), changed: true };
        Ok(Decision::new(vec![ProductEvent::Put { version, document: document.clone() }], reply))
    }

    fn delete(&self, expected_version: Option<u64>) -> Decided {
        self.check_version(expected_version)?;
        if self.document.is_none() {
            return Err(Rejection::NotFound { entity: self.entity.clone() });
        }
        let version = self.version + 1;
        let reply = ProductReply::Put { version, created: false, changed: true };
        Ok(Decision::new(vec![ProductEvent::Deleted { version }], reply))
    }

    fn check_version(&self, expected: Option<u64>) -> Result<(), Rejection> {
        match expected {
            Some(expected) if expected != self.version => {
                Err(Rejection::ProductVersion { expected, actual: self.version })
            }
            _ => Ok(()),
        }
    }

    fn note(&self, sku: &Sku, version: u64, taken_by: Option<&ProductId>) -> Decision<ProductEvent, ProductReply> {
        if self.owed.get(sku).is_none_or(|owed| owed.version != version) {
            return Decision::replay(ProductReply::Noted);
        }
        let event = ProductEvent::ListingSettled { sku: sku.clone(), version, taken_by: taken_by.cloned() };
        Decision::new(vec![event], ProductReply::Noted)
    }

    fn show(&self) -> Decided {
        let document = self.document.clone().ok_or_else(|| Rejection::NotFound { entity: self.entity.clone() })?;
        let view = ProductView {
            id: self.id(),
            version: self.version,
            document,
            pending: self.owed.iter().filter(|(_, owed)| owed.listed).map(|(sku, _)| sku.clone()).collect(),
            conflicts: self.conflicts.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        };
        Ok(Decision::new(Vec::new(), ProductReply::Shown(Box::new(view))))
    }

    fn replace(&mut self, version: u64, document: Option<Arc<ProductDocument>>, at: Timestamp) {
        for variant in self.document.iter().flat_map(|document| &document.variants) {
            self.owed.insert(variant.sku.clone(), Owed { version, listed: false });
        }
        for variant in document.iter().flat_map(|document| &document.variants) {
            self.owed.insert(variant.sku.clone(), Owed { version, listed: true });
        }
        // Another product's SKU needs no giving up.
        self.owed.retain(|sku, owed| owed.listed || !self.conflicts.contains_key(sku));
        self.conflicts.clear();
        (self.version, self.document, self.updated_at) = (version, document, at);
    }

    fn owe(&self, sku: &Sku, owed: Owed) -> Outgoing {
        let listing = self
            .document
            .as_ref()
            .filter(|_| owed.listed)
            .and_then(|document| document::listing(&self.id(), document, sku, owed.version));
        let (step, command) = match listing {
            Some(listing) => (LIST, StockCommand::List(Arc::new(listing))),
            None => (UNLIST, StockCommand::Unlist { product: self.id(), version: owed.version }),
        };
        let obligation = Obligation {
            process: self.entity.clone(),
            step: step.into(),
            target: sku.to_string(),
            attempt: attempt(owed.version),
        };
        Outgoing { obligation, to: Destination::Entity(EntityId::stock(sku), AnyCommand::Stock(command)) }
    }

    fn id(&self) -> ProductId {
        self.entity.key.parse().expect("a product's key is its id")
    }
}

/// The version is the attempt: each version of a product owes anew.
fn attempt(version: u64) -> u32 {
    u32::try_from(version).expect("PRD-3: a product changes fewer than four billion times")
}
