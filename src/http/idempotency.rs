//! From an `Idempotency-Key` to a command id (P1) and from a request to its fingerprint (P2).
//!
//! A command id is an HMAC under the cluster's secret, so nobody outside can aim at somebody else's id, and every node
//! derives the same one. Its input is unambiguous: each part is preceded by its length. A created thing takes its id
//! from the command id (P4), so a repeated creation reaches the same entity on any node.
//!
//! A request without a key gets a random id and no fingerprint: nobody can repeat it.

use axum::http::{HeaderMap, HeaderName};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::{Code, Problem};
use crate::domain::entity::Fingerprint;
use crate::domain::ids::{CommandId, EntityId};

/// The request header carrying a client's key.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The answer header saying that this is the first answer again.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Shortest key: 16 characters leave room for 96 random bits.
pub const KEY_CHARS_MIN: usize = 16;
/// Longest key.
pub const KEY_CHARS_MAX: usize = 255;

/// The client's `Idempotency-Key`, if it sent one.
///
/// Rejects when there are several, or it is not 16 to 255 visible ASCII characters.
pub fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let invalid = || Problem::new(Code::IdempotencyKeyInvalid, Code::IdempotencyKeyInvalid.title());
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| invalid())?;
    let fits = (KEY_CHARS_MIN..=KEY_CHARS_MAX).contains(&text.len());
    if values.next().is_some() || !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid());
    }
    Ok(Some(text))
}

/// Derives command ids from client keys.
#[derive(Clone)]
pub struct CommandIds {
    /// Keyed once; cloned per id.
    keyed: Hmac<Sha256>,
}

/// What one client key means: who sent it, on which route, about which entity.
#[derive(Clone, Copy, Debug)]
pub struct KeyUse<'a> {
    /// API key id, or "anonymous".
    pub principal: &'a str,
    /// Method and path template, e.g. `POST /v1/stock/{sku}/holds`.
    pub route: &'a str,
    /// Whom the command is for; `None` when the call creates it.
    pub entity: Option<&'a EntityId>,
    /// The client's key.
    pub key: &'a str,
}

impl CommandIds {
    /// `secret` is the cluster's; every node has the same.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { keyed: Hmac::new_from_slice(secret).expect("HMAC takes keys of any length") }
    }

    /// The id of the command a client names by its key (P1).
    pub fn derive(&self, of: &KeyUse<'_>) -> CommandId {
        let mut mac = self.keyed.clone();
        let (kind, entity) = of.entity.map_or(("", ""), |entity| (entity.kind.name(), &*entity.key));
        for part in [of.principal, of.route, kind, entity, of.key] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        CommandId(digest[..16].try_into().expect("a digest has 32 bytes"))
    }
}

/// SHA-256 over method, path and canonical body (P2). An empty body is an empty part.
///
/// Rejects a body that is not JSON.
pub fn fingerprint(method: &str, path: &str, body: &[u8]) -> Result<Fingerprint, Problem> {
    let canonical = if body.is_empty() { Vec::new() } else { canonical_json(body)? };
    let mut digest = Sha256::new();
    for part in [method.as_bytes(), path.as_bytes(), &canonical] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    Ok(Fingerprint(digest.finalize().into()))
}

/// The same JSON without insignificant space and with every object's members sorted by name, byte for byte.
fn canonical_json(body: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut value: Value = serde_json::from_slice(body).map_err(|error| Problem::invalid("", error))?;
    value.sort_all_objects();
    Ok(value.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn ids() -> CommandIds {
        CommandIds::new(&[7; 32])
    }

    fn key_use<'a>(entity: Option<&'a EntityId>) -> KeyUse<'a> {
        KeyUse { principal: "anonymous", route: "POST /v1/stock/{sku}/holds", entity, key: "0123456789abcdef" }
    }

    #[test]
    fn a_command_id_is_the_same_on_every_node_and_forever() {
        let entity = EntityId::stock(&"TEA-100".parse().unwrap());
        assert_eq!(ids().derive(&key_use(Some(&entity))).to_string(), "b94fdd83fd08b395648aa78959ff6425");
    }

    #[test]
    fn moving_a_character_from_one_part_to_the_next_makes_another_id() {
        let base = KeyUse { principal: "ab", route: "c", entity: None, key: "0123456789abcdef" };
        let moved = KeyUse { principal: "a", route: "bc", ..base };
        assert_ne!(ids().derive(&base), ids().derive(&moved));
    }

    #[test]
    fn every_part_and_the_secret_count() {
        let (tea, cup) = ("TEA".parse().unwrap(), "CUP".parse().unwrap());
        let (tea, cup) = (EntityId::stock(&tea), EntityId::stock(&cup));
        let base = key_use(Some(&tea));
        let others = [
            KeyUse { principal: "k1", ..base },
            KeyUse { route: "DELETE /v1/stock/{sku}/holds/{id}", ..base },
            KeyUse { entity: Some(&cup), ..base },
            KeyUse { entity: None, ..base },
            KeyUse { key: "0123456789abcdeg", ..base },
        ];
        for other in others {
            assert_ne!(ids().derive(&base), ids().derive(&other), "{other:?}");
        }
        assert_ne!(ids().derive(&base), CommandIds::new(&[8; 32]).derive(&base));
    }

    #[test]
    fn fingerprints_ignore_space_and_member_order_only() {
        let print = |body: &str| fingerprint("POST", "/v1/carts", body.as_bytes()).unwrap();
        let base = print(r#"{"a":1,"b":{"c":[1,2],"d":null}}"#);
        assert_eq!(base, print(r#" { "b" : {"d":null, "c":[1, 2]}, "a" : 1 } "#));
        assert_ne!(base, print(r#"{"a":1,"b":{"c":[2,1],"d":null}}"#));
        assert_ne!(base, print(r#"{"a":2,"b":{"c":[1,2],"d":null}}"#));
        assert_ne!(base, fingerprint("PUT", "/v1/carts", br#"{"a":1,"b":{"c":[1,2],"d":null}}"#).unwrap());
        assert_ne!(base, fingerprint("POST", "/v1/cart", br#"{"a":1,"b":{"c":[1,2],"d":null}}"#).unwrap());
    }

    #[test]
    fn keys_are_16_to_255_visible_ascii_characters() {
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            key_of(&headers).map(|key| key.map(str::to_owned)).map_err(|problem| problem.code())
        };
        assert_eq!(with("0123456789abcdef"), Ok(Some("0123456789abcdef".to_owned())));
        assert!(with(&"x".repeat(255)).is_ok());
        for bad in ["", "0123456789abcde", &"x".repeat(256), "0123456789 abcdef", "0123456789abcdé"] {
            assert_eq!(with(bad), Err(Code::IdempotencyKeyInvalid), "{bad:?}");
        }
        assert_eq!(key_of(&HeaderMap::new()), Ok(None));
        let mut twice = HeaderMap::new();
        twice.append(IDEMPOTENCY_KEY, HeaderValue::from_static("0123456789abcdef"));
        twice.append(IDEMPOTENCY_KEY, HeaderValue::from_static("0123456789abcdef"));
        assert_eq!(key_of(&twice).unwrap_err().code(), Code::IdempotencyKeyInvalid);
    }
}
