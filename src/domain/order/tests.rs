//! A small world for orders: real stock items, a model of a payment provider, and a courier the tests hold in hand.

mod back_tests;
mod life_tests;
mod model_tests;
mod table_tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::cart::CartCommand;
use crate::domain::entity::{Destination, Fingerprint};
use crate::domain::ids::{CartId, DataKeyId, HoldId, RefundId, Sku};
use crate::domain::invariants::check_order;
use crate::domain::payment::{PaymentOperation, PaymentOutcome, PaymentRequest, PaymentToken};
use crate::domain::pricing::Totals;
use crate::domain::privacy::Sealed;
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::stock::{Holder, Reserve, StockCommand, StockItem, StockNumbers, StockReply};
use crate::domain::testkit::{Subject, id16, order_id, sku, units, usd};

pub(super) const CART: CartId = CartId([7; 16]);
pub(super) const TEA: &str = "TEA";
pub(super) const MUG: &str = "MUG";

/// Two teas at 5.00 and three mugs at 12.00.
pub(super) fn placement() -> Placement {
    placement_of(&[(TEA, 2, 500), (MUG, 3, 1200)])
}

pub(super) fn placement_of(lines: &[(&str, u32, u64)]) -> Placement {
    let lines: Vec<OrderLine> = lines
        .iter()
        .map(|(name, count, unit_price)| OrderLine {
            sku: sku(name),
            product: "product".parse().unwrap(),
            title: (*name).into(),
            quantity: units(*count),
            unit_price: *unit_price,
        })
        .collect();
    Placement {
        order: order_id(1),
        cart: CART,
        cart_version: 4,
        totals: Totals::of(usd(lines.iter().map(OrderLine::total).sum())),
        lines,
        buyer: Some(Sealed { key: DataKeyId(id16(9)), nonce: [1; 24], ciphertext: vec![1, 2, 3] }),
        provider: "simulated".into(),
        token: PaymentToken("tok".into()),
        holds: BTreeMap::new(),
    }
}

/// A provider that keeps honest books and answers an authorisation as told.
#[derive(Default)]
pub(super) struct Ledger {
    /// How new authorisations are answered, in order; then they are authorised.
    pub moods: VecDeque<PaymentOutcome>,
    /// How captures, voids and refunds are answered before the books are asked, in order.
    pub hiccups: VecDeque<PaymentOutcome>,
    pub authorised: u64,
    pub captured: u64,
    pub voided: u64,
    pub refunded: u64,
    answers: BTreeMap<String, PaymentOutcome>,
    barred: bool,
}

impl Ledger {
    /// Answers as a provider would: a known key as before, a new one from the books.
    pub fn execute(&mut self, request: &PaymentRequest) -> PaymentOutcome {
        if let PaymentOperation::Lookup { of } = &request.operation {
            return self.answers.get(of).cloned().unwrap_or(PaymentOutcome::NeverSeen);
        }
        if let Some(known) = self.answers.get(&request.key) {
            return known.clone();
        }
        let outcome = match &request.operation {
            PaymentOperation::Authorise { .. } if self.barred => PaymentOutcome::Voided,
            PaymentOperation::Authorise { amount, .. } => {
                let mood = self.moods.pop_front().unwrap_or(PaymentOutcome::Authorised);
                self.authorised += if mood == PaymentOutcome::Authorised { amount.amount } else { 0 };
                mood
            }
            _ => self.hiccups.pop_front().unwrap_or_else(|| self.settle(&request.operation)),
        };
        if outcome != PaymentOutcome::NeverSeen {
            self.answers.insert(request.key.clone(), outcome.clone());
        }
        outcome
    }

