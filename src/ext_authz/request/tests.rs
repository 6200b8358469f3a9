use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::auth::v3 as full;
use full::attribute_context as context;
use prost::Message as _;

use super::*;

fn headers(list: &[(&str, &str)]) -> HashMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn check(http: context::HttpRequest, extensions: &[(&str, &str)]) -> Bytes {
    let attributes = full::AttributeContext {
        request: Some(context::Request { time: None, http: Some(http) }),
        context_extensions: headers(extensions),
        ..Default::default()
    };
    full::CheckRequest { attributes: Some(attributes) }.encode_to_vec().into()
}

fn listed(list: &[(&str, &str, &[u8])]) -> Option<core::HeaderMap> {
    let header = |(key, value, raw): &(&str, &str, &[u8])| core::HeaderValue {
        key: (*key).into(),
        value: (*value).into(),
        raw_value: raw.to_vec(),
    };
    Some(core::HeaderMap { headers: list.iter().map(header).collect() })
}

fn get() -> context::HttpRequest {
    context::HttpRequest {
        method: "GET".into(),
        host: "shop.example".into(),
        path: "/cart?x=1".into(),
        ..Default::default()
    }
}

#[test]
fn both_encodings_of_headers_become_one_list() {
    let map = check(context::HttpRequest { headers: headers(&[("cookie", "a=1")]), ..get() }, &[]);
    let list = [("cookie", "", &b"a=1"[..]), ("cookie", "", b"b=\xff"), ("x-empty", "", b""), ("x-plain", "1", b"")];
    let list = check(context::HttpRequest { header_map: listed(&list), ..get() }, &[]);

    let raw = read(&map).unwrap();
    assert_eq!((raw.method, raw.host, raw.path), (&b"GET"[..], &b"shop.example"[..], &b"/cart?x=1"[..]));
    assert_eq!(raw.headers, [(&b"cookie"[..], &b"a=1"[..])]);
    let raw = read(&list).unwrap();
    let want = [("cookie", &b"a=1"[..]), ("cookie", b"b=\xff"), ("x-empty", b""), ("x-plain", b"1")];
    assert_eq!(raw.headers, want.map(|(name, value)| (name.as_bytes(), value)));
}

#[test]
fn p30_a_pinned_policy_is_a_namespace_and_a_name() {
    for (value, want) in [
        ("shop/web", Ok(Some(("shop", "web")))),
        ("web", Err(())),
        ("/web", Err(())),
        ("shop/", Err(())),
        ("shop/web/x", Err(())),
        ("", Err(())),
    ] {
        let pinned = read(&check(get(), &[("cloakroom.policy", value), ("other", "x")])).map(|raw| raw.pinned);
        let pinned = pinned.map_err(|reason| assert_eq!(reason, DenyReason::MalformedRequest));
        let want = want.map(|pinned| {
            pinned.map(|(namespace, name)| PolicyName { namespace: namespace.into(), name: name.into() })
        });
        assert_eq!(pinned, want, "{value:?}");
    }
    assert_eq!(read(&check(get(), &[("policy", "shop/web")])).unwrap().pinned, None);
}

/// A check on a route with this metadata, whose objects are Envoy Gateway's.
fn with_metadata(extensions: &[(&str, &str)], resources: &[&[(&str, &str)]]) -> Bytes {
    use envoy_types::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
    let value = |kind| Value { kind: Some(kind) };
    let fields = |fields: &[(&str, &str)]| {
        let text = |(name, text): &(&str, &str)| ((*name).to_owned(), value(Kind::StringValue((*text).to_owned())));
        let mut fields: HashMap<_, _> = fields.iter().map(text).collect();
        fields.insert("number".to_owned(), value(Kind::NumberValue(1.0)));
        fields.insert("annotations".to_owned(), value(Kind::StructValue(Struct::default())));
        value(Kind::StructValue(Struct { fields }))
    };
    let list = ListValue { values: resources.iter().map(|it| fields(it)).collect() };
    let namespace = |list| Struct { fields: HashMap::from([("resources".to_owned(), value(Kind::ListValue(list)))]) };
    let filter_metadata = HashMap::from([
        ("envoy-gateway".to_owned(), namespace(list)),
        (
            "other".to_owned(),
            namespace(ListValue {
                values: vec![fields(&[("kind", "HTTPRoute"), ("namespace", "evil"), ("name", "evil")])],
            }),
        ),
    ]);
    let attributes = full::AttributeContext {
        request: Some(context::Request { time: None, http: Some(get()) }),
        context_extensions: headers(extensions),
        route_metadata_context: Some(core::Metadata { filter_metadata, ..Default::default() }),
        ..Default::default()
    };
    full::CheckRequest { attributes: Some(attributes) }.encode_to_vec().into()
}

