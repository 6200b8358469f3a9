//! Every listener, bound before anything is served: an address in use stops the start, not the first request.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::admin::listener::bind_loopback;
use crate::config::Listen;
use crate::grpc::{Address, Listener};

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
            Address::Loopback(address) | Address::Known { address, .. } => address.to_string(),
        };
        let addresses = json!({
            "grpc": grpc,
            "http": address(&self.http)?,
            "health": address(&self.health)?,
            "admin": address(&self.admin)?,
            "sessions": self.sessions.as_ref().map(address).transpose()?,
        });
        replace(path, &addresses.to_string()).with_context(|| format!("--addresses: cannot write {}", path.display()))
    }
}

/// Puts a file with this text in the place of whatever is at `path`. The part file is always a new one: whatever others may
/// have put at its name, a link to a file of ours among it, is removed and never written through.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_added_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?.write_all(text.as_bytes())?;
    fs::rename(&part, path)
}

/// Binds the address that `key` gives.
pub(super) async fn bind(key: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key}: cannot listen on {address}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_addresses_go_through_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("addresses"), folder.path().join("target"));
        fs::write(&target, "untouched").unwrap();
        for link in [folder.path().join("addresses.part"), path.clone()] {
            let _ = fs::remove_file(&link);
            symlink(&target, &link).unwrap();
            replace(&path, "{}").unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), "untouched", "{}", link.display());
            assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
            let written = fs::symlink_metadata(&path).unwrap();
            assert!(written.is_file() && written.permissions().mode() & 0o777 == 0o600);
        }
        replace(&path, "[]").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]");
    }
}
