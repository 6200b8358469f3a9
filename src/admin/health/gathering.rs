//! The metrics as text, gathered so often however many ask.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use prometheus::{Registry, TextEncoder};
use tokio::sync::Semaphore;

/// How often metrics are gathered, and how many times more where nobody has asked for a while. Gathering costs time, and anybody
/// may ask (P28): who asks more often waits, and shares what is gathered then.
const GATHER: Duration = Duration::from_millis(50);
const GATHERINGS: u32 = 40;
/// How many may wait for that. All others get what was gathered last: who waits keeps a connection from those that come.
const WAITING: usize = 8;

/// The metrics as text.
#[derive(Clone)]
pub(super) struct Metrics {
    registry: Registry,
    waiting: Arc<Semaphore>,
    turns: Arc<tokio::sync::Mutex<Turns>>,
    /// What was gathered last, and when that began.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

/// How often they may be gathered.
struct Turns {
    /// How many times now, and since when that is counted.
    left: u32,
    since: Instant,
}

impl Metrics {
    pub(super) fn of(registry: Registry) -> Self {
        Self {
            registry,
            waiting: Arc::new(Semaphore::new(WAITING)),
            turns: Arc::new(tokio::sync::Mutex::new(Turns { left: GATHERINGS, since: Instant::now() })),
            last: Arc::default(),
        }
    }

    /// Never older than the question, unless more ask than may wait.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) async fn text(&self) -> prometheus::Result<Bytes> {
        let asked = Instant::now();
        let waits = self.waiting.try_acquire();
        if let (Err(_), Some((_, text))) = (&waits, self.last()) {
            return Ok(text);
        }
        let mut turns = self.turns.lock().await;
        // All who have waited for a turn are answered by it.
        if let Some((began, text)) = self.last()
            && began >= asked
        {
            return Ok(text);
        }
        turns.take().await;
        let began = Instant::now();
        let text = Bytes::from(TextEncoder::new().encode_to_string(&self.registry.gather())?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((began, text.clone()));
        Ok(text)
    }

    fn last(&self) -> Option<(Instant, Bytes)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Turns {
    /// Waits until they may be gathered once more.
    async fn take(&mut self) {
        if self.left == 0 {
            tokio::time::sleep(GATHER.saturating_sub(self.since.elapsed())).await;
        }
        let more = u32::try_from(self.since.elapsed().as_millis() / GATHER.as_millis()).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(GATHERINGS);
            self.since = Instant::now();
        }
        self.left = self.left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;
    use prometheus::core::{Collector, Desc};
    use prometheus::proto::MetricFamily;
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn p28_metrics_are_gathered_so_often_however_many_ask() {
        struct Counted(IntCounter);
        impl Collector for Counted {
            fn desc(&self) -> Vec<&Desc> {
                self.0.desc()
            }

            fn collect(&self) -> Vec<MetricFamily> {
                self.0.inc();
                self.0.collect()
            }
        }
        let counter = IntCounter::new("cloakroom_test_total", "A test.").unwrap();
        let registry = Registry::new();
        registry.register(Box::new(Counted(counter.clone()))).unwrap();
        let (began, metrics) = (Instant::now(), Metrics::of(registry));
        // One after the other, each sees what has been counted until it asked.
        for asked in 1..=GATHERINGS + 5 {
            let text = metrics.text().await.unwrap();
            let want = format!("cloakroom_test_total {asked}");
            assert!(text.split(|it| *it == b'\n').any(|line| line == want.as_bytes()), "{asked}: {text:?}");
        }
        // All at once, they share, or get the last.
        let mut all = JoinSet::new();
        for _ in 0..1_000 {
            let metrics = metrics.clone();
            all.spawn(async move { metrics.text().await.unwrap() });
        }
        assert!(all.join_all().await.iter().all(|it| !it.is_empty()));
        let most = u128::from(GATHERINGS) + 1 + began.elapsed().as_millis() / GATHER.as_millis();
        assert!(u128::from(counter.get()) <= most, "{} and not {most}", counter.get());
    }
}
