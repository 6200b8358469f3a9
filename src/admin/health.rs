//! Liveness, readiness and metrics, on a listener that answers nothing else, and on a thread that does nothing else. So it is
//! told by a beat that the rest of the process moves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::listener::Limits;
use super::problem::{Problem, ProblemKind, problems};

/// What this listener gives its clients: who has asked nothing within two seconds is no probe.
pub const LIMITS: Limits = Limits { header_read: Duration::from_secs(2), ..Limits::DEFAULT };

/// Without a beat for so long the process neither is ready nor lives: what answers checks hangs.
const BEAT: Duration = Duration::from_secs(10);
/// How often metrics are gathered, and how many times more where nobody has asked for a while. Gathering costs time, and anybody
/// may ask (P28): who asks more often waits, and shares what is gathered then.
const GATHER: Duration = Duration::from_millis(50);
const GATHERINGS: u32 = 40;
/// How many may wait for that. All others get what was gathered last: who waits keeps a connection from those that come.
const WAITING: usize = 8;

/// What must be so before requests are sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyCheck {
    /// Policies have been loaded.
    Policies,
    /// The session store answers.
    Store,
    /// A key is in its signing time.
    Keys,
    /// There is a key for access tokens.
    TokenKey,
    /// The webhook has a certificate to show.
    Webhook,
}

impl ReadyCheck {
    /// Every check, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Policies, Self::Store, Self::Keys, Self::TokenKey, Self::Webhook];

    /// Its name in the answer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policies => "policies",
            Self::Store => "store",
            Self::Keys => "keys",
            Self::TokenKey => "tokenKey",
            Self::Webhook => "webhook",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Checks {
    needed: &'static [ReadyCheck],
    passed: [bool; ReadyCheck::ALL.len()],
    /// Why one does not hold, where that is known.
    reasons: [Option<String>; ReadyCheck::ALL.len()],
    closed: bool,
}

impl Checks {
    fn ready(&self) -> bool {
        !self.closed && self.needed.iter().all(|check| self.passed[*check as usize])
    }
}

/// Whether this process is ready: every check holds and nobody has closed it. Clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness {
    checks: Arc<watch::Sender<Checks>>,
    beat: Arc<Mutex<Instant>>,
}

