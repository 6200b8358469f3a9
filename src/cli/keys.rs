//! `cloakroom keys`: makes, replaces and lists the signing keys of a folder.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{self, Output, Table};
use crate::api::duration::HumanDuration;
use crate::authz::session::Timestamp;
use crate::sessions::clock::Clock;
use crate::sessions::keyring::algorithm::SigningAlgorithm;
use crate::sessions::keyring::ceremony::{self, CeremonyError, Handover, Listed};
use crate::sessions::keyring::folder::rfc3339;

/// Make, replace and list the keys that sign session JWTs.
#[derive(Debug, Args)]
#[command(after_help = "\
The folder holds one PKCS#8 file per key and keyring.yaml with each key's times: published, signing, retired.
A server that uses the folder takes changes up by itself; no restart is needed.")]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Generate(GenerateArgs),
    Rotate(RotateArgs),
    List(ListArgs),
}

/// Make the first signing key, which signs at once, and the token key. What is there already stays as it is.
#[derive(Debug, Args)]
struct GenerateArgs {
    #[command(flatten)]
    folder: Folder,
    /// The file for the key that tags access tokens; not made when it is there.
    #[arg(long, value_name = "FILE", env = "CLOAKROOM_TOKEN_KEY_FILE", default_value = "token.key")]
    token_key: PathBuf,
    /// ES256, EdDSA, RS256, PS256 or ES384. Set `jwt.algorithm` to the same.
    #[arg(long, value_name = "NAME", env = "CLOAKROOM_JWT_ALGORITHM", default_value_t)]
    algorithm: SigningAlgorithm,
}

/// Replace the signing key: the next one is published now and signs later; the present one stays published until the last
/// JWT that it signed has run out. Keys that are past this are deleted.
#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    folder: Folder,
    /// How long services can fetch the new key before it signs: at least 6m; 30m suits Istio, which fetches each 20m. Not
    /// looked at with `--now`.
    #[arg(long, value_name = "DURATION", env = "CLOAKROOM_KEYS_PUBLISH_FOR", default_value = "30m")]
    publish_for: HumanDuration,
    /// For a stolen key: the new key signs at once. Until services fetch the key set again (5m, with Istio 20m) they refuse
    /// its JWTs, and they accept those of the old key as long. A key that an earlier rotation published signs first.
    #[arg(long, env = "CLOAKROOM_KEYS_NOW")]
    now: bool,
    /// Change to another algorithm; the present key's unless given.
    #[arg(long, value_name = "NAME", env = "CLOAKROOM_JWT_ALGORITHM")]
    algorithm: Option<SigningAlgorithm>,
}

/// List the keys with what each does now.
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    folder: Folder,
    /// How to write the list.
    #[arg(short, long, value_enum, env = "CLOAKROOM_OUTPUT", default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
struct Folder {
    /// The folder of the keys (`jwt.keysDir` in the configuration).
    #[arg(long = "dir", short, value_name = "DIR", env = "CLOAKROOM_JWT_KEYS_DIR", default_value = "keys")]
    keys_dir: PathBuf,
}

/// Runs the command and writes what it did to standard output.
pub fn run(args: KeysArgs) -> anyhow::Result<()> {
    write(args, Clock::start().now(), &mut io::stdout().lock())
}

fn write(args: KeysArgs, now: Timestamp, out: &mut impl Write) -> anyhow::Result<()> {
    match args.command {
        KeysCommand::Generate(args) => generate(&args, now, out),
        KeysCommand::Rotate(args) => rotate(&args, now, out),
        KeysCommand::List(args) => list(&args, now, out),
    }
}

fn generate(args: &GenerateArgs, now: Timestamp, out: &mut impl Write) -> anyhow::Result<()> {
    let dir = &args.folder.keys_dir;
    let key = unless_there(ceremony::generate(dir, args.algorithm, now))?;
    let token_key = unless_there(ceremony::generate_token_key(&args.token_key))?;
    // Each half is made when it is missing; only when neither was is the command a mistake.
    if key.is_none() && token_key.is_none() {
        return Err(CeremonyError::Exists(dir.clone()).into());
    }
    match key {
        Some(key) => writeln!(out, "{}: made key {} ({}); it signs from now on", dir.display(), key.0, args.algorithm)?,
        None => writeln!(out, "{}: has keys already, left as it is", dir.display())?,
    }
    match token_key {
        Some(()) => writeln!(out, "{}: made the token key; to lose it ends every session", args.token_key.display())?,
        None => writeln!(out, "{}: there already, left as it is", args.token_key.display())?,
    }
    Ok(())
}

fn unless_there<T>(made: Result<T, CeremonyError>) -> Result<Option<T>, CeremonyError> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(CeremonyError::Exists(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn rotate(args: &RotateArgs, now: Timestamp, out: &mut impl Write) -> anyhow::Result<()> {
    let dir = &args.folder.keys_dir;
    let handover = if args.now { Handover::Now } else { Handover::After(args.publish_for.get()) };
    let done = ceremony::rotate(dir, args.algorithm, handover, now)?;
    let verb = if done.made { "made" } else { "took the waiting" };
    writeln!(out, "{}: {verb} key {} ({})", dir.display(), done.key.0, done.algorithm)?;
    writeln!(out, "it signs from        {}", rfc3339(done.signs))?;
    writeln!(out, "key {} is published until {}", done.previous.0, rfc3339(done.previous_gone))?;
    for key in &done.deleted {
        writeln!(out, "deleted key {}: its time was over", key.0)?;
    }
    if args.now {
        let cost = if done.made { "none of them knows the new key yet" } else { "some may not know the new key yet" };
        writeln!(
            out,
            "services that keep the key set for up to 5 minutes (Istio: 20) refuse requests until they fetch it again: {cost}"
        )?;
    }
    Ok(())
}

fn list(args: &ListArgs, now: Timestamp, out: &mut impl Write) -> anyhow::Result<()> {
    let keys = ceremony::list(&args.folder.keys_dir, now)?;
    let rows: Vec<Row<'_>> = keys.iter().map(Row::of).collect();
    match args.output {
        Output::Json => output::json(out, &rows)?,
        Output::Table => {
            let mut table = Table::new(["KID", "ALGORITHM", "STATE", "PUBLISHED", "SIGNING", "RETIRED"]);
            for row in &rows {
                let retired = row.retired.as_deref().unwrap_or("-");
                table.row([row.kid, row.algorithm.name(), row.state, &row.published, &row.signing, retired]);
            }
            write!(out, "{table}")?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Row<'a> {
    kid: &'a str,
    algorithm: SigningAlgorithm,
    state: &'static str,
    published: String,
    signing: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired: Option<String>,
}

impl<'a> Row<'a> {
    fn of(listed: &'a Listed) -> Self {
        Self {
            kid: &listed.key.0,
            algorithm: listed.algorithm,
            state: listed.state.name(),
            published: rfc3339(listed.times.published),
            signing: rfc3339(listed.times.signing),
            retired: listed.times.retired.map(rfc3339),
        }
    }
}

#[cfg(test)]
mod tests;
