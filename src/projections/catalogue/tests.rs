//! Catalogue files: what is read, what is refused, and that nothing panics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use proptest::prelude::*;

use super::import::{Import, ImportError, ImportOptions, ImportReport, ImportRun};
use super::*;
use crate::actors::messages::{Answer, Ask, AskError, Request};
use crate::domain::ids::{CommandId, Sku};
use crate::domain::money::Currency;
use crate::domain::pricing::{JsonText, Listing, Prices};
use crate::domain::product::{ProductCommand, ProductReply, ProductStatus, ProductView, Variant};
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::rejection::Rejection;
use crate::domain::stock::{StockCommand, StockNumbers, StockReply, StockView};
use crate::domain::time::{Sequence, Timestamp};

fn parse(format: CatalogueFormat, bytes: &[u8]) -> Vec<Parsed> {
    parse_in_pieces(format, bytes, bytes.len().max(1))
}

fn parse_in_pieces(format: CatalogueFormat, bytes: &[u8], size: usize) -> Vec<Parsed> {
    let (mut parser, mut parsed) = (CatalogueParser::new(format), Vec::new());
    for piece in bytes.chunks(size) {
        parser.push(piece, &mut parsed);
    }
    parser.finish(&mut parsed);
    parsed
}

fn errors(parsed: &[Parsed]) -> Vec<(u64, &str)> {
    parsed.iter().filter_map(|row| row.as_ref().err()).map(|error| (error.line, error.field.as_str())).collect()
}

fn ids(parsed: &[Parsed]) -> Vec<&str> {
    parsed.iter().filter_map(|row| row.as_ref().ok()).map(|product| product.id.as_str()).collect()
}

const CSV: &str = "id,title,sku,categories,attr.origin,variant.size,price.USD,prices\r\n\
    tea,\"Green, \"\"tea\"\"\",TEA-1,drinks/tea|gifts,Japan,100 g,900,\r\n\
    tea,,TEA-2,,,250 g,,\"{\"\"EUR\"\":1700}\"\r\n\
    \r\n\
    cup,\"Cup\nwith a break\",CUP-1,,red|blue,,150,\r\n";

