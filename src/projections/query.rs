//! Questions to the lists and to search, and their answers: plain data between the HTTP layer and the projections.
//!
//! A query is checked once, by [`ProductQuery::check`] and its siblings, when it is asked; the error names the query
//! parameter. Pages are keyset pages: the opaque `next_cursor` of one answer, given back with the same filters,
//! continues right behind the last item even when items come and go in between. Answers may lag the
//! entities by up to a second.
//!
//! Asked by the HTTP layer (`GET /products`, admin lists, the shop window) and the CLI; answered by [`Queries`].

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::cursor::CursorError;
use crate::domain::ids::{HoldId, OrderId, ProductId, Sku};
use crate::domain::money::{Currency, Money};
pub use crate::domain::order::OrderState;
use crate::domain::pricing::JsonText;
use crate::domain::time::Timestamp;

/// Everything that can be asked of the read side of a node.
#[async_trait]
pub trait Queries: Send + Sync + 'static {
    /// Products that match, with facet counts over all matches.
    async fn products(&self, query: &ProductQuery) -> Result<ProductPage, QueryError>;

    /// Orders, newest first.
    async fn orders(&self, query: &OrderQuery) -> Result<OrderPage, QueryError>;

    /// Stock items with few units left, fewest first.
    async fn low_stock(&self, query: &LowStockQuery) -> Result<LowStockPage, QueryError>;

    /// Shoppers' holds that expire next, soonest first.
    async fn expiring_holds(&self, query: &ExpiringHoldsQuery) -> Result<ExpiringHoldsPage, QueryError>;
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The caller's fault: a parameter is not what is allowed.
    #[error("{field}: {reason}")]
    Invalid {
        /// The query parameter, e.g. `price_min`.
        field: String,
        /// What is allowed.
        reason: String,
    },
    /// The caller's fault: the cursor is not one of ours, or belongs to another query.
    #[error("cursor: {0}")]
    Cursor(#[from] CursorError),
    /// Not the caller's fault: the projection is being built or cannot be read. Retry.
    #[error("the read side is unavailable: {reason}")]
    Unavailable {
        /// What is wrong, for logs.
        reason: String,
    },
}

/// How many items a page holds at most: 1 to [`PageLimit::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageLimit(u16);

impl PageLimit {
    /// The most items one page may hold.
    pub const MAX: u16 = 200;

    /// `None` when `items` is zero or above [`PageLimit::MAX`].
    pub fn new(items: u16) -> Option<Self> {
        (1..=Self::MAX).contains(&items).then_some(Self(items))
    }

    /// Items, 1 to [`PageLimit::MAX`].
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(24)
    }
}

/// Which part of the answer is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most this many items.
    pub limit: PageLimit,
    /// `next_cursor` of the page before, exactly as it was given out; `None` for the first page.
    pub cursor: Option<String>,
}

/// `GET /products`. Filters of different names must all hold; values of one name are alternatives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProductQuery {
    /// Words that must all occur in title, description, categories, attributes or SKUs; word forms are folded, the last
    /// word may be the beginning of one. At most [`TEXT_CHARS_MAX`] characters.
    pub text: Option<String>,
    /// Categories, any of which matches; a category also matches what lies below it (`tea` matches `tea/green`).
    pub categories: BTreeSet<String>,
    /// Attribute name → wanted values, any of which matches.
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// `Some(true)`: at least one unit of a variant is available. `Some(false)`: none is.
    pub in_stock: Option<bool>,
    /// Which prices are meant by `price_min`, `price_max` and sorting by price; only products sold in it match.
    pub currency: Option<Currency>,
    /// Lowest price of a variant, minor units, inclusive; needs `currency`.
    pub price_min: Option<u64>,
    /// Highest price of a variant, minor units, inclusive; needs `currency`.
    pub price_max: Option<u64>,
    /// The order of the items.
    pub sort: ProductSort,
    /// Which part of the answer.
    pub page: Page,
}

