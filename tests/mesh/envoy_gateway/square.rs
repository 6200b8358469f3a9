//! Envoy Gateway, its Envoy, a gate and a shop in a network of their own.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use e2e::envoy::GateAddress;
use e2e::envoy_gateway::EnvoyGateway;
use e2e::gate::{Cloakroom, GateOptions};
use e2e::http1::Message;
use e2e::sloppy::{SeenRequest, Sloppy};
use e2e::tls::Certificates;
use e2e::tools::{self, EnvoyVersion};
use serde_json::json;

use super::objects::{self, GATE, PORT, exchange};
use crate::town::{PATIENCE, answer, send};

/// What must be there before a network of its own begins, where nothing can be downloaded.
pub(super) fn prepare() -> Result<()> {
    tools::envoy_gateway()?;
    tools::helm()?;
    tools::envoy(EnvoyVersion::Newest).map(drop)
}

/// Where the gate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the proxy's pod: a socket file.
    Beside,
    /// Elsewhere: by TLS, with certificates on both sides.
    Elsewhere,
}

/// All of it. The fields end in this order.
pub(super) struct Square {
    pub(super) gateway: EnvoyGateway,
    pub(super) gate: Cloakroom,
    pub(super) shop: Sloppy,
    pub(super) certificates: Certificates,
    pub(super) objects: String,
    _folder: tempfile::TempDir,
}

impl Square {
    /// With all that the chart renders, in force. `patient`: a busy machine is not taken for a fault.
    pub(super) async fn wired(place: Place, patient: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificates = Certificates::make(folder.path(), &[GATE])?;
        let mut options = GateOptions::new(env!("CARGO_BIN_EXE_cloakroom")).policy("all.yaml", objects::policies());
        if place == Place::Elsewhere {
            let server = &certificates.server;
            options.config = json!({ "listen": { "grpc": "127.0.0.1:9443", "tls": {
                "certFile": server.certificate, "keyFile": server.key, "clientCaFile": certificates.ca,
            } } });
        }
        let gate = Cloakroom::spawn(options).await?;
        let shop = Sloppy::answering(answer).await?;

        let mut wiring = wiring(place, &gate)?;
        if patient {
            wiring = exchange(&wiring, "timeout: 250ms", "timeout: 20s")?;
            wiring = exchange(&wiring, "messageTimeout: 1250ms", "messageTimeout: 20s")?;
        }
        let user = objects::user("127.0.0.1", shop.address().port());
        let objects = format!("{user}---\n{}---\n{wiring}", objects::certificates(&certificates)?);
        let gateway = EnvoyGateway::spawn(&objects).await?;
        let square = Self { gateway, gate, shop, certificates, objects, _folder: folder };
        square.until("a checked route", 401, "/x").await?;
        Ok(square)
    }

    /// Waits until a stranger's request for this path is answered so.
    pub(super) async fn until(&self, what: &str, status: u16, path: &str) -> Result<()> {
        let answered = async || send(INGRESS, "GET", path, &[]).await.is_ok_and(|answer| answer.status() == status);
        let waited = self.gateway.process().wait_until(PATIENCE, what, answered).await;
        self.shop.take();
        waited.with_context(|| self.gate.output().tail(20))
    }

    /// A session of ada's; the header line to send.
    pub(super) async fn log_in(&self) -> Result<String> {
        let session = self.gate.create_session(&json!({ "subject": "ada", "roles": ["admin"] })).await?;
        Ok(format!("Cookie: a=1; __Host-session={}", session.token))
    }

    /// A request with these header lines, sent to the Gateway.
    pub(super) async fn send(&self, method: &str, path: &str, lines: &[&str]) -> Result<Message> {
        send(INGRESS, method, path, lines).await
    }

    /// The one request that has reached the shop since the last question.
    pub(super) fn arrived(&self) -> Result<SeenRequest> {
        let mut seen = self.shop.take();
        ensure!(seen.len() == 1, "{} requests have reached the shop", seen.len());
        Ok(seen.remove(0))
    }
}

/// Where clients connect.
pub(super) const INGRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), PORT);

/// What the chart renders, but for the one address: there is no pod and no DNS here.
fn wiring(place: Place, gate: &Cloakroom) -> Result<String> {
    match place {
        Place::Beside => {
            let GateAddress::Unix(socket) = gate.grpc()? else { anyhow::bail!("the gate has no socket") };
            let values = [&["shape=sidecar", "sidecar.listen=socket"][..], &objects::TRAILERS].concat();
            exchange(&objects::rendered(&values)?, "/run/cloakroom/gate/gate.sock", &socket.display().to_string())
        }
        Place::Elsewhere => exchange(
            &objects::rendered(&objects::TRAILERS)?,
            &format!("fqdn:\n      hostname: {GATE}.cluster.local\n"),
            "ip:\n      address: 127.0.0.1\n",
        ),
    }
}
