//! CSV (RFC 4180): a header, then one row per variant. Rows of one product are neighbours; product columns count from
//! its first row and may stay empty in the others.
//!
//! Columns: `id`, `sku` (both required), `title`, `description`, `categories` and `media` (values separated by `|`,
//! or a JSON array), `status`, `attributes` (a JSON object), `attr.NAME` (one text, or several separated by `|`), and
//! of the variant
//! `variant_title`, `variant_attributes`, `variant.NAME`, `prices` (a JSON object), `price.USD` (minor units).

use std::collections::BTreeMap;

use csv_core::{ReadRecordResult, Reader};
use serde_json::{Map, Value};

use super::document::{FieldError, attributes_text, checked_prices, status};
use super::{CatalogueProduct, Parsed, ROW_BYTES_MAX, RowError};
use crate::domain::ids::{ProductId, Sku};
use crate::domain::money::Currency;
use crate::domain::product::{ProductDocument, ProductStatus, VARIANTS_MAX, Variant};

/// Most columns of a file.
const COLUMNS_MAX: usize = 1_000;
/// Separates several values in one cell.
pub const VALUE_SEPARATOR: char = '|';

/// What a column says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Id,
    Title,
    Description,
    Categories,
    Media,
    Status,
    Attributes,
    Attribute(String),
    Sku,
    VariantTitle,
    VariantAttributes,
    VariantAttribute(String),
    Prices,
    Price(Currency),
}

impl Column {
    fn of(name: &str) -> Result<Self, FieldError> {
        let unknown = || (name.to_owned(), "not a column of a catalogue".to_owned());
        Ok(match name {
            "id" => Self::Id,
            "title" => Self::Title,
            "description" => Self::Description,
            "categories" => Self::Categories,
            "media" => Self::Media,
            "status" => Self::Status,
            "attributes" => Self::Attributes,
            "sku" => Self::Sku,
            "variant_title" => Self::VariantTitle,
            "variant_attributes" => Self::VariantAttributes,
            "prices" => Self::Prices,
            _ => match name.split_once('.') {
                Some(("attr", name)) if !name.is_empty() => Self::Attribute(name.to_owned()),
                Some(("variant", name)) if !name.is_empty() => Self::VariantAttribute(name.to_owned()),
                Some(("price", currency)) => Self::Price(currency.parse().map_err(|_| unknown())?),
                _ => return Err(unknown()),
            },
        })
    }
}

/// See the module.
pub struct CsvParser {
    reader: Reader,
    /// Cells of the row being read, one behind the other, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    cells_length: usize,
    ends_length: usize,
    is_overlong: bool,
    is_inside_row: bool,
    /// Line of the next byte, and of the row being read.
    line: u64,
    row_line: u64,
    header: Header,
    /// The product whose rows are being read; `Err` when one of them was bad, so that half a product is never taken.
    product: Option<(ProductId, Result<CatalogueProduct, ()>)>,
}

enum Header {
    Missing,
    Read(Vec<(String, Column)>),
    /// Without a header nothing can be read; said once.
    Unusable,
}

impl CsvParser {
    pub fn new() -> Self {
        Self {
            reader: Reader::new(),
            cells: vec![0; 4 << 10],
            ends: vec![0; 64],
            cells_length: 0,
            ends_length: 0,
            is_overlong: false,
            is_inside_row: false,
            line: 1,
            row_line: 1,
            header: Header::Missing,
            product: None,
        }
    }

    pub fn push(&mut self, mut bytes: &[u8], parsed: &mut Vec<Parsed>) {
        while !bytes.is_empty() && !matches!(self.header, Header::Unusable) {
            if !self.is_inside_row {
                let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                self.count_lines(&bytes[..blank]);
                bytes = &bytes[blank..];
                self.row_line = self.line;
                self.is_inside_row = !bytes.is_empty();
                continue;
            }
            let consumed = self.read(bytes, parsed);
            self.count_lines(&bytes[..consumed]);
            bytes = &bytes[consumed..];
        }
    }

    pub fn finish(&mut self, parsed: &mut Vec<Parsed>) {
        if self.is_inside_row && !matches!(self.header, Header::Unusable) {
            // An empty input tells the reader that the file is over; it may need several calls to get rid of a row.
            while self.is_inside_row {
                self.read(&[], parsed);
            }
        }
        self.end_product(parsed);
        if matches!(self.header, Header::Missing) {
            parsed.push(Err(RowError::new(1, "", "the file has no header")));
        }
    }

    fn count_lines(&mut self, bytes: &[u8]) {
        self.line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    }

