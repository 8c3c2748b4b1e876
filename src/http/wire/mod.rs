//! JSON shapes of the contract, and how answers are built from them.
//!
//! Domain types never leave as they are: what is on the wire is written down here, so that a change to the domain
//! cannot change the contract unseen. Times are RFC 3339 UTC, money is whole minor units, ids are text.

pub mod buyer;
pub mod cart;
pub mod numbers;
pub mod objects;
pub mod order;
pub mod product;
pub mod schemas;
pub mod stock;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::error::Problem;
use super::idempotency::IDEMPOTENCY_REPLAYED;
use crate::actors::messages::Answer;
use crate::domain::time::Timestamp;
use crate::projections::query::PageLimit;

/// A moment, RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = i64::try_from(self.0.0).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.3}")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads RFC 3339; `None` when it is something else or before 1970.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(Timestamp)
}

/// How many items of a list are wanted: 1 to 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(pub u16);

impl<'de> Deserialize<'de> for PageSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = u16::deserialize(deserializer)?;
        let limit = PageLimit::new(text).ok_or_else(|| serde::de::Error::custom("limit is 1 to 200"))?;
        Ok(Self(u16::try_from(limit.get()).unwrap_or(PageLimit::MAX)))
    }
}

impl From<PageSize> for PageLimit {
    fn from(size: PageSize) -> Self {
        Self::new(size.0).unwrap_or_default()
    }
}

/// One page of a list.
#[derive(Debug, Serialize)]
pub struct Listing<T> {
    /// This page.
    pub items: Vec<T>,
    /// Give it back as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

impl<T> Listing<T> {
    /// A list with one page.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// A JSON answer nobody may keep.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let mut response = Response::new(Body::from(bytes(value)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same answer, marked when it is an earlier one again.
#[must_use]
pub fn marked(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// A JSON answer caches may keep for `cache`, checked by its tag; 304 when `if_none_match` already has it.
pub fn cached_json<T: Serialize>(value: &T, if_none_match: Option<&HeaderValue>, cache: &'static str) -> Response {
    let bytes = bytes(value);
    let digest = Sha256::digest(&bytes);
    let tag = HeaderValue::from_str(&format!("\"{}\"", hex::encode(&digest[..12]))).expect("hex digits are visible");
    let known = has_tag(if_none_match, &tag);
    let mut response = Response::new(if known { Body::empty() } else { Body::from(bytes) });
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

/// A JSON answer that caches must check by its version before using it; 304 when `if_none_match` has that version.
pub fn tagged_json<T: Serialize>(value: &T, version: u64, if_none_match: Option<&HeaderValue>) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{version}\"")).expect("digits are visible");
    let is_known = has_tag(if_none_match, &tag);
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(bytes(value)) });
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

fn has_tag(if_none_match: Option<&HeaderValue>, tag: &HeaderValue) -> bool {
    if_none_match.and_then(|tags| tags.to_str().ok()).is_some_and(|tags| {
        let mut tags = tags.split(',').map(|known| known.trim().trim_start_matches("W/"));
        tags.any(|known| known == "*" || known.as_bytes() == tag.as_bytes())
    })
}

/// 204.
pub fn nothing() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A path as a `Location`.
pub fn location(path: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::from_str(&path.to_string()).expect("ids are visible characters")
}

/// The JSON text of an answer.
pub fn text<T: Serialize>(value: &T) -> String {
    String::from_utf8(bytes(value)).expect("JSON is UTF-8")
}

/// An entity answered a command with another command's reply: our bug. Whatever it did, it has done.
pub fn unexpected(answer: &Answer) -> Problem {
    tracing::error!(reply = ?answer.reply.kind(), "an entity answered with the reply of another command");
    Problem::panicked()
}

/// Most answers fit without growing the buffer.
const ANSWER_BYTES_USUAL: usize = 256;

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES_USUAL);
    serde_json::to_writer(&mut bytes, value).expect("wire types have text keys and no failing serializers");
    bytes
}

/// Longest free text a merchant or shopper may give with a command, in characters: fits the entities' 500 bytes in any
/// script.
pub const TEXT_CHARS_MAX: usize = 125;

/// Rejects free text that is shorter than `chars_min` or too long, naming the input.
pub fn check_text(field: &str, text: &str, chars_min: usize) -> Result<(), Problem> {
    if (chars_min..=TEXT_CHARS_MAX).contains(&text.chars().count()) {
        return Ok(());
    }
    Err(Problem::invalid(field, format!("{chars_min} to {TEXT_CHARS_MAX} characters")))
}

/// Rejects what is not RFC 3339, naming the input.
pub fn time_input(field: &str, text: &str) -> Result<Timestamp, Problem> {
    parse_time(text).ok_or_else(|| Problem::invalid(field, "an RFC 3339 time, e.g. 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc_with_milliseconds() {
        let text = |ms| serde_json::to_string(&Time(Timestamp(ms))).unwrap();
        assert_eq!(text(0), "\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(text(1_795_365_406_123), "\"2026-11-22T16:36:46.123Z\"");
        assert_eq!(text(u64::MAX), "\"9999-12-30T22:00:00.999Z\"");
        assert_eq!(parse_time("2026-11-22T17:36:46.123+01:00"), Some(Timestamp(1_795_365_406_123)));
        assert_eq!(parse_time("1969-12-31T23:59:59Z"), None);
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn an_answer_already_known_is_not_sent_again() {
        let first = cached_json(&[1, 2], None, "no-cache");
        let tag = first.headers()[header::ETAG].clone();
        assert_eq!(cached_json(&[1, 2], Some(&tag), "no-cache").status(), StatusCode::NOT_MODIFIED);
        assert_eq!(cached_json(&[1, 3], Some(&tag), "no-cache").status(), StatusCode::OK);
        let several = HeaderValue::from_str(&format!("\"x\", W/{}", tag.to_str().unwrap())).unwrap();
        assert_eq!(cached_json(&[1, 2], Some(&several), "no-cache").status(), StatusCode::NOT_MODIFIED);
    }
}
