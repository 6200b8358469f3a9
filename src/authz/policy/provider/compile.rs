//! From objects to providers.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use super::api_keys::ApiKeys;
use super::missing::{Missing, Places};
use super::places::places;
use super::{
    IdentityProvider, Introspection, JwtIssuer, KeySource, ProviderFingerprint, ProviderKind, ProviderName,
    ProviderRef, RuleProvider,
};
use crate::api::auth_policy::API_VERSION;
use crate::api::identity_provider as api;
use crate::api::meta::{ObjectMeta, is_another, is_subdomain};
use crate::api::secret::Secret;
use crate::authz::credential::Carrier;
use crate::authz::policy::exchange::{
    IssuerTerms, TrustedIssuer, check_audiences, check_claims, check_issuer, inline_keys, trusted_issuer,
};
use crate::authz::policy::install::Install;
use crate::authz::policy::objects::{Origin, PolicyObjects, ProviderObject, Sourced};
use crate::authz::policy::problem::Findings;
use crate::authz::policy::rule::check_text;
use crate::authz::policy::{PolicyIndex, PolicyProblem, ProblemKind};

const MAX_LABELS: usize = 16;
const MAX_URL: usize = 2048;
/// Of more bad Secrets of one provider nothing is said.
const MAX_NOTES: usize = 20;

/// Every provider that is in force.
#[derive(Debug, Default)]
pub(in crate::authz::policy) struct Providers {
    by_namespace: HashMap<Arc<str>, HashMap<Arc<str>, Arc<IdentityProvider>>>,
    /// What is known of those that rules name and that are not.
    missing: Missing,
    /// The Secrets of each namespace that they were compiled with.
    secrets: HashMap<Arc<str>, Vec<Arc<Secret>>>,
    /// What there was to say about each.
    notes: HashMap<ProviderName, Vec<Note>>,
}

/// The providers of one namespace: all that a policy of it can name (P27).
#[derive(Clone, Copy, Debug)]
pub(in crate::authz::policy) struct NamespaceProviders<'a> {
    in_force: Option<&'a HashMap<Arc<str>, Arc<IdentityProvider>>>,
    missing: Option<&'a Places>,
}

impl<'a> NamespaceProviders<'a> {
    pub(in crate::authz::policy) fn get(self, name: &str) -> Option<&'a Arc<IdentityProvider>> {
        self.in_force?.get(name)
    }

    /// Where requests carry the credentials of one that is not in force; `None` when nobody can say.
    pub(in crate::authz::policy) fn places_of_missing(self, name: &str) -> Option<&'a Arc<[Carrier]>> {
        self.missing?.get(name)
    }

    pub(in crate::authz::policy) fn names(self) -> impl Iterator<Item = &'a str> {
        self.in_force.into_iter().flat_map(HashMap::keys).map(AsRef::as_ref)
    }
}

/// The Secrets by namespace.
type Secrets<'a> = HashMap<&'a str, Own<'a>>;

/// The Secrets of one namespace.
#[derive(Default)]
struct Own<'a> {
    /// Each with where it was written.
    written: Vec<&'a Sourced<Arc<Secret>>>,
    /// Whether they are the very ones of before.
    are_those_of_before: bool,
}

