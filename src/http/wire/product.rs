//! Products on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::numbers::WholeNumber;
use super::objects::objects;
use crate::domain::ids::{ProductId, Sku};
use crate::domain::money::Currency;
use crate::domain::pricing::{JsonText, Prices, UNIT_PRICE_MAX};
use crate::domain::product::{ProductDocument, ProductStatus, ProductView, Variant};
use crate::http::describe::whole_number;
use crate::http::error::Problem;
use crate::projections::query::{FacetCount, ProductItem, ProductPage, VariantItem};

/// Whether a product can be bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Being prepared; not for sale.
    Draft,
    /// For sale.
    #[default]
    Active,
    /// No longer for sale.
    Archived,
}

impl From<ProductStatus> for Status {
    fn from(status: ProductStatus) -> Self {
        match status {
            ProductStatus::Draft => Self::Draft,
            ProductStatus::Active => Self::Active,
            ProductStatus::Archived => Self::Archived,
        }
    }
}

impl From<Status> for ProductStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Draft => Self::Draft,
            Status::Active => Self::Active,
            Status::Archived => Self::Archived,
        }
    }
}

/// Everything a merchant says about a product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductInput {
    /// What it is called.
    #[schema(min_length = 1, max_length = 512)]
    pub title: String,
    /// Plain text, at most 20,000 bytes.
    #[serde(default)]
    #[schema(max_length = 20000)]
    pub description: String,
    /// Paths such as `drinks/tea`, each 1 to 200 bytes.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub categories: Vec<String>,
    /// Anything that tells it from others, e.g. `{"origin":"Japan"}`.
    #[serde(default)]
    #[schema(schema_with = attributes)]
    pub attributes: Map<String, Value>,
    /// URLs of pictures, each 1 to 2,000 bytes.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub media: Vec<String>,
    /// For sale unless said.
    #[serde(default)]
    pub status: Status,
    /// What is counted and sold.
    #[serde(deserialize_with = "objects")]
    #[schema(min_items = 1, max_items = 100)]
    pub variants: Vec<VariantInput>,
}

/// One SKU of a product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VariantInput {
    /// Which; belongs to one product.
    pub sku: Sku,
    /// What tells it from its siblings.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub title: String,
    /// Anything that tells it from its siblings.
    #[serde(default)]
    #[schema(schema_with = attributes)]
    pub attributes: Map<String, Value>,
    /// Minor units per currency.
    #[schema(schema_with = prices)]
    pub prices: BTreeMap<Currency, WholeNumber<u64>>,
}

/// A free object.
fn attributes() -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(Type::Object);
    object.additional_properties(Some(AdditionalProperties::FreeForm(true))).into()
}

/// Currency to minor units.
fn prices() -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(Type::Object).property_names(Some(Currency::schema_plain()));
    object
        .max_properties(Some(Prices::ENTRIES_MAX))
        .additional_properties(Some(whole_number(0, UNIT_PRICE_MAX)))
        .examples([serde_json::json!({ "USD": 1999 })])
        .into()
}

impl Currency {
    fn schema_plain() -> Schema {
        match Self::schema() {
            RefOr::T(schema) => schema,
            RefOr::Ref(_) => unreachable!("the schema of a currency is spelled out"),
        }
    }
}

impl ProductInput {
    /// The document it says. Rejects prices and attributes that cannot be kept.
    pub fn document(self) -> Result<ProductDocument, Problem> {
        let attributes = attributes_text("attributes", self.attributes)?;
        let variants = self.variants.into_iter().enumerate().map(|(index, variant)| variant.checked(index));
        Ok(ProductDocument {
            title: self.title,
            description: self.description,
            categories: self.categories,
            attributes,
            media: self.media,
            status: self.status.into(),
            variants: variants.collect::<Result<_, _>>()?,
        })
    }
}

impl VariantInput {
    fn checked(self, index: usize) -> Result<Variant, Problem> {
        let attributes = attributes_text(&format!("variants[{index}].attributes"), self.attributes)?;
        let prices = Prices(self.prices.into_iter().map(|(currency, amount)| (currency, amount.0)).collect());
        if !prices.is_valid() {
            return Err(Problem::invalid(format!("variants[{index}].prices"), "too many, or too high"));
        }
        Ok(Variant { sku: self.sku, title: self.title, attributes, prices })
    }
}

fn attributes_text(field: &str, attributes: Map<String, Value>) -> Result<JsonText, Problem> {
    let mut value = Value::Object(attributes);
    value.sort_all_objects();
    let text = value.to_string();
    if text.len() > JsonText::BYTES_MAX {
        return Err(Problem::invalid(field, format!("at most {} bytes of JSON", JsonText::BYTES_MAX)));
    }
    Ok(JsonText(text.into()))
}

