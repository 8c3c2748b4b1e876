//! The payment providers of this node: from the configuration to the gateways orders pay through.
//!
//! The simulated provider lives inside the node, its books in the data directory, or wherever
//! `payments.simulated_url` says; then its books are its own, and its webhooks come over HTTP.

use std::sync::Arc;

use super::Disk;
use crate::cli::exit::{Exit, Failure};
use crate::clock::Clock;
use crate::config::{Config, PaymentOptions};
use crate::payments::gateway::{Gateways, PaymentGateway};
use crate::payments::remote::HttpGateway;
use crate::payments::simulated::{PROVIDER_NAME, Parts, SimulatedProvider};
use crate::payments::webhook::WebhookSecret;
use crate::rng::Rng;

/// The configured providers.
pub(super) struct Providers {
    /// All of them by name.
    pub(super) gateways: Gateways,
    /// The simulated one, when it lives in this process: somebody has to send its webhooks.
    pub(super) in_process: Option<Arc<SimulatedProvider>>,
}

impl Providers {
    /// Opens what the configuration asks for.
    pub(super) async fn open(
        config: &Config,
        disk: &Disk,
        clock: &Arc<dyn Clock>,
        rng: &Arc<dyn Rng>,
    ) -> Result<Self, Failure> {
        let payments = &config.payments;
        if !payments.simulated {
            return Ok(Self { gateways: Gateways::default(), in_process: None });
        }
        let webhook_secret = secret(payments, rng);
        if !payments.simulated_url.is_empty() {
            return Ok(Self { gateways: only(remote(payments, webhook_secret)?), in_process: None });
        }
        let parts = Parts { rng: rng.clone(), clock: clock.clone(), webhook_secret };
        let opened = SimulatedProvider::open(parts, &disk.simulated_ledger()).await;
        let provider = opened.map_err(|error| Failure::new(Exit::Failed, error))?;
        Ok(Self { gateways: only(provider.clone()), in_process: Some(provider) })
    }
}

fn only(simulated: Arc<dyn PaymentGateway>) -> Gateways {
    Gateways::new([(PROVIDER_NAME.to_owned(), simulated)])
}

fn remote(payments: &PaymentOptions, secret: WebhookSecret) -> Result<Arc<dyn PaymentGateway>, Failure> {
    let url = payments.simulated_url.parse().map_err(|error| Failure::new(Exit::Usage, error))?;
    let gateway = HttpGateway::new(&url, secret).map_err(|error| Failure::new(Exit::Usage, error))?;
    tracing::info!(%url, "the simulated payment provider is a process of its own");
    Ok(Arc::new(gateway))
}

/// What the simulated provider signs with: what both sides were told, or drawn when both are this process.
fn secret(payments: &PaymentOptions, rng: &Arc<dyn Rng>) -> WebhookSecret {
    if !payments.simulated_webhook_secret.is_empty() {
        return WebhookSecret::new(payments.simulated_webhook_secret.as_bytes());
    }
    let mut drawn = [0; 32];
    rng.fill(&mut drawn);
    WebhookSecret::new(drawn)
}
