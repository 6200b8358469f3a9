//! Gates that share a store, keys and policies.

use std::time::Duration;

use anyhow::Result;
use e2e::checker::{Answer, Checker};
use e2e::gate::{Cloakroom, CreatedSession, GateOptions, Store};
use e2e::process::wait_until;
use serde_json::{Value, json};

/// How long a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The host of the one policy.
pub(crate) const HOST: &str = "shop.example";

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

impl Fleet {
    /// `count` gates whose `sessions.store.redis` is `redis`. Over the rest of the configuration goes `config`.
    pub(crate) async fn start(count: usize, redis: Value, config: Value) -> Result<Self> {
        let mut gates: Vec<Gate> = Vec::new();
        for _ in 0..count {
            let mut options = GateOptions::new(env!("CARGO_BIN_EXE_cloakroom")).policy("shop.yaml", POLICY);
            options.store = Store::Redis(json!({ "kind": "redis", "redis": redis }));
            options.config = config.clone();
            if let Some(first) = gates.first() {
                let file = |name: &str| first.process.folder().join(name);
                options.config["token"]["keyFile"] = json!(file("token.key"));
                options.config["jwt"]["keysDir"] = json!(file("keys"));
            }
            let process = Cloakroom::spawn(options).await?;
            let checker = Checker::connect(&process.grpc()?).await?;
            gates.push(Gate { process, checker });
        }
        Ok(Self(gates))
    }

    /// A session made by the first gate.
    pub(crate) async fn log_in(&self, subject: &str) -> Result<CreatedSession> {
        self.0[0].process.create_session(&json!({ "subject": subject })).await
    }
}

impl Gate {
    /// A request with this session.
    pub(crate) async fn get(&self, session: &CreatedSession) -> Result<Answer> {
        self.checker.get(HOST, "/cart", &session.token).await
    }

    /// Its status.
    pub(crate) async fn status(&self, session: &CreatedSession) -> Result<u16> {
        Ok(self.get(session).await?.status)
    }

    /// Waits until a request with this session is answered so.
    pub(crate) async fn until(&self, session: &CreatedSession, status: u16) -> Result<()> {
        let what = format!("{status}");
        wait_until(PATIENCE, &what, async || self.status(session).await.is_ok_and(|it| it == status)).await
    }
}
