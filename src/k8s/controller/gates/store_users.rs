//! The users of the store that enrolled namespaces have, told to whoever makes them there.
//!
//! A store takes what it is told by anybody, and knows no versions. So they are told only while we hold the Lease, each time with
//! the moment until which that counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::lease::Leadership;

/// Who may come to the store.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Passwords {
    /// The store's own password, where it is one that we made: a file that is mounted from the Secret has it a minute later.
    pub own: Option<Zeroizing<String>>,
    /// Those of the namespaces that have a user.
    pub namespaces: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

/// The users that the store is to have, and until when we may tell it.
#[derive(Clone, PartialEq, Eq)]
pub struct Lead {
    /// Until when the Lease is ours, unless it is held on to.
    pub until: Instant,
    /// Who may come there.
    pub passwords: Arc<Passwords>,
}

/// Where they are told. Clones share one state, which is `None` while we do not lead, or do not know.
#[derive(Clone)]
pub struct StoreUsers(watch::Sender<Option<Lead>>);

impl Default for StoreUsers {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl std::fmt::Debug for StoreUsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreUsers") // and no password
    }
}

/// Says that nothing counts any more when it is dropped.
struct Ending(StoreUsers);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.0.send_replace(None);
    }
}

impl StoreUsers {
    /// Hears of it from now on.
    pub fn subscribe(&self) -> watch::Receiver<Option<Lead>> {
        self.0.subscribe()
    }

    /// Tells of `known` as long as we lead, also while the gates' keeper is busy.
    pub(super) async fn tell(self, mut known: watch::Receiver<Option<Arc<Passwords>>>, mut leadership: Leadership) {
        let end = Ending(self);
        loop {
            let passwords = known.borrow_and_update().clone();
            let lead = leadership.until().zip(passwords).map(|(until, passwords)| Lead { until, passwords });
            let over = lead.as_ref().map(|lead| lead.until);
            end.0.0.send_if_modified(|told| {
                let is_new = *told != lead;
                *told = lead;
                is_new
            });
            let over = async {
                match over {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = leadership.changed() => {}
                () = over => {}
                changed = known.changed() => if changed.is_err() { return },
            }
        }
    }
}
