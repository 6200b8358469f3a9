//! Which JWT of a service becomes a session, checked and compiled (`session.exchange`).

mod keys;
#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
use aws_lc_rs::signature::ParsedPublicKey;

pub use self::keys::KeySet;
pub(super) use self::keys::inline_keys;
use super::install::Install;
use super::problem::Findings;
use super::rule::check_text;
use crate::api::exchange::{self as api, ExchangeClaims, JwtAlgorithm};
use crate::authz::attributes::headers::{NAME_BYTES, same_name};
use crate::authz::credential::Carrier;

const MAX_ISSUER: usize = 1024;
const MAX_AUDIENCES: usize = 16;
const MAX_KEPT: usize = 32;
const MAX_STEPS: usize = 4;

/// Response headers that cannot hold a JWT: they have a meaning of their own, to the proxy, to the client, or to us.
const TAKEN: [&str; 16] = [
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// Beginnings of such names. Envoy drops what an external processor does to `x-envoy-*` (`mutation_rules`).
const TAKEN_PREFIXES: [&str; 2] = ["x-envoy-", "grpc-"];

/// A JWT that a service issues becomes a session.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Where the JWT is, and where the token takes its place.
    pub place: ExchangePlace,
    /// Who may have issued it.
    pub issuer: TrustedIssuer,
}

/// Where a response has the JWT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExchangePlace {
    /// The header of this name, in lower case, and nothing else in it.
    Header(Box<str>),
    /// The cookie of this name.
    Cookie(Box<str>),
    /// The member of the JSON body under these names, from the outside in; never empty.
    BodyField(Box<[Box<str>]>),
}

/// An issuer whose JWTs count, with all that one must have (P24).
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// `iss`, byte for byte.
    pub(crate) issuer: Box<str>,
    /// `aud` names one of these; never empty.
    pub(crate) audiences: Box<[String]>,
    /// `alg` is one of these; never empty.
    pub(crate) algorithms: Box<[JwtAlgorithm]>,
    /// `typ`, as [`media_type`] writes it; `None` wants a JWT that does not say what else it is.
    pub(crate) typ: Option<Box<str>>,
    /// Which claims mean what.
    pub(crate) claims: ExchangeClaims,
    pub(crate) keys: KeySet,
}

impl TrustedIssuer {
    /// The key that must have signed a JWT whose header names these; see [`KeySet::key`].
    #[cfg(test)]
    pub(crate) fn key(&self, kid: Option<&str>, algorithm: JwtAlgorithm) -> Option<&ParsedPublicKey> {
        self.keys.key(kid, algorithm)
    }
}

/// A `typ` in the form in which two are compared: in lower case, without the `application/` that may be left out
/// (RFC 7515 §4.1.9).
pub(crate) fn media_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    match typ.strip_prefix("application/") {
        Some(short) if !short.contains('/') => short.to_owned(),
        _ => typ,
    }
}

/// What `spec` says, or findings below the path `at`.
pub(super) fn exchange(spec: &api::Exchange, at: &str, install: &Install, findings: &mut Findings) -> Option<Exchange> {
    let place = place(spec, at, install, findings);
    let terms = IssuerTerms {
        issuer: &spec.issuer,
        audiences: &spec.audiences,
        algorithms: &spec.algorithms,
        typ: spec.typ.as_deref(),
        claims: &spec.claims,
    };
    let issuer = trusted_issuer(&terms, at, findings);
    let keys = keys::trusted_keys(&spec.jwks, &spec.algorithms, at, findings);
    Some(Exchange { place: place?, issuer: TrustedIssuer { keys: keys?, ..issuer } })
}

fn place(spec: &api::Exchange, at: &str, install: &Install, findings: &mut Findings) -> Option<ExchangePlace> {
    let carries = |wanted: fn(&Carrier) -> bool| install.carriers.as_slice().iter().any(wanted);
    let by_hand = || carries(|carrier| matches!(carrier, Carrier::Bearer | Carrier::Header(_)));
    let no_header = "the client finds its token where the JWT was and sends it as a bearer or in a header, and the install looks \
                     in neither: add `bearer: {}` or `header: NAME` to `token.carriers`, or exchange a `cookie`";
    match (&spec.header, &spec.cookie, &spec.body_field) {
        (Some(header), None, None) => {
            let at = format!("{at}.header");
            if !by_hand() {
                findings.add(&at, no_header);
            }
            let name = header.to_ascii_lowercase();
            findings.catch(at, header_name(&name, install)).map(|()| ExchangePlace::Header(name.into()))
        }
        (None, Some(cookie), None) => {
            let at = format!("{at}.cookie");
            if !carries(|carrier| matches!(carrier, Carrier::Cookie(_))) {
                findings.add(
                    &at,
                    "the token would go to the client in a cookie, and the install looks in none: add `cookie: NAME` to \
                     `token.carriers`, or exchange a `header` or a `bodyField`",
                );
            }
            findings.catch(at, cookie_name(cookie, install)).map(|()| ExchangePlace::Cookie(cookie.as_str().into()))
        }
        (None, None, Some(field)) => {
            let at = format!("{at}.bodyField");
            if !by_hand() {
                findings.add(&at, no_header);
            }
            findings.catch(at, body_field(field)).map(ExchangePlace::BodyField)
        }
        _ => {
            findings
                .add(at, "exactly one of `header`, `cookie` and `bodyField` is needed: where the response has the JWT");
            None
        }
    }
}

/// Whether this is a field name (RFC 9110 §5.1) or a cookie's (RFC 6265 §4.1.1), which are tokens both.
fn is_token(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|byte| NAME_BYTES[usize::from(byte)])
}

