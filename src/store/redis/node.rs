//! One server, and the two connections to it: made, proved again and again, and made anew.
//!
//! **Reads** go over a connection that the server tells of changes (`CLIENT TRACKING`), **writes** over another one, so that our
//! own writes are told as well and nothing long stands before a read.
//!
//! Each round reads a key over both. The answer proves that the server serves that key's slot, and that everything it had to
//! tell before has arrived: pushes and answers of one connection come in one order, and a push is dealt with before the
//! answer behind it is given out. A connection that does not answer in time is given up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value, cmd};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::address::Address;
use super::call::{Call, Manner};
use super::dial::DialError;
use super::fleet::Fleet;
use super::trouble::{Cure, Trouble, checked};
use super::{jitter, keys};
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
    /// The other one.
    Writes,
}

/// A server.
#[derive(Debug)]
pub(super) struct Node {
    /// How people know it: its address, or the name that sentinels know it by.
    pub(super) name: String,
    /// A key in a slot of its own, for the rounds.
    probe: Mutex<String>,
    lines: watch::Sender<Option<Arc<Lines>>>,
    /// When the last round that succeeded began.
    proved: Mutex<Option<Instant>>,
    /// Whether it tells of changes.
    tells: AtomicBool,
}

/// The connections to it.
#[derive(Debug)]
struct Lines {
    at: Address,
    reads: MultiplexedConnection,
    writes: MultiplexedConnection,
    /// Whether the first one is told of changes.
    tells: bool,
    lost: Arc<Notify>,
}

/// Why connections were given up.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the connection was closed")]
    Closed,
    #[error("it did not answer as it should")]
    Unproved(#[source] Trouble),
    #[error("the sentinels say that another server is the master now")]
    Demoted,
}

