//! IdentityProviders. What the gate makes of them is tested where it compiles them.

use super::{Row, many, refused, taken_by_server};

pub(super) fn rows() -> Vec<Row> {
    [jwt(), introspection(), api_keys()].into_iter().flatten().collect()
}

fn jwt() -> Vec<Row> {
    let with = |yaml: &str| format!("{{jwt: {{{yaml}}}}}");
    let whole = |yaml: &str| {
        with(&format!(
            "issuer: https://login.example, audiences: [shop], algorithms: [ES256], jwks: {{uri: 'https://login.example/keys'}}{yaml}"
        ))
    };
    let jwks = |yaml: &str| {
        with(&format!("issuer: https://login.example, audiences: [a], algorithms: [ES256], jwks: {{{yaml}}}"))
    };
    vec![
        taken_by_server(&whole("")),
        taken_by_server(&whole(
            ", typ: at+jwt, from: [{bearer: {}}, {header: x-jwt}, {cookie: jwt}], claims: {subject: email}",
        )),
        taken_by_server(&jwks("discovery: {}")),
        taken_by_server(&jwks("inline: {keys: [{kty: OKP, crv: Ed25519, x: abc, x5c: [MIIB]}]}")),
        refused("{}", &["spec", "exactly one of `jwt`, `introspection` and `apiKeys` is needed"]),
        refused(
            "{apiKeys: {selector: {matchLabels: {a: b}}}, jwt: {issuer: i, audiences: [a], algorithms: [ES256], jwks: {uri: 'https://a'}}}",
            &["spec", "exactly one of `jwt`, `introspection` and `apiKeys` is needed"],
        ),
        refused("{oidc: {}}", &["unknown field \"spec.oidc\""]),
        refused(&with("audiences: [a]"), &["jwt.issuer: Required value", "jwt.jwks: Required value"]),
        refused(&jwks(""), &["jwt.jwks", "exactly one of `inline`, `uri` and `discovery`"]),
        refused(&jwks("discovery: {}, uri: 'https://a.example'"), &["jwt.jwks", "exactly one of"]),
        refused(&jwks("uri: a.example/keys"), &["jwt.jwks.uri", "is not an https:// URL"]),
        refused(&jwks("uri: 'https://me@a.example/keys'"), &["jwt.jwks.uri", "without user name and fragment"]),
        refused(
            &jwks("inline: {keys: [{kty: RSA, n: AA, e: AQAB, d: PRIVATE}]}"),
            &["keys[0]", "private or secret key"],
        ),
        refused(
            &with("issuer: login, audiences: [a], algorithms: [ES256], jwks: {discovery: {}}"),
            &["jwt.issuer", "must be an https:// URL where its keys are found by `discovery`"],
        ),
        refused(&whole(", from: []"), &["jwt.from", "should have at least 1 items"]),
        refused(&whole(", from: [{}]"), &["jwt.from[0]", "exactly one of `cookie`, `bearer` and `header`"]),
        refused(&whole(", from: [{bearer: {}}, {bearer: {}}]"), &["jwt.from", "names the same place twice"]),
        refused(
            &whole(&format!(", from: [{}]", many(5, |i| format!("{{header: h{i}}}")))),
            &["jwt.from", "must have at most 4 items"],
        ),
        refused(&whole(", claims: {subject: ''}"), &["jwt.claims.subject", "at least 1 chars long"]),
    ]
}

fn introspection() -> Vec<Row> {
    let with = |yaml: &str| {
        format!(
            "{{introspection: {{endpoint: 'https://login.example/introspect', clientId: shop, audiences: [shop], \
             clientSecretRef: {{name: login, key: secret}}{yaml}}}}}"
        )
    };
    vec![
        taken_by_server(&with("")),
        taken_by_server(&with(
            ", maxCache: 5m, timeout: 50ms, issuer: https://login.example, from: [{header: x-token}]",
        )),
        taken_by_server(&with(", maxCache: 0s, timeout: 5s")),
        taken_by_server(&with("").replace("https://login.example", "http://127.0.0.1:8080")),
        refused(&with(", maxCache: 6m"), &["introspection.maxCache", "at most 5m"]),
        refused(&with(", maxCache: forever"), &["introspection.maxCache", "is not a duration"]),
        refused(&with(", timeout: 10s"), &["introspection.timeout", "50ms to 5s"]),
        refused(&with(", timeout: 1ms"), &["introspection.timeout", "50ms to 5s"]),
        refused(
            "{introspection: {endpoint: 'ftp://a', clientId: a, audiences: [a], clientSecretRef: {name: a, key: b}}}",
            &["introspection.endpoint", "is not an https:// URL"],
        ),
        refused(
            "{introspection: {endpoint: 'https://a', clientId: a, audiences: [a]}}",
            &["clientSecretRef: Required value"],
        ),
        refused(
            "{introspection: {endpoint: 'https://a', clientId: a, audiences: [a], clientSecretRef: {name: a, key: 'b c'}}}",
            &["clientSecretRef.key", "is not a key of a Secret"],
        ),
        refused(
            "{introspection: {endpoint: 'https://a', clientId: a, audiences: [], clientSecretRef: {name: a, key: b}}}",
            &["introspection.audiences", "should have at least 1 items"],
        ),
    ]
}

fn api_keys() -> Vec<Row> {
    vec![
        taken_by_server("{apiKeys: {selector: {matchLabels: {for: partners}}}}"),
        taken_by_server("{apiKeys: {selector: {matchLabels: {for: partners}}, from: [{header: x-partner-key}]}}"),
        refused("{apiKeys: {}}", &["apiKeys.selector: Required value"]),
        refused("{apiKeys: {selector: {}}}", &["apiKeys.selector", "name at least one label in `matchLabels`"]),
        refused(
            &format!("{{apiKeys: {{selector: {{matchLabels: {{{}}}}}}}}}", many(17, |i| format!("l{i}: x"))),
            &["matchLabels", "must have at most 16 items"],
        ),
        refused(
            "{apiKeys: {selector: {matchLabels: {for: partners}}, from: [{header: x y}]}}",
            &["apiKeys.from[0].header", "should match '^[-A-Za-z0-9!#$%&"],
        ),
    ]
}
