//! Providers, from YAML to what a request meets.

mod missing;

use std::sync::Arc;

use super::*;
use crate::authz::identity::Identity;
use crate::authz::plan::{Plan, Wanted, plan, settle};
use crate::authz::policy::tests::fixture::{Ask, NOW, ask, compile, index, install, named, objects, say};
use crate::authz::policy::{PolicyIndex, PolicyProblem, ProblemKind};
use crate::authz::session::Claims;
use crate::authz::verdict::{Decision, Lookup};

const KEY: &str = "partner-key-0123456789";
const JWT_HOST: &str = "https://login.example";

/// A provider `shop/NAME`.
fn provider(name: &str, spec: &str) -> String {
    provider_of("shop", name, spec)
}

fn provider_of(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: cloakroom.dev/v1alpha1\nkind: IdentityProvider\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec: {spec}\n"
    )
}

fn secret(namespace: &str, name: &str, data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: {name}, namespace: {namespace}, labels: {{ for: partners }} }}\nstringData: {data}\n"
    )
}

const KEYS: &str = "{ apiKeys: { selector: { matchLabels: { for: partners } } } }";

fn jwt(more: &str) -> String {
    format!(
        "{{ jwt: {{ issuer: '{JWT_HOST}', audiences: [shop], algorithms: [ES256], jwks: {{ uri: '{JWT_HOST}/jwks' }}{more} }} }}"
    )
}

fn introspection(more: &str) -> String {
    format!(
        "{{ introspection: {{ endpoint: '{JWT_HOST}/introspect', clientId: shop, clientSecretRef: {{ name: login, key: secret }}, \
         audiences: [shop]{more} }} }}"
    )
}

/// A policy `shop/shop` on `shop.example` whose only rule authenticates so.
fn rule(authenticate: &str) -> String {
    named("shop/shop", &format!("hosts: [shop.example]\nrules:\n- name: only\n  authenticate: {authenticate}"))
}

fn all(parts: &[&str]) -> String {
    parts.join("\n---\n")
}

fn partner() -> String {
    secret("shop", "partner", &format!("{{ key: {KEY}, subject: partner-7, roles: 'buyer seller', scopes: read }}"))
}

/// What is wrong, as `object: path: words`.
fn problems(yaml: &str) -> Vec<String> {
    let words = |it: &PolicyProblem| format!("{} {}: {}: {}", it.kind.label(), it.object, it.path, it.words);
    compile(yaml).1.iter().map(words).collect()
}

/// What a request meets, where API keys are judged as they are and whatever has to be asked is answered so.
fn met(index: &PolicyIndex, ask: &Ask, answer: impl FnOnce(&IdentityProvider) -> Lookup) -> String {
    match plan(index, &ask.read()) {
        Plan::Settled(decision) => say(&decision),
        Plan::Lookup(pending) => {
            let Wanted::Foreign(credential, provider) = pending.wanted().clone() else { panic!("not foreign") };
            let found = match &provider.kind {
                ProviderKind::ApiKeys(keys) => keys
                    .find(credential.digest())
                    .cloned()
                    .map_or_else(|| panic!("chosen without knowing the key"), Lookup::Vouched),
                _ => answer(&provider),
            };
            let decision = settle(*pending, &found, NOW);
            format!("{} via {}", say(&decision), provider.name.name)
        }
    }
}

fn vouched(provider: &IdentityProvider) -> Lookup {
    Lookup::Vouched(Arc::new(identity(provider)))
}

fn identity(provider: &IdentityProvider) -> Identity {
    Identity {
        provider: provider.name.clone(),
        subject: "eve".to_owned(),
        auth_time: None,
        acr: None,
        amr: Vec::new(),
        scopes: vec!["read".to_owned()],
        roles: Vec::new(),
        claims: Claims::empty(),
        ends: Some(NOW.plus(Duration::from_secs(60))),
    }
}

