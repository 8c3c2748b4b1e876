//! One client: carries out operations over its own connection and tallies what it saw.

use std::sync::Arc;

use hyper::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::connection::{Answer, Call, Connection, Target};
use super::measure::Tally;
use super::scenario::{Operation, sku_name};
use super::{BenchArguments, tokio_now};
use crate::rng::{Rng, SeededRng};

/// What browsing looks at.
const PAGES: &[&str] = &[
    "/v1/products?limit=24",
    "/v1/products?q=black&limit=24",
    "/v1/products?category=Tea&in_stock=true&limit=24",
    "/v1/products?q=stoneware&sort=price&limit=24&currency=USD",
    "/v1/products/tea-darjeeling-first-flush",
];

/// Chooses what clients do; the same choices in every run.
const SEED: u64 = 1;

/// How one operation ended when it did not do what it should.
enum Miss {
    /// The shop said no for a business reason.
    Refused(String),
    /// Something that should not happen.
    Failed(String),
}

/// A client.
pub(super) struct Shopper {
    number: u32,
    arguments: BenchArguments,
    target: Arc<Target>,
    connection: Connection,
    choices: SeededRng,
    keys: SeededRng,
    tally: Tally,
    measuring: bool,
    /// Operations begun.
    begun: u32,
}

impl Shopper {
    /// Client `number` of this run.
    pub(super) fn new(number: u32, arguments: BenchArguments, target: Arc<Target>) -> Self {
        let choices = SeededRng::stream(SEED, &format!("client {number}"));
        let (connection, keys, tally) = (Connection::default(), SeededRng::from_os(), Tally::default());
        Self { number, arguments, target, connection, choices, keys, tally, measuring: false, begun: 0 }
    }

    /// Whether there is anything left to do.
    pub(super) fn has_more(&self) -> bool {
        let max = self.arguments.scenario.operations_max(self.arguments.skus);
        max.is_none_or(|max| self.fresh() < max)
    }

    /// A number no other operation of this run is given: clients take turns.
    fn fresh(&self) -> u32 {
        self.begun.saturating_mul(self.arguments.clients).saturating_add(self.number)
    }

    /// Does the scenario's next operation, which was due at `due`.
    pub(super) async fn operate(&mut self, due: Instant, measuring: bool) {
        self.measuring = measuring;
        let operation = self.arguments.scenario.next(self.arguments.skus, self.choices.next_u64(), self.fresh());
        self.begun += 1;
        let done = match operation {
            Operation::Hold { sku } => self.hold(sku).await,
            Operation::Checkout { sku } => self.checkout(sku).await,
            Operation::Look { sku } => self.look(sku).await,
            Operation::Browse { choice } => self.browse(choice).await,
        };
        if !measuring {
            return;
        }
        match done {
            Ok(()) => self.tally.operation(tokio_now() - due),
            Err(Miss::Refused(what)) => self.tally.refused(what),
            Err(Miss::Failed(what)) => self.tally.failed(what),
        }
    }

    /// What it saw.
    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }

    async fn hold(&mut self, sku: u32) -> Result<(), Miss> {
        let body = json!({"quantity": 1, "ttl_seconds": self.arguments.hold_seconds});
        let headers = if self.arguments.keyed { vec![self.fresh_key()] } else { Vec::new() };
        let path = format!("/v1/stock/{}/holds", sku_name(sku));
        self.call("hold", Method::POST, path, &body, &headers).await.map(drop)
    }

    async fn checkout(&mut self, sku: u32) -> Result<(), Miss> {
        let cart = self.call("cart", Method::POST, "/v1/carts".into(), &json!({"currency": "USD"}), &[]).await?;
        let cart = text(&cart, "id")?;
        let line = format!("/v1/carts/{cart}/lines/{}", sku_name(sku));
        self.call("line", Method::PUT, line, &json!({"quantity": 1}), &[]).await?;
        let buyer = json!({"email": "bench@shop.example"});
        self.call("buyer", Method::PUT, format!("/v1/carts/{cart}/buyer"), &buyer, &[]).await?;
        let order = json!({"cart_id": cart, "payment": {"provider": "simulated", "token": "tok_ok"}});
        let headers = [self.fresh_key(), ("prefer", "wait=10".to_owned())];
        let placed = self.call("order", Method::POST, "/v1/orders".into(), &order, &headers).await?;
        let path = format!("/v1/orders/{}", text(&placed, "id")?);
        let read = self.call("read", Method::GET, path, &Value::Null, &[]).await?;
        match text(&read, "state")?.as_str() {
            "confirmed" => Ok(()),
            "failed" => Err(Miss::Refused("order failed".to_owned())),
            other => Err(Miss::Failed(format!("order still {other} after waiting"))),
        }
    }

    async fn look(&mut self, sku: u32) -> Result<(), Miss> {
        let path = format!("/v1/stock/{}", sku_name(sku));
        self.call("look", Method::GET, path, &Value::Null, &[]).await.map(drop)
    }

    async fn browse(&mut self, choice: u64) -> Result<(), Miss> {
        let page = PAGES[usize::try_from(choice % PAGES.len() as u64).unwrap_or(0)];
        self.call("browse", Method::GET, page.to_owned(), &Value::Null, &[]).await.map(drop)
    }

    fn fresh_key(&self) -> (&'static str, String) {
        ("idempotency-key", hex::encode(self.keys.next_id()))
    }

    async fn call(
        &mut self,
        step: &'static str,
        method: Method,
        path: String,
        body: &Value,
        headers: &[(&'static str, String)],
    ) -> Result<Answer, Miss> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let from = tokio_now();
        let answer = self.connection.call(&self.target, Call { method, path, body, headers }).await;
        let answer = answer.map_err(|error| Miss::Failed(error.to_string()))?;
        if self.measuring {
            self.tally.step(step, tokio_now() - from);
        }
        let status = answer.status.as_u16();
        match status {
            200..300 => Ok(answer),
            409 => Err(Miss::Refused(format!("{step}: 409 {}", text(&answer, "code").unwrap_or_default()))),
            _ => Err(Miss::Failed(format!("{step}: {status} {}", text(&answer, "code").unwrap_or_default()))),
        }
    }
}

impl Default for Miss {
    fn default() -> Self {
        Self::Failed("an answer could not be read".to_owned())
    }
}

/// A member of a JSON answer.
fn text(answer: &Answer, member: &str) -> Result<String, Miss> {
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| Miss::default())?;
    body[member].as_str().map(str::to_owned).ok_or_else(Miss::default)
}
