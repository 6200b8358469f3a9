//! Plain Envoy: its whole configuration, of which examples/envoy/envoy.yaml is one filling.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::{File, Form, Piece, Shape, Site, WiringError, chart_file};

const LISTENER: File = chart_file!("envoy/listener.yaml");
const ROUTE: File = chart_file!("envoy/route.yaml");
const ACCESS_LOG: File = chart_file!("envoy/access-log.yaml");
const TLS: File = chart_file!("envoy/tls.yaml");
const GATE_CLUSTER: File = chart_file!("envoy/gate-cluster.yaml");
const GATE_TLS: File = chart_file!("envoy/gate-tls.yaml");
const GATE_SOCKET: File = chart_file!("envoy/gate-socket.yaml");
const GATE_ADDRESS: File = chart_file!("envoy/gate-address.yaml");
const CLUSTER: File = chart_file!("envoy/cluster.yaml");
const NODE: File = chart_file!("envoy/node.yaml");
const GATE_CERTIFICATE: File = chart_file!("envoy/gate-certificate.yaml");
const GATE_CA: File = chart_file!("envoy/gate-ca.yaml");

/// Where the files lie in the proxy's container, and where the Secret `cloakroom-proxy-tls` is mounted.
const FOLDER: &str = "/etc/envoy";
const CERTIFICATES: &str = "/etc/cloakroom-proxy";

/// A plain Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envoy {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Whether they do by TLS.
    pub tls: Option<ListenerTls>,
    /// Where the gate of the sidecar shape listens.
    pub gate: GateAt,
    /// The services; of those whose prefixes a path has, the longest one's.
    pub upstreams: Vec<Upstream>,
    /// Print one ConfigMap of this name, with a file a key, for a namespace.
    pub config_map: Option<(String, String)>,
}

/// The files of the listener's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// The certificate with its chain.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Where a gate in the same pod or on the same host listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateAt {
    /// A socket file.
    Socket(String),
    /// Loopback.
    Loopback(SocketAddr),
}

/// A service behind the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What the cluster is called.
    pub name: String,
    /// A host or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The paths that it gets: this one and all below.
    pub prefix: String,
}

impl Default for Envoy {
    /// In a pod, with its gate and its service on loopback, and TLS ended before it.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            tls: None,
            gate: GateAt::Loopback(SocketAddr::from(([127, 0, 0, 1], 9443))),
            upstreams: vec![Upstream {
                name: "app".to_owned(),
                host: "127.0.0.1".to_owned(),
                port: 8081,
                prefix: "/".to_owned(),
            }],
            config_map: None,
        }
    }
}

/// The files, or the ConfigMap that holds them.
pub(super) fn pieces(site: &Site) -> Result<Vec<Piece>, WiringError> {
    let mut files = vec![("envoy.yaml", configuration(site)?)];
    if site.shape == Shape::Shared {
        let certificates = [("certificates", CERTIFICATES)];
        files.push(("gate-certificate.yaml", GATE_CERTIFICATE.filled(&certificates)?));
        files.push(("gate-ca.yaml", GATE_CA.filled(&certificates)?));
    }
    if let Some((namespace, name)) = &site.envoy.config_map {
        let about = format!(
            "For the Envoy container of pods in {namespace}: mount it at {FOLDER} and start Envoy with `-c {FOLDER}/envoy.yaml`."
        );
        return Ok(vec![Piece { about, yaml: config_map(namespace, name, &files), form: Form::Document }]);
    }
    let place = |name: &str| match (name, site.shape) {
        ("envoy.yaml", Shape::Sidecar) => "The whole configuration of an Envoy whose gate is beside it.".to_owned(),
        ("envoy.yaml", Shape::Shared) => format!(
            "The whole configuration of an Envoy that asks a shared gate. The Secret `cloakroom-proxy-tls` is mounted at \
             {CERTIFICATES}."
        ),
        (name, _) => {
            format!("{FOLDER}/{name}, a file of its own: with --config-map NAME it is a key beside the first.")
        }
    };
    let form = |name: &str| if name == "envoy.yaml" { Form::Document } else { Form::Lines };
    Ok(files.into_iter().map(|(name, yaml)| Piece { about: place(name), yaml, form: form(name) }).collect())
}

/// `envoy.yaml`.
fn configuration(site: &Site) -> Result<String, WiringError> {
    let mut text = listener(site)?;
    text += &routes(&site.envoy.upstreams)?;
    text += ACCESS_LOG.text;
    if let Some(tls) = &site.envoy.tls {
        text += &TLS.filled(&[("certificate", &*tls.certificate), ("key", &*tls.key)])?;
    }
    text += &gate(site)?;
    text += &clusters(&site.envoy.upstreams)?;
    if site.shape == Shape::Shared {
        text += NODE.text;
    }
    Ok(text)
}

fn listener(site: &Site) -> Result<String, WiringError> {
    let headers = &site.headers;
    let (own, checked, answered) = (headers.own(), headers.checked(), headers.answered());
    let (exchanged, port) = (headers.exchanged(), site.envoy.listen.port().to_string());
    LISTENER.filled(&[
        ("listenAddress", &*site.envoy.listen.ip().to_string()),
        ("listenPort", &*port),
        ("ownHeaders", &*own),
        ("checkedHeaders", &*checked),
        ("answeredHeaders", &*answered),
        ("exchangeHeaders", &*exchanged),
    ])
}

