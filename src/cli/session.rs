//! `cloakroom session …`: the session API for people and scripts.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{ApiClient, ClientArgs, read_secret, read_text};
use super::output::{self, Output, Table, plain};
use crate::admin::session_api::document::{
    DeviceDocument, IssuedDocument, ProviderDocument, Revoked, SessionDocument, SessionPage, TokenText,
};
use crate::admin::session_api::request::{CreateRequest, DevicePatch, RotateRequest, SessionPatch};

/// Makes, reads, changes and ends sessions through the session API.
#[derive(Clone, Debug, Args)]
pub struct SessionArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true, env = "CLOAKROOM_OUTPUT")]
    output: Output,
    #[command(subcommand)]
    command: SessionCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum SessionCommand {
    /// Makes a session and prints its token, this once
    Create(CreateArgs),
    /// Shows a session
    Get {
        /// The session's id
        sid: String,
    },
    /// Lists a subject's live sessions
    List {
        /// Whose
        #[arg(long)]
        subject: String,
        /// How many at most; all unless told
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Changes a session; what is not named stays
    Update(UpdateArgs),
    /// Replaces a session's token and prints the next, this once
    Rotate {
        /// The session's id
        sid: String,
        /// The file with the present token; - for standard input
        #[arg(long, value_name = "FILE", default_value = "-")]
        token_file: PathBuf,
    },
    /// Ends a session
    Revoke {
        /// The session's id
        sid: String,
    },
    /// Ends every session of a subject
    RevokeSubject {
        /// Whose
        subject: String,
    },
}

#[derive(Clone, Debug, Args)]
struct CreateArgs {
    /// Who it belongs to
    #[arg(long)]
    subject: String,
    /// A scope; may come more than once
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A role; may come more than once
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// The claims, a JSON object; @FILE reads a file, @- standard input
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// Authentication context class
    #[arg(long)]
    acr: Option<String>,
    /// An authentication method; may come more than once
    #[arg(long)]
    amr: Vec<String>,
    /// When the subject proved who they are, such as 2026-01-31T09:30:00Z; now unless told
    #[arg(long, value_name = "TIME")]
    auth_time: Option<String>,
    /// How long it may lie unused, such as 15m
    #[arg(long, value_name = "DURATION")]
    idle: Option<String>,
    /// How long it lives at most, such as 12h
    #[arg(long, value_name = "DURATION")]
    absolute: Option<String>,
    /// A name of the device
    #[arg(long, value_name = "LABEL")]
    device_label: Option<String>,
    /// The identity provider's issuer
    #[arg(long, value_name = "ISS")]
    provider_iss: Option<String>,
    /// The identity provider's session id
    #[arg(long, value_name = "SID", requires = "provider_iss")]
    provider_sid: Option<String>,
}

#[derive(Clone, Debug, Args)]
struct UpdateArgs {
    /// The session's id
    sid: String,
    /// A scope, in place of all the present ones; may come more than once
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A role, in place of all the present ones; may come more than once
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A JSON merge patch of the claims; @FILE reads a file, @- standard input
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// Authentication context class
    #[arg(long)]
    acr: Option<String>,
    /// An authentication method, in place of all the present ones; may come more than once
    #[arg(long)]
    amr: Vec<String>,
    /// How long it may lie unused, such as 15m
    #[arg(long, value_name = "DURATION")]
    idle: Option<String>,
    /// A name of the device
    #[arg(long, value_name = "LABEL")]
    device_label: Option<String>,
    /// What to remove; may come more than once
    #[arg(long, value_enum, value_name = "FIELD")]
    clear: Vec<Clearable>,
    /// Only when this is still the session's version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Clearable {
    Scopes,
    Roles,
    Claims,
    Acr,
    Amr,
    Device,
}

/// Runs the command and prints what it did.
///
/// # Errors
/// What a person needs to know to make it work.
pub async fn run(args: SessionArgs) -> anyhow::Result<()> {
    run_to(args, &mut io::stdout().lock()).await
}

/// As [`run`], printing to `out`.
///
/// # Errors
/// As there.
pub async fn run_to(args: SessionArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let api = ApiClient::open(&args.client)?;
    let output = args.output;
    match args.command {
        SessionCommand::Create(create) => {
            let body = create.request(api.realm())?;
            let request = api.without_realm(Method::POST, &["v1", "sessions"]).json(&body);
            print_issued(out, output, &api.fetch(request).await?)
        }
        SessionCommand::Get { sid } => {
            let request = api.request(Method::GET, &["v1", "sessions", segment(&sid)?]);
            print_session(out, output, &api.fetch(request).await?)
        }
        SessionCommand::List { subject, limit } => print_list(out, output, &list(&api, &subject, limit).await?),
        SessionCommand::Update(update) => {
            let mut request = api
                .request(Method::PATCH, &["v1", "sessions", segment(&update.sid)?])
                .header(http::header::CONTENT_TYPE, "application/merge-patch+json");
            if let Some(version) = update.if_version {
                request = request.header(http::header::IF_MATCH, format!("\"{version}\""));
            }
            let body = serde_json::to_vec(&update.patch()?)?;
            print_session(out, output, &api.fetch(request.body(body)).await?)
        }
        SessionCommand::Rotate { sid, token_file } => {
            let body = RotateRequest { token: TokenText(read_secret(&token_file)?) };
            let request = api.request(Method::POST, &["v1", "sessions", segment(&sid)?, "rotate"]).json(&body);
            print_issued(out, output, &api.fetch(request).await?)
        }
        SessionCommand::Revoke { sid } => {
            api.send(api.request(Method::DELETE, &["v1", "sessions", segment(&sid)?])).await?;
            match output {
                Output::Json => output::json(out, &json!({ "sid": sid, "revoked": true }))?,
                Output::Table => writeln!(out, "{} is over", plain(&sid))?,
            }
            Ok(())
        }
        SessionCommand::RevokeSubject { subject } => {
            let request = api.request(Method::DELETE, &["v1", "subjects", segment(&subject)?, "sessions"]);
            let done: Revoked = api.fetch(request).await?;
            match output {
                Output::Json => output::json(out, &done)?,
                Output::Table => {
                    let (noun, verb) = if done.revoked == 1 { ("session", "is") } else { ("sessions", "are") };
                    writeln!(out, "{} {noun} of {} {verb} over", done.revoked, plain(&subject))?;
                }
            }
            Ok(())
        }
    }
}

/// A value that can stand as one segment of a path: URLs take `.` and `..` for steps, however they are escaped.
fn segment(value: &str) -> anyhow::Result<&str> {
    if matches!(value, "" | "." | "..") {
        bail!("{value:?} cannot be named in an address; end such sessions one by one, by their ids");
    }
    Ok(value)
}

/// The sessions of a subject, page by page.
async fn list(api: &ApiClient, subject: &str, limit: Option<usize>) -> anyhow::Result<Vec<SessionDocument>> {
    let most = limit.unwrap_or(usize::MAX);
    let mut sessions = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let size = (most - sessions.len()).min(200).to_string();
        let mut request =
            api.request(Method::GET, &["v1", "sessions"]).query(&[("subject", subject), ("limit", &size)]);
        if let Some(cursor) = &cursor {
            request = request.query(&[("cursor", cursor)]);
        }
        let page: SessionPage = api.fetch(request).await?;
        sessions.extend(page.sessions);
        cursor = page.cursor;
        if cursor.is_none() || sessions.len() >= most {
            return Ok(sessions);
        }
    }
}

