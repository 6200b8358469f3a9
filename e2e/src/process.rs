//! Child processes that end with the test, with their output kept for the moment something fails.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

/// Lines of output kept for each process.
const KEPT_LINES: usize = 4096;
/// How long a process may take to stop on a busy machine.
const STOPS: Duration = Duration::from_secs(60);
/// How long the output of an ended process may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running child. Dropping it kills it and waits for its end; if a panic is on its way, its last output is printed.
///
/// The child also gets `SIGKILL` from the kernel when this process dies (`PR_SET_PDEATHSIG`). That signal follows the
/// thread that started the child, so each child has a thread of its own, which stays until the child ends.
pub struct Process {
    name: String,
    pid: u32,
    pidfd: OwnedFd,
    ended: Arc<(Mutex<Option<ExitStatus>>, Condvar)>,
    output: Output,
    keeper: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `program`. `name` stands before its lines when they are printed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn<A: AsRef<OsStr>>(name: &str, program: &Path, arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        // util-linux, an essential package of Debian: `exec`s the program with the parent-death signal set.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal is for us to hear: its group gets the signal, and the children end in their order.
        command.process_group(0);

        let ended = Arc::new((Mutex::new(None), Condvar::new()));
        let (started, start) = std::sync::mpsc::channel();
        let keeper = std::thread::Builder::new().name(format!("keeper of {name}")).spawn({
            let ended = Arc::clone(&ended);
            move || {
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => return drop(started.send(Err(error))),
                };
                // Before `wait`, so that the number is still this child's.
                let pidfd = pidfd_of(child.id());
                let streams = (child.stdout.take(), child.stderr.take());
                let told = started.send(pidfd.map(|pidfd| (child.id(), pidfd, streams)));
                if told.is_err() {
                    child.kill().ok();
                }
                let status = child.wait().unwrap_or_default();
                *lock(&ended.0) = Some(status);
                ended.1.notify_all();
            }
        })?;
        let (pid, pidfd, (stdout, stderr)) = start
            .recv()
            .context("the thread that starts processes died")?
            .with_context(|| format!("cannot start {name} ({}) by setpriv", program.display()))?;

        let output = Output::default();
        // These end when the last holder of the pipe does, which may be a grandchild: nobody waits for them.
        stdout.into_iter().for_each(|stream| output.follow(stream));
        stderr.into_iter().for_each(|stream| output.follow(stream));
        Ok(Self { name: name.to_owned(), pid, pidfd, ended, output, keeper: Some(keeper) })
    }

    /// Its number, for measurements in `/proc`.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its output, both streams together, as far as it is kept.
    pub fn output(&self) -> Output {
        self.output.clone()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        *lock(&self.ended.0)
    }

    /// Whether a signal has stopped it and none has let it go on.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The state follows the name in brackets (proc_pid_stat(5)).
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// Asks it to end (`SIGTERM`) and waits.
    ///
    /// # Errors
    /// When it has not ended within `patience`.
    pub fn terminate(&self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        self.wait(patience)
    }

    /// Kills it (`SIGKILL`) and waits for its end, as in a crash.
    ///
    /// # Errors
    /// When the kernel does not end it.
    pub fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.wait(Duration::from_secs(10))
    }

    /// Sends a signal; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).ok();
    }

    fn wait(&self, patience: Duration) -> Result<ExitStatus> {
        let waited = self.ended.1.wait_timeout_while(lock(&self.ended.0), patience, |status| status.is_none());
        let (status, _) = waited.unwrap_or_else(PoisonError::into_inner);
        status.with_context(|| format!("{} has not ended within {patience:?}", self.name))
    }

    /// Stops it in its tracks (`SIGSTOP`): the kernel still accepts connections and bytes, and nothing answers. Returns when it
    /// has stopped; `SIGCONT` lets it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP);
        self.wait_until(STOPS, "stop", async || self.is_stopped()).await
    }

    /// Waits until `condition` holds; fails early when the process ends first. The error has its last lines.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub async fn wait_until<F: Future<Output = bool>>(
        &self,
        patience: Duration,
        what: &str,
        mut condition: impl FnMut() -> F,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !condition().await {
            if let Some(status) = self.ended() {
                bail!("{} ended ({status}) before {what}:\n{}", self.name, self.output.last_words(40));
            }
            if Instant::now() > deadline {
                bail!("{}: no {what} within {patience:?}:\n{}", self.name, self.output.tail(40));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "the test harness shows what a failing test prints")]
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(keeper) = self.keeper.take() {
            keeper.join().ok();
        }
        if std::thread::panicking() {
            eprintln!("---- the last lines of {} ----\n{}", self.name, self.output.last_words(80));
        }
    }
}

