//! A payment provider that moves no money: real books, made-up shoppers, and every way a provider can misbehave.
//!
//! | token | what the provider does |
//! |---|---|
//! | `tok_ok` | authorises |
//! | `tok_declined` | declines (`card_declined`) |
//! | `tok_slow` | authorises, answers after 3 s |
//! | `tok_timeout` | authorises, never answers; a lookup finds it |
//! | `tok_lost` | loses the request, never answers; a lookup finds nothing; a later void bars the key |
//! | `tok_flaky` | is out of order twice per key, then authorises |
//! | `tok_webhook` | answers Pending; the result comes by webhook: late, twice, or before the answer |
//!
//! Any other token is declined (`invalid_token`). A token speaks only once: a key already in the books is answered
//! from them. Deterministic under the injected randomness and tokio's time. Nothing is answered, not even a lookup,
//! before what it rests on is on disk, so books opened after a kill -9 hold everything anybody was told.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use super::gateway::{PaymentGateway, PaymentUnknown};
use super::ledger::{Asked, Audit, Entry, Ledger};
use super::ledger_file::{Durable, LedgerFile, OpenLedgerError};
use super::webhook::{WebhookError, WebhookNotice, WebhookSecret, WebhookSink};
use crate::clock::Clock;
use crate::domain::payment::{PaymentOperation, PaymentOutcome, PaymentRequest, PaymentToken};
use crate::domain::time::Timestamp;
use crate::rng::Rng;

/// The name orders pay with.
pub const PROVIDER_NAME: &str = "simulated";

/// What `tok_slow` takes, as the contract says.
const SLOW_ANSWER: Duration = Duration::from_secs(3);

/// How often `tok_flaky` fails, as the contract says.
const FLAKY_FAILURES: u32 = 2;

/// Between a webhook sent first and the answer it precedes, and between the two copies of one sent twice.
const WEBHOOK_GAP: Duration = Duration::from_millis(300);

/// A late webhook is this late at least and less than twice this late.
const WEBHOOK_DELAY_MS: u64 = 1_000;

/// A webhook nobody takes is sent again this often, with doubling pauses from one second to one minute: half an hour.
const WEBHOOK_ATTEMPTS_MAX: u32 = 36;
const WEBHOOK_PAUSE_MIN: Duration = Duration::from_secs(1);
const WEBHOOK_PAUSE_MAX: Duration = Duration::from_secs(60);

/// What the provider is made of.
pub struct Parts {
    /// Decides how webhooks misbehave.
    pub rng: Arc<dyn Rng>,
    /// Dates webhooks.
    pub clock: Arc<dyn Clock>,
    /// Signs webhooks; the shop verifies them with the same.
    pub webhook_secret: WebhookSecret,
}

/// The provider. One per process; share it in an `Arc`.
pub struct SimulatedProvider {
    /// Books and file in one place, so that entries enter the file in the order they enter the books.
    books: Mutex<Books>,
    parts: Parts,
    due: mpsc::UnboundedSender<Due>,
    /// Taken by [`SimulatedProvider::send_webhooks`]; bounded by the books.
    webhooks: Mutex<Option<mpsc::UnboundedReceiver<Due>>>,
}

struct Books {
    ledger: Ledger,
    file: LedgerFile,
}

impl Books {
    fn enter(&mut self, entry: Entry) -> Durable {
        self.ledger.apply(&entry);
        self.file.append(&[entry])
    }

    fn barrier(&self) -> Durable {
        self.file.append(&[])
    }
}

/// A webhook to be sent.
struct Due {
    key: String,
    manner: Manner,
}

/// How a webhook misbehaves.
#[derive(Clone, Copy)]
enum Manner {
    Late(Duration),
    Twice(Duration),
    First,
}

impl Manner {
    fn delay(self) -> Duration {
        match self {
            Self::Late(delay) | Self::Twice(delay) => delay,
            Self::First => Duration::ZERO,
        }
    }
}

/// What becomes of the answer.
enum Reply {
    At(Duration, PaymentOutcome),
    Never,
    Unknown(PaymentUnknown),
}

