//! Redis Cluster: three masters with a replica each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail, ensure};

use super::resp::Reply;
use super::{PASSWORD, Redis, RedisOptions, USER, found};
use crate::port::Port;

/// How many slots a cluster has.
pub const SLOTS: u16 = 16384;
const MASTERS: usize = 3;
/// Milliseconds of silence after which a node is taken for gone, and the most that an election waits for votes.
const NODE_TIMEOUT: u32 = 1000;
/// How many keys one MIGRATE moves.
const KEYS_AT_ONCE: &str = "100";

/// Six nodes: the first three begin as masters, each of the others as the replica of the one three before it.
pub struct RedisCluster {
    nodes: Vec<Redis>,
    /// Where the nodes talk to each other.
    buses: Vec<Port>,
}

/// A slot on its way from one master to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The slot.
    pub slot: u16,
    /// The node that has it.
    pub from: usize,
    /// The node that gets it.
    pub to: usize,
}

impl RedisCluster {
    /// Starts the nodes, makes a cluster of them, and waits until all agree and the replicas have caught up.
    ///
    /// # Errors
    /// When they do not come up.
    pub async fn spawn(options: RedisOptions) -> Result<Self> {
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for _ in 0..2 * MASTERS {
            let bus = Port::reserve()?;
            let options = options.clone().line("cluster-enabled yes").line("cluster-config-file nodes.conf");
            let options = options.line(format!("cluster-port {}", bus.address().port()));
            let options = options.line(format!("cluster-node-timeout {NODE_TIMEOUT}"));
            // No replica goes to another master by itself: tests know where they are.
            nodes.push(Redis::spawn(options.line("cluster-allow-replica-migration no")).await?);
            buses.push(bus);
        }
        let cluster = Self { nodes, buses };
        cluster.form().await?;
        Ok(cluster)
    }

