//! Who comes to the shop: a merchant who fills the shelves, and shoppers who buy, click twice and retry.
//!
//! Everybody talks HTTP over the simulated network. A request without an answer is asked again under the same key
//! until the shopper's patience with it ends; then nobody outside knows what became of it, which the history says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Call, NoAnswer, Reply, send};
use super::disk::{below, within};
use super::history::{Fact, History};
use super::host::OPS_TOKEN;
use super::network::{HTTP_PORT, OPS_PORT};
use super::scenario::{Scenario, Shoppers};
use crate::rng::{Rng, SeededRng};

/// Attempts of one request before a shopper gives up on it.
const ATTEMPTS_MAX: u32 = 8;
/// How long the merchant tries to open the shop.
const OPENING: Duration = Duration::from_secs(120);

/// The SKU of a product.
pub fn sku(product: u32) -> String {
    format!("SKU-{product}")
}

/// Somebody at the shop's door.
pub struct Visitor {
    /// Their name in the history, and of their host.
    pub name: String,
    node: String,
    rng: SeededRng,
    history: History,
    patience: Duration,
    authorization: Option<String>,
}

impl Visitor {
    /// Somebody with a random stream of their own.
    pub fn new(name: &str, node: &str, seed: u64, history: History, patience: Duration) -> Self {
        let rng = SeededRng::stream(seed, name);
        Self { name: name.to_owned(), node: node.to_owned(), rng, history, patience, authorization: None }
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
        send(&self.node, HTTP_PORT, &call, self.patience).await
    }

    /// Sends until there is a definite answer, at most so many times; says how many it took.
    pub async fn insist(&self, call: &Call, attempts_max: u32) -> (Result<Reply, NoAnswer>, u32) {
        let mut attempt = 1;
        loop {
            let outcome = self.once(call).await;
            let try_again = |status: StatusCode| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            let settled = outcome.as_ref().is_ok_and(|reply| !try_again(reply.status));
            if settled || attempt == attempts_max {
                return (outcome, attempt);
            }
            let pause = Duration::from_millis(50 << attempt.min(6));
            tokio::time::sleep(within(&self.rng, &(pause / 2..=pause))).await;
            attempt += 1;
        }
    }