/// Longest search text.
pub const TEXT_CHARS_MAX: usize = 256;
/// Most filter values in one query: each costs a comparison per matching product.
pub const FILTER_VALUES_MAX: usize = 64;

impl ProductQuery {
    /// Rejects what no product could answer, naming the query parameter.
    pub fn check(&self) -> Result<(), QueryError> {
        let values = self.categories.len() + self.attributes.values().map(BTreeSet::len).sum::<usize>();
        let needs_currency = [
            ("price_min", self.price_min.is_some()),
            ("price_max", self.price_max.is_some()),
            ("sort", matches!(self.sort, ProductSort::PriceAscending | ProductSort::PriceDescending)),
        ];
        if self.text.as_ref().is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX) {
            return Err(invalid("q", format!("at most {TEXT_CHARS_MAX} characters")));
        }
        if values > FILTER_VALUES_MAX {
            return Err(invalid("attr", format!("at most {FILTER_VALUES_MAX} categories and attribute values")));
        }
        if let Some((field, _)) = needs_currency.iter().find(|(_, used)| *used && self.currency.is_none()) {
            return Err(invalid(field, "needs currency".to_owned()));
        }
        if let (Some(lowest), Some(highest)) = (self.price_min, self.price_max)
            && lowest > highest
        {
            return Err(invalid("price_min", "must not be above price_max".to_owned()));
        }
        Ok(())
    }
}

fn invalid(field: &str, reason: String) -> QueryError {
    QueryError::Invalid { field: field.to_owned(), reason }
}

/// The order of products. Text form as in the `sort` parameter; ties are broken by product id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProductSort {
    /// `relevance`: best text match first; without `q` the newest first.
    #[default]
    Relevance,
    /// `newest`: latest created first.
    Newest,
    /// `price`: cheapest variant first.
    PriceAscending,
    /// `-price`: dearest first, by each product's cheapest variant.
    PriceDescending,
    /// `title`: A to Z, letter case folded.
    TitleAscending,
    /// `-title`: Z to A.
    TitleDescending,
}

impl ProductSort {
    /// Every order with its text form.
    pub const ALL: [(&'static str, Self); 6] = [
        ("relevance", Self::Relevance),
        ("newest", Self::Newest),
        ("price", Self::PriceAscending),
        ("-price", Self::PriceDescending),
        ("title", Self::TitleAscending),
        ("-title", Self::TitleDescending),
    ];
}

impl std::str::FromStr for ProductSort {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let known = Self::ALL.into_iter().find(|(name, _)| *name == text);
        known.map(|(_, sort)| sort).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            invalid("sort", format!("one of {}", names.join(", ")))
        })
    }
}

/// Answer to [`ProductQuery`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProductPage {
    /// The products of this page.
    pub items: Vec<ProductItem>,
    /// How many matching products carry each category and attribute value.
    pub facets: Facets,
    /// How many products match in all, over all pages.
    pub total: u64,
    /// Where to continue; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// One product in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductItem {
    /// Which.
    pub id: ProductId,
    /// Its title.
    pub title: String,
    /// Its description.
    pub description: String,
    /// Where it is found, as the merchant wrote them.
    pub categories: Vec<String>,
    /// Its attributes as the merchant wrote them, a JSON object.
    pub attributes: JsonText,
    /// Media URLs.
    pub media: Vec<String>,
    /// Version of the product when it was indexed.
    pub version: u64,
    /// What can be bought.
    pub variants: Vec<VariantItem>,
}

/// One variant of a product in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantItem {
    /// Its SKU.
    pub sku: Sku,
    /// Its title.
    pub title: String,
    /// Its attributes as the merchant wrote them, a JSON object.
    pub attributes: JsonText,
    /// Price per currency, minor units.
    pub prices: BTreeMap<Currency, u64>,
    /// Units that can be sold, as of a moment ago.
    pub available: u64,
}

