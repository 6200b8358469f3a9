//! What is asked of a server, as commands in one piece.

use std::time::Duration;

use redis::{Pipeline, cmd};

use super::scripts::Script;
use crate::store::record;

/// The most that is read of one value: a byte more than the largest record, so that a larger one is seen to be too large. What
/// somebody else has put under a key of ours must not fill our memory (P32).
const MOST: usize = record::MAX_BYTES + 1;

/// One question. All its keys lie in one slot.
#[derive(Clone, Debug)]
pub(super) enum Call<'a> {
    /// A record and its `last_seen`: two answers. Asked of one server; where a cluster sends us elsewhere with one of them, each
    /// must be asked for by itself ([`Call::Get`]), since the other may still be where it was.
    Record { session: &'a str, seen: &'a str },
    /// One value; nothing where there is none, and where an empty one was put, which we never do.
    Get(&'a str),
    /// Which servers of a cluster have which slots.
    Slots,
    /// The members of an index.
    Members(&'a str),
    /// Takes members out of an index.
    Remove { index: &'a str, member: &'a [u8] },
    /// A script; with `wait`, its answer and how many replicas have it.
    Script { script: &'static Script, keys: &'a [&'a str], arguments: &'a [&'a [u8]], wait: Option<Wait> },
}

/// How many replicas must confirm a write before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How many.
    pub replicas: u32,
    /// Within how long.
    pub timeout: Duration,
}

/// How a call is put this time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// The slot is on its way to the server that is asked (`ASKING`).
    pub(super) asking: bool,
    /// The server does not know the script: its text goes along.
    pub(super) text: bool,
}

impl Call<'_> {
    /// The key that says which server to ask.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Record { session: key, .. }
            | Self::Get(key)
            | Self::Members(key)
            | Self::Remove { index: key, .. } => key,
            Self::Script { keys, .. } => keys.first().copied().unwrap_or_default(),
            Self::Slots => "",
        }
    }

    /// The commands, and which of their answers are wanted. With `tracked` the server tells of changes of all that is read over
    /// the connection, but for what is excepted.
    pub(super) fn commands(&self, manner: Manner, tracked: bool) -> (Pipeline, Vec<bool>) {
        let mut commands = Pipeline::new();
        let mut kept = Vec::with_capacity(4);
        let mut add = |command: redis::Cmd, wanted: bool| {
            commands.add_command(command);
            kept.push(wanted);
        };
        if manner.asking {
            add(cmd("ASKING"), false);
        }
        match self {
            Self::Record { session, seen } => {
                add(read(session), true);
                // A use of the session must not make every gate load it again.
                if tracked {
                    add(cmd("CLIENT").arg("CACHING").arg("NO").to_owned(), false);
                }
                add(read(seen), true);
            }
            Self::Get(key) => add(read(key), true),
            Self::Slots => add(cmd("CLUSTER").arg("SLOTS").to_owned(), true),
            Self::Members(index) => add(cmd("ZRANGE").arg(index).arg(0).arg(-1).to_owned(), true),
            Self::Remove { index, member } => add(cmd("ZREM").arg(index).arg(member).to_owned(), true),
            Self::Script { script, keys, arguments, wait } => {
                let mut run = match manner.text {
                    true => cmd("EVAL").arg(script.text()).to_owned(),
                    false => cmd("EVALSHA").arg(script.hash()).to_owned(),
                };
                add(run.arg(keys.len()).arg(*keys).arg(*arguments).to_owned(), true);
                if let Some(wait) = wait {
                    let millis = u64::try_from(wait.timeout.as_millis()).unwrap_or(u64::MAX);
                    add(cmd("WAIT").arg(wait.replicas).arg(millis).to_owned(), true);
                }
            }
        }
        (commands, kept)
    }
}

fn read(key: &str) -> redis::Cmd {
    cmd("GETRANGE").arg(key).arg(0).arg(MOST - 1).to_owned()
}
