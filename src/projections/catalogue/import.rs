//! Applying a parsed catalogue: one `Put` per product through [`Ask`], several in flight, outcomes in file order.
//!
//! Importing a file again changes nothing: a product that already says the same keeps its version. A product with a SKU
//! that another one sells is refused, in the file or in the shop.
//!
//! A command id is drawn from the run, the product and the content, so whatever is sent twice within a run is one
//! command; the run is part of it because content alone would make "A, then B, then A again" end in B. An import that
//! stops says behind which line everything before is in: give it as `resume_after` with the same run, and the rows
//! before are parsed but not sent.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesOrdered, StreamExt};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{CatalogueProduct, Parsed, RowError};
use crate::actors::messages::{Ask, AskError, Origin, Request};
use crate::domain::entity::{Codec, Fingerprint, Stamp};
use crate::domain::ids::{CommandId, EntityId};
use crate::domain::product::{ProductCommand, ProductReply};
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::rejection::Rejection;
use crate::domain::stock::{StockCommand, StockReply};
use crate::persistence::codec::Bincode;

/// Commands in flight: enough for the group commit to fill, few enough to leave room for shoppers.
const IN_FLIGHT_MAX: usize = 32;
/// How long one product may take before the import stops.
const BUDGET: Duration = Duration::from_secs(30);
/// How often a product is sent again while the shop is overloaded or nobody knows the outcome.
const ATTEMPTS_MAX: u32 = 5;
/// Pause before a product is sent again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Errors kept in a report; the rest is counted.
const ERRORS_KEPT_MAX: usize = 1_000;
/// Most products of one file: their ids and SKUs are remembered, 8 bytes each, to notice what appears twice.
const PRODUCTS_MAX: usize = 5_000_000;

/// Names one import, so that its commands can be told from those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportRun(pub [u8; 16]);

/// How an import is done.
#[derive(Clone, Copy, Debug)]
pub struct ImportOptions {
    /// Which run; the same when it is resumed.
    pub run: ImportRun,
    /// Rows up to this line are in already; 0 for a fresh import.
    pub resume_after: u64,
    /// Only check what can be checked without the shop; send nothing.
    pub dry_run: bool,
}

/// What became of an import so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Products that did not exist.
    pub created: u64,
    /// Products that say something else now.
    pub changed: u64,
    /// Products that already said this.
    pub unchanged: u64,
    /// Rows skipped because of `resume_after`.
    pub skipped: u64,
    /// Rows and products that were not taken.
    pub failed: u64,
    /// Why, in file order; at most 1,000.
    pub errors: Vec<RowError>,
    /// Every row up to this line has its final outcome.
    pub done_through_line: u64,
}

/// Why an import ended early. What [`ImportReport::done_through_line`] says is in.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ImportError {
    /// A product has no definite outcome; resume later.
    #[error("line {line}: {source}; resume behind the last finished line")]
    Stopped {
        /// Of which row.
        line: u64,
        /// What was answered.
        source: AskError,
    },
    /// Too many products for one file.
    #[error("more than {PRODUCTS_MAX} products in one file; split it")]
    TooLarge,
}

/// What became of one row.
enum Outcome {
    Put { created: bool, changed: bool },
    Skipped,
    Checked,
    Failed(RowError),
}

type Sent = std::pin::Pin<Box<dyn std::future::Future<Output = (u64, Result<Outcome, AskError>)> + Send>>;

/// One import in progress. Feed it what the parser gives out, then finish it.
pub struct Import {
    ask: Arc<dyn Ask>,
    options: ImportOptions,
    in_flight: FuturesOrdered<Sent>,
    /// Hashes of the ids seen.
    seen: HashSet<u64>,
    /// Hashes of the SKUs seen.
    seen_skus: HashSet<u64>,
    report: ImportReport,
}

impl Import {
    /// An import that sends its commands to `ask`.
    pub fn new(ask: Arc<dyn Ask>, options: ImportOptions) -> Self {
        let report = ImportReport::default();
        let (seen, seen_skus) = (HashSet::new(), HashSet::new());
        Self { ask, options, in_flight: FuturesOrdered::new(), seen, seen_skus, report }
    }