/// What a token makes the provider do with an authorisation it sees for the first time.
enum Conduct {
    Authorise { answer_after: Duration },
    AuthoriseSilently,
    Decline(&'static str),
    Lose,
    Fail,
    ByWebhook,
}

impl Conduct {
    fn of(token: &PaymentToken, failures: u32) -> Self {
        match token.0.as_str() {
            "tok_flaky" if failures < FLAKY_FAILURES => Self::Fail,
            "tok_ok" | "tok_flaky" => Self::Authorise { answer_after: Duration::ZERO },
            "tok_slow" => Self::Authorise { answer_after: SLOW_ANSWER },
            "tok_declined" => Self::Decline("card_declined"),
            "tok_timeout" => Self::AuthoriseSilently,
            "tok_lost" => Self::Lose,
            "tok_webhook" => Self::ByWebhook,
            _ => Self::Decline("invalid_token"),
        }
    }
}

impl SimulatedProvider {
    /// A provider that forgets everything with the process.
    pub fn in_memory(parts: Parts) -> Arc<Self> {
        Self::new(parts, LedgerFile::in_memory(), &[])
    }

    /// A provider whose books are in the file at `path`, created if absent. Webhooks still due are sent again.
    pub async fn open(parts: Parts, path: &Path) -> Result<Arc<Self>, OpenLedgerError> {
        let (file, entries) = LedgerFile::open(path).await?;
        Ok(Self::new(parts, file, &entries))
    }

    fn new(parts: Parts, file: LedgerFile, entries: &[Entry]) -> Arc<Self> {
        let mut ledger = Ledger::default();
        entries.iter().for_each(|entry| ledger.apply(entry));
        let (due, webhooks) = mpsc::unbounded_channel();
        for key in ledger.notices_due() {
            let manner = Manner::Late(Duration::from_millis(WEBHOOK_DELAY_MS));
            due.send(Due { key, manner }).expect("the receiver is in this very function");
        }
        let books = Mutex::new(Books { ledger, file });
        Arc::new(Self { books, parts, due, webhooks: Mutex::new(Some(webhooks)) })
    }

    /// A copy of the books, for tests.
    pub fn audit(&self) -> Audit {
        self.books().ledger.audit()
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().expect("books whose law broke are not used again")
    }

    /// Decides, enters, and answers what to wait for and what to say.
    fn take(&self, request: &PaymentRequest) -> (Durable, Reply) {
        let mut books = self.books();
        let Some(asked) = Asked::of(request) else {
            return (books.barrier(), Reply::At(Duration::ZERO, lookup(&books.ledger, request)));
        };
        match books.ledger.repeated(&request.key, request.order, &asked) {
            Some(Ok(outcome)) => (books.barrier(), Reply::At(Duration::ZERO, outcome)),
            Some(Err(_)) => (books.barrier(), Reply::Unknown(PaymentUnknown::KeyReused)),
            None => self.take_new(&mut books, request, asked),
        }
    }

    fn take_new(&self, books: &mut Books, request: &PaymentRequest, asked: Asked) -> (Durable, Reply) {
        let judged = books.ledger.judge(&asked);
        let conduct = match &request.operation {
            PaymentOperation::Authorise { token, .. } if judged == PaymentOutcome::Authorised => {
                Conduct::of(token, books.ledger.failures(&request.key))
            }
            _ => Conduct::Authorise { answer_after: Duration::ZERO },
        };
        let mut answered = |outcome: PaymentOutcome| {
            let (key, order) = (request.key.clone(), request.order);
            books.enter(Entry::Answered { key, order, asked: asked.clone(), outcome })
        };
        match conduct {
            Conduct::Authorise { answer_after } => (answered(judged.clone()), Reply::At(answer_after, judged)),
            Conduct::AuthoriseSilently => (answered(judged), Reply::Never),
            Conduct::Decline(reason) => {
                let declined = PaymentOutcome::Declined { reason: reason.into() };
                (answered(declined.clone()), Reply::At(Duration::ZERO, declined))
            }
            Conduct::Lose => (books.barrier(), Reply::Never),
            Conduct::Fail => {
                let failed = books.enter(Entry::Failed { key: request.key.clone() });
                (failed, Reply::Unknown(PaymentUnknown::Unavailable))
            }
            Conduct::ByWebhook => {
                let entered = answered(PaymentOutcome::Pending);
                (entered, Reply::At(self.owe_webhook(&request.key), PaymentOutcome::Pending))
            }
        }
    }

