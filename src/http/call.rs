//! What a handler is told about the call it answers, and how it reads path, query and body.
//!
//! Every extractor fails with a [`Problem`] that names the input and what is allowed. A body is collected once, as
//! bytes, up to its limit; it is parsed from those bytes, and fingerprinted from them only when the client sent a key.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::auth::Caller;
use super::error::{Code, Problem};
use super::idempotency::{self, KeyUse};
use super::route::{KeyRule, Site};
use super::state::AppState;
use super::wire::objects::Object;
use crate::actors::messages::Origin;
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{CommandId, EntityId};

/// Put into the request by the door.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Which route.
    pub site: Arc<Site>,
    /// Who calls.
    pub caller: Caller,
}

/// One call, as a handler sees it.
#[derive(Debug)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    site: Arc<Site>,
    method: Method,
    uri: Uri,
    key: Option<Box<str>>,
}

/// A command's dedup key, and who gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Id and fingerprint.
    pub stamp: Stamp,
    /// The client's key, or drawn here.
    pub origin: Origin,
}

impl Call {
    /// The identity of the command this call sends to `entity` (`None`: the call creates it) with this body (P1, P2).
    ///
    /// Rejects when the client has used too many keys.
    pub fn identity(&self, state: &AppState, entity: Option<&EntityId>, body: &[u8]) -> Result<Identity, Problem> {
        let Some(key) = &self.key else {
            let stamp = Stamp { command: CommandId(state.rng().next_id()), fingerprint: Fingerprint::default() };
            return Ok(Identity { stamp, origin: Origin::Router });
        };
        state.admission().count_key(self.caller.client, state.now_monotonic())?;
        let of = KeyUse { principal: self.caller.principal(), route: &self.site.name, entity, key };
        #[cfg(feature = "canaries")]
        let body = if crate::canary::is(crate::canary::Canary::BodyIgnored) { &[] } else { body };
        let fingerprint = idempotency::fingerprint(self.method.as_str(), self.uri.path(), body)?;
        let stamp = Stamp { command: state.command_ids().derive(&of), fingerprint };
        Ok(Identity { stamp, origin: Origin::ClientKey })
    }

    /// The client's key, if it sent one.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl FromRequestParts<AppState> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Problem> {
        let passage = parts.extensions.remove::<Passage>().expect("every route stands behind its door");
        let key = match passage.site.key {
            KeyRule::Ignored => None,
            KeyRule::Optional | KeyRule::Required => idempotency::key_of(&parts.headers)?,
        };
        if key.is_none() && passage.site.key == KeyRule::Required {
            return Err(Problem::new(
                Code::IdempotencyKeyRequired,
                "send an Idempotency-Key, so that a retry cannot happen twice",
            ));
        }
        Ok(Self {
            caller: passage.caller,
            site: passage.site,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            key: key.map(Into::into),
        })
    }
}

/// Path parameters: one, or a tuple in path order.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(params)| Self(params))
            .map_err(|rejection| Problem::invalid("path", rejection.body_text()))
    }
}

/// Query parameters; unknown and repeated ones are refused by `T`.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| Problem::invalid("query", rejection.body_text()))
    }
}

/// A JSON body and the bytes it was read from.
#[derive(Debug)]
pub struct Json<T> {
    /// What it says.
    pub value: T,
    /// As received.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let bytes = collect(request, state).await?;
        let value = parse(&bytes)?;
        Ok(Self { value, bytes })
    }
}

/// A body that must be absent or `{}`: for calls whose name says everything.
#[derive(Debug)]
pub struct NoBody;

impl FromRequest<AppState> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let bytes = collect(request, state).await?;
        let text = bytes.trim_ascii();
        if text.is_empty() || text == b"{}" {
            return Ok(Self);
        }
        Err(Problem::invalid("", "this call takes no body"))
    }
}

/// A JSON body that may be absent; absent means `T::default()`.
#[derive(Debug)]
pub struct OptionalJson<T> {
    /// What it says.
    pub value: T,
    /// As received; may be empty.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned + Default> FromRequest<AppState> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let typed = require_json(request.headers());
        let bytes = collect(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self { value: T::default(), bytes });
        }
        typed?;
        Ok(Self { value: parse(&bytes)?, bytes })
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let essence = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = essence.map(|value| value.split(';').next().unwrap_or_default().trim());
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType, "send Content-Type: application/json"))
}

/// The whole body as one buffer. Rejects one that is too large or too slow.
pub async fn collect(request: Request, state: &AppState) -> Result<Bytes, Problem> {
    let limit = state.options().limits.body_bytes_max;
    let collected = axum::body::to_bytes(request.into_body(), limit);
    match tokio::time::timeout(state.options().timeouts.body, collected).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => {
            let problem = Problem::new(Code::TooLarge, format!("a body may have at most {limit} bytes"));
            Err(problem.with_fact("what", "bytes of body").with_fact("limit", limit))
        }
        Ok(Err(_broken)) => Err(Problem::invalid("", "the body could not be read to its end")),
        Err(_elapsed) => Err(Problem::invalid("", "the body did not arrive in time")),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// Reads a JSON object; what is wrong is named by its path, e.g. `lines[2].quantity`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice::<Object<T>>(bytes).map(|object| object.0).map_err(|_| explain::<T>(bytes))
}

/// The slow way again, keeping track of where it goes wrong.
fn explain<T: DeserializeOwned>(bytes: &[u8]) -> Problem {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, Object<T>>(&mut deserializer) {
        Ok(_) => Problem::invalid("", "the body goes on behind the end of its JSON"),
        Err(error) => {
            let path = error.path().to_string();
            let is_whole = matches!(path.as_str(), "." | "?");
            Problem::invalid(if is_whole { String::new() } else { path }, error.inner())
        }
    }
}

/// The version in `If-Match: "7"`. `*` and absence ask for nothing.
pub fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map(u64::from_str);
    match version {
        Some(Ok(version)) => Ok(Some(version)),
        _ => Err(Problem::invalid("If-Match", "one version in double quotes, e.g. \"7\"")),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[allow(dead_code, reason = "read by serde only")]
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[allow(dead_code, reason = "read by serde only")]
        quantity: crate::domain::quantity::Quantity,
    }

    fn field_of(body: &str) -> (String, String) {
        let document = parse::<Sample>(body.as_bytes()).unwrap_err().document("r");
        let member = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        (member("field"), member("detail"))
    }

    #[test]
    fn a_bad_member_is_named_by_its_path() {
        let (field, detail) = field_of(r#"{"lines":[{"quantity":1},{"quantity":0}]}"#);
        assert_eq!(field, "lines[1].quantity");
        assert!(detail.contains("1 to 1000000"), "{detail}");
        assert_eq!(field_of(r#"{"lines":[{"quantity":1,"colour":2}]}"#).0, "lines[0].colour");
        assert_eq!(field_of("{").0, "");
        assert!(field_of(r#"{"lines":[]} x"#).1.contains("behind the end"));
    }

    #[test]
    fn if_match_takes_one_quoted_version() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, text.parse().unwrap());
            if_match(&headers).map_err(|problem| problem.code())
        };
        assert_eq!(read("\"7\""), Ok(Some(7)));
        assert_eq!(read("*"), Ok(None));
        for bad in ["7", "W/\"7\"", "\"7\", \"8\"", "\"seven\""] {
            assert_eq!(read(bad), Err(Code::InvalidRequest), "{bad}");
        }
        assert_eq!(if_match(&HeaderMap::new()), Ok(None));
    }
}
