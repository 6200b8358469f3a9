//! `cloakroom doctor`: what is wrong with an install, and the cure of each thing.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use reqwest::Url;
use serde_json::json;

use super::client::read_secret;
use super::output::{self, plain};
use crate::doctor::asking::{self, Wanted};
use crate::doctor::finding::{Level, Report, UNKNOWN};
use crate::doctor::request::{self, Route};
use crate::doctor::scene::{Mesh, Scene};
use crate::doctor::{self, probe};
use crate::k8s::{Access, Connection};

/// Look at an install, say what is wrong with it, and the cure of each thing. Nothing is written.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  cloakroom doctor
  cloakroom doctor --namespace shop --mesh istio
  cloakroom doctor --url https://shop.example/cart
  cloakroom doctor --url https://shop.example/headers --token-file token --echo
  cloakroom doctor --no-cluster --url https://shop.example/cart

Each finding has a name, which docs/troubleshooting.md explains. Exit status: 0 when all is well, 1 when there is a problem or a warning, 2 when something could not be looked at and nothing else was found.")]
pub struct DoctorArgs {
    /// The kubeconfig, instead of the one that kubectl would use; in a pod its service account counts.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig, instead of its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The namespace that cloakroom is installed in.
    #[arg(long, value_name = "NAME", default_value = "cloakroom-system")]
    install_namespace: String,
    /// A namespace to look at; may be given more than once. All that are enrolled unless told.
    #[arg(long, short, value_name = "NAME")]
    namespace: Vec<String>,
    /// What carries requests to cloakroom; may be given more than once. Found out by what is installed unless told; what is told
    /// must be there.
    #[arg(long, value_enum)]
    mesh: Vec<Mesh>,
    /// The namespace of Istio's control plane.
    #[arg(long, value_name = "NAME", default_value = "istio-system")]
    istio_namespace: String,
    /// The namespace of Envoy Gateway.
    #[arg(long, value_name = "NAME", default_value = "envoy-gateway-system")]
    envoy_gateway_namespace: String,
    /// Where the controller's key sets are (`listen.http`), if the API server does not lead there: after kubectl port-forward.
    #[arg(long, value_name = "URL")]
    keys: Option<Url>,
    /// Exit with status 0 also when something may not be read and nothing else was found.
    #[arg(long)]
    allow_unknown: bool,
    /// Ask no cluster; only --url is looked at.
    #[arg(long, requires = "url")]
    no_cluster: bool,

    /// Send requests to this route, which should need a session: one without a credential, and some with a forged header.
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// Connect there, whatever the host in --url.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "url")]
    address: Option<SocketAddr>,
    /// Trust the certificates in this file for --url, and no others.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// The file with an access token of a session that may enter; - for standard input.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// The route lets everybody in, by a rule with `access: Public`.
    #[arg(long, requires = "url")]
    public: bool,
    /// The service behind the route writes the headers of its request into the answer, as JSON or as text.
    #[arg(long, requires = "url")]
    echo: bool,
    /// The header of session JWTs (`jwt.header`), instead of what the controller's configuration says.
    #[arg(long, value_name = "NAME", requires = "url")]
    header: Option<String>,

    /// How to print
    #[arg(short, long, value_enum, default_value_t, env = "CLOAKROOM_DOCTOR_OUTPUT")]
    output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Runs the command. The exit status says what was found.
///
/// # Errors
/// When nothing could be looked at, which is exit status 2 as well.
pub async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let report = look(&args).await?;
    print(&mut io::stdout().lock(), &report, args.output).context("cannot print")?;
    Ok(match report.status() {
        UNKNOWN if args.allow_unknown => ExitCode::SUCCESS,
        status => status.into(),
    })
}

async fn look(args: &DoctorArgs) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut scene = None;
    if !args.no_cluster {
        let seen = cluster(args).await?;
        report.findings = doctor::judge(&seen);
        scene = Some(seen);
    }
    if let Some(url) = &args.url {
        let header = args.header.clone().or_else(|| scene.as_ref().map(Scene::jwt_header));
        let token = args.token_file.as_deref().map(read_secret).transpose()?;
        let route = Route {
            url: url.clone(),
            address: args.address,
            ca: args.ca.clone(),
            token,
            is_public: args.public,
            is_echo: args.echo,
            header: header.unwrap_or_else(|| "x-session-jwt".to_owned()).to_ascii_lowercase(),
        };
        report.findings.extend(probe::judge(&request::probe(&route).await?));
    }
    Ok(report)
}

async fn cluster(args: &DoctorArgs) -> anyhow::Result<Scene> {
    for (flag, name) in [
        ("--install-namespace", &args.install_namespace),
        ("--istio-namespace", &args.istio_namespace),
        ("--envoy-gateway-namespace", &args.envoy_gateway_namespace),
    ]
    .into_iter()
    .chain(args.namespace.iter().map(|name| ("--namespace", name)))
    {
        ensure!(crate::api::meta::is_label(name), "{flag}: `{name}` is not a namespace: 1 to 63 of a-z, 0-9 and -");
    }
    let access = match (&args.kubeconfig, &args.context) {
        (None, None) => Access::Inferred,
        (file, context) => Access::Kubeconfig { file: file.clone(), context: context.clone() },
    };
    let connection = Connection::to_look(access, &args.install_namespace).await?;
    let wanted = Wanted {
        install: args.install_namespace.clone(),
        namespaces: args.namespace.clone(),
        meshes: args.mesh.iter().copied().collect(),
        istio_root: args.istio_namespace.clone(),
        envoy_gateway_namespace: args.envoy_gateway_namespace.clone(),
        keys: args.keys.clone(),
    };
    asking::look(&connection, &wanted).await.with_context(|| {
        format!(
            "the API server at {} does not answer: is that the cluster (--context), and may you call it (kubectl version)?",
            connection.server()
        )
    })
}

fn print(out: &mut dyn Write, report: &Report, output: Output) -> io::Result<()> {
    let count = |level| report.count(level);
    let [ok, warnings, problems, unknown] = [Level::Ok, Level::Warning, Level::Problem, Level::Unknown].map(count);
    if output == Output::Json {
        let summary = json!({ "ok": ok, "warning": warnings, "problem": problems, "unknown": unknown });
        return output::json(out, &json!({ "findings": report.findings, "summary": summary }));
    }
    for finding in &report.findings {
        let (level, check) = (finding.level.label(), finding.check.label());
        writeln!(out, "{level:<8} {check:<24} {}", plain(&finding.about))?;
        writeln!(out, "         {}", plain(&finding.seen))?;
        if let Some(cure) = &finding.cure {
            writeln!(out, "         cure: {}", plain(cure))?;
        }
    }
    let plural = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    writeln!(out, "\n{}, {}, {ok} ok, {unknown} unknown", plural(problems, "problem"), plural(warnings, "warning"))
}
