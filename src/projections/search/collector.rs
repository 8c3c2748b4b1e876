//! One pass over the documents that match the words of a query: applies the filters, counts facets, keeps the best.
//!
//! Facet counts need documents that fail exactly one facet's filter (they count for the other values of that facet), so
//! facet filters are evaluated here and not in tantivy's query. Within a segment documents are ordered by column values
//! and dictionary ordinals; only the few that survive are translated to a [`Position`], comparable across segments.

use std::collections::{BTreeMap, BinaryHeap};
use std::ops::{Range, RangeInclusive};

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, StrColumn, TermOrdHit};
use tantivy::{DocAddress, DocId, Score, SegmentOrdinal, SegmentReader, TantivyError};

use super::{FacetName, Position, is_by_title, schema};
use crate::projections::query::ProductSort;

/// What the pass looks for.
#[derive(Clone, Debug)]
pub struct ProductCollector {
    /// The order of the best.
    pub sort: ProductSort,
    /// Only documents behind this place are kept (all are counted).
    pub start: Option<Position>,
    /// How many of the best to keep.
    pub keep: usize,
    /// Facet filters: a document must have one of each facet's values.
    pub filters: Vec<(FacetName, Vec<String>)>,
    /// 1: only what is in stock; 0: only what is not.
    pub in_stock: Option<u64>,
    /// Column with the prices to filter and sort by, and the wanted range; documents without a price in it fail.
    pub prices: Option<(String, RangeInclusive<u64>)>,
}

/// What the pass found, in one segment or in all.
#[derive(Debug, Default)]
pub struct Found {
    /// The best, in order.
    pub best: Vec<(Position, DocAddress)>,
    /// How many pass all filters.
    pub total: u64,
    /// Facet term → documents.
    pub counts: BTreeMap<String, u64>,
}

impl Collector for ProductCollector {
    type Fruit = Found;
    type Child = SegmentPass;

    fn for_segment(&self, segment: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<SegmentPass> {
        let columns = reader.fast_fields();
        let facets = columns.str("facet")?;
        let ties = Ties {
            column: columns.str(if is_by_title(self.sort) { "title_key" } else { "id" })?,
            descending: self.sort == ProductSort::TitleDescending,
        };
        let prices = self.prices.as_ref().map(|(name, range)| {
            let column = columns.column_opt::<i64>(name)?;
            tantivy::Result::Ok((column, range.clone()))
        });
        let in_stock = match self.in_stock {
            Some(wanted) => Some((columns.u64("in_stock")?, wanted)),
            None => None,
        };
        let filters: tantivy::Result<Vec<Filter>> =
            self.filters.iter().map(|(name, values)| Filter::new(facets.as_ref(), name, values)).collect();
        let start = self
            .start
            .as_ref()
            .map(|start| tantivy::Result::Ok(Start { rank: start.rank, first_place: ties.first_behind(&start.text)? }));
        let term_count = facets.as_ref().map_or(0, |column| column.num_terms());
        Ok(SegmentPass {
            segment,
            sort: self.sort,
            keep: self.keep,
            created_at: columns.u64("created_at")?,
            in_stock,
            prices: prices.transpose()?,
            filters: filters?,
            start: start.transpose()?,
            counts: vec![0; term_count],
            facets,
            ties,
            ords: Vec::new(),
            best: BinaryHeap::new(),
            total: 0,
        })
    }

    fn requires_scoring(&self) -> bool {
        self.sort == ProductSort::Relevance
    }

    fn merge_fruits(&self, segments: Vec<tantivy::Result<Found>>) -> tantivy::Result<Found> {
        let mut all = Found::default();
        for found in segments {
            let found = found?;
            all.total += found.total;
            all.best.extend(found.best);
            for (term, count) in found.counts {
                *all.counts.entry(term).or_default() += count;
            }
        }
        all.best.sort_by(|a, b| a.0.compare(&b.0, self.sort));
        all.best.truncate(self.keep);
        Ok(all)
    }
}

/// One facet's filter in a segment.
struct Filter {
    /// Ordinals of all values of the facet.
    facet: Range<u64>,
    /// Ordinals of the wanted values, ascending.
    wanted: Vec<u64>,
}

impl Filter {
    fn new(facets: Option<&StrColumn>, name: &FacetName, values: &[String]) -> tantivy::Result<Self> {
        let Some(facets) = facets else { return Ok(Self { facet: 0..0, wanted: Vec::new() }) };
        let prefix = schema::facet_prefix(name);
        let mut past = prefix.clone().into_bytes();
        *past.last_mut().expect("a prefix ends in its separator") += 1;
        let facet = first_ord(facets, prefix.as_bytes())?..first_ord(facets, &past)?;
        let mut wanted = Vec::new();
        for value in values {
            wanted.extend(facets.dictionary().term_ord(schema::facet_term(name, value))?);
        }
        wanted.sort_unstable();
        Ok(Self { facet, wanted })
    }

