//! What a file says about a product, checked and made a document. Limits on lengths and counts are the product's own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::ids::{ProductId, Sku};
use crate::domain::money::Currency;
use crate::domain::pricing::{JsonText, Prices};
use crate::domain::product::{ProductDocument, ProductStatus, ProductView, Variant};

/// One product as NDJSON writes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductLine {
    pub id: ProductId,
    pub title: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub categories: Vec<String>,
    #[serde(default)]
    pub attributes: Map<String, Value>,
    #[serde(default)]
    pub media: Vec<String>,
    #[serde(default = "active")]
    pub status: String,
    pub variants: Vec<VariantLine>,
}

/// One variant as NDJSON writes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantLine {
    pub sku: Sku,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub attributes: Map<String, Value>,
    pub prices: BTreeMap<Currency, u64>,
}

fn active() -> String {
    ProductStatus::Active.name().to_owned()
}

/// A field and what is wrong with it.
pub type FieldError = (String, String);

impl ProductLine {
    /// The document; rejects a status, price or attribute that cannot be kept.
    pub fn document(self) -> Result<(ProductId, ProductDocument), FieldError> {
        let mut variants = Vec::with_capacity(self.variants.len());
        for (index, variant) in self.variants.into_iter().enumerate() {
            variants.push(Variant {
                attributes: attributes_text(&format!("variants[{index}].attributes"), variant.attributes)?,
                prices: checked_prices(&format!("variants[{index}].prices"), variant.prices)?,
                sku: variant.sku,
                title: variant.title,
            });
        }
        let document = ProductDocument {
            attributes: attributes_text("attributes", self.attributes)?,
            status: status("status", &self.status)?,
            title: self.title,
            description: self.description,
            categories: self.categories,
            media: self.media,
            variants,
        };
        Ok((self.id, document))
    }

    /// The line that says what a product says now.
    pub fn of(view: &ProductView) -> Self {
        let document = &view.document;
        let variant = |variant: &Variant| VariantLine {
            sku: variant.sku.clone(),
            title: variant.title.clone(),
            attributes: object_of(&variant.attributes),
            prices: variant.prices.0.clone(),
        };
        Self {
            id: view.id.clone(),
            title: document.title.clone(),
            description: document.description.clone(),
            categories: document.categories.clone(),
            attributes: object_of(&document.attributes),
            media: document.media.clone(),
            status: document.status.name().to_owned(),
            variants: document.variants.iter().map(variant).collect(),
        }
    }
}

/// The status of that word.
pub fn status(field: &str, name: &str) -> Result<ProductStatus, FieldError> {
    let expected = || (field.to_owned(), "one of draft, active, archived".to_owned());
    ProductStatus::from_name(name).ok_or_else(expected)
}

/// Prices within limits.
pub fn checked_prices(field: &str, prices: BTreeMap<Currency, u64>) -> Result<Prices, FieldError> {
    let prices = Prices(prices);
    if prices.is_valid() { Ok(prices) } else { Err((field.to_owned(), "too many, or too high".to_owned())) }
}

/// Attributes as canonical text: members sorted by name, no space.
pub fn attributes_text(field: &str, attributes: Map<String, Value>) -> Result<JsonText, FieldError> {
    let mut value = Value::Object(attributes);
    value.sort_all_objects();
    let text = value.to_string();
    if text.len() <= JsonText::BYTES_MAX {
        Ok(JsonText(text.into()))
    } else {
        Err((field.to_owned(), format!("at most {} bytes of JSON", JsonText::BYTES_MAX)))
    }
}

/// The object in an attribute text, which was checked on its way in.
fn object_of(text: &JsonText) -> Map<String, Value> {
    serde_json::from_str(&text.0).unwrap_or_default()
}
