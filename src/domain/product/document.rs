//! What a product document may say, and what it tells a stock item.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{CATEGORIES_MAX, DESCRIPTION_BYTES_MAX, MEDIA_MAX, ProductDocument, ProductStatus, VARIANTS_MAX};
use crate::domain::ids::{ProductId, Sku};
use crate::domain::pricing::{JsonText, Listing, Prices, TITLE_BYTES_MAX, UNIT_PRICE_MAX};
use crate::domain::rejection::Rejection;

/// Longest category path, in bytes.
const CATEGORY_BYTES_MAX: usize = 200;
/// Longest media URL, in bytes.
const MEDIA_BYTES_MAX: usize = 2_000;

impl ProductDocument {
    /// Whether any shop may have it. Rejects with `InvalidRequest`, naming the first field that is not allowed.
    pub fn check(&self) -> Result<(), Rejection> {
        require((1..=TITLE_BYTES_MAX).contains(&self.title.len()), "title", || {
            format!("expected 1 to {TITLE_BYTES_MAX} bytes")
        })?;
        at_most(self.description.len(), DESCRIPTION_BYTES_MAX, "description", "bytes")?;
        at_most(self.categories.len(), CATEGORIES_MAX, "categories", "entries")?;
        at_most(self.media.len(), MEDIA_MAX, "media", "entries")?;
        at_most(self.attributes.0.len(), JsonText::BYTES_MAX, "attributes", "bytes as JSON")?;
        for (index, category) in self.categories.iter().enumerate() {
            require((1..=CATEGORY_BYTES_MAX).contains(&category.len()), &format!("categories[{index}]"), || {
                format!("expected 1 to {CATEGORY_BYTES_MAX} bytes")
            })?;
        }
        for (index, url) in self.media.iter().enumerate() {
            require((1..=MEDIA_BYTES_MAX).contains(&url.len()), &format!("media[{index}]"), || {
                format!("expected 1 to {MEDIA_BYTES_MAX} bytes")
            })?;
        }
        check_variants(self)
    }
}

fn check_variants(document: &ProductDocument) -> Result<(), Rejection> {
    require((1..=VARIANTS_MAX).contains(&document.variants.len()), "variants", || {
        format!("expected 1 to {VARIANTS_MAX} entries")
    })?;
    let mut skus = BTreeSet::new();
    for (index, variant) in document.variants.iter().enumerate() {
        let field = |name: &str| format!("variants[{index}].{name}");
        require(skus.insert(&variant.sku), &field("sku"), || "each SKU once".to_owned())?;
        at_most(variant.title.len(), TITLE_BYTES_MAX, &field("title"), "bytes")?;
        at_most(variant.attributes.0.len(), JsonText::BYTES_MAX, &field("attributes"), "bytes as JSON")?;
        require(variant.prices.is_valid(), &field("prices"), || {
            format!("at most {} currencies, each amount at most {UNIT_PRICE_MAX} minor units", Prices::ENTRIES_MAX)
        })?;
    }
    Ok(())
}

fn at_most(length: usize, max: usize, field: &str, unit: &str) -> Result<(), Rejection> {
    require(length <= max, field, || format!("at most {max} {unit}"))
}

fn require(allowed: bool, field: &str, reason: impl FnOnce() -> String) -> Result<(), Rejection> {
    if allowed { Ok(()) } else { Err(Rejection::InvalidRequest { field: field.to_owned(), reason: reason() }) }
}

/// What the stock item of `sku` is told; `None` when the document has no such variant.
pub fn listing(product: &ProductId, document: &ProductDocument, sku: &Sku, version: u64) -> Option<Listing> {
    let variant = document.variants.iter().find(|variant| variant.sku == *sku)?;
    Some(Listing {
        product: product.clone(),
        title: line_title(&document.title, &variant.title),
        prices: variant.prices.clone(),
        version,
        active: document.status == ProductStatus::Active,
    })
}

/// `Product`, or `Product, variant`, cut to what a line may show.
fn line_title(product: &str, variant: &str) -> Arc<str> {
    let mut title = if variant.is_empty() { product.to_owned() } else { format!("{product}, {variant}") };
    while title.len() > TITLE_BYTES_MAX {
        title.pop();
    }
    title.into()
}