impl Node {
    pub(super) fn new(name: String, probe: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            probe: Mutex::new(probe),
            lines: watch::Sender::new(None),
            proved: Mutex::default(),
            tells: AtomicBool::new(true),
        })
    }

    /// Reads this key from now on to prove that the server answers for its slots.
    pub(super) fn prove_by(&self, probe: String) {
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
    pub(super) fn proved(&self) -> Option<Instant> {
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is, as far as that is known.
    pub(super) fn address(&self) -> Option<Address> {
        self.lines.borrow().as_ref().map(|lines| lines.at.clone())
    }

    /// Gives the connections up; others are made at once.
    pub(super) fn give_up(&self) {
        if let Some(lines) = self.lines.borrow().as_ref() {
            lines.lost.notify_one();
        }
    }

    /// Sends the commands in one piece and gives their answers, each checked for an error of the server.
    pub(super) async fn send(&self, line: Line, call: &Call<'_>, manner: Manner) -> Result<Vec<Value>, Trouble> {
        let mut waiting = self.lines.subscribe();
        let lines = match timeout(CONNECT_GRACE, waiting.wait_for(Option::is_some)).await {
            Ok(Ok(lines)) => lines.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(lines) = lines else { return Err(Trouble::NotConnected(self.name.clone())) };
        let mut connection = match line {
            Line::Reads => lines.reads.clone(),
            Line::Writes => lines.writes.clone(),
        };
        let tracked = line == Line::Reads && lines.tells;
        let (commands, kept) = call.commands(manner, tracked);
        let values = connection.send_packed_commands(&commands, 0, kept.len()).await.map_err(Trouble::Failed);
        if values.as_ref().is_err_and(Trouble::is_broken) {
            lines.lost.notify_one();
        }
        let values = values?;
        let values = values.into_iter().map(checked).collect::<Result<Vec<_>, _>>()?;
        Ok(values.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(value, _)| value).collect())
    }

    /// Keeps the connections until the fleet stops or this server is no part of it any more.
    pub(super) async fn keep(self: Arc<Self>, fleet: Arc<Fleet>) {
        let mut pause = PAUSES[0];
        let mut told_why = String::new();
        loop {
            match self.connect(&fleet).await {
                Ok(lines) => {
                    tracing::info!(server = self.name, at = %lines.at, tells = self.tells(), "session store connected");
                    let _connected = fleet.stats.connected();
                    (pause, told_why) = (PAUSES[0], String::new());
                    let lines = Arc::new(lines);
                    // First where calls go, then that nothing loaded before counts: a load that still goes over the
                    // connections before began before this moment.
                    self.lines.send_replace(Some(Arc::clone(&lines)));
                    fleet.everything_changed();
                    let lost = self.until_lost(&lines, &fleet).await;
                    self.lines.send_replace(None);
                    let error = &lost as &dyn std::error::Error;
                    tracing::warn!(server = self.name, at = %lines.at, error, "session store connection lost");
                    fleet.look_again();
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
                    fleet.look_again();
                }
            }
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    async fn connect(&self, fleet: &Arc<Fleet>) -> Result<Lines, DialError> {
        let at = fleet.address_of(self).await?;
        let lost = Arc::new(Notify::new());
        let told = {
            let (fleet, lost) = (Arc::clone(fleet), Arc::clone(&lost));
            move |push| hear(&push, &fleet, &lost)
        };
        let config = &fleet.config;
        let (reads, writes) = tokio::try_join!(
            config.access.dial(&at, config.database, told.clone()),
            config.access.dial(&at, config.database, told)
        )?;
        let mut connection = reads.connection;
        let tells = reads.can_be_told && {
            // All that this connection reads, but for what follows a CLIENT CACHING NO.
            let tracking = cmd("CLIENT").arg("TRACKING").arg("ON").arg("OPTOUT").to_owned();
            let answer = timeout(config.probe_within, connection.send_packed_command(&tracking)).await;
            match answer {
                Ok(Ok(Value::Okay)) => true,
                // It knows no tracking, or we may not ask for it.
                Ok(Ok(_)) => false,
                Ok(Err(error)) => return Err(DialError::Failed(error)),
                Err(_) => return Err(DialError::Late),
            }
        };
        if self.tells.swap(tells, Ordering::AcqRel) && !tells {
            tracing::warn!(
                server = self.name,
                "the session store does not tell of changes (CLIENT TRACKING of Redis 6 or later): sessions are loaded again \
                 after half a second"
            );
        }
        Ok(Lines { at, reads: connection, writes: writes.connection, tells, lost })
    }

    /// Proves the connections round by round; answers when and why they are lost.
    async fn until_lost(&self, lines: &Lines, fleet: &Arc<Fleet>) -> Lost {
        loop {
            let asked = Instant::now();
            tokio::select! {
                () = lines.lost.notified() => return Lost::Closed,
                round = self.round(lines, fleet) => match round {
                    Ok(true) => {
                        *self.proved.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
                        fleet.proved();
                    }
                    // The server answers; whether it is still the master, nobody could say.
                    Ok(false) => {}
                    Err(lost) => return lost,
                }
            }
            tokio::select! {
                () = lines.lost.notified() => return Lost::Closed,
                () = sleep_until((asked + fleet.config.probe_every).into()) => {}
            }
        }
    }

    async fn round(&self, lines: &Lines, fleet: &Arc<Fleet>) -> Result<bool, Lost> {
        let probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let within = fleet.config.probe_within;
        let get = cmd("GET").arg(&probe).to_owned();
        let read = async |line: &MultiplexedConnection| {
            let mut line = line.clone();
            match timeout(within, line.send_packed_command(&get)).await {
                Ok(Ok(value)) => checked(value).map(drop),
                Ok(Err(error)) => Err(Trouble::Failed(error)),
                Err(_) => Err(Trouble::Late(within)),
            }
        };
        let (reads, writes, is_master) =
            tokio::join!(read(&lines.reads), read(&lines.writes), fleet.is_master(&lines.at));
        match reads.and(writes) {
            Ok(()) => {}
            // It answers, for other slots than the probe's.
            Err(trouble) if matches!(trouble.cure(), Cure::Moved(_) | Cure::Ask(_)) => {
                fleet.look_again();
                return Ok(false);
            }
            Err(trouble) => return Err(Lost::Unproved(trouble)),
        }
        match is_master {
            Some(false) => Err(Lost::Demoted),
            sure => Ok(sure.is_some()),
        }
    }
}

/// What a server says unasked, in the order in which it says it.
fn hear(push: &PushInfo, fleet: &Fleet, lost: &Notify) {
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
