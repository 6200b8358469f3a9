//! One server, and the connections to it: made, proved again and again, and made anew.
//!
//! **Reads** go over a connection that the server tells of changes (`CLIENT TRACKING`), **writes** over another one, so that our
//! own writes are told as well and nothing long stands before a read. Writes that wait for replicas have a third: `WAIT` holds up
//! whatever stands behind it.
//!
//! Each round asks over the first two for a key that is never written, to read and to delete it. The answers prove three things:
//! that the server serves the key's slot; that it takes writes, so that it is a master and not one that was replaced; and that
//! everything it had to tell before has arrived: pushes and answers of one connection come in one order, and a push is dealt
//! with before the answer behind it is given out. No connection is used before its first round.

use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::{Pipeline, PushInfo, PushKind, RedisError, Value, cmd};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::address::Address;
use super::call::{Call, Manner};
use super::dial::{Connection, DialError};
use super::fleet::Fleet;
use super::keys;
use super::times::jitter;
use super::trouble::{Cure, Trouble, checked};
use crate::authz::session::Timestamp;
use crate::store::Notice;

/// How long a call waits for a connection that is being made.
const CONNECT_GRACE: Duration = Duration::from_millis(150);
/// The first and the longest pause between two attempts to connect; each is cut by up to half.
const PAUSES: [Duration; 2] = [Duration::from_millis(40), Duration::from_millis(500)];

/// Which connection a call goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The one that is told of changes of what was read.
    Reads,
    /// The one for everything else.
    Writes,
    /// The one for writes that wait for replicas.
    Waits,
}

/// A server.
#[derive(Debug)]
pub(super) struct Node {
    /// How people know it: its address, or the name that sentinels know it by.
    pub(super) name: String,
    /// A key in a slot of its own, for the rounds; `None` while it has none.
    probe: Mutex<Option<String>>,
    lines: watch::Sender<Option<Arc<Lines>>>,
    /// When the last round that succeeded began.
    proved: Mutex<Option<Proof>>,
    /// Whether it tells of changes.
    tells: AtomicBool,
    /// Whether it was the master when that was last asked, as far as anybody has a say in that.
    sure: AtomicBool,
}

/// The connections to it.
#[derive(Debug)]
struct Lines {
    at: Address,
    reads: Connection,
    writes: Connection,
    waits: Option<Waits>,
    /// Whether the first one is told of changes.
    tells: bool,
    lost: Arc<Notify>,
}

/// The connection of writes that wait for replicas, and how many of them are under way.
#[derive(Debug)]
struct Waits {
    connection: Connection,
    under_way: AtomicU32,
}

/// When a round began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    /// By this process's own clock.
    pub(super) began: Instant,
    /// By the follower's, which tells the time when it is asked and so counts what a machine sleeps; `None` while nobody follows.
    pub(super) asked: Option<Timestamp>,
}

