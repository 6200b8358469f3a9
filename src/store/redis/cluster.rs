//! Which server of a cluster holds a slot.

use std::sync::Arc;
use std::time::Duration;

use redis::{Value, cmd};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::call::{Call, Manner};
use super::fleet::Fleet;
use super::node::{Line, Node};
use super::slot::{self, SLOTS};
use super::times::jitter;
use super::{Servers, keys};
use crate::authz::session::{Realm, Timestamp};

/// How often the slots are asked for when nothing tells us to.
const EVERY: Duration = Duration::from_secs(5);
/// How far apart two looks are at least; cut by up to half.
const APART: Duration = Duration::from_millis(100);
/// How long a server may take to tell the slots.
const TOLD_WITHIN: Duration = Duration::from_millis(500);

/// The servers, and the slots of each.
#[derive(Clone, Debug, Default)]
pub(super) struct SlotMap {
    nodes: Vec<Arc<Node>>,
    /// First and last slot, and the index of their server; in order. One server alone has all keys, and no ranges.
    ranges: Vec<(u16, u16, usize)>,
    /// What ends the tasks that keep each server's connections.
    stops: Vec<CancellationToken>,
}

impl SlotMap {
    /// One server for all keys.
    pub(super) fn alone(node: Arc<Node>) -> Self {
        Self { nodes: vec![node], ranges: Vec::new(), stops: Vec::new() }
    }

    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The server that holds `key`.
    pub(super) fn of(&self, key: &str) -> Option<Arc<Node>> {
        if self.ranges.is_empty() {
            return self.nodes.first().cloned();
        }
        let slot = slot::of(key);
        let after = self.ranges.partition_point(|(first, ..)| *first <= slot);
        let (_, last, node) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *last).then(|| Arc::clone(&self.nodes[*node]))
    }

    /// The server at `address`.
    pub(super) fn at(&self, address: &Address) -> Option<Arc<Node>> {
        let name = address.to_string();
        self.nodes.iter().find(|node| node.name == name).cloned()
    }

    /// Whether any server has proved itself within `staleness`. One of many that is away takes its own keys with it and no others.
    pub(super) fn is_reachable(&self, staleness: Duration) -> bool {
        let fresh = |node: &Arc<Node>| node.proved().is_some_and(|proof| proof.began.elapsed() <= staleness);
        self.nodes.iter().any(|node| node.is_connected() && fresh(node))
    }

    /// What all servers have proved: the earliest of their last proofs.
    pub(super) fn proved(&self) -> Option<Timestamp> {
        let proofs: Option<Vec<Timestamp>> = self.nodes.iter().map(|node| node.proved()?.asked).collect();
        proofs?.into_iter().min()
    }
}

/// `CLUSTER SLOTS` as far as it concerns us: first and last slot, and the master of each range.
type Ranges = Vec<(u16, u16, Address)>;

impl Fleet {
    /// Keeps the map true until the fleet stops.
    pub(super) async fn keep_map(self: Arc<Self>) {
        let mut known = Ranges::new();
        for round in 0.. {
            match self.ranges(round).await {
                Some(ranges) if ranges == known => {}
                Some(ranges) => {
                    self.adopt(&ranges);
                    known = ranges;
                }
                None => tracing::debug!("no server of the cluster tells its slots"),
            }
            sleep(jitter(APART)).await;
            let _ = timeout(EVERY, self.look.notified()).await;
        }
    }

    /// The slots, as a server tells them: the one that another one named, or one that we know, not always the same, since a server
    /// that is cut off from the others knows nothing new; or a seed.
    async fn ranges(&self, round: usize) -> Option<Ranges> {
        let Servers::Cluster(seeds) = &self.config.servers else { return None };
        let map = self.map.load_full();
        let named = self.named().and_then(|address| map.at(&address));
        let known = map.nodes().iter().cycle().skip(round % map.nodes().len().max(1)).take(map.nodes().len());
        for node in named.iter().chain(known).filter(|node| node.is_connected()) {
            let asked = node.send(Line::Writes, &Call::Slots, Manner::default());
            if let Ok(Ok(answers)) = timeout(TOLD_WITHIN, asked).await
                && let (Some(answer), Some(address)) = (answers.first(), Address::parse(&node.name))
                && let Some(ranges) = read_slots(answer, &address)
            {
                return Some(ranges);
            }
        }
        for address in seeds {
            let asked = async {
                let dialled = self.config.access.dial(address, 0, |_| {}).await.ok()?;
                let question = cmd("CLUSTER").arg("SLOTS").to_owned();
                (*dialled.connection).clone().send_packed_command(&question).await.ok()
            };
            if let Ok(Some(answer)) = timeout(TOLD_WITHIN, asked).await
                && let Some(ranges) = read_slots(&answer, address)
            {
                return Some(ranges);
            }
        }
        None
    }

