//! Configuration: every option the program has, in one table.
//!
//! The table below gives each option its default, unit, bounds and sentence; from it come the structs the program
//! reads, `config/default.toml`, and the output of `stockroom config`. Sources, later ones winning: the defaults, the
//! file of `--config`, environment variables (`STOCKROOM_HTTP__LISTEN` is `http.listen`), command-line flags.
//! Unknown keys are errors and come with a suggestion; all problems are reported at once, each with where it is from.
//! Called once at start; nothing re-reads configuration while running.

mod load;
mod render;
mod schema;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use load::{ConfigError, Problem, Sources};
pub use render::{default_toml, effective_toml};
pub use schema::{Bytes, LogFormat, Milliseconds, OptionInfo, Seconds, SectionInfo, WebhookEndpoint};

schema::options! {
    /// The node itself.
    node: NodeOptions {
        /// Directory of everything the node stores; made when missing, locked while in use.
        data_dir: PathBuf = "stockroom-data";
        /// Hash partitions of all entities, each one Raft group. Fixed when the data directory is first used.
        shards: u32 = 12, 1..=256 => "shards";
    }
    /// The HTTP listeners.
    http: HttpOptions {
        /// Address of the public listener: shop window, `/v1` and `/v1/admin`. Port 0 picks a free one.
        listen: SocketAddr = "127.0.0.1:8080";
        /// Address of the ops listener: health, metrics, status. Keep it away from the public.
        ops_listen: SocketAddr = "127.0.0.1:8081";
        /// PEM file with the certificate chain of the public listener; empty serves plain HTTP.
        tls_certificate: PathBuf = "";
        /// PEM file with the private key that belongs to `tls_certificate`.
        tls_key: PathBuf = "";
        /// Addresses or networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For` is believed.
        trusted_proxies: Vec<String> = [], 0..=64 => "networks";
        /// Origins allowed to call `/v1` from a browser, e.g. `https://shop.example`; `*` allows every origin.
        cors_origins: Vec<String> = [], 0..=64 => "origins";
        /// Open connections of both listeners together; further ones wait in the kernel's queue.
        connections_max: u32 = 10_000, 16..=1_000_000 => "connections";
        /// Largest request body, imports excepted; a larger one is answered 413.
        body_bytes_max: Bytes = 1_048_576, 1_024..=16_777_216;
        /// Largest body of one `products:import` call; it is streamed, never held whole.
        import_bytes_max: Bytes = 1_073_741_824, 1_048_576..=1_099_511_627_776;
        /// Largest head of a request: its line and headers together.
        header_bytes_max: Bytes = 32_768, 8_192..=1_048_576;
        /// How long a client may take to send its request head before the connection is closed.
        header_read_timeout_ms: Milliseconds = 10_000, 100..=600_000;
        /// How long one request may take altogether, waiting included; event streams and imports excepted.
        request_timeout_ms: Milliseconds = 40_000, 100..=600_000;
        /// How long requests in flight may take to finish after the signal to stop.
        shutdown_grace_ms: Milliseconds = 15_000, 0..=600_000;
        /// Open event streams (SSE) of all clients together.
        event_streams_max: u32 = 10_000, 1..=1_000_000 => "streams";
        /// How long an event stream trusts that no signal means no change, before it reads its entity anyway.
        event_reread_seconds: Seconds = 5, 1..=3_600;
    }
    /// Who is let in, and how fast.
    admission: AdmissionOptions {
        /// Client requests worked on at the same time; beyond it, 503 `overloaded` with `Retry-After`.
        in_flight_max: u32 = 4_096, 1..=1_000_000 => "requests";
        /// Sustained requests per second of one client (API key, else address; IPv6 by /64); loopback is exempt.
        client_requests_per_second: u32 = 200, 1..=1_000_000 => "requests per second";
        /// Requests one client may make at once after being quiet.
        client_burst: u32 = 400, 1..=1_000_000 => "requests";
        /// Clients whose rate is tracked; the least recently seen one is forgotten first.
        clients_tracked_max: u32 = 100_000, 100..=10_000_000 => "clients";
        /// Idempotency keys remembered per client in 24 hours; beyond it, 429 `quota_exceeded`.
        keys_per_client_max: u32 = 1_000_000, 100..=100_000_000 => "keys";
    }
    /// Bringing commands to entities.
    router: RouterOptions {
        /// How long a command is tried, retries with the same id included, before 504 `outcome_unknown`.
        deadline_ms: Milliseconds = 10_000, 100..=120_000;
        /// Client commands under way per shard; beyond it, 503 `overloaded` with `Retry-After`.
        in_flight_per_shard_max: u32 = 4_096, 1..=1_000_000 => "commands";
    }
    /// Entities as actors.
    entities: EntityOptions {
        /// Actors kept in memory; above it, the least recently used idle ones are stopped first.
        resident_max: u32 = 200_000, 100..=10_000_000 => "actors";
        /// How long an entity that owes nothing stays in memory after its last command.
        idle_seconds: Seconds = 120, 1..=86_400;
        /// Client commands waiting for their turn at one entity; beyond it, 503 `overloaded` with `Retry-After`.
        waiting_max: u32 = 2_048, 1..=1_000_000 => "commands";
    }
    /// Replication of each shard's log.
    raft: RaftOptions {
        /// How often a leader shows that it is alive.
        heartbeat_ms: Milliseconds = 100, 10..=10_000;
        /// Shortest silence of a leader before another node stands for election.
        election_min_ms: Milliseconds = 500, 50..=60_000;
        /// Longest silence of a leader before another node stands for election.
        election_max_ms: Milliseconds = 1_000, 100..=120_000;
    }
    /// Files.
    storage: StorageOptions {
        /// Log size above which old entries are reclaimed, shards that hold them being checkpointed first.
        log_bytes_max: Bytes = 1_073_741_824, 67_108_864..=1_099_511_627_776;
        /// Log bytes of a shard since its last checkpoint after which it is checkpointed, unless that is larger.
        checkpoint_bytes_min: Bytes = 67_108_864, 1_048_576..=17_179_869_184;
        /// Size of `sled/` above which it is made anew in a smaller file, each time it has grown by half.
        store_compact_bytes_min: Bytes = 268_435_456, 1_048_576..=1_099_511_627_776;
        /// Free disk space below which client writes are refused with 503 `storage_full`.
        reserve_bytes: Bytes = 268_435_456, 16_777_216..=1_099_511_627_776;
    }
    /// What is kept of the past.
    journal: JournalOptions {
        /// Records that a snapshot covers are removed once they are older than this.
        retention_days: u32 = 7, 1..=36_500 => "days";
        /// Kinds of entities whose records are kept for ever: `cart`, `cluster`, `order`, `product`, `stock`.
        kept_for_ever: Vec<String> = ["order", "stock"], 0..=16 => "kinds";
        /// Feed rows kept per shard; a list or search index that is further behind is rebuilt from the entities.
        feed_rows_max: u32 = 1_000_000, 1_000..=1_000_000_000 => "rows";
        /// Between two sweeps that remove what is past its time.
        sweep_seconds: Seconds = 3_600, 1..=86_400;
    }
    /// Payments.
    payments: PaymentOptions {
        /// How long a provider may take to answer before its outcome is looked up.
        timeout_ms: Milliseconds = 5_000, 100..=120_000;
        /// Whether the simulated provider is offered. It moves no money: switch it off in a real shop.
        simulated: bool = true;
        /// Signs the simulated provider's webhooks; empty draws one at start.
        simulated_webhook_secret: String = "", secret;
        /// Where `stockroom payments-simulator` serves it, e.g. `http://127.0.0.1:8090/`; empty: inside the node.
        simulated_url: String = "";
    }
    /// Telling other systems what happened.
    webhooks: WebhookOptions {
        /// Endpoints, e.g. `{ name = "erp", url = "https://…", secret = "…", events = ["order.*", "stock.changed"] }`.
        endpoints: Vec<WebhookEndpoint> = [], 0..=16 => "endpoints", secret;
        /// How long an endpoint may take to answer before the delivery is tried again.
        attempt_timeout_ms: Milliseconds = 10_000, 100..=120_000;
        /// Longest pause between two attempts; the first is a quarter of a second, each one twice the one before.
        retry_pause_max_seconds: Seconds = 60, 1..=3_600;
    }
    /// What the node says about itself.
    telemetry: TelemetryOptions {
        /// Form of log lines on stderr: `pretty` for people, `json` for machines.
        log_format: LogFormat = "pretty";
        /// Which log lines: `level` or `module=level`, separated by commas.
        log_filter: String = "info,ractor=warn,ractor_cluster=info,openraft=warn,raft_engine=warn,tantivy=error";
        /// Collector that receives traces by OTLP over HTTP, e.g. `http://127.0.0.1:4318`; empty sends none.
        otlp_endpoint: String = "";
        /// Share of requests whose trace is sent.
        otlp_sample_percent: u32 = 10, 0..=100 => "percent";
    }
}
