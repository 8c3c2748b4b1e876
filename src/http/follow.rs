//! Following one entity: wait until it may have changed, read it, tell what is new. Behind event streams and
//! `Prefer: wait`.
//!
//! A change signal is a hint, the entity's own answer the truth: what is sent was read from the entity, so a late or
//! doubled signal costs a read and nothing else. When signals stop coming the entity is read anyway now and then
//! (`http.event_reread_seconds`).

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, BoxStream, Stream, StreamExt};

use super::admission::Place;
use super::error::Problem;
use super::state::AppState;
use crate::domain::ids::EntityId;

/// The request header with which an event stream is resumed.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Between two events of one stream: what happens faster is told together.
const EVENTS_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Told to clients as the time before they reconnect.
const RECONNECT: Duration = Duration::from_secs(1);

/// Waits for changes of one entity.
pub struct Follower {
    state: AppState,
    entity: EntityId,
    changes: BoxStream<'static, ()>,
    /// How long [`Follower::changed_soon`] waits next time.
    patience: Duration,
}

/// First and longest wait of [`Follower::changed_soon`].
const PATIENCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

impl Follower {
    /// Follows from now on: a change after this call is not missed.
    pub fn new(state: &AppState, entity: EntityId) -> Self {
        let changes = state.changes().of(&entity);
        Self { state: state.clone(), entity, changes, patience: PATIENCE.0 }
    }

    /// As [`Follower::changed`], for something expected any moment: returns without a signal too, after a wait that
    /// doubles from call to call, should a signal not come.
    pub async fn changed_soon(&mut self) -> bool {
        let patience = self.patience;
        self.patience = (patience * 2).min(PATIENCE.1);
        tokio::time::timeout(patience, self.changed()).await.unwrap_or(true)
    }

    /// Returns when the entity may have changed; `false` when the node stops.
    pub async fn changed(&mut self) -> bool {
        let reread = self.state.options().timeouts.event_reread;
        tokio::select! {
            biased;
            () = self.state.stopping().cancelled() => false,
            signal = tokio::time::timeout(reread, self.changes.next()) => {
                if matches!(signal, Ok(None)) {
                    tokio::time::sleep(EVENTS_INTERVAL_MIN).await;
                    self.changes = self.state.changes().of(&self.entity);
                }
                true
            }
        }
    }
}

/// What one look at an entity has to tell a stream.
pub struct News {
    /// In order; each with its id.
    pub events: Vec<Event>,
    /// Nothing will ever follow.
    pub is_over: bool,
}

/// Looks at an entity and tells what is new since the last look.
pub trait Look: Send + 'static {
    /// Reads the entity. An error that is not retryable ends the stream.
    fn look(&mut self, state: &AppState) -> impl Future<Output = Result<News, Problem>> + Send;
}

/// Answers with an event stream of what `look` sees, now and after every change. The first look happens before the
/// answer begins, so whatever is wrong with it is still an ordinary problem.
pub async fn stream_events<L: Look>(state: &AppState, entity: EntityId, mut look: L) -> Result<Response, Problem> {
    let place = state.admission().enter_stream()?;
    let follower = Follower::new(state, entity);
    let first = look.look(state).await?;
    let keep_alive = KeepAlive::new().interval(state.options().timeouts.event_keep_alive);
    let session = Session { follower, look, over: first.is_over, place };
    let hello = Event::default().retry(RECONNECT).comment("stream begins");
    let begin = stream::iter(std::iter::once(hello).chain(first.events));
    let events = begin.chain(session.into_stream()).map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Session<L> {
    follower: Follower,
    look: L,
    over: bool,
    #[allow(dead_code, reason = "held for its drop")]
    place: Place,
}

impl<L: Look> Session<L> {
    fn into_stream(self) -> impl Stream<Item = Event> {
        stream::unfold(self, |mut session| async move {
            let events = session.next().await?;
            Some((stream::iter(events), session))
        })
        .flatten()
    }

    /// The next events, never none; `None` when the stream is over.
    async fn next(&mut self) -> Option<Vec<Event>> {
        while !self.over {
            tokio::time::sleep(EVENTS_INTERVAL_MIN).await;
            if !self.follower.changed().await {
                return None;
            }
            match self.look.look(&self.follower.state).await {
                Ok(news) => {
                    self.over = news.is_over;
                    if !news.events.is_empty() {
                        return Some(news.events);
                    }
                }
                Err(problem) if problem.code().retryable() => {}
                Err(_gone) => return None,
            }
        }
        None
    }
}

/// The sequence a client saw last. Something unreadable counts as nothing: the stream then begins with everything.
pub fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get(&LAST_EVENT_ID)?.to_str().ok()?.parse().ok()
}
