//! A payment provider reduced to its promises: idempotent by key, and a void bars the authorisation it names.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::books::ProviderAccount;
use crate::domain::ids::OrderId;
use crate::domain::payment::{PaymentOperation, PaymentOutcome, PaymentRequest};

/// The provider and its accounts.
#[derive(Default)]
pub struct Provider {
    /// Money per order.
    pub accounts: BTreeMap<OrderId, ProviderAccount>,
    answers: BTreeMap<String, PaymentOutcome>,
    pending: BTreeMap<String, (OrderId, u64)>,
    barred: BTreeSet<String>,
}

impl Provider {
    /// Does what is asked, once per key.
    pub fn execute(&mut self, request: &PaymentRequest) -> PaymentOutcome {
        if let PaymentOperation::Lookup { of } = &request.operation {
            return self.known(of).unwrap_or(PaymentOutcome::NeverSeen);
        }
        if let Some(known) = self.known(&request.key) {
            return known;
        }
        let account = self.accounts.entry(request.order).or_default();
        let outcome = match &request.operation {
            PaymentOperation::Authorise { .. } if self.barred.contains(&request.key) => PaymentOutcome::Voided,
            PaymentOperation::Authorise { amount, token } => match token.0.as_str() {
                "ok" => {
                    account.authorised += amount.amount;
                    PaymentOutcome::Authorised
                }
                "pending" => {
                    self.pending.insert(request.key.clone(), (request.order, amount.amount));
                    return PaymentOutcome::Pending;
                }
                "lost" => return PaymentOutcome::NeverSeen,
                _ => PaymentOutcome::Declined { reason: "card_declined".into() },
            },
            PaymentOperation::Capture { amount, .. } if account.authorised == amount.amount => {
                account.authorised = 0;
                account.captured += amount.amount;
                PaymentOutcome::Captured
            }
            PaymentOperation::Void { authorisation } if account.captured == 0 => {
                account.authorised = 0;
                self.barred.insert(authorisation.clone());
                if self.pending.remove(authorisation).is_some() {
                    self.answers.insert(authorisation.clone(), PaymentOutcome::Voided);
                }
                PaymentOutcome::Voided
            }
            PaymentOperation::Refund { amount, .. } if account.refunded + amount.amount <= account.captured => {
                account.refunded += amount.amount;
                PaymentOutcome::Refunded
            }
            _ => PaymentOutcome::Declined { reason: "books".into() },
        };
        self.answers.insert(request.key.clone(), outcome.clone());
        outcome
    }

    /// Makes up its mind about a pending authorisation. Returns what the webhook says.
    pub fn resolve(&mut self, which: usize, authorised: bool) -> Option<(OrderId, String, PaymentOutcome)> {
        let key = self.pending.keys().nth(which)?.clone();
        let (order, amount) = self.pending.remove(&key)?;
        let outcome = if authorised {
            self.accounts.entry(order).or_default().authorised += amount;
            PaymentOutcome::Authorised
        } else {
            PaymentOutcome::Declined { reason: "card_declined".into() }
        };
        self.answers.insert(key.clone(), outcome.clone());
        Some((order, key, outcome))
    }

    fn known(&self, key: &str) -> Option<PaymentOutcome> {
        let pending = || self.pending.contains_key(key).then_some(PaymentOutcome::Pending);
        self.answers.get(key).cloned().or_else(pending)
    }
}
