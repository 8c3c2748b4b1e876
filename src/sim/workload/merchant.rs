//! Who runs the shop: deliveries of more units, sending out what is confirmed and refunding some of it, imports of the
//! catalogue.
//!
//! A merchant insists until there is an answer: in the end every outcome is known.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::judged::{said_state, said_yes};
use super::{INSIST_MAX, Visitor, product, sku, yes};
use crate::sim::client::Call;
use crate::sim::disk::{below, within};
use crate::sim::history::{Ask, Fact};
use crate::sim::laws;
use crate::sim::scenario::{Merchants, Scenario};

/// Prices a product may have, one apart.
const PRICES: u64 = 50;
/// Times a product is rewritten at once.
const REWRITES: usize = 8;
/// Words of a rewritten description: close to the longest there may be.
const DESCRIPTION_WORDS: usize = 1_990;

impl Visitor {
    /// Brings more units now and then.
    pub async fn restock(self, scenario: &Scenario, until: Instant) -> Result<(), String> {
        let Merchants { restock_every_s, restock_units_max, .. } = scenario.merchants;
        while self.rest(restock_every_s, until).await {
            let sku = sku(below(&self.rng, u64::from(scenario.shop.products)) as u32);
            self.receive(scenario, sku, 1 + below(&self.rng, restock_units_max.max(1))).await?;
        }
        Ok(())
    }

    /// Receives units.
    pub async fn receive(&self, scenario: &Scenario, sku: String, units: u64) -> Result<(), String> {
        let body = json!({"quantity": units, "reference": "delivery"});
        let call = Call::new(Method::POST, format!("/v1/admin/stock/{sku}/receive")).json(body);
        let (call, entity) = (call.key(self.draw_key()), format!("stock/{sku}"));
        let (outcome, _) = self.judged(entity, Ask::Receive { units }, (&call, INSIST_MAX), said_yes).await;
        let answer = yes(&call, outcome)?;
        self.tell(Fact::Received { sku, units });
        self.recall_the_same(&scenario.shoppers, &call, &answer).await;
        Ok(())
    }

    /// Sends out what is confirmed, again and again, and refunds some of it.
    pub async fn fulfil(self, scenario: &Scenario, until: Instant) -> Result<(), String> {
        let Merchants { fulfil_every_s, refund_one_in, .. } = scenario.merchants;
        while self.rest(fulfil_every_s, until).await {
            let confirmed = self.read("/v1/admin/orders?state=confirmed&limit=50".to_owned()).await?;
            for order in confirmed["items"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_str()) {
                if self.ask_of_order(order, "fulfil", json!({})).await? {
                    self.tell(Fact::Fulfilled { order: order.to_owned() });
                }
                if self.happens(refund_one_in) {
                    self.refund(order, scenario.merchants.refund_parts_max).await?;
                }
            }
        }
        Ok(())
    }

    /// Notes, again and again, that what was sent out arrived.
    pub async fn deliver(self, scenario: &Scenario, until: Instant) -> Result<(), String> {
        while self.rest(scenario.merchants.deliver_every_s, until).await {
            let sent = self.read("/v1/admin/orders?state=fulfilled&limit=50".to_owned()).await?;
            for order in sent["items"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_str()) {
                if self.ask_of_order(order, "deliver", json!({})).await? {
                    self.tell(Fact::Delivered { order: order.to_owned() });
                }
            }
        }
        Ok(())
    }

    /// Sells a product for another price from now on.
    pub async fn reprice(self, scenario: &Scenario, until: Instant) -> Result<(), String> {
        while self.rest(scenario.merchants.reprice_every_s, until).await {
            let number = below(&self.rng, u64::from(scenario.shop.products)) as u32;
            let mut product = product(number);
            product["variants"][0]["prices"]["USD"] = json!(100 + below(&self.rng, PRICES));
            self.write_product(number, product, Some(self.draw_key())).await?;
        }
        Ok(())
    }

    async fn refund(&self, order: &str, parts_max: u64) -> Result<(), String> {
        if parts_max > 1 {
            return self.refund_in_parts(order, 2 + below(&self.rng, parts_max - 1)).await;
        }
        let restock = below(&self.rng, 2) == 0;
        if self.ask_of_order(order, "refund", json!({"restock": restock})).await? {
            self.tell(Fact::Refunded { order: order.to_owned(), restock });
        }
        Ok(())
    }

    /// Gives everything back bit by bit, without waiting for any of them.
    async fn refund_in_parts(&self, order: &str, parts: u64) -> Result<(), String> {
        let Some(shown) = self.look_at_order(order).await else { return Ok(()) };
        let amount = shown["totals"]["total"].as_u64().unwrap_or_default() / parts;
        let mut all = true;
        for part in 1..=parts {
            // The last part is whatever is left.
            let body = if part < parts { json!({"amount": amount}) } else { json!({}) };
            all &= self.ask_of_order(order, "refund", body).await?;
        }
        if all {
            self.tell(Fact::Refunded { order: order.to_owned(), restock: false });
        }
        Ok(())
    }

