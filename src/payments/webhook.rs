//! Webhooks of payment providers: how they are signed, verified and delivered.
//!
//! The body is JSON `{"id","order","key","outcome","reason"?}`. The header `stockroom-signature` carries
//! `t=UNIX_SECONDS,v1=HEX` where HEX is HMAC-SHA256 over `UNIX_SECONDS.BODY` under a secret both sides know; several
//! `v1` may be given while a secret is rotated. Verification compares in constant time and refuses a timestamp more
//! than five minutes from the wall clock, so a captured webhook cannot be replayed for ever. Within that window a
//! repeat is harmless: the notice becomes the same command as the API path, idempotent by the order's state (P18).
//!
//! Delivery is at least once, in any order, possibly before the answer to the request it is about.

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::domain::ids::OrderId;
use crate::domain::payment::PaymentOutcome;
use crate::domain::time::Timestamp;

/// Name of the header with timestamp and signature.
pub const SIGNATURE_HEADER: &str = "stockroom-signature";

/// How far a webhook's timestamp may be from our wall clock, either way. Five minutes is what card processors use.
pub const TOLERANCE_SECONDS: u64 = 300;

/// A webhook longer than this is refused unread; a notice needs a few hundred bytes.
pub const BODY_BYTES_MAX: usize = 16 << 10;

/// A provider's news about one payment request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookNotice {
    /// Names this notice; repeats of one notice carry the same id.
    pub id: String,
    /// Whose payment.
    pub order: OrderId,
    /// Key of the request the news is about.
    pub key: String,
    /// What became of it.
    pub outcome: PaymentOutcome,
}

/// Why a webhook is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// No such provider here, or it sends no webhooks.
    #[error("no provider of that name takes webhooks")]
    NotConfigured,
    /// The signature header is missing or malformed.
    #[error("the {SIGNATURE_HEADER} header is missing or malformed")]
    SignatureMissing,
    /// The timestamp is too far from our clock.
    #[error("the timestamp is more than {TOLERANCE_SECONDS} seconds from now")]
    Stale,
    /// Not signed with our secret.
    #[error("the signature does not match")]
    SignatureMismatch,
    /// Signed well, but not a notice.
    #[error("the body is not a payment notice")]
    Malformed,
}

/// A secret shared with a provider. `Debug` hides it.
#[derive(Clone)]
pub struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    /// Any bytes; 32 random ones are right.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// Signs a notice as sent at `at`.
    pub fn sign(&self, notice: &WebhookNotice, at: Timestamp) -> SignedWebhook {
        let body = serde_json::to_vec(&WireNotice::from(notice)).expect("a notice is plain text fields");
        SignedWebhook { signature: self.signature(&body, at), body }
    }

    /// The value of [`SIGNATURE_HEADER`] for a body sent at `at`.
    pub fn signature(&self, body: &[u8], at: Timestamp) -> String {
        let seconds = at.0 / 1000;
        format!("t={seconds},v1={}", hex::encode(self.mac(seconds, body).finalize().into_bytes()))
    }

    /// Believes or refuses a webhook received at `now`.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<WebhookNotice, WebhookError> {
        let header = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
        let (seconds, signatures) = parse_signature(header.ok_or(WebhookError::SignatureMissing)?)?;
        let genuine = signatures.iter().any(|given| self.mac(seconds, body).verify_slice(given).is_ok());
        if !genuine {
            return Err(WebhookError::SignatureMismatch);
        }
        if seconds.abs_diff(now.0 / 1000) > TOLERANCE_SECONDS {
            return Err(WebhookError::Stale);
        }
        let wire: WireNotice = serde_json::from_slice(body).map_err(|_| WebhookError::Malformed)?;
        wire.try_into()
    }

    fn mac(&self, seconds: u64, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(seconds.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        mac
    }
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// A webhook ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedWebhook {
    /// Value of [`SIGNATURE_HEADER`].
    pub signature: String,
    /// JSON.
    pub body: Vec<u8>,
}

