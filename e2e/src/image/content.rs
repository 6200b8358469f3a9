//! What goes into the images of others' programs: the program, and the libraries that it is linked to.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Image;
use crate::tools::{self, EnvoyVersion};

/// Where Debian, and most others, keep the certificates of the authorities that this machine trusts.
const CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The certificates of the authorities that this machine trusts, PEM.
///
/// # Errors
/// When it has none.
pub fn certificates() -> Result<Vec<u8>> {
    let file = CERTIFICATES.into_iter().find(|it| Path::new(it).is_file());
    let file =
        file.context("this machine has no CA certificates: install them (Debian: `apt-get install ca-certificates`)")?;
    std::fs::read(file).with_context(|| format!("cannot read {file}"))
}

/// Envoy, the newest.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn envoy(reference: &str) -> Result<Image> {
    let program = tools::envoy(EnvoyVersion::Newest)?;
    Image::new(reference).entry_point(&["/usr/bin/envoy"]).linked("/usr/bin/envoy", &program)
}

/// A Redis server, with a shell for what has to be done before it starts.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn redis(reference: &str) -> Result<Image> {
    let mut image = Image::new(reference).entry_point(&["/usr/bin/redis-server"]);
    image = image.linked("/usr/bin/redis-server", &tools::redis_server()?)?;
    for program in ["sh", "cat"] {
        let found = tools::on_path(program).with_context(|| format!("no program `{program}`"))?;
        image = image.linked(&format!("/usr/bin/{program}"), &found)?;
    }
    Ok(image)
}

/// What holds the namespaces of a pod.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn pause(reference: &str) -> Result<Image> {
    Ok(Image::new(reference).program("/pause", &tools::pause()?).entry_point(&["/pause"]))
}

/// Whether a program needs no library.
///
/// # Errors
/// When that cannot be told.
pub fn is_static(program: &Path) -> Result<bool> {
    Ok(libraries(program)?.is_empty())
}

impl Image {
    /// With a program and the libraries that it asks for, each where the program looks for it.
    ///
    /// # Errors
    /// When a library is missing on this machine.
    pub fn linked(self, path: &str, program: &Path) -> Result<Self> {
        let mut image = self.program(path, program);
        for library in libraries(program)? {
            image = image.program(&library.display().to_string(), &library);
        }
        Ok(image)
    }
}

/// As the dynamic linker finds them; none for a static program.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let answer = Command::new("ldd").arg(program).env("LC_ALL", "C").output().context("cannot start ldd")?;
    let told = String::from_utf8_lossy(&answer.stdout).into_owned();
    if told.is_empty() || told.contains("statically linked") {
        return Ok(Vec::new());
    }
    ensure!(answer.status.success() && !told.contains("not found"), "{}: {told}", program.display());
    // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the linker itself without an arrow.
    let path = |line: &str| {
        let found = line.split_once("=> ").map_or(line, |(_, found)| found).trim();
        Some(PathBuf::from(found.split(" (").next()?)).filter(|it| it.is_absolute())
    };
    Ok(told.lines().filter_map(path).collect())
}
