//! A real API server of Kubernetes on an etcd of its own, without a node and without controllers.

mod client;
mod etcd;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

pub use self::etcd::Etcd;
use crate::port::Port;
use crate::process::{Process, Signal};
use crate::tls::Certificates;
use crate::tools;

/// A start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The user who may do all.
pub const ADMIN: &str = "admin";

/// How to run it. The default knows [`ADMIN`] and no other user.
#[derive(Clone, Debug, Default)]
pub struct ApiServerOptions {
    /// More users, each with its groups. They may do what RBAC grants them: at first, next to nothing.
    pub users: Vec<(String, Vec<String>)>,
    /// More arguments of kube-apiserver.
    pub arguments: Vec<String>,
}

impl ApiServerOptions {
    /// With one more user.
    #[must_use]
    pub fn user(mut self, name: &str, groups: &[&str]) -> Self {
        self.users.push((name.to_owned(), groups.iter().map(|&it| it.to_owned()).collect()));
        self
    }

    /// With one more argument of kube-apiserver.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

/// A running API server on a port of its own, with RBAC, and its etcd.
///
/// What controllers would do is left undone: a deleted namespace stays, a deleted owner leaves what it owned, the roles
/// `view`, `edit` and `admin` grant nothing, and service accounts are there when somebody makes them (pods need none: the
/// admission plugin `ServiceAccount` is off).
pub struct ApiServer {
    // The fields end in this order: an API server without etcd fills its log.
    process: Process,
    etcd: Etcd,
    port: Port,
    certificates: Certificates,
    options: ApiServerOptions,
    client: reqwest::Client,
    folder: tempfile::TempDir,
}

impl ApiServer {
    /// Starts etcd and the API server, and waits until it is ready.
    ///
    /// # Errors
    /// When one does not come up; the error has its output.
    pub async fn spawn(options: ApiServerOptions) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("kube-").tempdir()?;
        let certificates = Certificates::make(folder.path(), &["127.0.0.1", "localhost"])?;
        let accounts = rcgen::KeyPair::generate()?;
        std::fs::write(folder.path().join("accounts.key"), accounts.serialize_pem())?;
        std::fs::write(folder.path().join("accounts.pub"), accounts.public_key_pem())?;
        let admin = (ADMIN.to_owned(), vec!["system:masters".to_owned()]);
        let users: String = std::iter::once(&admin).chain(&options.users).map(line_of_user).collect();
        std::fs::write(folder.path().join("users.csv"), users)?;

        let etcd = Etcd::spawn(&folder.path().join("etcd")).await?;
        let port = Port::reserve()?;
        let process = start(folder.path(), port.address(), etcd.address(), &certificates, &options)?;
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&certificates.ca)?)?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build()?;
        let server = Self { process, etcd, port, certificates, options, client, folder };
        server.ready().await?;
        Ok(server)
    }

    /// `https://127.0.0.1:port`, now and after every restart.
    pub fn url(&self) -> String {
        format!("https://{}", self.port.address())
    }

    /// What clients must trust, PEM.
    pub fn ca(&self) -> &Path {
        &self.certificates.ca
    }

    /// The bearer token of [`ADMIN`].
    pub fn admin_token(&self) -> String {
        token_of(ADMIN)
    }

    /// The bearer token of a user.
    ///
    /// # Errors
    /// When the options name no such user.
    pub fn token(&self, user: &str) -> Result<String> {
        let known = user == ADMIN || self.options.users.iter().any(|(name, _)| name == user);
        known.then(|| token_of(user)).with_context(|| format!("no user {user}: name it in ApiServerOptions::users"))
    }

    /// A kubeconfig of a user, by whose token it calls.
    ///
    /// # Errors
    /// When the options name no such user.
    pub fn kubeconfig(&self, user: &str) -> Result<PathBuf> {
        self.kubeconfig_with(user, &self.token(user)?)
    }

    /// A kubeconfig of whoever has this token. The file is called after `name`, which no other caller may have.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig_with(&self, name: &str, token: &str) -> Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "e2e",
                "cluster": { "server": self.url(), "certificate-authority": self.ca() },
            }],
            "users": [{ "name": name, "user": { "token": token } }],
            "contexts": [{ "name": "e2e", "context": { "cluster": "e2e", "user": name } }],
            "current-context": "e2e",
        });
        let file = self.folder.path().join(format!("{name}.kubeconfig"));
        // JSON is YAML.
        std::fs::write(&file, format!("{config:#}"))?;
        Ok(file)
    }

    /// The process of the API server, to measure it or to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its etcd.
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// Stops the API server in its tracks (`SIGSTOP`): the kernel still accepts connections and bytes, and nothing
    /// answers. Returns when it has stopped.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn stop(&self) -> Result<()> {
        self.process.stop().await
    }

    /// Lets it go on (`SIGCONT`).
    pub fn cont(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Kills the API server, as in a crash. Connections to its port are refused from now on. etcd stays.
    ///
    /// # Errors
    /// When the kernel does not end it.
    pub fn kill(&self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Kills both, if they still run, starts them again on their ports and data, and waits until the API server is ready.
    /// It begins with a new cache: a watch from a version that was seen before may be answered 410.
    ///
    /// # Errors
    /// When one does not come up again.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.etcd.restart().await?;
        self.start_again().await
    }

    /// Forgets what was: a watch from any version that was seen before is answered 410. The API server, whose cache keeps
    /// the latest events whatever etcd forgets, is killed and started again.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn compact_history(&mut self) -> Result<()> {
        self.kill()?;
        self.etcd.compact().await?;
        self.start_again().await
    }

    async fn start_again(&mut self) -> Result<()> {
        let (port, etcd) = (self.port.address(), self.etcd.address());
        self.process = start(self.folder.path(), port, etcd, &self.certificates, &self.options)?;
        self.ready().await
    }

    async fn ready(&self) -> Result<()> {
        let ready = async || self.api(http::Method::GET, "/readyz", None).await.is_ok_and(|(status, _)| status == 200);
        self.process.wait_until(PATIENCE, "readiness", ready).await
    }
}

fn token_of(user: &str) -> String {
    format!("for-tests-only-{user}")
}

/// A line of `--token-auth-file`: token, name, uid and groups.
fn line_of_user((name, groups): &(String, Vec<String>)) -> String {
    format!("{},{name},{name},\"{}\"\n", token_of(name), groups.join(","))
}

fn start(
    folder: &Path,
    address: SocketAddr,
    etcd: SocketAddr,
    certificates: &Certificates,
    options: &ApiServerOptions,
) -> Result<Process> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers=http://{etcd}"),
        format!("--bind-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        // No pod calls it: nothing has to be told where it is, and loopback could not be told.
        format!("--advertise-address={}", address.ip()),
        "--endpoint-reconciler-type=none".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
        format!("--tls-cert-file={}", certificates.server.certificate.display()),
        format!("--tls-private-key-file={}", certificates.server.key.display()),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={}", file("users.csv")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        // It would refuse pods until a controller, which is not there, had made the account of their namespace.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--allow-privileged=true".to_owned(),
    ];
    arguments.extend_from_slice(&options.arguments);
    Process::spawn("kube-apiserver", &tools::kube_apiserver()?, arguments)
}

#[cfg(test)]
mod tests;
