//! Every listener, bound before anything is served: an address in use stops the start, not the first request.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::admin::listener::bind_loopback;
use crate::config::Listen;
use crate::ext_authz::server::{Address, Listener};

/// The listeners of `listen`.
pub(super) struct Listeners {
    pub(super) grpc: Listener,
    pub(super) http: TcpListener,
    pub(super) health: TcpListener,
    pub(super) admin: TcpListener,
    pub(super) sessions: Option<TcpListener>,
}

impl Listeners {
    /// Binds them all.
    pub(super) async fn bind(listen: &Listen) -> anyhow::Result<Self> {
        let sessions = match listen.sessions {
            Some(address) => Some(bind("listen.sessions", address).await?),
            None => None,
        };
        Ok(Self {
            grpc: Listener::bind(&listen.grpc).await.context("listen.grpc")?,
            http: bind("listen.http", listen.http).await?,
            health: bind("listen.health", listen.health).await?,
            admin: bind_loopback(listen.admin)
                .await
                .with_context(|| format!("listen.admin: cannot listen on {}", listen.admin))?,
            sessions,
        })
    }

    /// Writes the addresses as JSON: whole or not at all, so that who waits for the file reads all of them.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let address = |listener: &TcpListener| listener.local_addr().map(|it| it.to_string());
        let grpc = match self.grpc.address()? {
            Address::Unix(path) => format!("unix://{}", path.display()),
            Address::Loopback(address) => address.to_string(),
        };
        let addresses = json!({
            "grpc": grpc,
            "http": address(&self.http)?,
            "health": address(&self.health)?,
            "admin": address(&self.admin)?,
            "sessions": self.sessions.as_ref().map(address).transpose()?,
        });
        let part = path.with_added_extension("part");
        std::fs::write(&part, addresses.to_string())
            .and_then(|()| std::fs::rename(&part, path))
            .with_context(|| format!("--addresses: cannot write {}", path.display()))
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key}: cannot listen on {address}"))
}
