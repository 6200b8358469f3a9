//! The store's records: any bytes are read or refused, and what is read is what would be written (P19).
//!
//! The input is a record's body behind its key; version, kind, key and check are put around it, else no fuzzer gets past them.
#![no_main]

use aws_lc_rs::digest;
use cloakroom::authz::session::SessionId;
use cloakroom::store::record::{Stored, decode, encode, encode_tombstone};
use cloakroom_fuzz::install::realm;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (realm, sid) = (realm(), SessionId::from_bytes([7; 16]));
    let _ = decode(&realm, sid, input);
    let Some((kind, body)) = input.split_first() else { return };

    let name = realm.as_str().as_bytes();
    let mut record = vec![1, *kind, name.len() as u8];
    record.extend_from_slice(name);
    record.extend_from_slice(sid.as_bytes());
    record.extend_from_slice(body);
    let check = digest::digest(&digest::SHA256, &record);
    record.extend_from_slice(&check.as_ref()[..8]);

    match decode(&realm, sid, &record) {
        Ok(Stored::Session(session)) => {
            assert_eq!((&session.realm, session.id), (&realm, sid));
            assert_eq!(encode(&session).expect("it was no larger"), record, "read otherwise than written");
            // What is read is used: neither of these may overflow.
            let _ = (session.ends(), session.claims.to_object(), session.accepts(&session.secret, session.created));
        }
        Ok(Stored::Tombstone { ends }) => assert_eq!(encode_tombstone(&realm, sid, ends), record),
        Err(_) => {}
    }
    assert!(decode(&realm, SessionId::from_bytes([8; 16]), &record).is_err(), "read under another key");
});
