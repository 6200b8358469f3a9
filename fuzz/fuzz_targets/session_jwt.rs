//! Session JWTs that a service passes on: none but those we minted, for their audience, within their life (P8, P9).
//!
//! The input is an algorithm's number, a moment's, and an edit of a JWT just minted, since no fuzzer finds a signature: `=` is
//! the JWT itself, `~` with a position, a count and bytes replaces a part of it, and anything else stands for itself.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use cloakroom::authz::attributes::{RawRequest, RequestAttributes};
use cloakroom::authz::credential::AccessToken;
use cloakroom::authz::plan::{Plan, plan, settle};
use cloakroom::authz::policy::SessionJwtRule;
use cloakroom::authz::session::{SessionId, Timestamp};
use cloakroom::authz::verdict::{Decision, Lookup};
use cloakroom::sessions::keyring::KeyRing;
use cloakroom::sessions::keyring::algorithm::SigningAlgorithm;
use cloakroom_fuzz::edit::edited;
use cloakroom_fuzz::install::{NOW, keyring, policies, session_of};
use libfuzzer_sys::fuzz_target;

/// How long a JWT lives, in milliseconds.
const LIFE: i64 = 60_000;
/// When it is presented, after it was minted.
const MOMENTS: [i64; 8] = [0, 1, LIFE - 1, LIFE, -1, i64::MAX, i64::MIN, LIFE / 2];

struct Minted {
    ring: KeyRing,
    jwt: Bytes,
}

static SID: SessionId = SessionId::from_bytes(*b"sixteen bytes id");

/// A ring for each algorithm that a fuzzer can afford, and a JWT of it.
static MINTED: LazyLock<Vec<Minted>> = LazyLock::new(|| {
    let mint = |algorithm| {
        // Older than the JWT: before its key was published, no JWT counts whatever it says.
        let ring = keyring(algorithm, Timestamp::from_millis(NOW.as_millis() - 3_600_000));
        let jwt = mint(&ring);
        Minted { ring, jwt }
    };
    [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa].map(mint).into()
});

/// A JWT for `shop/shop`, minted as the gate does it: no permit, no signature.
fn mint(ring: &KeyRing) -> Bytes {
    let token = AccessToken::from_parts(SID, [1; 20].into(), [2; 8]);
    let bearer = format!("Bearer {}", *token.reveal());
    let raw = RawRequest {
        method: b"GET",
        host: b"shop.example",
        path: b"/api",
        headers: vec![(&b"authorization"[..], bearer.as_bytes())],
        ..RawRequest::default()
    };
    let request = RequestAttributes::read(raw).expect("an ordinary request");
    let Plan::Lookup(pending) = plan(&policies(), &request) else { panic!("a session is asked for") };
    match settle(*pending, &Lookup::Active(Arc::new(session_of(&token, NOW))), NOW) {
        Decision::Permit(permit) => ring.mint(&permit, NOW).expect("a key that signs").jwt,
        other => panic!("{other:?}"),
    }
}

fn rule(audience: &str, namespace: &str) -> SessionJwtRule {
    SessionJwtRule { audiences: [audience.to_owned()].into(), namespaces: [namespace.to_owned()].into() }
}

fuzz_target!(|input: &[u8]| {
    let [which, moment, edit @ ..] = input else { return };
    let which = usize::from(which % 2);
    let Minted { ring, jwt } = &MINTED[which];
    let presented = edited(jwt, edit);
    let later = MOMENTS[usize::from(*moment) % MOMENTS.len()];
    let now = Timestamp::from_millis(NOW.as_millis().saturating_add(later));
    let alive = (0..LIFE).contains(&later);
    let expected = (presented == *jwt && alive).then_some(SID);
    assert_eq!(ring.verify(&presented, &rule("shop/shop", "shop"), now), expected);
    for (audience, namespace) in [("shop/other", "shop"), ("shop/shop", "other"), ("", "")] {
        assert_eq!(ring.verify(&presented, &rule(audience, namespace), now), None);
    }
    let other = &MINTED[1 - which].ring;
    assert_eq!(other.verify(&presented, &rule("shop/shop", "shop"), now), None);
});
