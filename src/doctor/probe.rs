//! What the answers of a route say: whether the check is reached, and whether a forged header gets past.

use std::time::Duration;

use super::finding::{Check, Finding};

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body, as far as it was read.
    pub body: String,
    /// How long it took.
    pub took: Duration,
}

/// An answer, or why there is none.
pub type Heard = Result<Answer, String>;

/// Requests that were sent to one route, and what came back.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The route.
    pub url: String,
    /// Whether a rule lets everybody in there, as the user says.
    pub is_public: bool,
    /// Whether the service behind writes the request's headers into its answer, as the user says.
    pub is_echo: bool,
    /// The header of session JWTs.
    pub header: String,
    /// The value of an innocent header that each request had.
    pub control: String,
    /// The value of the forged ones.
    pub forged_value: String,
    /// To a request without a credential.
    pub plain: Heard,
    /// To one with the user's token, and that token.
    pub session: Option<(Heard, String)>,
    /// To requests with a forged header, by its spelling; with the token, if there is one.
    pub forged: Vec<(String, Heard)>,
}

/// How servers that decode names loosely may have a header spelt.
pub fn spellings(header: &str) -> Vec<String> {
    let all = ['-', '_', '.', '~', '!'].map(|sign| header.replace('-', &sign.to_string()));
    let mut all: Vec<_> = all.into_iter().chain([header.replacen('-', "_", 1)]).collect();
    all.dedup();
    all
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn has(&self, text: &str) -> bool {
        self.body.contains(text) || self.headers.iter().any(|(_, value)| value.contains(text))
    }

    /// Whether it is in cloakroom's words.
    fn is_ours(&self) -> bool {
        self.header("content-type").starts_with("application/problem+json")
            && self.body.contains("\"type\":\"about:blank\"")
    }
}

/// What they say.
pub fn judge(probe: &Probe) -> Vec<Finding> {
    let mut findings = vec![check(probe)];
    if let Some((heard, token)) = &probe.session {
        findings.push(session(probe, heard, token));
    }
    findings.push(forged(probe));
    findings
}

fn silent(check: Check, probe: &Probe, why: &str) -> Finding {
    let cure = "see that the address is right and answers: curl -v; --address connects elsewhere, --ca trusts another authority";
    Finding::unknown(check, &probe.url, format!("does not answer: {why}"), cure)
}

/// What the request without a credential met.
fn check(probe: &Probe) -> Finding {
    let kind = Check::ProbeCheck;
    let answer = match &probe.plain {
        Ok(answer) => answer,
        Err(why) => return silent(kind, probe, why),
    };
    let (about, status) = (probe.url.as_str(), answer.status);
    let problem = |seen: String, cure: &str| Finding::problem(kind, about, seen, cure);
    match status {
        200..=299 if probe.is_public => {
            Finding::ok(kind, about, format!("lets a request without a credential in ({status}), as a public route should"))
        }
        200..=299 => problem(
            format!("answers {status} to a request without a credential: the check is not reached, or a policy lets everybody in"),
            "ask why: cloakroom explain GET URL. If that says REFUSED, the proxy does not ask: let its policy select this route \
             (cloakroom snippet prints it). If the route is meant to be open, say --public",
        ),
        401 if answer.is_ours() || answer.header("www-authenticate").starts_with("Bearer") => {
            Finding::ok(kind, about, "refuses a request without a credential (401): the check is reached")
        }
        403 if answer.body.contains("RBAC: access denied") => problem(
            "is refused by Istio itself (403, `RBAC: access denied`), and cloakroom is not asked: the provider that the \
             AuthorizationPolicy names is not there, or two providers meet"
                .to_owned(),
            "see the findings istio-provider and istio-policies",
        ),
        403 if answer.is_ours() => Finding::warning(
            kind,
            about,
            "is refused with 403 and not 401: the check is reached, and no policy is for this request, or one closes it to everybody",
            "ask which: cloakroom explain GET URL",
        ),
        401 | 403 => Finding::warning(
            kind,
            about,
            format!("is refused with {status}, and not in cloakroom's words: something else answers before it"),
            "see what is in front: the answer's headers (curl -i), other policies on the route",
        ),
        503 if answer.is_ours() => problem(
            "answers 503 in cloakroom's words: the gate runs, and lacks its policies, its store or its keys".to_owned(),
            "ask the gate: /readyz at listen.health says what it lacks",
        ),
        503 => problem(
            format!(
                "answers 503 after {} ms, and not in cloakroom's words: the proxy got no answer from the gate in time, or the service \
                 is away",
                answer.took.as_millis()
            ),
            "see that the gate runs and is ready, and that the proxy asks where it listens (listen.grpc); the proxy's access log says \
             ext_authz_error, or no_healthy_upstream where the service is away",
        ),
        500 | 502 | 504 => problem(
            format!(
                "answers {status} after {} ms: a gate that accepts and does not answer (504 when it is shown the response as well), or a \
                 service that fails",
                answer.took.as_millis()
            ),
            "see that the gate is alive: /livez at listen.health; the proxy's access log says which filter gave up",
        ),
        300..=399 => Finding::unknown(
            kind,
            about,
            format!("leads elsewhere ({status})"),
            "name the address that it leads to",
        ),
        _ => Finding::unknown(
            kind,
            about,
            format!("answers {status}, which says nothing about the check"),
            "name a route that is there and needs a session",
        ),
    }
}