fn jwt_of(issuer: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let part = |text: &str| BASE64.encode(text);
    format!("{}.{}.c2ln", part(r#"{"alg":"ES256"}"#), part(&format!(r#"{{"iss":"{issuer}"}}"#)))
}

#[test]
fn an_api_key_is_known_by_its_secret() {
    let index = index(&all(&[&rule("[{ provider: { name: keys } }]"), &provider("keys", KEYS), &partner()]));
    let get = || ask("GET shop.example/cart");
    for (ask, want) in [
        (get().with("x-api-key", KEY), "partner-7 for shop/shop by only via keys"),
        (get().with("X-Api-Key", KEY), "partner-7 for shop/shop by only via keys"),
        (get().with("x-api-key", "partner-key-0123456780"), "401 unknown_api_key by only"),
        (get().with("x-api-key", ""), "401 invalid_credential by only"),
        (get().with("x-api-key", "two words"), "401 invalid_credential by only"),
        (get().with("x_api_key", KEY), "400 ambiguous_credential by only"),
        (get().with("x-api-key", KEY).with("x-api-key", KEY), "400 ambiguous_credential by only"),
        (get().with("x-api-key", KEY).bearer(), "400 ambiguous_credential by only"),
        (get().with("authorization", &format!("Bearer {KEY}")), "401 invalid_token by only"),
        (get().bearer(), "401 wrong_carrier by only"),
        (get(), "401 no_credential by only"),
    ] {
        assert_eq!(met(&index, &ask, vouched), want, "{ask:?}");
    }
}

#[test]
fn a_key_may_be_written_as_its_hash() {
    // SHA-256 of KEY.
    let digest = api_keys::CredentialDigest::of(KEY.as_bytes());
    let hash: String = digest.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    let hashed = secret("shop", "partner", &format!("{{ sha256: '{hash}', subject: partner-8 }}"));
    let index = index(&all(&[&rule("[{ provider: { name: keys } }]"), &provider("keys", KEYS), &hashed]));
    let said = met(&index, &ask("GET shop.example/").with("x-api-key", KEY), vouched);
    assert_eq!(said, "partner-8 for shop/shop by only via keys");
}

#[test]
fn p13_each_credential_has_one_judge() {
    let login = secret("shop", "login", "{ secret: hush }");
    let from = ", from: [{ bearer: {} }, { header: x-token }, { cookie: token }]";
    let parts = [
        rule(
            "[{ session: {} }, { provider: { name: keys } }, { provider: { name: other } }, { provider: { name: jwt } }, { provider: { name: asked } }]",
        ),
        provider("keys", "{ apiKeys: { selector: { matchLabels: { for: partners } }, from: [{ header: x-token }] } }"),
        provider("other", &jwt("").replace(JWT_HOST, "https://other.example")),
        provider("jwt", &jwt(from)),
        provider("asked", &introspection(from)),
        partner(),
        login.replace("for: partners", "for: us"),
    ];
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let index = index(&all(&parts));
    let get = || ask("GET shop.example/cart");
    let bearer = |text: &str| get().with("authorization", &format!("Bearer {text}"));
    for (ask, want) in [
        (bearer(&jwt_of(JWT_HOST)), "eve for shop/shop by only via jwt"),
        (bearer(&jwt_of("https://other.example")), "eve for shop/shop by only via other"),
        (bearer(&jwt_of("https://third.example")), "eve for shop/shop by only via asked"),
        (bearer("opaque"), "eve for shop/shop by only via asked"),
        (get().with("x-token", KEY), "partner-7 for shop/shop by only via keys"),
        (get().with("x-token", "opaque"), "eve for shop/shop by only via asked"),
        // This provider does not look there.
        (get().with("x-token", &jwt_of("https://other.example")), "eve for shop/shop by only via asked"),
        (get().with("cookie", "token=opaque"), "eve for shop/shop by only via asked"),
        // What is ours, or looks as if it were, goes to nobody else.
        (bearer("ckr_x"), "401 invalid_token by only"),
        (get().with("x-token", "ckr_x"), "401 invalid_credential by only"),
        (get().with("cookie", "token=opaque").with("x-token", KEY), "400 ambiguous_credential by only"),
        (get().with("cookie", "token=opaque").bearer(), "400 ambiguous_credential by only"),
        (get().with("cookie", "token=a; token=b"), "400 ambiguous_credential by only"),
    ] {
        assert_eq!(met(&index, &ask, vouched), want, "{ask:?}");
    }
}

#[test]
fn p14_a_cookie_of_theirs_is_forced_as_easily_as_ours() {
    let parts = [&rule("[{ provider: { name: jwt } }]"), &provider("jwt", &jwt(", from: [{ cookie: token }]"))];
    let index = index(&all(&[parts[0], parts[1]]));
    let cookie = format!("token={}", jwt_of(JWT_HOST));
    let post = ask("POST shop.example/cart").with("cookie", &cookie).with("sec-fetch-site", "cross-site");
    assert_eq!(met(&index, &post, vouched), "403 cross_site by only");
}

#[test]
fn an_identity_must_have_what_a_rule_asks() {
    let requires = |require: &str| {
        let rule = format!("{}    require: {{ {require} }}\n", rule("[{ provider: { name: jwt } }]"));
        index(&all(&[&rule, &provider("jwt", &jwt(""))]))
    };
    let get = ask("GET shop.example/").with("authorization", &format!("Bearer {}", jwt_of(JWT_HOST)));
    for (require, want) in [
        ("scopes: [read]", "eve for shop/shop by only via jwt"),
        ("scopes: [write]", "403 missing_scope by only via jwt"),
        ("roles: [admin]", "403 missing_role by only via jwt"),
        ("acr: [urn:mfa]", "401 insufficient_acr by only via jwt"),
        // Nobody has said when it was proved (P6).
        ("maxAge: 24h", "401 authentication_too_old by only via jwt"),
    ] {
        assert_eq!(met(&requires(require), &get, vouched), want, "{require}");
    }
}

#[test]
fn p24_what_has_ended_counts_no_more() {
    let index = index(&all(&[&rule("[{ provider: { name: jwt } }]"), &provider("jwt", &jwt(""))]));
    let get = ask("GET shop.example/").with("authorization", &format!("Bearer {}", jwt_of(JWT_HOST)));
    let ended =
        |provider: &IdentityProvider| Lookup::Vouched(Arc::new(Identity { ends: Some(NOW), ..identity(provider) }));
    let of_another = |provider: &IdentityProvider| {
        let name = ProviderName { namespace: "shop".into(), name: "other".into() };
        Lookup::Vouched(Arc::new(Identity { provider: Arc::new(name), ..identity(provider) }))
    };
    assert_eq!(met(&index, &get, ended), "401 expired_credential by only via jwt");
    assert_eq!(met(&index, &get, of_another), "503 internal_error by only via jwt");
    assert_eq!(
        met(&index, &get, |_| Lookup::Unavailable(crate::authz::reason::DenyReason::ProviderUnavailable)),
        "503 provider_unavailable by only via jwt"
    );
}

#[test]
fn p06_bad_is_not_missing_and_missing_is_anonymous_only_where_all_is_known() {
    let authenticate = "[{ provider: { name: keys } }, { anonymous: {} }]";
    let whole = index(&all(&[&rule(authenticate), &provider("keys", KEYS), &partner()]));
    let get = || ask("GET shop.example/");
    assert_eq!(met(&whole, &get(), vouched), "anonymous by only");
    assert_eq!(met(&whole, &get().with("x-api-key", "wrong"), vouched), "401 unknown_api_key by only");
    // Without the provider nobody knows where it would look.
    let (broken, found) = compile(&rule(authenticate));
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind, found[0].path.as_str()),
        (ProblemKind::ProviderNotFound, "spec.rules[0].authenticate[0].provider.name")
    );
    for ask in [get(), get().with("x-api-key", KEY)] {
        assert_eq!(met(&broken, &ask, vouched), "503 provider_missing by only");
    }
}

