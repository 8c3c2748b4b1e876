//! Everything at once: carts, orders and stock items as they are, a provider that keeps its own accounts, and a courier
//! that delivers in any order, repeats, and loses answers. After every step every law holds and the books agree within
//! what is under way; when nothing is under way any more every order is somewhere it may stay and the books are exact.

mod provider;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::books::Books;
use super::cart::{CartCommand, CheckOut};
use super::entity::{Destination, Fingerprint, Obligation, Outgoing, Settlement};
use super::ids::{CartId, EntityId, HoldId, OrderId, RefundId};
use super::invariants::check;
use super::money::Currency;
use super::order::{OrderCommand, Phase, RefundRequest};
use super::payment::PaymentToken;
use super::registry::{AnyCommand, AnyReply, AnyState};
use super::rejection::Rejection;
use super::stock::{Holder, Releaser, Reserve, StockCommand};
use super::testkit::{id16, listing, order_id, sku, units};
use super::time::Timestamp;
use provider::Provider;

const SKUS: [&str; 2] = ["TEA", "CUP"];
const TOKENS: [&str; 4] = ["ok", "declined", "pending", "lost"];
const CARTS: u8 = 3;

#[derive(Clone, Debug)]
enum Step {
    Put { cart: u8, sku: usize, count: u32 },
    CheckOut { cart: u8, order: u8, token: usize, adopt: bool },
    Merge { cart: u8, from: u8 },
    Hold { sku: usize, hold: u8, count: u32 },
    MerchantRelease { sku: usize, which: usize },
    Deliver { which: usize, lost: bool },
    Webhook { which: usize, authorised: bool },
    Cancel { order: u8 },
    Fulfil { order: u8 },
    Refund { order: u8, refund: u8, amount: Option<u64>, restock: bool },
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (cart, order, any_sku) = (1..=CARTS, 1..8_u8, 0..SKUS.len());
    prop_oneof![
        4 => (cart.clone(), any_sku.clone(), 1..4_u32).prop_map(|(cart, sku, count)| Step::Put { cart, sku, count }),
        4 => (cart.clone(), order.clone(), 0..TOKENS.len(), any::<bool>())
            .prop_map(|(cart, order, token, adopt)| Step::CheckOut { cart, order, token, adopt }),
        1 => (cart.clone(), cart).prop_map(|(cart, from)| Step::Merge { cart, from }),
        2 => (any_sku.clone(), 1..5_u8, 1..4_u32).prop_map(|(sku, hold, count)| Step::Hold { sku, hold, count }),
        1 => (any_sku, 0..4_usize).prop_map(|(sku, which)| Step::MerchantRelease { sku, which }),
        24 => (any::<prop::sample::Index>(), prop::bool::weighted(0.3))
            .prop_map(|(which, lost)| Step::Deliver { which: which.index(1 << 16), lost }),
        2 => (0..4_usize, any::<bool>()).prop_map(|(which, authorised)| Step::Webhook { which, authorised }),
        2 => order.clone().prop_map(|order| Step::Cancel { order }),
        2 => order.clone().prop_map(|order| Step::Fulfil { order }),
        2 => (order, 1..6_u8, proptest::option::of(1..9_u64), any::<bool>())
            .prop_map(|(order, refund, amount, restock)| Step::Refund { order, refund, amount, restock }),
        2 => (1..2000_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

struct World {
    entities: BTreeMap<EntityId, AnyState>,
    provider: Provider,
    at: Timestamp,
    /// The obligation whose outcome its owner heard last.
    settled: Option<Obligation>,
}

impl World {
    fn new() -> Self {
        let mut world =
            Self { entities: BTreeMap::new(), provider: Provider::default(), at: Timestamp(1_000_000), settled: None };
        for name in SKUS {
            let receive = StockCommand::Receive { quantity: units(8), reference: String::new() };
            world.ask(&EntityId::stock(&sku(name)), AnyCommand::Stock(receive)).unwrap();
        }
        for cart in 1..=CARTS {
            let create = CartCommand::Create { currency: Currency::USD, fingerprint: Fingerprint::default() };
            world.ask(&EntityId::cart(CartId(id16(cart))), AnyCommand::Cart(create)).unwrap();
        }
        world
    }

    fn ask(&mut self, entity: &EntityId, command: AnyCommand) -> Result<AnyReply, Rejection> {
        let state = self.entities.entry(entity.clone()).or_insert_with(|| AnyState::new(entity));
        let decision = state.decide(&command, self.at)?;
        assert!(!decision.replayed || decision.events.is_empty(), "a repeat of {command:?} has events");
        decision.events.iter().for_each(|event| state.apply(event, self.at));
        state.assert_invariants();
        Ok(decision.reply)
    }

    /// The same, when a no is as good as a yes.
    fn try_ask(&mut self, entity: &EntityId, command: AnyCommand) {
        drop(self.ask(entity, command));
    }

    fn order(&mut self, order: u8, command: OrderCommand) {
        self.try_ask(&EntityId::order(order_id(order)), AnyCommand::Order(command));
    }

    fn owed(&self) -> Vec<(EntityId, Outgoing)> {
        let owed = |(id, state): (&EntityId, &AnyState)| {
            state.outstanding().into_iter().map(|outgoing| (id.clone(), outgoing)).collect::<Vec<_>>()
        };
        self.entities.iter().flat_map(owed).collect()
    }

    /// What entities owe each other: an owed command keeps its name and content until its owner heard the outcome (P5).
    fn owed_to_entities(&self) -> BTreeMap<Obligation, AnyCommand> {
        let owed = self.owed().into_iter().filter_map(|(_, outgoing)| match outgoing.to {
            Destination::Entity(_, command) => Some((outgoing.obligation, command)),
            Destination::Payment(_) => None,
        });
        owed.collect()
    }

    /// Takes one owed command where it belongs. A lost answer leaves it owed.
    fn deliver(&mut self, which: usize, lost: bool) -> bool {
        let owed = self.owed();
        let Some((owner, outgoing)) = owed.get(which % owed.len().max(1)) else { return false };
        let settlement = match &outgoing.to {
            Destination::Payment(request) => Settlement::Payment(self.provider.execute(request)),
            Destination::Entity(to, command) => match self.ask(to, command.clone()) {
                Ok(reply) => Settlement::Accepted(reply),
                Err(rejection) => Settlement::Rejected(rejection),
            },
        };
        if !lost {
            let settled = self.entities[owner].settle(&outgoing.obligation, &settlement);
            let settled = settled.unwrap_or_else(|| panic!("nobody waits for {}", outgoing.obligation));
            let again = settled.clone();
            self.ask(owner, settled).expect("an owner takes its own outcome");
            self.settled = Some(outgoing.obligation.clone());
            self.try_ask(owner, again);
        }
        true
    }

    fn wait(&mut self, duration: Duration) {
        self.at = self.at.after(duration);
        let due: Vec<_> =
            self.entities.iter().filter_map(|(id, state)| Some((id.clone(), state.deadline()?))).collect();
        for (id, (deadline, command)) in due {
            if deadline <= self.at {
                self.ask(&id, command).expect("an entity takes its own deadline");
            }
        }
    }

    /// When the next entity wants to be woken.
    fn next_deadline(&self) -> Option<Timestamp> {
        let orders = self.entities.values().filter(|state| matches!(state, AnyState::Order(_)));
        orders.filter_map(|state| Some(state.deadline()?.0)).min()
    }

    fn check_out(&mut self, cart: u8, order: u8, token: usize, adopt: bool) {
        let id = EntityId::cart(CartId(id16(cart)));
        let AnyState::Cart(state) = &self.entities[&id] else { panic!("a cart is a cart") };
        let Ok(decision) = super::entity::Entity::decide(state, &CartCommand::Show, self.at) else { return };
        let super::cart::CartReply::Shown(view) = decision.reply else { panic!("Show shows") };
        let held = view.lines.first().filter(|_| adopt).map(|line| (line.sku.clone(), HoldId(id16(order % 4 + 1))));
        let asked = CheckOut {
            order: order_id(order * CARTS + cart),
            fingerprint: Fingerprint([order; 32]),
            version: view.version,
            offers: view.lines.iter().map(|line| (line.sku.clone(), line.offer.clone())).collect(),
            provider: "simulated".into(),
            token: PaymentToken(TOKENS[token].into()),
            holds: held.into_iter().collect(),
        };
        self.try_ask(&id, AnyCommand::Cart(CartCommand::CheckOut(Box::new(asked))));
    }

    fn hold(&mut self, name: usize, hold: u8, count: u32) {
        let (holder, fingerprint) = (Holder::Shopper, Fingerprint([hold; 32]));
        let (hold, ttl, quantity) = (HoldId(id16(hold)), Duration::from_secs(600), units(count));
        let reserve = StockCommand::Reserve(Reserve { hold, quantity, ttl, holder, fingerprint });
        self.try_ask(&EntityId::stock(&sku(SKUS[name])), AnyCommand::Stock(reserve));
    }

    fn merchant_release(&mut self, name: usize, which: usize) {
        let id = EntityId::stock(&sku(SKUS[name]));
        let AnyState::Stock(item) = &self.entities[&id] else { panic!("an item is an item") };
        let Some(hold) = item.holds().nth(which).map(|hold| hold.id) else { return };
        self.try_ask(&id, AnyCommand::Stock(StockCommand::Release { hold, by: Releaser::Merchant }));
    }

    fn refund(&mut self, order: u8, refund: u8, amount: Option<u64>, restock: bool) {
        let (refund, fingerprint) = (RefundId(id16(refund)), Fingerprint([refund; 32]));
        let request = RefundRequest { refund, fingerprint, amount, lines: Vec::new(), restock };
        self.order(order, OrderCommand::Refund(Box::new(request)));
    }

    fn walk(&mut self, step: &Step) {
        match *step {
            Step::Put { cart, sku: name, count } => {
                let (name, expected_version) = (SKUS[name], None);
                let (sku, quantity, listing) = (sku(name), units(count), listing(name, 7, 1));
                let set = CartCommand::SetLine { sku, quantity, listing, expected_version };
                self.try_ask(&EntityId::cart(CartId(id16(cart))), AnyCommand::Cart(set));
            }
            Step::CheckOut { cart, order, token, adopt } => self.check_out(cart, order, token, adopt),
            Step::Merge { cart, from } => {
                let merge = CartCommand::Merge { from: CartId(id16(from)), expected_version: None };
                self.try_ask(&EntityId::cart(CartId(id16(cart))), AnyCommand::Cart(merge));
            }
            Step::Hold { sku, hold, count } => self.hold(sku, hold, count),
            Step::MerchantRelease { sku, which } => self.merchant_release(sku, which),
            Step::Deliver { which, lost } => drop(self.deliver(which, lost)),
            Step::Webhook { which, authorised } => {
                if let Some((order, key, outcome)) = self.provider.resolve(which, authorised) {
                    let report = OrderCommand::PaymentReported { key, outcome };
                    self.try_ask(&EntityId::order(order), AnyCommand::Order(report));
                }
            }
            Step::Cancel { order } => self.each_cart(order, |world, order| {
                world.order(order, OrderCommand::Cancel { reason: String::new() });
            }),
            Step::Fulfil { order } => self.each_cart(order, |world, order| {
                world.order(order, OrderCommand::Fulfil { lines: Vec::new(), tracking: None });
            }),
            Step::Refund { order, refund, amount, restock } => {
                let restock = restock && amount.is_none();
                self.each_cart(order, |world, order| world.refund(order, refund, amount, restock));
            }
            Step::Wait { seconds } => self.wait(Duration::from_secs(seconds)),
        }
    }

    fn each_cart(&mut self, order: u8, mut act: impl FnMut(&mut Self, u8)) {
        (1..=CARTS).for_each(|cart| act(self, order * CARTS + cart));
    }

    /// Every law of every entity, and what they say about each other and the provider.
    fn audit(&self) -> Result<(), TestCaseError> {
        let mut books = Books::default();
        for (id, state) in &self.entities {
            prop_assert_eq!(check(state), vec![], "{}", id);
            books.add(state);
        }
        self.provider.accounts.iter().for_each(|(order, account)| books.add_account(*order, *account));
        prop_assert_eq!(books.breaches(), vec![]);
        Ok(())
    }

    /// Delivers everything and lets time pass until nobody owes or awaits anything.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..10_000 {
            if self.deliver(0, false) {
                continue;
            }
            match self.next_deadline() {
                Some(deadline) => self.wait(deadline.since(self.at)),
                None => return Ok(()),
            }
        }
        Err(TestCaseError::fail(format!("still owed after ten thousand deliveries: {:?}", self.owed())))
    }

    fn orders(&self) -> impl Iterator<Item = (OrderId, &super::order::Order)> {
        self.entities.iter().filter_map(|(id, state)| match state {
            AnyState::Order(order) if order.phase().is_some() => Some((id.key.parse().ok()?, order)),
            _ => None,
        })
    }
}

fn may_stay(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Confirmed | Phase::Fulfilled | Phase::Delivered | Phase::Cancelled | Phase::Failed | Phase::Refunded
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_books_agree_after_every_step_and_every_order_ends(steps in proptest::collection::vec(step(), 1..160)) {
        let mut world = World::new();
        for step in steps {
            let owed = world.owed_to_entities();
            world.settled = None;
            world.walk(&step);
            let still_owed = world.owed_to_entities();
            for (name, command) in owed.iter().filter(|(name, _)| Some(*name) != world.settled.as_ref()) {
                let now = still_owed.get(name);
                // A Forget tells what its order knows by now.
                let same = if name.step == "forget" { now.is_some() } else { now == Some(command) };
                prop_assert!(same, "{} became {:?} while owed", name, now);
            }
            world.audit()?;
        }
        world.drain()?;
        world.audit()?;
        for (id, order) in world.orders() {
            let phase = order.phase();
            prop_assert!(phase.is_some_and(may_stay), "order {} stays in {:?}", id, phase);
            prop_assert!(order.is_settled(), "order {} is not settled", id);
            let exact = |range: super::books::Range| range.low == range.high;
            let claims = order.claims().unwrap();
            let money = claims.money;
            // A capture the provider refused may have spoilt the authorisation: only the provider can say.
            let may_doubt = phase == Some(Phase::Confirmed);
            prop_assert!(may_doubt || (exact(money.captured) && exact(money.authorised)), "{}: {:?}", id, money);
            prop_assert!(claims.units.iter().all(|unit| exact(unit.sold) && exact(unit.returned)), "{:?}", claims);
        }
    }
}
