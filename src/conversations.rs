//! The connections of a listener: so many at once, and who keeps us waiting longest makes way (P28, P32).

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// The next connection. Whether there is a place for it is for [`Conversations::begin`] to say: who waits in the kernel's queue
/// waits for strangers.
pub async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // A connection that ended before we took it says nothing about the listener; any other error (out of file
            // descriptors) may pass, and would otherwise spin.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// All that are open.
#[derive(Debug)]
pub struct Conversations {
    most: usize,
    tasks: JoinSet<()>,
    open: Vec<(Arc<Conversation>, AbortHandle)>,
}

/// One of them.
#[derive(Debug)]
pub struct Conversation(Mutex<Turn>);

#[derive(Debug)]
struct Turn {
    /// Ever.
    has_asked: bool,
    /// Now.
    is_asked: bool,
    /// Since when we wait for a request, or for the rest of its body; nothing while it is ours to answer.
    waits_since: Option<Instant>,
}

impl Conversations {
    /// None yet, and so many at most.
    pub fn at_most(most: usize) -> Self {
        Self { most, tasks: JoinSet::new(), open: Vec::new() }
    }

    /// Begins one. Where there is no place the one that has kept us waiting longest ends; where all are being answered this one
    /// does.
    pub fn begin<F>(&mut self, converse: impl FnOnce(Arc<Conversation>) -> F)
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
        if self.open.len() >= self.most {
            self.open.retain(|(_, task)| !task.is_finished());
        }
        if self.open.len() < self.most {
            return true;
        }
        let waiting = self.open.iter().enumerate().filter_map(|(at, (it, _))| Some((it.turn().waits_since?, at)));
        let Some((_, at)) = waiting.min() else { return false };
        self.open.swap_remove(at).1.abort();
        true
    }

    /// Waits until one ends.
    pub async fn ended(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until all have ended.
    pub async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Conversation {
    fn new() -> Self {
        Self(Mutex::new(Turn { has_asked: false, is_asked: false, waits_since: Some(Instant::now()) }))
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The router for this connection, which tells whose turn it is.
    pub fn of(self: &Arc<Self>, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(Arc::clone(self), follow))
    }

    /// Ends when nothing was asked within this time.
    pub async fn is_silent(&self, within: Duration) {
        tokio::time::sleep(within).await;
        if self.turn().has_asked {
            std::future::pending::<()>().await;
        }
    }

    /// A request has come, and its body with it or not yet. It is answered when what this gives is dropped.
    fn asks(&self, is_whole: bool) -> Asked<'_> {
        *self.turn() = Turn { has_asked: true, is_asked: true, waits_since: (!is_whole).then(Instant::now) };
        Asked(self)
    }

    /// The rest of the body has come, or nobody wants it.
    fn has_arrived(&self) {
        let mut turn = self.turn();
        if turn.is_asked {
            turn.waits_since = None;
        }
    }
}

/// A request that is read and answered.
#[derive(Debug)]
struct Asked<'a>(&'a Conversation);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut turn = self.0.turn();
        (turn.is_asked, turn.waits_since) = (false, Some(Instant::now()));
    }
}

async fn follow(State(conversation): State<Arc<Conversation>>, request: Request, next: Next) -> Response {
    let is_whole = http_body::Body::is_end_stream(request.body());
    let _asked = conversation.asks(is_whole);
    let request = match is_whole {
        true => request,
        false => request.map(|body| Body::new(Arriving { body, conversation: Arc::clone(&conversation) })),
    };
    next.run(request).await
}

/// A body that tells when it has come.
struct Arriving {
    body: Body,
    conversation: Arc<Conversation>,
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || http_body::Body::is_end_stream(&self.body) {
            self.conversation.has_arrived();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.conversation.has_arrived();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 16;

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

    fn is_open(conversations: &Conversations, one: &Arc<Conversation>) -> bool {
        conversations.open.iter().any(|(it, _)| Arc::ptr_eq(it, one))
    }

    #[tokio::test]
    async fn p28_who_is_waited_for_makes_way_and_who_is_answered_does_not() {
        let mut conversations = Conversations::at_most(MOST);
        let all = opened(&mut conversations, MOST);
        // The first is answered; the second has been; the third never asked.
        let busy = all[0].asks(true);
        drop(all[1].asks(true));
        opened(&mut conversations, 1);
        assert!(is_open(&conversations, &all[0]) && is_open(&conversations, &all[1]));
        assert!(!is_open(&conversations, &all[2]));
        assert_eq!(conversations.open.len(), MOST);
        // Where all are answered, a new one finds no place.
        let open: Vec<_> = conversations.open.iter().map(|(it, _)| Arc::clone(it)).collect();
        let answered: Vec<_> = open.iter().map(|it| it.asks(true)).collect();
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
    async fn p28_the_body_that_has_been_arriving_longest_makes_way() {
        let mut conversations = Conversations::at_most(MOST);
        let all = opened(&mut conversations, MOST);
        // The first has sent its body; of all others it is awaited, of the second for the longest time.
        let asked: Vec<_> = all.iter().map(|it| it.asks(false)).collect();
        all[0].has_arrived();
        opened(&mut conversations, 1);
        assert!(is_open(&conversations, &all[0]) && !is_open(&conversations, &all[1]));
        assert!(all[2..].iter().all(|it| is_open(&conversations, it)));
        drop(asked);
        // What nobody wants any more is not taken for a request.
        all[2].has_arrived();
        assert!(all[2].turn().waits_since.is_some());
    }

    #[tokio::test]
    async fn p28_who_asks_nothing_is_silent() {
        let (silent, asking) = (Conversation::new(), Conversation::new());
        drop(asking.asks(true));
        silent.is_silent(Duration::ZERO).await;
        let waits = tokio::time::timeout(Duration::from_millis(20), asking.is_silent(Duration::ZERO));
        assert!(waits.await.is_err());
    }
}
