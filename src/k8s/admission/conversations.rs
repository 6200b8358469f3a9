//! The connections of the webhook: so many at once, and who is idle makes way (P27, P28).

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, JoinSet};

/// Connections at once. API servers keep a few open each.
const MOST: usize = 256;

/// All that are open.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    tasks: JoinSet<()>,
    open: Vec<(Arc<Conversation>, AbortHandle)>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Conversation(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Requests that are being answered.
    asked: usize,
    has_asked: bool,
    /// Since when nothing is.
    idle_since: Instant,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy<'a>(&'a Conversation);

impl Conversations {
    /// Begins one. Where there is no room the one that has been idle longest ends; where none is idle this one does.
    pub(super) fn begin<F>(&mut self, converse: impl FnOnce(Arc<Conversation>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if !self.makes_room() {
            return;
        }
        let conversation = Arc::new(Conversation::new());
        let task = self.tasks.spawn(converse(Arc::clone(&conversation)));
        self.open.push((conversation, task));
    }

    fn makes_room(&mut self) -> bool {
        if self.open.len() >= MOST {
            self.open.retain(|(_, task)| !task.is_finished());
        }
        if self.open.len() < MOST {
            return true;
        }
        let idle = self.open.iter().enumerate().filter_map(|(at, (it, _))| Some((it.idle_since()?, at)));
        let Some((_, at)) = idle.min() else { return false };
        self.open.swap_remove(at).1.abort();
        true
    }

    /// Waits until one ends.
    pub(super) async fn ended(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until all have ended.
    pub(super) async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Conversation {
    fn new() -> Self {
        Self(Mutex::new(State { asked: 0, has_asked: false, idle_since: Instant::now() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.asked == 0).then_some(state.idle_since)
    }

    /// A request has come.
    pub(super) fn asks(&self) -> Busy<'_> {
        let mut state = self.state();
        state.asked += 1;
        state.has_asked = true;
        Busy(self)
    }

    /// Ends when nothing was asked within this time.
    pub(super) async fn is_silent(&self, within: Duration) {
        tokio::time::sleep(within).await;
        if self.state().has_asked {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.asked -= 1;
        state.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens so many, and gives them in the order in which they were opened.
    fn opened(conversations: &mut Conversations, count: usize) -> Vec<Arc<Conversation>> {
        (0..count)
            .map(|_| {
                let mut given = None;
                conversations.begin(|it| {
                    given = Some(it);
                    std::future::pending()
                });
                given.unwrap()
            })
            .collect()
    }

    #[tokio::test]
    async fn p28_who_is_idle_makes_way_and_who_is_answered_does_not() {
        let mut conversations = Conversations::default();
        let all = opened(&mut conversations, MOST);
        let is_open = |conversations: &Conversations, one: &Arc<Conversation>| {
            conversations.open.iter().any(|(it, _)| Arc::ptr_eq(it, one))
        };
        // The first is answered; the second has been; the third never asked.
        let busy = all[0].asks();
        drop(all[1].asks());
        opened(&mut conversations, 1);
        assert!(is_open(&conversations, &all[0]) && is_open(&conversations, &all[1]));
        assert!(!is_open(&conversations, &all[2]));
        assert_eq!(conversations.open.len(), MOST);
        // Where all are answered, a new one finds no place.
        let open: Vec<_> = conversations.open.iter().map(|(it, _)| Arc::clone(it)).collect();
        let answered: Vec<_> = open.iter().map(|it| it.asks()).collect();
        let mut is_begun = false;
        conversations.begin(|_| {
            is_begun = true;
            std::future::pending()
        });
        assert!(!is_begun);
        drop((answered, busy));
        opened(&mut conversations, 1);
        assert_eq!(conversations.open.len(), MOST);
    }

    #[tokio::test]
    async fn p28_who_asks_nothing_is_silent() {
        let (silent, asking) = (Conversation::new(), Conversation::new());
        drop(asking.asks());
        silent.is_silent(Duration::ZERO).await;
        let waits = tokio::time::timeout(Duration::from_millis(20), asking.is_silent(Duration::ZERO));
        assert!(waits.await.is_err());
    }
}
