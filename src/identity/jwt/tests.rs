mod keys;
mod refusals;

use std::sync::LazyLock;

use serde_json::json;

use self::keys::Issuer;
use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
const SECS: i64 = 1_800_000_000;

static ISSUER: LazyLock<Issuer> = LazyLock::new(Issuer::new);

/// What a rule trusts: every key of the issuer for every algorithm, `change` merged over it (RFC 7396).
fn trusted(change: Value) -> TrustedIssuer {
    let mut spec = json!({
        "header": "x-login-jwt", "issuer": "https://login.example", "audiences": ["cloakroom", "shop"],
        "algorithms": JwtAlgorithm::ALL, "jwks": {"inline": {"keys": ISSUER.jwks()}},
    });
    json_patch::merge(&mut spec, &change);
    TrustedIssuer::of(spec)
}

fn claims(change: Value) -> Value {
    let mut claims = json!({
        "iss": "https://login.example", "aud": "cloakroom", "sub": "ada",
        "iat": SECS, "nbf": SECS, "exp": SECS + 300,
    });
    json_patch::merge(&mut claims, &change);
    claims
}

/// Signed by ES256, with `change` merged over the usual claims.
fn jwt(change: Value) -> String {
    ISSUER.sign(JwtAlgorithm::Es256, json!({}), &claims(change).to_string())
}

#[test]
fn a_jwt_of_each_algorithm_is_verified() {
    let trusted = trusted(json!({}));
    for algorithm in JwtAlgorithm::ALL {
        let jwt = ISSUER.sign(algorithm, json!({}), &claims(json!({})).to_string());
        let identity = verify(&trusted, &jwt, NOW).unwrap();
        assert_eq!(identity.subject, "ada");
        assert_eq!(identity.auth_time, Some(Timestamp::from_millis(0)), "it does not say");
        assert_eq!(identity.provider, Some(Provider { iss: "https://login.example".to_owned(), sid: None }));
        let rest = (identity.acr, identity.amr.len(), identity.scopes.len(), identity.roles.len(), identity.device);
        assert_eq!(rest, (None, 0, 0, 0, None));
        assert_eq!(identity.claims.as_json(), "{}");
    }
}

#[test]
fn what_openssl_signs_is_verified() {
    let made: Value = serde_json::from_str(include_str!("tests/by_openssl.json")).unwrap();
    let trusted = trusted(json!({"jwks": {"inline": {"keys": made["keys"]}}}));
    for algorithm in JwtAlgorithm::ALL {
        let jwt = made["jwts"][algorithm.name()].as_str().unwrap();
        let identity = verify(&trusted, jwt, NOW).unwrap();
        assert_eq!((identity.subject.as_str(), identity.scopes), ("ada", texts(&["orders:read", "orders:write"])));
    }
}

#[test]
fn claims_mean_what_the_policy_says() {
    let trusted = trusted(json!({"claims": {
        "subject": "email", "scopes": "scp", "roles": "https://login.example/roles", "keep": ["tenant", "cart", "none"],
    }}));
    let jwt = jwt(json!({
        "email": "ada@example", "scp": ["orders:read", "orders:write"], "https://login.example/roles": ["admin", "buyer"],
        "tenant": {"id": 7}, "cart": [1, "two"], "other": true, "scope": "ignored", "roles": ["ignored"],
        "acr": "urn:mfa", "amr": ["pwd", "otp"], "auth_time": SECS - 60, "sid": "their-session",
    }));
    let identity = verify(&trusted, &jwt, NOW).unwrap();
    assert_eq!(identity.subject, "ada@example");
    assert_eq!(identity.scopes, ["orders:read", "orders:write"]);
    assert_eq!(identity.roles, ["admin", "buyer"]);
    assert_eq!((identity.acr.as_deref(), identity.amr), (Some("urn:mfa"), vec!["pwd".to_owned(), "otp".to_owned()]));
    assert_eq!(identity.auth_time, Some(Timestamp::from_millis((SECS - 60) * 1000)));
    assert_eq!(identity.provider.unwrap().sid.as_deref(), Some("their-session"));
    assert_eq!(Value::Object(identity.claims.to_object()), json!({"tenant": {"id": 7}, "cart": [1, "two"]}));
}

#[test]
fn lists_may_be_texts() {
    let trusted = trusted(json!({}));
    for (change, scopes, roles) in [
        (json!({"scope": "a b", "roles": "one role"}), vec!["a", "b"], vec!["one role"]),
        (json!({"scope": " a  b ", "roles": []}), vec!["a", "b"], vec![]),
        (json!({"scope": "", "roles": ["r"]}), vec![], vec!["r"]),
        (json!({"scope": ["a", "b"]}), vec!["a", "b"], vec![]),
    ] {
        let identity = verify(&trusted, &jwt(change.clone()), NOW).unwrap();
        assert_eq!((identity.scopes, identity.roles), (texts(&scopes), texts(&roles)), "{change}");
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|it| (*it).to_owned()).collect()
}

