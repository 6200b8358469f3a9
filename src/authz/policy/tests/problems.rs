//! What a person is told: the field, what is wrong, what would be right.

use super::fixture::*;

/// Everything said about a policy, one line each, without the part that all have in common.
fn said(yaml: &str) -> Vec<String> {
    let (_, problems) = compile(yaml);
    problems
        .iter()
        .map(|problem| {
            let line = problem.to_string();
            let line = line.strip_prefix("test.yaml:0: AuthPolicy shop/shop: ").map_or(line.clone(), str::to_owned);
            line.replace(" (until it is right, everything it targets is refused)", "")
                .replace(" (what it is for cannot be told, so nothing is refused for it)", "")
        })
        .collect()
}

#[test]
fn every_mistake_is_told_with_its_cure() {
    let long = "x".repeat(256);
    let rows: Vec<(String, &str)> = [
        // Words that are not known.
        ("hosst: [a.example]", "spec: unknown field `hosst`: did you mean `hosts`?"),
        ("mode: enforce", "spec.mode: unknown value `enforce`: did you mean `Enforce`?"),
        ("mode: Observe", "spec.mode: unknown value `Observe`: known are `Enforce` and `Audit`"),
        ("inheritance: required", "spec.inheritance: unknown value `required`: did you mean `Required`?"),
        ("default: Allow", "spec.default: unknown value `Allow`: known are `Session` and `Deny`"),
        ("paths: caseSensitive", "spec.paths: unknown value `caseSensitive`: did you mean `CaseSensitive`?"),
        ("rules: [{ acess: Public }]", "spec.rules[0]: unknown field `acess`: did you mean `access`?"),
        ("rules: [{ access: public }]", "spec.rules[0].access: unknown value `public`: did you mean `Public`?"),
        (
            "rules: [{ matches: [{ path: { type: Prefix, value: /a } }] }]",
            "spec.rules[0].matches[0].path.type: unknown value `Prefix`: did you mean `PathPrefix`?",
        ),
        (
            "rules: [{ matches: [{ query: [] }] }]",
            "spec.rules[0].matches[0]: unknown field `query`: known are `path`, `headers`, `queryParams` and `method`",
        ),
        (
            "rules: [{ require: { role: [a] } }]",
            "spec.rules[0].require: unknown field `role`: did you mean `roles`?",
        ),
        // Values of the wrong form.
        (
            "rules: [{ require: { maxAge: 900 } }]",
            "spec.rules[0].require.maxAge: invalid type: integer `900`, expected a duration with its unit, like 15m, 1h30m or 500ms",
        ),
        (
            "rules: [{ require: { maxAge: 15 minutes } }]",
            "spec.rules[0].require.maxAge: \"15 minutes\" is not a duration: write 1 to 4 numbers of at most 5 digits, each with its unit h, m, s or ms, like 15m, 1h30m or 500ms",
        ),
        ("rules: [{ require: { maxAge: 1ms } }]", "spec.rules[0].require.maxAge: no authentication is that young: at least 1s"),
        (
            "rules: [{ require: { claims: [{ name: a, values: [1.5] }] } }]",
            "spec.rules[0].require.claims[0].values[0]: a text, a whole number, or true or false",
        ),
        // Targets.
        (
            "selector: { matchLabels: { 'app/x/y': shop } }",
            "spec.selector.matchLabels: \"app/x/y\" is not a label's name, like `app` or `app.kubernetes.io/name`",
        ),
        (
            "selector: { matchLabels: { app: 'shop front' } }",
            "spec.selector.matchLabels.app: \"shop front\" is not a label's value: at most 63 letters, digits, `-`, `_` and `.`, the ends letters or digits",
        ),
        (
            "targetRefs: [{ group: '', kind: Service, name: shop }]",
            "spec.targetRefs[0]: no route leads to Service `shop/shop`: name it in `backendRefs` of an HTTPRoute or GRPCRoute",
        ),
        (
            "targetRefs: [{ group: core, kind: Service, name: shop }]",
            "spec.targetRefs[0].group: \"core\" has no Service: write \"\", the core group",
        ),
        (
            "targetRefs: [{ group: '', kind: Service, name: shop, sectionName: http }]",
            "spec.targetRefs[0].sectionName: a Service is judged whole, whatever its ports: leave it out",
        ),
        (
            "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gatewya, name: shop }]",
            "spec.targetRefs[0].kind: `Gatewya` cannot be a target: did you mean `Gateway`?",
        ),
        (
            "targetRefs: [{ group: gateway.networking.k8s.io, kind: HttpRoute, name: shop }]",
            "spec.targetRefs[0].kind: `HttpRoute` cannot be a target: did you mean `HTTPRoute`?",
        ),
        (
            "targetRefs: [{ group: gateway.networking.k8s.io/v1, kind: HTTPRoute, name: shop }]",
            "spec.targetRefs[0].group: \"gateway.networking.k8s.io/v1\" has no HTTPRoute: write `gateway.networking.k8s.io`",
        ),
        (
            "targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop }]",
            "spec.targetRefs[0]: there is no HTTPRoute `shop/shop`",
        ),
        // Realms.
        ("realm: shoop", "spec.realm: no realm `shoop`: the install knows `shop` and `staff`"),
        (
            "realm: staff",
            "spec.realm: namespace `shop` may not use the realm `staff`: add it to `realms.staff.use` in the configuration",
        ),
        // Origins.
        (
            "allowedOrigins: ['*']",
            "spec.allowedOrigins[0]: \"*\" is not an origin: write scheme and host as a browser sends them, like https://app.example, without a path or `*`",
        ),
        (
            "allowedOrigins: ['https://app.example/']",
            "spec.allowedOrigins[0]: \"https://app.example/\" is not an origin: write scheme and host as a browser sends them, like https://app.example, without a path or `*`",
        ),
        // Rules that contradict themselves.
        (
            "rules: [{ access: Public, require: { roles: [a] } }]",
            "spec.rules[0].require: has no effect with `access: Public`, which looks at no credential: remove one of the two",
        ),
        (
            "rules: [{ access: Deny, forward: { audience: a } }]",
            "spec.rules[0].forward: has no effect with `access: Deny`, which looks at no credential: remove one of the two",
        ),
        (
            "rules: [{ access: Deny, deny: { redirectTo: https://a.example/ } }]",
            "spec.rules[0].deny: has no effect with `access: Deny`, which looks at no credential: remove one of the two",
        ),
        (
            "rules: [{ authenticate: [{ anonymous: {} }] }]",
            "spec.rules[0].authenticate: `anonymous` alone would refuse everybody who has a session: add `session: {}`, or say `access: Public` instead",
        ),
        (
            "rules: [{ authenticate: [{ session: {} }, { anonymous: {} }], require: { roles: [a] } }]",
            "spec.rules[0].require: nobody anonymous has what is required here: remove `anonymous`, or `require`",
        ),
        // Ways to authenticate.
        (
            "rules: [{ authenticate: [{}] }]",
            "spec.rules[0].authenticate[0]: exactly one of `session`, `sessionJwt`, `provider` and `anonymous` is needed, like `- session: {}`",
        ),
        (
            "rules: [{ authenticate: [{ session: {}, anonymous: {} }] }]",
            "spec.rules[0].authenticate[0]: exactly one of `session`, `sessionJwt`, `provider` and `anonymous` is needed, like `- session: {}`",
        ),
        (
            "rules: [{ authenticate: [{ session: {} }, { session: {} }] }]",
            "spec.rules[0].authenticate[1]: the same way to authenticate twice: write it once, with everything it accepts",
        ),
        (
            "rules: [{ authenticate: [{ provider: { name: Partner } }] }]",
            "spec.rules[0].authenticate[0].provider.name: \"Partner\" is not a name: an IdentityProvider of the policy's own namespace is meant, by its name alone",
        ),
        (
            "rules: [{ authenticate: [{ session: { carriers: [{ cookie: sid }] } }] }]",
            "spec.rules[0].authenticate[0].session.carriers[0]: the install does not look there: a policy may narrow `token.carriers`, which are `cookie: __Host-session`, `bearer: {}` and `header: x-ticket`",
        ),
        (
            "rules: [{ authenticate: [{ session: { carriers: [] } }] }]",
            "spec.rules[0].authenticate[0].session.carriers: an empty list accepts no token: name a carrier, or leave `carriers` out to accept all",
        ),
        (
            "rules: [{ authenticate: [{ session: { carriers: [{}] } }] }]",
            "spec.rules[0].authenticate[0].session.carriers[0]: exactly one of `cookie`, `bearer` and `header` is needed, like `- bearer: {}`",
        ),
        (
            "rules: [{ authenticate: [{ sessionJwt: { namespaces: [shop] } }] }]",
            "spec.rules[0].authenticate[0].sessionJwt.audiences: name 1 to 16: a session JWT counts only where each audience it may come from is named",
        ),
        (
            "rules: [{ authenticate: [{ sessionJwt: { audiences: [a], namespaces: ['*'] } }] }]",
            "spec.rules[0].authenticate[0].sessionJwt.namespaces[0]: \"*\" is not a namespace (no patterns here)",
        ),
        // Requirements.
        (
            "rules: [{ require: { cel: [\"session.acr == 'mfa'\"] } }]",
            "spec.rules[0].require.cel: expressions are not in this version: say it with `roles`, `scopes`, `claims`, `acr` and `maxAge`",
        ),
        (
            "rules: [{ require: { scopes: ['read write'] } }]",
            "spec.rules[0].require.scopes[0]: \"read write\" is not one scope: visible ASCII without quotes, backslashes and spaces; write two scopes as two entries",
        ),
        ("rules: [{ require: { roles: [''] } }]", "spec.rules[0].require.roles[0]: 1 to 255 bytes without control characters are needed"),
        (
            "rules: [{ require: { claims: [{ name: tier }] } }]",
            "spec.rules[0].require.claims[0].values: name 1 to 64 values of which one will do",
        ),
        (
            "rules: [{ require: { claims: [{ name: session.claims.tier, values: [a] }] } }]",
            "spec.rules[0].require.claims[0].name: is a claim's name, not a path: write `tier`",
        ),
        // What the service is told.
        (
            "rules: [{ session: {} }]",
            "spec.rules[0].session: says nothing: name `writableClaims`, `end`, `create` or `exchange`, or remove it",
        ),
        (
            "rules: [{ session: { ends: true } }]",
            "spec.rules[0].session: unknown field `ends`: did you mean `end`?",
        ),
        (
            "rules: [{ access: Deny, session: { end: true } }]",
            "spec.rules[0].session: has no effect with `access: Deny`, which lets no request reach a service",
        ),
        (
            "rules: [{ access: Public, session: { end: true } }]",
            "spec.rules[0].session: has no effect with `access: Public`, which looks at no session: remove `access`, or make sessions here with `create` or `exchange`",
        ),
        (
            "rules: [{ session: { create: true } }]",
            "spec.rules[0].session: a rule that makes sessions takes none for an identity, so that nobody is locked out of logging in: add `access: Public`",
        ),
        (
            "rules: [{ access: Public, session: { create: true, writableClaims: [a] } }]",
            "spec.rules[0].session.writableClaims: has no effect on a rule that makes sessions, where no session is an identity: give the claims when the session is made, or move `writableClaims` to another rule",
        ),
        (
            "rules: [{ session: { writableClaims: [session.claims.cart] } }]",
            "spec.rules[0].session.writableClaims[0]: is a claim's name, not a path: write `cart`",
        ),
        (
            "rules: [{ session: { writableClaims: [cart, cart] } }]",
            "spec.rules[0].session.writableClaims[1]: the same claim twice",
        ),
        (
            "rules: [{ session: { writableClaims: [''] } }]",
            "spec.rules[0].session.writableClaims[0]: 1 to 255 bytes without control characters are needed",
        ),
        (
            "rules: [{ forward: { claims: { a: session.claims.a.upperAscii() } } }]",
            "spec.rules[0].forward.claims.a: \"session.claims.a.upperAscii()\" is not a plain path: known are `session.claims.NAME` (and `.NAME` below it), `session.subject`, `session.sid`, `session.realm`, `session.acr`, `session.amr`, `session.scopes` and `session.roles`; expressions are not in this version",
        ),
        (
            "rules: [{ forward: { claims: { a: session.subjekt } } }]",
            "spec.rules[0].forward.claims.a: \"session.subjekt\" is not a plain path: did you mean `session.subject`? Known are `session.claims.NAME` (and `.NAME` below it), `session.subject`, `session.sid`, `session.realm`, `session.acr`, `session.amr`, `session.scopes` and `session.roles`; expressions are not in this version",
        ),
        // Names.
        (
            "rules: [{ name: a }, { name: a, matches: [{ method: GET }] }]",
            "spec.rules[1].name: another rule is called `a` too: records could not tell them apart",
        ),
        ("rules: [{ name: default }]", "spec.rules[0].name: `default` is what records call the rule that judges the rest: choose another"),
        ("rules: [{ name: 'a b' }]", "spec.rules[0].name: \"a b\" is not a rule's name: 1 to 63 letters, digits, `-`, `_` and `.`"),
        // Redirects.
        (
            "rules: [{ deny: { redirectTo: 'http://login.example/' } }]",
            "spec.rules[0].deny.redirectTo: \"http://login.example/\" is neither: write an https:// URL or a path on the same host, like https://login.example/",
        ),
        (
            "rules: [{ deny: { redirectTo: //login.example } }]",
            "spec.rules[0].deny.redirectTo: \"//login.example\" is neither: write an https:// URL or a path on the same host, like https://login.example/",
        ),
        (
            "rules: [{ deny: { redirectTo: 'https://me@login.example/' } }]",
            "spec.rules[0].deny.redirectTo: \"https://me@login.example/\" has a user before its host: write an https:// URL or a path on the same host, like https://login.example/",
        ),
        (
            "rules: [{ deny: { redirectTo: 'https://login.example/#in' } }]",
            "spec.rules[0].deny.redirectTo: \"https://login.example/#in\" has a fragment, after which no parameter can be added: write an https:// URL or a path on the same host, like https://login.example/",
        ),
        (
            "rules: [{ deny: { redirectTo: '/\\evil.example' } }]",
            "spec.rules[0].deny.redirectTo: \"/\\\\evil.example\" has characters that a URL cannot have: write an https:// URL or a path on the same host, like https://login.example/",
        ),
        (
            "rules: [{ deny: { redirectTo: '/in?return_to=x' } }]",
            "spec.rules[0].deny.redirectTo: \"/in?return_to=x\" already has the parameter return_to, which is added to it: write an https:// URL or a path on the same host, like https://login.example/",
        ),
    ]
    .into_iter()
    .map(|(spec, want)| (policy(spec), want))
    .chain([
        (named("shop/shop", "default: Deny"), "spec: judges nothing: name what it is for in `hosts`, `targetRefs` or `selector`"),
        (
            named("shop/shop", "hosts: ['shop.example:443']"),
            "spec.hosts[0]: \"shop.example:443\" is not a host name, `*.` and a host name, or `*` (no port, no address in brackets, no dot at its end)",
        ),
        (named("shop/shop", "hosts: [a.example, A.example]"), "spec.hosts[1]: `A.example` is there twice"),
        (
            policy("").replace("v1alpha1", "v1"),
            "apiVersion: \"cloakroom.dev/v1\" is unknown: write cloakroom.dev/v1alpha1",
        ),
        (
            policy(&format!("rules: [{{ forward: {{ audience: {long} }} }}]")),
            "spec.rules[0].forward.audience: 1 to 255 bytes without control characters are needed",
        ),
    ])
    .collect();
    assert!(rows.len() >= 40);
    let wrong: Vec<_> =
        rows.iter().map(|(yaml, want)| (said(yaml), want)).filter(|(said, want)| said != &[**want]).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn matches_are_told_with_their_path() {
    for (rule, at) in [
        ("path: { value: admin }", "spec.rules[0].matches[0].path.value: "),
        ("path: { type: RegularExpression, value: '(' }", "spec.rules[0].matches[0].path.value: "),
        ("method: get", "spec.rules[0].matches[0].method: "),
        ("headers: [{ name: 'a b', value: c }]", "spec.rules[0].matches[0].headers[0].name: "),
    ] {
        let said = said(&policy(&format!("rules: [{{ matches: [{{ {rule} }}] }}]")));
        assert!(said.len() == 1 && said[0].starts_with(at), "{said:?}");
    }
}

#[test]
fn all_mistakes_of_a_policy_are_told_at_once() {
    let said = said(&policy("realm: none\nrules: [{ require: { cel: [x] } }, { name: 'a b' }]"));
    assert_eq!(said.len(), 3, "{said:?}");
}

#[test]
fn p28_counts_are_bounded() {
    let many = |n: usize, item: &str| vec![item; n].join(", ");
    let numbered =
        |n: usize, item: &str| (0..n).map(|i| item.replace('#', &i.to_string())).collect::<Vec<_>>().join(", ");
    for (spec, want) in [
        (
            format!("rules: [{}]", many(257, "{ access: Deny }")),
            "spec.rules: 257 rules, the most is 256: divide them among several policies",
        ),
        (
            format!("rules: [{{ matches: [{}] }}]", many(9, "{ method: GET }")),
            "spec.rules[0].matches: 9 matches, the most is 8",
        ),
        (
            format!("rules: [{{ require: {{ roles: [{}] }} }}]", many(33, "a")),
            "spec.rules[0].require.roles: 33 entries, the most is 32",
        ),
        (
            format!("rules: [{{ require: {{ acr: [{}] }} }}]", many(17, "a")),
            "spec.rules[0].require.acr: 17 entries, the most is 16",
        ),
        (
            format!("rules: [{{ require: {{ claims: [{{ name: a, values: [{}] }}] }} }}]", many(65, "1")),
            "spec.rules[0].require.claims[0].values: name 1 to 64 values of which one will do",
        ),
        (
            format!("rules: [{{ forward: {{ claims: {{ {} }} }} }}]", numbered(33, "c#: session.subject")),
            "spec.rules[0].forward.claims: 33 entries, the most is 32",
        ),
        (
            format!("allowedOrigins: [{}]", many(33, "'https://a.example'")),
            "spec.allowedOrigins: 33 entries, the most is 32",
        ),
    ] {
        assert_eq!(said(&policy(&spec)), [want]);
    }
    let hosts = named("shop/shop", &format!("hosts: [{}]", numbered(1025, "h#.example")));
    assert_eq!(said(&hosts), ["spec.hosts: 1025 entries, the most is 1024"]);
}

#[test]
fn p28_a_policy_that_is_wrong_everywhere_is_not_told_everywhere() {
    let rules = vec!["{ name: '?' }"; 256].join(", ");
    assert_eq!(said(&policy(&format!("rules: [{rules}]"))).len(), 20);
}

#[test]
fn p28_a_large_set_compiles_and_every_host_is_judged() {
    let rules: Vec<String> = (0..100)
        .map(|i| format!("- {{ name: r{i}, matches: [{{ path: {{ value: /p{i} }} }}], access: Deny }}"))
        .collect();
    let policies: Vec<String> = (0..100)
        .map(|i| named(&format!("shop/p{i}"), &format!("hosts: [h{i}.example]\nrules:\n{}", rules.join("\n"))))
        .collect();
    let index = index(&policies.join("\n---\n"));
    assert_eq!((index.policies(), index.rules()), (100, 100 * 101));
    meets(&index, &ask("GET h99.example/p99/x").cookie(), "403 denied_by_rule by r99");
    meets(&index, &ask("GET h99.example/q").cookie(), "ada for shop/p99 by default");
}

#[test]
fn a_selector_and_target_refs_exclude_each_other() {
    let both = named("shop/shop", &format!("selector: {{}}\n{}", super::routes::on_service("shop")));
    let words = "spec.selector: selects pods and `targetRefs` name objects, so it is not clear which is meant: write two policies";
    assert!(said(&both).iter().any(|it| it == words), "{:?}", said(&both));
}