    /// Owes a webhook and says when the answer goes out.
    fn owe_webhook(&self, key: &str) -> Duration {
        let draw = self.parts.rng.next_u64();
        let delay = Duration::from_millis(WEBHOOK_DELAY_MS + (draw >> 8) % WEBHOOK_DELAY_MS);
        let manner = match draw % 3 {
            0 => Manner::First,
            1 => Manner::Late(delay),
            _ => Manner::Twice(delay),
        };
        // Never fails: nobody drops the receiver before the provider itself goes.
        let _ = self.due.send(Due { key: key.into(), manner });
        if matches!(manner, Manner::First) { WEBHOOK_GAP } else { Duration::ZERO }
    }

    /// Sends webhooks as they fall due; runs until dropped. Panics when called a second time.
    pub async fn send_webhooks(self: Arc<Self>, sink: Arc<dyn WebhookSink>) {
        let mut due = self.webhooks.lock().expect("held for this line only").take().expect("called once");
        let mut sending = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(next) = due.recv() => sending.push(self.send_webhook(next, &*sink)),
                Some(()) = sending.next() => {}
                else => return,
            }
        }
    }

    async fn send_webhook(&self, due: Due, sink: &dyn WebhookSink) {
        tokio::time::sleep(due.manner.delay()).await;
        let (settled, notice) = {
            let mut books = self.books();
            (books.enter(Entry::Settled { key: due.key.clone() }), notice(&books.ledger, &due.key))
        };
        if settled.reached().await.is_err() {
            return;
        }
        self.send_until_taken(&notice, sink).await;
        if let Manner::Twice(_) = due.manner {
            tokio::time::sleep(WEBHOOK_GAP).await;
            self.send_until_taken(&notice, sink).await;
        }
        // Not waited for: a notice sent once more after a crash is what webhooks do.
        drop(self.books().enter(Entry::Notified { key: due.key }));
    }

    async fn send_until_taken(&self, notice: &WebhookNotice, sink: &dyn WebhookSink) {
        let mut pause = WEBHOOK_PAUSE_MIN;
        for _ in 0..WEBHOOK_ATTEMPTS_MAX {
            let signed = self.parts.webhook_secret.sign(notice, self.parts.clock.wall());
            if sink.deliver(&signed).await.is_ok() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(WEBHOOK_PAUSE_MAX);
        }
        tracing::warn!(order = %notice.order, "payment webhook given up; the order finds out by lookup");
    }
}

fn lookup(ledger: &Ledger, request: &PaymentRequest) -> PaymentOutcome {
    match &request.operation {
        PaymentOperation::Lookup { of } => ledger.lookup(of),
        _ => ledger.lookup(&request.key),
    }
}

fn notice(ledger: &Ledger, key: &str) -> WebhookNotice {
    let account = ledger.account(key).expect("a webhook is owed only for a payment in the books");
    WebhookNotice { id: format!("{key}/result"), order: account.order, key: key.into(), outcome: ledger.lookup(key) }
}

#[async_trait]
impl PaymentGateway for SimulatedProvider {
    async fn execute(&self, request: &PaymentRequest) -> Result<PaymentOutcome, PaymentUnknown> {
        let (durable, reply) = self.take(request);
        durable.reached().await.map_err(|_| PaymentUnknown::Unavailable)?;
        match reply {
            Reply::At(after, outcome) => {
                tokio::time::sleep(after).await;
                Ok(outcome)
            }
            Reply::Never => std::future::pending().await,
            Reply::Unknown(unknown) => Err(unknown),
        }
    }

    fn verify_webhook(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<WebhookNotice, WebhookError> {
        self.parts.webhook_secret.verify(headers, body, now)
    }
}

#[cfg(test)]
mod tests;
