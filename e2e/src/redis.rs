//! Real Redis: one server, alone or as a part of [`sentinel`] and [`cluster`], and a [`proxy`] that stands in its way.

pub mod cluster;
pub mod proxy;
pub mod resp;
pub mod sentinel;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::net::TcpStream;

use self::resp::{Connection, Reply};
use crate::port::Port;
use crate::process::{Process, Signal};
use crate::tls::Certificates;
use crate::tools;

/// A start, or a change that others must notice, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The user of this fixture on every server, whatever else its options say of users.
const USER: &str = "e2e";
const PASSWORD: &str = "for-tests-only";

/// What clients connect by. The certificates are for `127.0.0.1`.
#[derive(Clone, Debug, Default)]
pub enum Transport {
    /// TCP.
    #[default]
    Plain,
    /// TLS; clients need no certificate.
    Tls(Certificates),
    /// TLS; clients must show a certificate that the same CA signed.
    MutualTls(Certificates),
}

/// What a crash leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing.
    #[default]
    None,
    /// Every write that was answered (`appendfsync always`).
    EveryWrite,
}

/// How to run a server. The default is plain, open and forgetful.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// What clients connect by.
    pub transport: Transport,
    /// What the user `default` must say (`requirepass`).
    pub password: Option<String>,
    /// More users, as in an ACL file after the word `user`: `ada on >secret ~* &* +@all`.
    pub users: Vec<String>,
    /// What a crash leaves.
    pub persistence: Persistence,
    /// More lines of the configuration file.
    pub lines: Vec<String>,
}

impl RedisOptions {
    /// With one more line of the configuration file.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
}

/// What the one program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Sentinel,
}

/// A running server on a port of its own, in a folder of its own.
pub struct Redis {
    process: Process,
    role: Role,
    transport: Transport,
    port: Port,
    folder: tempfile::TempDir,
}

impl Redis {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up; the error has its output.
    pub async fn spawn(options: RedisOptions) -> Result<Self> {
        Self::begin(Role::Server, options).await
    }

    async fn begin(role: Role, options: RedisOptions) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("redis-").tempdir()?;
        let port = Port::reserve()?;
        // Written once: sentinels and failovers write into it, and a restart finds that.
        std::fs::write(folder.path().join("redis.conf"), config(role, &options, folder.path(), port.address())?)?;
        let process = start(role, folder.path())?;
        let redis = Self { process, role, transport: options.transport, port, folder };
        redis.answers().await?;
        Ok(redis)
    }

    /// Where it listens, now and after every restart.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its first database, without a user or a password: `redis://127.0.0.1:port/0`, or `rediss://…` for TLS.
    pub fn url(&self) -> String {
        let scheme = if matches!(self.transport, Transport::Plain) { "redis" } else { "rediss" };
        format!("{scheme}://{}/0", self.address())
    }

    /// The process, to measure it or to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its folder: `redis.conf` and what it wrote.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command as a user who may do all.
    ///
    /// # Errors
    /// When it is not answered, or with an error reply.
    pub async fn command(&self, words: &[&str]) -> Result<Reply> {
        self.ask(words).await
    }

    /// [`Redis::command`] with words of any bytes.
    async fn ask<W: AsRef<[u8]>>(&self, words: &[W]) -> Result<Reply> {
        let reply = self.connect().await?.call(words).await.and_then(Reply::ok);
        reply.with_context(|| {
            let words: Vec<_> = words.iter().map(|it| String::from_utf8_lossy(it.as_ref())).collect();
            format!("{} on {}", words.join(" "), self.address())
        })
    }

    /// A connection of a user who may do all.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn connect(&self) -> Result<Connection> {
        let mut connection = self.connect_through(self.address()).await?;
        connection.call(&["AUTH", USER, PASSWORD]).await?.ok()?;
        Ok(connection)
    }

    /// A connection that has said nothing yet, by way of `address`: this server's own, or that of a proxy before it.
    ///
    /// # Errors
    /// When nobody listens there, or the certificates do not fit.
    pub async fn connect_through(&self, address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("nobody listens on {address}"))?;
        Ok(match &self.transport {
            Transport::Plain => Connection::over(stream),
            Transport::Tls(certificates) => Connection::over(certificates.over(stream, "127.0.0.1", false).await?),
            Transport::MutualTls(certificates) => Connection::over(certificates.over(stream, "127.0.0.1", true).await?),
        })
    }

    /// A field of `INFO`, from any of its sections; empty when there is none.
    ///
    /// # Errors
    /// See [`Redis::command`].
    pub async fn info(&self, field: &str) -> Result<String> {
        let info = self.command(&["INFO", "everything"]).await?.text();
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        Ok(fields.find(|(name, _)| *name == field).map(|(_, value)| value.trim().to_owned()).unwrap_or_default())
    }

    /// Stops it in its tracks (`SIGSTOP`): the kernel still accepts connections and bytes, and nothing answers. Returns
    /// when it has stopped.
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

    /// Kills it, as in a crash. Connections to its port are refused from now on.
    ///
    /// # Errors
    /// When the kernel does not end it.
    pub fn kill(&self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Starts it again on its port and its folder, killed before if it still runs, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.process = start(self.role, self.folder.path())?;
        self.answers().await
    }

    /// Whether it runs: neither ended nor stopped.
    pub fn is_up(&self) -> bool {
        self.process.ended().is_none() && !self.process.is_stopped()
    }

    async fn answers(&self) -> Result<()> {
        let answers = async || self.command(&["PING"]).await.is_ok_and(|reply| reply.text() == "PONG");
        self.process.wait_until(PATIENCE, "answer to PING", answers).await
    }

    /// Waits until this replica has caught up with its master.
    async fn follows(&self) -> Result<()> {
        let up = async || self.info("master_link_status").await.is_ok_and(|it| it == "up");
        self.process.wait_until(PATIENCE, "link to the master", up).await
    }
}