impl Providers {
    /// Compiles the providers among `objects`, and says what is wrong with any of them.
    pub(in crate::authz::policy) fn compile(
        objects: &PolicyObjects,
        install: &Install,
        previous: Option<&PolicyIndex>,
        problems: &mut Vec<PolicyProblem>,
    ) -> Self {
        let mut secrets: Secrets<'_> = HashMap::new();
        for secret in &objects.secrets {
            secrets.entry(&secret.object.metadata.namespace).or_default().written.push(secret);
        }
        let before = previous.map(|index| &index.providers);
        for (namespace, own) in &mut secrets {
            let before = before.and_then(|before| before.secrets.get(*namespace)).map_or(&[][..], Vec::as_slice);
            own.are_those_of_before = before.len() == own.written.len()
                && before.iter().zip(&own.written).all(|(one, other)| Arc::ptr_eq(one, &other.object));
        }
        let mut written: Vec<&Sourced<ProviderObject>> = objects.identity_providers.iter().collect();
        written.sort_by(|a, b| (&a.object.name, &a.origin).cmp(&(&b.object.name, &b.origin)));
        let all = |own: &Own<'_>| own.written.iter().map(|secret| Arc::clone(&secret.object)).collect();
        let secrets_now = secrets.iter().map(|(namespace, own)| (Arc::from(*namespace), all(own))).collect();
        let mut providers = Self { secrets: secrets_now, ..Self::default() };
        let mut last: Option<&Sourced<ProviderObject>> = None;
        for &provider in &written {
            if let Some(first) = last.filter(|last| last.object.name == provider.object.name) {
                let words = format!(
                    "{} has a provider of this name already; this one counts for nothing: rename one of them",
                    first.origin
                );
                problems.push(problem(provider, "metadata.name", ProblemKind::Conflicted, words));
                continue;
            }
            last = Some(provider);
            let name = &provider.object.name;
            if objects.secrets_unknown && needs_secrets(provider) {
                let words = "no Secret is known here: in Kubernetes a gate reads them with `policies.kubernetes.secrets: true`, once the \
                             API server has told of them. Until then rules that name it answer 503 to what it would have to judge";
                problems.push(problem(provider, "spec", ProblemKind::SecretNotFound, words.to_owned()));
                providers.missing.lack(&provider.object, install);
                continue;
            }
            let before = previous.and_then(|index| index.providers.namespace(&name.namespace).get(&name.name));
            let is_it = |before: &&Arc<IdentityProvider>| !is_another(before.uid(), provider.object.uid.as_deref());
            let before = before.filter(is_it);
            let none = Own {
                written: Vec::new(),
                are_those_of_before: previous.is_some_and(|it| !it.providers.secrets.contains_key(&name.namespace)),
            };
            let own = secrets.get(&*name.namespace).unwrap_or(&none);
            let notes = previous.and_then(|index| index.providers.notes.get(name));
            let before = before.map(|before| (before, notes.map_or(&[][..], Vec::as_slice)));
            if let Some((compiled, notes)) = in_force(provider, before, own, install, problems) {
                problems.extend(notes.iter().map(|note| note.problem(provider)));
                if !notes.is_empty() {
                    providers.notes.insert(ProviderName::clone(name), notes);
                }
                providers.by_namespace.entry(name.namespace.clone()).or_default().insert(name.name.clone(), compiled);
            } else {
                providers.missing.lack(&provider.object, install);
            }
        }
        if let Some(before) = before {
            let good =
                before.by_namespace.iter().flat_map(|(namespace, all)| all.iter().map(move |it| (namespace, it)));
            let good = good.map(|(namespace, (name, provider))| (namespace, name, &provider.places));
            providers.missing.remember(good.chain(before.missing.iter()), &written);
        }
        providers
    }

    pub(in crate::authz::policy) fn namespace(&self, namespace: &str) -> NamespaceProviders<'_> {
        NamespaceProviders { in_force: self.by_namespace.get(namespace), missing: self.missing.of(namespace) }
    }

    /// Forgets what is known of providers that none of these rules names.
    pub(in crate::authz::policy) fn keep_named<'a>(
        &mut self,
        rules: impl Iterator<Item = (&'a Arc<str>, &'a RuleProvider)>,
    ) {
        self.missing.keep_named(rules);
    }

    /// Of how many that are not in force something is known.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.missing.iter().count()
    }
}

fn needs_secrets(provider: &Sourced<ProviderObject>) -> bool {
    provider.object.body.as_ref().is_ok_and(|object| object.spec.jwt.is_none())
}