impl CreateArgs {
    fn request(self, realm: Option<&str>) -> anyhow::Result<CreateRequest> {
        Ok(CreateRequest {
            realm: realm.map(str::to_owned),
            subject: Some(self.subject),
            scopes: self.scopes,
            roles: self.roles,
            claims: self.claims.as_deref().map(claims).transpose()?.unwrap_or_default(),
            acr: self.acr,
            amr: self.amr,
            auth_time: self.auth_time,
            idle: self.idle,
            absolute: self.absolute,
            device: self.device_label.map(|label| DeviceDocument { label: Some(label), ..DeviceDocument::default() }),
            provider: self.provider_iss.map(|iss| ProviderDocument { iss, sid: self.provider_sid }),
        })
    }
}

impl UpdateArgs {
    fn patch(&self) -> anyhow::Result<SessionPatch> {
        let mut patch = SessionPatch {
            scopes: many(&self.scopes),
            roles: many(&self.roles),
            claims: self.claims.as_deref().map(|text| claims(text).map(Some)).transpose()?,
            acr: self.acr.clone().map(Some),
            amr: many(&self.amr),
            device: self
                .device_label
                .clone()
                .map(|label| Some(DevicePatch { label: Some(Some(label)), ..DevicePatch::default() })),
            idle: self.idle.clone().map(Some),
        };
        for field in &self.clear {
            let twice = match field {
                Clearable::Scopes => patch.scopes.replace(None).is_some(),
                Clearable::Roles => patch.roles.replace(None).is_some(),
                Clearable::Claims => patch.claims.replace(None).is_some(),
                Clearable::Acr => patch.acr.replace(None).is_some(),
                Clearable::Amr => patch.amr.replace(None).is_some(),
                Clearable::Device => patch.device.replace(None).is_some(),
            };
            if twice {
                bail!("{field:?} cannot be cleared and set, or cleared twice, in one update");
            }
        }
        if serde_json::to_value(&patch)? == json!({}) {
            bail!("nothing to change: name at least one field; `cloakroom session update --help` lists them");
        }
        Ok(patch)
    }
}

