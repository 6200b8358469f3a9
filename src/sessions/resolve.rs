//! From what a request presented to the session behind it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;

use super::touch::is_touch_due;
use super::view::{Ended, Entry, Found, Seq};
use super::{Resolved, Sessions};
use crate::authz::credential::AccessToken;
use crate::authz::plan::Wanted;
use crate::authz::reason::DenyReason;
use crate::authz::session::{Realm, SecretAge, Session, Timestamp};
use crate::authz::verdict::Lookup;

/// How far apart loads are that are made for one session because a well-tagged secret did not match its cached record. The
/// holder of an old token can cause no more of them, however often he asks. Well below a check's deadline (`check.timeout`,
/// 200 ms): whoever waits for his turn must still hear a 401, and not that the gate was too slow.
const DOUBT_INTERVAL: Duration = Duration::from_millis(40);
/// How many requests of one session wait for such a load at most.
const MAX_DOUBTING: usize = 64;

impl Sessions {
    /// The session behind what a request presented, from the view or the store. Unknown truth is `Lookup::Unavailable`.
    pub async fn resolve(&self, wanted: &Wanted, realm: &Realm, now: Timestamp) -> Resolved {
        match wanted {
            Wanted::Token(token) => self.by_token(token, realm, now).await,
            Wanted::SessionJwt(jwt, rule) => match self.keyring.verify(&jwt.0, rule, now) {
                None => Resolved::without(Lookup::Invalid),
                // The JWT is the proof of identity; the session must be alive now all the same (P9).
                Some(sid) => without_secret(self.view.find(realm, sid, Seq::ANY, now).await, now),
            },
            // Whoever asks here for what is not ours has a defect, and a defect refuses (P2).
            Wanted::Foreign(..) => Resolved::without(Lookup::Unavailable(DenyReason::Internal)),
        }
    }

    async fn by_token(&self, token: &AccessToken, realm: &Realm, now: Timestamp) -> Resolved {
        // The hot path: one map look-up and one hash.
        if let Some(entry) = self.view.cached(realm, token.sid(), Seq::ANY, now)
            && let Some(age) = entry.recognises(token, now)
        {
            self.stats.hits.inc();
            return active(entry, now, Some(age));
        }
        // Whoever cannot make a tag gets no further than here: neither to the store nor to a place in a queue (P32).
        if !self.token_keys.verify(realm, token) {
            self.stats.invalid_tokens.inc();
            return Resolved::without(Lookup::Invalid);
        }
        // Boxed: a check that does not wait must not carry the room for one that does.
        Box::pin(self.by_load(token, realm, now)).await
    }

    /// The session of a token of ours, from the store.
    async fn by_load(&self, token: &AccessToken, realm: &Realm, now: Timestamp) -> Resolved {
        let asked = self.view.next_load();
        let entry = match self.view.find(realm, token.sid(), Seq::ANY, now).await {
            Found::Live(entry) => entry,
            other => return without_secret(other, now),
        };
        match entry.accepts(token, now) {
            Some(age) => active(entry, now, Some(age)),
            None if entry.is_of(asked) => Resolved::without(Lookup::Unknown),
            None => self.by_doubted_token(token, realm, &entry, asked, now).await,
        }
    }

    /// Judges a token of ours whose secret is not that of the cached record. It may be an old one, or one that another replica
    /// made a moment ago; so it is judged by a load that began after it was presented, never by an older one.
    async fn by_doubted_token(
        &self,
        token: &AccessToken,
        realm: &Realm,
        doubted: &Arc<Entry>,
        asked: Seq,
        now: Timestamp,
    ) -> Resolved {
        self.stats.doubts.inc();
        let Some((_place, at)) = doubted.shelf.doubt(DOUBT_INTERVAL, MAX_DOUBTING) else {
            self.stats.overloads.inc();
            return Resolved::without(Lookup::Unavailable(DenyReason::Overloaded));
        };
        sleep_until(at).await;
        match self.view.find(realm, token.sid(), asked, now).await {
            Found::Live(entry) => match entry.accepts(token, now) {
                Some(age) => active(entry, now, Some(age)),
                None => Resolved::without(Lookup::Unknown),
            },
            other => without_secret(other, now),
        }
    }
}

/// A live session. Where its last use is to be written anew, this request sees it as used now: what is minted for it lives
/// until the session's end as this use makes it, and not as it would have been without.
fn active(entry: Arc<Entry>, now: Timestamp, secret: Option<SecretAge>) -> Resolved {
    let session = entry.session();
    let session = if is_touch_due(session, now) {
        Arc::new(Session { last_seen: now, ..Session::clone(session) })
    } else {
        Arc::clone(session)
    };
    Resolved { lookup: Lookup::Active(session), entry: Some(entry), secret }
}

/// What was found, where no secret counts.
fn without_secret(found: Found, now: Timestamp) -> Resolved {
    Resolved::without(match found {
        Found::Live(entry) => return active(entry, now, None),
        Found::Over(Ended::Revoked) => Lookup::Revoked,
        Found::Over(Ended::Expired) => Lookup::Expired,
        Found::Over(Ended::Idle) => Lookup::Idle,
        Found::Absent => Lookup::Unknown,
        Found::Unavailable(reason) => Lookup::Unavailable(reason),
    })
}

#[cfg(test)]
mod tests;
