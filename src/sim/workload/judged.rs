//! Requests to entities whose answers `linear` judges, and old requests asked once more.
//!
//! Each is in the history when it is made and when it is answered. A request recalled under its old key, after crashes
//! and long silence perhaps, must change nothing and be answered as before: of a hold or a delivery word for word, of
//! an edit with the cart as it has become since.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::shopper::{Lines, is_unknown, lines_of};
use super::{ATTEMPTS_MAX, INSIST_MAX, Visitor, product, yes};
use crate::sim::client::{Call, NoAnswer, Reply};
use crate::sim::disk::within;
use crate::sim::history::{Ask, Fact, Label, Said};
use crate::sim::laws;
use crate::sim::scenario::{Scenario, Shoppers};

/// What an answer that is a yes says.
pub(super) type Reading = fn(&Value) -> Said;

/// The cart it shows.
pub(super) fn said_lines(body: &Value) -> Said {
    Said::Lines { lines: lines_of(body) }
}

/// A yes.
pub(super) fn said_yes(_: &Value) -> Said {
    Said::Yes
}

fn said_hold(body: &Value) -> Said {
    Said::Held { hold: body["id"].as_str().unwrap_or_default().to_owned() }
}

fn said_available(body: &Value) -> Said {
    Said::Available { units: body["available"].as_u64().unwrap_or(u64::MAX) }
}

/// The order a cart became, and where it stands.
pub(super) fn said_ordered(body: &Value) -> Said {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    Said::Ordered { order: text("id"), state: text("state") }
}

/// Where the order stands.
pub(super) fn said_state(body: &Value) -> Said {
    Said::Stands { state: body["state"].as_str().unwrap_or_default().to_owned() }
}

/// What the product says.
pub(super) fn said_label(body: &Value) -> Said {
    Said::Says { version: body["version"].as_u64().unwrap_or_default(), label: label(body) }
}

/// Of a product as it is written and as it is shown.
fn label(product: &Value) -> Label {
    let price = product["variants"][0]["prices"]["USD"].as_u64().unwrap_or_default();
    Label { price, description_bytes: product["description"].as_str().unwrap_or_default().len() as u64 }
}

/// Why not.
fn said_no(reply: &Reply) -> Said {
    match reply.body["state"].as_str() {
        Some(state) if reply.code() == "order_state" => Said::Forbidden { state: state.to_owned() },
        _ => Said::No { code: reply.code().to_owned() },
    }
}

impl Visitor {
    /// Asks, and says so.
    pub(super) async fn judged(
        &self,
        entity: String,
        ask: Ask,
        (call, attempts_max): (&Call, u32),
        reading: Reading,
    ) -> (Result<Reply, NoAnswer>, u32) {
        let request = self.history.add(&self.name, Fact::Asked { entity, ask });
        let (outcome, attempts) = self.insist(call, attempts_max).await;
        let said = outcome
            .as_ref()
            .ok()
            .filter(|reply| !is_unknown(reply.status))
            .map(|reply| if reply.status.is_success() { reading(&reply.body) } else { said_no(reply) });
        if let Some(said) = said {
            self.tell(Fact::Answered { request, attempts, said });
        }
        (outcome, attempts)
    }

    /// As [`Visitor::step`], judged.
    pub(super) async fn judged_step(
        &self,
        what: &str,
        entity: String,
        ask: Ask,
        call: &Call,
        reading: Reading,
    ) -> Option<Value> {
        let (outcome, _) = self.judged(entity, ask, (call, ATTEMPTS_MAX), reading).await;
        match outcome {
            Ok(reply) if reply.status.is_success() => Some(reply.body),
            other => {
                self.no(what, call.key.as_deref().unwrap_or_default(), other);
                None
            }
        }
    }

    /// Sets a line of a cart; the call, to be recalled.
    pub(super) async fn set_line(&self, cart: &str, sku: &str, units: u64) -> Option<Call> {
        let call = Call::new(Method::PUT, format!("/v1/carts/{cart}/lines/{sku}")).json(json!({"quantity": units}));
        let (call, ask) = (call.key(self.draw_key()), Ask::SetLine { sku: sku.to_owned(), units });
        self.judged_step("set a line", format!("cart/{cart}"), ask, &call, said_lines).await?;
        Some(call)
    }

    /// Looks into a cart.
    pub(super) async fn look_into(&self, cart: &str) -> Option<Value> {
        let call = Call::new(Method::GET, format!("/v1/carts/{cart}"));
        self.judged_step("look at the cart", format!("cart/{cart}"), Ask::ReadCart, &call, said_lines).await
    }

    /// Merges a cart with these lines into another.
    pub(super) async fn merge_from(&self, cart: &str, second: &str, lines: &Lines) -> Option<Value> {
        let call = Call::new(Method::POST, format!("/v1/carts/{cart}/merge")).json(json!({"from": second}));
        let (call, ask) = (call.key(self.draw_key()), Ask::Merge { lines: lines.clone() });
        self.judged_step("merge carts", format!("cart/{cart}"), ask, &call, said_lines).await
    }

    /// Looks what is left of a SKU.
    pub(super) async fn look_at(&self, sku: &str) {
        let call = Call::new(Method::GET, format!("/v1/stock/{sku}"));
        self.judged_step("look at stock", format!("stock/{sku}"), Ask::ReadStock, &call, said_available).await;
    }

