//! The readings of a path: whatever a server makes of it, we have judged it (P3).
#![no_main]

use std::collections::HashSet;

use cloakroom::authz::attributes::path::{MAX_LEN, fold_case, parse_pattern};
use cloakroom::authz::attributes::{RawRequest, RequestAttributes};
use cloakroom_fuzz::servers::served;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|target: &[u8]| {
    pattern(target);
    let raw = RawRequest { method: b"GET", host: b"shop.example", path: target, ..RawRequest::default() };
    let Ok(request) = RequestAttributes::read(raw) else { return };
    let path = &request.path;
    assert!(target.starts_with(path.as_sent()) && path.as_sent().len() <= MAX_LEN);
    assert!((1..=64).contains(&path.readings().len()));
    assert_eq!(path.decoded(), &*path.readings()[0]);

    let mut distinct = HashSet::new();
    for reading in path.readings() {
        let text = std::str::from_utf8(reading).expect("UTF-8");
        assert!(text.starts_with('/') && !text.contains('\\') && !text.chars().any(char::is_control), "{text:?}");
        assert!(text.split('/').all(|it| !matches!(it.trim(), "." | "..")), "{text:?} has a dot segment");
        assert!(distinct.insert(reading), "{text:?} comes twice");
        assert!(path.has_capitals() || fold_case(reading) == &reading[..], "{text:?} has capitals");
    }
    // What stays encoded may be spelt in either case.
    let known: HashSet<String> =
        path.readings().iter().map(|it| String::from_utf8_lossy(it).to_ascii_lowercase()).collect();
    let sent = std::str::from_utf8(path.as_sent()).expect("a path is ASCII");
    for seen in served(sent) {
        assert!(known.contains(&seen.to_ascii_lowercase()), "{sent:?} is served as {seen:?}, not among {known:?}");
    }
});

/// The path that a rule writes: read or refused, and what is read matches the request that writes it alike.
fn pattern(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(decoded) = parse_pattern(text) else { return };
    let raw = RawRequest { method: b"GET", host: b"shop.example", path: text.as_bytes(), ..RawRequest::default() };
    if let Ok(request) = RequestAttributes::read(raw) {
        assert_eq!(request.path.decoded(), decoded.as_bytes());
    }
}
