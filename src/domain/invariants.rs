//! The named laws, in one list: asserted in production after every command, recounted by `journal verify`, the auditor
//! and the simulator.
//!
//! Each entity asserts its own laws in constant time from maintained counters (`assert_invariants`). The checks here
//! recount from scratch, and [`Books`] compares entities with each other: stock with orders to the unit, orders with the
//! payment provider to the cent.

use std::collections::BTreeSet;
use std::fmt;

use super::stock::StockItem;

/// A promise with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Law {
    /// E.g. `STK-1`; panics, breaches, tests and docs use it.
    pub id: &'static str,
    /// What always holds.
    pub sentence: &'static str,
}

macro_rules! laws {
    ($($id:literal: $sentence:literal;)*) => {
        /// Every law, in the order of the documentation.
        pub const LAWS: &[Law] = &[$(Law { id: $id, sentence: $sentence }),*];
    };
}

laws! {
    "STK-1": "received + adjusted + returned = available + held + sold";
    "STK-2": "available, held and sold are never negative";
    "STK-3": "held units are exactly those of live holds";
    "STK-4": "the expiry index holds exactly the shoppers' live holds";
    "STK-5": "no more units came back than were sold, in total and per hold";
    "STK-6": "a hold is live or ended, never both, and a sale is forgotten only when its order said so";
}

/// A law that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which law.
    pub law: &'static str,
    /// Who breaks it, with the numbers.
    pub detail: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.detail)
    }
}

/// Collects breaches.
#[derive(Default)]
struct Audit {
    breaches: Vec<Breach>,
}

impl Audit {
    fn must(&mut self, law: &'static str, holds: bool, detail: impl FnOnce() -> String) {
        debug_assert!(LAWS.iter().any(|known| known.id == law), "{law} is not on the list");
        if !holds {
            self.breaches.push(Breach { law, detail: detail() });
        }
    }
}

/// Recounts one stock item from its holds. Linear in the number of holds.
pub fn check_stock(item: &StockItem) -> Vec<Breach> {
    let mut audit = Audit::default();
    let (sku, numbers) = (item.sku(), item.numbers());
    let came = i128::from(numbers.received) + i128::from(numbers.adjusted) + i128::from(numbers.returned);
    let are = i128::from(numbers.available) + i128::from(numbers.held) + i128::from(numbers.sold);
    audit.must("STK-1", came == are, || format!("{sku}: {came} units came, {are} are accounted for"));
    let held: u64 = item.holds.values().map(|hold| u64::from(hold.quantity.get())).sum();
    audit.must("STK-3", held == numbers.held, || format!("{sku}: holds hold {held}, held is {}", numbers.held));
    let expiries: BTreeSet<_> = item.holds.iter().filter_map(|(id, hold)| Some((hold.expires_at()?, *id))).collect();
    audit.must("STK-4", expiries == item.expiries, || format!("{sku}: expiry index differs from the holds"));
    audit.must("STK-5", numbers.returned <= numbers.sold, || format!("{sku}: {numbers:?}"));
    for (id, ended) in &item.ended {
        let known = ended.units > 0;
        let fits = !known || ended.returned() <= u64::from(ended.units);
        audit.must("STK-5", fits, || format!("{sku}: hold {id} sold {}, returned {}", ended.units, ended.returned()));
        audit.must("STK-6", !item.holds.contains_key(id), || format!("{sku}: hold {id} is live and ended"));
    }
    let forgettable: BTreeSet<_> = item.ended.iter().filter_map(|(id, ended)| Some((ended.forget_at?, *id))).collect();
    audit.must("STK-6", forgettable == item.forgettable, || format!("{sku}: forgetting index differs"));
    audit.breaches
}
