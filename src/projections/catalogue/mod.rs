//! Catalogue files: reading CSV and NDJSON into product documents, applying them, and writing them out again.
//!
//! Everything streams: a parser takes bytes in pieces of any size and gives out products as they become complete, an
//! import keeps a bounded number of commands in flight, an export reads one page of products at a time. A bad row is
//! reported with its line and stops nothing. What is exported imports as the same documents, in either format.
//!
//! Called by `POST /v1/admin/products:import` and by `stockroom catalog import|export`.

mod csv_rows;
mod document;
pub mod encode;
pub mod export;
pub mod import;
mod ndjson;
#[cfg(test)]
mod tests;

use crate::domain::ids::ProductId;
use crate::domain::product::ProductDocument;

/// How a catalogue file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogueFormat {
    /// A header, then one row per variant; rows of one product are neighbours. See [`encode::CSV_HEADER`].
    Csv,
    /// One JSON object per line: `id` and the body of `PUT /products/{id}`.
    NdJson,
}

impl CatalogueFormat {
    /// The format of a media type, parameters ignored.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
            "text/csv" => Some(Self::Csv),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::NdJson),
            _ => None,
        }
    }

    /// The format of a file name, by its ending.
    pub fn of_file_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::NdJson),
            _ => None,
        }
    }
}

/// One product of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueProduct {
    /// Line of its first row, from 1.
    pub line: u64,
    /// Which.
    pub id: ProductId,
    /// What it says.
    pub document: ProductDocument,
}

/// Why a row was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("line {line}: {field}: {reason}")]
pub struct RowError {
    /// Line in the file, from 1.
    pub line: u64,
    /// Column or JSON path; empty when the whole row is meant.
    pub field: String,
    /// What is wrong, for people.
    pub reason: String,
}

impl RowError {
    pub(crate) fn new(line: u64, field: impl Into<String>, reason: impl ToString) -> Self {
        Self { line, field: field.into(), reason: reason.to_string() }
    }
}

/// A product or the reason why there is none.
pub type Parsed = Result<CatalogueProduct, RowError>;

/// Longest row or line, in bytes; longer ones are reported and skipped.
pub const ROW_BYTES_MAX: usize = 1 << 20;

/// Reads a catalogue file piece by piece. Memory: one row, or the rows of one product.
pub enum CatalogueParser {
    #[doc(hidden)]
    Csv(Box<csv_rows::CsvParser>),
    #[doc(hidden)]
    NdJson(ndjson::NdJsonParser),
}

impl CatalogueParser {
    /// A parser at the beginning of a file.
    pub fn new(format: CatalogueFormat) -> Self {
        match format {
            CatalogueFormat::Csv => Self::Csv(Box::new(csv_rows::CsvParser::new())),
            CatalogueFormat::NdJson => Self::NdJson(ndjson::NdJsonParser::new()),
        }
    }

    /// Takes the next bytes; appends what they complete.
    pub fn push(&mut self, bytes: &[u8], parsed: &mut Vec<Parsed>) {
        match self {
            Self::Csv(parser) => parser.push(bytes, parsed),
            Self::NdJson(parser) => parser.push(bytes, parsed),
        }
    }

    /// Says that the file is over; appends what that completes.
    pub fn finish(&mut self, parsed: &mut Vec<Parsed>) {
        match self {
            Self::Csv(parser) => parser.finish(parsed),
            Self::NdJson(parser) => parser.finish(parsed),
        }
    }
}