/// Why connections were given up.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the connection was closed")]
    Closed,
    #[error("it did not answer as it should")]
    Trouble(#[source] Trouble),
    #[error("it is no master: look whether another one has taken over")]
    Replica(#[source] Trouble),
    #[error("the sentinels say that another server is the master now")]
    Demoted,
    #[error("nobody could say for {0:?} whether it still is the master")]
    Unsure(Duration),
}

/// What a round came to.
enum Round {
    /// All three things are proved.
    Proved,
    /// It answers, and the probe's slot lies elsewhere now.
    Elsewhere,
    /// It answers, and may have been replaced.
    Unsure,
}

impl Node {
    pub(super) fn new(name: String, probe: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            name,
            probe: Mutex::new(probe),
            lines: watch::Sender::new(None),
            proved: Mutex::default(),
            tells: AtomicBool::new(true),
            sure: AtomicBool::new(true),
        })
    }

    /// Asks for this key from now on.
    pub(super) fn prove_by(&self, probe: Option<String>) {
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = probe;
    }

    /// Whether there are connections.
    pub(super) fn is_connected(&self) -> bool {
        self.lines.borrow().is_some()
    }

    /// Whether it tells of changes of what was read.
    pub(super) fn tells(&self) -> bool {
        self.tells.load(Ordering::Acquire)
    }

    /// When the last round that succeeded began.
    pub(super) fn proved(&self) -> Option<Proof> {
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the connections up; others are made at once.
    pub(super) fn give_up(&self) {
        if let Some(lines) = self.lines.borrow().as_ref() {
            lines.lost.notify_one();
        }
    }

    /// Sends a call in one piece and gives its answers; the first error of the server among them is the call's.
    pub(super) async fn send(&self, line: Line, call: &Call<'_>, manner: Manner) -> Result<Vec<Value>, Trouble> {
        let mut waiting = self.lines.subscribe();
        let lines = match timeout(CONNECT_GRACE, waiting.wait_for(Option::is_some)).await {
            Ok(Ok(lines)) => lines.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(lines) = lines else { return Err(Trouble::NotConnected(self.name.clone())) };
        let (connection, _under_way) = match (line, &lines.waits) {
            (Line::Reads, _) => (&lines.reads, None),
            _ if !self.sure.load(Ordering::Acquire) => return Err(Trouble::Unsure(self.name.clone())),
            (Line::Waits, Some(waits)) => (&waits.connection, Some(UnderWay::begin(&waits.under_way))),
            (Line::Writes | Line::Waits, _) => (&lines.writes, None),
        };
        let (commands, kept) = call.commands(manner, line == Line::Reads && lines.tells);
        let answers = send(connection, &commands, kept.len()).await;
        if answers.as_ref().is_err_and(Trouble::is_broken) {
            lines.lost.notify_one();
        }
        let answers = answers?.into_iter().map(checked).collect::<Result<Vec<_>, _>>()?;
        Ok(answers.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(value, _)| value).collect())
    }

    /// Keeps the connections until the fleet stops or this server is no part of it any more.
    pub(super) async fn keep(self: Arc<Self>, fleet: Arc<Fleet>) {
        let mut pause = PAUSES[0];
        let mut told_why = String::new();
        loop {
            match self.connect(&fleet).await {
                Ok(lines) => {
                    tracing::info!(server = self.name, at = %lines.at, tells = lines.tells, "session store connected");
                    let _connected = fleet.stats.connected();
                    (pause, told_why) = (PAUSES[0], String::new());
                    let lines = Arc::new(lines);
                    self.sure.store(true, Ordering::Release);
                    // First where calls go, then that nothing loaded before counts: a load that still goes over the
                    // connections before began before this moment.
                    self.lines.send_replace(Some(Arc::clone(&lines)));
                    fleet.everything_changed();
                    let lost = self.until_lost(&lines, &fleet).await;
                    self.lines.send_replace(None);
                    let error = &lost as &dyn std::error::Error;
                    tracing::warn!(server = self.name, at = %lines.at, error, "session store connection lost");
                    fleet.look_again(None);
                }
                Err(error) => {
                    // Each cause once, not once for each attempt.
                    let why = chain(&error);
                    if why != told_why {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(
                            server = self.name,
                            error,
                            "session store cannot be reached; tried again and again"
                        );
                        told_why = why;
                    }
                    fleet.look_again(None);
                }
            }
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// Connections that have proved themselves once.
    async fn connect(&self, fleet: &Arc<Fleet>) -> Result<Lines, DialError> {
        let at = fleet.address_of(self).await?;
        let lost = Arc::new(Notify::new());
        let told = {
            // Weak: the connection would keep alive who keeps it.
            let (fleet, lost) = (Arc::downgrade(fleet), Arc::clone(&lost));
            move |push| hear(&push, &fleet, &lost)
        };
        let config = &fleet.config;
        let dial = || config.access.dial(&at, config.database, told.clone());
        let waits = async {
            match config.wait {
                Some(_) => dial()
                    .await
                    .map(|dialled| Some(Waits { connection: dialled.connection, under_way: AtomicU32::new(0) })),
                None => Ok(None),
            }
        };
        let (reads, writes, waits) = tokio::try_join!(dial(), dial(), waits)?;
        let tells = reads.can_be_told && self.ask_to_be_told(&reads.connection, config.probe_within).await?;
        if self.tells.swap(tells, Ordering::AcqRel) && !tells {
            tracing::warn!(
                server = self.name,
                "the session store does not tell of changes (CLIENT TRACKING of Redis 6 or later): sessions are loaded again \
                 after half a second"
            );
        }
        let lines = Lines { at, reads: reads.connection, writes: writes.connection, waits, tells, lost };
        match self.round(&lines, fleet).await {
            Ok(Round::Proved | Round::Elsewhere) => Ok(lines),
            Ok(Round::Unsure) => Err(DialError::Unproved(Box::new(Lost::Unsure(Duration::ZERO)))),
            Err(lost) => Err(DialError::Unproved(Box::new(lost))),
        }
    }

    /// Whether the server tells of changes of all that this connection reads, but for what follows a `CLIENT CACHING NO`.
    async fn ask_to_be_told(&self, reads: &Connection, within: Duration) -> Result<bool, DialError> {
        let mut tracking = Pipeline::new();
        tracking.cmd("CLIENT").arg("TRACKING").arg("ON").arg("OPTOUT");
        let answers = timeout(within, send(reads, &tracking, 1)).await.map_err(|_| DialError::Late)?;
        let failed = |trouble| match trouble {
            Trouble::Failed(error) => DialError::Failed(error),
            _ => DialError::Late,
        };
        match answers.map_err(failed)?.into_iter().map(checked).next() {
            Some(Ok(_)) => Ok(true),
            // It knows no tracking, or we may not ask for it. Anything else passes, and is asked again.
            Some(Err(Trouble::Failed(error))) if matches!(error.code(), Some("ERR" | "NOPERM")) => Ok(false),
            Some(Err(trouble)) => Err(failed(trouble)),
            None => Err(DialError::Late),
        }
    }

    /// Proves the connections round by round; answers when and why they are lost.
    async fn until_lost(&self, lines: &Lines, fleet: &Arc<Fleet>) -> Lost {
        let mut sure = Instant::now();
        let mut waits = pin!(self.until_wait_is_lost(lines, fleet));
        loop {
            // What is cached is believed as long; nor is anything more loaded from a server that may be the wrong one.
            let until = sleep_until((sure + fleet.config.max_staleness).into());
            let proof = Proof { began: Instant::now(), asked: fleet.now() };
            tokio::select! {
                () = lines.lost.notified() => return Lost::Closed,
                () = until => return Lost::Unsure(sure.elapsed()),
                lost = &mut waits => return lost,
                round = self.round(lines, fleet) => match round {
                    Ok(Round::Proved) => {
                        sure = proof.began;
                        self.sure.store(true, Ordering::Release);
                        *self.proved.lock().unwrap_or_else(PoisonError::into_inner) = Some(proof);
                        fleet.proved();
                    }
                    Ok(Round::Elsewhere) => {
                        sure = proof.began;
                        fleet.look_again(None);
                    }
                    Ok(Round::Unsure) => self.sure.store(false, Ordering::Release),
                    Err(lost) => return lost,
                }
            }
            tokio::select! {
                () = lines.lost.notified() => return Lost::Closed,
                () = sleep_until((sure + fleet.config.max_staleness).into()) => return Lost::Unsure(sure.elapsed()),
                lost = &mut waits => return lost,
                () = sleep_until((proof.began + fleet.config.probe_every).into()) => {}
            }
        }
    }

    /// Asks over the connection of writes that wait, which may stand behind all of them; answers when nothing comes back.
    async fn until_wait_is_lost(&self, lines: &Lines, fleet: &Fleet) -> Lost {
        let (Some(waits), Some(wait)) = (&lines.waits, fleet.config.wait) else { return pending().await };
        let mut ping = Pipeline::new();
        ping.add_command(cmd("PING"));
        loop {
            sleep(fleet.config.probe_every).await;
            let before = waits.under_way.load(Ordering::Acquire);
            let within = wait.timeout * (before + 1) + fleet.config.probe_within;
            match timeout(within, send(&waits.connection, &ping, 1)).await {
                Ok(Ok(_)) => {}
                Ok(Err(trouble)) => return Lost::Trouble(trouble),
                Err(_) => return Lost::Trouble(Trouble::Late(within)),
            }
        }
    }

    async fn round(&self, lines: &Lines, fleet: &Arc<Fleet>) -> Result<Round, Lost> {
        let probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut commands = Pipeline::new();
        match &probe {
            // A write that changes nothing: no replica hears of it, and a server that is full takes it.
            Some(probe) => commands.cmd("GET").arg(probe).cmd("DEL").arg(probe),
            None => commands.add_command(cmd("PING")),
        };
        let (within, count) = (fleet.config.probe_within, commands.len());
        let ask = async |line: &Connection| match timeout(within, send(line, &commands, count)).await {
            Ok(answers) => answers?.into_iter().map(checked).try_for_each(|answer| answer.map(drop)),
            Err(_) => Err(Trouble::Late(within)),
        };
        let (reads, writes, is_master) =
            tokio::join!(ask(&lines.reads), ask(&lines.writes), fleet.is_master(&lines.at));
        match reads.and(writes) {
            Ok(()) => {}
            Err(trouble) => match (trouble.cure(), trouble.code()) {
                (Cure::Moved(_) | Cure::Ask(_), _) => return Ok(Round::Elsewhere),
                (Cure::Lost, _) => return Err(Lost::Replica(trouble)),
                // Only a master says that it has too few replicas to take a change.
                (_, Some("NOREPLICAS")) => {}
                // One that cannot save may be a master all the same, and says this before it says that it is none.
                (_, Some("MISCONF")) => match timeout(within, has_master_role(&lines.writes)).await {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => return Err(Lost::Replica(trouble)),
                    Ok(Err(trouble)) => return Err(Lost::Trouble(trouble)),
                    Err(_) => return Err(Lost::Trouble(Trouble::Late(within))),
                },
                _ => return Err(Lost::Trouble(trouble)),
            },
        }
        match is_master {
            Some(true) => Ok(Round::Proved),
            Some(false) => Err(Lost::Demoted),
            None => Ok(Round::Unsure),
        }
    }
}

/// Whether the server says of itself that it is a master.
async fn has_master_role(connection: &Connection) -> Result<bool, Trouble> {
    let mut role = Pipeline::new();
    role.add_command(cmd("ROLE"));
    let answer = send(connection, &role, 1).await?.into_iter().next().map(checked).transpose()?;
    let Some(Value::Array(role)) = answer else { return Err(Trouble::Odd("ROLE")) };
    Ok(matches!(role.first(), Some(Value::BulkString(role)) if role.as_slice() == b"master"))
}

/// A write that waits for replicas, counted while it is under way.
struct UnderWay<'a>(&'a AtomicU32);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn send(connection: &Connection, commands: &Pipeline, count: usize) -> Result<Vec<Value>, Trouble> {
    let mut connection = (**connection).clone();
    connection.send_packed_commands(commands, 0, count).await.map_err(|error: RedisError| Trouble::Failed(error))
}

/// What a server says unasked, in the order in which it says it.
fn hear(push: &PushInfo, fleet: &Weak<Fleet>, lost: &Notify) {
    let Some(fleet) = fleet.upgrade() else { return };
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Invalidate, [Value::Array(names)]) => {
            for name in names {
                let Value::BulkString(name) = name else { continue };
                match keys::read(name) {
                    Some(keys::Named::Session(sid)) => fleet.tell(Notice::Session(sid)),
                    Some(keys::Named::Subject(realm, subject)) => fleet.tell(Notice::Subject(&realm, &subject)),
                    None => {}
                }
            }
        }
        // The whole database was flushed, or something that we do not understand.
        (PushKind::Invalidate, _) => fleet.everything_changed(),
        (PushKind::Disconnection, _) => lost.notify_one(),
        _ => {}
    }
}

/// An error with its causes, to tell it from the one before.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
