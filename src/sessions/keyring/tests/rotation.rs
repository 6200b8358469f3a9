use std::collections::BTreeMap;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::JwkSet;

use super::*;
use crate::sessions::keyring::ceremony::{CeremonyError, Handover, Rotated};
use crate::sessions::keyring::timeline::{KeyState, KeyTimes, OVERLAP};

const MINUTE: u64 = 60;
const HALF_HOUR: Handover = Handover::After(Duration::from_secs(30 * MINUTE));

fn rotate(fixture: &Fixture, handover: Handover, at: Timestamp) -> Result<Rotated, CeremonyError> {
    ceremony::rotate(&fixture.keys(), None, handover, at)
}

#[test]
fn a_key_goes_through_its_states_at_its_times() {
    let times = KeyTimes { published: NOW, signing: later(NOW, 30), retired: Some(later(NOW, 90)) };
    let gone = 90 + OVERLAP.as_secs();
    for (millis, state, public) in [
        (-1, KeyState::Waiting, false),
        (0, KeyState::Published, true),
        (29_999, KeyState::Published, true),
        (30_000, KeyState::Signing, true),
        (89_999, KeyState::Signing, true),
        (90_000, KeyState::Retired, true),
        (i64::try_from(gone).unwrap() * 1000 - 1, KeyState::Retired, true),
        (i64::try_from(gone).unwrap() * 1000, KeyState::Gone, false),
    ] {
        let at = Timestamp::from_millis(NOW.as_millis() + millis);
        assert_eq!((times.state(at), times.is_public(at)), (state, public), "{millis} ms");
    }
}

#[test]
fn a_rotation_publishes_hands_over_and_forgets() {
    let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    let first = fixture.open().signing_key("shop", NOW).unwrap();
    let done = rotate(&fixture, HALF_HOUR, later(NOW, 100)).unwrap();
    let handover = 100 + 30 * MINUTE;
    assert_eq!((done.signs, &done.previous), (later(NOW, handover), &first));

    let ring = fixture.open();
    let (old, new) = (first.0.to_string(), done.key.0.to_string());
    for (seconds, signer, published) in [
        (0, &old, vec![&old]),
        (99, &old, vec![&old]),
        (100, &old, vec![&old, &new]),
        (handover - 1, &old, vec![&old, &new]),
        (handover, &new, vec![&old, &new]),
        (handover + OVERLAP.as_secs() - 1, &new, vec![&old, &new]),
        (handover + OVERLAP.as_secs(), &new, vec![&new]),
        (handover + 365 * 86_400, &new, vec![&new]),
    ] {
        let at = later(NOW, seconds);
        assert_eq!(*ring.signing_key("shop", at).unwrap().0, **signer, "{seconds} s");
        let set: JwkSet = serde_json::from_slice(&ring.jwks(at).unwrap().body).unwrap();
        let kids: Vec<_> = set.keys.iter().map(|key| key.common.key_id.clone().unwrap()).collect();
        assert_eq!(kids.iter().collect::<Vec<_>>(), published, "{seconds} s");
    }

    // The next rotation deletes what is over, and only that.
    let next = rotate(&fixture, HALF_HOUR, later(NOW, handover + OVERLAP.as_secs())).unwrap();
    assert_eq!(next.deleted, [first]);
    assert_eq!(pem_files(&fixture.keys()).len(), 2);
    fixture.open();
}

#[test]
fn rotations_do_not_overtake_each_other() {
    let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    let short = Handover::After(Duration::from_secs(5 * MINUTE));
    assert!(matches!(rotate(&fixture, short, NOW), Err(CeremonyError::TooSoon)));
    let waiting = rotate(&fixture, HALF_HOUR, NOW).unwrap();
    let again = rotate(&fixture, HALF_HOUR, later(NOW, MINUTE)).unwrap_err();
    assert!(matches!(&again, CeremonyError::UnderWay(key, _) if *key == waiting.key), "{again}");
    assert!(again.to_string().contains("2030-01-31T08:30:00Z"), "{again}");
    assert_eq!(pem_files(&fixture.keys()).len(), 2, "a refused rotation makes nothing");

    let now = later(NOW, 2 * MINUTE);
    let other = ceremony::rotate(&fixture.keys(), Some(SigningAlgorithm::EdDsa), Handover::Now, now).unwrap_err();
    assert!(other.to_string().contains("is for ES256: let it sign with `--now --algorithm ES256`"), "{other}");

    // In an emergency the waiting key, which services may know already, signs at once.
    let promoted = rotate(&fixture, Handover::Now, now).unwrap();
    assert_eq!((promoted.made, &promoted.key, promoted.signs), (false, &waiting.key, now));
    assert_eq!(fixture.open().signing_key("shop", now), Some(waiting.key));

    // And again within the same second: the order stays plain.
    let fresh = rotate(&fixture, Handover::Now, now).unwrap();
    assert_eq!((fresh.made, fresh.signs), (true, later(now, 1)));
    let ring = fixture.open();
    assert_eq!(ring.signing_key("shop", later(now, 1)), Some(fresh.key));
    assert_eq!(ring.timeline().keys().len(), 3);
}

