//! Where payment providers report. A believed notice becomes the same command to the order as an answer on the API path
//! (P18); which of them comes first, twice or late makes no difference.

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use utoipa::ToSchema;

use super::AppState;
use super::call::{self, Identity, Params};
use super::error::{Code, Problem};
use super::idempotency::KeyUse;
use super::route::{Access, Route};
use super::wire;
use crate::actors::messages::Origin;
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{EntityId, OrderId};
use crate::domain::order::OrderCommand;
use crate::domain::registry::AnyCommand;
use crate::payments::webhook::{BODY_BYTES_MAX, WebhookError};

const PATH: &str = "/v1/webhooks/payments/{provider}";

/// The table.
pub fn routes() -> Vec<Route> {
    vec![Route::new(Method::POST, PATH, Access::Public, receive).key_ignored().describe(|route| {
        route
            .called("Operation", "receivePaymentWebhook", "A payment provider reports")
            .text("Signed by the provider; see its header. Repeats are harmless.")
            .path::<String>("provider", "Which.")
            .header::<String>("stockroom-signature", "`t=UNIX_SECONDS,v1=HEX`: HMAC-SHA256 over `UNIX_SECONDS.BODY`.")
            .body::<Notice>()
            .answers_nothing(StatusCode::NO_CONTENT, "Noted.")
            .fails(&[Code::Unauthenticated, Code::NotFound, Code::OrderState])
    })]
}

/// What the simulated provider reports; others have shapes of their own.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what a provider's own module reads")]
pub struct Notice {
    /// Names this notice.
    id: String,
    /// Whose payment.
    order: OrderId,
    /// The key of the request it is about.
    key: String,
    /// What became of it, e.g. `authorised`.
    outcome: String,
    /// Why it was declined.
    reason: Option<String>,
}

async fn receive(
    State(state): State<AppState>,
    Params(provider): Params<String>,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let body: Bytes = call::collect(request, &state).await?;
    if body.len() > BODY_BYTES_MAX {
        let problem = Problem::new(Code::TooLarge, format!("a webhook may have at most {BODY_BYTES_MAX} bytes"));
        return Err(problem.with_fact("what", "bytes of body").with_fact("limit", BODY_BYTES_MAX));
    }
    let notice = state.gateways().verify_webhook(&provider, &headers, &body, state.clock().wall())?;
    let entity = EntityId::order(notice.order);
    let principal = format!("webhook/{provider}");
    let of = KeyUse { principal: &principal, route: PATH, entity: Some(&entity), key: &notice.id };
    let stamp = Stamp { command: state.command_ids().derive(&of), fingerprint: Fingerprint::default() };
    let command = OrderCommand::PaymentReported { key: notice.key, outcome: notice.outcome };
    state.ask(entity, AnyCommand::Order(command), Identity { stamp, origin: Origin::ClientKey }).await?;
    Ok(wire::nothing())
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let code = match error {
            WebhookError::NotConfigured => Code::NotFound,
            WebhookError::SignatureMissing | WebhookError::Stale | WebhookError::SignatureMismatch => {
                Code::Unauthenticated
            }
            WebhookError::Malformed => Code::InvalidRequest,
        };
        Self::new(code, error.to_string())
    }
}