    /// Takes a hold, and asks for it again later now and then; its id.
    pub(super) async fn take_hold(&self, scenario: &Scenario, sku: &str, units: u64, ttl_s: u64) -> Option<String> {
        let body = json!({"quantity": units, "ttl_seconds": ttl_s});
        let call = Call::new(Method::POST, format!("/v1/stock/{sku}/holds")).json(body).key(self.draw_key());
        let (entity, ask) = (format!("stock/{sku}"), Ask::Hold { units, ttl_s });
        let hold = self.judged_step("hold", entity, ask, &call, said_hold).await?;
        let id = hold["id"].as_str().unwrap_or_default().to_owned();
        self.tell(Fact::Held { hold: id.clone(), sku: sku.to_owned(), units });
        // An ended hold is known for an hour; clocks that jump make that less.
        if scenario.has_right_clocks() {
            self.recall_the_same(&scenario.shoppers, &call, &hold).await;
        }
        Some(id)
    }

    /// Gives a hold back.
    pub(super) async fn return_hold(&self, sku: &str, hold: &str) {
        let call = Call::new(Method::DELETE, format!("/v1/stock/{sku}/holds/{hold}")).key(self.draw_key());
        let (entity, ask) = (format!("stock/{sku}"), Ask::Return { hold: hold.to_owned() });
        if self.judged_step("give a hold back", entity, ask, &call, said_yes).await.is_some() {
            self.tell(Fact::GaveBack { hold: hold.to_owned() });
        }
    }

    /// Looks where an order stands.
    pub(super) async fn look_at_order(&self, order: &str) -> Option<Value> {
        let call = Call::new(Method::GET, format!("/v1/orders/{order}"));
        self.judged_step("look at an order", format!("order/{order}"), Ask::ReadOrder, &call, said_state).await
    }

    /// Looks at a product.
    pub(super) async fn look_at_product(&self, number: u32) {
        let call = Call::new(Method::GET, format!("/v1/products/product-{number}"));
        let entity = format!("product/product-{number}");
        self.judged_step("look at a product", entity, Ask::ReadProduct, &call, said_label).await;
    }

    /// Writes a product, under a key or, without one, as often as it is sent.
    pub(super) async fn write_product(&self, number: u32, product: Value, key: Option<String>) -> Result<(), String> {
        let ask = Ask::Write { label: label(&product), once: key.is_some() };
        let call = Call::new(Method::PUT, format!("/v1/admin/products/product-{number}")).json(product);
        let (call, entity) = (Call { key, ..call }, format!("product/product-{number}"));
        let (outcome, _) = self.judged(entity, ask, (&call, INSIST_MAX), said_label).await;
        yes(&call, outcome).map(drop)
    }

    /// Imports the catalogue as it was first listed: every product is written.
    pub(super) async fn import_all(&self, scenario: &Scenario, call: &Call) -> Result<Value, String> {
        let requests: Vec<u64> = (0..scenario.shop.products)
            .map(|number| {
                // What an import wrote is known for ten minutes; clocks that jump make that less.
                let ask = Ask::Write { label: label(&product(number)), once: scenario.has_right_clocks() };
                let entity = format!("product/product-{number}");
                self.history.add(&self.name, Fact::Asked { entity, ask })
            })
            .collect();
        let (outcome, attempts) = self.insist(call, INSIST_MAX).await;
        let report = yes(call, outcome)?;
        for request in requests.into_iter().filter(|_| report["failed"] == 0) {
            self.tell(Fact::Answered { request, attempts, said: Said::Yes });
        }
        Ok(report)
    }

    /// Now and then asks once more, later, for what was answered: the answer must be word for word the same.
    pub(super) async fn recall_the_same(&self, shoppers: &Shoppers, call: &Call, answer: &Value) {
        if !self.happens(shoppers.recall_one_in) {
            return;
        }
        self.wait_to_recall(shoppers).await;
        let (outcome, _) = self.insist(call, ATTEMPTS_MAX).await;
        laws::checked("SIM-SAME-ANSWER");
        match outcome {
            Ok(reply) if reply.status.is_success() && reply.body == *answer => self.tell(Fact::Repeated),
            Ok(reply) if !is_unknown(reply.status) => {
                let detail = format!("{} answered {answer}, then {} {}", call.path, reply.status, reply.body);
                self.odd("SIM-SAME-ANSWER", detail);
            }
            other => self.no("ask again", call.key.as_deref().unwrap_or_default(), other),
        }
    }

    /// Now and then repeats an old edit of a cart: nothing may come of it.
    pub(super) async fn recall_edit(&self, shoppers: &Shoppers, cart: &str, edit: &Call) {
        if self.happens(shoppers.recall_one_in) {
            self.wait_to_recall(shoppers).await;
            self.judged_step("edit again", format!("cart/{cart}"), Ask::ReadCart, edit, said_lines).await;
        }
    }

    async fn wait_to_recall(&self, shoppers: &Shoppers) {
        let longest = Duration::from_secs(shoppers.recall_max_s);
        tokio::time::sleep(within(&self.rng, &(Duration::ZERO..=longest))).await;
    }
}
