use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const LINE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

fn realm(name: &str) -> Realm {
    Realm::parse(name).expect("a realm")
}

fn keys() -> TokenKeys {
    TokenKeys::parse(&TokenKeys::generate_line().expect("random")).expect("a key")
}

#[test]
fn key_files_are_read_whole_or_refused() {
    let two = format!("{LINE}\n{LINE}\n");
    let nine = format!("{LINE}\n").repeat(9);
    let padded = format!("{LINE}=\n");
    let spaced = format!("{LINE} \n");
    let blank = format!("{LINE}\n\n{LINE}\n");
    for (text, want) in [
        (LINE, Ok(1)),
        (two.as_str(), Ok(2)),
        ("", Err(KeyTextError::Empty)),
        (&LINE[..42], Err(KeyTextError::Line(1))),
        (padded.as_str(), Err(KeyTextError::Line(1))),
        (spaced.as_str(), Err(KeyTextError::Line(1))),
        (blank.as_str(), Err(KeyTextError::Line(2))),
        (nine.as_str(), Err(KeyTextError::TooMany)),
    ] {
        assert_eq!(TokenKeys::parse(text).map(|keys| keys.keys.len()), want, "{text:?}");
    }
}

#[test]
fn a_key_file_must_be_closed_to_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("token.key");
    let load = || TokenKeys::load(&path).map_err(|error| error.to_string());

    assert!(load().expect_err("no file").contains("cannot be read"));
    fs::write(&path, LINE).expect("written");
    for (mode, good) in [(0o600, true), (0o640, true), (0o440, true), (0o644, false), (0o602, false), (0o620, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        let loaded = load();
        assert_eq!(loaded.is_ok(), good, "{mode:o}");
        if let Err(message) = loaded {
            assert!(message.contains("chmod 600"), "{message}");
            assert!(!message.contains(LINE), "{message}");
        }
    }
}

#[test]
fn the_first_key_tags_and_all_verify() {
    let (old, new) = (TokenKeys::generate_line().expect("random"), TokenKeys::generate_line().expect("random"));
    let before = TokenKeys::parse(&old).expect("a key");
    let both = TokenKeys::parse(&format!("{}\n{}", &*new, &*old)).expect("two keys");
    let after = TokenKeys::parse(&new).expect("a key");
    let shop = realm("shop");
    let sid = new_session_id().expect("random");
    let (earlier, _) = before.mint(&shop, sid).expect("random");
    let (later, _) = both.mint(&shop, sid).expect("random");
    for (keys, token, want) in [
        (&before, &earlier, true),
        (&both, &earlier, true),
        (&after, &earlier, false),
        (&before, &later, false),
        (&both, &later, true),
        (&after, &later, true),
    ] {
        assert_eq!(keys.verify(&shop, token), want);
    }
}

#[test]
fn a_token_of_one_realm_is_invalid_in_every_other() {
    let keys = keys();
    let (token, _) = keys.mint(&realm("shop"), new_session_id().expect("random")).expect("random");
    for (name, want) in [("shop", true), ("sho", false), ("shopp", false), ("bank", false)] {
        assert_eq!(keys.verify(&realm(name), &token), want, "{name}");
    }
}

#[test]
fn p12_secrets_are_random_and_only_their_hash_is_kept() {
    let keys = keys();
    let shop = realm("shop");
    let sid = new_session_id().expect("random");
    let mut seen = HashSet::new();
    for _ in 0..1000 {
        let (token, digest) = keys.mint(&shop, sid).expect("random");
        assert!(seen.insert(*token.secret()), "a secret came twice");
        assert!(secret_digest(token.secret()).matches(&digest));
        assert_ne!(&digest.as_bytes()[..20], token.secret());
    }
    let ids: HashSet<_> = (0..1000).map(|_| new_session_id().expect("random")).collect();
    assert_eq!(ids.len(), 1000);
}

#[test]
fn p32_the_keys_of_handles_are_kept_for_some_namespaces() {
    let keys = keys();
    let first = keys.handle_keys("shop");
    assert!(Arc::ptr_eq(&first, &keys.handle_keys("shop")), "derived once");
    assert!(!Arc::ptr_eq(&first, &keys.handle_keys("bank")));
    for n in 0..2 * MAX_NAMESPACES {
        keys.handle_keys(&format!("namespace-{n}"));
    }
    assert!(keys.handle_keys.len() <= MAX_NAMESPACES);
}

#[test]
fn p31_keys_do_not_show() {
    assert_eq!(format!("{:?}", TokenKeys::parse(LINE).expect("a key")), "TokenKeys(1 redacted)");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_changed_bit_makes_a_token_invalid(
            sid in any::<[u8; 16]>(), secret in any::<[u8; 20]>(), bit in 0_usize..44 * 8,
        ) {
            let keys = TokenKeys::parse(LINE).expect("a key");
            let shop = realm("shop");
            let tag = tag(&keys.keys[0].tags, &shop, SessionId::from_bytes(sid), &secret);
            let mut whole = [0; 44];
            whole[..16].copy_from_slice(&sid);
            whole[16..36].copy_from_slice(&secret);
            whole[36..].copy_from_slice(&tag);
            let token = |whole: &[u8; 44]| AccessToken::from_parts(
                SessionId::from_bytes(whole[..16].try_into().expect("16")),
                Zeroizing::new(whole[16..36].try_into().expect("20")),
                whole[36..].try_into().expect("8"),
            );
            prop_assert!(keys.verify(&shop, &token(&whole)));
            whole[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!keys.verify(&shop, &token(&whole)));
        }

        #[test]
        fn realm_and_sid_never_run_into_each_other(
            short in "[a-z]{1,20}", more in "[a-z]{1,16}", rest in any::<[u8; 16]>(), secret in any::<[u8; 20]>(),
        ) {
            // The same bytes in a row, cut at another place: `shop` + `p…` against `shopp` + `…`.
            let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
            let mut sid = [0; 16];
            sid[..more.len()].copy_from_slice(more.as_bytes());
            sid[more.len()..].copy_from_slice(&rest[more.len()..]);
            let one = tag(&key, &realm(&short), SessionId::from_bytes(sid), &secret);
            let two = tag(&key, &realm(&format!("{short}{more}")), SessionId::from_bytes(rest), &secret);
            prop_assert_ne!(one, two);
        }
    }
}
