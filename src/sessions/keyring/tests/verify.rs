use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::sessions::keyring::URL_SAFE_NO_PAD;
use base64::Engine as _;

/// A ring and its private key, so that a test can sign what the ring never would.
struct Forge {
    ring: KeyRing,
    key: EncodingKey,
    kid: String,
    pem: Vec<u8>,
}

impl Forge {
    fn new() -> Self {
        let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
        let pem = fs::read(fixture.pem()).unwrap();
        let ring = fixture.open();
        let kid = ring.signing_key("shop", NOW).unwrap().0.to_string();
        Self { key: EncodingKey::from_ec_pem(&pem).unwrap(), ring, kid, pem }
    }

    /// The header as the ring writes it, then the payload, signed.
    fn sign(&self, claims: &Value) -> String {
        self.sign_as(&format!(r#"{{"alg":"ES256","typ":"session+jwt","kid":"{}"}}"#, self.kid), claims)
    }

    fn sign_as(&self, header: &str, claims: &Value) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }

    fn refuses(&self, what: &str, jwt: &str) {
        assert_eq!(self.ring.verify(jwt.as_bytes(), &rule(), NOW), None, "{what}");
    }
}

fn claims() -> Value {
    let now = NOW.as_secs();
    json!({
        "iss": "https://cloakroom.example/ns/shop", "sub": "ada", "aud": "shop/orders",
        "sid": "c2l4dGVlbiBieXRlcyBpZA", "jti": "x", "iat": now, "nbf": now, "exp": now + 60,
    })
}

fn with(member: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[member] = value.into();
    claims
}

fn without(member: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(member);
    claims
}

#[test]
fn p09_a_jwt_counts_only_where_a_rule_names_it() {
    let forge = Forge::new();
    let now = NOW.as_secs();
    assert!(forge.ring.verify(forge.sign(&claims()).as_bytes(), &rule(), NOW).is_some(), "the sound one");
    for (what, claims) in [
        ("another audience", with("aud", "shop/admin")),
        ("a list of audiences is never ours", with("aud", json!(["shop/orders"]))),
        ("no audience", without("aud")),
        ("another namespace", with("iss", "https://cloakroom.example/ns/bank")),
        ("no namespace", with("iss", "https://cloakroom.example")),
        ("a namespace that begins like ours", with("iss", "https://cloakroom.example/ns/shop2")),
        ("another issuer", with("iss", "https://evil.example/ns/shop")),
        ("an issuer that begins like ours", with("iss", "https://cloakroom.example.evil/ns/shop")),
        ("no issuer", without("iss")),
        ("run out this second", with("exp", now)),
        ("run out long ago", with("exp", now - 1)),
        ("no end", without("exp")),
        ("an end that is no number", with("exp", (now + 60).to_string())),
        ("a fractional end", with("exp", now as f64 + 1.5)),
        ("lives too long", with("exp", now + 61)),
        ("lives for ever", with("exp", i64::MAX)),
        ("begins in the future", with("nbf", now + 1)),
        ("no beginning", without("nbf")),
        ("made in the future", with("iat", now + 1)),
        ("made before time", with("iat", i64::MIN)),
        ("no time of making", without("iat")),
        ("no session", without("sid")),
        ("a session id of another form", with("sid", "c2l4dGVlbiBieXRlcyBpZB")),
        ("no object", json!([1])),
    ] {
        forge.refuses(what, &forge.sign(&claims));
    }
    let nowhere = SessionJwtRule { audiences: Arc::new([]), namespaces: Arc::new([]) };
    assert_eq!(forge.ring.verify(forge.sign(&claims()).as_bytes(), &nowhere, NOW), None, "a rule that names nothing");
}

#[test]
fn p24_a_member_given_twice_is_refused() {
    let forge = Forge::new();
    let twice = claims().to_string().replacen('{', r#"{"aud":"shop/cart","#, 1);
    let header = format!(r#"{{"alg":"ES256","typ":"session+jwt","kid":"{}"}}"#, forge.kid);
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(twice));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &forge.key, Algorithm::ES256).unwrap();
    forge.refuses("two audiences", &format!("{message}.{signature}"));
}

#[test]
fn p24_only_our_own_header_counts() {
    let forge = Forge::new();
    let kid = &forge.kid;
    for (what, header) in [
        ("no type", format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#)),
        ("another type", format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{kid}"}}"#)),
        ("an access token's type", format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#)),
        ("a type in another case", format!(r#"{{"alg":"ES256","typ":"Session+JWT","kid":"{kid}"}}"#)),
        ("no key", r#"{"alg":"ES256","typ":"session+jwt"}"#.to_owned()),
        ("another key", r#"{"alg":"ES256","typ":"session+jwt","kid":"x"}"#.to_owned()),
        ("another algorithm", format!(r#"{{"alg":"ES384","typ":"session+jwt","kid":"{kid}"}}"#)),
        (
            "something critical",
            format!(r#"{{"alg":"ES256","typ":"session+jwt","kid":"{kid}","crit":["b64"],"b64":true}}"#),
        ),
        ("a key of its own", format!(r#"{{"alg":"ES256","typ":"session+jwt","kid":"{kid}","jwk":{{"kty":"EC"}}}}"#)),
        (
            "a key elsewhere",
            format!(r#"{{"alg":"ES256","typ":"session+jwt","kid":"{kid}","jku":"https://evil.example"}}"#),
        ),
        (
            "a certificate",
            format!(r#"{{"alg":"ES256","typ":"session+jwt","kid":"{kid}","x5u":"https://evil.example"}}"#),
        ),
        ("the same in other words", format!(r#"{{"typ":"session+jwt","alg":"ES256","kid":"{kid}"}}"#)),
    ] {
        forge.refuses(what, &forge.sign_as(&header, &claims()));
    }
}

#[test]
fn p24_the_algorithm_is_the_keys_own() {
    let forge = Forge::new();
    let good = forge.sign(&claims());
    let [_, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let headed =
        |alg: &str| URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","typ":"session+jwt","kid":"{}"}}"#, forge.kid));
    for alg in ["none", "None", "NONE", "nOnE"] {
        forge.refuses(alg, &format!("{}.{payload}.", headed(alg)));
        forge.refuses(alg, &format!("{}.{payload}.{signature}", headed(alg)));
    }
    // The classic: the public key, known to all, used as an HMAC secret, in each form that a library might take it for.
    let set = forge.ring.jwks(NOW).unwrap().body;
    let key: Value = serde_json::from_slice::<Value>(&set).unwrap()["keys"][0].clone();
    let point = [b"\x04".to_vec(), unbase64(&key["x"]), unbase64(&key["y"])].concat();
    for secret in [point, set.to_vec(), key.to_string().into_bytes(), forge.pem.clone(), vec![]] {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some("session+jwt".to_owned());
        header.kid = Some(forge.kid.clone());
        let jwt = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
        forge.refuses("HMAC with the public key", &jwt);
        let message = &jwt[..jwt.rfind('.').unwrap()];
        let (_, payload) = message.split_once('.').unwrap();
        let good_header = good.split('.').next().unwrap();
        let message = format!("{good_header}.{payload}");
        let mac = jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(&secret), Algorithm::HS256)
            .unwrap();
        forge.refuses("HMAC under our header", &format!("{message}.{mac}"));
    }
}

fn unbase64(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn p09_another_rings_jwt_is_refused() {
    let (ours, theirs) = (Forge::new(), Forge::new());
    ours.refuses("their key, their kid", &theirs.sign(&claims()));
    let our_header = format!(r#"{{"alg":"ES256","typ":"session+jwt","kid":"{}"}}"#, ours.kid);
    ours.refuses("their key, our kid", &theirs.sign_as(&our_header, &claims()));
}

#[test]
fn a_jwt_over_the_bound_is_not_read() {
    let forge = Forge::new();
    let sound = forge.sign(&with("pad", "x".repeat(3000)));
    assert!(forge.ring.verify(sound.as_bytes(), &rule(), NOW).is_some());
    forge.refuses("too large", &forge.sign(&with("pad", "x".repeat(6000))));
}

#[test]
fn p09_every_single_bit_counts() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        let ring = Fixture::new(algorithm, NOW).open();
        let mut bare = session(NOW);
        bare.claims = Claims::empty();
        let good = ring.mint_for(&bare, &spec(), NOW).unwrap().jwt;
        assert!(ring.verify(&good, &rule(), NOW).is_some());
        for bit in 0..good.len() * 8 {
            let mut flipped = good.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ring.verify(&flipped, &rule(), NOW), None, "{algorithm}: bit {bit}");
        }
        for length in 0..good.len() {
            assert_eq!(ring.verify(&good[..length], &rule(), NOW), None, "{algorithm}: cut to {length}");
        }
        for extra in [".", "=", "A", " ", "\n", ".x", "\0"] {
            let longer = [&good[..], extra.as_bytes()].concat();
            assert_eq!(ring.verify(&longer, &rule(), NOW), None, "{algorithm}: with {extra:?}");
            let longer = [extra.as_bytes(), &good[..]].concat();
            assert_eq!(ring.verify(&longer, &rule(), NOW), None, "{algorithm}: behind {extra:?}");
        }
    }
}

mod properties {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static FORGE: LazyLock<Forge> = LazyLock::new(Forge::new);

    proptest! {
        /// Arbitrary bytes are refused, and nothing panics.
        #[test]
        fn p09_noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..512)) {
            prop_assert_eq!(FORGE.ring.verify(&noise, &rule(), NOW), None);
        }

        /// So is anything behind a header of ours: the part that is compared gives no way in.
        #[test]
        fn p09_noise_behind_our_header_is_refused(noise in "[A-Za-z0-9_.-]{0,200}") {
            let good = FORGE.sign(&claims());
            let header = good.split('.').next().unwrap();
            let jwt = format!("{header}.{noise}");
            prop_assert_eq!(FORGE.ring.verify(jwt.as_bytes(), &rule(), NOW), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A payload that we signed and did not write (a bug of ours) is refused rather than misread, and nothing panics.
        #[test]
        fn p09_signed_nonsense_is_refused(
            iat in any::<i64>(), nbf in any::<i64>(), exp in any::<i64>(), sid in "[A-Za-z0-9_-]{0,24}",
        ) {
            let mut claims = claims();
            claims["iat"] = iat.into();
            claims["nbf"] = nbf.into();
            claims["exp"] = exp.into();
            claims["sid"] = sid.into();
            let now = NOW.as_secs();
            let alive = iat <= now && nbf <= now && now < exp && i128::from(exp) - i128::from(iat) <= 60;
            prop_assert!(alive || FORGE.ring.verify(FORGE.sign(&claims).as_bytes(), &rule(), NOW).is_none());
        }
    }
}
