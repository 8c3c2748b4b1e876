//! The books of the simulated provider: who was authorised for how much, and what was captured, given up and paid back.
//!
//! Pure state over entries: [`Ledger::judge`] says what a request would be answered, [`Ledger::apply`] makes an entry
//! true. Entries are what `ledger_file` keeps, so books and file cannot disagree. A request is remembered by its key
//! for good: the same key again gets the same answer, the same key with other content is a conflict that the audit
//! shows (it is a bug of whoever asks).
//!
//! Laws, checked after every entry:
//! PAY-1 captured + given up ≤ authorised · PAY-2 paid back ≤ captured · PAY-3 a key that was given up is never
//! authorised later · PAY-4 only an authorised payment has amounts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{OrderId, RefundId};
use crate::domain::money::{MINOR_UNITS_MAX, Money};
use crate::domain::payment::{PaymentOperation, PaymentOutcome, PaymentRequest};

/// Payments the books hold; more are declined. Bounds memory to about 1 GiB; a simulated shop never gets there.
pub const ACCOUNTS_MAX: usize = 1_000_000;

/// What was asked, without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// Set aside.
    Authorise {
        /// How much.
        amount: Money,
    },
    /// Take.
    Capture {
        /// Of which authorisation.
        authorisation: String,
        /// How much.
        amount: Money,
    },
    /// Give up what is not captured.
    Void {
        /// Of which authorisation.
        authorisation: String,
    },
    /// Pay back.
    Refund {
        /// Of which authorisation.
        authorisation: String,
        /// Which refund.
        refund: RefundId,
        /// How much.
        amount: Money,
    },
}

impl Asked {
    /// The request's content; `None` for a lookup, which is not kept.
    pub fn of(request: &PaymentRequest) -> Option<Self> {
        Some(match request.operation.clone() {
            PaymentOperation::Authorise { amount, .. } => Self::Authorise { amount },
            PaymentOperation::Capture { authorisation, amount } => Self::Capture { authorisation, amount },
            PaymentOperation::Void { authorisation } => Self::Void { authorisation },
            PaymentOperation::Refund { authorisation, refund, amount } => {
                Self::Refund { authorisation, refund, amount }
            }
            PaymentOperation::Lookup { .. } => return None,
        })
    }
}

/// Something that happened at the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A request was answered, whether or not the answer reached anybody.
    Answered {
        /// Its key.
        key: String,
        /// Whose payment.
        order: OrderId,
        /// Its content.
        asked: Asked,
        /// What it came to.
        outcome: PaymentOutcome,
    },
    /// The provider was out of order for a request with this key.
    Failed {
        /// Its key.
        key: String,
    },
    /// A pending authorisation came through.
    Settled {
        /// Its key.
        key: String,
    },
    /// The webhook about a formerly pending authorisation was taken by the shop, or given up.
    Notified {
        /// Its key.
        key: String,
    },
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not decided yet.
    Pending,
    /// Money is or was set aside.
    Authorised,
    /// Refused.
    Declined,
    /// Given up, before or after it was authorised; the rest after a capture.
    Voided,
}

/// One payment: everything under one authorisation key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Whose.
    pub order: OrderId,
    /// What was asked for; `None` when it was given up before anybody asked.
    pub requested: Option<Money>,
    /// Where it stands.
    pub status: Status,
    /// Set aside, minor units.
    pub authorised: u64,
    /// Taken, minor units.
    pub captured: u64,
    /// Given up, minor units.
    pub voided: u64,
    /// Paid back, minor units.
    pub refunded: u64,
    /// A webhook about it is still due.
    pub notice_due: bool,
}

/// All payments of the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    accounts: BTreeMap<String, Account>,
    /// Answers to captures, voids and refunds, and refused authorisations' reasons, by request key.
    answers: BTreeMap<String, (OrderId, Asked, PaymentOutcome)>,
    /// How often the provider was out of order, by key.
    failures: BTreeMap<String, u32>,
    conflicts: u64,
}

/// What tests and `stockroom` may look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Payments by authorisation key.
    pub accounts: BTreeMap<String, Account>,
    /// Requests whose key had been used for something else: must be zero.
    pub conflicts: u64,
}

/// The same key came with other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyConflict;

