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
    /// Look around; the number chooses at what.
    Browse {
        /// Any.
        choice: u64,
    },
}

impl Scenario {
    /// How many bench SKUs it sells from.
    pub(super) fn skus(self, many: u32) -> u32 {
        match self {
            Self::HotSku => 1,
            Self::Uniform | Self::Checkout | Self::Mixed => many,
            Self::Browse => 0,
        }
    }

    /// The next operation, chosen by 64 random bits.
    pub(super) fn next(self, many: u32, random: u64) -> Operation {
        let sku = u32::try_from(random >> 32).unwrap_or(0) % self.skus(many).max(1);
        match self {
            Self::HotSku | Self::Uniform => Operation::Hold { sku },
            Self::Checkout => Operation::Checkout { sku },
            Self::Browse => Operation::Browse { choice: random },
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
            let all = (0..1_000_u64).map(|n| scenario.next(10, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            all.map(|operation| format!("{operation:?}")).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!(skus(Scenario::HotSku), 1);
        assert_eq!(skus(Scenario::Uniform), 10);
    }

    #[test]
    fn mixed_is_mostly_browsing() {
        let browsing = (0..1_000).filter(|n| matches!(Scenario::Mixed.next(10, *n), Operation::Browse { .. })).count();
        assert_eq!(browsing, 700);
    }
}
