//! Golden bytes of states: what snapshots hold. A difference means a higher `STATE_VERSION`, whose snapshots older
//! programs refuse by number instead of misreading them, and whose readers still read the old ones: below a snapshot
//! records may be gone.

use std::sync::Arc;
use std::time::Duration;

use super::Pin;
use crate::domain::cart::{Cart, CartCommand, CheckOut};
use crate::domain::cluster::{Cluster, ClusterCommand};
use crate::domain::entity::{Entity, Fingerprint};
use crate::domain::ids::{CartId, DataKeyId, EntityId, HoldId, RefundId};
use crate::domain::money::Currency;
use crate::domain::order::{Order, OrderCommand, OrderEvent, PaymentStep, Phase, RefundRequest, StockStep};
use crate::domain::payment::{PaymentOutcome, PaymentToken};
use crate::domain::privacy::{Sealed, Secret};
use crate::domain::product::{Product, ProductCommand};
use crate::domain::stock::{Holder, Releaser, Reserve, ReturnKey, StockCommand, StockItem};
use crate::domain::testkit::{Subject, id16, listing, offer, order_id, sku, units};
use crate::domain::time::Timestamp;

pub(super) fn states() -> Vec<Pin> {
    vec![
        line("stock", &stock()),
        line("cart open", &open_cart()),
        line("cart ordered and merging", &busy_cart()),
        line("order", &order()),
        line("product", &product()),
        line("cluster", &cluster()),
    ]
}

fn line<E: Entity>(what: &str, subject: &Subject<E>) -> Pin {
    Pin::of(format!("state {what}"), E::STATE_VERSION, &subject.state)
}

fn reserve(byte: u8, holder: Holder) -> StockCommand {
    let (hold, ttl, fingerprint) = (HoldId(id16(byte)), Duration::from_secs(60), Fingerprint([byte; 32]));
    StockCommand::Reserve(Reserve { hold, quantity: units(2), ttl, holder, fingerprint })
}

/// Listed, with a hold of either kind and an ended one of every kind.
fn stock() -> Subject<StockItem> {
    let mut item = Subject::new(&EntityId::stock(&sku("TEA-1")));
    let order = |byte| Holder::Order(order_id(byte));
    item.yes(StockCommand::Receive { quantity: units(50), reference: String::new() });
    item.yes(StockCommand::List(super::listing()));
    for (byte, holder) in [(1, Holder::Shopper), (2, order(2)), (3, Holder::Shopper), (4, order(4)), (5, order(5))] {
        item.yes(reserve(byte, holder));
    }
    item.yes(StockCommand::Release { hold: HoldId(id16(3)), by: Releaser::Shopper });
    item.yes(StockCommand::Release { hold: HoldId(id16(6)), by: Releaser::Order(order_id(6)) });
    item.yes(StockCommand::Commit { hold: HoldId(id16(4)), order: order_id(4) });
    let back = |hold: u8, key| StockCommand::Return {
        hold: HoldId(id16(hold)),
        order: order_id(hold),
        key,
        quantity: units(1),
    };
    item.yes(back(4, ReturnKey::Undone));
    item.yes(back(4, ReturnKey::Refund(RefundId(id16(8)))));
    item.yes(StockCommand::Commit { hold: HoldId(id16(5)), order: order_id(5) });
    item.yes(back(7, ReturnKey::Undone));
    item
}

fn open_cart() -> Subject<Cart> {
    let mut cart = Subject::new(&EntityId::cart(CartId(id16(1))));
    cart.yes(CartCommand::Create { currency: Currency::USD, fingerprint: Fingerprint([1; 32]) });
    let set = |name| CartCommand::SetLine {
        sku: sku(name),
        quantity: units(2),
        listing: listing(name, 499, 7),
        expected_version: None,
    };
    cart.yes(set("TEA-1"));
    cart.yes(set("CUP-1"));
    let sealed = Sealed { key: DataKeyId(id16(5)), nonce: [6; 24], ciphertext: vec![7] };
    cart.yes(CartCommand::SetBuyer { sealed, secret: Secret([8; 32]), expected_version: None });
    cart
}

fn busy_cart() -> Subject<Cart> {
    let mut cart = open_cart();
    let version = cart.state.version;
    cart.yes(CartCommand::CheckOut(Box::new(CheckOut {
        order: order_id(2),
        fingerprint: Fingerprint([2; 32]),
        version,
        offers: ["TEA-1", "CUP-1"].map(|name| (sku(name), offer(name, 499, 7))).into(),
        provider: "simulated".into(),
        token: PaymentToken("tok".into()),
        holds: [(sku("TEA-1"), HoldId(id16(3)))].into(),
    })));
    cart.yes(CartCommand::EraseBuyer { key: DataKeyId(id16(5)) });
    cart.yes(CartCommand::Merge { from: CartId(id16(4)), expected_version: None });
    cart
}

/// Captured, in part sent, with a refund under way and the buyer to be forgotten.
fn order() -> Subject<Order> {
    let mut order: Subject<Order> = Subject::new(&EntityId::order(order_id(2)));
    order.yes(OrderCommand::Place(Arc::new(super::orders::placement())));
    let settled = |step| OrderCommand::StockSettled { sku: sku("TEA-1"), step, outcome: Ok(()) };
    let reported = |word: &str, outcome| OrderCommand::PaymentReported {
        key: format!("{}/{word}/payment/1", EntityId::order(order_id(2))),
        outcome,
    };
    order.yes(settled(StockStep::Reserve));
    order.yes(reported("authorise", PaymentOutcome::Authorised));
    order.yes(settled(StockStep::Commit));
    order.yes(OrderCommand::Fulfil { lines: Vec::new(), tracking: Some("1Z".into()) });
    order.yes(reported("capture", PaymentOutcome::Pending));
    order.yes(reported("capture", PaymentOutcome::Captured));
    let (refund, fingerprint) = (RefundId(id16(4)), Fingerprint([5; 32]));
    let request = RefundRequest { refund, fingerprint, amount: Some(3), lines: Vec::new(), restock: false };
    order.yes(OrderCommand::Refund(Box::new(request)));
    order.yes(OrderCommand::Erase);
    let retry_at = Timestamp(2_000_000);
    order.given(&OrderEvent::PaymentPostponed { step: PaymentStep::Refund(refund), retry_at, lost: true });
    assert_eq!(order.state.phase(), Some(Phase::Fulfilled));
    order
}

fn product() -> Subject<Product> {
    let mut product = Subject::new(&"product/tea".parse().unwrap());
    product.yes(ProductCommand::Put { document: super::document(), expected_version: None });
    product
}

fn cluster() -> Subject<Cluster> {
    let mut cluster = Subject::new(&"cluster/cluster".parse().unwrap());
    cluster.yes(ClusterCommand::Init(super::genesis()));
    cluster
}
