//! What one server does in one step. Every script names its keys, all in one slot, and can be repeated.
//!
//! `PX` times are relative, so that a server's clock that is wrong keeps records longer or shorter and judges nothing: a
//! record says itself when it is over.

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
/// `KEYS`: epoch, index. `ARGV`: a new epoch, the id, the absolute end (ms), how long until it (ms), now (ms).
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
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[5])
    redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
    if redis.call('PTTL', KEYS[2]) < left then
        redis.call('PEXPIRE', KEYS[2], left * 2)
    end
    return epoch
    ",
);

/// Puts a session into the index of its provider's session.
///
/// `KEYS`: index. `ARGV`: the id, the absolute end (ms), how long until it (ms), now (ms).
pub(super) static LIST: Script = Script::new(
    r"
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[4])
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
/// `KEYS`: record, seen. `ARGV`: the tombstone. The second byte of a record tells which of both it is.
pub(super) static BURY: Script = Script::new(
    r"
    local there = redis.call('GET', KEYS[1])
    if not there or string.byte(there, 2) ~= 1 then
        return 0
    end
    redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
    redis.call('DEL', KEYS[2])
    return 1
    ",
);

/// Notes a use of a session that is there, unless a later one is noted.
///
/// `KEYS`: record, seen. `ARGV`: when (ms), the record's `created` (ms), how long until its end (ms).
pub(super) static TOUCH: Script = Script::new(
    r"
    local there = redis.call('GETRANGE', KEYS[1], 0, 1)
    if string.byte(there, 2) ~= 1 then
        return 0
    end
    local last = redis.call('GET', KEYS[2]) or ARGV[2]
    if tonumber(ARGV[1]) <= tonumber(last) then
        return 0
    end
    redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
    return 1
    ",
);

/// Moves a subject's epoch on and answers the ids of its sessions, those whose end has passed left out.
///
/// `KEYS`: epoch, index. `ARGV`: the new epoch, now (ms). Where the epoch is lost its sessions are refused already.
pub(super) static LOG_OUT: Script = Script::new(
    r"
    if redis.call('EXISTS', KEYS[1]) == 1 then
        redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
    end
    local ids = redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[2], '+inf')
    redis.call('UNLINK', KEYS[2])
    return ids
    ",
);
