//! The stream that the proxy opens for a request: each of its messages is answered before the next is read.
//!
//! No task is started for it. Who reads the answers drives it; when the proxy resets the stream, it is dropped where it stands,
//! with everything it holds.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{FutureExt as _, stream};
use http::{Request, Response};
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::metrics::OpenStream;
use super::service::{AwaitedBody, Processor, Turn};
use super::wire::{Answer, BUFFERED, Phase, ProcessingRequest, ProcessingResponse};
use super::{headers, reply};

const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

/// The largest message that is read, in bytes. Headers have at most 60 KiB unless Envoy is told otherwise, and a body that is
/// held back at most the 1 MiB of a listener's or a stream's buffer; twice that lets either come with what stands around it, and
/// be counted. What is larger breaks the stream, and the proxy answers 503.
pub const MAX_MESSAGE: usize = 2 * 1024 * 1024;

/// The service, as the listener asks it.
#[derive(Clone, Debug)]
pub struct ExternalProcessor(Arc<Processor>);

impl ExternalProcessor {
    /// The service that this processor does the work of.
    pub fn new(processor: Arc<Processor>) -> Self {
        Self(processor)
    }
}

impl Service<Request<Body>> for ExternalProcessor {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let processor = Arc::clone(&self.0);
        Box::pin(async move {
            if request.uri().path() != PROCESS {
                return Ok(Status::unimplemented("").into_http());
            }
            let serve = service_fn(move |request: tonic::Request<Streaming<ProcessingRequest>>| {
                let answers = answers(request.into_inner(), Arc::clone(&processor));
                async move { Ok::<_, Status>(tonic::Response::new(answers)) }
            });
            let codec = ProstCodec::<ProcessingResponse, ProcessingRequest>::default();
            Ok(Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE).streaming(serve, request).await)
        })
    }
}

fn answers(
    messages: Streaming<ProcessingRequest>,
    processor: Arc<Processor>,
) -> impl Stream<Item = Result<ProcessingResponse, Status>> {
    stream::unfold(Some((messages, Conversation::new(processor))), async |open| {
        let (mut messages, mut conversation) = open?;
        loop {
            match messages.message().await {
                Ok(Some(message)) => {
                    if let Some(answer) = conversation.answer(message).await {
                        return Some((Ok(answer), Some((messages, conversation))));
                    }
                }
                Ok(None) => return None,
                // Reset, too large, or no message: there is nothing to answer any more.
                Err(broken) => return Some((Err(broken), None)),
            }
        }
    })
}

/// What one stream has come to.
#[derive(Debug)]
pub struct Conversation {
    processor: Arc<Processor>,
    /// Whether the proxy holds the response's body back: the first message says so.
    buffered: Option<bool>,
    awaited: Option<AwaitedBody>,
    _open: OpenStream,
}

impl Conversation {
    /// One that has just begun.
    pub fn new(processor: Arc<Processor>) -> Self {
        let open = processor.metrics().open();
        Self { processor, buffered: None, awaited: None, _open: open }
    }

    /// Answers one message. Any kind may come first: with request headers skipped, a response's do, and Envoy's own answers from
    /// 1.37 on as well. `None` when none is awaited.
    pub async fn answer(&mut self, message: ProcessingRequest) -> Option<ProcessingResponse> {
        let told = message.protocol_config.is_some_and(|config| config.response_body_mode == BUFFERED);
        let buffered = *self.buffered.get_or_insert(told);
        let phase = message.phase?;
        if message.observability_mode {
            return None;
        }
        let grpc = matches!(&phase, Phase::ResponseHeaders(it) if headers::is_grpc(it.headers.as_ref()));
        let processor = Arc::clone(&self.processor);
        let turn = async {
            match &phase {
                Phase::ResponseHeaders(headers) => {
                    processor.headers(headers, message.metadata_context.as_ref(), buffered).await
                }
                Phase::ResponseBody(body) => match self.awaited.take() {
                    Some(awaited) => Turn::done(processor.body(awaited, &body.body).await),
                    None => Turn::done(reply::unchanged(&phase, processor.own_headers())),
                },
                _ => Turn {
                    awaited: self.awaited.take(),
                    ..Turn::done(reply::unchanged(&phase, processor.own_headers()))
                },
            }
        };
        let turn = caught(turn, || processor.defect(grpc)).await;
        self.awaited = turn.awaited;
        Some(ProcessingResponse { answer: Some(turn.answer) })
    }
}

/// Runs one turn to its end, or to the 503 that takes its place: a panic is a defect of ours, and leaves nothing half done here.
async fn caught(turn: impl Future<Output = Turn>, defect: impl FnOnce() -> Answer) -> Turn {
    AssertUnwindSafe(turn).catch_unwind().await.unwrap_or_else(|_| Turn::done(defect()))
}

#[cfg(test)]
mod tests;
