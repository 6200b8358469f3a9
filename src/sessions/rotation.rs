//! Replacing a cookie's secret while it is in use, in two phases (DESIGN 2).
//!
//! The old secret counts until its successor is presented, and then for the overlap: a browser that lost our answer, and
//! requests already under way with the old cookie, still pass.
//!
//! | presented | the record's previous secret | what follows |
//! |---|---|---|
//! | present | none, or its overlap is over | when older than `rotate_every`: replace it |
//! | present | without an end | the successor has arrived: the old one ends after the overlap |
//! | present | within its overlap | nothing |
//! | previous | without an end | the answer may be lost: another successor, an overlap after the last one at the earliest |
//! | previous | within its overlap | nothing |

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::cookie::{CookieValue, set_cookie};
use super::token::RandomFailed;
use super::view::Entry;
use super::{Sessions, in_time};
use crate::authz::credential::{AccessToken, Carrier};
use crate::authz::session::{PreviousSecret, SecretAge, Session, Timestamp};
use crate::authz::verdict::Permit;
use crate::store::{Changed, SecretChange};

/// How long a request waits for its rotation. The write itself goes on; its cookie is lost then, and the old one still counts.
const PATIENCE: Duration = Duration::from_millis(100);
/// How far apart this process's attempts to write one session's secret are.
const AGAIN: Duration = Duration::from_secs(1);

/// What a use of a secret calls for.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Nothing.
    Rest,
    /// Write when the previous secret ends.
    End(PreviousSecret),
    /// Make a successor, before which this secret counts.
    Replace(PreviousSecret),
}

fn step(
    session: &Session,
    age: SecretAge,
    by_cookie: bool,
    every: Option<Duration>,
    overlap: Duration,
    now: Timestamp,
) -> Step {
    let replaceable = |after: Duration| by_cookie && now.since(session.rotated_at) >= after;
    match (age, session.previous) {
        (SecretAge::Present, Some(previous)) if previous.ends.is_none() => {
            Step::End(PreviousSecret { ends: Some(now.plus(overlap)), ..previous })
        }
        (SecretAge::Present, Some(previous)) if previous.ends.is_some_and(|ends| now < ends) => Step::Rest,
        (SecretAge::Present, _) if every.is_some_and(replaceable) => {
            Step::Replace(PreviousSecret { digest: session.secret, ends: None })
        }
        (SecretAge::Previous, Some(previous)) if previous.ends.is_none() && every.is_some() && replaceable(overlap) => {
            Step::Replace(previous)
        }
        _ => Step::Rest,
    }
}

impl Sessions {
    /// Does what this use of a secret calls for; answers a `Set-Cookie` when there is a successor. Nothing that fails here is
    /// told to the request.
    pub(super) async fn renew(
        &self,
        permit: &Permit,
        entry: &Arc<Entry>,
        age: Option<SecretAge>,
        now: Timestamp,
    ) -> Option<String> {
        let cookie = match permit.carrier() {
            Carrier::Cookie(name) => Some(name),
            Carrier::Bearer | Carrier::Header(_) => None,
        };
        let session = entry.session();
        // Where the response may end the session, a new cookie would arrive behind the line that takes the old one back: another
        // rule will do.
        let every = self.config.rotate_every.filter(|_| !permit.may_end());
        match step(session, age?, cookie.is_some(), every, self.config.rotate_overlap, now) {
            Step::Rest => None,
            Step::End(previous) => {
                self.end_previous(entry, previous, now);
                None
            }
            Step::Replace(previous) => {
                let token = Box::pin(self.replace(entry, previous, now)).await?;
                let left = session.absolute_end.since(now);
                Some(set_cookie(cookie?, &CookieValue::Token(&token, left)).to_string())
            }
        }
    }

    /// Writes the end of the previous secret, in the background. Until it is written each use tries again.
    fn end_previous(&self, entry: &Arc<Entry>, previous: PreviousSecret, now: Timestamp) {
        let Ok(place) = Arc::clone(&self.writes).try_acquire_owned() else { return };
        if !entry.shelf.claim_end(now, AGAIN) {
            return;
        }
        let session = entry.session();
        let (realm, sid) = (session.realm.clone(), session.id);
        let change = SecretChange {
            from: session.secret,
            to: session.secret,
            previous: Some(previous),
            rotated_at: session.rotated_at,
        };
        let (store, view, stats) = (Arc::clone(&self.store), Arc::clone(&self.view), Arc::clone(&self.stats));
        self.tasks.spawn(async move {
            let _place = place;
            let written = in_time(store.rotate(&realm, sid, change)).await;
            view.changed(sid);
            if !matches!(written, Ok(Changed::Done(_))) {
                stats.rotation_failures.inc();
            }
        });
    }

    /// A successor, if this process may make one now and wins it.
    async fn replace(&self, entry: &Arc<Entry>, previous: PreviousSecret, now: Timestamp) -> Option<AccessToken> {
        let place = Arc::clone(&self.writes).try_acquire_owned().ok()?;
        if !entry.shelf.claim_replacement(now, AGAIN) {
            return None;
        }
        let session = entry.session();
        let (realm, sid) = (session.realm.clone(), session.id);
        let (token, digest) = match self.token_keys.mint(&realm, sid) {
            Ok(made) => made,
            Err(RandomFailed) => {
                self.stats.rotation_failures.inc();
                return None;
            }
        };
        let change = SecretChange { from: session.secret, to: digest, previous: Some(previous), rotated_at: now };
        let (store, view, stats) = (Arc::clone(&self.store), Arc::clone(&self.view), Arc::clone(&self.stats));
        // In a task of its own: once written, the view must hear of it, whether or not the request still waits.
        let written = self.tasks.spawn(async move {
            let _place = place;
            let written = in_time(store.rotate(&realm, sid, change)).await;
            view.changed(sid);
            let won = matches!(written, Ok(Changed::Done(_)));
            if won {
                stats.rotations.inc()
            } else {
                stats.rotation_failures.inc()
            }
            won
        });
        match timeout(PATIENCE, written).await {
            Ok(Ok(true)) => Some(token),
            Ok(_) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