fn routes(upstreams: &[Upstream]) -> Result<String, WiringError> {
    let mut upstreams: Vec<&Upstream> = upstreams.iter().collect();
    // Envoy takes the first that matches.
    upstreams.sort_by_key(|it| std::cmp::Reverse(it.prefix.len()));
    let mut text = String::new();
    for upstream in upstreams {
        // The other kind does not take `/`.
        let kind = if upstream.prefix == "/" { "prefix" } else { "path_separated_prefix" };
        text += &ROUTE.filled(&[("kind", kind), ("path", &*upstream.prefix), ("cluster", &*upstream.name)])?;
    }
    Ok(text)
}

fn gate(site: &Site) -> Result<String, WiringError> {
    let cluster = |kind: &str| GATE_CLUSTER.filled(&[("gateType", kind)]);
    match (site.shape, &site.envoy.gate) {
        (Shape::Shared, _) => {
            let host = site.gate_host();
            Ok(cluster("STRICT_DNS")?
                + &GATE_TLS.filled(&[("gateName", &*site.gate_name()), ("folder", FOLDER)])?
                + &GATE_ADDRESS.filled(&[("gateHost", &*host), ("gatePort", "9443")])?)
        }
        (Shape::Sidecar, GateAt::Socket(path)) => {
            Ok(cluster("STATIC")? + &GATE_SOCKET.filled(&[("gateSocket", &**path)])?)
        }
        (Shape::Sidecar, GateAt::Loopback(address)) => {
            let (host, port) = (address.ip().to_string(), address.port().to_string());
            Ok(cluster("STATIC")? + &GATE_ADDRESS.filled(&[("gateHost", &*host), ("gatePort", &*port)])?)
        }
    }
}

fn clusters(upstreams: &[Upstream]) -> Result<String, WiringError> {
    let mut text = String::new();
    for upstream in upstreams {
        // Names are asked of DNS, addresses need no asking.
        let kind = if upstream.host.parse::<std::net::IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" };
        let values = [
            ("name", &*upstream.name),
            ("type", kind),
            ("address", &*upstream.host),
            ("port", &*upstream.port.to_string()),
        ];
        text += &CLUSTER.filled(&values)?;
    }
    Ok(text)
}

fn config_map(namespace: &str, name: &str, files: &[(&str, String)]) -> String {
    let mut text =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\ndata:\n");
    for (file, content) in files {
        // Writing to a text does not fail.
        let _ = writeln!(text, "  {file}: |");
        for line in content.lines() {
            let _ = if line.is_empty() { writeln!(text) } else { writeln!(text, "    {line}") };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../examples/envoy/envoy.yaml");

    /// What users copy, the tests attack and the demo runs is what the files make, but for the routes that it shows.
    #[test]
    fn the_example_is_a_filling() {
        let upstream = |name: &str, port| Upstream {
            name: name.to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
            prefix: "/".to_owned(),
        };
        let file = |name: &str| format!("/etc/envoy/tls/{name}");
        let envoy = Envoy {
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            tls: Some(ListenerTls { certificate: file("tls.crt"), key: file("tls.key") }),
            gate: GateAt::Socket("/run/cloakroom/gate.sock".to_owned()),
            upstreams: vec![upstream("login", 8082), upstream("shop", 8081)],
            config_map: None,
        };
        let site = Site { envoy, ..Site::new("cloakroom-system", Shape::Sidecar) };
        let filled = configuration(&site).unwrap();
        let (begin, end) = ("      routes: # CHANGE: your services\n", "\n          access_log:\n");
        let around = |text: &str| {
            let (before, rest) = text.split_once(begin).unwrap();
            (before.to_owned(), rest.split_once(end).unwrap().1.to_owned())
        };
        assert_eq!(around(EXAMPLE), around(&filled));
    }

    #[test]
    fn the_longest_prefix_comes_first() {
        let upstream = |name: &str, prefix: &str| Upstream {
            name: name.to_owned(),
            host: "shop.shop.svc".to_owned(),
            port: 80,
            prefix: prefix.to_owned(),
        };
        let routes = routes(&[upstream("shop", "/"), upstream("login", "/login")]).unwrap();
        let at = |text: &str| routes.find(text).unwrap();
        assert!(at("path_separated_prefix: \"/login\"") < at(" prefix: \"/\""), "{routes}");
        assert!(clusters(&[upstream("shop", "/")]).unwrap().contains("type: STRICT_DNS"));
    }

    #[test]
    fn the_config_map_holds_the_files_as_they_are() {
        let mut site = Site::new("cloakroom-system", Shape::Shared);
        let files = pieces(&site).unwrap();
        site.envoy.config_map = Some(("shop".to_owned(), "cloakroom-envoy".to_owned()));
        let map: serde_json::Value = serde_saphyr::from_str(&pieces(&site).unwrap()[0].yaml).unwrap();
        assert_eq!(map["data"]["envoy.yaml"], files[0].yaml);
        assert_eq!(map["data"]["gate-certificate.yaml"], files[1].yaml);
        assert_eq!(map["data"]["gate-ca.yaml"], files[2].yaml);
    }
}
