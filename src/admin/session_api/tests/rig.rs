//! A running API, its store and its callers.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::subscriber::NoSubscriber;

use crate::admin::caller::{Caller, CallerConfig, Callers, Realms, Verb};
use crate::admin::listener::{Limits, serve};
use crate::admin::problem::{MEDIA_TYPE, ProblemDocument};
use crate::admin::session_api::{ApiParts, SessionApi};
use crate::authz::session::Realm;
use crate::sessions::clock::Clock;
use crate::sessions::keyring::algorithm::SigningAlgorithm;
use crate::sessions::keyring::{KeyRing, KeyRingConfig, ceremony};
use crate::sessions::token::TokenKeys;
use crate::sessions::{Sessions, SessionsConfig};
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;
use crate::store::memory::MemoryStore;

/// The token of a caller who may read in `shop`.
pub(crate) const READER: &str = "reader-reader-reader-reader-reader";
/// The token of a caller who may create in `shop`.
pub(crate) const MAKER: &str = "maker-maker-maker-maker-maker-maker";

pub(crate) struct Rig {
    /// `http://127.0.0.1:…`.
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    pub(crate) folder: TempDir,
    pub(crate) api: SessionApi,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) clock: Arc<Clock>,
    store: Arc<Store>,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_on(|_| Store::Memory(MemoryStore::default())).await
    }

    /// One whose store is a file, and so can be closed.
    pub(crate) async fn start_embedded() -> Self {
        Self::start_on(|folder| Store::Embedded(EmbeddedStore::open(&folder.join("sessions.redb")).unwrap())).await
    }

    async fn start_on(store: impl FnOnce(&Path) -> Store) -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(Clock::start());
        let store = Arc::new(store(folder.path()));
        let sessions = Arc::new(sessions(folder.path(), &store, &clock));
        let realm = |name| Realm::parse(name).unwrap();
        let caller = |name: &str, verb| Caller {
            name: name.to_owned(),
            realms: Realms::Only(BTreeSet::from([realm("shop")])),
            verbs: BTreeSet::from([verb]),
        };
        let file = |name: &str, token: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("{token}\n")).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            path
        };
        let callers = Callers::open(vec![
            CallerConfig::admin(file("admin.token", &"k3".repeat(20))),
            CallerConfig { caller: caller("reader", Verb::Read), token_file: file("reader.token", READER) },
            CallerConfig { caller: caller("maker", Verb::Create), token_file: file("maker.token", MAKER) },
        ])
        .unwrap();
        let api = SessionApi::new(ApiParts {
            sessions: Arc::clone(&sessions),
            callers,
            realm: realm("shop"),
            realms: BTreeSet::from([realm("shop"), realm("bank")]),
            tenant: None,
            clock: Arc::clone(&clock),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, api.router(), Limits::default(), stop.clone()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base, http, folder, api, sessions, clock, store, stop, server }
    }

    /// The admin's token.
    pub(crate) fn token(&self) -> String {
        "k3".repeat(20)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(self.token())
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.request(Method::PATCH, path).header("content-type", "application/merge-patch+json");
        request.body(body.to_string())
    }

    /// Sends a request in another caller's name.
    pub(crate) async fn as_caller(&self, request: RequestBuilder, token: &str) -> Response {
        let mut request = request.build().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        self.http.execute(request).await.unwrap()
    }

    pub(crate) async fn create(&self, body: Value) -> Value {
        let answer = self.post("/v1/sessions", &body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 201);
        answer.json().await.unwrap()
    }

    /// Sends these bytes and reads the head of the answer.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.base.trim_start_matches("http://")).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(4).any(|it| it == b"\r\n\r\n") {
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read_buf(&mut answer)).await.unwrap();
            assert_ne!(read.unwrap(), 0, "an answer before the end");
        }
        String::from_utf8(answer).unwrap()
    }

    pub(crate) async fn close_store(&self) {
        self.store.close().await.unwrap();
    }

    /// Stops the listener and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        drop(self.http);
        tokio::time::timeout(Duration::from_secs(10), self.server).await.unwrap().unwrap();
        self.api.finish().await;
    }
}

/// Sessions over `store`, with keys made in `folder`.
fn sessions(folder: &Path, store: &Arc<Store>, clock: &Arc<Clock>) -> Sessions {
    let (keys, token_key) = (folder.join("keys"), folder.join("token.key"));
    ceremony::generate(&keys, SigningAlgorithm::Es256, clock.now()).unwrap();
    ceremony::generate_token_key(&token_key).unwrap();
    let ring = KeyRing::open(KeyRingConfig {
        dir: keys,
        issuer: "https://cloakroom.example".to_owned(),
        algorithm: SigningAlgorithm::Es256,
        lifetime: Duration::from_secs(60),
        max_bytes: 64 * 1024,
    })
    .unwrap();
    let config = SessionsConfig {
        idle: Duration::from_secs(3600),
        absolute: Duration::from_secs(86_400),
        rotate_every: Some(Duration::from_secs(900)),
        rotate_overlap: Duration::from_secs(30),
        view_bytes: 1 << 20,
        max_staleness: Duration::from_secs(5),
        negative: Duration::from_secs(2),
        hard_ttl: Duration::from_secs(60),
    };
    let token_keys = TokenKeys::load(&token_key).unwrap();
    Sessions::new(config, Arc::clone(store), token_keys, Arc::new(ring), Arc::clone(clock))
}

/// Reads a refusal, which is a problem that no cache keeps.
pub(crate) async fn problem(answer: Response) -> ProblemDocument {
    let status = answer.status();
    assert!(status.is_client_error() || status.is_server_error(), "{status}");
    assert_eq!(answer.headers()["content-type"], MEDIA_TYPE);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert!(answer.headers().contains_key("x-request-id"));
    let problem: ProblemDocument = answer.json().await.unwrap();
    assert_eq!((problem.status, problem.title.as_str()), (status.as_u16(), status.canonical_reason().unwrap()));
    problem
}

/// What this thread logs, at every level, as JSON lines.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Keeps what is logged as long as the guard lives.
    pub(crate) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        // With one subscriber alone tracing asks the thread that comes first to a call site, which may be another test's.
        static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| tracing::Dispatch::new(NoSubscriber::new()));
        LazyLock::force(&SECOND);
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
