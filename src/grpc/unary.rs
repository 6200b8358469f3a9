//! One gRPC message in, one out (gRPC over HTTP/2), without a codec in between.
//!
//! The general server of tonic boxes a decoder, copies each message through an 8 KiB buffer and answers in one piece. A check
//! is one small message, which most times is one frame: it is judged where it lies, and its answer leaves in pieces that fit
//! the one write that `one_write` asks for.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body::{Body, Frame};

use super::unfinished::Waiting;

/// The length of what stands before each message: one byte for compression, four for the length.
pub const PREFIX_LEN: usize = 5;

/// The largest message that is read, in bytes. Envoy refuses requests whose headers are over 60 KiB unless told otherwise.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// h2 gives a frame of 1,024 bytes and more a write of its own, when writes are not vectored (`CHAIN_THRESHOLD_…` in its
/// `framed_write.rs`). Answers are cut so that none of their frames gets there.
const PIECE: usize = 1000;

/// Why there is no message to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The stream broke: nobody waits for the answer any more.
    Broken,
    /// Compressed, over [`MAX_MESSAGE`], or not exactly one message. It is refused by a decision all the same.
    Malformed,
    /// It did not come whole in time, or found no room. It is refused by a decision, too.
    Unfinished,
}

/// Reads the one message of a request, to the end of the stream: an answer before it would come with a reset. What it takes is
/// held by `waiting`.
///
/// # Errors
/// See [`Unreadable`].
pub async fn read<B: Body<Data = Bytes>>(body: B, waiting: &mut Waiting) -> Result<Bytes, Unreadable> {
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut length = 0;
    while !body.is_end_stream() {
        let next = poll_fn(|cx| {
            if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
                return Poll::Ready(Ok(frame));
            }
            // A frame is a slice of what the connection read, and would keep all of that for as long as it waits.
            all.extend_from_slice(&std::mem::take(&mut first));
            if waiting.hold(all.capacity()) {
                waiting.poll_late(cx).map(|()| Err(Unreadable::Unfinished))
            } else {
                Poll::Ready(Err(Unreadable::Unfinished))
            }
        });
        let Some(frame) = next.await? else { break };
        let Ok(data) = frame.map_err(|_| Unreadable::Broken)?.into_data() else { continue };
        length += data.len();
        if length > PREFIX_LEN + MAX_MESSAGE {
            (first, all) = (Bytes::new(), BytesMut::new()); // read on, but keep no more of it
        } else if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    let mut message = if all.is_empty() { first } else { all.freeze() };
    if message.len() != length || length < PREFIX_LEN {
        return Err(Unreadable::Malformed);
    }
    let compressed = message.get_u8() != 0;
    let announced = message.get_u32() as usize;
    if compressed || announced != message.len() { Err(Unreadable::Malformed) } else { Ok(message) }
}

/// An answer on its way: its message, its length before it, in pieces, and the trailers that say that the call went well.
#[derive(Debug)]
pub struct Answer {
    rest: Bytes,
    ended: bool,
}

impl Answer {
    /// The response with this message, which begins with its prefix.
    pub fn response(message: Bytes) -> Response<Self> {
        let mut response = Response::new(Self { rest: message, ended: false });
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
        if !self.rest.is_empty() {
            let piece = self.rest.len().min(PIECE);
            return Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.ended = true;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests;
