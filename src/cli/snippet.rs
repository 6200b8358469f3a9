//! `cloakroom snippet`: what must stand in the mesh or the proxy, as the chart makes it, to read or to apply by hand.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::authz::credential::Carrier;
use crate::config::Config;
use crate::wiring::site::Account;
use crate::wiring::{self, Form, Gateway, Headers, Listener, Mesh, Piece, Shape, Site};

mod envoy;

/// Print the objects by which a mesh or a proxy asks cloakroom: what the chart installs, for reading, for reviews, and for
/// those who apply it themselves.
#[derive(Args, Debug)]
#[command(after_help = "\
Each object comes with a comment that says where it goes and what it is for.

Istio, a gate in each pod (namespaces with the label cloakroom.dev/enrolled: \"true\"):
  cloakroom snippet istio
Istio, the gate in front of a Gateway of the Gateway API, or of an ambient waypoint:
  cloakroom snippet istio --gateway infra/public
Besides, the proxies of the namespace shop verify the session JWT:
  cloakroom snippet istio --namespace shop

Envoy Gateway, the gate in front of a Gateway:
  cloakroom snippet envoy-gateway --gateway infra/public
Any proxy with the Gateway API's ExternalAuth filter, for routes of the namespace shop:
  cloakroom snippet gateway-api --namespace shop
A plain Envoy, with its gate and its service beside it:
  cloakroom snippet envoy --listen 0.0.0.0:8080 --upstream app=127.0.0.1:8081 > envoy.yaml
  cloakroom snippet envoy --namespace shop --config-map cloakroom-envoy | kubectl apply --server-side -f -

Lines of objects that are yours are printed as comments, so that the rest can be applied:
  cloakroom snippet istio | kubectl apply --server-side -f -

With the names of a configuration (jwt.header, jwt.issuer, header carriers), which must be those of the gates:
  cloakroom snippet istio --config cloakroom.yaml")]
pub struct SnippetArgs {
    /// What asks.
    #[arg(value_enum)]
    mesh: MeshName,
    /// Take the names of headers and the issuer from this configuration file; the defaults unless given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where cloakroom is installed.
    #[arg(long, value_name = "NAMESPACE", default_value = "cloakroom-system")]
    install_namespace: String,
    /// The domain of the cluster's names.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// `sidecar`: a gate in each pod. `shared`: a Deployment that the proxies of gateways ask. Unless told `shared` where a gateway
    /// is named, else what is usual for the mesh.
    #[arg(long, value_enum)]
    shape: Option<ShapeName>,
    /// A Gateway of the Gateway API that the shared gate guards; may be repeated.
    #[arg(long = "gateway", value_name = "NAMESPACE/NAME", value_parser = gateway)]
    gateways: Vec<Gateway>,
    /// A namespace whose proxies also verify the session JWT (Istio), whose routes may name the gate (Gateway API), or that the
    /// ConfigMap is for (plain Envoy); may be repeated.
    #[arg(long = "namespace", short, value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// A header besides `token.carriers` in which clients send a credential, as an IdentityProvider names it; may be repeated.
    #[arg(long = "credential-header", value_name = "NAME", default_value = "x-api-key", value_parser = header)]
    credentials: Vec<String>,
    /// A header of responses from which an `exchange` takes a JWT; may be repeated.
    #[arg(long = "exchange-header", value_name = "NAME", default_value = "x-login-jwt", value_parser = header)]
    exchanges: Vec<String>,
    /// Istio: the root namespace of the mesh.
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    root_namespace: String,
    /// Istio: the name of the extension provider.
    #[arg(long, value_name = "NAME", default_value = "cloakroom")]
    provider: String,
    /// Istio: the service account of a Gateway's proxies, where it is not GATEWAY-istio; a waypoint's is its own name. May be repeated.
    #[arg(long = "account", value_name = "NAMESPACE/GATEWAY/ACCOUNT", value_parser = account)]
    accounts: Vec<Account>,
    /// Envoy Gateway: a listener whose proxies take cloakroom's headers off trailers, too; may be repeated. It takes an
    /// EnvoyPatchPolicy.
    #[arg(long = "trailers-of", value_name = "NAMESPACE/GATEWAY/LISTENER", value_parser = listener)]
    patched: Vec<Listener>,
    #[command(flatten)]
    envoy: envoy::EnvoyArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MeshName {
    /// Plain Envoy.
    Envoy,
    /// Istio.
    Istio,
    /// Envoy Gateway.
    EnvoyGateway,
    /// The Gateway API's own filter.
    GatewayApi,
}

impl From<MeshName> for Mesh {
    fn from(name: MeshName) -> Self {
        match name {
            MeshName::Envoy => Self::Envoy,
            MeshName::Istio => Self::Istio,
            MeshName::EnvoyGateway => Self::EnvoyGateway,
            MeshName::GatewayApi => Self::GatewayApi,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShapeName {
    Sidecar,
    Shared,
}

fn gateway(text: &str) -> Result<Gateway, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Gateway { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => Err("write NAMESPACE/NAME, such as infra/public".to_owned()),
    }
}

fn listener(text: &str) -> Result<Listener, String> {
    let wrong = || "write NAMESPACE/GATEWAY/LISTENER, such as infra/public/https".to_owned();
    let (of, name) = text.rsplit_once('/').ok_or_else(wrong)?;
    Ok(Listener { gateway: gateway(of).map_err(|_| wrong())?, name: name.to_owned() })
}

fn account(text: &str) -> Result<Account, String> {
    let wrong = || "write NAMESPACE/GATEWAY/ACCOUNT, such as shop/waypoint/waypoint".to_owned();
    let (of, name) = text.rsplit_once('/').ok_or_else(wrong)?;
    Ok(Account { gateway: gateway(of).map_err(|_| wrong())?, name: name.to_owned() })
}

fn header(text: &str) -> Result<String, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain { Ok(text.to_ascii_lowercase()) } else { Err("letters, digits, `-`, `_` and `.` alone".to_owned()) }
}

/// Runs the command.
///
/// # Errors
/// When the configuration cannot be used, or no wiring goes with the flags.
pub fn run(args: SnippetArgs) -> anyhow::Result<()> {
    let pieces = pieces(args)?;
    Ok(write(&pieces, &mut io::stdout().lock())?)
}

fn pieces(args: SnippetArgs) -> anyhow::Result<Vec<Piece>> {
    let mesh = Mesh::from(args.mesh);
    let shape = match args.shape {
        Some(ShapeName::Sidecar) => Shape::Sidecar,
        Some(ShapeName::Shared) => Shape::Shared,
        None if args.gateways.is_empty() || mesh == Mesh::Envoy => mesh.default_shape(),
        None => Shape::Shared,
    };
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let mut site = Site {
        cluster_domain: args.cluster_domain,
        gateways: args.gateways,
        patched: args.patched,
        envoy: args.envoy.resolve(&args.namespaces, config.as_ref())?,
        namespaces: args.namespaces,
        headers: Headers { credentials: args.credentials, exchanges: args.exchanges, ..Headers::default() },
        istio: wiring::site::Istio {
            root_namespace: args.root_namespace,
            provider: args.provider,
            accounts: args.accounts,
        },
        ..Site::new(args.install_namespace, shape)
    };
    if let Some(config) = config {
        site.issuer.clone_from(&config.jwt.ring.issuer);
        site.headers.jwt.clone_from(&config.jwt.header);
        for carrier in config.carriers.as_slice() {
            if let Carrier::Header(name) = carrier
                && !site.headers.credentials.iter().any(|it| **it == **name)
            {
                let name =
                    header(name).map_err(anyhow::Error::msg).with_context(|| format!("token.carriers: `{name}`"))?;
                site.headers.credentials.push(name);
            }
        }
    }
    fits(mesh, &site)?;
    Ok(wiring::pieces(mesh, &site)?)
}

/// Refuses what does not go together, and names both.
fn fits(mesh: Mesh, site: &Site) -> anyhow::Result<()> {
    match (mesh, site.shape, site.gateways.is_empty()) {
        (Mesh::Envoy, _, false) => bail!("a plain Envoy has no Gateways, and one is named: leave --gateway out"),
        (Mesh::GatewayApi, Shape::Sidecar, _) => {
            bail!("the Gateway API's filter names a Service, which a sidecar is not: leave --shape sidecar out")
        }
        (Mesh::EnvoyGateway, _, true) => bail!(
            "Envoy Gateway attaches policies to Gateways, and none is named: add --gateway NAMESPACE/NAME, such as infra/public"
        ),
        (Mesh::Istio, Shape::Shared, true) => bail!(
            "a shared gate guards gateways, and none is named: add --gateway NAMESPACE/NAME, or say --shape sidecar"
        ),
        (Mesh::Istio, Shape::Sidecar, false) => bail!(
            "a sidecar guards the pod that it is in, and a gateway is named: say --shape shared, or leave --gateway out"
        ),
        _ => Ok(()),
    }
}

fn write(pieces: &[Piece], out: &mut impl Write) -> io::Result<()> {
    let mut first = true;
    for piece in pieces {
        if !std::mem::take(&mut first) && piece.form == Form::Document {
            writeln!(out, "---")?;
        }
        for line in wrapped(&piece.about, 118) {
            writeln!(out, "# {line}")?;
        }
        match piece.form {
            Form::Document => writeln!(out, "{}", piece.yaml.trim_end())?,
            Form::Lines => {
                writeln!(out, "#")?;
                for line in piece.yaml.trim_end().lines() {
                    writeln!(out, "#   {line}")?;
                }
            }
        }
    }
    Ok(())
}

/// Lines of at most `width` signs, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            let gap = if lines[last].is_empty() { "" } else { " " };
            lines[last] += &format!("{gap}{word}");
        }
    }
    lines
}

#[cfg(test)]
mod tests;
