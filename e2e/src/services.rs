//! The two services of the demo: a log-in service and a shop. Small, but what they do is what real ones should: say by headers
//! of a response what becomes of a session, never see its token, verify the session JWT, check where they redirect to.

mod html;
pub mod identity;
pub mod login;
pub mod shop;

use std::net::SocketAddr;

use anyhow::Result;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A port of loopback that the kernel chooses.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A running service; it ends when this is dropped.
pub struct Service {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Service {
    async fn serve(address: SocketAddr, router: axum::Router) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        Ok(Self { address, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}
