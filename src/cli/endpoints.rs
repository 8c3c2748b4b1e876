//! Where a running node listens: printed when it is ready, and kept in its data directory for commands that look for
//! it.
//!
//! The file is there from readiness to an orderly stop. After a crash it is stale, and whoever connects notices.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::assembly::Shop;
use super::exit::{Exit, Failure};
use crate::config::Config;

/// File in the data directory.
const FILE: &str = "endpoints.json";

/// The readiness line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Endpoints {
    /// Always true: the line is printed when it is.
    ready: bool,
    /// Public listener, `IP:PORT`.
    http: String,
    /// Operators' listener, `IP:PORT`.
    ops: String,
    /// Whether the public listener speaks TLS.
    tls: bool,
    /// Process id.
    pid: u32,
    /// Program version.
    version: String,
}

impl Endpoints {
    /// Of a running shop.
    pub(super) fn of(shop: &Shop, config: &Config) -> Self {
        Self {
            ready: true,
            http: shop.server.http.to_string(),
            ops: shop.server.ops.to_string(),
            tls: !config.http.tls_certificate.as_os_str().is_empty(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Base of public URLs.
    pub(super) fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.http)
    }

    /// Base of operators' URLs.
    pub(super) fn ops_url(&self) -> String {
        format!("http://{}", self.ops)
    }

    /// Keeps them for other commands.
    pub(super) fn write(&self, data: &Path) -> std::io::Result<()> {
        std::fs::write(data.join(FILE), serde_json::to_string(self)?)
    }

    /// What the node of this directory wrote; `None` when none runs, or none did since an orderly stop.
    pub(super) fn read(data: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(data.join(FILE)).ok()?).ok()
    }

    /// Of the node that runs on this directory. Nobody else is asked in its place: what was meant for one shop must not
    /// happen in another.
    pub(super) fn of_running(data: &Path) -> Result<Self, Failure> {
        Self::read(data).ok_or_else(|| {
            Failure::said(Exit::Unreachable, format_args!("no node runs on {}", data.display()))
                .advise("start it with `stockroom serve`, name another data directory with --data, or give its address")
        })
    }

    /// Forgets them.
    pub(super) fn remove(data: &Path) {
        if let Err(error) = std::fs::remove_file(data.join(FILE)) {
            tracing::debug!(%error, "the endpoints file could not be removed");
        }
    }
}
