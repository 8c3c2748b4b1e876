//! Everything about HTTP that an operator may change. Filled from the configuration; every default is the shipped one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Options of both listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpOptions {
    /// The public listener; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The operators' listener; port 0 picks a free one.
    pub ops_listen: SocketAddr,
    /// Serve the public listener over TLS.
    pub tls: Option<TlsFiles>,
    /// Origins whose pages may call the API; `*` allows all. Empty: none but our own.
    pub cors_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What is bounded.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// A certificate chain and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Leaf first.
    pub certificate: PathBuf,
    /// PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// What is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections per listener; more wait in the kernel's backlog.
    pub connections_max: usize,
    /// Requests being worked on per node; more get 503.
    pub in_flight_max: usize,
    /// Open event streams per node; more get 503. They do not count as in flight.
    pub event_streams_max: usize,
    /// Bytes of one JSON body; larger ones get 413.
    pub body_bytes_max: usize,
    /// Bytes of one catalogue import, streamed; larger ones get 413.
    pub import_bytes_max: u64,
    /// Bytes of one request head; larger ones get 431. At least 8192.
    pub head_bytes_max: usize,
    /// Header lines of one request; more get 431.
    pub headers_max: usize,
    /// Requests a client may make per second on average; more get 429.
    pub client_requests_per_second: u32,
    /// Requests a client may make at once after a pause.
    pub client_burst: u32,
    /// New idempotency keys a client may use in 24 hours; more get 429.
    pub client_keys_per_day: u32,
    /// Clients whose rates are remembered; the quietest are forgotten first.
    pub clients_max: usize,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a request's head to arrive; also how long an idle connection is kept.
    pub head: Duration,
    /// For a request's body to arrive.
    pub body: Duration,
    /// For one command to be answered; then 504 `outcome_unknown`.
    pub command: Duration,
    /// For a whole request, whatever it does; a little more than the longest `Prefer: wait`.
    pub request: Duration,
    /// For a TLS handshake.
    pub tls_handshake: Duration,
    /// Between two comments on a silent event stream.
    pub event_keep_alive: Duration,
    /// How long a stream trusts that no signal means no change.
    pub event_reread: Duration,
    /// Between two readings of the API keys from the cluster.
    pub keys_refresh: Duration,
}

/// The longest `Prefer: wait`, part of the contract.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            ops_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            tls: None,
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            in_flight_max: 4_096,
            event_streams_max: 10_000,
            body_bytes_max: 1024 * 1024,
            import_bytes_max: 1024 * 1024 * 1024,
            head_bytes_max: 32 * 1024,
            headers_max: 64,
            client_requests_per_second: 200,
            client_burst: 400,
            client_keys_per_day: 1_000_000,
            clients_max: 100_000,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            command: Duration::from_secs(10),
            request: Duration::from_secs(40),
            tls_handshake: Duration::from_secs(5),
            event_keep_alive: Duration::from_secs(15),
            event_reread: Duration::from_secs(5),
            keys_refresh: Duration::from_secs(2),
        }
    }
}
