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
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{BadReview, injection};
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
/// Reviews that are read and judged at once: what bounds memory and processor (P32, P28).
const REVIEWS: usize = 8;
/// Reviews that are being read at once (128 MiB), and how long one may take to arrive: who sends slowly keeps nobody's turn.
const READ_AT_ONCE: usize = 32;
const ARRIVAL: Duration = Duration::from_secs(2);
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
    turns: Arc<Semaphore>,
    readings: Semaphore,
}

/// Answers admission reviews on `listener` until `stop`, then lets those in flight end.
pub async fn serve(listener: TcpListener, tls: Arc<Tls>, judges: Judges, stop: CancellationToken) {
    let shared = Arc::new(Shared {
        judges: Arc::new(judges),
        turns: Arc::new(Semaphore::new(REVIEWS)),
        readings: Semaphore::new(READ_AT_ONCE),
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
    let reading = shared.readings.acquire().await.expect("nobody closes the semaphore");
    let body = match tokio::time::timeout(ARRIVAL, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "a review has at most 4 MiB, and ends"),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the review did not arrive in time"),
    };
    let turn = Arc::clone(&shared.turns).acquire_owned().await.expect("nobody closes the semaphore");
    drop(reading);
    let judges = shared.judges.clone();
    // A policy with thousands of expressions takes its time, which is not the other connections'. A panic is an answer, too.
    let judged = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        judge(&body, &judges)
    });
    match judged.await {
        Ok(Ok(review)) => ([(CONTENT_TYPE, "application/json")], review.to_string()).into_response(),
        Ok(Err(bad)) => plain(StatusCode::BAD_REQUEST, &bad.to_string()),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the review failed"),
    }
}

fn plain(status: StatusCode, words: &str) -> Response {
    (status, words.to_owned()).into_response()
}
