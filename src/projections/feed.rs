//! The projector: follows every group's committed records and keeps lists and search up to date (P29).
//!
//! One task for all groups: it reads the feed from the older of the two projections' cursors, page by page, and says of
//! every entity named there how it is now. Projections keep their own cursors with their own data; both tolerate being
//! told the same thing again, so the older cursor decides and nothing needs to be exactly-once. A cursor older than the
//! feed's tail, an installed checkpoint or an emptied index is answered by telling the projections about every entity
//! of the group ([`Projector::rebuild`]) and then following the feed from where that began.
//!
//! It wakes on [`FeedSignal`] and lets a moment of records gather, so that an order is read once and not after each of
//! its steps; whoever asks for a list has everything committed before brought into it first. [`EntityHub`]'s watchers
//! were told when the record was applied and are told again here, should that have been missed. Errors are logged and
//! tried again: a projection that lags is visible, one that skips is not. Nothing but the call to stop ends it: what
//! says that it is closed without such a call has lost its thread, and silence about that would look like a quiet shop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::documents;
use super::hub::EntityHub;
use super::lists::holds::HoldNews;
use super::lists::{ListError, ListWriter, StockNews};
use super::query::OrderItem;
use super::search::{FeedCursors, SearchBatch, SearchChange, SearchError, SearchIndex};
use super::states::{self, Folded};
use crate::actors::feed_signal::FeedSignal;
use crate::domain::ids::{EntityId, Sku};
use crate::domain::registry::{AnyEvent, Kind};
use crate::domain::stock::StockEvent;
use crate::domain::time::Sequence;
use crate::persistence::journal::{Journal, JournalError};
use crate::persistence::log::GroupId;
use crate::persistence::store::StoreError;

