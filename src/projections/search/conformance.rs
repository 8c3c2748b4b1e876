//! What every search index must do, run against each implementation; and the two compared on random catalogues.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::memory::MemorySearchIndex;
use super::tantivy_index::TantivySearchIndex;
use super::*;
use crate::clock::SystemClock;
use crate::domain::pricing::JsonText;
use crate::projections::cursor::CursorError;
use crate::projections::query::{Page, PageLimit, VariantItem};

/// A product to search for: id, title, description, categories, `name=value` attributes, price in USD, units.
#[derive(Clone, Debug)]
pub struct Sample<'a>(&'a str, &'a str, &'a str, &'a [&'a str], &'a [&'a str], u64, u64);

fn attributes(pairs: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut attributes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').unwrap();
        attributes.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    attributes
}

impl Sample<'_> {
    pub fn document(&self) -> SearchDocument {
        let variant = VariantItem {
            sku: format!("{}-1", self.0).parse().unwrap(),
            title: String::new(),
            attributes: JsonText::empty_object(),
            prices: [(Currency::USD, self.5)].into(),
            available: self.6,
        };
        SearchDocument {
            item: ProductItem {
                id: self.0.parse().unwrap(),
                title: self.1.to_owned(),
                description: self.2.to_owned(),
                categories: self.3.iter().map(|category| (*category).to_owned()).collect(),
                attributes: JsonText::empty_object(),
                media: Vec::new(),
                version: 1,
                variants: vec![variant],
            },
            attributes: attributes(self.4),
            created_at: Timestamp(1_000 + self.5),
        }
    }
}

const CATALOGUE: &[Sample] = &[
    Sample("sencha", "Sencha green tea", "Steamed leaves", &["tea/green"], &["origin=Japan", "grade=A"], 900, 5),
    Sample("matcha", "Matcha", "Ground green tea for whisking", &["tea/green"], &["origin=Japan", "grade=B"], 2_400, 0),
    Sample("assam", "Assam", "A malty black tea", &["tea/black"], &["origin=India"], 700, 9),
    Sample("kettle", "Iron kettle", "For boiling water", &["tools"], &["origin=Japan", "colour=black"], 5_900, 2),
    Sample("cup", "Café cups", "Set of two", &["tools/cups"], &["colour=white"], 1_500, 7),
];

async fn filled(index: &dyn SearchIndex) {
    let changes = CATALOGUE.iter().map(|sample| SearchChange::Put(Box::new(sample.document()))).collect();
    index.apply(SearchBatch { changes, cursors: [(GroupId(1), 7)].into() }).await.unwrap();
    index.commit().await.unwrap();
}

fn ids(page: &ProductPage) -> Vec<&str> {
    page.items.iter().map(|item| item.id.as_str()).collect()
}

fn sorted(page: &ProductPage) -> Vec<&str> {
    let mut ids = ids(page);
    ids.sort_unstable();
    ids
}

fn text(words: &str) -> ProductQuery {
    ProductQuery { text: Some(words.to_owned()), ..ProductQuery::default() }
}

fn counts(values: &[FacetCount]) -> Vec<(&str, u64)> {
    values.iter().map(|facet| (facet.value.as_str(), facet.count)).collect()
}

async fn words_match_in_any_form_and_any_field(index: &dyn SearchIndex) {
    filled(index).await;
    assert_eq!(sorted(&index.search(&text("teas")).await.unwrap()), ["assam", "matcha", "sencha"]);
    assert_eq!(ids(&index.search(&text("boiled")).await.unwrap()), ["kettle"]);
    assert_eq!(ids(&index.search(&text("CAFE cup")).await.unwrap()), ["cup"]);
    assert_eq!(ids(&index.search(&text("matcha-1")).await.unwrap()), ["matcha"]);
    assert_eq!(ids(&index.search(&text("india")).await.unwrap()), ["assam"]);
    assert_eq!(ids(&index.search(&text("green kettle")).await.unwrap()), Vec::<&str>::new());
}

async fn the_word_being_typed_matches_as_a_beginning(index: &dyn SearchIndex) {
    filled(index).await;
    assert_eq!(ids(&index.search(&text("sen")).await.unwrap()), ["sencha"]);
    assert_eq!(ids(&index.search(&text("sen ")).await.unwrap()), Vec::<&str>::new());
}

async fn a_match_in_the_title_comes_before_one_in_the_description(index: &dyn SearchIndex) {
    filled(index).await;
    assert_eq!(ids(&index.search(&text("green tea")).await.unwrap())[0], "sencha");
}

