//! What an order says about stock items and the provider, for the books (`domain::books`).
//!
//! What the order knows is exact; what it has asked for and not heard about may or may not have happened. A hold it
//! believes in may have been ended by a merchant, so a held claim is never certain; sales, returns and money are.

use super::Order;
use super::command::StockStep;
use super::state::{Line, Operation, Position, Process};
use crate::domain::books::{MoneyClaim, OrderClaims, Range, UnitClaim};
use crate::domain::ids::Sku;
use crate::domain::payment::PaymentOutcome;

impl Order {
    /// What it says about others; `None` before it is placed.
    pub fn claims(&self) -> Option<OrderClaims> {
        let process = self.process.as_ref()?;
        let units = process.lines.iter().map(|(sku, line)| process.unit_claim(sku, line)).collect();
        Some(OrderClaims { order: process.order, units, money: process.money_claim() })
    }
}

impl Process {
    fn unit_claim(&self, sku: &Sku, line: &Line) -> UnitClaim {
        let all = u64::from(line.quantity.get());
        let committing = self.owes_stock(sku, StockStep::Commit);
        let (held, sold) = match line.position {
            Position::Asked => (Range::perhaps(all), Range::default()),
            Position::Held if committing => (Range::perhaps(all), Range::perhaps(all)),
            Position::Held => (Range::perhaps(all), Range::default()),
            Position::Committed | Position::Returned => (Range::default(), Range::exactly(all)),
            Position::Refused | Position::Lost | Position::Released => (Range::default(), Range::default()),
        };
        UnitClaim { sku: sku.clone(), hold: line.hold, held, sold, returned: self.returned(sku, line) }
    }

    fn returned(&self, sku: &Sku, line: &Line) -> Range {
        let unsent = u64::from(line.unsent());
        let mut returned = match line.position {
            Position::Returned => Range::exactly(unsent),
            _ if self.owes_stock(sku, StockStep::Return) => Range::perhaps(unsent),
            _ => Range::default(),
        };
        for (id, refund) in &self.refunds {
            let units = refund.restock_of(sku).map_or(0, |quantity| u64::from(quantity.get()));
            if self.owes_stock(sku, StockStep::Restock(*id)) {
                returned.high += units;
            } else if refund.operation.outcome() == Some(&PaymentOutcome::Refunded) {
                returned.low += units;
                returned.high += units;
            }
        }
        returned
    }

    fn money_claim(&self) -> MoneyClaim {
        let total = self.placement.totals.total;
        let payment = &self.payment;
        let outcome = |operation: &Option<Operation>| operation.as_ref().and_then(Operation::outcome).cloned();
        let let_go = outcome(&payment.void) == Some(PaymentOutcome::Voided) && !payment.authorised_anew;
        let (authorised, captured) = match (payment.authorised(), &payment.capture) {
            _ if payment.is_captured() => (Range::default(), Range::exactly(payment.captured)),
            _ if let_go => (Range::default(), Range::default()),
            (Some(PaymentOutcome::Declined { .. }), _) => (Range::default(), Range::default()),
            (Some(PaymentOutcome::Authorised), None) if payment.void.is_none() => {
                (Range::exactly(total), Range::default())
            }
            (Some(_), Some(_)) => (Range::perhaps(total), Range::perhaps(total)),
            (None, _) if payment.authorise.is_none() => (Range::default(), Range::default()),
            _ => (Range::perhaps(total), Range::default()),
        };
        let mut refunded = Range::exactly(payment.refunded);
        refunded.high += payment.refunding;
        MoneyClaim { authorised, captured, refunded }
    }
}
