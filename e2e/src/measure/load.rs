//! Load over one HTTP/2 connection, as Envoy sends it: requests encoded beforehand, answers counted and not decoded.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::{Cost, Usage};

/// How checks are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// 128 at a time.
    Saturated,
    /// Each when the one before was answered.
    OneAtATime,
    /// So many a second, whatever is still unanswered.
    Rate(u32),
}

/// Encoded CheckRequests, sent round and round.
#[derive(Clone, Debug)]
pub struct Requests(Arc<[Bytes]>);

impl Requests {
    /// The same one always.
    pub fn one(request: Bytes) -> Self {
        Self([request].into())
    }

    /// These in turn.
    pub fn many(requests: Vec<Bytes>) -> Self {
        Self(requests.into())
    }

    fn nth(&self, n: usize) -> Bytes {
        self.0[n % self.0.len()].clone()
    }
}

impl Load {
    /// Sends `checks` checks and answers what each cost the server.
    ///
    /// # Errors
    /// When one is not answered.
    pub async fn measure(self, usage: &Usage, socket: &Path, requests: &Requests, checks: usize) -> Result<Cost> {
        let channel = connect(socket).await?;
        // The connection and its handshake are not what is measured.
        ask(&channel, requests.nth(0)).await?;
        let before = usage.read()?;
        match self {
            Self::Saturated => among(&channel, requests, checks, 128).await?,
            Self::OneAtATime => among(&channel, requests, checks, 1).await?,
            Self::Rate(rate) => at_rate(&channel, requests, checks, rate).await?,
        }
        Ok(before.until(&usage.read()?, checks))
    }
}

async fn among(channel: &Channel, requests: &Requests, checks: usize, width: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..width {
        let (channel, requests, next) = (channel.clone(), requests.clone(), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= checks {
                    return anyhow::Ok(());
                }
                ask(&channel, requests.nth(n)).await?;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

async fn at_rate(channel: &Channel, requests: &Requests, checks: usize, rate: u32) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut running = tokio::task::JoinSet::new();
    for n in 0..checks {
        ticks.tick().await;
        let (channel, request) = (channel.clone(), requests.nth(n));
        running.spawn(async move { ask(&channel, request).await });
        while let Some(done) = running.try_join_next() {
            done??;
        }
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// One check; its answer as bytes.
///
/// # Errors
/// When it is not answered.
pub async fn ask(channel: &Channel, request: Bytes) -> Result<Bytes> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await?;
    let path = http::uri::PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
    let answer = grpc.unary(Request::new(request), path, AsBytes).await.context("the check was not answered")?;
    Ok(answer.into_inner())
}

/// A connection to the server on `socket`, as soon as it listens.
///
/// # Errors
/// When nobody listens there.
pub async fn connect(socket: &Path) -> Result<Channel> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        match Endpoint::try_from(format!("unix://{}", socket.display()))?.connect().await {
            Ok(channel) => return Ok(channel),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error).context("nobody listens"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Messages as they are: the client's own coding would only add noise on the other core.
#[derive(Clone, Copy)]
struct AsBytes;

impl Codec for AsBytes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