#[test]
fn p07_what_a_provider_reads_is_taken_off_and_nothing_else() {
    let from = ", from: [{ bearer: {} }, { header: x-token }, { cookie: token }]";
    let yaml = all(&[
        &named(
            "shop/shop",
            "hosts: [shop.example]\nrules:\n- name: jwt\n  matches: [{ path: { value: /jwt } }]\n  authenticate: [{ provider: { name: jwt } }, { anonymous: {} }]\n\
             - { name: open, matches: [{ path: { value: /open } }], access: Public }",
        ),
        &provider("jwt", &jwt(from)),
    ]);
    let index = index(&yaml);
    let take_off = |ask: &Ask| match plan(&index, &ask.read()) {
        Plan::Settled(decision) => match *decision {
            Decision::Anonymous { take_off, .. } => take_off,
            other => panic!("{}", say(&other)),
        },
        Plan::Lookup(pending) => match settle(*pending.clone(), &vouched(pending.wanted().provider().unwrap()), NOW) {
            Decision::Permit(permit) => permit.take_off.clone(),
            other => panic!("{}", say(&other)),
        },
    };
    let names = |ask: &Ask| {
        let off = take_off(ask);
        let names: Vec<_> = off.headers.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        format!("{} {}", names.join(","), if off.cookie.is_some() { "cookie" } else { "" })
    };
    let jwt = jwt_of(JWT_HOST);
    let with_all = |path: &str| ask(path).with("x-other", "a").with("x-api-key", "b").with("cookie", "a=b");
    for (ask, want) in [
        (with_all("GET shop.example/jwt").with("authorization", &format!("Bearer {jwt}")), "authorization "),
        (with_all("GET shop.example/jwt").with("x-token", &jwt), "x-token "),
        (ask("GET shop.example/jwt").with("cookie", &format!("a=b; token={jwt}")), " cookie"),
        (with_all("GET shop.example/jwt").with("authorization", "Basic YTpi"), " "),
        // Where no rule of the request reads it, it is the service's.
        (with_all("GET shop.example/open").with("authorization", "Bearer theirs").with("x-token", "theirs"), " "),
        (ask("GET shop.example/open").with("cookie", "token=theirs"), " "),
    ] {
        assert_eq!(names(&ask), want, "{ask:?}");
    }
}

