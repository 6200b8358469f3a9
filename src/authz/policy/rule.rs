//! One rule, checked and compiled. Contradictions are refused rather than resolved.

use std::sync::Arc;

use super::form::{Access, AuthRule};
use super::install::Install;
use super::problem::Findings;
use super::provider::{NamespaceProviders, RuleProvider};
use super::redirect::Redirect;
use super::require::{RequiredClaim, Requirements};
use super::{ClaimPath, ForwardClaims, SessionJwtRule};
use crate::api::auth_policy::{self as api, ClaimValue};
use crate::api::meta::{is_label, is_subdomain};
use crate::api::read::{listed, nearest};
use crate::authz::credential::Carrier;
use crate::authz::reason::DenyReason;

const MAX_NAMES: usize = 32;
const MAX_ACR: usize = 16;
const MAX_CLAIM_VALUES: usize = 64;
const MAX_METHODS: usize = 8;
const MAX_JWT_ISSUERS: usize = 16;

/// What `rule` says, or findings below the path `at`.
pub(super) fn access(
    rule: &api::Rule,
    at: &str,
    install: &Install,
    providers: NamespaceProviders<'_>,
    findings: &mut Findings,
) -> Access {
    let Some(fixed) = rule.access else {
        return Access::Authenticate(Box::new(authenticate(rule, at, install, providers, findings)));
    };
    let word = match fixed {
        api::Access::Public => "Public",
        api::Access::Deny => "Deny",
    };
    let without_effect = [
        ("authenticate", !rule.authenticate.is_empty()),
        ("require", rule.require.is_some()),
        ("forward", rule.forward.is_some()),
        ("deny", rule.deny.is_some()),
    ];
    for (field, _) in without_effect.into_iter().filter(|(_, given)| *given) {
        findings.add(
            format!("{at}.{field}"),
            format!("has no effect with `access: {word}`, which looks at no credential: remove one of the two"),
        );
    }
    match fixed {
        api::Access::Public => Access::Public,
        api::Access::Deny => Access::Deny(DenyReason::DeniedByRule),
    }
}

fn authenticate(
    rule: &api::Rule,
    at: &str,
    install: &Install,
    providers: NamespaceProviders<'_>,
    findings: &mut Findings,
) -> AuthRule {
    let mut auth = AuthRule::nobody();
    if rule.authenticate.is_empty() {
        auth.session = Some(None);
    }
    if rule.authenticate.len() > MAX_METHODS {
        findings.add(format!("{at}.authenticate"), format!("more than {MAX_METHODS} ways to authenticate"));
    }
    for (i, method) in rule.authenticate.iter().take(MAX_METHODS).enumerate() {
        add_method(&mut auth, method, &format!("{at}.authenticate[{i}]"), install, providers, findings);
    }
    if let Some(require) = &rule.require {
        auth.require = requirements(require, &format!("{at}.require"), findings);
    }
    if auth.anonymous && auth.session.is_none() && auth.session_jwt.is_none() && auth.providers.is_empty() {
        findings.add(
            format!("{at}.authenticate"),
            "`anonymous` alone would refuse everybody who has a session: add `session: {}`, or say `access: Public` instead",
        );
    }
    if auth.anonymous && !auth.require.is_empty() {
        findings.add(
            format!("{at}.require"),
            "nobody anonymous has what is required here: remove `anonymous`, or `require`",
        );
    }
    if let Some(forward) = &rule.forward {
        add_forward(&mut auth, forward, &format!("{at}.forward"), findings);
    }
    if let Some(target) = rule.deny.as_ref().and_then(|deny| deny.redirect_to.as_deref()) {
        auth.redirect = findings.catch(format!("{at}.deny.redirectTo"), Redirect::parse(target));
    }
    auth
}

fn add_method(
    auth: &mut AuthRule,
    method: &api::Authenticate,
    at: &str,
    install: &Install,
    providers: NamespaceProviders<'_>,
    findings: &mut Findings,
) {
    let given =
        [method.session.is_some(), method.session_jwt.is_some(), method.anonymous.is_some(), method.provider.is_some()];
    if given.into_iter().filter(|it| *it).count() != 1 {
        findings.add(
            at,
            "exactly one of `session`, `sessionJwt`, `provider` and `anonymous` is needed, like `- session: {}`",
        );
        return;
    }
    let twice = method.session.is_some() && auth.session.is_some()
        || method.session_jwt.is_some() && auth.session_jwt.is_some()
        || method.anonymous.is_some() && auth.anonymous;
    if twice {
        findings.add(at, "the same way to authenticate twice: write it once, with everything it accepts");
        return;
    }
    if let Some(session) = &method.session {
        auth.session = Some(session.carriers.as_ref().map(|refs| carriers(refs, at, install, findings)));
    }
    if let Some(jwt) = &method.session_jwt {
        auth.session_jwt = session_jwt(jwt, &format!("{at}.sessionJwt"), findings);
    }
    auth.anonymous |= method.anonymous.is_some();
    if let Some(method) = &method.provider {
        add_provider(auth, &method.name, format!("{at}.provider.name"), providers, findings);
    }
}

