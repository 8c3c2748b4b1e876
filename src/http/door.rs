//! The door every request passes, once in and once out.
//!
//! In: a request id, who calls (API key, address), may they, is there room. Out: whatever went wrong as a problem with
//! that request id, a count, a span. A panic behind the door is caught here and answered; a request that takes too long
//! is answered 504, because what it started may still happen.
//!
//! Order matters: the rate is counted before the key is looked up, so that guessing keys is limited as well, and room
//! is taken last, so that nobody refused for another reason takes any.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::DATE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::Instrument;

use super::admission::{Client, Place};
use super::auth::Caller;
use super::call::Passage;
use super::error::{Code, Problem};
use super::metrics::REFUSED_TOTAL;
use super::route::{Access, Site};
use super::state::AppState;
use crate::domain::time::Timestamp;

/// Names a request in logs, problems and answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id taken over from a client.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// What stands in front of one route.
#[derive(Clone)]
pub struct Door {
    /// The application.
    pub state: AppState,
    /// Which route.
    pub site: Arc<Site>,
}

/// Lets a request through, or answers it.
pub async fn pass(State(door): State<Door>, request: Request, next: Next) -> Response {
    let started = door.state.now_monotonic();
    let id = request_id(&door.state, request.headers());
    let span = tracing::info_span!("request", route = %door.site.name, id = id.to_str().unwrap_or_default());
    let answer = admitted(&door, request, next).instrument(span.clone()).await;
    let mut response = match answer {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        span.in_scope(|| report(&problem));
        let allow = response.headers_mut().remove(axum::http::header::ALLOW);
        response = problem.render(id.to_str().unwrap_or_default());
        if let Some(allow) = allow {
            response.headers_mut().insert(axum::http::header::ALLOW, allow);
        }
    }
    response.headers_mut().insert(REQUEST_ID, id);
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    response.headers_mut().insert(DATE, door.state.date());
    door.site.metrics.count(response.status(), door.state.now_monotonic().saturating_sub(started));
    response
}

/// A time as HTTP writes it. The server would add its own reading of the system's clock, which is not the node's.
pub fn http_date(at: Timestamp) -> HeaderValue {
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(at.0));
    HeaderValue::try_from(text).expect("a date is plain text")
}

async fn admitted(door: &Door, mut request: Request, next: Next) -> Result<Response, Problem> {
    let peer = peer_of(&request);
    let (caller, place) = admit(door, peer, request.headers()).await.inspect_err(|problem| {
        metrics::counter!(REFUSED_TOTAL, "code" => problem.code().as_str()).increment(1);
    })?;
    request.extensions_mut().insert(Passage { site: door.site.clone(), caller });
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
    let answer = match door.site.is_untimed {
        true => Ok(answered.await),
        false => tokio::time::timeout(door.state.options().timeouts.request, answered).await,
    };
    drop(place);
    match answer {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(_panic)) => Err(Problem::panicked()),
        Err(_elapsed) => Err(Problem::new(Code::OutcomeUnknown, "the request took longer than it may")),
    }
}

async fn admit(door: &Door, peer: IpAddr, headers: &HeaderMap) -> Result<(Caller, Option<Place>), Problem> {
    let state = &door.state;
    if door.site.access == Access::Probe {
        return Ok((Caller::anonymous(Client::Loopback), None));
    }
    let client = Client::of(peer, headers, &state.options().trusted_proxies);
    if door.site.access == Access::Ops {
        return Ok((state.keys().ops_caller(headers, client).await?, None));
    }
    let has_key = headers.contains_key(axum::http::header::AUTHORIZATION);
    if has_key {
        let caller = match state.keys().caller(headers, client).await {
            Ok(caller) => caller,
            Err(problem) => {
                return Err(state.admission().count(client, state.now_monotonic()).err().unwrap_or(problem));
            }
        };
        state.admission().count(caller.client, state.now_monotonic())?;
        caller.require(door.site.access)?;
        return Ok((caller, Some(state.admission().enter()?)));
    }
    state.admission().count(client, state.now_monotonic())?;
    let caller = Caller::anonymous(client);
    caller.require(door.site.access)?;
    Ok((caller, Some(state.admission().enter()?)))
}

/// The other end of the connection; loopback when the router is called without one, as tests do.
fn peer_of(request: &Request) -> IpAddr {
    let connected = request.extensions().get::<ConnectInfo<SocketAddr>>();
    connected.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(peer)| peer.ip())
}

/// The client's own id when it is short and visible, else a random one.
fn request_id(state: &AppState, headers: &HeaderMap) -> HeaderValue {
    let own = headers.get(&REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_CHARS_MAX).contains(&bytes.len()) && bytes.iter().all(|byte| is_plain(*byte))
    });
    own.cloned().unwrap_or_else(|| {
        let mut text = [0; 32];
        hex::encode_to_slice(state.rng().next_id(), &mut text).expect("16 bytes are 32 digits");
        HeaderValue::from_bytes(&text).expect("hex digits are visible")
    })
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/')
}

fn report(problem: &Problem) {
    let code = problem.code().as_str();
    if problem.code() == Code::InternalError {
        tracing::error!(code, "request failed by a fault of ours");
    } else if problem.status().is_server_error() {
        tracing::warn!(code, "request refused");
    } else {
        tracing::debug!(code, "request refused");
    }
}
