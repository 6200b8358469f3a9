//! The flags that only a plain Envoy has.

use std::net::SocketAddr;

use anyhow::bail;
use clap::Args;

use crate::config::Config;
use crate::grpc::Address;
use crate::wiring::{Envoy, GateAt, ListenerTls, Upstream};

#[derive(Args, Debug)]
#[command(next_help_heading = "Plain Envoy")]
pub(super) struct EnvoyArgs {
    /// Where clients connect. [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// A service behind the proxy, `app=127.0.0.1:8081`, and below which path: `login=127.0.0.1:8082/login`; may be repeated.
    /// [default: app=127.0.0.1:8081]
    #[arg(long = "upstream", value_name = "NAME=HOST:PORT[/PATH]", value_parser = upstream)]
    upstreams: Vec<Upstream>,
    /// Where the gate listens: `unix:///path`, or an address of loopback. Unless told `listen.grpc` of --config, else
    /// 127.0.0.1:9443, as sidecars do.
    #[arg(long, value_name = "ADDRESS", value_parser = gate)]
    gate: Option<GateAt>,
    /// The certificate of the listener, with its chain, as the proxy finds it; without it the listener speaks plain HTTP.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<String>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<String>,
    /// Print a ConfigMap of this name for the namespace of --namespace, with each file as a key.
    #[arg(long, value_name = "NAME")]
    config_map: Option<String>,
}

impl EnvoyArgs {
    /// What they say, over the configuration file and the defaults.
    pub(super) fn resolve(self, namespaces: &[String], config: Option<&Config>) -> anyhow::Result<Envoy> {
        let mut envoy = Envoy::default();
        if let Some(config) = config {
            if let Address::Unix(path) = &config.listen.grpc {
                envoy.gate = GateAt::Socket(path.display().to_string());
            } else if let Address::Loopback(address) = config.listen.grpc {
                envoy.gate = GateAt::Loopback(address);
            }
        }
        envoy.listen = self.listen.unwrap_or(envoy.listen);
        envoy.gate = self.gate.unwrap_or(envoy.gate);
        envoy.tls = self.tls_certificate.zip(self.tls_key).map(|(certificate, key)| ListenerTls { certificate, key });
        if !self.upstreams.is_empty() {
            envoy.upstreams = self.upstreams;
        }
        if let Some(name) = self.config_map {
            let [namespace] = namespaces else {
                bail!("a ConfigMap is in one namespace: say --namespace once beside --config-map {name}");
            };
            envoy.config_map = Some((namespace.clone(), name));
        }
        Ok(envoy)
    }
}

fn upstream(text: &str) -> Result<Upstream, String> {
    let wrong =
        || "write NAME=HOST:PORT, such as shop=127.0.0.1:8081, or with a path: login=127.0.0.1:8082/login".to_owned();
    let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (address, prefix) = rest.split_at(at);
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || !host.chars().all(|sign| sign.is_ascii_alphanumeric() || "-.:".contains(sign)) {
        return Err(wrong());
    }
    Ok(Upstream {
        name: name.to_owned(),
        host: host.to_owned(),
        port: port.parse().map_err(|_| wrong())?,
        prefix: if prefix.is_empty() { "/".to_owned() } else { prefix.to_owned() },
    })
}

fn gate(text: &str) -> Result<GateAt, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(GateAt::Socket(path.strip_prefix("//").unwrap_or(path).to_owned()));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(GateAt::Loopback(address)),
        _ => Err("write unix:///path or an address of loopback, such as 127.0.0.1:9443; for a gate elsewhere, --shape shared"
            .to_owned()),
    }
}
