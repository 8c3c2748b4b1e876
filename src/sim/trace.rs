//! The trace: every event anybody logs during a run, with its virtual time, hashed and, when asked for, written down.
//!
//! Two runs of one seed must have the same trace, line by line; where they part, something not drawn from the seed has
//! leaked in. Values that differ by nature (addresses of memory, process ids) must not be logged by anybody.
//!
//! What is logged at error level, and every panic, is heard here for the watch: who is accused of it, who is taken out
//! of service. Printing the trace, at any level, adds nothing to what is hashed.

use std::fmt::{self, Write as _};
use std::io::{BufWriter, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use xxhash_rust::xxh3::Xxh3;

use super::time::now_micros;

/// The trace of one run. Clones are the same.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

/// Where a trace goes besides its hash.
#[derive(Default)]
pub struct Output {
    /// Everything hashed, line by line.
    pub file: Option<std::fs::File>,
    /// Everything of this level and above, to stderr.
    pub print: Option<Level>,
}

/// Heard since somebody last asked.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// What panicked, in its own words.
    pub panics: Vec<String>,
    /// Entities that errors were logged about.
    pub accused: Vec<String>,
    /// Entities taken out of service.
    pub quarantined: Vec<String>,
}

struct Inner {
    hash: Xxh3,
    lines: u64,
    file: Option<BufWriter<std::fs::File>>,
    print: Option<Level>,
    /// Errors somebody logged: shown with a failure.
    errors: Vec<String>,
    heard: Heard,
}

/// Errors kept for the report.
const ERRORS_MAX: usize = 20;

impl Trace {
    /// Starts tracing the process.
    pub fn start(output: Output) -> Self {
        let trace = Self::quiet(output);
        tracing_subscriber::registry().with(trace.clone()).init();
        let (heard, before) = (trace.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            let payload = panic.payload();
            let said = payload.downcast_ref::<&str>().map(|said| (*said).to_owned());
            let said = said.or_else(|| payload.downcast_ref::<String>().cloned());
            let said = said.unwrap_or_else(|| "a panic that says nothing".to_owned());
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            heard.panicked(said, &place);
            before(panic);
        }));
        trace
    }

    /// A trace nobody logs to.
    pub fn quiet(Output { file, print }: Output) -> Self {
        let file = file.map(BufWriter::new);
        let (errors, heard) = (Vec::new(), Heard::default());
        Self(Arc::new(Mutex::new(Inner { hash: Xxh3::new(), lines: 0, file, print, errors, heard })))
    }

    /// Adds a line.
    pub fn line(&self, line: &str) {
        let mut inner = self.lock();
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
        let mut inner = self.lock();
        if let Some(file) = &mut inner.file {
            let _ = file.flush();
        }
        (format!("{:016x}", inner.hash.digest()), inner.lines)
    }

    /// Errors logged so far, the first ones.
    pub fn errors(&self) -> Vec<String> {
        self.lock().errors.clone()
    }

    /// What was heard since the last call.
    pub fn take_heard(&self) -> Heard {
        std::mem::take(&mut self.lock().heard)
    }

    /// Something panicked, in these words, at this place.
    pub fn panicked(&self, said: String, place: &str) {
        self.line(&format!("{} PANIC {place} {said}", now_micros()));
        self.lock().heard.panics.push(said);
    }

    /// This entity is to blame for what just panicked.
    pub fn accuse(&self, entity: String) {
        self.lock().heard.accused.push(entity);
    }

    fn hear(&self, event: &Event<'_>, line: &str) {
        let mut entity = Entity(None);
        event.record(&mut entity);
        let mut inner = self.lock();
        if inner.errors.len() < ERRORS_MAX {
            inner.errors.push(line.to_owned());
        }
        if let Some(entity) = entity.0 {
            let quarantined = line.contains("quarantined");
            let heard = &mut inner.heard;
            if quarantined { &mut heard.quarantined } else { &mut heard.accused }.push(entity);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an event belongs to the trace.
fn is_traced(metadata: &tracing::Metadata<'_>) -> bool {
    (metadata.target().starts_with("stockroom") && *metadata.level() <= Level::DEBUG)
        || metadata.target().starts_with("turmoil")
}

impl<S: Subscriber> Layer<S> for Trace {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        is_traced(metadata) || self.lock().print.is_some_and(|print| *metadata.level() <= print)
    }

    #[allow(clippy::print_stderr, reason = "printing the trace is what was asked for")]
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let micros = now_micros();
        let metadata = event.metadata();
        let mut line = format!("{micros} {} {}", metadata.level(), metadata.target());
        event.record(&mut Fields(&mut line));
        if *metadata.level() == Level::ERROR {
            self.hear(event, &line);
        }
        if self.lock().print.is_some_and(|print| *metadata.level() <= print) {
            eprintln!("{line}");
        }
        if is_traced(metadata) {
            self.line(&line);
        }
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

/// Finds who an event is about.
struct Entity(Option<String>);

impl Visit for Entity {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "entity" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}
