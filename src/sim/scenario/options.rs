//! Every option of a scenario, with its unit and its default.
//!
//! A fault or verb whose number is zero is switched off. `…_every_s` are averages: an event comes after anything
//! between nothing and twice that. `…_one_in` are odds. `…_max_…` bound a draw that starts at zero.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sim::meter::Reading;
/// A bug to plant: the scenario then passes when the named law breaks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Planted {
    /// Which bug, one of `canary::Canary`.
    pub bug: String,
    /// The law it must break.
    pub law: String,
    /// A seed under which it does.
    pub seed: u64,
}

/// Machines and network.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// Nodes of the cluster.
    pub nodes: u32,
    /// Shards of the cluster.
    pub shards: u32,
    /// Virtual seconds of the safety phase.
    pub safety_s: u64,
    /// Virtual seconds after healing within which every order must have ended.
    pub liveness_s: u64,
    /// Resolution of time, milliseconds: hours of shop time are affordable with coarser ones.
    pub tick_ms: u64,
    /// Fastest message, microseconds.
    pub latency_min_us: u64,
    /// Slowest message, microseconds.
    pub latency_max_us: u64,
    /// Rate of the exponential distribution between both: the larger, the rarer are slow messages.
    pub latency_curve: u32,
    /// Fastest sync of a disk, microseconds.
    pub sync_min_us: u64,
    /// Slowest sync of a disk, microseconds.
    pub sync_max_us: u64,
    /// Seconds an unused entity stays in memory.
    pub idle_s: u64,
    /// Log bytes of a shard after which it is checkpointed.
    pub checkpoint_bytes: u64,
    /// How far nodes' clocks are off at first, milliseconds.
    pub skew_ms: i64,
    /// How much faster than true time nodes' clocks run at first, millionths.
    pub drift_ppm: i64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            nodes: 1,
            shards: 3,
            safety_s: 20,
            liveness_s: 120,
            tick_ms: 1,
            latency_min_us: 100,
            latency_max_us: 2_000,
            latency_curve: 5,
            sync_min_us: 100,
            sync_max_us: 2_000,
            idle_s: 5,
            checkpoint_bytes: 256 << 10,
            skew_ms: 0,
            drift_ppm: 0,
        }
    }
}

/// What is sold.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shop {
    /// Products, one SKU each.
    pub products: u32,
    /// Units of each.
    pub units: u32,
}

impl Default for Shop {
    fn default() -> Self {
        Self { products: 3, units: 10 }
    }
}

/// Who buys.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shoppers {
    /// How many. Closed loop: each buys, thinks, and buys again.
    pub count: u32,
    /// Open loop: so many more come per minute, whatever the shop is like; each buys once.
    pub arrivals_per_minute: u64,
    /// Load curve: the safety phase in equal parts, arrivals of each in percent of the above.
    pub curve_percent: Vec<u64>,
    /// Longest pause between two steps, milliseconds.
    pub think_ms: u64,
    /// Purchases each of the closed loop tries before leaving, unless the safety phase ends first.
    pub purchases: u32,
    /// Most lines of a cart.
    pub lines_max: u32,
    /// Exponent of Zipf's law over the products, hundredths: 0 is even, 100 makes the nth a 1/n as popular.
    pub zipf_percent: u32,
    /// Of so many orders one is clicked twice at once.
    pub double_click_one_in: u64,
    /// Of so many orders one is asked for again under its key with another body, which must be refused.
    pub other_body_one_in: u64,
    /// Of so many answered orders one is asked for again under its key: the answer must be the same.
    pub repeat_one_in: u64,
    /// Of so many purchases one is edited from two tabs at once.
    pub two_tabs_one_in: u64,
    /// Of so many purchases one merges a second cart into the first.
    pub merge_one_in: u64,
    /// Of so many purchases one takes holds first and brings them to the order.
    pub hold_one_in: u64,
    /// Of so many holds one is abandoned; another so many are given back.
    pub abandon_hold_one_in: u64,
    /// Longest life of a hold, seconds.
    pub hold_max_s: u64,
    /// Of so many lines put into a cart one is looked up in stock first.
    pub look_one_in: u64,
    /// Of so many holds, deliveries and carts' first edits one is asked for once more later, under its old key.
    pub recall_one_in: u64,
    /// Longest time until then, seconds.
    pub recall_max_s: u64,
    /// Of so many carts that were ordered one is edited afterwards, before the order is asked for again.
    pub edit_ordered_one_in: u64,
    /// Of so many orders one names the version of the cart that was seen: it must cost what that showed.
    pub name_version_one_in: u64,
    /// Of so many requests without an answer one is given up at once.
    pub give_up_one_in: u64,
    /// Of so many orders one is cancelled by its shopper.
    pub cancel_one_in: u64,
    /// How long a request is waited for, milliseconds.
    pub patience_ms: u64,
    /// Payment tokens, drawn evenly.
    pub tokens: Vec<String>,
}

