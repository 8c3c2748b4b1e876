//! The payment seam.

use async_trait::async_trait;

use crate::domain::payment::{PaymentOutcome, PaymentRequest};

/// One provider, or a table of them by name. Every operation is idempotent by the request's key: the same key again
/// gets the same outcome and moves no money twice.
#[async_trait]
pub trait PaymentGateway: Send + Sync + 'static {
    /// Carries out one operation. `Unknown` when no answer came: look it up before doing the opposite.
    async fn execute(&self, request: &PaymentRequest) -> Result<PaymentOutcome, PaymentUnknown>;
}

/// No answer came, or none that says what happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("payment outcome unknown: {reason}")]
pub struct PaymentUnknown {
    /// Why, without secrets.
    pub reason: String,
}