    /// Feeds the reader once; how many bytes it took.
    fn read(&mut self, bytes: &[u8], parsed: &mut Vec<Parsed>) -> usize {
        let (cells, ends) = (&mut self.cells[self.cells_length..], &mut self.ends[self.ends_length..]);
        let (result, consumed, written, ended) = self.reader.read_record(bytes, cells, ends);
        self.cells_length += written;
        self.ends_length += ended;
        match result {
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputFull => self.grow_cells(),
            ReadRecordResult::OutputEndsFull => self.grow_ends(),
            ReadRecordResult::Record => self.end_row(parsed),
            ReadRecordResult::End => self.is_inside_row = false,
        }
        consumed
    }

    fn grow_cells(&mut self) {
        if self.cells.len() < ROW_BYTES_MAX {
            self.cells.resize((self.cells.len() * 2).min(ROW_BYTES_MAX), 0);
        } else {
            self.is_overlong = true;
            self.cells_length = 0;
        }
    }

    fn grow_ends(&mut self) {
        if self.ends.len() < COLUMNS_MAX {
            self.ends.resize((self.ends.len() * 2).min(COLUMNS_MAX), 0);
        } else {
            self.is_overlong = true;
            self.ends_length = 0;
        }
    }

    fn end_row(&mut self, parsed: &mut Vec<Parsed>) {
        let line = self.row_line;
        let cells = if self.is_overlong {
            Err(RowError::new(line, "", format!("more than {ROW_BYTES_MAX} bytes or {COLUMNS_MAX} columns")))
        } else {
            self.texts().ok_or_else(|| RowError::new(line, "", "not UTF-8"))
        };
        (self.cells_length, self.ends_length) = (0, 0);
        (self.is_overlong, self.is_inside_row) = (false, false);
        match (cells, &self.header) {
            (Ok(cells), Header::Missing) => self.take_header(cells, parsed),
            (Err(error), Header::Missing) => self.refuse_header(error, parsed),
            (Ok(cells), Header::Read(columns)) => {
                let row = Row::of(columns, &cells).map_err(|(field, reason)| RowError::new(line, field, reason));
                let id = cell(columns, &cells, &Column::Id).and_then(|id| id.parse().ok());
                self.take_row(line, id, row, parsed);
            }
            (Err(error), Header::Read(_)) => self.take_row(line, None, Err(error), parsed),
            (_, Header::Unusable) => {}
        }
    }

    fn texts(&self) -> Option<Vec<String>> {
        let starts = [0].into_iter().chain(self.ends[..self.ends_length].iter().copied());
        let ranges = starts.zip(&self.ends[..self.ends_length]);
        ranges.map(|(start, end)| std::str::from_utf8(&self.cells[start..*end]).ok().map(str::to_owned)).collect()
    }

    fn take_header(&mut self, names: Vec<String>, parsed: &mut Vec<Parsed>) {
        let columns: Result<Vec<_>, FieldError> =
            names.into_iter().map(|name| Column::of(name.trim()).map(|column| (name, column))).collect();
        let missing = |column: &Column, columns: &[(String, Column)]| columns.iter().all(|(_, found)| found != column);
        let error = match columns {
            Ok(columns) if missing(&Column::Id, &columns) => ("id".to_owned(), "this column is required".to_owned()),
            Ok(columns) if missing(&Column::Sku, &columns) => ("sku".to_owned(), "this column is required".to_owned()),
            Ok(columns) => {
                self.header = Header::Read(columns);
                return;
            }
            Err(error) => error,
        };
        self.refuse_header(RowError::new(self.row_line, error.0, error.1), parsed);
    }

    fn refuse_header(&mut self, error: RowError, parsed: &mut Vec<Parsed>) {
        self.header = Header::Unusable;
        parsed.push(Err(error));
    }

    fn take_row(&mut self, line: u64, id: Option<ProductId>, row: Result<Row, RowError>, parsed: &mut Vec<Parsed>) {
        let continues = match (&self.product, &id) {
            (Some((current, _)), Some(id)) => current == id,
            (Some(_), None) => row.is_err(),
            (None, _) => false,
        };
        if !continues {
            self.end_product(parsed);
        }
        let added = row.and_then(|row| match &mut self.product {
            Some((_, Ok(product))) if continues => {
                if product.document.variants.len() >= VARIANTS_MAX {
                    return Err(RowError::new(line, "sku", format!("at most {VARIANTS_MAX} variants")));
                }
                product.document.variants.push(row.variant);
                Ok(())
            }
            Some(_) => Ok(()),
            None => {
                let product = row.product(line).map_err(|(field, reason)| RowError::new(line, field, reason))?;
                self.product = Some((product.id.clone(), Ok(product)));
                Ok(())
            }
        });
        if let Err(error) = added {
            parsed.push(Err(error));
            match (&mut self.product, id) {
                (Some((_, product)), _) => {
                    if let Ok(spoiled) = product {
                        let reason = format!("{} is not taken because of line {line}", spoiled.id);
                        parsed.push(Err(RowError::new(spoiled.line, "", reason)));
                    }
                    *product = Err(());
                }
                (None, Some(id)) => self.product = Some((id, Err(()))),
                (None, None) => {}
            }
        }
    }

