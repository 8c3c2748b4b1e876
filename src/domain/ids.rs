//! Identifiers: what things are called, inside and outside.
//!
//! Ids handed to shoppers (cart, order, hold) are 128 unguessable bits: whoever knows one may read the thing.
//! They are drawn by callers or derived from a command id, never made here: this module has no randomness.
//! Ids chosen by merchants (SKU, product id) are short visible words, checked on the way in.
//! An [`EntityId`] is a kind and a key; its text form `kind/key` appears in logs, obligations and the CLI.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::registry::Kind;

/// Why a text is not an id. The text says what is allowed, so it can be shown to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidId {
    /// What kind of id was expected, e.g. `"sku"`.
    pub what: &'static str,
    /// What a valid one looks like.
    pub expected: &'static str,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a valid {}: expected {}", self.what, self.expected)
    }
}

impl std::error::Error for InvalidId {}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// 16 bytes; text form is 32 lowercase hex digits.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_hex_128(text).map(Self).ok_or(InvalidId { what: $what, expected: "32 lowercase hex digits" })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id128!(
    /// A shopper's cart.
    CartId,
    "cart id"
);
id128!(
    /// An order.
    OrderId,
    "order id"
);
id128!(
    /// Units set aside in one stock item, by a shopper or by an order.
    HoldId,
    "hold id"
);
id128!(
    /// The dedup key of one command (P1). Same id, same command.
    CommandId,
    "command id"
);
id128!(
    /// One refund of one order.
    RefundId,
    "refund id"
);
id128!(
    /// Names a data key that seals personal data (P22); erasing the key erases the data.
    DataKeyId,
    "data key id"
);

id128!(
    /// One cluster, for its whole life.
    ClusterId,
    "cluster id"
);
id128!(
    /// The public part of an API key.
    ApiKeyId,
    "API key id"
);

/// A node of the cluster, numbered from 1 by whoever admits it; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn parse_hex_128(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

macro_rules! word_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// 1–64 characters of `A–Z a–z 0–9 . _ -`, compared byte for byte.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text as given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_word(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { what: $what, expected: "1 to 64 characters of A-Z a-z 0-9 . _ -" })
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

word_id!(
    /// A stock keeping unit: the thing counted and sold.
    Sku,
    "sku"
);
word_id!(
    /// A product of the catalogue; owns one or more SKUs as variants.
    ProductId,
    "product id"
);

const WORD_CHARS_MAX: usize = 64;

fn is_word(text: &str) -> bool {
    (1..=WORD_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Which entity: its kind and its key within the kind. Text form `kind/key`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityId {
    /// What it is.
    pub kind: Kind,
    /// Which one: a SKU, a product id, 32 hex digits. Never empty, at most 64 visible characters, no `/`.
    pub key: Arc<str>,
}

impl EntityId {
    /// The stock item of a SKU.
    pub fn stock(sku: &Sku) -> Self {
        Self { kind: Kind::Stock, key: sku.0.clone() }
    }

    /// A product.
    pub fn product(id: &ProductId) -> Self {
        Self { kind: Kind::Product, key: id.0.clone() }
    }

    /// A cart.
    pub fn cart(id: CartId) -> Self {
        Self { kind: Kind::Cart, key: id.to_string().into() }
    }

    /// An order.
    pub fn order(id: OrderId) -> Self {
        Self { kind: Kind::Order, key: id.to_string().into() }
    }

    /// The one cluster-wide settings entity; lives in the meta group.
    pub fn cluster() -> Self {
        Self { kind: Kind::Cluster, key: "cluster".into() }
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.key)
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EntityId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId { what: "entity id", expected: "kind/key, e.g. stock/TEA-100 or order/0123…" };
        let (kind, key) = text.split_once('/').ok_or(invalid.clone())?;
        let kind = Kind::from_name(kind).ok_or(invalid.clone())?;
        if is_word(key) { Ok(Self { kind, key: key.into() }) } else { Err(invalid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_ids_round_trip_and_refuse_other_text() {
        let id: CartId = "00ff10203040506070809010a0b0c0d0".parse().unwrap();
        assert_eq!(id.to_string(), "00ff10203040506070809010a0b0c0d0");
        assert!("00FF10203040506070809010a0b0c0d0".parse::<CartId>().is_err());
        assert!("00ff".parse::<CartId>().is_err());
    }

    #[test]
    fn words_refuse_separators_and_emptiness() {
        assert!("TEA-100.b_2".parse::<Sku>().is_ok());
        for bad in ["", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<Sku>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn entity_ids_round_trip_as_text() {
        let id = EntityId::stock(&"TEA-100".parse().unwrap());
        assert_eq!(id.to_string(), "stock/TEA-100");
        assert_eq!(id.to_string().parse::<EntityId>().unwrap(), id);
    }
}
