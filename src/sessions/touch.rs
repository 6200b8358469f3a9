//! Noting that a session is used: in the background, and never a reason to refuse or delay a request.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::view::Entry;
use super::{Sessions, in_time};
use crate::authz::session::{Session, Timestamp};

/// A session is touched at most once in this part of its idle timeout: a use is lost to the idle clock by a tenth at most.
const PARTS: u32 = 10;
/// How often one use is tried to be written.
const TRIES: usize = 3;
/// How long between tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether a use at `now` is to be written.
pub(super) fn is_touch_due(session: &Session, now: Timestamp) -> bool {
    now.since(session.last_seen) >= session.idle / PARTS
}

impl Sessions {
    /// Takes this use to the store, if the last one that was taken there lies back a tenth of the idle timeout.
    ///
    /// The view counts the use at once. Where the store never gets to know of it, the view believes the store again.
    pub(super) fn touch(&self, entry: &Arc<Entry>, now: Timestamp) {
        let session = entry.session();
        if !is_touch_due(session, now) {
            return;
        }
        // Without a place nothing is claimed, so that the next use tries again.
        let Ok(place) = Arc::clone(&self.writes).try_acquire_owned() else {
            self.stats.touch_failures.inc();
            return;
        };
        if !entry.shelf.claim_touch(session.last_seen, now, session.idle / PARTS) {
            return;
        }
        self.view.refit(entry);
        let (store, view, stats) = (Arc::clone(&self.store), Arc::clone(&self.view), Arc::clone(&self.stats));
        let entry = Arc::clone(entry);
        self.tasks.spawn(async move {
            let _place = place;
            let session = entry.session();
            for attempt in 1..=TRIES {
                match in_time(store.touch(&session.realm, session.id, now)).await {
                    Ok(()) => return stats.touches.inc(),
                    Err(error) if attempt == TRIES => {
                        stats.touch_failures.inc();
                        tracing::warn!(error = &error as &dyn std::error::Error, "a session's use was not stored");
                    }
                    Err(_) => sleep(PAUSE).await,
                }
            }
            entry.shelf.forget_touch();
            view.changed(session.id);
        });
    }
}
