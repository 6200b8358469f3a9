//! The text of access tokens: read or refused, and one token has one spelling (P12).
#![no_main]

use cloakroom::authz::credential::AccessToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Some(token) = AccessToken::parse(text) {
        assert_eq!(token.reveal().as_bytes(), text, "what is read is written alike");
    }
});
