//! Serving a router over HTTP/1.1, with limits and an orderly end.

mod patience;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use self::patience::Patient;
use crate::conversations::{Conversations, accept};

/// What a listener gives its clients. Bodies are bounded where they are read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. For one more the one that we have waited for longest makes way, and where all are being answered it
    /// is the new one that ends: nobody holds a place by saying nothing (P28).
    pub connections: usize,
    /// How long a connection may take over the headers of a request, and so how long it may lie idle.
    pub header_read: Duration,
    /// How long a client may take nothing of an answer. Who asks and never reads would otherwise hold a connection for good.
    pub write: Duration,
    /// After which a connection answers what it has begun and takes no further request.
    pub age: Duration,
    /// After which a connection ends, whatever it is at: so no client, however slow, keeps a place for itself (P32).
    pub life: Duration,
    /// The most header fields of a request.
    pub headers: usize,
    /// The most bytes of a request's head.
    pub head_bytes: usize,
}

impl Limits {
    /// What a listener gives unless told.
    pub const DEFAULT: Self = Self {
        connections: 256,
        header_read: Duration::from_secs(15),
        write: Duration::from_secs(10),
        age: Duration::from_secs(50),
        life: Duration::from_secs(60),
        headers: 64,
        head_bytes: 32 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Binds `address`, which must be a loopback address.
///
/// # Errors
/// `InvalidInput` for any other address; the system's own error otherwise.
pub async fn bind_loopback(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        let problem = format!("{address} is not a loopback address; use 127.0.0.1 or [::1]");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    TcpListener::bind(address).await
}

/// Serves `router` until `stop`, then lets the requests in flight end. To bound that, drop the future: its connections end with it.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let mut conversations = Conversations::at_most(limits.connections);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = conversations.ended() => {}
            stream = accept(&listener) => {
                conversations.begin(|conversation| {
                    converse(stream, conversation.of(router.clone()), limits, stop.clone())
                });
            }
        }
    }
    drop(listener);
    conversations.finish().await;
}

