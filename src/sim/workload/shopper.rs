//! Shoppers: a purchase from an empty cart to an order, by every detour shoppers take.
//!
//! A purchase ends early at any definite no and at any request given up. What a shopper can judge alone is judged here
//! and told as [`Fact::Odd`]: an answer repeated must be the same, a key used for something else must be refused, a
//! cart edited from two tabs must end as the last write of either.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::judged::{said_ordered, said_state};
use super::{ATTEMPTS_MAX, Visitor, sku};
use crate::sim::client::{Call, NoAnswer, Reply};
use crate::sim::disk::{below, within};
use crate::sim::history::{Ask, Fact};
use crate::sim::laws;
use crate::sim::scenario::{Scenario, Shoppers};

/// SKU → units.
pub(super) type Lines = BTreeMap<String, u64>;

/// Popularity of products by Zipf's law, in the order of their numbers.
pub struct Popularity(Vec<f64>);

impl Popularity {
    /// Of this many products; an exponent of zero makes all alike.
    pub fn new(products: u32, exponent_percent: u32) -> Self {
        let exponent = f64::from(exponent_percent) / 100.0;
        let weights = (1..=products).map(|rank| f64::from(rank).powf(-exponent));
        let cumulated = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self(cumulated.collect())
    }

    /// The product at this place between none (0) and all (1).
    pub fn at(&self, place: f64) -> u32 {
        let wanted = place * self.0.last().copied().unwrap_or(0.0);
        self.0.iter().position(|sum| *sum > wanted).unwrap_or(self.0.len() - 1) as u32
    }
}

impl Visitor {
    /// A pause.
    pub async fn think(&self, shoppers: &Shoppers) {
        let longest = Duration::from_millis(shoppers.think_ms);
        tokio::time::sleep(within(&self.rng, &(Duration::ZERO..=longest))).await;
    }

    /// Once in so many times; zero: never.
    pub fn happens(&self, one_in: u64) -> bool {
        one_in > 0 && below(&self.rng, one_in) == 0
    }

    /// A product as popular as it is.
    pub fn choose(&self, scenario: &Scenario) -> String {
        let place = below(&self.rng, 1 << 32) as f64 / (1_u64 << 32) as f64;
        sku(Popularity::new(scenario.shop.products, scenario.shoppers.zipf_percent).at(place))
    }

    /// One purchase.
    pub async fn buy(&self, scenario: &Scenario) {
        // None: it ended early, which the history says.
        let _ = self.try_to_buy(scenario).await;
    }

    /// One purchase; the order's id unless it ended early.
    pub async fn try_to_buy(&self, scenario: &Scenario) -> Option<String> {
        let shoppers = &scenario.shoppers;
        let cart = self.new_cart().await?;
        let mut lines = if self.happens(shoppers.two_tabs_one_in) {
            self.fill_from_two_tabs(scenario, &cart).await?
        } else {
            self.fill(scenario, &cart).await?
        };
        if self.happens(shoppers.merge_one_in) {
            self.merge(scenario, &cart, &mut lines).await?;
        }
        let mut holds = BTreeMap::new();
        if self.happens(shoppers.hold_one_in) {
            holds = self.hold(scenario, &lines).await?;
            if self.happens(shoppers.abandon_hold_one_in) {
                return None;
            }
            if self.happens(shoppers.abandon_hold_one_in) {
                self.give_back(&holds).await;
                return None;
            }
        }
        let buyer = json!({"email": format!("{}@example.com", self.name)});
        let call = Call::new(Method::PUT, format!("/v1/carts/{cart}/buyer")).json(buyer).key(self.draw_key());
        let seen = self.step("say who buys", &call).await?;
        self.think(shoppers).await;
        let order = self.order(shoppers, &seen, lines, holds).await?;
        if self.happens(shoppers.cancel_one_in) {
            self.think(shoppers).await;
            self.cancel(&order).await;
        }
        Some(order)
    }