#[test]
fn an_algorithm_can_be_changed_by_rotation() {
    let mut fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    ceremony::rotate(&fixture.keys(), Some(SigningAlgorithm::EdDsa), HALF_HOUR, NOW).unwrap();
    fixture.open();
    fixture.algorithm = SigningAlgorithm::EdDsa;
    let ring = fixture.open();
    assert_eq!(*ring.jwks(NOW).unwrap().algorithms, [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa]);
    for (at, start) in [(NOW, r#"{"alg":"ES256""#), (later(NOW, 30 * MINUTE), r#"{"alg":"EdDSA""#)] {
        let jwt = ring.mint_for(&session(at), &spec(), at).unwrap().jwt;
        use base64::Engine as _;
        let header = jwt.split(|byte| *byte == b'.').next().unwrap();
        let header = crate::sessions::keyring::URL_SAFE_NO_PAD.decode(header).unwrap();
        assert!(header.starts_with(start.as_bytes()));
        assert!(ring.verify(&jwt, &rule(), at).is_some());
    }
}

/// Days of scheduled rotations, watched by a service that caches the key set for as long as it is allowed to, while the
/// server notices each change of the folder as late as it may.
#[test]
fn p10_rotation_fails_no_service_that_caches_as_documented() {
    const CACHED: u64 = 5 * MINUTE;
    const NOTICED: u64 = 30;
    let fixture = Fixture::new(SigningAlgorithm::EdDsa, NOW);
    let ring = fixture.open();
    let mut sets: BTreeMap<u64, JwkSet> = BTreeMap::new();
    let mut in_flight: Vec<(u64, String)> = Vec::new();
    let mut signers = std::collections::BTreeSet::new();
    let mut checked = 0;
    for seconds in (0..3 * 3600).step_by(15) {
        let now = later(NOW, seconds);
        // A key published for the shortest time allowed, as often as that is possible.
        if seconds % (7 * MINUTE) == 0 {
            rotate(&fixture, Handover::After(ceremony::MIN_PUBLISH), now).unwrap();
        }
        if seconds % (7 * MINUTE) == NOTICED {
            assert!(ring.reload().unwrap());
        }
        sets.insert(seconds, serde_json::from_slice(&ring.jwks(now).unwrap().body).unwrap());
        let made = ring.mint_for(&session(now), &spec(), now).unwrap();
        signers.insert(made.key.0.to_string());
        in_flight.push((seconds, String::from_utf8(made.jwt.to_vec()).unwrap()));
        in_flight.retain(|(minted, _)| seconds < minted + 60);
        for (minted, jwt) in &in_flight {
            assert!(ring.verify(jwt.as_bytes(), &rule(), now).is_some(), "our own check at {seconds} s");
            // The youngest and the oldest set that the service may hold.
            for fetched in [seconds, seconds.saturating_sub(CACHED)] {
                let header = jsonwebtoken::decode_header(jwt).unwrap();
                let key = sets[&fetched].find(header.kid.as_ref().unwrap());
                let key = key.unwrap_or_else(|| panic!("minted at {minted} s, set of {fetched} s, now {seconds} s"));
                let (message, signature) = jwt.rsplit_once('.').unwrap();
                let key = DecodingKey::from_jwk(key).unwrap();
                assert!(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, header.alg).unwrap());
                checked += 1;
            }
        }
    }
    assert!(signers.len() > 20 && checked > 5000, "{} keys, {checked} checks", signers.len());
}

#[test]
fn p10_no_key_set_holds_a_private_member() {
    for algorithm in SigningAlgorithm::ALL {
        let fixture = Fixture::new(algorithm, NOW);
        let set: serde_json::Value = serde_json::from_slice(&fixture.open().jwks(NOW).unwrap().body).unwrap();
        let mut members: Vec<_> = set["keys"][0].as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        let want: &[&str] = match algorithm {
            SigningAlgorithm::Es256 | SigningAlgorithm::Es384 => &["alg", "crv", "kid", "kty", "use", "x", "y"],
            SigningAlgorithm::EdDsa => &["alg", "crv", "kid", "kty", "use", "x"],
            SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256 => &["alg", "e", "kid", "kty", "n", "use"],
        };
        assert_eq!(members, want, "{algorithm}");
        assert_eq!((&set["keys"][0]["use"], &set["keys"][0]["alg"]), (&"sig".into(), &algorithm.name().into()));
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever order and pace rotations come in, one key signs at each moment from the first on, it is published, and
        /// the folder can be read.
        #[test]
        fn p10_one_published_key_signs_at_each_moment(
            steps in prop::collection::vec((0_u64..3000, prop::bool::ANY, 6_u64..60), 1..8),
        ) {
            let fixture = Fixture::new(SigningAlgorithm::EdDsa, NOW);
            let mut at = 0;
            for (pause, emergency, publish_for) in steps {
                at += pause;
                let handover =
                    if emergency { Handover::Now } else { Handover::After(Duration::from_secs(publish_for * MINUTE)) };
                match rotate(&fixture, handover, later(NOW, at)) {
                    Ok(_) | Err(CeremonyError::UnderWay(..)) => {}
                    Err(other) => panic!("{other}"),
                }
                let ring = fixture.open();
                for seconds in (at..at + 4000).step_by(50) {
                    let now = later(NOW, seconds);
                    let signing = ring.signing_key("shop", now).expect("a key signs");
                    prop_assert!(ring.timeline().public(now).any(|key| *key.id() == signing));
                    let many = ring.timeline().keys().iter().filter(|(_, it)| it.state(now) == KeyState::Signing).count();
                    prop_assert_eq!(many, 1);
                }
            }
        }
    }
}
