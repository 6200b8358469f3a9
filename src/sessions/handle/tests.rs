use super::*;
use crate::sessions::fixtures::{House, MINUTE, realm};
use crate::sessions::token::TokenKeys;

fn scope() -> ResponseScope {
    let policy = PolicyName { namespace: "policies".into(), name: "shop".into() };
    ResponseScope {
        rule: Arc::new(RuleName { policy, rule: "rules[3]".into() }),
        namespace: "shop".into(),
        realm: realm("realm"),
        fingerprint: Fingerprint([7; 8]),
        session: Some(SessionId::from_bytes([9; 16])),
        cookie: Some("__Host-session".into()),
        dead: false,
        exchanges: false,
        subject: None,
    }
}

fn bytes_of(handle: &str) -> (String, Vec<u8>) {
    let (namespace, text) = handle.split_once('.').unwrap();
    (namespace.to_owned(), URL_SAFE_NO_PAD.decode(text).unwrap())
}

fn handle_of(namespace: &str, bytes: &[u8]) -> String {
    format!("{namespace}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[test]
fn what_was_sealed_is_opened_by_each_replica() {
    let house = House::new();
    let others = house.replica();
    let none = ResponseScope { session: None, cookie: None, ..scope() };
    for scope in [
        scope(),
        none.clone(),
        ResponseScope { dead: true, ..none },
        ResponseScope { dead: true, ..scope() },
        ResponseScope { exchanges: true, ..scope() },
        ResponseScope { subject: Some("ada".into()), ..scope() },
    ] {
        let handle = house.sessions.seal(&scope, house.start).unwrap();
        assert!(handle.starts_with("shop.") && handle.is_ascii() && handle.len() <= MAX_BYTES, "{handle}");
        assert_eq!(others.sessions.open(&handle, house.start).unwrap(), scope);
    }
}

#[test]
fn p31_a_handle_shows_its_namespace_alone_and_no_two_are_equal() {
    let house = House::new();
    let (one, two) = (house.sessions.seal(&scope(), house.start), house.sessions.seal(&scope(), house.start));
    let ((_, one), (_, two)) = (bytes_of(&one.unwrap()), bytes_of(&two.unwrap()));
    assert_ne!(one[1..], two[1..]);
    for within in [&[9; 16][..], &[7; 8], b"rules[3]", b"realm", b"__Host"] {
        assert!(!one.windows(within.len()).any(|window| window == within));
    }
}

#[test]
fn a_handle_opens_for_a_quarter_of_an_hour() {
    let house = House::new();
    let handle = house.sessions.seal(&scope(), house.start).unwrap();
    let life = 15 * MINUTE;
    for (after, want) in [
        (life - std::time::Duration::from_millis(1), Ok(scope())),
        (life, Err(CommandRefusal::ExpiredHandle)),
        (100 * life, Err(CommandRefusal::ExpiredHandle)),
    ] {
        assert_eq!(house.sessions.open(&handle, house.after(after)), want, "{after:?}");
    }
}

#[test]
fn what_is_not_ours_or_not_whole_is_refused() {
    let house = House::new();
    let handle = house.sessions.seal(&scope(), house.start).unwrap().into_string();
    let (namespace, bytes) = bytes_of(&handle);
    let mut later = bytes.clone();
    later[0] = VERSION + 1;
    let mut longer = bytes.clone();
    longer.push(0);
    let strangers = House::new().sessions.seal(&scope(), house.start).unwrap().into_string();
    for (what, wrong) in [
        ("nothing", String::new()),
        ("no dot", handle.replacen('.', "", 1)),
        ("a namespace alone", "shop.".to_owned()),
        ("no namespace", handle_of("", &bytes)),
        ("another namespace", handle_of("bank", &bytes)),
        ("a longer namespace", handle_of("shop2", &bytes)),
        ("no namespace's name", handle_of("Shop", &bytes)),
        ("a namespace that is too long", handle_of(&"s".repeat(64), &bytes)),
        ("a later release's", handle_of(&namespace, &later)),
        ("another install's", strangers),
        ("longer by a byte", handle_of(&namespace, &longer)),
        ("padded", format!("{handle}=")),
        ("with a space", format!("{handle} ")),
        ("two", format!("{handle}.{handle}")),
        ("too long", handle_of(&namespace, &[VERSION; MAX_BYTES])),
        ("not ASCII", format!("{handle}é")),
    ] {
        assert_eq!(house.sessions.open(&wrong, house.start), Err(CommandRefusal::InvalidHandle), "{what}: {wrong}");
    }
    for length in 0..bytes.len() {
        let cut = handle_of(&namespace, &bytes[..length]);
        assert_eq!(house.sessions.open(&cut, house.start), Err(CommandRefusal::InvalidHandle), "{length} bytes");
    }
    assert!(house.sessions.open(&handle, house.start).is_ok(), "only those were wrong");
}

#[test]
fn each_changed_bit_makes_a_handle_invalid() {
    let house = House::new();
    let (namespace, bytes) = bytes_of(&house.sessions.seal(&scope(), house.start).unwrap());
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let refused = house.sessions.open(&handle_of(&namespace, &changed), house.start);
        assert_eq!(refused, Err(CommandRefusal::InvalidHandle), "bit {bit}");
    }
}

#[test]
fn a_handle_outlives_the_rotation_of_the_token_key() {
    let (old, new) = (TokenKeys::generate_line().unwrap(), TokenKeys::generate_line().unwrap());
    let both = format!("{}\n{}", &*new, &*old);
    let [before, during, after] = [&*old, &both, &*new].map(|lines| House::with_token_keys(lines));
    let at = before.start;
    let earlier = before.sessions.seal(&scope(), at).unwrap();
    let later = during.sessions.seal(&scope(), at).unwrap();
    for (house, handle, opens) in [
        (&before, &earlier, true),
        (&during, &earlier, true),
        (&after, &earlier, false),
        (&before, &later, false),
        (&during, &later, true),
        (&after, &later, true),
    ] {
        assert_eq!(house.sessions.open(handle, at).is_ok(), opens);
    }
}

#[test]
fn what_does_not_fit_is_not_sealed() {
    let house = House::new();
    let long = |length: usize| ResponseScope { cookie: Some("c".repeat(length).into()), ..scope() };
    let named = |namespace: &str| ResponseScope { namespace: namespace.into(), ..scope() };
    for (scope, good) in [
        (long(255), true),
        (long(256), false),
        (named(&"n".repeat(63)), true),
        (named(&"n".repeat(64)), false),
        (named("a.b"), false),
        (named(""), false),
    ] {
        let handle = house.sessions.seal(&scope, house.start);
        assert_eq!(handle.is_some(), good, "{scope:?}");
        if let Some(handle) = handle {
            assert_eq!(house.sessions.open(&handle, house.start), Ok(scope));
        }
    }
}

#[test]
fn what_our_key_vouches_for_is_read_whole_all_the_same() {
    let mut plain = Vec::new();
    write(&mut plain, &scope(), Timestamp::from_millis(5)).unwrap();
    assert_eq!(read(&plain, "shop"), Some((Timestamp::from_millis(5), scope())));
    for length in 0..plain.len() {
        assert_eq!(read(&plain[..length], "shop"), None, "{length} bytes");
    }
    let wrong = |at: usize, byte: u8| {
        let mut plain = plain.clone();
        plain[at] = byte;
        read(&plain, "shop")
    };
    assert_eq!(wrong(16, HAS_SESSION | HAS_COOKIE | 32), None, "a flag of later");
    assert_eq!(wrong(16, HAS_COOKIE), None, "the session read as a text");
    let realm_at = plain.windows(5).position(|window| window == b"realm").unwrap();
    assert_eq!(wrong(realm_at, b'R'), None, "no realm's name");
    assert_eq!(wrong(realm_at, 0xff), None, "no UTF-8");
    plain.push(0);
    assert_eq!(read(&plain, "shop"), None, "something behind it");
}

mod properties {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static HOUSE: LazyLock<House> = LazyLock::new(House::new);

    fn any_scope() -> impl Strategy<Value = ResponseScope> {
        let label = || "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
        let policy = (label(), "[a-z0-9.-]{1,253}", ".{1,20}");
        let rest = (
            any::<[u8; 8]>(),
            prop::option::of(any::<[u8; 16]>()),
            prop::option::of("[!-~]{1,80}"),
            any::<[bool; 2]>(),
            prop::option::of(".{1,20}"),
        );
        (policy, label(), label(), rest).prop_map(|((of, name, rule), namespace, realm_name, rest)| {
            let policy = PolicyName { namespace: of.into(), name: name.into() };
            let (fingerprint, session, cookie, [dead, exchanges], subject) = rest;
            ResponseScope {
                rule: Arc::new(RuleName { policy, rule: rule.into() }),
                namespace: namespace.into(),
                realm: realm(&realm_name),
                fingerprint: Fingerprint(fingerprint),
                session: session.map(SessionId::from_bytes),
                cookie: cookie.map(Into::into),
                dead,
                exchanges,
                subject: subject.map(Into::into),
            }
        })
    }

    proptest! {
        #[test]
        fn a_handle_opens_to_what_was_sealed(scope in any_scope(), at in 0_i64..9_999_999_999_999) {
            let at = Timestamp::from_millis(at);
            let handle = HOUSE.sessions.seal(&scope, at).unwrap();
            prop_assert!(handle.len() <= MAX_BYTES / 2 && handle.is_ascii());
            prop_assert_eq!(HOUSE.sessions.open(&handle, at), Ok(scope));
        }

        #[test]
        fn any_text_is_refused(text in "([a-z]{1,5}\\.)?[A-Za-z0-9_-]{0,300}|.{0,50}") {
            prop_assert_eq!(HOUSE.sessions.open(&text, HOUSE.start), Err(CommandRefusal::InvalidHandle));
        }

        #[test]
        fn any_plaintext_is_read_or_refused(plain in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some((expires, scope)) = read(&plain, "shop") {
                let mut again = Vec::new();
                write(&mut again, &scope, expires).unwrap();
                prop_assert_eq!(again, plain);
            }
        }
    }
}

#[test]
fn p27_a_handle_under_the_token_key_alone_is_refused_where_handles_have_a_key() {
    let [ours, theirs] = [(); 2].map(|()| TokenKeys::generate_line().unwrap());
    let forger = House::new();
    let [gate, replica, other] = [&ours, &ours, &theirs].map(|key| forger.with_handles_under(key));
    let handle = gate.sessions.seal(&scope(), gate.start).unwrap();
    assert_eq!(replica.sessions.open(&handle, gate.start), Ok(scope()));
    for from in [&forger, &other] {
        let forged = from.sessions.seal(&scope(), gate.start).unwrap();
        assert_eq!(gate.sessions.open(&forged, gate.start), Err(CommandRefusal::InvalidHandle));
        assert_eq!(from.sessions.open(&handle, gate.start), Err(CommandRefusal::InvalidHandle));
    }
}