impl Ledger {
    /// What became of the request with key `of`, whatever it was (P18).
    pub fn lookup(&self, of: &str) -> PaymentOutcome {
        if let Some(account) = self.accounts.get(of) {
            match account.status {
                Status::Pending => return PaymentOutcome::Pending,
                Status::Authorised => return PaymentOutcome::Authorised,
                Status::Voided => return PaymentOutcome::Voided,
                Status::Declined => {}
            }
        }
        self.answers.get(of).map_or(PaymentOutcome::NeverSeen, |(_, _, outcome)| outcome.clone())
    }

    /// The answer given before to this very request; `None` when its key is new.
    pub fn repeated(
        &mut self,
        key: &str,
        order: OrderId,
        asked: &Asked,
    ) -> Option<Result<PaymentOutcome, KeyConflict>> {
        let barred = self.accounts.get(key).is_some_and(|account| account.requested.is_none());
        let known = match self.answers.get(key) {
            Some((known_order, known_asked, _)) => *known_order == order && known_asked == asked,
            None if barred => matches!(asked, Asked::Authorise { .. }),
            None => return None,
        };
        self.conflicts += u64::from(!known);
        Some(if known { Ok(self.lookup(key)) } else { Err(KeyConflict) })
    }

    /// What the books answer to a capture, void or refund; for an authorisation, whether there is room for it.
    pub fn judge(&self, asked: &Asked) -> PaymentOutcome {
        let ruling = match asked {
            Asked::Authorise { amount } if amount.amount > MINOR_UNITS_MAX => Err("amount_too_large"),
            Asked::Authorise { .. } if self.accounts.len() >= ACCOUNTS_MAX => Err("provider_full"),
            Asked::Authorise { .. } => Ok(PaymentOutcome::Authorised),
            Asked::Capture { authorisation, amount } => self.judge_capture(authorisation, *amount),
            Asked::Void { authorisation } => self.judge_void(authorisation),
            Asked::Refund { authorisation, amount, .. } => self.judge_refund(authorisation, *amount),
        };
        ruling.unwrap_or_else(|reason| PaymentOutcome::Declined { reason: reason.into() })
    }

    fn judge_capture(&self, authorisation: &str, amount: Money) -> Result<PaymentOutcome, &'static str> {
        let account = self.accounts.get(authorisation).ok_or("no_such_authorisation")?;
        match account.status {
            Status::Authorised if !account.is_in(amount) => Err("currency_mismatch"),
            Status::Authorised if amount.amount > account.authorised - account.captured => Err("exceeds_authorised"),
            Status::Authorised => Ok(PaymentOutcome::Captured),
            Status::Pending | Status::Declined => Err("not_authorised"),
            Status::Voided => Err("voided"),
        }
    }

    fn judge_void(&self, authorisation: &str) -> Result<PaymentOutcome, &'static str> {
        match self.accounts.get(authorisation) {
            Some(account) if account.captured > 0 && account.captured == account.authorised => Err("already_captured"),
            _ => Ok(PaymentOutcome::Voided),
        }
    }

    fn judge_refund(&self, authorisation: &str, amount: Money) -> Result<PaymentOutcome, &'static str> {
        let account = self.accounts.get(authorisation).ok_or("no_such_authorisation")?;
        match amount.amount <= account.captured - account.refunded {
            _ if !account.is_in(amount) => Err("currency_mismatch"),
            true => Ok(PaymentOutcome::Refunded),
            false => Err("exceeds_captured"),
        }
    }

    /// How often the provider was out of order for this key.
    pub fn failures(&self, key: &str) -> u32 {
        self.failures.get(key).copied().unwrap_or_default()
    }

    /// Keys of payments whose webhook is still due.
    pub fn notices_due(&self) -> Vec<String> {
        self.accounts.iter().filter(|(_, account)| account.notice_due).map(|(key, _)| key.clone()).collect()
    }

    /// The payment under this authorisation key.
    pub fn account(&self, key: &str) -> Option<&Account> {
        self.accounts.get(key)
    }

    /// Makes an entry true. Panics when it breaks a law: entries come from `judge` or from a checked file.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Answered { key, order, asked, outcome } => self.apply_answer(key, *order, asked, outcome),
            Entry::Failed { key } => *self.failures.entry(key.clone()).or_default() += 1,
            Entry::Settled { key } => self.change(key, Account::settle),
            Entry::Notified { key } => self.change(key, |account| account.notice_due = false),
        }
    }

    fn apply_answer(&mut self, key: &str, order: OrderId, asked: &Asked, outcome: &PaymentOutcome) {
        self.failures.remove(key);
        match (asked, outcome) {
            (Asked::Authorise { amount }, outcome) => {
                let earlier = self.accounts.insert(key.into(), Account::opened(order, *amount, outcome));
                assert!(earlier.is_none(), "PAY-3: {key} is authorised a second time or after it was given up");
            }
            (Asked::Capture { authorisation, amount }, PaymentOutcome::Captured) => {
                self.change(authorisation, |account| account.captured += amount.amount);
            }
            (Asked::Void { authorisation }, PaymentOutcome::Voided) => {
                self.accounts.entry(authorisation.clone()).or_insert_with(|| Account::barred(order));
                self.change(authorisation, Account::give_up);
            }
            (Asked::Refund { authorisation, amount, .. }, PaymentOutcome::Refunded) => {
                self.change(authorisation, |account| account.refunded += amount.amount);
            }
            _ => {}
        }
        self.answers.insert(key.into(), (order, asked.clone(), outcome.clone()));
    }

    fn change(&mut self, key: &str, change: impl FnOnce(&mut Account)) {
        let account = self.accounts.get_mut(key).unwrap_or_else(|| panic!("PAY-4: {key} was never opened"));
        change(account);
        account.assert_laws(key);
    }

    /// Every payment.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// A copy of the books.
    pub fn audit(&self) -> Audit {
        Audit { accounts: self.accounts.clone(), conflicts: self.conflicts }
    }
}