impl Default for Shoppers {
    fn default() -> Self {
        Self {
            count: 4,
            arrivals_per_minute: 0,
            curve_percent: vec![100],
            think_ms: 500,
            purchases: 3,
            lines_max: 3,
            zipf_percent: 0,
            double_click_one_in: 5,
            other_body_one_in: 0,
            repeat_one_in: 0,
            two_tabs_one_in: 0,
            merge_one_in: 0,
            hold_one_in: 0,
            abandon_hold_one_in: 0,
            hold_max_s: 20,
            look_one_in: 0,
            recall_one_in: 0,
            recall_max_s: 5,
            edit_ordered_one_in: 0,
            name_version_one_in: 0,
            give_up_one_in: 0,
            cancel_one_in: 0,
            patience_ms: 5_000,
            tokens: vec!["tok_ok".to_owned()],
        }
    }
}

/// Who runs the shop. All at rest unless switched on.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Merchants {
    /// Seconds between deliveries of more units, on average.
    pub restock_every_s: u64,
    /// Most units of one delivery.
    pub restock_units_max: u64,
    /// Seconds between two rounds of sending out what is confirmed.
    pub fulfil_every_s: u64,
    /// Seconds between two rounds of noting that what was sent out arrived.
    pub deliver_every_s: u64,
    /// Of so many orders sent out one is refunded.
    pub refund_one_in: u64,
    /// Most parts an order is refunded in, one asked for right after the other.
    pub refund_parts_max: u64,
    /// Seconds between two imports of the catalogue.
    pub import_every_s: u64,
    /// Seconds between two times a product is rewritten, several times at once, without a key.
    pub rewrite_every_s: u64,
    /// Seconds between two changes of a product's price.
    pub reprice_every_s: u64,
    /// Seconds between two times the hold of an order is ended under it.
    pub end_hold_every_s: u64,
    /// Seconds between two looks at an order and a product by somebody who only looks.
    pub look_every_s: u64,
}