fn header_name(name: &str, install: &Install) -> Result<(), String> {
    if !is_token(name) {
        return Err(format!(
            "{name:?} is not a header's name: 1 to 255 of letters, digits, `-` and `_`, like `x-login-jwt`"
        ));
    }
    if install.own_headers.owns(name.as_bytes()) {
        return Err(format!("`{name}` is one of our own, which are taken off every response: choose another name"));
    }
    let starts = |prefix: &&str| name.get(..prefix.len()).is_some_and(|it| same_name(it.as_bytes(), prefix.as_bytes()));
    if TAKEN.iter().any(|taken| same_name(taken.as_bytes(), name.as_bytes())) || TAKEN_PREFIXES.iter().any(starts) {
        return Err(format!("`{name}` has a meaning of its own: choose another name, like `x-login-jwt`"));
    }
    Ok(())
}

fn cookie_name(name: &str, install: &Install) -> Result<(), String> {
    if !is_token(name) {
        return Err(format!("{name:?} is not a cookie's name (RFC 6265): a token of 1 to 255 bytes"));
    }
    if install.carriers.cookie_names().any(|ours| ours.eq_ignore_ascii_case(name)) {
        return Err(format!(
            "`{name}` is the cookie that carries our token: let the service set the JWT under another name"
        ));
    }
    Ok(())
}

fn body_field(path: &str) -> Result<Box<[Box<str>]>, String> {
    let plain = |step: &str| {
        (1..=63).contains(&step.len()) && step.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    let steps: Vec<Box<str>> = path.split('.').take(MAX_STEPS + 1).map(Into::into).collect();
    if steps.len() <= MAX_STEPS && steps.iter().all(|step| plain(step)) {
        return Ok(steps.into());
    }
    Err(format!(
        "{path:?} is no member of a JSON body: 1 to {MAX_STEPS} names with dots between them, each of 1 to 63 letters, digits, \
         `_` and `-`, like `access_token` or `data.accessToken`"
    ))
}

/// What a JWT must have, as written.
pub(super) struct IssuerTerms<'a> {
    pub(super) issuer: &'a str,
    pub(super) audiences: &'a [String],
    pub(super) algorithms: &'a [JwtAlgorithm],
    pub(super) typ: Option<&'a str>,
    pub(super) claims: &'a ExchangeClaims,
}

/// The issuer, without its keys; or findings below `at`.
pub(super) fn trusted_issuer(spec: &IssuerTerms<'_>, at: &str, findings: &mut Findings) -> TrustedIssuer {
    check_issuer(spec.issuer, &format!("{at}.issuer"), findings);
    check_audiences(spec.audiences, &format!("{at}.audiences"), "a JWT counts only where one of its", findings);
    if spec.algorithms.is_empty() {
        let known = JwtAlgorithm::ALL.map(JwtAlgorithm::name);
        findings.add(
            format!("{at}.algorithms"),
            format!("name those that the issuer signs with: some of {}", crate::api::read::listed(&known)),
        );
    }
    for (i, algorithm) in spec.algorithms.iter().enumerate().take(2 * JwtAlgorithm::ALL.len()) {
        if spec.algorithms[..i].contains(algorithm) {
            findings.add(format!("{at}.algorithms[{i}]"), format!("{} is named twice", algorithm.name()));
        }
    }
    if let Some(typ) = spec.typ
        && !((1..=127).contains(&typ.len()) && typ.bytes().all(|b| NAME_BYTES[usize::from(b)] || b == b'/'))
    {
        findings
            .add(format!("{at}.typ"), format!("{typ:?} is not a media type, like `at+jwt` or `application/at+jwt`"));
    }
    check_claims(spec.claims, &format!("{at}.claims"), findings);
    TrustedIssuer {
        issuer: spec.issuer.into(),
        audiences: spec.audiences.into(),
        algorithms: spec.algorithms.into(),
        typ: spec.typ.map(|typ| media_type(typ).into()),
        claims: spec.claims.clone(),
        keys: KeySet::default(),
    }
}

pub(super) fn check_issuer(issuer: &str, at: &str, findings: &mut Findings) {
    if !(1..=MAX_ISSUER).contains(&issuer.len()) || issuer.chars().any(char::is_control) {
        findings.add(at, "1 to 1,024 bytes without control characters are needed");
    }
}

/// `what` goes before "`aud` is named".
pub(super) fn check_audiences(audiences: &[String], at: &str, what: &str, findings: &mut Findings) {
    if !(1..=MAX_AUDIENCES).contains(&audiences.len()) {
        findings.add(at, format!("name 1 to {MAX_AUDIENCES}: {what} `aud` is named"));
    }
    for (i, audience) in audiences.iter().enumerate().take(MAX_AUDIENCES) {
        check_text(audience, &format!("{at}[{i}]"), findings);
    }
}

pub(super) fn check_claims(claims: &ExchangeClaims, at: &str, findings: &mut Findings) {
    for (field, name) in [
        ("subject", &claims.subject),
        ("scopes", &claims.scopes),
        ("roles", &claims.roles),
        ("authTime", &claims.auth_time),
    ] {
        check_text(name, &format!("{at}.{field}"), findings);
    }
    if claims.keep.len() > MAX_KEPT {
        findings.add(format!("{at}.keep"), format!("{} entries, the most is {MAX_KEPT}", claims.keep.len()));
    }
    for (i, name) in claims.keep.iter().enumerate().take(MAX_KEPT) {
        check_text(name, &format!("{at}.keep[{i}]"), findings);
    }
}
