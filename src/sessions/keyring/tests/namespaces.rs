//! A ring for each namespace: whose key signs, and whom it speaks for.

use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use zeroize::Zeroizing;

use super::*;
use crate::sessions::keyring::MintError;
use crate::sessions::keyring::bundle::{KeyBundle, Schedule};
use crate::sessions::keyring::ceremony::Handover;
use crate::sessions::keyring::folder;
use crate::sessions::keyring::key::{self, SigningKey};
use crate::sessions::keyring::namespaces::{INDEX, flat};

/// Folders `shop` and `pay` with a key each.
fn folders() -> (TempDir, KeyRing) {
    let dir = TempDir::new().unwrap();
    for namespace in ["shop", "pay"] {
        ceremony::generate(&dir.path().join(namespace), SigningAlgorithm::Es256, NOW).unwrap();
    }
    let ring = KeyRing::open(config(dir.path())).unwrap();
    (dir, ring)
}

fn config(dir: &Path) -> KeyRingConfig {
    KeyRingConfig {
        dir: dir.to_owned(),
        issuer: ISSUER.to_owned(),
        algorithm: SigningAlgorithm::Es256,
        lifetime: Duration::from_secs(60),
        max_bytes: 6 * 1024,
    }
}

fn spec_of(namespace: &str) -> MintSpec {
    MintSpec { namespace: namespace.into(), ..spec() }
}

fn rule_of(namespaces: &[&str]) -> SessionJwtRule {
    SessionJwtRule { namespaces: namespaces.iter().map(|&it| it.to_owned()).collect(), ..rule() }
}

#[test]
fn p27_each_namespace_signs_with_its_own_key_and_others_with_none() {
    let (_dir, ring) = folders();
    let session = session(NOW);
    let shop = ring.mint_for(&session, &spec_of("shop"), NOW).unwrap();
    let pay = ring.mint_for(&session, &spec_of("pay"), NOW).unwrap();
    assert_ne!(shop.key, pay.key);
    assert_eq!(ring.signing_key("shop", NOW), Some(shop.key.clone()));
    assert!(matches!(ring.mint_for(&session, &spec_of("other"), NOW), Err(MintError::NoKey)));
    assert!(ring.signing_key("other", NOW).is_none());
    assert!(ring.can_sign(NOW) && ring.is_by_namespace());
    let set = |namespace: &str| String::from_utf8(ring.jwks_of(namespace, NOW).unwrap().body.to_vec()).unwrap();
    assert!(set("shop").contains(&*shop.key.0) && !set("shop").contains(&*pay.key.0));
    assert!(ring.jwks_of("other", NOW).is_none() && ring.jwks(NOW).is_none());
}

#[test]
fn p27_a_key_speaks_for_its_own_namespace_alone() {
    let (dir, ring) = folders();
    let session = session(NOW);
    let jwt = ring.mint_for(&session, &spec_of("shop"), NOW).unwrap().jwt;
    assert_eq!(ring.verify(&jwt, &rule_of(&["shop"]), NOW), Some(session.id));
    assert_eq!(ring.verify(&jwt, &rule_of(&["pay", "shop"]), NOW), Some(session.id));
    assert_eq!(ring.verify(&jwt, &rule_of(&["pay"]), NOW), None);

    // Pay's key signs what claims to be shop's: as a pod of pay could that has taken its key.
    let forger = KeyRing::open(config(&dir.path().join("pay"))).unwrap();
    let forged = forger.mint_for(&session, &spec_of("shop"), NOW).unwrap().jwt;
    for namespaces in [&["shop"][..], &["pay"], &["shop", "pay"], &["pay", "shop"]] {
        assert_eq!(ring.verify(&forged, &rule_of(namespaces), NOW), None, "{namespaces:?}");
    }
}

