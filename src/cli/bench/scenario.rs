//! What clients do, and what they need on the shelf for it.

use std::fmt;

use clap::ValueEnum;

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// Everybody holds one unit of the same SKU
    HotSku,
    /// Everybody holds one unit of a random SKU
    Uniform,
    /// Cart, line, buyer, order, and the order read back: five calls
    Checkout,
    /// Lists, searches and product pages
    Browse,
    /// Of ten operations seven browse, two hold, one checks out
    Mixed,
    /// Everybody looks at SKUs nobody looked at before, each once: start the node anew first, so that none is in memory
    Cold,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no scenario is hidden").get_name())
    }
}

/// The one kind of operation a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Hold a unit of this bench SKU.
    Hold {
        /// Which.
        sku: u32,
    },
    /// Buy a unit of this bench SKU.
    Checkout {
        /// Which.
        sku: u32,
    },
    /// Look at this bench SKU.
    Look {
        /// Which.
        sku: u32,
    },
    /// Look around; the number chooses at what.
    Browse {
        /// Any.
        choice: u64,
    },
}

impl Scenario {
    /// How many operations there are to do at all; `None` when they never end.
    pub(super) fn operations_max(self, many: u32) -> Option<u32> {
        (self == Self::Cold).then_some(many)
    }

    /// How many bench SKUs it sells from.
    pub(super) fn skus(self, many: u32) -> u32 {
        match self {
            Self::HotSku => 1,
            Self::Uniform | Self::Checkout | Self::Mixed => many,
            // What is stocked is in memory: cold SKUs are stocked before the node is started anew.
            Self::Browse | Self::Cold => 0,
        }
    }

    /// The next operation, chosen by 64 random bits; `fresh` is a number no operation of the run was given before.
    pub(super) fn next(self, many: u32, random: u64, fresh: u32) -> Operation {
        let sku = u32::try_from(random >> 32).unwrap_or(0) % self.skus(many).max(1);
        match self {
            Self::HotSku | Self::Uniform => Operation::Hold { sku },
            Self::Checkout => Operation::Checkout { sku },
            Self::Browse => Operation::Browse { choice: random },
            Self::Cold => Operation::Look { sku: fresh },
            Self::Mixed => match random % 10 {
                0..7 => Operation::Browse { choice: random / 10 },
                7..9 => Operation::Hold { sku },
                _ => Operation::Checkout { sku },
            },
        }
    }
}

/// The name of bench SKU `number`.
pub(super) fn sku_name(number: u32) -> String {
    format!("BENCH-{number:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hot_scenario_touches_one_sku_and_the_uniform_one_all() {
        let skus = |scenario: Scenario| {
            let all = (0..1_000_u64).map(|n| scenario.next(10, n.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0));
            all.map(|operation| format!("{operation:?}")).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!(skus(Scenario::HotSku), 1);
        assert_eq!(skus(Scenario::Uniform), 10);
    }

    #[test]
    fn the_cold_scenario_looks_at_every_sku_once_and_ends() {
        assert_eq!(Scenario::Cold.next(10, 99, 7), Operation::Look { sku: 7 });
        assert_eq!(Scenario::Cold.operations_max(10), Some(10));
        assert_eq!(Scenario::Uniform.operations_max(10), None);
    }

    #[test]
    fn mixed_is_mostly_browsing() {
        let browsing =
            (0..1_000).filter(|n| matches!(Scenario::Mixed.next(10, *n, 0), Operation::Browse { .. })).count();
        assert_eq!(browsing, 700);
    }
}
