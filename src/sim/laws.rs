//! Every law a run can break, with its sentence, and how often each was looked at.
//!
//! Entities' laws and the books between them are the domain's own list (`domain::invariants`). The laws here are what
//! somebody outside may expect of a shop; their ids begin with `SIM`. A law nobody looked at says nothing about a run,
//! so everybody who judges counts here, and reports name the laws that were never asked. One process runs one seed on
//! one thread: the count is the thread's.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::domain::invariants::{LAWS, Law};
use crate::domain::registry::Kind;

macro_rules! laws {
    ($($id:literal: $sentence:literal;)*) => {
        /// What somebody outside may expect, in the order of the documentation.
        pub const SIM_LAWS: &[Law] = &[$(Law { id: $id, sentence: $sentence }),*];
    };
}

laws! {
    "SIM-RUNS": "the world runs to its end: nobody falls over, the shop opens and can be looked at";
    "SIM-NOTHING-PANICS": "no part of the program panics, whatever happens to it";
    "SIM-NO-QUARANTINE": "no entity is taken out of service";
    "SIM-ACCEPTED-IS-KEPT": "what was acknowledged or committed is there, unchanged, after every crash";
    "SIM-ORDERS-END": "once nothing breaks any more every order ends by itself, without anybody looking at it";
    "SIM-SELLS-AGAIN": "once nothing breaks any more the shop sells as fast as it answered when it opened";
    "SIM-HOLDS-END": "a hold whose time is over ends by itself";
    "SIM-ONE-CHARGE": "an order is charged at most once, exactly what it costs, and only when it is sold";
    "SIM-PAID-ONCE": "what a provider carried out is not asked for again under another key";
    "SIM-NO-EARLY-VOID": "an authorisation is not voided before its outcome was told or given up";
    "SIM-SOLD-ONCE": "no more units are sold than were received";
    "SIM-UNITS-ADD-UP": "received, held and available units are what the acknowledged history makes them";
    "SIM-ONE-ORDER-PER-CART": "a cart becomes one order at most";
    "SIM-ORDER-IS-WHAT-WAS-ASKED": "an order has the lines that were asked for, to the unit";
    "SIM-COSTS-WHAT-IS-SHOWN": "an order of a cart's version costs what that version showed";
    "SIM-HOLD-IS-HELD": "an order that brings a live hold finds its units";
    "SIM-REFUSED-FOR-WANT": "an order is refused for want of units only if there was a moment when they were missing";
    "SIM-IDS-ARE-FRESH": "no id is given out twice";
    "SIM-SAME-ANSWER": "the same request under the same key has the same answer";
    "SIM-KEY-MEANS-ONE-THING": "another request under a used key is refused";
    "SIM-LAST-WRITE-STANDS": "of a line written from two tabs the last write of either stands";
    "SIM-MERGE-KEEPS-ALL": "a merged cart has every unit of both";
    "SIM-IMPORT-IS-TAKEN": "a catalogue imported as it is has no row refused";
    "SIM-LINEARIZABLE": "answers about a stock item, cart, order or product fit one order of the requests made to it";
    "SIM-LIVE-IS-JOURNAL": "what the shop shows of an entity is what its journal makes of it";
    "SIM-LISTS-AGREE": "orders are listed as they are";
    "SIM-SEARCH-AGREES": "search shows the units there are, a moment later at most";
    "SIM-REPLAY": "every journal can be replayed from zero";
    "SIM-SNAPSHOT": "a snapshot is what replaying the journal up to it makes";
}

/// Every law: of entities, of the books, of the simulator.
pub fn all() -> impl Iterator<Item = &'static Law> {
    LAWS.iter().chain(SIM_LAWS)
}

/// The id of the law a panic names at its beginning, as assertions do: `"STK-1: held exceeds on hand"`.
pub fn named_by(panic: &str) -> Option<&str> {
    let (id, _) = panic.split_once(": ")?;
    let (letters, digits) = id.split_once('-')?;
    let named = letters.len() >= 3 && letters.bytes().all(|byte| byte.is_ascii_uppercase());
    (named && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}

thread_local! {
    static CHECKED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Somebody looked whether this law holds.
pub fn checked(law: &str) {
    checked_times(law, 1);
}

/// Somebody looked so many times.
pub fn checked_times(law: &str, times: u64) {
    let known = all().find(|known| known.id == law);
    debug_assert!(known.is_some(), "{law} is not on the list: add it with its sentence");
    if let Some(known) = known {
        CHECKED.with_borrow_mut(|counts| *counts.entry(known.id).or_default() += times);
    }
}

/// An entity of this kind asserted its laws.
pub fn checked_entity(kind: Kind) {
    let prefix = match kind {
        Kind::Stock => "STK-",
        Kind::Cart => "CRT-",
        Kind::Order => "ORD-",
        Kind::Product => "PRD-",
        Kind::Cluster => "CLU-",
    };
    checked_family(prefix);
}

/// The books were compared.
pub fn checked_books() {
    checked_family("BOOK-");
}

fn checked_family(prefix: &str) {
    LAWS.iter().filter(|law| law.id.starts_with(prefix)).for_each(|law| checked(law.id));
}

/// How often each law was looked at so far.
pub fn counts() -> BTreeMap<String, u64> {
    CHECKED.with_borrow(|counts| counts.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_has_one_sentence_and_every_family_has_laws() {
        let mut ids: Vec<_> = all().map(|law| law.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all().count());
        Kind::ALL.iter().for_each(|kind| checked_entity(*kind));
        checked_books();
        assert_eq!(counts().len(), LAWS.len());
        checked_entity(Kind::Cart);
        assert_eq!((counts()["CRT-2"], counts()["STK-1"]), (2, 1));
    }

    #[test]
    fn a_panic_names_its_law() {
        assert_eq!(named_by("STK-1: held exceeds on hand"), Some("STK-1"));
        assert_eq!(named_by("index out of bounds: the len is 3"), None);
        assert_eq!(named_by("a-1: b"), None);
    }
}
