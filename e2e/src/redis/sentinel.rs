//! A master with two replicas, and three sentinels that put another in its place when it is gone.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::try_join;

use super::resp::Reply;
use super::{PASSWORD, Redis, RedisOptions, Role, USER, found};

/// What the sentinels call the master.
const MASTER: &str = "cloakroom";
/// How many sentinels must agree that it is gone.
const QUORUM: usize = 2;

/// How to run them.
#[derive(Clone, Debug, Default)]
pub struct SentinelOptions {
    /// How to run each of the servers. What clients connect by goes for the sentinels too, and nothing else.
    pub servers: RedisOptions,
    /// What clients must say to the sentinels (`requirepass`).
    pub password: Option<String>,
}

/// They take a master for gone after a second of silence, and need one to four more to elect another.
pub struct Sentinels {
    servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl Sentinels {
    /// Starts them and waits until the replicas have caught up and every sentinel knows all the others. The first server is
    /// the master.
    ///
    /// # Errors
    /// When they do not come up.
    pub async fn spawn(options: SentinelOptions) -> Result<Self> {
        let master = Redis::spawn(options.servers.clone()).await?;
        let (ip, port) = (master.address().ip(), master.address().port());
        let replica = options.servers.clone().line(format!("replicaof {ip} {port}"));
        let (one, two) = try_join!(Redis::spawn(replica.clone()), Redis::spawn(replica))?;
        try_join!(one.follows(), two.follows())?;

        let lines = [
            format!("monitor {MASTER} {ip} {port} {QUORUM}"),
            format!("auth-user {MASTER} {USER}"),
            format!("auth-pass {MASTER} {PASSWORD}"),
            // With half of this, a busy machine has a new master taken for gone before its first answer is there.
            format!("down-after-milliseconds {MASTER} 1000"),
            // A vote that nobody won is held again after twice this.
            format!("failover-timeout {MASTER} 2000"),
            format!("parallel-syncs {MASTER} 2"),
        ];
        let lines = lines.map(|line| format!("sentinel {line}")).into();
        let transport = options.servers.transport;
        let sentinel = RedisOptions { transport, password: options.password, lines, ..RedisOptions::default() };
        let begin = || Redis::begin(Role::Sentinel, sentinel.clone());
        let sentinels = try_join!(begin(), begin(), begin())?;
        let made = Self { servers: vec![master, one, two], sentinels: <[_; 3]>::from(sentinels).into() };
        found("sentinel that knows all the others", async || made.acquainted().await).await?;
        Ok(made)
    }

    async fn acquainted(&self) -> Result<Option<()>> {
        for sentinel in &self.sentinels {
            let known = sentinel.command(&["SENTINEL", "MASTER", MASTER]).await?;
            let known = |name: &str| value(&known, name);
            if known("num-slaves") != "2" || known("num-other-sentinels") != "2" {
                return Ok(None);
            }
            // Only a replica whose own report has come can be elected.
            let replicas = sentinel.command(&["SENTINEL", "REPLICAS", MASTER]).await?;
            if !replicas
                .list()
                .iter()
                .all(|it| value(it, "flags") == "slave" && value(it, "master-link-status") == "ok")
            {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// What the sentinels call the master.
    pub fn master_name(&self) -> &'static str {
        MASTER
    }

    /// Where the sentinels listen.
    pub fn sentinel_addresses(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(Redis::address).collect()
    }

    /// The sentinels, to stop them or to ask them.
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// The sentinels, to start them again.
    pub fn sentinels_mut(&mut self) -> &mut [Redis] {
        &mut self.sentinels
    }

    /// The servers: master and replicas.
    pub fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// The servers, to start them again. One that was the master becomes a replica when a sentinel tells it to.
    pub fn servers_mut(&mut self) -> &mut [Redis] {
        &mut self.servers
    }

    /// Which server is the master, as all sentinels that run say and it says itself; `None` while they differ.
    ///
    /// # Errors
    /// When no sentinel runs, or one does not answer.
    pub async fn master(&self) -> Result<Option<usize>> {
        let mut named = None;
        for sentinel in self.sentinels.iter().filter(|it| it.is_up()) {
            let said = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).await?;
            let [_, port] = said.list() else {
                return Ok(None);
            };
            if named.get_or_insert_with(|| port.text()) != &port.text() {
                return Ok(None);
            }
        }
        let named = named.context("no sentinel runs")?;
        let index = self.servers.iter().position(|it| it.address().port().to_string() == named);
        let index = index.with_context(|| format!("no server of ours listens on {named}"))?;
        let server = &self.servers[index];
        let agrees = !server.is_up() || server.info("role").await? == "master";
        Ok(agrees.then_some(index))
    }

    /// Kills the master, and says which it was.
    ///
    /// # Errors
    /// When the sentinels do not agree on one.
    pub async fn kill_master(&self) -> Result<usize> {
        let master = self.settled_master().await?;
        self.servers[master].kill()?;
        Ok(master)
    }

    /// Stops the master in its tracks, and says which it was.
    ///
    /// # Errors
    /// When the sentinels do not agree on one.
    pub async fn stop_master(&self) -> Result<usize> {
        let master = self.settled_master().await?;
        self.servers[master].stop().await?;
        Ok(master)
    }

    /// Waits until another server than `old` is the master, as all sentinels that run say and it says itself.
    ///
    /// # Errors
    /// When none is elected in time.
    pub async fn master_after(&self, old: usize) -> Result<usize> {
        found("new master", async || Ok(self.master().await?.filter(|it| *it != old))).await
    }

    async fn settled_master(&self) -> Result<usize> {
        found("master that all sentinels name", async || self.master().await).await
    }
}

/// A value of a list of names and values in turn.
fn value(list: &Reply, name: &str) -> String {
    let pair = list.list().chunks(2).find(|pair| pair[0].text() == name);
    pair.and_then(|pair| pair.get(1)).map(Reply::text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Transport;
    use crate::redis::resp::Connection;
    use crate::tls::Certificates;

    #[tokio::test]
    async fn a_killed_master_is_replaced_and_comes_back_as_a_replica() -> Result<()> {
        let password = Some("s e\"cret".to_owned());
        let mut sentinels = Sentinels::spawn(SentinelOptions { password, ..SentinelOptions::default() }).await?;
        assert_eq!(sentinels.master().await?, Some(0));
        let mut open = Connection::open(sentinels.sentinel_addresses()[0]).await?;
        assert!(open.call(&["PING"]).await?.text().starts_with("NOAUTH"));
        open.call(&["AUTH", "s e\"cret"]).await?.ok()?;

        let mut master = sentinels.servers()[0].connect().await?;
        master.call(&["SET", "coat", "red"]).await?.ok()?;
        // On its connection, WAIT speaks of the write before.
        assert_eq!(master.call(&["WAIT", "2", "20000"]).await?, Reply::Number(2));
        let old = sentinels.kill_master().await?;
        let new = sentinels.master_after(old).await?;
        assert_eq!(sentinels.servers()[new].command(&["GET", "coat"]).await?.text(), "red");

        // From the files that the sentinels wrote into.
        sentinels.sentinels_mut()[1].restart().await?;
        assert_eq!(sentinels.master_after(old).await?, new);
        sentinels.servers_mut()[old].restart().await?;
        let back = &sentinels.servers()[old];
        found("old master that follows", async || Ok((back.info("role").await? == "slave").then_some(()))).await?;
        Ok(())
    }

    #[tokio::test]
    async fn a_stopped_master_is_replaced_behind_passwords_and_mutual_tls() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let transport = Transport::MutualTls(Certificates::make(folder.path(), &["127.0.0.1"])?);
        let password = Some("secret".to_owned());
        let servers = RedisOptions { transport, password: password.clone(), ..RedisOptions::default() };
        let sentinels = Sentinels::spawn(SentinelOptions { servers, password }).await?;
        let old = sentinels.stop_master().await?;
        let new = sentinels.master_after(old).await?;
        assert!(new != old);
        let mut sentinel = sentinels.sentinels()[0].connect_through(sentinels.sentinel_addresses()[0]).await?;
        sentinel.call(&["AUTH", "secret"]).await?.ok()?;
        let named = sentinel.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinels.master_name()]).await?;
        assert_eq!(named.list()[1].text(), sentinels.servers()[new].address().port().to_string());
        Ok(())
    }
}
