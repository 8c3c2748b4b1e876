//! The order as it is shown.

use super::reply::{OrderView, PaymentStatus, PaymentView, RefundView};
use super::state::{Erasure, Operation, Payment, Process, number_of};
use crate::domain::payment::PaymentOutcome;

impl Process {
    /// Everything about it.
    pub fn view(&self) -> OrderView {
        OrderView {
            id: self.order,
            number: number_of(self.order),
            state: self.shown,
            placement: self.placement.clone(),
            buyer: self.buyer.clone(),
            erased: self.erasure != Erasure::No,
            failure: self.failure.clone(),
            payment: PaymentView {
                provider: self.placement.provider.clone(),
                status: self.payment.status(),
                captured: self.payment.captured,
                refunded: self.payment.refunded,
            },
            shipments: self.shipments.clone(),
            refunds: self.refund_views(),
            created_at: self.created_at,
            history: self.history.clone(),
            settled: self.is_settled(),
        }
    }

    /// Oldest first; of one moment, by id.
    fn refund_views(&self) -> Vec<RefundView> {
        let mut views: Vec<RefundView> = self
            .refunds
            .iter()
            .map(|(id, refund)| RefundView {
                id: *id,
                at: refund.at,
                amount: refund.amount,
                status: refund.status(),
                restock: refund.restock.clone(),
            })
            .collect();
        views.sort_by_key(|refund| refund.at);
        views
    }
}

impl Payment {
    /// How it stands, in one word.
    fn status(&self) -> PaymentStatus {
        if self.is_captured() {
            let is_back = self.refunded > 0 && self.refunded == self.captured;
            return if is_back { PaymentStatus::Refunded } else { PaymentStatus::Captured };
        }
        let is_voided =
            !self.authorised_anew && self.void.as_ref().and_then(Operation::outcome) == Some(&PaymentOutcome::Voided);
        match (&self.authorise, self.authorised()) {
            (None, _) => PaymentStatus::None,
            (Some(_), None) => PaymentStatus::Pending,
            (_, Some(_)) if is_voided => PaymentStatus::Voided,
            (_, Some(PaymentOutcome::Authorised)) => PaymentStatus::Authorised,
            (_, Some(PaymentOutcome::NeverSeen)) => PaymentStatus::Pending,
            (_, Some(_)) => PaymentStatus::Declined,
        }
    }
}
