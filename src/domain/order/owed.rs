//! What an order owes and when it wants to be woken: functions of its state (P5, P13).
//!
//! | step | target | to | while |
//! |---|---|---|---|
//! | reserve | SKU | stock: Reserve, or Pin of a shopper's hold | reserving |
//! | authorise, capture, void | `payment` | provider | the attempt has no outcome |
//! | lookup | operation | provider | a poll has no outcome |
//! | commit | SKU | stock: Commit | committing |
//! | release | SKU | stock: Release, also of what was refused (P8) | unwinding, not sold |
//! | return | SKU | stock: Return of what was not sent | unwinding or refunded, sold |
//! | refund | refund id | provider | the attempt has no outcome |
//! | restock | SKU:refund id | stock: Return under the refund's key | the refund went through |
//! | forget | SKU | stock: Forget | nothing more is sent and something is remembered there |
//! | erase | key | cart: EraseBuyer | the buyer is to be forgotten |

use std::borrow::Cow;

use super::command::{OrderCommand, StockStep};
use super::event::{PaymentStep, Phase};
use super::state::{Erasure, Line, Operation, Position, Process, Stage};
use crate::domain::cart::CartCommand;
use crate::domain::entity::{Destination, Fingerprint, Obligation, Outgoing, Settlement};
use crate::domain::ids::{EntityId, RefundId, Sku};
use crate::domain::money::Money;
use crate::domain::payment::{PaymentOperation, PaymentOutcome, PaymentRequest};
use crate::domain::quantity::Quantity;
use crate::domain::registry::AnyCommand;
use crate::domain::stock::{Holder, Releaser, Reserve, ReturnKey, StockCommand};
use crate::domain::time::Timestamp;

/// What payment obligations are about when there is only one.
const PAYMENT: &str = "payment";

impl Process {
    /// See [`crate::domain::entity::Entity::outstanding`].
    pub fn outstanding(&self) -> Vec<Outgoing> {
        let mut owed = Vec::new();
        for (sku, line) in &self.lines {
            if let Some(step) = self.step_of(line) {
                owed.push(self.to_stock(sku, line, step));
            }
            if self.owes_forget(line) {
                owed.push(self.to_stock(sku, line, StockStep::Forget));
            }
        }
        for (id, refund) in &self.refunds {
            for sku in &refund.restock_owed {
                owed.push(self.to_stock(sku, &self.lines[sku], StockStep::Restock(*id)));
            }
        }
        owed.extend(self.operations().filter_map(|(step, operation)| self.to_provider(step, operation)));
        owed.extend(self.to_cart());
        owed
    }

    /// Whether the stock item still owes an answer to this step.
    pub fn owes_stock(&self, sku: &Sku, step: StockStep) -> bool {
        let Some(line) = self.lines.get(sku) else { return false };
        match step {
            StockStep::Restock(refund) => {
                self.refunds.get(&refund).is_some_and(|refund| refund.restock_owed.contains(sku))
            }
            StockStep::Forget => self.owes_forget(line),
            step => self.step_of(line) == Some(step),
        }
    }

    /// The one step about the units themselves that follows from phase and position.
    fn step_of(&self, line: &Line) -> Option<StockStep> {
        match (self.phase, line.position) {
            (Phase::Reserving, Position::Asked) => Some(StockStep::Reserve),
            (Phase::Committing, Position::Held) => Some(StockStep::Commit),
            (Phase::Unwinding, Position::Held | Position::Refused | Position::Lost) => Some(StockStep::Release),
            (Phase::Unwinding, Position::Committed) => Some(StockStep::Return),
            (Phase::Refunded, Position::Committed) if line.unsent() > 0 => Some(StockStep::Return),
            _ => None,
        }
    }

    /// Whether it owes nobody anything and waits for no provider.
    pub fn is_settled(&self) -> bool {
        let stock = |line: &Line| self.step_of(line).is_none() && !self.owes_forget(line);
        self.lines.values().all(stock)
            && self.refunds.values().all(|refund| refund.restock_owed.is_empty())
            && self.operations().all(|(_, operation)| operation.is_done())
            && !matches!(self.erasure, Erasure::Owed(_))
    }