    /// Makes the map of `ranges`: servers that stay keep their connections.
    fn adopt(self: &Arc<Self>, ranges: &Ranges) {
        let before = self.map.load_full();
        let mut map = SlotMap::default();
        for (first, last, address) in ranges {
            let name = address.to_string();
            let index = match map.nodes.iter().position(|node| node.name == name) {
                Some(index) => index,
                None => {
                    let probe = Some(probe_in(&self.config.realm, *first, *last));
                    let kept = before.nodes.iter().position(|node| node.name == name);
                    let (node, stop) = match kept {
                        Some(index) => {
                            before.nodes[index].prove_by(probe);
                            (Arc::clone(&before.nodes[index]), before.stops[index].clone())
                        }
                        None => self.begin(name, probe),
                    };
                    map.nodes.push(node);
                    map.stops.push(stop);
                    map.nodes.len() - 1
                }
            };
            map.ranges.push((*first, *last, index));
        }
        map.ranges.sort_unstable();
        let gone = before.nodes.iter().zip(&before.stops);
        let gone = gone.filter(|(node, _)| !map.nodes.iter().any(|it| it.name == node.name));
        gone.for_each(|(_, stop)| stop.cancel());
        tracing::info!(servers = map.nodes.len(), "the session store's slots are known");
        self.map.store(Arc::new(map));
        // What was loaded from a server that has given slots away would not be told of any more.
        self.everything_changed();
    }

    /// A server that takes its first slot over is in nobody's list of slots yet, and has keys already. It stays until the next
    /// change of the slots, which names it or not.
    pub(super) fn welcome(self: &Arc<Self>, address: &Address) {
        let before = self.map.load_full();
        if before.at(address).is_some() || self.stop.is_cancelled() {
            return;
        }
        let (node, stop) = self.begin(address.to_string(), None);
        let with = |mut map: SlotMap| {
            map.nodes.push(Arc::clone(&node));
            map.stops.push(stop.clone());
            map
        };
        let seen = self.map.compare_and_swap(&before, Arc::new(with(SlotMap::clone(&before))));
        if !Arc::ptr_eq(&seen, &before) {
            // The map has changed meanwhile; whoever asks next welcomes it anew if it is still not there.
            stop.cancel();
        }
    }

    fn begin(self: &Arc<Self>, name: String, probe: Option<String>) -> (Arc<Node>, CancellationToken) {
        let (node, stop) = (Node::new(name, probe), self.stop.child_token());
        let kept = Arc::clone(&node).keep(Arc::clone(self));
        self.tasks.spawn(stop.clone().run_until_cancelled_owned(kept));
        (node, stop)
    }
}

/// A key that lies in the slots `first` to `last`.
fn probe_in(realm: &Realm, first: u16, last: u16) -> String {
    let in_range = |key: &String| (first..=last).contains(&slot::of(key));
    // A range of one slot is met by one number in 16,384; by none of a million with a chance of one in 10^26.
    (0..1_000_000).map(|number| keys::probe(realm, number)).find(in_range).unwrap_or_else(|| keys::probe(realm, 0))
}

/// Reads the answer to `CLUSTER SLOTS`. A server that does not know its own address means the one that was asked.
fn read_slots(answer: &Value, asked: &Address) -> Option<Ranges> {
    let Value::Array(rows) = answer else { return None };
    let mut ranges = Ranges::new();
    for row in rows {
        let Value::Array(row) = row else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = row.as_slice() else { return None };
        let [host, Value::Int(port), ..] = master.as_slice() else { return None };
        let host = match host {
            Value::BulkString(host) if !host.is_empty() && host != b"?" => String::from_utf8(host.clone()).ok()?,
            _ => asked.host.clone(),
        };
        let address = Address { host, port: u16::try_from(*port).ok()? };
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        if first > last || last >= SLOTS {
            return None;
        }
        ranges.push((first, last, address));
    }
    ranges.sort_unstable_by_key(|(first, ..)| *first);
    let apart = ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
    (!ranges.is_empty() && apart).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first: i64, last: i64, host: &str, port: i64) -> Value {
        let master = Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), master])
    }

    #[test]
    fn slots_are_read_whole_or_not_at_all() {
        let asked = Address { host: "seed".to_owned(), port: 1 };
        let read = |rows| read_slots(&Value::Array(rows), &asked);
        let good = read(vec![row(8_192, 16_383, "", 7), row(0, 8_191, "10.0.0.1", 6)]).unwrap();
        assert_eq!(good[0], (0, 8_191, Address { host: "10.0.0.1".to_owned(), port: 6 }));
        assert_eq!(good[1].2, Address { host: "seed".to_owned(), port: 7 });
        for rows in [
            vec![],
            vec![row(5, 4, "a", 1)],
            vec![row(0, 16_384, "a", 1)],
            vec![row(0, 10, "a", 70_000)],
            vec![row(0, 10, "a", 1), row(10, 20, "b", 1)],
            vec![Value::Nil],
        ] {
            assert_eq!(read(rows.clone()), None, "{rows:?}");
        }
    }

    #[test]
    fn a_key_goes_to_the_server_of_its_slot() {
        let shop = Realm::parse("shop").unwrap();
        let node = |name: &str| Node::new(name.to_owned(), None);
        let map = SlotMap {
            nodes: vec![node("a:1"), node("b:1")],
            ranges: vec![(0, 99, 0), (100, 8_000, 1), (9_000, 16_383, 0)],
            stops: Vec::new(),
        };
        for (first, last, want) in
            [(0, 99, Some("a:1")), (100, 8_000, Some("b:1")), (8_001, 8_999, None), (9_000, 9_000, Some("a:1"))]
        {
            let key = probe_in(&shop, first, last);
            assert_eq!(map.of(&key).map(|node| node.name.clone()).as_deref(), want, "{key}");
        }
        assert!(!map.is_reachable(Duration::MAX));
    }
}
