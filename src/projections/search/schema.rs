//! The layout of the production index: which fields there are and how a document becomes them.
//!
//! Raising [`VERSION`] makes every node build its index anew at the next start; nothing is migrated.

use std::collections::BTreeMap;

use tantivy::TantivyDocument;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, OwnedValue, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
};

use super::{FacetName, SearchDocument};
use crate::domain::entity::Codec;
use crate::domain::money::Currency;
use crate::persistence::codec::{Bincode, DecodeError};

/// Layout number: of the fields below, of the text analysis, and of the stored [`SearchDocument`].
pub const VERSION: u32 = 1;

/// Name under which the stemming analyzer is registered.
pub const STEMMED: &str = "stockroom_stemmed";
/// Name under which the plain analyzer is registered.
pub const WORDS: &str = "stockroom_words";

/// The fields, by what they are for.
#[derive(Clone, Debug)]
pub struct Fields {
    /// Finds and breaks ties: the product id.
    pub id: Field,
    /// Finds the documents a stock change concerns.
    pub sku: Field,
    /// Full text, stemmed.
    pub title: Field,
    /// Full text, stemmed.
    pub description: Field,
    /// Full text, stemmed: categories, attribute values, variant titles, SKUs.
    pub details: Field,
    /// Title and details, unstemmed, for the word being typed.
    pub words: Field,
    /// Filters and counts; see [`facet_term`].
    pub facet: Field,
    /// Sorts by title; unique.
    pub title_key: Field,
    /// Sorts by age, milliseconds.
    pub created_at: Field,
    /// 1 when a unit can be sold, else 0.
    pub in_stock: Field,
    /// Variant prices by currency.
    pub prices: Field,
    /// The same of variants in stock.
    pub prices_in_stock: Field,
    /// The encoded [`SearchDocument`].
    pub body: Field,
}

/// The schema and its fields.
pub fn build() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let text = |analyzer: &str, record| {
        TextOptions::default()
            .set_indexing_options(TextFieldIndexing::default().set_tokenizer(analyzer).set_index_option(record))
    };
    let stemmed = || text(STEMMED, IndexRecordOption::WithFreqs);
    let fields = Fields {
        id: builder.add_text_field("id", STRING | FAST),
        sku: builder.add_text_field("sku", STRING),
        title: builder.add_text_field("title", stemmed()),
        description: builder.add_text_field("description", stemmed()),
        details: builder.add_text_field("details", stemmed()),
        words: builder.add_text_field("words", text(WORDS, IndexRecordOption::Basic)),
        facet: builder.add_text_field("facet", STRING | FAST),
        title_key: builder.add_text_field("title_key", TextOptions::from(FAST)),
        created_at: builder.add_u64_field("created_at", FAST),
        in_stock: builder.add_u64_field("in_stock", INDEXED | FAST),
        prices: builder.add_json_field("prices", FAST),
        prices_in_stock: builder.add_json_field("prices_in_stock", FAST),
        body: builder.add_bytes_field("body", STORED),
    };
    (builder.build(), fields)
}

/// The term a facet value is indexed as. All values of one facet are neighbours in the dictionary.
pub fn facet_term(name: &FacetName, value: &str) -> String {
    format!("{}{value}", facet_prefix(name))
}

/// What all terms of one facet begin with. Names cannot contain the separator: [`facet_of_term`] undoes this.
pub fn facet_prefix(name: &FacetName) -> String {
    match name {
        FacetName::Category => "c\u{1}".to_owned(),
        FacetName::Attribute(name) => format!("a{}\u{1}", name.replace('\u{1}', " ")),
    }
}

/// The facet and value of a term.
pub fn facet_of_term(term: &str) -> Option<(FacetName, String)> {
    let (name, value) = term.split_once('\u{1}')?;
    let name = match name.strip_prefix('a') {
        Some(attribute) => FacetName::Attribute(attribute.to_owned()),
        None => FacetName::Category,
    };
    Some((name, value.to_owned()))
}

/// The searchable text that is neither title nor description.
pub fn details(document: &SearchDocument) -> String {
    let item = &document.item;
    let mut parts: Vec<&str> = item.categories.iter().map(String::as_str).collect();
    parts.extend(document.attributes.values().flatten().map(String::as_str));
    for variant in &item.variants {
        parts.extend([variant.sku.as_str(), variant.title.as_str()]);
    }
    parts.join(" \n ")
}

/// The fields' values for one document.
pub fn encode(fields: &Fields, document: &SearchDocument) -> TantivyDocument {
    let mut fast = TantivyDocument::default();
    let (item, details) = (&document.item, details(document));
    fast.add_text(fields.id, item.id.as_str());
    fast.add_text(fields.title, &item.title);
    fast.add_text(fields.description, &item.description);
    fast.add_text(fields.words, format!("{} \n {details}", item.title));
    fast.add_text(fields.details, details);
    fast.add_text(fields.title_key, document.title_key());
    fast.add_u64(fields.created_at, document.created_at.0);
    fast.add_u64(fields.in_stock, u64::from(document.in_stock()));
    for variant in &item.variants {
        fast.add_text(fields.sku, variant.sku.as_str());
    }
    for (name, value) in document.facets() {
        fast.add_text(fields.facet, facet_term(&name, &value));
    }
    for (field, in_stock_only) in [(fields.prices, false), (fields.prices_in_stock, true)] {
        fast.add_object(field, prices(document, in_stock_only));
    }
    let mut body = Vec::new();
    Bincode::encode(document, &mut body);
    fast.add_bytes(fields.body, &body);
    fast
}

/// What [`encode`] stored of a document.
pub fn decode(body: &[u8]) -> Result<SearchDocument, DecodeError> {
    Bincode::decode(body)
}

/// The column holding the prices of a currency.
pub fn price_column(currency: Currency, in_stock_only: bool) -> String {
    format!("{}.{currency}", if in_stock_only { "prices_in_stock" } else { "prices" })
}

fn prices(document: &SearchDocument, in_stock_only: bool) -> BTreeMap<String, OwnedValue> {
    let currencies: std::collections::BTreeSet<Currency> =
        document.item.variants.iter().flat_map(|variant| variant.prices.keys().copied()).collect();
    let values = |currency| document.prices(currency, in_stock_only).map(OwnedValue::U64).collect();
    currencies.into_iter().map(|currency| (currency.to_string(), OwnedValue::Array(values(currency)))).collect()
}
