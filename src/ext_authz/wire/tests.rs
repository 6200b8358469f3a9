//! The lean reading against the full one of `envoy-types`.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::auth::v3 as full;
use prost::Message as _;

use super::*;

/// Whether both read the same out of a message. Later entries of a map count, as in the full reading.
fn same(lean: &CheckRequest<'_>, full: &full::CheckRequest) -> bool {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let map =
        |entries: &[Entry<'_>]| entries.iter().map(|it| (text(it.key), text(it.value))).collect::<HashMap<_, _>>();
    let Some(full) = &full.attributes else { return *lean == CheckRequest::default() };
    if map(&lean.context_extensions) != full.context_extensions {
        return false;
    }
    let full = full.request.as_ref().and_then(|request| request.http.as_ref());
    let (Some(lean), Some(full)) = (&lean.http, full) else { return lean.http.is_none() && full.is_none() };
    let listed = lean.header_map.as_ref().map(|headers| {
        headers.iter().map(|it| (text(it.key), text(it.value), it.raw_value.to_vec())).collect::<Vec<_>>()
    });
    let full_listed = full.header_map.as_ref().map(|map| {
        map.headers.iter().map(|it| (it.key.clone(), it.value.clone(), it.raw_value.clone())).collect::<Vec<_>>()
    });
    [lean.id, lean.method, lean.path, lean.host].map(text)
        == [&full.id, &full.method, &full.path, &full.host].map(String::clone)
        && map(&lean.headers) == full.headers
        && listed == full_listed
}

#[test]
fn p31_no_message_shows_what_it_holds() {
    let entry = Entry { key: b"cookie", value: b"CANARY" };
    let header = HeaderValue { key: b"cookie", value: b"CANARY", raw_value: b"CANARY" };
    let http = HttpRequest { headers: vec![entry], path: b"/CANARY", ..Default::default() };
    let check = CheckRequest { http: Some(http.clone()), context_extensions: vec![entry], ..Default::default() };
    for shown in [format!("{check:?}"), format!("{http:#?}"), format!("{entry:?}"), format!("{header:?}")] {
        assert!(shown.ends_with("(redacted)") && !shown.contains("CANARY"), "{shown}");
    }
}

#[test]
fn a_message_in_pieces_is_merged() {
    // attributes = 1, request = 4, http = 2; method = 2 and path = 4 in one piece each, then the path anew.
    let piece = |tag: u8, text: &[u8]| {
        let field = [&[tag, u8::try_from(text.len()).unwrap()], text].concat();
        let mut message = field;
        for tag in [0x12, 0x22, 0x0a] {
            message = [&[tag, u8::try_from(message.len()).unwrap()][..], &message].concat();
        }
        message
    };
    let message = [piece(0x12, b"GET"), piece(0x22, b"/a"), piece(0x22, b"/b")].concat();
    let check = CheckRequest::read(&message).unwrap();
    let http = check.http.as_ref().unwrap();
    assert_eq!((http.method, http.path), (&b"GET"[..], &b"/b"[..]));
    assert!(same(&check, &full::CheckRequest::decode(message.as_slice()).unwrap()));
}

#[test]
fn a_field_of_another_type_is_no_message() {
    for (message, want) in [
        (&[][..], true),
        (&[0x0a, 0], true),
        (&[0x08, 1], false),                // attributes as a number
        (&[0x10, 1], true),                 // a field that we do not know
        (&[0x13, 0x08, 1, 0x14], true),     // a group that we do not know
        (&[0x13, 0x08, 1], false),          // left open
        (&[0x14], false),                   // closed and never opened
        (&[0x0a, 2, 0x22], false),          // longer than the message
        (&[0x0a, 3, 0x52, 2, 0x0a], false), // longer than what holds it
        (&[0x02, 0], false),                // field 0
        (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], false),
    ] {
        assert_eq!(CheckRequest::read(message).is_ok(), want, "{message:x?}");
        assert_eq!(full::CheckRequest::decode(message).is_ok(), want, "{message:x?}");
    }
}

mod properties {
    use full::attribute_context as context;
    use proptest::collection::{hash_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn map() -> impl Strategy<Value = HashMap<String, String>> {
        hash_map(".{0,12}", ".{0,40}", 0..8)
    }

    fn header() -> impl Strategy<Value = core::HeaderValue> {
        (".{0,12}", ".{0,20}", vec(any::<u8>(), 0..20)).prop_map(|(key, value, raw_value)| core::HeaderValue {
            key,
            value,
            raw_value,
        })
    }

    prop_compose! {
        fn http()(
            texts in vec(".{0,30}", 9),
            headers in map(),
            header_map in option::of(vec(header(), 0..8)),
            size: i64,
            raw_body: Vec<u8>,
        ) -> context::HttpRequest {
            let [id, method, path, host, scheme, query, fragment, protocol, body] =
                texts.try_into().expect("there are nine");
            let header_map = header_map.map(|headers| core::HeaderMap { headers });
            context::HttpRequest {
                id, method, headers, header_map, path, host, scheme, query, fragment, size, protocol, body, raw_body,
            }
        }
    }

    fn peer() -> impl Strategy<Value = context::Peer> {
        (map(), ".{0,30}", ".{0,30}").prop_map(|(labels, principal, certificate)| context::Peer {
            labels,
            principal,
            certificate,
            ..Default::default()
        })
    }

    prop_compose! {
        fn check()(
            source in option::of(peer()),
            destination in option::of(peer()),
            http in option::weighted(0.9, http()),
            context_extensions in map(),
            sni in option::of(".{0,20}"),
        ) -> full::CheckRequest {
            full::CheckRequest {
                attributes: Some(full::AttributeContext {
                    source,
                    destination,
                    request: Some(context::Request { time: None, http }),
                    context_extensions,
                    tls_session: sni.map(|sni| context::TlsSession { sni }),
                    ..Default::default()
                }),
            }
        }
    }

    proptest! {
        #[test]
        fn the_lean_reading_sees_what_the_full_one_sees(check in check()) {
            let message = check.encode_to_vec();
            prop_assert!(CheckRequest::read(&message).is_ok_and(|lean| same(&lean, &check)));
        }

        /// What the full reading takes, the lean one takes and reads alike: also after bytes went astray.
        #[test]
        fn the_lean_reading_refuses_nothing_else(
            check in check(),
            flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in option::weighted(0.2, any::<prop::sample::Index>()),
        ) {
            let mut bytes = check.encode_to_vec();
            for (at, value) in flips {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            if let Ok(full) = full::CheckRequest::decode(bytes.as_slice()) {
                let lean = CheckRequest::read(&bytes);
                prop_assert!(lean.is_ok_and(|lean| same(&lean, &full)));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let full = full::CheckRequest::decode(bytes.as_slice());
            let lean = CheckRequest::read(&bytes);
            if let Ok(full) = full {
                prop_assert!(lean.is_ok_and(|lean| same(&lean, &full)));
            }
        }
    }
}