impl SignedWebhook {
    /// The headers it is sent with.
    pub fn headers(&self) -> HeaderMap {
        let signature = HeaderValue::from_str(&self.signature).expect("a signature is visible ASCII");
        HeaderMap::from_iter([(axum::http::HeaderName::from_static(SIGNATURE_HEADER), signature)])
    }
}

/// Takes a provider's webhooks to the shop: over HTTP, or inside the process.
#[async_trait]
pub trait WebhookSink: Send + Sync + 'static {
    /// Delivers one. The provider tries again later unless this succeeds.
    async fn deliver(&self, webhook: &SignedWebhook) -> Result<(), NotDelivered>;
}

/// The shop did not say that it took the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the webhook was not taken")]
pub struct NotDelivered;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireNotice {
    id: String,
    order: OrderId,
    key: String,
    outcome: WireOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireOutcome {
    Authorised,
    Declined,
    Captured,
    Voided,
    Refunded,
    Pending,
    NeverSeen,
}

impl From<&WebhookNotice> for WireNotice {
    fn from(notice: &WebhookNotice) -> Self {
        let (outcome, reason) = match &notice.outcome {
            PaymentOutcome::Authorised => (WireOutcome::Authorised, None),
            PaymentOutcome::Declined { reason } => (WireOutcome::Declined, Some(reason.clone())),
            PaymentOutcome::Captured => (WireOutcome::Captured, None),
            PaymentOutcome::Voided => (WireOutcome::Voided, None),
            PaymentOutcome::Refunded => (WireOutcome::Refunded, None),
            PaymentOutcome::Pending => (WireOutcome::Pending, None),
            PaymentOutcome::NeverSeen => (WireOutcome::NeverSeen, None),
        };
        Self { id: notice.id.clone(), order: notice.order, key: notice.key.clone(), outcome, reason }
    }
}

impl TryFrom<WireNotice> for WebhookNotice {
    type Error = WebhookError;

