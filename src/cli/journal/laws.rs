//! Which laws a verification evaluated, how often, and which it could not.
//!
//! A law counts as checked when something was held against it: after every record those its entity asserts, at an
//! entity's end those that are recounted from scratch, at the end of everything the books between entities. What was
//! never evaluated is listed with the reason, so that nobody reads silence as a promise.
//!
//! Books grow with orders, not with records. They need every entity: when one could not be replayed they stay closed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Serialize;

use crate::domain::books::{Books, ProviderAccount};
use crate::domain::ids::OrderId;
use crate::domain::invariants::{self, Breach, LAWS};
use crate::domain::registry::{AnyState, Kind};
use crate::payments::ledger::{Account, Ledger};
use crate::payments::ledger_file::{self, OpenLedgerError};

/// A law that was evaluated.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    law: &'static str,
    /// How often.
    times: u64,
}

/// A law that was not.
#[derive(Debug, Serialize)]
pub(super) struct NotChecked {
    /// Which.
    pub law: &'static str,
    /// Why not.
    pub why: &'static str,
}

/// Collects what was evaluated.
#[derive(Debug, Default)]
pub(super) struct Checking {
    times: BTreeMap<&'static str, u64>,
    books: Books,
    /// Entities that are missing in the books.
    broken: u64,
    /// Whether there is a provider's ledger to compare with.
    has_ledger: bool,
}

impl Checking {
    /// A record of an entity was replayed, its laws asserted.
    pub fn replayed(&mut self, kind: Kind) {
        for law in invariants::asserted(kind) {
            *self.times.entry(law).or_default() += 1;
        }
    }

    /// An entity could not be replayed to its end.
    pub fn gave_up(&mut self) {
        self.broken += 1;
    }

    /// An entity is at its end: recounts it, and notes what it says about others.
    pub fn ended(&mut self, state: &AnyState) -> Vec<Breach> {
        self.books.add(state);
        if state.kind() == Kind::Product {
            // Asserted by numbering what it owes.
            let _ = state.outstanding();
            *self.times.entry("PRD-3").or_default() += 1;
        }
        let recount = invariants::recount(state);
        self.count(&recount.checked);
        recount.breaches
    }

    /// Compares entities with each other, and with the provider's ledger if there is one at `ledger`.
    pub async fn close_books(&mut self, ledger: &Path) -> Vec<Breach> {
        if self.broken > 0 {
            return Vec::new();
        }
        let unreadable = match accounts(ledger).await {
            Ok(accounts) => {
                self.has_ledger = accounts.is_some();
                for (order, account) in accounts.into_iter().flatten() {
                    self.books.add_account(order, account);
                }
                None
            }
            Err(detail) => Some(Breach { law: "BOOK-4", detail }),
        };
        let recount = self.books.recount();
        self.count(&recount.checked);
        recount.breaches.into_iter().chain(unreadable).collect()
    }

    fn count(&mut self, checked: &BTreeMap<&'static str, u64>) {
        for (law, times) in checked {
            *self.times.entry(law).or_default() += times;
        }
    }

    /// What was evaluated, in the order of the documentation.
    pub fn checked(&self) -> Vec<Checked> {
        let times = |law: &invariants::Law| Some(Checked { law: law.id, times: *self.times.get(law.id)? });
        LAWS.iter().filter_map(times).collect()
    }

    /// What was not, in the same order.
    pub fn not_checked(&self) -> Vec<NotChecked> {
        let missing = LAWS.iter().filter(|law| !self.times.contains_key(law.id));
        missing.map(|law| NotChecked { law: law.id, why: self.why_not(law.id) }).collect()
    }

    fn why_not(&self, law: &str) -> &'static str {
        match law {
            "ORD-7" => "asserted when a command is decided, before anything is journaled",
            _ if law.starts_with("BOOK-") && self.broken > 0 => "an entity could not be replayed",
            "BOOK-4" if !self.has_ledger => "no ledger of the provider is in the directory",
            _ => "there is nothing it is about",
        }
    }
}

/// What the simulated provider says of every order; `None` when it has no ledger here.
async fn accounts(path: &Path) -> Result<Option<BTreeMap<OrderId, ProviderAccount>>, String> {
    let entries = match ledger_file::read(path).await {
        Ok(Some(entries)) => entries,
        Ok(None) => return Ok(None),
        Err(error @ (OpenLedgerError::Io { .. } | OpenLedgerError::Damaged { .. })) => return Err(error.to_string()),
    };
    let replayed = catch_unwind(AssertUnwindSafe(|| {
        let mut ledger = Ledger::default();
        entries.iter().for_each(|entry| ledger.apply(entry));
        ledger
    }));
    let ledger = replayed.map_err(|panic| format!("{}: {}", path.display(), super::verify::message_of(&*panic)))?;
    let mut orders: BTreeMap<OrderId, ProviderAccount> = BTreeMap::new();
    for account in ledger.accounts() {
        add(orders.entry(account.order).or_default(), account);
    }
    Ok(Some(orders))
}

fn add(sum: &mut ProviderAccount, account: &Account) {
    sum.authorised += account.authorised - account.captured - account.voided;
    sum.captured += account.captured;
    sum.refunded += account.refunded;
}
