//! The listener that the proxy asks, HTTP/2 only, drained gracefully: a socket file or a loopback port for the local one, or any
//! address for those that show a certificate (P30).
//!
//! Two services are asked there: checks of requests, one message in and one out (`unary`), and the processing of responses,
//! streams which their own surface answers. Which call goes where is decided by its path and by nothing else.

mod known;
mod one_write;
mod socket;
pub mod unary;
mod unfinished;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::stream;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::{Service, ServiceExt as _, service_fn};

use self::known::KnownPeers;
use self::one_write::{OneWrite, Stream};
use self::socket::SocketFile;
use self::unary::Unreadable;
use self::unfinished::{Messages, Room, Waiting};
use crate::tls::{TlsError, TlsFiles};

/// The full name of the service of checks, as in `grpc_health_check`.
pub const AUTHORIZATION: &str = "envoy.service.auth.v3.Authorization";
/// The full name of the service that processes responses.
pub const EXTERNAL_PROCESSOR: &str = "envoy.service.ext_proc.v3.ExternalProcessor";
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// What gRPC health tells of: the process, and each service in it.
const REPORTED: [&str; 3] = ["", AUTHORIZATION, EXTERNAL_PROCESSOR];

/// How many calls one connection has under way. Envoy opens another connection beyond, and has 1,024 requests by default.
const STREAMS: u32 = 1024;
/// How many bytes lie unread on one connection, and on one call of it.
const WINDOW: u32 = 1024 * 1024;
/// How often a silent peer is asked whether it is still there, and how long it has to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// After which a peer that is known by a certificate is asked to connect anew: one that ran out, or whose authority is no longer
/// ours, is not known for longer than that.
const AGE: Duration = Duration::from_secs(3600);

/// What the listener gives its peers (P32).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's queue. Envoy has one for each of its threads.
    pub connections: usize,
    /// Bytes of messages that are not whole, over all calls.
    pub unfinished: usize,
    /// How long a message may take to come whole. Envoy sends one at once, and by then has given up.
    pub message: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 128, unfinished: 64 * 1024 * 1024, message: Duration::from_secs(2) }
    }
}

impl Limits {
    /// Those of a listener at `address`: one on a network has many proxies.
    pub fn at(address: &Address) -> Self {
        match address {
            Address::Unix(_) | Address::Loopback(_) => Self::default(),
            Address::Known { .. } => Self { connections: 1024, ..Self::default() },
        }
    }
}

/// Where the proxy asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket file, of mode 0660, in a folder that nobody else may write to.
    Unix(PathBuf),
    /// A loopback address.
    Loopback(SocketAddr),
    /// Any address, for peers that show a certificate.
    Known {
        /// The address.
        address: SocketAddr,
        /// What we show, and whose certificates count.
        tls: TlsFiles,
    },
}

/// Why the listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Others than the local proxy could reach it.
    #[error(
        "{0} can be reached by others; only proxies that are known may ask: use a socket file or a loopback address, or TLS with \
         certificates of the clients"
    )]
    NotLoopback(SocketAddr),
    /// There is no TLS.
    #[error("TLS")]
    Tls(#[from] TlsError),
    /// Others could put a socket of their own in its place.
    #[error(
        "the folder {folder} of the socket {problem}; it must belong to this user or root and be writable by its owner only"
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Somebody answers there.
    #[error("another server is listening on {0}")]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("{0} is there and is not a socket; it is left alone")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on {address}")]
    System {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A listener, open: connections wait in it until [`Listener::serve`].
#[derive(Debug)]
pub enum Listener {
    /// On a socket file.
    Unix(SocketFile),
    /// On a loopback port.
    Tcp(TcpListener),
    /// With TLS.
    Known(KnownPeers),
}

impl Listener {
    /// Opens it.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(address: &Address) -> Result<Self, BindError> {
        match address {
            Address::Unix(path) => SocketFile::bind(path).await.map(Self::Unix),
            Address::Loopback(address) if !address.ip().is_loopback() => Err(BindError::NotLoopback(*address)),
            Address::Loopback(address) => TcpListener::bind(address)
                .await
                .map(Self::Tcp)
                .map_err(|source| BindError::System { address: address.to_string(), source }),
            Address::Known { address, tls } => KnownPeers::bind(*address, tls.clone()).await.map(Self::Known),
        }
    }

    /// The address it got: a port of 0 is now a real one.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Unix(socket) => Ok(Address::Unix(socket.path().to_owned())),
            Self::Tcp(listener) => listener.local_addr().map(Address::Loopback),
            Self::Known(listener) => listener.address(),
        }
    }

    /// Answers checks by `check`, streams about responses by `process`, and gRPC health by `ready`, until `stop`. Then no
    /// connection is taken any more, the open ones are told to go away, and it ends when their calls have ended. The caller
    /// bounds how long that may take.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve<C, F, P>(
        self,
        limits: Limits,
        check: C,
        process: P,
        ready: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> Result<(), tonic::transport::Error>
    where
        C: Fn(Result<Bytes, Unreadable>) -> F + Clone + Send + 'static,
        F: Future<Output = Bytes> + Send,
        P: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    {
        let reporter = HealthReporter::new();
        let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let room = Room::new(limits.unfinished, limits.message);
        let surface = service_fn(move |request: Request<Body>| {
            // A check is nearly every call. What the others need is neither cloned for it nor part of its future.
            if request.uri().path() == CHECK {
                Either::Left(answer_check(check.clone(), request.into_body(), Waiting::new(room.clone())))
            } else {
                let request = request.map(|body| Body::new(Messages::new(body, room.clone())));
                Either::Right(Box::pin(answer_other(process.clone(), health.clone(), request)))
            }
        });
        let server = match &self {
            Self::Unix(_) | Self::Tcp(_) => Server::builder(),
            Self::Known(_) => Server::builder().max_connection_age(AGE),
        };
        let served = server
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1))
            .serve_with_incoming_shutdown(surface, incoming(self, limits.connections), stop.clone().cancelled_owned());
        tokio::select! {
            served = served => served,
            never = report(reporter, ready, stop) => match never {},
        }
    }

    async fn accept(&mut self) -> io::Result<Stream> {
        loop {
            match self {
                Self::Unix(socket) => {
                    return socket.listener().accept().await.map(|(stream, _)| Stream::Unix(stream));
                }
                Self::Tcp(listener) => {
                    let (stream, peer) = listener.accept().await?;
                    // Cannot be anything else on a loopback address; P30 does not hang on routing tables all the same.
                    if peer.ip().to_canonical().is_loopback() {
                        stream.set_nodelay(true)?;
                        return Ok(Stream::Tcp(stream));
                    }
                    tracing::warn!(%peer, "connection from another host refused");
                }
                Self::Known(listener) => return listener.accept().await.map(|it| Stream::Tls(Box::new(it))),
            }
        }
    }
}

