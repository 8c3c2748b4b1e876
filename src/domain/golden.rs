//! Golden bytes of everything journaled. bincode notices neither a renamed nor a moved variant or field, so every event
//! and every reply is pinned here: a difference is a new layout version with an upcaster (P30), never a new golden
//! file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cart::{CartEvent, CartLine, CartReply};
use super::cluster::{ClusterEvent, ClusterReply, ClusterView, Genesis, KeyHash, Role};
use super::entity::Fingerprint;
use super::ids::{ApiKeyId, CartId, ClusterId, DataKeyId, HoldId, NodeId, RefundId};
use super::money::Currency;
use super::payment::{PaymentOutcome, PaymentToken};
use super::pricing::{JsonText, Listing, Prices, Totals};
use super::privacy::{Sealed, Secret};
use super::product::{ProductDocument, ProductEvent, ProductReply, ProductStatus, ProductView, Variant};
use super::rejection::Rejection;
use super::stock::{Holder, ReturnKey, StockEvent, StockNumbers, StockReply, StockView};
use super::testkit::{hex_of, id16, offer, order_id, sku, units, usd};
use super::time::Timestamp;

const GOLDEN: &str = include_str!("../../tests/golden/domain_bytes.txt");

/// Lines `kind Variant: bytes`, and proof that no variant is missing: a new one does not compile until it is named.
macro_rules! pinned {
    ($kind:literal, $type:ident { $($variant:ident),* $(,)? }, $samples:expr) => {{
        let name = |value: &$type| match value { $($type::$variant { .. } => stringify!($variant)),* };
        let samples: Vec<$type> = $samples;
        let named: std::collections::BTreeSet<_> = samples.iter().map(name).collect();
        $(assert!(named.contains(stringify!($variant)), "{} {} has no sample", $kind, stringify!($variant));)*
        samples.iter().map(|value| format!("{} {}: {}", $kind, name(value), hex_of(value))).collect::<Vec<_>>()
    }};
}

mod orders;
mod states;

fn listing() -> Arc<Listing> {
    Arc::new(Listing {
        product: "tea".parse().unwrap(),
        title: "Tea".into(),
        prices: Prices(BTreeMap::from([(Currency::EUR, 450), (Currency::USD, 499)])),
        version: 7,
        active: true,
    })
}

fn hold() -> HoldId {
    HoldId(id16(1))
}

fn numbers() -> StockNumbers {
    StockNumbers { available: 1, held: 2, sold: 3, received: 4, adjusted: -5, returned: 6 }
}

fn stock_events() -> Vec<String> {
    let (hold, order, available) = (hold(), order_id(2), 300);
    let (product, quantity, fingerprint) = ("tea".parse().unwrap(), units(5), Fingerprint([3; 32]));
    let (text, key) = (|| "why".to_owned(), ReturnKey::Refund(RefundId(id16(4))));
    let (shoppers, orders) = (Holder::Shopper, Holder::Order(order));
    pinned!(
        "stock event",
        StockEvent {
            Listed,
            Unlisted,
            Received,
            Adjusted,
            Reserved,
            Pinned,
            Released,
            Barred,
            Committed,
            Returned,
            Forgotten,
            Expired,
        },
        vec![
            StockEvent::Listed(listing()),
            StockEvent::Unlisted { product, version: 7 },
            StockEvent::Received { quantity, reference: text(), available },
            StockEvent::Adjusted { delta: -5, reason: text(), available },
            StockEvent::Reserved {
                hold,
                quantity,
                holder: shoppers,
                expires_at: Some(Timestamp(9)),
                fingerprint,
                available,
            },
            StockEvent::Reserved { hold, quantity, holder: orders, expires_at: None, fingerprint, available },
            StockEvent::Pinned { hold, order, quantity, available },
            StockEvent::Released { hold, available },
            StockEvent::Barred { hold },
            StockEvent::Committed { hold },
            StockEvent::Returned { hold, order, key: ReturnKey::Undone, quantity, available },
            StockEvent::Returned { hold, order, key, quantity, available },
            StockEvent::Forgotten { hold },
            StockEvent::Expired { holds: vec![hold], available },
        ]
    )
}

fn stock_replies() -> Vec<String> {
    let (hold, quantity) = (hold(), units(5));
    let view = StockView { sku: sku("TEA-1"), listing: Some(listing()), numbers: numbers(), holds: 1 };
    pinned!(
        "stock reply",
        StockReply { Listed, Counted, Held, Released, Committed, Returned, Forgotten, Expired, Shown, Holds },
        vec![
            StockReply::Listed { version: 7 },
            StockReply::Counted(numbers()),
            StockReply::Held { hold, quantity, expires_at: Some(Timestamp(9)) },
            StockReply::Released { hold },
            StockReply::Committed { hold },
            StockReply::Returned { hold, quantity },
            StockReply::Forgotten,
            StockReply::Expired { holds: 1 },
            StockReply::Shown(Box::new(view)),
            StockReply::Holds { items: Vec::new(), next: Some(hold) },
        ]
    )
}

