//! Every way an HTTP call can fail, as RFC 9457 problems.
//!
//! The list of codes is closed and part of the contract. A problem says three things a caller can act on: the `code`,
//! whether the same request may be sent again (`retryable`), and whether it may have happened (`outcome`): `rejected`
//! means it certainly did not, `unknown` that nobody can say yet. We never say no when the journal might say yes.
//!
//! Handlers return [`Problem`]; the door renders it, because only the door knows the request's id. Facts (`sku`,
//! `available`, …) are extra members beside the standard ones.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::actors::messages::AskError;
use crate::domain::rejection::Rejection;
use crate::projections::query::QueryError;

macro_rules! codes {
    ($($name:ident = $status:ident, $text:literal, $title:literal, $retryable:literal;)*) => {
        /// The closed list of problem codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $title] $name),* }

        impl Code {
            /// Every code, in the order of the contract.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The word in the `code` member.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The status it is answered with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            /// One sentence for people.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }

            /// Whether sending the same request again may succeed without the caller changing anything.
            pub fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable),* }
            }
        }
    };
}

codes! {
    InvalidRequest = BAD_REQUEST, "invalid_request", "The request is not valid.", false;
    IdempotencyKeyRequired = BAD_REQUEST, "idempotency_key_required", "This call needs an Idempotency-Key.", false;
    IdempotencyKeyInvalid = BAD_REQUEST, "idempotency_key_invalid",
        "An Idempotency-Key is 16 to 255 visible ASCII characters.", false;
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "A valid API key is needed.", false;
    Forbidden = FORBIDDEN, "forbidden", "This API key may not do that.", false;
    NotFound = NOT_FOUND, "not_found", "There is nothing here.", false;
    InsufficientStock = CONFLICT, "insufficient_stock", "Fewer units are left than asked for.", false;
    HoldExpired = CONFLICT, "hold_expired", "The hold has expired.", false;
    CartVersion = CONFLICT, "cart_version", "The cart has changed since it was read.", false;
    CartMerging = CONFLICT, "cart_merging", "The cart is being merged.", true;
    CartEmpty = CONFLICT, "cart_empty", "The cart is empty.", false;
    PriceChanged = CONFLICT, "price_changed", "Prices changed; look at the cart again.", false;
    SkuTaken = CONFLICT, "sku_taken", "Another product has this SKU.", false;
    OrderState = CONFLICT, "order_state", "The order is in a state that does not allow this.", false;
    Unavailable = CONFLICT, "unavailable", "This is not for sale.", false;
    CartGone = GONE, "cart_gone", "The cart is gone.", false;
    TooLarge = PAYLOAD_TOO_LARGE, "too_large", "The request is larger than allowed.", false;
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body is of the wrong type.", false;
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY, "idempotency_key_reused",
        "This Idempotency-Key was used for a different request.", false;
    RateLimited = TOO_MANY_REQUESTS, "rate_limited", "Too many requests from this client.", true;
    QuotaExceeded = TOO_MANY_REQUESTS, "quota_exceeded", "A quota is used up.", true;
    InternalError = INTERNAL_SERVER_ERROR, "internal_error", "Something is wrong on our side.", false;
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "Too much is waiting.", true;
    StorageFull = SERVICE_UNAVAILABLE, "storage_full", "Too little disk is left for writes.", true;
    NoLeader = SERVICE_UNAVAILABLE, "no_leader", "Nobody leads this part of the shop at the moment.", true;
    Quarantined = SERVICE_UNAVAILABLE, "quarantined", "This was taken out of service after repeated faults.", true;
    OutcomeUnknown = GATEWAY_TIMEOUT, "outcome_unknown",
        "Nobody can say yet whether it happened; repeat with the same Idempotency-Key.", true;
}

/// Whether a failed call may nevertheless have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did not happen.
    Rejected,
    /// Nobody can say yet.
    Unknown,
}

impl Outcome {
    /// The word in the `outcome` member.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

/// Told in `Retry-After` when nothing better is known.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// Media type of a rendered problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One failed call.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    inner: Box<Inner>,
}

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    code: Code,
    status: StatusCode,
    detail: Cow<'static, str>,
    outcome: Outcome,
    retryable: bool,
    retry_after: Option<Duration>,
    facts: Map<String, Value>,
}

