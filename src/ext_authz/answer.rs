//! A verdict as the proxy understands it: the bytes of a `CheckResponse`.

use bytes::Bytes;

use super::encode::{AppendAction, CheckResponse, Code, DeniedResponse, Header, OkResponse, Pieces};
use super::refusal::Refusal;
use crate::authz::credential::CookieRest;
use crate::authz::policy::RuleName;
use crate::authz::reason::RefusalClass;
use crate::authz::response::HANDLE_METADATA;
use crate::authz::verdict::{Allow, Denial};

/// The dynamic metadata that names the rule, as `namespace/policy/rule`, in `envoy.filters.http.ext_authz`. For logs.
pub const RULE_METADATA: &str = "cloakroom.rule";
/// The dynamic metadata that names the reason of a refusal, or of one that an `Audit` policy would have given. For logs.
pub const REASON_METADATA: &str = "cloakroom.reason";

/// An allow that cannot be told to the proxy: what is left of the cookies, or a header's name, is not UTF-8. The protocol has
/// no bytes in its answers that arrive (`raw_value` does as an empty header), and a proxy that cannot decode an answer asks its
/// failure mode instead of us. So such a request is refused as malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsayable;

/// The answer that lets a request pass. `jwt_header` is the name of the session JWT's header, in lower case.
///
/// The header is overwritten when there is a JWT and removed when there is none, whatever the client sent under its name (P7).
///
/// # Errors
/// See [`Unsayable`].
pub fn allow(allow: &Allow, jwt_header: &str) -> Result<Bytes, Unsayable> {
    let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| Unsayable);
    let overwrite = |name, value| Header { name, value, action: AppendAction::OverwriteIfExistsOrAdd };
    let jwt = allow.jwt.as_deref().map(utf8).transpose()?;
    let cookie = match &allow.take_off.cookie {
        Some(CookieRest::Others(rest)) => Some(utf8(rest)?),
        Some(CookieRest::Nothing) | None => None,
    };
    let mut remove = Vec::new();
    if jwt.is_none() {
        remove.push(jwt_header);
    }
    if matches!(allow.take_off.cookie, Some(CookieRest::Nothing)) {
        remove.push("cookie");
    }
    for name in &allow.take_off.headers {
        let name = utf8(name)?;
        // The proxy removes after it has set, so that the name of a header which we set must not be removed as well.
        let is_set = name.eq_ignore_ascii_case(jwt_header) || (cookie.is_some() && name.eq_ignore_ascii_case("cookie"));
        if !is_set {
            remove.push(name);
        }
    }
    // A new token must not lie in a cache (P14): what the service says of that gives way.
    let instead = |name, value| Header { name, value, action: AppendAction::OverwriteIfExists };
    let with_cookie = allow.set_cookie.as_deref().map(|cookie| {
        [
            Header { name: "set-cookie", value: cookie, action: AppendAction::AppendIfExistsOrAdd },
            overwrite("cache-control", "no-store"),
            instead("cdn-cache-control", "no-store"),
            instead("surrogate-control", "no-store"),
            instead("expires", "0"),
        ]
    });
    let metadata = [
        Some((RULE_METADATA, rule_pieces(&allow.rule))),
        allow.audit.map(|reason| (REASON_METADATA, [reason.label(), "", "", "", ""])),
        allow.handle.as_deref().map(|handle| (HANDLE_METADATA, [handle, "", "", "", ""])),
    ];
    let response = CheckResponse {
        code: Code::Ok,
        http: OkResponse {
            headers: [jwt.map(|jwt| overwrite(jwt_header, jwt)), cookie.map(|rest| overwrite("cookie", rest))],
            remove,
            response_headers: with_cookie.as_ref().map_or(&[], |headers| headers),
        },
        metadata: &metadata,
    };
    Ok(response.to_bytes())
}

/// The answer that refuses a request. Every refusal is a `denied_response` with a status, headers and a body of its own, the
/// 503 too: the proxy's failure mode has no say in it.
pub fn deny(denial: &Denial, refusal: &Refusal) -> Bytes {
    let metadata = [
        Some((REASON_METADATA, [denial.reason.label(), "", "", "", ""])),
        denial.rule.as_deref().map(|rule| (RULE_METADATA, rule_pieces(rule))),
    ];
    let response = CheckResponse {
        code: match denial.reason.class() {
            RefusalClass::Unauthorized | RefusalClass::StepUp => Code::Unauthenticated,
            RefusalClass::BadRequest
            | RefusalClass::Forbidden
            | RefusalClass::InsufficientScope
            | RefusalClass::Unavailable => Code::PermissionDenied,
        },
        http: DeniedResponse { status: refusal.status, headers: &refusal.headers, body: refusal.body },
        metadata: &metadata,
    };
    response.to_bytes()
}

fn rule_pieces(rule: &RuleName) -> Pieces<'_> {
    [&rule.policy.namespace, "/", &rule.policy.name, "/", &rule.rule]
}

#[cfg(test)]
mod tests;
