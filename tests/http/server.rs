//! The listeners themselves: real sockets, TLS, clients that dawdle, and how it all ends.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use stockroom::http::options::TlsFiles;
use stockroom::http::{Doors, HttpOptions, Server, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::shop::{Shop, simulated};

/// Long enough for the slowest machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

async fn started(change: impl FnOnce(&mut HttpOptions)) -> (Shop, Server) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = HttpOptions { listen: ([127, 0, 0, 1], 0).into(), ..HttpOptions::default() };
    options.ops_listen = options.listen;
    change(&mut options);
    let shop = Shop::with(options, simulated()).await;
    let doors = Doors::take(shop.state.options()).unwrap();
    let server = serve(shop.state.clone(), doors).await.unwrap();
    (shop, server)
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

#[tokio::test]
async fn with_a_certificate_answers_are_encrypted_and_plain_requests_get_none() {
    let directory = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files =
        TlsFiles { certificate: directory.path().join("certificate.pem"), key: directory.path().join("key.pem") };
    std::fs::write(&files.certificate, own.cert.pem()).unwrap();
    std::fs::write(&files.key, own.signing_key.serialize_pem()).unwrap();
    let (shop, server) = started(|options| options.tls = Some(files)).await;
    shop.stocked("TEA", 3).await;
    let port = server.http.port();
    let trusted = reqwest::Certificate::from_pem(own.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
    let answer = client.get(format!("https://localhost:{port}/v1/stock/TEA")).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["available"], 3);
    assert!(reqwest::get(format!("http://localhost:{port}/v1/stock/TEA")).await.is_err());
    let stranger = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    assert!(stranger.get(format!("https://localhost:{port}/v1/stock/TEA")).send().await.is_err());
    in_time("stopping", server.shutdown(PATIENCE)).await;
}

#[tokio::test]
async fn at_the_end_streams_end_requests_in_flight_are_answered_and_nobody_new_is_let_in() {
    let (shop, server) = started(|_| {}).await;
    shop.stocked("TEA", 3).await;
    let base = format!("http://{}", server.http);
    let stream = reqwest::get(format!("{base}/v1/stock/TEA/events")).await.unwrap();
    let mut events = stream.bytes_stream();
    assert!(in_time("the first event", events.next()).await.unwrap().is_ok());
    let cart = shop.cart(&[("TEA", 1)]).await;
    let waiting = reqwest::Client::new()
        .post(format!("{base}/v1/orders"))
        .header("idempotency-key", "0123456789abcdef")
        .header("prefer", "wait=30")
        .json(&json!({ "cart_id": cart, "payment": { "provider": "simulated", "token": "tok_webhook" } }));
    let waiting = tokio::spawn(waiting.send());
    in_time("the order", async {
        while shop.get(&format!("/v1/carts/{cart}")).send().await.expect(200)["order_id"].is_null() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(in_time("stopping", server.shutdown(PATIENCE)).await, "nothing was cut off");
    let answer = in_time("the answer", waiting).await.unwrap().unwrap();
    assert_eq!(answer.status(), 202, "the wait is cut short, the answer is not");
    assert_eq!(answer.json::<Value>().await.unwrap()["state"], "authorizing");
    in_time("the stream's end", async { while events.next().await.is_some() {} }).await;
    assert!(reqwest::get(format!("{base}/healthz")).await.is_err());
}

#[tokio::test]
async fn a_head_that_never_ends_costs_the_client_its_connection() {
    let (_shop, server) = started(|options| options.timeouts.head = Duration::from_millis(100)).await;
    let mut dawdler = TcpStream::connect(server.http).await.unwrap();
    dawdler.write_all(b"GET /v1/stock/TEA HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    let mut rest = Vec::new();
    let _ = in_time("the connection's end", dawdler.read_to_end(&mut rest)).await;
    assert!(!rest.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn a_head_with_too_many_or_too_long_lines_is_refused() {
    let (_shop, server) = started(|options| options.limits.headers_max = 16).await;
    let url = format!("http://{}/v1/stock/TEA", server.http);
    let client = reqwest::Client::new();
    let many = (0..20).fold(client.get(&url), |request, number| request.header(format!("x-{number}"), "1"));
    assert_eq!(many.send().await.unwrap().status(), 431);
    let long = client.get(&url).header("x-long", "x".repeat(64 * 1024));
    assert_eq!(long.send().await.unwrap().status(), 431);
}
