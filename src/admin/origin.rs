//! Which pages and names may reach a listener: a browser is never lent our address by another site's page.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};

use super::problem::{Problem, ProblemKind};

/// Refuses every request that a page of another origin sent (`Origin`, RFC 6454 §7), `null` included.
pub async fn same_origin(request: Request, next: Next) -> Response {
    if is_same_origin(request.headers()) { next.run(request).await } else { foreign_origin() }
}

/// As [`same_origin`], and refuses every host that is not this machine's own name for itself. A page whose name was made to
/// resolve to 127.0.0.1 (DNS rebinding) has its own name as host and so reads nothing here.
pub async fn loopback_only(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (Some(host), None) => authority(host),
        _ => None,
    };
    // A request in absolute form names the host twice; both count (RFC 9112 §3.2.2).
    let target = request.uri().authority().is_none_or(is_loopback);
    if !target || !named.is_some_and(|named| is_loopback(&named)) {
        let detail = "this listener answers only for localhost and loopback addresses";
        return Problem::new(ProblemKind::ForeignHost, detail).into_response();
    }
    same_origin(request, next).await
}

fn foreign_origin() -> Response {
    Problem::new(ProblemKind::ForeignOrigin, "pages of other origins may not use this API").into_response()
}

/// Whether every `Origin` is `http` or `https` at the request's own host.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(authority);
    headers.get_all(ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        let own = |origin: &Uri| matches!(origin.scheme_str(), Some("http" | "https"));
        match (&host, origin.filter(own).and_then(|origin| origin.authority().cloned())) {
            (Some(host), Some(origin)) => origin == *host, // `Authority` compares without regard to letter case
            _ => false,
        }
    })
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    Authority::try_from(value.as_bytes()).ok().filter(|it| !it.as_str().contains('@'))
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_origin_passes() {
        for (host, origin, want) in [
            ("127.0.0.1:9081", None, true),
            ("127.0.0.1:9081", Some("http://127.0.0.1:9081"), true),
            ("Api.Example", Some("https://api.example"), true),
            ("127.0.0.1:9081", Some("http://127.0.0.1:9082"), false),
            ("127.0.0.1:9081", Some("http://127.0.0.1"), false),
            ("api.example", Some("https://api.example.evil"), false),
            ("api.example", Some("ftp://api.example"), false),
            ("api.example", Some("https://evil@api.example"), false),
            ("api.example", Some("null"), false),
            ("api.example", Some(""), false),
        ] {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_same_origin(&headers), want, "{host} {origin:?}");
        }
    }

    #[test]
    fn only_loopback_names_are_ours() {
        for (host, want) in [
            ("localhost", true),
            ("LOCALHOST:9090", true),
            ("127.0.0.1:9090", true),
            ("127.9.9.9", true),
            ("[::1]:9090", true),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1:9090", false),
            ("[::]:9090", false),
            ("0.0.0.0", false),
            ("evil@localhost", false),
        ] {
            let value = HeaderValue::from_static(host);
            assert_eq!(authority(&value).is_some_and(|it| is_loopback(&it)), want, "{host}");
        }
    }
}