/// A provider that is not there is no fault of the policy: what it would have to judge, or could, is refused as long as it is
/// missing.
fn add_provider(
    auth: &mut AuthRule,
    name: &str,
    at: String,
    providers: NamespaceProviders<'_>,
    findings: &mut Findings,
) {
    let same = |other: &RuleProvider| match other {
        RuleProvider::Known(known) => &*known.name.name == name,
        RuleProvider::Missing { name: missing, .. } => &**missing == name,
    };
    if !is_subdomain(name) {
        findings.add(
            at,
            format!(
                "{name:?} is not a name: an IdentityProvider of the policy's own namespace is meant, by its name alone"
            ),
        );
    } else if auth.providers.iter().any(same) {
        findings.add(at, "the same provider twice");
    } else {
        auth.providers.push(match providers.get(name) {
            Some(provider) => RuleProvider::Known(provider.clone()),
            None => {
                let places = providers.places_of_missing(name).cloned();
                RuleProvider::Missing { at: at.into(), name: name.into(), places }
            }
        });
    }
}

fn carriers(refs: &[api::CarrierRef], at: &str, install: &Install, findings: &mut Findings) -> Arc<[Carrier]> {
    let at = format!("{at}.session.carriers");
    if refs.is_empty() {
        findings.add(&at, "an empty list accepts no token: name a carrier, or leave `carriers` out to accept all");
    }
    let mut chosen: Vec<Carrier> = Vec::new();
    for (i, carrier) in refs.iter().take(MAX_METHODS + 1).enumerate() {
        let at = format!("{at}[{i}]");
        let wanted = match (&carrier.cookie, &carrier.bearer, &carrier.header) {
            (Some(name), None, None) => Carrier::Cookie(name.as_str().into()),
            (None, Some(_), None) => Carrier::Bearer,
            (None, None, Some(name)) => Carrier::Header(name.to_ascii_lowercase().into()),
            _ => {
                findings.add(at, "exactly one of `cookie`, `bearer` and `header` is needed, like `- bearer: {}`");
                continue;
            }
        };
        if !install.carriers.as_slice().contains(&wanted) {
            let known: Vec<String> = install.carriers.as_slice().iter().map(carrier_text).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            findings.add(
                at,
                format!(
                    "the install does not look there: a policy may narrow `token.carriers`, which are {}",
                    listed(&known)
                ),
            );
        } else if chosen.contains(&wanted) {
            findings.add(at, "the same carrier twice");
        } else {
            chosen.push(wanted);
        }
    }
    chosen.into()
}

/// A carrier as it is written in YAML.
pub(crate) fn carrier_text(carrier: &Carrier) -> String {
    match carrier {
        Carrier::Cookie(name) => format!("cookie: {name}"),
        Carrier::Bearer => "bearer: {}".to_owned(),
        Carrier::Header(name) => format!("header: {name}"),
    }
}

fn session_jwt(jwt: &api::SessionJwtMethod, at: &str, findings: &mut Findings) -> Option<SessionJwtRule> {
    for (field, list, what) in [("audiences", &jwt.audiences, "audience"), ("namespaces", &jwt.namespaces, "namespace")]
    {
        if list.is_empty() || list.len() > MAX_JWT_ISSUERS {
            findings.add(
                format!("{at}.{field}"),
                format!(
                    "name 1 to {MAX_JWT_ISSUERS}: a session JWT counts only where each {what} it may come from is named"
                ),
            );
        }
    }
    for (i, audience) in jwt.audiences.iter().enumerate() {
        check_text(audience, &format!("{at}.audiences[{i}]"), findings);
    }
    for (i, namespace) in jwt.namespaces.iter().enumerate() {
        if !is_label(namespace) {
            findings
                .add(format!("{at}.namespaces[{i}]"), format!("{namespace:?} is not a namespace (no patterns here)"));
        }
    }
    Some(SessionJwtRule { audiences: jwt.audiences.clone().into(), namespaces: jwt.namespaces.clone().into() })
}