    fn owes_forget(&self, line: &Line) -> bool {
        self.sends_nothing_more() && line.forgets_wanted > line.forgets_done
    }

    fn to_stock(&self, sku: &Sku, line: &Line, step: StockStep) -> Outgoing {
        let (hold, order) = (line.hold, self.order);
        let give_back = |key, quantity| StockCommand::Return { hold, order, key, quantity };
        let units = |count: u32| Quantity::new(count).expect("ORD-5: what is owed is at least one unit");
        let command = match step {
            StockStep::Reserve if line.adopted => StockCommand::Pin { hold, order, quantity: line.quantity },
            StockStep::Reserve => StockCommand::Reserve(Reserve {
                hold,
                quantity: line.quantity,
                ttl: std::time::Duration::ZERO,
                holder: Holder::Order(order),
                fingerprint: Fingerprint::default(),
            }),
            StockStep::Commit => StockCommand::Commit { hold, order },
            StockStep::Release => StockCommand::Release { hold, by: Releaser::Order(order) },
            StockStep::Return => give_back(ReturnKey::Undone, units(line.unsent())),
            StockStep::Restock(refund) => {
                let quantity = self.refunds[&refund].restock_of(sku).expect("ORD-5: only restocked SKUs are owed");
                give_back(ReturnKey::Refund(refund), quantity)
            }
            StockStep::Forget => StockCommand::Forget { hold, order, heard: self.returns_heard(sku, line) },
        };
        let (word, target) = match step {
            StockStep::Reserve => ("reserve", sku.to_string()),
            StockStep::Commit => ("commit", sku.to_string()),
            StockStep::Release => ("release", sku.to_string()),
            StockStep::Return => ("return", sku.to_string()),
            StockStep::Restock(refund) => ("restock", format!("{sku}:{refund}")),
            StockStep::Forget => ("forget", sku.to_string()),
        };
        let attempt = if step == StockStep::Forget { line.forgets_done + 1 } else { 1 };
        Outgoing {
            obligation: self.obligation(word, target, attempt),
            to: Destination::Entity(EntityId::stock(sku), AnyCommand::Stock(command)),
        }
    }

    /// Returns of this line that were answered.
    fn returns_heard(&self, sku: &Sku, line: &Line) -> Vec<ReturnKey> {
        let undone = (line.position == Position::Returned).then_some(ReturnKey::Undone);
        let restocked = self.refunds.iter().filter(|(_, refund)| {
            let asked = refund.operation.outcome() == Some(&PaymentOutcome::Refunded);
            asked && refund.restock_of(sku).is_some() && !refund.restock_owed.contains(sku)
        });
        undone.into_iter().chain(restocked.map(|(id, _)| ReturnKey::Refund(*id))).collect()
    }

    fn to_provider(&self, step: PaymentStep, operation: &Operation) -> Option<Outgoing> {
        let own = self.key(step, operation.key);
        let (obligation, key, what) = match operation.stage {
            Stage::Owed => {
                let (word, target) = named(step);
                (self.obligation(word, target, operation.attempt), own, self.asked(step)?)
            }
            Stage::Asking => {
                let (word, target) = named(step);
                let target = if target == PAYMENT { word.to_owned() } else { format!("{word}:{target}") };
                let obligation = self.obligation("lookup", target, operation.polls);
                let key = obligation.to_string();
                (obligation, key, PaymentOperation::Lookup { of: own })
            }
            Stage::Waiting { .. } | Stage::Postponed { .. } | Stage::Done(_) => return None,
        };
        let provider = self.placement.provider.clone();
        let request = PaymentRequest { provider, key, order: self.order, operation: what };
        Some(Outgoing { obligation, to: Destination::Payment(request) })
    }

