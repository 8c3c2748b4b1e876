//! Making a failing scenario smaller, as long as it fails in the same way.
//!
//! Greedy and in this order: shorten to the failure, drop faults, drop shoppers and products, halve durations; again
//! until nothing gets smaller or the budget is over. Every candidate is the scenario with options replaced, so that the
//! seed draws nothing anew: whoever is left does what they did. Whether a candidate still fails is the caller's to
//! find out.

use toml::{Table, Value};

use super::scenario::Scenario;

/// Options to replace, by section and name.
type Change = Vec<(&'static str, String, Value)>;

/// Sections in which everything that is not zero breaks something.
const TROUBLE: &[&str] = &["faults", "provider"];
/// Sections in which odds and rhythms are what people do.
const VERBS: &[&str] = &["shoppers", "merchants"];
/// Numbers of things, and the least of each.
const SIZES: &[(&str, &str, i64)] = &[
    ("shoppers", "count", 0),
    ("shoppers", "purchases", 1),
    ("shop", "products", 1),
    ("shoppers", "lines_max", 1),
    ("shop", "units", 1),
    ("world", "shards", 1),
    ("merchants", "restock_units_max", 0),
    ("merchants", "refund_parts_max", 0),
];
/// Options whose simplest value is known.
const SIMPLE: &[(&str, &str, i64)] =
    &[("world", "skew_ms", 0), ("world", "drift_ppm", 0), ("shoppers", "zipf_percent", 0)];
/// A search between two numbers ends when they are this close, as a part of the larger.
const CLOSE_ENOUGH: i64 = 8;

/// A scenario on its way to a smaller one.
pub struct Shrinker<F> {
    scenario: Table,
    /// Whether a candidate still fails in the same way; `None` when there is no time left to find out.
    fails: F,
    over: bool,
}

impl<F: FnMut(&Table, &str) -> Option<bool>> Shrinker<F> {
    /// Starts with a drawn scenario that fails.
    pub fn new(scenario: Table, fails: F) -> Self {
        Self { scenario, fails, over: false }
    }

    /// The smallest that was found. The failure was seen so many seconds into the safety phase.
    pub fn shrink(mut self, failed_after_s: u64) -> Table {
        let after = i64::try_from(failed_after_s).unwrap_or(i64::MAX).max(1);
        if self.number("world", "safety_s").is_some_and(|safety| after < safety) {
            self.set("world", "safety_s", after);
        }
        loop {
            let before = self.scenario.clone();
            self.lessen("world", "safety_s", 1);
            self.drop_trouble();
            self.drop_people();
            self.halve_durations();
            if self.over || self.scenario == before {
                return self.scenario;
            }
        }
    }

    fn drop_trouble(&mut self) {
        let all: Change = TROUBLE.iter().flat_map(|section| self.numbers(section, is_switch)).collect();
        if all.len() > 1 {
            self.replace(all.clone(), "no faults at all");
        }
        for (section, name, _) in all {
            self.set(section, &name, 0);
        }
    }

    fn drop_people(&mut self) {
        for section in VERBS {
            for (section, name, _) in self.numbers(section, is_switch) {
                self.set(section, &name, 0);
            }
        }
        self.set("shoppers", "arrivals_per_minute", 0);
        for (section, name, least) in SIZES {
            self.lessen(section, name, *least);
        }
        for (section, name, simple) in SIMPLE {
            self.set(section, name, *simple);
        }
        let tokens = self.scenario.get("shoppers").and_then(|shoppers| shoppers.get("tokens")?.as_array().cloned());
        for token in tokens.filter(|tokens| tokens.len() > 1).into_iter().flatten() {
            let what = format!("only {token}");
            if self.replace(vec![("shoppers", "tokens".to_owned(), Value::Array(vec![token]))], &what) {
                break;
            }
        }
    }

    /// Back to what is usual, or else half as long, and half again; what is usual already stays.
    fn halve_durations(&mut self) {
        let usual = usual();
        for section in ["world", "shoppers", "merchants", "faults", "provider"] {
            let is_span = |name: &str| ["_ms", "_us", "_s"].iter().any(|unit| name.ends_with(unit));
            let is_plain = |name: &str| is_span(name) && !is_switch(name) && name != "tick_ms" && name != "safety_s";
            for (section, name, _) in self.numbers(section, is_plain) {
                let least = number_of(&usual, section, &name).unwrap_or(0);
                if self.number(section, &name) == Some(least) || self.set(section, &name, least) {
                    continue;
                }
                while let Some(number) = self.number(section, &name).filter(|number| number / 2 > least) {
                    if !self.set(section, &name, number / 2) {
                        break;
                    }
                }
            }
        }
    }

    /// The smallest number from `least` on with which it fails, as far as a search by halves finds it.
    fn lessen(&mut self, section: &'static str, name: &str, least: i64) {
        let Some(mut fails) = self.number(section, name).filter(|number| *number > least) else { return };
        if self.set(section, name, least) {
            return;
        }
        let mut passes = least;
        while fails - passes > (fails / CLOSE_ENOUGH).max(1) && !self.over {
            let middle = passes + (fails - passes) / 2;
            if self.set(section, name, middle) {
                fails = middle;
            } else {
                passes = middle;
            }
        }
    }

    /// Whether it still fails with this number; keeps it if so.
    fn set(&mut self, section: &'static str, name: &str, number: i64) -> bool {
        let what = format!("{section}.{name}={number}");
        self.number(section, name).is_some_and(|is| is != number)
            && self.replace(vec![(section, name.to_owned(), Value::Integer(number))], &what)
    }

    fn replace(&mut self, change: Change, what: &str) -> bool {
        if self.over {
            return false;
        }
        let mut candidate = self.scenario.clone();
        for (section, name, value) in change {
            let section = candidate.entry(section).or_insert_with(|| Value::Table(Table::new()));
            section.as_table_mut().expect("sections are tables").insert(name, value);
        }
        match (self.fails)(&candidate, what) {
            Some(true) => {
                self.scenario = candidate;
                true
            }
            Some(false) => false,
            None => {
                self.over = true;
                false
            }
        }
    }

    fn number(&self, section: &str, name: &str) -> Option<i64> {
        number_of(&self.scenario, section, name)
    }

    /// Numbers of a section that are not zero, with zero in their place.
    fn numbers(&self, section: &'static str, wanted: impl Fn(&str) -> bool) -> Change {
        let options = self.scenario.get(section).and_then(Value::as_table).into_iter().flatten();
        let numbers = options.filter(|(name, value)| wanted(name) && value.as_integer().is_some_and(|is| is != 0));
        numbers.map(|(name, _)| (section, name.clone(), Value::Integer(0))).collect()
    }
}

fn number_of(scenario: &Table, section: &str, name: &str) -> Option<i64> {
    scenario.get(section)?.get(name)?.as_integer()
}

/// Every option as it is when nobody sets it.
fn usual() -> Table {
    let scenario: Scenario = toml::from_str("name = ''\nabout = ''").expect("the smallest scenario there is");
    Table::try_from(&scenario).expect("a scenario is TOML")
}

/// Whether zero switches the option off.
fn is_switch(name: &str) -> bool {
    name.ends_with("_every_s") || name.ends_with("_one_in") || name == "webhook_late_max_ms"
}

/// The options of a drawn scenario that are not as they are anyway, besides name and purpose.
pub fn unusual(scenario: &Table) -> Table {
    let plain = usual();
    let mut unusual = Table::new();
    for (section, value) in scenario {
        let value = match (value, plain.get(section)) {
            (Value::Table(options), Some(Value::Table(plain))) => {
                let own = options.iter().filter(|(name, value)| plain.get(*name) != Some(value));
                Value::Table(own.map(|(name, value)| (name.clone(), value.clone())).collect())
            }
            _ => value.clone(),
        };
        if value.as_table().is_none_or(|options| !options.is_empty()) {
            unusual.insert(section.clone(), value);
        }
    }
    unusual
}

/// How many options a scenario sets.
pub fn options(scenario: &Table) -> usize {
    scenario.values().filter_map(Value::as_table).map(Table::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Table {
        let scenario: Scenario = toml::from_str(&format!("name = 'n'\nabout = 'a'\n{text}")).unwrap();
        Table::try_from(&scenario).unwrap()
    }

    fn number(table: &Table, section: &str, name: &str) -> i64 {
        table[section][name].as_integer().unwrap()
    }

    const LARGE: &str = "world.safety_s = 60\nshop.products = 7\nshoppers.count = 12\nshoppers.merge_one_in = 3
        shoppers.tokens = ['tok_ok', 'tok_slow']\nfaults.crash_every_s = 5\nfaults.cut_every_s = 7
        faults.down_max_ms = 4000\nprovider.slow_one_in = 2";

    #[test]
    fn what_the_failure_does_not_need_goes() {
        let needs = |candidate: &Table, _: &str| {
            Some(
                number(candidate, "faults", "crash_every_s") > 0
                    && number(candidate, "shoppers", "count") >= 3
                    && number(candidate, "faults", "down_max_ms") >= 900
                    && number(candidate, "world", "safety_s") >= 4,
            )
        };
        let small = unusual(&Shrinker::new(scenario(LARGE), needs).shrink(30));
        assert_eq!(number(&small, "faults", "crash_every_s"), 5);
        assert_eq!(number(&small, "faults", "down_max_ms"), 1_000);
        assert_eq!(number(&small, "shoppers", "count"), 3);
        assert_eq!(number(&small, "world", "safety_s"), 4);
        assert!(small["shoppers"].get("tokens").is_none(), "the usual ones do: {small}");
        assert!(!small.contains_key("provider"), "{small}");
        assert!(small["faults"].get("cut_every_s").is_none() && small["shoppers"].get("merge_one_in").is_none());
    }

    #[test]
    fn without_time_left_nothing_changes_any_more() {
        let mut asked = 0;
        let large = scenario(LARGE);
        let small = Shrinker::new(large.clone(), |_: &Table, _: &str| {
            asked += 1;
            None
        });
        assert_eq!(small.shrink(30), large);
        assert_eq!(asked, 1);
    }

    #[test]
    fn only_what_is_unusual_is_written_down() {
        let small = unusual(&scenario("shop.products = 1"));
        assert_eq!((options(&small), number(&small, "shop", "products")), (1, 1));
        let read: Scenario = toml::from_str(&toml::to_string(&small).unwrap()).unwrap();
        assert_eq!(Table::try_from(&read).unwrap(), scenario("shop.products = 1"));
    }
}
