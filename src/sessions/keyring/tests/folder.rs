use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::sessions::keyring::ceremony::{CeremonyError, Handover};
use crate::sessions::keyring::folder;
use crate::sessions::keyring::{KeyId, MintError};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The whole complaint, as a person reads it.
fn complaint(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

/// Replaces a text in `keyring.yaml`.
fn edit(fixture: &Fixture, from: &str, to: &str) {
    let text = fs::read_to_string(fixture.ring_file()).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(fixture.ring_file(), text.replace(from, to)).unwrap();
}

#[test]
fn what_generate_makes_is_private_and_readable() {
    let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    assert_eq!(mode(&fixture.keys()), 0o700);
    assert_eq!(mode(&fixture.pem()), 0o600);
    assert_eq!(mode(&fixture.ring_file()), 0o600);
    let kid = fixture.open().signing_key("shop", NOW).unwrap();
    assert_eq!(fixture.pem().file_name().unwrap().to_str().unwrap(), format!("{}.pem", kid.0));
    let text = fs::read_to_string(fixture.ring_file()).unwrap();
    let (comment, keys) = text.split_once('\n').unwrap();
    assert!(comment.starts_with("# Written by `cloakroom keys`"));
    assert!(keys.contains("signing: \"2030-01-31T08:00:00Z\"") && !keys.contains("retired"), "{keys}");
    assert!(fs::read_dir(fixture.keys()).unwrap().count() == 2, "no temporary file stays");
}

/// A name, what is broken, and what the complaint must say.
type Fault = (&'static str, fn(&Fixture), &'static [&'static str]);

#[test]
fn p10_p31_a_missing_or_broken_key_means_no_ring() {
    let faults: &[Fault] = &[
        (
            "no folder",
            |it| fs::remove_dir_all(it.keys()).unwrap(),
            &["keys: no key ring here", "cloakroom keys generate"],
        ),
        ("no list", |it| fs::remove_file(it.ring_file()).unwrap(), &["no key ring here", "cloakroom keys generate"]),
        ("no key file", |it| fs::remove_file(it.pem()).unwrap(), &[".pem: cannot read"]),
        ("an empty list", |it| fs::write(it.ring_file(), "keys: []\n").unwrap(), &["keyring.yaml: it lists no key"]),
        ("an empty file", |it| fs::write(it.ring_file(), "").unwrap(), &["keyring.yaml"]),
        ("no YAML", |it| fs::write(it.ring_file(), "keys: [").unwrap(), &["keyring.yaml"]),
        ("an unknown member", |it| edit(it, "algorithm:", "colour: red\n  algorithm:"), &["keyring.yaml", "colour"]),
        ("an unknown algorithm", |it| edit(it, "ES256", "HS256"), &["keyring.yaml", "HS256"]),
        ("none as an algorithm", |it| edit(it, "ES256", "none"), &["keyring.yaml", "none"]),
        ("no time", |it| edit(it, "2030-01-31T08:00:00Z", "soon"), &["`soon` is not a time in RFC 3339"]),
        ("another algorithm", |it| edit(it, "ES256", "ES384"), &[".pem: key ", "not a PKCS#8 key for ES384"]),
        ("an empty key file", |it| fs::write(it.pem(), "").unwrap(), &[".pem: key ", "one `PRIVATE KEY` block"]),
        (
            "half a key file",
            |it| {
                let text = fs::read(it.pem()).unwrap();
                fs::write(it.pem(), &text[..text.len() / 2]).unwrap();
            },
            &[".pem: key ", "one `PRIVATE KEY` block"],
        ),
        (
            "broken base64",
            |it| {
                let text = fs::read_to_string(it.pem()).unwrap();
                fs::write(it.pem(), text.replace("MIG", "M!G")).unwrap();
            },
            &[".pem: key ", "base64"],
        ),
        (
            "a key of OpenSSL's old form",
            |it| fs::write(it.pem(), "-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----").unwrap(),
            &[".pem: key ", "openssl pkcs8 -topk8"],
        ),
        (
            "an encrypted key",
            |it| fs::write(it.pem(), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap(),
            &[".pem: key ", "encrypted"],
        ),
        (
            "another key under its name",
            |it| {
                let other = Fixture::new(SigningAlgorithm::Es256, NOW);
                fs::copy(other.pem(), it.pem()).unwrap();
            },
            &[".pem: key ", "holds another key"],
        ),
        ("a huge key file", |it| fs::write(it.pem(), vec![b'A'; 100_000]).unwrap(), &[".pem: cannot read", "larger"]),
        ("a key that others read", |it| chmod(&it.pem(), 0o644), &[".pem: its mode is 0644", "chmod 600"]),
        ("a key that its group writes", |it| chmod(&it.pem(), 0o660), &[".pem: its mode is 0660", "chmod 600"]),
        ("a list that others write", |it| chmod(&it.ring_file(), 0o602), &["keyring.yaml: its mode is 0602"]),
        ("a folder that others write", |it| chmod(&it.keys(), 0o777), &["keys: its mode is 0777", "chmod 700"]),
        ("a kid that is a path", |it| edit(it, "kid: ", "kid: ../"), &["keyring.yaml: key ../", "thumbprint"]),
        (
            "nothing signs any more",
            |it| {
                edit(it, "signing:", "retired: 2031-01-31T08:00:00Z\n  signing:");
            },
            &["keyring.yaml: key ", "none would sign"],
        ),
        (
            "signs before it is published",
            |it| {
                edit(it, "signing: \"2030-01-31T08", "signing: \"2030-01-31T07");
            },
            &["keyring.yaml: key ", "`published` is later"],
        ),
        (
            "a key listed twice",
            |it| {
                let text = fs::read_to_string(it.ring_file()).unwrap();
                let key = text.split_once("keys:\n").unwrap().1;
                fs::write(it.ring_file(), format!("{text}{key}")).unwrap();
            },
            &["keyring.yaml: key ", "listed twice"],
        ),
    ];
    for (what, damage, wanted) in faults {
        let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
        let ring = fixture.open();
        let key = ring.signing_key("shop", NOW);
        let secret = fs::read_to_string(fixture.pem()).unwrap();
        damage(&fixture);

        let said = complaint(fixture.try_open().err().unwrap_or_else(|| panic!("{what}: opened")));
        for word in *wanted {
            assert!(said.contains(word), "{what}: `{said}` should say `{word}`");
        }
        for line in secret.lines().filter(|line| !line.starts_with('-')) {
            assert!(!said.contains(&line[4..]), "{what}: `{said}` shows the key");
        }
        // A running server keeps its last good keys, whole.
        ring.reload().expect_err(what);
        assert_eq!(ring.signing_key("shop", NOW), key, "{what}");
        assert!(ring.mint_for(&session(NOW), &spec(), NOW).is_ok(), "{what}");
    }
}

#[test]
fn p10_before_its_first_key_signs_a_ring_mints_nothing() {
    let ring = Fixture::new(SigningAlgorithm::Es256, NOW).open();
    let before = Timestamp::from_millis(NOW.as_millis() - 1);
    assert!(matches!(ring.mint_for(&session(before), &spec(), before), Err(MintError::NoKey)));
    assert_eq!(ring.signing_key("shop", before), None);
    assert!(ring.jwks(before).is_none(), "no empty key set either");
}

#[test]
fn a_mounted_secret_can_be_read() {
    let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    // What the kubelet makes with `fsGroup` and `defaultMode: 0440`.
    chmod(&fixture.keys(), 0o1777);
    chmod(&fixture.pem(), 0o440);
    chmod(&fixture.ring_file(), 0o444);
    fixture.open();
}

#[test]
fn the_configuration_must_fit() {
    let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    let second = Duration::from_secs(1);
    let sound = fixture.config();
    for (config, wanted) in [
        (KeyRingConfig { algorithm: SigningAlgorithm::EdDsa, ..sound.clone() }, "keys rotate --algorithm EdDSA"),
        (KeyRingConfig { issuer: "cloakroom".to_owned(), ..sound.clone() }, "jwt.issuer"),
        (KeyRingConfig { issuer: format!("{ISSUER}/"), ..sound.clone() }, "jwt.issuer"),
        (KeyRingConfig { issuer: format!("{ISSUER}?a"), ..sound.clone() }, "jwt.issuer"),
        (KeyRingConfig { issuer: "file:///x".to_owned(), ..sound.clone() }, "jwt.issuer"),
        (KeyRingConfig { lifetime: 61 * second, ..sound.clone() }, "jwt.lifetime"),
        (KeyRingConfig { lifetime: second / 2, ..sound.clone() }, "jwt.lifetime"),
        (KeyRingConfig { lifetime: Duration::ZERO, ..sound }, "jwt.lifetime"),
    ] {
        let said = complaint(KeyRing::open(config).expect_err(wanted));
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn nothing_is_ever_overwritten() {
    let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    let before = fs::read(fixture.ring_file()).unwrap();
    let again = ceremony::generate(&fixture.keys(), SigningAlgorithm::Es256, NOW);
    assert!(matches!(again, Err(CeremonyError::Exists(_))), "{again:?}");
    assert_eq!(fs::read(fixture.ring_file()).unwrap(), before);
    assert_eq!(pem_files(&fixture.keys()).len(), 1);

    let token = fixture.dir.path().join("token.key");
    ceremony::generate_token_key(&token).unwrap();
    let line = fs::read_to_string(&token).unwrap();
    assert_eq!((line.len(), mode(&token)), (44, 0o600), "32 bytes in base64url and a line's end");
    assert!(matches!(ceremony::generate_token_key(&token), Err(CeremonyError::Exists(_))));
    assert_eq!(fs::read_to_string(&token).unwrap(), line);
    assert_eq!(fs::read_dir(fixture.dir.path()).unwrap().count(), 2, "no temporary file stays");
}

#[test]
fn one_ceremony_at_a_time() {
    let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    let folder = fs::File::open(fixture.keys()).unwrap();
    folder.lock().unwrap();
    let busy = ceremony::rotate(&fixture.keys(), None, Handover::Now, NOW);
    assert!(matches!(busy, Err(CeremonyError::Busy(_))), "{busy:?}");
    drop(folder);
    ceremony::rotate(&fixture.keys(), None, Handover::Now, NOW).unwrap();
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let said = complaint(ceremony::generate(&file.join("keys"), SigningAlgorithm::Es256, NOW).unwrap_err());
    assert!(said.contains("file/keys: cannot make the folder"), "{said}");
    let said = complaint(ceremony::rotate(&dir.path().join("none"), None, Handover::Now, NOW).unwrap_err());
    assert!(said.contains("none: no key ring here; make one with"), "{said}");
    let said = complaint(ceremony::generate_token_key(&dir.path().join("none/token.key")).unwrap_err());
    assert!(said.contains("none: cannot write"), "{said}");
    let read_only = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
    let said = complaint(CeremonyError::Io { action: "write", path: "keys".into(), source: read_only });
    assert!(said.starts_with("keys: cannot write (a mounted Secret is made elsewhere"), "{said}");
}

#[test]
fn p10_a_reader_beside_rotations_never_meets_half_a_ring() {
    let fixture = Fixture::new(SigningAlgorithm::EdDsa, NOW);
    let done = AtomicBool::new(false);
    let reads = std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) || reads == 0 {
                folder::load(&fixture.keys()).unwrap();
                reads += 1;
            }
            reads
        });
        // Each rotation comes long after the last, so that each also deletes a key.
        let mut deleted = 0;
        for round in 1..=60 {
            let now = later(NOW, round * 3600);
            deleted += ceremony::rotate(&fixture.keys(), None, Handover::Now, now).unwrap().deleted.len();
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(deleted, 59);
        reader.join().unwrap()
    });
    assert!(reads > 1, "{reads} reads");
    assert_eq!(pem_files(&fixture.keys()).len(), 2);
}

#[tokio::test]
async fn a_running_ring_takes_changes_up_and_survives_bad_ones() {
    let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    let ring = Arc::new(fixture.open());
    let stop = CancellationToken::new();
    let watching = tokio::spawn(Arc::clone(&ring).watch(stop.clone()));
    let first = ring.signing_key("shop", NOW).unwrap();

    fs::write(fixture.ring_file(), "keys: []").unwrap();
    fs::rename(fixture.pem(), fixture.keys().join("away")).unwrap();
    assert_eq!(ring.signing_key("shop", NOW), Some(first.clone()), "the last good keys stay");

    fs::rename(fixture.keys().join("away"), fixture.keys().join(format!("{}.pem", first.0))).unwrap();
    let text =
        "keys:\n- kid: KID\n  algorithm: ES256\n  published: 2030-01-31T08:00:00Z\n  signing: 2030-01-31T08:00:00Z\n";
    fs::write(fixture.ring_file(), text.replace("KID", &first.0)).unwrap();
    let rotated = ceremony::rotate(&fixture.keys(), None, Handover::Now, later(NOW, 10)).unwrap();
    eventually(|| ring.signing_key("shop", later(NOW, 10)) == Some(rotated.key.clone())).await;
    assert_eq!(ring.signing_key("shop", NOW), Some(first), "what was true then is true still");

    stop.cancel();
    watching.await.unwrap();
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come about in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn reload_says_whether_anything_changed() {
    let fixture = Fixture::new(SigningAlgorithm::Es256, NOW);
    let ring = fixture.open();
    assert!(!ring.reload().unwrap());
    let rotated = ceremony::rotate(&fixture.keys(), None, Handover::After(ceremony::MIN_PUBLISH), NOW).unwrap();
    assert!(ring.reload().unwrap());
    assert!(!ring.reload().unwrap());
    let kids = |at| -> Vec<KeyId> { ring.timeline().public(at).map(|key| key.id().clone()).collect() };
    assert!(kids(NOW).contains(&rotated.key));
}
