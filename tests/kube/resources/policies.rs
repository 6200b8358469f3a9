//! AuthPolicies.

use super::{Row, many, refused, refused_by_gate, rule, taken, taken_by_server};

const KEY: &str = "{kty: EC, crv: P-256, kid: one, x: SKteEgc3Cr1HYqJhAcHH3r6n8ObqamfMZky18xxGbq8, \
                   y: 4fCLAMCpBXy0nGzQm-jNKktOaE8uijtWQDh-6i4YTCw}";

pub(super) fn rows() -> Vec<Row> {
    [
        targets(),
        plain_fields(),
        rules(),
        matches(),
        authentication(),
        requirements(),
        forwarding(),
        sessions(),
        exchanges(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn gateway_ref(rest: &str) -> String {
    format!("{{targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: front{rest}}}]}}")
}

fn targets() -> Vec<Row> {
    let refs = |count| {
        let target = |i| format!("{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r{i}}}");
        format!("{{targetRefs: [{}]}}", many(count, target))
    };
    let hosts = |count| format!("{{hosts: [{}]}}", many(count, |i| format!("h{i}.example")));
    vec![
        taken("{hosts: [shop.example]}"),
        taken("{hosts: ['*.shop.example', '*', under_score.example, Shop.Example, 10.0.0.1]}"),
        taken(&hosts(1024)),
        taken(&gateway_ref("")),
        taken(&gateway_ref(", namespace: edge, sectionName: https")),
        taken(&refs(16)),
        taken(
            "{targetRefs: [
                {group: gateway.networking.k8s.io, kind: Gateway, name: front, sectionName: http},
                {group: gateway.networking.k8s.io, kind: Gateway, name: front, sectionName: https},
                {group: gateway.networking.k8s.io, kind: GRPCRoute, name: orders}], hosts: [shop.example]}",
        ),
        taken_by_server("{targetRefs: [{group: '', kind: Service, name: cart}]}"),
        taken_by_server("{selector: {matchLabels: {app: cart, app.kubernetes.io/part-of: shop}}}"),
        taken_by_server("{selector: {matchLabels: {app: cart}}, hosts: [cart]}"),
        taken_by_server("{selector: {}}"),
        refused(
            "{}",
            &["spec: Invalid value", "judges nothing: name what it is for in `targetRefs`, `selector` or `hosts`"],
        ),
        refused("{hosts: [], targetRefs: []}", &["judges nothing"]),
        refused("{rules: [{name: all}]}", &["judges nothing"]),
        refused(&hosts(1025), &["spec.hosts", "must have at most 1024 items"]),
        refused("{hosts: [shop.example, shop.example]}", &["spec.hosts[1]", "Duplicate value", "shop.example"]),
        refused("{hosts: ['shop.example:8080']}", &["spec.hosts[0]", "is not a host", "no port", "*.shop.example"]),
        refused("{hosts: [shop.example, 'shop.*']}", &["spec.hosts[1]", "is not a host: write a host name"]),
        refused("{hosts: ['shop.example.']}", &["spec.hosts[0]", "no dot at its end"]),
        refused("{hosts: ['[::1]']}", &["spec.hosts[0]", "no address in brackets"]),
        refused("{hosts: ['']}", &["spec.hosts[0]", "at least 1 chars long"]),
        refused("{hosts: shop.example}", &["spec.hosts", "must be of type array"]),
        refused("{hosts: [7]}", &["spec.hosts[0]", "must be of type string"]),
        refused("{host: [shop.example]}", &["unknown field", "spec.host"]),
        refused(&refs(17), &["spec.targetRefs", "must have at most 16 items"]),
        refused(
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a},
                           {group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}]}",
            &["spec.targetRefs", "names the same target twice: remove one of the two"],
        ),
        refused(
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: HttpRoute, name: a}]}",
            &["spec.targetRefs[0].kind", "known are Gateway, HTTPRoute, GRPCRoute and Service"],
        ),
        refused(
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: TCPRoute, name: a}]}",
            &["spec.targetRefs[0].kind", "cannot be a target"],
        ),
        refused(
            "{targetRefs: [{group: networking.k8s.io, kind: HTTPRoute, name: a}]}",
            &["spec.targetRefs[0].group", "are of the group `gateway.networking.k8s.io`: write that"],
        ),
        refused(
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: Service, name: a}]}",
            &["spec.targetRefs[0].group", "a Service is of the core group: write `group: \"\"`"],
        ),
        refused("{targetRefs: [{kind: HTTPRoute, name: a}]}", &["spec.targetRefs[0].group: Required value"]),
        refused(
            "{selector: {}, targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}]}",
            &["spec: Invalid value", "divide it into two policies"],
        ),
        refused(
            "{targetRefs: [{group: '', kind: Service, name: a, sectionName: http}]}",
            &["spec.targetRefs[0].sectionName", "a Service has no sections: remove it"],
        ),
        refused(&gateway_ref(", sectionName: 'HTTPS!'"), &["spec.targetRefs[0].sectionName", "is not a name"]),
        refused(
            &gateway_ref(", namespace: edge.net"),
            &["spec.targetRefs[0].namespace", "write 1 to 63 of a-z, 0-9 and -"],
        ),
        refused(
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: Shop}]}",
            &["spec.targetRefs[0].name", "is not a name: write 1 to 253 of a-z, 0-9, - and ."],
        ),
        refused(
            "{selector: {matchLabels: {'not a label': x}}}",
            &["spec.selector.matchLabels", "has a name that no label can have"],
        ),
        refused(
            "{selector: {matchLabels: {app: 'no value'}}}",
            &["spec.selector.matchLabels", "has a value that no label can have"],
        ),
        refused(
            &format!("{{selector: {{matchLabels: {{{}}}}}}}", many(17, |i| format!("l{i}: x"))),
            &["spec.selector.matchLabels", "must have at most 16 items"],
        ),
        refused_by_gate("{hosts: [shop.example, Shop.Example]}", "is there twice"),
    ]
}

