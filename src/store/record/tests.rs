use super::*;
use crate::store::fixtures::{Made, realm, session, sid};

fn read(made: &Session, bytes: &[u8]) -> Result<Stored, DecodeError> {
    decode(&made.realm, made.id, bytes)
}

/// The same bytes with a check that fits: what someone who may write to the store would plant.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - CHECK_BYTES);
    let check = check_of(&bytes);
    bytes.extend_from_slice(&check);
    bytes
}

#[test]
fn a_tombstone_comes_back() {
    let bytes = encode_tombstone(&realm("shop"), sid(7), Timestamp::from_millis(-5));
    let stored = decode(&realm("shop"), sid(7), &bytes);
    assert!(matches!(stored, Ok(Stored::Tombstone { ends }) if ends == Timestamp::from_millis(-5)), "{stored:?}");
}

#[test]
fn p19_a_record_under_another_key_is_refused() {
    let made = session(1, "ada");
    let bytes = encode(&made).unwrap();
    assert_eq!(decode(&realm("other"), made.id, &bytes).unwrap_err(), DecodeError::OtherKey);
    assert_eq!(decode(&made.realm, sid(2), &bytes).unwrap_err(), DecodeError::OtherKey);
    let tombstone = encode_tombstone(&made.realm, made.id, made.absolute_end);
    assert_eq!(decode(&realm("other"), made.id, &tombstone).unwrap_err(), DecodeError::OtherKey);
}

#[test]
fn every_cut_is_refused() {
    let made = session(1, "ada");
    let bytes = encode(&made).unwrap();
    for length in 0..bytes.len() {
        assert!(read(&made, &bytes[..length]).is_err(), "{length} of {} bytes were read", bytes.len());
        if length > CHECK_BYTES {
            assert!(read(&made, &resealed(bytes[..length].to_vec())).is_err(), "{length} resealed bytes were read");
        }
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(read(&made, &longer).unwrap_err(), DecodeError::Damaged);
    let longer = resealed([&bytes[..bytes.len() - CHECK_BYTES], &[0], &[0; CHECK_BYTES]].concat());
    assert_eq!(read(&made, &longer).unwrap_err(), DecodeError::Field("length"));
}

#[test]
fn every_flipped_bit_is_found() {
    let made = session(1, "ada");
    let bytes = encode(&made).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&made, &flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn other_versions_are_named() {
    let made = session(1, "ada");
    let mut bytes = encode(&made).unwrap();
    bytes[0] = 2;
    let error = read(&made, &resealed(bytes)).unwrap_err();
    assert_eq!(error.to_string(), "record version 2 is not 1, the one this release reads");
}

#[test]
fn planted_values_are_refused() {
    let made = session(1, "ada");
    let swap = |from: &str, to: &str| {
        let bytes = encode(&made).unwrap();
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut bytes = bytes;
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        read(&made, &resealed(bytes)).map(|_| ())
    };
    let text = r#"{"cart":["apple"]}"#;
    assert_eq!(swap(text, r#"{"cart":["apple"]]"#), Err(DecodeError::Field("claims")));
    assert_eq!(swap(text, r#"["cart",["apple"]]"#), Err(DecodeError::Field("claims")));
    assert_eq!(swap(text, r#"{"cart":["apple"]}"#), Ok(()));
    // One number has one spelling: 0x80 0x00 is no zero.
    assert!(Reader(&[0x80, 0x00]).number("n").is_err());
    assert!(Reader(&[0xff; 10]).number("n").is_err());
    let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(Reader(&most).number("n"), Ok(u64::MAX));
}

#[test]
fn a_record_has_a_largest_size() {
    let mut made = session(1, "ada");
    made.roles = vec!["r".repeat(1000); 60];
    let bytes = encode(&made).unwrap();
    assert!(read(&made, &bytes).is_ok());
    made.roles = vec!["r".repeat(1000); 70];
    assert!(matches!(encode(&made), Err(TooLarge(size)) if size > MAX_BYTES));
    assert_eq!(read(&made, &[VERSION; MAX_BYTES + 1]).unwrap_err(), DecodeError::Length(MAX_BYTES + 1));
}

#[test]
fn p31_errors_show_no_content() {
    let made = session(1, "ada-lovelace");
    let bytes = encode(&made).unwrap();
    for cut in CHECK_BYTES + 1..bytes.len() {
        let error = read(&made, &resealed(bytes[..cut].to_vec())).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("ada-lovelace"));
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(Made(made) in any::<Made>()) {
            let bytes = encode(&made).unwrap();
            let Ok(Stored::Session(back)) = read(&made, &bytes) else { panic!("not read") };
            // `last_seen` is kept elsewhere; all other fields, the secrets among them, are in the bytes.
            prop_assert_eq!(encode(&back).unwrap(), bytes);
            let back = Session { last_seen: made.last_seen, ..*back };
            prop_assert_eq!(format!("{back:?}"), format!("{made:?}"));
            prop_assert!(back.secret.matches(&made.secret));
            let digests = (back.previous.map(|it| it.digest), made.previous.map(|it| it.digest));
            prop_assert!(matches!(digests, (None, None)) || matches!(digests, (Some(a), Some(b)) if a.matches(&b)));
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(read(&session(1, "ada"), &bytes).is_err());
        }

        /// With a fitting check: the reader behind it is total too, and what it reads is written the same way.
        #[test]
        fn any_resealed_change_is_answered(
            Made(made) in any::<Made>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = encode(&made).unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len() - CHECK_BYTES);
                bytes[at] = byte;
            }
            let bytes = resealed(bytes);
            match read(&made, &bytes) {
                Ok(Stored::Session(back)) => prop_assert_eq!(encode(&back).unwrap(), bytes),
                Ok(Stored::Tombstone { ends }) => {
                    prop_assert_eq!(encode_tombstone(&made.realm, made.id, ends), bytes);
                }
                Err(_) => {}
            }
        }

        #[test]
        fn any_body_is_answered(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let made = session(1, "ada");
            let mut out = Writer::new(KIND_SESSION, &made.realm, made.id);
            out.raw(&body);
            let bytes = out.finish();
            if let Ok(Stored::Session(back)) = read(&made, &bytes) {
                prop_assert_eq!(encode(&back).unwrap(), bytes);
            }
        }
    }
}
