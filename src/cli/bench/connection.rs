//! One HTTP/1.1 connection to the node under test, reopened when it breaks.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where the node is.
pub(super) struct Target {
    address: SocketAddr,
    host: String,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// The address does not read.
    #[error("{url} is not of the form http://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody listens there.
    #[error("cannot connect to {host}: {source}")]
    Connect {
        /// Where.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("connection broke: {0}")]
    Http(#[from] hyper::Error),
}

impl Target {
    /// Reads `http://HOST:PORT` and looks the host up.
    pub(super) async fn resolve(url: &str) -> Result<Self, ConnectionError> {
        let host = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let host = host.filter(|host| !host.is_empty()).ok_or_else(|| ConnectionError::Url { url: url.to_owned() })?;
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let connect = |source| ConnectionError::Connect { host: host.to_owned(), source };
        let mut addresses = tokio::net::lookup_host(&with_port).await.map_err(connect)?;
        let address = addresses.next().ok_or_else(|| ConnectionError::Url { url: url.to_owned() })?;
        TcpStream::connect(address).await.map_err(connect)?;
        Ok(Self { address, host: host.to_owned() })
    }
}

/// An answer, read whole.
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its body.
    pub(super) body: Bytes,
}

/// A call about to be made.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: String,
    /// JSON; empty for none.
    pub(super) body: String,
    pub(super) headers: &'a [(&'static str, String)],
}

/// A client's only connection.
#[derive(Default)]
pub(super) struct Connection {
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Sends a call and reads the whole answer, connecting first when there is no usable connection.
    pub(super) async fn call(&mut self, target: &Target, call: Call<'_>) -> Result<Answer, ConnectionError> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => open(target).await?,
        };
        let mut request = Request::builder().method(call.method).uri(call.path).header("host", &target.host);
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        if !call.body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(call.body)))
            .expect("paths are made of ids and headers of visible ASCII");
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        self.sender = Some(sender);
        Ok(Answer { status, body })
    }
}

async fn open(target: &Target) -> Result<SendRequest<Full<Bytes>>, ConnectionError> {
    let connect = |source| ConnectionError::Connect { host: target.host.clone(), source };
    let stream = TcpStream::connect(target.address).await.map_err(connect)?;
    stream.set_nodelay(true).map_err(connect)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