    fn settle(&mut self, operation: &PaymentOperation) -> PaymentOutcome {
        let open = self.authorised - self.captured - self.voided;
        match operation {
            PaymentOperation::Capture { amount, .. } if amount.amount <= open => {
                self.captured += amount.amount;
                PaymentOutcome::Captured
            }
            PaymentOperation::Void { .. } if self.captured == 0 => {
                self.barred = true;
                self.voided = self.authorised;
                PaymentOutcome::Voided
            }
            PaymentOperation::Refund { amount, .. } if amount.amount <= self.captured - self.refunded => {
                self.refunded += amount.amount;
                PaymentOutcome::Refunded
            }
            _ => PaymentOutcome::Declined { reason: "books".into() },
        }
    }

    /// The provider makes up its mind about a pending request. Returns the key and what it says from now on.
    pub fn decide_pending(&mut self, key: &str, outcome: PaymentOutcome, amount: u64) {
        assert_eq!(self.answers.get(key), Some(&PaymentOutcome::Pending), "{key} is not pending");
        if !self.barred {
            self.authorised += if outcome == PaymentOutcome::Authorised { amount } else { 0 };
            self.answers.insert(key.to_owned(), outcome);
        }
    }

    /// Money that is neither let go of nor given back.
    pub fn kept(&self) -> u64 {
        self.authorised - self.voided - self.refunded
    }
}

/// An order among stock items and a provider.
pub(super) struct World {
    pub order: Subject<Order>,
    pub stock: BTreeMap<Sku, Subject<StockItem>>,
    pub ledger: Ledger,
    /// Keys the cart was told to forget.
    pub erased: Vec<DataKeyId>,
    /// Names of everything delivered.
    pub delivered: Vec<String>,
}

impl World {
    /// Ten units of each SKU, nothing ordered yet.
    pub fn new() -> Self {
        let mut world = Self {
            order: Subject::new(&EntityId::order(order_id(1))),
            stock: BTreeMap::new(),
            ledger: Ledger::default(),
            erased: Vec::new(),
            delivered: Vec::new(),
        };
        for name in [TEA, MUG] {
            let mut item = Subject::new(&EntityId::stock(&sku(name)));
            item.yes(StockCommand::Receive { quantity: units(10), reference: "delivery".into() });
            world.stock.insert(sku(name), item);
        }
        world
    }

    /// Placed, nothing delivered yet.
    pub fn placed(placement: Placement) -> Self {
        let mut world = Self::new();
        world.order.yes(OrderCommand::Place(Arc::new(placement)));
        world
    }

    /// Confirmed.
    pub fn confirmed() -> Self {
        let mut world = Self::placed(placement());
        world.run();
        assert_eq!(world.phase(), Phase::Confirmed);
        world
    }

    /// Everything sent and paid.
    pub fn fulfilled() -> Self {
        let mut world = Self::confirmed();
        world.order.yes(fulfil(&[]));
        world.run();
        assert_eq!(world.phase(), Phase::Fulfilled);
        world
    }

    pub fn phase(&self) -> Phase {
        self.order.state.phase().unwrap()
    }

    pub fn view(&mut self) -> OrderView {
        match self.order.yes(OrderCommand::Show) {
            OrderReply::Shown(view) => *view,
            other => panic!("{other:?}"),
        }
    }

    pub fn numbers(&self, name: &str) -> StockNumbers {
        self.stock[&sku(name)].state.numbers()
    }

    /// The names of what is owed.
    pub fn owed(&self) -> Vec<String> {
        let entity = format!("{}/", EntityId::order(order_id(1)));
        let owed = self.order.state.outstanding();
        owed.iter().map(|owed| owed.obligation.to_string().replace(&entity, "")).collect()
    }

