//! What a request says about the client that sent it: another site's page, a person's browser, a gRPC library.

use http::Method;

use super::RequestAttributes;
use super::host::Host;

impl RequestAttributes<'_> {
    /// Whether another site's page may have sent this (P14): an unsafe method or a WebSocket upgrade, `Sec-Fetch-Site` neither
    /// `same-origin` nor `none` or, that absent, an `Origin` that is not this host's; and the origin not among `allowed`
    /// (`https://partner.example`). Says nothing about which credential the request carries.
    pub fn cross_site<S: AsRef<str>>(&self, allowed: &[S]) -> bool {
        let is_safe = |method: &Method| [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method);
        if self.methods().all(is_safe) && !self.is_websocket() {
            return false;
        }
        let origin = self.headers.get("origin");
        let from_elsewhere = match (self.headers.get("sec-fetch-site"), &origin) {
            (Some(site), _) => !matches!(&*site, b"same-origin" | b"none"),
            (None, Some(origin)) => !self.is_own_origin(origin),
            (None, None) => false,
        };
        from_elsewhere
            && !origin
                .is_some_and(|origin| allowed.iter().any(|it| it.as_ref().as_bytes().eq_ignore_ascii_case(&origin)))
    }

    /// RFC 6455 §4.1, RFC 8441 §4.
    fn is_websocket(&self) -> bool {
        let named = |name| self.headers.values(name).flat_map(|value| value.split(|&it| it == b','));
        named("upgrade").chain(named(":protocol")).any(|it| it.trim_ascii().eq_ignore_ascii_case(b"websocket"))
    }

    /// Whether a page with this origin lives on the request's own host and port. A page without TLS is ours only where the
    /// request came without TLS too, or on this machine.
    fn is_own_origin(&self, origin: &[u8]) -> bool {
        let secure = origin.strip_prefix(b"https://").map(|rest| (rest, 443));
        let Some((authority, default)) = secure.or_else(|| origin.strip_prefix(b"http://").map(|rest| (rest, 80)))
        else {
            return false;
        };
        let Some((host, port)) = Host::parse(authority) else {
            return false;
        };
        let came_plain = || self.headers.get(":scheme").is_some_and(|scheme| &*scheme == b"http");
        host == self.host
            && port.unwrap_or(default) == self.port.unwrap_or(default)
            && (secure.is_some() || came_plain() || matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]"))
    }

    /// Whether a person waits for a page; see [`is_interactive`].
    pub fn is_interactive(&self) -> bool {
        is_interactive(self.headers.get("sec-fetch-mode").as_deref(), self.headers.get("accept").as_deref())
    }

    /// Whether the answer must be a gRPC status; see [`is_grpc`].
    pub fn is_grpc(&self) -> bool {
        self.headers.get("content-type").is_some_and(|value| is_grpc(&value))
    }
}

/// Whether a person waits for a page (DESIGN 8): `Sec-Fetch-Mode: navigate` or, that absent, an `Accept` that prefers HTML.
pub fn is_interactive(sec_fetch_mode: Option<&[u8]>, accept: Option<&[u8]>) -> bool {
    match sec_fetch_mode {
        Some(mode) => mode == b"navigate",
        None => accept.is_some_and(prefers_html),
    }
}

/// Whether the answer must be a gRPC status: `Content-Type: application/grpc`, with or without a suffix.
pub fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    content_type.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
        && matches!(content_type.get(GRPC.len()), None | Some(b'+' | b';' | b' '))
}

/// Whether HTML is what the client likes best (RFC 9110 §12.5.1), the first of equals counting as liked better.
fn prefers_html(accept: &[u8]) -> bool {
    let mut best: Option<(f32, bool)> = None;
    for range in accept.split(|&it| it == b',') {
        let mut parameters = range.split(|&it| it == b';').map(<[u8]>::trim_ascii);
        let kind = parameters.next().unwrap_or_default();
        let weight = parameters
            .find_map(|it| it.strip_prefix(b"q=").or_else(|| it.strip_prefix(b"Q=")))
            .map_or(Some(1.0), |weight| std::str::from_utf8(weight).ok()?.parse().ok());
        let is_html = kind.eq_ignore_ascii_case(b"text/html") || kind.eq_ignore_ascii_case(b"application/xhtml+xml");
        // A weight that is not one counts as none.
        if let Some(weight) = weight.filter(|weight: &f32| *weight > 0.0 && *weight <= 1.0)
            && best.is_none_or(|(most, _)| weight > most)
        {
            best = Some((weight, is_html));
        }
    }
    best.is_some_and(|(_, is_html)| is_html)
}