impl Readiness {
    /// Ready once all of these hold.
    pub fn of(needed: &'static [ReadyCheck]) -> Self {
        let checks = Checks { needed, passed: Default::default(), reasons: Default::default(), closed: false };
        Self { checks: Arc::new(watch::Sender::new(checks)), beat: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Says that the process moves. To be called where its work is done, again and again.
    pub fn beat(&self) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether it does not move any more. One that drains need not tell.
    fn hangs(&self) -> bool {
        let beat = *self.beat.lock().unwrap_or_else(PoisonError::into_inner);
        beat.elapsed() > BEAT && !self.checks.borrow().closed
    }

    /// Notes whether `check` holds; none does at first.
    pub fn set(&self, check: ReadyCheck, holds: bool) {
        self.checks.send_if_modified(|checks| {
            let slot = &mut checks.passed[check as usize];
            std::mem::replace(slot, holds) != holds
        });
    }

    /// Says why `check` does not hold, for whoever asks.
    pub fn explain(&self, check: ReadyCheck, reason: Option<String>) {
        self.checks.send_if_modified(|checks| {
            let slot = &mut checks.reasons[check as usize];
            let is_other = *slot != reason;
            *slot = reason;
            is_other
        });
    }

    /// Never ready again: the process is draining.
    pub fn close(&self) {
        self.checks.send_if_modified(|checks| !std::mem::replace(&mut checks.closed, true));
    }

    /// Whether everything holds now.
    pub fn is_ready(&self) -> bool {
        self.checks.borrow().ready()
    }

    /// Waits until readiness is no longer `known`, and answers what it is: for gRPC health.
    pub async fn changed_from(&self, known: bool) -> bool {
        let mut states = self.checks.subscribe();
        match states.wait_for(|checks| checks.ready() != known).await {
            Ok(checks) => checks.ready(),
            Err(_) => false, // cannot be: `self` holds the sender
        }
    }
}

#[derive(Clone)]
struct Health {
    readiness: Readiness,
    metrics: Metrics,
}

/// The metrics as text.
#[derive(Clone)]
struct Metrics {
    registry: Registry,
    waiting: Arc<Semaphore>,
    turns: Arc<tokio::sync::Mutex<Turns>>,
    /// What was gathered last, and when that began.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

/// How often they may be gathered.
struct Turns {
    /// How many times now, and since when that is counted.
    left: u32,
    since: Instant,
}

impl Metrics {
    fn of(registry: Registry) -> Self {
        Self {
            registry,
            waiting: Arc::new(Semaphore::new(WAITING)),
            turns: Arc::new(tokio::sync::Mutex::new(Turns { left: GATHERINGS, since: Instant::now() })),
            last: Arc::default(),
        }
    }

    async fn text(&self) -> prometheus::Result<Bytes> {
        let asked = Instant::now();
        let waits = self.waiting.try_acquire();
        if let (Err(_), Some((_, text))) = (&waits, self.last()) {
            return Ok(text);
        }
        let mut turns = self.turns.lock().await;
        // All who have waited for a turn are answered by it.
        if let Some((began, text)) = self.last()
            && began >= asked
        {
            return Ok(text);
        }
        turns.take().await;
        let began = Instant::now();
        let text = Bytes::from(TextEncoder::new().encode_to_string(&self.registry.gather())?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((began, text.clone()));
        Ok(text)
    }

    fn last(&self) -> Option<(Instant, Bytes)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Turns {
    /// Waits until they may be gathered once more.
    async fn take(&mut self) {
        if self.left == 0 {
            tokio::time::sleep(GATHER.saturating_sub(self.since.elapsed())).await;
        }
        let more = u32::try_from(self.since.elapsed().as_millis() / GATHER.as_millis()).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(GATHERINGS);
            self.since = Instant::now();
        }
        self.left = self.left.saturating_sub(1);
    }
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(readiness: Readiness, registry: Registry) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(problems))
        .with_state(Health { readiness, metrics: Metrics::of(registry) })
}

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    draining: bool,
    checks: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    reasons: serde_json::Map<String, serde_json::Value>,
}

async fn livez(State(health): State<Health>) -> Response {
    let live = !health.readiness.hangs();
    let status = if live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Live { live })).into_response()
}

async fn readyz(State(health): State<Health>) -> Response {
    let hangs = health.readiness.hangs();
    let checks = health.readiness.checks.borrow().clone();
    let ready = checks.ready() && !hangs;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let stuck = hangs.then(|| ("process".to_owned(), format!("has not moved for {} s", BEAT.as_secs()).into()));
    let body = Ready {
        ready,
        draining: checks.closed,
        checks: checks
            .needed
            .iter()
            .map(|check| (check.name().to_owned(), checks.passed[*check as usize].into()))
            .collect(),
        reasons: ReadyCheck::ALL
            .into_iter()
            .filter_map(|check| Some((check.name().to_owned(), checks.reasons[check as usize].clone()?.into())))
            .chain(stuck)
            .collect(),
    };
    (status, Json(body)).into_response()
}