/// Log entries looked at together: what one entity did in them is read at once.
const PAGE_ENTRIES: usize = 256;
/// Entities read at the same time: the store answers what is asked together in one go.
const READS_AT_ONCE: usize = 32;
/// Entities of a rebuild between two looks at anything else.
const REBUILD_PAGE_ENTITIES: usize = 256;
/// How long records gather after a wake-up: an order's way from placed to confirmed usually fits in, and search still
/// shows a change within a second.
const GATHER_INTERVAL: Duration = Duration::from_millis(250);
/// Time between writes of the lists, unless somebody asks for one: what sells all the time is written once in it.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
/// How often an idle projector looks whether the search index was emptied.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Pause after an error.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Why the projector cannot go on right now.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The lists cannot be read or written.
    #[error(transparent)]
    Lists(#[from] ListError),
    /// The search index cannot be written.
    #[error(transparent)]
    Search(#[from] SearchError),
}

/// Asks for everything gathered to be written, so that a list shows what the feed already brought.
pub type FlushRequest = oneshot::Sender<()>;

/// What the projector works on.
pub struct ProjectorParts {
    /// Where records are read.
    pub journal: Journal,
    /// Wakes it.
    pub signal: FeedSignal,
    /// The groups to follow.
    pub groups: Vec<GroupId>,
    /// Fed with products.
    pub search: Arc<dyn SearchIndex>,
    /// Told of every change.
    pub hub: EntityHub,
    /// Answered after a flush.
    pub flushes: mpsc::Receiver<FlushRequest>,
}

/// See the module.
pub struct Projector {
    parts: ProjectorParts,
    lists: ListWriter,
    search_cursors: FeedCursors,
    /// Installed checkpoints already accounted for, by group.
    installs: BTreeMap<GroupId, u64>,
    flushed_at: Instant,
    checked_at: Instant,
}

impl Projector {
    /// A projector that continues where the projections stopped.
    pub async fn open(parts: ProjectorParts, lists: ListWriter) -> Result<Self, FeedError> {
        let search_cursors = parts.search.cursors().await?;
        let (flushed_at, checked_at) = (Instant::now(), Instant::now());
        Ok(Self { parts, lists, search_cursors, installs: BTreeMap::new(), flushed_at, checked_at })
    }

    /// The lists it keeps.
    pub fn lists(&self) -> &ListWriter {
        &self.lists
    }

    /// Follows the feed until told to stop; then writes what was gathered.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut wakes = self.parts.signal.subscribe_all();
        while !stop.is_cancelled() {
            wakes.mark_unchanged();
            match self.catch_up(&stop).await {
                Ok(()) => {}
                Err(error) if is_closed(&error) && stop.is_cancelled() => break,
                Err(error) => {
                    tracing::warn!(%error, "projections cannot follow the feed, trying again");
                    self.recover(&error).await;
                    let _ = tokio::time::timeout(RETRY_INTERVAL, stop.cancelled()).await;
                    continue;
                }
            }
            let next_chore = self.next_chore();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(request) = self.parts.flushes.recv() => self.bring_and_answer(request, &stop).await,
                changed = wakes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.gather(&stop).await;
                }
                () = tokio::time::sleep_until(next_chore) => {}
            }
        }
        let _ = self.lists.flush().await;
    }

    fn next_chore(&self) -> Instant {
        let check = self.checked_at + CHECK_INTERVAL;
        if self.lists.is_dirty() { check.min(self.flushed_at + FLUSH_INTERVAL) } else { check }
    }

    /// Lets records gather, unless somebody asks for a list or everything stops.
    async fn gather(&mut self, stop: &CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            Some(request) = self.parts.flushes.recv() => self.bring_and_answer(request, stop).await,
            () = tokio::time::sleep(GATHER_INTERVAL) => {}
        }
    }

    /// Answers with what was committed before the request in the lists.
    async fn bring_and_answer(&mut self, request: FlushRequest, stop: &CancellationToken) {
        match self.catch_up(stop).await {
            Ok(()) => self.answer(request).await,
            Err(error) => tracing::warn!(%error, "projections cannot follow the feed for a list"),
        }
    }

    async fn answer(&mut self, request: FlushRequest) {
        match self.flush().await {
            Ok(()) => {
                let _ = request.send(());
            }
            Err(error) => tracing::warn!(%error, "lists could not be written"),
        }
    }

    async fn flush(&mut self) -> Result<(), FeedError> {
        self.flushed_at = Instant::now();
        Ok(self.lists.flush().await?)
    }

    /// Follows every group to the end of its feed.
    pub async fn catch_up(&mut self, stop: &CancellationToken) -> Result<(), FeedError> {
        if self.checked_at.elapsed() >= CHECK_INTERVAL {
            self.checked_at = Instant::now();
            self.search_cursors = self.parts.search.cursors().await?;
        }
        for group in self.parts.groups.clone() {
            while !stop.is_cancelled() && self.step(group, stop).await? {
                if self.lists.is_full() || self.flushed_at.elapsed() >= FLUSH_INTERVAL {
                    self.flush().await?;
                }
                while let Ok(request) = self.parts.flushes.try_recv() {
                    self.answer(request).await;
                }
            }
        }
        if self.lists.is_dirty() && self.flushed_at.elapsed() >= FLUSH_INTERVAL {
            self.flush().await?;
        }
        Ok(())
    }

    /// The next page of a group's feed; whether there may be more.
    async fn step(&mut self, group: GroupId, stop: &CancellationToken) -> Result<bool, FeedError> {
        let Some(applied) = self.parts.signal.subscribe(group).map(|watch| *watch.borrow()) else { return Ok(false) };
        if self.installs.insert(group, applied.installs).unwrap_or(0) < applied.installs {
            self.rebuild(group, Scope { lists: true, search: true }, stop).await?;
            self.parts.hub.wake_all();
            return Ok(true);
        }
        let from = self.cursor(group).map_or(0, |index| index + 1);
        #[cfg(feature = "canaries")]
        let from = from + u64::from(crate::canary::is(crate::canary::Canary::CursorSkips));
        let rows = match self.parts.journal.feed(group, from, PAGE_ENTRIES).await {
            Err(JournalError::FeedTrimmed { floor }) => {
                tracing::info!(%group, from, floor, "feed is trimmed, building projections from entity states");
                let is_behind = |cursors: &FeedCursors| cursors.get(&group).is_none_or(|index| index + 1 < floor);
                let scope = Scope { lists: is_behind(self.lists.cursors()), search: is_behind(&self.search_cursors) };
                self.rebuild(group, scope, stop).await?;
                return Ok(true);
            }
            other => other?,
        };
        let is_last = rows.len() < PAGE_ENTRIES;
        let last_row = rows.last().map(|row| row.log_index);
        let reached = if is_last { last_row.max(Some(applied.index)) } else { last_row };
        let mut touched: BTreeMap<EntityId, Touched> = BTreeMap::new();
        for item in rows.into_iter().flat_map(|row| row.items) {
            let last = Sequence(item.first_sequence.0 + u64::from(item.record_count) - 1);
            let first = item.first_sequence;
            touched.entry(item.entity).or_insert(Touched { first, last }).last = last;
        }
        for (entity, touched) in &touched {
            self.parts.hub.publish(entity, touched.last);
        }
        let touched: Vec<_> = touched.into_iter().map(|(entity, touched)| (entity, Some(touched))).collect();
        let changes = self.project(group, &touched).await?;
        if let Some(index) = reached.filter(|index| self.cursor(group).is_none_or(|cursor| *index > cursor)) {
            self.advance(group, index, changes).await?;
        }
        Ok(!is_last)
    }

    /// How far both projections are; `None` when one of them has nothing of the group.
    fn cursor(&self, group: GroupId) -> Option<u64> {
        let (lists, search) = (self.lists.cursors().get(&group)?, self.search_cursors.get(&group)?);
        Some(*lists.min(search))
    }

    /// Tells search what changed, and both projections how far the feed is with that.
    async fn advance(&mut self, group: GroupId, index: u64, changes: Vec<SearchChange>) -> Result<(), FeedError> {
        let cursors: FeedCursors = [(group, index)].into();
        self.parts.search.apply(SearchBatch { changes, cursors }).await?;
        self.search_cursors.insert(group, index);
        self.lists.advance(group, index);
        Ok(())
    }

    /// Tells the projections that lost track about every entity of a group they care for, then that they know
    /// everything
    /// up to where this began. Stock comes first: products are then indexed with their availability at once.
    async fn rebuild(&mut self, group: GroupId, scope: Scope, stop: &CancellationToken) -> Result<(), FeedError> {
        for (what, is_rebuilt) in [("lists", scope.lists), ("search", scope.search)] {
            metrics::counter!("stockroom_rebuilds_total", "what" => what).increment(u64::from(is_rebuilt));
        }
        let label = self.parts.journal.applied(group).await?.map_or(0, |applied| applied.index);
        for kind in scope.kinds() {
            let mut after: Option<EntityId> = None;
            loop {
                let journal = &self.parts.journal;
                let page = journal.entities_of_kind(group, *kind, after.as_ref(), REBUILD_PAGE_ENTITIES).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
                let all: Vec<_> = page.iter().map(|entity| (entity.clone(), None)).collect();
                let changes = self.project(group, &all).await?;
                self.parts.search.apply(SearchBatch { changes, cursors: FeedCursors::new() }).await?;
                self.flush().await?;
                after = page.into_iter().next_back();
                if after.is_none() {
                    break;
                }
            }
        }
        if scope.search {
            self.parts.search.apply(SearchBatch { changes: Vec::new(), cursors: [(group, label)].into() }).await?;
            self.search_cursors.insert(group, label);
        }
        if scope.lists {
            self.lists.advance(group, label);
        }
        Ok(())
    }

    /// Says how entities are now, and what search is to be told of it. With each comes which of its records are new;
    /// `None` when anything may be.
    async fn project(
        &mut self,
        group: GroupId,
        entities: &[(EntityId, Option<Touched>)],
    ) -> Result<Vec<SearchChange>, FeedError> {
        let mut changes = Vec::new();
        for some in entities.chunks(READS_AT_ONCE) {
            let news = try_join_all(some.iter().map(|(entity, touched)| self.read(group, entity, *touched))).await?;
            self.lists.look_up(some.iter().filter_map(|(entity, _)| stock_sku(entity))).await?;
            for ((entity, _), news) in some.iter().zip(news) {
                changes.extend(self.note(group, entity, news).await?);
            }
            // Rows ahead of the cursors do no harm: what is told of them again changes nothing.
            if self.lists.is_full() {
                self.flush().await?;
            }
        }
        Ok(changes)
    }

    /// What the journal says of an entity.
    async fn read(&self, group: GroupId, entity: &EntityId, touched: Option<Touched>) -> Result<News, FeedError> {
        match (entity.kind, touched) {
            (Kind::Stock, touched) => {
                let Some(sku) = stock_sku(entity) else { return Ok(News::None) };
                let news = match touched {
                    Some(touched) => self.stock_news_of_records(group, entity, touched).await?,
                    None => self.stock_news_of_state(group, entity, &sku).await?,
                };
                Ok(News::Stock(sku, news))
            }
            (Kind::Order | Kind::Product, _) => {
                let folded = states::load(&self.parts.journal, group, entity).await?;
                Ok(folded.map_or(News::None, |folded| News::State(Box::new(folded))))
            }
            (Kind::Cart | Kind::Cluster, _) => Ok(News::None),
        }
    }

    /// Tells the lists; answers what to tell search.
    async fn note(&mut self, group: GroupId, entity: &EntityId, news: News) -> Result<Option<SearchChange>, FeedError> {
        match news {
            News::None => Ok(None),
            News::Stock(sku, news) => {
                let available = self.lists.note_stock(group, &sku, news).await?;
                Ok(Some(SearchChange::Stock { sku, available }))
            }
            News::State(folded) if entity.kind == Kind::Order => {
                order_item(&folded).into_iter().for_each(|item| self.lists.note_order(item));
                Ok(None)
            }
            News::State(folded) => match folded.product().as_ref().and_then(documents::document_of) {
                Some(mut document) => {
                    for variant in &mut document.item.variants {
                        variant.available = self.lists.available(&variant.sku).await?;
                    }
                    Ok(Some(SearchChange::Put(Box::new(document))))
                }
                None => Ok(states::product_of(entity).map(SearchChange::Remove)),
            },
        }
    }

    /// What records say about a SKU: events carry the units left, so a hot SKU's state need not be folded.
    async fn stock_news_of_records(
        &self,
        group: GroupId,
        entity: &EntityId,
        touched: Touched,
    ) -> Result<StockNews, FeedError> {
        let count = usize::try_from(touched.last.0 - touched.first.0 + 1).unwrap_or(usize::MAX);
        let records = self.parts.journal.history(group, entity, touched.first, count).await?;
        let mut news = StockNews { sequence: touched.last, ..StockNews::default() };
        for (record, event) in records.iter().flat_map(|record| record.events.iter().map(move |event| (record, event)))
        {
            let AnyEvent::Stock(event) = event else { continue };
            news.holds.add(record.sequence, record.at, event);
            news.available = event.available_after().or(news.available);
            match event {
                StockEvent::Listed(listing) => {
                    news.listing = Some(Some((listing.product.clone(), listing.title.to_string())));
                }
                StockEvent::Unlisted { .. } => news.listing = Some(None),
                _ => {}
            }
        }
        let is_complete = records.first().is_some_and(|record| record.sequence == touched.first);
        match states::sku_of(entity) {
            Some(sku) if !is_complete => self.stock_news_of_state(group, entity, &sku).await,
            _ => Ok(news),
        }
    }

    async fn stock_news_of_state(&self, group: GroupId, entity: &EntityId, sku: &Sku) -> Result<StockNews, FeedError> {
        let Some(folded) = states::load(&self.parts.journal, group, entity).await? else {
            return Ok(StockNews::default());
        };
        let view = folded.stock();
        if view.is_none() {
            tracing::debug!(%sku, "stock item has nothing to show");
        }
        let listing = view.as_ref().and_then(|view| view.listing.as_ref());
        Ok(StockNews {
            sequence: folded.sequence,
            available: Some(view.as_ref().map_or(0, |view| view.numbers.available)),
            listing: Some(listing.map(|listing| (listing.product.clone(), listing.title.to_string()))),
            holds: HoldNews::all(&folded.holds()),
        })
    }

    /// Prepares the next try after an error.
    async fn recover(&mut self, error: &FeedError) {
        match error {
            FeedError::Search(SearchError::Emptied { .. }) => {
                if let Ok(cursors) = self.parts.search.cursors().await {
                    self.search_cursors = cursors;
                }
            }
            FeedError::Lists(ListError::Damaged(_)) => {
                if let Err(error) = self.lists.drop_everything().await {
                    tracing::warn!(%error, "damaged lists could not be dropped");
                }
            }
            _ => {}
        }
    }
}

