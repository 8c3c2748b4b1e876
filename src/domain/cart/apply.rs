//! What events do to a cart. Total: accepts everything ever journaled.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Answer, Cart, CartEvent, CartLine, Created, Line, Merged, Merging, Status};
use crate::domain::ids::Sku;
use crate::domain::order::{OrderLine, Placement};
use crate::domain::pricing::Offer;
use crate::domain::time::Timestamp;

/// See [`crate::domain::entity::Entity::apply`].
pub(super) fn apply(cart: &mut Cart, event: &CartEvent, at: Timestamp) {
    match event {
        CartEvent::Created { currency, fingerprint } => {
            cart.status = Status::Open;
            cart.currency = *currency;
            cart.created = Some(Created { fingerprint: *fingerprint, at });
            cart.edited(at);
        }
        CartEvent::LineSet(line) => {
            cart.set_line(line);
            cart.edited(at);
        }
        CartEvent::LineRemoved { sku } => {
            cart.remove_line(sku);
            cart.edited(at);
        }
        CartEvent::BuyerSet { sealed } => {
            cart.buyer = Some(sealed.clone());
            cart.edited(at);
        }
        CartEvent::MergeStarted { from, attempt } => {
            cart.merging = Some(Merging { from: *from, attempt: *attempt });
            cart.merges.insert(*from, Merged { attempts: *attempt, refused: None });
            cart.last_merge = None;
        }
        CartEvent::LinesMerged { lines, from } => {
            lines.iter().for_each(|line| cart.set_line(line));
            cart.merging = None;
            cart.last_merge = Some(*from);
            cart.edited(at);
        }
        CartEvent::MergeRefused { from, reason } => {
            cart.merging = None;
            cart.last_merge = Some(*from);
            cart.merges.entry(*from).and_modify(|merged| merged.refused = Some(reason.clone()));
        }
        CartEvent::Surrendered { to } => {
            cart.status = Status::Surrendered { to: *to };
            cart.buyer = None;
        }
        CartEvent::Repriced { order, fingerprint, offers, was, is } => {
            cart.reprice(offers);
            cart.edited(at);
            let (version, fingerprint) = (cart.version, *fingerprint);
            cart.answers.insert(*order, Answer::Repriced { version, fingerprint, was: *was, is: *is });
        }
        CartEvent::CheckedOut { .. } => cart.checked_out(event, at),
        CartEvent::PlaceSettled { order } => {
            cart.placing.remove(order);
        }
        CartEvent::Expired => {
            cart.status = Status::Expired { at };
            cart.clear();
            cart.merges = BTreeMap::new();
        }
        CartEvent::Purged => {
            cart.status = Status::Purged;
            cart.orders = BTreeMap::new();
            cart.answers = BTreeMap::new();
        }
        CartEvent::BuyerErased { key } => {
            cart.erased.insert(*key);
        }
        CartEvent::AlreadyOrdered { asked, fingerprint, version } => {
            let order = cart.orders.get(version).and_then(|order| cart.answers.get(order));
            if let Some(Answer::Ordered { totals, .. }) = order {
                let (version, fingerprint, totals) = (*version, *fingerprint, *totals);
                cart.answers.insert(*asked, Answer::Ordered { version, fingerprint, totals });
            }
        }
    }
}

impl Cart {
    fn edited(&mut self, at: Timestamp) {
        self.version += 1;
        self.touched_at = at;
    }

    fn set_line(&mut self, set: &CartLine) {
        let position = match self.remove_line(&set.sku) {
            Some(line) => line.position,
            None => {
                self.next_position += 1;
                self.next_position
            }
        };
        let line = Line { quantity: set.quantity, offer: set.offer.clone(), position };
        self.subtotal += line.total();
        self.lines.insert(set.sku.clone(), line);
    }

    fn remove_line(&mut self, sku: &Sku) -> Option<Line> {
        let line = self.lines.remove(sku)?;
        self.subtotal = self.subtotal.checked_sub(line.total()).expect("CRT-2: the total is the sum of the lines");
        Some(line)
    }

    fn reprice(&mut self, offers: &[(Sku, Offer)]) {
        for (sku, offer) in offers {
            if let Some(line) = self.lines.get(sku) {
                let set = CartLine { sku: sku.clone(), quantity: line.quantity, offer: offer.clone() };
                self.set_line(&set);
            }
        }
    }

    fn clear(&mut self) {
        self.lines = BTreeMap::new();
        self.subtotal = 0;
        self.buyer = None;
    }

    fn checked_out(&mut self, event: &CartEvent, at: Timestamp) {
        let CartEvent::CheckedOut { order, fingerprint, version, offers, provider, token, holds } = event else {
            return;
        };
        self.reprice(offers);
        let line = |line: CartLine| OrderLine {
            sku: line.sku,
            product: line.offer.product,
            title: line.offer.title,
            quantity: line.quantity,
            unit_price: line.offer.unit_price.amount,
        };
        let totals = self.totals();
        let placement = Placement {
            order: *order,
            cart: self.id,
            cart_version: *version,
            lines: self.lines_in_order().into_iter().map(line).collect(),
            totals,
            buyer: self.buyer.take(),
            provider: provider.clone(),
            token: token.clone(),
            holds: holds.clone(),
        };
        self.clear();
        self.touched_at = at;
        self.placing.insert(*order, Arc::new(placement));
        self.orders.insert(*version, *order);
        self.answers.insert(*order, Answer::Ordered { version: *version, fingerprint: *fingerprint, totals });
    }
}
