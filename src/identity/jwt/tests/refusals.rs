//! Each thing that can be wrong with a JWT, alone, in one that is otherwise right.

use aws_lc_rs::hmac;
use serde_json::json;

use super::*;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn check(what: &str, trusted: &TrustedIssuer, jwt: &str, want: JwtRefusal) {
    assert_eq!(verify(trusted, jwt, NOW).err(), Some(want), "{what}");
}

#[test]
fn p24_claims_that_do_not_fit_are_refused() {
    let trusted = trusted(json!({}));
    for (change, want) in [
        (json!({"iss": "https://login.example/"}), JwtRefusal::Issuer),
        (json!({"iss": "https://LOGIN.example"}), JwtRefusal::Issuer),
        (json!({"iss": null}), JwtRefusal::Issuer),
        (json!({"iss": ["https://login.example"]}), JwtRefusal::Issuer),
        (json!({"aud": "orders"}), JwtRefusal::Audience),
        (json!({"aud": "Cloakroom"}), JwtRefusal::Audience),
        (json!({"aud": ["orders", "mail"]}), JwtRefusal::Audience),
        (json!({"aud": []}), JwtRefusal::Audience),
        (json!({"aud": null}), JwtRefusal::Audience),
        (json!({"aud": ["cloakroom", 7]}), JwtRefusal::Audience),
        (json!({"aud": {"cloakroom": true}}), JwtRefusal::Audience),
        (json!({"exp": null}), JwtRefusal::Claim("exp")),
        (json!({"exp": "1900000000"}), JwtRefusal::Claim("exp")),
        (json!({"exp": -1}), JwtRefusal::Claim("exp")),
        (json!({"exp": u64::MAX}), JwtRefusal::Claim("exp")),
        (json!({"exp": 1e300}), JwtRefusal::Claim("exp")),
        (json!({"exp": true}), JwtRefusal::Claim("exp")),
        (json!({"exp": SECS - 3600}), JwtRefusal::Expired),
        (json!({"nbf": SECS + 3600}), JwtRefusal::NotYetValid),
        (json!({"nbf": "now"}), JwtRefusal::Claim("nbf")),
        (json!({"iat": SECS + 3600}), JwtRefusal::NotYetValid),
        (json!({"iat": [SECS]}), JwtRefusal::Claim("iat")),
        (json!({"auth_time": "yesterday"}), JwtRefusal::Claim("auth_time")),
        (json!({"sub": null}), JwtRefusal::Claim("subject")),
        (json!({"sub": 7}), JwtRefusal::Claim("subject")),
        (json!({"sub": ["ada"]}), JwtRefusal::Claim("subject")),
        (json!({"scope": 7}), JwtRefusal::Claim("scopes")),
        (json!({"scope": ["a", 7]}), JwtRefusal::Claim("scopes")),
        (json!({"roles": {"admin": true}}), JwtRefusal::Claim("roles")),
        (json!({"roles": ["admin", false]}), JwtRefusal::Claim("roles")),
        (json!({"acr": 2}), JwtRefusal::Claim("acr")),
        (json!({"amr": "pwd"}), JwtRefusal::Claim("amr")),
        (json!({"sid": 7}), JwtRefusal::Claim("sid")),
        (json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}), JwtRefusal::Type),
    ] {
        check(&change.to_string(), &trusted, &jwt(change.clone()), want);
    }
    for change in [json!({"aud": ["orders", "shop"]}), json!({"aud": "shop"}), json!({"unknown": 7})] {
        assert!(verify(&trusted, &jwt(change.clone()), NOW).is_ok(), "{change}");
    }
}

