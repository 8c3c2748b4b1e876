//! Delivers what processes owe: to entities through the router, to payment providers through their courier.
//!
//! The command id is derived from the obligation's name, so a delivery repeated by another incarnation, on another
//! node, after any crash, is the same command (P5). Only a definite outcome ends it; everything else is tried again
//! with growing, jittered pauses.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::actors::dedup::command_id_of;
use crate::actors::messages::{Ask, AskError, Origin, Request};
use crate::actors::ports::Courier;
use crate::domain::entity::{Destination, Fingerprint, Outgoing, Settlement, Stamp};
use crate::payments::courier::PaymentCourier;
use crate::rng::Rng;

/// How long one try may take before it is Unknown and tried again.
const TRY_BUDGET: Duration = Duration::from_secs(5);
/// First pause; doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The node's courier.
pub struct NodeCourier {
    router: Arc<dyn Ask>,
    payments: PaymentCourier,
    rng: Arc<dyn Rng>,
}

impl NodeCourier {
    /// A courier over these ways out; `rng` spreads the pauses.
    pub fn new(router: Arc<dyn Ask>, payments: PaymentCourier, rng: Arc<dyn Rng>) -> Self {
        Self { router, payments, rng }
    }

    async fn deliver_to_entity(&self, request: Request, obligation: &str) -> Settlement {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.router.ask(request.clone()).await {
                Ok(answer) => return Settlement::Accepted(answer.reply),
                Err(AskError::Rejected(rejection)) => return Settlement::Rejected(rejection),
                Err(error) => tracing::debug!(obligation, %error, "delivery has no outcome yet"),
            }
            let half = u64::try_from(pause.as_millis() / 2).unwrap_or(u64::MAX).max(1);
            tokio::time::sleep(Duration::from_millis(half + self.rng.next_u64() % half)).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
    }
}

#[async_trait]
impl Courier for NodeCourier {
    async fn deliver(&self, outgoing: Outgoing) -> Settlement {
        let name = outgoing.obligation.to_string();
        match outgoing.to {
            Destination::Payment(request) => Settlement::Payment(self.payments.deliver(&request).await),
            Destination::Entity(entity, command) => {
                let stamp = Stamp { command: command_id_of(&name), fingerprint: Fingerprint::default() };
                let request = Request { entity, command, stamp, origin: Origin::Owed, budget: TRY_BUDGET };
                self.deliver_to_entity(request, &name).await
            }
        }
    }
}
