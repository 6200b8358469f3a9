//! Who waits for a refusal, which decides how it is worded. Nothing else hangs on it.

use crate::authz::attributes::fetch;

/// The kind of client behind a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// A program that speaks HTTP: problem+json.
    #[default]
    Api,
    /// A person whose browser is going to a page (an interactive request): HTML, and a redirect where the policy has one.
    Browser,
    /// A gRPC client: `grpc-status`. (`application/grpc-web` is none: Envoy does not turn its local replies into trailers.)
    Grpc,
}

impl Client {
    /// Judges a request by its `Content-Type`, `Sec-Fetch-Mode` and `Accept`, as the decision does.
    pub fn judge(content_type: Option<&[u8]>, sec_fetch_mode: Option<&[u8]>, accept: Option<&[u8]>) -> Self {
        if content_type.is_some_and(fetch::is_grpc) {
            Self::Grpc
        } else if fetch::is_interactive(sec_fetch_mode, accept) {
            Self::Browser
        } else {
            Self::Api
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_in_its_own_words() {
        const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (content_type, mode, accept, want) in [
            (None, None, None, Client::Api),
            (None, None, Some("*/*"), Client::Api),
            (None, None, Some(CHROME), Client::Browser),
            (None, Some("navigate"), Some("*/*"), Client::Browser),
            (None, Some("cors"), Some(CHROME), Client::Api), // a script of the page, whatever it accepts
            (None, Some("navigate,cors"), Some(CHROME), Client::Api), // two lines joined: nobody's browser
            (None, None, Some("application/json, text/html"), Client::Api),
            (Some("application/json"), None, Some(CHROME), Client::Browser),
            (Some("application/grpc"), None, None, Client::Grpc),
            (Some("application/grpc+proto"), Some("navigate"), Some(CHROME), Client::Grpc),
            (Some("application/grpc-web+proto"), None, None, Client::Api),
        ] {
            let bytes = |text: Option<&'static str>| text.map(str::as_bytes);
            let got = Client::judge(bytes(content_type), bytes(mode), bytes(accept));
            assert_eq!(got, want, "{content_type:?} {mode:?} {accept:?}");
        }
    }
}