/// The provider as it is now; `before` itself where nothing about it has changed, so that what hangs on it stays.
fn in_force(
    provider: &Sourced<ProviderObject>,
    before: Option<(&Arc<IdentityProvider>, &[Note])>,
    own: &Own<'_>,
    install: &Install,
    problems: &mut Vec<PolicyProblem>,
) -> Option<(Arc<IdentityProvider>, Vec<Note>)> {
    let name = &provider.object.name;
    // Neither it nor a Secret has changed: thousands of keys are not read again because some other object has.
    if let (Ok(object), Some((before, notes))) = (&provider.object.body, before)
        && before.source == *object
        && own.are_those_of_before
    {
        return Some((before.clone(), notes.to_vec()));
    }
    let before = before.map(|(before, _)| before);
    let compiled = match &provider.object.body {
        Ok(object) => compile(name, object, own, install),
        Err(error) => {
            let mut findings = Findings::default();
            findings.add(error.path.clone(), error.problem.clone());
            Err(findings)
        }
    };
    let (compiled, notes) = match compiled {
        Ok(compiled) => compiled,
        Err(findings) => {
            // Its last good form stays, with the Secrets as they are now.
            let last = before.and_then(|before| compile(name, &before.source, own, install).ok());
            let effect = match last {
                Some(_) => "the last good form of this provider stays in force",
                None => "until it is right, rules that name it answer 503 to what it would have to judge",
            };
            for (path, words) in findings.into_iter() {
                problems.push(problem(provider, path, ProblemKind::Invalid, format!("{words} ({effect})")));
            }
            last?
        }
    };
    let compiled = match before.filter(|before| before.fingerprint == compiled.fingerprint) {
        Some(before) => before.clone(),
        None => Arc::new(compiled),
    };
    Some((compiled, notes))
}

fn problem(
    provider: &Sourced<ProviderObject>,
    path: impl Into<String>,
    kind: ProblemKind,
    words: impl Into<String>,
) -> PolicyProblem {
    PolicyProblem {
        origin: provider.origin.clone(),
        object: format!("IdentityProvider {}", provider.object.name),
        path: path.into(),
        kind,
        words: words.into(),
    }
}

/// Something to say about a provider that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    path: &'static str,
    kind: ProblemKind,
    words: String,
    /// The Secret that it is about.
    secret: Option<(Origin, String)>,
}

impl Note {
    fn problem(&self, provider: &Sourced<ProviderObject>) -> PolicyProblem {
        let Self { path, kind, words, secret } = self;
        match secret {
            None => problem(provider, *path, *kind, words.clone()),
            Some((origin, secret)) => PolicyProblem {
                origin: origin.clone(),
                object: format!("Secret {secret}"),
                path: (*path).to_owned(),
                kind: *kind,
                words: format!("{words} (until then it is no API key of IdentityProvider {})", provider.object.name),
            },
        }
    }
}

/// What `object` says, or everything that is wrong with it.
fn compile(
    name: &ProviderName,
    object: &Arc<api::IdentityProvider>,
    own: &Own<'_>,
    install: &Install,
) -> Result<(IdentityProvider, Vec<Note>), Findings> {
    let secrets = own.written.as_slice();
    let name: ProviderRef = Arc::new(name.clone());
    let mut findings = Findings::default();
    let mut notes = Vec::new();
    if object.api_version != API_VERSION {
        findings.add("apiVersion", format!("{:?} is unknown: write {API_VERSION}", object.api_version));
    }
    if let Some((path, words)) = object.metadata.problem() {
        findings.add(path, words);
    }
    let spec = &object.spec;
    let (from, kind) = match (&spec.jwt, &spec.introspection, &spec.api_keys) {
        (Some(jwt), None, None) => {
            let places = places(&jwt.from, "spec.jwt.from", install, &mut findings);
            (places, jwt_issuer(jwt, &mut findings).map(|it| ProviderKind::Jwt(Box::new(it))))
        }
        (None, Some(asked), None) => {
            let places = places(&asked.from, "spec.introspection.from", install, &mut findings);
            let asked = introspection(asked, secrets, &mut findings, &mut notes);
            (places, asked.map(|it| ProviderKind::Introspection(Box::new(it))))
        }
        (None, None, Some(keys)) => {
            let places = places(&keys.from, "spec.apiKeys.from", install, &mut findings);
            (places, Some(ProviderKind::ApiKeys(api_keys(&name, keys, secrets, &mut findings, &mut notes))))
        }
        _ => {
            findings.add("spec", "exactly one of `jwt`, `introspection` and `apiKeys` is needed");
            return Err(findings);
        }
    };
    match kind {
        Some(kind) if findings.is_empty() => {
            let fingerprint = fingerprint(&name, object, &kind);
            let compiled = IdentityProvider { name, places: from, kind, fingerprint, source: object.clone() };
            Ok((compiled, notes))
        }
        _ => Err(findings),
    }
}