    fn end_product(&mut self, parsed: &mut Vec<Parsed>) {
        if let Some((_, Ok(product))) = self.product.take() {
            parsed.push(Ok(product));
        }
    }
}

fn cell<'a>(columns: &[(String, Column)], cells: &'a [String], wanted: &Column) -> Option<&'a str> {
    let index = columns.iter().position(|(_, column)| column == wanted)?;
    cells.get(index).map(String::as_str)
}

/// One row, read by its columns.
struct Row {
    id: ProductId,
    title: String,
    description: String,
    categories: Vec<String>,
    media: Vec<String>,
    status: ProductStatus,
    attributes: Map<String, Value>,
    variant: Variant,
}

impl Row {
    fn of(columns: &[(String, Column)], cells: &[String]) -> Result<Self, FieldError> {
        if cells.len() != columns.len() {
            return Err((String::new(), format!("{} cells, but the header has {}", cells.len(), columns.len())));
        }
        let required = |name: &str| (name.to_owned(), "must not be empty".to_owned());
        let (mut id, mut sku): (Option<ProductId>, Option<Sku>) = (None, None);
        let (mut attributes, mut variant_attributes, mut prices) = (Map::new(), Map::new(), BTreeMap::new());
        let (mut title, mut description, mut variant_title) = (String::new(), String::new(), String::new());
        let (mut categories, mut media, mut product_status) = (Vec::new(), Vec::new(), ProductStatus::Active);
        for ((name, column), text) in columns.iter().zip(cells).filter(|(_, text)| !text.is_empty()) {
            let wrong = |reason: String| (name.clone(), reason);
            match column {
                Column::Id => id = Some(text.parse().map_err(|error| wrong(format!("{error}")))?),
                Column::Sku => sku = Some(text.parse().map_err(|error| wrong(format!("{error}")))?),
                Column::Title => title.clone_from(text),
                Column::Description => description.clone_from(text),
                Column::VariantTitle => variant_title.clone_from(text),
                Column::Categories => categories = values(text),
                Column::Media => media = values(text),
                Column::Status => product_status = status(name, text)?,
                Column::Attributes => attributes.extend(object(text).map_err(wrong)?),
                Column::VariantAttributes => variant_attributes.extend(object(text).map_err(wrong)?),
                Column::Attribute(attribute) => {
                    attributes.insert(attribute.clone(), one_or_many(text));
                }
                Column::VariantAttribute(attribute) => {
                    variant_attributes.insert(attribute.clone(), one_or_many(text));
                }
                Column::Prices => prices.extend(price_object(text).map_err(wrong)?),
                Column::Price(currency) => {
                    let amount = text.trim().parse().map_err(|_| wrong("whole minor units, e.g. 1999".to_owned()))?;
                    prices.insert(*currency, amount);
                }
            }
        }
        Ok(Self {
            id: id.ok_or_else(|| required("id"))?,
            title,
            description,
            categories,
            media,
            status: product_status,
            attributes,
            variant: Variant {
                sku: sku.ok_or_else(|| required("sku"))?,
                title: variant_title,
                attributes: attributes_text("variant_attributes", variant_attributes)?,
                prices: checked_prices("prices", prices)?,
            },
        })
    }

    /// The product this first row begins.
    fn product(self, line: u64) -> Result<CatalogueProduct, FieldError> {
        if self.title.is_empty() {
            return Err(("title".to_owned(), "must not be empty in the first row of a product".to_owned()));
        }
        let document = ProductDocument {
            title: self.title,
            description: self.description,
            categories: self.categories,
            attributes: attributes_text("attributes", self.attributes)?,
            media: self.media,
            status: self.status,
            variants: vec![self.variant],
        };
        Ok(CatalogueProduct { line, id: self.id, document })
    }
}

/// The values of one cell: separated, or a JSON array of texts.
pub fn values(text: &str) -> Vec<String> {
    let array = if text.starts_with('[') { serde_json::from_str(text).ok() } else { None };
    if let Some(values) = array {
        return values;
    }
    text.split(VALUE_SEPARATOR).map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
}

fn one_or_many(text: &str) -> Value {
    if text.contains(VALUE_SEPARATOR) {
        Value::Array(values(text).into_iter().map(Value::String).collect())
    } else {
        Value::String(text.to_owned())
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("a JSON object: {error}"))
}

fn price_object(text: &str) -> Result<BTreeMap<Currency, u64>, String> {
    serde_json::from_str(text).map_err(|error| format!("a JSON object of minor units, e.g. {{\"USD\":1999}}: {error}"))
}
