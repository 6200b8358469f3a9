//! A real HTTP/2 client and a real HTTP/2 server, for what counts is what a library makes of it: gRPC, and its trailers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::future::poll_fn;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use tokio::task::JoinHandle;
use tonic::transport::{Endpoint, Server};
use tower::{ServiceExt as _, service_fn};

/// An empty gRPC message.
pub(crate) const EMPTY_MESSAGE: &[u8] = b"\0\0\0\0\0";

/// Data, then trailers.
struct Script(VecDeque<Frame<Bytes>>);

impl Script {
    fn new(data: &[u8], trailers: Option<HeaderMap>) -> Self {
        let data = (!data.is_empty()).then(|| Frame::data(Bytes::copy_from_slice(data)));
        Self(data.into_iter().chain(trailers.map(Frame::trailers)).collect())
    }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Poll::Ready(self.get_mut().0.pop_front().map(Ok))
    }

    /// Nothing at all ends with the headers, as gRPC's "Trailers-Only" wants.
    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// The data and the trailers of a body.
async fn read(body: impl http_body::Body<Data = Bytes, Error = tonic::Status>) -> Result<(Vec<u8>, HeaderMap)> {
    let (mut body, mut data, mut trailers) = (pin!(body), Vec::new(), HeaderMap::new());
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => trailers.extend(frame.into_trailers().ok().context("neither data nor trailers")?),
        }
    }
    Ok((data, trailers))
}

/// These fields.
pub(crate) fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_bytes(value)?);
    }
    Ok(map)
}

/// What a service answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A request as a service got it.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
}

/// An HTTP/2 service that keeps the headers and trailers it gets, and answers as it is told.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Arrived>>>,
    server: JoinHandle<()>,
}

impl Service {
    pub(crate) async fn answering(reply: impl Fn(&HeaderMap) -> Reply + Send + Sync + 'static) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (seen, reply) = (Arc::new(Mutex::new(Vec::new())), Arc::new(reply));
        let kept = Arc::clone(&seen);
        let service = service_fn(move |request: Request<tonic::body::Body>| {
            let (kept, reply) = (Arc::clone(&kept), Arc::clone(&reply));
            async move {
                let (head, body) = request.into_parts();
                let (_, trailers) = read(body).await.unwrap();
                let reply = reply(&head.headers);
                kept.lock().unwrap().push(Arrived { headers: head.headers, trailers });
                let mut response = Response::new(Script::new(&reply.data, reply.trailers));
                (*response.status_mut(), *response.headers_mut()) = (reply.status, reply.headers);
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tokio::spawn(async move {
            Server::builder().serve_with_incoming(service, incoming).await.ok();
        });
        Ok(Self { address, seen, server })
    }

    /// The requests since the last call.
    pub(crate) fn take(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a client gets.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    /// A field of the trailers, which stand in the headers when nothing else comes ("Trailers-Only").
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        let value = self.trailers.get(name).or_else(|| self.headers.get(name))?;
        value.to_str().ok()
    }
}

/// Sends a request for `shop.example` on a connection of its own.
pub(crate) async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: HeaderMap,
    data: &[u8],
    trailers: Option<HeaderMap>,
) -> Result<Answer> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.origin("http://shop.example".parse()?);
    // hyper's own bound of 16 KiB is smaller than Envoy's.
    let endpoint = endpoint.http2_max_header_list_size(1 << 20);
    let channel = endpoint.connect().await?;
    let mut request = Request::new(tonic::body::Body::new(Script::new(data, trailers)));
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, path.parse()?, headers);
    let (head, body) = channel.oneshot(request).await?.into_parts();
    let (data, trailers) = read(body).await?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, data, trailers })
}

/// Calls a gRPC method with an empty message.
pub(crate) async fn call(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    trailers: Option<HeaderMap>,
) -> Result<Answer> {
    let mut headers = fields([("content-type", &b"application/grpc"[..]), ("te", b"trailers")])?;
    if let Some(token) = token {
        headers.insert("authorization", format!("Bearer {token}").parse()?);
    }
    send(address, Method::POST, path, headers, EMPTY_MESSAGE, trailers).await
}
