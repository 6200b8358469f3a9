//! A real one-node cluster of Kubernetes, made of processes on this machine: no container engine, no virtual machine.
//!
//! The node lives in namespaces of the kernel of its own: processes, mounts and network. What ends its first process ends all
//! of it, and with it go its mounts, its network and its rules: nothing has to be put back. Outside there is a folder under
//! `target`, one network link, and groups of processes (cgroups), which [`down`] takes away also after a crash.

mod network;
mod node;
mod programs;
mod record;
mod settings;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub use self::node::run as run_node;
use self::programs::Programs;
use self::record::Record;
use crate::image::{self, Made};
use crate::tools;

/// A start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where containerd has the groups of containers, each by its number of 256 bits, in each hierarchy of cgroups.
const GROUP: &str = "k8s.io";

/// How long the cluster lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until [`down`].
    UntilDown,
    /// Until then, or until this process ends, whatever ends it.
    OurOwn,
}

/// A running cluster.
pub struct Cluster {
    folder: PathBuf,
    // Its end is the end of a cluster of our own.
    _held: Option<Child>,
}

/// Where it is kept.
fn folder() -> PathBuf {
    tools::workspace().join("target/cluster")
}

/// The cluster of this checkout, if it is up.
///
/// # Errors
/// When its record cannot be read.
pub fn running() -> Result<Option<Cluster>> {
    let folder = folder();
    let up = Record::read(&folder)?.is_some_and(|it| it.is_alive());
    Ok(up.then_some(Cluster { folder, _held: None }))
}

/// Starts it, and returns when its node is ready. `node` is the program and the arguments that call [`run_node`] with the
/// folder's path, which is added.
///
/// # Errors
/// When something is missing or does not come up; what was begun is then taken away.
pub async fn up(node: &[String], life: Life) -> Result<Cluster> {
    ensure!(rustix::process::geteuid().is_root(), "a node needs root: run this as root");
    ensure!(running()?.is_none(), "the cluster is up already: `cargo xtask cluster down` takes it away");
    // Not a network's name or a folder of others.
    if let Some(owner) = network::owner()? {
        ensure!(
            owner == folder(),
            "the cluster of {} is up, and there can be one: take it down there",
            owner.display()
        );
    }
    let programs = Programs::find()?;
    down()?;
    let pause = image::pause(settings::PAUSE)?.write(&tools::root()?.join("pause/image.tar"))?;
    let folder = folder();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    settings::write(&folder, &programs)?;
    let started = start(&folder, node, life).await.and_then(|it| it.load(&pause).map(|()| it));
    if started.is_err() {
        // The first error is the one that tells.
        down().ok();
    }
    started
}

