//! `cloakroom policy`: what the gate would say of policies, before it reads them.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{self, Output};
use crate::authz::attributes::own_headers::OwnHeaders;
use crate::authz::credential::{Carrier, Carriers};
use crate::authz::policy::{HostsFrom, Install, RealmRights, RouteIdentity};
use crate::authz::session::Realm;
use crate::config::Config;
use crate::folder;

/// Check policies before they are used.
#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Compile policy files as the gate does, and say what is wrong with them. Status 0: every policy would be in force as
    /// written.
    #[command(after_help = "\
Examples:
  cloakroom policy check policies/
  cloakroom policy check --config cloakroom.yaml shop.yaml routes.yaml
  cloakroom policy check -o json policies/ | jq '.problems[].problem'

Objects that a policy refers to (HTTPRoute, Gateway, ReferenceGrant) must be among the files.")]
    Check(CheckArgs),
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// Files, or folders whose `*.yaml` and `*.yml` are meant.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The gate's configuration, for its realms and who may do what in them, its carriers and its header name. Without it the
    /// defaults count, and `--realm`.
    #[arg(long, short, env = "CLOAKROOM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// A realm that policies may name, when there is no `--config`; may be given more than once.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    realm: Vec<String>,

    /// How to print.
    #[arg(long, short, env = "CLOAKROOM_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

/// Runs the command.
///
/// # Errors
/// When a file does not read, or a policy would not be in force as it is written.
pub fn run(args: PolicyArgs) -> anyhow::Result<()> {
    let PolicyCommand::Check(args) = args.command;
    let install = install(&args)?;
    let (index, problems) = folder::check(&args.files, &install)?;
    let wrong = problems.iter().filter(|problem| problem.kind.is_error()).count();
    let mut out = io::stdout().lock();
    match args.output {
        Output::Json => {
            let problems: Vec<_> = problems
                .iter()
                .map(|it| json!({ "origin": it.origin.0, "object": it.object, "field": it.path, "kind": it.kind.label(), "problem": it.words }))
                .collect();
            output::json(
                &mut out,
                &json!({ "policies": index.policies(), "rules": index.rules(), "problems": problems }),
            )?;
        }
        Output::Table => {
            for problem in &problems {
                writeln!(out, "{}", output::plain(&problem.to_string()))?;
            }
            writeln!(out, "{} policies with {} rules would be in force", index.policies(), index.rules())?;
        }
    }
    match wrong {
        0 => Ok(()),
        1 => bail!("1 problem"),
        more => bail!("{more} problems"),
    }
}

fn install(args: &CheckArgs) -> anyhow::Result<Install> {
    if let Some(path) = &args.config {
        return Ok(crate::app::install(&Config::load(path)?));
    }
    let realm = |name: &str| {
        Realm::parse(name)
            .ok_or_else(|| anyhow::anyhow!("--realm: `{name}` is not a realm's name: 1 to 63 of a-z, 0-9 and -"))
    };
    let carriers = vec![Carrier::Cookie("__Host-session".into()), Carrier::Bearer];
    Ok(Install {
        default_realm: realm("default")?,
        realms: args
            .realm
            .iter()
            .map(|name| Ok((realm(name)?, RealmRights::default())))
            .collect::<anyhow::Result<_>>()?,
        carriers: Carriers::new(carriers)?,
        own_headers: OwnHeaders::new("x-session-jwt"),
        hosts: HostsFrom::Everyone,
        gateways: None,
        pod: None,
        route_identity: RouteIdentity::default(),
    })
}
