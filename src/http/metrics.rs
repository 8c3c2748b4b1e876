//! What is counted per route. Handles are made once, with the router, so that a request costs two atomic additions.

use std::time::Duration;

use axum::http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};

/// Requests answered, by route and status class.
pub const REQUESTS_TOTAL: &str = "stockroom_http_requests_total";
/// Time from the door in to the door out, by route; event streams end it when they begin.
pub const REQUEST_SECONDS: &str = "stockroom_http_request_seconds";
/// Requests refused at the door, by reason.
pub const REFUSED_TOTAL: &str = "stockroom_http_refused_total";

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Handles of one route.
pub struct RouteMetrics {
    by_class: [Counter; 5],
    seconds: Histogram,
}

impl RouteMetrics {
    /// Handles labelled with the route's name.
    pub fn new(route: &str) -> Self {
        Self {
            by_class: CLASSES.map(|class| counter!(REQUESTS_TOTAL, "route" => route.to_owned(), "status" => class)),
            seconds: histogram!(REQUEST_SECONDS, "route" => route.to_owned()),
        }
    }

    /// Counts one answer.
    pub fn count(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.by_class[class].increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteMetrics")
    }
}