fn cart_events() -> Vec<String> {
    let (from, order, fingerprint) = (CartId(id16(5)), order_id(2), Fingerprint([3; 32]));
    let line = || CartLine { sku: sku("TEA-1"), quantity: units(5), offer: offer("Tea", 499, 7) };
    let offers = || vec![(sku("TEA-1"), offer("Tea", 599, 8))];
    let (key, reason) = (DataKeyId(id16(6)), Rejection::CartGone);
    pinned!(
        "cart event",
        CartEvent {
            Created,
            LineSet,
            LineRemoved,
            BuyerSet,
            MergeStarted,
            LinesMerged,
            MergeRefused,
            Surrendered,
            Repriced,
            CheckedOut,
            PlaceSettled,
            Expired,
            Purged,
            BuyerErased,
            AlreadyOrdered,
        },
        vec![
            CartEvent::Created { currency: Currency::USD, fingerprint },
            CartEvent::LineSet(line()),
            CartEvent::LineRemoved { sku: sku("TEA-1") },
            CartEvent::BuyerSet { sealed: Sealed { key, nonce: [7; 24], ciphertext: vec![8; 3] } },
            CartEvent::MergeStarted { from, attempt: 2 },
            CartEvent::LinesMerged { from, lines: vec![line()] },
            CartEvent::MergeRefused { from, reason },
            CartEvent::Surrendered { to: from },
            CartEvent::Repriced { order, fingerprint, offers: offers(), was: 499, is: 599 },
            CartEvent::CheckedOut {
                order,
                fingerprint,
                version: 3,
                offers: offers(),
                provider: "simulated".into(),
                token: PaymentToken("tok_ok".into()),
                holds: BTreeMap::from([(sku("TEA-1"), hold())]),
            },
            CartEvent::PlaceSettled { order },
            CartEvent::Expired,
            CartEvent::Purged,
            CartEvent::BuyerErased { key },
            CartEvent::AlreadyOrdered { asked: order, fingerprint, version: 3 },
        ]
    )
}

fn cart_replies() -> Vec<String> {
    let (from, totals, expires_at) = (CartId(id16(5)), Totals::of(usd(499)), Timestamp(9));
    let line = CartLine { sku: sku("TEA-1"), quantity: units(5), offer: offer("Tea", 499, 7) };
    let view = super::cart::CartView {
        id: from,
        version: 3,
        currency: Currency::USD,
        lines: vec![line.clone()],
        totals,
        buyer: None,
        order: Some(order_id(2)),
        expires_at,
        merging: Some(from),
        last_merge: Some(super::cart::MergeView { from, refused: Some(Rejection::CartMerging) }),
    };
    pinned!(
        "cart reply",
        CartReply { Created, Edited, Merging, Surrendered, CheckedOut, PriceChanged, Noted, Shown },
        vec![
            CartReply::Created { version: 1, currency: Currency::USD, expires_at },
            CartReply::Edited { version: 3, lines: 1, totals, expires_at },
            CartReply::Merging { from, merged: true, version: 3 },
            CartReply::Surrendered { lines: vec![line] },
            CartReply::CheckedOut { order: order_id(2), version: 3, totals },
            CartReply::PriceChanged { was: 499, is: 599, version: 4 },
            CartReply::Noted,
            CartReply::Shown(Box::new(view)),
        ]
    )
}

fn document() -> Arc<ProductDocument> {
    let variant = Variant {
        sku: sku("TEA-1"),
        title: "100 g".into(),
        attributes: JsonText("{\"grams\":100}".into()),
        prices: Prices(BTreeMap::from([(Currency::USD, 499)])),
    };
    Arc::new(ProductDocument {
        title: "Tea".into(),
        description: "Green".into(),
        categories: vec!["drinks/tea".into()],
        attributes: JsonText::empty_object(),
        media: vec!["/media/tea.svg".into()],
        status: ProductStatus::Active,
        variants: vec![variant],
    })
}

