//! A key ring in memory, as a Secret holds it: the very files that a folder has.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::algorithm::SigningAlgorithm;
use super::ceremony::{self, CeremonyError, Handover};
use super::folder::{self, KeyRingError, RING_FILE, RingFile};
use super::namespaces;
use super::timeline::{KeyState, KeyTimes, Timeline};
use crate::authz::session::Timestamp;

/// More bytes than any key of ours has, in PEM; and more than any ring with them. Who writes the Secret of one namespace must not
/// take the room of the others where all lie together (P27).
const MAX_PEM: usize = 4 * 1024;
const MAX_BYTES: usize = 16 * 1024;

/// When keys are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// For how long each key signs.
    pub every: Duration,
    /// For how long a key is published before it signs; at least [`ceremony::MIN_PUBLISH`], less than `every`.
    pub publish_for: Duration,
}

/// The files of a key ring, checked. `Debug` shows no byte of a key.
#[derive(Clone)]
pub struct KeyBundle {
    ring: RingFile,
    pems: BTreeMap<String, Zeroizing<Vec<u8>>>,
    timeline: Arc<Timeline>,
}

impl fmt::Debug for KeyBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyBundle({} keys, redacted)", self.ring.keys.len())
    }
}

impl KeyBundle {
    /// A ring with one new key, published and signing from `now` on.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate(algorithm: SigningAlgorithm, now: Timestamp) -> Result<Self, CeremonyError> {
        let now = ceremony::whole_second(now);
        let mut pems = BTreeMap::new();
        let times = KeyTimes { published: now, signing: now, retired: None };
        let (entry, pem) = ceremony::new_key(algorithm, times)?;
        pems.insert(entry.file(), Zeroizing::new(pem.as_bytes().to_vec()));
        Self::checked(RingFile { keys: vec![entry] }, pems)
    }

    /// Reads the files of a ring. `name` is what errors call the place: `Secret shop/cloakroom-keys`.
    ///
    /// # Errors
    /// When the ring is not whole: the file, and what to do.
    pub fn read<'a>(name: &str, file: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, KeyRingError> {
        let place = Path::new(name);
        let missing = |name: &str| KeyRingError::Key {
            path: place.to_owned(),
            kid: name.trim_end_matches(".pem").to_owned(),
            problem: format!("{RING_FILE} names it and there is no {name}; restore the file"),
        };
        let text = file(RING_FILE).ok_or_else(|| KeyRingError::Syntax {
            path: place.join(RING_FILE),
            problem: "it is not there; restore the file".to_owned(),
        })?;
        let text = std::str::from_utf8(text).map_err(|_| KeyRingError::Syntax {
            path: place.join(RING_FILE),
            problem: "it is not UTF-8; restore the file".to_owned(),
        })?;
        let too_large = |size: usize| {
            let problem = format!(
                "with its keys it is {size} bytes or more, over {MAX_BYTES}; remove keys that are past `retired`"
            );
            if size > MAX_BYTES { Err(KeyRingError::Syntax { path: place.join(RING_FILE), problem }) } else { Ok(()) }
        };
        let mut size = text.len();
        too_large(size)?;
        let mut pems = BTreeMap::new();
        let (ring, timeline) = folder::assemble(&place.join(RING_FILE), text, |entry| {
            let name = entry.file();
            let text = file(&name).ok_or_else(|| missing(&name))?;
            if text.len() > MAX_PEM {
                let kid = name.trim_end_matches(".pem").to_owned();
                let problem =
                    format!("{name} is {} bytes, over {MAX_PEM}; leave nothing but the key in it", text.len());
                return Err(KeyRingError::Key { path: place.to_owned(), kid, problem });
            }
            size += text.len();
            too_large(size)?;
            let key = folder::parse_key(&place.join(&name), entry, text)?;
            pems.insert(name, Zeroizing::new(text.to_vec()));
            Ok(key)
        })?;
        Ok(Self { ring, pems, timeline: Arc::new(timeline) })
    }

    /// Whether it may lie among those of other namespaces, for gates with this `jwt.algorithm`. `name` is as for [`Self::read`].
    ///
    /// # Errors
    /// The key that may not, and the cure.
    pub fn among_others(&self, name: &str, algorithm: SigningAlgorithm) -> Result<(), KeyRingError> {
        namespaces::among_others(&self.timeline, &Path::new(name).join(RING_FILE), algorithm)
    }

    /// Every file with its content, as [`Self::read`] takes them and a folder holds them.
    pub fn files(&self) -> impl Iterator<Item = (String, Zeroizing<Vec<u8>>)> + '_ {
        let ring = Zeroizing::new(ceremony::ring_text(&self.ring).into_bytes());
        let pems = self.pems.iter().map(|(name, pem)| (name.clone(), pem.clone()));
        std::iter::once((RING_FILE.to_owned(), ring)).chain(pems)
    }

    /// The ring as it should be from `now` on: with the next key, for `algorithm`, when it is time to publish one, without keys
    /// whose time is over. `None` when it is right as it is.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn kept_up(
        &self,
        schedule: Schedule,
        algorithm: SigningAlgorithm,
        now: Timestamp,
    ) -> Result<Option<Self>, CeremonyError> {
        let (mut ring, mut pems) = (self.ring.clone(), self.pems.clone());
        if self.rotation_due(schedule, algorithm) <= now {
            let handover = Handover::After(schedule.publish_for);
            ceremony::turn(&mut ring, Some(algorithm), handover, now, |algorithm, times| {
                let (entry, pem) = ceremony::new_key(algorithm, times)?;
                pems.insert(entry.file(), Zeroizing::new(pem.as_bytes().to_vec()));
                Ok(entry)
            })?;
        }
        for gone in ceremony::prune(&mut ring, now) {
            pems.remove(&gone.file());
        }
        if ring == self.ring { Ok(None) } else { Self::checked(ring, pems).map(Some) }
    }

    /// When something is to be done next: a key to be published or to be forgotten.
    pub fn due(&self, schedule: Schedule, algorithm: SigningAlgorithm) -> Timestamp {
        let gone = self.ring.keys.iter().filter_map(|entry| entry.times().gone());
        gone.fold(self.rotation_due(schedule, algorithm), Timestamp::min)
    }

    /// Whether it has a key that signs at `now`.
    pub fn can_sign(&self, now: Timestamp) -> bool {
        self.ring.keys.iter().any(|entry| entry.times().state(now) == KeyState::Signing)
    }

    pub(super) fn timeline(&self) -> &Arc<Timeline> {
        &self.timeline
    }

    /// When the next key is to be published: so long before the newest one has signed for its time as it takes to be known; and as
    /// soon as that signs, where it is not for `algorithm`. While a key waits to sign this is in the future.
    fn rotation_due(&self, schedule: Schedule, algorithm: SigningAlgorithm) -> Timestamp {
        match self.ring.keys.last() {
            Some(newest) if newest.algorithm == algorithm => {
                newest.signing.plus(schedule.every.saturating_sub(schedule.publish_for))
            }
            newest => newest.map_or(Timestamp::from_millis(0), |it| it.signing),
        }
    }

    /// Reads it back as a server will, so that nothing is ever written that could not be used.
    fn checked(ring: RingFile, pems: BTreeMap<String, Zeroizing<Vec<u8>>>) -> Result<Self, CeremonyError> {
        let text = ceremony::ring_text(&ring);
        let file = |name: &str| {
            let pem = pems.get(name).map(|pem| pem.as_slice());
            if name == RING_FILE { Some(text.as_bytes()) } else { pem }
        };
        Ok(Self::read("the new key ring", file)?)
    }
}
