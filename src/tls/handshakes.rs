//! Handshakes that strangers begin, with a bound of their own: who is silent takes no place from those who are let in.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::server::TlsStream;

use super::Tls;

/// Handshakes at once. One more ends the oldest: a client takes a few milliseconds, and who would keep others out by silence must
/// open so many connections in each such time.
const MOST: usize = 256;

/// Those that are under way.
#[derive(Debug, Default)]
pub struct Handshakes {
    tasks: JoinSet<Option<TlsStream<TcpStream>>>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Handshakes {
    /// Begins one.
    pub fn begin(&mut self, tls: Arc<Tls>, stream: TcpStream) {
        if self.oldest_first.len() >= MOST {
            self.oldest_first.retain(|it| !it.is_finished());
        }
        if self.oldest_first.len() >= MOST
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        self.oldest_first.push_back(self.tasks.spawn(async move { tls.accept(stream).await }));
    }

    /// The next that succeeds. May be dropped and asked again.
    pub async fn next(&mut self) -> TlsStream<TcpStream> {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Some(stream))) => return stream,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}
