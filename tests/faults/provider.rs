//! The simulated payment provider as a process of its own, at an address it keeps from start to start.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::shop::{Home, Refused, Shop};

/// What shop and provider sign webhooks with.
pub const SECRET: &str = "known to the shop and its provider";

/// Where a provider of this home serves, running or not.
#[derive(Clone, Copy)]
pub struct Provider<'a> {
    home: &'a Home,
    port: u16,
}

impl<'a> Provider<'a> {
    /// A shop at this home will pay there, from its next start on. Nothing runs there until started.
    pub fn of(home: &'a Home) -> Self {
        let port = free_port();
        home.set("STOCKROOM_PAYMENTS__SIMULATED_URL", &format!("http://127.0.0.1:{port}"));
        home.set("STOCKROOM_PAYMENTS__SIMULATED_WEBHOOK_SECRET", SECRET);
        home.books_are_at(home.root().join("provider.ledger"));
        Self { home, port }
    }

    /// Where the shop that runs now hears results.
    pub fn shops_door(&self) -> String {
        format!("{}/v1/webhooks/payments/simulated", self.home.address().lock().unwrap().http)
    }

    /// Starts it; it tells results to this address.
    pub async fn start(&self, notify: &str) -> Shop {
        self.try_start(notify).await.unwrap_or_else(|refused| panic!("no provider: {refused:#?}"))
    }

    /// Starts it, or learns why it does not start.
    pub async fn try_start(&self, notify: &str) -> Result<Shop, Refused> {
        let (listen, books) = (format!("127.0.0.1:{}", self.port), self.home.books());
        let mut command = self.home.command(&["payments-simulator", "--listen", &listen, "--notify", notify]);
        command.args(["--secret", SECRET, "--ledger"]).arg(books);
        let (process, ready) = self.home.run(command).await?;
        assert_eq!(ready["payments"], listen, "{ready}");
        Ok(process)
    }

    /// Its books as it shows them over HTTP.
    pub async fn audit(&self) -> Value {
        let url = format!("http://127.0.0.1:{}/v1/audit", self.port);
        crate::client::plain().get(url).send().await.unwrap().json().await.unwrap()
    }

    /// How much is in its books.
    pub fn entries(&self) -> usize {
        std::fs::read_to_string(self.home.books()).unwrap_or_default().lines().count()
    }
}

/// A port nobody listens on, below those the system gives out by itself: it is free again after a kill.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 1_000).unwrap();
    loop {
        let port = 20_000 + (process * 12 + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
