//! The body that a JWT is swapped in: what is found is what another reader finds there, and nothing else changes.
//!
//! The input is the body; its first byte chooses how deep the field is, and whether the headers say that it is JSON.
#![no_main]

use bytes::Bytes;
use cloakroom::ext_proc::body::{MAX_BODY, Unreadable, find};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Longer and shorter than what it takes the place of, and in need of escapes.
const NEW: [&str; 3] = ["", "ckr_new", "\"\\\u{1}\u{10ffff} quite a bit longer than most texts that are found"];

fuzz_target!(|input: &[u8]| {
    let [depth, body @ ..] = input else { return };
    let path: Vec<Box<str>> = ["a", "b", "c"].iter().take(1 + usize::from(*depth) % 3).map(|it| (*it).into()).collect();
    let body = Bytes::copy_from_slice(body);
    // A reader that knows nothing of places, and takes the last of members that are there twice: none on the way is.
    let read = |body: &[u8]| serde_json::from_slice::<Value>(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    let pointer: String = path.iter().map(|name| format!("/{name}")).collect();
    let found = match find(&body, &path, *depth >= 128) {
        Err(Unreadable) => return,
        Ok(None) => {
            let text = read(&body).ok().and_then(|it| Some(it.pointer(&pointer)?.as_str()?.to_owned()));
            return assert!(text.is_none_or(|text| text.is_empty()), "it passes, and a text is there");
        }
        Ok(Some(found)) => found,
    };
    assert!(body.len() <= MAX_BODY && !found.text().is_empty());
    let Ok(mut before) = read(&body) else {
        return; // deeper than that reader goes
    };
    assert_eq!(before.pointer(&pointer).and_then(Value::as_str), Some(found.text()));
    for new in NEW {
        let replaced = found.replace(new);
        *before.pointer_mut(&pointer).expect("just seen") = new.into();
        assert_eq!(read(&replaced).expect("still JSON"), before);
        let same_start = body.iter().zip(&replaced).take_while(|(old, new)| old == new).count();
        let same_end = body.iter().rev().zip(replaced.iter().rev()).take_while(|(old, new)| old == new).count();
        let written = Value::from(new).to_string().len();
        assert!(same_start + same_end + written >= replaced.len(), "the bytes around it are others");
    }
});
