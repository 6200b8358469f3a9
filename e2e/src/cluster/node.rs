//! The node from inside: the first process of its namespaces starts the parts, and ends with the first of them that does.

use std::fs;
use std::io::{BufRead as _, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::WaitOptions;

use super::network::{self, NODE, SERVICES};
use super::programs::Programs;
use super::settings::{self, API_PORT};

/// The file that says so.
pub(super) const READY: &str = "ready";
/// The first line of input: on its own.
pub(super) const ALONE: &str = "alone";
/// The first line of input: until the input ends.
pub(super) const WHILE_HELD: &str = "while held";

const PATIENCE: Duration = Duration::from_secs(180);
const ETCD: &str = "127.0.0.1:2379";
/// Where programs leave what is of this run only. The node has folders of its own there.
const ITS_OWN: [&str; 2] = ["/run", "/var/log"];

/// Is the node, in namespaces made for it, until one of its parts ends.
///
/// # Errors
/// Always in the end: says which part ended, or what could not be done.
pub fn run(folder: &Path) -> Result<()> {
    ensure!(std::process::id() == 1, "this is for the first process of a namespace: `cargo xtask cluster up`");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    match line.trim_end() {
        ALONE => {}
        WHILE_HELD => drop(std::thread::spawn(|| {
            std::io::stdin().lock().read_to_end(&mut Vec::new()).ok();
            std::process::exit(0)
        })),
        _ => bail!("nobody has this node on record"),
    }
    let programs = Programs::read(folder)?;
    for place in ITS_OWN {
        ensure!(!folder.starts_with(place), "a checkout in {place} cannot have a cluster");
        rustix::mount::mount("tmpfs", place, "tmpfs", rustix::mount::MountFlags::empty(), None)
            .with_context(|| format!("cannot mount over {place}"))?;
    }
    network::prepare_node()?;
    let node = Node { folder: folder.to_owned(), programs };
    let parts = node.start()?;
    fs::write(folder.join(READY), "")?;
    loop {
        // Also of processes whose parents are gone.
        let ended = rustix::process::wait(WaitOptions::empty())?;
        if let Some((pid, status)) = ended
            && let Some(part) = parts.iter().find(|part| i64::from(part.pid) == i64::from(pid.as_raw_nonzero().get()))
        {
            bail!("{} ended: {status:?}", part.name);
        }
    }
}

struct Node {
    folder: PathBuf,
    programs: Programs,
}

struct Part {
    name: &'static str,
    pid: u32,
}

impl Node {
    fn start(&self) -> Result<Vec<Part>> {
        let mut parts = vec![self.etcd()?, self.containerd()?];
        self.until("etcd", || listens(ETCD))?;
        parts.push(self.api_server()?);
        self.until("the API server", || self.kubectl(&["get", "--raw", "/readyz"]).is_ok())?;
        let objects = self.path("objects.json");
        self.until("the first objects", || self.kubectl(&["apply", "--filename", &objects]).is_ok())?;
        parts.push(self.part(
            "controller-manager",
            &self.programs.kube_controller_manager,
            &self.controller_manager(),
        )?);
        parts.push(self.part("scheduler", &self.programs.kube_scheduler, &self.scheduler())?);
        self.until("containerd", || settings::containerd_socket(&self.folder).exists())?;
        parts.push(self.part("kubelet", &self.programs.kubelet, &self.kubelet())?);
        parts.push(self.part(
            "proxy",
            &self.programs.kube_proxy,
            &[format!("--config={}", self.path("proxy.yaml"))],
        )?);
        parts.push(self.part("names", &self.programs.coredns, &["-conf".to_owned(), self.path("Corefile")])?);
        let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        self.until("the node", || {
            self.kubectl(&["get", "node", "node", "--output", ready]).is_ok_and(|it| it == "True")
        })?;
        // Pods are refused before it is there.
        self.until("the first account", || self.kubectl(&["get", "serviceaccount", "default"]).is_ok())?;
        self.until("the names", || listens("127.0.0.1:8181"))?;
        Ok(parts)
    }

    fn etcd(&self) -> Result<Part> {
        let url = format!("http://{ETCD}");
        let arguments = [
            format!("--data-dir={}", self.path("etcd")),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        ];
        self.part("etcd", &self.programs.etcd, &arguments)
    }

    fn containerd(&self) -> Result<Part> {
        let config = self.path("containerd.toml");
        self.part("containerd", &self.programs.containerd(), &["--config".to_owned(), config])
    }

    fn api_server(&self) -> Result<Part> {
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.path(name));
        let arguments = [
            format!("--etcd-servers=http://{ETCD}"),
            format!("--bind-address={NODE}"),
            format!("--advertise-address={NODE}"),
            format!("--secure-port={API_PORT}"),
            format!("--service-cluster-ip-range={SERVICES}"),
            file("tls-cert-file", "server.pem"),
            file("tls-private-key-file", "server.key"),
            file("kubelet-client-certificate", "client.pem"),
            file("kubelet-client-key", "client.key"),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            file("token-auth-file", "users.csv"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            file("service-account-key-file", "accounts.pub"),
            file("service-account-signing-key-file", "accounts.key"),
            "--allow-privileged=true".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
        ];
        self.part("apiserver", &self.programs.kube_apiserver, &arguments)
    }

    fn controller_manager(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.path("controller-manager")),
            format!("--root-ca-file={}", self.path("ca.pem")),
            format!("--service-account-private-key-file={}", self.path("accounts.key")),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ]
    }

    fn scheduler(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.path("scheduler")),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ]
    }

    fn kubelet(&self) -> Vec<String> {
        vec![
            format!("--config={}", self.path("kubelet.yaml")),
            format!("--kubeconfig={}", self.path("kubelet")),
            format!("--root-dir={}", self.path("kubelet-data")),
            format!("--cert-dir={}", self.path("kubelet-certificates")),
            format!("--node-ip={NODE}"),
            "--hostname-override=node".to_owned(),
        ]
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn part(&self, name: &'static str, program: &Path, arguments: &[String]) -> Result<Part> {
        let log = fs::File::create(self.folder.join(format!("log/{name}.log")))?;
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", self.programs.path()?).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        // Nobody waits for this child but `run`, for any.
        Ok(Part { name, pid: child.id() })
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = Command::new(&self.programs.kubectl);
        kubectl.arg("--kubeconfig").arg(self.folder.join(settings::KUBECONFIG));
        kubectl.arg("--cache-dir").arg(self.folder.join("kubectl-cache"));
        let answer = kubectl.args(arguments).stdin(Stdio::null()).output().context("cannot start kubectl")?;
        ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr).trim());
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    fn until(&self, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            ensure!(
                Instant::now() < deadline,
                "{what}: not ready after {PATIENCE:?}; its log is in {}",
                self.path("log")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

fn listens(address: &str) -> bool {
    let address: Option<SocketAddr> = address.parse().ok();
    address.is_some_and(|it| TcpStream::connect_timeout(&it, Duration::from_secs(1)).is_ok())
}