#[test]
fn p30_a_route_is_named_by_the_proxy_in_one_way() {
    let shop: &[(&str, &str)] = &[("kind", "HTTPRoute"), ("namespace", "shop"), ("name", "web")];
    let rule: &[(&str, &str)] =
        &[("kind", "HTTPRoute"), ("namespace", "shop"), ("name", "web"), ("sectionName", "main")];
    let blog: &[(&str, &str)] = &[("kind", "HTTPRoute"), ("namespace", "shop"), ("name", "blog")];
    let other: &[(&str, &str)] = &[("kind", "SecurityPolicy"), ("namespace", "shop"), ("name", "web")];
    let named = |text: &'static str| Ok(Some(text));
    type Rows<'a> = &'a [(Option<&'a str>, &'a [&'a [(&'a str, &'a str)]], Result<Option<&'static str>, ()>)];
    let rows: Rows<'_> = &[
        (None, &[], Ok(None)),
        (Some("HTTPRoute/shop/web"), &[], named("HTTPRoute/shop/web")),
        (Some("GRPCRoute/shop/web/main"), &[], named("GRPCRoute/shop/web/main")),
        (None, &[shop], named("HTTPRoute/shop/web")),
        (None, &[rule], named("HTTPRoute/shop/web/main")),
        (None, &[other, shop], named("HTTPRoute/shop/web")),
        (None, &[other], Ok(None)),
        (None, &[&[("kind", "HTTPRoute"), ("namespace", "shop")]], Ok(None)),
        // Twice the same is once; more is said by whoever says more.
        (Some("HTTPRoute/shop/web"), &[shop], named("HTTPRoute/shop/web")),
        (Some("HTTPRoute/shop/web"), &[rule], named("HTTPRoute/shop/web/main")),
        (Some("HTTPRoute/shop/web/main"), &[shop], named("HTTPRoute/shop/web/main")),
        (Some("HTTPRoute/shop/web/other"), &[rule], Err(())),
        (Some("HTTPRoute/shop/blog"), &[shop], Err(())),
        (Some("GRPCRoute/shop/web"), &[shop], Err(())),
        (None, &[shop, blog], Err(())),
        (Some("shop/web"), &[], Err(())),
        (Some("Service/shop/web"), &[], Err(())),
        (Some("HTTPRoute//web"), &[], Err(())),
        (Some("HTTPRoute/shop/web/"), &[], Err(())),
        (Some("HTTPRoute/shop/web/a/b"), &[], Err(())),
        (Some(""), &[], Err(())),
    ];
    for (extension, resources, want) in rows {
        let extensions: Vec<_> = extension.iter().map(|it| ("cloakroom.route", *it)).collect();
        let message = with_metadata(&extensions, resources);
        let route =
            read(&message).map(|raw| raw.route).map_err(|reason| assert_eq!(reason, DenyReason::MalformedRequest));
        let route = route.map(|route| {
            route.map(|it| {
                let section = it.section.map(|section| format!("/{section}")).unwrap_or_default();
                format!("{}/{}/{}{section}", it.kind, it.namespace, it.name)
            })
        });
        assert_eq!(route.as_ref().map(|it| it.as_deref()), want.as_ref().map(|it| *it), "{extension:?} {resources:?}");
    }
}

/// What a proxy does not send is written by hand: a map with a key twice.
fn twice(tag: u8, parent: &[u8], mut message: Vec<u8>) -> Bytes {
    let entry = [&[0x0a, 1, b'a', 0x12, 1][..], b"1"].concat();
    let field = [&[tag, u8::try_from(entry.len()).unwrap()][..], &entry].concat();
    let mut body = [field.clone(), field].concat();
    for tag in parent {
        body = [&[*tag, u8::try_from(body.len()).unwrap()][..], &body].concat();
    }
    message.extend(body);
    message.into()
}

#[test]
fn p03_what_could_be_read_in_two_ways_is_not_read() {
    let both =
        context::HttpRequest { headers: headers(&[("a", "1")]), header_map: listed(&[("a", "", b"2")]), ..get() };
    let two_values = context::HttpRequest { header_map: listed(&[("cookie", "a=1", b"a=2")]), ..get() };
    let no_http = full::CheckRequest {
        attributes: Some(full::AttributeContext {
            request: Some(context::Request { time: None, http: None }),
            ..Default::default()
        }),
    };
    for (what, message) in [
        ("nothing", Bytes::new()),
        ("no protobuf", Bytes::from_static(b"\xff\xff\xff\xff")),
        ("cut short", check(get(), &[]).slice(..8)),
        ("no http", no_http.encode_to_vec().into()),
        ("both encodings", check(both, &[])),
        ("two values", check(two_values, &[])),
        // HttpRequest.headers = 3, in http = 2, in request = 4, in attributes = 1
        ("a header twice", twice(0x1a, &[0x12, 0x22, 0x0a], check(get(), &[]).to_vec())),
    ] {
        assert_eq!(read(&message).unwrap_err(), DenyReason::MalformedRequest, "{what}");
    }
    // A context extension that is not ours is nobody's concern, twice or not.
    assert!(read(&twice(0x52, &[0x0a], check(get(), &[]).to_vec())).is_ok());
}

#[test]
fn many_headers_are_compared_too() {
    let keys: Vec<String> = (0..300).map(|at| format!("x-{at}")).collect();
    let mut entries: Vec<Entry<'_>> = keys.iter().map(|key| Entry { key: key.as_bytes(), value: b"" }).collect();
    assert!(!has_twice(&entries));
    entries.push(entries[7]);
    assert!(has_twice(&entries));
}

#[test]
fn hints_are_found_in_either_encoding_and_in_requests_that_are_refused() {
    let fields = [("accept", "text/html"), ("x-request-id", "r-1")];
    let list = fields.map(|(name, value)| (name, "", value.as_bytes()));
    let both = context::HttpRequest { headers: headers(&fields), header_map: listed(&list), ..get() };
    for (http, request_id) in [
        (context::HttpRequest { headers: headers(&fields), ..get() }, "r-1"),
        (context::HttpRequest { header_map: listed(&list), ..get() }, "r-1"),
        (both, "r-1,r-1"), // refused, and answered with a page all the same
    ] {
        let hints = Hints::of(&check(http, &[]));
        assert_eq!((hints.client, hints.request_id), (Client::Browser, request_id.into()));
        assert_eq!((hints.method, hints.host, hints.path), ("GET".into(), "shop.example".into(), "/cart?x=1".into()));
    }
    assert_eq!(Hints::of(&check(context::HttpRequest { id: "7".into(), ..get() }, &[])).request_id, "7");
    assert_eq!(Hints::of(&Bytes::from_static(b"\xff")).client, Client::Api);
}