/// What breaks on nodes, disks, clocks and between hosts, during the safety phase only.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Seconds between crashes.
    pub crash_every_s: u64,
    /// Seconds between crashes at a step of some entity's turn.
    pub step_crash_every_s: u64,
    /// Longest time a crashed node stays down, milliseconds.
    pub down_max_ms: u64,
    /// Of so many crashes one takes the store with it.
    pub store_vanishes_one_in: u64,
    /// Of so many crashes one loses what the disk said was synced: a disk that lies. Laws must break.
    pub lose_synced_one_in: u64,
    /// Of so many crashes one flips a bit of what was being written to the log.
    pub bit_flip_one_in: u64,
    /// Seconds between syncs that fail, each of which ends its node.
    pub sync_fails_every_s: u64,
    /// Seconds between spells of a slow disk.
    pub slow_disk_every_s: u64,
    /// Longest spell, milliseconds.
    pub slow_disk_max_ms: u64,
    /// Slowest sync during a spell, milliseconds.
    pub slow_sync_max_ms: u64,
    /// Seconds between spells of a full disk.
    pub disk_full_every_s: u64,
    /// Longest spell, milliseconds.
    pub disk_full_max_ms: u64,
    /// Seconds between jumps of a node's wall clock.
    pub clock_jump_every_s: u64,
    /// Longest jump either way, milliseconds.
    pub clock_jump_max_ms: u64,
    /// Seconds between changes of a clock's rate.
    pub clock_drift_every_s: u64,
    /// Largest error of a rate either way, millionths.
    pub clock_drift_max_ppm: u64,
    /// Seconds between clogs: messages are held back and released all at once.
    pub clog_every_s: u64,
    /// Longest clog, milliseconds.
    pub clog_max_ms: u64,
    /// Seconds between cuts: messages are lost both ways.
    pub cut_every_s: u64,
    /// Longest cut, milliseconds.
    pub cut_max_ms: u64,
    /// Seconds between cuts in one direction only.
    pub one_way_every_s: u64,
    /// Longest of those, milliseconds.
    pub one_way_max_ms: u64,
    /// Seconds between spells of a slow network.
    pub slow_network_every_s: u64,
    /// Longest spell, milliseconds.
    pub slow_network_max_ms: u64,
    /// Slowest message during a spell, milliseconds.
    pub slow_message_max_ms: u64,
    /// Seconds between spells in which every shard is hosted twice at once.
    pub host_twice_every_s: u64,
    /// Longest spell, milliseconds.
    pub host_twice_max_ms: u64,
    /// Of so many answers of a node one is reset on its way.
    pub reset_one_in: u64,
    /// Of so many packets of an answer one is lost: it arrives late, when it is sent again.
    pub loss_one_in: u64,
}

/// What the payment provider does besides what tokens make it do, during the safety phase only.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// Of so many authorisations one is declined.
    pub decline_one_in: u64,
    /// Of so many requests one is answered slowly.
    pub slow_one_in: u64,
    /// Slowest answer, milliseconds.
    pub slow_max_ms: u64,
    /// Of so many requests one is carried out and never answered.
    pub silent_one_in: u64,
    /// Of so many requests one is lost on the way.
    pub lost_one_in: u64,
    /// Of so many requests one finds the provider out of order.
    pub unavailable_one_in: u64,
    /// Longest delay of a webhook, milliseconds.
    pub webhook_late_max_ms: u64,
    /// Of so many webhooks one is sent twice.
    pub webhook_twice_one_in: u64,
    /// Of so many payments one is told by webhook before it is answered.
    pub webhook_first_one_in: u64,
    /// Of so many captures one is told by webhook too, up to a second after its answer.
    pub capture_webhook_one_in: u64,
}

/// What a run must be like besides right. Zero: no expectation.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Longest latency of all requests but one in a hundred while the shop is open, milliseconds.
    pub p99_ms_max: u64,
    /// Least share of requests that are answered, and not by a 5xx, percent.
    pub availability_percent_min: u64,
    /// Fewest commands accepted per minute of the safety phase.
    pub accepted_per_minute_min: u64,
}

impl Expect {
    /// What was expected and is not so, in words.
    pub fn missed(&self, reading: &Reading, safety: Duration) -> Vec<String> {
        let mut missed = Vec::new();
        let p99_ms = reading.latency_micros(99).div_ceil(1_000);
        if self.p99_ms_max > 0 && p99_ms > self.p99_ms_max {
            missed.push(format!("p99 latency is {p99_ms} ms, expected at most {}", self.p99_ms_max));
        }
        let available = reading.availability_percent();
        if available < self.availability_percent_min as f64 {
            missed.push(format!("availability is {available:.2} %, expected {}", self.availability_percent_min));
        }
        let per_minute = reading.accepted * 60 / safety.as_secs().max(1);
        if per_minute < self.accepted_per_minute_min {
            let least = self.accepted_per_minute_min;
            missed.push(format!("{per_minute} commands are accepted per minute, expected at least {least}"));
        }
        missed
    }
}
