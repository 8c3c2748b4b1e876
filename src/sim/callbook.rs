//! The payment provider's call book, judged: in which order it was asked, what it entered, what it told the shop.
//!
//! An authorisation is not voided before its outcome was told, or given up after [`PENDING_MAX`] times "pending" (P18);
//! a request that was carried out is not asked for again under another key. The book is kept where the provider's
//! network ends, so an answer that got lost counts as told: the shop may know less than this, never more.

use std::collections::{BTreeMap, BTreeSet};

use super::history::Fact;
use super::laws;
use super::model::Complaint;

/// Lookups answered "pending" after which an order gives its authorisation up.
const PENDING_MAX: u32 = 32;

/// What was asked and told so far.
#[derive(Default)]
pub struct Book {
    /// Keys whose outcome was told.
    told: BTreeSet<String>,
    /// Key → times it was told to be pending.
    pending: BTreeMap<String, u32>,
    /// Key → what it is for.
    asked: BTreeMap<String, &'static str>,
    /// Key without its number → the key under which it was carried out.
    done: BTreeMap<String, String>,
    complaints: Vec<Complaint>,
}

impl Book {
    /// What is wrong since it was last asked.
    pub fn take_complaints(&mut self) -> Vec<Complaint> {
        std::mem::take(&mut self.complaints)
    }

    /// Another row of the history.
    pub fn hear(&mut self, fact: &Fact) {
        match fact {
            Fact::PaymentAsked { order, key, what, of } => self.hear_request(order, key, what, of),
            Fact::PaymentBooked { key, outcome } => {
                let carried_out = matches!(
                    (self.asked.get(key), outcome.as_str()),
                    (Some(&"authorise"), "authorised" | "pending")
                        | (Some(&"capture"), "captured")
                        | (Some(&"refund"), "refunded")
                );
                if carried_out {
                    self.done.entry(unnumbered(key).to_owned()).or_insert_with(|| key.clone());
                }
            }
            Fact::PaymentTold { of, outcome } if outcome == "pending" => {
                *self.pending.entry(of.clone()).or_default() += 1;
            }
            Fact::PaymentTold { of, .. } => drop(self.told.insert(of.clone())),
            _ => {}
        }
    }

    fn hear_request(&mut self, order: &str, key: &str, what: &'static str, of: &str) {
        self.asked.insert(key.to_owned(), what);
        laws::checked("SIM-PAID-ONCE");
        if what == "void" {
            laws::checked("SIM-NO-EARLY-VOID");
        }
        let given_up = self.pending.get(of).is_some_and(|times| *times >= PENDING_MAX);
        if what == "void" && !self.told.contains(of) && !given_up {
            let detail = format!("order {order}: {key} voids {of} before its outcome was told");
            self.complaints.push(("SIM-NO-EARLY-VOID", detail));
        }
        if let Some(done) = self.done.get(unnumbered(key)).filter(|done| *done != key) {
            let detail = format!("order {order}: {key} is asked for, {done} was carried out before");
            self.complaints.push(("SIM-PAID-ONCE", detail));
        }
    }
}

/// `order/1/capture/payment` of `order/1/capture/payment/2`.
fn unnumbered(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(family, _)| family)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(key: &str, what: &'static str, of: &str) -> Fact {
        Fact::PaymentAsked { order: "o".to_owned(), key: key.to_owned(), what, of: of.to_owned() }
    }

    fn told(of: &str, outcome: &str) -> Fact {
        Fact::PaymentTold { of: of.to_owned(), outcome: outcome.to_owned() }
    }

    fn booked(key: &str, outcome: &str) -> Fact {
        Fact::PaymentBooked { key: key.to_owned(), outcome: outcome.to_owned() }
    }

    fn laws(facts: Vec<Fact>) -> Vec<&'static str> {
        let mut book = Book::default();
        facts.iter().for_each(|fact| book.hear(fact));
        book.take_complaints().into_iter().map(|(law, _)| law).collect()
    }

    #[test]
    fn a_void_waits_for_the_outcome_of_its_authorisation() {
        let void = || asked("o/void/payment/1", "void", "o/authorise/payment/1");
        let authorise = || asked("o/authorise/payment/1", "authorise", "o/authorise/payment/1");
        assert_eq!(laws(vec![authorise(), void()]), ["SIM-NO-EARLY-VOID"]);
        assert_eq!(laws(vec![authorise(), told("o/authorise/payment/1", "pending"), void()]), ["SIM-NO-EARLY-VOID"]);
        assert!(laws(vec![authorise(), told("o/authorise/payment/1", "authorised"), void()]).is_empty());
        assert!(laws(vec![authorise(), told("o/authorise/payment/1", "never_seen"), void()]).is_empty());
    }

    #[test]
    fn what_was_carried_out_is_not_asked_for_under_another_key() {
        let capture = |number: u32| asked(&format!("o/capture/payment/{number}"), "capture", "");
        let first = || vec![capture(1), booked("o/capture/payment/1", "captured")];
        assert!(laws([first(), vec![capture(1)]].concat()).is_empty());
        assert_eq!(laws([first(), vec![capture(2)]].concat()), ["SIM-PAID-ONCE"]);
        let declined = vec![capture(1), booked("o/capture/payment/1", "declined"), capture(2)];
        assert!(laws(declined).is_empty());
    }
}