fn plain_fields() -> Vec<Row> {
    let with = |rest: &str| format!("{{hosts: [shop.example], {rest}}}");
    vec![
        taken(&with("inheritance: Required, mode: Audit, default: Deny, paths: CaseSensitive, realm: shop")),
        taken(&with("allowedOrigins: [https://app.example, 'http://localhost:3000', https://app.example]")),
        refused(
            &with("inheritance: required"),
            &["spec.inheritance: Unsupported value: \"required\"", "\"Default\", \"Required\""],
        ),
        refused(&with("mode: Dry"), &["spec.mode: Unsupported value", "\"Enforce\", \"Audit\""]),
        refused(&with("default: Public"), &["spec.default: Unsupported value", "\"Session\", \"Deny\""]),
        refused(&with("paths: Lower"), &["spec.paths: Unsupported value", "\"CaseSensitive\""]),
        refused(&with("realm: Shop"), &["spec.realm", "is not a name: write 1 to 63 of a-z, 0-9 and -"]),
        refused_by_gate(&with("realm: nowhere"), "no realm `nowhere`: the install knows `default` and `shop`"),
        refused(
            &with("allowedOrigins: [https://app.example/]"),
            &["spec.allowedOrigins[0]", "is not an origin", "like https://app.example, without a path or `*`"],
        ),
        refused(&with("allowedOrigins: ['https://*.example']"), &["spec.allowedOrigins[0]", "is not an origin"]),
        refused(&with("allowedOrigins: [app.example]"), &["spec.allowedOrigins[0]", "write scheme and host"]),
        refused(
            &with(&format!("allowedOrigins: [{}]", many(33, |i| format!("https://a{i}.example")))),
            &["spec.allowedOrigins", "must have at most 32 items"],
        ),
        refused(&with("Mode: Audit"), &["unknown field \"spec.Mode\""]),
    ]
}

