//! The bodies that wait to be read and judged: bounded in bytes over all, and who sends slowly makes way (P32).

use std::collections::BTreeMap;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::Body as _;
use tokio_util::sync::CancellationToken;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than any may be, or broke off.
    Large,
    /// It took too long.
    Late,
    /// There was no room for it, nor would those that had been arriving for longer have made enough.
    NoRoom,
}

/// All that are held.
#[derive(Debug)]
pub(super) struct Bodies(Arc<Mutex<Room>>);

#[derive(Debug)]
struct Room {
    left: usize,
    next: u64,
    /// Those that are arriving, the longest first: what each holds, and what ends it.
    arriving: BTreeMap<u64, (usize, CancellationToken)>,
}

/// One that has come. What it holds is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Arrived {
    text: Vec<u8>,
    held: usize,
    room: Arc<Mutex<Room>>,
}

/// One that is arriving.
struct Arriving {
    id: u64,
    text: Vec<u8>,
    room: Arc<Mutex<Room>>,
    is_over: CancellationToken,
}

impl Bodies {
    /// With room for so many bytes.
    pub(super) fn within(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Room { left: bytes, next: 0, arriving: BTreeMap::new() })))
    }

    /// Reads one of at most so many bytes.
    ///
    /// # Errors
    /// See [`Unread`].
    pub(super) async fn read(&self, body: Body, most: usize, within: Duration) -> Result<Arrived, Unread> {
        let mut arriving = Arriving::new(&self.0);
        let is_over = arriving.is_over.clone();
        let read = tokio::time::timeout(within, arriving.read(body, most));
        is_over.run_until_cancelled(read).await.ok_or(Unread::NoRoom)?.map_err(|_| Unread::Late)??;
        arriving.arrived()
    }
}

fn lock(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    /// Takes so many bytes more for `id`. Where there are not as many, the body that has been arriving longest ends, and so on: of those
    /// that have been arriving for longer, and only if that is enough, so that none ends for nothing (P28).
    fn take(&mut self, id: u64, bytes: usize) -> Result<(), Unread> {
        let longer = || self.arriving.range(..id).map(|(_, (held, _))| held).sum::<usize>();
        // Whoever was ended meanwhile has nothing to add to.
        if !self.arriving.contains_key(&id) || self.left < bytes && self.left + longer() < bytes {
            return Err(Unread::NoRoom);
        }
        while self.left < bytes {
            let Some((_, (held, is_over))) = self.arriving.pop_first() else { return Err(Unread::NoRoom) };
            self.left += held;
            is_over.cancel();
        }
        let Some((held, _)) = self.arriving.get_mut(&id) else { return Err(Unread::NoRoom) };
        *held += bytes;
        self.left -= bytes;
        Ok(())
    }
}

impl Arriving {
    fn new(room: &Arc<Mutex<Room>>) -> Self {
        let is_over = CancellationToken::new();
        let mut all = lock(room);
        let id = all.next;
        all.next += 1;
        all.arriving.insert(id, (0, is_over.clone()));
        Self { id, text: Vec::new(), room: Arc::clone(room), is_over }
    }

    async fn read(&mut self, mut body: Body, most: usize) -> Result<(), Unread> {
        let told = body.size_hint().exact().map_or(most, |it| usize::try_from(it).unwrap_or(usize::MAX));
        if told > most {
            return Err(Unread::Large);
        }
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let Ok(data) = frame.map_err(|_| Unread::Large)?.into_data() else { continue };
            self.add(&data, told, most)?;
        }
        Ok(())
    }

    fn add(&mut self, data: &Bytes, told: usize, most: usize) -> Result<(), Unread> {
        let needed = self.text.len() + data.len();
        if needed > most {
            return Err(Unread::Large);
        }
        if needed > self.text.capacity() {
            // What is only said to come takes no room.
            let capacity = needed.max(told.min(4 * needed));
            lock(&self.room).take(self.id, capacity - self.text.capacity())?;
            self.text.reserve_exact(capacity - self.text.len());
        }
        self.text.extend_from_slice(data);
        Ok(())
    }

    /// From here on nobody ends it.
    fn arrived(mut self) -> Result<Arrived, Unread> {
        let (held, _) = lock(&self.room).arriving.remove(&self.id).ok_or(Unread::NoRoom)?;
        Ok(Arrived { text: std::mem::take(&mut self.text), held, room: Arc::clone(&self.room) })
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut room = lock(&self.room);
        if let Some((held, _)) = room.arriving.remove(&self.id) {
            room.left += held;
        }
    }
}

