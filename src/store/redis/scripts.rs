//! What one server does in one step. Every script names its keys, all in one slot, and can be repeated.
//!
//! Lives of keys are relative, so that a server's clock that is wrong keeps records longer or shorter and judges nothing: a record
//! says itself when it is over. Indexes are cleared by the server's clock, a minute late, so that no gate's clock takes another
//! gate's session out of them.

use std::sync::OnceLock;

use aws_lc_rs::digest;

/// A Lua script.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    pub(super) const fn new(text: &'static str) -> Self {
        Self { text, hash: OnceLock::new() }
    }

    /// Its text, for `EVAL`.
    pub(super) fn text(&self) -> &'static str {
        self.text
    }

    /// What a server that has seen the text knows it by (`EVALSHA`): its SHA-1, which is a name here and no protection.
    pub(super) fn hash(&self) -> &str {
        self.hash.get_or_init(|| {
            let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, self.text.as_bytes());
            sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        })
    }
}

/// Puts a session into its subject's index, and answers the subject's epoch, made from `ARGV[1]` when there is none.
///
/// `KEYS`: epoch, index. `ARGV`: a new epoch, the id, the absolute end (ms), how long until it (ms).
///
/// The epoch lives as long as any session made under it. Its life is set twice as long as asked, so that few log-ins change
/// the key: each change makes the gates that know the subject load its sessions again.
pub(super) static JOIN: Script = Script::new(
    r"
    local left = tonumber(ARGV[4])
    local epoch = redis.call('GET', KEYS[1])
    if not epoch then
        epoch = ARGV[1]
        redis.call('SET', KEYS[1], epoch, 'PX', left * 2)
    elseif redis.call('PTTL', KEYS[1]) < left then
        redis.call('PEXPIRE', KEYS[1], left * 2)
    end
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', (redis.call('TIME')[1] - 60) * 1000)
    redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
    if redis.call('PTTL', KEYS[2]) < left then
        redis.call('PEXPIRE', KEYS[2], left * 2)
    end
    return epoch
    ",
);

/// Puts a session into the index of its provider's session.
///
/// `KEYS`: index. `ARGV`: the id, the absolute end (ms), how long until it (ms).
pub(super) static LIST: Script = Script::new(
    r"
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', (redis.call('TIME')[1] - 60) * 1000)
    redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
        redis.call('PEXPIRE', KEYS[1], ARGV[3] * 2)
    end
    return 1
    ",
);

/// Writes a record where there is none; else answers the one that is there, and its `last_seen`.
///
/// `KEYS`: record, seen. `ARGV`: the record, how long until its end (ms), `last_seen` or nothing.
pub(super) static PUT: Script = Script::new(
    r"
    local there = redis.call('GET', KEYS[1])
    if there then
        return {there, redis.call('GET', KEYS[2])}
    end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    if ARGV[3] == '' then
        redis.call('DEL', KEYS[2])
    else
        redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
    end
    return {}
    ",
);

/// Replaces the record that is exactly `ARGV[1]` by `ARGV[2]`; answers 1 when it was.
///
/// `KEYS`: record.
pub(super) static SWAP: Script = Script::new(
    r"
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then
        return 0
    end
    redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
    return 1
    ",
);

/// Replaces a session's record, whatever its version, by a tombstone; answers 1 when there was one to replace.
///
/// `KEYS`: record, and no other: of two keys one may be missing, and then no server runs the script while their slot moves. What is
/// kept of the last use goes by itself. `ARGV`: the tombstone. The second byte of a record tells which of both it is
/// (`record.rs`: 1 is a session).
pub(super) static BURY: Script = Script::new(
    r"
    local there = redis.call('GET', KEYS[1])
    if not there or string.byte(there, 2) ~= 1 then
        return 0
    end
    redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
    return 1
    ",
);

/// Notes a use of a session that is there, unless a later one is noted. A gate whose clock is ahead of the server's by more than the
/// leeway notes it as that much ahead: otherwise it would keep a session from being idle for all others (P23).
///
/// `KEYS`: record, seen. `ARGV`: when (ms), the record's `created` (ms), how long until its end (ms), the leeway (ms).
pub(super) static TOUCH: Script = Script::new(
    r"
    local there = redis.call('GETRANGE', KEYS[1], 0, 1)
    if string.byte(there, 2) ~= 1 then
        return 0
    end
    local last = redis.call('GET', KEYS[2]) or ARGV[2]
    local seen = ARGV[1]
    local most = redis.call('TIME')[1] * 1000 + ARGV[4]
    if tonumber(seen) > most then
        seen = string.format('%.0f', most)
    end
    if tonumber(seen) <= tonumber(last) then
        return 0
    end
    redis.call('SET', KEYS[2], seen, 'PX', ARGV[3])
    return 1
    ",
);

/// Moves a subject's epoch on and answers the ids of its sessions.
///
/// `KEYS`: epoch, index. `ARGV`: the new epoch. Where the epoch is lost its sessions are refused already.
pub(super) static LOG_OUT: Script = Script::new(
    r"
    if redis.call('EXISTS', KEYS[1]) == 1 then
        redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
    end
    local ids = redis.call('ZRANGE', KEYS[2], 0, -1)
    redis.call('UNLINK', KEYS[2])
    return ids
    ",
);