#[test]
fn p27_a_provider_of_another_namespace_is_not_there() {
    let yaml = all(&[
        &rule("[{ provider: { name: keys } }]"),
        &provider_of("bank", "keys", KEYS),
        &partner(),
        &secret("bank", "partner", "{ key: bank-key-0123456789, subject: bank }"),
    ]);
    let (index, found) = compile(&yaml);
    assert!(
        found.iter().any(|it| it.kind == ProblemKind::ProviderNotFound && it.words.contains("namespace `shop`")),
        "{found:?}"
    );
    let get = ask("GET shop.example/").with("x-api-key", "bank-key-0123456789");
    assert_eq!(met(&index, &get, vouched), "503 provider_missing by only");
    // Nor do keys of another namespace's Secrets count for a provider of this one.
    let yaml = all(&[&yaml, &provider("keys", KEYS)]);
    let (index, _) = compile(&yaml);
    assert_eq!(met(&index, &get, vouched), "401 unknown_api_key by only");
    assert!(problems(&rule("[{ provider: { name: bank/keys } }]"))[0].contains("own namespace"));
}

#[test]
fn p26_a_bad_provider_keeps_its_last_good_form_and_never_an_old_key() {
    let before = index(&all(&[&rule("[{ provider: { name: keys } }]"), &provider("keys", KEYS), &partner()]));
    let get = ask("GET shop.example/").with("x-api-key", KEY);
    let after = |parts: &[&str]| PolicyIndex::compile(&objects(&all(parts)), &install(), Some(&before));
    let bad = provider("keys", "{ apiKeys: { selector: { matchLabels: {} } } }");
    let policy = rule("[{ provider: { name: keys } }]");
    let bad_policy = policy.replace("hosts: [shop.example]", "hosts: [shop.example]\n  realm: nowhere");

    let (index, found) = after(&[&policy, &bad, &partner()]);
    assert!(found[0].words.contains("the last good form of this provider stays"), "{found:?}");
    assert_eq!(met(&index, &get, vouched), "partner-7 for shop/shop by only via keys");
    for parts in [[&*policy, &*bad], [&*policy, &provider("keys", KEYS)], [&*bad_policy, &provider("keys", KEYS)]] {
        let (index, _) = after(&parts);
        assert_eq!(met(&index, &get, vouched), "401 unknown_api_key by only", "{parts:?}");
    }
    let (index, _) = after(&[&bad_policy, &partner()]);
    assert_eq!(met(&index, &get, vouched), "503 provider_missing by only");
    // What has not changed is not compiled anew.
    let (same, _) = after(&[&policy, &provider("keys", KEYS), &partner()]);
    let first = |index: &PolicyIndex| Arc::as_ptr(index.named_providers().next().unwrap());
    assert!(std::ptr::eq(first(&before), first(&same)));
}