fn many(values: &[String]) -> Option<Option<Vec<String>>> {
    (!values.is_empty()).then(|| Some(values.to_vec()))
}

/// A JSON object, given as text or as `@FILE`.
fn claims(text: &str) -> anyhow::Result<Map<String, Value>> {
    let read = match text.strip_prefix('@') {
        Some(path) => read_text(path.as_ref())?,
        None => zeroize::Zeroizing::new(text.to_owned()),
    };
    serde_json::from_str(&read).context("--claims must be a JSON object, such as {\"tier\":\"gold\"}, or @FILE")
}

fn print_issued(out: &mut dyn Write, output: Output, issued: &IssuedDocument) -> anyhow::Result<()> {
    match output {
        Output::Json => output::json(out, issued)?,
        Output::Table => {
            write!(out, "{}", described(&issued.session))?;
            writeln!(out, "\nThe token, shown this once:\n{}", plain(&issued.token.0))?;
        }
    }
    Ok(())
}

fn print_session(out: &mut dyn Write, output: Output, session: &SessionDocument) -> anyhow::Result<()> {
    match output {
        Output::Json => output::json(out, session)?,
        Output::Table => write!(out, "{}", described(session))?,
    }
    Ok(())
}

fn print_list(out: &mut dyn Write, output: Output, sessions: &[SessionDocument]) -> anyhow::Result<()> {
    if output == Output::Json {
        return Ok(output::json(out, &json!({ "sessions": sessions }))?);
    }
    if sessions.is_empty() {
        return Ok(writeln!(out, "no live sessions")?);
    }
    let mut table = Table::new(["SID", "SUBJECT", "CREATED", "LAST SEEN", "ENDS", "DEVICE"]);
    for session in sessions {
        let device = session.device.as_ref().and_then(|it| it.label.as_deref().or(it.user_agent.as_deref()));
        let SessionDocument { sid, subject, created, last_seen, ends, .. } = session;
        table.row([sid, subject, created, last_seen, ends, device.unwrap_or("-")]);
    }
    Ok(write!(out, "{table}")?)
}

/// One session, a field a line; fields without a value are left out.
fn described(session: &SessionDocument) -> Table {
    let mut table = Table::of_pairs();
    let version = session.version.to_string();
    for (name, value) in [
        ("sid", &session.sid),
        ("realm", &session.realm),
        ("subject", &session.subject),
        ("version", &version),
        ("created", &session.created),
        ("auth time", &session.auth_time),
        ("last seen", &session.last_seen),
        ("idle", &session.idle),
        ("ends", &session.ends),
        ("at latest", &session.absolute_end),
    ] {
        table.row([name, value]);
    }
    for (name, values) in [("scopes", &session.scopes), ("roles", &session.roles), ("amr", &session.amr)] {
        if !values.is_empty() {
            table.row([name, &values.join(" ")]);
        }
    }
    if let Some(acr) = &session.acr {
        table.row(["acr", acr]);
    }
    if !session.claims.is_empty() {
        table.row(["claims", &Value::Object(session.claims.clone()).to_string()]);
    }
    let device = session.device.clone().unwrap_or_default();
    for (name, value) in [("device", device.label), ("user agent", device.user_agent), ("address", device.address)] {
        if let Some(value) = value {
            table.row([name, &value]);
        }
    }
    if let Some(provider) = &session.provider {
        table.row(["provider", &provider.iss]);
        if let Some(sid) = &provider.sid {
            table.row(["provider sid", sid]);
        }
    }
    table
}

#[cfg(test)]
mod tests;
