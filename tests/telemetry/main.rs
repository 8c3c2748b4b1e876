//! What a node says about itself while somebody buys something: metrics, traces, and logs that give nobody away.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod node;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::Uri;
use node::{BUYER, Node, TOKEN};
use stockroom::telemetry::catalogue::METRICS;

/// Long enough for the slowest machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Values of a series whose name and labels contain all of these, summed.
fn value(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = metrics.lines().filter(|line| {
        let rest = line.strip_prefix(name).unwrap_or("-");
        (rest.starts_with('{') || rest.starts_with(' ')) && labels.iter().all(|label| rest.contains(label))
    });
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_is_counted_everywhere_it_came_by() {
    let node = Node::start("");
    node.purchase().await;
    let counted = |metrics: &str| {
        let at_least = [
            ("stockroom_http_requests_total", &["POST /v1/orders\"", "2xx"][..], 1.0),
            ("stockroom_http_request_seconds_count", &["POST /v1/orders\""], 1.0),
            ("stockroom_commands_total", &["kind=\"cart\"", "accepted"], 3.0),
            ("stockroom_commands_total", &["kind=\"stock\"", "rejected"], 1.0),
            ("stockroom_batch_commands_count", &["kind=\"order\""], 1.0),
            ("stockroom_commit_seconds_count", &["kind=\"order\""], 1.0),
            ("stockroom_records_total", &["kind=\"order\""], 1.0),
            ("stockroom_flush_seconds_count", &[], 1.0),
            ("stockroom_flush_changes_count", &[], 1.0),
            ("stockroom_resident_actors", &[], 3.0),
            ("stockroom_recovery_seconds_count", &[], 3.0),
            ("stockroom_holds_total", &["placed"], 1.0),
            ("stockroom_holds_total", &["sold"], 1.0),
            ("stockroom_orders", &["confirmed"], 1.0),
            ("stockroom_payments_total", &["authorise", "authorised"], 1.0),
            ("stockroom_disk_free_bytes", &[], 1.0),
        ];
        at_least.iter().filter(|(name, labels, least)| value(metrics, name, labels) < *least).count() == 0
    };
    let metrics = node.metrics_when(PATIENCE, counted).await;
    let exactly = [
        ("stockroom_actor_failures_total", &[][..], 0.0),
        ("stockroom_quarantines_total", &[], 0.0),
        ("stockroom_rebuilds_total", &["store"], 0.0),
        ("stockroom_orders", &["failed"], 0.0),
        ("stockroom_holds_total", &["sold"], 1.0),
        ("stockroom_queue_depth", &["entities"], 0.0),
        ("stockroom_up", &[], 1.0),
    ];
    for (name, labels, expected) in exactly {
        assert!(metrics.contains(name), "{name} is missing");
        assert_eq!(value(&metrics, name, labels), expected, "{name} {labels:?}\n{metrics}");
    }
    for (name, _, meaning) in METRICS {
        assert!(metrics.contains(&format!("# HELP {name} {meaning}")), "{name} is not there, or not explained");
    }
    for quantile_or_bucket in ["stockroom_flush_seconds_bucket{le=\"0.001\"}", "stockroom_commit_seconds_bucket{kind="]
    {
        assert!(metrics.contains(quantile_or_bucket), "{quantile_or_bucket}");
    }
}

#[test]
fn every_metric_is_on_the_operators_page() {
    let page = include_str!("../../docs/operating.md");
    for (name, _, _) in METRICS {
        assert!(page.contains(&format!("`{name}`")), "docs/operating.md says nothing about {name}");
    }
}

type Received = Arc<Mutex<Vec<(String, Bytes)>>>;

async fn collect(State(received): State<Received>, uri: Uri, body: Bytes) {
    received.lock().unwrap().push((uri.path().to_owned(), body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_receives_the_spans_of_requests_commands_and_flushes() {
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(collect).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let node = Node::start(&format!("[telemetry]\notlp_endpoint = \"http://{address}\"\notlp_sample_percent = 100\n"));
    node.purchase().await;
    let log = node.terminate();
    let received = received.lock().unwrap();
    assert!(!received.is_empty(), "nothing came to the collector\n{log}");
    assert!(received.iter().all(|(path, _)| path == "/v1/traces"));
    let bytes: Vec<u8> = received.iter().flat_map(|(_, body)| body.to_vec()).collect();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    for text in ["service.name", "stockroom", "request", "POST /v1/orders", "command", "check_out", "flush"] {
        assert!(has(text), "no {text:?} among the spans");
    }
    for secret in BUYER.iter().chain([&TOKEN]) {
        assert!(!has(secret), "{secret:?} left the node with a trace");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_at_their_loudest_hold_no_token_key_or_address() {
    for format in ["pretty", "json"] {
        let telemetry = format!("[telemetry]\nlog_format = \"{format}\"\nlog_filter = \"debug\"\n");
        let node = Node::start(&format!("{telemetry}[http]\ntrusted_proxies = [\"127.0.0.0/8\"]\n"));
        let key = node.purchase().await;
        let log = node.terminate();
        assert!(log.contains("POST /v1/orders") && log.contains("DEBUG"), "this is not the log of a purchase: {log}");
        let secret = key.rsplit('_').next().unwrap();
        for given_away in BUYER.iter().copied().chain([TOKEN, secret, node::CLIENT]) {
            let line = log.lines().find(|line| line.contains(given_away));
            assert!(line.is_none(), "{given_away:?} is in the log: {}", line.unwrap_or_default());
        }
    }
}
