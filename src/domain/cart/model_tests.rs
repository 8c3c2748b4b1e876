//! A cart against the smallest thing that could be right: a map, a counter and a list of orders.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{cart, check_out, put};
use super::{CartCommand, CartReply};
use crate::domain::invariants::check_cart;
use crate::domain::rejection::Rejection;
use crate::domain::testkit::{order_id, sku};

const NAMES: [&str; 4] = ["TEA", "CUP", "POT", "JAR"];

#[derive(Clone, Debug)]
enum Step {
    Put {
        name: usize,
        count: u32,
        cents: u64,
    },
    Remove {
        name: usize,
    },
    /// Asks for the version `behind` before the current one, reading every price `dearer` cents above the cart's.
    CheckOut {
        order: u8,
        behind: u64,
        dearer: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    prop_oneof![
        4 => (name.clone(), 1..9_u32, 1..5_u64).prop_map(|(name, count, cents)| Step::Put { name, count, cents }),
        1 => name.prop_map(|name| Step::Remove { name }),
        3 => (1..9_u8, 0..3_u64, 0..2_u64).prop_map(|(order, behind, dearer)| Step::CheckOut { order, behind, dearer }),
    ]
}

/// The order and its total, or the totals before and after a change of prices, or a refusal.
type Checkout = Result<Result<(u8, u64), (u64, u64)>, Rejection>;

#[derive(Default)]
struct Model {
    version: u64,
    lines: BTreeMap<&'static str, (u32, u64)>,
    bought: BTreeMap<u64, (u8, u64)>,
    refused: BTreeMap<u8, (u64, u64)>,
    /// Which version's order a key was answered with that came second.
    told: BTreeMap<u8, u64>,
}

impl Model {
    fn total(&self) -> u64 {
        self.lines.values().map(|(count, cents)| u64::from(*count) * cents).sum()
    }

    fn command(&self, step: &Step) -> CartCommand {
        match *step {
            Step::Put { name, count, cents } => put(NAMES[name], count, cents),
            Step::Remove { name } => CartCommand::RemoveLine { sku: sku(NAMES[name]), expected_version: None },
            Step::CheckOut { order, behind, dearer } => {
                let prices: Vec<_> = self.lines.iter().map(|(name, line)| (*name, line.1 + dearer)).collect();
                check_out(order, self.version.saturating_sub(behind), &prices)
            }
        }
    }

    fn edit(&mut self, name: &'static str, line: Option<(u32, u64)>) {
        if self.lines.get(name).copied() != line {
            match line {
                Some(line) => self.lines.insert(name, line),
                None => self.lines.remove(name),
            };
            self.version += 1;
        }
    }

    /// What a checkout comes to: the order and its total, or the totals before and after, or why not.
    fn check_out(&mut self, order: u8, behind: u64, dearer: u64) -> Checkout {
        let version = self.version.saturating_sub(behind);
        if let Some(told) = self.refused.get(&order) {
            return Ok(Err(*told));
        }
        let told = self.told.get(&order).and_then(|version| self.bought.get(version));
        if let Some(bought) = self.bought.values().find(|bought| bought.0 == order).or(told) {
            return Ok(Ok(*bought));
        }
        if let Some(bought) = self.bought.get(&version) {
            self.told.insert(order, version);
            return Ok(Ok(*bought));
        }
        if version != self.version {
            return Err(Rejection::CartVersion { expected: version, actual: self.version });
        }
        if self.lines.is_empty() {
            return Err(Rejection::CartEmpty);
        }
        let was = self.total();
        self.lines.values_mut().for_each(|line| line.1 += dearer);
        if self.total() != was {
            self.version += 1;
            self.refused.insert(order, (was, self.total()));
            return Ok(Err((was, self.total())));
        }
        self.lines.clear();
        self.bought.insert(version, (order, was));
        Ok(Ok((order, was)))
    }
}

proptest! {
    #[test]
    fn a_cart_agrees_with_a_map_a_counter_and_a_list_of_orders(steps in proptest::collection::vec(step(), 1..60)) {
        let mut cart = cart(1);
        let mut model = Model { version: 1, ..Model::default() };
        for step in steps {
            let answer = cart.when(model.command(&step)).map(|decision| decision.reply);
            match step {
                Step::Put { name, count, cents } => model.edit(NAMES[name], Some((count, cents))),
                Step::Remove { name } => model.edit(NAMES[name], None),
                Step::CheckOut { order, behind, dearer } => {
                    let expected = model.check_out(order, behind, dearer);
                    let got = answer.map(|reply| match reply {
                        CartReply::CheckedOut { order, totals, .. } => Ok((order.0[0], totals.total)),
                        CartReply::PriceChanged { was, is, .. } => Err((was, is)),
                        other => panic!("{other:?}"),
                    });
                    prop_assert_eq!(got, expected);
                }
            }
            prop_assert_eq!((cart.state.version, cart.state.subtotal), (model.version, model.total()));
            let orders: Vec<_> = cart.state.orders().collect();
            let bought: Vec<_> = model.bought.iter().map(|(version, bought)| (*version, order_id(bought.0))).collect();
            prop_assert_eq!(orders, bought);
            prop_assert_eq!(check_cart(&cart.state), vec![]);
        }
    }
}
