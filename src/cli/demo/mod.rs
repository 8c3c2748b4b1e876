//! The demo catalogue: a small shop of tea, coffee, kitchen, outdoor and stationery, made from word lists.
//!
//! Loading goes the way every merchant's change goes, as commands to entities: each product is put, then units of its
//! SKUs are received. What is there already is left alone, so loading can be cut short at any point and run again, and
//! a shop that sold some of it is not filled up. The last product is loaded last: its stock says that all is there.

mod shop;
mod words;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::actors::dedup::command_id_of;
use crate::actors::messages::{Answer, Ask, AskError, Origin, Request};
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{EntityId, ProductId, Sku};
use crate::domain::money::Currency;
use crate::domain::pricing::{JsonText, Prices};
use crate::domain::product::{ProductCommand, ProductDocument, ProductStatus, Variant};
use crate::domain::quantity::Quantity;
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::rejection::Rejection;
use crate::domain::stock::{StockCommand, StockReply};
use shop::{DemoProduct, DemoVariant};

/// How long one command may take; a starting node has time.
const BUDGET: Duration = Duration::from_secs(30);

/// Products loaded at once: enough to share flushes, few enough to leave room for shoppers.
const PRODUCTS_AT_ONCE: usize = 32;

/// What loading did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Everything was there.
    Already,
    /// This many products were put in.
    Products(usize),
}

/// Fills the shop, unless it is filled.
pub async fn load(ask: &dyn Ask) -> Result<Loaded, AskError> {
    let products = shop::catalogue();
    let Some((last, others)) = products.split_last() else { return Ok(Loaded::Already) };
    if is_loaded(ask, last).await? {
        return Ok(Loaded::Already);
    }
    stream::iter(others)
        .map(|product| load_product(ask, product))
        .buffer_unordered(PRODUCTS_AT_ONCE)
        .try_collect::<()>()
        .await?;
    load_product(ask, last).await?;
    Ok(Loaded::Products(products.len()))
}

/// One line of NDJSON per product, in the form `catalog import` reads.
pub fn export() -> impl Iterator<Item = Value> {
    shop::catalogue().into_iter().map(|product| {
        let variants: Vec<_> = product
            .variants
            .iter()
            .map(|variant| {
                let prices = json!({"USD": variant.usd, "EUR": variant.eur});
                json!({"sku": variant.sku, "title": variant.title, "attributes": variant.attributes, "prices": prices})
            })
            .collect();
        json!({
            "id": product.id, "title": product.title, "description": product.description,
            "categories": product.categories, "attributes": product.attributes, "media": product.media,
            "status": "active", "variants": variants,
        })
    })
}