/// As large as a policy may be in what rules of CEL look at: their cost counts when they run, too.
fn large() -> String {
    let hosts = many(1024, |i| format!("'*.a-long-name-of-some-tenant-{i}.apps.shop.example'"));
    let rules = many(256, |i| {
        let matches = many(8, |j| {
            let headers = many(4, |k| format!("{{name: x-some-header-{k}, value: a-value-of-it}}"));
            format!("{{path: {{value: /a/path/of/some/service/{i}/{j}}}, method: POST, headers: [{headers}]}}")
        });
        let claims = many(8, |j| format!("claim{j}: session.claims.account.tenant.c{j}"));
        format!(
            "{{name: rule-{i}, matches: [{matches}], authenticate: [{{session: {{carriers: [{{bearer: {{}}}}]}}}}, \
             {{sessionJwt: {{audiences: [a, b], namespaces: [shop, cart]}}}}], require: {{roles: [admin, owner], \
             scopes: [orders.read, orders.write], claims: [{{name: tier, values: [gold]}}], maxAge: 15m}}, \
             forward: {{audience: service-{i}, claims: {{{claims}}}}}, session: {{writableClaims: [cart]}}, \
             deny: {{redirectTo: 'https://login.shop.example/start'}}}}"
        )
    });
    format!("{{hosts: [{hosts}], rules: [{rules}]}}")
}

fn rules() -> Vec<Row> {
    let rules = |count| format!("{{hosts: [shop.example], rules: [{}]}}", many(count, |i| format!("{{name: r{i}}}")));
    vec![
        taken(&rules(256)),
        taken(&large()),
        taken(&rule("{name: A-b_c.9}, {}, {}")),
        taken(&rule("{access: Public}, {access: Deny, authenticate: []}")),
        refused(&rules(257), &["spec.rules", "must have at most 256 items"]),
        refused(&rule("{name: a}, {name: a}"), &["spec.rules", "two rules have the same name", "rename one"]),
        refused(&rule("{name: 'my rule'}"), &["spec.rules[0].name", "write 1 to 63 letters, digits, `-`, `_` and `.`"]),
        refused(&rule("{name: default}"), &["spec.rules[0].name", "choose another name"]),
        refused(&rule("{}, {name: broken}"), &["spec.rules[1].name", "choose another name"]),
        refused(
            &format!("{{hosts: [shop.example], rules: [{{name: {}}}]}}", "n".repeat(64)),
            &["spec.rules[0].name", "may not be more than 63"],
        ),
        refused(
            &rule("{access: public}"),
            &["spec.rules[0].access: Unsupported value: \"public\"", "\"Public\", \"Deny\""],
        ),
        refused(
            &rule("{access: Public, authenticate: [{session: {}}]}"),
            &["spec.rules[0].authenticate", "has no effect with `access: Public`", "remove one of the two"],
        ),
        refused(&rule("{access: Public, require: {roles: [admin]}}"), &["spec.rules[0].require", "has no effect with"]),
        refused(&rule("{access: Deny, forward: {audience: a}}"), &["spec.rules[0].forward", "has no effect with"]),
        refused(&rule("{access: Deny, deny: {redirectTo: /login}}"), &["spec.rules[0].deny", "has no effect with"]),
        refused(&rule("{requires: {roles: [admin]}}"), &["unknown field \"spec.rules[0].requires\""]),
    ]
}