fn requirements(require: &api::Require, at: &str, findings: &mut Findings) -> Requirements {
    for (field, list, most) in
        [("roles", &require.roles, MAX_NAMES), ("scopes", &require.scopes, MAX_NAMES), ("acr", &require.acr, MAX_ACR)]
    {
        if list.len() > most {
            findings.add(format!("{at}.{field}"), format!("{} entries, the most is {most}", list.len()));
        }
        for (i, text) in list.iter().enumerate() {
            check_text(text, &format!("{at}.{field}[{i}]"), findings);
        }
    }
    for (i, scope) in require.scopes.iter().enumerate() {
        // RFC 6749 §3.3: a scope is visible ASCII without `"` and `\`; a space separates two.
        if !scope.is_empty() && !scope.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            findings.add(
                format!("{at}.scopes[{i}]"),
                format!("{scope:?} is not one scope: visible ASCII without quotes, backslashes and spaces; write two scopes as two entries"),
            );
        }
    }
    if !require.cel.is_empty() {
        findings.add(
            format!("{at}.cel"),
            "expressions are not in this version: say it with `roles`, `scopes`, `claims`, `acr` and `maxAge`",
        );
    }
    if require.claims.len() > MAX_NAMES {
        findings.add(format!("{at}.claims"), format!("{} entries, the most is {MAX_NAMES}", require.claims.len()));
    }
    if require.max_age.is_some_and(|age| age.get().as_secs() < 1) {
        findings.add(format!("{at}.maxAge"), "no authentication is that young: at least 1s");
    }
    Requirements {
        roles: require.roles.clone(),
        scopes: require.scopes.clone(),
        claims: require
            .claims
            .iter()
            .enumerate()
            .map(|(i, claim)| required_claim(claim, &format!("{at}.claims[{i}]"), findings))
            .collect(),
        acr: require.acr.clone(),
        max_age: require.max_age.map(Into::into),
    }
}

fn required_claim(claim: &api::ClaimRequirement, at: &str, findings: &mut Findings) -> RequiredClaim {
    check_text(&claim.name, &format!("{at}.name"), findings);
    if let Some(bare) = claim.name.strip_prefix("session.claims.") {
        findings.add(format!("{at}.name"), format!("is a claim's name, not a path: write `{bare}`"));
    }
    if !(1..=MAX_CLAIM_VALUES).contains(&claim.values.len()) {
        findings.add(format!("{at}.values"), format!("name 1 to {MAX_CLAIM_VALUES} values of which one will do"));
    }
    for (i, value) in claim.values.iter().enumerate() {
        if matches!(value, ClaimValue::Text(text) if text.len() > 1024) {
            findings.add(format!("{at}.values[{i}]"), "over 1,024 bytes");
        }
    }
    RequiredClaim { name: claim.name.clone(), values: claim.values.iter().map(Into::into).collect() }
}

fn add_forward(auth: &mut AuthRule, forward: &api::Forward, at: &str, findings: &mut Findings) {
    if let Some(audience) = &forward.audience {
        check_text(audience, &format!("{at}.audience"), findings);
        auth.audience = Some(audience.as_str().into());
    }
    let Some(claims) = &forward.claims else { return };
    if claims.len() > MAX_NAMES {
        findings.add(format!("{at}.claims"), format!("{} entries, the most is {MAX_NAMES}", claims.len()));
    }
    let mut chosen = Vec::new();
    for (name, path) in claims {
        let at = format!("{at}.claims.{name}");
        check_text(name, &at, findings);
        if let Some(path) = findings.catch(at, ClaimPath::parse(path)) {
            chosen.push((name.clone(), path));
        }
    }
    auth.claims = ForwardClaims::Chosen(chosen.into());
}

/// Texts that travel in JWTs, headers and records: 1 to 255 bytes, no control characters.
pub(super) fn check_text(text: &str, at: &str, findings: &mut Findings) {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        findings.add(at, "1 to 255 bytes without control characters are needed");
    }
}

impl ClaimPath {
    /// Reads a plain path.
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        const FIELDS: [(&str, ClaimPath); 7] = [
            ("session.subject", ClaimPath::Subject),
            ("session.sid", ClaimPath::Sid),
            ("session.realm", ClaimPath::Realm),
            ("session.acr", ClaimPath::Acr),
            ("session.amr", ClaimPath::Amr),
            ("session.scopes", ClaimPath::Scopes),
            ("session.roles", ClaimPath::Roles),
        ];
        if let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == path) {
            return Ok(field.clone());
        }
        let plain = |step: &str| {
            !step.is_empty()
                && step.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'/' | b'@'))
        };
        if let Some(steps) = path.strip_prefix("session.claims.") {
            let steps: Vec<String> = steps.split('.').map(str::to_owned).collect();
            if path.len() <= 512 && steps.len() <= 16 && steps.iter().all(|step| plain(step)) {
                return Ok(Self::Claim(steps));
            }
        }
        let hint = match nearest(path, FIELDS.iter().map(|(name, _)| *name)) {
            Some(near) => format!("did you mean `{near}`? Known"),
            None => "known".to_owned(),
        };
        Err(format!(
            "{path:?} is not a plain path: {hint} are `session.claims.NAME` (and `.NAME` below it), `session.subject`, \
             `session.sid`, `session.realm`, `session.acr`, `session.amr`, `session.scopes` and `session.roles`; expressions \
             are not in this version"
        ))
    }
}