/// The last lines a process wrote.
#[derive(Clone, Default)]
pub struct Output(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    lines: VecDeque<String>,
    open_streams: usize,
}

impl Output {
    fn follow(&self, stream: impl Read + Send + 'static) {
        let written = Arc::clone(&self.0);
        lock(&written.0).open_streams += 1;
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let mut written = lock(&written.0);
                if written.lines.len() == KEPT_LINES {
                    written.lines.pop_front();
                }
                written.lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            lock(&written.0).open_streams -= 1;
            written.1.notify_all();
        });
    }

    /// The last lines of a process that has ended. A grandchild may hold its pipes open for ever, so the wait is short.
    fn last_words(&self, count: usize) -> String {
        let written = self.0.1.wait_timeout_while(lock(&self.0.0), LAST_WORDS, |written| written.open_streams > 0);
        drop(written);
        self.tail(count)
    }

    /// All lines kept.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.0.0).lines.iter().cloned().collect()
    }

    /// Whether a kept line contains `text`.
    pub fn contains(&self, text: &str) -> bool {
        lock(&self.0.0).lines.iter().any(|line| line.contains(text))
    }

    /// How many of the kept lines contain `text`.
    pub fn count(&self, text: &str) -> usize {
        lock(&self.0.0).lines.iter().filter(|line| line.contains(text)).count()
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> String {
        let written = lock(&self.0.0);
        let skip = written.lines.len().saturating_sub(count);
        written.lines.iter().skip(skip).map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Waits until `condition` holds. Never waits longer than it must; the error says what was waited for.
///
/// # Errors
/// When it does not hold in time.
pub async fn wait_until<F: Future<Output = bool>>(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !condition().await {
        if Instant::now() > deadline {
            bail!("no {what} within {patience:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn pidfd_of(pid: u32) -> std::io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// A panic elsewhere leaves these values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::spawn("sleeper", Path::new("sleep"), ["600"]).expect("sleep starts");
        let pid = process.pid();
        assert!(alive(pid));
        drop(process);
        assert!(!alive(pid));
    }

    #[tokio::test]
    async fn an_early_end_is_told_with_the_output() {
        let process =
            Process::spawn("talker", Path::new("sh"), ["-c", "echo out of paper >&2; exit 7"]).expect("starts");
        let error = process.wait_until(Duration::from_secs(20), "answer", async || false).await.expect_err("it ended");
        let text = error.to_string();
        assert!(text.contains("out of paper") && text.contains('7'), "{text}");
    }

    #[test]
    fn a_missing_program_is_an_error_of_the_child() {
        let process = Process::spawn("nobody", Path::new("/nonexistent/program"), ["x"]).expect("setpriv starts");
        assert!(!process.wait(Duration::from_secs(20)).expect("it ends").success());
    }

    #[test]
    fn terminate_gives_the_status() {
        let process = Process::spawn("sleeper", Path::new("sleep"), ["600"]).expect("sleep starts");
        let status = process.terminate(Duration::from_secs(20)).expect("it ends");
        assert!(!status.success());
    }
}