#[test]
fn p24_headers_that_do_not_fit_are_refused() {
    let trusted = trusted(json!({}));
    for (change, want) in [
        (json!({"alg": "none"}), JwtRefusal::Algorithm),
        (json!({"alg": "None"}), JwtRefusal::Algorithm),
        (json!({"alg": "es256"}), JwtRefusal::Algorithm),
        (json!({"alg": "HS256"}), JwtRefusal::Algorithm),
        (json!({"alg": "ES512"}), JwtRefusal::Algorithm),
        (json!({"alg": ["ES256"]}), JwtRefusal::Algorithm),
        (json!({"alg": null}), JwtRefusal::Algorithm),
        // The key's own type decides, not the header.
        (json!({"alg": "RS256"}), JwtRefusal::UnknownKey),
        (json!({"alg": "ES384"}), JwtRefusal::UnknownKey),
        (json!({"alg": "RS256", "kid": "RS256"}), JwtRefusal::Signature),
        (json!({"alg": "ES384", "kid": "ES384"}), JwtRefusal::Signature),
        (json!({"alg": "EdDSA", "kid": "EdDSA"}), JwtRefusal::Signature),
        (json!({"kid": "another"}), JwtRefusal::UnknownKey),
        (json!({"kid": ""}), JwtRefusal::UnknownKey),
        (json!({"kid": 7}), JwtRefusal::Malformed),
        (json!({"crit": ["exp"]}), JwtRefusal::Critical),
        (json!({"crit": []}), JwtRefusal::Critical),
        (json!({"crit": ["b64"], "b64": false}), JwtRefusal::Critical),
        (json!({"typ": "at+jwt"}), JwtRefusal::Type),
        (json!({"typ": "logout+jwt"}), JwtRefusal::Type),
        (json!({"typ": "dpop+jwt"}), JwtRefusal::Type),
        (json!({"typ": ""}), JwtRefusal::Type),
        (json!({"typ": 7}), JwtRefusal::Malformed),
    ] {
        let jwt = ISSUER.sign(JwtAlgorithm::Es256, change.clone(), &claims(json!({})).to_string());
        check(&change.to_string(), &trusted, &jwt, want);
    }
    // Without `kid` only one key is for ES256, and what else a header may have is nothing to us.
    for change in [
        json!({"kid": null}),
        json!({"typ": "jwt"}),
        json!({"typ": "application/JWT"}),
        json!({"cty": "json", "x5t": "x", "jku": "https://evil.example", "b64": true}),
    ] {
        let jwt = ISSUER.sign(JwtAlgorithm::Es256, change.clone(), &claims(json!({})).to_string());
        assert!(verify(&trusted, &jwt, NOW).is_ok(), "{change}");
    }
}

#[test]
fn p24_a_type_that_the_policy_names_must_be_there() {
    let trusted = trusted(json!({"typ": "at+jwt"}));
    for (typ, want) in [
        (json!("at+jwt"), None),
        (json!("AT+JWT"), None),
        (json!("application/at+jwt"), None),
        (json!("JWT"), Some(JwtRefusal::Type)),
        (json!(null), Some(JwtRefusal::Type)),
        (json!("id+jwt"), Some(JwtRefusal::Type)),
        (json!("text/at+jwt"), Some(JwtRefusal::Type)),
    ] {
        let jwt = ISSUER.sign(JwtAlgorithm::Es256, json!({"typ": typ}), &claims(json!({})).to_string());
        assert_eq!(verify(&trusted, &jwt, NOW).err(), want, "{typ}");
    }
}

#[test]
fn p24_only_the_algorithms_that_the_policy_names_count() {
    let only_pss = trusted(json!({
        "algorithms": ["PS256"],
        "jwks": {"inline": {"keys": [ISSUER.jwks()[3]]}},
    }));
    for algorithm in JwtAlgorithm::ALL {
        let jwt = ISSUER.sign(algorithm, json!({}), &claims(json!({})).to_string());
        let want = (algorithm != JwtAlgorithm::Ps256).then_some(JwtRefusal::Algorithm);
        assert_eq!(verify(&only_pss, &jwt, NOW).err(), want, "{algorithm:?}");
    }
}

