//! The trace: every event anybody logs during a run, with its virtual time, hashed and, when asked for, written down.
//!
//! Two runs of one seed must have the same trace, line by line; where they part, something not drawn from the seed has
//! leaked in. Values that differ by nature (addresses of memory, process ids) must not be logged by anybody.

use std::fmt::{self, Write as _};
use std::io::{BufWriter, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use xxhash_rust::xxh3::Xxh3;

use super::time::now_micros;

/// The trace of one run.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    hash: Xxh3,
    lines: u64,
    file: Option<BufWriter<std::fs::File>>,
    /// Errors somebody logged: shown with a failure.
    errors: Vec<String>,
}

/// Errors kept for the report.
const ERRORS_MAX: usize = 20;

impl Trace {
    /// Starts tracing the process, into `file` too when given.
    pub fn start(file: Option<std::fs::File>) -> Self {
        let inner = Inner { hash: Xxh3::new(), lines: 0, file: file.map(BufWriter::new), errors: Vec::new() };
        let trace = Self(Arc::new(Mutex::new(inner)));
        tracing_subscriber::registry().with(trace.clone()).init();
        trace
    }

    /// Adds a line.
    pub fn line(&self, line: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.hash.update(line.as_bytes());
        inner.hash.update(b"\n");
        inner.lines += 1;
        if let Some(file) = &mut inner.file {
            // A trace that cannot be written shows when it is compared.
            let _ = writeln!(file, "{line}");
        }
    }

    /// The hash so far, and of how many lines.
    pub fn hash(&self) -> (String, u64) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut inner.file {
            let _ = file.flush();
        }
        (format!("{:016x}", inner.hash.digest()), inner.lines)
    }

    /// Errors logged so far, the first ones.
    pub fn errors(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).errors.clone()
    }
}

impl<S: Subscriber> Layer<S> for Trace {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        let target = metadata.target();
        let ours = target.starts_with("stockroom") && *metadata.level() <= Level::DEBUG;
        ours || target.starts_with("turmoil")
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let micros = now_micros();
        let metadata = event.metadata();
        let mut line = format!("{micros} {} {}", metadata.level(), metadata.target());
        event.record(&mut Fields(&mut line));
        if *metadata.level() == Level::ERROR {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if inner.errors.len() < ERRORS_MAX {
                inner.errors.push(line.clone());
            }
        }
        self.line(&line);
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