#[test]
fn p26_a_provider_that_was_made_again_has_no_last_good_form() {
    let of = |uid: &str, spec: &str| {
        provider("keys", spec).replace("namespace: shop }", &format!("namespace: shop, uid: {uid} }}"))
    };
    let policy = rule("[{ provider: { name: keys } }]");
    let before = index(&all(&[&policy, &of("one", KEYS), &partner()]));
    let get = ask("GET shop.example/").with("x-api-key", KEY);
    for (uid, want) in [("one", "partner-7 for shop/shop by only via keys"), ("two", "503 provider_missing by only")] {
        let bad = of(uid, "{ apiKeys: { selector: { matchLabels: {} } } }");
        let objects = objects(&all(&[&policy, &bad, &partner()]));
        let (index, _) = PolicyIndex::compile(&objects, &install(), Some(&before));
        assert_eq!(met(&index, &get, vouched), want, "{uid}");
    }
}

#[test]
fn two_rules_that_judge_one_request_agree_about_the_provider() {
    let outer = "hosts: ['*.example']\ninheritance: Required\nrules:\n- name: outer\n  authenticate: [{ provider: { name: outer } }]";
    let of = |outer_provider: &str| {
        let yaml = all(&[
            &named("shop/outer", &outer.replace("name: outer } }", &format!("name: {outer_provider} }} }}"))),
            &rule("[{ provider: { name: jwt } }]"),
            &provider("jwt", &jwt("")),
            &provider("twin", &jwt("")),
        ]);
        index(&yaml)
    };
    let get = ask("GET shop.example/").with("authorization", &format!("Bearer {}", jwt_of(JWT_HOST)));
    assert_eq!(met(&of("jwt"), &get, vouched), "eve for shop/shop by only via jwt");
    assert_eq!(met(&of("twin"), &get, vouched), "401 invalid_credential by only");
}

