use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::*;
use crate::authz::policy::ClaimPath;
use crate::sessions::keyring::MintError;

/// The payload of a JWT, its signature not looked at.
fn payload(jwt: &[u8]) -> Value {
    let text = std::str::from_utf8(jwt).unwrap();
    jsonwebtoken::dangerous::insecure_decode::<Value>(text).unwrap().claims
}

fn minted(ring: &KeyRing, session: &Session, spec: &MintSpec, now: Timestamp) -> Value {
    payload(&ring.mint_for(session, spec, now).unwrap().jwt)
}

/// The real clock, since jsonwebtoken reads no other.
fn wall() -> Timestamp {
    crate::sessions::clock::Clock::start().now()
}

#[test]
fn every_algorithm_signs_what_jsonwebtoken_verifies() {
    for (algorithm, name) in [
        (SigningAlgorithm::Es256, Algorithm::ES256),
        (SigningAlgorithm::EdDsa, Algorithm::EdDSA),
        (SigningAlgorithm::Rs256, Algorithm::RS256),
        (SigningAlgorithm::Ps256, Algorithm::PS256),
        (SigningAlgorithm::Es384, Algorithm::ES384),
    ] {
        let now = wall();
        let ring = Fixture::new(algorithm, now).open();
        let made = ring.mint_for(&session(now), &spec(), now).unwrap();
        let jwt = std::str::from_utf8(&made.jwt).unwrap();

        let header = jsonwebtoken::decode_header(jwt).unwrap();
        assert_eq!(header.alg, name);
        assert_eq!(header.typ.as_deref(), Some("session+jwt"));
        assert_eq!(header.kid.as_deref(), Some(&*made.key.0));

        let set: JwkSet = serde_json::from_slice(&ring.jwks(now).unwrap().body).unwrap();
        let key = DecodingKey::from_jwk(set.find(&made.key.0).unwrap()).unwrap();
        let mut validation = Validation::new(name);
        validation.set_issuer(&["https://cloakroom.example/ns/shop"]);
        validation.set_audience(&["shop/orders"]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Value>(jwt, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], "ada \"the\" first\n", "{algorithm}");

        assert_eq!(ring.verify(&made.jwt, &rule(), now), Some(session(now).id), "{algorithm}");
        assert_eq!(made.jwt.len(), ring.size_of(&session(now), &spec()), "{algorithm}: the estimate is exact");
    }
}

