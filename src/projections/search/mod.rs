//! Product search: the seam, and the rules every implementation of it shares.
//!
//! A [`SearchIndex`] holds one [`SearchDocument`] per product that is for sale and answers [`ProductQuery`]s. It is fed
//! by the projector with batches that also move a feed cursor; documents and cursors become durable together, so that
//! after a crash the feed is followed from exactly what the index holds. Applying a batch again changes nothing.
//!
//! What a query means is fixed here, once, so that implementations can only differ in how they find it: word folding in
//! [`text`], facet names and values in [`SearchDocument::facets`], the total order of a sort in [`Position`]. Relevance
//! is the exception: scores are each implementation's own, only their gross order is promised (see `conformance`).
//!
//! Implementors: [`tantivy_index`] (production), [`memory`] (simulator, tests).

mod collector;
#[cfg(test)]
pub mod conformance;
pub(crate) mod engine;
pub mod memory;
mod pending;
pub(crate) mod schema;
pub mod tantivy_index;
pub mod text;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::cursor::{self, CursorKind, QueryDigest};
use super::query::{
    FACET_NAMES_MAX, FACET_VALUES_MAX, FacetCount, Facets, ProductItem, ProductPage, ProductQuery, ProductSort,
    QueryError,
};
use crate::domain::ids::{ProductId, Sku};
use crate::domain::money::Currency;
use crate::domain::time::Timestamp;
use crate::persistence::log::GroupId;

/// What is indexed of one product. Shape changes raise `schema::VERSION`: the index is then built anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchDocument {
    /// What a list shows. `available` of a variant is only exact about being zero.
    pub item: ProductItem,
    /// Attribute name → values as text, of the product and of its variants together.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// When the product was created.
    pub created_at: Timestamp,
}

/// Longest category or attribute value that can be filtered by, in bytes; longer ones are only searchable as text.
pub const FACET_BYTES_MAX: usize = 128;

impl SearchDocument {
    /// Every (facet, value) this product is filtered and counted under: its categories with everything above them
    /// (`tea/green` counts as `tea` too) and the attributes of the product and of its variants.
    pub fn facets(&self) -> BTreeSet<(FacetName, String)> {
        let mut facets = BTreeSet::new();
        for category in &self.item.categories {
            let ends = category.match_indices('/').map(|(end, _)| end).chain([category.len()]);
            facets.extend(ends.map(|end| (FacetName::Category, category[..end].to_owned())));
        }
        for (name, values) in &self.attributes {
            facets.extend(values.iter().map(|value| (FacetName::Attribute(name.clone()), value.clone())));
        }
        facets.retain(|(_, value)| !value.is_empty() && value.len() <= FACET_BYTES_MAX);
        facets
    }

    /// Whether a unit of any variant can be sold.
    pub fn in_stock(&self) -> bool {
        self.item.variants.iter().any(|variant| variant.available > 0)
    }

    /// Prices of the variants in `currency`, of those in stock only when `in_stock_only`.
    pub fn prices(&self, currency: Currency, in_stock_only: bool) -> impl Iterator<Item = u64> + '_ {
        let variants = self.item.variants.iter().filter(move |variant| !in_stock_only || variant.available > 0);
        variants.filter_map(move |variant| variant.prices.get(&currency).copied())
    }

    /// What titles are sorted by: folded, at most 200 characters, made unique by the product id.
    pub fn title_key(&self) -> String {
        let title: String = self.item.title.to_lowercase().chars().take(200).filter(|c| *c != '\0').collect();
        format!("{title}\0{}", self.item.id)
    }

    /// Notes that `sku` has units or none; whether that changed anything.
    pub fn set_stock(&mut self, sku: &Sku, available: u64) -> bool {
        let mut changed = false;
        for variant in self.item.variants.iter_mut().filter(|variant| variant.sku == *sku) {
            changed |= (variant.available > 0) != (available > 0);
            variant.available = available;
        }
        changed
    }
}

/// What a facet counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FacetName {
    /// `category=`.
    Category,
    /// `attr.NAME=`.
    Attribute(String),
}

/// The filters of a query that are alternatives within one facet.
pub(crate) fn facet_filters(query: &ProductQuery) -> Vec<(FacetName, Vec<String>)> {
    let categories = [(FacetName::Category, query.categories.iter().cloned().collect::<Vec<_>>())];
    let attributes = query
        .attributes
        .iter()
        .map(|(name, values)| (FacetName::Attribute(name.clone()), values.iter().cloned().collect()));
    categories.into_iter().chain(attributes).filter(|(_, values)| !values.is_empty()).collect()
}

