//! The HTTP server on the simulated network: connections of turmoil's TCP handed to the accept loop of production.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::serve::Listener;
use turmoil::net::{TcpListener, TcpStream};

/// Where every simulated node serves shoppers.
pub const HTTP_PORT: u16 = 80;
/// Where every simulated node serves operators.
pub const OPS_PORT: u16 = 81;

/// A listener of a simulated host.
pub struct SimListener(TcpListener);

impl SimListener {
    /// Listens on all of the host's addresses.
    pub async fn bind(port: u16) -> io::Result<Self> {
        Ok(Self(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?))
    }
}

impl Listener for SimListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => tracing::debug!(%error, "a simulated connection could not be accepted"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
