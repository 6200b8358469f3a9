//! The connections of a proxy, and what is done to the bytes on them.

use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Act, Road, Way, lock};
use crate::redis::resp;

/// What the connections share.
pub(super) struct Carrier {
    upstream: SocketAddr,
    pub(super) road: watch::Sender<Road>,
    pub(super) traps: Mutex<Vec<Trap>>,
    pub(super) connections: Mutex<JoinSet<()>>,
    pub(super) accepted: watch::Sender<usize>,
}

/// A frame that is waited for, and what is done to it.
pub(super) struct Trap {
    pub(super) way: Way,
    pub(super) text: Vec<u8>,
    pub(super) act: Act,
    pub(super) saw: watch::Sender<bool>,
    pub(super) released: watch::Receiver<bool>,
}

impl Carrier {
    pub(super) fn to(upstream: SocketAddr) -> Self {
        Self {
            upstream,
            road: watch::Sender::new(Road::default()),
            traps: Mutex::default(),
            connections: Mutex::default(),
            accepted: watch::Sender::new(0),
        }
    }

    pub(super) fn take_on(self: &Arc<Self>, client: TcpStream) {
        let carrier = Arc::clone(self);
        let mut connections = lock(&self.connections);
        while connections.try_join_next().is_some() {}
        // An error is an end: both sides are closed, and each sees that.
        connections.spawn(async move { carrier.carry(client).await.unwrap_or_default() });
        self.accepted.send_modify(|accepted| *accepted += 1);
    }

    async fn carry(&self, client: TcpStream) -> Result<()> {
        self.open(Way::Requests).await;
        let server = TcpStream::connect(self.upstream).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let requests = self.pump(Way::Requests, from_client, to_server);
        let replies = self.pump(Way::Replies, from_server, to_client);
        tokio::try_join!(requests, replies).map(drop)
    }

    /// Carries bytes until their end, and then that.
    async fn pump(&self, way: Way, mut from: OwnedReadHalf, to: OwnedWriteHalf) -> Result<()> {
        let (mut bytes, mut is_resp) = (Vec::new(), true);
        loop {
            let ended = from.read_buf(&mut bytes).await? == 0;
            let slow = self.road.borrow().slow;
            if !slow.is_zero() {
                tokio::time::sleep(slow).await;
            }
            // Frames that nobody waits for go in one piece.
            let mut passing = Vec::new();
            while let Some(length) = frame(&bytes, &mut is_resp) {
                let frame: Vec<u8> = bytes.drain(..length).collect();
                if let Some(trap) = self.trap(way, &frame) {
                    self.pass(way, &to, &std::mem::take(&mut passing)).await?;
                    self.spring(trap, &to, &frame).await?;
                } else {
                    passing.extend(frame);
                }
            }
            self.pass(way, &to, &passing).await?;
            if ended {
                self.pass(way, &to, &bytes).await?;
                self.open(way).await;
                return Ok(());
            }
        }
    }

    /// The first trap for this frame, which is one no longer.
    fn trap(&self, way: Way, frame: &[u8]) -> Option<Trap> {
        let mut traps = lock(&self.traps);
        let holds = |text: &[u8]| text.is_empty() || frame.windows(text.len()).any(|it| it == text);
        let at = traps.iter().position(|trap| trap.way == way && holds(&trap.text))?;
        Some(traps.remove(at))
    }

    async fn spring(&self, mut trap: Trap, to: &OwnedWriteHalf, frame: &[u8]) -> Result<()> {
        trap.saw.send_replace(true);
        match trap.act {
            Act::Pass => {}
            // The error is that of a test which lets go by dropping.
            Act::Hold => drop(trap.released.wait_for(|released| *released).await),
            Act::Delay(delay) => tokio::time::sleep(delay).await,
            Act::Halve => {
                self.pass(trap.way, to, &frame[..frame.len().div_ceil(2)]).await?;
                return Err(ErrorKind::ConnectionAborted.into());
            }
            Act::Cut => return Err(ErrorKind::ConnectionAborted.into()),
        }
        self.pass(trap.way, to, frame).await
    }

    /// Writes where and while the road is open: whoever changes the road waits for a write that goes on, which never waits.
    async fn pass(&self, way: Way, to: &OwnedWriteHalf, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.open(way).await;
            to.writable().await?;
            let road = self.road.borrow();
            if !road.is_open(way) {
                continue;
            }
            match to.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn open(&self, way: Way) {
        // This holds the sender: the channel stays.
        self.road.subscribe().wait_for(|road| road.is_open(way)).await.ok();
    }
}

/// The length of the first frame, if it is there whole. After something that is no RESP, everything there is one frame.
fn frame(bytes: &[u8], is_resp: &mut bool) -> Option<usize> {
    if *is_resp {
        match resp::frame(bytes) {
            Ok(frame) => return frame.map(|(_, length)| length),
            Err(_) => *is_resp = false,
        }
    }
    (!bytes.is_empty()).then_some(bytes.len())
}