#[test]
fn p24_a_public_key_is_no_hmac_secret() {
    let trusted = trusted(json!({}));
    for secret in ISSUER.rsa_public() {
        for (alg, want) in [("HS256", JwtRefusal::Algorithm), ("RS256", JwtRefusal::Signature)] {
            let header = json!({"alg": alg, "kid": "RS256"}).to_string();
            let message = format!("{}.{}", encode(header), encode(claims(json!({})).to_string()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
            check(alg, &trusted, &format!("{message}.{}", encode(tag)), want);
        }
    }
}

#[test]
fn p24_keys_in_a_jwt_are_never_followed() {
    let trusted = trusted(json!({}));
    let attacker = Issuer::new();
    let key = &attacker.jwks()[0];
    for (change, want) in [
        (json!({}), JwtRefusal::Signature),
        (json!({"kid": null}), JwtRefusal::Signature),
        (json!({"jwk": key}), JwtRefusal::Signature),
        (json!({"jwk": key, "kid": "attacker"}), JwtRefusal::UnknownKey),
        (json!({"jku": "https://evil.example/jwks.json", "kid": "attacker"}), JwtRefusal::UnknownKey),
        (json!({"x5u": "https://evil.example/cert.pem", "kid": null}), JwtRefusal::Signature),
        (json!({"x5c": ["MIIB"], "kid": null}), JwtRefusal::Signature),
    ] {
        let jwt = attacker.sign(JwtAlgorithm::Es256, change.clone(), &claims(json!({})).to_string());
        check(&change.to_string(), &trusted, &jwt, want);
    }
}

#[test]
fn p24_what_is_not_a_jwt_is_refused() {
    let trusted = trusted(json!({}));
    let good = jwt(json!({}));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let signed = |header: &str, payload: &str| ISSUER.sign_as(JwtAlgorithm::Es256, header, payload);
    let usual = r#"{"alg":"ES256","kid":"ES256"}"#;
    let none = format!("{}.{payload}.", encode(r#"{"alg":"none"}"#));
    let all = claims(json!({})).to_string();
    let twice = |member: &str| all.replacen('{', &format!("{{{member},"), 1);
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    for (what, jwt, want) in [
        ("empty", String::new(), JwtRefusal::Malformed),
        ("dots", "..".to_owned(), JwtRefusal::Malformed),
        ("one part", header.to_owned(), JwtRefusal::Malformed),
        ("two parts", message.to_owned(), JwtRefusal::Malformed),
        ("four parts", format!("{good}.{signature}"), JwtRefusal::Malformed),
        ("five parts, encrypted", format!("{header}.a.a.a.a"), JwtRefusal::Malformed),
        ("no signature", format!("{message}."), JwtRefusal::Signature),
        ("unsigned", none, JwtRefusal::Algorithm),
        ("padded", format!("{good}=="), JwtRefusal::Malformed),
        ("a blank behind", format!("{good} "), JwtRefusal::Malformed),
        ("a line behind", format!("{good}\n"), JwtRefusal::Malformed),
        ("bearer before", format!("Bearer {good}"), JwtRefusal::Malformed),
        ("base64", good.replace(header, &format!("+{header}")), JwtRefusal::Malformed),
        ("not ASCII", format!("{good}é"), JwtRefusal::Malformed),
        ("header is no JSON", signed("ES256", &all), JwtRefusal::Malformed),
        ("header is a list", signed("[]", &all), JwtRefusal::Malformed),
        ("header and more", signed(&format!("{usual}{usual}"), &all), JwtRefusal::Malformed),
        ("alg twice", signed(r#"{"alg":"none","alg":"ES256"}"#, &all), JwtRefusal::Malformed),
        ("alg twice, spelled apart", signed(r#"{"\u0061lg":"none","alg":"ES256"}"#, &all), JwtRefusal::Malformed),
        ("claims are no object", signed(usual, r#""ada""#), JwtRefusal::Malformed),
        ("claims are no JSON", signed(usual, "ada"), JwtRefusal::Malformed),
        ("claims and more", signed(usual, &format!("{all} x")), JwtRefusal::Malformed),
        ("sub twice", signed(usual, &twice(r#""sub":"bob""#)), JwtRefusal::Malformed),
        ("sub twice, alike", signed(usual, &twice(r#""sub":"ada""#)), JwtRefusal::Malformed),
        ("any name twice", signed(usual, &twice(r#""x":1,"x":1"#)), JwtRefusal::Malformed),
        ("too deep", signed(usual, &deep), JwtRefusal::Malformed),
        ("a nested JWT", signed(usual, &good), JwtRefusal::Malformed),
    ] {
        check(what, &trusted, &jwt, want);
    }
}

#[test]
fn p24_what_was_not_signed_is_refused() {
    let trusted = trusted(json!({}));
    let good = jwt(json!({}));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let payload = encode(claims(json!({"sub": "bob"})).to_string());
    check("other claims", &trusted, &format!("{header}.{payload}.{signature}"), JwtRefusal::Signature);

    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let zeros = encode([0; 64]);
    check("all zero (CVE-2022-21449)", &trusted, &format!("{message}.{zeros}"), JwtRefusal::Signature);
    check("cut", &trusted, &format!("{message}.{}", encode(&bytes[..63])), JwtRefusal::Signature);
    check("longer", &trusted, &format!("{message}.{}", encode([&bytes[..], &[0]].concat())), JwtRefusal::Signature);
    // RFC 7518 §3.4 wants both numbers alone, not the DER of X.509.
    let half = |number: &[u8]| [&[0x02, 33, 0][..], number].concat();
    let der = [&[0x30, 70][..], &half(&bytes[..32]), &half(&bytes[32..])].concat();
    check("DER", &trusted, &format!("{message}.{}", encode(der)), JwtRefusal::Signature);
}

#[test]
fn p32_a_jwt_has_at_most_16_kib() {
    let trusted = trusted(json!({}));
    let of_length = |length: usize| {
        let payload = |fill| jwt(json!({"fill": "a".repeat(fill)}));
        (0..length * 3 / 4).rev().map(payload).find(|jwt| jwt.len() <= length).unwrap()
    };
    let longest = of_length(MAX_BYTES);
    assert!(longest.len() > MAX_BYTES - 4);
    assert!(verify(&trusted, &longest, NOW).is_ok());
    let longer = jwt(json!({"fill": "a".repeat(MAX_BYTES)}));
    check("far over", &trusted, &longer, JwtRefusal::TooLarge);
    check("one byte over", &trusted, &"a".repeat(MAX_BYTES + 1), JwtRefusal::TooLarge);
    check("not over", &trusted, &"a".repeat(MAX_BYTES), JwtRefusal::Malformed);
}

#[test]
fn claims_that_grow_over_the_bound_are_refused() {
    // A number is written in its own form again: `1e15` as `1000000000000000.0`.
    let numbers = format!("[{}1]", "1e15,".repeat(2000));
    let payload = claims(json!({})).to_string().replacen('{', &format!(r#"{{"keep":{numbers},"#), 1);
    let jwt = ISSUER.sign(JwtAlgorithm::Es256, json!({}), &payload);
    assert!(jwt.len() < MAX_BYTES);
    check("grown", &trusted(json!({"claims": {"keep": ["keep"]}})), &jwt, JwtRefusal::Claim("claims"));
    assert!(verify(&trusted(json!({})), &jwt, NOW).is_ok());
}

#[test]
fn each_is_told_in_words_of_its_own() {
    let all = [
        JwtRefusal::TooLarge,
        JwtRefusal::Malformed,
        JwtRefusal::Critical,
        JwtRefusal::Algorithm,
        JwtRefusal::Type,
        JwtRefusal::UnknownKey,
        JwtRefusal::Signature,
        JwtRefusal::Issuer,
        JwtRefusal::Audience,
        JwtRefusal::Expired,
        JwtRefusal::NotYetValid,
        JwtRefusal::Claim("exp"),
    ];
    let words: std::collections::BTreeSet<_> = all.map(|refusal| refusal.to_string()).into_iter().collect();
    assert_eq!(words.len(), all.len());
}
