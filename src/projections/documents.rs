//! Products as search knows them: the merchant's document, its attributes flattened to filterable values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::query::{ProductItem, VariantItem};
use super::search::SearchDocument;
use crate::domain::pricing::JsonText;
use crate::domain::product::{ProductStatus, ProductView, Variant};

/// Most values of one attribute that are indexed; more make it text, not a filter.
const ATTRIBUTE_VALUES_MAX: usize = 100;

/// What search holds of a product; `None` when it is not for sale. Variants whose SKU another product has are left out.
/// Availability is zero until somebody says otherwise.
pub fn document_of(view: &ProductView) -> Option<SearchDocument> {
    let document = &view.document;
    if document.status != ProductStatus::Active {
        return None;
    }
    let own: Vec<&Variant> =
        document.variants.iter().filter(|variant| !view.conflicts.contains_key(&variant.sku)).collect();
    let mut attributes = BTreeMap::new();
    for json in [&document.attributes].into_iter().chain(own.iter().map(|variant| &variant.attributes)) {
        flatten(json, &mut attributes);
    }
    let item = ProductItem {
        id: view.id.clone(),
        title: document.title.clone(),
        description: document.description.clone(),
        categories: document.categories.clone(),
        attributes: document.attributes.clone(),
        media: document.media.clone(),
        version: view.version,
        variants: own.into_iter().map(variant_item).collect(),
    };
    let attributes = attributes.into_iter().map(|(name, values)| (name, values.into_iter().collect())).collect();
    Some(SearchDocument { item, attributes, created_at: view.created_at })
}

fn variant_item(variant: &Variant) -> VariantItem {
    VariantItem {
        sku: variant.sku.clone(),
        title: variant.title.clone(),
        attributes: variant.attributes.clone(),
        prices: variant.prices.0.clone(),
        available: 0,
    }
}

/// Adds the values of a JSON object: texts, numbers and booleans as text, lists value by value. What is nested deeper
/// is for display only.
fn flatten(json: &JsonText, into: &mut BTreeMap<String, BTreeSet<String>>) {
    let Ok(Value::Object(object)) = serde_json::from_str(&json.0) else { return };
    for (name, value) in object {
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        let texts: Vec<String> = values.into_iter().filter_map(text_of).collect();
        if texts.is_empty() {
            continue;
        }
        let known = into.entry(name).or_default();
        known.extend(texts.into_iter().take(ATTRIBUTE_VALUES_MAX.saturating_sub(known.len())));
    }
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_become_texts_and_nested_values_stay_for_display() {
        let mut flat = BTreeMap::new();
        let json = r#"{"colour":["red","blue"],"grams":250,"organic":true,"size":null,"box":{"width":1}}"#;
        flatten(&JsonText(json.into()), &mut flat);
        let expected: [(&str, &[&str]); 3] =
            [("colour", &["blue", "red"]), ("grams", &["250"]), ("organic", &["true"])];
        let flat: Vec<(&str, Vec<&str>)> =
            flat.iter().map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect())).collect();
        assert_eq!(flat, expected.map(|(name, values)| (name, values.to_vec())));
    }
}
