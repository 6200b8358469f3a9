//! The webhook's listener: HTTPS, a path for each judge, and bounds on all that a client may take.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::bodies::{Bodies, Unread};
use super::weight::weight;
use super::{BadReview, injection, too_heavy};
use crate::authz::policy::Install;
use crate::conversations::{Conversation, Conversations, accept};
use crate::injector::Injection;
use crate::tls::Tls;
use crate::tls::handshakes::Handshakes;

/// Where reviews of policies are sent.
pub const PATH: &str = "/validate";
/// Where reviews of pods are sent.
pub const INJECT_PATH: &str = "/inject";

/// The object and what it was, each of at most the 1.5 MiB that etcd stores, with room for what JSON adds.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// Bytes of reviews that are held at once, arriving or whole, and how long one may take to arrive.
const BODIES: usize = 32 * 1024 * 1024;
const ARRIVAL: Duration = Duration::from_secs(2);
/// What a review may weigh at most that has the others judged beside it, in bytes of memory, and how many there are at once:
/// what bounds memory and processor (P32, P28). While it is judged, it is there twice at most.
const LIGHT: usize = 2 * 1024 * 1024;
const LIGHT_AT_ONCE: usize = 8;
/// What one may weigh at all: more than any object does that fits into etcd. One such is judged at once, and two wait for their
/// turn.
const HEAVIEST: usize = 48 * 1024 * 1024;
const HEAVY: usize = 3;
/// Connections at once. API servers keep a few open each.
const CONNECTIONS: usize = 256;
/// How long a connection may live without a first request: API servers open one to ask.
const FIRST: Duration = Duration::from_secs(5);
/// How long a connection may lie idle. Clients in Go let go of theirs after 90 s, and had better be the first.
const IDLE: Duration = Duration::from_secs(100);
/// How long a review may take in all; an API server waits 10 s unless told.
const REVIEW: Duration = Duration::from_secs(10);
/// After which a connection answers what it has begun and ends.
const AGE: Duration = Duration::from_secs(600);

/// What the judges know.
#[derive(Debug)]
pub struct Judges {
    /// What a policy may say here.
    pub install: Install,
    /// What pods get; without it, nothing.
    pub injection: Option<Injection>,
}

/// What answers a review.
type Judge = fn(&[u8], &Judges) -> Result<Value, BadReview>;

struct Shared {
    judges: Arc<Judges>,
    bodies: Bodies,
    light: Arc<Semaphore>,
    heavy: Arc<Semaphore>,
    heavy_turn: Arc<Semaphore>,
}

/// Answers admission reviews on `listener` until `stop`, then lets those in flight end.
pub async fn serve(listener: TcpListener, tls: Arc<Tls>, judges: Judges, stop: CancellationToken) {
    let shared = Arc::new(Shared {
        judges: Arc::new(judges),
        bodies: Bodies::within(BODIES),
        light: Arc::new(Semaphore::new(LIGHT_AT_ONCE)),
        heavy: Arc::new(Semaphore::new(HEAVY)),
        heavy_turn: Arc::new(Semaphore::new(1)),
    });
    let router = Router::new().route(PATH, post(validate)).route(INJECT_PATH, post(inject)).with_state(shared);
    let (mut handshakes, mut conversations) = (Handshakes::default(), Conversations::at_most(CONNECTIONS));
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = conversations.ended() => {}
            stream = handshakes.next() => {
                conversations.begin(|conversation| converse(stream, conversation, router.clone(), stop.clone()));
            }
            stream = accept(&listener) => handshakes.begin(Arc::clone(&tls), stream),
        }
    }
    drop((listener, handshakes));
    conversations.finish().await;
}

async fn converse(
    stream: TlsStream<TcpStream>,
    conversation: Arc<Conversation>,
    router: Router,
    stop: CancellationToken,
) {
    let router = conversation.of(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let talk = async {
        tokio::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = stop.cancelled() => {}
            () = tokio::time::sleep(AGE) => {}
            () = conversation.is_silent(FIRST) => return Ok(()),
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    let _ = tokio::time::timeout(AGE + REVIEW, talk).await;
}

async fn validate(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    review(&shared, request, |body, judges| super::review(body, &judges.install)).await
}

async fn inject(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    review(&shared, request, |body, judges| injection::review(body, judges.injection.as_ref())).await
}

async fn review(shared: &Shared, request: Request, judge: Judge) -> Response {
    match tokio::time::timeout(REVIEW, answer(shared, request.into_body(), judge)).await {
        Ok(answer) => answer,
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the review took too long"),
    }
}

async fn answer(shared: &Shared, body: Body, judge: Judge) -> Response {
    let body = match shared.bodies.read(body, MAX_BODY, ARRIVAL).await {
        Ok(body) => body,
        Err(Unread::Large) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "a review has at most 4 MiB, and ends"),
        Err(Unread::Late) => return plain(StatusCode::REQUEST_TIMEOUT, "the review did not arrive in time"),
        Err(Unread::NoRoom) => return plain(StatusCode::SERVICE_UNAVAILABLE, "too many reviews are arriving"),
    };
    let turn = match weight(&body) {
        ..=LIGHT => Turn::light(shared).await,
        heavy @ ..=HEAVIEST => match Turn::heavy(shared).await {
            Some(turn) => turn,
            None => {
                tracing::warn!(bytes = heavy, "a review was put off: too many large ones are there already");
                return plain(StatusCode::SERVICE_UNAVAILABLE, "too many large reviews wait already");
            }
        },
        more => return judged(too_heavy(&body, more, HEAVIEST)),
    };
    let judges = shared.judges.clone();
    // A policy with thousands of expressions takes its time, which is not the other connections'. A panic is an answer, too.
    let review = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        judge(&body, &judges)
    });
    match review.await {
        Ok(review) => judged(review),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the review failed"),
    }
}

fn judged(review: Result<Value, BadReview>) -> Response {
    match review {
        Ok(review) => ([(CONTENT_TYPE, "application/json")], review.to_string()).into_response(),
        Err(bad) => plain(StatusCode::BAD_REQUEST, &bad.to_string()),
    }
}

/// The right to be judged now.
struct Turn {
    _turn: OwnedSemaphorePermit,
    _place: Option<OwnedSemaphorePermit>,
}

impl Turn {
    async fn light(shared: &Shared) -> Self {
        Self { _turn: turn(&shared.light).await, _place: None }
    }

    /// None where too many wait for it already.
    async fn heavy(shared: &Shared) -> Option<Self> {
        let place = Arc::clone(&shared.heavy).try_acquire_owned().ok()?;
        Some(Self { _turn: turn(&shared.heavy_turn).await, _place: Some(place) })
    }
}

async fn turn(turns: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(turns).acquire_owned().await.expect("nobody closes the semaphore")
}

fn plain(status: StatusCode, words: &str) -> Response {
    (status, words.to_owned()).into_response()
}
