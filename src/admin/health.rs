//! Liveness, readiness and metrics, on a listener that answers nothing else, and on a thread that does nothing else. So it is
//! told by a beat that the rest of the process moves.

mod gathering;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus::{Registry, TEXT_FORMAT};
use serde::Serialize;
use tokio::sync::watch;

use self::gathering::Metrics;
use super::listener::Limits;
use super::problem::{Problem, ProblemKind, problems};

/// What this listener gives its clients: who has asked nothing within two seconds is no probe.
pub const LIMITS: Limits = Limits { header_read: Duration::from_secs(2), ..Limits::DEFAULT };

/// Without a beat for so long the process neither is ready nor lives: what answers checks hangs.
const BEAT: Duration = Duration::from_secs(10);
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
    use serde_json::{Value, json};
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
