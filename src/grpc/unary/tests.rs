use std::collections::VecDeque;
use std::time::Duration;

use super::super::unfinished::Room;
use super::*;

/// A body of these frames; `None` breaks the stream.
struct Frames(VecDeque<Option<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.0.pop_front().map(|frame| frame.map(Frame::data).ok_or("reset")))
    }
}

async fn read<B: Body<Data = Bytes>>(body: B) -> Result<Bytes, Unreadable> {
    super::read(body, &mut Waiting::new(Room::new(usize::MAX, Duration::MAX))).await
}

fn frames(frames: &[&[u8]]) -> Frames {
    Frames(frames.iter().map(|frame| Some(Bytes::copy_from_slice(frame))).collect())
}

async fn pieces(mut answer: Answer) -> (Vec<Bytes>, HeaderMap) {
    let mut pieces = Vec::new();
    let mut trailers = HeaderMap::new();
    while !answer.is_end_stream() {
        let frame = poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx)).await.unwrap().unwrap();
        match frame.into_data() {
            Ok(data) => pieces.push(data),
            Err(frame) => trailers = frame.into_trailers().unwrap(),
        }
    }
    assert!(poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx)).await.is_none());
    (pieces, trailers)
}

#[tokio::test]
async fn one_message_is_read_however_it_is_cut() {
    for (sent, want) in [
        (frames(&[b"\0\0\0\0\x03abc"]), Ok("abc")),
        (frames(&[b"\0\0\0", b"\0\x03a", b"", b"bc"]), Ok("abc")),
        (frames(&[b"\0\0\0\0\0"]), Ok("")),
        (frames(&[b"\0\0\0\0\x03abc", b""]), Ok("abc")),
        (frames(&[]), Err(Unreadable::Malformed)),
        (frames(&[b"\0\0"]), Err(Unreadable::Malformed)),
        (frames(&[b"\0\0\0\0\x03ab"]), Err(Unreadable::Malformed)),
        (frames(&[b"\0\0\0\0\x03abcd"]), Err(Unreadable::Malformed)), // a second message begins
        (frames(&[b"\x01\0\0\0\x03abc"]), Err(Unreadable::Malformed)), // compressed
        (Frames([Some(Bytes::from_static(b"\0\0\0\0\x03a")), None].into()), Err(Unreadable::Broken)),
    ] {
        assert_eq!(read(sent).await, want.map(Bytes::from));
    }
}

#[tokio::test]
async fn p32_a_message_over_the_bound_is_read_off_and_not_kept() {
    let half = vec![0; MAX_MESSAGE / 2];
    let announced = u32::try_from(MAX_MESSAGE).unwrap().to_be_bytes();
    let head = [&[0], &announced[..]].concat();
    assert_eq!(read(frames(&[&head, &half, &half])).await.map(|message| message.len()), Ok(MAX_MESSAGE));
    assert_eq!(read(frames(&[&head, &half, &half, b"x"])).await, Err(Unreadable::Malformed));
    assert_eq!(read(frames(&[&head, &half, &half, &half, &half])).await, Err(Unreadable::Malformed));
}

#[tokio::test]
async fn an_answer_of_any_size_leaves_in_pieces_that_share_a_write() {
    for size in [0, 5, PIECE, PIECE + 1, 1024, 5000] {
        let message = Bytes::from(vec![7; size]);
        let response = Answer::response(message.clone());
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
        let (pieces, trailers) = pieces(response.into_body()).await;
        assert!(pieces.iter().all(|piece| (1..1024).contains(&piece.len())));
        assert_eq!(pieces.concat(), message);
        assert_eq!(trailers["grpc-status"], "0");
    }
}

mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cuts_do_not_matter(message in vec(any::<u8>(), 0..3000), cuts in vec(any::<prop::sample::Index>(), 0..6)) {
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            let sent = [&[0], &length[..], &message].concat();
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(sent.len() + 1)).collect();
            at.extend([0, sent.len()]);
            at.sort_unstable();
            let parts: Vec<&[u8]> = at.windows(2).map(|pair| &sent[pair[0]..pair[1]]).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            prop_assert_eq!(runtime.block_on(read(frames(&parts))), Ok(Bytes::from(message)));
        }
    }
}