#[test]
fn what_is_wrong_is_said() {
    let login = secret("shop", "login", "{ secret: hush }").replace("for: partners", "for: us");
    for (spec, want) in [
        ("{}".to_owned(), "Invalid IdentityProvider shop/p: spec: exactly one of `jwt`, `introspection` and `apiKeys`"),
        (jwt(", from: []"), "spec.jwt.from: name 1 to 4 places"),
        (jwt(", from: [{ bearer: {} }, { bearer: {} }]"), "spec.jwt.from[1]: the same place twice"),
        (jwt(", from: [{}]"), "spec.jwt.from[0]: exactly one of `bearer`, `header` and `cookie`"),
        (
            jwt(", from: [{ cookie: __Host-session }]"),
            "spec.jwt.from[0]: `cookie: __Host-session` carries our own tokens",
        ),
        (jwt(", from: [{ cookie: __host-SESSION }]"), "carries our own tokens"),
        (jwt(", from: [{ header: X_Ticket }]"), "`header: x_ticket` carries our own tokens"),
        (jwt(", from: [{ header: x-session-jwt }]"), "is one of our own"),
        (jwt(", from: [{ header: x_session.anything }]"), "is one of our own"),
        (jwt(", from: [{ header: Authorization }]"), "one with a meaning of its own"),
        (jwt(", from: [{ header: 'x y' }]"), "is not a header's name"),
        (jwt(", from: [{ cookie: 'a.b' }]"), "is not a cookie's name"),
        (jwt(", typ: session+jwt"), "spec.jwt.typ: is that of our own session JWTs"),
        (jwt("").replace("[shop]", "[]"), "spec.jwt.audiences: name 1 to 16"),
        (jwt("").replace("[ES256]", "[]"), "spec.jwt.algorithms: name those"),
        (jwt("").replace("uri: 'https://login.example/jwks'", ""), "spec.jwt.jwks: exactly one of `uri`"),
        (jwt("").replace("uri: 'https", "discovery: {}, uri: 'https"), "spec.jwt.jwks: exactly one of `uri`"),
        (jwt("").replace("https://login.example/jwks", "file:///etc/passwd"), "spec.jwt.jwks.uri: an `https` URL"),
        (jwt("").replace("https://login.example/jwks", "https://a@b.example/"), "spec.jwt.jwks.uri: an `https` URL"),
        (
            jwt("")
                .replace("uri: 'https://login.example/jwks'", "discovery: {}")
                .replace("'https://login.example'", "login"),
            "spec.jwt.issuer: with `discovery`, an `https` URL",
        ),
        (introspection(", maxCache: 10m"), "spec.introspection.maxCache: 10m is out of bounds: 0s to 5m"),
        (introspection(", timeout: 10s"), "spec.introspection.timeout: 10s is out of bounds: 50ms to 5s"),
        (introspection("").replace("[shop]", "[]"), "spec.introspection.audiences: name 1 to 16"),
        (
            introspection("").replace("key: secret", "key: other"),
            "SecretNotFound IdentityProvider shop/p: spec.introspection.clientSecretRef.key: the Secret `login` has no `other`",
        ),
        (introspection("").replace("name: login", "name: nobody"), "no Secret `nobody` in this namespace"),
        (
            "{ apiKeys: { selector: { matchLabels: {} } } }".to_owned(),
            "spec.apiKeys.selector.matchLabels: name 1 to 16 labels",
        ),
        (KEYS.to_owned(), "Advice IdentityProvider shop/p: spec.apiKeys.selector.matchLabels: no Secret"),
        ("{ apiKey: {} }".to_owned(), "did you mean `apiKeys`?"),
    ] {
        let found = problems(&all(&[&provider("p", &spec), &login]));
        assert!(found.iter().any(|it| it.contains(want)), "{spec}\n{want}\n{found:#?}");
    }
}

#[test]
fn p31_what_is_wrong_with_a_key_is_said_without_it() {
    for (data, want) in [
        ("{ subject: a }", "Secret shop/one: key: exactly one of `key` and `sha256`"),
        ("{ key: SECRET-0123456789, sha256: SECRET, subject: a }", "key: exactly one of"),
        ("{ key: SECRET, subject: a }", "key: 16 to 512 visible ASCII"),
        ("{ key: 'SECRET 0123456789', subject: a }", "key: 16 to 512 visible ASCII"),
        ("{ sha256: SECRET, subject: a }", "sha256: 64 hexadecimal digits"),
        ("{ key: SECRET-0123456789 }", "subject: whose key it is"),
        ("{ key: SECRET-0123456789, subject: \"SECRET\\u0000\" }", "subject: whose key it is"),
    ] {
        let found = problems(&all(&[&provider("keys", KEYS), &secret("shop", "one", data)]));
        assert!(found.iter().any(|it| it.contains(want)), "{data} {found:?}");
        assert!(!found.iter().any(|it| it.contains("SECRET")), "{found:?}");
    }
    // One key with two owners has none.
    let twin = partner().replace("name: partner,", "name: twin,");
    let (index, found) =
        compile(&all(&[&rule("[{ provider: { name: keys } }]"), &provider("keys", KEYS), &partner(), &twin]));
    assert_eq!(
        found.iter().filter(|it| it.words.contains("another Secret holds the same key")).count(),
        2,
        "{found:?}"
    );
    assert_eq!(met(&index, &ask("GET shop.example/").with("x-api-key", KEY), vouched), "401 unknown_api_key by only");
    let shown = format!("{:?} {:?}", index.named_providers().collect::<Vec<_>>(), objects(&partner()));
    assert!(!shown.contains(KEY), "{shown}");
}