fn products() -> Vec<String> {
    let taken_by = Some("coffee".parse().unwrap());
    let mut lines = pinned!(
        "product event",
        ProductEvent { Put, Deleted, ListingSettled },
        vec![
            ProductEvent::Put { version: 7, document: document() },
            ProductEvent::Deleted { version: 8 },
            ProductEvent::ListingSettled { sku: sku("TEA-1"), version: 7, taken_by },
        ]
    );
    let view = ProductView {
        id: "tea".parse().unwrap(),
        version: 7,
        document: document(),
        pending: [sku("TEA-1")].into(),
        conflicts: BTreeMap::from([(sku("TEA-2"), "coffee".parse().unwrap())]),
        created_at: Timestamp(8),
        updated_at: Timestamp(9),
    };
    lines.extend(pinned!(
        "product reply",
        ProductReply { Put, Noted, Shown },
        vec![
            ProductReply::Put { version: 7, created: true, changed: true },
            ProductReply::Noted,
            ProductReply::Shown(Box::new(view)),
        ]
    ));
    lines
}

fn genesis() -> Genesis {
    Genesis { cluster: ClusterId(id16(1)), shards: 12, secret: Secret([2; 32]), node: NodeId(1) }
}

fn clusters() -> Vec<String> {
    let genesis = genesis();
    let id = ApiKeyId(id16(3));
    let mut lines = pinned!(
        "cluster event",
        ClusterEvent { Initialised, KeyCreated, KeyRevoked },
        vec![
            ClusterEvent::Initialised(genesis),
            ClusterEvent::KeyCreated { id, role: Role::Ops, hash: KeyHash([4; 32]), label: "till".into() },
            ClusterEvent::KeyRevoked { id },
        ]
    );
    let view = Box::new(ClusterView { genesis: None, keys: Vec::new() });
    lines.extend(pinned!(
        "cluster reply",
        ClusterReply { Initialised, KeyCreated, KeyRevoked, Shown },
        vec![
            ClusterReply::Initialised,
            ClusterReply::KeyCreated { id },
            ClusterReply::KeyRevoked { id },
            ClusterReply::Shown(view),
        ]
    ));
    lines
}

/// Rejections and payment outcomes are parts of events.
fn parts() -> Vec<String> {
    let (sku, hold, text) = (sku("TEA-1"), hold(), || "why".to_owned());
    let product = || "tea".parse().unwrap();
    let entity = super::ids::EntityId::order(order_id(2));
    let (expected, actual) = (3, 4);
    let mut lines = pinned!(
        "rejection",
        Rejection {
            NotFound,
            HoldNotFound,
            InvalidRequest,
            InsufficientStock,
            HoldExpired,
            CartVersion,
            CartMerging,
            CartEmpty,
            CartGone,
            PriceChanged,
            SkuTaken,
            OrderState,
            Unavailable,
            IdempotencyKeyReused,
            QuotaExceeded,
            TooLarge,
            ProductVersion,
            ApiKeyNotFound,
        },
        vec![
            Rejection::NotFound { entity },
            Rejection::HoldNotFound { sku: sku.clone(), hold },
            Rejection::InvalidRequest { field: text(), reason: text() },
            Rejection::InsufficientStock { sku: sku.clone(), requested: 3, available: 2 },
            Rejection::HoldExpired { sku: sku.clone(), hold },
            Rejection::CartVersion { expected, actual },
            Rejection::CartMerging,
            Rejection::CartEmpty,
            Rejection::CartGone,
            Rejection::PriceChanged { was: 1, is: 2 },
            Rejection::SkuTaken { sku: sku.clone(), product: product() },
            Rejection::OrderState { state: text(), attempted: text() },
            Rejection::Unavailable { sku },
            Rejection::IdempotencyKeyReused,
            Rejection::QuotaExceeded { what: text(), limit: 5 },
            Rejection::TooLarge { what: text(), limit: 5 },
            Rejection::ProductVersion { expected, actual },
            Rejection::ApiKeyNotFound { key: ApiKeyId(id16(3)) },
        ]
    );
    lines.extend(pinned!(
        "payment outcome",
        PaymentOutcome { Authorised, Declined, Captured, Voided, Refunded, Pending, NeverSeen },
        vec![
            PaymentOutcome::Authorised,
            PaymentOutcome::Declined { reason: text() },
            PaymentOutcome::Captured,
            PaymentOutcome::Voided,
            PaymentOutcome::Refunded,
            PaymentOutcome::Pending,
            PaymentOutcome::NeverSeen,
        ]
    ));
    lines
}

#[test]
fn everything_journaled_keeps_its_bytes() {
    let (stock, cart) = ([stock_events(), stock_replies()], [cart_events(), cart_replies()]);
    let order = [orders::events(), orders::replies(), orders::choices()];
    let rest = [products(), clusters(), parts(), states::states()];
    let lines = [stock.concat(), cart.concat(), order.concat(), rest.concat()];
    let actual = lines.concat().join("\n") + "\n";
    assert!(actual == GOLDEN, "the bytes are not those of tests/golden/domain_bytes.txt but:\n{actual}");
}