#[test]
fn the_thumbprint_is_that_of_rfc_8037() {
    // RFC 8037 appendix A.1 (the private key) and A.3 (its thumbprint), behind the PKCS#8 prefix of RFC 8410 §7.
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let der = format!("302e020100300506032b657004220420{seed}");
    let der: Vec<u8> = (0..der.len()).step_by(2).map(|at| u8::from_str_radix(&der[at..at + 2], 16).unwrap()).collect();
    let key = crate::sessions::keyring::SigningKey::from_pkcs8(SigningAlgorithm::EdDsa, &der).unwrap();
    assert_eq!(&*key.id().0, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn p08_minted_jwts_are_narrow() {
    let ring = Fixture::new(SigningAlgorithm::Es256, NOW).open();
    let mut claims = minted(&ring, &session(NOW), &spec(), NOW);
    let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
    let seconds = NOW.as_secs();
    // The whole payload: what is not here is not told.
    assert_eq!(
        claims,
        json!({
            "iss": "https://cloakroom.example/ns/shop",
            "sub": "ada \"the\" first\n",
            "aud": "shop/orders",
            "sid": "c2l4dGVlbiBieXRlcyBpZA",
            "iat": seconds,
            "nbf": seconds,
            "exp": seconds + 60,
            "auth_time": seconds,
            "acr": "urn:mfa",
            "amr": ["pwd", "otp"],
            "scope": "cart orders",
            "roles": ["admin"],
            "claims": { "tenant": { "id": "t-1", "beta": false }, "tier": "gold", "list": [1, 2] },
        })
    );
    assert_eq!(jti.as_str().unwrap().len(), 22);
    assert_ne!(jti, minted(&ring, &session(NOW), &spec(), NOW)["jti"], "each JWT has an id of its own");
}

#[test]
fn p08_empty_members_are_left_out() {
    let ring = Fixture::new(SigningAlgorithm::Es256, NOW).open();
    let mut bare = session(NOW);
    (bare.acr, bare.amr, bare.scopes, bare.roles, bare.claims) = (None, vec![], vec![], vec![], Claims::empty());
    let claims = minted(&ring, &bare, &spec(), NOW);
    let members: Vec<&String> = claims.as_object().unwrap().keys().collect();
    assert_eq!(members, ["aud", "auth_time", "exp", "iat", "iss", "jti", "nbf", "sid", "sub"]);
}

#[test]
fn p08_no_jwt_outlives_its_session() {
    let ring = Fixture::new(SigningAlgorithm::Es256, NOW).open();
    let half_past = Timestamp::from_millis(NOW.as_millis() + 500);
    for (what, idle_left, absolute_left, now, life) in [
        ("the configured life", 3_600_000, 86_400_000, NOW, Some(60)),
        ("the idle end", 20_000, 86_400_000, NOW, Some(20)),
        ("the absolute end", 3_600_000, 7_000, NOW, Some(7)),
        ("a second that has begun is not given", 3_600_000, 7_999, NOW, Some(7)),
        ("rounded down at both ends", 3_600_000, 86_400_000, half_past, Some(60)),
        ("less than a second left", 3_600_000, 999, NOW, None),
        ("over already", 3_600_000, 0, NOW, None),
    ] {
        let mut session = session(NOW);
        session.idle = Duration::from_millis(idle_left);
        session.absolute_end = Timestamp::from_millis(NOW.as_millis() + absolute_left);
        match (ring.mint_for(&session, &spec(), now), life) {
            (Ok(made), Some(life)) => {
                let claims = payload(&made.jwt);
                let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
                assert_eq!(exp - iat, life, "{what}");
                assert!(exp * 1000 <= session.ends().as_millis(), "{what}");
                assert_eq!(made.fresh_until.as_millis(), iat * 1000 + life * 500, "{what}");
            }
            (Err(MintError::SessionEnding), None) => {}
            (got, want) => panic!("{what}: {got:?} for {want:?}"),
        }
    }
}

#[test]
fn forwarded_claims_are_the_chosen_ones() {
    let ring = Fixture::new(SigningAlgorithm::Es256, NOW).open();
    let claim = |path: &str| ClaimPath::Claim(path.split('.').map(str::to_owned).collect());
    for (path, want) in [
        (ClaimPath::Subject, Some(json!("ada \"the\" first\n"))),
        (ClaimPath::Sid, Some(json!("c2l4dGVlbiBieXRlcyBpZA"))),
        (ClaimPath::Realm, Some(json!("shop"))),
        (ClaimPath::Acr, Some(json!("urn:mfa"))),
        (ClaimPath::Amr, Some(json!(["pwd", "otp"]))),
        (ClaimPath::Scopes, Some(json!(["cart", "orders"]))),
        (ClaimPath::Roles, Some(json!(["admin"]))),
        (claim("tier"), Some(json!("gold"))),
        (claim("tenant.id"), Some(json!("t-1"))),
        (claim("tenant.beta"), Some(json!(false))),
        (claim("tenant"), Some(json!({ "id": "t-1", "beta": false }))),
        (claim("tenant.name"), None),
        (claim("tier.id"), None), // a string has no members
        (claim("list.0"), None),  // nor has a list, by name
        (ClaimPath::Claim(vec![]), None),
    ] {
        let chosen = Arc::new([("as".to_owned(), path.clone())]);
        let spec = MintSpec { claims: ForwardClaims::Chosen(chosen), ..spec() };
        let claims = minted(&ring, &session(NOW), &spec, NOW);
        assert_eq!(claims.get("claims"), want.map(|value| json!({ "as": value })).as_ref(), "{path:?}");
    }
}

#[test]
fn a_jwt_over_the_bound_is_never_made() {
    let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    let size = fixture.open().size_of(&session(NOW), &spec());
    for (max_bytes, fits) in [(size, true), (size - 1, false)] {
        let ring = KeyRing::open(KeyRingConfig { max_bytes, ..fixture.config() }).unwrap();
        match ring.mint_for(&session(NOW), &spec(), NOW) {
            Ok(made) => assert!(fits && made.jwt.len() == size),
            Err(MintError::TooLarge(is, most)) => assert!(!fits && is == size && most == max_bytes),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn p31_neither_jwt_nor_key_is_in_debug_output() {
    for algorithm in SigningAlgorithm::ALL {
        let fixture = Fixture::new(algorithm, NOW);
        let ring = fixture.open();
        let made = ring.mint_for(&session(NOW), &spec(), NOW).unwrap();
        let shown = format!("{made:?} {ring:?} {:#?}", ring.timeline());
        assert!(!shown.contains("eyJ") && !shown.contains("private"), "{shown}");
        for line in fs::read_to_string(fixture.pem()).unwrap().lines().filter(|line| !line.starts_with('-')) {
            assert!(!shown.contains(line), "{shown}");
        }
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![".{0,40}", "\\PC{0,40}", Just("\u{0}\"\\</script>\u{2028}".to_owned())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever a session holds, its JWT says it back, is as long as foretold, and verifies.
        #[test]
        fn what_is_minted_is_read_back(
            subject in text(), roles in prop::collection::vec(text(), 0..4), acr in prop::option::of(text()),
            key in text(), value in text(), millis in 0_i64..1000,
        ) {
            static RING: std::sync::LazyLock<KeyRing> =
                std::sync::LazyLock::new(|| Fixture::new(SigningAlgorithm::EdDsa, NOW).open());
            let now = Timestamp::from_millis(NOW.as_millis() + millis);
            let mut session = session(NOW);
            let claims = json!({ key: value });
            session.claims = Claims::from_object(claims.as_object().unwrap()).unwrap();
            (session.subject, session.roles, session.acr) = (subject, roles, acr);
            let made = RING.mint_for(&session, &spec(), now).unwrap();
            prop_assert_eq!(made.jwt.len(), RING.size_of(&session, &spec()));
            prop_assert_eq!(RING.verify(&made.jwt, &rule(), now), Some(session.id));
            let read = payload(&made.jwt);
            prop_assert_eq!(read["sub"].as_str(), Some(&*session.subject));
            prop_assert_eq!(&read["claims"], &claims);
        }
    }
}