    /// Sends what must succeed sooner or later.
    pub async fn must(&self, call: &Call) -> Result<Value, String> {
        let (outcome, _) = self.insist(call, u32::MAX).await;
        match outcome {
            Ok(reply) if reply.status.is_success() => Ok(reply.body),
            Ok(reply) => Err(format!("{} {} answered {}: {}", call.method, call.path, reply.status, reply.body)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Reads what must be there.
    pub async fn read(&self, path: String) -> Result<Value, String> {
        self.must(&Call::new(Method::GET, path)).await
    }

    /// Gets an API key of a merchant from the operators' listener.
    pub async fn become_merchant(&mut self) -> Result<(), String> {
        let body = json!({"role": "merchant", "label": "simulated"});
        let call = Call::new(Method::POST, "/ops/v1/keys").bearer(OPS_TOKEN).json(body);
        let deadline = tokio::time::Instant::now() + OPENING;
        loop {
            match send(&self.node, OPS_PORT, &call, self.patience).await {
                Ok(reply) if reply.status.is_success() => {
                    self.authorization = reply.body["key"].as_str().map(str::to_owned);
                    return self.authorization.as_ref().map(drop).ok_or(format!("no key in {}", reply.body));
                }
                outcome if tokio::time::Instant::now() > deadline => return Err(format!("no key: {outcome:?}")),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// Lists the products and receives their units.
pub async fn open_shop(merchant: &Visitor, scenario: &Scenario) -> Result<(), String> {
    for product in 0..scenario.shop.products {
        let sku = sku(product);
        let prices = json!({"USD": 100 + i64::from(product)});
        let variants = json!([{"sku": sku, "title": "one", "attributes": {}, "prices": prices}]);
        let body = json!({
            "title": format!("Product {product}"), "description": "made for a simulated world", "status": "active",
            "categories": ["all"], "attributes": {}, "media": [], "variants": variants,
        });
        merchant.must(&Call::new(Method::PUT, format!("/v1/admin/products/product-{product}")).json(body)).await?;
        let units = u64::from(scenario.shop.units);
        let body = json!({"quantity": units, "reference": "opening"});
        let call = Call::new(Method::POST, format!("/v1/admin/stock/{sku}/receive")).json(body);
        merchant.must(&call.key(merchant.draw_key())).await?;
        merchant.history.add(&merchant.name, Fact::Received { sku, units });
    }
    Ok(())
}

/// A shopper's whole visit.
pub async fn shop(visitor: Visitor, scenario: Arc<Scenario>, until: tokio::time::Instant) {
    for _ in 0..scenario.shoppers.purchases {
        visitor.think(&scenario.shoppers).await;
        if tokio::time::Instant::now() >= until {
            return;
        }
        visitor.buy(&scenario).await;
    }
}

impl Visitor {
    async fn think(&self, shoppers: &Shoppers) {
        let longest = Duration::from_millis(shoppers.think_ms);
        tokio::time::sleep(within(&self.rng, &(Duration::ZERO..=longest))).await;
    }

    /// One purchase, from an empty cart to an order; ends early at any definite no.
    async fn buy(&self, scenario: &Scenario) {
        let create = Call::new(Method::POST, "/v1/carts").json(json!({"currency": "USD"})).key(self.draw_key());
        let Some(cart) = self.step("create a cart", &create).await else { return };
        let path = format!("/v1/carts/{}", cart["id"].as_str().unwrap_or_default());
        let mut lines = BTreeMap::new();
        for _ in 0..=below(&self.rng, u64::from(scenario.shoppers.lines_max)) {
            self.think(&scenario.shoppers).await;
            let product = below(&self.rng, u64::from(scenario.shop.products)) as u32;
            let (sku, quantity) = (sku(product), 1 + below(&self.rng, 2));
            let call = Call::new(Method::PUT, format!("{path}/lines/{sku}")).json(json!({"quantity": quantity}));
            if self.step("set a line", &call.key(self.draw_key())).await.is_none() {
                return;
            }
            lines.insert(sku, quantity);
        }
        let buyer = json!({"email": format!("{}@example.com", self.name)});
        let call = Call::new(Method::PUT, format!("{path}/buyer")).json(buyer).key(self.draw_key());
        if self.step("say who buys", &call).await.is_none() {
            return;
        }
        self.think(&scenario.shoppers).await;
        self.order(scenario, &cart, lines).await;
    }

    async fn order(&self, scenario: &Scenario, cart: &Value, lines: BTreeMap<String, u64>) {
        let tokens = &scenario.shoppers.tokens;
        let token = tokens[below(&self.rng, tokens.len() as u64) as usize].clone();
        let payment = json!({"provider": "simulated", "token": token});
        let (key, body) = (self.draw_key(), json!({"cart_id": cart["id"], "payment": payment}));
        let call = Call::new(Method::POST, "/v1/orders").json(body).key(&key);
        let odds = scenario.shoppers.double_click_one_in;
        let ((outcome, attempts), second) = if odds > 0 && below(&self.rng, odds) == 0 {
            let other = call.clone().key(self.draw_key());
            let (first, second) = tokio::join!(self.insist(&call, ATTEMPTS_MAX), self.insist(&other, ATTEMPTS_MAX));
            (first, Some(second.0))
        } else {
            (self.insist(&call, ATTEMPTS_MAX).await, None)
        };
        for outcome in [Some(outcome), second].into_iter().flatten() {
            match outcome {
                Ok(reply) if reply.status.is_success() => {
                    let order = reply.body["id"].as_str().unwrap_or_default().to_owned();
                    let (lines, key, token) = (lines.clone(), key.clone(), token.clone());
                    self.history.add(&self.name, Fact::Ordered { order, key, lines, token, attempts });
                }
                other => self.no("order", &key, other),
            }
        }
    }

    /// One step of a purchase: its answer, or `None` when the purchase ends here.
    async fn step(&self, what: &str, call: &Call) -> Option<Value> {
        let (outcome, _) = self.insist(call, ATTEMPTS_MAX).await;
        match outcome {
            Ok(reply) if reply.status.is_success() => Some(reply.body),
            other => {
                self.no(what, call.key.as_deref().unwrap_or_default(), other);
                None
            }
        }
    }

    fn no(&self, what: &str, key: &str, outcome: Result<Reply, NoAnswer>) {
        let what = what.to_owned();
        let fact = match outcome {
            Ok(reply) if reply.status.is_client_error() && reply.status != StatusCode::TOO_MANY_REQUESTS => {
                Fact::Refused { what, code: reply.code().to_owned() }
            }
            _ => Fact::GaveUp { what, key: key.to_owned() },
        };
        self.history.add(&self.name, fact);
    }
}
