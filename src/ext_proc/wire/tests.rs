//! Our reading and our writing against the full types of `envoy-types`.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::ext_proc::v3 as full;
use envoy_types::pb::google::protobuf as google;
use full::processing_request::Request;

use super::*;

/// What we read of a full message: all else taken out of it.
fn read_of(full: &full::ProcessingRequest) -> full::ProcessingRequest {
    let mut read = full::ProcessingRequest {
        request: full.request.clone(),
        metadata_context: full.metadata_context.clone(),
        observability_mode: full.observability_mode,
        protocol_config: full.protocol_config.map(|config| full::ProtocolConfiguration {
            response_body_mode: config.response_body_mode,
            ..Default::default()
        }),
        ..Default::default()
    };
    match &mut read.request {
        Some(Request::RequestHeaders(headers) | Request::ResponseHeaders(headers)) => headers.attributes.clear(),
        Some(Request::RequestBody(body) | Request::ResponseBody(body)) => {
            body.end_of_stream_without_message = false;
            body.grpc_message_compressed = false;
            body.drain_complete = false;
        }
        _ => {}
    }
    if let Some(metadata) = &mut read.metadata_context {
        metadata.typed_filter_metadata.clear();
        for value in metadata.filter_metadata.values_mut().flat_map(|it| it.fields.values_mut()) {
            if !matches!(value.kind, Some(google::value::Kind::StringValue(_))) {
                value.kind = None;
            }
        }
    }
    read
}

#[test]
fn p31_no_message_shows_what_it_holds() {
    let canary = Bytes::from_static(b"CANARY");
    let header = HeaderValue { key: "set-cookie".into(), raw_value: canary.clone(), ..Default::default() };
    let headers = HttpHeaders { headers: Some(HeaderMap { headers: vec![header.clone()] }), end_of_stream: true };
    let body = HttpBody { body: canary.clone(), end_of_stream: true };
    let set = HeaderValueOption { header: Some(header.clone()), ..Default::default() };
    let mutation = HeaderMutation { set_headers: vec![set.clone()], remove_headers: vec![canary.clone()] };
    let immediate = ImmediateResponse { body: canary.clone(), ..Default::default() };
    let request = ProcessingRequest { phase: Some(Phase::ResponseHeaders(headers.clone())), ..Default::default() };
    for shown in [
        format!("{request:?}"),
        format!("{:?}", request.phase),
        format!("{headers:#?}"),
        format!("{body:?}"),
        format!("{header:?}"),
        format!("{set:?}"),
        format!("{mutation:?}"),
        format!("{immediate:?}"),
        format!("{:?}", BodyMutation { body: Some(canary.clone()) }),
        format!("{:?}", Value { string_value: Some(canary.clone()) }),
        format!("{:?}", Answer::ImmediateResponse(immediate.clone())),
    ] {
        assert!(shown.contains("(redacted)") && !shown.contains("CANARY"), "{shown}");
    }
}

#[test]
fn a_text_of_the_metadata_is_found_or_it_is_not_there() {
    let field = |key: &'static str, value: Option<&'static str>| Field {
        key: key.into(),
        value: Some(Value { string_value: value.map(Into::into) }),
    };
    let filter = |key: &'static str, fields| FilterMetadata { key: key.into(), value: Some(Struct { fields }) };
    for (filter_metadata, want) in [
        (vec![filter("f", vec![field("k", Some("v"))])], Some("v")),
        (
            vec![filter("g", vec![field("k", Some("no"))]), filter("f", vec![field("j", None), field("k", Some("v"))])],
            Some("v"),
        ),
        (vec![filter("g", vec![field("k", Some("v"))])], None),
        (vec![filter("f", vec![field("k", None)])], None),
        (vec![FilterMetadata { key: "f".into(), value: None }], None),
        (vec![filter("f", vec![field("k", Some("v")), field("k", Some("w"))])], None),
        (vec![filter("f", vec![field("k", Some("v"))]), filter("f", vec![])], None),
        (vec![], None),
    ] {
        let metadata = Metadata { filter_metadata };
        assert_eq!(metadata.text("f", "k").map(|it| &**it), want.map(str::as_bytes));
    }
}

