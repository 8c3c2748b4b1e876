//! Quantity: how many units of one SKU, at least one.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// A count of units somebody asks for: 1 to [`Quantity::MAX`]. "None" is expressed by absence, never by zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quantity(NonZeroU32);

impl Quantity {
    /// The most units one command may name: a million.
    pub const MAX: u32 = 1_000_000;

    /// `None` when `units` is zero or above [`Quantity::MAX`].
    pub fn new(units: u32) -> Option<Self> {
        NonZeroU32::new(units).filter(|units| units.get() <= Self::MAX).map(Self)
    }

    /// Units, at least 1.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// Sum; `None` above [`Quantity::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.get().checked_add(other.get()).and_then(Self::new)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u32> for Quantity {
    type Error = &'static str;

    fn try_from(units: u32) -> Result<Self, Self::Error> {
        Self::new(units).ok_or("a quantity is a whole number from 1 to 1000000")
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> Self {
        quantity.get()
    }
}
