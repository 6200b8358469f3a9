//! `telemetry`: logs, and which decisions leave a record.

use super::file::TelemetryFile;
use super::{Wrong, wrong};
use crate::ext_authz::record::Decisions;
use crate::telemetry::LogFormat;

/// `telemetry`.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// The filter.
    pub log: String,
    /// How lines look.
    pub format: LogFormat,
    /// Which decisions leave a record.
    pub decisions: Decisions,
}

pub(super) fn resolve(file: TelemetryFile) -> Result<TelemetryConfig, Wrong> {
    let format = match file.format.as_deref().unwrap_or("json") {
        "json" => LogFormat::Json,
        "text" => LogFormat::Text,
        other => return Err(wrong("telemetry.format", format!("`{other}` is not one of json, text"))),
    };
    let decisions = match file.decisions.as_deref().unwrap_or("denials") {
        "none" => Decisions::None,
        "denials" => Decisions::Denials,
        "all" => Decisions::All,
        other => return Err(wrong("telemetry.decisions", format!("`{other}` is not one of none, denials, all"))),
    };
    Ok(TelemetryConfig { log: file.log.unwrap_or_else(|| "info".to_owned()), format, decisions })
}
