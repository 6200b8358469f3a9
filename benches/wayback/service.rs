//! The service behind Envoy: a small answer, and what it says about the session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running service; it ends when this is dropped.
pub(crate) struct Service {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Service {
    pub(crate) async fn spawn() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let count = Arc::new(AtomicU64::new(0));
        let router = Router::new().fallback(async move |request: Request| answer(&request, &count));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        Ok(Self { address, server })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn answer(request: &Request, count: &AtomicU64) -> Response {
    let n = count.fetch_add(1, Ordering::Relaxed);
    let body = ([("content-type", "application/json"), ("vary", "accept-encoding")], r#"{"items":[]}"#);
    let command = match request.uri().path() {
        "/cart/add" => ("x-session-update", format!(r#"{{"cart":["book-{n}","pen"]}}"#)),
        "/cart/same" => ("x-session-update", r#"{"cart":["book","pen"]}"#.to_owned()),
        "/login" => ("x-session-create", format!(r#"{{"subject":"guest-{n}","roles":["customer"]}}"#)),
        super::arm::LOG_OUT => ("x-session-end", "current".to_owned()),
        _ => return body.into_response(),
    };
    ([command], body).into_response()
}
