//! What is asked of a server, as commands in one piece.

use std::time::Duration;

use redis::{Pipeline, cmd};

use super::scripts::Script;

/// One question. All its keys lie in one slot.
#[derive(Clone, Debug)]
pub(super) enum Call<'a> {
    /// A record and its `last_seen`: two answers.
    Record { session: &'a str, seen: &'a str },
    /// One value.
    Get(&'a str),
    /// The members of an index whose end has not passed.
    Members { index: &'a str, from: i64 },
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
            | Self::Members { index: key, .. }
            | Self::Remove { index: key, .. } => key,
            Self::Script { keys, .. } => keys.first().copied().unwrap_or_default(),
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
        let asking = |add: &mut dyn FnMut(redis::Cmd, bool)| {
            if manner.asking {
                add(cmd("ASKING"), false);
            }
        };
        asking(&mut add);
        match self {
            Self::Record { session, seen } => {
                add(cmd("GET").arg(session).to_owned(), true);
                // A use of the session must not make every gate load it again. A server forgets this word when another
                // command follows it, ASKING too: while a slot moves, uses are told.
                if manner.asking {
                    asking(&mut add);
                } else if tracked {
                    add(cmd("CLIENT").arg("CACHING").arg("NO").to_owned(), false);
                }
                add(cmd("GET").arg(seen).to_owned(), true);
            }
            Self::Get(key) => add(cmd("GET").arg(key).to_owned(), true),
            Self::Members { index, from } => {
                add(cmd("ZRANGEBYSCORE").arg(index).arg(from).arg("+inf").to_owned(), true);
            }
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