    /// What became of it so far.
    pub fn report(&self) -> &ImportReport {
        &self.report
    }

    /// Takes parsed rows; waits while too many commands are in flight.
    pub async fn take(&mut self, rows: impl IntoIterator<Item = Parsed>) -> Result<(), ImportError> {
        for row in rows {
            if self.in_flight.len() >= IN_FLIGHT_MAX {
                self.settle_one().await?;
            }
            let sent = self.send(row)?;
            self.in_flight.push_back(sent);
        }
        Ok(())
    }

    /// Waits for everything in flight.
    pub async fn finish(mut self) -> Result<ImportReport, (ImportError, ImportReport)> {
        while !self.in_flight.is_empty() {
            if let Err(error) = self.settle_one().await {
                return Err((error, self.report));
            }
        }
        Ok(self.report)
    }

    fn send(&mut self, row: Parsed) -> Result<Sent, ImportError> {
        let product = match row {
            Ok(product) => product,
            Err(error) if error.line <= self.options.resume_after => return Ok(settled(error.line, Outcome::Skipped)),
            Err(error) => return Ok(settled(error.line, Outcome::Failed(error))),
        };
        let line = product.line;
        if self.seen.len() >= PRODUCTS_MAX {
            return Err(ImportError::TooLarge);
        }
        if !self.seen.insert(hash_of(product.id.as_str())) {
            let reason = format!("{} appears earlier in this file; rows of one product are neighbours", product.id);
            return Ok(settled(line, Outcome::Failed(RowError::new(line, "id", reason))));
        }
        let skus = || product.document.variants.iter().map(|variant| &variant.sku);
        if line <= self.options.resume_after {
            self.seen_skus.extend(skus().map(|sku| hash_of(sku.as_str())));
            return Ok(settled(line, Outcome::Skipped));
        }
        if let Err(rejection) = product.document.check() {
            return Ok(settled(line, Outcome::Failed(refused(line, &rejection))));
        }
        if let Some(sku) = skus().find(|sku| self.seen_skus.contains(&hash_of(sku.as_str()))) {
            let reason = format!("{sku} is sold by a product earlier in this file; a SKU belongs to one product");
            return Ok(settled(line, Outcome::Failed(RowError::new(line, "sku", reason))));
        }
        self.seen_skus.extend(skus().map(|sku| hash_of(sku.as_str())));
        if self.options.dry_run {
            return Ok(settled(line, Outcome::Checked));
        }
        let ask = self.ask.clone();
        let run = self.options.run;
        Ok(Box::pin(async move {
            let taken = match says_the_same(&*ask, &product).await {
                true => None,
                false => taken(&*ask, &product).await,
            };
            let outcome = match taken {
                Some(error) => Ok(Outcome::Failed(error)),
                None => put(&*ask, line, request_of(run, product)).await,
            };
            (line, outcome)
        }))
    }

    async fn settle_one(&mut self) -> Result<(), ImportError> {
        let Some((line, outcome)) = self.in_flight.next().await else { return Ok(()) };
        match outcome {
            Ok(Outcome::Put { created: true, .. }) => self.report.created += 1,
            Ok(Outcome::Put { changed: true, .. }) => self.report.changed += 1,
            Ok(Outcome::Put { .. }) => self.report.unchanged += 1,
            Ok(Outcome::Skipped) => self.report.skipped += 1,
            Ok(Outcome::Checked) => {}
            Ok(Outcome::Failed(error)) => {
                self.report.failed += 1;
                if self.report.errors.len() < ERRORS_KEPT_MAX {
                    self.report.errors.push(error);
                }
            }
            Err(source) => {
                self.in_flight = FuturesOrdered::new();
                return Err(ImportError::Stopped { line, source });
            }
        }
        self.report.done_through_line = self.report.done_through_line.max(line);
        Ok(())
    }
}

/// What no shop would have, told by its field.
fn refused(line: u64, rejection: &Rejection) -> RowError {
    match rejection {
        Rejection::InvalidRequest { field, reason } => RowError::new(line, field, reason),
        other => RowError::new(line, "", other),
    }
}

