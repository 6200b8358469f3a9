//! `cloakroom policy`: what the gate would say of policies, before it reads them.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{self, Output};
use super::written::WrittenArgs;

/// Check policies before they are used.
#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Compile policies as the gate does, those in files or those of a cluster, and say what is wrong with them. Status 0:
    /// every policy would be in force as written.
    #[command(after_help = "\
Examples:
  cloakroom policy check policies/
  cloakroom policy check --config cloakroom.yaml shop.yaml routes.yaml
  cloakroom policy check -o json policies/ | jq '.problems[].problem'
  cloakroom policy check --kubernetes --context dev -n shop

Objects that a policy refers to (HTTPRoute, Gateway, ReferenceGrant) must be among the files, or in the namespace.")]
    Check(Box<CheckArgs>),
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// Files, or folders whose `*.yaml` and `*.yml` are meant.
    #[arg(value_name = "FILE", required_unless_present = "kubernetes", conflicts_with = "kubernetes")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    written: WrittenArgs,

    /// How to print.
    #[arg(long, short, env = "CLOAKROOM_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

/// Runs the command.
///
/// # Errors
/// When a file does not read, or a policy would not be in force as it is written.
pub async fn run(args: PolicyArgs) -> anyhow::Result<()> {
    let PolicyCommand::Check(args) = args.command;
    let (index, problems) = args.written.compile(&args.files).await?;
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
