//! How commands reach a running cloakroom: over HTTP on a listener of its own, with errors that say what to check.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http::StatusCode;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::output::plain;
use crate::admin::problem::ProblemDocument;

/// The most bytes of a file that a command reads.
const MAX_READ: u64 = 16 * 1024 * 1024;

/// Where the session API is, and who calls.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {
    /// The session API (`listen.sessions` of the server)
    #[arg(long, value_name = "URL", env = "CLOAKROOM_API", default_value = "http://127.0.0.1:9081", global = true)]
    pub api: Url,
    /// The file with the admin token (`api.tokenFile` of the server)
    #[arg(long, value_name = "FILE", env = "CLOAKROOM_API_TOKEN_FILE", global = true)]
    pub api_token_file: Option<PathBuf>,
    /// The realm to act in; the server's own unless told
    #[arg(long, value_name = "NAME", env = "CLOAKROOM_REALM", global = true)]
    pub realm: Option<String>,
}

/// A client of one listener.
#[derive(Debug)]
pub struct HttpClient {
    base: Url,
    http: reqwest::Client,
    /// What the base address is called in messages, and how it is set.
    what: &'static str,
    cure: &'static str,
}

impl HttpClient {
    /// A client of the listener at `base`.
    ///
    /// # Errors
    /// When `base` is not an `http` address with a host.
    pub fn new(base: Url, what: &'static str, cure: &'static str) -> anyhow::Result<Self> {
        if base.scheme() != "http" || !base.has_host() || !base.username().is_empty() || base.password().is_some() {
            bail!("{base} is not an address of {what}: it must be like http://127.0.0.1:9081");
        }
        // An admin token goes to the address that was named and to no other: no proxy, no redirect.
        let http = reqwest::Client::builder()
            .no_proxy()
            // `http` alone is spoken here, so that no certificate is read, and none has to be there.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self { base, http, what, cure })
    }

    /// A request for the path made of these segments, each escaped as one.
    pub fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        self.http.request(method, url)
    }

    /// Sends it; every answer below 400 is a success.
    ///
    /// # Errors
    /// What to check when there is no answer; the server's own words when it refuses.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.map_err(|error| {
            let why = if error.is_timeout() { "no answer in time from" } else { "cannot reach" };
            let text = format!("{why} {} at {}: {}", self.what, self.base, self.cure);
            anyhow::Error::new(error.without_url()).context(text)
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        match response.json::<ProblemDocument>().await {
            Ok(problem) => Err(Refused { status, problem }.into()),
            Err(_) => Err(anyhow!("{} answered {status}, and is not {}: {}", self.base, self.what, self.cure)),
        }
    }

    /// Sends it and reads the answer.
    ///
    /// # Errors
    /// As [`Self::send`], and when the answer is not what was expected.
    pub async fn fetch<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let response = self.send(request).await?;
        response.json().await.map_err(|error| anyhow::Error::new(error.without_url())).with_context(|| {
            format!("the answer of {} is not what this version expects; is the server another version?", self.base)
        })
    }
}

/// A refusal in the server's words.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", problem.field.as_deref().map(|it| plain(it) + ": ").unwrap_or_default(), plain(&problem.detail))]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The words.
    pub problem: ProblemDocument,
}

/// A client of the session API.
#[derive(Debug)]
pub struct ApiClient {
    http: HttpClient,
    token: Zeroizing<String>,
    token_file: PathBuf,
    realm: Option<String>,
}

impl ApiClient {
    /// A client of these arguments; reads the admin token.
    ///
    /// # Errors
    /// When no token file was named, or it cannot be read.
    pub fn open(args: &ClientArgs) -> anyhow::Result<Self> {
        let cure = "is `cloakroom serve` running with `listen.sessions` set, and is that its address (--api or CLOAKROOM_API)?";
        let token_file = args.api_token_file.clone().ok_or_else(|| {
            anyhow!("no admin token: name its file with --api-token-file or CLOAKROOM_API_TOKEN_FILE (the server's `api.tokenFile`)")
        })?;
        let token = read_secret(&token_file)?;
        if !token.bytes().all(|b| b.is_ascii_graphic()) || token.is_empty() {
            bail!("{} does not hold one admin token", token_file.display());
        }
        let http = HttpClient::new(args.api.clone(), "the session API", cure)?;
        Ok(Self { http, token, token_file, realm: args.realm.clone() })
    }

    /// The realm that was named.
    pub fn realm(&self) -> Option<&str> {
        self.realm.as_deref()
    }

    /// A request with the caller's token and the realm in the query.
    pub fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let request = self.without_realm(method, segments);
        match &self.realm {
            Some(realm) => request.query(&[("realm", realm)]),
            None => request,
        }
    }

    /// A request with the caller's token, for a body that names the realm itself.
    pub fn without_realm(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        self.http.request(method, segments).bearer_auth(self.token.as_str())
    }

    /// As [`HttpClient::send`]; says which file holds a token that is not accepted.
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        self.http.send(request).await.map_err(|error| self.explained(error))
    }

    /// As [`HttpClient::fetch`]; says which file holds a token that is not accepted.
    ///
    /// # Errors
    /// As there.
    pub async fn fetch<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        self.http.fetch(request).await.map_err(|error| self.explained(error))
    }

    fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast_ref::<Refused>() {
            Some(refused) if refused.status == StatusCode::UNAUTHORIZED => error.context(format!(
                "the session API does not accept the admin token in {}: it must hold the same as the server's `api.tokenFile`",
                self.token_file.display()
            )),
            _ => error,
        }
    }
}

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// When it cannot be read, is too large or is not UTF-8.
pub fn read_text(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_READ).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_READ).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

/// Reads a secret: the file without the white space at its ends. Secrets are never taken from the command line, which other
/// users of the machine can see.
///
/// # Errors
/// As [`read_text`].
pub fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    read_text(path).map(|text| Zeroizing::new(text.trim().to_owned()))
}
