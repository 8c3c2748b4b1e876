//! Scenarios that plant a bug: the run must fail, by the law the scenario names.
//!
//! `[canary]` names the bug, the law that catches it and a seed that shows it. Run as it is, such a scenario passes
//! when the named law breaks (others may break with it); `--healthy` runs it without the bug, under the rules of every
//! other scenario. A build without the feature `canaries` cannot plant anything and says so.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::checks::Broken;
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

/// Which seeds caught a planted bug.
#[derive(Debug)]
pub struct Catches {
    planted: Planted,
    /// Seed → every law that broke.
    seeds: BTreeMap<u64, BTreeSet<String>>,
}

impl Catches {
    /// None so far.
    pub fn of(planted: Planted) -> Self {
        Self { planted, seeds: BTreeMap::new() }
    }

    /// This seed broke these laws.
    pub fn add(&mut self, seed: u64, broken: &[Broken]) {
        self.seeds.insert(seed, broken.iter().map(|broken| broken.law.clone()).collect());
    }

    /// Whether any seed broke the law that was to break.
    pub fn is_caught(&self) -> bool {
        self.by_law(true).next().is_some()
    }

    /// Seeds that broke the named law, or that did not.
    fn by_law(&self, named: bool) -> impl Iterator<Item = (u64, &BTreeSet<String>)> {
        let seeds = self.seeds.iter().map(|(seed, laws)| (*seed, laws));
        seeds.filter(move |(_, laws)| laws.contains(&self.planted.law) == named)
    }

    /// Laws that broke where the named one held → the seeds.
    fn others(&self) -> BTreeMap<&str, Vec<u64>> {
        let mut others = BTreeMap::<&str, Vec<u64>>::new();
        for (seed, laws) in self.by_law(false) {
            laws.iter().for_each(|law| others.entry(law).or_default().push(seed));
        }
        others
    }

    /// For people.
    pub fn sentence(&self) -> String {
        let Planted { bug, law, .. } = &self.planted;
        let caught: Vec<u64> = self.by_law(true).map(|(seed, _)| seed).collect();
        let mut said = match (caught.len(), self.seeds.len()) {
            (0, seeds) => format!("{bug}: not caught by {law} under any of {seeds} seeds"),
            (count, seeds) => format!("{bug}: caught by {law} under {count} of {seeds} seeds: {caught:?}"),
        };
        let others: Vec<String> =
            self.others().into_iter().map(|(law, seeds)| format!("{law} under {seeds:?}")).collect();
        if !others.is_empty() {
            said.push_str(&format!("; broken instead: {}", others.join(", ")));
        }
        said
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let Planted { bug, law, .. } = &self.planted;
        let caught: Vec<u64> = self.by_law(true).map(|(seed, _)| seed).collect();
        json!({"bug": bug, "law": law, "caught": caught, "seeds": self.seeds.len(), "others": self.others()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_law_catches() {
        let mut catches = Catches::of(Planted { bug: "b".to_owned(), law: "SIM-RUNS".to_owned(), seed: 1 });
        let broken = |laws: &[&str]| laws.iter().map(|law| Broken::new(law, "")).collect::<Vec<_>>();
        catches.add(1, &broken(&[]));
        catches.add(2, &broken(&["STK-1"]));
        assert!(!catches.is_caught());
        let told = "b: not caught by SIM-RUNS under any of 2 seeds; broken instead: STK-1 under [2]";
        assert_eq!(catches.sentence(), told);
        catches.add(3, &broken(&["STK-1", "SIM-RUNS"]));
        assert!(catches.is_caught());
        let told = "b: caught by SIM-RUNS under 1 of 3 seeds: [3]; broken instead: STK-1 under [2]";
        assert_eq!(catches.sentence(), told);
    }
}
