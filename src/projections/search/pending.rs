//! Products that changed since the last commit of the index, found by their SKUs too: a delivery of a thousand SKUs
//! looks at each of their products, not at everything that changed.

use std::collections::{BTreeMap, BTreeSet};

use super::SearchDocument;
use crate::domain::ids::{ProductId, Sku};

/// The products as they are to be; `None` is removed.
#[derive(Debug, Default)]
pub struct Pending {
    documents: BTreeMap<ProductId, Option<SearchDocument>>,
    /// Of the documents that are not removed.
    by_sku: BTreeMap<Sku, BTreeSet<ProductId>>,
}

impl Pending {
    /// How a product is to be from now on.
    pub fn put(&mut self, product: ProductId, document: Option<SearchDocument>) {
        for sku in document.iter().flat_map(skus) {
            self.by_sku.entry(sku.clone()).or_default().insert(product.clone());
        }
        let Some(Some(before)) = self.documents.insert(product.clone(), document) else { return };
        let after = self.documents[&product].as_ref();
        for sku in skus(&before).filter(|sku| !after.is_some_and(|after| skus(after).any(|kept| kept == *sku))) {
            if let Some(products) = self.by_sku.get_mut(sku) {
                products.remove(&product);
            }
        }
    }

    /// Tells every product here that has the SKU; whether there is any.
    pub fn set_stock(&mut self, sku: &Sku, available: u64) -> bool {
        let products = self.by_sku.get(sku).into_iter().flatten();
        let mut is_here = false;
        for product in products {
            if let Some(Some(document)) = self.documents.get_mut(product) {
                document.set_stock(sku, available);
                is_here = true;
            }
        }
        is_here
    }

    /// Whether the product is here, be it to be removed.
    pub fn contains(&self, product: &ProductId) -> bool {
        self.documents.contains_key(product)
    }

    /// How many products are here.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Every product, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (&ProductId, Option<&SearchDocument>)> {
        self.documents.iter().map(|(product, document)| (product, document.as_ref()))
    }

    /// All of it is in the index, or nothing of it matters any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn skus(document: &SearchDocument) -> impl Iterator<Item = &Sku> {
    document.item.variants.iter().map(|variant| &variant.sku)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pricing::JsonText;
    use crate::domain::time::Timestamp;
    use crate::projections::query::{ProductItem, VariantItem};

    fn sku(name: &str) -> Sku {
        name.parse().unwrap()
    }

    fn document(id: &str, skus: &[&str]) -> SearchDocument {
        let attributes = JsonText::empty_object;
        let variant = |name: &&str| VariantItem {
            sku: sku(name),
            title: String::new(),
            attributes: attributes(),
            prices: BTreeMap::new(),
            available: 0,
        };
        let item = ProductItem {
            id: id.parse().unwrap(),
            title: id.to_owned(),
            description: String::new(),
            categories: Vec::new(),
            attributes: attributes(),
            media: Vec::new(),
            version: 1,
            variants: skus.iter().map(variant).collect(),
        };
        SearchDocument { item, attributes: BTreeMap::new(), created_at: Timestamp::ZERO }
    }

    fn available(pending: &Pending, product: &str) -> Vec<u64> {
        let product: ProductId = product.parse().unwrap();
        let found = pending.iter().find(|(id, _)| **id == product).and_then(|(_, document)| document);
        found
            .map(|document| document.item.variants.iter().map(|variant| variant.available).collect())
            .unwrap_or_default()
    }

    #[test]
    fn units_reach_the_products_that_have_the_sku_now() {
        let mut pending = Pending::default();
        pending.put("tea".parse().unwrap(), Some(document("tea", &["TEA-1", "TEA-2"])));
        pending.put("set".parse().unwrap(), Some(document("set", &["SET-1"])));
        assert!(pending.set_stock(&sku("TEA-2"), 5) && !pending.set_stock(&sku("CUP-1"), 5));
        assert_eq!((available(&pending, "tea"), available(&pending, "set")), (vec![0, 5], vec![0]));
        // The SKU moves to the other product.
        pending.put("tea".parse().unwrap(), Some(document("tea", &["TEA-1"])));
        pending.put("set".parse().unwrap(), Some(document("set", &["SET-1", "TEA-2"])));
        assert!(pending.set_stock(&sku("TEA-2"), 7));
        assert_eq!((available(&pending, "tea"), available(&pending, "set")), (vec![0], vec![0, 7]));
    }

    #[test]
    fn a_removed_product_is_here_but_has_no_sku() {
        let mut pending = Pending::default();
        let tea: ProductId = "tea".parse().unwrap();
        pending.put(tea.clone(), Some(document("tea", &["TEA-1"])));
        pending.put(tea.clone(), None);
        assert!(pending.contains(&tea) && !pending.set_stock(&sku("TEA-1"), 5));
        assert_eq!((pending.len(), pending.iter().next().map(|(_, document)| document.is_none())), (1, Some(true)));
        pending.clear();
        assert!(pending.is_empty() && !pending.contains(&tea));
    }
}
