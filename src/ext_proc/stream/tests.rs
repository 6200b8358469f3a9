use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::ext_proc::v3 as full;
use full::external_processor_client::ExternalProcessorClient;
use full::processing_request::Request as Message;
use full::processing_response::Response as Answered;
use http_body::{Body as _, Frame};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt as _;

use super::*;
use crate::ext_proc::service::tests::house::House;
use crate::grpc::{Address, Limits, Listener};

/// The listener with our service on it, and a house behind it.
struct Running {
    house: House,
    address: SocketAddr,
    channel: Channel,
    stop: CancellationToken,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// One stream, as the proxy has it.
struct Open {
    messages: mpsc::Sender<full::ProcessingRequest>,
    answers: Streaming<full::ProcessingResponse>,
}

impl Running {
    async fn start() -> Self {
        let house = House::new();
        let listener = Listener::bind(&Address::Loopback(([127, 0, 0, 1], 0).into())).await.unwrap();
        let Address::Loopback(address) = listener.address().unwrap() else { unreachable!() };
        let (_, ready) = watch::channel(true);
        let stop = CancellationToken::new();
        let process = ExternalProcessor::new(Arc::clone(&house.processor));
        let check = async |_| Bytes::new();
        let task = tokio::spawn(listener.serve(Limits::default(), check, process, ready, stop.clone()));
        Self { house, address, channel: connect(address).await, stop, task }
    }

    fn client(&self) -> ExternalProcessorClient<Channel> {
        ExternalProcessorClient::new(self.channel.clone())
    }

    /// Opens a stream with its first message: a client of tonic sees no answer before it has sent one.
    async fn open(&self, first: full::ProcessingRequest) -> Result<Open, Status> {
        let (messages, stream) = mpsc::channel(16);
        messages.send(first).await.unwrap();
        let answers = self.client().process(ReceiverStream::new(stream)).await?.into_inner();
        Ok(Open { messages, answers })
    }

    fn streams(&self) -> f64 {
        let families = self.house.registry.gather();
        let family = families.iter().find(|it| it.name() == "cloakroom_ext_proc_streams").unwrap();
        family.get_metric()[0].get_gauge().get_value()
    }

