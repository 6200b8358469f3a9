//! The real gate and the real Envoy with the shipped configuration, a service behind them, and sessions.

use anyhow::{Context as _, Result, ensure};
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, CreatedSession, GateOptions, Store};
use e2e::http1::{Connection, Message};
use e2e::measure::Usage;
use e2e::tools::EnvoyVersion;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::Method;
use serde_json::{Value, json};

use super::arm::{Arm, LOG_OUT, POLICY};
use super::service::Service;

const COOKIE: &str = "__Host-session=";

/// How often Envoy has begun to ask about a response.
const STREAMS: &str = "http.ingress.ext_proc.cloakroom.streams_started";

/// All that runs; it ends with the benchmark.
pub(crate) struct Scene {
    gate: Cloakroom,
    envoy: Envoy,
    sessions: Vec<CreatedSession>,
    _service: Service,
}

impl Scene {
    pub(crate) async fn set(store: Store, sessions: usize) -> Result<Self> {
        let options = GateOptions { store, ..GateOptions::new(env!("CARGO_BIN_EXE_cloakroom")) };
        let gate = Cloakroom::spawn(options.policy("bench.yaml", POLICY)).await?;
        let service = Service::spawn().await?;
        let mut config = EnvoyConfig::shipped()?;
        // No TLS: its cost is the same in every arm, and would hide the differences.
        config.plain()?.gate(&gate.grpc()?)?;
        config.service("shop", service.address())?.service("login", service.address())?;
        let envoy = Envoy::spawn(EnvoyVersion::Newest, &config).await?;
        let sessions = futures_util::stream::iter(0..sessions)
            .map(|n| {
                let gate = &gate;
                async move {
                    let claims = json!({ "tenant": "gold", "cart": ["book", "pen"], "filling": "x".repeat(200) });
                    let body = json!({ "subject": format!("user-{n}"), "roles": ["customer"], "claims": claims });
                    gate.create_session(&body).await
                }
            })
            .buffered(16)
            .try_collect()
            .await?;
        Ok(Self { gate, envoy, sessions, _service: service })
    }

    /// cloakroom's and Envoy's use of the processor.
    pub(crate) fn usage(&self) -> [Usage; 2] {
        [&self.gate.process(), &self.envoy.process()].map(|process| Usage::of(process.pid()))
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        Connection::open(self.envoy.address()).await
    }

    /// The `n`th request of an arm, as a browser sends it.
    pub(crate) fn request(&self, arm: Arm, n: usize) -> Vec<u8> {
        let [one, again, rest @ ..] = &self.sessions[..] else { unreachable!("there are more than two sessions") };
        match arm {
            Arm::CreateAndEnd => request(arm.path(), None),
            Arm::ManySessions => request(arm.path(), Some(&rest[n % rest.len()].token)),
            Arm::SameAgain => request(arm.path(), Some(&again.token)),
            _ => request(arm.path(), Some(&one.token)),
        }
    }

    /// The log-out of the session that this response made.
    pub(crate) fn log_out(response: &Message) -> Option<Vec<u8>> {
        let cookies = response.header("set-cookie");
        let token = cookies.iter().find_map(|cookie| cookie.strip_prefix(COOKIE)?.split(';').next())?;
        Some(request(LOG_OUT, Some(token)))
    }

    /// One request of an arm does what the arm's name says: else its figures would be those of something else.
    pub(crate) async fn prove(&self, arm: Arm) -> Result<()> {
        let asked = self.envoy.stat(STREAMS).await?;
        let mut connection = self.connect().await?;
        connection.send(&self.request(arm, 0)).await?;
        let response = connection.response(false).await?;
        ensure!(response.status() == 200, "{}: {response:?}", arm.what());
        let asked = self.envoy.stat(STREAMS).await? - asked;
        ensure!(asked == u64::from(arm != Arm::Without), "{}: {asked} calls about the response", arm.what());
        match arm {
            Arm::Without | Arm::NoHandle | Arm::NoCommand => {}
            Arm::SameAgain => ensure!(self.cart(1).await? == json!(["book", "pen"]), "the cart changed"),
            Arm::OneSession => ensure!(self.cart(0).await? != json!(["book", "pen"]), "the cart did not change"),
            Arm::ManySessions => ensure!(self.cart(2).await? != json!(["book", "pen"]), "the cart did not change"),
            Arm::CreateAndEnd => {
                let log_out = Self::log_out(&response).context("no session was made")?;
                for expected in [200, 401] {
                    connection.send(&log_out).await?;
                    let status = connection.response(false).await?.status();
                    ensure!(status == expected, "the log-out was answered with {status} and not {expected}");
                }
            }
        }
        Ok(())
    }

    /// What cloakroom counted on the way back.
    pub(crate) async fn counted(&self) -> Result<String> {
        let metrics = self.gate.metrics().await?;
        let counts = metrics.lines().filter_map(|line| {
            let (outcome, count) = line.strip_prefix("cloakroom_responses_total{outcome=\"")?.split_once("\"} ")?;
            (count != "0").then(|| format!("{outcome} {count}"))
        });
        Ok(counts.collect::<Vec<_>>().join(", "))
    }

    async fn cart(&self, n: usize) -> Result<Value> {
        let path = format!("/v1/sessions/{}", self.sessions[n].sid);
        let (status, answer) = self.gate.api(Method::GET, &path, None).await?;
        ensure!(status == 200, "the session API answers {status}: {answer}");
        Ok(answer["claims"]["cart"].clone())
    }
}

fn request(path: &str, token: Option<&str>) -> Vec<u8> {
    let cookie = token.map_or_else(String::new, |token| format!("; {COOKIE}{token}"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: shop.localhost\r\nAccept: application/json\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
         Accept-Language: en-GB,en;q=0.9\r\nSec-Fetch-Site: same-origin\r\nCookie: theme=dark{cookie}\r\n\r\n"
    )
    .into_bytes()
}