    fn try_from(wire: WireNotice) -> Result<Self, WebhookError> {
        let outcome = match (wire.outcome, wire.reason) {
            (WireOutcome::Declined, Some(reason)) => PaymentOutcome::Declined { reason },
            (WireOutcome::Declined, None) | (_, Some(_)) => return Err(WebhookError::Malformed),
            (WireOutcome::Authorised, None) => PaymentOutcome::Authorised,
            (WireOutcome::Captured, None) => PaymentOutcome::Captured,
            (WireOutcome::Voided, None) => PaymentOutcome::Voided,
            (WireOutcome::Refunded, None) => PaymentOutcome::Refunded,
            (WireOutcome::Pending, None) => PaymentOutcome::Pending,
            (WireOutcome::NeverSeen, None) => PaymentOutcome::NeverSeen,
        };
        Ok(Self { id: wire.id, order: wire.order, key: wire.key, outcome })
    }
}

/// More signatures than this in one header are not looked at: two secrets suffice for a rotation.
const SIGNATURES_MAX: usize = 4;

fn parse_signature(header: &str) -> Result<(u64, Vec<Vec<u8>>), WebhookError> {
    let (mut seconds, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        match part.split_once('=') {
            Some(("t", text)) if seconds.is_none() => seconds = text.parse::<u64>().ok(),
            Some(("v1", text)) if signatures.len() < SIGNATURES_MAX => {
                signatures.push(hex::decode(text).map_err(|_| WebhookError::SignatureMissing)?);
            }
            _ => return Err(WebhookError::SignatureMissing),
        }
    }
    match seconds {
        Some(seconds) if !signatures.is_empty() => Ok((seconds, signatures)),
        _ => Err(WebhookError::SignatureMissing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> WebhookNotice {
        WebhookNotice {
            id: "authorise-1".into(),
            order: OrderId([7; 16]),
            key: "order/07/authorise/payment/1".into(),
            outcome: PaymentOutcome::Authorised,
        }
    }

    const AT: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn a_signed_notice_is_read_back_as_it_was_sent() {
        let secret = WebhookSecret::new("shared");
        let declined = PaymentOutcome::Declined { reason: "card_declined".into() };
        for outcome in [PaymentOutcome::Authorised, declined, PaymentOutcome::Voided] {
            let notice = WebhookNotice { outcome, ..notice() };
            let sent = secret.sign(&notice, AT);
            assert_eq!(secret.verify(&sent.headers(), &sent.body, AT), Ok(notice));
        }
    }

    #[test]
    fn the_signed_bytes_are_the_published_contract() {
        let sent = WebhookSecret::new("shared").sign(&notice(), AT);
        let body = r#"{"id":"authorise-1","order":"07070707070707070707070707070707","#.to_owned()
            + r#""key":"order/07/authorise/payment/1","outcome":"authorised"}"#;
        assert_eq!(String::from_utf8(sent.body).unwrap(), body);
        assert_eq!(sent.signature, GOLDEN_SIGNATURE);
    }

    const GOLDEN_SIGNATURE: &str = "t=1700000000,v1=0a193eb80272a844751050f275881c489605182b103daca23170c42bb18b1d8e";

    #[test]
    fn another_secret_another_body_or_another_time_is_refused() {
        let secret = WebhookSecret::new("shared");
        let sent = secret.sign(&notice(), AT);
        let mut headers = sent.headers();
        let mismatch = Err(WebhookError::SignatureMismatch);
        assert_eq!(WebhookSecret::new("other").verify(&headers, &sent.body, AT), mismatch);
        let mut body = sent.body.clone();
        *body.last_mut().unwrap() ^= 1;
        assert_eq!(secret.verify(&headers, &body, AT), mismatch);
        let later = sent.signature.replace("t=1700000000", "t=1700000001");
        headers.insert(SIGNATURE_HEADER, HeaderValue::from_str(&later).unwrap());
        assert_eq!(secret.verify(&headers, &sent.body, AT), mismatch);
    }

    #[test]
    fn five_minutes_of_clock_difference_are_tolerated_and_no_more() {
        let secret = WebhookSecret::new("shared");
        let sent = secret.sign(&notice(), AT);
        for (offset_ms, believed) in [(300_000_i64, true), (301_000, false), (-300_000, true), (-301_000, false)] {
            let now = Timestamp(AT.0.checked_add_signed(offset_ms).unwrap());
            assert_eq!(secret.verify(&sent.headers(), &sent.body, now).is_ok(), believed, "{offset_ms} ms");
        }
    }

    #[test]
    fn a_header_that_is_not_a_signature_is_refused() {
        let secret = WebhookSecret::new("shared");
        let sent = secret.sign(&notice(), AT);
        assert_eq!(secret.verify(&HeaderMap::new(), &sent.body, AT), Err(WebhookError::SignatureMissing));
        for bad in ["", "t=1700000000", "v1=00", "t=x,v1=00", "t=1,v1=zz", "t=1,t=2,v1=00", "v1=00,v1=00,x=1"] {
            let headers = HeaderMap::from_iter([(
                axum::http::HeaderName::from_static(SIGNATURE_HEADER),
                HeaderValue::from_str(bad).unwrap(),
            )]);
            assert_eq!(secret.verify(&headers, &sent.body, AT), Err(WebhookError::SignatureMissing), "{bad:?}");
        }
    }

    #[test]
    fn a_rotated_secret_is_accepted_beside_the_old_one() {
        let (old, new) = (WebhookSecret::new("old"), WebhookSecret::new("new"));
        let (by_old, by_new) = (old.sign(&notice(), AT), new.sign(&notice(), AT));
        let both = format!("{},{}", by_old.signature, by_new.signature.split_once(',').unwrap().1);
        let headers = SignedWebhook { signature: both, body: Vec::new() }.headers();
        assert!(old.verify(&headers, &by_old.body, AT).is_ok());
        assert!(new.verify(&headers, &by_old.body, AT).is_ok());
    }
}