async fn start(folder: &Path, node: &[String], life: Life) -> Result<Cluster> {
    fs::create_dir_all(folder.join("log"))?;
    let log = fs::File::create(folder.join("log/node.log"))?;
    // util-linux, an essential package of Debian. A session of its own: the end of a terminal is not its end.
    let mut command = Command::new("setsid");
    command.args(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.args(node).arg(folder).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn().context("cannot start setsid")?;
    // It waits for a word: a node that nobody has on record would be one that nobody can end.
    Record::of(child.id())?.write(folder)?;
    network::connect(folder, child.id()).await?;
    let mut words = child.stdin.take().context("the node has no input")?;
    writeln!(words, "{}", if life == Life::OurOwn { node::WHILE_HELD } else { node::ALONE })?;

    let deadline = Instant::now() + PATIENCE;
    let ready = folder.join(node::READY);
    while !ready.is_file() {
        if let Some(status) = child.try_wait()? {
            bail!("the node ended ({status}):\n{}", last_words(folder));
        }
        ensure!(Instant::now() < deadline, "the node is not ready after {PATIENCE:?}:\n{}", last_words(folder));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child.stdin = Some(words);
    Ok(Cluster { folder: folder.to_owned(), _held: (life == Life::OurOwn).then_some(child) })
}

/// The ends of all logs.
fn last_words(folder: &Path) -> String {
    let logs = fs::read_dir(folder.join("log")).into_iter().flatten().flatten();
    let mut told = String::new();
    for log in logs {
        let text = fs::read_to_string(log.path()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        told += &format!("---- {}\n{}\n", log.path().display(), lines[lines.len().saturating_sub(8)..].join("\n"));
    }
    told
}

/// What there is on this machine of the cluster of this checkout, in words for a person: nothing after [`down`].
///
/// # Errors
/// When that cannot be told.
pub fn remains() -> Result<Vec<String>> {
    let folder = folder();
    let name = folder.display().to_string();
    let mut found = Vec::new();
    if folder.exists() {
        found.push(format!("the folder {name}"));
    }
    if network::owner()?.is_some_and(|owner| owner == folder) {
        found.push("the network link".to_owned());
    }
    if fs::read_to_string("/proc/self/mounts")?.contains(&name) {
        found.push("mounts".to_owned());
    }
    for entry in fs::read_dir("/proc")?.flatten() {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if words.contains(&name) {
            found.push(format!("the process {}", words.trim()));
        }
    }
    Ok(found)
}

/// Takes the cluster of this checkout away, and everything that it, or what is left of one, holds of this machine. Says
/// whether there was anything.
///
/// # Errors
/// When something stays.
pub fn down() -> Result<bool> {
    let folder = folder();
    let mut found = false;
    if let Some(record) = Record::read(&folder)? {
        found |= record.end(Duration::from_secs(30))?;
    }
    if network::owner()?.is_some_and(|owner| owner == folder) {
        found = true;
        network::disconnect()?;
    }
    found |= end_groups(&folder)?;
    if folder.is_dir() {
        found = true;
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(found)
}

/// Removes the cgroups of containers of which containerd has not heard the end. Of them nothing runs any more.
fn end_groups(folder: &Path) -> Result<bool> {
    let tasks = folder.join("containerd-state/io.containerd.runtime.v2.task/k8s.io");
    let containers: Vec<_> = fs::read_dir(tasks).into_iter().flatten().flatten().map(|it| it.file_name()).collect();
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|it| it.path());
    for parent in std::iter::once(root.to_owned()).chain(hierarchies).map(|it| it.join(GROUP)) {
        for group in containers.iter().map(|id| parent.join(id)).filter(|it| it.is_dir()) {
            remove_group(&group)?;
        }
        // Another containerd may have groups here; with them it stays.
        fs::remove_dir(parent).ok();
    }
    Ok(!containers.is_empty())
}

fn remove_group(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_group(&path)?;
        }
    }
    // The kernel lets go of the processes of a namespace a moment after the first of it has ended.
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = fs::remove_dir(group) {
        if error.kind() == std::io::ErrorKind::NotFound {
            break;
        }
        if Instant::now() > deadline {
            return Err(error).with_context(|| format!("cannot remove {}", group.display()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

impl Cluster {
    /// The kubeconfig of its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join(settings::KUBECONFIG)
    }

    /// The folder with its logs.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Kills its containerd, as in a crash: with this part end all, and its containers, which nobody has told to end.
    ///
    /// # Errors
    /// When it does not run, or the node outlives it.
    pub fn crash(&self) -> Result<()> {
        let record = Record::read(&self.folder)?.context("no cluster is on record")?;
        record.kill_below("containerd")?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while record.is_alive() {
            ensure!(Instant::now() < deadline, "the node outlives its containerd");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Gives an image to the node. Pods name it by its reference, with `imagePullPolicy: Never` or `IfNotPresent`.
    ///
    /// # Errors
    /// When containerd does not take it.
    pub fn load(&self, image: &Made) -> Result<()> {
        let programs = Programs::read(&self.folder)?;
        let mut ctr = Command::new(programs.ctr());
        ctr.arg("--address").arg(settings::containerd_socket(&self.folder)).args(["--namespace", "k8s.io"]);
        ctr.args(["images", "import"]).arg(&image.archive).stdin(Stdio::null());
        let answer = ctr.output().context("cannot start ctr")?;
        let words = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
        ensure!(answer.status.success(), "containerd does not take {}: {}", image.archive.display(), words.trim());
        Ok(())
    }
}
