//! Where a person is sent who has to sign in, and the way back.

use std::sync::Arc;

use http::Method;

use super::super::attributes::RequestAttributes;
use super::super::percent::encode;
use super::super::policy::{Access, Judge};

/// The longest `Location` with a way back in it, in bytes; a longer one goes without.
const MAX_LOCATION: usize = 4096;

/// The rule's `deny.redirectTo` for this request: `None` unless a person waits for a page. The request's own address is added
/// as `return_to`; only its path and query are the client's words, the host is one that a policy names.
pub(super) fn target(judge: &Judge, request: &RequestAttributes<'_>) -> Option<Arc<str>> {
    let Access::Authenticate(rule) = &judge.rule().access else { return None };
    let redirect = rule.redirect.as_ref()?;
    if request.is_grpc() || !request.is_interactive() {
        return None;
    }
    // The browser would follow with a GET, and what a form sent is lost: there is no page to come back to.
    let comes_back = matches!(request.method, Method::GET | Method::HEAD);
    let location = comes_back.then(|| {
        let mut location = redirect.prefix().to_owned();
        encode(&mut location, address(request).as_bytes());
        location
    });
    Some(location.filter(|location| location.len() <= MAX_LOCATION).map_or_else(|| redirect.bare().into(), Into::into))
}

/// The request's address, always with `https`: a session cookie of ours is never sent without.
fn address(request: &RequestAttributes<'_>) -> String {
    let mut address = format!("https://{}", request.host.as_str());
    if let Some(port) = request.port.filter(|port| *port != 443) {
        address.push_str(&format!(":{port}"));
    }
    address.push_str(&String::from_utf8_lossy(request.path.as_sent()));
    if !request.query.is_empty() {
        address.push('?');
        address.push_str(&String::from_utf8_lossy(request.query));
    }
    address
}