#[test]
fn p05_a_provider_is_another_one_when_anything_of_it_changes() {
    let fingerprint = |yaml: &str| {
        let (index, _) = compile(&all(&[&rule("[{ provider: { name: p } }]"), yaml]));
        index.named_providers().next().unwrap().fingerprint
    };
    let login = |secret_value: &str| secret("shop", "login", &format!("{{ secret: {secret_value} }}"));
    let mut seen = std::collections::HashSet::new();
    for yaml in [
        provider("p", &jwt("")),
        provider("p", &jwt("")).replace("name: p,", "name: p, uid: one,"),
        provider("p", &jwt("")).replace("name: p,", "name: p, uid: two,"),
        provider("p", &jwt(", claims: { roles: groups }")),
        all(&[&provider("p", &introspection("")), &login("one")]),
        all(&[&provider("p", &introspection("")), &login("two")]),
        provider("p", &introspection("")),
        all(&[&provider("p", KEYS), &partner()]),
        all(&[&provider("p", KEYS), &partner().replace("buyer", "owner")]),
        provider("p", KEYS),
    ] {
        assert!(seen.insert(fingerprint(&yaml).0), "{yaml}");
        assert_eq!(fingerprint(&yaml), fingerprint(&yaml));
    }
}

mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::authz::attributes::headers::same_name;
    use crate::authz::credential::CookieRest;

    const FROM: &str = ", from: [{ bearer: {} }, { header: x-token }, { cookie: token }]";

    fn value() -> impl Strategy<Value = String> {
        let jwt = Just(jwt_of(JWT_HOST));
        prop_oneof![jwt, Just(KEY.to_owned()), "[a-zA-Z0-9._=;, \"-]{0,24}", Just("ckr_x".to_owned())]
    }

    fn header() -> impl Strategy<Value = (String, String)> {
        let name = prop::sample::select(vec!["x-token", "X_Token", "x-other", "authorization", "cookie", "x-api-key"]);
        let schemes = vec!["", "Bearer ", "bearer  ", "Basic ", "token=", "a=b; token=", "TOKEN=", "b=c; "];
        let scheme = prop::sample::select(schemes);
        (name, scheme, value()).prop_map(|(name, scheme, value)| (name.to_owned(), format!("{scheme}{value}")))
    }

    proptest! {
        /// Whatever a request carries, and wherever: what passes has nothing left in the places where a provider looks (P7), and
        /// nothing else is taken.
        #[test]
        fn nothing_is_left_where_a_provider_looks(headers in vec(header(), 0..5)) {
            let rule = rule("[{ session: {} }, { provider: { name: jwt } }, { anonymous: {} }]");
            let index = index(&all(&[&rule, &provider("jwt", &jwt(FROM))]));
            let ask = headers.iter().fold(ask("GET shop.example/"), |ask, (name, value)| ask.with(name, value));
            let take_off = match plan(&index, &ask.read()) {
                Plan::Settled(decision) => match *decision {
                    Decision::Anonymous { take_off, .. } => take_off,
                    _ => return Ok(()),
                },
                Plan::Lookup(pending) => {
                    let Wanted::Foreign(credential, provider) = pending.wanted().clone() else { return Ok(()) };
                    prop_assert_eq!(&*provider.name.name, "jwt");
                    prop_assert!(!credential.reveal().starts_with("ckr_"));
                    match settle(*pending, &vouched(&provider), NOW) {
                        Decision::Permit(permit) => permit.take_off.clone(),
                        _ => return Ok(()),
                    }
                }
            };
            let gone = |name: &str| take_off.headers.iter().any(|it| it.as_ref() == name.as_bytes());
            for (name, value) in &headers {
                if same_name(name.as_bytes(), b"x-token") {
                    prop_assert!(gone(name), "{} stays", name);
                }
                if name == "authorization" && value.trim_ascii().to_ascii_lowercase().starts_with("bearer ") {
                    prop_assert!(gone(name), "{} stays", value);
                }
                if matches!(name.as_str(), "x-other" | "x-api-key") {
                    prop_assert!(!gone(name));
                }
            }
            if let Some(CookieRest::Others(rest)) = &take_off.cookie {
                let rest = String::from_utf8_lossy(rest).to_ascii_lowercase();
                prop_assert!(!rest.split([';', ',']).any(|pair| pair.trim().starts_with("token=")), "{}", rest);
            }
        }
    }
}
