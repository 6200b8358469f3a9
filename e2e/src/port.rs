//! A port of loopback that stays ours: not every server can be told to choose one and say which.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use rustix::net::{Shutdown, shutdown};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How many clients may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A port that the kernel chose and gives to nobody else while this lives.
///
/// It is bound here with `SO_REUSEADDR` and never listened on. Linux then lets a socket that names the port, and has that
/// option too, bind and listen (Redis and all programs in Go set it), but neither chooses the port for others nor lets a
/// connection go out from it. So a server can be ended and started again on its port. While none listens, connections are
/// refused.
pub struct Port {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    /// Takes one.
    ///
    /// # Errors
    /// When loopback has no port left.
    pub fn reserve() -> Result<Self> {
        let bound = bind(SocketAddr::from(([127, 0, 0, 1], 0))).context("loopback has no port left")?;
        Ok(Self { address: bound.local_addr()?, _bound: bound })
    }

    /// With 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens on it from this process.
    ///
    /// # Errors
    /// When something listens on it already.
    pub fn listen(&self) -> Result<Listener> {
        let listener = bind(self.address).and_then(|it| it.listen(BACKLOG));
        Ok(Listener(listener.with_context(|| format!("cannot listen on {}", self.address))?))
    }
}

/// A listener that is gone as soon as it is dropped.
///
/// To close it would not do: a process that another thread is just starting has a copy of it until it is another program.
pub struct Listener(TcpListener);

impl Listener {
    /// The next connection.
    ///
    /// # Errors
    /// When it cannot be accepted.
    pub async fn accept(&self) -> Result<TcpStream> {
        Ok(self.0.accept().await?.0)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Of a socket that listens, Linux makes one that does not, whoever else holds it.
        shutdown(&self.0, Shutdown::Both).ok();
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[tokio::test]
    async fn a_reserved_port_is_given_to_nobody_else() {
        let ours: Vec<Port> = (0..100).map(|_| Port::reserve().expect("a port")).collect();
        let ports: HashSet<_> = ours.iter().map(|it| it.address().port()).collect();
        assert_eq!(ports.len(), ours.len());
        for _ in 0..1000 {
            let other = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
            assert!(!ports.contains(&other.port()));
        }
    }

    #[tokio::test]
    async fn its_owner_listens_and_stops_as_often_as_it_likes() {
        let port = Port::reserve().expect("a port");
        for _ in 0..3 {
            assert!(TcpStream::connect(port.address()).await.is_err());
            let listener = port.listen().expect("listens");
            TcpStream::connect(port.address()).await.expect("connects");
            listener.accept().await.expect("accepts");
        }
    }
}