#[test]
fn csv_rows_of_one_product_become_its_variants() {
    let parsed = parse(CatalogueFormat::Csv, CSV.as_bytes());
    assert_eq!((ids(&parsed), errors(&parsed)), (vec!["tea", "cup"], vec![]));
    let tea = parsed[0].as_ref().unwrap();
    assert_eq!((tea.line, tea.document.title.as_str()), (2, "Green, \"tea\""));
    assert_eq!(tea.document.categories, ["drinks/tea", "gifts"]);
    assert_eq!(&*tea.document.attributes.0, r#"{"origin":"Japan"}"#);
    let variants: Vec<_> = tea.document.variants.iter().map(|v| (v.sku.as_str(), &*v.attributes.0)).collect();
    assert_eq!(variants, [("TEA-1", r#"{"size":"100 g"}"#), ("TEA-2", r#"{"size":"250 g"}"#)]);
    assert_eq!(tea.document.variants[0].prices.0, [(Currency::USD, 900)].into());
    assert_eq!(tea.document.variants[1].prices.0, [(Currency::EUR, 1_700)].into());
    let cup = parsed[1].as_ref().unwrap();
    assert_eq!((cup.line, &*cup.document.attributes.0), (5, r#"{"origin":["red","blue"]}"#));
}

#[test]
fn a_bad_csv_row_is_named_by_line_and_takes_its_whole_product_with_it() {
    let csv = "id,title,sku,price.USD\na,A,A-1,1\na,,A-2,many\na,,A-3,3\nb,B,B-1,1\nc,,C-1,1\n,,X,1\nd,D,D-1\n";
    let parsed = parse(CatalogueFormat::Csv, csv.as_bytes());
    assert_eq!(ids(&parsed), ["b"]);
    assert_eq!(errors(&parsed), [(3, "price.USD"), (2, ""), (6, "title"), (7, "id"), (8, "")]);
}

#[test]
fn a_csv_file_without_a_usable_header_says_so_once() {
    for (csv, field) in [("", ""), ("id,colour\n1,2\n", "colour"), ("sku,title\nx,y\n", "id"), ("id,title\n", "sku")] {
        let parsed = parse(CatalogueFormat::Csv, csv.as_bytes());
        assert_eq!(errors(&parsed), [(1, field)], "{csv:?}");
    }
}

#[test]
fn ndjson_errors_name_line_and_path_and_the_rest_is_taken() {
    let good = r#"{"id":"tea","title":"Tea","attributes":{"b":1,"a":[2]},"variants":[{"sku":"T","prices":{"USD":1}}]}"#;
    let unknown = r#"{"id":"x","title":"X","variants":[{"sku":"bad sku","prices":{}}]}"#;
    let file = format!("\u{feff}{good}\n\n{unknown}\nnot json\n{}\n", good.replace("tea", "cup"));
    let parsed = parse(CatalogueFormat::NdJson, file.as_bytes());
    assert_eq!(ids(&parsed), ["tea", "cup"]);
    assert_eq!(errors(&parsed), [(3, "variants[0].sku"), (4, "")]);
    assert_eq!(&*parsed[0].as_ref().unwrap().document.attributes.0, r#"{"a":[2],"b":1}"#);
}

#[test]
fn an_overlong_row_is_skipped_and_the_next_one_read() {
    let long = "x".repeat(ROW_BYTES_MAX + 1);
    let csv = format!("id,title,sku\na,{long},A-1\nb,B,B-1\n");
    let parsed = parse_in_pieces(CatalogueFormat::Csv, csv.as_bytes(), 4_096);
    assert_eq!((ids(&parsed), errors(&parsed)), (vec!["b"], vec![(2, "")]));
    let ndjson = format!("{long}\n{{\"id\":\"b\",\"title\":\"B\",\"variants\":[]}}");
    let parsed = parse_in_pieces(CatalogueFormat::NdJson, ndjson.as_bytes(), 4_096);
    assert_eq!((ids(&parsed), errors(&parsed)), (vec!["b"], vec![(1, "")]));
}

fn any_view() -> impl Strategy<Value = ProductView> {
    let word = || "[a-zäß|,\"\n\\[ ]{0,6}";
    let words = || prop::collection::vec(word(), 0..3);
    let object = || {
        prop::collection::btree_map("[a-z]{1,3}", prop_oneof![word(), "[0-9]{1,3}"], 0..3)
            .prop_map(|map| JsonText(serde_json::to_string(&map).unwrap().into()))
    };
    let prices = prop::collection::btree_map(prop::sample::select(vec![Currency::USD, Currency::EUR]), 0_u64..9, 0..3);
    let variants = prop::collection::vec((word(), object(), prices), 1..4);
    let status = prop::sample::select(vec![ProductStatus::Draft, ProductStatus::Active, ProductStatus::Archived]);
    let parts = ("[a-z]{1,5}", "[A-Z\"|]{1,5}", word(), words(), words(), object(), status, variants);
    parts.prop_map(|(id, title, description, categories, media, attributes, status, variants)| {
        let variants = (0..).zip(variants).map(|(number, (title, attributes, prices)): (u32, _)| Variant {
            sku: format!("{id}-{number}").parse().unwrap(),
            title,
            attributes,
            prices: Prices(prices),
        });
        let document =
            ProductDocument { title, description, categories, attributes, media, status, variants: variants.collect() };
        ProductView {
            id: id.parse().unwrap(),
            version: 1,
            document: Arc::new(document),
            pending: BTreeSet::new(),
            conflicts: BTreeMap::new(),
            created_at: Timestamp(1),
            updated_at: Timestamp(1),
        }
    })
}

proptest! {
    #[test]
    fn what_is_exported_imports_as_the_same_documents(
        views in prop::collection::vec(any_view(), 1..4),
        size in 1_usize..40,
    ) {
        // Neighbours of one id would be read as one product, as they should.
        let mut views = views;
        views.dedup_by(|a, b| a.id == b.id);
        for format in [CatalogueFormat::Csv, CatalogueFormat::NdJson] {
            let mut file = encode::beginning(format);
            views.iter().for_each(|view| file.extend(encode::product(format, view)));
            let parsed: Result<Vec<_>, _> = parse_in_pieces(format, &file, size).into_iter().collect();
            let documents: Vec<_> = parsed.unwrap().into_iter().map(|product| (product.id, product.document)).collect();
            let expected: Vec<_> = views.iter().map(|view| (view.id.clone(), (*view.document).clone())).collect();
            prop_assert_eq!(documents, expected, "{:?}: {}", format, String::from_utf8_lossy(&file));
        }
    }

    #[test]
    fn arbitrary_bytes_in_arbitrary_pieces_never_panic_and_mean_the_same(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        with_header: bool,
        size in 1_usize..50,
    ) {
        let header = if with_header { "id,sku,title,price.USD\n" } else { "" };
        let bytes = [header.as_bytes(), &bytes].concat();
        for format in [CatalogueFormat::Csv, CatalogueFormat::NdJson] {
            prop_assert_eq!(parse_in_pieces(format, &bytes, size), parse(format, &bytes));
        }
    }

    #[test]
    fn almost_csv_in_any_pieces_means_the_same(text in "[ab,\"\r\n1|]{0,120}", size in 1_usize..20) {
        let bytes = format!("id,sku,title,price.USD\n{text}").into_bytes();
        let whole = parse(CatalogueFormat::Csv, &bytes);
        prop_assert_eq!(parse_in_pieces(CatalogueFormat::Csv, &bytes, size), whole);
    }
}

/// A shop with nothing but products and what lists their SKUs, remembering every command id of a change it saw.
#[derive(Default)]
struct Shop {
    products: Mutex<BTreeMap<ProductId, Arc<ProductDocument>>>,
    listings: Mutex<BTreeMap<String, Arc<Listing>>>,
    asked: Mutex<Vec<(ProductId, CommandId)>>,
    /// Answers given before anything else, first one first.
    first: Mutex<Vec<AskError>>,
}

#[async_trait]
impl Ask for Shop {
    async fn ask(&self, request: Request) -> Result<Answer, AskError> {
        let AnyCommand::Product(ProductCommand::Put { document, .. }) = request.command else {
            return self.show(&request);
        };
        let id: ProductId = request.entity.key.parse().unwrap();
        self.asked.lock().unwrap().push((id.clone(), request.stamp.command));
        let mut first = self.first.lock().unwrap();
        if !first.is_empty() {
            return Err(first.remove(0));
        }
        let before = self.products.lock().unwrap().insert(id, document.clone());
        let (created, changed) = (before.is_none(), before != Some(document));
        let reply = AnyReply::Product(ProductReply::Put { version: 1, created, changed });
        Ok(Answer { reply, sequence: Sequence(1), at: Timestamp(1), replayed: false })
    }
}

impl Shop {
    fn show(&self, request: &Request) -> Result<Answer, AskError> {
        let key = &*request.entity.key;
        let reply = match &request.command {
            AnyCommand::Product(ProductCommand::Show) => {
                let id: ProductId = key.parse().unwrap();
                let document = self.products.lock().unwrap().get(&id).cloned();
                document.map(|document| {
                    let (pending, conflicts) = (BTreeSet::new(), BTreeMap::new());
                    let (created_at, updated_at) = (Timestamp(1), Timestamp(1));
                    let view = ProductView { id, version: 1, document, pending, conflicts, created_at, updated_at };
                    AnyReply::Product(ProductReply::Shown(Box::new(view)))
                })
            }
            AnyCommand::Stock(StockCommand::Show) => {
                let listing = self.listings.lock().unwrap().get(key).cloned();
                listing.map(|listing| {
                    let numbers = StockNumbers::default();
                    let view = StockView { sku: key.parse().unwrap(), listing: Some(listing), numbers, holds: 0 };
                    AnyReply::Stock(StockReply::Shown(Box::new(view)))
                })
            }
            other => unreachable!("{other:?}"),
        };
        let answer = |reply| Answer { reply, sequence: Sequence(1), at: Timestamp(1), replayed: false };
        reply.map(answer).ok_or_else(|| AskError::Rejected(Rejection::NotFound { entity: request.entity.clone() }))
    }
}

fn file(products: &[(&str, &str)]) -> String {
    let line = |(id, title): &(&str, &str)| {
        format!("{{\"id\":\"{id}\",\"title\":\"{title}\",\"variants\":[{{\"sku\":\"{id}-1\",\"prices\":{{}}}}]}}\n")
    };
    products.iter().map(line).collect()
}

fn options(run: u8) -> ImportOptions {
    ImportOptions { run: ImportRun([run; 16]), resume_after: 0, dry_run: false }
}

async fn import(shop: &Arc<Shop>, options: ImportOptions, file: &str) -> ImportReport {
    let mut import = Import::new(shop.clone(), options);
    import.take(parse(CatalogueFormat::NdJson, file.as_bytes())).await.unwrap();
    import.finish().await.map_err(|(error, _)| error).unwrap()
}

#[tokio::test]
async fn importing_twice_changes_nothing_the_second_time() {
    let shop = Arc::new(Shop::default());
    let file = file(&[("a", "A"), ("b", "B")]);
    let first = import(&shop, options(1), &file).await;
    assert_eq!((first.created, first.unchanged, first.done_through_line), (2, 0, 2));
    let second = import(&shop, options(2), &file).await;
    assert_eq!((second.created, second.changed, second.unchanged), (0, 0, 2));
}

#[tokio::test]
async fn the_same_row_of_the_same_run_is_the_same_command_and_of_another_run_another() {
    let shop = Arc::new(Shop::default());
    for run in [1, 1, 2] {
        import(&shop, options(run), &file(&[("a", "A")])).await;
    }
    let asked: Vec<_> = shop.asked.lock().unwrap().iter().map(|(_, command)| *command).collect();
    assert!(asked[0] == asked[1] && asked[1] != asked[2]);
}

#[tokio::test]
async fn a_product_that_appears_twice_is_refused_the_second_time() {
    let shop = Arc::new(Shop::default());
    let report = import(&shop, options(1), &file(&[("a", "A"), ("b", "B"), ("a", "C")])).await;
    assert_eq!((report.created, report.failed, report.errors[0].line), (2, 1, 3));
    assert_eq!(shop.products.lock().unwrap()[&"a".parse().unwrap()].title, "A");
}

#[tokio::test]
async fn a_sku_of_another_product_is_refused_in_the_file_and_in_the_shop() {
    let shop = Arc::new(Shop::default());
    let theirs = crate::domain::testkit::listing("Theirs", 100, 1).unwrap();
    shop.listings.lock().unwrap().insert("b-1".to_owned(), theirs);
    let twice = file(&[("a", "A"), ("b", "B")]) + &file(&[("c", "C")]).replace("c-1", "a-1");
    let report = import(&shop, options(1), &twice).await;
    assert_eq!((report.created, report.failed, report.done_through_line), (1, 2, 3));
    let errors: Vec<_> = report.errors.iter().map(|error| (error.line, error.field.as_str())).collect();
    assert_eq!(errors, [(2, "variants[0].sku"), (3, "sku")]);
    assert!(report.errors[0].reason.contains("sold by product"), "{report:?}");
    // What the shop has already is not asked for again.
    assert_eq!(import(&shop, options(2), &file(&[("a", "A")])).await.unchanged, 1);
}

#[tokio::test]
async fn a_resumed_import_sends_only_the_rows_behind_the_line() {
    let shop = Arc::new(Shop::default());
    let resumed = ImportOptions { resume_after: 2, ..options(1) };
    let report = import(&shop, resumed, &file(&[("a", "A"), ("b", "B"), ("c", "C")])).await;
    assert_eq!((report.skipped, report.created, shop.asked.lock().unwrap().len()), (2, 1, 1));
}

#[tokio::test]
async fn a_dry_run_reports_errors_and_sends_nothing() {
    let shop = Arc::new(Shop::default());
    let report =
        import(&shop, ImportOptions { dry_run: true, ..options(1) }, &format!("{}oops\n", file(&[("a", "A")]))).await;
    assert_eq!((report.failed, report.errors[0].line, shop.asked.lock().unwrap().len()), (1, 2, 0));
}

#[tokio::test]
async fn a_product_no_shop_may_have_is_refused_by_its_field_whether_it_is_a_dry_run_or_not() {
    let shop = Arc::new(Shop::default());
    let (untitled, field) = (file(&[("a", "A"), ("b", "")]), "title".to_owned());
    for dry_run in [true, false] {
        let report = import(&shop, ImportOptions { dry_run, ..options(1) }, &untitled).await;
        assert_eq!((report.failed, report.created), (1, u64::from(!dry_run)));
        assert_eq!((report.errors[0].line, &report.errors[0].field), (2, &field), "{report:?}");
    }
}

/// A shop that is asked and never answers.
#[derive(Default)]
struct Silent {
    asked: std::sync::atomic::AtomicU64,
}

#[async_trait]
impl Ask for Silent {
    async fn ask(&self, _: Request) -> Result<Answer, AskError> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_shop_that_is_behind_stops_the_reading() {
    let shop = Arc::new(Silent::default());
    let mut import = Import::new(shop.clone(), options(1));
    let ids: Vec<String> = (0..500).map(|number| format!("p{number}")).collect();
    let rows: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "A")).collect();
    let (rows, mut taken) = (parse(CatalogueFormat::NdJson, file(&rows).as_bytes()), 0_u64);
    let rows = rows.into_iter().inspect(|_| taken += 1);
    let waits = tokio::time::timeout(std::time::Duration::from_secs(3_600), import.take(rows)).await;
    assert!(waits.is_err(), "it goes on without answers");
    assert_eq!((taken, shop.asked.load(std::sync::atomic::Ordering::Relaxed)), (33, 32));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_asked_again_with_the_same_command() {
    let shop = Arc::new(Shop::default());
    *shop.first.lock().unwrap() =
        vec![AskError::Unknown { reason: "test" }, AskError::Overloaded { retry_after: std::time::Duration::ZERO }];
    let report = import(&shop, options(1), &file(&[("a", "A")])).await;
    let asked = shop.asked.lock().unwrap();
    assert_eq!((report.created, asked.len()), (1, 3));
    assert!(asked.iter().all(|ask| *ask == asked[0]));
}

#[tokio::test]
async fn a_rejected_product_is_a_row_error_and_a_full_disk_stops_the_import() {
    let shop = Arc::new(Shop::default());
    let sku: Sku = "A".parse().unwrap();
    *shop.first.lock().unwrap() = vec![AskError::Rejected(Rejection::Unavailable { sku }), AskError::StorageFull];
    let mut import = Import::new(shop.clone(), options(1));
    let file = file(&[("a", "A"), ("b", "B"), ("c", "C")]);
    import.take(parse(CatalogueFormat::NdJson, file.as_bytes())).await.unwrap();
    let (error, report) = import.finish().await.unwrap_err();
    assert_eq!(error, ImportError::Stopped { line: 2, source: AskError::StorageFull });
    assert_eq!((report.failed, report.done_through_line), (1, 1));
}
