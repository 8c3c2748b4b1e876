//! An order among its stock items and its provider, whatever happens in whatever order: what is owed is delivered, its
//! answer lost, delivered again; goods leave in parts; money goes back by line and by amount; the provider answers by
//! answer, lookup and webhook, late, twice and out of order. After every step all laws hold, and the books agree within
//! what is under way; in the end the order is where it may stay and the books are exact. Everything passes through its
//! bytes on the way, see [`Subject`].

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::domain::books::{Books, ProviderAccount, Range};
use crate::domain::entity::Obligation;
use crate::domain::invariants::check_stock;
use crate::domain::registry::AnyState;

const NAMES: [&str; 2] = [TEA, MUG];

#[derive(Clone, Debug)]
enum Step {
    /// What is owed reaches its target; its answer may be lost.
    Deliver {
        which: usize,
        lost: bool,
    },
    /// What was sent before reaches its target again.
    Resend {
        which: usize,
    },
    /// How the provider will answer the next requests that move money.
    Mood {
        authorisation: bool,
        which: usize,
    },
    /// The provider makes up its mind about something pending, and tells.
    Resolve {
        which: usize,
        success: bool,
        told: bool,
    },
    /// News that the provider sent before arrive, perhaps again.
    News {
        which: usize,
    },
    Fulfil {
        lines: Vec<(usize, u32)>,
    },
    Refund {
        refund: u8,
        amount: Option<u64>,
        lines: Vec<(usize, u32)>,
        restock: bool,
    },
    Cancel,
    GoodsArrive,
    Erase,
    Wait {
        seconds: u64,
    },
    /// A provider that says what it likes. Only in the second test.
    Lie {
        key: usize,
        outcome: usize,
    },
}

fn lines() -> impl Strategy<Value = Vec<(usize, u32)>> {
    prop::collection::vec((0..NAMES.len(), 1..4_u32), 0..3)
}

