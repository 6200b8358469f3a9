//! What may be a credential of somebody else: whom it says it is of chooses who judges it, and nothing of ours is among it (P24, P31).
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::authz::credential::ForeignCredential;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let Some(read) = ForeignCredential::read(input) else { return };
    assert_eq!(read.reveal().as_bytes(), input);
    assert!(!input.starts_with(b"ckr_") && input.iter().all(u8::is_ascii_graphic) && !input.is_empty());
    let parts: Vec<&str> = read.reveal().split('.').collect();
    let object = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
    };
    if read.is_jwt() {
        assert_eq!(parts.len(), 3);
        let header = object(parts[0]).expect("a JWT has a header");
        assert!(header["alg"].is_string());
        let typ = header["typ"].as_str().unwrap_or_default().to_ascii_lowercase();
        assert!(typ != "session+jwt" && typ != "application/session+jwt" || parts[0].len() > 2048);
    }
    if let Some(issuer) = read.claimed_issuer() {
        assert!(read.is_jwt());
        assert_eq!(object(parts[1]).expect("it says its issuer")["iss"], issuer);
    }
});