    fn asked(&self, step: PaymentStep) -> Option<PaymentOperation> {
        let amount = self.placement.totals.total();
        let authorisation = self.key(PaymentStep::Authorise, 1);
        Some(match step {
            PaymentStep::Authorise => PaymentOperation::Authorise { amount, token: self.token.clone()? },
            PaymentStep::Capture => PaymentOperation::Capture { authorisation, amount },
            PaymentStep::Void => PaymentOperation::Void { authorisation },
            PaymentStep::Refund(refund) => {
                let amount = Money { amount: self.refunds.get(&refund)?.amount, ..amount };
                PaymentOperation::Refund { authorisation, refund, amount }
            }
        })
    }

    fn to_cart(&self) -> Option<Outgoing> {
        let Erasure::Owed(key) = self.erasure else { return None };
        let command = AnyCommand::Cart(CartCommand::EraseBuyer { key });
        Some(Outgoing {
            obligation: self.obligation("erase", key.to_string(), 1),
            to: Destination::Entity(EntityId::cart(self.placement.cart), command),
        })
    }

    fn obligation(&self, step: &'static str, target: String, attempt: u32) -> Obligation {
        Obligation { process: self.entity(), step: Cow::Borrowed(step), target, attempt }
    }

    /// See [`crate::domain::entity::Entity::settle`].
    pub fn settle(&self, obligation: &Obligation, settlement: &Settlement) -> Option<OrderCommand> {
        match settlement {
            Settlement::Payment(outcome) => {
                let mut owed = self.operations().filter_map(|(step, operation)| {
                    let owed = self.to_provider(step, operation)?;
                    (owed.obligation == *obligation).then_some((step, operation))
                });
                let (step, operation) = owed.next()?;
                let (key, outcome) = (self.key(step, operation.key), outcome.clone());
                Some(match operation.stage {
                    Stage::Asking => OrderCommand::PaymentLookedUp { key, poll: operation.polls, outcome },
                    _ => OrderCommand::PaymentReported { key, outcome },
                })
            }
            Settlement::Accepted(_) if obligation.step == "erase" => {
                self.to_cart().filter(|owed| owed.obligation == *obligation).map(|_| OrderCommand::BuyerErased)
            }
            Settlement::Accepted(_) => self.stock_settled(obligation, Ok(())),
            Settlement::Rejected(rejection) => self.stock_settled(obligation, Err(rejection.clone())),
        }
    }

    fn stock_settled(
        &self,
        obligation: &Obligation,
        outcome: Result<(), crate::domain::rejection::Rejection>,
    ) -> Option<OrderCommand> {
        let (sku, step) = stock_step(obligation)?;
        if !self.owes_stock(&sku, step) {
            return None;
        }
        let owed = self.to_stock(&sku, &self.lines[&sku], step);
        (owed.obligation == *obligation).then_some(OrderCommand::StockSettled { sku, step, outcome })
    }

    /// See [`crate::domain::entity::Entity::deadline`].
    pub fn deadline(&self) -> Option<(Timestamp, OrderCommand)> {
        let due_at = self.operations().filter_map(|(_, operation)| operation.due_at()).min()?;
        Some((due_at, OrderCommand::Poll))
    }
}

fn named(step: PaymentStep) -> (&'static str, String) {
    match step {
        PaymentStep::Authorise => ("authorise", PAYMENT.to_owned()),
        PaymentStep::Capture => ("capture", PAYMENT.to_owned()),
        PaymentStep::Void => ("void", PAYMENT.to_owned()),
        PaymentStep::Refund(refund) => ("refund", refund.to_string()),
    }
}

fn stock_step(obligation: &Obligation) -> Option<(Sku, StockStep)> {
    let target = obligation.target.as_str();
    let step = match obligation.step.as_ref() {
        "reserve" => StockStep::Reserve,
        "commit" => StockStep::Commit,
        "release" => StockStep::Release,
        "return" => StockStep::Return,
        "forget" => StockStep::Forget,
        "restock" => {
            let (sku, refund) = target.split_once(':')?;
            let refund: RefundId = refund.parse().ok()?;
            return Some((sku.parse().ok()?, StockStep::Restock(refund)));
        }
        _ => return None,
    };
    Some((target.parse().ok()?, step))
}
