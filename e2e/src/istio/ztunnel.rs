//! A stock Envoy in the place of ztunnel: it takes what a client sends to a Service through a tunnel to the Service's waypoint
//! (HBONE: HTTP/2 CONNECT, with certificates of the mesh on both sides).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::envoy::TlsFiles;
use crate::process::Process;
use crate::tls::{Authority, Use};
use crate::tools::{self, EnvoyVersion};

const START: Duration = Duration::from_secs(60);
/// Where a waypoint takes tunnels.
const WAYPOINT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 15008);

/// Whom it speaks for, and with whom.
#[derive(Clone, Copy, Debug)]
pub struct Journey {
    /// Where it takes connections of clients.
    pub from: SocketAddr,
    /// The identity of these clients.
    pub client: &'static str,
    /// The identity of the waypoint.
    pub waypoint: &'static str,
    /// The address of the Service.
    pub to: SocketAddr,
}

/// A running one.
pub struct Ztunnel {
    process: Process,
    _folder: tempfile::TempDir,
}

impl Ztunnel {
    /// Starts one, and waits until it takes connections. It is the newest Envoy: older ones reset a client whose peer closes
    /// after its last byte.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn spawn(authority: &Authority, journey: &Journey) -> Result<Self> {
        let binary = tools::envoy(EnvoyVersion::Newest)?;
        let folder = tempfile::Builder::new().prefix("ztunnel-").tempdir()?;
        let files = authority.sign_into(folder.path(), Use::Workload(journey.client))?;
        let ca = folder.path().join("ca.crt");
        std::fs::write(&ca, authority.certificate())?;
        let file = folder.path().join("envoy.json");
        std::fs::write(&file, format!("{:#}", bootstrap(journey, &files, &ca.display().to_string())))?;
        let mut arguments = vec!["-c".into(), file.into_os_string()];
        arguments.extend(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn"].map(Into::into));
        let process = Process::spawn("ztunnel", &binary, arguments)?;
        let listens = async || tokio::net::TcpStream::connect(journey.from).await.is_ok();
        process.wait_until(START, "listener", listens).await?;
        Ok(Self { process, _folder: folder })
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn bootstrap(journey: &Journey, files: &TlsFiles, ca: &str) -> Value {
    let Journey { from, waypoint, to, .. } = journey;
    let address =
        |it: &SocketAddr| json!({ "socket_address": { "address": it.ip().to_string(), "port_value": it.port() } });
    let typed = |kind: &str, mut value: Value| {
        value["@type"] = json!(format!("type.googleapis.com/{kind}"));
        value
    };
    let tls = json!({ "common_tls_context": {
        "alpn_protocols": ["h2"],
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
        "tls_certificates": [{
            "certificate_chain": { "filename": files.certificate },
            "private_key": { "filename": files.key },
        }],
        "validation_context": {
            "trusted_ca": { "filename": ca },
            "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": waypoint } }],
        },
    }});
    let http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let proxy = json!({
        "stat_prefix": "tunnel",
        "cluster": "waypoint",
        // ztunnel says from where a connection comes.
        "tunneling_config": {
            "hostname": to.to_string(),
            "headers_to_add": [{ "header": { "key": "forwarded", "value": format!("for=10.1.2.3;host={to}") } }],
        },
    });
    json!({ "static_resources": {
        "listeners": [{
            "name": "clients",
            "address": address(from),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": typed("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", proxy),
            }]}],
        }],
        "clusters": [{
            "name": "waypoint",
            "type": "STATIC",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {
                http2: typed(http2, json!({ "explicit_http_config": { "http2_protocol_options": {} } })),
            },
            "load_assignment": {
                "cluster_name": "waypoint",
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(&WAYPOINT) } }] }],
            },
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", tls),
            },
        }],
    }})
}
