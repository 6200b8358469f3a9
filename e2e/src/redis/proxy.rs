//! A TCP proxy between clients and one Redis. Its way can be slowed, held up, cut or lead nowhere, for one frame or for all.

mod carry;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use self::carry::{Carrier, Trap};
use crate::port::Port;

/// No test waits longer for a frame.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Requests,
    Replies,
}

/// What becomes of a frame that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It passes like any other: one only wants to know that it came.
    Pass,
    /// It waits, and what follows on its connection with it, until [`Caught::release`].
    Hold,
    /// It waits this long, and what follows on its connection with it.
    Delay(Duration),
    /// Its first half passes, then its connection is cut.
    Halve,
    /// Its connection is cut before its first byte passes.
    Cut,
}

/// How the way is, for all connections.
#[derive(Clone, Copy, Debug, Default)]
struct Road {
    held: bool,
    black: bool,
    slow: Duration,
}

impl Road {
    fn is_open(self, way: Way) -> bool {
        match way {
            Way::Requests => !self.black,
            Way::Replies => !self.black && !self.held,
        }
    }
}

/// The running proxy. It and its connections end when this is dropped.
///
/// What is not RESP (TLS, say) passes as well; a frame is then what comes in one read.
pub struct Proxy {
    port: Port,
    carrier: Arc<Carrier>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// Starts one before `upstream`.
    ///
    /// # Errors
    /// When loopback has no port left.
    pub fn spawn(upstream: SocketAddr) -> Result<Self> {
        let carrier = Arc::new(Carrier::to(upstream));
        let proxy = Self { port: Port::reserve()?, carrier, listening: Mutex::new(None) };
        proxy.accept()?;
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// How many connections it has accepted so far.
    pub fn accepted(&self) -> usize {
        *self.carrier.accepted.borrow()
    }

    /// Holds all bytes to clients back. When this returns, none passes any more, and requests still do.
    pub fn hold(&self) {
        self.carrier.road.send_modify(|road| road.held = true);
    }

    /// Lets go what [`Proxy::hold`] held back.
    pub fn release(&self) {
        self.carrier.road.send_modify(|road| road.held = false);
    }

    /// Partitions: when this returns, nothing passes either way, not even the end of a connection, and nothing is closed.
    /// New connections are accepted and lead nowhere.
    pub fn black_hole(&self) {
        self.carrier.road.send_modify(|road| road.black = true);
    }

    /// Ends the partition. What was sent meanwhile passes, as TCP would send it again.
    pub fn heal(&self) {
        self.carrier.road.send_modify(|road| road.black = false);
    }

    /// Keeps everything that comes in one read, in both directions, for this long; zero for no longer.
    pub fn slow(&self, delay: Duration) {
        self.carrier.road.send_modify(|road| road.slow = delay);
    }

    /// Closes all connections, both ends of each, and returns when that is done. New ones are accepted.
    pub async fn cut(&self) {
        let mut connections = std::mem::replace(&mut *lock(&self.carrier.connections), JoinSet::new());
        connections.shutdown().await;
    }

    /// Refuses new connections; returns when it listens no longer. Those that are open stay.
    pub async fn refuse(&self) {
        let listening = lock(&self.listening).take();
        if let Some(listening) = listening {
            listening.abort();
            listening.await.ok();
        }
    }

    /// Accepts connections again.
    ///
    /// # Errors
    /// When it does already.
    pub fn accept(&self) -> Result<()> {
        let listener = self.port.listen()?;
        let carrier = Arc::clone(&self.carrier);
        *lock(&self.listening) = Some(tokio::spawn(async move {
            while let Ok(client) = listener.accept().await {
                carrier.take_on(client);
            }
        }));
        Ok(())
    }

    /// Does this to the next request, on any connection, that contains `text`.
    pub fn next_request(&self, text: &str, act: Act) -> Caught {
        self.next(Way::Requests, text, act)
    }

    /// Does this to the next reply, on any connection, that contains `text`.
    pub fn next_reply(&self, text: &str, act: Act) -> Caught {
        self.next(Way::Replies, text, act)
    }

    fn next(&self, way: Way, text: &str, act: Act) -> Caught {
        let (saw, seen) = watch::channel(false);
        let (release, released) = watch::channel(false);
        lock(&self.carrier.traps).push(Trap { way, text: text.into(), act, saw, released });
        Caught { seen, release }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(listening) = lock(&self.listening).take() {
            listening.abort();
        }
        lock(&self.carrier.connections).abort_all();
    }
}

/// A frame that is waited for. Dropping this releases it, and lets [`Act::Hold`] catch nothing.
#[must_use = "dropping it releases what it holds"]
pub struct Caught {
    seen: watch::Receiver<bool>,
    release: watch::Sender<bool>,
}

impl Caught {
    /// Waits until the frame has come to the proxy, whole; what is to be done with it may still go on.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn seen(&self) -> Result<()> {
        let mut seen = self.seen.clone();
        let seen = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| *seen)).await;
        seen.context("the frame that is waited for has not come in time")?.context("the proxy is gone")?;
        Ok(())
    }

    /// Lets it go.
    pub fn release(self) {
        self.release.send_replace(true);
    }
}

/// A panic elsewhere leaves these values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
