//! The HTTP server on the simulated network: connections of turmoil's TCP handed to the accept loop of production.
//!
//! On its way out an answer may be reset after some of its bytes, or lose packets: then it arrives late, because TCP
//! sends them again. The simulated TCP itself never loses anything outside cuts of the network.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use turmoil::net::{TcpListener, TcpStream};

use super::disk::{below, within};
use super::power::{Power, Step};
use super::trouble::Trouble;
use crate::rng::Rng;

/// Where every simulated node serves shoppers.
pub const HTTP_PORT: u16 = 80;
/// Where every simulated node serves operators.
pub const OPS_PORT: u16 = 81;

/// An answer that is reset is so after fewer bytes than this.
const RESET_WITHIN_BYTES: u64 = 600;
/// How late a lost packet arrives: the first retransmission of common systems, and a few doublings of it.
const RETRANSMISSION: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_millis(1_600);

/// How a node's connections behave.
#[derive(Clone)]
pub struct Line {
    /// Whose.
    pub name: String,
    /// Without it no byte leaves.
    pub power: Power,
    /// Whether anything goes wrong.
    pub trouble: Trouble,
    /// Draws what does.
    pub rng: Arc<dyn Rng>,
    /// Of so many answers one is reset.
    pub reset_one_in: u64,
    /// Of so many packets one is lost.
    pub loss_one_in: u64,
}

/// A listener of a simulated host.
pub struct SimListener {
    listener: TcpListener,
    line: Line,
}

impl SimListener {
    /// Listens on all of the host's addresses.
    pub async fn bind(port: u16, line: Line) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?, line })
    }
}

impl Listener for SimListener {
    type Io = SimStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (SimStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (SimStream::new(stream, self.line.clone()), address),
                Err(error) => tracing::debug!(%error, "a simulated connection could not be accepted"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One accepted connection.
pub struct SimStream {
    stream: TcpStream,
    line: Line,
    /// Something was read since the last write: the next write begins an answer.
    asked: bool,
    /// Bytes of this answer that still leave before the connection is reset.
    left: Option<u64>,
    /// A lost packet is on its way again.
    resending: Option<Pin<Box<Sleep>>>,
}

impl SimStream {
    fn new(stream: TcpStream, line: Line) -> Self {
        Self { stream, line, asked: false, left: None, resending: None }
    }

    /// Whether bytes may leave now; decides what goes wrong with an answer when it begins.
    fn poll_line(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Line { name, power, trouble, rng, .. } = &self.line;
        if let Some(resending) = &mut self.resending {
            ready!(resending.as_mut().poll(context));
            self.resending = None;
        } else if trouble.strikes(name, "packet lost", self.line.loss_one_in, &**rng) {
            let mut resending = Box::pin(tokio::time::sleep(within(&**rng, &RETRANSMISSION)));
            let pending = resending.as_mut().poll(context).is_pending();
            debug_assert!(pending, "it takes a while");
            self.resending = Some(resending);
            return Poll::Pending;
        }
        let begins = std::mem::take(&mut self.asked);
        if !(if begins { power.passes(Step::Reply) } else { power.is_on() }) {
            return Poll::Pending;
        }
        if begins && trouble.strikes(name, "reset", self.line.reset_one_in, &**rng) {
            self.left = Some(below(&**rng, RESET_WITHIN_BYTES));
        }
        match self.left {
            Some(0) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.asked |= buffer.filled().len() > before;
        outcome
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_line(context))?;
        let most = self.left.map_or(bytes.len(), |left| bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[..most]))?;
        self.left = self.left.map(|left| left - written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
