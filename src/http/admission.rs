//! Who gets in: a bound on the work in progress for everybody, and a rate for each client.
//!
//! A client is an API key, else an address: the peer's, or the one a trusted proxy names; IPv6 by /64, the smallest
//! thing one subscriber is given. Loopback clients are not limited, unless a trusted proxy on this machine names
//! another address. Rates follow the generic cell rate algorithm (ITU-T I.371): one number per client, the theoretical
//! arrival time of the next request. The table of clients is bounded; when it is full those with full buckets go, and
//! a client that was forgotten starts with a full bucket, so forgetting never refuses anybody.
//!
//! Refuses with 503 `overloaded`, 429 `rate_limited` or 429 `quota_exceeded`, each saying when to come back.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::HeaderMap;
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{Code, Problem};
use super::options::Limits;

/// Whom a rate is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Not limited.
    Loopback,
    /// An address; of IPv6 only the first 64 bits.
    Address(IpAddr),
    /// An API key, by its id.
    Key([u8; 16]),
}

impl Client {
    /// The client behind a connection from `peer`. `X-Forwarded-For` is read from the right as long as the hop that
    /// added an entry is trusted; the first untrusted address is the client.
    pub fn of(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Self {
        let address = forwarded_for(peer, headers, trusted_proxies).to_canonical();
        match address {
            address if address.is_loopback() => Self::Loopback,
            IpAddr::V4(address) => Self::Address(IpAddr::V4(address)),
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                Self::Address(IpAddr::V6(Ipv6Addr::from(network)))
            }
        }
    }
}

fn forwarded_for(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| {
        let address = address.to_canonical();
        trusted_proxies.iter().any(|network| network.contains(&address))
    };
    if trusted_proxies.is_empty() || !is_trusted(peer) {
        return peer;
    }
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let hops = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.rsplit(','));
    let mut address = peer;
    for hop in hops {
        let Some(named) = parse_hop(hop) else { break };
        address = named;
        if !is_trusted(named) {
            break;
        }
    }
    address
}

/// An address as proxies write it: bare, bracketed, or with a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let socket = || text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(socket).or_else(bracketed)
}

/// Tables are split so that clients rarely meet on one lock.
const TABLE_PARTS: usize = 16;
/// The window of the quota of idempotency keys.
const QUOTA_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// The door's doorkeeper.
pub struct Admission {
    in_flight: Arc<Semaphore>,
    event_streams: Arc<Semaphore>,
    /// Time one request costs.
    interval_ns: u64,
    /// How far ahead of time a client may be.
    tolerance_ns: u64,
    keys_per_day: u32,
    part_clients_max: usize,
    hasher: RandomState,
    parts: Vec<Mutex<HashMap<Client, Account>>>,
}

/// What is remembered of one client.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Theoretical arrival time of the next request, ns on the caller's monotonic clock.
    next_ns: u64,
    /// Start of the current quota window.
    quota_from_ns: u64,
    /// Keys used in it.
    keys_used: u32,
}

