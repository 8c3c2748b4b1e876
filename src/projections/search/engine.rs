//! The tantivy index itself: opening or emptying its directory, and answering queries from a reader.

use std::path::{Path, PathBuf};

use tantivy::merge_policy::LogMergePolicy;
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery, FuzzyTermQuery, Occur, Query, TermQuery,
};
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::{
    DocAddress, Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term,
};

use super::collector::ProductCollector;
use super::schema::{self, Fields};
use super::text::{self, QueryWord};
use super::{FeedCursors, SearchDocument, effective_sort, facet_filters, facets_of, page_of, start_of};
use crate::domain::ids::{ProductId, Sku};
use crate::projections::query::{ProductPage, ProductQuery, QueryError};

/// Memory tantivy may use before it writes a segment by itself; commits come long before.
const WRITER_HEAP_BYTES: usize = 32 << 20;
/// Segments of a level that are merged into one of the next.
const MERGED_SEGMENTS: usize = 8;
/// How much larger a level's segments are than those of the level below, as a power of two: as much as merging makes
/// them, so that a document is written again once a level. tantivy's own levels are closer, and its lowest takes
/// segments of up to 10,000 documents: with a commit every 0.3 s it merged the same thousands again and again.
const LEVEL_LOG_SIZE: f64 = 3.0;
/// Documents below which segments count as equally small: a commit or two.
const SMALL_DOCUMENTS: u32 = 500;
/// How much a match in a field weighs.
const TITLE_BOOST: f32 = 3.0;
const DETAILS_BOOST: f32 = 1.5;
const PREFIX_SCORE: f32 = 0.2;
/// How much matches in further fields add to the best one.
const TIE_BREAKER: f32 = 0.1;

/// An open index with its only writer.
pub struct Engine {
    pub fields: Fields,
    pub writer: IndexWriter,
    pub reader: IndexReader,
    /// How far the feed is in the last commit.
    pub cursors: FeedCursors,
}

/// What the commit payload holds.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    schema: u32,
    cursors: FeedCursors,
}

/// The text kept with a commit: JSON behind its checksum, because tantivy has none on it and a cursor that reads too
/// high would silently skip changes.
pub(crate) fn seal(cursors: &FeedCursors) -> String {
    let json = serde_json::to_string(&Payload { schema: schema::VERSION, cursors: cursors.clone() })
        .expect("numbers always have a JSON form");
    format!("{:08x} {json}", crc32c::crc32c(json.as_bytes()))
}

/// What [`seal`] wrote.
pub(crate) fn unseal(text: &str) -> Result<FeedCursors, TantivyError> {
    let damaged = || TantivyError::SystemError("the commit payload is damaged".to_owned());
    let (checksum, json) = text.split_once(' ').ok_or_else(damaged)?;
    if u32::from_str_radix(checksum, 16) != Ok(crc32c::crc32c(json.as_bytes())) {
        return Err(damaged());
    }
    let payload: Payload = serde_json::from_str(json).map_err(|_| damaged())?;
    if payload.schema == schema::VERSION { Ok(payload.cursors) } else { Err(damaged()) }
}

fn merge_policy() -> LogMergePolicy {
    let mut policy = LogMergePolicy::default();
    policy.set_min_num_segments(MERGED_SEGMENTS);
    policy.set_level_log_size(LEVEL_LOG_SIZE);
    policy.set_min_layer_size(SMALL_DOCUMENTS);
    policy
}

/// The directory of this layout inside `directory`.
fn home(directory: &Path) -> PathBuf {
    directory.join(format!("v{}", schema::VERSION))
}

impl Engine {
    /// Opens what is there and checks every byte of it; creates an empty index where there is none.
    pub fn open(directory: &Path) -> Result<Self, TantivyError> {
        let home = home(directory);
        std::fs::create_dir_all(&home)?;
        let (layout, fields) = schema::build();
        let index = match Index::open_in_dir(&home) {
            Ok(index) => index,
            Err(_) if std::fs::read_dir(&home)?.next().is_none() => Index::create_in_dir(&home, layout.clone())?,
            Err(error) => return Err(error),
        };
        if index.schema() != layout {
            return Err(TantivyError::SchemaError("written with other fields".to_owned()));
        }
        if let Some(file) = index.validate_checksum()?.into_iter().next() {
            return Err(TantivyError::SystemError(format!("{} is damaged", file.display())));
        }
        let cursors = match index.load_metas()?.payload {
            None => FeedCursors::new(),
            Some(text) => unseal(&text)?,
        };
        index.tokenizers().register(schema::STEMMED, text::stemming_analyzer());
        index.tokenizers().register(schema::WORDS, text::word_analyzer());
        let writer = index.writer_with_num_threads(1, WRITER_HEAP_BYTES)?;
        writer.set_merge_policy(Box::new(merge_policy()));
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { fields, writer, reader, cursors })
    }

    /// Removes this and every other layout from `directory`.
    pub fn remove_all(directory: &Path) -> std::io::Result<()> {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what other versions left in `directory`.
    pub fn remove_other_layouts(directory: &Path) -> std::io::Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() && path != home(directory) {
                std::fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }

    /// Queues one product as it is now; `None` removes it.
    pub fn write(&mut self, product: &ProductId, document: Option<&SearchDocument>) -> Result<(), TantivyError> {
        self.writer.delete_term(Term::from_field_text(self.fields.id, product.as_str()));
        if let Some(document) = document {
            self.writer.add_document(schema::encode(&self.fields, document))?;
        }
        Ok(())
    }

    /// Makes everything queued durable together with the cursors, then visible.
    pub fn commit(&mut self, cursors: &FeedCursors) -> Result<(), TantivyError> {
        let mut commit = self.writer.prepare_commit()?;
        commit.set_payload(&seal(cursors));
        commit.commit()?;
        self.reader.reload()?;
        self.cursors.clone_from(cursors);
        Ok(())
    }

    /// Committed documents with a variant of this SKU.
    pub fn with_sku(&self, sku: &Sku) -> Result<Vec<SearchDocument>, TantivyError> {
        let searcher = self.reader.searcher();
        let term = Term::from_field_text(self.fields.sku, sku.as_str());
        let query = TermQuery::new(term, IndexRecordOption::Basic);
        let found = searcher.search(&query, &tantivy::collector::DocSetCollector)?;
        found.into_iter().map(|address| load(&searcher, &self.fields, address)).collect()
    }
}

