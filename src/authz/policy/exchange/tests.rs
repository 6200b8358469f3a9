use serde_json::{Value, json};

use super::*;
use crate::authz::credential::Carriers;
use crate::authz::policy::tests::fixture::install;

impl TrustedIssuer {
    /// What a rule's `exchange` trusts, without the rule.
    pub(crate) fn of(spec: Value) -> Self {
        compile(spec, &install()).unwrap().issuer
    }
}

/// Compiled, or the findings as `path: words`.
fn compile(spec: Value, install: &Install) -> Result<Exchange, Vec<String>> {
    let mut findings = Findings::default();
    let spec = match crate::api::read::read(spec) {
        Ok(spec) => spec,
        Err(error) => return Err(vec![error.to_string()]),
    };
    let exchange = exchange(&spec, "at", install, &mut findings);
    let found: Vec<String> = findings.into_iter().map(|(path, words)| format!("{path}: {words}")).collect();
    if found.is_empty() { Ok(exchange.unwrap()) } else { Err(found) }
}

/// RFC 7515 §A.3.1.
fn p256() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": "ec",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

/// RFC 8037 §A.2.
fn ed25519() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

/// RFC 7517 §A.1.
fn rsa_key() -> Value {
    json!({
        "kty": "RSA", "kid": "rsa", "e": "AQAB",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhM\
              stn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn\
              1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    })
}

fn good() -> Value {
    json!({
        "header": "X-Login-JWT", "issuer": "https://login.example", "audiences": ["cloakroom"], "algorithms": ["ES256"],
        "jwks": {"inline": {"keys": [p256()]}},
    })
}

/// `good`, with the members of `change` over it; `null` removes one (RFC 7396).
fn changed(change: Value) -> Value {
    let mut spec = good();
    json_patch::merge(&mut spec, &change);
    spec
}

fn keys(algorithms: Value, keys: Value) -> Value {
    changed(json!({"algorithms": algorithms, "jwks": {"inline": {"keys": keys}}}))
}

fn with(mut key: Value, change: Value) -> Value {
    json_patch::merge(&mut key, &change);
    key
}

#[test]
fn a_place_is_compiled() {
    let place = |change| compile(changed(change), &install()).unwrap().place;
    assert_eq!(place(json!({})), ExchangePlace::Header("x-login-jwt".into()));
    assert_eq!(place(json!({"header": null, "cookie": "app.jwt"})), ExchangePlace::Cookie("app.jwt".into()));
    assert_eq!(
        place(json!({"header": null, "bodyField": "data.access-token"})),
        ExchangePlace::BodyField(["data".into(), "access-token".into()].into())
    );
}

#[test]
fn keys_are_ready_for_the_algorithms_that_fit() {
    let all = json!(["ES256", "EdDSA", "RS256", "PS256"]);
    let enough = json!({"use": "sig", "key_ops": ["verify"], "alg": "ES256", "x5t": "ignored", "x5c": ["ignored"]});
    let issuer = TrustedIssuer::of(keys(all, json!([with(p256(), enough), ed25519(), rsa_key()])));
    for (kid, algorithm, found) in [
        (Some("ec"), JwtAlgorithm::Es256, true),
        (Some("ed"), JwtAlgorithm::EdDsa, true),
        (Some("rsa"), JwtAlgorithm::Rs256, true),
        (Some("rsa"), JwtAlgorithm::Ps256, true),
        (None, JwtAlgorithm::Es256, true),
        (None, JwtAlgorithm::Ps256, true),
        (Some("ec"), JwtAlgorithm::Es384, false),
        (Some("ec"), JwtAlgorithm::Rs256, false),
        (Some("rsa"), JwtAlgorithm::Es256, false),
        (Some("EC"), JwtAlgorithm::Es256, false),
        (Some(""), JwtAlgorithm::Es256, false),
    ] {
        assert_eq!(issuer.key(kid, algorithm).is_some(), found, "{kid:?} {algorithm:?}");
    }
    // A key that names its algorithm is for no other, and an algorithm that the rule does not name is not tried.
    let only = TrustedIssuer::of(keys(json!(["RS256"]), json!([rsa_key()])));
    assert!(only.key(Some("rsa"), JwtAlgorithm::Ps256).is_none());
    let bound = keys(json!(["RS256", "PS256"]), json!([with(rsa_key(), json!({"alg": "PS256"}))]));
    assert_eq!(
        compile(bound, &install()).unwrap_err(),
        ["at.jwks.inline.keys: no key is for RS256: add one, or take it out of `algorithms`"]
    );
}