    fn matches(&self, ords: &[u64]) -> bool {
        ords.iter().any(|ord| self.wanted.binary_search(ord).is_ok())
    }
}

fn first_ord(column: &StrColumn, key: &[u8]) -> std::io::Result<u64> {
    Ok(match column.dictionary().term_ord_or_next(key)? {
        TermOrdHit::Exact(ord) | TermOrdHit::Next(ord) => ord,
    })
}

/// A document's place within its segment: smaller comes first. Rank, then [`Ties::place`].
type LocalPlace = (u64, u64);

/// What breaks ties in a segment: ordinals of a column with one unique text per document.
struct Ties {
    column: Option<StrColumn>,
    /// Z to A: places count from the end.
    descending: bool,
}

impl Ties {
    fn term_count(&self) -> u64 {
        self.column.as_ref().map_or(0, |column| column.num_terms() as u64)
    }

    /// The place of a text's ordinal; undone by itself.
    fn place(&self, ord: u64) -> u64 {
        if self.descending { self.term_count().saturating_sub(ord) } else { ord }
    }

    fn place_of(&self, doc: DocId) -> u64 {
        self.place(self.column.as_ref().and_then(|column| column.ords().first(doc)).unwrap_or(0))
    }

    /// The first place behind `text`.
    fn first_behind(&self, text: &str) -> std::io::Result<u64> {
        let Some(column) = &self.column else { return Ok(0) };
        Ok(match column.dictionary().term_ord_or_next(text)? {
            TermOrdHit::Exact(ord) => self.place(ord) + 1,
            TermOrdHit::Next(ord) => self.place(ord) + u64::from(self.descending),
        })
    }

    fn text(&self, place: u64) -> tantivy::Result<String> {
        let mut text = String::new();
        let column = self.column.as_ref();
        match column.map(|column| column.ord_to_str(self.place(place), &mut text)).transpose()? {
            Some(true) => Ok(text),
            _ => Err(TantivyError::InternalError("a document has no sort key".to_owned())),
        }
    }
}

/// The start of the page in a segment's terms.
struct Start {
    rank: u64,
    first_place: u64,
}

impl Start {
    fn is_behind(&self, place: LocalPlace) -> bool {
        place.0 > self.rank || (place.0 == self.rank && place.1 >= self.first_place)
    }
}

/// The pass over one segment.
pub struct SegmentPass {
    segment: SegmentOrdinal,
    sort: ProductSort,
    keep: usize,
    created_at: Column<u64>,
    in_stock: Option<(Column<u64>, u64)>,
    prices: Option<(Option<Column<i64>>, RangeInclusive<u64>)>,
    filters: Vec<Filter>,
    start: Option<Start>,
    facets: Option<StrColumn>,
    ties: Ties,
    /// Facet ordinals of the document at hand.
    ords: Vec<u64>,
    /// Documents per facet ordinal.
    counts: Vec<u32>,
    /// The best so far, the worst of them on top.
    best: BinaryHeap<(LocalPlace, DocId)>,
    total: u64,
}

impl SegmentPass {
    /// The lowest price that counts for sorting; `None` when the document fails the stock or price filter.
    fn passes_plain_filters(&self, doc: DocId) -> Option<u64> {
        let in_stock = self.in_stock.as_ref().is_none_or(|(column, wanted)| column.first(doc) == Some(*wanted));
        if !in_stock {
            return None;
        }
        let Some((column, range)) = &self.prices else { return Some(0) };
        let (mut lowest, mut in_range) = (u64::MAX, false);
        for price in column.as_ref()?.values_for_doc(doc) {
            let price = u64::try_from(price).unwrap_or(0);
            lowest = lowest.min(price);
            in_range |= range.contains(&price);
        }
        in_range.then_some(lowest)
    }

