//! Paying a provider that is a process of its own, and that dies.

use std::time::Instant;

use serde_json::json;

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE, PAUSE};
use crate::provider::Provider;
use crate::shop::Home;

/// Every manner of payment, and how orders that pay so end. A request that died with the provider is one it never saw:
/// with enough of them an order that would be confirmed ends as `payment_unresolved`, and costs nothing.
const MANNERS: [(&str, &str); 7] = [
    ("tok_ok", "confirmed"),
    ("tok_declined", "failed"),
    ("tok_slow", "confirmed"),
    ("tok_timeout", "confirmed"),
    ("tok_lost", "failed"),
    ("tok_flaky", "confirmed"),
    ("tok_webhook", "confirmed"),
];
/// Orders of each manner.
const TIMES: usize = 6;
/// How often the provider is killed while they are paid, and entries in its books between two kills.
const KILLS: usize = 6;
const ENTRIES: usize = 5;

/// Buys one unit; a confirmed order is sent as well, which takes the money. Whether it was sold.
async fn buy(client: Client, book: Book, token: &'static str, ends: &'static str) -> bool {
    let cart = client.cart(&[("CUP-1", 1)]).await;
    let placed = client.send(&Client::order(&cart, token)).await;
    let id = placed.body["id"].as_str().unwrap_or_else(|| panic!("{:#}", placed.body)).to_owned();
    book.order(&id);
    let settled = client.settled(&id).await;
    let is_lost = settled["failure"]["code"] == "payment_unresolved";
    assert!(settled["state"] == ends || is_lost, "{token}: {settled:#}");
    let is_sold = settled["state"] == "confirmed";
    if is_sold {
        let sent = Call::post(format!("/v1/admin/orders/{id}/fulfil"), json!({})).merchant();
        client.send(&sent).await.expect(200);
        client.until_state(&id, "fulfilled").await;
        book.reached(&id, "fulfilled");
    }
    is_sold
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_killed_again_and_again_charges_every_order_once() {
    let (home, book) = (Home::new(), Book::default());
    let provider = Provider::of(&home);
    let shop = home.start().await;
    let client = Client::new(&home);
    client.list(&["CUP-1"], 1999).await;
    book.stock(&client, "CUP-1", 100).await;
    let mut process = provider.start(&provider.shops_door()).await;
    let twice = provider.try_start(&provider.shops_door()).await.err().expect("one provider for one ledger");
    assert_eq!(twice.code, Some(6), "{twice:#?}");

    let buying = |(token, ends): (&'static str, _)| tokio::spawn(buy(client.clone(), book.clone(), token, ends));
    let buyers: Vec<_> = MANNERS.into_iter().cycle().take(TIMES * MANNERS.len()).map(buying).collect();
    for _ in 0..KILLS {
        let (enough, deadline) = (provider.entries() + ENTRIES, Instant::now() + PATIENCE);
        while provider.entries() < enough {
            assert!(Instant::now() < deadline, "nobody pays any more: {}", home.tail());
            tokio::time::sleep(PAUSE / 4).await;
        }
        process.kill().await;
        process = provider.start(&provider.shops_door()).await;
    }
    let mut sold = 0;
    for buyer in buyers {
        sold += usize::from(buyer.await.unwrap());
    }

    let summary = book.audit(&home, &client).await;
    assert!(sold >= TIMES * MANNERS.len() / 2, "most are paid in spite of {KILLS} kills: {summary:?}");
    assert_eq!((summary.sold, summary.money), (sold, (1999 * sold as u64, 0)), "{summary:?}");
    let audit = provider.audit().await;
    assert_eq!(audit["conflicts"], 0, "no key stood for two things: {audit:#}");
    let told = client.metric("stockroom_http_requests_total{route=\"POST /v1/webhooks").await;
    assert!(told > 0.0, "results were told by webhook");
    assert!(!home.data().join("simulated-payments.ledger").exists(), "the shop keeps no books of its own");
    shop.stop().await;
    process.stop().await;
}