#[test]
fn times_have_a_leeway_of_thirty_seconds() {
    let trusted = trusted(json!({}));
    for (change, want) in [
        (json!({"exp": SECS + 1}), Ok(())),
        (json!({"exp": SECS - 29}), Ok(())),
        (json!({"exp": f64::from(1_800_000_000 - 29) - 0.25}), Ok(())),
        (json!({"exp": f64::from(1_800_000_000 - 29) - 0.5}), Err(JwtRefusal::Expired)),
        (json!({"exp": SECS - 30}), Err(JwtRefusal::Expired)),
        (json!({"exp": 0}), Err(JwtRefusal::Expired)),
        (json!({"nbf": SECS + 30}), Ok(())),
        (json!({"nbf": SECS + 31}), Err(JwtRefusal::NotYetValid)),
        (json!({"iat": SECS + 30}), Ok(())),
        (json!({"iat": SECS + 31}), Err(JwtRefusal::NotYetValid)),
        (json!({"iat": f64::from(1_800_000_000) + 30.75}), Err(JwtRefusal::NotYetValid)),
        (json!({"auth_time": SECS + 31}), Err(JwtRefusal::NotYetValid)),
        (json!({"iat": null, "nbf": null}), Ok(())),
    ] {
        assert_eq!(verify(&trusted, &jwt(change.clone()), NOW).map(|_| ()), want, "{change}");
    }
}

#[test]
fn p23_a_clock_ahead_of_ours_makes_no_log_in_younger() {
    for (change, want) in [
        (json!({"auth_time": SECS + 20}), Some(NOW)),
        (json!({"auth_time": 1}), Some(Timestamp::from_millis(1000))),
        (json!({"auth_time": 1.5}), Some(Timestamp::from_millis(1500))),
    ] {
        assert_eq!(verify(&trusted(json!({})), &jwt(change.clone()), NOW).unwrap().auth_time, want, "{change}");
    }
}

/// Whoever holds a refresh token gets a new JWT without proving anything.
#[test]
fn p24_a_new_jwt_is_no_new_proof_of_who_somebody_is() {
    let long_ago = Some(Timestamp::from_millis(0));
    let issued = trusted(json!({"claims": {"authTime": "iat"}}));
    for (trusted, change, want) in [
        (&trusted(json!({})), json!({}), long_ago),
        (&trusted(json!({})), json!({"auth_time": SECS - 7}), Some(Timestamp::from_millis((SECS - 7) * 1000))),
        (&issued, json!({}), Some(Timestamp::from_millis(SECS * 1000))),
        (&issued, json!({"iat": SECS + 20}), Some(NOW)),
        (&issued, json!({"iat": null}), long_ago),
    ] {
        assert_eq!(verify(trusted, &jwt(change.clone()), NOW).unwrap().auth_time, want, "{change}");
    }
}

#[test]
fn p31_nothing_of_a_jwt_is_shown() {
    let trusted = trusted(json!({"claims": {"keep": ["email"]}}));
    let jwt = jwt(json!({"email": "ada@private.example"}));
    let identity = format!("{:?}", verify(&trusted, &jwt, NOW).unwrap());
    let (message, signature) = jwt.rsplit_once('.').unwrap();
    let refusal = verify(&trusted, message, NOW).unwrap_err();
    let shown = format!("{identity} {refusal:?} {refusal} {trusted:?}");
    for secret in [&jwt, message, signature, "ada@private.example"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Every letter of a JWT counts: each of its parts has one spelling, and all of it is signed.
    fn flipped(jwt: &str, at: usize, bit: u8) -> Option<String> {
        let mut bytes = jwt.as_bytes().to_vec();
        bytes[at] ^= 1 << bit;
        String::from_utf8(bytes).ok()
    }

    #[test]
    fn p24_a_jwt_with_any_bit_flipped_is_refused() {
        let trusted = trusted(json!({}));
        for algorithm in JwtAlgorithm::ALL {
            let jwt = ISSUER.sign(algorithm, json!({"typ": "JWT"}), &claims(json!({})).to_string());
            assert!(verify(&trusted, &jwt, NOW).is_ok());
            for at in 0..jwt.len() {
                for flipped in (0..8).filter_map(|bit| flipped(&jwt, at, bit)) {
                    assert!(verify(&trusted, &flipped, NOW).is_err(), "{algorithm:?} {flipped}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn p24_no_other_text_is_a_jwt_of_the_issuer(
            header in "[ -~]{0,40}", payload in "[ -~]{0,80}", signature in proptest::collection::vec(any::<u8>(), 0..100),
            whole in ".{0,200}",
        ) {
            let trusted = trusted(json!({}));
            let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
            let alike = format!("{}.{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()), encode(&signature));
            let header = json!({"alg": "ES256", "kid": "ES256"}).to_string();
            let forged = format!("{}.{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()), encode(&signature));
            prop_assert!(verify(&trusted, &whole, NOW).is_err());
            prop_assert!(verify(&trusted, &alike, NOW).is_err());
            prop_assert_eq!(verify(&trusted, &forged, NOW).err(), Some(JwtRefusal::Signature));
        }

        #[test]
        fn any_claims_are_an_identity_or_a_refusal(name in "[a-z_]{1,12}", value in json_value()) {
            let mut all = claims(json!({}));
            for name in ["aud", "exp", "iat", "nbf", "auth_time", "sub", "scope", "roles", "acr", "amr", "sid", &name] {
                let mut changed = all.clone();
                changed[name] = value.clone();
                let jwt = ISSUER.sign(JwtAlgorithm::EdDsa, json!({}), &changed.to_string());
                if let Ok(identity) = verify(&trusted(json!({})), &jwt, NOW) {
                    prop_assert!(identity.auth_time.is_none_or(|it| it <= NOW));
                    prop_assert!(!identity.subject.is_empty() || changed["sub"] == "");
                }
            }
            all["iss"] = value;
            let jwt = ISSUER.sign(JwtAlgorithm::EdDsa, json!({}), &all.to_string());
            prop_assert_eq!(verify(&trusted(json!({})), &jwt, NOW).err(), Some(JwtRefusal::Issuer));
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{1,3}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