async fn without_words_the_newest_come_first(index: &dyn SearchIndex) {
    filled(index).await;
    let page = index.search(&ProductQuery::default()).await.unwrap();
    assert_eq!(ids(&page), ["kettle", "matcha", "cup", "sencha", "assam"]);
    assert_eq!((page.total, page.next_cursor), (5, None));
}

async fn a_category_includes_what_is_below_it(index: &dyn SearchIndex) {
    filled(index).await;
    let query = ProductQuery { categories: ["tea".to_owned()].into(), ..ProductQuery::default() };
    assert_eq!(sorted(&index.search(&query).await.unwrap()), ["assam", "matcha", "sencha"]);
    let query = ProductQuery { categories: ["tea/green".to_owned(), "tools/cups".to_owned()].into(), ..query };
    assert_eq!(sorted(&index.search(&query).await.unwrap()), ["cup", "matcha", "sencha"]);
}

async fn a_facet_counts_as_if_its_own_filter_were_off(index: &dyn SearchIndex) {
    filled(index).await;
    let japan: BTreeMap<_, _> = [("origin".to_owned(), BTreeSet::from(["Japan".to_owned()]))].into();
    let query = ProductQuery { categories: ["tea".to_owned()].into(), attributes: japan, ..ProductQuery::default() };
    let page = index.search(&query).await.unwrap();
    assert_eq!(page.total, 2);
    assert_eq!(counts(&page.facets.attributes["origin"]), [("Japan", 2), ("India", 1)]);
    assert_eq!(counts(&page.facets.attributes["grade"]), [("A", 1), ("B", 1)]);
    assert_eq!(counts(&page.facets.categories), [("tea", 2), ("tea/green", 2), ("tools", 1)]);
    assert!(!page.facets.attributes.contains_key("colour"));
}

async fn price_and_stock_filters_concern_the_same_variant(index: &dyn SearchIndex) {
    filled(index).await;
    let mut dear_only_in_stock = CATALOGUE[0].document();
    let mut dear = dear_only_in_stock.item.variants[0].clone();
    dear_only_in_stock.item.variants[0].available = 0;
    dear.sku = "sencha-2".parse().unwrap();
    dear.prices = [(Currency::USD, 9_000)].into();
    dear_only_in_stock.item.variants.push(dear);
    let changes = vec![SearchChange::Put(Box::new(dear_only_in_stock))];
    index.apply(SearchBatch { changes, ..SearchBatch::default() }).await.unwrap();
    index.commit().await.unwrap();
    let query = ProductQuery {
        currency: Some(Currency::USD),
        price_max: Some(1_000),
        in_stock: Some(true),
        ..ProductQuery::default()
    };
    assert_eq!(ids(&index.search(&query).await.unwrap()), ["assam"]);
    let query = ProductQuery { in_stock: None, sort: ProductSort::PriceAscending, ..query };
    assert_eq!(ids(&index.search(&query).await.unwrap()), ["assam", "sencha"]);
    let query = ProductQuery { currency: Some(Currency::EUR), price_max: None, ..query };
    assert_eq!(index.search(&query).await.unwrap().total, 0);
}

async fn pages_of_every_sort_join_to_the_whole(index: &dyn SearchIndex) {
    filled(index).await;
    for (name, sort) in ProductSort::ALL {
        let whole = ProductQuery { sort, currency: Some(Currency::USD), ..text("") };
        let expected = index.search(&whole).await.unwrap();
        assert_eq!(expected.items.len(), 5, "{name}");
        let mut query =
            ProductQuery { page: Page { limit: PageLimit::new(2).unwrap(), cursor: None }, ..whole.clone() };
        let (mut items, mut pages) = (Vec::new(), 0);
        loop {
            let page = index.search(&query).await.unwrap();
            items.extend(page.items);
            pages += 1;
            assert_eq!(page.total, 5, "{name}");
            let Some(cursor) = page.next_cursor else { break };
            query.page.cursor = Some(cursor);
        }
        assert_eq!((items, pages), (expected.items, 3), "{name}");
    }
}

async fn titles_sort_a_to_z_and_back(index: &dyn SearchIndex) {
    filled(index).await;
    let query = ProductQuery { sort: ProductSort::TitleAscending, ..ProductQuery::default() };
    let a_to_z = ["assam", "cup", "kettle", "matcha", "sencha"];
    assert_eq!(ids(&index.search(&query).await.unwrap()), a_to_z);
    let query = ProductQuery { sort: ProductSort::TitleDescending, ..query };
    assert_eq!(ids(&index.search(&query).await.unwrap()), a_to_z.into_iter().rev().collect::<Vec<_>>());
}

