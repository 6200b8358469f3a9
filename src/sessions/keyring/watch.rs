//! Following the folder: a change is taken up whole, and a broken one leaves the last good keys in place.

use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::KeyRing;

/// How often the folder is read even if the system told of no change: some file systems never do.
const POLL: Duration = Duration::from_secs(30);

impl KeyRing {
    /// Follows the folder until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let changed = Arc::new(Notify::new());
        let _watcher = subscribe(&self, &changed)
            .inspect_err(|error| tracing::warn!(%error, "key folder is polled only: it cannot be watched"))
            .ok();
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What was last complained of, so that a lasting fault is one line and not one each poll.
        let mut complaint = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = changed.notified() => {}
                _ = poll.tick() => {}
            }
            let ring = Arc::clone(&self);
            let Ok(outcome) = tokio::task::spawn_blocking(move || ring.reload()).await else { return };
            match outcome {
                Ok(taken_up) => {
                    if taken_up {
                        tracing::info!(
                            keys = self.keys().all().map(|ring| ring.keys().len()).sum::<usize>(),
                            "key ring taken up"
                        );
                    } else if complaint.is_some() {
                        tracing::info!("key folder is sound again");
                    }
                    complaint = None;
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    if complaint.as_ref() != Some(&error) {
                        tracing::warn!(%error, "key folder cannot be used; the last good keys stay");
                        complaint = Some(error);
                    }
                }
            }
        }
    }
}

fn subscribe(ring: &KeyRing, changed: &Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading is an event too; an error may hide a change.
        if event.map_or(true, |event| !event.kind.is_access()) {
            changed.notify_one();
        }
    })?;
    watcher.watch(&ring.config().dir, RecursiveMode::Recursive)?;
    Ok(watcher)
}
