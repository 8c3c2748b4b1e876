//! From the configuration to what each part of the shop is given.

use std::time::Duration;

use crate::cli::exit::{Exit, Failure};
use crate::cluster::hashing::ShardCount;
use crate::cluster::node::NodeOptions;
use crate::cluster::raft::group::RaftTiming;
use crate::config::Config;
use crate::domain::registry::Kind;
use crate::http::HttpOptions;
use crate::http::options::{Limits, Timeouts, TlsFiles};
use crate::payments::courier::CourierOptions;
use crate::persistence::trim::Retention;

/// This node's number in a cluster it founds.
const FOUNDER: u64 = 1;

/// What the node is given.
pub fn node(config: &Config) -> NodeOptions {
    let shards = ShardCount::new(config.node.shards).expect("the configuration's bounds are the cluster's");
    NodeOptions {
        member: FOUNDER,
        name: "node-1".to_owned(),
        shards,
        timing: RaftTiming {
            heartbeat_ms: config.raft.heartbeat_ms.0,
            election_min_ms: config.raft.election_min_ms.0,
            election_max_ms: config.raft.election_max_ms.0,
        },
        idle_after: Duration::from_secs(config.entities.idle_seconds.0),
        residents_max: config.entities.resident_max as usize,
        in_flight_per_shard_max: config.router.in_flight_per_shard_max as usize,
        waiting_per_entity_max: config.entities.waiting_max as usize,
    }
}

/// What is kept of the past.
pub fn retention(config: &Config) -> Result<Retention, Failure> {
    let kind_of = |name: &String| {
        Kind::from_name(name).ok_or_else(|| {
            let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            Failure::said(Exit::Usage, format!("journal.kept_for_ever: there is no kind of entity called {name:?}"))
                .advise(format!("use any of {}", known.join(", ")))
        })
    };
    Ok(Retention {
        records: Duration::from_secs(u64::from(config.journal.retention_days) * 24 * 60 * 60),
        kept_for_ever: config.journal.kept_for_ever.iter().map(kind_of).collect::<Result<_, _>>()?,
        feed_rows_max: u64::from(config.journal.feed_rows_max),
    })
}

/// What the payment courier is given.
pub fn courier(config: &Config) -> CourierOptions {
    CourierOptions { answer_timeout: Duration::from_millis(config.payments.timeout_ms.0), ..CourierOptions::default() }
}

/// What the listeners are given.
pub fn http(config: &Config) -> Result<HttpOptions, Failure> {
    let (http, admission) = (&config.http, &config.admission);
    let certificate = &http.tls_certificate;
    let tls = (!certificate.as_os_str().is_empty())
        .then(|| TlsFiles { certificate: certificate.clone(), key: http.tls_key.clone() });
    let proxies = http.trusted_proxies.iter().map(|text| parse_network(text)).collect::<Result<_, _>>()?;
    Ok(HttpOptions {
        listen: http.listen,
        ops_listen: http.ops_listen,
        tls,
        cors_origins: http.cors_origins.clone(),
        trusted_proxies: proxies,
        limits: Limits {
            connections_max: http.connections_max as usize,
            in_flight_max: admission.in_flight_max as usize,
            event_streams_max: http.event_streams_max as usize,
            body_bytes_max: size(http.body_bytes_max.0),
            import_bytes_max: http.import_bytes_max.0,
            head_bytes_max: size(http.header_bytes_max.0),
            client_requests_per_second: admission.client_requests_per_second,
            client_burst: admission.client_burst,
            client_keys_per_day: admission.keys_per_client_max,
            clients_max: admission.clients_tracked_max as usize,
            ..Limits::default()
        },
        timeouts: Timeouts {
            head: Duration::from_millis(http.header_read_timeout_ms.0),
            command: Duration::from_millis(config.router.deadline_ms.0),
            request: Duration::from_millis(http.request_timeout_ms.0),
            event_reread: http.event_reread_seconds.duration(),
            ..Timeouts::default()
        },
    })
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A network, or a single address standing for itself.
fn parse_network(text: &str) -> Result<ipnet::IpNet, Failure> {
    let single = || text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
    text.parse().or_else(|_| single()).map_err(|_| {
        Failure::said(Exit::Usage, format!("http.trusted_proxies: {text:?} is not an address or a network"))
            .advise("write e.g. 10.0.0.0/8 or 192.0.2.1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that what is tested over HTTP is what is shipped.
    #[test]
    fn listeners_by_default_are_what_the_default_configuration_says() {
        assert_eq!(http(&Config::default()).unwrap(), HttpOptions::default());
    }
}