async fn metrics(State(health): State<Health>) -> Result<Response, Problem> {
    let text = health.metrics.text().await.map_err(|error| {
        tracing::error!(%error, "metrics cannot be written");
        Problem::new(ProblemKind::Internal, "metrics cannot be written; the log has more")
    })?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use http::{Method, Request};
    use prometheus::IntCounter;
    use prometheus::core::{Collector, Desc};
    use prometheus::proto::MetricFamily;
    use serde_json::{Value, json};
    use tokio::task::JoinSet;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(router: &Router, method: Method, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        (status, String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_means_every_check_holds_until_the_drain() {
        let readiness = Readiness::of(&ReadyCheck::ALL);
        let router = router(readiness.clone(), Registry::new());
        for check in ReadyCheck::ALL {
            let (status, body) = ask(&router, Method::GET, "/readyz").await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((&body["ready"], &body["checks"][check.name()]), (&json!(false), &json!(false)));
            readiness.set(check, true);
        }
        let (status, body) = ask(&router, Method::GET, "/readyz").await;
        assert_eq!(status, StatusCode::OK);
        let checks = json!({"policies": true, "store": true, "keys": true, "tokenKey": true, "webhook": true});
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body, json!({"ready": true, "draining": false, "checks": checks}));
        readiness.set(ReadyCheck::Store, false);
        readiness.explain(ReadyCheck::Store, Some("away".to_owned()));
        assert!(!readiness.is_ready());
        let body: Value = serde_json::from_str(&ask(&router, Method::GET, "/readyz").await.1).unwrap();
        assert_eq!(body["reasons"], json!({"store": "away"}));
        readiness.explain(ReadyCheck::Store, None);
        readiness.set(ReadyCheck::Store, true);
        readiness.close();
        let (status, body) = ask(&router, Method::GET, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["draining"], true);
        assert_eq!(ask(&router, Method::GET, "/livez").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_process_that_does_not_move_neither_lives_nor_is_ready() {
        let readiness = Readiness::of(&[]);
        let router = router(readiness.clone(), Registry::new());
        let told = async |path| ask(&router, Method::GET, path).await.0;
        assert_eq!((told("/livez").await, told("/readyz").await), (StatusCode::OK, StatusCode::OK));
        let late = || *readiness.beat.lock().unwrap() = Instant::now().checked_sub(2 * BEAT).unwrap();
        late();
        assert_eq!(told("/livez").await, StatusCode::SERVICE_UNAVAILABLE);
        let (status, body) = ask(&router, Method::GET, "/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)));
        assert_eq!(body["reasons"], json!({"process": "has not moved for 10 s"}));
        readiness.beat();
        assert_eq!((told("/livez").await, told("/readyz").await), (StatusCode::OK, StatusCode::OK));
        late();
        readiness.close();
        assert_eq!(told("/livez").await, StatusCode::OK);
    }

    #[tokio::test]
    async fn p28_metrics_are_gathered_so_often_however_many_ask() {
        struct Counted(IntCounter);
        impl Collector for Counted {
            fn desc(&self) -> Vec<&Desc> {
                self.0.desc()
            }

            fn collect(&self) -> Vec<MetricFamily> {
                self.0.inc();
                self.0.collect()
            }
        }
        let counter = IntCounter::new("cloakroom_test_total", "A test.").unwrap();
        let registry = Registry::new();
        registry.register(Box::new(Counted(counter.clone()))).unwrap();
        let (began, router) = (Instant::now(), router(Readiness::of(&[]), registry));
        // One after the other, each sees what has been counted until it asked.
        for asked in 1..=GATHERINGS + 5 {
            let (status, text) = ask(&router, Method::GET, "/metrics").await;
            assert_eq!(status, StatusCode::OK);
            assert!(text.contains(&format!("cloakroom_test_total {asked}")), "{text}");
        }
        // All at once, they share, or get the last.
        let mut all = JoinSet::new();
        for _ in 0..1_000 {
            let router = router.clone();
            all.spawn(async move { ask(&router, Method::GET, "/metrics").await.0 });
        }
        assert!(all.join_all().await.iter().all(|it| *it == StatusCode::OK));
        let most = u128::from(GATHERINGS) + 1 + began.elapsed().as_millis() / GATHER.as_millis();
        assert!(u128::from(counter.get()) <= most, "{} and not {most}", counter.get());
    }

    #[tokio::test]
    async fn who_waits_for_readiness_hears_of_it() {
        let readiness = Readiness::of(&ReadyCheck::ALL);
        let other = readiness.clone();
        let waiting = tokio::spawn(async move { other.changed_from(false).await });
        for check in ReadyCheck::ALL {
            readiness.set(check, true);
        }
        assert!(waiting.await.unwrap());
        readiness.close();
        assert!(!readiness.changed_from(true).await);
    }

    #[tokio::test]
    async fn it_answers_metrics_and_nothing_else() {
        let registry = Registry::new();
        registry.register(Box::new(IntCounter::new("cloakroom_test_total", "A test.").unwrap())).unwrap();
        let router = router(Readiness::of(&ReadyCheck::ALL), registry);
        let (status, text) = ask(&router, Method::GET, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("cloakroom_test_total 0"), "{text}");
        for (method, path, status) in [
            (Method::GET, "/", StatusCode::NOT_FOUND),
            (Method::GET, "/metrics/", StatusCode::NOT_FOUND),
            (Method::GET, "/v1/sessions", StatusCode::NOT_FOUND),
            (Method::POST, "/livez", StatusCode::METHOD_NOT_ALLOWED),
        ] {
            let (got, body) = ask(&router, method, path).await;
            assert_eq!(got, status, "{path}");
            assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["status"], status.as_u16());
        }
    }
}
