use super::*;
use crate::domain::money::Currency;
use crate::domain::pricing::{JsonText, Prices};
use crate::domain::registry::AnyReply;
use crate::domain::stock::StockReply;

fn document(title: &str, skus: &[&str]) -> Arc<ProductDocument> {
    let variant = |sku: &&str| Variant {
        sku: sku.parse().unwrap(),
        title: "100 g".to_owned(),
        attributes: JsonText::empty_object(),
        prices: Prices([(Currency::USD, 1_200)].into()),
    };
    Arc::new(ProductDocument {
        title: title.to_owned(),
        description: String::new(),
        categories: vec!["drinks/tea".to_owned()],
        attributes: JsonText::empty_object(),
        media: Vec::new(),
        status: ProductStatus::Active,
        variants: skus.iter().map(variant).collect(),
    })
}

fn put(title: &str, skus: &[&str]) -> ProductCommand {
    ProductCommand::Put { document: document(title, skus), expected_version: None }
}

fn entity() -> EntityId {
    "product/sencha".parse().unwrap()
}

fn run(product: &mut Product, command: &ProductCommand) -> Decision<ProductEvent, ProductReply> {
    let decision = product.decide(command, Timestamp(5)).unwrap();
    decision.events.iter().for_each(|event| product.apply(event, Timestamp(5)));
    product.assert_invariants();
    decision
}

fn product_after(commands: &[ProductCommand]) -> Product {
    let mut product = Product::new(&entity());
    commands.iter().for_each(|command| drop(run(&mut product, command)));
    product
}

/// Settles everything owed: refused as taken by another product where `taken` says so.
fn settle_all(product: &mut Product, taken: &[&str]) {
    for outgoing in product.outstanding() {
        let settlement = if taken.contains(&outgoing.obligation.target.as_str()) {
            let sku = outgoing.obligation.target.parse().unwrap();
            Settlement::Rejected(Rejection::SkuTaken { sku, product: "other".parse().unwrap() })
        } else {
            Settlement::Accepted(AnyReply::Stock(StockReply::Listed { version: product.version }))
        };
        let command = product.settle(&outgoing.obligation, &settlement).unwrap();
        run(product, &command);
    }
}

fn names(product: &Product) -> Vec<String> {
    product.outstanding().iter().map(|outgoing| outgoing.obligation.to_string()).collect()
}

fn view(product: &Product) -> ProductView {
    let ProductReply::Shown(view) = product.decide(&ProductCommand::Show, Timestamp(9)).unwrap().reply else {
        panic!("Show answers with the product");
    };
    *view
}

#[test]
fn every_version_owes_its_stock_items_a_listing() {
    let mut product = product_after(&[put("Sencha", &["A", "B"])]);
    assert_eq!(names(&product), ["product/sencha/list/A/1", "product/sencha/list/B/1"]);
    settle_all(&mut product, &[]);
    assert!(product.outstanding().is_empty());
    run(&mut product, &put("Sencha", &["B", "C"]));
    let owed = ["product/sencha/unlist/A/2", "product/sencha/list/B/2", "product/sencha/list/C/2"];
    assert_eq!(names(&product), owed);
}

#[test]
fn the_same_document_again_changes_nothing() {
    let product = product_after(&[put("Sencha", &["A"])]);
    let again = product.decide(&put("Sencha", &["A"]), Timestamp(9)).unwrap();
    assert!(again.events.is_empty());
    assert_eq!(again.reply, ProductReply::Put { version: 1, created: false, changed: false });
}

#[test]
fn a_taken_sku_is_a_conflict_until_a_later_document_tries_again() {
    let mut product = product_after(&[put("Sencha", &["A", "B"])]);
    settle_all(&mut product, &["B"]);
    assert_eq!(view(&product).conflicts, [("B".parse().unwrap(), "other".parse().unwrap())].into());
    let retry = run(&mut product, &put("Sencha", &["A", "B"]));
    assert_eq!(retry.reply, ProductReply::Put { version: 2, created: false, changed: true });
    settle_all(&mut product, &[]);
    assert!(view(&product).conflicts.is_empty());
}

#[test]
fn a_sku_of_another_product_is_not_given_up_on_deletion() {
    let mut product = product_after(&[put("Sencha", &["A", "B"])]);
    settle_all(&mut product, &["B"]);
    run(&mut product, &ProductCommand::Delete { expected_version: None });
    assert_eq!(names(&product), ["product/sencha/unlist/A/2"]);
}

#[test]
fn an_answer_to_an_old_version_is_ignored() {
    let mut product = product_after(&[put("Sencha", &["A"])]);
    let old = product.outstanding().remove(0);
    run(&mut product, &put("Sencha tea", &["A"]));
    let settlement = Settlement::Accepted(AnyReply::Stock(StockReply::Listed { version: 1 }));
    assert_eq!(product.settle(&old.obligation, &settlement), None);
    let late = ProductCommand::ListingSettled { sku: "A".parse().unwrap(), version: 1, taken_by: None };
    assert!(run(&mut product, &late).replayed);
    assert_eq!(names(&product), ["product/sencha/list/A/2"]);
}

#[test]
fn a_stale_expected_version_is_rejected() {
    let product = product_after(&[put("Sencha", &["A"])]);
    let stale = ProductCommand::Put { document: document("x", &["A"]), expected_version: Some(0) };
    let rejection = Rejection::ProductVersion { expected: 0, actual: 1 };
    assert_eq!(product.decide(&stale, Timestamp(9)), Err(rejection));
}

#[test]
fn a_deleted_product_is_not_found_and_versions_go_on() {
    let mut product = product_after(&[put("Sencha", &["A"]), ProductCommand::Delete { expected_version: None }]);
    assert_eq!(product.decide(&ProductCommand::Show, Timestamp(9)), Err(Rejection::NotFound { entity: entity() }));
    let again = run(&mut product, &put("Sencha", &["A"]));
    assert_eq!(again.reply, ProductReply::Put { version: 3, created: true, changed: true });
}

#[test]
fn documents_outside_the_limits_name_the_field() {
    let product = Product::new(&entity());
    let refused = |document: ProductDocument| {
        let command = ProductCommand::Put { document: Arc::new(document), expected_version: None };
        match product.decide(&command, Timestamp(1)) {
            Err(Rejection::InvalidRequest { field, .. }) => field,
            other => panic!("expected a refusal, got {other:?}"),
        }
    };
    let good = document("Sencha", &["A", "B"]);
    assert_eq!(refused(ProductDocument { title: String::new(), ..(*good).clone() }), "title");
    assert_eq!(refused(ProductDocument { variants: Vec::new(), ..(*good).clone() }), "variants");
    assert_eq!(refused((*document("Sencha", &["A", "A"])).clone()), "variants[1].sku");
}