    async fn new_cart(&self) -> Option<String> {
        let create = Call::new(Method::POST, "/v1/carts").json(json!({"currency": "USD"})).key(self.draw_key());
        let cart = self.step("create a cart", &create).await?;
        Some(cart["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Puts lines into a cart; what it then has from this shopper.
    async fn fill(&self, scenario: &Scenario, cart: &str) -> Option<Lines> {
        let (mut lines, mut first) = (Lines::new(), None);
        for _ in 0..=below(&self.rng, u64::from(scenario.shoppers.lines_max)) {
            self.think(&scenario.shoppers).await;
            let (sku, quantity) = (self.choose(scenario), 1 + below(&self.rng, 2));
            if self.happens(scenario.shoppers.look_one_in) {
                self.look_at(&sku).await;
            }
            let edit = self.set_line(cart, &sku, quantity).await?;
            first.get_or_insert(edit);
            lines.insert(sku, quantity);
        }
        if let Some(edit) = first {
            self.recall_edit(&scenario.shoppers, cart, &edit).await;
        }
        Some(lines)
    }

    /// Two tabs write at once: of every line the last write of either must stand.
    async fn fill_from_two_tabs(&self, scenario: &Scenario, cart: &str) -> Option<Lines> {
        let (one, other) = tokio::join!(self.fill(scenario, cart), self.fill(scenario, cart));
        let (one, other) = (one?, other?);
        let shown = self.look_into(cart).await?;
        laws::checked("SIM-LAST-WRITE-STANDS");
        let lines = lines_of(&shown);
        let written = |sku: &String| [one.get(sku), other.get(sku)];
        let stands = |sku: &String| written(sku).contains(&lines.get(sku));
        if !one.keys().chain(other.keys()).chain(lines.keys()).all(stands)
            || lines.keys().any(|sku| written(sku) == [None, None])
        {
            self.odd(
                "SIM-LAST-WRITE-STANDS",
                format!("cart {cart}: tabs wrote {one:?} and {other:?}, it has {lines:?}"),
            );
        }
        Some(lines)
    }

    /// Fills a second cart and merges it into the first: nothing may be missing afterwards.
    async fn merge(&self, scenario: &Scenario, cart: &str, lines: &mut Lines) -> Option<()> {
        let second = self.new_cart().await?;
        let more = self.fill(scenario, &second).await?;
        let merged = self.merge_from(cart, &second, &more).await?;
        more.into_iter().for_each(|(sku, quantity)| *lines.entry(sku).or_default() += quantity);
        laws::checked("SIM-MERGE-KEEPS-ALL");
        if &lines_of(&merged) != lines {
            self.odd("SIM-MERGE-KEEPS-ALL", format!("carts together had {lines:?}, merged they are {merged}"));
        }
        Some(())
    }

    /// Takes a hold of every line.
    async fn hold(&self, scenario: &Scenario, lines: &Lines) -> Option<BTreeMap<String, String>> {
        let mut holds = BTreeMap::new();
        for (sku, units) in lines {
            let ttl_s = 1 + below(&self.rng, scenario.shoppers.hold_max_s.max(1));
            let hold = self.take_hold(scenario, sku, *units, ttl_s).await?;
            holds.insert(sku.clone(), hold);
            self.think(&scenario.shoppers).await;
        }
        Some(holds)
    }

    async fn give_back(&self, holds: &BTreeMap<String, String>) {
        for (sku, id) in holds {
            self.return_hold(sku, id).await;
        }
    }

    /// Orders the cart as it was seen last; the order's id when the shop took it.
    async fn order(
        &self,
        shoppers: &Shoppers,
        seen: &Value,
        lines: Lines,
        holds: BTreeMap<String, String>,
    ) -> Option<String> {
        let cart = seen["id"].as_str().unwrap_or_default();
        let tokens = &shoppers.tokens;
        let token = tokens[below(&self.rng, tokens.len() as u64) as usize].clone();
        let (payment, key) = (json!({"provider": "simulated", "token": token}), self.draw_key());
        let brought: Vec<Value> = holds.iter().map(|(sku, id)| json!({"sku": sku, "id": id})).collect();
        let mut body = json!({"cart_id": cart, "payment": payment, "holds": brought});
        let names_version = self.happens(shoppers.name_version_one_in);
        if names_version {
            body["cart_version"] = seen["version"].clone();
        }
        let call = Call::new(Method::POST, "/v1/orders").json(body.clone()).key(&key);
        let attempts_max = if self.happens(shoppers.give_up_one_in) { 1 } else { ATTEMPTS_MAX };
        for (sku, units) in &lines {
            let hold = holds.get(sku).cloned();
            let ask = hold.map_or(Ask::Order { units: *units }, |hold| Ask::OrderHeld { hold });
            self.tell(Fact::Asked { entity: format!("stock/{sku}"), ask });
        }
        let check_out = async |call: &Call| {
            let ask = Ask::CheckOut { key: call.key.clone().unwrap_or_default() };
            self.judged(format!("cart/{cart}"), ask, (call, attempts_max), said_ordered).await
        };
        let ((outcome, attempts), second) = if self.happens(shoppers.double_click_one_in) {
            let other = call.clone().key(self.draw_key());
            let (first, second) = tokio::join!(check_out(&call), check_out(&other));
            (first, Some(second.0))
        } else {
            (check_out(&call).await, None)
        };
        let is_answered = outcome.as_ref().is_ok_and(|reply| reply.status.is_success());
        let mut placed = None;
        for outcome in [Some(outcome), second].into_iter().flatten() {
            match outcome {
                Ok(reply) if reply.status.is_success() => {
                    let order = reply.body["id"].as_str().unwrap_or_default().to_owned();
                    if names_version {
                        self.compare_total(seen, &order, &reply.body);
                    }
                    let (lines, key, token, holds) = (lines.clone(), key.clone(), token.clone(), holds.clone());
                    self.tell(Fact::Ordered {
                        order: order.clone(),
                        cart: cart.to_owned(),
                        key,
                        lines,
                        token,
                        holds,
                        attempts,
                    });
                    placed = Some(order);
                }
                other => self.no("order", &key, other),
            }
        }
        let order = placed?;
        if is_answered {
            if self.happens(shoppers.edit_ordered_one_in) {
                self.set_line(cart, &super::sku(0), 1).await?;
            }
            self.ask_again(shoppers, &call, body, &order).await;
        }
        Some(order)
    }

    /// Nobody pays another price than was seen, whatever merchants do meanwhile.
    fn compare_total(&self, seen: &Value, order: &str, placed: &Value) {
        laws::checked("SIM-COSTS-WHAT-IS-SHOWN");
        let (shown, asked) = (&seen["totals"]["total"], &placed["totals"]["total"]);
        if shown != asked {
            let detail = format!("order {order} costs {asked}, version {} of its cart {shown}", seen["version"]);
            self.odd("SIM-COSTS-WHAT-IS-SHOWN", detail);
        }
    }

    /// What was answered with this order is asked for again, and something else under its key. It makes no difference
    /// whether the order is this key's or another one's of the same cart (P4).
    async fn ask_again(&self, shoppers: &Shoppers, call: &Call, mut body: Value, order: &str) {
        if self.happens(shoppers.repeat_one_in) {
            let (entity, request) = (format!("order/{order}"), (call, ATTEMPTS_MAX));
            let (outcome, _) = self.judged(entity, Ask::ReadOrder, request, said_state).await;
            laws::checked("SIM-SAME-ANSWER");
            match outcome {
                Ok(reply) if reply.status.is_success() && reply.body["id"] == order => self.tell(Fact::Repeated),
                Ok(reply) if !is_unknown(reply.status) => {
                    self.odd(
                        "SIM-SAME-ANSWER",
                        format!("order {order} asked for again: {} {}", reply.status, reply.body),
                    );
                }
                other => self.no("order again", call.key.as_deref().unwrap_or_default(), other),
            }
        }
        if self.happens(shoppers.other_body_one_in) {
            body["payment"]["token"] = json!("tok_other");
            let (outcome, _) = self.insist(&call.clone().json(body), ATTEMPTS_MAX).await;
            laws::checked("SIM-KEY-MEANS-ONE-THING");
            match outcome {
                Ok(reply) if !is_unknown(reply.status) && reply.code() != "idempotency_key_reused" => {
                    let detail = format!("order {order}: {} {}", reply.status, reply.body);
                    self.odd("SIM-KEY-MEANS-ONE-THING", detail);
                }
                other => self.no("order something else", call.key.as_deref().unwrap_or_default(), other),
            }
        }
    }

    async fn cancel(&self, order: &str) {
        let call = Call::new(Method::POST, format!("/v1/orders/{order}/cancel")).key(self.draw_key());
        let entity = format!("order/{order}");
        if self.judged_step("cancel", entity, Ask::Cancel, &call, said_state).await.is_some() {
            self.tell(Fact::Cancelled { order: order.to_owned() });
        }
    }

    /// One step of a purchase: its answer, or `None` when the purchase ends here.
    pub(super) async fn step(&self, what: &str, call: &Call) -> Option<Value> {
        let (outcome, _) = self.insist(call, ATTEMPTS_MAX).await;
        match outcome {
            Ok(reply) if reply.status.is_success() => Some(reply.body),
            other => {
                self.no(what, call.key.as_deref().unwrap_or_default(), other);
                None
            }
        }
    }

    pub(super) fn no(&self, what: &str, key: &str, outcome: Result<Reply, NoAnswer>) {
        let what = what.to_owned();
        let fact = match outcome {
            Ok(reply) if reply.status == StatusCode::SERVICE_UNAVAILABLE && reply.code() == "storage_full" => {
                Fact::Refused { what, code: reply.code().to_owned() }
            }
            Ok(reply) if !is_unknown(reply.status) => Fact::Refused { what, code: reply.code().to_owned() },
            _ => Fact::GaveUp { what, key: key.to_owned() },
        };
        self.tell(fact);
    }

    pub(super) fn odd(&self, law: &'static str, detail: String) {
        self.tell(Fact::Odd { law, detail });
    }
}

/// Whether an answer with this status leaves open what became of the request.
pub(super) fn is_unknown(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

pub(super) fn lines_of(cart: &Value) -> Lines {
    let lines = cart["lines"].as_array().into_iter().flatten();
    lines.filter_map(|line| Some((line["sku"].as_str()?.to_owned(), line["quantity"].as_u64()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popular_products_are_chosen_more_often() {
        let count = |percent| {
            let popularity = Popularity::new(4, percent);
            let mut counts = [0; 4];
            (0..1_000).for_each(|place| counts[popularity.at((f64::from(place) + 0.5) / 1_000.0) as usize] += 1);
            counts
        };
        assert_eq!(count(0), [250; 4]);
        assert_eq!(count(100), [480, 240, 160, 120]);
    }
}
