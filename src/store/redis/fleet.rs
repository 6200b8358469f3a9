//! The servers, and which of them holds a key.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::Value;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::call::{Call, Manner};
use super::cluster::SlotMap;
use super::dial::DialError;
use super::node::{Line, Node};
use super::sentinel::Sentinels;
use super::stats::RedisStats;
use super::times::jitter;
use super::trouble::{Cure, Trouble};
use super::{RedisConfig, Servers, keys};
use crate::authz::session::Timestamp;
use crate::store::{Follower, Notice};

/// How long a call waits before it asks again, where asking again is the cure; cut by up to half.
const AGAIN: Duration = Duration::from_millis(30);
/// How often a call is sent elsewhere before it waits each time: two servers may name each other for a while.
const REDIRECTIONS: usize = 2;

/// All servers of one store.
pub(super) struct Fleet {
    pub(super) config: RedisConfig,
    pub(super) map: ArcSwap<SlotMap>,
    pub(super) stats: RedisStats,
    pub(super) look: Notify,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    sentinels: Option<Sentinels>,
    follower: OnceLock<Follower>,
    /// The server that another one named last.
    named: Mutex<Option<Address>>,
    /// Held while it is told whether changes are told: the last word must be the true one.
    telling: Mutex<()>,
}

impl Fleet {
    /// Begins to connect. Must be called within a runtime.
    pub(super) fn start(config: RedisConfig, stats: RedisStats) -> Arc<Self> {
        let sentinels = match &config.servers {
            Servers::Sentinel(sentinel) => Some(Sentinels::new(sentinel.clone())),
            Servers::One(_) | Servers::Cluster(_) => None,
        };
        let alone = match &config.servers {
            Servers::One(address) => Some(address.to_string()),
            Servers::Sentinel(sentinel) => Some(format!("the master of {}", sentinel.master)),
            Servers::Cluster(_) => None,
        };
        let alone = alone.map(|name| Node::new(name, Some(keys::probe(&config.realm, 0))));
        let fleet = Arc::new(Self {
            config,
            map: ArcSwap::from_pointee(alone.map_or_else(SlotMap::default, SlotMap::alone)),
            stats,
            look: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            sentinels,
            follower: OnceLock::new(),
            named: Mutex::default(),
            telling: Mutex::default(),
        });
        if let Servers::Cluster(_) = &fleet.config.servers {
            fleet.tasks.spawn(fleet.stop.clone().run_until_cancelled_owned(Arc::clone(&fleet).keep_map()));
        }
        for node in fleet.map.load().nodes() {
            let kept = Arc::clone(node).keep(Arc::clone(&fleet));
            fleet.tasks.spawn(fleet.stop.clone().run_until_cancelled_owned(kept));
        }
        fleet
    }

    /// Begins to give every connection up.
    pub(super) fn stop(&self) {
        self.stop.cancel();
        self.map.store(Arc::new(SlotMap::default()));
    }

    /// Gives every connection up and waits until they are gone.
    pub(super) async fn close(&self) {
        self.stop();
        self.tasks.close();
        self.tasks.wait().await;
        self.stop();
    }

    /// Whether any server has proved itself within the time that an entry is believed without a proof.
    pub(super) fn is_reachable(&self) -> bool {
        self.map.load().is_reachable(self.config.max_staleness)
    }

    /// Tells `follower` of changes from now on.
    pub(super) fn follow(&self, follower: Follower) {
        let _ = self.follower.set(follower);
        self.everything_changed();
    }