/// Whether the shop has the product just like this: then its SKUs need not be asked.
async fn says_the_same(ask: &dyn Ask, product: &CatalogueProduct) -> bool {
    let shown = look(ask, EntityId::product(&product.id), AnyCommand::Product(ProductCommand::Show)).await;
    match shown {
        Some(AnyReply::Product(ProductReply::Shown(view))) => {
            view.conflicts.is_empty() && *view.document == product.document
        }
        _ => false,
    }
}

/// The first SKU that another product sells. One that cannot be asked now is found out when the product lists it.
async fn taken(ask: &dyn Ask, product: &CatalogueProduct) -> Option<RowError> {
    for (index, variant) in product.document.variants.iter().enumerate() {
        let shown = look(ask, EntityId::stock(&variant.sku), AnyCommand::Stock(StockCommand::Show)).await;
        let Some(AnyReply::Stock(StockReply::Shown(view))) = shown else { continue };
        if let Some(listing) = view.listing.as_ref().filter(|listing| listing.product != product.id) {
            let (sku, other) = (&variant.sku, &listing.product);
            let reason = format!("{sku} is sold by {other}; take it out there first, or use another SKU");
            return Some(RowError::new(product.line, format!("variants[{index}].sku"), reason));
        }
    }
    None
}

/// The answer to a read, if there is one.
async fn look(ask: &dyn Ask, entity: EntityId, command: AnyCommand) -> Option<AnyReply> {
    let stamp = Stamp { command: CommandId([0; 16]), fingerprint: Fingerprint::default() };
    let request = Request { entity, command, stamp, origin: Origin::Router, budget: BUDGET };
    ask.ask(request).await.ok().map(|answer| answer.reply)
}

fn settled(line: u64, outcome: Outcome) -> Sent {
    Box::pin(std::future::ready((line, Ok(outcome))))
}

async fn put(ask: &dyn Ask, line: u64, request: Request) -> Result<Outcome, AskError> {
    let mut attempt = 1;
    loop {
        let error = match ask.ask(request.clone()).await {
            Ok(answer) => {
                let AnyReply::Product(ProductReply::Put { created, changed, .. }) = answer.reply else {
                    return Err(AskError::Unknown { reason: "a product answered something else" });
                };
                return Ok(Outcome::Put { created, changed });
            }
            Err(error) => error,
        };
        match &error {
            AskError::Rejected(rejection) => return Ok(Outcome::Failed(refused(line, rejection))),
            AskError::Quarantined { .. } | AskError::Panicked => {
                return Ok(Outcome::Failed(RowError::new(line, "", error)));
            }
            AskError::Overloaded { retry_after } if attempt < ATTEMPTS_MAX => {
                tokio::time::sleep(*retry_after.max(&RETRY_INTERVAL)).await;
            }
            AskError::Unknown { .. } | AskError::NoLeader { .. } if attempt < ATTEMPTS_MAX => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            _ => return Err(error),
        }
        attempt += 1;
    }
}

fn request_of(run: ImportRun, product: CatalogueProduct) -> Request {
    let mut content = Vec::new();
    Bincode::encode(&product.document, &mut content);
    let fingerprint: [u8; 32] = Sha256::digest(&content).into();
    let name = Sha256::new().chain_update(b"catalogue import\0").chain_update(run.0);
    let name = name.chain_update(product.id.as_str()).chain_update(b"\0").chain_update(fingerprint);
    let digest: [u8; 32] = name.finalize().into();
    let command = CommandId(digest[..16].try_into().expect("a digest has 32 bytes"));
    let put = ProductCommand::Put { document: Arc::new(product.document), expected_version: None };
    Request {
        entity: EntityId::product(&product.id),
        command: AnyCommand::Product(put),
        stamp: Stamp { command, fingerprint: Fingerprint(fingerprint) },
        origin: Origin::Router,
        budget: BUDGET,
    }
}

fn hash_of(name: &str) -> u64 {
    let digest = Sha256::digest(name);
    u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}