/// Counts as the answer shows them: most frequent first, bounded.
pub(crate) fn facets_of(counts: BTreeMap<(FacetName, String), u64>) -> Facets {
    let mut facets = Facets::default();
    for ((name, value), count) in counts {
        match name {
            FacetName::Category => facets.categories.push(FacetCount { value, count }),
            FacetName::Attribute(name) => {
                facets.attributes.entry(name).or_default().push(FacetCount { value, count });
            }
        }
    }
    for values in facets.attributes.values_mut().chain([&mut facets.categories]) {
        values.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
        values.truncate(FACET_VALUES_MAX);
    }
    if facets.attributes.len() > FACET_NAMES_MAX {
        let mut names: Vec<(u64, String)> =
            facets.attributes.iter().map(|(name, values)| (values[0].count, name.clone())).collect();
        names.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        for (_, name) in names.split_off(FACET_NAMES_MAX) {
            facets.attributes.remove(&name);
        }
    }
    facets
}

/// A place in the total order of a sort: ascending rank, then text (descending for Z to A).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Sort value as an ascending number; 0 when sorting by title.
    pub rank: u64,
    /// Product id, or the title key when sorting by title. Unique.
    pub text: String,
}

impl Position {
    /// Which of two places comes first under `sort`.
    pub fn compare(&self, other: &Self, sort: ProductSort) -> std::cmp::Ordering {
        let by_text = match sort {
            ProductSort::TitleDescending => other.text.cmp(&self.text),
            _ => self.text.cmp(&other.text),
        };
        self.rank.cmp(&other.rank).then(by_text)
    }
}

/// Whether a sort orders by [`SearchDocument::title_key`].
pub(crate) fn is_by_title(sort: ProductSort) -> bool {
    matches!(sort, ProductSort::TitleAscending | ProductSort::TitleDescending)
}

/// The sort actually used: without words there is no relevance, so the newest come first.
pub(crate) fn effective_sort(query: &ProductQuery, has_words: bool) -> ProductSort {
    match query.sort {
        ProductSort::Relevance if !has_words => ProductSort::Newest,
        sort => sort,
    }
}

/// Which cursors continue this query.
fn digest(query: &ProductQuery) -> QueryDigest {
    QueryDigest::of(&(
        &query.text,
        &query.categories,
        &query.attributes,
        query.in_stock,
        query.currency,
        query.price_min,
        query.price_max,
        query.sort,
    ))
}

/// Where the wanted page starts: behind this place, or at the beginning.
pub(crate) fn start_of(query: &ProductQuery) -> Result<Option<Position>, QueryError> {
    let cursor = query.page.cursor.as_deref();
    Ok(cursor.map(|text| cursor::decode(CursorKind::Products, digest(query), text)).transpose()?)
}

/// A page out of up to `limit + 1` items in order: the one too many only says that there is more.
pub(crate) fn page_of(
    query: &ProductQuery,
    mut found: Vec<(Position, ProductItem)>,
    facets: Facets,
    total: u64,
) -> ProductPage {
    let limit = query.page.limit.get();
    let has_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| has_more).map(|(position, _)| position);
    let next_cursor = last.map(|position| cursor::encode(CursorKind::Products, digest(query), position));
    ProductPage { items: found.into_iter().map(|(_, item)| item).collect(), facets, total, next_cursor }
}

/// How far each group's feed is in an index: every log entry up to and including this index is in it.
pub type FeedCursors = BTreeMap<GroupId, u64>;

/// One change to an index. Every one says how things are, not what happened, so repeats and late arrivals are harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchChange {
    /// The product is for sale and looks like this.
    Put(Box<SearchDocument>),
    /// The product is not for sale.
    Remove(ProductId),
    /// This many units of a SKU can be sold.
    Stock {
        /// Which.
        sku: Sku,
        /// Units.
        available: u64,
    },
}

/// Changes together with how far the feed is once they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchBatch {
    /// In order.
    pub changes: Vec<SearchChange>,
    /// Cursors to move; groups not named stay.
    pub cursors: FeedCursors,
}

/// Why an index cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The index was damaged or its disk failed; it has been emptied. Feed it again from [`SearchIndex::cursors`].
    #[error("the search index was emptied: {reason}")]
    Emptied {
        /// What happened, for logs.
        reason: String,
    },
    /// Nothing changed; the same call may work later (disk full).
    #[error("the search index cannot be written: {reason}")]
    Unavailable {
        /// What the engine said.
        reason: String,
    },
    /// The index is shut down.
    #[error("the search index is closed")]
    Closed,
}

impl From<SearchError> for QueryError {
    fn from(error: SearchError) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

/// An index of products. All calls may come from any task at any time; batches are applied in call order.
#[async_trait]
pub trait SearchIndex: Send + Sync + 'static {
    /// How far the feed is in it, changes not yet visible included. Empty when the index is new or was emptied.
    async fn cursors(&self) -> Result<FeedCursors, SearchError>;

    /// Takes a batch; it becomes visible and durable, whole, within half a second or at the next [`Self::commit`].
    async fn apply(&self, batch: SearchBatch) -> Result<(), SearchError>;

    /// Makes everything applied before visible and durable.
    async fn commit(&self) -> Result<(), SearchError>;

    /// Answers a query from what is visible.
    async fn search(&self, query: &ProductQuery) -> Result<ProductPage, QueryError>;

    /// Commits and stops; later calls answer [`SearchError::Closed`].
    async fn close(&self);
}