    async fn form(&self) -> Result<()> {
        let mut ids = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            // Else the nodes would quarrel about the epoch that all begin with. Refused once a node has met another.
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await?;
            ids.push(node.command(&["CLUSTER", "MYID"]).await?.text());
        }
        for node in &self.nodes {
            for (other, bus) in self.nodes.iter().zip(&self.buses) {
                let (ip, port) = (other.address().ip().to_string(), other.address().port().to_string());
                node.command(&["CLUSTER", "MEET", &ip, &port, &bus.address().port().to_string()]).await?;
            }
        }
        let bound = |index: usize| index * usize::from(SLOTS) / MASTERS;
        for (index, node) in self.nodes[..MASTERS].iter().enumerate() {
            let (first, last) = (bound(index).to_string(), (bound(index + 1) - 1).to_string());
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
        }
        for (replica, master) in self.nodes[MASTERS..].iter().zip(&ids) {
            // Refused until it has heard of the master.
            let asked = async || Ok(replica.command(&["CLUSTER", "REPLICATE", master]).await.map(Some)?);
            found("replica of the cluster", asked).await?;
        }
        for replica in &self.nodes[MASTERS..] {
            replica.follows().await?;
        }
        self.wait_ok().await
    }

    /// Where the nodes listen for clients.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Redis::address).collect()
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The nodes, to start them again.
    pub fn nodes_mut(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// The slot of a key.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn slot_of(&self, key: &str) -> Result<u16> {
        let node = self.up().next().context("no node of the cluster runs")?.1;
        Ok(node.command(&["CLUSTER", "KEYSLOT", key]).await?.text().parse()?)
    }

    /// Which node that runs has the slot as a master.
    ///
    /// # Errors
    /// When none says so, or two do.
    pub async fn node_of_slot(&self, slot: u16) -> Result<usize> {
        let mut owners = Vec::new();
        for (index, node) in self.up() {
            let view = View::of(node).await?;
            owners.extend(view.slots.get(&view.me).is_some_and(|mine| owns(mine, slot)).then_some(index));
        }
        match owners[..] {
            [owner] => Ok(owner),
            _ => bail!("the nodes that take slot {slot} for theirs: {owners:?}"),
        }
    }

    /// Moves a slot with its keys to a master, as a reshard does, and waits until all nodes know.
    ///
    /// # Errors
    /// When a node refuses.
    pub async fn migrate_slot(&self, slot: u16, to: usize) -> Result<()> {
        let migration = self.begin_migration(slot, to).await?;
        self.move_keys(migration).await?;
        self.finish_migration(migration).await
    }

    /// The first third of [`RedisCluster::migrate_slot`]: from now on, the old master answers `ASK` for keys of the slot that
    /// it does not have.
    ///
    /// # Errors
    /// When a node refuses.
    pub async fn begin_migration(&self, slot: u16, to: usize) -> Result<Migration> {
        let from = self.node_of_slot(slot).await?;
        ensure!(from != to, "node {to} has slot {slot} already");
        let (giver, taker) = (self.id(from).await?, self.id(to).await?);
        let slot_text = slot.to_string();
        self.nodes[to].command(&["CLUSTER", "SETSLOT", &slot_text, "IMPORTING", &giver]).await?;
        self.nodes[from].command(&["CLUSTER", "SETSLOT", &slot_text, "MIGRATING", &taker]).await?;
        Ok(Migration { slot, from, to })
    }

    /// The second third: moves all keys that the slot has now.
    ///
    /// # Errors
    /// When a node refuses.
    pub async fn move_keys(&self, migration: Migration) -> Result<()> {
        let (from, to) = (&self.nodes[migration.from], self.nodes[migration.to].address());
        let (ip, port) = (to.ip().to_string(), to.port().to_string());
        let slot = migration.slot.to_string();
        loop {
            let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, KEYS_AT_ONCE]).await?;
            if keys.list().is_empty() {
                return Ok(());
            }
            let words = ["MIGRATE", &ip, &port, "", "0", "10000", "AUTH2", USER, PASSWORD, "KEYS"];
            let mut words: Vec<&[u8]> = words.iter().map(|it| it.as_bytes()).collect();
            words.extend(keys.list().iter().filter_map(|key| match key {
                Reply::Bytes(key) => Some(key.as_slice()),
                _ => None,
            }));
            from.ask(&words).await?;
        }
    }

    /// The last third: the slot belongs to the new master, and all nodes know.
    ///
    /// # Errors
    /// When a node refuses, or keys were left.
    pub async fn finish_migration(&self, migration: Migration) -> Result<()> {
        let Migration { slot, from, to } = migration;
        let (slot_text, taker) = (slot.to_string(), self.id(to).await?);
        // In this order, no moment leaves the slot to nobody (https://redis.io/docs/latest/commands/cluster-setslot).
        for node in [to, from] {
            self.nodes[node].command(&["CLUSTER", "SETSLOT", &slot_text, "NODE", &taker]).await?;
        }
        self.wait_ok().await?;
        ensure!(self.node_of_slot(slot).await? == to, "slot {slot} is not with node {to}");
        Ok(())
    }

    /// Kills the master of a slot, and says which it was.
    ///
    /// # Errors
    /// When the slot has none.
    pub async fn kill_master_of(&self, slot: u16) -> Result<usize> {
        let master = self.node_of_slot(slot).await?;
        self.nodes[master].kill()?;
        Ok(master)
    }

    /// Waits until another node than `old` has the slot, and all that run agree.
    ///
    /// # Errors
    /// When none is elected in time.
    pub async fn master_after(&self, slot: u16, old: usize) -> Result<usize> {
        let other = async || Ok(Some(self.node_of_slot(slot).await?).filter(|it| *it != old));
        let new = found("new master of the slot", other).await?;
        self.wait_ok().await?;
        Ok(new)
    }

    /// Waits until every node that runs says `cluster_state:ok` and all say the same of who has which slots.
    ///
    /// # Errors
    /// When that does not come about in time.
    pub async fn wait_ok(&self) -> Result<()> {
        found("cluster of one mind", async || self.agrees().await).await
    }

    async fn agrees(&self) -> Result<Option<()>> {
        let mut known = None;
        for (_, node) in self.up() {
            let state = node.command(&["CLUSTER", "INFO"]).await?.text();
            let slots = View::of(node).await?.slots;
            if !state.contains("cluster_state:ok") || *known.get_or_insert_with(|| slots.clone()) != slots {
                return Ok(None);
            }
        }
        Ok(known.map(drop))
    }

    fn up(&self) -> impl Iterator<Item = (usize, &Redis)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.is_up())
    }

    async fn id(&self, node: usize) -> Result<String> {
        Ok(self.nodes[node].command(&["CLUSTER", "MYID"]).await?.text())
    }
}

/// What one node knows.
#[derive(Debug, PartialEq, Eq)]
struct View {
    me: String,
    /// The slots of each node that has some, by its id.
    slots: BTreeMap<String, Vec<RangeInclusive<u16>>>,
}

impl View {
    async fn of(node: &Redis) -> Result<Self> {
        Self::read(&node.command(&["CLUSTER", "NODES"]).await?.text())
    }