/// What the request with a token met.
fn session(probe: &Probe, heard: &Heard, token: &str) -> Finding {
    let kind = Check::ProbeSession;
    let about = probe.url.as_str();
    let answer = match heard {
        Ok(answer) => answer,
        Err(why) => return silent(kind, probe, why),
    };
    let problem = |seen: String, cure: &str| Finding::problem(kind, about, seen, cure);
    if answer.has(token) {
        let cure = "let every request to the service pass the check: it takes the token off";
        return problem("the access token itself reached the service, and came back".to_owned(), cure);
    }
    match answer.status {
        200..=299 => {}
        401 => {
            let seen =
                "refuses the token (401): the session has ended, is of another realm, or the gate asks another store"
                    .to_owned();
            return problem(seen, "ask why: cloakroom explain GET URL --token-file FILE");
        }
        status => {
            let seen = format!("answers {status} to the token");
            return Finding::warning(kind, about, seen, "ask why: cloakroom explain GET URL --token-file FILE");
        }
    }
    if !answer.has(&probe.control) {
        return Finding::ok(kind, about, format!("lets the session in ({})", answer.status));
    }
    let body = answer.body.to_ascii_lowercase();
    match body.find(&probe.header) {
        Some(at) if body[at + probe.header.len()..].chars().take(12).collect::<String>().contains("eyj") => {
            Finding::ok(kind, about, format!("lets the session in, and {} reaches the service", probe.header))
        }
        Some(_) => problem(
            format!("lets the session in, and {} reaches the service without a JWT in it", probe.header),
            "see that the proxy takes the gate's answer: no filter after the check may set this header",
        ),
        None => Finding::warning(
            kind,
            about,
            format!("lets the session in, and the service does not show {} among its headers", probe.header),
            "see that the route has no mode: Audit and no access: Public, and that the service does not hide it",
        ),
    }
}

/// What requests with a forged header met.
fn forged(probe: &Probe) -> Finding {
    let kind = Check::ProbeForged;
    let about = probe.url.as_str();
    let baseline = probe.session.as_ref().map_or(&probe.plain, |(heard, _)| heard);
    let Ok(baseline) = baseline else {
        return Finding::unknown(kind, about, "is not known, since the route does not answer", "see the finding above");
    };
    let (mut returned, mut changed, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for (spelling, heard) in &probe.forged {
        match heard {
            Ok(answer) if answer.has(&probe.forged_value) => returned.push(spelling.as_str()),
            // Refused for its very name, as it may be.
            Ok(answer) if matches!(answer.status, 400 | 431) => {}
            Ok(answer) if answer.status != baseline.status => changed.push(format!("{spelling}: {}", answer.status)),
            Ok(_) => {}
            Err(_) => lost.push(spelling.as_str()),
        }
    }
    if !returned.is_empty() {
        let seen = format!(
            "a forged header reached the service, and came back: {}. Who sends it is believed to be whom they like",
            returned.join(", ")
        );
        let cure = "take our headers off before the check, in every spelling: early_header_mutation (cloakroom snippet prints it)";
        return Finding::problem(kind, about, seen, cure);
    }
    if !changed.is_empty() {
        let seen = format!("a forged header changes the answer from {} ({})", baseline.status, changed.join("; "));
        let cure = "see who reads it: nothing behind the proxy should ever see it (cloakroom snippet prints what takes it off)";
        return Finding::warning(kind, about, seen, cure);
    }
    if !lost.is_empty() {
        let seen = format!("no answer to a forged {}", lost.join(", "));
        return Finding::unknown(kind, about, seen, "try again");
    }
    if baseline.has(&probe.control) {
        let seen = format!(
            "the service sees the headers of a request, and of {} spellings of a forged {} none",
            probe.forged.len(),
            probe.header
        );
        return Finding::ok(kind, about, seen);
    }
    if probe.is_echo {
        let seen = "the service does not show the headers of a request, or the request does not reach it";
        let cure = "name a route that a request reaches (--token-file, or --public) and whose service writes its request's headers into the answer";
        return Finding::unknown(kind, about, seen, cure);
    }
    Finding::ok(
        kind,
        about,
        "a forged header does not come back and changes nothing; --echo tells whether it reaches the service",
    )
}