/// The connections of a listener. A failure to accept one (no file descriptor left, a peer already gone) passes; the pause keeps
/// it from being repeated without end. One is accepted when there is a place for it.
fn incoming(listener: Listener, places: usize) -> impl tokio_stream::Stream<Item = io::Result<OneWrite>> {
    const PAUSE: Duration = Duration::from_millis(50);
    let places = Arc::new(Semaphore::new(places));
    stream::unfold((listener, places), async |(mut listener, places)| {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes the semaphore");
        loop {
            match listener.accept().await {
                Ok(stream) => return Some((Ok(OneWrite::new(stream, place)), (listener, places))),
                Err(error) => tracing::warn!(%error, "could not accept a connection"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}

/// Tells gRPC health what readiness is, and ends its streams when it is time to go: a `Watch` has no end of its own.
async fn report(reporter: HealthReporter, mut ready: watch::Receiver<bool>, stop: CancellationToken) -> Infallible {
    let mut reporter = reporter;
    loop {
        let status = if *ready.borrow_and_update() { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in REPORTED {
            reporter.set_service_status(service, status).await;
        }
        tokio::select! {
            // Whoever knew of readiness is gone: what was known last stands.
            changed = ready.changed() => if changed.is_err() { stop.cancelled().await },
            () = stop.cancelled() => {}
        }
        if stop.is_cancelled() {
            for service in REPORTED {
                reporter.clear_service_status(service).await;
            }
            return pending().await;
        }
    }
}

/// A check.
async fn answer_check<C, F>(check: C, body: Body, mut waiting: Waiting) -> Result<Response<AnswerBody>, Infallible>
where
    C: Fn(Result<Bytes, Unreadable>) -> F,
    F: Future<Output = Bytes>,
{
    // What the message held is held until it is answered.
    Ok(match unary::read(body, &mut waiting).await {
        Err(Unreadable::Broken) => tonic::Status::cancelled("the request broke off").into_http().map(AnswerBody::Other),
        message => unary::Answer::response(check(message).await).map(AnswerBody::Check),
    })
}

/// Any other call. The order of the arms is that of their frequency.
async fn answer_other<P>(
    process: P,
    mut health: HealthServer<HealthService>,
    request: Request<Body>,
) -> Result<Response<AnswerBody>, Infallible>
where
    P: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let response = match request.uri().path().split('/').nth(1) {
        Some(EXTERNAL_PROCESSOR) => process.oneshot(request).await?,
        Some(HealthServer::<HealthService>::NAME) => health.call(request).await?,
        _ => tonic::Status::unimplemented("").into_http(),
    };
    Ok(response.map(AnswerBody::Other))
}

/// What a call is answered with. Boxed once, by the server, and not by each part on its way there.
enum AnswerBody {
    Check(unary::Answer),
    Other(Body),
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match self.get_mut() {
            Self::Check(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Other(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Check(body) => body.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Check(body) => body.size_hint(),
            Self::Other(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests;