    /// Reads an answer to `CLUSTER NODES`: a line for each node, with its id, seven more fields, and its slots.
    fn read(text: &str) -> Result<Self> {
        let mut view = Self { me: String::new(), slots: BTreeMap::new() };
        for line in text.lines() {
            let fields: Vec<_> = line.split(' ').collect();
            ensure!(fields.len() >= 8, "{line:?} is no line of CLUSTER NODES");
            if fields[2].split(',').any(|flag| flag == "myself") {
                fields[0].clone_into(&mut view.me);
            }
            // In brackets stand slots on their way.
            let slots = fields[8..].iter().filter(|it| !it.starts_with('['));
            let slots = slots.map(|text| {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                Ok(first.parse()?..=last.parse()?)
            });
            let slots = slots.collect::<Result<Vec<_>>>().with_context(|| format!("slots in {line:?}"))?;
            if !slots.is_empty() {
                view.slots.insert(fields[0].to_owned(), slots);
            }
        }
        Ok(view)
    }
}

fn owns(slots: &[RangeInclusive<u16>], slot: u16) -> bool {
    slots.iter().any(|range| range.contains(&slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Transport;
    use crate::tls::Certificates;

    #[tokio::test]
    async fn a_slot_moves_with_its_keys_and_outlives_its_master() -> Result<()> {
        let cluster = RedisCluster::spawn(RedisOptions::default()).await?;
        let slot = cluster.slot_of("{hall}0").await?;
        let old = cluster.node_of_slot(slot).await?;
        let keys: Vec<String> = (0..250).map(|n| format!("{{hall}}{n}")).collect();
        let mut connection = cluster.nodes()[old].connect().await?;
        for key in &keys {
            connection.call(&["SET", key, "coat"]).await?.ok()?;
        }

        let to = (old + 1) % MASTERS;
        let migration = cluster.begin_migration(slot, to).await?;
        assert!(connection.call(&["GET", "{hall}none"]).await?.text().starts_with("ASK "));
        assert_eq!(connection.call(&["GET", &keys[0]]).await?.text(), "coat");
        cluster.move_keys(migration).await?;
        cluster.finish_migration(migration).await?;
        assert!(connection.call(&["GET", &keys[0]]).await?.text().starts_with(&format!("MOVED {slot} ")));
        let count = cluster.nodes()[to].command(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).await?;
        assert_eq!(count, Reply::Number(250));

        let mut master = cluster.nodes()[to].connect().await?;
        master.call(&["SET", &keys[0], "hat"]).await?.ok()?;
        assert_eq!(master.call(&["WAIT", "1", "20000"]).await?, Reply::Number(1));
        assert_eq!(cluster.kill_master_of(slot).await?, to);
        let new = cluster.master_after(slot, to).await?;
        assert_eq!(new, to + MASTERS);
        assert_eq!(cluster.nodes()[new].command(&["GET", &keys[0]]).await?.text(), "hat");
        Ok(())
    }

    #[tokio::test]
    async fn a_slot_moves_behind_a_password_and_mutual_tls() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let transport = Transport::MutualTls(Certificates::make(folder.path(), &["127.0.0.1"])?);
        let password = Some("secret".to_owned());
        let cluster = RedisCluster::spawn(RedisOptions { transport, password, ..RedisOptions::default() }).await?;
        let slot = cluster.slot_of("coat").await?;
        let old = cluster.node_of_slot(slot).await?;
        cluster.nodes()[old].command(&["SET", "coat", "red"]).await?;
        let to = (old + 1) % MASTERS;
        cluster.migrate_slot(slot, to).await?;
        assert_eq!(cluster.nodes()[to].command(&["GET", "coat"]).await?.text(), "red");
        // The port that clients are sent to is the one for TLS.
        let moved = cluster.nodes()[old].connect().await?.call(&["GET", "coat"]).await?.text();
        assert_eq!(moved, format!("MOVED {slot} {}", cluster.addresses()[to]));
        Ok(())
    }

    #[test]
    fn a_view_is_read_without_slots_on_their_way() {
        let text = "aa 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-5 7 [8->-bb]\n\
                    bb 127.0.0.1:3@4,host slave aa 0 1 2 connected\n";
        let view = View::read(text).expect("a view");
        assert_eq!(view.me, "aa");
        assert_eq!(view.slots.into_iter().collect::<Vec<_>>(), [("aa".to_owned(), vec![0..=5, 7..=7])]);
        assert!(View::read("aa 127.0.0.1:1@2 master").is_err());
    }
}