/// A place among the requests in flight; dropping it frees the place.
#[derive(Debug)]
pub struct Place(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Admission {
    /// An empty table.
    pub fn new(limits: &Limits) -> Self {
        let interval_ns = 1_000_000_000 / u64::from(limits.client_requests_per_second.max(1));
        Self {
            in_flight: Arc::new(Semaphore::new(limits.in_flight_max)),
            event_streams: Arc::new(Semaphore::new(limits.event_streams_max)),
            interval_ns,
            tolerance_ns: interval_ns * u64::from(limits.client_burst.max(1) - 1),
            keys_per_day: limits.client_keys_per_day,
            part_clients_max: (limits.clients_max / TABLE_PARTS).max(1),
            hasher: RandomState::new(),
            parts: (0..TABLE_PARTS).map(|_| Mutex::default()).collect(),
        }
    }

    /// A place for one request. Rejects when all are taken.
    pub fn enter(&self) -> Result<Place, Problem> {
        self.in_flight.clone().try_acquire_owned().map(Place).map_err(|_| {
            Problem::new(Code::Overloaded, "this node is working on as many requests as it may; try again")
        })
    }

    /// A place for one event stream. Rejects when all are taken.
    pub fn enter_stream(&self) -> Result<Place, Problem> {
        self.event_streams.clone().try_acquire_owned().map(Place).map_err(|_| {
            Problem::new(Code::Overloaded, "this node serves as many event streams as it may; try again or poll")
        })
    }

    /// Counts one request of a client at `now` (monotonic). Rejects when it comes too early.
    pub fn count(&self, client: Client, now: Duration) -> Result<(), Problem> {
        let now_ns = nanoseconds(now);
        let early_ns = self.with_account(client, now_ns, |account| {
            let expected = account.next_ns.max(now_ns);
            let early_ns = (expected - now_ns).saturating_sub(self.tolerance_ns);
            if early_ns == 0 {
                account.next_ns = expected + self.interval_ns;
            }
            early_ns
        });
        match early_ns {
            0 => Ok(()),
            wait => Err(Problem::new(Code::RateLimited, "this client sends more requests than its rate allows")
                .with_retry_after(Duration::from_nanos(wait))),
        }
    }

    /// Counts one idempotency key of a client. Rejects when its quota of 24 hours is used up (P3).
    pub fn count_key(&self, client: Client, now: Duration) -> Result<(), Problem> {
        let (now_ns, window_ns) = (nanoseconds(now), nanoseconds(QUOTA_WINDOW));
        let wait_ns = self.with_account(client, now_ns, |account| {
            if now_ns.saturating_sub(account.quota_from_ns) >= window_ns {
                (account.quota_from_ns, account.keys_used) = (now_ns, 0);
            }
            if account.keys_used >= self.keys_per_day {
                return account.quota_from_ns + window_ns - now_ns;
            }
            account.keys_used += 1;
            0
        });
        match wait_ns {
            0 => Ok(()),
            wait => Err(Problem::new(Code::QuotaExceeded, "this client used up its idempotency keys for a day")
                .with_fact("what", "idempotency keys in 24 hours")
                .with_fact("limit", self.keys_per_day)
                .with_retry_after(Duration::from_nanos(wait))),
        }
    }

    /// Event streams that may still begin.
    pub fn free_streams(&self) -> usize {
        self.event_streams.available_permits()
    }

    /// Requests that may still begin.
    pub fn free_places(&self) -> usize {
        self.in_flight.available_permits()
    }

    fn with_account(&self, client: Client, now_ns: u64, act: impl FnOnce(&mut Account) -> u64) -> u64 {
        if client == Client::Loopback {
            return 0;
        }
        let part = usize::try_from(self.hasher.hash_one(client) % TABLE_PARTS as u64).unwrap_or(0);
        let mut accounts = self.parts[part].lock().expect("no holder of this lock panics");
        if accounts.len() >= self.part_clients_max && !accounts.contains_key(&client) {
            self.forget(&mut accounts, now_ns);
        }
        let fresh = Account { quota_from_ns: now_ns, ..Account::default() };
        act(accounts.entry(client).or_insert(fresh))
    }

    /// Makes room: first whoever has a full bucket, if nobody has, everybody.
    fn forget(&self, accounts: &mut HashMap<Client, Account>, now_ns: u64) {
        accounts.retain(|_, account| account.next_ns > now_ns);
        if accounts.len() >= self.part_clients_max {
            accounts.clear();
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(requests_per_second: u32, burst: u32) -> Admission {
        Admission::new(&Limits {
            client_requests_per_second: requests_per_second,
            client_burst: burst,
            client_keys_per_day: 2,
            in_flight_max: 1,
            clients_max: 32,
            ..Limits::default()
        })
    }

    fn client(last: u8) -> Client {
        Client::Address(IpAddr::from([192, 0, 2, last]))
    }

    fn client_of(peer: &str, forwarded: &[&str], trusted: &[&str]) -> Client {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        Client::of(peer.parse().unwrap(), &headers, &trusted)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let admission = admission(10, 3);
        let at = |ms: u64| admission.count(client(1), Duration::from_millis(1_000 + ms)).is_ok();
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(99), at(100), at(101)], [false, true, false]);
        assert!(admission.count(client(2), Duration::from_millis(1_000)).is_ok(), "another client is not affected");
    }

    #[test]
    fn a_refused_client_is_told_when_to_come_back() {
        let admission = admission(1, 1);
        let now = Duration::from_secs(5);
        admission.count(client(1), now).unwrap();
        let problem = admission.count(client(1), now).unwrap_err();
        assert_eq!(problem.code(), Code::RateLimited);
        assert_eq!(problem.render("r").headers()["retry-after"], "1");
    }

    #[test]
    fn the_quota_of_keys_comes_back_after_a_day() {
        let admission = admission(10, 10);
        let hour = |hour: u64| admission.count_key(client(1), Duration::from_secs(hour * 3600));
        assert!(hour(1).is_ok() && hour(2).is_ok());
        assert_eq!(hour(24).unwrap_err().code(), Code::QuotaExceeded);
        assert!(hour(25).is_ok());
    }

    #[test]
    fn loopback_is_never_limited() {
        let admission = admission(1, 1);
        assert!((0..100).all(|_| admission.count(Client::Loopback, Duration::ZERO).is_ok()));
        assert!((0..100).all(|_| admission.count_key(Client::Loopback, Duration::ZERO).is_ok()));
    }

    #[test]
    fn a_full_house_refuses_until_somebody_leaves() {
        let admission = admission(1, 1);
        let place = admission.enter().unwrap();
        assert_eq!(admission.enter().unwrap_err().code(), Code::Overloaded);
        drop(place);
        assert!(admission.enter().is_ok());
    }

    #[test]
    fn the_table_of_clients_stays_bounded() {
        let admission = admission(1, 1);
        for last in 0..=255 {
            let _ = admission.count(client(last), Duration::from_secs(1));
        }
        let remembered: usize = admission.parts.iter().map(|part| part.lock().unwrap().len()).sum();
        assert!(remembered <= 32, "{remembered}");
    }

    #[test]
    fn ipv6_clients_are_counted_by_their_64_bit_network() {
        let one = client_of("2001:db8:1:2:3:4:5:6", &[], &[]);
        assert_eq!(one, client_of("2001:db8:1:2:ffff::1", &[], &[]));
        assert_ne!(one, client_of("2001:db8:1:3::1", &[], &[]));
    }

    #[test]
    fn only_a_trusted_proxy_may_name_another_address() {
        let named = Client::Address("203.0.113.9".parse().unwrap());
        assert_eq!(client_of("127.0.0.1", &["203.0.113.9"], &[]), Client::Loopback);
        assert_eq!(client_of("127.0.0.1", &["203.0.113.9"], &["127.0.0.0/8"]), named);
        assert_eq!(client_of("::ffff:127.0.0.1", &["203.0.113.9"], &["127.0.0.0/8"]), named);
        assert_eq!(client_of("127.0.0.1", &[], &["127.0.0.0/8"]), Client::Loopback);
        assert_eq!(client_of("198.51.100.1", &["127.0.0.1"], &[]), Client::Address("198.51.100.1".parse().unwrap()));
    }

    #[test]
    fn the_first_untrusted_hop_from_the_right_is_the_client() {
        let named = Client::Address("203.0.113.9".parse().unwrap());
        let trusted = ["10.0.0.0/8"];
        assert_eq!(client_of("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"], &trusted), named);
        assert_eq!(client_of("10.0.0.1", &["1.1.1.1", "203.0.113.9:4711"], &trusted), named);
        assert_eq!(client_of("10.0.0.1", &["203.0.113.9, nonsense"], &trusted), client_of("10.0.0.1", &[], &[]));
    }
}
