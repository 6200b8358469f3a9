//! gRPC, and HTTP/2 from end to end: real clients and a real server, since what counts here is what a library makes of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use e2e::envoy::EnvoyConfig;
use e2e::gate::Listen;
use e2e::tools::EnvoyVersion;
use futures_util::future::poll_fn;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use tokio::task::JoinHandle;
use tonic::transport::{Endpoint, Server};
use tower::{ServiceExt as _, service_fn};

use crate::attacks::{Setting, Town, Who};
use crate::on_each_envoy;

on_each_envoy! {
    p07_p11_nothing_of_ours_passes_over_http2 => both_ways;
    p02_grpc_clients_are_refused_in_their_own_words => refusals;
}

const OURS: [&str; 5] = ["x-session-jwt", "x_session_jwt", "x.session.jwt", "x-session-update", "x-session-end"];

/// Data, then trailers.
struct Script(VecDeque<Frame<Bytes>>);

impl Script {
    fn new(data: &'static [u8], trailers: Option<HeaderMap>) -> Self {
        let data = (!data.is_empty()).then(|| Frame::data(Bytes::from_static(data)));
        Self(data.into_iter().chain(trailers.map(Frame::trailers)).collect())
    }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Poll::Ready(self.get_mut().0.pop_front().map(Ok))
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

fn forged(more: (&'static str, &'static str)) -> HeaderMap {
    let ours = OURS.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("forged")));
    let (name, value) = more;
    ours.into_iter().chain([(HeaderName::from_static(name), HeaderValue::from_static(value))]).collect()
}

/// An HTTP/2 service that keeps the headers and trailers it gets and answers with forged ones.
struct Service {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<(HeaderMap, HeaderMap)>>>,
    server: JoinHandle<()>,
}

impl Service {
    async fn spawn() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let service = service_fn(move |request: Request<tonic::body::Body>| {
            let kept = Arc::clone(&kept);
            async move {
                let (head, body) = request.into_parts();
                let (_, trailers) = read(body).await.unwrap();
                kept.lock().unwrap().push((head.headers, trailers));
                let mut response = Response::new(Script::new(b"\0\0\0\0\0", Some(forged(("grpc-status", "0")))));
                *response.headers_mut() = forged(("content-type", "application/grpc"));
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tokio::spawn(async move {
            Server::builder().serve_with_incoming(service, incoming).await.ok();
        });
        Ok(Self { address, seen, server })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a gRPC client gets.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    data: Vec<u8>,
    trailers: HeaderMap,
}

impl Answer {
    /// A field of the trailers, which stand in the headers when nothing else comes ("Trailers-Only").
    fn trailer(&self, name: &str) -> Option<&str> {
        let value = self.trailers.get(name).or_else(|| self.headers.get(name))?;
        value.to_str().ok()
    }
}

async fn call(address: SocketAddr, path: &str, token: Option<&str>, trailers: Option<HeaderMap>) -> Result<Answer> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.origin("http://shop.example".parse()?);
    let channel = endpoint.connect().await?;
    let mut request = Request::post(path).body(tonic::body::Body::new(Script::new(b"\0\0\0\0\0", trailers)))?;
    let fields = request.headers_mut();
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    fields.insert("te", HeaderValue::from_static("trailers"));
    if let Some(token) = token {
        fields.insert("authorization", format!("Bearer {token}").parse()?);
    }
    let (head, body) = channel.oneshot(request).await?.into_parts();
    let (data, trailers) = read(body).await?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, data, trailers })
}

async fn both_ways(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    for setting in Setting::all(version) {
        let service = Service::spawn().await?;
        let wall = town
            .wall_with(setting, |config: &mut EnvoyConfig| {
                config.service("shop", service.address)?.http2_service("shop")?;
                if setting.strict {
                    config.allow_underscores()?;
                }
                Ok(())
            })
            .await?;
        for (path, token) in [("/x", Some(&*town.customer.token)), ("/public", None)] {
            let name = format!("{setting:?} {path}");
            let answer = call(wall.envoy.address(), path, token, Some(forged(("x-checksum", "mine")))).await?;
            ensure!(answer.status == 200 && answer.trailer("grpc-status") == Some("0"), "{name}: {answer:?}");
            let arrived = std::mem::take(&mut *service.seen.lock().unwrap());
            let [(headers, trailers)] = &arrived[..] else { anyhow::bail!("{name}: {} arrived", arrived.len()) };
            ensure!(trailers.get("x-checksum").is_some(), "{name}: {trailers:?}");
            for name in OURS {
                ensure!(trailers.get(name).is_none() && answer.headers.get(name).is_none(), "{name}: {answer:?}");
                ensure!(answer.trailers.get(name).is_none(), "{name}: {answer:?}");
            }
            ensure!(
                headers.get_all("x-session-jwt").iter().count() == usize::from(token.is_some()),
                "{name}: {headers:?}"
            );
            ensure!(headers.get("authorization").is_none(), "{name}: {headers:?}");
        }
    }
    Ok(())
}

/// gRPC status codes, never a page: 3 INVALID_ARGUMENT, 7 PERMISSION_DENIED, 14 UNAVAILABLE, 16 UNAUTHENTICATED.
async fn refusals(version: EnvoyVersion) -> Result<()> {
    for listen in [Listen::Unix, Listen::Loopback] {
        let town = Town::with(|mut options| {
            options.listen = listen;
            options
        })
        .await?;
        let walls = town.walls(version).await?;
        let refused = async |path: &str, who: Who, code: &str| -> Result<()> {
            for wall in &walls {
                let answer = call(wall.envoy.address(), path, town.token(who), None).await?;
                let name = format!("{:?}: {who:?} {path}: {answer:?}", wall.setting);
                ensure!(answer.status == 200 && answer.trailer("grpc-status") == Some(code), "{name}");
                let content_type = answer.headers.get("content-type").and_then(|it| it.to_str().ok());
                ensure!(content_type.is_some_and(|it| it.starts_with("application/grpc")), "{name}");
                let message = answer.trailer("grpc-message").unwrap_or_default();
                ensure!(answer.data.is_empty() && !message.contains('<') && !message.contains('{'), "{name}");
                ensure!(wall.shop.take().is_empty(), "{name}: arrived");
            }
            Ok(())
        };
        refused("/x", Who::Nobody, "16").await?;
        refused("/admin", Who::Customer, "7").await?;
        refused("/closed", Who::Admin, "7").await?;
        refused("/Admin", Who::Customer, "3").await?;
        town.gate.process().kill()?;
        refused("/x", Who::Customer, "14").await?;
        refused("/public", Who::Nobody, "14").await?;
    }
    Ok(())
}