#[test]
fn p27_broken_keys_of_one_namespace_are_its_own_trouble() {
    let (dir, ring) = folders();
    let before = ring.signing_key("shop", NOW);
    fs::write(dir.path().join("shop").join(RING_FILE), "keys: 7").unwrap();
    ceremony::generate(&dir.path().join("new"), SigningAlgorithm::Es256, NOW).unwrap();
    let error = ring.reload().unwrap_err().to_string();
    assert!(error.contains("shop/keyring.yaml"), "{error}");
    assert_eq!(ring.signing_key("shop", NOW), before, "the last good ones stay");
    assert!(ring.signing_key("new", NOW).is_some(), "and others are taken up");
    // A start leaves that namespace without a key, and no other.
    let fresh = KeyRing::open(config(dir.path())).unwrap();
    assert!(fresh.signing_key("shop", NOW).is_none() && fresh.signing_key("pay", NOW).is_some());
    fs::remove_dir_all(dir.path().join("pay")).unwrap();
    assert!(ring.reload().is_err());
    assert!(ring.signing_key("pay", NOW).is_none(), "a namespace that is gone has no key");
}

#[test]
fn p10_folders_without_a_good_ring_are_no_key_ring() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("shop")).unwrap();
    let error = KeyRing::open(config(dir.path())).unwrap_err().to_string();
    assert!(error.contains("no key ring here"), "{error}");
    // What is no namespace is not looked into.
    ceremony::generate(&dir.path().join("..data"), SigningAlgorithm::Es256, NOW).unwrap();
    assert!(KeyRing::open(config(dir.path())).is_err());
}

/// A folder in the flat form, as the Secret of a shared gate is mounted, with new keys of these namespaces.
fn flat_folder(namespaces: &[&str]) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(INDEX), namespaces.join("\n")).unwrap();
    for namespace in namespaces {
        write_flat(dir.path(), namespace);
    }
    dir
}

fn write_flat(dir: &Path, namespace: &str) {
    write_flat_bundle(dir, namespace, &KeyBundle::generate(SigningAlgorithm::Es256, NOW).unwrap());
}