mod properties {
    use proptest::collection::{hash_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..20)
    }

    prop_compose! {
        fn header()(key in ".{0,12}", value in ".{0,12}", raw_value in bytes()) -> core::HeaderValue {
            core::HeaderValue { key, value, raw_value }
        }
    }

    fn headers() -> impl Strategy<Value = Option<core::HeaderMap>> {
        option::of(vec(header(), 0..6).prop_map(|headers| core::HeaderMap { headers }))
    }

    fn value() -> impl Strategy<Value = google::Value> {
        use google::value::Kind;
        let kind = prop_oneof![
            ".{0,12}".prop_map(Kind::StringValue),
            any::<bool>().prop_map(Kind::BoolValue),
            (-1e9..1e9).prop_map(Kind::NumberValue),
            Just(Kind::NullValue(0)),
            Just(Kind::ListValue(google::ListValue {
                values: vec![google::Value { kind: Some(Kind::BoolValue(true)) }]
            })),
        ];
        option::of(kind).prop_map(|kind| google::Value { kind })
    }

    fn metadata() -> impl Strategy<Value = core::Metadata> {
        let fields = hash_map(".{0,8}", value(), 0..4).prop_map(|fields| google::Struct { fields });
        hash_map(".{0,8}", fields, 0..4)
            .prop_map(|filter_metadata| core::Metadata { filter_metadata, ..Default::default() })
    }

    fn request() -> impl Strategy<Value = Request> {
        let http = (headers(), any::<bool>()).prop_map(|(headers, end_of_stream)| full::HttpHeaders {
            headers,
            end_of_stream,
            ..Default::default()
        });
        let body = (bytes(), any::<[bool; 3]>()).prop_map(|(body, flags)| full::HttpBody {
            body,
            end_of_stream: flags[0],
            grpc_message_compressed: flags[1],
            drain_complete: flags[2],
            ..Default::default()
        });
        (0..6, http, body, headers()).prop_map(|(kind, http, body, trailers)| match kind {
            0 => Request::RequestHeaders(http),
            1 => Request::ResponseHeaders(http),
            2 => Request::RequestBody(body),
            3 => Request::ResponseBody(body),
            4 => Request::RequestTrailers(full::HttpTrailers { trailers }),
            _ => Request::ResponseTrailers(full::HttpTrailers { trailers }),
        })
    }

    prop_compose! {
        fn message()(
            request in option::weighted(0.9, request()),
            metadata_context in option::of(metadata()),
            attributes in hash_map(".{0,8}", Just(google::Struct::default()), 0..2),
            observability_mode: bool,
            modes in option::of((0..5, 0..5)),
        ) -> full::ProcessingRequest {
            let protocol_config = modes.map(|(request_body_mode, response_body_mode)| full::ProtocolConfiguration {
                request_body_mode, response_body_mode, send_body_without_waiting_for_header_response: true,
            });
            full::ProcessingRequest {
                request, metadata_context, attributes, observability_mode, protocol_config, ..Default::default()
            }
        }
    }

    prop_compose! {
        fn mutation()(
            set in vec((header(), option::of(any::<bool>()), prop_oneof![Just(0), Just(2)]), 0..4),
            remove in vec(".{0,12}", 0..4),
        ) -> HeaderMutation {
            let set_headers = set.into_iter().map(|(header, append, append_action)| HeaderValueOption {
                header: Some(HeaderValue {
                    key: header.key.into(), value: header.value.into(), raw_value: header.raw_value.into(),
                }),
                append: append.map(|value| BoolValue { value }),
                append_action,
            });
            HeaderMutation { set_headers: set_headers.collect(), remove_headers: remove.into_iter().map(Into::into).collect() }
        }
    }

    fn answer() -> impl Strategy<Value = Answer> {
        (0..7, option::of(mutation()), option::of(bytes()), 200..600_i32, option::of(0..17_u32), ".{0,12}").prop_map(
            |(kind, header_mutation, body, code, grpc, details)| {
                let bytes = body.map(Bytes::from);
                let trailers = TrailersResponse { header_mutation: header_mutation.clone() };
                let immediate = ImmediateResponse {
                    status: Some(HttpStatus { code }),
                    headers: header_mutation.clone(),
                    body: bytes.clone().unwrap_or_default(),
                    grpc_status: grpc.map(|status| GrpcStatus { status }),
                    details: details.into(),
                };
                let body_mutation = bytes.map(|body| BodyMutation { body: Some(body) });
                let common = CommonAnswer { response: Some(CommonResponse { header_mutation, body_mutation }) };
                match kind {
                    0 => Answer::RequestHeaders(common),
                    1 => Answer::ResponseHeaders(common),
                    2 => Answer::RequestBody(common),
                    3 => Answer::ResponseBody(common),
                    4 => Answer::RequestTrailers(trailers),
                    5 => Answer::ResponseTrailers(trailers),
                    _ => Answer::ImmediateResponse(immediate),
                }
            },
        )
    }

    proptest! {
        /// What we have read, written again, is the message without what we do not read.
        #[test]
        fn our_reading_sees_what_the_full_one_sees(message in message()) {
            let ours = ProcessingRequest::decode(Bytes::from(message.encode_to_vec())).unwrap();
            let again = full::ProcessingRequest::decode(Bytes::from(ours.encode_to_vec())).unwrap();
            prop_assert_eq!(again, read_of(&message));
        }

        #[test]
        fn our_reading_refuses_nothing_else(
            message in message(),
            flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in option::weighted(0.2, any::<prop::sample::Index>()),
        ) {
            let mut bytes = message.encode_to_vec();
            for (at, value) in flips {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            if full::ProcessingRequest::decode(bytes.as_slice()).is_ok() {
                prop_assert!(ProcessingRequest::decode(Bytes::from(bytes)).is_ok());
            }
        }

        /// The full reading of what we write loses nothing and finds nothing else: written again, it is the same to us.
        #[test]
        fn the_full_reading_sees_what_we_say(answer in answer()) {
            let ours = ProcessingResponse { answer: Some(answer) };
            let full = full::ProcessingResponse::decode(Bytes::from(ours.encode_to_vec())).unwrap();
            prop_assert!(full.response.is_some());
            let again = ProcessingResponse::decode(Bytes::from(full.encode_to_vec())).unwrap();
            prop_assert!(again == ours);
            prop_assert_eq!(full.encoded_len(), ours.encoded_len());
        }
    }
}
