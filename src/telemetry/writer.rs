//! Lines on their way out: handed to a thread that may wait for its reader, so that no check has to.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes of lines may wait. Lines beyond it are counted and lost.
const WAITING: usize = 4 * 1024 * 1024;

/// How long the end of the process waits for its last lines.
const LAST_WAIT: Duration = Duration::from_secs(1);

enum Job {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// Takes lines. Clones write to the same place.
#[derive(Clone, Debug)]
pub(super) struct LineWriter {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
    dropped: IntCounter,
}

impl LineWriter {
    /// Starts the thread that writes to `out`. It ends when the last writer is gone.
    pub(super) fn start(out: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counter = waiting.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(out, &queue, &counter))?;
        Ok(Self { jobs, waiting, dropped })
    }

    /// Waits for the lines handed over so far, but not for ever.
    pub(super) fn flush(&self) {
        let (done, written) = channel();
        if self.jobs.send(Job::Flush(done)).is_ok() {
            let _ = written.recv_timeout(LAST_WAIT); // nobody is left to be told
        }
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.waiting.fetch_add(line.len(), Ordering::Relaxed) + line.len() > WAITING {
            self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.dropped.inc();
        } else if self.jobs.send(Job::Line(line.to_vec())).is_err() {
            self.dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn write_lines(mut out: impl Write, queue: &Receiver<Job>, waiting: &AtomicUsize) {
    while let Ok(job) = queue.recv() {
        match job {
            Job::Line(line) => {
                // There is nowhere to report that the log cannot be written.
                let _ = out.write_all(&line).and_then(|()| out.flush());
                waiting.fetch_sub(line.len(), Ordering::Relaxed);
            }
            Job::Flush(done) => {
                let _ = done.send(()); // the one who asked may have waited long enough
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::Page;

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "dropped").unwrap()
    }

    #[test]
    fn lines_are_written_in_order_before_the_end() {
        let page = Page::default();
        let mut writer = LineWriter::start(page.clone(), counter()).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            writer.write_all(line.as_bytes()).unwrap();
        }
        LineWriter::flush(&writer);
        assert_eq!(page.text(), "one\ntwo\nthree\n");
    }

    /// A reader that never reads.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn p32_a_reader_that_does_not_read_costs_lines_and_neither_memory_nor_time() {
        let (stuck_until_dropped, never) = channel();
        let dropped = counter();
        let mut writer = LineWriter::start(Stuck(never), dropped.clone()).unwrap();
        let line = vec![b'x'; 1024];
        for _ in 0..2 * WAITING / line.len() {
            writer.write_all(&line).unwrap();
        }
        assert!(writer.waiting.load(Ordering::Relaxed) <= WAITING);
        assert_eq!(dropped.get(), (WAITING / line.len()) as u64);
        drop(stuck_until_dropped);
    }
}