fn matches() -> Vec<Row> {
    let with = |yaml: &str| rule(&format!("{{matches: [{yaml}]}}"));
    let path = |kind: &str, value: &str| with(&format!("{{path: {{type: {kind}, value: '{value}'}}}}"));
    let headers = |count| with(&format!("{{headers: [{}]}}", many(count, |i| format!("{{name: h{i}, value: v}}"))));
    let query = |count| with(&format!("{{queryParams: [{}]}}", many(count, |i| format!("{{name: q{i}, value: v}}"))));
    let long_header = |len: usize| with(&format!("{{headers: [{{name: h, value: {}}}]}}", "v".repeat(len)));
    let long_query = |len: usize| with(&format!("{{queryParams: [{{name: q, value: {}}}]}}", "v".repeat(len)));
    vec![
        taken(&path("Exact", "/a/b;c=d/%20e/~f/@x:y,z(1)")),
        taken(&path("PathPrefix", "/")),
        taken(&path("RegularExpression", "/[a-z]+//|x")),
        taken(&path("Exact", &format!("/{}", "p".repeat(1023)))),
        taken(&with("{path: {value: /orders}, method: POST}, {}, {path: {}}")),
        taken(&with(&many(8, |i| format!("{{path: {{value: /p{i}}}}}")))),
        taken(&headers(16)),
        taken(&query(16)),
        taken(&long_header(4096)),
        taken(&long_query(1024)),
        taken(&with("{queryParams: [{type: RegularExpression, name: page, value: '[0-9]+'}]}")),
        refused(&with(&many(9, |_| "{}".to_owned())), &["spec.rules[0].matches", "must have at most 8 items"]),
        refused(&path("Prefix", "/a"), &["matches[0].path.type: Unsupported value", "\"PathPrefix\""]),
        refused(&path("Exact", "orders"), &["spec.rules[0].matches[0].path.value", "must begin with `/`"]),
        refused(
            &path("Exact", "/a?b=c"),
            &["path.value", "write it percent-encoded; a query belongs into `queryParams`"],
        ),
        refused(&path("Exact", "/a b"), &["path.value", "may not stand in a path"]),
        refused(&path("PathPrefix", "/a//b"), &["path.value", "`//` cannot be matched"]),
        refused(&path("PathPrefix", "/a/../b"), &["path.value", "has a dot segment, which no request may have"]),
        refused(&path("PathPrefix", "/a%2Fb"), &["path.value", "`%2F` cannot be matched"]),
        refused(&path("Exact", ""), &["path.value", "at least 1 chars long"]),
        refused(&path("Exact", &format!("/{}", "p".repeat(1024))), &["path.value", "may not be more than 1024"]),
        refused_by_gate(&path("RegularExpression", "/(a"), "is not an expression that can be used"),
        refused_by_gate(&path("RegularExpression", "/(a{1000}){1000}"), "is not an expression that can be used"),
        refused_by_gate(&path("Exact", "/%zz"), "percent-encoding is broken"),
        refused(&with("{method: get}"), &["matches[0].method: Unsupported value: \"get\"", "\"GET\""]),
        refused(&headers(17), &["matches[0].headers", "must have at most 16 items"]),
        refused(&query(17), &["matches[0].queryParams", "must have at most 16 items"]),
        refused(&with("{headers: [{name: 'a b', value: c}]}"), &["headers[0].name", "should match '^[-A-Za-z0-9!#$%&"]),
        refused(&with("{headers: [{name: Host, value: c}]}"), &["headers[0].name", "a match on `host` never holds"]),
        refused(&with("{headers: [{name: a}]}"), &["headers[0].value: Required value"]),
        refused(&with("{headers: [{name: a, value: ''}]}"), &["headers[0].value", "at least 1 chars long"]),
        refused(&long_header(4097), &["headers[0].value", "may not be more than 4096"]),
        refused(&long_query(1025), &["queryParams[0].value", "may not be more than 1024"]),
    ]
}

fn authentication() -> Vec<Row> {
    let with = |yaml: &str| rule(&format!("{{authenticate: [{yaml}]}}"));
    let jwt = |audiences: &str, namespaces: &str| {
        with(&format!("{{sessionJwt: {{audiences: [{audiences}], namespaces: [{namespaces}]}}}}"))
    };
    let names = |count| many(count, |i| format!("n{i}"));
    vec![
        taken(&with("{session: {}}, {anonymous: {}}")),
        taken(&with(
            "{session: {carriers: [{bearer: {}}, {cookie: __Host-session}]}}, {sessionJwt: {audiences: [a], namespaces: [b]}}",
        )),
        taken(&jwt(&names(16), &names(16))),
        taken_by_server(&with("{session: {}}, {provider: {name: partner-keys}}")),
        refused(
            &with("{}"),
            &[
                "spec.rules[0].authenticate[0]",
                "exactly one of `session`, `sessionJwt`, `anonymous` and `provider` is needed",
            ],
        ),
        refused(&with("{session: {}, anonymous: {}}"), &["authenticate[0]", "exactly one of"]),
        refused(&with("{session: {}}, {session: {}}"), &["authenticate", "the same way to authenticate twice"]),
        refused(
            &with("{provider: {name: a}}, {provider: {name: b}}, {provider: {name: a}}"),
            &["authenticate", "names the same provider twice"],
        ),
        refused(&with("{anonymous: {}}"), &["authenticate", "add `session: {}`, or say `access: Public` instead"]),
        refused(
            &rule("{authenticate: [{session: {}}, {anonymous: {}}], require: {scopes: [a]}}"),
            &["spec.rules[0].require", "nobody anonymous has what is required here"],
        ),
        refused(
            &with(&many(9, |i| format!("{{provider: {{name: p{i}}}}}"))),
            &["authenticate", "must have at most 8 items"],
        ),
        refused(&with("{session: {carriers: []}}"), &["session.carriers", "leave `carriers` out to accept all"]),
        refused(
            &with("{session: {carriers: [{}]}}"),
            &["carriers[0]", "exactly one of `cookie`, `bearer` and `header`"],
        ),
        refused(&with("{session: {carriers: [{bearer: {}, header: x-token}]}}"), &["carriers[0]", "exactly one of"]),
        refused(&with("{session: {carriers: [{bearer: {}}, {bearer: {}}]}}"), &["carriers", "the same carrier twice"]),
        refused_by_gate(&with("{session: {carriers: [{header: x-token}]}}"), "the install does not look there"),
        refused(&with("{sessionJwt: {namespaces: [shop]}}"), &["sessionJwt.audiences: Required value"]),
        refused(&jwt("", "shop"), &["sessionJwt.audiences", "should have at least 1 items"]),
        refused(&jwt(&names(17), "shop"), &["sessionJwt.audiences", "must have at most 16 items"]),
        refused(&jwt("a", "'*'"), &["sessionJwt.namespaces[0]", "is not a name: write 1 to 63"]),
        refused(&with("{provider: {name: 'Partner Keys'}}"), &["provider.name", "is not a name"]),
        refused(&with("{sesion: {}}"), &["unknown field \"spec.rules[0].authenticate[0].sesion\""]),
    ]
}

