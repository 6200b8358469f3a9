//! Rings in memory, over months.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use zeroize::Zeroizing;

use super::*;
use crate::sessions::keyring::bundle::{KeyBundle, Schedule};
use crate::sessions::keyring::key::{self, SigningKey};
use crate::sessions::keyring::timeline::KeyState;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const SCHEDULE: Schedule =
    Schedule { every: Duration::from_secs(30 * DAY), publish_for: Duration::from_secs(30 * MINUTE) };

fn made() -> KeyBundle {
    KeyBundle::generate(SigningAlgorithm::Es256, NOW).unwrap()
}

fn kept_up(bundle: &KeyBundle, now: Timestamp) -> Option<KeyBundle> {
    bundle.kept_up(SCHEDULE, SigningAlgorithm::Es256, now).unwrap()
}

fn states(bundle: &KeyBundle, now: Timestamp) -> Vec<KeyState> {
    bundle.timeline().keys().iter().map(|(_, times)| times.state(now)).collect()
}

fn ids(bundle: &KeyBundle) -> Vec<String> {
    bundle.timeline().keys().iter().map(|(key, _)| key.id().0.to_string()).collect()
}

/// Through its files and back, as a Secret carries it.
fn read_back(bundle: &KeyBundle) -> KeyBundle {
    let files: Vec<_> = bundle.files().collect();
    KeyBundle::read("Secret shop/cloakroom-keys", |name| {
        files.iter().find(|(known, _)| known == name).map(|(_, content)| content.as_slice())
    })
    .unwrap()
}

#[test]
fn p10_the_next_key_is_known_before_it_signs_and_the_last_one_stays_for_its_jwts() {
    let first = made();
    let due = later(NOW, 30 * DAY - 30 * MINUTE);
    assert_eq!(first.due(SCHEDULE, SigningAlgorithm::Es256), due);
    assert!(kept_up(&first, later(NOW, 30 * DAY - 30 * MINUTE - 1)).is_none(), "a second too early");
    let both = kept_up(&first, due).unwrap();
    assert_eq!(states(&both, due), [KeyState::Signing, KeyState::Published]);
    let turn = later(NOW, 30 * DAY);
    assert_eq!(states(&both, later(turn, 0)), [KeyState::Retired, KeyState::Signing]);
    assert_eq!(states(&both, Timestamp::from_millis(turn.as_millis() - 1)), [KeyState::Signing, KeyState::Published]);
    // A JWT lives for a minute, and verifiers grant another.
    assert!(kept_up(&both, later(turn, 119)).is_none());
    let gone = both.due(SCHEDULE, SigningAlgorithm::Es256);
    assert_eq!(gone, later(turn, 120));
    let second = kept_up(&both, gone).unwrap();
    assert_eq!(ids(&second), ids(&both)[1..]);
    assert_eq!(second.files().count(), 2, "the file of the old key is gone too");
    assert_eq!(second.due(SCHEDULE, SigningAlgorithm::Es256), later(turn, 30 * DAY - 30 * MINUTE));
}

#[test]
fn p10_one_key_signs_at_every_moment_of_a_year() {
    let mut bundle = made();
    let mut seen = ids(&bundle);
    for hour in 1..365 * 24 {
        let now = later(NOW, hour * 60 * MINUTE);
        if let Some(next) = kept_up(&bundle, now) {
            bundle = read_back(&next);
            seen.extend(ids(&bundle));
        }
        let states = states(&bundle, now);
        assert_eq!(states.iter().filter(|it| **it == KeyState::Signing).count(), 1, "{states:?}");
        assert!(bundle.can_sign(now) && states.len() <= 3);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 13);
}

#[test]
fn p10_keys_for_another_algorithm_take_over_at_once_and_in_peace() {
    use SigningAlgorithm::{EdDsa, Es256};
    let first = made();
    let changed = later(NOW, DAY);
    let next = |bundle: &KeyBundle, algorithm, now| bundle.kept_up(SCHEDULE, algorithm, now).unwrap();
    assert_eq!(first.due(SCHEDULE, EdDsa), NOW);
    let both = next(&first, EdDsa, changed).expect("the next key, long before its time");
    let algorithms =
        |bundle: &KeyBundle| bundle.timeline().keys().iter().map(|(key, _)| key.algorithm()).collect::<Vec<_>>();
    assert_eq!(algorithms(&both), [Es256, EdDsa]);
    assert_eq!(states(&both, changed), [KeyState::Signing, KeyState::Published]);
    assert!(next(&both, EdDsa, later(changed, MINUTE)).is_none());
    let turn = later(changed, 30 * MINUTE);
    assert_eq!(states(&both, turn), [KeyState::Retired, KeyState::Signing]);
    assert_eq!(algorithms(&next(&both, EdDsa, later(turn, 120)).unwrap()), [EdDsa]);

    // Who thinks better of it while the key waits: that one signs first, since no key signs that is not known.
    assert!(next(&both, Es256, later(changed, MINUTE)).is_none());
    let back = next(&both, Es256, turn).unwrap();
    assert_eq!(algorithms(&back), [Es256, EdDsa, Es256]);
    assert_eq!(states(&back, turn), [KeyState::Retired, KeyState::Signing, KeyState::Published]);
}

#[test]
fn a_controller_that_was_away_for_long_goes_on_from_there() {
    let first = made();
    let now = later(NOW, 200 * DAY);
    let both = kept_up(&first, now).unwrap();
    assert_eq!(states(&both, now), [KeyState::Signing, KeyState::Published]);
    assert!(kept_up(&both, now).is_none());
}