    /// Rewrites a product without saying who asks, so that each rewrite is remembered by an id the shop draws.
    pub async fn rewrite(self, scenario: &Scenario, until: Instant) -> Result<(), String> {
        while self.rest(scenario.merchants.rewrite_every_s, until).await {
            let number = below(&self.rng, u64::from(scenario.shop.products)) as u32;
            for words in 1..=REWRITES {
                let mut product = product(number);
                product["description"] = json!("rewritten ".repeat(DESCRIPTION_WORDS - words));
                self.write_product(number, product, None).await?;
            }
        }
        Ok(())
    }

    /// Ends the hold of some order under it: the order must then fail and give everything back.
    pub async fn end_holds(self, scenario: &Scenario, until: Instant) -> Result<(), String> {
        while self.rest(scenario.merchants.end_hold_every_s, until).await {
            let sku = sku(below(&self.rng, u64::from(scenario.shop.products)) as u32);
            let holds = self.read(format!("/v1/admin/stock/{sku}/holds")).await?;
            let of_orders = holds["items"].as_array().into_iter().flatten().filter(|hold| hold["order_id"].is_string());
            let Some(id) = of_orders.filter_map(|hold| hold["id"].as_str()).next() else { continue };
            let call = Call::new(Method::DELETE, format!("/v1/admin/stock/{sku}/holds/{id}")).key(self.draw_key());
            let (outcome, _) = self.insist(&call, INSIST_MAX).await;
            if let Ok(reply) = outcome
                && !reply.status.is_success()
            {
                self.tell(Fact::Refused { what: "end a hold".to_owned(), code: reply.code().to_owned() });
            }
        }
        Ok(())
    }

    /// Whether the order agrees.
    async fn ask_of_order(&self, order: &str, what: &str, body: Value) -> Result<bool, String> {
        let ask = match what {
            "fulfil" => Ask::Fulfil,
            "deliver" => Ask::Deliver,
            _ => Ask::Refund { rest: body["amount"].is_null() },
        };
        let call = Call::new(Method::POST, format!("/v1/admin/orders/{order}/{what}")).json(body).key(self.draw_key());
        let (outcome, _) = self.judged(format!("order/{order}"), ask, (&call, INSIST_MAX), said_state).await;
        let reply = outcome.map_err(|error| error.to_string())?;
        if !reply.status.is_success() {
            self.tell(Fact::Refused { what: what.to_owned(), code: reply.code().to_owned() });
        }
        Ok(reply.status.is_success())
    }

    /// Imports the catalogue as it is: nothing may change by it.
    pub async fn import(self, scenario: &Scenario, until: Instant) -> Result<(), String> {
        while self.rest(scenario.merchants.import_every_s, until).await {
            let rows = (0..scenario.shop.products).map(|number| {
                let mut row = product(number);
                row["id"] = json!(format!("product-{number}"));
                row.to_string()
            });
            let file = rows.collect::<Vec<_>>().join("\n");
            let call = Call::new(Method::POST, "/v1/admin/products:import").bytes(file).key(self.draw_key());
            let report = self.import_all(scenario, &call.content_type("application/x-ndjson")).await?;
            laws::checked("SIM-IMPORT-IS-TAKEN");
            if report["failed"] != 0 {
                let detail = format!("importing the catalogue as it is: {report}");
                self.tell(Fact::Odd { law: "SIM-IMPORT-IS-TAKEN", detail });
            }
        }
        Ok(())
    }

    /// Only looks: now and then at an order that is listed, and at a product.
    pub async fn look_around(self, scenario: &Scenario, until: Instant) -> Result<(), String> {
        while self.rest(scenario.merchants.look_every_s, until).await {
            let listed = self.read("/v1/admin/orders?limit=50".to_owned()).await?;
            let orders = listed["items"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_str());
            let orders: Vec<&str> = orders.collect();
            if !orders.is_empty() {
                self.look_at_order(orders[below(&self.rng, orders.len() as u64) as usize]).await;
            }
            self.look_at_product(below(&self.rng, u64::from(scenario.shop.products)) as u32).await;
        }
        Ok(())
    }

    /// Waits for the next time; false when the day is over.
    async fn rest(&self, every_s: u64, until: Instant) -> bool {
        let pause = within(&self.rng, &(Duration::ZERO..=Duration::from_secs(2 * every_s)));
        tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
        every_s > 0 && Instant::now() < until
    }
}
