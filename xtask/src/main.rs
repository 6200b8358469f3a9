//! The project's own commands. Each installs what it needs, shows what it does, and works on a fresh clone.

mod bench;
mod cargo;
mod chart;
mod ci;
mod cluster;
mod demo;
mod fuzz;
mod image;
mod in_cluster;
mod story;
mod suites;
mod terminal;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version, about, subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Envoy, cloakroom and two services: tells the story of a session, then stays up for you to try.
    Demo(demo::Options),
    /// Runs the tests; without a name, all of them.
    Test(suites::Options),
    /// Everything a change must pass: format, lints, docs, dependencies, the demo, the tests.
    Ci(ci::Options),
    /// Measures, and prints ratios taken in one run.
    Bench(bench::Options),
    /// Feeds the parsers what nobody thought of, for a while each.
    Fuzz(fuzz::Options),
    /// Makes the image of cloakroom, as an archive, without an engine and without a registry.
    Image(image::Options),
    /// A real one-node cluster of Kubernetes, made of processes on this machine. Needs root.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// cloakroom in a cluster, from `helm install` to `helm uninstall`, each step checked.
    E2e(in_cluster::Options),
    /// Writes what of the Helm chart is made from elsewhere: the definitions of our kinds, and the table of its values.
    Chart(chart::Options),
    /// Finds or installs the tools that tests and the demo need, under target/tools.
    Tools {
        /// Those of `test mesh`, too. Building them takes half an hour, once.
        #[arg(long)]
        mesh: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            terminal::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => suites::run(&options),
        Command::Ci(options) => ci::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Image(options) => image::run(&options),
        Command::Cluster(command) => cluster::run(&command),
        Command::E2e(options) => in_cluster::run(&options),
        Command::Chart(options) => chart::run(&options),
        Command::Tools { mesh } => tools(mesh),
    }
}

fn tools(mesh: bool) -> Result<ExitCode> {
    use e2e::tools::{
        EnvoyVersion, chromium, envoy, etcd, gateway_api_crds, helm, helm3, jose, kube_apiserver, kubectl, node,
        oidc_provider, redis_server,
    };
    for version in EnvoyVersion::ALL {
        terminal::line(&format!("Envoy {}: {}", version.number(), envoy(version)?.display()));
    }
    terminal::line(&format!("Chromium: {}", chromium()?.display()));
    terminal::line(&format!("Node.js: {}", node()?.display()));
    terminal::line(&format!("jose: {}", jose()?.display()));
    terminal::line(&format!("oidc-provider: {}", oidc_provider()?.display()));
    terminal::line(&format!("Redis: {}", redis_server()?.display()));
    terminal::line(&format!("etcd: {}", etcd()?.display()));
    terminal::line(&format!("kubectl: {}", kubectl()?.display()));
    terminal::line(&format!("Helm 4: {}", helm()?.display()));
    terminal::line(&format!("Helm 3: {}", helm3()?.display()));
    terminal::line(&format!("Gateway API: {}", gateway_api_crds()?.display()));
    // Last: it takes longest.
    terminal::line(&format!("kube-apiserver: {}", kube_apiserver()?.display()));
    if mesh {
        control_planes()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What `test mesh` needs besides: Istio and Envoy Gateway.
fn control_planes() -> Result<()> {
    use e2e::tools::{egctl, envoy_gateway, envoy_gateway_crds, istio_crds, pilot_discovery};
    terminal::line(&format!("egctl: {}", egctl()?.display()));
    terminal::line(&format!("envoy-gateway: {}", envoy_gateway()?.display()));
    terminal::line(&format!("Envoy Gateway's kinds: {}", envoy_gateway_crds()?.display()));
    terminal::line(&format!("pilot-discovery: {}", pilot_discovery()?.display()));
    terminal::line(&format!("Istio's kinds: {}", istio_crds()?.display()));
    Ok(())
}
