//! Gates that share a store, keys and policies.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::checker::{Answer, Checker};
use e2e::gate::{Cloakroom, CreatedSession, GateOptions, Store};
use e2e::process::wait_until;
use http::Method;
use serde_json::{Value, json};

/// How long a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The host of the one policy.
pub(crate) const HOST: &str = "shop.example";
/// The shortest `maxStaleness` that leaves a busy machine the time to prove a link.
pub(crate) const STALE: Duration = Duration::from_secs(1);
/// Within how long a gate must be there again after a fault has ended. The goal is 2 s; the rest is for busy machines.
const BACK_WITHIN: Duration = Duration::from_secs(5);

const POLICY: &str = "\
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec: { hosts: [shop.example] }
";

/// One gate, and a connection to it.
pub(crate) struct Gate {
    pub(crate) process: Cloakroom,
    pub(crate) checker: Checker,
}

/// Some gates on one store.
pub(crate) struct Fleet(pub(crate) Vec<Gate>);

/// The configuration of a gate that believes its cache for `stale` after the last proof.
pub(crate) fn believing_for(stale: Duration) -> Value {
    let stale = format!("{}ms", stale.as_millis());
    json!({ "sessions": { "view": { "maxStaleness": stale } }, "check": { "timeout": "2s" } })
}

impl Fleet {
    /// `count` gates whose `sessions.store.redis` is `redis`. Over the rest of the configuration goes `config`.
    pub(crate) async fn start(count: usize, redis: Value, config: Value) -> Result<Self> {
        Self::each(&vec![redis; count], config).await
    }

    /// A gate for each `sessions.store.redis`: one store, reached by different ways.
    pub(crate) async fn each(ways: &[Value], config: Value) -> Result<Self> {
        let mut fleet = Self(Vec::new());
        for redis in ways {
            let process = Cloakroom::spawn(fleet.options(redis, &config)).await?;
            fleet.0.push(Gate::of(process).await?);
        }
        Ok(fleet)
    }

    /// One more gate, which is not waited for until it is ready.
    pub(crate) async fn begin_another(&mut self, redis: &Value, config: &Value) -> Result<()> {
        let process = Cloakroom::begin(self.options(redis, config)).await?;
        self.0.push(Gate::of(process).await?);
        Ok(())
    }

    /// Those of one more gate, with the keys of the first.
    fn options(&self, redis: &Value, config: &Value) -> GateOptions {
        let mut options = GateOptions::new(env!("CARGO_BIN_EXE_cloakroom")).policy("shop.yaml", POLICY);
        options.store = Store::Redis(json!({ "kind": "redis", "redis": redis }));
        options.config = config.clone();
        match self.0.first() {
            Some(first) => options.with_keys_of(&first.process),
            None => options,
        }
    }

    /// A session made by the first gate, as soon as it can: a busy machine is not the fault that is looked at.
    pub(crate) async fn log_in(&self, subject: &str) -> Result<CreatedSession> {
        let made = OnceLock::new();
        let log_in = wait_until(PATIENCE, "log-in", async || {
            let session = self.0[0].process.create_session(&json!({ "subject": subject })).await;
            session.is_ok_and(|session| made.set(session).is_ok())
        });
        log_in.await?;
        made.into_inner().context("a log-in")
    }
}

impl Gate {
    async fn of(process: Cloakroom) -> Result<Self> {
        let checker = Checker::connect(&process.grpc()?).await?;
        Ok(Self { process, checker })
    }

    /// A request with this session.
    pub(crate) async fn get(&self, session: &CreatedSession) -> Result<Answer> {
        self.checker.get(HOST, "/cart", &session.token).await
    }

    /// Its status.
    pub(crate) async fn status(&self, session: &CreatedSession) -> Result<u16> {
        Ok(self.get(session).await?.status)
    }

    /// Waits until a request with this session is answered so. On the way to 200 there may be 503 and nothing else: a session that
    /// lives is never 401.
    pub(crate) async fn until(&self, session: &CreatedSession, status: u16) -> Result<()> {
        let wrong = OnceLock::new();
        let what = format!("{status}");
        let answered = wait_until(PATIENCE, &what, async || {
            let Ok(answer) = self.get(session).await else { return false };
            let answered = answer.status == status;
            if status == 200 && ![200, 503].contains(&answer.status) {
                wrong.set(answer).ok();
            }
            answered || wrong.get().is_some()
        });
        answered.await?;
        ensure!(wrong.get().is_none(), "a session that lives is answered {wrong:?}");
        Ok(())
    }

    /// Asks with this session, about which nothing can be known now: 503, and the client keeps its cookie.
    pub(crate) async fn cannot_know(&self, session: &CreatedSession) -> Result<()> {
        let answer = self.get(session).await?;
        ensure!(answer.status == 503 && answer.cookies.is_empty(), "not a plain 503: {answer:?}");
        Ok(())
    }

    /// Ends a session, or says with which status that was refused.
    pub(crate) async fn end(&self, session: &CreatedSession) -> Result<u16> {
        Ok(self.process.api(Method::DELETE, &format!("/v1/sessions/{}", session.sid), None).await?.0)
    }

    /// Ends all sessions of a subject, or says with which status that was refused.
    pub(crate) async fn end_all(&self, subject: &str) -> Result<u16> {
        Ok(self.process.api(Method::DELETE, &format!("/v1/subjects/{subject}/sessions"), None).await?.0)
    }

    /// Makes a session, or says with which status that was refused.
    pub(crate) async fn try_log_in(&self, subject: &str) -> Result<u16> {
        Ok(self.process.api(Method::POST, "/v1/sessions", Some(&json!({ "subject": subject }))).await?.0)
    }

    /// Waits until the session passes again, `fault` having ended at `since`; holds that to its deadline and prints it.
    pub(crate) async fn is_back(&self, fault: &str, session: &CreatedSession, since: Instant) -> Result<()> {
        self.until(session, 200).await.with_context(|| format!("after {fault}"))?;
        let took = since.elapsed();
        println!("| {fault:<60} | {:>5} ms |", took.as_millis());
        ensure!(took <= BACK_WITHIN, "{took:?} until the session passed again after {fault}");
        Ok(())
    }
}
