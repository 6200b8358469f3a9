//! The authority, and how one follows another: trusted first, then used, then the old one forgotten.

use std::time::Duration;

use super::signer::Signer;
use super::x509::Certificate;
use crate::authz::session::Timestamp;

/// The install's authority as its Secret holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// The one that signs.
    pub(super) current: Signer,
    /// The one that will sign.
    pub(super) next: Option<Signer>,
    /// The one that has signed.
    pub(super) previous: Option<Certificate>,
    /// Since when what the next turn waits for has been so: that all are told of `next`, or that nothing is in use any more that
    /// `previous` has signed.
    pub(super) since: Option<Timestamp>,
}

/// How far the others are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Others {
    /// Whether all are told whom to trust now.
    pub(super) are_told: bool,
    /// Whether all certificates are of the authority that signs now.
    pub(super) are_renewed: bool,
}

/// How long an authority lives, from the life of what it signs.
pub(super) fn life_of(leaf: Duration) -> Duration {
    leaf.saturating_mul(10)
}

/// How long each turn takes at least: by then everybody has read what has been published.
pub(super) fn overlap(leaf: Duration) -> Duration {
    leaf / 10
}

impl Authority {
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn make(life: Duration, now: Timestamp) -> anyhow::Result<Self> {
        Ok(Self { current: Signer::make(life_of(life), now)?, next: None, previous: None, since: None })
    }

    /// Whom to trust now, in PEM.
    pub(super) fn bundle(&self) -> String {
        let next = self.next.iter().map(|it| &it.certificate);
        let all = std::iter::once(&self.current.certificate).chain(next).chain(&self.previous);
        all.map(|it| format!("{}\n", it.pem.trim_end())).collect()
    }

    /// From when on another is made: then what it signs last ends before it does.
    pub(super) fn renewal(&self, life: Duration) -> Timestamp {
        let before = i64::try_from(life.saturating_mul(2).as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.current.certificate.ends.as_millis().saturating_sub(before))
    }

    /// The authority as it should be from `now` on; `None` when it is right as it is.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn turn(&self, others: Others, life: Duration, now: Timestamp) -> anyhow::Result<Option<Self>> {
        let is_over = self.current.certificate.ends <= now;
        let has_waited = self.since.is_some_and(|since| now >= since.plus(overlap(life)));
        Ok(match (&self.next, &self.previous) {
            // Nobody trusts this one any more, so there is nobody to wait for.
            (Some(next), _) if has_waited || is_over => Some(Self {
                current: next.clone(),
                next: None,
                previous: Some(self.current.certificate.clone()),
                since: None,
            }),
            _ if is_over => Some(Self::make(life, now)?),
            (Some(_), _) if self.since.is_none() && others.are_told => Some(Self { since: Some(now), ..self.clone() }),
            (None, Some(_)) if has_waited => Some(Self { previous: None, since: None, ..self.clone() }),
            (None, Some(_)) if self.since.is_none() && others.are_renewed => {
                Some(Self { since: Some(now), ..self.clone() })
            }
            (None, None) if now >= self.renewal(life) => {
                Some(Self { next: Some(Signer::make(life_of(life), now)?), since: None, ..self.clone() })
            }
            _ => None,
        })
    }
}
