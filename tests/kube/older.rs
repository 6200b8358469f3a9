//! An API server that answers late, or what it answered before: one that lags behind the others, or a cache in front of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use e2e::gate::Cloakroom;
use e2e::kube::ApiServer;
use e2e::process::wait_until;
use http::StatusCode;
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::house::{self, PATIENCE, closed, comes_to, public};
use crate::load::Load;

/// A way to the API server that can repeat what it once answered.
struct Repeater {
    address: SocketAddr,
    front: Arc<Front>,
}

struct Front {
    client: reqwest::Client,
    server: String,
    token: String,
    /// The list of policies that is answered in the place of a newer one.
    old: Mutex<Option<Bytes>>,
    /// Whether any list was answered with it.
    repeated: std::sync::atomic::AtomicUsize,
    /// Ends every watch.
    cut: Mutex<CancellationToken>,
    /// How long everything takes on its way.
    delay: Mutex<Duration>,
}

const POLICIES: &str = "/apis/cloakroom.dev/v1alpha1/authpolicies";

impl Repeater {
    async fn before(server: &ApiServer) -> Result<Self> {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(server.ca())?)?;
        let front = Arc::new(Front {
            client: reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build()?,
            server: server.url(),
            token: server.token(house::GATE)?,
            old: Mutex::default(),
            repeated: Default::default(),
            cut: Mutex::default(),
            delay: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(pass).with_state(Arc::clone(&front));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, front })
    }

    /// A kubeconfig that leads through it.
    fn kubeconfig(&self, server: &ApiServer) -> Result<std::path::PathBuf> {
        let file = server.kubeconfig_with("repeated", "x")?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{ "name": "e2e", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "gate", "user": {} }],
            "contexts": [{ "name": "e2e", "context": { "cluster": "e2e", "user": "gate" } }],
        });
        std::fs::write(&file, config.to_string())?;
        Ok(file)
    }

    /// The list of policies as it is now.
    async fn list(&self) -> Result<Bytes> {
        Ok(self.front.ask(POLICIES).await?.bytes().await?)
    }

    /// Every list of policies is answered with this one from now on, and every watch is over.
    fn repeat(&self, old: Bytes) {
        *self.front.old.lock().unwrap() = Some(old);
        self.cut();
    }

    /// Answers as the server does again.
    fn relent(&self) {
        *self.front.old.lock().unwrap() = None;
    }

    fn cut(&self) {
        std::mem::take(&mut *self.front.cut.lock().unwrap()).cancel();
    }

    /// Everything takes this long on its way, and every watch is over.
    fn slow(&self, delay: Duration) {
        *self.front.delay.lock().unwrap() = delay;
        self.cut();
    }

    fn repeated(&self) -> usize {
        self.front.repeated.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Front {
    async fn dawdle(&self) {
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
    }

    async fn ask(&self, path: &str) -> Result<reqwest::Response> {
        Ok(self.client.get(format!("{}{path}", self.server)).bearer_auth(&self.token).send().await?)
    }
}

async fn pass(State(front): State<Arc<Front>>, request: Request) -> Response {
    front.dawdle().await;
    let target = request.uri().path_and_query().unwrap().to_string();
    let is_policies = target.starts_with(POLICIES);
    let is_watch = target.contains("watch=true");
    let old = front.old.lock().unwrap().clone();
    match old {
        Some(_) if is_policies && target.contains("sendInitialEvents") => {
            return (StatusCode::UNPROCESSABLE_ENTITY, status(422, "no streaming lists here")).into_response();
        }
        Some(_) if is_policies && is_watch => return (StatusCode::GONE, status(410, "too old")).into_response(),
        Some(old) if is_policies => {
            front.repeated.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            return old.into_response();
        }
        _ => {}
    }
    let cut = front.cut.lock().unwrap().clone();
    let Ok(mut answer) = front.ask(&target).await else { return StatusCode::BAD_GATEWAY.into_response() };
    let (tell, told) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(8);
    let code = answer.status();
    tokio::spawn(cut.run_until_cancelled_owned(async move {
        while let Ok(Some(chunk)) = answer.chunk().await {
            front.dawdle().await;
            if tell.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
    }));
    (code, Body::from_stream(ReceiverStream::new(told))).into_response()
}

fn status(code: u16, message: &str) -> String {
    json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": message }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn p29_an_older_list_is_refused_before_and_after_a_restart() -> Result<()> {
    let server = house::server().await?;
    let repeater = Repeater::before(&server).await?;
    let mut gate = Cloakroom::spawn(house::following(repeater.kubeconfig(&server)?)).await?;
    let load = Load::begin(&server, &gate).await?;
    server.apply(&public("deleted")).await?;
    server.apply(&public("closed")).await?;
    comes_to(&gate, "closed.example", 200).await?;
    comes_to(&gate, "deleted.example", 200).await?;
    let old = repeater.list().await?;
    house::delete(&server, "deleted").await?;
    server.apply(&closed("closed")).await?;
    server.apply(&public("new")).await?;
    for (host, want) in [("deleted.example", 403), ("closed.example", 403), ("new.example", 200)] {
        comes_to(&gate, host, want).await?;
    }
    let unchanged = async |gate: &Cloakroom| -> Result<()> {
        for (host, want) in [("deleted.example", 403), ("closed.example", 403), ("new.example", 200)] {
            ensure!(house::status(gate, host).await? == want, "{host}: a policy of before is in force again");
        }
        Ok(())
    };

    // A list without what was closed and deleted meanwhile, again and again.
    repeater.repeat(old);
    wait_until(PATIENCE, "third old list", async || repeater.repeated() >= 3).await.context(gate.output().tail(20))?;
    unchanged(&gate).await?;
    ensure!(house::metric(&gate, "cloakroom_policy_older_answers_total").await? >= 2.0);
    house::says(&gate, "older than", 1).await?;
    load.end().await?;

    // The snapshot knows how far it was.
    let file = gate.folder().join("policies.snapshot");
    let is_kept =
        async || std::fs::read_to_string(&file).is_ok_and(|it| it.contains("new.example") && !it.contains("deleted"));
    wait_until(PATIENCE, "snapshot", is_kept).await?;
    let before = repeater.repeated();
    gate.crash_and_restart().await?;
    wait_until(PATIENCE, "old list", async || repeater.repeated() >= before + 2).await?;
    unchanged(&gate).await.with_context(|| gate.output().tail(20))?;

    repeater.relent();
    server.apply(&closed("new")).await?;
    comes_to(&gate, "new.example", 403).await?;
    unchanged_but_new(&gate).await
}

async fn unchanged_but_new(gate: &Cloakroom) -> Result<()> {
    for host in ["deleted.example", "closed.example"] {
        ensure!(house::status(gate, host).await? == 403, "{host}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p34_a_slow_api_server_delays_changes_and_nothing_else() -> Result<()> {
    let server = house::server().await?;
    let repeater = Repeater::before(&server).await?;
    let gate = Cloakroom::spawn(house::following(repeater.kubeconfig(&server)?)).await?;
    let load = Load::begin(&server, &gate).await?;
    for (delay, policy, want) in [(2, public("a"), 200), (3, closed("a"), 403), (0, public("a"), 200)] {
        repeater.slow(Duration::from_secs(delay));
        server.apply(&policy).await?;
        comes_to(&gate, "a.example", want).await?;
    }
    load.end().await
}