fn requirements() -> Vec<Row> {
    let with = |yaml: &str| rule(&format!("{{require: {{{yaml}}}}}"));
    let names = |count| many(count, |i| format!("n{i}"));
    let claim = |yaml: &str| with(&format!("claims: [{{{yaml}}}]"));
    vec![
        taken(&with(&format!("roles: [{0}], scopes: [{0}], acr: [{1}]", names(32), names(16)))),
        taken(&with(&format!("roles: [{}], maxAge: 1h30m", "r".repeat(255)))),
        taken(&with("maxAge: 30m1h, roles: [admin, admin]")),
        taken(&claim("name: tier, values: [gold, 7, -9007199254740993, true, '']")),
        taken(&claim(&format!("name: {}, values: [{}]", "c".repeat(255), names(64)))),
        refused(&with(&format!("roles: [{}]", names(33))), &["require.roles", "must have at most 32 items"]),
        refused(&with(&format!("scopes: [{}]", names(33))), &["require.scopes", "must have at most 32 items"]),
        refused(&with(&format!("acr: [{}]", names(17))), &["require.acr", "must have at most 16 items"]),
        refused(&with(&format!("roles: [{}]", "r".repeat(256))), &["require.roles[0]", "may not be more than 255"]),
        refused(&with("roles: ['']"), &["require.roles[0]", "at least 1 chars long"]),
        refused(&with("scopes: ['read write']"), &["require.scopes[0]", "write two scopes as two entries"]),
        refused(&with("roles: admin"), &["require.roles", "must be of type array"]),
        refused(&with("cel: ['session.amr.size() > 1']"), &["require.cel", "expressions are not in this version"]),
        refused(&with("maxAge: 15"), &["require.maxAge", "must be of type string"]),
        refused(&with("maxAge: 1d"), &["require.maxAge", "each with its unit h, m, s or ms, like 15m, 1h30m or 500ms"]),
        refused(&with("maxAge: 999ms"), &["require.maxAge", "at least 1s"]),
        refused(&with("maxAge: 1h1m1s1ms1h"), &["require.maxAge", "is not a duration"]),
        refused_by_gate(&with("maxAge: 99999h1ms"), "is not a duration"),
        refused(
            &claim("name: session.claims.tier, values: [gold]"),
            &["claims[0].name", "leave `session.claims.` out"],
        ),
        refused(&claim("name: tier"), &["claims[0].values: Required value"]),
        refused(&claim("name: tier, values: []"), &["claims[0].values", "should have at least 1 items"]),
        refused(
            &claim(&format!("name: tier, values: [{}]", names(65))),
            &["claims[0].values", "must have at most 64 items"],
        ),
        refused(&claim("name: tier, values: [1.5]"), &["claims[0].values[0]", "multiple of 1"]),
        refused(&claim("name: tier, values: [{a: b}]"), &["claims[0].values[0]", "must have at most 0 items"]),
        refused(&claim("name: tier, values: [[a]]"), &["claims[0].values[0]", "must have at most 0 items"]),
        refused(
            &claim(&format!("name: tier, values: [{}]", "v".repeat(1025))),
            &["claims[0].values[0]", "may not be more than 1024"],
        ),
        refused(
            &with(&format!("claims: [{}]", many(33, |i| format!("{{name: c{i}, values: [1]}}")))),
            &["require.claims", "must have at most 32 items"],
        ),
    ]
}