#[cfg(test)]
mod tests {
    use super::super::RawRequest;
    use super::*;

    fn request(
        method: &'static str,
        host: &'static str,
        headers: &[(&'static str, &'static str)],
    ) -> RequestAttributes<'static> {
        let headers = headers.iter().map(|&(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let (method, host) = (method.as_bytes(), host.as_bytes());
        let raw = RawRequest { method, host, path: b"/", headers, ..RawRequest::default() };
        RequestAttributes::read(raw).expect("an ordinary request")
    }

    #[test]
    fn p14_unsafe_requests_from_elsewhere_are_told() {
        let site = |value| ("sec-fetch-site", value);
        let origin = |value| ("origin", value);
        for (method, headers, want) in [
            ("POST", &[][..], false), // neither header: not a browser's doing
            ("POST", &[site("same-origin")], false),
            ("POST", &[site("none")], false),
            ("POST", &[site("same-site")], true),
            ("POST", &[site("cross-site")], true),
            ("POST", &[site("same-origin"), site("cross-site")], true),
            ("POST", &[site("Same-Origin")], true), // browsers send it in small letters
            ("GET", &[site("cross-site")], false),
            ("HEAD", &[site("cross-site")], false),
            ("GET", &[site("cross-site"), ("x-http-method-override", "DELETE")], true),
            ("get", &[site("cross-site")], true), // not a method that anyone calls safe
            ("GET", &[site("cross-site"), ("upgrade", "WebSocket")], true),
            ("GET", &[site("cross-site"), ("upgrade", "h2c, websocket")], true),
            ("GET", &[site("same-origin"), ("upgrade", "websocket")], false),
            ("CONNECT", &[site("cross-site"), (":protocol", "websocket")], true),
            ("POST", &[site("cross-site"), origin("https://partner.example")], false),
            ("POST", &[site("cross-site"), origin("https://other.example")], true),
            ("POST", &[origin("https://partner.example")], false),
            ("POST", &[origin("https://shop.example")], false),
            ("POST", &[origin("https://shop.example:443")], false),
            ("POST", &[origin("https://shop.example:8443")], true),
            ("POST", &[origin("https://shop.example.evil.example")], true),
            ("POST", &[origin("https://evil.example")], true),
            ("POST", &[origin("http://shop.example")], true),
            ("POST", &[origin("http://shop.example"), (":scheme", "http")], false),
            ("POST", &[origin("null")], true),
            ("POST", &[origin("https://shop.example"), origin("https://shop.example")], true),
            ("DELETE", &[origin("https://shop.example"), site("cross-site")], true),
        ] {
            let request = request(method, "shop.example", headers);
            assert_eq!(request.cross_site(&["https://partner.example"]), want, "{method} {headers:?}");
        }
        let local = request("POST", "localhost:8080", &[origin("http://localhost:8080")]);
        assert!(!local.cross_site::<&str>(&[]));
        let other_port = request("POST", "localhost:8080", &[origin("http://localhost:9090")]);
        assert!(other_port.cross_site::<&str>(&[]));
    }

    #[test]
    fn p16_only_people_are_interactive() {
        for (headers, want) in [
            (&[("sec-fetch-mode", "navigate")][..], true),
            (&[("sec-fetch-mode", "cors"), ("accept", "text/html")], false),
            (&[("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")], true),
            (&[("accept", "*/*")], false),
            (&[("accept", "application/json")], false),
            (&[("accept", "application/json, text/html;q=0.9")], false),
            (&[("accept", "application/json, text/html")], false),
            (&[("accept", "application/json;q=0.5, text/html;q=0.9")], true),
            (&[("accept", "text/html;q=0")], false),
            (&[("accept", "text/html;q=NaN")], false),
            (&[("accept", "text/*")], false),
            (&[], false),
        ] {
            assert_eq!(request("GET", "shop.example", headers).is_interactive(), want, "{headers:?}");
        }
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (value, want) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false), // another framing
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            assert_eq!(request("POST", "shop.example", &[("content-type", value)]).is_grpc(), want, "{value}");
        }
    }
}
