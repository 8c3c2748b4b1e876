//! The order's laws. Asserted in constant time after every command from counters kept by `apply`; recounted from
//! scratch by [`Order::recount`], which audits, `journal verify` and the simulator call.

use super::Order;
use super::event::Phase;
use super::state::{Position, Process, Tally};
use crate::domain::invariants::Audit;
use crate::domain::payment::PaymentOutcome;

impl Process {
    /// Panics naming the law that does not hold. Constant time.
    pub fn assert_laws(&self) {
        let (id, tally, payment) = (self.order, &self.tally, &self.payment);
        let lines = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        assert!(tally.lines() == lines, "ORD-5: {id}: {lines} lines, {tally:?}");
        let returning = payment.refunded.saturating_add(payment.refunding);
        assert!(returning <= payment.captured, "ORD-2: {id}: {returning} of {} given back", payment.captured);
        let total = self.placement.totals.total;
        assert!(payment.captured <= total, "ORD-2: {id}: {} of {total} captured", payment.captured);
        let authorised = payment.authorised() == Some(&PaymentOutcome::Authorised);
        let sold = matches!(
            self.phase,
            Phase::Committing | Phase::Confirmed | Phase::Capturing | Phase::Fulfilled | Phase::Delivered
        );
        assert!(!sold || authorised, "ORD-3: {id}: {:?} without an authorised payment", self.phase);
        assert!(
            self.shipments.is_empty() || payment.is_captured(),
            "ORD-3: {id}: goods left before the money was taken"
        );
        assert!(self.queue.is_empty() || self.phase == Phase::Capturing, "ORD-6: {id}: goods wait in {:?}", self.phase);
        if matches!(self.phase, Phase::Cancelled | Phase::Failed) {
            assert!(tally.over() == lines, "ORD-4: {id}: over with {tally:?}");
        }
        let all_sold = matches!(self.phase, Phase::Confirmed | Phase::Capturing | Phase::Fulfilled | Phase::Delivered);
        assert!(!all_sold || tally.of(Position::Committed) == lines, "ORD-5: {id}: confirmed with {tally:?}");
    }
}

impl Order {
    /// Holds the order against every law that can be recounted. Linear in lines and refunds.
    pub(in crate::domain) fn recount(&self, audit: &mut Audit) {
        let Some(process) = &self.process else { return };
        let id = process.order;
        let mut must = |law, holds: bool, detail: String| audit.must(law, holds, || format!("{id}: {detail}"));
        let mut tally = Tally::default();
        for (sku, line) in &process.lines {
            tally.enter(line.position);
            let quantity = line.quantity.get();
            let fits =
                line.sent + line.queued <= quantity && line.refunded <= quantity && line.restocked <= line.refunded;
            must("ORD-5", fits, format!("{sku}: {line:?}"));
            let ordered: u32 = process.placement.lines.iter().filter(|l| l.sku == *sku).map(|l| l.quantity.get()).sum();
            must("ORD-5", ordered == quantity, format!("{sku}: {ordered} ordered, {quantity} kept"));
            let queued: u32 = process.queue.iter().flat_map(|f| &f.lines).filter(|u| u.sku == *sku).map(count).sum();
            must("ORD-6", queued == line.queued, format!("{sku}: {queued} wait, {} counted", line.queued));
            let sent: u32 = process.shipments.iter().flat_map(|s| &s.lines).filter(|u| u.sku == *sku).map(count).sum();
            must("ORD-5", sent == line.sent, format!("{sku}: {sent} left, {} counted", line.sent));
        }
        must("ORD-5", tally == process.tally, format!("{tally:?} counted, {:?} kept", process.tally));
        let refunds = process.refunds.values();
        let back = |done: bool| -> u64 {
            let of = |refund: &&super::state::Refund| match refund.operation.outcome() {
                None => !done,
                Some(outcome) => done && *outcome == PaymentOutcome::Refunded,
            };
            refunds.clone().filter(of).map(|refund| refund.amount).sum()
        };
        let is_over = matches!(process.phase, Phase::Cancelled | Phase::Failed);
        let kept = process.payment.left();
        must("ORD-4", !is_over || kept == 0, format!("over with {kept} minor units kept and not on their way back"));
        must("ORD-2", back(true) == process.payment.refunded, format!("{} given back", back(true)));
        must("ORD-2", back(false) == process.payment.refunding, format!("{} on their way back", back(false)));
    }
}

fn count(units: &super::command::Units) -> u32 {
    units.quantity.get()
}