fn fingerprint(name: &ProviderName, object: &api::IdentityProvider, kind: &ProviderKind) -> ProviderFingerprint {
    let mut context = Context::new(&SHA256);
    // Names have no zero byte, and neither has JSON.
    context.update(name.to_string().as_bytes());
    context.update(&[0]);
    // One that was deleted and made again is another one, be it written alike.
    context.update(object.metadata.uid.as_deref().unwrap_or_default().as_bytes());
    context.update(&[0]);
    context.update(&serde_json::to_vec(&object.spec).expect("it was read from a document and can be written as one"));
    context.update(&[0]);
    match kind {
        ProviderKind::Jwt(_) => {}
        ProviderKind::Introspection(asked) => {
            let secret = asked.client_secret.as_ref();
            context.update(&[u8::from(secret.is_some())]);
            context.update(secret.map_or(&[], |secret| secret.reveal()));
        }
        ProviderKind::ApiKeys(keys) => keys.write_to(|bytes| context.update(bytes)),
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    ProviderFingerprint(bytes)
}

fn jwt_issuer(spec: &api::JwtProvider, findings: &mut Findings) -> Option<JwtIssuer> {
    let at = "spec.jwt";
    let terms = IssuerTerms {
        issuer: &spec.issuer,
        audiences: &spec.audiences,
        algorithms: &spec.algorithms,
        typ: spec.typ.as_deref(),
        claims: &spec.claims,
    };
    let trusted = trusted_issuer(&terms, at, findings);
    if trusted.typ.as_deref() == Some("session+jwt") {
        findings.add(
            format!("{at}.typ"),
            "is that of our own session JWTs, which are no credential here: accept them with `sessionJwt` in the rule",
        );
    }
    let jwks = &spec.jwks;
    let (keys, inline) = match (&jwks.inline, &jwks.uri, &jwks.discovery) {
        (Some(set), None, None) => (KeySource::Inline, inline_keys(set, &spec.algorithms, at, findings)?),
        (None, Some(uri), None) => {
            findings.catch(format!("{at}.jwks.uri"), url(uri))?;
            (KeySource::Uri(uri.as_str().into()), Default::default())
        }
        (None, None, Some(_)) => {
            findings.catch(
                format!("{at}.issuer"),
                url(&spec.issuer).map_err(|words| format!("with `discovery`, {words}")),
            )?;
            (KeySource::Discovery(spec.issuer.as_str().into()), Default::default())
        }
        _ => {
            findings.add(
                format!("{at}.jwks"),
                "exactly one of `uri`, `discovery` and `inline` is needed, like `uri: https://login.example/jwks.json`",
            );
            return None;
        }
    };
    Some(JwtIssuer { trusted: TrustedIssuer { keys: inline, ..trusted }, keys })
}

/// Whether this is an address that may be asked. Whether `http` and the host's addresses are allowed, the install says when it asks.
fn url(text: &str) -> Result<(), String> {
    let uri = text.parse::<http::Uri>().ok().filter(|_| (1..=MAX_URL).contains(&text.len()));
    let good = uri.is_some_and(|uri| {
        let host = uri.host().is_some_and(|host| !host.is_empty());
        let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("https" | "http")) && host && !user
    });
    if good && !text.contains('#') {
        return Ok(());
    }
    Err(format!("an `https` URL of at most {MAX_URL} bytes is needed, without user name and fragment"))
}