    /// Delivers one obligation; what comes back.
    pub fn deliver(&mut self, owed: &Outgoing) -> Settlement {
        self.delivered.push(owed.obligation.to_string());
        match &owed.to {
            Destination::Payment(request) => Settlement::Payment(self.ledger.execute(request)),
            Destination::Entity(_, AnyCommand::Cart(CartCommand::EraseBuyer { key })) => {
                self.erased.push(*key);
                Settlement::Accepted(AnyReply::Cart(crate::domain::cart::CartReply::Noted))
            }
            Destination::Entity(id, AnyCommand::Stock(command)) => {
                let item = self.stock.get_mut(&sku(&id.key)).expect("only SKUs of this world are ordered");
                match item.when(command.clone()) {
                    Ok(decision) => Settlement::Accepted(AnyReply::Stock(decision.reply)),
                    Err(rejection) => Settlement::Rejected(rejection),
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Hands a settlement to the order, as its actor would.
    #[track_caller]
    pub fn settle(&mut self, owed: &Outgoing, settlement: &Settlement) {
        if let Some(command) = self.order.state.settle(&owed.obligation, settlement) {
            self.order.yes(command);
        }
        let still_owed = self.order.state.outstanding().iter().any(|other| other.obligation == owed.obligation);
        assert!(!still_owed, "{} is owed after its outcome", owed.obligation);
        assert_eq!(check_order(&self.order.state), []);
    }

    /// Delivers and settles until nothing is owed.
    #[track_caller]
    pub fn run(&mut self) {
        for _ in 0..1000 {
            let Some(owed) = self.order.state.outstanding().into_iter().next() else { return };
            let settlement = self.deliver(&owed);
            self.settle(&owed, &settlement);
        }
        panic!("owes for ever: {:?}", self.owed());
    }

    /// Delivers and settles everything owed at this moment.
    pub fn round(&mut self) {
        for owed in self.order.state.outstanding() {
            let settlement = self.deliver(&owed);
            self.settle(&owed, &settlement);
        }
    }

    /// Lets time pass to the deadline and gives the order its command.
    #[track_caller]
    pub fn wake(&mut self) {
        let (at, command) = self.order.state.deadline().expect("something is waited for");
        self.order.at = self.order.at.max(at);
        self.order.yes(command);
    }

    /// Nothing held, nothing sold, no money kept.
    #[track_caller]
    pub fn assert_undone(&self) {
        for (sku, item) in &self.stock {
            let numbers = item.state.numbers();
            assert_eq!((numbers.held, numbers.sold - numbers.returned), (0, 0), "{sku}");
        }
        assert_eq!(self.ledger.kept(), 0);
        assert!(self.order.state.is_settled(), "{:?}", self.owed());
    }
}

pub(super) fn fulfil(lines: &[(&str, u32)]) -> OrderCommand {
    OrderCommand::Fulfil { lines: lines_of(lines), tracking: Some("1Z".into()) }
}

pub(super) fn lines_of(lines: &[(&str, u32)]) -> Vec<Units> {
    lines.iter().map(|(name, count)| Units { sku: sku(name), quantity: units(*count) }).collect()
}

pub(super) fn refund(number: u8, amount: Option<u64>, lines: &[(&str, u32)], restock: bool) -> OrderCommand {
    OrderCommand::Refund(Box::new(RefundRequest {
        refund: RefundId(id16(number)),
        fingerprint: Fingerprint([number; 32]),
        amount,
        lines: lines_of(lines),
        restock,
    }))
}

pub(super) fn cancel() -> OrderCommand {
    OrderCommand::Cancel { reason: "changed my mind".into() }
}

pub(super) fn declined() -> PaymentOutcome {
    PaymentOutcome::Declined { reason: "card_declined".into() }
}

/// A shopper's hold, ten minutes.
pub(super) fn shopper_hold(byte: u8, count: u32) -> Reserve {
    Reserve {
        hold: HoldId(id16(byte)),
        quantity: units(count),
        ttl: Duration::from_secs(600),
        holder: Holder::Shopper,
        fingerprint: Fingerprint::default(),
    }
}

/// What the stock item says to a hold.
pub(super) fn held(reply: &StockReply) -> bool {
    matches!(reply, StockReply::Held { .. })
}
