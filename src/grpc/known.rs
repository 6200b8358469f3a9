//! A listener that others than the local proxy can reach: TLS, and a certificate of every peer (P30).
//!
//! Who shows none that our authority made for a client is nobody: no byte of theirs is read beyond the handshake. Handshakes
//! have bounds of their own, so strangers and slow peers take no place from the proxies that are known.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use super::{Address, BindError};
use crate::tls::handshakes::Handshakes;
use crate::tls::{Protocol, Tls, TlsFiles};

/// The listener, open.
#[derive(Debug)]
pub struct KnownPeers {
    listener: TcpListener,
    files: TlsFiles,
    tls: Arc<Tls>,
    handshakes: Handshakes,
}

impl KnownPeers {
    /// Opens it. Without good files there is no listener.
    pub(super) async fn bind(address: SocketAddr, files: TlsFiles) -> Result<Self, BindError> {
        if files.client_ca.is_none() {
            return Err(BindError::NotLoopback(address));
        }
        let tls = Arc::new(Tls::load(files.clone(), Protocol::Http2)?);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| BindError::System { address: address.to_string(), source })?;
        Ok(Self { listener, files, tls, handshakes: Handshakes::default() })
    }

    pub(super) fn address(&self) -> io::Result<Address> {
        Ok(Address::Known { address: self.listener.local_addr()?, tls: self.files.clone() })
    }

    /// The next peer that is known.
    pub(super) async fn accept(&mut self) -> io::Result<TlsStream<TcpStream>> {
        loop {
            tokio::select! {
                biased;
                stream = self.handshakes.next() => return Ok(stream),
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted?;
                    stream.set_nodelay(true)?;
                    self.handshakes.begin(Arc::clone(&self.tls), stream);
                }
            }
        }
    }
}