fn introspection(
    spec: &api::IntrospectionProvider,
    secrets: &[&Sourced<Arc<Secret>>],
    findings: &mut Findings,
    notes: &mut Vec<Note>,
) -> Option<Introspection> {
    let at = "spec.introspection";
    findings.catch(format!("{at}.endpoint"), url(&spec.endpoint));
    check_text(&spec.client_id, &format!("{at}.clientId"), findings);
    check_audiences(&spec.audiences, &format!("{at}.audiences"), "a token counts only where its answer's", findings);
    if let Some(issuer) = &spec.issuer {
        check_issuer(issuer, &format!("{at}.issuer"), findings);
    }
    check_claims(&spec.claims, &format!("{at}.claims"), findings);
    let (max_cache, timeout) = (spec.max_cache.get(), spec.timeout.get());
    if max_cache.as_secs() > 300 {
        findings.add(format!("{at}.maxCache"), format!("{} is out of bounds: 0s to 5m", spec.max_cache));
    }
    if !(50..=5000).contains(&timeout.as_millis()) {
        findings.add(format!("{at}.timeout"), format!("{} is out of bounds: 50ms to 5s", spec.timeout));
    }
    let wanted = &spec.client_secret_ref;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !is_subdomain(&wanted.name) {
        findings
            .add(format!("{at}.clientSecretRef.name"), "is not the name of a Secret: 1 to 253 of a-z, 0-9, - and .");
    }
    if !(1..=253).contains(&wanted.key.len()) || !wanted.key.bytes().all(plain) {
        findings.add(format!("{at}.clientSecretRef.key"), "1 to 253 letters, digits, `-`, `_` and `.` are needed");
    }
    let found = secrets.iter().find(|secret| secret.object.metadata.name == wanted.name);
    let client_secret = found.and_then(|secret| secret.object.get(&wanted.key)).filter(|it| !it.reveal().is_empty());
    if client_secret.is_none() {
        let (path, what) = match found {
            None => {
                ("spec.introspection.clientSecretRef.name", format!("no Secret `{}` in this namespace", wanted.name))
            }
            Some(_) => (
                "spec.introspection.clientSecretRef.key",
                format!("the Secret `{}` has no `{}`", wanted.name, wanted.key),
            ),
        };
        let words = format!("{what}: until it is there, what this provider would have to judge is answered with 503");
        notes.push(Note { path, kind: ProblemKind::SecretNotFound, words, secret: None });
    }
    Some(Introspection {
        endpoint: spec.endpoint.as_str().into(),
        client_id: spec.client_id.as_str().into(),
        client_secret: client_secret.cloned(),
        audiences: spec.audiences.clone().into(),
        issuer: spec.issuer.as_deref().map(Into::into),
        max_cache,
        timeout,
        claims: spec.claims.clone(),
    })
}

fn api_keys(
    name: &ProviderRef,
    spec: &api::ApiKeysProvider,
    secrets: &[&Sourced<Arc<Secret>>],
    findings: &mut Findings,
    notes: &mut Vec<Note>,
) -> ApiKeys {
    let labels = &spec.selector.match_labels;
    if !(1..=MAX_LABELS).contains(&labels.len()) {
        findings.add(
            "spec.apiKeys.selector.matchLabels",
            format!(
                "name 1 to {MAX_LABELS} labels: without one, every Secret of the namespace would be read as an API key"
            ),
        );
        return ApiKeys::default();
    }
    let origin = |meta: &ObjectMeta| {
        let written = secrets.iter().find(|secret| std::ptr::eq(&secret.object.metadata, meta));
        written.map(|secret| (secret.origin.clone(), format!("{}/{}", meta.namespace, meta.name)))
    };
    let before = notes.len();
    let keys = ApiKeys::of(name, labels, secrets.iter().map(|secret| &*secret.object), |meta, path, words| {
        // The first of them will do.
        if notes.len() < before + MAX_NOTES {
            notes.push(Note { path, kind: ProblemKind::Invalid, words, secret: origin(meta) });
        }
    });
    if keys.is_empty() && notes.len() == before {
        let words = "no Secret of this namespace has these labels, so no API key counts".to_owned();
        notes.push(Note { path: "spec.apiKeys.selector.matchLabels", kind: ProblemKind::Advice, words, secret: None });
    }
    keys
}
