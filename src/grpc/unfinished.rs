//! What has come of messages that are not whole yet: bounded in bytes over all calls, and in time for each (P32).
//!
//! HTTP/2 bounds what lies unread on a connection. What is read of a message and waits for its end is ours, and a peer that
//! begins messages and ends none would fill the memory with them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::unary::PREFIX_LEN;

/// The room for messages that are not whole, and how long each may take.
#[derive(Clone, Debug)]
pub struct Room {
    left: Arc<AtomicUsize>,
    time: Duration,
}

impl Room {
    /// One of so many bytes.
    pub fn new(bytes: usize, time: Duration) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)), time }
    }
}

/// A message that waits for its end, or may have to. What it holds is free again when this is dropped.
#[derive(Debug)]
pub struct Waiting {
    room: Room,
    held: usize,
    end: Option<Pin<Box<Sleep>>>,
}

impl Waiting {
    /// One that holds nothing yet. Its time begins when it has to wait for the first time: hardly any check does.
    pub fn new(room: Room) -> Self {
        Self { room, held: 0, end: None }
    }

    /// Holds so many bytes in all; `false` when there is no room for them.
    pub fn hold(&mut self, bytes: usize) -> bool {
        if bytes < self.held {
            self.room.left.fetch_add(self.held - bytes, Ordering::Relaxed);
        } else if bytes > self.held {
            let more = bytes - self.held;
            let take = |left: usize| left.checked_sub(more);
            if self.room.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                return false;
            }
        }
        self.held = bytes;
        true
    }

    /// Ready when the message has taken too long.
    pub fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let time = self.room.time;
        self.end.get_or_insert_with(|| Box::pin(sleep(time))).as_mut().poll(cx)
    }

    /// The message is whole: what it held is free, and the next one has its own time.
    fn done(&mut self) {
        self.hold(0);
        self.end = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.hold(0);
    }
}

/// The body of a stream of messages. It fails when a message, once begun, does not come whole in time or finds no room, and when
/// the first does not begin. Between messages it may rest.
#[derive(Debug)]
pub(super) struct Messages<B> {
    body: B,
    waiting: Waiting,
    /// Of the message that is not whole: how many bytes have come, and those before it, which say its length.
    come: usize,
    prefix: [u8; PREFIX_LEN],
    /// Whether one has been whole.
    begun: bool,
}

impl<B> Messages<B> {
    pub(super) fn new(body: B, room: Room) -> Self {
        Self { body, waiting: Waiting::new(room), come: 0, prefix: [0; PREFIX_LEN], begun: false }
    }

    fn advance(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let missing = match self.prefix {
                _ if self.come < PREFIX_LEN => PREFIX_LEN - self.come,
                [_, length @ ..] => PREFIX_LEN + u32::from_be_bytes(length) as usize - self.come,
            };
            let (now, later) = data.split_at(missing.min(data.len()));
            if let Some(prefix) = self.prefix.get_mut(self.come..self.come + now.len()) {
                prefix.copy_from_slice(now);
            }
            (self.come, data) = (self.come + now.len(), later);
            if let [_, length @ ..] = self.prefix
                && self.come == PREFIX_LEN + u32::from_be_bytes(length) as usize
            {
                (self.come, self.begun) = (0, true);
                self.waiting.done();
            }
        }
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for Messages<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if this.begun && this.come == 0 => return Poll::Pending,
            Poll::Pending => {
                let late = || Some(Err(Status::deadline_exceeded("the message did not come whole in time")));
                return this.waiting.poll_late(cx).map(|()| late());
            }
        };
        if let Some(data) = frame.as_ref().and_then(|it| it.as_ref().ok()).and_then(Frame::data_ref) {
            this.advance(data);
            if !this.waiting.hold(this.come) {
                return Poll::Ready(Some(Err(Status::resource_exhausted("no room for a message that is not whole"))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
