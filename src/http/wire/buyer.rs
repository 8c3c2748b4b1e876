//! Who buys: personal data, on its way in and out. Never logged, never in a record in the clear (P22).

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::objects::object_or_null;
use crate::http::error::Problem;

/// Who buys and where it goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Buyer {
    /// Where the confirmation goes.
    #[schema(min_length = 3, max_length = 254, pattern = "^[^@\\s]+@[^@\\s]+$", example = "ada@example.org")]
    pub email: String,
    /// What they are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// With country code, e.g. `+44 20 7946 0000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub phone: Option<String>,
    /// Where the goods go.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object_or_null")]
    pub shipping_address: Option<Address>,
    /// Where the bill goes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object_or_null")]
    pub billing_address: Option<Address>,
}

/// A postal address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Whose name is on the door, if not the buyer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// Street and number.
    #[schema(min_length = 1, max_length = 200)]
    pub line1: String,
    /// Flat, floor, company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub line2: Option<String>,
    /// Town.
    #[schema(min_length = 1, max_length = 200)]
    pub city: String,
    /// State, province or county.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub region: Option<String>,
    /// As the country's post writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[schema(pattern = "^[A-Z]{2}$", example = "GB")]
    pub country: String,
}

/// Longest member except the e-mail address, in characters.
const TEXT_CHARS_MAX: usize = 200;
/// RFC 5321.
const EMAIL_CHARS_MAX: usize = 254;

impl Buyer {
    /// Rejects members that are empty, too long, or not of their kind.
    pub fn check(&self) -> Result<(), Problem> {
        check_email(&self.email)?;
        check_text("name", self.name.as_deref())?;
        check_text("phone", self.phone.as_deref())?;
        let addresses = [("shipping_address", &self.shipping_address), ("billing_address", &self.billing_address)];
        for (field, address) in addresses {
            if let Some(address) = address {
                address.check(field)?;
            }
        }
        Ok(())
    }
}

impl Address {
    fn check(&self, field: &str) -> Result<(), Problem> {
        let members = [
            ("name", self.name.as_deref()),
            ("line1", Some(&*self.line1)),
            ("line2", self.line2.as_deref()),
            ("city", Some(&*self.city)),
            ("region", self.region.as_deref()),
            ("postal_code", self.postal_code.as_deref()),
        ];
        for (member, text) in members {
            check_text(&format!("{field}.{member}"), text)?;
        }
        let is_code = self.country.len() == 2 && self.country.bytes().all(|letter| letter.is_ascii_uppercase());
        if is_code { Ok(()) } else { Err(Problem::invalid(format!("{field}.country"), "two uppercase letters")) }
    }
}

fn check_text(field: &str, text: Option<&str>) -> Result<(), Problem> {
    let Some(text) = text else { return Ok(()) };
    let fits = (1..=TEXT_CHARS_MAX).contains(&text.chars().count());
    if fits { Ok(()) } else { Err(Problem::invalid(field, format!("1 to {TEXT_CHARS_MAX} characters"))) }
}

/// Something before and behind one `@`, no white space. Whether mail arrives there only mail can tell.
fn check_email(email: &str) -> Result<(), Problem> {
    let parts = email.split_once('@');
    let plausible = parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    let fits = email.chars().count() <= EMAIL_CHARS_MAX && !email.chars().any(char::is_whitespace);
    if plausible && fits { Ok(()) } else { Err(Problem::invalid("email", "an e-mail address")) }
}

impl fmt::Debug for Buyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Buyer(…)")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_refused(json: &str) -> Option<String> {
        let buyer: Buyer = serde_json::from_str(json).unwrap();
        let problem = buyer.check().err()?;
        Some(problem.document("r")["field"].as_str().unwrap().to_owned())
    }

    #[test]
    fn buyers_are_checked_member_by_member() {
        assert_eq!(field_refused(r#"{"email":"a@b"}"#), None);
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c"] {
            assert_eq!(field_refused(&format!(r#"{{"email":"{bad}"}}"#)).as_deref(), Some("email"), "{bad}");
        }
        assert_eq!(field_refused(r#"{"email":"a@b","name":""}"#).as_deref(), Some("name"));
        let address = r#"{"email":"a@b","shipping_address":{"line1":"1 High St","city":"X","country":"gb"}}"#;
        assert_eq!(field_refused(address).as_deref(), Some("shipping_address.country"));
    }

    #[test]
    fn debug_output_shows_nobody() {
        let buyer: Buyer = serde_json::from_str(r#"{"email":"ada@example.org"}"#).unwrap();
        assert_eq!(format!("{buyer:?}"), "Buyer(…)");
    }
}
