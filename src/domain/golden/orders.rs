//! Golden bytes of orders, and of every choice their events are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Pin;
use crate::domain::entity::{Fingerprint, Versioned};
use crate::domain::ids::{CartId, DataKeyId, HoldId, RefundId};
use crate::domain::order::{
    Failure, HistoryRow, OrderEvent, OrderLine, OrderReply, OrderState, OrderView, PaymentStatus, PaymentStep,
    PaymentView, Phase, Placement, RefundRequest, RefundStatus, RefundView, Shipment, StockStep, Units,
};
use crate::domain::payment::{PaymentOutcome, PaymentToken};
use crate::domain::pricing::Totals;
use crate::domain::privacy::Sealed;
use crate::domain::rejection::Rejection;
use crate::domain::testkit::{id16, order_id, sku, units, usd};
use crate::domain::time::Timestamp;

fn lines() -> Vec<Units> {
    vec![Units { sku: sku("TEA-1"), quantity: units(2) }]
}

pub(super) fn placement() -> Placement {
    let line = OrderLine {
        sku: sku("TEA-1"),
        product: "tea".parse().unwrap(),
        title: "Tea".into(),
        quantity: units(2),
        unit_price: 499,
    };
    Placement {
        order: order_id(2),
        cart: CartId(id16(3)),
        cart_version: 4,
        lines: vec![line],
        totals: Totals::of(usd(998)),
        buyer: Some(Sealed { key: DataKeyId(id16(5)), nonce: [6; 24], ciphertext: vec![7, 8] }),
        provider: "simulated".into(),
        token: PaymentToken("tok".into()),
        holds: BTreeMap::from([(sku("TEA-1"), HoldId(id16(9)))]),
    }
}

fn request() -> RefundRequest {
    let (refund, fingerprint) = (RefundId(id16(4)), Fingerprint([5; 32]));
    RefundRequest { refund, fingerprint, amount: Some(3), lines: lines(), restock: true }
}

pub(super) fn events() -> Vec<Pin> {
    let (step, at) = (PaymentStep::Capture, Timestamp(1000));
    pinned!(
        "order event",
        OrderEvent::VERSION,
        OrderEvent {
            Placed,
            Entered,
            StockSettled,
            PaymentSettled,
            PaymentPending,
            PollStarted,
            PaymentAttempted,
            Doomed,
            CancelRequested,
            FulfilmentRequested,
            Shipped,
            RefundRequested,
            EraseRequested,
            BuyerErased,
            PaymentPostponed,
        },
        vec![
            OrderEvent::Placed(Arc::new(placement())),
            OrderEvent::Entered { phase: Phase::Failed, reason: Some("why".into()) },
            OrderEvent::StockSettled { sku: sku("TEA-1"), step: StockStep::Commit, outcome: Ok(()) },
            OrderEvent::StockSettled {
                sku: sku("TEA-1"),
                step: StockStep::Restock(RefundId(id16(4))),
                outcome: Err(Rejection::CartGone),
            },
            OrderEvent::PaymentSettled { step, outcome: PaymentOutcome::Captured },
            OrderEvent::PaymentPending { step, poll_at: at },
            OrderEvent::PollStarted { step },
            OrderEvent::PaymentAttempted { step },
            OrderEvent::Doomed(Failure::PaymentUnresolved),
            OrderEvent::CancelRequested { reason: "why".into() },
            OrderEvent::FulfilmentRequested { lines: lines(), tracking: Some("1Z".into()) },
            OrderEvent::Shipped { lines: lines(), tracking: None },
            OrderEvent::RefundRequested { request: request(), amount: 3, restock: lines() },
            OrderEvent::EraseRequested,
            OrderEvent::BuyerErased,
            OrderEvent::PaymentPostponed { step, retry_at: at, lost: true },
        ]
    )
}

pub(super) fn replies() -> Vec<Pin> {
    let at = Timestamp(1000);
    let view = OrderView {
        id: order_id(2),
        number: "AAAA-BBBB-CCCC".into(),
        state: OrderState::Confirmed,
        placement: Arc::new(placement()),
        buyer: None,
        erased: true,
        failure: Some(Failure::HoldExpired { sku: sku("TEA-1") }),
        payment: PaymentView {
            provider: "simulated".into(),
            status: PaymentStatus::Captured,
            captured: 9,
            refunded: 3,
        },
        shipments: vec![Shipment { at, lines: lines(), tracking: None }],
        refunds: vec![RefundView {
            id: RefundId(id16(4)),
            at,
            amount: 3,
            status: RefundStatus::Refused,
            restock: lines(),
        }],
        created_at: at,
        history: vec![HistoryRow { at, state: OrderState::Placed, reason: None }],
        settled: false,
    };
    pinned!(
        "order reply",
        OrderReply::VERSION,
        OrderReply { Noted, Refunding, Shown },
        vec![
            OrderReply::Noted { state: OrderState::Placed },
            OrderReply::Refunding { refund: RefundId(id16(4)), amount: 3 },
            OrderReply::Shown(Box::new(view)),
        ]
    )
}

/// Every choice within events and states: a variant moved is a value misread.
pub(super) fn choices() -> Vec<Pin> {
    let mut all = pinned!(
        "order phase",
        1,
        Phase {
            Placed,
            Reserving,
            Authorizing,
            Committing,
            Confirmed,
            Capturing,
            Fulfilled,
            Delivered,
            Unwinding,
            Cancelled,
            Failed,
            Refunded,
        },
        vec![
            Phase::Placed,
            Phase::Reserving,
            Phase::Authorizing,
            Phase::Committing,
            Phase::Confirmed,
            Phase::Capturing,
            Phase::Fulfilled,
            Phase::Delivered,
            Phase::Unwinding,
            Phase::Cancelled,
            Phase::Failed,
            Phase::Refunded,
        ]
    );
    all.extend(pinned!(
        "order state",
        1,
        OrderState { Placed, Reserving, Authorizing, Confirmed, Fulfilled, Delivered, Cancelled, Failed, Refunded },
        OrderState::ALL.to_vec()
    ));
    all.extend(pinned!(
        "order failure",
        1,
        Failure { InsufficientStock, HoldExpired, Unavailable, PaymentDeclined, PaymentUnresolved },
        vec![
            Failure::InsufficientStock { sku: sku("TEA-1"), available: 3 },
            Failure::HoldExpired { sku: sku("TEA-1") },
            Failure::Unavailable { sku: sku("TEA-1") },
            Failure::PaymentDeclined { reason: "why".into() },
            Failure::PaymentUnresolved,
        ]
    ));
    all.extend(steps());
    all
}

/// What an order may owe, to its provider and to stock items.
fn steps() -> Vec<Pin> {
    let refund = RefundId(id16(4));
    let mut all = pinned!(
        "order payment step",
        1,
        PaymentStep { Authorise, Capture, Void, Refund },
        vec![PaymentStep::Authorise, PaymentStep::Capture, PaymentStep::Void, PaymentStep::Refund(refund)]
    );
    all.extend(pinned!(
        "order stock step",
        1,
        StockStep { Reserve, Commit, Release, Return, Restock, Forget },
        vec![
            StockStep::Reserve,
            StockStep::Commit,
            StockStep::Release,
            StockStep::Return,
            StockStep::Restock(refund),
            StockStep::Forget,
        ]
    ));
    all
}
