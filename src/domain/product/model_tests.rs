//! Products that compete for SKUs, against real stock items, with deliveries repeated and overtaken.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::entity::Destination;
use crate::domain::money::Currency;
use crate::domain::pricing::{JsonText, Prices};
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::stock::StockItem;
use crate::domain::testkit::{Subject, sku};

const PRODUCTS: [&str; 3] = ["tea", "coffee", "cocoa"];
const SKUS: [&str; 4] = ["A", "B", "C", "D"];

#[derive(Clone, Debug)]
enum Step {
    /// A product says it has the SKUs whose bit is set.
    Put {
        product: usize,
        skus: u8,
        price: u64,
    },
    Delete {
        product: usize,
    },
    /// One owed command reaches its stock item; `lost` is an answer that never comes back.
    Deliver {
        product: usize,
        which: usize,
        lost: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let product = 0..PRODUCTS.len();
    prop_oneof![
        2 => (product.clone(), 1..16_u8, 1..9_u64)
            .prop_map(|(product, skus, price)| Step::Put { product, skus, price }),
        1 => product.clone().prop_map(|product| Step::Delete { product }),
        6 => (product, 0..4_usize, any::<bool>())
            .prop_map(|(product, which, lost)| Step::Deliver { product, which, lost }),
    ]
}

fn put(skus: u8, price: u64) -> ProductCommand {
    let variant = |(_, name): (usize, &&str)| Variant {
        sku: sku(name),
        title: String::new(),
        attributes: JsonText::empty_object(),
        prices: Prices(BTreeMap::from([(Currency::USD, price)])),
    };
    let named = SKUS.iter().enumerate().filter(|(bit, _)| skus & (1 << bit) != 0);
    let document = ProductDocument {
        title: "Product".into(),
        description: String::new(),
        categories: Vec::new(),
        attributes: JsonText::empty_object(),
        media: Vec::new(),
        status: ProductStatus::Active,
        variants: named.map(variant).collect(),
    };
    ProductCommand::Put { document: Arc::new(document), expected_version: None }
}

struct World {
    products: Vec<Subject<Product>>,
    items: BTreeMap<Sku, Subject<StockItem>>,
}

impl World {
    fn new() -> Self {
        let product = |name: &&str| Subject::new(&EntityId::product(&name.parse().unwrap()));
        let item = |name: &&str| (sku(name), Subject::new(&EntityId::stock(&sku(name))));
        Self { products: PRODUCTS.iter().map(product).collect(), items: SKUS.iter().map(item).collect() }
    }

    fn deliver(&mut self, product: usize, which: usize, lost: bool) -> bool {
        let owed = self.products[product].state.outstanding();
        let Some(outgoing) = owed.get(which % owed.len().max(1)) else { return false };
        let Destination::Entity(to, AnyCommand::Stock(command)) = &outgoing.to else { panic!("{outgoing:?}") };
        let item = self.items.get_mut(&to.key.parse::<Sku>().unwrap()).unwrap();
        let settlement = match item.when(command.clone()) {
            Ok(decision) => Settlement::Accepted(AnyReply::Stock(decision.reply)),
            Err(rejection) => Settlement::Rejected(rejection),
        };
        if !lost {
            let settled = self.products[product].state.settle(&outgoing.obligation, &settlement).unwrap();
            self.products[product].yes(settled.clone());
            self.products[product].again(settled);
        }
        true
    }

    /// Who lists a SKU, in which version.
    fn lister(&self, sku: &Sku) -> Option<(ProductId, u64)> {
        self.items[sku].state.listing().map(|listing| (listing.product.clone(), listing.version))
    }
}

proptest! {
    #[test]
    fn every_sku_ends_with_one_product_that_knows_it(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Put { product, skus, price } => drop(world.products[product].yes(put(skus, price))),
                Step::Delete { product } => {
                    drop(world.products[product].when(ProductCommand::Delete { expected_version: None }));
                }
                Step::Deliver { product, which, lost } => drop(world.deliver(product, which, lost)),
            }
        }
        (0..PRODUCTS.len()).for_each(|product| while world.deliver(product, 0, false) {});
        for product in &world.products {
            let id = product.state.id();
            for variant in product.state.document.iter().flat_map(|document| &document.variants) {
                let conflict = product.state.conflicts.contains_key(&variant.sku);
                let lister = world.lister(&variant.sku);
                let own = lister.as_ref().is_some_and(|(lister, _)| *lister == id);
                prop_assert!(own != conflict, "{} of {}: {:?}, conflict {}", variant.sku, id, lister, conflict);
                let is_current = !own || lister.unwrap().1 == product.state.version;
                prop_assert!(is_current, "{} is of an old version", variant.sku);
            }
        }
        for name in SKUS {
            if let Some((lister, _)) = world.lister(&sku(name)) {
                let owner = world.products.iter().find(|product| product.state.id() == lister).unwrap();
                let has = owner.state.document.iter().flat_map(|d| &d.variants).any(|v| v.sku == sku(name));
                prop_assert!(has, "{name} is listed by {lister}, which does not have it");
            }
        }
    }
}
