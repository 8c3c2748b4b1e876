//! Money: integer minor units of one currency, with checked arithmetic. No floats, no rounding, no conversion.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::InvalidId;
use super::quantity::Quantity;

/// An ISO 4217 alphabetic code: three uppercase letters. Which codes are sold in is the shop's
/// choice, not checked here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// US dollar.
    pub const USD: Self = Self(*b"USD");
    /// Euro.
    pub const EUR: Self = Self(*b"EUR");

    /// The code, e.g. `"USD"`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency is three ASCII letters by construction")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|letter| letter.is_ascii_uppercase()) => Ok(Self([*a, *b, *c])),
            _ => Err(InvalidId { what: "currency", expected: "three uppercase letters of ISO 4217, e.g. USD" }),
        }
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.as_str())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
        } else {
            String::from_utf8_lossy(&<[u8; 3]>::deserialize(deserializer)?).into_owned()
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount in minor units (cents) of one currency. May be zero, never negative: direction is in the operation's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Minor units.
    pub amount: u64,
    /// Of which currency.
    pub currency: Currency,
}

/// Largest amount the shop handles: 2^53 − 1, exact in every JSON reader.
pub const MINOR_UNITS_MAX: u64 = (1 << 53) - 1;

impl Money {
    /// Nothing.
    pub fn zero(currency: Currency) -> Self {
        Self { amount: 0, currency }
    }

    /// Sum; `None` when currencies differ or the result exceeds [`MINOR_UNITS_MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let amount = self.amount.checked_add(other.amount).filter(|sum| *sum <= MINOR_UNITS_MAX)?;
        (self.currency == other.currency).then_some(Self { amount, ..self })
    }

    /// Difference; `None` when currencies differ or it would be negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        let amount = self.amount.checked_sub(other.amount)?;
        (self.currency == other.currency).then_some(Self { amount, ..self })
    }

    /// Price of `quantity` units; `None` when the result exceeds [`MINOR_UNITS_MAX`].
    pub fn checked_mul(self, quantity: Quantity) -> Option<Self> {
        let amount =
            self.amount.checked_mul(u64::from(quantity.get())).filter(|product| *product <= MINOR_UNITS_MAX)?;
        Some(Self { amount, ..self })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currencies_do_not_mix() {
        let one_dollar = Money { amount: 100, currency: Currency::USD };
        let one_euro = Money { amount: 100, currency: Currency::EUR };
        assert_eq!(one_dollar.checked_add(one_euro), None);
        assert_eq!(one_dollar.checked_sub(one_euro), None);
    }

    #[test]
    fn overflow_is_refused_not_wrapped() {
        let most = Money { amount: MINOR_UNITS_MAX, currency: Currency::USD };
        assert_eq!(most.checked_add(Money { amount: 1, currency: Currency::USD }), None);
        assert_eq!(most.checked_mul(Quantity::new(2).unwrap()), None);
    }
}
