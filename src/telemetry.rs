//! What the node says about itself: log lines on stderr, traces to a collector, metrics for `/metrics`.
//!
//! Installed once, by a command that serves, inside its tokio runtime. Log lines carry fields, never bodies, payment
//! tokens, keys or addresses. Metrics are recorded through the `metrics` facade from anywhere; names end in their unit
//! (`_seconds`, `_bytes`, `_total`), which also picks the histogram buckets. Traces leave only when a collector is
//! configured; one that does not answer costs dropped traces and nothing else.
//!
//! Spans: `request` (info) around every HTTP request, `command` (debug) around every command to an entity, `flush`
//! (debug) around every fsync. Log lines show them as far as the filter lets them; a collector gets all of ours.

pub mod catalogue;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::time::Duration;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{LogFormat, TelemetryOptions};

/// Upper bounds of latency histograms, in seconds: 50 µs to 30 s, about three per decade.
const SECONDS_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
    30.0,
];

/// Upper bounds of size histograms, in bytes: 64 B to 16 MiB.
const BYTES_BUCKETS: &[f64] =
    &[64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// Upper bounds of every other histogram: how many of something went together (a batch, a queue).
const COUNT_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0];

/// How often histograms are folded into their buckets, so that a node nobody scrapes does not grow.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Whose spans a collector gets: this program's own, by the names of its modules.
const TRACED: &str = "stockroom";

/// How long the last traces may take to leave at the end.
const TRACE_FLUSH_MAX: Duration = Duration::from_secs(3);

/// What is installed; keep it until the end and then [`Telemetry::flush`] it.
pub struct Telemetry {
    /// Renders `/metrics`.
    pub prometheus: PrometheusHandle,
    traces: Option<SdkTracerProvider>,
}

/// Why telemetry could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not read.
    #[error("telemetry.log_filter: {reason}")]
    Filter {
        /// What is wrong with it.
        reason: String,
    },
    /// The collector's address does not read.
    #[error("telemetry.otlp_endpoint: {reason}")]
    Collector {
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody installed telemetry before.
    #[error("telemetry is installed already in this process")]
    Twice,
}

impl Telemetry {
    /// Installs all three for the process. Must run inside a tokio runtime.
    pub fn install(options: &TelemetryOptions) -> Result<Self, TelemetryError> {
        let filter = filter(&options.log_filter)?;
        let traces = if options.otlp_endpoint.is_empty() { None } else { Some(trace_provider(options)?) };
        let trace_layer = traces.as_ref().map(|provider| {
            let ours = Targets::new().with_target(TRACED, Level::DEBUG);
            tracing_opentelemetry::layer().with_tracer(provider.tracer(TRACED)).with_filter(ours)
        });
        tracing_subscriber::registry()
            .with(log_layer(options.log_format).with_filter(filter))
            .with(trace_layer)
            .try_init()
            .map_err(|_| TelemetryError::Twice)?;
        Ok(Self { prometheus: install_metrics()?, traces })
    }

    /// Sends what is still held. Blocks for at most three seconds; call it outside
    /// the runtime while the runtime still runs, because the runtime does the sending.
    pub fn flush(self) {
        if let Some(provider) = self.traces
            && let Err(error) = provider.shutdown_with_timeout(TRACE_FLUSH_MAX)
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder().parse(text).map_err(|error| TelemetryError::Filter { reason: error.to_string() })
}

fn log_layer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let to_stderr = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => to_stderr.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        LogFormat::Pretty => {
            let on_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            to_stderr.with_ansi(on_terminal).with_target(false).boxed()
        }
    }
}

fn trace_provider(options: &TelemetryOptions) -> Result<SdkTracerProvider, TelemetryError> {
    let endpoint = format!("{}/v1/traces", options.otlp_endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| TelemetryError::Collector { reason: error.to_string() })?;
    let share = f64::from(options.otlp_sample_percent) / 100.0;
    Ok(SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter, Tokio).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
        .with_resource(Resource::builder().with_service_name("stockroom").build())
        .build())
}

fn install_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let recorder = builder().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| TelemetryError::Twice)?;
    catalogue::describe();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

fn builder() -> PrometheusBuilder {
    PrometheusBuilder::new()
        .set_buckets(COUNT_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS))
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES_BUCKETS))
        .expect("the bucket lists are constants and not empty")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_default_filter_reads_and_a_broken_one_is_refused() {
        assert!(filter(&Config::default().telemetry.log_filter).is_ok());
        assert!(matches!(filter("stockroom=loud"), Err(TelemetryError::Filter { .. })));
    }

    #[test]
    fn histogram_buckets_follow_the_unit_in_the_name() {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("flush_seconds").record(0.003);
            metrics::histogram!("body_bytes").record(100.0);
            metrics::histogram!("batch_records").record(3.0);
        });
        let text = handle.render();
        assert!(text.contains("flush_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("body_bytes_bucket{le=\"64\"} 0"), "{text}");
        assert!(text.contains("batch_records_bucket{le=\"4\"} 1"), "{text}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_can_be_configured() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut options = Config::default().telemetry;
        options.otlp_endpoint = "http://127.0.0.1:9".to_owned();
        assert!(trace_provider(&options).is_ok());
    }
}
