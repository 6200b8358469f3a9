//! `cargo xtask image`: the image of cloakroom as an archive.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use e2e::image::{self, Image, Made};
use e2e::tools;

use crate::{cargo, terminal};

/// Where the image has the program, and what its containers start.
const PROGRAM: &str = "/usr/bin/cloakroom";
/// Where the program looks for the authorities that it trusts.
pub(crate) const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Args)]
pub(crate) struct Options {
    /// The profile of cargo.
    #[arg(long, default_value = "release")]
    profile: String,
    /// An ordinary `cargo build` with the libraries that it is linked to: quick, to try something.
    #[arg(long, conflicts_with = "profile")]
    debug: bool,
    /// The name and the tag of the image.
    #[arg(long, default_value = REFERENCE)]
    reference: String,
    /// Where the archive goes.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// The image's usual name.
pub(crate) const REFERENCE: &str = concat!("cloakroom:", env!("CARGO_PKG_VERSION"));

/// How its program is built.
pub(crate) enum Build<'a> {
    /// Static, with this profile of cargo.
    Static(&'a str),
    /// As tests do.
    Ordinary,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let build = if options.debug { Build::Ordinary } else { Build::Static(&options.profile) };
    let made = make(&build, &options.reference, options.output.as_deref())?;
    terminal::line(&format!("image:   {}", made.reference));
    terminal::line(&format!("archive: {}", made.archive.display()));
    terminal::line(&format!("size:    {:.1} MB", to_megabytes(made.size)));
    terminal::line(&format!("digest:  {}", made.digest));
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::cast_precision_loss, reason = "for a person")]
fn to_megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Builds cloakroom and makes its image.
pub(crate) fn make(build: &Build, reference: &str, output: Option<&Path>) -> Result<Made> {
    let program = match build {
        Build::Static(profile) => build_static(profile)?,
        Build::Ordinary => cargo::build_cloakroom()?,
    };
    let (_, tag) = reference.rsplit_once(':').context("the reference has no tag, as in `cloakroom:1.0`")?;
    let image = Image::new(reference);
    let image = if matches!(build, Build::Ordinary) { image.uncompressed() } else { image };
    let image = image
        .linked(PROGRAM, &program)?
        .file(CERTIFICATES, image::certificates()?)
        .entry_point(&[PROGRAM])
        .label("org.opencontainers.image.title", "cloakroom")
        .label("org.opencontainers.image.description", "Swaps opaque tokens for signed session JWTs at the proxy.")
        .label("org.opencontainers.image.version", env!("CARGO_PKG_VERSION"))
        .label("org.opencontainers.image.licenses", "Apache-2.0");
    let usual = tools::workspace().join(format!("target/image/cloakroom-{tag}.tar"));
    image.write(output.unwrap_or(&usual))
}

/// Builds a program that needs no library: the image has none.
fn build_static(profile: &str) -> Result<PathBuf> {
    let host = host()?;
    if host.ends_with("-gnu") {
        let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().context("cannot start getconf")?;
        let version = String::from_utf8_lossy(&told.stdout).trim().replace("glibc ", "");
        // Older ones look names up by libraries that they load, which the image does not have.
        let new_enough = numbers(&version) >= numbers("2.34");
        ensure!(new_enough, "glibc {version} is too old for a static program: 2.34 or newer is needed");
    }
    let mut command = cargo::cargo();
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    command.args(["build", "--package", "cloakroom", "--bin", "cloakroom", "--profile", profile, "--target", &host]);
    // Other flags would else build everything anew, here and with the next plain `cargo build`.
    command.arg("--target-dir").arg(tools::workspace().join("target/static"));
    let made = cargo::run(command)?;
    let path = made.into_iter().find(|it| it.name == "cloakroom").context("cargo made no such program")?.path;
    ensure!(image::is_static(&path)?, "{} is not static", path.display());
    Ok(path)
}

fn host() -> Result<String> {
    let told = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|it| it.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_makes_the_same_layout() {
        let text = std::fs::read_to_string(tools::workspace().join("Dockerfile")).expect("a Dockerfile");
        let (_, last) = text.rsplit_once("\nFROM ").expect("stages");
        for line in [
            "scratch".to_owned(),
            format!("USER {}", image::NOBODY),
            format!("ENTRYPOINT [\"{PROGRAM}\"]"),
            format!("COPY --from=build /cloakroom {PROGRAM}"),
            format!("COPY --from=build {CERTIFICATES} {CERTIFICATES}"),
        ] {
            assert!(last.lines().any(|it| it == line), "no line {line:?}");
        }
        let manifest = std::fs::read_to_string(tools::workspace().join("Cargo.toml")).expect("a Cargo.toml");
        let (_, version) = manifest.split_once("rust-version = \"").expect("a version of Rust");
        let version = version.split('"').next().expect("a quoted version");
        assert!(text.contains(&format!("FROM rust:{version}-")), "not Rust {version}");
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(numbers("2.36") >= numbers("2.34"));
        assert!(numbers("2.9") < numbers("2.34"));
    }
}
