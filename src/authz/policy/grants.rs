//! What the service behind a rule may do to sessions by its responses (`session` of a rule, DESIGN 6).

use super::RuleName;
use super::exchange::{self, Exchange, ExchangePlace};
use super::install::{Install, RealmRight};
use super::problem::Findings;
use crate::api::auth_policy::{self as api, RuleSession};
use crate::authz::credential::Carrier;
use crate::authz::session::Realm;

const MAX_WRITABLE: usize = 32;

/// What the service behind a rule may do to sessions by its responses.
#[derive(Clone, Debug)]
pub struct Grants {
    /// The claims that `x-session-update` may set and remove.
    pub writable: Box<[Box<str>]>,
    /// Whether `x-session-create` counts.
    pub create: bool,
    /// Whether `x-session-end` counts.
    pub end: bool,
    /// The JWT of a response that becomes a session.
    pub exchange: Option<Exchange>,
    /// What all of this was made from.
    pub fingerprint: Fingerprint,
}

/// Stands for a rule's name, realm and `session`: equal on every replica that has the same policy, and another one as soon as
/// any of them changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    fn of(rule: &RuleName, realm: &Realm, session: &RuleSession) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        // None of these names has a zero byte.
        for part in [&rule.policy.namespace, &rule.policy.name, &rule.rule] {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        context.update(realm.as_str().as_bytes());
        context.update(&[0]);
        context.update(&serde_json::to_vec(session).expect("it was read from a document and can be written as one"));
        let digest = context.finish();
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_ref()[..8]);
        Self(first)
    }
}

impl Grants {
    /// Whether the rule is one for logging in: what a request presents there is never an identity.
    pub fn is_log_in(&self) -> bool {
        self.create || self.exchange.is_some()
    }

    /// Whether what it makes travels in a cookie, so that a browser is logged in without a word of its page.
    pub fn gives_cookie(&self) -> bool {
        self.create || self.exchange.as_ref().is_some_and(|it| matches!(it.place, ExchangePlace::Cookie(_)))
    }
}

/// The grants of `rule`, or findings below the path `at`.
pub(super) fn compile(
    name: &RuleName,
    realm: Option<&Realm>,
    rule: &api::Rule,
    at: &str,
    install: &Install,
    findings: &mut Findings,
) -> Option<Grants> {
    let session = rule.session.as_ref()?;
    let at = format!("{at}.session");
    let exchange =
        session.exchange.as_ref().and_then(|it| exchange::exchange(it, &format!("{at}.exchange"), install, findings));
    let log_in = session.create || session.exchange.is_some();
    if let Some(realm) = realm {
        allowed(session, &name.policy.namespace, realm, &at, install, findings);
    }
    if let Some(problem) = misplaced(rule.access, session, log_in) {
        findings.add(&at, problem);
    }
    if log_in && !session.writable_claims.is_empty() {
        findings.add(
            format!("{at}.writableClaims"),
            "has no effect on a rule that makes sessions, where no session is an identity: give the claims when the session \
             is made, or move `writableClaims` to another rule",
        );
    }
    writable(&session.writable_claims, &format!("{at}.writableClaims"), findings);
    if session.create && !install.carriers.as_slice().iter().any(|it| matches!(it, Carrier::Cookie(_))) {
        findings.add(
            format!("{at}.create"),
            "the new token travels in a cookie, and `token.carriers` of the install has none: add one, or use `exchange` \
             with a `header` or a `bodyField`",
        );
    }
    Some(Grants {
        writable: session.writable_claims.iter().map(|claim| claim.as_str().into()).collect(),
        create: session.create,
        end: session.end,
        exchange,
        fingerprint: Fingerprint::of(name, realm?, session),
    })
}

/// Finds what policies of `namespace` may not grant in `realm` (P27). A grant that is refused makes no form, so no response
/// meets it.
fn allowed(
    session: &RuleSession,
    namespace: &str,
    realm: &Realm,
    at: &str,
    install: &Install,
    findings: &mut Findings,
) {
    let needed = [
        ("create", session.create, RealmRight::Create),
        ("exchange", session.exchange.is_some(), RealmRight::Create),
        ("writableClaims", !session.writable_claims.is_empty(), RealmRight::Write),
        ("end", session.end, RealmRight::Write),
    ];
    for (field, _, right) in needed.into_iter().filter(|(_, given, _)| *given) {
        findings.catch(format!("{at}.{field}"), install.allows(right, realm, namespace));
    }
}

/// Why `session` cannot stand beside the rule's `access`.
fn misplaced(access: Option<api::Access>, session: &RuleSession, log_in: bool) -> Option<&'static str> {
    match access {
        _ if *session == RuleSession::default() => {
            Some("says nothing: name `writableClaims`, `end`, `create` or `exchange`, or remove it")
        }
        Some(api::Access::Deny) => Some("has no effect with `access: Deny`, which lets no request reach a service"),
        Some(api::Access::Public) if !log_in => Some(
            "has no effect with `access: Public`, which looks at no session: remove `access`, or make sessions here with \
             `create` or `exchange`",
        ),
        None if log_in => Some(
            "a rule that makes sessions takes none for an identity, so that nobody is locked out of logging in: add \
             `access: Public`",
        ),
        _ => None,
    }
}

fn writable(claims: &[String], at: &str, findings: &mut Findings) {
    if claims.len() > MAX_WRITABLE {
        findings.add(at, format!("{} entries, the most is {MAX_WRITABLE}", claims.len()));
    }
    for (i, claim) in claims.iter().enumerate() {
        let at = format!("{at}[{i}]");
        super::rule::check_text(claim, &at, findings);
        if let Some(bare) = claim.strip_prefix("session.claims.") {
            findings.add(&at, format!("is a claim's name, not a path: write `{bare}`"));
        }
        if claims[..i].contains(claim) {
            findings.add(&at, "the same claim twice");
        }
    }
}