impl Account {
    fn opened(order: OrderId, amount: Money, outcome: &PaymentOutcome) -> Self {
        let status = match outcome {
            PaymentOutcome::Authorised => Status::Authorised,
            PaymentOutcome::Pending => Status::Pending,
            _ => Status::Declined,
        };
        let authorised = if status == Status::Authorised { amount.amount } else { 0 };
        let notice_due = status == Status::Pending;
        Self { requested: Some(amount), status, authorised, notice_due, ..Self::barred(order) }
    }

    fn barred(order: OrderId) -> Self {
        let status = Status::Voided;
        Self { order, requested: None, status, authorised: 0, captured: 0, voided: 0, refunded: 0, notice_due: false }
    }

    fn is_in(&self, amount: Money) -> bool {
        self.requested.is_some_and(|requested| requested.currency == amount.currency)
    }

    fn settle(&mut self) {
        if self.status == Status::Pending {
            self.status = Status::Authorised;
            self.authorised = self.requested.map_or(0, |requested| requested.amount);
        }
    }

    fn give_up(&mut self) {
        self.voided = self.authorised - self.captured;
        if self.status != Status::Declined {
            self.status = Status::Voided;
        }
    }

    fn assert_laws(&self, key: &str) {
        let Self { authorised, captured, voided, refunded, .. } = self;
        assert!(captured + voided <= *authorised, "PAY-1: {key} took or gave up more than was authorised");
        assert!(refunded <= captured, "PAY-2: {key} paid back more than was captured");
        let decided = matches!(self.status, Status::Authorised | Status::Voided);
        assert!(decided || *authorised == 0, "PAY-4: {key} has amounts without an authorisation");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::money::Currency;

    const ORDER: OrderId = OrderId([1; 16]);

    fn dollars(amount: u64) -> Money {
        Money { amount, currency: Currency::USD }
    }

    /// Asks as the provider does: repeats first, then the books, then the entry.
    fn ask(ledger: &mut Ledger, key: &str, asked: Asked) -> PaymentOutcome {
        if let Some(repeat) = ledger.repeated(key, ORDER, &asked) {
            return repeat.unwrap_or(PaymentOutcome::NeverSeen);
        }
        let outcome = ledger.judge(&asked);
        ledger.apply(&Entry::Answered { key: key.into(), order: ORDER, asked, outcome: outcome.clone() });
        outcome
    }

    fn declined(reason: &str) -> PaymentOutcome {
        PaymentOutcome::Declined { reason: reason.into() }
    }

    fn void(authorisation: &str) -> Asked {
        Asked::Void { authorisation: authorisation.into() }
    }

    fn capture(authorisation: &str, amount: u64) -> Asked {
        Asked::Capture { authorisation: authorisation.into(), amount: dollars(amount) }
    }

    fn refund(authorisation: &str, amount: u64) -> Asked {
        Asked::Refund { authorisation: authorisation.into(), refund: RefundId([2; 16]), amount: dollars(amount) }
    }

    fn authorise(amount: u64) -> Asked {
        Asked::Authorise { amount: dollars(amount) }
    }

    #[test]
    fn the_same_key_moves_money_once() {
        let mut ledger = Ledger::default();
        for _ in 0..3 {
            assert_eq!(ask(&mut ledger, "a", authorise(100)), PaymentOutcome::Authorised);
            assert_eq!(ask(&mut ledger, "c", capture("a", 60)), PaymentOutcome::Captured);
            assert_eq!(ask(&mut ledger, "r", refund("a", 25)), PaymentOutcome::Refunded);
        }
        let account = ledger.account("a").unwrap();
        assert_eq!((account.authorised, account.captured, account.refunded), (100, 60, 25));
    }

    #[test]
    fn a_key_given_up_before_it_was_seen_is_never_authorised() {
        let mut ledger = Ledger::default();
        assert_eq!(ask(&mut ledger, "v", void("a")), PaymentOutcome::Voided);
        assert_eq!(ask(&mut ledger, "a", authorise(100)), PaymentOutcome::Voided);
        assert_eq!(ledger.lookup("a"), PaymentOutcome::Voided);
        assert_eq!(ledger.account("a").unwrap().authorised, 0);
        assert_eq!(ledger.audit().conflicts, 0);
    }

    #[test]
    fn more_than_authorised_is_not_captured_and_more_than_captured_is_not_refunded() {
        let mut ledger = Ledger::default();
        ask(&mut ledger, "a", authorise(100));
        assert_eq!(ask(&mut ledger, "c1", capture("a", 101)), declined("exceeds_authorised"));
        assert_eq!(ask(&mut ledger, "r1", refund("a", 1)), declined("exceeds_captured"));
        assert_eq!(ask(&mut ledger, "c2", capture("a", 100)), PaymentOutcome::Captured);
        assert_eq!(ask(&mut ledger, "v", void("a")), declined("already_captured"));
        assert_eq!(ask(&mut ledger, "r2", refund("a", 100)), PaymentOutcome::Refunded);
        assert_eq!(ask(&mut ledger, "r3", refund("a", 1)), declined("exceeds_captured"));
    }

    #[test]
    fn a_pending_payment_given_up_does_not_settle() {
        let mut ledger = Ledger::default();
        let pending = PaymentOutcome::Pending;
        ledger.apply(&Entry::Answered { key: "a".into(), order: ORDER, asked: authorise(5), outcome: pending });
        ask(&mut ledger, "v", void("a"));
        ledger.apply(&Entry::Settled { key: "a".into() });
        assert_eq!(ledger.lookup("a"), PaymentOutcome::Voided);
        assert_eq!(ledger.account("a").unwrap().authorised, 0);
    }

    #[test]
    fn a_key_used_for_something_else_is_a_conflict_the_audit_shows() {
        let mut ledger = Ledger::default();
        ask(&mut ledger, "a", authorise(100));
        assert_eq!(ledger.repeated("a", ORDER, &authorise(99)), Some(Err(KeyConflict)));
        assert_eq!(ledger.repeated("a", OrderId([9; 16]), &authorise(100)), Some(Err(KeyConflict)));
        assert_eq!(ledger.audit().conflicts, 2);
        assert_eq!(ledger.lookup("a"), PaymentOutcome::Authorised);
    }

    fn any_asked() -> impl Strategy<Value = (String, Asked)> {
        let authorisation = prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned);
        (0..4_u8, 0..6_u8, authorisation, 0..120_u64).prop_map(|(kind, number, of, amount)| match kind {
            0 => (of, authorise(amount)),
            1 => (format!("c{number}"), capture(&of, amount)),
            2 => (format!("v{number}"), void(&of)),
            _ => (format!("r{number}"), refund(&of, amount)),
        })
    }

    proptest! {
        #[test]
        fn laws_hold_and_replaying_the_entries_gives_the_same_books(asks in prop::collection::vec(any_asked(), 0..60)) {
            let (mut live, mut entries) = (Ledger::default(), Vec::new());
            for (key, asked) in asks {
                if live.repeated(&key, ORDER, &asked).is_none() {
                    let outcome = live.judge(&asked);
                    entries.push(Entry::Answered { key, order: ORDER, asked, outcome });
                    live.apply(entries.last().unwrap());
                }
            }
            let mut replayed = Ledger::default();
            entries.iter().for_each(|entry| replayed.apply(entry));
            prop_assert_eq!(replayed.accounts, live.accounts);
        }
    }
}
