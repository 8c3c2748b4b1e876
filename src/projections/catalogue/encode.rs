//! Products as lines of a catalogue file.

use super::CatalogueFormat;
use super::csv_rows::VALUE_SEPARATOR;
use super::document::ProductLine;
use crate::domain::product::{ProductView, Variant};

/// The columns an export writes. Objects are JSON, so that a file has the same columns whatever is in it.
pub const CSV_HEADER: [&str; 11] = [
    "id",
    "title",
    "description",
    "categories",
    "media",
    "status",
    "attributes",
    "sku",
    "variant_title",
    "variant_attributes",
    "prices",
];

/// What a file begins with.
pub fn beginning(format: CatalogueFormat) -> Vec<u8> {
    match format {
        CatalogueFormat::Csv => csv_bytes([CSV_HEADER.map(str::to_owned).to_vec()]),
        CatalogueFormat::NdJson => Vec::new(),
    }
}

/// The lines of one product.
pub fn product(format: CatalogueFormat, view: &ProductView) -> Vec<u8> {
    match format {
        CatalogueFormat::Csv => csv_bytes(view.document.variants.iter().map(|variant| csv_row(view, variant))),
        CatalogueFormat::NdJson => {
            let mut line = serde_json::to_vec(&ProductLine::of(view)).expect("a product always has a JSON form");
            line.push(b'\n');
            line
        }
    }
}

fn csv_row(view: &ProductView, variant: &Variant) -> Vec<String> {
    let document = &view.document;
    vec![
        view.id.to_string(),
        document.title.clone(),
        document.description.clone(),
        joined(&document.categories),
        joined(&document.media),
        document.status.name().to_owned(),
        document.attributes.0.to_string(),
        variant.sku.to_string(),
        variant.title.clone(),
        variant.attributes.0.to_string(),
        serde_json::to_string(&variant.prices.0).expect("prices always have a JSON form"),
    ]
}

/// Values in one cell: separated, or as a JSON array when that would not read back as the same values.
fn joined(values: &[String]) -> String {
    let text = values.join(&VALUE_SEPARATOR.to_string());
    if super::csv_rows::values(&text) == values {
        text
    } else {
        serde_json::to_string(values).expect("texts always have a JSON form")
    }
}

fn csv_bytes(rows: impl IntoIterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).expect("rows of one file have the same number of cells; memory never fails");
    }
    writer.into_inner().expect("memory never fails")
}