async fn a_foreign_cursor_is_a_typed_error(index: &dyn SearchIndex) {
    filled(index).await;
    let limit = PageLimit::new(1).unwrap();
    let first = ProductQuery { page: Page { limit, cursor: None }, ..ProductQuery::default() };
    let cursor = index.search(&first).await.unwrap().next_cursor;
    let other = ProductQuery { page: Page { limit, cursor }, ..text("tea") };
    assert_eq!(index.search(&other).await, Err(QueryError::Cursor(CursorError::OtherQuery)));
    let broken = ProductQuery { page: Page { limit, cursor: Some("???".to_owned()) }, ..first };
    assert_eq!(index.search(&broken).await, Err(QueryError::Cursor(CursorError::Malformed)));
}

async fn stock_running_out_and_coming_back_flips_the_filter(index: &dyn SearchIndex) {
    filled(index).await;
    let in_stock = ProductQuery { in_stock: Some(true), ..text("assam") };
    for (available, found) in [(1, 1), (0, 0), (0, 0), (30, 1)] {
        let changes = vec![SearchChange::Stock { sku: "assam-1".parse().unwrap(), available }];
        index.apply(SearchBatch { changes, ..SearchBatch::default() }).await.unwrap();
        index.commit().await.unwrap();
        assert_eq!(index.search(&in_stock).await.unwrap().total, found, "{available} available");
    }
}

async fn a_change_before_the_commit_is_not_lost_to_a_stock_flip(index: &dyn SearchIndex) {
    filled(index).await;
    let mut renamed = CATALOGUE[1].document();
    renamed.item.title = "Ceremonial powder".to_owned();
    let sku = renamed.item.variants[0].sku.clone();
    let changes = vec![SearchChange::Put(Box::new(renamed)), SearchChange::Stock { sku: sku.clone(), available: 4 }];
    index.apply(SearchBatch { changes, ..SearchBatch::default() }).await.unwrap();
    index.commit().await.unwrap();
    let query = ProductQuery { in_stock: Some(true), ..text("ceremonial") };
    assert_eq!(ids(&index.search(&query).await.unwrap()), ["matcha"]);
}

async fn a_removed_product_is_gone_and_a_repeated_batch_changes_nothing(index: &dyn SearchIndex) {
    filled(index).await;
    let changes = vec![SearchChange::Remove("assam".parse().unwrap())];
    let batch = SearchBatch { changes, cursors: [(GroupId(1), 8), (GroupId(2), 3)].into() };
    for _ in 0..2 {
        index.apply(batch.clone()).await.unwrap();
        index.commit().await.unwrap();
        assert_eq!(index.search(&text("assam")).await.unwrap().total, 0);
        assert_eq!(index.cursors().await.unwrap(), [(GroupId(1), 8), (GroupId(2), 3)].into());
    }
}

async fn a_closed_index_says_so(index: &dyn SearchIndex) {
    index.close().await;
    assert_eq!(index.cursors().await, Err(SearchError::Closed));
}

macro_rules! conformance {
    ($($name:ident)*) => {
        mod on_tantivy {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let clock = Arc::new(SystemClock::new());
                let index = TantivySearchIndex::open(directory.path().join("search"), clock).await.unwrap();
                super::$name(&index).await;
            })*
        }

        mod in_memory {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                super::$name(&MemorySearchIndex::default()).await;
            })*
        }
    };
}

conformance! {
    words_match_in_any_form_and_any_field
    the_word_being_typed_matches_as_a_beginning
    a_match_in_the_title_comes_before_one_in_the_description
    without_words_the_newest_come_first
    a_category_includes_what_is_below_it
    a_facet_counts_as_if_its_own_filter_were_off
    price_and_stock_filters_concern_the_same_variant
    pages_of_every_sort_join_to_the_whole
    titles_sort_a_to_z_and_back
    a_foreign_cursor_is_a_typed_error
    stock_running_out_and_coming_back_flips_the_filter
    a_change_before_the_commit_is_not_lost_to_a_stock_flip
    a_removed_product_is_gone_and_a_repeated_batch_changes_nothing
    a_closed_index_says_so
}