fn forwarding() -> Vec<Row> {
    let claims = |yaml: &str| rule(&format!("{{forward: {{claims: {{{yaml}}}}}}}"));
    let redirect = |target: &str| rule(&format!("{{deny: {{redirectTo: '{target}'}}}}"));
    vec![
        taken(&rule("{forward: {audience: orders, claims: {}}}")),
        taken(&claims("who: session.subject, tenant: session.claims.tenant, plan: 'session.claims.https://x/plan'")),
        taken(&claims(&many(32, |i| format!("c{i}: session.acr")))),
        taken(&redirect("https://login.example/")),
        taken(&redirect("HTTPS://login.example?a=b&c=d?return_to=e")),
        taken(&redirect("/login")),
        taken(&redirect("/")),
        refused(&rule("{forward: {audience: ''}}"), &["forward.audience", "at least 1 chars long"]),
        refused(&claims("x: 1"), &["forward.claims.x", "must be of type string"]),
        refused(
            &claims("x: session.claim.tenant"),
            &["forward.claims[x]", "is not a plain path", "`session.claims.NAME`"],
        ),
        refused(&claims("x: 'session.claims.a + 1'"), &["forward.claims[x]", "expressions are not in this version"]),
        refused(&claims("x: session.claims."), &["forward.claims[x]", "is not a plain path"]),
        refused(&claims("'': session.acr"), &["forward.claims", "has a name that is empty or too long"]),
        refused(
            &claims(&many(33, |i| format!("c{i}: session.acr"))),
            &["forward.claims", "must have at most 32 items"],
        ),
        refused(&redirect("http://login.example/"), &["deny.redirectTo", "is neither an https:// URL nor a path"]),
        refused(
            &redirect("//login.example/"),
            &["deny.redirectTo", "write one, like https://login.example/ or /login"],
        ),
        refused(&redirect("https://me@login.example/"), &["deny.redirectTo", "is neither"]),
        refused(&redirect("/login#top"), &["deny.redirectTo", "has a fragment"]),
        refused(&redirect("/log in"), &["deny.redirectTo", "has characters that a URL cannot have"]),
        refused(&redirect("/login?return_to=/"), &["deny.redirectTo", "already has the parameter return_to"]),
        refused(&redirect(&format!("/{}", "l".repeat(2048))), &["deny.redirectTo", "may not be more than 2048"]),
    ]
}

fn sessions() -> Vec<Row> {
    let with = |yaml: &str| rule(&format!("{{session: {{{yaml}}}}}"));
    let claims = |count| with(&format!("writableClaims: [{}]", many(count, |i| format!("c{i}"))));
    vec![
        taken(&claims(32)),
        taken(&with("end: true")),
        taken(&rule("{access: Public, session: {create: true, end: true}}")),
        refused(
            &with(""),
            &["spec.rules[0].session", "says nothing: name `writableClaims`, `end`, `create` or `exchange`"],
        ),
        refused(&with("create: false, writableClaims: []"), &["spec.rules[0].session", "says nothing"]),
        refused(&claims(33), &["session.writableClaims", "must have at most 32 items"]),
        refused(&with("writableClaims: [cart, cart]"), &["session.writableClaims[1]", "Duplicate value"]),
        refused(&with("writableClaims: [session.claims.cart]"), &["writableClaims[0]", "leave `session.claims.` out"]),
        refused(&with("create: true"), &["spec.rules[0].session", "add `access: Public`"]),
        refused(&rule("{access: Public, session: {end: true}}"), &["spec.rules[0].session", "remove `access`"]),
        refused(
            &rule("{access: Deny, session: {end: true}}"),
            &["spec.rules[0].session", "has no effect with `access: Deny`"],
        ),
        refused(
            &rule("{access: Public, session: {create: true, writableClaims: [cart]}}"),
            &["session.writableClaims", "move `writableClaims` to another rule"],
        ),
        refused(&with("create: 'yes'"), &["session.create", "must be of type boolean"]),
    ]
}

