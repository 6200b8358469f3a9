//! The command line: one binary, subcommands that teach.

pub mod client;
pub mod crds;
pub mod doctor;
pub mod explain;
pub mod keys;
pub mod output;
pub mod policy;
pub mod session;
pub mod snippet;
mod written;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// The session layer at the proxy: the client holds an opaque token, services get the session as a signed JWT.
#[derive(Debug, Parser)]
#[command(name = "cloakroom", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate: answer Envoy's checks, serve JWKS, health and the session API.
    Serve(ServeArgs),
    /// Run the controller in Kubernetes: status of policies, signing keys of namespaces.
    Controller(ControllerArgs),
    /// Make, change, list and end sessions through a running gate's session API.
    Session(Box<session::SessionArgs>),
    /// Say which policy, rule, session and headers a request would get, from a running gate or from policies as they are
    /// written, and why.
    Explain(Box<explain::ExplainArgs>),
    /// Check policies before they are used.
    Policy(policy::PolicyArgs),
    /// Make and rotate the signing keys.
    Keys(keys::KeysArgs),
    /// Print the definitions that teach a Kubernetes API server our kinds.
    Crds(crds::CrdsArgs),
    /// Print what a mesh or a proxy needs to ask cloakroom: Istio, Envoy Gateway, the Gateway API, plain Envoy.
    Snippet(Box<snippet::SnippetArgs>),
    /// Look at an install, say what is wrong with it, and the cure of each thing.
    Doctor(Box<doctor::DoctorArgs>),
}

/// Run the gate.
#[derive(Args, Debug)]
#[command(after_help = "\
The first run, in an empty folder:
  cloakroom keys generate --dir keys --token-key token.key
  mkdir policies && $EDITOR policies/shop.yaml
  cloakroom serve --config cloakroom.yaml

SIGTERM and SIGINT drain: readiness falls, running checks finish, then the process ends with status 0.")]
pub struct ServeArgs {
    /// The configuration file. Relative paths in it are meant from its own folder.
    #[arg(long, short, env = "CLOAKROOM_CONFIG", value_name = "FILE", default_value = "cloakroom.yaml")]
    pub config: PathBuf,

    /// Write the addresses that were bound to this file, as JSON, once all are: for ports given as 0.
    #[arg(long, env = "CLOAKROOM_ADDRESSES", value_name = "FILE")]
    pub addresses: Option<PathBuf>,

    /// What to log, instead of the file's `telemetry.log`: a level, or a filter such as `info,cloakroom::sessions=debug`.
    #[arg(long, env = "CLOAKROOM_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// Threads that answer checks, instead of the file's `check.workers`.
    #[arg(long, env = "CLOAKROOM_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
}

impl From<ServeArgs> for crate::app::ServeOptions {
    fn from(args: ServeArgs) -> Self {
        Self { config: args.config, addresses: args.addresses, log: args.log, workers: args.workers }
    }
}

/// Run the controller: tell in the status of each policy what became of it, and keep each namespace's signing keys.
#[derive(Args, Debug)]
#[command(after_help = "\
It follows what `policies.kubernetes` in its configuration names, as the gates do. Of several controllers one writes, the holder of a Lease; all of them serve the key sets, at /ns/NAMESPACE/.well-known/jwks.json.

SIGTERM and SIGINT give the Lease back, so that another controller goes on at once.")]
pub struct ControllerArgs {
    /// The configuration file, which may be that of the gates. Relative paths in it are meant from its own folder.
    #[arg(long, short, env = "CLOAKROOM_CONFIG", value_name = "FILE", default_value = "cloakroom.yaml")]
    pub config: PathBuf,

    /// Write the addresses that were bound to this file, as JSON, once all are: for ports given as 0.
    #[arg(long, env = "CLOAKROOM_ADDRESSES", value_name = "FILE")]
    pub addresses: Option<PathBuf>,

    /// What to log, instead of the file's `telemetry.log`: a level, or a filter such as `info,cloakroom::k8s=debug`.
    #[arg(long, env = "CLOAKROOM_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

impl From<ControllerArgs> for crate::app::ControllerOptions {
    fn from(args: ControllerArgs) -> Self {
        Self { config: args.config, addresses: args.addresses, log: args.log }
    }
}

/// Runs the command. What goes wrong is said on standard error, with its causes, and ends in status 1.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Serve(args) => crate::app::serve(&args.into()),
        Command::Controller(args) => crate::app::controller(&args.into()),
        Command::Session(args) => on_a_runtime(session::run(*args)),
        Command::Explain(args) => on_a_runtime(explain::run(*args)),
        Command::Policy(args) => on_a_runtime(policy::run(args)),
        Command::Keys(args) => keys::run(args),
        Command::Crds(args) => crds::run(args),
        Command::Snippet(args) => snippet::run(*args),
        // It tells apart what it has found and that it could not look.
        Command::Doctor(args) => {
            return on_a_runtime(doctor::run(*args)).unwrap_or_else(|error| failed(&error, 2.into()));
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, ExitCode::FAILURE),
    }
}

fn failed(error: &anyhow::Error, status: ExitCode) -> ExitCode {
    // Nowhere is left to say that this failed.
    let _ = writeln!(std::io::stderr(), "cloakroom: {error:#}");
    status
}

fn on_a_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
