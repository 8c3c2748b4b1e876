//! Who comes to the shop: merchants who fill the shelves and send out (`merchant`), shoppers (`shopper`), and when
//! (`crowd`). What is asked of entities is told for `linear` to judge (`judged`).
//!
//! Everybody talks HTTP over the simulated network. A request without an answer is asked again under the same key
//! until the shopper's patience with it ends; then nobody outside knows what became of it, which the history says.

mod crowd;
mod judged;
mod merchant;
mod shopper;

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Call, NoAnswer, Reply, send};
use super::disk::{below, within};
use super::history::{Fact, History};
use super::host::OPS_TOKEN;
use super::meter::{self, Request};
use super::network::{HTTP_PORT, OPS_PORT};
use super::scenario::Scenario;
use crate::rng::{Rng, SeededRng};

pub use crowd::Crowd;

/// Attempts of one request before a shopper gives up on it.
const ATTEMPTS_MAX: u32 = 8;
/// Attempts of a request that must succeed: a quarter of an hour of them.
const INSIST_MAX: u32 = 300;
/// How long the merchant tries to open the shop.
const OPENING: Duration = Duration::from_secs(120);

/// The SKU of a product.
pub fn sku(product: u32) -> String {
    format!("SKU-{product}")
}

/// A product as the merchant lists it.
fn product(number: u32) -> Value {
    let prices = json!({"USD": 100 + i64::from(number)});
    let variants = json!([{"sku": sku(number), "title": "one", "attributes": {}, "prices": prices}]);
    json!({
        "title": format!("Product {number}"), "description": "made for a simulated world", "status": "active",
        "categories": ["all"], "attributes": {}, "media": [], "variants": variants,
    })
}

/// Somebody at the shop's door.
pub struct Visitor {
    /// Their name in the history, and of their host.
    pub name: String,
    /// The nodes, and which of them this visitor comes to.
    doors: Arc<[String]>,
    at: usize,
    seed: u64,
    rng: SeededRng,
    history: History,
    patience: Duration,
    authorization: Option<String>,
}

impl Visitor {
    /// Somebody with a random stream of their own.
    pub fn new(name: &str, doors: &Arc<[String]>, seed: u64, history: History, patience: Duration) -> Self {
        let rng = SeededRng::stream(seed, name);
        let at = below(&SeededRng::stream(seed, &format!("{name}'s door")), doors.len() as u64) as usize;
        Self { name: name.to_owned(), doors: doors.clone(), at, seed, rng, history, patience, authorization: None }
    }

    /// The node this visitor comes to.
    fn door(&self) -> &str {
        &self.doors[self.at]
    }

    /// Somebody else with the same rights.
    pub fn colleague(&self, name: &str) -> Self {
        Self { authorization: self.authorization.clone(), ..self.stranger(name) }
    }

    /// Somebody else, without any.
    pub fn stranger(&self, name: &str) -> Self {
        Self::new(name, &self.doors, self.seed, self.history.clone(), self.patience)
    }

    /// Adds to the history.
    pub fn tell(&self, fact: Fact) {
        self.history.add(&self.name, fact);
    }

    /// A key nobody else has.
    pub fn draw_key(&self) -> String {
        hex::encode(self.rng.next_id())
    }

    /// Sends once.
    pub async fn once(&self, call: &Call) -> Result<Reply, NoAnswer> {
        let call = match &self.authorization {
            Some(token) => call.clone().bearer(token),
            None => call.clone(),
        };
        let request = Request::begin(&self.name, &call);
        let outcome = send(self.door(), HTTP_PORT, &call, self.patience).await;
        request.end(&outcome);
        outcome
    }

    /// Sends until there is a definite answer, at most so many times; says how many it took.
    pub async fn insist(&self, call: &Call, attempts_max: u32) -> (Result<Reply, NoAnswer>, u32) {
        let mut attempt = 1;
        loop {
            let outcome = self.once(call).await;
            let try_again = |status: StatusCode| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            // What is quarantined stays so: an operator's matter.
            let settled = outcome.as_ref().is_ok_and(|reply| !try_again(reply.status) || reply.code() == "quarantined");
            if settled || attempt == attempts_max {
                meter::command(call, &outcome);
                return (outcome, attempt);
            }
            let pause = Duration::from_millis(50 << attempt.min(6));
            tokio::time::sleep(within(&self.rng, &(pause / 2..=pause))).await;
            attempt += 1;
        }
    }

    /// Sends what must succeed sooner or later.
    pub async fn must(&self, call: &Call) -> Result<Value, String> {
        let (outcome, _) = self.insist(call, INSIST_MAX).await;
        yes(call, outcome)
    }

    /// Reads what must be there.
    pub async fn read(&self, path: String) -> Result<Value, String> {
        self.must(&Call::new(Method::GET, path)).await
    }

    /// Gets an API key of a merchant from the operators' listener.
    pub async fn become_merchant(&mut self) -> Result<(), String> {
        let body = json!({"role": "merchant", "label": "simulated"});
        let call = Call::new(Method::POST, "/ops/v1/keys").bearer(OPS_TOKEN).json(body);
        let deadline = Instant::now() + OPENING;
        loop {
            match send(self.door(), OPS_PORT, &call, self.patience).await {
                Ok(reply) if reply.status.is_success() => {
                    self.authorization = reply.body["key"].as_str().map(str::to_owned);
                    return self.authorization.as_ref().map(drop).ok_or(format!("no key in {}", reply.body));
                }
                outcome if Instant::now() > deadline => return Err(format!("no key: {outcome:?}")),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// The answer when it is a yes.
fn yes(call: &Call, outcome: Result<Reply, NoAnswer>) -> Result<Value, String> {
    match outcome {
        Ok(reply) if reply.status.is_success() => Ok(reply.body),
        Ok(reply) => Err(format!("{} {} answered {}: {}", call.method, call.path, reply.status, reply.body)),
        Err(error) => Err(error.to_string()),
    }
}

/// Lists the products and receives their units. Answers how long one request took, as a rule: what the shop is like
/// when nothing breaks.
pub async fn open_shop(merchant: &Visitor, scenario: &Scenario) -> Result<Duration, String> {
    let mut took = Vec::new();
    for number in 0..scenario.shop.products {
        let begun = Instant::now();
        merchant.write_product(number, product(number), None).await?;
        merchant.receive(scenario, sku(number), u64::from(scenario.shop.units)).await?;
        took.push(begun.elapsed() / 2);
    }
    took.sort();
    Ok(took[took.len() / 2])
}
