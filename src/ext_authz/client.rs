//! Who waits for a refusal, which decides how it is worded. Nothing else hangs on it.

/// The kind of client behind a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// A program that speaks HTTP: problem+json.
    #[default]
    Api,
    /// A person whose browser is going to a page (an interactive request): HTML, and a redirect where the policy has one.
    Browser,
    /// A gRPC client: `grpc-status`.
    Grpc,
}

impl Client {
    /// Judges a request by its `Content-Type`, `Sec-Fetch-Mode` and `Accept`.
    ///
    /// Browsers say `Sec-Fetch-Mode` (W3C Fetch Metadata §2.2) and a page's script cannot forge it: where it is there, only
    /// `navigate` is a person going somewhere. Without it the `Accept` must prefer HTML; `*/*` is a program.
    pub fn judge(content_type: &[u8], sec_fetch_mode: Option<&[u8]>, accept: &[u8]) -> Self {
        if is_grpc(content_type) {
            return Self::Grpc;
        }
        let interactive = match sec_fetch_mode {
            Some(mode) => mode == b"navigate",
            None => std::str::from_utf8(accept).is_ok_and(prefers_html),
        };
        if interactive { Self::Browser } else { Self::Api }
    }
}

/// `application/grpc`, alone or with a subtype or parameters (gRPC over HTTP/2, "Requests"). `application/grpc-web` is not:
/// Envoy does not turn its local replies into trailers either.
fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    content_type.len() >= GRPC.len()
        && content_type[..GRPC.len()].eq_ignore_ascii_case(GRPC)
        && matches!(content_type.get(GRPC.len()), None | Some(b'+' | b';'))
}

/// Whether the range that an `Accept` (RFC 9110 §12.5.1) wants most is HTML: the highest quality wins, then a full type over
/// one with a `*`, then the one that stands first.
fn prefers_html(accept: &str) -> bool {
    let mut best: Option<((u16, bool), bool)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let quality = parts
            .find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")))
            .map_or(Some(1000), thousandths);
        let Some(quality @ 1..) = quality else { continue };
        let is_html = media.eq_ignore_ascii_case("text/html") || media.eq_ignore_ascii_case("application/xhtml+xml");
        let rank = (quality, !media.contains('*'));
        if best.is_none_or(|(found, _)| rank > found) {
            best = Some((rank, is_html));
        }
    }
    best.is_some_and(|(_, is_html)| is_html)
}

/// A quality (RFC 9110 §12.4.2) in thousandths; `None` for what is not one.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let fraction =
        fraction.bytes().chain(std::iter::repeat(b'0')).take(3).fold(0, |sum, d| sum * 10 + u16::from(d - b'0'));
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_in_its_own_words() {
        const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (content_type, mode, accept, want) in [
            ("", None, "", Client::Api),
            ("", None, "*/*", Client::Api),
            ("", None, CHROME, Client::Browser),
            ("", Some("navigate"), "*/*", Client::Browser),
            ("", Some("cors"), CHROME, Client::Api), // a script of the page, whatever it accepts
            ("", Some("websocket"), "", Client::Api),
            ("", Some("navigate,cors"), CHROME, Client::Api), // two lines joined: nobody's browser
            ("", None, "application/json, text/html", Client::Api),
            ("", None, "text/html, application/json", Client::Browser),
            ("", None, "text/html;q=0.5, application/json", Client::Api),
            ("", None, "application/json;q=0.5, text/html;q=0.9", Client::Browser),
            ("", None, "text/html;q=0", Client::Api),
            ("", None, "text/html;q=7", Client::Api),
            ("", None, "*/*, text/html", Client::Browser), // the full type says more
            ("", None, "TEXT/HTML", Client::Browser),
            ("", None, "text/html;level=1;q=0.4, */*;q=0.5", Client::Api),
            ("application/grpc", None, "", Client::Grpc),
            ("application/grpc+proto", None, "", Client::Grpc),
            ("application/grpc;charset=utf-8", None, "", Client::Grpc),
            ("application/grpc-web+proto", None, "", Client::Api),
            ("application/grpcx", None, "", Client::Api),
            ("application/grpc", Some("navigate"), CHROME, Client::Grpc),
        ] {
            let got = Client::judge(content_type.as_bytes(), mode.map(str::as_bytes), accept.as_bytes());
            assert_eq!(got, want, "{content_type:?} {mode:?} {accept:?}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn any_bytes_are_some_client(kind: Vec<u8>, mode: Option<Vec<u8>>, accept: Vec<u8>) {
                let client = Client::judge(&kind, mode.as_deref(), &accept);
                prop_assert!(client != Client::Browser || mode.is_none_or(|mode| mode == b"navigate"));
            }
        }
    }
}