fn any_document() -> impl Strategy<Value = SearchDocument> {
    let word = prop::sample::select(vec!["tea", "green", "kettle", "cups", "é", "Tea"]);
    let values = prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3);
    let variant = (0_u64..4, prop::option::of(0_u64..20), prop::option::of(0_u64..20));
    let text = prop::collection::vec(word, 0..4).prop_map(|words| words.join(" "));
    let parts = (0_u8..12, text.clone(), text, values.clone(), values, prop::collection::vec(variant, 0..3), 0_u64..5);
    parts.prop_map(|(id, title, description, categories, colours, variants, age)| {
        let mut document = Sample("x", &title, &description, &[], &[], 0, 0).document();
        document.created_at = Timestamp(age);
        document.item.id = format!("p{id}").parse().unwrap();
        document.item.categories = categories.iter().map(|category| format!("{category}/{id}")).collect();
        let colours = colours.iter().map(|&colour| colour.to_owned()).collect();
        let sizes = (0..variants.len()).map(|number| number.to_string()).collect();
        document.attributes = [("colour".to_owned(), colours), ("size".to_owned(), sizes)].into();
        document.item.variants = (0..)
            .zip(variants)
            .map(|(number, (available, dollars, euros)): (u32, _)| VariantItem {
                sku: format!("p{id}-{number}").parse().unwrap(),
                title: String::new(),
                attributes: JsonText::empty_object(),
                prices: [(Currency::USD, dollars), (Currency::EUR, euros)]
                    .into_iter()
                    .filter_map(|(currency, price)| Some((currency, price?)))
                    .collect(),
                available,
            })
            .collect();
        document
    })
}

fn any_query() -> impl Strategy<Value = ProductQuery> {
    let text = prop::option::of(prop::sample::select(vec!["tea", "green k", "kettles", "E", "cup tea", "the"]));
    let one_of = |values: Vec<&'static str>| prop::collection::btree_set(prop::sample::select(values), 0..2);
    let sorts: Vec<_> = ProductSort::ALL.into_iter().map(|(_, sort)| sort).collect();
    let prices = (prop::option::of(0_u64..10), prop::option::of(10_u64..20));
    let filters = (one_of(vec!["a", "b/1"]), one_of(vec!["a", "b", "zz"]), one_of(vec!["0", "1"]));
    let parts = (text, filters, any::<Option<bool>>(), prices, prop::sample::select(sorts), 1_u16..6);
    parts.prop_map(|(text, (categories, colours, sizes), in_stock, (price_min, price_max), sort, limit)| {
        let owned = |values: BTreeSet<&str>| values.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        ProductQuery {
            text: text.map(str::to_owned),
            categories: owned(categories),
            attributes: [("colour".to_owned(), owned(colours)), ("size".to_owned(), owned(sizes))].into(),
            in_stock,
            currency: Some(Currency::USD),
            price_min,
            price_max,
            sort,
            page: Page { limit: PageLimit::new(limit).unwrap(), cursor: None },
        }
    })
}

/// All pages of a query: the ids in order, with totals and facets of every page.
async fn everything(index: &dyn SearchIndex, query: &ProductQuery) -> (Vec<String>, Vec<(u64, Facets)>) {
    let (mut query, mut all, mut pages) = (query.clone(), Vec::new(), Vec::new());
    loop {
        let page = index.search(&query).await.unwrap();
        all.extend(page.items.iter().map(|item| item.id.to_string()));
        pages.push((page.total, page.facets));
        match page.next_cursor {
            Some(cursor) => query.page.cursor = Some(cursor),
            None => return (all, pages),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn both_indexes_give_the_same_answers(
        first in prop::collection::vec(any_document(), 1..10),
        second in prop::collection::vec(any_document(), 1..6),
        queries in prop::collection::vec(any_query(), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let clock = Arc::new(SystemClock::new());
            let real = TantivySearchIndex::open(directory.path().join("search"), clock).await.unwrap();
            let model = MemorySearchIndex::default();
            for documents in [first, second] {
                let changes = documents.into_iter().map(|document| SearchChange::Put(Box::new(document)));
                let batch = SearchBatch { changes: changes.collect(), ..SearchBatch::default() };
                for index in [&real as &dyn SearchIndex, &model] {
                    index.apply(batch.clone()).await.unwrap();
                    index.commit().await.unwrap();
                }
            }
            for query in queries {
                let (mut real_ids, real_pages) = everything(&real, &query).await;
                let (mut model_ids, model_pages) = everything(&model, &query).await;
                if query.sort == ProductSort::Relevance {
                    real_ids.sort_unstable();
                    model_ids.sort_unstable();
                }
                assert_eq!((real_ids, real_pages), (model_ids, model_pages), "{query:?}");
            }
        });
    }
}