    fn place(&self, doc: DocId, score: Score, price: u64) -> LocalPlace {
        let rank = match self.sort {
            ProductSort::Relevance => !u64::from(score.max(0.0).to_bits()),
            ProductSort::Newest => !self.created_at.first(doc).unwrap_or(0),
            ProductSort::PriceAscending => price,
            ProductSort::PriceDescending => !price,
            ProductSort::TitleAscending | ProductSort::TitleDescending => 0,
        };
        (rank, self.ties.place_of(doc))
    }

    fn count(&mut self, facet: Option<&Range<u64>>) {
        for ord in self.ords.iter().filter(|ord| facet.is_none_or(|facet| facet.contains(ord))) {
            if let Some(count) = usize::try_from(*ord).ok().and_then(|ord| self.counts.get_mut(ord)) {
                *count += 1;
            }
        }
    }

    fn keep(&mut self, place: LocalPlace, doc: DocId) {
        if self.start.as_ref().is_some_and(|start| !start.is_behind(place)) {
            return;
        }
        if self.best.len() < self.keep {
            self.best.push((place, doc));
        } else if self.best.peek().is_some_and(|(worst, _)| place < *worst) {
            self.best.pop();
            self.best.push((place, doc));
        }
    }

    fn finish(self) -> tantivy::Result<Found> {
        let mut best = Vec::with_capacity(self.best.len());
        for ((rank, place), doc) in self.best.into_sorted_vec() {
            best.push((Position { rank, text: self.ties.text(place)? }, DocAddress::new(self.segment, doc)));
        }
        let mut counts = BTreeMap::new();
        if let Some(facets) = &self.facets {
            let ords: Vec<u64> = (0..).zip(&self.counts).filter(|(_, count)| **count > 0).map(|(ord, _)| ord).collect();
            let mut found = self.counts.iter().copied().filter(|count| *count > 0);
            facets.dictionary().sorted_ords_to_term_cb(&ords, |term| {
                let count = found.next().unwrap_or(0);
                counts.insert(String::from_utf8_lossy(term).into_owned(), u64::from(count));
            })?;
        }
        Ok(Found { best, total: self.total, counts })
    }
}

impl SegmentCollector for SegmentPass {
    type Fruit = tantivy::Result<Found>;

    fn collect(&mut self, doc: DocId, score: Score) {
        let Some(price) = self.passes_plain_filters(doc) else { return };
        self.ords.clear();
        if let Some(facets) = &self.facets {
            self.ords.extend(facets.term_ords(doc));
        }
        let mut failed = self.filters.iter().filter(|filter| !filter.matches(&self.ords));
        match (failed.next().map(|filter| filter.facet.clone()), failed.next()) {
            (None, _) => {
                self.count(None);
                self.total += 1;
                let place = self.place(doc, score, price);
                self.keep(place, doc);
            }
            (Some(facet), None) => self.count(Some(&facet)),
            (Some(_), Some(_)) => {}
        }
    }

    fn harvest(self) -> tantivy::Result<Found> {
        self.finish()
    }
}
