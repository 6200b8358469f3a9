//! One cached session, and what is kept beside it.

use std::fmt;
use std::mem::size_of;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::flights::Seq;
use super::stripes::{Mark, SubjectStripe};
use crate::authz::credential::AccessToken;
use crate::authz::policy::MintSpec;
use crate::authz::session::{SecretAge, SecretDigest, Session, Timestamp};
use crate::sessions::keyring::{KeyId, Minted};
use crate::sessions::token::{presented_digest, secret_digest};

/// How many JWTs are kept for one session: audiences times keys and versions that are on their way out. The one that is
/// stale soonest makes room.
const MAX_MINTED: usize = 8;
/// What a slot of the cache, the two `Arc`s and the allocator take beside the values themselves.
const OVERHEAD: usize = 256;
/// What the claims of a session JWT take beside the session's own values, its header and signature included.
const JWT_FRAME: usize = 640;

/// One cached session, as one load of the store answered it, and the JWTs minted for it.
///
/// Its weight never changes, since the cache must find the same weight when it takes it out. Where more is kept than was
/// reserved, the entry is replaced by a heavier one that shares the shelf.
pub struct Entry {
    session: Arc<Session>,
    /// Where the changes stood before the load began.
    pub(super) mark: Mark,
    /// The stripe of its subject.
    pub(super) subject: SubjectStripe,
    /// Which load this is.
    pub(super) seq: Seq,
    /// When the load began.
    pub(super) loaded_at: Timestamp,
    weight: u64,
    proved: OnceLock<Proved>,
    pub(in crate::sessions) shelf: Arc<Shelf>,
}

/// A token that was found right once, tag and secret: presented again, one hash is enough to know it.
struct Proved {
    presented: SecretDigest,
    secret: SecretDigest,
}

/// What outlives a reload of the same session: JWTs, and when something was last done for it.
pub(in crate::sessions) struct Shelf {
    minted: Mutex<Vec<Shelved>>,
    /// The last use that was taken to the store or is on its way, in milliseconds.
    touched: AtomicI64,
    /// The last attempt to replace the secret, in milliseconds.
    replaced: AtomicI64,
    /// The last attempt to write the end of the previous secret, in milliseconds.
    ended: AtomicI64,
    doubts: Mutex<Doubts>,
}

/// A minted JWT and what it is good for.
struct Shelved {
    spec: Arc<MintSpec>,
    version: u64,
    minted: Minted,
}

/// The loads made for secrets that the record did not match.
#[derive(Default)]
struct Doubts {
    next: Option<Instant>,
    waiting: usize,
}

impl Entry {
    pub(super) fn new(
        mut session: Session,
        subject: SubjectStripe,
        mark: Mark,
        seq: Seq,
        loaded_at: Timestamp,
        shelf: Arc<Shelf>,
    ) -> Self {
        // A use that is still on its way to the store counts here already.
        session.last_seen = session.last_seen.max(shelf.touched());
        let weight = weight(&session, shelf.bytes());
        Self { session: Arc::new(session), mark, subject, seq, loaded_at, weight, proved: OnceLock::new(), shelf }
    }

    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether the load that brought it began at `earliest` or later.
    pub(in crate::sessions) fn is_of(&self, earliest: Seq) -> bool {
        self.seq >= earliest
    }

    /// What the cache counts for it, in bytes.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether more is kept beside it than its weight says.
    pub(super) fn outgrown(&self) -> bool {
        weight(&self.session, self.shelf.bytes()) > self.weight
    }

    /// The same load, with the weight it has now and the last use it has now.
    pub(super) fn refitted(&self) -> Self {
        let session = Session::clone(&self.session);
        Self::new(session, self.subject, self.mark, self.seq, self.loaded_at, Arc::clone(&self.shelf))
    }

    /// Which secret `token` is, if this very token was proved with this entry before. One SHA-256, no HMAC, no lock.
    ///
    /// The digest covers secret **and** tag. So a token is judged the same by a hit and by a miss: with another tag it is
    /// not this token, and goes the long way to `Invalid`.
    pub(in crate::sessions) fn recognises(&self, token: &AccessToken, now: Timestamp) -> Option<SecretAge> {
        let proved = self.proved.get()?;
        if !proved.presented.matches(&presented_digest(token)) {
            return None;
        }
        self.session.accepts(&proved.secret, now)
    }

    /// Which of the session's secrets the token holds. The caller has verified its tag.
    pub(in crate::sessions) fn accepts(&self, token: &AccessToken, now: Timestamp) -> Option<SecretAge> {
        let secret = secret_digest(token.secret());
        let age = self.session.accepts(&secret, now)?;
        // The first token keeps the place; within an overlap the other one pays for its HMAC each time.
        let _ = self.proved.set(Proved { presented: presented_digest(token), secret });
        Some(age)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("session", &self.session.id)
            .field("loaded_at", &self.loaded_at)
            .finish_non_exhaustive()
    }
}

