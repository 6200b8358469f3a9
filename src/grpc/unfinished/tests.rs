use std::collections::VecDeque;
use std::future::poll_fn;

use super::*;

/// A body of these pieces, which then rests.
struct Pieces(VecDeque<&'static [u8]>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let next = self.0.pop_front();
        next.map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece))))))
    }
}

fn messages(pieces: &[&'static [u8]], room: &Room) -> Messages<Pieces> {
    Messages::new(Pieces(pieces.iter().copied().collect()), room.clone())
}

/// What follows the pieces: `None` if it rests.
async fn end(messages: &mut Messages<Pieces>) -> Option<tonic::Code> {
    loop {
        let next = poll_fn(|cx| match Pin::new(&mut *messages).poll_frame(cx) {
            Poll::Pending if messages.waiting.end.is_none() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
            Poll::Ready(frame) => Poll::Ready(frame),
        });
        match next.await {
            None => return None,
            Some(Ok(_)) => {}
            Some(Err(status)) => return Some(status.code()),
        }
    }
}

#[tokio::test]
async fn p32_a_stream_may_rest_between_messages_and_nowhere_else() {
    use tonic::Code::{DeadlineExceeded, ResourceExhausted};

    let time = Duration::from_millis(20);
    let rows: [(&[&[u8]], Option<tonic::Code>); 10] = [
        (&[], Some(DeadlineExceeded)),
        (&[b"\0\0\0\0\x03abc"], None),
        (&[b"\0\0\0\0\0"], None),
        (&[b"\0\0", b"\0\0\x03a", b"bc\0\0\0\0", b"\x01x"], None),
        (&[b"\0\0\0\0\x03abc\0\0\0\0\x03abc\0\0\0\0\0"], None),
        (&[b"\0\0\0\0\x03ab"], Some(DeadlineExceeded)),
        (&[b"\0\0\0\0\x03abc\0"], Some(DeadlineExceeded)),
        (&[b"\0\0\0\0\x03abc", b"\0\0\0\0\x03"], Some(DeadlineExceeded)),
        (&[b"\0\0\0\0\x20abcdefghijk", b"lmnopqrst"], Some(ResourceExhausted)),
        (&[b"\0\0\0\0\x13abcdefghijk", b"lmnopqrs"], None), // whole before it would be too much
    ];
    for (pieces, want) in rows {
        let mut messages = messages(pieces, &Room::new(20, time));
        assert_eq!(end(&mut messages).await, want, "{pieces:?}");
    }
}

#[tokio::test]
async fn p32_what_is_whole_or_given_up_leaves_its_room() {
    let room = Room::new(20, Duration::from_secs(3600));
    let left = || room.left.load(Ordering::Relaxed);
    let mut first = messages(&[b"\0\0\0\0\x03ab", b"c\0\0"], &room);
    for want in [13, 18] {
        let frame = poll_fn(|cx| Pin::new(&mut first).poll_frame(cx)).await;
        assert!(matches!(frame, Some(Ok(_))));
        assert_eq!(left(), want);
    }
    drop(first);
    assert_eq!(left(), 20);
}
