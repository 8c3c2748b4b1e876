//! Search over plain ordered maps: every query looks at every document. For the simulator, which needs the same answers
//! for the same seed, and for tests, as the reference the production index is compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use async_trait::async_trait;

use super::text::{self, QueryWord};
use super::{
    FacetName, FeedCursors, Position, SearchBatch, SearchChange, SearchDocument, SearchError, SearchIndex,
    effective_sort, facet_filters, facets_of, is_by_title, page_of, start_of,
};
use crate::domain::ids::ProductId;
use crate::projections::query::{ProductPage, ProductQuery, ProductSort, QueryError};

/// See the module.
#[derive(Default)]
pub struct MemorySearchIndex {
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    documents: BTreeMap<ProductId, Indexed>,
    cursors: FeedCursors,
    closed: bool,
}

struct Indexed {
    document: SearchDocument,
    /// Stem → how much a match on it weighs.
    stems: BTreeMap<String, u64>,
    /// Words a prefix may match.
    words: BTreeSet<String>,
}

/// Weights of a word by where it occurs, the same proportions as in the production index.
const TITLE_WEIGHT: u64 = 6;
const DETAIL_WEIGHT: u64 = 3;
const DESCRIPTION_WEIGHT: u64 = 2;
const PREFIX_WEIGHT: u64 = 1;

impl Indexed {
    fn new(document: SearchDocument) -> Self {
        let (mut stemming, mut plain) = (text::stemming_analyzer(), text::word_analyzer());
        let details = super::schema::details(&document);
        let item = &document.item;
        let weighted =
            [(&item.title, TITLE_WEIGHT), (&details, DETAIL_WEIGHT), (&item.description, DESCRIPTION_WEIGHT)];
        let mut stems = BTreeMap::new();
        for (text, weight) in weighted {
            for stem in text::words(&mut stemming, text) {
                let best: &mut u64 = stems.entry(stem).or_default();
                *best = weight.max(*best);
            }
        }
        let mut words: BTreeSet<_> = text::words(&mut plain, &item.title).into_iter().collect();
        words.extend(text::words(&mut plain, &details));
        Self { document, stems, words }
    }

    /// Relevance; `None` when a word does not match at all.
    fn score(&self, words: &[QueryWord]) -> Option<u64> {
        let score_of = |word: &QueryWord| {
            let by_stem = self.stems.get(&word.stem).copied();
            let begins = |prefix: &String| self.words.iter().any(|word| word.starts_with(prefix));
            by_stem.or_else(|| word.prefix.as_ref().filter(|prefix| begins(prefix)).map(|_| PREFIX_WEIGHT))
        };
        words.iter().map(score_of).sum()
    }

    fn position(&self, sort: ProductSort, score: u64, query: &ProductQuery) -> Position {
        let lowest = |currency| self.document.prices(currency, query.in_stock == Some(true)).min();
        let price = || query.currency.and_then(lowest).unwrap_or(0);
        let rank = match sort {
            ProductSort::Relevance => !score,
            ProductSort::Newest => !self.document.created_at.0,
            ProductSort::PriceAscending => price(),
            ProductSort::PriceDescending => !price(),
            ProductSort::TitleAscending | ProductSort::TitleDescending => 0,
        };
        let text = if is_by_title(sort) { self.document.title_key() } else { self.document.item.id.to_string() };
        Position { rank, text }
    }

    fn passes_plain_filters(&self, query: &ProductQuery) -> bool {
        let in_stock = query.in_stock.is_none_or(|wanted| wanted == self.document.in_stock());
        let (lowest, highest) = (query.price_min.unwrap_or(0), query.price_max.unwrap_or(u64::MAX));
        let priced = query.currency.is_none_or(|currency| {
            let mut prices = self.document.prices(currency, query.in_stock == Some(true));
            prices.any(|price| (lowest..=highest).contains(&price))
        });
        in_stock && priced
    }
}

impl Contents {
    fn search(&self, query: &ProductQuery) -> Result<ProductPage, QueryError> {
        let words = query.text.as_deref().map(text::query_words).unwrap_or_default();
        let sort = effective_sort(query, !words.is_empty());
        let start = start_of(query)?;
        let filters = facet_filters(query);
        let (mut total, mut counts, mut found) = (0, BTreeMap::new(), Vec::new());
        for indexed in self.documents.values().filter(|indexed| indexed.passes_plain_filters(query)) {
            let Some(score) = indexed.score(&words) else { continue };
            let facets = indexed.document.facets();
            let failed: Vec<&FacetName> =
                filters.iter().filter(|filter| !matches_filter(&facets, filter)).map(|(name, _)| name).collect();
            for facet in facets.into_iter().filter(|(name, _)| failed.iter().all(|failed| *failed == name)) {
                *counts.entry(facet).or_default() += u64::from(failed.len() <= 1);
            }
            if failed.is_empty() {
                total += 1;
                found.push((indexed.position(sort, score, query), indexed.document.item.clone()));
            }
        }
        counts.retain(|_, count| *count > 0);
        found.retain(|(position, _)| start.as_ref().is_none_or(|start| position.compare(start, sort).is_gt()));
        found.sort_by(|a, b| a.0.compare(&b.0, sort));
        Ok(page_of(query, found, facets_of(counts), total))
    }

    fn apply(&mut self, batch: SearchBatch) {
        for change in batch.changes {
            match change {
                SearchChange::Put(document) => {
                    self.documents.insert(document.item.id.clone(), Indexed::new(*document));
                }
                SearchChange::Remove(product) => {
                    self.documents.remove(&product);
                }
                SearchChange::Stock { sku, available } => {
                    for indexed in self.documents.values_mut() {
                        indexed.document.set_stock(&sku, available);
                    }
                }
            }
        }
        self.cursors.extend(batch.cursors);
    }
}

fn matches_filter(facets: &BTreeSet<(FacetName, String)>, (name, values): &(FacetName, Vec<String>)) -> bool {
    values.iter().any(|value| facets.contains(&(name.clone(), value.clone())))
}

impl MemorySearchIndex {
    fn with<T>(&self, action: impl FnOnce(&mut Contents) -> T) -> Result<T, SearchError> {
        let mut contents = self.contents.lock().expect("no code panics while holding this lock");
        if contents.closed { Err(SearchError::Closed) } else { Ok(action(&mut contents)) }
    }
}

#[async_trait]
impl SearchIndex for MemorySearchIndex {
    async fn cursors(&self) -> Result<FeedCursors, SearchError> {
        self.with(|contents| contents.cursors.clone())
    }

    async fn apply(&self, batch: SearchBatch) -> Result<(), SearchError> {
        self.with(|contents| contents.apply(batch))
    }

    async fn commit(&self) -> Result<(), SearchError> {
        self.with(|_| ())
    }

    async fn search(&self, query: &ProductQuery) -> Result<ProductPage, QueryError> {
        query.check()?;
        self.with(|contents| contents.search(query))?
    }

    async fn close(&self) {
        let _ = self.with(|contents| contents.closed = true);
    }
}
