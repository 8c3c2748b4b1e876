//! Panics of the shop during a run: each is a law that broke, whether or not anybody outside noticed.
//!
//! An assertion names its law (`STK-1: …`); entities survive most panics (P9), so a law that only ever stops a command
//! would pass unseen. The hook sees them all. Anything else that panics breaks `SIM-NO-PANIC`.

use std::sync::{Arc, Mutex, PoisonError};

use super::checks::Broken;

/// Panics kept: the first say what happened.
const KEPT_MAX: usize = 50;

/// Collects the panics of this process.
#[derive(Clone, Default)]
pub struct Panics(Arc<Mutex<Vec<String>>>);

impl Panics {
    /// Watches from now on, for the rest of the process.
    pub fn watch() -> Self {
        let panics = Self::default();
        let (kept, usual) = (panics.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| {
            let said = info.payload().downcast_ref::<&str>().map(|text| (*text).to_owned());
            let said = said.or_else(|| info.payload().downcast_ref::<String>().cloned()).unwrap_or_default();
            kept.note(said);
            usual(info);
        }));
        panics
    }

    fn note(&self, said: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX && !kept.contains(&said) {
            kept.push(said);
        }
    }

    /// The laws they break.
    pub fn broken(&self) -> Vec<Broken> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|said| Broken { law: law_of(said).to_owned(), detail: format!("panicked: {said}") }).collect()
    }
}

/// `STK-1` of `STK-1: …`.
fn law_of(said: &str) -> &str {
    let law = said.split(':').next().unwrap_or_default();
    let is_law = law.split_once('-').is_some_and(|(family, number)| {
        !family.is_empty() && family.bytes().all(|b| b.is_ascii_uppercase()) && number.parse::<u8>().is_ok()
    });
    if is_law { law } else { "SIM-NO-PANIC" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_breaks_the_law_it_names() {
        let panics = Panics::default();
        ["STK-2: units are taken", "ORD-3: o: sold", "STK-2: units are taken", "index out of bounds: 3"]
            .into_iter()
            .for_each(|said| panics.note(said.to_owned()));
        let laws: Vec<String> = panics.broken().into_iter().map(|broken| broken.law).collect();
        assert_eq!(laws, ["STK-2", "ORD-3", "SIM-NO-PANIC"]);
        assert_eq!([law_of(""), law_of("-1: x"), law_of("stk-1: x")], ["SIM-NO-PANIC"; 3]);
    }
}
