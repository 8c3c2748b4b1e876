//! Scenarios: what a world is like, as TOML in which any scalar may be left to the seed. `options` has every option.
//!
//! `{ range = [1, 5] }` is drawn evenly between both ends, `{ set = ["a", "b"] }` is one of its members, which may be
//! open themselves: `{ set = [0, { range = [2, 9] }] }` drops a fault or verb in half of the seeds. Each is drawn from
//! a stream of its own (seed ⊕ path), so that changing one value does not redraw the others. What is drawn is written
//! down with a failure. Unknown keys are errors.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Value;

mod options;

pub use options::{Expect, Faults, Merchants, Planted, Provider, Shop, Shoppers, World};

use crate::rng::{Rng, SeededRng};

/// A world, drawn.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it is for, a sentence.
    pub about: String,
    /// The bug to plant, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Planted>,
    /// Machines and network.
    #[serde(default)]
    pub world: World,
    /// What is sold.
    #[serde(default)]
    pub shop: Shop,
    /// Who buys.
    #[serde(default)]
    pub shoppers: Shoppers,
    /// Who runs the shop.
    #[serde(default)]
    pub merchants: Merchants,
    /// What breaks.
    #[serde(default)]
    pub faults: Faults,
    /// How the payment provider misbehaves.
    #[serde(default)]
    pub provider: Provider,
    /// What it must be like besides right.
    #[serde(default)]
    pub expect: Expect,
}

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or not a scenario.
    #[error("{path}: {message}")]
    Invalid {
        /// Which.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A `--set` cannot be applied.
    #[error("--set {given}: expected section.option=value, where the value is TOML")]
    Set {
        /// As given.
        given: String,
    },
}

/// A scenario as written, values still open.
#[derive(Clone, Debug)]
pub struct Open {
    path: String,
    table: Value,
}

impl Open {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Unreadable { path: shown.clone(), source })?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| invalid(&shown, error.to_string()))?;
        Ok(Self { path: shown, table: Value::Table(table) })
    }

    /// Replaces one option: `shop.products=5`.
    pub fn set(&mut self, given: &str) -> Result<(), ScenarioError> {
        let bad = || ScenarioError::Set { given: given.to_owned() };
        let (path, value) = given.split_once('=').ok_or_else(bad)?;
        let parsed: toml::Table = format!("value = {value}").parse().map_err(|_| bad())?;
        let mut at = &mut self.table;
        for part in path.split('.') {
            let table = at.as_table_mut().ok_or_else(bad)?;
            at = table.entry(part).or_insert_with(|| Value::Table(toml::Table::new()));
        }
        *at = parsed["value"].clone();
        Ok(())
    }

    /// Draws every open value.
    pub fn draw(&self, seed: u64) -> Result<Scenario, ScenarioError> {
        let drawn = draw(&self.table, seed, "").map_err(|message| invalid(&self.path, message))?;
        let scenario: Scenario = drawn.try_into().map_err(|error| invalid(&self.path, format!("{error}")))?;
        scenario.check().map_err(|message| invalid(&self.path, message))?;
        Ok(scenario)
    }
}

impl Scenario {
    /// Whether a second of the shop is one of the world.
    pub fn has_right_clocks(&self) -> bool {
        let Faults { clock_jump_every_s, clock_drift_every_s, .. } = self.faults;
        (self.world.skew_ms, self.world.drift_ppm, clock_jump_every_s, clock_drift_every_s) == (0, 0, 0, 0)
    }

    fn check(&self) -> Result<(), String> {
        let rules = [
            (self.world.nodes == 1, "world.nodes: one node is what this version simulates"),
            ((1..=256).contains(&self.world.shards), "world.shards: 1 to 256"),
            (self.world.latency_min_us <= self.world.latency_max_us, "world.latency: the minimum exceeds the maximum"),
            (self.world.sync_min_us <= self.world.sync_max_us, "world.sync: the minimum exceeds the maximum"),
            ((1..=1000).contains(&self.shop.products), "shop.products: 1 to 1000"),
            (self.shop.units >= 1, "shop.units: at least 1"),
            (self.shoppers.count <= 10_000, "shoppers.count: at most 10000"),
            ((1..=1000).contains(&self.world.tick_ms), "world.tick_ms: 1 to 1000"),
            (self.world.latency_curve >= 1, "world.latency_curve: at least 1"),
            (!self.shoppers.curve_percent.is_empty(), "shoppers.curve_percent: at least one part"),
            (self.world.drift_ppm.unsigned_abs() <= 500_000, "world.drift_ppm: at most half as fast or half again"),
            (self.faults.clock_drift_max_ppm <= 500_000, "faults.clock_drift_max_ppm: at most 500000"),
            (self.shoppers.lines_max >= 1, "shoppers.lines_max: at least 1"),
            (self.expect.availability_percent_min <= 100, "expect.availability_percent_min: at most 100"),
            (!self.shoppers.tokens.is_empty(), "shoppers.tokens: at least one"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule.to_owned()))
    }
}

