//! Logs: one line for each event, as JSON or text, on standard output. Nothing that makes a line waits for whoever reads it.

pub mod budget;
#[cfg(test)]
pub(crate) mod testing;
mod writer;

use std::any::Any;
use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;

use prometheus::{IntCounter, Registry};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, Registry as Spans};

use self::writer::LineWriter;
/// The target of decision records: which of them there are is said by `telemetry.decisions`, not by how much else is logged.
const DECISIONS: &str = "cloakroom::decision";
/// The target of the audit log (P38): who made, changed or ended a session is written whatever the level of the rest.
const AUDIT: &str = "audit";

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log` is not a filter.
    #[error("telemetry.log is not a log filter such as `info` or `info,cloakroom::store=debug`")]
    Filter(#[from] ParseError),
    /// The thread that writes could not be started.
    #[error("the log writer cannot be started")]
    Writer(#[from] std::io::Error),
    /// Logs are installed already.
    #[error("logs are installed already")]
    Installed(#[from] TryInitError),
    /// The registry refused the counter.
    #[error("the log metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// The logs of this process. Dropped last: it waits for the lines that were made before it.
#[derive(Debug)]
#[must_use = "dropping it at once loses the last lines at the end"]
pub struct Telemetry {
    writer: LineWriter,
}

impl Telemetry {
    /// Installs the logs for the whole process, and a panic hook that keeps secrets out of them.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn install(filter: &str, format: LogFormat, registry: &Registry) -> Result<Self, TelemetryError> {
        let writer = LineWriter::start(std::io::stdout(), register(registry)?)?;
        subscriber(filter, format, writer.clone())?.try_init()?;
        std::panic::set_hook(Box::new(log_panic));
        Ok(Self { writer })
    }
}

/// Registers the counter of lines that are lost.
///
/// # Errors
/// When the registry has it already.
pub(crate) fn register(registry: &Registry) -> Result<IntCounter, prometheus::Error> {
    let dropped = IntCounter::new("cloakroom_log_lines_dropped_total", "Log lines lost because nobody read them.")?;
    registry.register(Box::new(dropped.clone()))?;
    Ok(dropped)
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.writer.flush();
    }
}

fn subscriber<W>(filter: &str, format: LogFormat, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut levels = EnvFilter::builder().parse(filter)?;
    for target in [DECISIONS, AUDIT] {
        // Who names a target in `telemetry.log` has decided about it.
        if !filter.contains(target) {
            levels = levels.add_directive(format!("{target}=info").parse()?);
        }
    }
    // It would warn with the whole of an answer that it cannot decode, and an answer may be a Secret (P31).
    levels = levels.add_directive("kube_client=error".parse()?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stdout().is_terminal()).boxed(),
    };
    Ok(Box::new(Spans::default().with(levels).with(lines.with_filter(filter_fn(vouched_for)))))
}

/// What we vouch for at every level is our own (P31). Libraries below `info` write down what passes through them: headers and
/// bodies are somebody's session.
fn vouched_for(event: &Metadata<'_>) -> bool {
    let ours = event.target().strip_prefix("cloakroom").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    ours || *event.level() <= Level::INFO
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(location, thread = thread.name(), cause = cause(panic.payload()), "panic");
}

/// A panic's message, when it is part of the program's text. One that was put together while it ran may hold anything.
fn cause(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(withheld)")
}

#[cfg(test)]
mod tests;