fn write_flat_bundle(dir: &Path, namespace: &str, bundle: &KeyBundle) {
    for (name, content) in bundle.files() {
        let path = dir.join(flat(namespace, &name));
        let _ = fs::remove_file(&path);
        fs::write(&path, &*content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    }
}

#[test]
fn p27_the_flat_form_has_a_ring_for_each_namespace() {
    let dir = flat_folder(&["shop", "pay"]);
    fs::write(dir.path().join("No_keyring.yaml"), "no namespace is called so").unwrap();
    let ring = KeyRing::open(config(dir.path())).unwrap();
    let key = |namespace: &str| ring.signing_key(namespace, NOW);
    assert!(ring.is_by_namespace() && ring.is_ready(NOW));
    assert!(key("shop").is_some() && key("pay").is_some() && key("shop") != key("pay") && key("other").is_none());
    let before = key("shop");
    fs::write(dir.path().join("shop_keyring.yaml"), "keys: 7").unwrap();
    write_flat(dir.path(), "new");
    let error = ring.reload().unwrap_err().to_string();
    assert!(error.contains("shop_keyring.yaml"), "{error}");
    assert_eq!(key("shop"), before, "the last good ones stay");
    assert!(key("new").is_some() && key("pay").is_some());
    // Which of two rings counts nobody could tell.
    ceremony::generate(&dir.path().join("pay"), SigningAlgorithm::Es256, NOW).unwrap();
    let fresh = KeyRing::open(config(dir.path())).unwrap();
    assert!(fresh.signing_key("pay", NOW).is_none() && fresh.signing_key("new", NOW).is_some());
}

#[test]
fn p10_the_flat_form_may_be_for_nobody_and_then_nobody_has_a_key() {
    let dir = flat_folder(&[]);
    let ring = KeyRing::open(config(dir.path())).unwrap();
    assert!(ring.is_ready(NOW) && !ring.can_sign(NOW));
    assert!(matches!(ring.mint_for(&session(NOW), &spec_of("shop"), NOW), Err(MintError::NoKey)));
    write_flat(dir.path(), "shop");
    assert!(ring.reload().unwrap());
    assert!(ring.signing_key("shop", NOW).is_some());
    fs::remove_file(dir.path().join("shop_keyring.yaml")).unwrap();
    assert!(ring.reload().unwrap());
    assert!(ring.signing_key("shop", NOW).is_none() && ring.is_ready(NOW));
    // An empty folder that does not say so is no key ring.
    assert!(KeyRing::open(config(TempDir::new().unwrap().path())).is_err());
}

#[test]
fn keys_that_are_given_are_published() {
    let dir = TempDir::new().unwrap();
    let ring = KeyRing::without_keys(config(dir.path())).unwrap();
    assert!(!ring.can_sign(NOW) && ring.jwks_of("shop", NOW).is_none());
    let bundle = KeyBundle::generate(SigningAlgorithm::Es256, NOW).unwrap();
    ring.publish(std::iter::once(("shop", &bundle)));
    assert!(ring.jwks_of("shop", NOW).is_some() && ring.jwks_of("pay", NOW).is_none());
    ring.publish(std::iter::empty());
    assert!(ring.jwks_of("shop", NOW).is_none());
}

/// A ring that signs with a key for `first` for a century, and has one for `then` waiting.
fn mixed_ring(first: SigningAlgorithm, then: SigningAlgorithm) -> KeyBundle {
    let century = Duration::from_secs(100 * 365 * 86_400);
    let schedule = Schedule { every: Duration::from_secs(7200), publish_for: century };
    let first = KeyBundle::generate(first, NOW).unwrap();
    first.kept_up(schedule, then, NOW).unwrap().expect("the next key")
}

#[test]
fn p28_no_namespace_chooses_what_the_signatures_of_a_shared_gate_cost() {
    let dir = flat_folder(&["shop", "pay"]);
    let ring = KeyRing::open(config(dir.path())).unwrap();
    let good = ring.signing_key("pay", NOW);
    for other in [SigningAlgorithm::Rs256, SigningAlgorithm::Es384] {
        write_flat_bundle(dir.path(), "pay", &mixed_ring(other, SigningAlgorithm::Es256));
        let error = ring.reload().unwrap_err().to_string();
        let want = format!("it is for {other}, and `jwt.algorithm` of the install is ES256");
        assert!(error.contains("pay_keyring.yaml: key ") && error.contains(&want), "{error}");
        assert_eq!(ring.signing_key("pay", NOW), good, "the last good ones stay");
        // A start has none for it, and the others have theirs (P10).
        let fresh = KeyRing::open(config(dir.path())).unwrap();
        assert!(matches!(fresh.mint_for(&session(NOW), &spec_of("pay"), NOW), Err(MintError::NoKey)));
        assert!(fresh.mint_for(&session(NOW), &spec_of("shop"), NOW).is_ok());
    }
}

#[test]
fn p10_keys_that_are_no_slower_take_over_in_a_shared_gate() {
    use SigningAlgorithm::{EdDsa, Es256, Es384, Ps256, Rs256};
    for (wanted, first, then) in [
        // `jwt.algorithm` has changed, and keys for it are about to take over, or no controller has made them yet.
        (EdDsa, Es256, EdDsa),
        (Es384, Es256, Es384),
        (Rs256, Ps256, Rs256),
        (Rs256, Es384, Es384),
        // It is about to change: `controller.keys.algorithm` has been told.
        (Rs256, Rs256, Es256),
        (Es384, Es384, EdDsa),
    ] {
        let dir = flat_folder(&[]);
        write_flat_bundle(dir.path(), "pay", &mixed_ring(first, then));
        let ring = KeyRing::open(KeyRingConfig { algorithm: wanted, ..config(dir.path()) }).unwrap();
        let minted = ring.mint_for(&session(NOW), &spec_of("pay"), NOW).unwrap();
        assert!(minted.jwt.len() <= ring.size_of(&session(NOW), &spec_of("pay")), "{wanted} {first}");
        assert_eq!(ring.verify(&minted.jwt, &rule_of(&["pay"]), NOW), Some(session(NOW).id), "{wanted} {first}");
    }
}

#[test]
fn p10_a_gate_that_runs_goes_on_with_keys_for_another_algorithm() {
    let (dir, ring) = folders();
    let shop = dir.path().join("shop");
    let alone = KeyRing::open(config(&shop)).unwrap();
    ceremony::rotate(&shop, Some(SigningAlgorithm::EdDsa), Handover::After(ceremony::MIN_PUBLISH), NOW).unwrap();
    let turn = later(NOW, ceremony::MIN_PUBLISH.as_secs());
    // The next rotation forgets the last key for ES256.
    let next = ceremony::rotate(&shop, None, Handover::After(ceremony::MIN_PUBLISH), later(turn, 3600)).unwrap();
    assert_eq!((next.algorithm, next.deleted.len()), (SigningAlgorithm::EdDsa, 1));
    for ring in [&ring, &alone] {
        assert!(ring.reload().unwrap());
        assert_eq!(ring.signing_key("shop", later(next.signs, 1)), Some(next.key.clone()));
    }
    // One that starts says what is wrong.
    let error = KeyRing::open(config(&shop)).unwrap_err().to_string();
    assert!(error.contains("jwt.algorithm is ES256, and no key in"), "{error}");
}

#[test]
fn p28_an_rsa_key_beside_those_of_others_has_the_usual_length() {
    let name = "Secret pay/cloakroom-keys";
    for (size, want) in [
        (KeySize::Rsa2048, None),
        (KeySize::Rsa3072, None),
        (KeySize::Rsa4096, Some("it has 4096 bits; an RSA key of a namespace has 2048 or 3072")),
    ] {
        let der = Zeroizing::new(KeyPair::generate(size).unwrap().as_der().unwrap().as_ref().to_vec());
        let key = SigningKey::from_pkcs8(SigningAlgorithm::Rs256, &der).unwrap();
        let (pem, kid) = (key::to_pem(&der), key.id().0.to_string());
        let list = format!(
            "keys: [{{kid: {kid}, algorithm: RS256, published: '2030-01-31T08:00:00Z', signing: '2030-01-31T08:00:00Z'}}]"
        );
        let bundle =
            KeyBundle::read(name, |file| Some(if file == RING_FILE { list.as_bytes() } else { pem.as_bytes() }));
        // Alone it may be of 4,096 bits.
        let among = bundle.unwrap().among_others(name, SigningAlgorithm::Rs256).map_err(|error| error.to_string());
        match (&among, want) {
            (Ok(()), None) => {}
            (Err(said), Some(want)) => assert!(said.contains(want), "{said}"),
            _ => panic!("{size:?}: {among:?}"),
        }
    }
    for (bits, is_slow) in [(None, false), (Some(4096), false), (Some(4104), true), (Some(8192), true)] {
        assert_eq!(folder::too_slow(bits).is_some(), is_slow, "{bits:?}");
    }
}

#[test]
fn p27_the_keys_of_one_namespace_do_not_shorten_what_the_sessions_of_others_may_hold() {
    let (dir, ring) = folders();
    let size = ring.size_of(&session(NOW), &spec());
    let made = ring.mint_for(&session(NOW), &spec(), NOW).unwrap();
    assert_eq!(made.jwt.len(), size, "the estimate is exact");
    let dear = dir.path().join("dear");
    ceremony::generate(&dear, SigningAlgorithm::Rs256, NOW).unwrap();
    ceremony::rotate(&dear, Some(SigningAlgorithm::Es256), Handover::After(ceremony::MIN_PUBLISH), NOW).unwrap();
    assert!(ring.reload().unwrap());
    assert!(ring.signing_key("dear", NOW).is_some());
    assert_eq!(ring.size_of(&session(NOW), &spec()), size);
}