async fn is_loaded(ask: &dyn Ask, last: &DemoProduct) -> Result<bool, AskError> {
    for variant in &last.variants {
        if units_received(ask, &sku(variant)).await? < u64::from(variant.units) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn load_product(ask: &dyn Ask, product: &DemoProduct) -> Result<(), AskError> {
    let id: ProductId = product.id.parse().expect("a test reads every id of the demo catalogue");
    let put = ProductCommand::Put { document: Arc::new(document(product)), expected_version: None };
    send(ask, EntityId::product(&id), AnyCommand::Product(put), &format!("demo/product/{id}")).await?;
    for variant in &product.variants {
        let sku = sku(variant);
        let Some(quantity) = Quantity::new(variant.units) else { continue };
        if units_received(ask, &sku).await? > 0 {
            continue;
        }
        let receive = StockCommand::Receive { quantity, reference: "demo".to_owned() };
        send(ask, EntityId::stock(&sku), AnyCommand::Stock(receive), &format!("demo/receive/{sku}")).await?;
    }
    Ok(())
}

async fn units_received(ask: &dyn Ask, sku: &Sku) -> Result<u64, AskError> {
    let show = AnyCommand::Stock(StockCommand::Show);
    match send(ask, EntityId::stock(sku), show, &format!("demo/show/{sku}")).await {
        Ok(Answer { reply: AnyReply::Stock(StockReply::Shown(view)), .. }) => Ok(view.numbers.received),
        Ok(_) => Ok(0),
        Err(AskError::Rejected(Rejection::NotFound { .. })) => Ok(0),
        Err(error) => Err(error),
    }
}

/// `name` becomes the command's id: the same step of loading is the same command, however often it is sent.
async fn send(ask: &dyn Ask, entity: EntityId, command: AnyCommand, name: &str) -> Result<Answer, AskError> {
    let stamp = Stamp { command: command_id_of(name), fingerprint: Fingerprint::default() };
    ask.ask(Request { entity, command, stamp, origin: Origin::ClientKey, budget: BUDGET }).await
}

fn document(product: &DemoProduct) -> ProductDocument {
    ProductDocument {
        title: product.title.clone(),
        description: product.description.clone(),
        categories: product.categories.clone(),
        attributes: json_text(&product.attributes),
        media: product.media.clone(),
        status: ProductStatus::Active,
        variants: product.variants.iter().map(variant).collect(),
    }
}

fn variant(variant: &DemoVariant) -> Variant {
    Variant {
        sku: sku(variant),
        title: variant.title.clone(),
        attributes: json_text(&variant.attributes),
        prices: Prices([(Currency::USD, variant.usd), (Currency::EUR, variant.eur)].into()),
    }
}

fn sku(variant: &DemoVariant) -> Sku {
    variant.sku.parse().expect("a test reads every SKU of the demo catalogue")
}

/// Keys of a `BTreeMap` are in order already, so this is the canonical text.
fn json_text(attributes: &std::collections::BTreeMap<String, String>) -> JsonText {
    JsonText(serde_json::to_string(attributes).expect("a map of texts is JSON").into())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::domain::product::ProductReply;
    use crate::domain::stock::{StockNumbers, StockView};
    use crate::domain::time::{Sequence, Timestamp};

    /// Shelves that refuse every command after `left` of them.
    #[derive(Default)]
    struct Shelves {
        received: Mutex<BTreeMap<EntityId, u64>>,
        products: Mutex<BTreeSet<EntityId>>,
        left: Mutex<Option<usize>>,
    }

    impl Shelves {
        fn stock(&self, request: &Request, command: &StockCommand) -> Result<StockReply, AskError> {
            let mut received = self.received.lock().unwrap();
            let numbers = |units| StockNumbers { received: units, ..StockNumbers::default() };
            match command {
                StockCommand::Show => {
                    let units = received.get(&request.entity).copied();
                    let units = units.ok_or(Rejection::NotFound { entity: request.entity.clone() })?;
                    let sku = request.entity.key.parse().unwrap();
                    Ok(StockReply::Shown(Box::new(StockView { sku, listing: None, numbers: numbers(units), holds: 0 })))
                }
                StockCommand::Receive { quantity, .. } => {
                    let units = received.entry(request.entity.clone()).or_default();
                    *units += u64::from(quantity.get());
                    Ok(StockReply::Counted(numbers(*units)))
                }
                other => panic!("loading has no use for {other:?}"),
            }
        }
    }

    #[async_trait]
    impl Ask for Shelves {
        async fn ask(&self, request: Request) -> Result<Answer, AskError> {
            if let Some(left) = self.left.lock().unwrap().as_mut() {
                *left = left.checked_sub(1).ok_or(AskError::StorageFull)?;
            }
            let reply = match &request.command {
                AnyCommand::Stock(command) => AnyReply::Stock(self.stock(&request, command)?),
                AnyCommand::Product(ProductCommand::Put { .. }) => {
                    let created = self.products.lock().unwrap().insert(request.entity.clone());
                    AnyReply::Product(ProductReply::Put { version: 1, created, changed: created })
                }
                other => panic!("loading has no use for {other:?}"),
            };
            Ok(Answer { reply, sequence: Sequence(1), at: Timestamp::ZERO, replayed: false })
        }
    }

    fn units_in_catalogue() -> u64 {
        shop::catalogue().iter().flat_map(|product| &product.variants).map(|variant| u64::from(variant.units)).sum()
    }

    fn units_on(shelves: &Shelves) -> u64 {
        shelves.received.lock().unwrap().values().sum()
    }

    #[tokio::test]
    async fn loading_twice_fills_the_shelves_once() {
        let shelves = Shelves::default();
        assert_eq!(load(&shelves).await, Ok(Loaded::Products(shop::catalogue().len())));
        assert_eq!(load(&shelves).await, Ok(Loaded::Already));
        assert_eq!(units_on(&shelves), units_in_catalogue());
    }

    #[tokio::test]
    async fn loading_that_was_cut_short_is_finished_by_the_next() {
        let shelves = Shelves { left: Mutex::new(Some(700)), ..Shelves::default() };
        assert_eq!(load(&shelves).await, Err(AskError::StorageFull));
        assert!(units_on(&shelves) < units_in_catalogue());
        *shelves.left.lock().unwrap() = None;
        assert_eq!(load(&shelves).await, Ok(Loaded::Products(shop::catalogue().len())));
        assert_eq!(units_on(&shelves), units_in_catalogue());
        assert_eq!(shelves.products.lock().unwrap().len(), shop::catalogue().len());
    }

    #[test]
    fn every_document_is_within_the_limits_of_a_product() {
        for product in shop::catalogue() {
            let document = document(&product);
            assert!(document.variants.len() <= crate::domain::product::VARIANTS_MAX);
            assert!(document.variants.iter().all(|variant| variant.prices.is_valid()));
        }
    }
}