fn start(role: Role, folder: &Path) -> Result<Process> {
    let mut arguments = vec![folder.join("redis.conf").into_os_string()];
    let name = match role {
        Role::Server => "redis",
        Role::Sentinel => {
            arguments.push("--sentinel".into());
            "sentinel"
        }
    };
    Process::spawn(name, &tools::redis_server()?, arguments)
}

fn config(role: Role, options: &RedisOptions, folder: &Path, address: SocketAddr) -> Result<String> {
    let mut text = format!("bind {}\ndir {}\n", address.ip(), quoted(&folder.display().to_string())?);
    let tls = |certificates: &Certificates, clients: &str| {
        let Certificates { ca, server, client, .. } = certificates;
        let mut text = format!("port 0\ntls-port {}\n", address.port());
        writeln!(text, "tls-auth-clients {clients}\ntls-replication yes\ntls-ca-cert-file {}", ca.display())?;
        writeln!(text, "tls-cert-file {}\ntls-key-file {}", server.certificate.display(), server.key.display())?;
        // As a client of other servers.
        writeln!(text, "tls-client-cert-file {}", client.certificate.display())?;
        writeln!(text, "tls-client-key-file {}", client.key.display())?;
        anyhow::Ok(text)
    };
    match &options.transport {
        Transport::Plain => writeln!(text, "port {}", address.port())?,
        Transport::Tls(certificates) => text += &tls(certificates, "no")?,
        Transport::MutualTls(certificates) => text += &tls(certificates, "yes")?,
    }
    writeln!(text, "user {USER} on >{PASSWORD} ~* &* +@all")?;
    for user in &options.users {
        writeln!(text, "user {user}")?;
    }
    if let Some(password) = &options.password {
        writeln!(text, "requirepass {}", quoted(password)?)?;
    }
    if role == Role::Server {
        // Nothing is saved at a distance, and replicas get their data at once instead of after five seconds.
        text += "save \"\"\nappendfsync always\nrepl-diskless-sync-delay 0\n";
        text += match options.persistence {
            Persistence::None => "appendonly no\n",
            Persistence::EveryWrite => "appendonly yes\n",
        };
        writeln!(text, "masteruser {USER}\nmasterauth {PASSWORD}")?;
        if !matches!(options.transport, Transport::Plain) {
            text += "tls-cluster yes\n";
        }
    }
    for line in &options.lines {
        ensure!(!line.contains('\n'), "{line:?} is more than one line");
        writeln!(text, "{line}")?;
    }
    Ok(text)
}

/// As an argument in a configuration file.
fn quoted(text: &str) -> Result<String> {
    ensure!(!text.contains(['\n', '\r']), "no line end can stand in a configuration file of Redis");
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Waits for what `find` finds.
async fn found<T, F: Future<Output = Result<Option<T>>>>(what: &str, mut find: impl FnMut() -> F) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match find().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) | Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(10)).await,
            Ok(None) => bail!("no {what} within {PATIENCE:?}"),
            Err(error) => return Err(error.context(format!("no {what} within {PATIENCE:?}"))),
        }
    }
}

#[cfg(test)]
mod tests;
