//! What a change makes of a record: pure, and the same for every store.

use super::{SecretChange, Session};
use crate::authz::session::PreviousSecret;
use crate::store::record::{self, TooLarge};

/// What becomes of the record.
#[derive(Debug)]
pub(super) enum Step {
    /// This is the record now.
    Write(Box<Session>),
    /// The record is no longer as the caller thinks.
    Conflict,
}

/// Whether `again` is the creation that made `stored`, repeated: equal but for the epoch and `last_seen`.
pub(super) fn is_same_creation(stored: &Session, again: &Session) -> Result<bool, TooLarge> {
    let again = Session { epoch: stored.epoch, ..again.clone() };
    Ok(record::encode(stored)? == record::encode(&again)?)
}

/// The record after an update of version `expected`. What a caller may not set stays as it is stored.
pub(super) fn update(stored: Session, expected: u64, wanted: Session) -> Step {
    if stored.version != expected {
        return Step::Conflict;
    }
    Step::Write(Box::new(Session {
        version: expected.saturating_add(1),
        id: stored.id,
        realm: stored.realm,
        subject: stored.subject,
        secret: stored.secret,
        previous: stored.previous,
        rotated_at: stored.rotated_at,
        created: stored.created,
        last_seen: stored.last_seen,
        absolute_end: stored.absolute_end,
        epoch: stored.epoch,
        ..wanted
    }))
}

/// The record after a change of its secret.
///
/// The end of an overlap is written once and never moves out or away again: a gate that still believes the overlap open
/// (the successor not yet presented) meets a conflict, and could otherwise replace the very secret that its owner now holds.
pub(super) fn rotate(stored: Session, change: &SecretChange) -> Step {
    if !stored.secret.matches(&change.from) {
        return Step::Conflict;
    }
    let ending = |wanted: &PreviousSecret| {
        stored.previous.filter(|kept| kept.digest.matches(&wanted.digest)).and_then(|kept| kept.ends)
    };
    let previous = match change.previous {
        None => None,
        Some(wanted) => match (ending(&wanted), wanted.ends) {
            (Some(_), None) => return Step::Conflict,
            (Some(kept), Some(ends)) => Some(PreviousSecret { ends: Some(kept.min(ends)), ..wanted }),
            (None, _) => Some(wanted),
        },
    };
    Step::Write(Box::new(Session { secret: change.to, previous, rotated_at: change.rotated_at, ..stored }))
}