    /// Waits until this many streams are open.
    async fn have_streams(&self, want: f64) {
        let reached = async {
            while self.streams() != want {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(10), reached).await;
        assert!(reached.is_ok(), "{} streams are open, not {want}", self.streams());
    }

    async fn end(self) {
        self.have_streams(0.0).await;
        drop(self.channel);
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("drains").unwrap().unwrap();
    }
}

async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn message(request: Message) -> full::ProcessingRequest {
    full::ProcessingRequest { request: Some(request), ..Default::default() }
}

fn map(headers: &[(&str, &str)]) -> Option<core::HeaderMap> {
    let header = |(key, value): &(&str, &str)| core::HeaderValue {
        key: (*key).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..Default::default()
    };
    Some(core::HeaderMap { headers: headers.iter().map(header).collect() })
}

fn http(headers: &[(&str, &str)]) -> full::HttpHeaders {
    full::HttpHeaders { headers: map(headers), ..Default::default() }
}

fn request_headers() -> full::ProcessingRequest {
    message(Message::RequestHeaders(http(&[(":path", "/cart"), ("x-session-jwt", "ours")])))
}

fn request_body() -> full::ProcessingRequest {
    message(Message::RequestBody(full::HttpBody { body: b"x".to_vec(), ..Default::default() }))
}

fn request_trailers() -> full::ProcessingRequest {
    message(Message::RequestTrailers(full::HttpTrailers { trailers: map(&[("x-session-jwt", "forged")]) }))
}

/// The headers of a response that says something of ours; with metadata only when the request left any.
fn response_headers() -> full::ProcessingRequest {
    message(Message::ResponseHeaders(http(&[(":status", "200"), ("x-session-end", "current")])))
}

/// What Envoy answers by itself, which it shows from 1.37 on.
fn local_reply() -> full::ProcessingRequest {
    message(Message::ResponseHeaders(http(&[(":status", "401"), ("www-authenticate", "Bearer")])))
}

fn response_body(end: bool) -> full::ProcessingRequest {
    message(Message::ResponseBody(full::HttpBody { body: b"{}".to_vec(), end_of_stream: end, ..Default::default() }))
}

fn response_trailers() -> full::ProcessingRequest {
    message(Message::ResponseTrailers(full::HttpTrailers { trailers: map(&[("X_Session.Jwt", "echo")]) }))
}

/// The kind of an answer, and what it removes.
fn told(answer: full::ProcessingResponse) -> (&'static str, Vec<String>) {
    let removed = |mutation: Option<full::HeaderMutation>| mutation.unwrap_or_default().remove_headers;
    let common = |it: Option<full::CommonResponse>| removed(it.unwrap_or_default().header_mutation);
    match answer.response.unwrap() {
        Answered::RequestHeaders(it) => ("request_headers", common(it.response)),
        Answered::ResponseHeaders(it) => ("response_headers", common(it.response)),
        Answered::RequestBody(it) => ("request_body", common(it.response)),
        Answered::ResponseBody(it) => ("response_body", common(it.response)),
        Answered::RequestTrailers(it) => ("request_trailers", removed(it.header_mutation)),
        Answered::ResponseTrailers(it) => ("response_trailers", removed(it.header_mutation)),
        other => panic!("{other:?}"),
    }
}

const NOTHING: &[&str] = &[];

#[tokio::test]
async fn every_order_of_messages_gets_one_answer_for_each() {
    let running = Running::start().await;
    let (req, req_body, req_trailers) =
        (("request_headers", NOTHING), ("request_body", NOTHING), ("request_trailers", &["x-session-jwt"][..]));
    let (resp, silent, body, trailers) = (
        ("response_headers", &["x-session-end"][..]),
        ("response_headers", NOTHING),
        ("response_body", NOTHING),
        ("response_trailers", &["X_Session.Jwt"][..]),
    );
    for (case, messages, want) in [
        ("1.36: the stream opens with the response", vec![response_headers()], vec![resp]),
        ("1.37: Envoy's own answer", vec![local_reply()], vec![silent]),
        ("the request is sent, too", vec![request_headers(), response_headers()], vec![req, resp]),
        ("the request is sent, and refused by Envoy", vec![request_headers(), local_reply()], vec![req, silent]),
        (
            "a body in pieces",
            vec![response_headers(), response_body(false), response_body(false), response_body(true)],
            vec![resp, body, body, body],
        ),
        ("trailers", vec![response_headers(), response_trailers()], vec![resp, trailers]),
        (
            "trailers after a body",
            vec![response_headers(), response_body(false), response_trailers()],
            vec![resp, body, trailers],
        ),
        ("only trailers", vec![response_trailers()], vec![trailers]),
        ("only a body", vec![response_body(true)], vec![body]),
        (
            "everything",
            vec![
                request_headers(),
                request_body(),
                request_trailers(),
                response_headers(),
                response_body(false),
                response_trailers(),
            ],
            vec![req, req_body, req_trailers, resp, body, trailers],
        ),
        (
            "the response overtakes the request's body",
            vec![request_headers(), response_headers(), request_body(), response_body(true)],
            vec![req, resp, req_body, body],
        ),
    ] {
        // One at a time, as Envoy waits; and all at once.
        let mut messages = messages.into_iter();
        let mut open = running.open(messages.next().unwrap()).await.unwrap();
        let mut answers = vec![told(open.answers.message().await.unwrap().unwrap())];
        let rest: Vec<_> = messages.collect();
        for message in rest.clone() {
            open.messages.send(message).await.unwrap();
            answers.push(told(open.answers.message().await.unwrap().unwrap()));
        }
        running.have_streams(1.0).await;
        for message in rest.iter().cloned() {
            open.messages.send(message).await.unwrap();
        }
        drop(open.messages);
        for _ in &rest {
            answers.push(told(open.answers.message().await.unwrap().unwrap()));
        }
        let want: Vec<_> = want.iter().chain(&want[1..]).collect();
        assert_eq!(answers.len(), want.len(), "{case}");
        for ((kind, removed), (want_kind, want_removed)) in answers.iter().zip(want) {
            assert_eq!(
                (kind, &removed[..]),
                (want_kind, &want_removed.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{case}"
            );
        }
        assert!(open.answers.message().await.unwrap().is_none(), "{case}: it ends when the proxy's half ends");
        running.have_streams(0.0).await;
    }
    running.end().await;
}

/// The proxy's half of a stream, frame by frame: an error resets it, which no client of tonic can be told to do.
struct Half(mpsc::Receiver<Result<Bytes, Status>>);

impl http_body::Body for Half {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.get_mut().0.poll_recv(cx).map(|frame| frame.map(|frame| frame.map(Frame::data)))
    }
}

fn framed(message: &full::ProcessingRequest) -> Bytes {
    let message = message.encode_to_vec();
    [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat().into()
}

/// Reads until one more message is whole.
async fn one_answer(answers: &mut Body, read: &mut BytesMut) {
    let whole = |read: &BytesMut| {
        read.len() >= 5 && read.len() - 5 >= u32::from_be_bytes(read[1..5].try_into().unwrap()) as usize
    };
    while !whole(read) {
        let frame = poll_fn(|cx| Pin::new(&mut *answers).poll_frame(cx)).await.expect("an answer").unwrap();
        read.extend_from_slice(frame.data_ref().expect("an answer"));
    }
    let length = u32::from_be_bytes(read[1..5].try_into().unwrap()) as usize;
    read.advance(5 + length);
}

#[tokio::test]
async fn a_reset_in_any_phase_leaves_nothing_behind() {
    let running = Running::start().await;
    let handle = running.house.handle("by-body", None).unwrap();
    for order in [
        vec![],
        vec![request_headers()],
        vec![request_headers(), request_body()],
        vec![response_headers()],
        vec![running.house.awaiting_body(&handle)],
        vec![running.house.awaiting_body(&handle), response_body(true)],
        vec![response_headers(), response_body(false)],
        vec![response_headers(), response_trailers()],
    ] {
        for answered in [true, false] {
            let (half, frames) = mpsc::channel(16);
            let call = Request::post(PROCESS).header("content-type", "application/grpc").header("te", "trailers");
            let call = call.body(Body::new(Half(frames))).unwrap();
            let mut answers = running.channel.clone().oneshot(call).await.unwrap().into_body();
            running.have_streams(1.0).await;
            let mut read = BytesMut::new();
            for message in &order {
                half.send(Ok(framed(message))).await.unwrap();
                if answered {
                    one_answer(&mut answers, &mut read).await;
                }
            }
            half.send(Err(Status::cancelled("reset"))).await.unwrap();
            running.have_streams(0.0).await;
        }
    }
    running.end().await;
}

#[tokio::test]
async fn a_connection_that_breaks_takes_its_streams_along() {
    let mut running = Running::start().await;
    let other = connect(running.address).await;
    let channel = std::mem::replace(&mut running.channel, other);
    let mut halves = Vec::new();
    for _ in 0..20 {
        let (half, frames) = mpsc::channel(16);
        let call = Request::post(PROCESS).header("content-type", "application/grpc");
        let call = call.body(Body::new(Half(frames))).unwrap();
        half.send(Ok(framed(&response_headers()))).await.unwrap();
        halves.push((half, channel.clone().oneshot(call).await.unwrap()));
    }
    running.have_streams(20.0).await;
    // A half that ends in the midst of a message is one that broke off.
    for (half, _) in &halves {
        half.send(Ok(Bytes::from_static(b"\0\0\0\0\x09half"))).await.unwrap();
    }
    drop((halves, channel));
    running.end().await;
}

#[tokio::test]
async fn an_observer_is_not_answered_and_changes_nothing() {
    let running = Running::start().await;
    let token = running.house.log_in("ada").await;
    let observed = full::ProcessingRequest {
        observability_mode: true,
        ..running.house.ending(&running.house.handle("cart", Some(&token)).unwrap())
    };
    let (messages, stream) = mpsc::channel(16);
    messages.send(observed).await.unwrap();
    messages.send(full::ProcessingRequest::default()).await.unwrap(); // says nothing at all
    drop(messages);
    let mut answers = running.client().process(ReceiverStream::new(stream)).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_none());
    assert!(running.house.is_live(&token).await);
    running.end().await;
}

#[tokio::test]
async fn p32_a_message_over_the_bound_breaks_the_stream() {
    let running = Running::start().await;
    let body =
        |length| message(Message::ResponseBody(full::HttpBody { body: vec![b'x'; length], ..Default::default() }));
    let mut open = running.open(body(MAX_MESSAGE - 100)).await.unwrap();
    assert_eq!(told(open.answers.message().await.unwrap().unwrap()).0, "response_body");
    open.messages.send(body(MAX_MESSAGE + 1)).await.unwrap();
    assert_eq!(open.answers.message().await.unwrap_err().code(), Code::OutOfRange);
    running.end().await;
}

#[tokio::test]
async fn another_call_of_the_service_is_not_served() {
    let running = Running::start().await;
    let mut service = ExternalProcessor::new(Arc::clone(&running.house.processor));
    let request = Request::post(format!("{PROCESS}2")).body(Body::empty()).unwrap();
    let answered = service.call(request).await.unwrap();
    assert_eq!(answered.headers()["grpc-status"], "12");
    running.end().await;
}

#[tokio::test]
async fn p02_a_panic_becomes_a_503() {
    let house = House::new();
    let turn = caught(async { panic!("a defect") }, || house.processor.defect(false)).await;
    let crate::ext_proc::wire::Answer::ImmediateResponse(instead) = turn.answer else { panic!() };
    assert_eq!(instead.status.unwrap().code, 503);
    assert!(turn.awaited.is_none());
    assert_eq!(house.counted("internal_error"), 1);
}
