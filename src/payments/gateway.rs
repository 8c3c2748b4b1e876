//! The payment seam.
//!
//! A gateway speaks to one provider. What it is asked is data of the domain ([`PaymentRequest`]), so that an order can
//! owe it, journal it and send it again. Every operation is idempotent by the request's key: the same key again gets
//! the same outcome and moves no money twice, after any number of crashes on either side.
//!
//! Silence is an outcome of its own. A gateway may take for ever to answer (the caller bounds its wait) or answer
//! [`PaymentUnknown`]; neither says that nothing happened. Before the opposite is done, the key is looked up (P18).
//! `Pending` is an answer: the provider has the request, its result comes by webhook or is found by lookup.
//!
//! Called by `courier` (owed requests) and by the HTTP layer (webhooks). Implemented by `simulated` and `remote`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::HeaderMap;

use super::webhook::{WebhookError, WebhookNotice};
use crate::domain::payment::{PaymentOutcome, PaymentRequest};
use crate::domain::time::Timestamp;

/// One payment provider.
#[async_trait]
pub trait PaymentGateway: Send + Sync + 'static {
    /// Carries out one operation; waits without limit for the answer.
    async fn execute(&self, request: &PaymentRequest) -> Result<PaymentOutcome, PaymentUnknown>;

    /// Checks that a webhook comes from this provider and is fresh, and reads it. `now` is the wall clock.
    fn verify_webhook(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<WebhookNotice, WebhookError>;
}

/// Nobody can say yet what became of the request: look it up before doing the opposite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentUnknown {
    /// The provider took longer than the caller waits.
    #[error("the payment provider did not answer in time")]
    NoAnswer,
    /// The provider said that it cannot work at the moment.
    #[error("the payment provider is unavailable")]
    Unavailable,
    /// The provider could not be reached, or the connection broke before the answer.
    #[error("the connection to the payment provider failed")]
    Unreachable,
    /// The answer could not be read.
    #[error("the payment provider answered {status} with something unreadable")]
    Unreadable {
        /// HTTP status of the answer.
        status: u16,
    },
    /// The key was used before for another request, which a lookup finds: a bug of the caller.
    #[error("the payment key was used for another request")]
    KeyReused,
    /// No provider of that name is configured on this node.
    #[error("payment provider {provider} is not configured")]
    NotConfigured {
        /// The name asked for.
        provider: String,
    },
}

/// The configured providers by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Gateways(Arc<BTreeMap<String, Arc<dyn PaymentGateway>>>);

impl Gateways {
    /// A table of these providers; of two with one name, the later.
    pub fn new(providers: impl IntoIterator<Item = (String, Arc<dyn PaymentGateway>)>) -> Self {
        Self(Arc::new(providers.into_iter().collect()))
    }

    /// The provider called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn PaymentGateway>> {
        self.0.get(name)
    }

    /// Names of all providers, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Hands the request to the provider it names.
    pub async fn execute(&self, request: &PaymentRequest) -> Result<PaymentOutcome, PaymentUnknown> {
        match self.get(&request.provider) {
            Some(gateway) => gateway.execute(request).await,
            None => Err(PaymentUnknown::NotConfigured { provider: request.provider.clone() }),
        }
    }

    /// Verifies a webhook sent to the address of the provider called `name`.
    pub fn verify_webhook(
        &self,
        name: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<WebhookNotice, WebhookError> {
        self.get(name).ok_or(WebhookError::NotConfigured)?.verify_webhook(headers, body, now)
    }
}