    /// Now, by the follower's clock; `None` while nobody follows.
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.follower.get().map(|follower| (follower.now)())
    }

    /// Tells the follower, where there is one.
    pub(super) fn tell(&self, notice: Notice<'_>) {
        match notice {
            Notice::Session(_) => self.stats.sessions.inc(),
            Notice::Subject(..) => self.stats.subjects.inc(),
            Notice::Everything { .. } => self.stats.everything.inc(),
            Notice::Proved { .. } => {}
        }
        if let Some(follower) = self.follower.get() {
            (follower.tell)(notice);
        }
    }

    /// Anything may have changed: a server was flushed, or is connected anew, or slots went elsewhere.
    pub(super) fn everything_changed(&self) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.map.load().nodes().iter().all(|node| node.tells());
        self.tell(Notice::Everything { told });
    }

    /// A server was proved: what all of them have proved is told.
    pub(super) fn proved(&self) {
        if let Some(asked) = self.map.load().proved() {
            self.tell(Notice::Proved { asked });
        }
    }

    /// The servers may not be who they were; `named` may know.
    pub(super) fn look_again(&self, named: Option<Address>) {
        if named.is_some() {
            *self.named.lock().unwrap_or_else(PoisonError::into_inner) = named;
        }
        self.look.notify_one();
    }

    /// The server that another one named since the last look.
    pub(super) fn named(&self) -> Option<Address> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where the server is to be reached now.
    pub(super) async fn address_of(&self, node: &Node) -> Result<Address, DialError> {
        match (&self.sentinels, &self.config.servers) {
            (Some(sentinels), _) => sentinels.master().await,
            (None, Servers::One(address)) => Ok(address.clone()),
            (None, _) => Address::parse(&node.name).ok_or(DialError::Late),
        }
    }

    /// Whether the server at `at` is the master as far as the sentinels say; `None` when too few of them say anything.
    pub(super) async fn is_master(&self, at: &Address) -> Option<bool> {
        match &self.sentinels {
            None => Some(true),
            Some(sentinels) => sentinels.agreed().await.map(|master| master == *at),
        }
    }

    /// Asks the server that holds the call's keys, within `within` in all. Where a cluster sends us elsewhere, there.
    pub(super) async fn call(
        self: &Arc<Self>,
        line: Line,
        call: &Call<'_>,
        within: Duration,
    ) -> Result<Vec<Value>, Trouble> {
        timeout(within, self.call_until_answered(line, call)).await.unwrap_or(Err(Trouble::Late(within)))
    }

    async fn call_until_answered(self: &Arc<Self>, line: Line, call: &Call<'_>) -> Result<Vec<Value>, Trouble> {
        let mut manner = Manner::default();
        let mut elsewhere: Option<Address> = None;
        let mut redirections = 0;
        // A read may be asked twice; what became of a write whose answer was lost, nobody knows.
        let mut again = line == Line::Reads;
        loop {
            if self.stop.is_cancelled() {
                return Err(Trouble::Closed);
            }
            let map = self.map.load_full();
            let node = elsewhere.take().and_then(|address| map.at(&address)).or_else(|| map.of(call.key()));
            let Some(node) = node else {
                if !matches!(self.config.servers, Servers::Cluster(_)) {
                    return Err(Trouble::NoServer);
                }
                self.look_again(None);
                sleep(jitter(AGAIN)).await;
                continue;
            };
            let trouble = match node.send(line, call, manner).await {
                Ok(values) => return Ok(values),
                Err(trouble) => trouble,
            };
            manner.asking = false;
            match trouble.cure() {
                Cure::Text if !manner.text => manner.text = true,
                // Each of its two keys may lie elsewhere.
                Cure::Moved(_) | Cure::Ask(_) if matches!(call, Call::Record { .. }) => return Err(trouble),
                Cure::Moved(address) => {
                    self.stats.redirections.inc();
                    self.look_again(address.clone());
                    redirections += 1;
                    // A server that is not in the map yet is found there in a moment.
                    elsewhere = address.filter(|address| map.at(address).is_some());
                    if elsewhere.is_none() || redirections > REDIRECTIONS {
                        sleep(jitter(AGAIN)).await;
                    }
                }
                Cure::Ask(Some(address)) => {
                    self.stats.redirections.inc();
                    redirections += 1;
                    if map.at(&address).is_none() {
                        self.welcome(&address);
                    }
                    if redirections > REDIRECTIONS {
                        sleep(jitter(AGAIN)).await;
                    }
                    manner.asking = self.map.load().at(&address).is_some();
                    elsewhere = Some(address).filter(|_| manner.asking);
                }
                Cure::Wait | Cure::Ask(None) => {
                    self.look_again(None);
                    sleep(jitter(AGAIN)).await;
                }
                // Whoever takes no writes is no master: the name, or the sentinels, lead elsewhere by now.
                Cure::Lost => {
                    node.give_up();
                    return Err(trouble);
                }
                Cure::None if again && trouble.is_broken() => {
                    again = false;
                    sleep(jitter(AGAIN)).await;
                }
                Cure::None | Cure::Text => return Err(trouble),
            }
        }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("config", &self.config).finish_non_exhaustive()
    }
}