#[test]
fn what_is_written_is_read_back_the_same_and_shows_nothing() {
    let both = kept_up(&made(), later(NOW, 31 * DAY)).unwrap();
    let again = read_back(&both);
    assert_eq!(ids(&again), ids(&both));
    let same = |one: &KeyBundle, two: &KeyBundle| one.files().collect::<Vec<_>>() == two.files().collect::<Vec<_>>();
    assert!(same(&again, &both));
    assert_eq!(format!("{both:?}"), "KeyBundle(2 keys, redacted)");
    // And by those who read a folder.
    let dir = TempDir::new().unwrap();
    for (name, content) in both.files() {
        let path = dir.path().join(name);
        fs::write(&path, &*content).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let listed = ceremony::list(dir.path(), NOW).unwrap();
    assert_eq!(listed.iter().map(|it| it.key.0.to_string()).collect::<Vec<_>>(), ids(&both));
}

#[test]
fn p10_a_ring_that_is_not_whole_is_none() {
    let bundle = made();
    let files: Vec<_> =
        bundle.files().map(|(name, content)| (name, String::from_utf8(content.to_vec()).unwrap())).collect();
    let (ring, pem) = (&files[0].1, &files[1]);
    let many = format!("keys:\n{}", ring.split_once("keys:\n").unwrap().1.repeat(50));
    for (text, has_pem, words) in [
        (Some(ring.as_str()), false, "there is no"),
        (None, true, "it is not there"),
        (Some("keys: []"), true, "it lists no key"),
        (Some("keys: 7"), true, "Secret shop/cloakroom-keys/keyring.yaml"),
        (Some(many.as_str()), true, "listed twice"),
    ] {
        let error = KeyBundle::read("Secret shop/cloakroom-keys", |name| match name {
            RING_FILE => text.map(str::as_bytes),
            name => (has_pem && name == pem.0).then_some(pem.1.as_bytes()),
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
    }
}

#[test]
fn p27_a_ring_in_the_midst_of_a_rotation_has_room() {
    for algorithm in [SigningAlgorithm::Es384, SigningAlgorithm::Rs256] {
        let mut bundle = KeyBundle::generate(algorithm, NOW).unwrap();
        let often = Schedule { every: Duration::from_secs(7 * MINUTE), publish_for: Duration::from_secs(6 * MINUTE) };
        let turn = later(NOW, 7 * MINUTE);
        for now in [later(NOW, MINUTE), later(turn, MINUTE)] {
            bundle = bundle.kept_up(often, algorithm, now).unwrap().expect("the next key");
        }
        assert_eq!(states(&bundle, later(turn, MINUTE)), [KeyState::Retired, KeyState::Signing, KeyState::Published]);
        assert_eq!(ids(&read_back(&bundle)), ids(&bundle));
    }
}

#[test]
fn p10_a_ring_of_four_long_rsa_keys_has_room() {
    let key = || {
        let der = Zeroizing::new(KeyPair::generate(KeySize::Rsa3072).unwrap().as_der().unwrap().as_ref().to_vec());
        let key = SigningKey::from_pkcs8(SigningAlgorithm::Rs256, &der).unwrap();
        (key.id().0.to_string(), key::to_pem(&der))
    };
    let keys: Vec<_> = (0..4).map(|_| key()).collect();
    let lines = keys.iter().enumerate().map(|(at, (kid, _))| {
        let day = |day: usize| format!("'2030-01-{:02}T08:00:00Z'", day + 1);
        let retired = if at < 3 { format!(", retired: {}", day(at + 1)) } else { String::new() };
        format!("- {{kid: {kid}, algorithm: RS256, published: {0}, signing: {0}{retired}}}\n", day(at))
    });
    let list = format!("keys:\n{}", lines.collect::<String>());
    let file = |name: &str| {
        let pem = || keys.iter().find(|(kid, _)| name.strip_suffix(".pem") == Some(kid)).map(|(_, pem)| pem.as_bytes());
        if name == RING_FILE { Some(list.as_bytes()) } else { pem() }
    };
    assert_eq!(ids(&KeyBundle::read("Secret shop/cloakroom-keys", file).unwrap()).len(), 4);
}

#[test]
fn p27_a_ring_that_was_padded_is_refused() {
    let bundle = made();
    let files: Vec<_> = bundle.files().map(|(name, content)| (name, content.to_vec())).collect();
    let padded = |file: &str, bytes: usize| {
        let files: Vec<(String, Vec<u8>)> = files
            .iter()
            .cloned()
            .map(|(name, mut content)| {
                if name.ends_with(file) {
                    let comment = if file == ".pem" { "\n" } else { "#" };
                    content.extend(comment.repeat(bytes).bytes());
                }
                (name, content)
            })
            .collect();
        let find = |name: &str| files.iter().find(|(known, _)| known == name).map(|(_, content)| content.as_slice());
        KeyBundle::read("Secret shop/cloakroom-keys", find).map(|_| ()).map_err(|error| error.to_string())
    };
    for (file, bytes, want) in [
        (".pem", 3 * 1024, None),
        (".pem", 4 * 1024, Some("over 4096; leave nothing but the key in it")),
        (".yaml", 15 * 1024, None),
        (".yaml", 16 * 1024, Some("over 16384; remove keys that are past `retired`")),
    ] {
        match (padded(file, bytes), want) {
            (Ok(()), None) => {}
            (Err(said), Some(want)) if said.contains(want) => {}
            (read, _) => panic!("{file} {bytes}: {read:?}"),
        }
    }
}
