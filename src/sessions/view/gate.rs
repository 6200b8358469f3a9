//! Holds and breaks loads of the store, for tests.

use tokio::sync::watch;

use crate::store::{Loaded, StoreError};

#[derive(Debug)]
pub(in crate::sessions) struct Gate {
    before: watch::Sender<bool>,
    after: watch::Sender<bool>,
    /// How many loads have come to where they are held.
    reached: watch::Sender<usize>,
    broken: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            before: watch::Sender::new(false),
            after: watch::Sender::new(false),
            reached: watch::Sender::new(0),
            broken: watch::Sender::new(false),
        }
    }
}

impl Gate {
    /// Loads stop before they ask the store.
    pub(in crate::sessions) fn hold_before(&self, held: bool) {
        self.before.send_replace(held);
    }

    /// Loads stop when the store has answered and nobody has seen the answer.
    pub(in crate::sessions) fn hold_after(&self, held: bool) {
        self.after.send_replace(held);
    }

    /// Loads fail.
    pub(in crate::sessions) fn break_store(&self, broken: bool) {
        self.broken.send_replace(broken);
    }

    /// Waits until `count` loads have come to a place where they can be held.
    pub(in crate::sessions) async fn reached(&self, count: usize) {
        self.reached.subscribe().wait_for(|reached| *reached >= count).await.expect("the gate lives");
    }

    pub(super) async fn before_load(&self) {
        if *self.before.borrow() {
            self.reached.send_modify(|reached| *reached += 1);
        }
        self.before.subscribe().wait_for(|held| !held).await.expect("the gate lives");
    }

    pub(super) async fn after_load(&self, loaded: Result<Loaded, StoreError>) -> Result<Loaded, StoreError> {
        if *self.after.borrow() {
            self.reached.send_modify(|reached| *reached += 1);
        }
        self.after.subscribe().wait_for(|held| !held).await.expect("the gate lives");
        if *self.broken.borrow() { Err(StoreError::Closed) } else { loaded }
    }
}
