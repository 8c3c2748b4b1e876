//! Whole numbers in JSON. JSON knows one kind of number, and a schema that says `integer` allows `3.0`: some clients
//! write whole numbers like that. Serde would refuse them; these readers take them and nothing else with a fraction.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, Unexpected, Visitor};

/// Beyond this a number with a fraction no longer names one whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A whole number, however it is written.
pub fn whole<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Whole(PhantomData))
}

/// A whole number, or null.
pub fn whole_or_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_option(OrNull(PhantomData))
}

/// A whole number as a value in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeNumber<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for WholeNumber<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        whole(deserializer).map(Self)
    }
}

struct Whole<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::deserialize(number.into_deserializer())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let read: Result<T, E> = T::deserialize(number.into_deserializer());
        // Serde would name the Rust type that it does not fit.
        read.map_err(|error| match number {
            ..0 => E::invalid_value(Unexpected::Signed(number), &"a whole number from 0 on"),
            _ => error,
        })
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        if number.fract() != 0.0 || number.abs() > EXACT_MAX {
            return Err(E::invalid_type(Unexpected::Float(number), &self));
        }
        if number < 0.0 { self.visit_i64(number as i64) } else { self.visit_u64(number as u64) }
    }
}

struct OrNull<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OrNull<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number or null")
    }

    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        whole(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::quantity::Quantity;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Sample {
        #[serde(deserialize_with = "whole")]
        quantity: Quantity,
        #[serde(default, deserialize_with = "whole_or_null")]
        amount: Option<u64>,
        #[serde(default, deserialize_with = "whole")]
        delta: i64,
    }

    fn read(text: &str) -> Option<(u32, Option<u64>, i64)> {
        let sample: Sample = serde_json::from_str(text).ok()?;
        Some((sample.quantity.get(), sample.amount, sample.delta))
    }

    #[test]
    fn whole_numbers_may_be_written_with_an_empty_fraction() {
        assert_eq!(read(r#"{"quantity":3}"#), Some((3, None, 0)));
        assert_eq!(read(r#"{"quantity":3.0,"amount":1e2,"delta":-4.0}"#), Some((3, Some(100), -4)));
        assert_eq!(read(r#"{"quantity":3,"amount":null}"#), Some((3, None, 0)));
    }

    #[test]
    fn fractions_text_and_numbers_out_of_bounds_are_refused() {
        for bad in ["3.5", "0.0", "1e300", "-1.0", "1000001", "\"3\"", "null", "true", "[3]"] {
            assert_eq!(read(&format!(r#"{{"quantity":{bad}}}"#)), None, "{bad}");
        }
        for bad in ["1.5", "-1", "-1.0", "\"1\"", "1e17"] {
            assert_eq!(read(&format!(r#"{{"quantity":1,"amount":{bad}}}"#)), None, "{bad}");
        }
    }

    #[test]
    fn a_number_below_zero_is_refused_in_words_people_use() {
        let said = serde_json::from_str::<Sample>(r#"{"quantity":-1}"#).unwrap_err().to_string();
        assert!(said.contains("`-1`, expected a whole number from 0 on"), "{said}");
    }
}
