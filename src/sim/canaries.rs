//! Scenarios that plant a bug: the run must fail, by the law the scenario names.
//!
//! `[canary]` names the bug, the law that catches it and a seed that shows it. Run as it is, such a scenario passes
//! when the named law breaks (others may break too); `--healthy` runs it without the bug, under the rules of every
//! other scenario. A build without the feature `canaries` cannot plant anything and says so.

use std::collections::BTreeSet;

use super::scenario::Planted;

/// Plants the bug for the rest of this process.
///
/// Rejects a bug nobody knows, and any in a build that has none.
#[cfg(feature = "canaries")]
pub fn plant(planted: &Planted) -> Result<(), String> {
    use crate::canary::{self, Canary};
    let known = || Canary::ALL.iter().map(|canary| canary.name()).collect::<Vec<_>>().join(", ");
    let bug = Canary::named(&planted.bug).ok_or_else(|| format!("no bug {}; there are {}", planted.bug, known()))?;
    canary::plant(bug);
    Ok(())
}

/// See above.
#[cfg(not(feature = "canaries"))]
pub fn plant(planted: &Planted) -> Result<(), String> {
    let bug = &planted.bug;
    Err(format!("this scenario plants the bug {bug}: build with --features canaries, or run it --healthy"))
}

/// What the laws a planted run broke say about the canary.
#[derive(Debug, PartialEq, Eq)]
pub struct Catch {
    /// Whether the law that was to break did.
    pub is_caught: bool,
    /// Every law that broke.
    pub laws: BTreeSet<String>,
}

impl Catch {
    /// Of a run that broke these laws.
    pub fn of<'a>(planted: &Planted, broken: impl Iterator<Item = &'a str>) -> Self {
        let laws: BTreeSet<String> = broken.map(str::to_owned).collect();
        Self { is_caught: laws.contains(&planted.law), laws }
    }

    /// For people.
    pub fn sentence(&self, planted: &Planted) -> String {
        let Planted { bug, law, .. } = planted;
        let others: Vec<&str> = self.laws.iter().filter(|broken| *broken != law).map(String::as_str).collect();
        match (self.is_caught, others.is_empty()) {
            (true, true) => format!("{bug}: caught by {law}"),
            (true, false) => format!("{bug}: caught by {law}; broken too: {}", others.join(", ")),
            (false, true) => format!("{bug}: not caught, no law broke"),
            (false, false) => format!("{bug}: not caught by {law}; broken: {}", others.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_law_catches() {
        let planted = Planted { bug: "b".to_owned(), law: "L-1".to_owned(), seed: 1 };
        let catch = |laws: &[&str]| Catch::of(&planted, laws.iter().copied());
        assert!(catch(&["L-2", "L-1"]).is_caught);
        assert_eq!(catch(&["L-2", "L-1"]).sentence(&planted), "b: caught by L-1; broken too: L-2");
        assert!(!catch(&["L-2"]).is_caught && !catch(&[]).is_caught);
        assert_eq!(catch(&[]).sentence(&planted), "b: not caught, no law broke");
    }
}
