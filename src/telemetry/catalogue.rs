//! Every metric of the program: its name, what it is, what it says. `/metrics` shows the sentence as help; a test holds
//! this list against what a purchase leaves behind and against the operators' page.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Is what it is now.
    Gauge,
    /// How many of which size; its name ends in the unit.
    Histogram,
}

use MetricKind::{Counter, Gauge, Histogram};

/// All of them: name, kind, meaning.
pub const METRICS: [(&str, MetricKind, &str); 26] = [
    ("stockroom_http_requests_total", Counter, "Requests answered, by route and status class."),
    ("stockroom_http_request_seconds", Histogram, "From the door in to the door out, by route."),
    ("stockroom_http_refused_total", Counter, "Requests turned away at the door, by code."),
    ("stockroom_http_in_flight", Gauge, "Requests being worked on."),
    ("stockroom_commands_total", Counter, "Commands answered, by kind of entity and outcome."),
    ("stockroom_batch_commands", Histogram, "Commands decided together, by kind of entity."),
    ("stockroom_commit_seconds", Histogram, "From proposing a batch to its verdict, by kind of entity."),
    ("stockroom_records_total", Counter, "Records stored, by kind of entity."),
    ("stockroom_flush_seconds", Histogram, "One write and fsync of the log."),
    ("stockroom_flush_changes", Histogram, "Changes of all shards that one fsync made durable."),
    ("stockroom_queue_depth", Gauge, "What waits, by queue: commands of entities, commands under way, proposals."),
    ("stockroom_resident_actors", Gauge, "Entities in memory."),
    ("stockroom_recovery_seconds", Histogram, "From starting an entity to its state, by kind of entity."),
    ("stockroom_actor_failures_total", Counter, "Entities that ended by an error and are started anew."),
    ("stockroom_quarantines_total", Counter, "Entities taken out of service after repeated faults."),
    ("stockroom_rebuilds_total", Counter, "Stores, lists and search indexes built again from the truth."),
    ("stockroom_holds_total", Counter, "Holds placed, pinned, sold, released and expired."),
    ("stockroom_holds_live", Gauge, "Holds that live, by holder: shopper or order."),
    ("stockroom_old_order_holds", Gauge, "Holds of orders older than an hour."),
    ("stockroom_orders", Gauge, "Orders, by state."),
    ("stockroom_payments_total", Counter, "Answers of payment providers, by operation and outcome."),
    ("stockroom_webhook_deliveries_total", Counter, "Outgoing webhooks, by outcome: taken or failed."),
    ("stockroom_webhook_lag_entries", Gauge, "Log entries that the endpoint furthest behind was not told of."),
    ("stockroom_disk_free_bytes", Gauge, "Free space where the data directory is."),
    ("stockroom_event_streams", Gauge, "Event streams being followed."),
    ("stockroom_up", Gauge, "1: the node runs."),
];

/// Describes all metrics to the recorder in force, and begins at zero what may never happen: a series that is not there
/// cannot be watched.
pub fn describe() {
    for (name, kind, meaning) in METRICS {
        match kind {
            Counter => describe_counter!(name, meaning),
            Gauge => describe_gauge!(name, meaning),
            Histogram if name.ends_with("_seconds") => describe_histogram!(name, Unit::Seconds, meaning),
            Histogram => describe_histogram!(name, meaning),
        }
    }
    counter!("stockroom_actor_failures_total").increment(0);
    counter!("stockroom_quarantines_total").increment(0);
    counter!("stockroom_http_refused_total", "code" => "rate_limited").increment(0);
    for what in ["store", "lists", "search"] {
        counter!("stockroom_rebuilds_total", "what" => what).increment(0);
    }
    for change in ["placed", "pinned", "sold", "released", "expired"] {
        counter!("stockroom_holds_total", "change" => change).increment(0);
    }
    for outcome in ["taken", "failed"] {
        counter!("stockroom_webhook_deliveries_total", "outcome" => outcome).increment(0);
    }
    metrics::gauge!("stockroom_webhook_lag_entries").set(0.0);
    metrics::gauge!("stockroom_up").set(1.0);
}