fn exchanges() -> Vec<Row> {
    let exchange = |yaml: &str| rule(&format!("{{access: Public, session: {{exchange: {{{yaml}}}}}}}"));
    let rest = "issuer: https://login.example, audiences: [shop], algorithms: [ES256]";
    let keys = format!("jwks: {{inline: {{keys: [{KEY}]}}}}");
    let with_key = |key: &str| exchange(&format!("header: x-jwt, {rest}, jwks: {{inline: {{keys: [{key}]}}}}"));
    vec![
        taken(&exchange(&format!("header: x-login-jwt, {rest}, {keys}"))),
        taken(&exchange(&format!("cookie: jwt, {rest}, {keys}, typ: at+jwt, claims: {{roles: groups, keep: [tier]}}"))),
        taken(&exchange(&format!("bodyField: data.accessToken, {rest}, {keys}"))),
        refused(
            &exchange(&format!("{rest}, {keys}")),
            &["session.exchange", "exactly one of `header`, `cookie` and `bodyField`"],
        ),
        refused(&exchange(&format!("header: a, cookie: b, {rest}, {keys}")), &["session.exchange", "exactly one of"]),
        refused(
            &exchange(&format!("header: 'a b', {rest}, {keys}")),
            &["exchange.header", "should match '^[-A-Za-z0-9!#$%&"],
        ),
        refused_by_gate(&exchange(&format!("header: set-cookie, {rest}, {keys}")), "has a meaning of its own"),
        refused(&exchange(&format!("bodyField: a..b, {rest}, {keys}")), &["exchange.bodyField", "like `access_token`"]),
        refused(
            &exchange(&format!("header: a, audiences: [a], algorithms: [ES256], {keys}")),
            &["issuer: Required value"],
        ),
        refused(
            &exchange(&format!("header: a, issuer: i, audiences: [], algorithms: [ES256], {keys}")),
            &["exchange.audiences", "should have at least 1 items"],
        ),
        refused(
            &exchange(&format!("header: a, issuer: i, audiences: [a], algorithms: [HS256], {keys}")),
            &["algorithms[0]: Unsupported value: \"HS256\"", "\"ES256\", \"ES384\", \"EdDSA\", \"RS256\", \"PS256\""],
        ),
        refused(
            &exchange(&format!("header: a, issuer: i, audiences: [a], algorithms: [ES256, ES256], {keys}")),
            &["algorithms[1]: Duplicate value"],
        ),
        refused(&exchange(&format!("header: a, {rest}, {keys}, typ: 'a b'")), &["exchange.typ", "is not a media type"]),
        refused(
            &exchange(&format!("header: a, {rest}, jwks: {{}}")),
            &["exchange.jwks", "exactly one of `inline`, `uri` and `discovery`"],
        ),
        refused(
            &exchange(&format!("header: a, {rest}, jwks: {{uri: 'https://login.example/keys'}}")),
            &["exchange.jwks", "keys are not fetched here"],
        ),
        refused(
            &exchange(&format!("header: a, {rest}, jwks: {{inline: {{keys: []}}}}")),
            &["keys", "should have at least 1 items"],
        ),
        // No value of a private key comes back in a refusal (P31).
        refused(
            &with_key("{kty: EC, crv: P-256, d: PRIVATE}"),
            &["keys[0]", "Invalid value: holds a private or secret key", "have the issuer replace it"],
        ),
        refused(&with_key("{kty: oct, k: PRIVATE}"), &["keys[0].kty: Unsupported value: \"oct\""]),
        refused(&with_key(&format!("{KEY}, {KEY}")), &["keys", "two keys have the same `kid`"]),
        refused_by_gate(&with_key("{kty: EC, crv: P-256, x: AA, y: AA}"), "where 32 are needed"),
        refused(
            &exchange(&format!("header: a, {rest}, {keys}, claims: {{keep: [{}]}}", many(33, |i| format!("c{i}")))),
            &["claims.keep", "must have at most 32 items"],
        ),
    ]
}