impl Deref for Arrived {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        lock(&self.room).left += self.held;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A body that sends what it is told to.
    fn told() -> (mpsc::UnboundedSender<&'static [u8]>, Body) {
        let (tell, told) = mpsc::unbounded_channel();
        let pieces = stream::unfold(told, |mut told: mpsc::UnboundedReceiver<&'static [u8]>| async {
            let piece = told.recv().await?;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(piece)), told))
        });
        (tell, Body::from_stream(pieces))
    }

    fn left(bodies: &Bodies) -> usize {
        lock(&bodies.0).left
    }

    #[tokio::test]
    async fn p32_bodies_hold_no_more_than_there_is_room_for() {
        let bodies = Bodies::within(100);
        let one = bodies.read(Body::from("x".repeat(60)), 64, LONG).await.unwrap();
        assert_eq!((one.len(), left(&bodies)), (60, 40));
        let read = async |bytes| bodies.read(Body::from("x".repeat(bytes)), 64, LONG).await.map(|it| it.len());
        assert_eq!(read(41).await, Err(Unread::NoRoom));
        assert_eq!(read(40).await, Ok(40));
        assert_eq!(read(65).await, Err(Unread::Large));
        drop(one);
        assert_eq!(left(&bodies), 100);
        let (tell, body) = told();
        tell.send(&[b'x'; 65]).unwrap();
        assert_eq!(bodies.read(body, 64, LONG).await.err(), Some(Unread::Large));
        let (_tell, body) = told();
        assert_eq!(bodies.read(body, 64, Duration::from_millis(1)).await.err(), Some(Unread::Late));
        assert_eq!(left(&bodies), 100);
    }

    #[tokio::test]
    async fn p28_the_body_that_has_been_arriving_longest_makes_way() {
        let bodies = Arc::new(Bodies::within(100));
        let slow: Vec<_> = (0..3)
            .map(|_| {
                let (tell, body) = told();
                tell.send(b"0123456789").unwrap();
                let bodies = Arc::clone(&bodies);
                (tell, tokio::spawn(async move { bodies.read(body, 30, LONG).await.map(|it| it.len()) }))
            })
            .collect();
        while left(&bodies) != 10 {
            tokio::task::yield_now().await;
        }
        // Room is made for one that comes at once, and no more than it needs.
        let quick = bodies.read(Body::from("x".repeat(30)), 30, LONG).await.unwrap();
        let mut slow = slow.into_iter();
        let (_tell, first) = slow.next().unwrap();
        assert_eq!(first.await.unwrap(), Err(Unread::NoRoom));
        for (tell, read) in slow {
            drop(tell);
            assert_eq!(read.await.unwrap(), Ok(10));
        }
        drop(quick);
        assert_eq!(left(&bodies), 100);
    }

    #[tokio::test]
    async fn p28_a_body_that_would_not_fit_even_so_ends_no_other() {
        let bodies = Arc::new(Bodies::within(100));
        let one = bodies.read(Body::from("x".repeat(70)), 100, LONG).await.unwrap();
        let slow: Vec<_> = (0..2)
            .map(|_| {
                let (tell, body) = told();
                tell.send(b"0123456789").unwrap();
                let bodies = Arc::clone(&bodies);
                (tell, tokio::spawn(async move { bodies.read(body, 10, LONG).await.map(|it| it.len()) }))
            })
            .collect();
        while left(&bodies) != 10 {
            tokio::task::yield_now().await;
        }
        // Both together make room for 30, no more.
        let read = async |bytes| bodies.read(Body::from("x".repeat(bytes)), 100, LONG).await.map(|it| it.len());
        assert_eq!(read(31).await, Err(Unread::NoRoom));
        assert_eq!(left(&bodies), 10, "it holds nothing, and nobody went");
        // Nor does one that has something already, and adds to it what cannot fit.
        let (tell, body) = told();
        tell.send(b"01").unwrap();
        tell.send(&[b'x'; 40]).unwrap();
        assert_eq!(bodies.read(body, 100, LONG).await.err(), Some(Unread::NoRoom));
        assert_eq!(left(&bodies), 10);
        for (tell, read) in slow {
            drop(tell);
            assert_eq!(read.await.unwrap(), Ok(10));
        }
        drop(one);
        assert_eq!(left(&bodies), 100);
    }
}
