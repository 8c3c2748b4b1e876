//! Two listeners, one accept loop: connections in, requests through the router, an orderly end.
//!
//! The loop is generic over where connections come from, so the simulator serves the same code over its own network.
//! Connections are bounded; each has a time for every request head, for the TLS handshake, and for being idle. At
//! shutdown listeners close first, idle connections next; requests in flight are answered until the grace is over.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::serve::{Listener, ListenerExt};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::options::{HttpOptions, TlsFiles};
use super::state::AppState;

/// Why serving could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A certificate or key file cannot be used.
    #[error("cannot use {file} for TLS: {reason}", file = file.display())]
    Tls {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The addresses of both listeners, taken and not yet listened on: whoever connects is refused until the shop serves.
/// Taking them first tells of an address in use, or of a certificate that cannot be read, before anything is opened.
pub struct Doors {
    public: (TcpSocket, SocketAddr),
    ops: (TcpSocket, SocketAddr),
    tls: Option<TlsAcceptor>,
}

impl Doors {
    /// Takes the addresses and reads the certificate.
    pub fn take(options: &HttpOptions) -> Result<Self, ServeError> {
        let tls = options.tls.as_ref().map(tls_acceptor).transpose()?;
        Ok(Self { public: bind(options.listen)?, ops: bind(options.ops_listen)?, tls })
    }
}

/// A node's two listeners at work.
pub struct Server {
    /// Where the public listener is.
    pub http: SocketAddr,
    /// Where the operators' listener is.
    pub ops: SocketAddr,
    state: AppState,
    tasks: TaskTracker,
}

/// Listens on both addresses and serves until [`Server::shutdown`].
pub async fn serve(state: AppState, doors: Doors) -> Result<Server, ServeError> {
    let Doors { public, ops, tls } = doors;
    let (public, ops) = (listen(public)?, listen(ops)?);
    let options = state.options();
    let (http, ops_address) = (local(&public, options.listen)?, local(&ops, options.ops_listen)?);
    let tasks = TaskTracker::new();
    let (public_router, ops_router) = (super::public_router(&state), super::ops_router(&state));
    tasks.spawn(accept(public, public_router, state.clone(), tls, tasks.clone()));
    tasks.spawn(accept(ops, ops_router, state.clone(), None, tasks.clone()));
    tasks.close();
    Ok(Server { http, ops: ops_address, state, tasks })
}

impl Server {
    /// Stops accepting, ends event streams, answers what is in flight. `false` when the grace was too short for some.
    pub async fn shutdown(self, grace: Duration) -> bool {
        self.state.stopping().cancel();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

/// Accepts connections and serves `router` on each until the state is stopping. Returns once no longer accepting; what
/// is in flight is tracked by `tasks`.
pub async fn accept<L>(mut listener: L, router: Router, state: AppState, tls: Option<TlsAcceptor>, tasks: TaskTracker)
where
    L: Listener<Addr = SocketAddr>,
{
    let stopping = state.stopping().clone();
    let places = Arc::new(Semaphore::new(state.options().limits.connections_max));
    let protocol = protocol(state.options());
    let handshake = state.options().timeouts.tls_handshake;
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, place)
        };
        let ((io, peer), place) = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            accepted = accepted => accepted,
        };
        let connection =
            Connection { router: router.clone(), protocol: protocol.clone(), peer, stopping: stopping.clone() };
        let tls = tls.clone();
        tasks.spawn(async move {
            match tls {
                None => connection.serve(io).await,
                Some(tls) => match tokio::time::timeout(handshake, tls.accept(io)).await {
                    Ok(Ok(stream)) => connection.serve(stream).await,
                    Ok(Err(error)) => tracing::debug!(%error, "tls handshake failed"),
                    Err(_elapsed) => tracing::debug!("tls handshake took too long"),
                },
            }
            drop(place);
        });
    }
}

/// One accepted connection.
struct Connection {
    router: Router,
    protocol: auto::Builder<TokioExecutor>,
    peer: SocketAddr,
    stopping: CancellationToken,
}

impl Connection {
    async fn serve<Io>(self, io: Io)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { router, protocol, peer, stopping } = self;
        let service = TowerToHyperService::new(router.map_request(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        }));
        let serving = protocol.serve_connection(TokioIo::new(io), service);
        let mut serving = std::pin::pin!(serving);
        let ended = tokio::select! {
            biased;
            ended = serving.as_mut() => ended,
            () = stopping.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended early");
        }
    }
}

fn protocol(options: &HttpOptions) -> auto::Builder<TokioExecutor> {
    let (limits, timeouts) = (&options.limits, &options.timeouts);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_bytes_max.max(HEAD_BYTES_FLOOR));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .keep_alive_interval(timeouts.head)
        .keep_alive_timeout(timeouts.head);
    builder
}

/// Connections that wait in the kernel's queue to be accepted; it takes as many as it is set up for, if that is fewer.
const BACKLOG: u32 = 4_096;
/// The smallest buffer hyper takes.
const HEAD_BYTES_FLOOR: usize = 8192;
/// Requests one HTTP/2 connection may have open: enough for a page, too few to starve others.
const STREAMS_PER_CONNECTION_MAX: u32 = 128;

fn bind(address: SocketAddr) -> Result<(TcpSocket, SocketAddr), ServeError> {
    let refuse = |source| ServeError::Bind { address, source };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(refuse)?;
    // An address that connections of an earlier process still linger on is free all the same.
    socket.set_reuseaddr(true).and_then(|()| socket.bind(address)).map_err(refuse)?;
    Ok((socket, address))
}

fn listen(
    (socket, address): (TcpSocket, SocketAddr),
) -> Result<impl Listener<Io: 'static, Addr = SocketAddr>, ServeError> {
    let listener = socket.listen(BACKLOG).map_err(|source| ServeError::Bind { address, source })?;
    Ok(listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay refused");
        }
    }))
}

fn local(listener: &impl Listener<Addr = SocketAddr>, address: SocketAddr) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(|source| ServeError::Bind { address, source })
}

fn tls_acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ServeError> {
    let refuse = |file: &Path, reason: &dyn std::fmt::Display| ServeError::Tls {
        file: file.to_owned(),
        reason: reason.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(&files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| refuse(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(&files.certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| refuse(&files.key, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