/// Counts per category and attribute value. The counts of one filter's values ignore that filter itself, so a shopper
/// sees what choosing another value would give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facets {
    /// Categories and the categories above them, most frequent first.
    pub categories: Vec<FacetCount>,
    /// Attribute name → its values, most frequent first; at most [`FACET_VALUES_MAX`] values of each name.
    pub attributes: BTreeMap<String, Vec<FacetCount>>,
}

/// Most values listed per facet.
pub const FACET_VALUES_MAX: usize = 50;
/// Most attribute names listed as facets, the most frequent ones.
pub const FACET_NAMES_MAX: usize = 30;

/// How often a value occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FacetCount {
    /// The value.
    pub value: String,
    /// In how many matching products.
    pub count: u64,
}

/// `GET /admin/orders`: newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderQuery {
    /// Only orders in this state now.
    pub state: Option<OrderState>,
    /// Only orders placed at or after this moment.
    pub since: Option<Timestamp>,
    /// Which part of the answer.
    pub page: Page,
}

/// Answer to [`OrderQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OrderPage {
    /// The orders of this page.
    pub items: Vec<OrderItem>,
    /// Where to continue; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// One order in a list; personal data stays in the order itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderItem {
    /// Which.
    pub id: OrderId,
    /// The number shown to people.
    pub number: String,
    /// Where it is.
    pub state: OrderState,
    /// What it costs.
    pub total: Money,
    /// Units in it.
    pub units: u64,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// `GET /admin/stock?low=N`: SKUs with at most `low` units available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowStockQuery {
    /// Units, inclusive; at most [`LOW_STOCK_MAX`].
    pub low: u64,
    /// Which part of the answer.
    pub page: Page,
}

/// The most units that still count as low: only SKUs at or below are kept in order.
pub const LOW_STOCK_MAX: u64 = 1_000;

/// Answer to [`LowStockQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LowStockPage {
    /// Fewest units first, then by SKU.
    pub items: Vec<LowStockItem>,
    /// Where to continue; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// One SKU of the low stock list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowStockItem {
    /// Which.
    pub sku: Sku,
    /// The product that lists it, if any.
    pub product: Option<ProductId>,
    /// Its title, empty when not listed.
    pub title: String,
    /// Units that can be sold.
    pub available: u64,
    /// Units set aside.
    pub held: u64,
}

/// Shoppers' holds whose time runs out before a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiringHoldsQuery {
    /// Only holds that expire before this.
    pub before: Timestamp,
    /// Which part of the answer.
    pub page: Page,
}

/// Answer to [`ExpiringHoldsQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExpiringHoldsPage {
    /// Soonest first.
    pub items: Vec<ExpiringHoldItem>,
    /// Where to continue; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// One hold about to expire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiringHoldItem {
    /// Of what.
    pub sku: Sku,
    /// Which.
    pub hold: HoldId,
    /// Units.
    pub quantity: u64,
    /// When it ends.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_range_without_a_currency_is_refused_by_name() {
        let query = ProductQuery { price_max: Some(10), ..ProductQuery::default() };
        assert_eq!(query.check(), Err(invalid("price_max", "needs currency".to_owned())));
        let query = ProductQuery { currency: Some(Currency::USD), ..query };
        assert_eq!(query.check(), Ok(()));
    }

    #[test]
    fn a_page_holds_one_to_two_hundred_items() {
        assert_eq!(PageLimit::new(0), None);
        assert_eq!(PageLimit::new(201), None);
        assert_eq!(PageLimit::new(200).unwrap().get(), 200);
    }

    #[test]
    fn every_sort_reads_its_own_name_and_no_other() {
        for (name, sort) in ProductSort::ALL {
            assert_eq!(name.parse::<ProductSort>(), Ok(sort));
        }
        assert!("cheapest".parse::<ProductSort>().is_err());
    }
}