/// A product and what is left of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Product {
    /// Which.
    pub id: ProductId,
    /// What it is called.
    pub title: String,
    /// Plain text.
    pub description: String,
    /// Paths such as `drinks/tea`.
    pub categories: Vec<String>,
    /// As the merchant wrote them.
    #[schema(schema_with = attributes)]
    pub attributes: Value,
    /// URLs of pictures.
    pub media: Vec<String>,
    /// Whether it can be bought.
    pub status: Status,
    /// Counts changes, from 1.
    #[schema(minimum = 1)]
    pub version: u64,
    /// What can be bought.
    pub variants: Vec<ProductVariant>,
}

/// One SKU of a product and what is left of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProductVariant {
    /// Which.
    pub sku: Sku,
    /// What tells it from its siblings.
    pub title: String,
    /// As the merchant wrote them.
    #[schema(schema_with = attributes)]
    pub attributes: Value,
    /// Minor units per currency.
    #[schema(schema_with = prices)]
    pub prices: BTreeMap<Currency, u64>,
    /// Units that can be sold.
    #[schema(minimum = 0)]
    pub available: u64,
}

impl Product {
    /// A product; `available` says what is left of each SKU.
    pub fn new(view: &ProductView, available: impl Fn(&Sku) -> u64) -> Self {
        let document = &view.document;
        let variant = |variant: &Variant| ProductVariant {
            sku: variant.sku.clone(),
            title: variant.title.clone(),
            attributes: attributes_value(&variant.attributes),
            prices: variant.prices.0.clone(),
            available: available(&variant.sku),
        };
        Self {
            id: view.id.clone(),
            title: document.title.clone(),
            description: document.description.clone(),
            categories: document.categories.clone(),
            attributes: attributes_value(&document.attributes),
            media: document.media.clone(),
            status: document.status.into(),
            version: view.version,
            variants: document.variants.iter().map(variant).collect(),
        }
    }
}

/// Attributes were checked on the way in; text that is no object reads as none.
fn attributes_value(text: &JsonText) -> Value {
    serde_json::from_str(&text.0).unwrap_or_else(|_| Value::Object(Map::new()))
}

/// Products that match a search.
#[derive(Debug, Serialize, ToSchema)]
pub struct Products {
    /// This page.
    pub items: Vec<Product>,
    /// How many matching products carry each category and attribute value.
    pub facets: Facets,
    /// Matching products over all pages.
    #[schema(minimum = 0)]
    pub total: u64,
    /// Give it back as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// Counts per category and attribute value; each ignores its own filter.
#[derive(Debug, Serialize, ToSchema)]
pub struct Facets {
    /// Most frequent first.
    pub categories: Vec<Facet>,
    /// Attribute name to its values, most frequent first.
    #[schema(schema_with = facet_map)]
    pub attributes: BTreeMap<String, Vec<Facet>>,
}

/// How often a value occurs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Facet {
    /// The value.
    pub value: String,
    /// In how many matching products.
    #[schema(minimum = 0)]
    pub count: u64,
}

fn facet_map() -> RefOr<Schema> {
    map_of(ArrayBuilder::new().items(utoipa::openapi::Ref::from_schema_name("Facet")).into())
}

fn map_of(values: Schema) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(values)).into()
}

impl From<ProductPage> for Products {
    fn from(page: ProductPage) -> Self {
        let attributes = page.facets.attributes.into_iter();
        Self {
            items: page.items.into_iter().map(Product::from).collect(),
            facets: Facets {
                categories: page.facets.categories.into_iter().map(Facet::from).collect(),
                attributes: attributes
                    .map(|(name, values)| (name, values.into_iter().map(Facet::from).collect()))
                    .collect(),
            },
            total: page.total,
            next_cursor: page.next_cursor,
        }
    }
}

impl From<FacetCount> for Facet {
    fn from(facet: FacetCount) -> Self {
        Self { value: facet.value, count: facet.count }
    }
}

impl From<ProductItem> for Product {
    /// What search found: nothing but products for sale is listed.
    fn from(item: ProductItem) -> Self {
        let ProductItem { id, title, description, categories, attributes, media, version, variants } = item;
        Self {
            id,
            title,
            description,
            categories,
            attributes: attributes_value(&attributes),
            media,
            status: Status::Active,
            version,
            variants: variants.into_iter().map(ProductVariant::from).collect(),
        }
    }
}

impl From<VariantItem> for ProductVariant {
    fn from(item: VariantItem) -> Self {
        let VariantItem { sku, title, attributes, prices, available } = item;
        Self { sku, title, attributes: attributes_value(&attributes), prices, available }
    }
}