fn invalid(path: &str, message: impl Into<String>) -> ScenarioError {
    ScenarioError::Invalid { path: path.to_owned(), message: message.into() }
}

/// The value with every range and set below it drawn.
fn draw(value: &Value, seed: u64, path: &str) -> Result<Value, String> {
    let Value::Table(table) = value else { return Ok(value.clone()) };
    let open = if table.len() == 1 { table.iter().next() } else { None };
    match open {
        Some((key, Value::Array(choices))) if key == "set" && !choices.is_empty() => {
            let index = stream(seed, path).next_u64() % choices.len() as u64;
            draw(&choices[index as usize], seed, &format!("{path}.set"))
        }
        Some((key, Value::Array(ends))) if key == "range" => match ends.as_slice() {
            [Value::Integer(low), Value::Integer(high)] if low <= high => {
                let width = high.abs_diff(*low) + 1;
                Ok(Value::Integer(low.saturating_add_unsigned(stream(seed, path).next_u64() % width)))
            }
            _ => Err(format!("{path}: a range is two integers, the smaller first")),
        },
        _ => {
            let inner =
                table.iter().map(|(key, value)| Ok((key.clone(), draw(value, seed, &format!("{path}.{key}"))?)));
            Ok(Value::Table(inner.collect::<Result<toml::Table, String>>()?))
        }
    }
}

fn stream(seed: u64, path: &str) -> SeededRng {
    SeededRng::stream(seed, &format!("scenario{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Open {
        Open { path: "test".to_owned(), table: Value::Table(text.parse().unwrap()) }
    }

    const TEXT: &str = r#"
        name = "n"
        about = "a"
        shop.products = { range = [2, 4] }
        shop.units = { set = [1, 7] }
    "#;

    #[test]
    fn every_value_of_a_range_and_set_is_drawn_by_some_seed_and_always_by_that_one() {
        let drawn = |seed| {
            let shop = open(TEXT).draw(seed).unwrap().shop;
            (shop.products, shop.units)
        };
        let all: std::collections::BTreeSet<_> = (0..100).map(drawn).collect();
        assert_eq!(all, [(2, 1), (2, 7), (3, 1), (3, 7), (4, 1), (4, 7)].into());
        assert_eq!(drawn(7), drawn(7));
    }

    #[test]
    fn a_member_of_a_set_may_be_a_range() {
        let open = open("name = 'n'\nabout = 'a'\nshop.units = { set = [9, { range = [2, 4] }] }");
        let all: std::collections::BTreeSet<_> = (0..100).map(|seed| open.draw(seed).unwrap().shop.units).collect();
        assert_eq!(all, [2, 3, 4, 9].into());
    }

    #[test]
    fn setting_one_value_leaves_the_draw_of_others() {
        for seed in 0..20 {
            let mut set = open(TEXT);
            set.set("shop.units=3").unwrap();
            let (set, free) = (set.draw(seed).unwrap().shop, open(TEXT).draw(seed).unwrap().shop);
            assert_eq!((set.products, set.units), (free.products, 3));
        }
    }

    #[test]
    fn mistakes_are_told() {
        let message = |text: &str| open(text).draw(1).unwrap_err().to_string();
        assert!(message("name = 'n'\nabout = 'a'\nshop.unit = 3").contains("unknown field `unit`"));
        assert!(message("name = 'n'\nabout = 'a'\nshop.units = 0").contains("shop.units: at least 1"));
        assert!(message("name = 'n'\nabout = 'a'\nshop.units = {range = [3, 1]}").contains("the smaller first"));
        assert!(open(TEXT).set("shop").is_err());
    }
}