/// Whether a JWT was signed for this request or handed out again.
pub(in crate::sessions) enum Jwt {
    /// Signed now.
    New(Minted),
    /// Kept from before.
    Kept(bytes::Bytes),
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self {
            minted: Mutex::default(),
            touched: AtomicI64::new(i64::MIN),
            replaced: AtomicI64::new(i64::MIN),
            ended: AtomicI64::new(i64::MIN),
            doubts: Mutex::default(),
        }
    }

    /// The JWT for this spec, version and key: a kept one, or else what `mint` makes. One signature however many ask at once:
    /// the lock is held while signing (some 40 µs), and only requests of this session wait for it.
    pub(in crate::sessions) fn jwt<E>(
        &self,
        spec: &Arc<MintSpec>,
        version: u64,
        key: &KeyId,
        now: Timestamp,
        mint: impl FnOnce() -> Result<Minted, E>,
    ) -> Result<Jwt, E> {
        let mut shelf = self.minted();
        let kept = shelf.iter().find(|kept| {
            kept.version == version
                && (Arc::ptr_eq(&kept.spec, spec) || kept.spec == *spec)
                && kept.minted.key == *key
                && now < kept.minted.fresh_until
        });
        if let Some(kept) = kept {
            return Ok(Jwt::Kept(kept.minted.jwt.clone()));
        }
        let minted = mint()?;
        // What no request can be given any more goes first, then what goes stale soonest.
        shelf.retain(|kept| kept.version >= version && now < kept.minted.fresh_until);
        if shelf.len() >= MAX_MINTED
            && let Some(soonest) = (0..shelf.len()).min_by_key(|index| shelf[*index].minted.fresh_until)
        {
            shelf.swap_remove(soonest);
        }
        // Most sessions have one.
        shelf.reserve_exact(1);
        shelf.push(Shelved { spec: Arc::clone(spec), version, minted: minted.clone() });
        Ok(Jwt::New(minted))
    }

    /// Takes the right to write this use to the store: true at most once each `every`.
    pub(in crate::sessions) fn claim_touch(&self, last_seen: Timestamp, now: Timestamp, every: Duration) -> bool {
        claim(&self.touched, last_seen, now, every)
    }

    /// The use did not reach the store: the next one tries again.
    pub(in crate::sessions) fn forget_touch(&self) {
        self.touched.store(i64::MIN, Ordering::Release);
    }

    /// Takes the right to replace the secret: true at most once each `every`.
    pub(in crate::sessions) fn claim_replacement(&self, now: Timestamp, every: Duration) -> bool {
        claim(&self.replaced, Timestamp::from_millis(i64::MIN), now, every)
    }

    /// Takes the right to write the end of the previous secret: true at most once each `every`.
    pub(in crate::sessions) fn claim_end(&self, now: Timestamp, every: Duration) -> bool {
        claim(&self.ended, Timestamp::from_millis(i64::MIN), now, every)
    }

    /// A place in the next load made for a doubted secret of this session, and when that may begin: loads are `every` apart.
    /// `None` when `most` wait already.
    pub(in crate::sessions) fn doubt(self: &Arc<Self>, every: Duration, most: usize) -> Option<(DoubtPlace, Instant)> {
        let mut doubts = self.doubts();
        if doubts.waiting >= most {
            return None;
        }
        let now = Instant::now();
        let at = match doubts.next {
            Some(next) if next > now => next,
            _ => {
                doubts.next = Some(now + every);
                now
            }
        };
        doubts.waiting += 1;
        Some((DoubtPlace(Arc::clone(self)), at))
    }

    fn touched(&self) -> Timestamp {
        Timestamp::from_millis(self.touched.load(Ordering::Acquire))
    }

    /// What the kept JWTs take.
    fn bytes(&self) -> usize {
        self.minted().iter().map(|kept| size_of::<Shelved>() + kept.minted.jwt.len()).sum()
    }

    fn minted(&self) -> MutexGuard<'_, Vec<Shelved>> {
        // `mint` may panic under the lock; the list is then as it was before.
        self.minted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubts(&self) -> MutexGuard<'_, Doubts> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who wait for a load of a doubted session; given back when dropped.
pub(in crate::sessions) struct DoubtPlace(Arc<Shelf>);

impl Drop for DoubtPlace {
    fn drop(&mut self) {
        self.0.doubts().waiting -= 1;
    }
}

fn claim(last: &AtomicI64, floor: Timestamp, now: Timestamp, every: Duration) -> bool {
    let seen = last.load(Ordering::Acquire);
    let due = now.since(Timestamp::from_millis(seen).max(floor)) >= every;
    due && last.compare_exchange(seen, now.as_millis(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// An honest estimate of what an entry takes, in bytes, with room for one JWT until there are more.
fn weight(session: &Session, minted: usize) -> u64 {
    let texts = |texts: &[String]| texts.iter().map(|text| text.capacity() + size_of::<String>()).sum::<usize>();
    let maybe = |text: Option<&String>| text.map_or(0, String::capacity);
    let device = session.device.as_ref().map_or(0, |device| {
        maybe(device.label.as_ref()) + maybe(device.user_agent.as_ref()) + maybe(device.address.as_ref())
    });
    let provider = session.provider.as_ref().map_or(0, |it| it.iss.capacity() + maybe(it.sid.as_ref()));
    let values = session.subject.capacity()
        + maybe(session.acr.as_ref())
        + texts(&session.amr)
        + texts(&session.scopes)
        + texts(&session.roles)
        + session.claims.as_json().len();
    // A JWT is base64url: four characters for three bytes.
    let one_jwt = size_of::<Shelved>() + (values + JWT_FRAME) * 4 / 3;
    let fixed = OVERHEAD + size_of::<Entry>() + size_of::<Session>() + size_of::<Shelf>();
    (fixed + values + device + provider + minted.max(one_jwt)) as u64
}
