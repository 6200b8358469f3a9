//! JWTs of somebody else, to be exchanged: none counts but those that the issuer signed, within their life (P24).
//!
//! The input is an algorithm's number and an edit of a JWT that OpenSSL signed, since no fuzzer finds a signature: `=` is the JWT
//! itself, `~` with a position, a count and bytes replaces a part of it, and anything else stands for itself.
#![no_main]

use std::sync::LazyLock;

use cloakroom::authz::policy::exchange::TrustedIssuer;
use cloakroom::authz::session::Timestamp;
use cloakroom::identity::jwt;
use cloakroom_fuzz::edit::edited;
use cloakroom_fuzz::install::{grants, responses};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Within the life of the JWTs.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_100_000);
/// A day after.
const LATER: Timestamp = Timestamp::from_millis(1_800_086_400_000);

static ISSUER: LazyLock<TrustedIssuer> =
    LazyLock::new(|| grants(&responses(), "token").exchange.clone().expect("the rule exchanges").issuer);
static JWTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let made: Value = serde_json::from_str(include_str!("../../src/identity/jwt/tests/by_openssl.json")).expect("JSON");
    let text = |jwt: &Value| jwt.as_str().expect("a JWT").to_owned();
    made["jwts"].as_object().expect("by algorithm").values().map(text).collect()
});

fuzz_target!(|input: &[u8]| {
    let [which, edit @ ..] = input else { return };
    let whole = &JWTS[usize::from(*which) % JWTS.len()];
    let presented = edited(whole.as_bytes(), edit);
    let Ok(presented) = std::str::from_utf8(&presented) else { return };
    match jwt::verify(&ISSUER, presented, NOW) {
        Ok(identity) => {
            assert!(JWTS.iter().any(|jwt| jwt == presented), "not one that was signed");
            assert_eq!(identity.subject, "ada");
        }
        Err(refusal) => assert!(presented != whole, "{refusal}"),
    }
    assert!(jwt::verify(&ISSUER, presented, LATER).is_err());
});
