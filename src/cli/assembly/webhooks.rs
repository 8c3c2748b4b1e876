//! Webhooks of the simulated provider, delivered inside the process: verified like any other, then the same command to
//! the order as over HTTP (P18).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::AbortOnDrop;
use crate::actors::messages::{Ask, AskError, Origin, Request};
use crate::clock::{Clock, SystemClock};
use crate::cluster::node::Node;
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{CommandId, EntityId};
use crate::domain::order::OrderCommand;
use crate::domain::registry::AnyCommand;
use crate::payments::gateway::PaymentGateway;
use crate::payments::simulated::SimulatedProvider;
use crate::payments::webhook::{NotDelivered, SignedWebhook, WebhookSink};
use crate::rng::Rng;

/// How long an order may take to take a notice; the provider sends it again later.
const BUDGET: Duration = Duration::from_secs(10);

/// Sends the provider's webhooks to the node's orders.
pub(super) fn send(provider: Arc<SimulatedProvider>, node: &Node, rng: &Arc<dyn Rng>) -> AbortOnDrop {
    let orders = Arc::new(node.router().clone());
    let clock = Arc::new(SystemClock::new());
    let sink = InProcessWebhooks { provider: provider.clone(), orders, clock, rng: rng.clone() };
    AbortOnDrop(tokio::spawn(provider.send_webhooks(Arc::new(sink))))
}

/// Takes notices to orders.
struct InProcessWebhooks {
    /// Who signed them.
    provider: Arc<SimulatedProvider>,
    /// The way to orders.
    orders: Arc<dyn Ask>,
    /// Says whether a notice is fresh.
    clock: Arc<dyn Clock>,
    /// Draws command ids: the order knows a repeat by its payment key.
    rng: Arc<dyn Rng>,
}

#[async_trait]
impl WebhookSink for InProcessWebhooks {
    async fn deliver(&self, webhook: &SignedWebhook) -> Result<(), NotDelivered> {
        let read = self.provider.verify_webhook(&webhook.headers(), &webhook.body, self.clock.wall());
        let notice = read.map_err(|error| {
            tracing::error!(%error, "a webhook of our own provider is refused");
            NotDelivered
        })?;
        let request = Request {
            entity: EntityId::order(notice.order),
            command: AnyCommand::Order(OrderCommand::PaymentReported { key: notice.key, outcome: notice.outcome }),
            stamp: Stamp { command: CommandId(self.rng.next_id()), fingerprint: Fingerprint::default() },
            origin: Origin::Owed,
            budget: BUDGET,
        };
        match self.orders.ask(request).await {
            Ok(_) | Err(AskError::Rejected(_)) => Ok(()),
            Err(_) => Err(NotDelivered),
        }
    }
}