async fn converse(stream: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(Patient::new(stream, limits.write)), TowerToHyperService::new(router));
    let conversation = async {
        tokio::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = stop.cancelled() => {}
            () = tokio::time::sleep(limits.age) => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    // What goes wrong with one connection is between the client and its network.
    let _ = tokio::time::timeout(limits.life, conversation).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    async fn start(router: Router, limits: Limits) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = bind_loopback("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        (address, stop.clone(), tokio::spawn(serve(listener, router, limits, stop)))
    }

    async fn until<T>(wanted: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), wanted).await.expect("within ten seconds")
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        // A reset ends a connection as well as an end does.
        let _ = until(stream.read_to_end(&mut answer)).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn only_loopback_addresses_are_bound() {
        for (address, want) in [("127.0.0.1:0", true), ("[::1]:0", true), ("0.0.0.0:0", false), ("192.0.2.1:0", false)]
        {
            let refused = matches!(bind_loopback(address.parse().unwrap()).await,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput);
            assert_eq!(!refused, want, "{address}");
        }
    }

    #[tokio::test]
    async fn a_request_in_flight_ends_before_the_listener_does() {
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let inside = (Arc::clone(&entered), Arc::clone(&release));
        let handler = move || async move {
            inside.0.notify_one();
            inside.1.notified().await;
            "done"
        };
        let (address, stop, server) = start(Router::new().route("/", get(handler)), Limits::default()).await;
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(GET).await.unwrap();
        until(entered.notified()).await;
        stop.cancel();
        until(async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await
            }
        })
        .await;
        assert!(!server.is_finished());
        release.notify_one();
        assert!(rest(&mut busy).await.ends_with("done"));
        until(server).await.unwrap();
    }

    #[tokio::test]
    async fn slow_and_oversized_heads_are_cut_off() {
        let limits = Limits { header_read: Duration::from_millis(50), ..Limits::default() };
        let (address, _stop, _server) = start(Router::new().route("/", get(|| async { "ok" })), limits).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
        assert!(!rest(&mut slow).await.contains("200 OK"));
        let mut large = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(64 * 1024));
        let _ = large.write_all(head.as_bytes()).await;
        assert!(!rest(&mut large).await.contains("200 OK"));
        let mut many = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(100));
        many.write_all(head.as_bytes()).await.unwrap();
        assert!(rest(&mut many).await.starts_with("HTTP/1.1 431 "));
    }

    #[tokio::test]
    async fn p32_clients_that_never_read_lose_their_place() {
        const LONG: Duration = Duration::from_secs(3600);
        const SHORT: Duration = Duration::from_millis(50);
        let body = axum::body::Bytes::from(vec![b'x'; 32 << 20]);
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/large", get(move || std::future::ready(body.clone())));
        for (write, life) in [(SHORT, LONG), (LONG, SHORT)] {
            let limits = Limits { connections: 2, write, life, age: LONG, ..Limits::default() };
            let (address, _stop, _server) = start(router.clone(), limits).await;
            let mut deaf = Vec::new();
            for _ in 0..2 {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(&b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n".repeat(9)).await.unwrap();
                deaf.push(stream);
            }
            let mut other = TcpStream::connect(address).await.unwrap();
            other.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            assert!(rest(&mut other).await.ends_with("ok"), "{limits:?}");
        }
    }

    #[tokio::test]
    async fn p32_an_old_connection_takes_no_further_request() {
        let limits =
            Limits { header_read: Duration::from_secs(3600), age: Duration::from_millis(50), ..Limits::default() };
        let (address, _stop, _server) = start(Router::new().route("/", get(|| async { "ok" })), limits).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET).await.unwrap();
        assert!(rest(&mut stream).await.ends_with("ok"));
    }

    #[tokio::test]
    async fn p28_whoever_says_nothing_makes_way_and_who_is_answered_does_not() {
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let inside = (Arc::clone(&entered), Arc::clone(&release));
        let slow = move || async move {
            inside.0.notify_one();
            inside.1.notified().await;
            ([("connection", "close")], "slow")
        };
        let read = |body: String| async move { body };
        let router = Router::new().route("/slow", get(slow)).route("/", get(|| async { "ok" })).route("/", post(read));
        let limits = Limits { connections: 4, header_read: Duration::from_secs(3600), ..Limits::default() };
        let (address, _stop, _server) = start(router, limits).await;
        let mut answered = TcpStream::connect(address).await.unwrap();
        answered.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        until(entered.notified()).await;
        for said in
            [&b""[..], b"GET / HTTP/1.1\r\nx-slow: ", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx", GET]
        {
            let mut quiet = Vec::new();
            for _ in 0..8 {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let _ = stream.write_all(said).await;
                quiet.push(stream);
            }
            let mut other = TcpStream::connect(address).await.unwrap();
            other.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            assert!(rest(&mut other).await.ends_with("ok"), "{}", String::from_utf8_lossy(said));
        }
        release.notify_one();
        assert!(rest(&mut answered).await.ends_with("slow"));
    }

    #[tokio::test]
    async fn p32_no_more_are_answered_at_once_than_the_cap() {
        let (served, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let inside = (Arc::clone(&served), Arc::clone(&release));
        let handler = move || async move {
            inside.0.fetch_add(1, Ordering::Relaxed);
            inside.1.notified().await;
            ([("connection", "close")], "ok")
        };
        let limits = Limits { connections: 2, ..Limits::default() };
        let (address, _stop, _server) = start(Router::new().route("/", get(handler)), limits).await;
        let mut streams = Vec::new();
        for at in 1..=2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(GET).await.unwrap();
            streams.push(stream);
            until(async {
                while served.load(Ordering::Relaxed) < at {
                    tokio::task::yield_now().await
                }
            })
            .await;
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        let _ = third.write_all(GET).await;
        assert_eq!(rest(&mut third).await, "");
        assert_eq!(served.load(Ordering::Relaxed), 2);
        release.notify_waiters();
        for mut stream in streams {
            assert!(rest(&mut stream).await.ends_with("ok"));
        }
    }
}