fn index() -> impl Strategy<Value = usize> {
    any::<prop::sample::Index>().prop_map(|which| which.index(1 << 16))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => (index(), prop::bool::weighted(0.25)).prop_map(|(which, lost)| Step::Deliver { which, lost }),
        3 => index().prop_map(|which| Step::Resend { which }),
        3 => (any::<bool>(), index()).prop_map(|(authorisation, which)| Step::Mood { authorisation, which }),
        3 => (index(), prop::bool::weighted(0.7), any::<bool>())
            .prop_map(|(which, success, told)| Step::Resolve { which, success, told }),
        3 => index().prop_map(|which| Step::News { which }),
        3 => lines().prop_map(|lines| Step::Fulfil { lines }),
        4 => (1..6_u8, proptest::option::of(1..3_000_u64), lines(), any::<bool>())
            .prop_map(|(refund, amount, lines, restock)| Step::Refund { refund, amount, lines, restock }),
        1 => Just(Step::Cancel),
        2 => Just(Step::GoodsArrive),
        1 => Just(Step::Erase),
        2 => (1..1_000_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn lie() -> impl Strategy<Value = Step> {
    (index(), index()).prop_map(|(key, outcome)| Step::Lie { key, outcome })
}

/// Every outcome a provider can report.
pub(super) fn every_outcome() -> [PaymentOutcome; 7] {
    [
        PaymentOutcome::Authorised,
        declined(),
        PaymentOutcome::Captured,
        PaymentOutcome::Voided,
        PaymentOutcome::Refunded,
        PaymentOutcome::Pending,
        PaymentOutcome::NeverSeen,
    ]
}

struct Model {
    world: World,
    /// Sent since time last passed: nothing is resent for longer than its target remembers.
    sent: Vec<Outgoing>,
    /// Requests that the provider has not decided.
    pending: BTreeMap<String, PaymentOperation>,
    /// What the provider ever said.
    news: Vec<(String, PaymentOutcome)>,
    settled: Option<Obligation>,
}

impl Model {
    fn new() -> Self {
        let world = World::placed(placement());
        Self { world, sent: Vec::new(), pending: BTreeMap::new(), news: Vec::new(), settled: None }
    }

    fn send(&mut self, owed: &Outgoing) -> Settlement {
        let settlement = self.world.deliver(owed);
        if let (Destination::Payment(request), Settlement::Payment(outcome)) = (&owed.to, &settlement) {
            match (&request.operation, outcome) {
                (PaymentOperation::Lookup { .. }, _) | (_, PaymentOutcome::NeverSeen) => {}
                (operation, PaymentOutcome::Pending) => {
                    self.pending.entry(request.key.clone()).or_insert_with(|| operation.clone());
                }
                (_, outcome) => self.news.push((request.key.clone(), outcome.clone())),
            }
        }
        settlement
    }

    fn deliver(&mut self, which: usize, lost: bool) {
        let owed = self.world.order.state.outstanding();
        let Some(owed) = owed.get(which % owed.len().max(1)) else { return };
        let settlement = self.send(owed);
        self.sent.push(owed.clone());
        if !lost {
            self.world.settle(owed, &settlement);
            self.settled = Some(owed.obligation.clone());
        }
    }

    /// Whoever gets it does nothing again, and nobody waits for the answer unless it is still owed.
    fn resend(&mut self, which: usize) {
        let Some(owed) = self.sent.get(which % self.sent.len().max(1)).cloned() else { return };
        let settlement = self.send(&owed);
        let is_owed = self.world.order.state.outstanding().iter().any(|other| other.obligation == owed.obligation);
        let waits = self.world.order.state.settle(&owed.obligation, &settlement).is_some();
        assert_eq!(waits, is_owed, "{}", owed.obligation);
    }

    /// The provider decides something pending. Returns its news.
    fn resolve(&mut self, which: usize, success: bool) -> Option<(String, PaymentOutcome)> {
        let key = self.pending.keys().nth(which % self.pending.len().max(1))?.clone();
        let operation = self.pending.remove(&key)?;
        let ledger = &mut self.world.ledger;
        let outcome = match &operation {
            PaymentOperation::Authorise { .. } if ledger.barred => PaymentOutcome::Voided,
            PaymentOperation::Authorise { amount, .. } if success => {
                ledger.authorised += amount.amount;
                PaymentOutcome::Authorised
            }
            operation if success => ledger.settle(operation),
            _ => declined(),
        };
        ledger.answers.insert(key.clone(), outcome.clone());
        self.news.push((key.clone(), outcome.clone()));
        Some((key, outcome))
    }

    fn report(&mut self, key: String, outcome: PaymentOutcome) {
        let report = OrderCommand::PaymentReported { key, outcome };
        self.world.order.yes(report.clone());
        self.world.order.again(report);
    }

    fn try_order(&mut self, command: OrderCommand) {
        // A no is as good as a yes here; what it leaves behind is looked at after every step.
        drop(self.world.order.when(command));
    }

    fn wait(&mut self, seconds: u64) {
        let world = &mut self.world;
        world.order.wait(Duration::from_secs(seconds));
        for item in world.stock.values_mut() {
            item.wait(Duration::from_secs(seconds));
        }
        self.sent.clear();
        if world.order.state.deadline().is_some_and(|(at, _)| at <= world.order.at) {
            world.wake();
        }
    }

    fn walk(&mut self, step: &Step) {
        let named =
            |lines: &[(usize, u32)]| lines.iter().map(|(name, count)| (NAMES[*name], *count)).collect::<Vec<_>>();
        match step {
            Step::Deliver { which, lost } => self.deliver(*which, *lost),
            Step::Resend { which } => self.resend(*which),
            Step::Mood { authorisation, which } => {
                let moods = [declined(), PaymentOutcome::Pending, PaymentOutcome::NeverSeen];
                let mood = moods[which % moods.len()].clone();
                let ledger = &mut self.world.ledger;
                if *authorisation { ledger.moods.push_back(mood) } else { ledger.hiccups.push_back(mood) }
            }
            Step::Resolve { which, success, told } => {
                if let Some((key, outcome)) = self.resolve(*which, *success).filter(|_| *told) {
                    self.report(key, outcome);
                }
            }
            Step::News { which } => {
                if let Some((key, outcome)) = self.news.get(which % self.news.len().max(1)).cloned() {
                    self.report(key, outcome);
                }
            }
            Step::Fulfil { lines } => self.try_order(fulfil(&named(lines))),
            Step::Refund { refund: number, amount, lines, restock } => {
                self.try_order(refund(*number, *amount, &named(lines), *restock));
            }
            Step::Cancel => self.try_order(cancel()),
            Step::GoodsArrive => self.try_order(OrderCommand::Deliver),
            Step::Erase => self.try_order(OrderCommand::Erase),
            Step::Wait { seconds } => self.wait(*seconds),
            Step::Lie { key, outcome } => {
                let order = EntityId::order(order_id(1));
                let refund = RefundId(id16((key / 4 % 6) as u8));
                let keys = [
                    format!("{order}/authorise/payment/1"),
                    format!("{order}/capture/payment/{}", 1 + key / 4 % 2),
                    format!("{order}/void/payment/{}", 1 + key / 4 % 2),
                    format!("{order}/refund/{refund}/1"),
                ];
                self.report(keys[key % 4].clone(), every_outcome()[outcome % 7].clone());
            }
        }
    }

    /// What is owed, by name; a `Forget` tells what its order knows by now.
    fn owed(&self) -> BTreeMap<Obligation, Destination> {
        let owed = self.world.order.state.outstanding().into_iter();
        owed.filter(|owed| owed.obligation.step != "forget").map(|owed| (owed.obligation, owed.to)).collect()
    }

    fn audit(&self) -> Result<(), TestCaseError> {
        let (world, ledger) = (&self.world, &self.world.ledger);
        prop_assert_eq!(check_order(&world.order.state), vec![]);
        let mut books = Books::default();
        books.add(&AnyState::Order(world.order.state.clone()));
        for item in world.stock.values() {
            prop_assert_eq!(check_stock(&item.state), vec![]);
            books.add_stock(&item.state);
        }
        let authorised = ledger.authorised - ledger.captured - ledger.voided;
        let (captured, refunded) = (ledger.captured, ledger.refunded);
        books.add_account(order_id(1), ProviderAccount { authorised, captured, refunded });
        prop_assert_eq!(books.breaches(), vec![]);
        Ok(())
    }

    /// Everything pending is decided, everything owed delivered, time passes until nothing is waited for.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        self.world.ledger.moods.clear();
        self.world.ledger.hiccups.clear();
        while self.resolve(0, true).is_some() {}
        for _ in 0..1_000 {
            self.world.run();
            match self.world.order.state.deadline() {
                Some(_) => self.world.wake(),
                None => return Ok(()),
            }
            self.audit()?;
        }
        Err(TestCaseError::fail(format!("still owed: {:?}", self.world.owed())))
    }
}

fn may_stay(phase: Phase) -> bool {
    use Phase::{Cancelled, Confirmed, Delivered, Failed, Fulfilled, Refunded};
    matches!(phase, Confirmed | Fulfilled | Delivered | Cancelled | Failed | Refunded)
}

fn is_over(phase: Phase) -> bool {
    matches!(phase, Phase::Cancelled | Phase::Failed | Phase::Refunded)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn an_order_keeps_its_laws_and_its_books_whatever_comes_in_whatever_order(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut model = Model::new();
        for step in steps {
            let (before, owed) = (model.world.phase(), model.owed());
            model.settled = None;
            model.walk(&step);
            model.audit()?;
            let after = model.world.phase();
            prop_assert!(!is_over(before) || after == before, "{:?} was left for {:?}", before, after);
            let still = model.owed();
            let heard = |name: &Obligation| Some(name) == model.settled.as_ref();
            for (name, content) in owed.iter().filter(|(name, _)| !heard(name)) {
                // Money is also heard of by webhook, which settles what is owed.
                let by_news = matches!(content, Destination::Payment(_)) && !still.contains_key(name);
                prop_assert!(by_news || still.get(name) == Some(content), "{} changed while owed", name);
            }
        }
        model.drain()?;
        model.audit()?;
        let (phase, world) = (model.world.phase(), &model.world);
        prop_assert!(may_stay(phase), "stays in {:?}", phase);
        prop_assert!(world.order.state.is_settled(), "{:?}", world.owed());
        let claims = world.order.state.claims().expect("it was placed");
        let exact = |range: Range| range.low == range.high;
        prop_assert!(claims.units.iter().all(|unit| exact(unit.sold) && exact(unit.returned)), "{:?}", claims);
        if matches!(phase, Phase::Cancelled | Phase::Failed) {
            world.assert_undone();
        } else if phase == Phase::Refunded {
            prop_assert_eq!(world.ledger.kept(), 0);
        }
    }

    #[test]
    fn an_order_keeps_its_laws_whatever_a_provider_says(
        steps in prop::collection::vec(prop_oneof![2 => step(), 1 => lie()], 1..120),
    ) {
        let mut model = Model::new();
        for step in steps {
            let before = model.world.phase();
            model.walk(&step);
            prop_assert_eq!(check_order(&model.world.order.state), vec![]);
            let after = model.world.phase();
            prop_assert!(!is_over(before) || after == before, "{:?} was left for {:?}", before, after);
        }
    }
}