/// Which projections are rebuilt.
#[derive(Clone, Copy, Debug)]
struct Scope {
    lists: bool,
    search: bool,
}

impl Scope {
    fn kinds(self) -> &'static [Kind] {
        match (self.lists, self.search) {
            (true, true) => &[Kind::Stock, Kind::Order, Kind::Product],
            (true, false) => &[Kind::Stock, Kind::Order],
            (false, _) => &[Kind::Product],
        }
    }
}

/// What was read of an entity.
enum News {
    /// Nothing to tell.
    None,
    /// Of a stock item.
    Stock(Sku, StockNews),
    /// An order or product as it is.
    State(Box<Folded>),
}

/// The SKU, if it is a stock item.
fn stock_sku(entity: &EntityId) -> Option<Sku> {
    (entity.kind == Kind::Stock).then(|| states::sku_of(entity)).flatten()
}

/// Which records of an entity a page of the feed names.
#[derive(Clone, Copy, Debug)]
struct Touched {
    first: Sequence,
    last: Sequence,
}

fn order_item(folded: &Folded) -> Option<OrderItem> {
    let view = folded.order()?;
    let units = view.placement.lines.iter().map(|line| u64::from(line.quantity.get())).sum();
    Some(OrderItem {
        id: view.id,
        number: view.number.clone(),
        state: view.state,
        total: view.totals().total(),
        units,
        created_at: view.created_at,
        updated_at: folded.at,
    })
}

fn is_closed(error: &FeedError) -> bool {
    matches!(
        error,
        FeedError::Journal(JournalError::Store(StoreError::Closed))
            | FeedError::Lists(ListError::Store(StoreError::Closed))
            | FeedError::Search(SearchError::Closed)
    )
}