impl Problem {
    /// A problem that certainly changed nothing.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let outcome = if code == Code::OutcomeUnknown { Outcome::Unknown } else { Outcome::Rejected };
        let status = code.status();
        let must_say_when = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        Self {
            inner: Box::new(Inner {
                code,
                status,
                detail: detail.into(),
                outcome,
                retryable: code.retryable(),
                retry_after: must_say_when.then_some(RETRY_AFTER_DEFAULT),
                facts: Map::new(),
            }),
        }
    }

    /// A malformed input, naming it.
    pub fn invalid(field: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        let field = field.into();
        let detail = if field.is_empty() { reason.to_string() } else { format!("{field}: {reason}") };
        Self::new(Code::InvalidRequest, detail).with_fact("field", field)
    }

    /// The path exists, the method does not.
    pub fn method_not_allowed() -> Self {
        let mut problem = Self::new(Code::InvalidRequest, "this path does not know that method; see Allow");
        problem.inner.status = StatusCode::METHOD_NOT_ALLOWED;
        problem
    }

    /// A panic outside any entity's turn: nobody can say what had happened before it.
    pub fn panicked() -> Self {
        let mut problem = Self::new(Code::InternalError, "the request could not be finished");
        problem.inner.outcome = Outcome::Unknown;
        problem.inner.retryable = true;
        problem
    }

    /// The same problem with one more fact.
    #[must_use]
    pub fn with_fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.inner.facts.insert(name.to_owned(), value.into());
        self
    }

    /// The same problem, saying when to come back.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.inner.retry_after = Some(delay);
        self
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.inner.code
    }

    /// Its status; follows from the code except for 405.
    pub fn status(&self) -> StatusCode {
        self.inner.status
    }

    /// Whether it may have happened.
    pub fn outcome(&self) -> Outcome {
        self.inner.outcome
    }

    /// The document; `request` names this occurrence.
    pub fn document(&self, request: &str) -> Value {
        let inner = &self.inner;
        let mut document = json!({
            "type": format!("/docs#problem-{}", inner.code.as_str()),
            "title": inner.code.title(),
            "status": inner.status.as_u16(),
            "detail": inner.detail,
            "instance": format!("urn:stockroom:request:{request}"),
            "code": inner.code.as_str(),
            "retryable": inner.retryable,
            "outcome": inner.outcome.as_str(),
        });
        if let Value::Object(members) = &mut document {
            members.extend(inner.facts.clone());
        }
        document
    }

    /// The answer the client gets.
    pub fn render(&self, request: &str) -> Response {
        let mut response = Response::new(Body::from(self.document(request).to_string()));
        *response.status_mut() = self.inner.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(delay) = self.inner.retry_after {
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.inner.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"stockroom\""));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// Carries the problem to the door, which renders it.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.inner.status;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let detail = error.to_string();
        match error {
            AskError::Rejected(rejection) => rejection.into(),
            AskError::Overloaded { retry_after } => Self::new(Code::Overloaded, detail).with_retry_after(retry_after),
            AskError::StorageFull => Self::new(Code::StorageFull, detail).with_retry_after(Duration::from_secs(10)),
            AskError::NoLeader { shard } => Self::new(Code::NoLeader, detail).with_fact("shard", shard),
            AskError::Quarantined { entity } => Self::new(Code::Quarantined, detail)
                .with_fact("entity", entity.to_string())
                .with_retry_after(Duration::from_secs(30)),
            AskError::Panicked => Self::new(Code::InternalError, detail),
            AskError::Unknown { .. } => {
                Self::new(Code::OutcomeUnknown, "no answer came in time; repeat with the same Idempotency-Key")
            }
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Invalid { field, reason } => Self::invalid(field, reason),
            QueryError::Cursor(error) => Self::invalid("cursor", error),
            QueryError::Unavailable { reason } => {
                tracing::warn!(reason, "the read side is unavailable");
                Self::new(Code::Overloaded, "lists and search are not ready at the moment; try again")
            }
        }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let detail = rejection.to_string();
        match rejection {
            Rejection::NotFound { entity } => Self::new(Code::NotFound, detail).with_fact("entity", entity.to_string()),
            Rejection::HoldNotFound { sku, hold } => {
                Self::new(Code::NotFound, detail).with_fact("sku", sku.as_str()).with_fact("hold", hold.to_string())
            }
            Rejection::InvalidRequest { field, reason } => Self::invalid(field, reason),
            Rejection::InsufficientStock { sku, requested, available } => Self::new(Code::InsufficientStock, detail)
                .with_fact("sku", sku.as_str())
                .with_fact("requested", requested)
                .with_fact("available", available),
            Rejection::HoldExpired { sku, hold } => {
                Self::new(Code::HoldExpired, detail).with_fact("sku", sku.as_str()).with_fact("hold", hold.to_string())
            }
            Rejection::CartVersion { expected, actual } => {
                Self::new(Code::CartVersion, detail).with_fact("expected", expected).with_fact("version", actual)
            }
            Rejection::CartMerging => Self::new(Code::CartMerging, detail),
            Rejection::CartEmpty => Self::new(Code::CartEmpty, detail),
            Rejection::CartGone => Self::new(Code::CartGone, detail),
            Rejection::PriceChanged { was, is } => {
                Self::new(Code::PriceChanged, detail).with_fact("was", was).with_fact("is", is)
            }
            Rejection::SkuTaken { sku, product } => {
                Self::new(Code::SkuTaken, detail).with_fact("sku", sku.as_str()).with_fact("product", product.as_str())
            }
            Rejection::OrderState { state, attempted } => {
                Self::new(Code::OrderState, detail).with_fact("state", state).with_fact("attempted", attempted)
            }
            Rejection::Unavailable { sku } => Self::new(Code::Unavailable, detail).with_fact("sku", sku.as_str()),
            Rejection::ProductVersion { expected, actual } => {
                Self::invalid("version", detail).with_fact("expected", expected).with_fact("version", actual)
            }
            Rejection::ApiKeyNotFound { key } => Self::new(Code::NotFound, detail).with_fact("key", key.to_string()),
            Rejection::IdempotencyKeyReused => Self::new(Code::IdempotencyKeyReused, detail),
            Rejection::QuotaExceeded { what, limit } => {
                Self::new(Code::QuotaExceeded, detail).with_fact("what", what).with_fact("limit", limit)
            }
            Rejection::TooLarge { what, limit } => {
                Self::new(Code::TooLarge, detail).with_fact("what", what).with_fact("limit", limit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_codes_is_the_contract() {
        let list: Vec<String> =
            Code::ALL.iter().map(|code| format!("{} {}", code.status().as_u16(), code.as_str())).collect();
        assert_eq!(
            list,
            [
                "400 invalid_request",
                "400 idempotency_key_required",
                "400 idempotency_key_invalid",
                "401 unauthenticated",
                "403 forbidden",
                "404 not_found",
                "409 insufficient_stock",
                "409 hold_expired",
                "409 cart_version",
                "409 cart_merging",
                "409 cart_empty",
                "409 price_changed",
                "409 sku_taken",
                "409 order_state",
                "409 unavailable",
                "410 cart_gone",
                "413 too_large",
                "415 unsupported_media_type",
                "422 idempotency_key_reused",
                "429 rate_limited",
                "429 quota_exceeded",
                "500 internal_error",
                "503 overloaded",
                "503 storage_full",
                "503 no_leader",
                "503 quarantined",
                "504 outcome_unknown",
            ]
        );
    }

    #[test]
    fn only_unknown_outcomes_and_panics_outside_a_turn_leave_the_outcome_open() {
        let unknown: Problem = AskError::Unknown { reason: "test" }.into();
        assert_eq!(unknown.outcome(), Outcome::Unknown);
        assert_eq!(Problem::panicked().outcome(), Outcome::Unknown);
        let decided: Problem = AskError::Panicked.into();
        assert_eq!((decided.code(), decided.outcome()), (Code::InternalError, Outcome::Rejected));
        let no_leader: Problem = AskError::NoLeader { shard: 3 }.into();
        assert_eq!(no_leader.outcome(), Outcome::Rejected);
    }

    #[test]
    fn insufficient_stock_tells_the_facts() {
        let rejection = Rejection::InsufficientStock { sku: "TEA-100".parse().unwrap(), requested: 3, available: 1 };
        let expected = json!({
            "type": "/docs#problem-insufficient_stock",
            "title": "Fewer units are left than asked for.",
            "status": 409,
            "detail": "3 of TEA-100 requested, 1 available",
            "instance": "urn:stockroom:request:r1",
            "code": "insufficient_stock",
            "retryable": false,
            "outcome": "rejected",
            "sku": "TEA-100",
            "requested": 3,
            "available": 1,
        });
        assert_eq!(Problem::from(rejection).document("r1"), expected);
    }

    #[test]
    fn refusals_for_lack_of_room_say_when_to_come_back() {
        for code in Code::ALL.iter().filter(|code| matches!(code.status().as_u16(), 429 | 503)) {
            let response = Problem::new(*code, "").render("r");
            assert!(response.headers().contains_key(header::RETRY_AFTER), "{code:?}");
        }
        let half_a_second = Problem::new(Code::Overloaded, "").with_retry_after(Duration::from_millis(500));
        assert_eq!(half_a_second.render("r").headers()[header::RETRY_AFTER], "1");
    }
}