fn load(searcher: &Searcher, fields: &Fields, address: DocAddress) -> Result<SearchDocument, TantivyError> {
    let stored: TantivyDocument = searcher.doc(address)?;
    let body = stored.get_first(fields.body).and_then(|value| value.as_bytes().map(<[u8]>::to_vec));
    let damaged = |reason: String| TantivyError::SystemError(format!("stored document: {reason}"));
    schema::decode(&body.ok_or_else(|| damaged("missing".to_owned()))?).map_err(|error| damaged(error.to_string()))
}

/// What searches read from.
pub struct View {
    pub reader: IndexReader,
    pub fields: Fields,
    /// Counts how often the index was emptied since the process started.
    pub generation: u64,
}

/// Why a search failed.
pub enum ReadError {
    /// The caller's fault.
    Query(QueryError),
    /// The index cannot be read.
    Damaged(String),
}

impl From<TantivyError> for ReadError {
    fn from(error: TantivyError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl View {
    /// Answers a checked query. Blocks.
    pub fn search(&self, query: &ProductQuery) -> Result<ProductPage, ReadError> {
        let words = query.text.as_deref().map(text::query_words).unwrap_or_default();
        let in_stock_only = query.in_stock == Some(true);
        let collector = ProductCollector {
            sort: effective_sort(query, !words.is_empty()),
            start: start_of(query).map_err(ReadError::Query)?,
            keep: query.page.limit.get() + 1,
            filters: facet_filters(query),
            in_stock: query.in_stock.map(u64::from),
            prices: query.currency.map(|currency| {
                let range = query.price_min.unwrap_or(0)..=query.price_max.unwrap_or(u64::MAX);
                (schema::price_column(currency, in_stock_only), range)
            }),
        };
        let searcher = self.reader.searcher();
        let found = searcher.search(&self.text_query(&words), &collector)?;
        let mut items = Vec::with_capacity(found.best.len());
        for (position, address) in found.best {
            items.push((position, load(&searcher, &self.fields, address)?.item));
        }
        let counts = found.counts.into_iter().filter_map(|(term, count)| Some((schema::facet_of_term(&term)?, count)));
        Ok(page_of(query, items, facets_of(counts.collect()), found.total))
    }

    /// Every word must match somewhere; the best field counts.
    fn text_query(&self, words: &[QueryWord]) -> Box<dyn Query> {
        if words.is_empty() {
            return Box::new(AllQuery);
        }
        let clauses = words.iter().map(|word| (Occur::Must, self.word_query(word))).collect();
        Box::new(BooleanQuery::new(clauses))
    }

    fn word_query(&self, word: &QueryWord) -> Box<dyn Query> {
        let term = |field, boost| -> Box<dyn Query> {
            let term = Term::from_field_text(field, &word.stem);
            Box::new(BoostQuery::new(Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)), boost))
        };
        let mut alternatives = vec![
            term(self.fields.title, TITLE_BOOST),
            term(self.fields.details, DETAILS_BOOST),
            term(self.fields.description, 1.0),
        ];
        if let Some(prefix) = &word.prefix {
            let begins = FuzzyTermQuery::new_prefix(Term::from_field_text(self.fields.words, prefix), 0, true);
            alternatives.push(Box::new(ConstScoreQuery::new(Box::new(begins), PREFIX_SCORE)));
        }
        Box::new(DisjunctionMaxQuery::with_tie_breaker(alternatives, TIE_BREAKER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::log::GroupId;

    #[test]
    fn commit_payload_text_is_pinned_and_any_changed_character_is_noticed() {
        let cursors: FeedCursors = [(GroupId(1), 15), (GroupId(12), 7)].into();
        let text = seal(&cursors);
        assert_eq!(text, r#"d79d4046 {"schema":1,"cursors":{"1":15,"12":7}}"#);
        assert_eq!(unseal(&text).unwrap(), cursors);
        for position in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[position] ^= 1;
            assert!(unseal(&String::from_utf8(bytes).unwrap()).is_err(), "position {position}");
        }
    }
}