#[test]
fn p24_a_jwt_without_kid_means_the_only_key_that_fits() {
    let second = with(p256(), json!({"kid": "second"}));
    let two = TrustedIssuer::of(keys(json!(["ES256"]), json!([p256(), second])));
    assert!(two.key(None, JwtAlgorithm::Es256).is_none());
    assert!(two.key(Some("second"), JwtAlgorithm::Es256).is_some());
    let nameless = TrustedIssuer::of(keys(json!(["ES256"]), json!([with(p256(), json!({"kid": null}))])));
    assert!(nameless.key(None, JwtAlgorithm::Es256).is_some());
    assert!(nameless.key(Some("ec"), JwtAlgorithm::Es256).is_none());
}

#[test]
fn a_type_is_compared_in_one_form() {
    for (typ, want) in [
        ("at+jwt", "at+jwt"),
        ("AT+JWT", "at+jwt"),
        ("application/at+jwt", "at+jwt"),
        ("Application/AT+JWT", "at+jwt"),
        ("text/at+jwt", "text/at+jwt"),
        ("application/x/y", "application/x/y"),
        ("", ""),
    ] {
        assert_eq!(media_type(typ), want, "{typ}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let long = "a".repeat(256);
    let header = |name: &str| changed(json!({ "header": name }));
    let cookie = |name: &str| changed(json!({"header": null, "cookie": name}));
    let field = |path: &str| changed(json!({"header": null, "bodyField": path}));
    for (spec, path, words) in [
        // Place.
        (changed(json!({"header": null})), "at", "exactly one of"),
        (changed(json!({"cookie": "jwt"})), "at", "exactly one of"),
        (changed(json!({"bodyField": "jwt"})), "at", "exactly one of"),
        (header(""), "at.header", "not a header's name"),
        (header(":status"), "at.header", "not a header's name"),
        (header("x login"), "at.header", "not a header's name"),
        (header(&long), "at.header", "not a header's name"),
        (header("x-session-jwt"), "at.header", "one of our own"),
        (header("X_Session.Create"), "at.header", "one of our own"),
        (header("Set-Cookie"), "at.header", "meaning of its own"),
        (header("transfer_encoding"), "at.header", "meaning of its own"),
        (header("Connection"), "at.header", "meaning of its own"),
        (header("x-envoy-jwt"), "at.header", "meaning of its own"),
        (header("grpc-status"), "at.header", "meaning of its own"),
        (cookie(""), "at.cookie", "not a cookie's name"),
        (cookie("a b"), "at.cookie", "not a cookie's name"),
        (cookie("a=b"), "at.cookie", "not a cookie's name"),
        (cookie(&long), "at.cookie", "not a cookie's name"),
        (cookie("__Host-session"), "at.cookie", "carries our token"),
        (cookie("__host-SESSION"), "at.cookie", "carries our token"),
        (field(""), "at.bodyField", "no member"),
        (field("a..b"), "at.bodyField", "no member"),
        (field("a.b.c.d.e"), "at.bodyField", "no member"),
        (field("a[0]"), "at.bodyField", "no member"),
        (field(&long[..64]), "at.bodyField", "no member"),
        // Issuer.
        (changed(json!({"issuer": ""})), "at.issuer", "1 to 1,024 bytes"),
        (changed(json!({"issuer": "a\n"})), "at.issuer", "1 to 1,024 bytes"),
        (changed(json!({"issuer": null})), "", "missing field `issuer`"),
        (changed(json!({"audiences": []})), "at.audiences", "name 1 to 16"),
        (changed(json!({"audiences": vec!["a"; 17]})), "at.audiences", "name 1 to 16"),
        (changed(json!({"audiences": ["a", ""]})), "at.audiences[1]", "1 to 255 bytes"),
        (changed(json!({"algorithms": []})), "at.algorithms", "some of `ES256`"),
        (changed(json!({"algorithms": null})), "", "missing field `algorithms`"),
        (changed(json!({"algorithms": ["none"]})), "algorithms[0]", "unknown value `none`"),
        (changed(json!({"algorithms": ["HS256"]})), "algorithms[0]", "unknown value `HS256`"),
        (changed(json!({"algorithms": ["ES256", "ES256"]})), "at.algorithms[1]", "ES256 is named twice"),
        (changed(json!({"typ": ""})), "at.typ", "not a media type"),
        (changed(json!({"typ": "at jwt"})), "at.typ", "not a media type"),
        (changed(json!({"claims": {"subject": ""}})), "at.claims.subject", "1 to 255 bytes"),
        (changed(json!({"claims": {"scopes": long}})), "at.claims.scopes", "1 to 255 bytes"),
        (changed(json!({"claims": {"roles": "\u{7f}"}})), "at.claims.roles", "1 to 255 bytes"),
        (changed(json!({"claims": {"keep": [""]}})), "at.claims.keep[0]", "1 to 255 bytes"),
        (changed(json!({"claims": {"keep": vec!["a"; 33]}})), "at.claims.keep", "33 entries"),
        (
            changed(json!({"claims": {"kept": []}})),
            "claims",
            "known are `subject`, `scopes`, `roles`, `authTime` and `keep`",
        ),
    ] {
        check(spec, path, words);
    }
}

#[test]
fn what_is_wrong_with_keys_is_said() {
    let at = "at.jwks.inline.keys";
    let first = "at.jwks.inline.keys[0]";
    let es = |key| keys(json!(["ES256"]), json!([key]));
    let rs = |change| keys(json!(["RS256"]), json!([with(rsa_key(), change)]));
    let of = |member: &str| format!("{first}.{member}");
    let number = |bytes: usize, first: u8| {
        let mut bytes = vec![0xff; bytes];
        bytes[0] = first;
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes)
    };
    let uri = json!({"jwks": {"inline": null, "uri": "https://login.example/keys?token=PRIVATE"}});
    let many: Vec<Value> = (0..17).map(|i| with(p256(), json!({"kid": i.to_string()}))).collect();
    let es384 = json!({"kty": "EC", "crv": "P-384", "x": number(48, 1), "y": number(48, 1)});
    for (spec, path, words) in [
        (changed(uri), "at.jwks.uri".to_owned(), "not fetched in this version"),
        (changed(json!({"jwks": {"uri": "x"}})), "at.jwks.uri".to_owned(), "not fetched in this version"),
        (changed(json!({"jwks": {"inline": null}})), "at.jwks".to_owned(), "public keys are needed"),
        (keys(json!(["ES256"]), json!([])), at.to_owned(), "0 keys: 1 to 16"),
        (keys(json!(["ES256"]), json!(many)), at.to_owned(), "17 keys: 1 to 16"),
        (es(with(p256(), json!({"d": "PRIVATE"}))), of("d"), "replace the key"),
        (es(with(p256(), json!({"d": 7}))), of("d"), "replace the key"),
        (rs(json!({"p": "PRIVATE"})), of("p"), "replace the key"),
        (rs(json!({"oth": [{"r": "PRIVATE"}]})), of("oth"), "replace the key"),
        (es(json!({"kty": "oct", "k": "PRIVATE"})), of("k"), "replace the key"),
        (es(json!({"kty": "oct"})), of("kty"), "EC, OKP or RSA"),
        (es(json!({})), of("kty"), "EC, OKP or RSA"),
        (es(with(p256(), json!({"kty": "ec"}))), of("kty"), "EC, OKP or RSA"),
        (es(with(p256(), json!({"crv": "P-521"}))), of("crv"), "P-256 or P-384"),
        (es(with(p256(), json!({"crv": "secp256k1"}))), of("crv"), "P-256 or P-384"),
        (es(with(ed25519(), json!({"crv": "X25519"}))), of("crv"), "Ed25519"),
        (es(with(p256(), json!({"x": null}))), of("x"), "base64url"),
        (es(with(p256(), json!({"x": "+/=="}))), of("x"), "base64url"),
        (es(with(p256(), json!({"y": "AAAA"}))), of("y"), "3 bytes, where 32"),
        (es(with(p256(), json!({"x": number(32, 1)}))), first.to_owned(), "is not a key"),
        (keys(json!(["ES384"]), json!([es384])), first.to_owned(), "is not a key"),
        (keys(json!(["EdDSA"]), json!([with(ed25519(), json!({"x": "AAAA"}))])), of("x"), "3 bytes, where 32"),
        (rs(json!({"n": number(128, 0xff)})), of("n"), "2048 to 8192 bits"),
        (rs(json!({"n": number(256, 0x7f)})), of("n"), "not 2047"),
        (rs(json!({"n": number(1025, 1)})), of("n"), "not 8193"),
        (rs(json!({"n": number(257, 0)})), of("n"), "without a zero byte"),
        (rs(json!({"e": "AQ"})), of("e"), "an odd number"),
        (rs(json!({"e": "BA"})), of("e"), "an odd number"),
        (rs(json!({"e": ""})), of("e"), "an odd number"),
        (rs(json!({"e": number(5, 1)})), of("e"), "an odd number"),
        (es(with(p256(), json!({"use": "enc"}))), of("use"), "not for signatures"),
        (es(with(p256(), json!({"key_ops": ["sign"]}))), of("key_ops"), "not for verifying"),
        (es(with(p256(), json!({"key_ops": "verify"}))), of("key_ops"), "not for verifying"),
        (es(with(p256(), json!({"alg": "HS256"}))), of("alg"), "`ES256` here"),
        (es(with(p256(), json!({"alg": "RS256"}))), of("alg"), "`ES256` here"),
        (es(with(p256(), json!({"kid": ""}))), of("kid"), "1 to 255 bytes"),
        (es(with(p256(), json!({"kid": 1}))), of("kid"), "1 to 255 bytes"),
        (es(ed25519()), first.to_owned(), "the key is for `EdDSA`, and `algorithms` does not have it"),
        (keys(json!(["ES256"]), json!([p256(), p256()])), format!("{at}[1].kid"), "another key has it too"),
        (keys(json!(["ES256", "RS256"]), json!([p256()])), at.to_owned(), "no key is for RS256"),
        (
            keys(json!(["ES256"]), json!([p256(), with(p256(), json!({"kid": null}))])),
            at.to_owned(),
            "one of them has no `kid`",
        ),
    ] {
        check(spec, &path, words);
    }
}

/// `spec` has one finding, at `path`, and nothing private is in it.
fn check(spec: Value, path: &str, words: &str) {
    let found = compile(spec.clone(), &install()).expect_err(&spec.to_string());
    assert!(found.len() == 1 && found[0].starts_with(path) && found[0].contains(words), "{path}: {words}: {found:?}");
    assert!(path.is_empty() || found[0][path.len()..].starts_with(": "), "{path}: {found:?}");
    assert!(!found[0].contains("PRIVATE"), "{found:?}");
}

#[test]
fn the_token_needs_a_way_back() {
    let only = |carrier| Install { carriers: Carriers::new(vec![carrier]).unwrap(), ..install() };
    let (header, cookie, field) = (
        good(),
        changed(json!({"header": null, "cookie": "jwt"})),
        changed(json!({"header": null, "bodyField": "jwt"})),
    );
    for (carrier, spec, want) in [
        (Carrier::Bearer, &header, None),
        (Carrier::Bearer, &field, None),
        (Carrier::Bearer, &cookie, Some("at.cookie")),
        (Carrier::Header("x-ticket".into()), &header, None),
        (Carrier::Header("x-ticket".into()), &field, None),
        (Carrier::Header("x-ticket".into()), &cookie, Some("at.cookie")),
        (Carrier::Cookie("ticket".into()), &header, Some("at.header")),
        (Carrier::Cookie("ticket".into()), &field, Some("at.bodyField")),
        (Carrier::Cookie("ticket".into()), &cookie, None),
    ] {
        let found = compile(spec.clone(), &only(carrier.clone())).err().unwrap_or_default();
        match want {
            None => assert!(found.is_empty(), "{carrier:?} {found:?}"),
            Some(path) => {
                assert!(found.len() == 1 && found[0].starts_with(path), "{carrier:?} {found:?}");
                assert!(found[0].contains("`token.carriers`"), "{found:?}");
            }
        }
    }
}
