//! Why a request was refused: one closed set, of which every status, body, log line, metric label and `explain` output is a
//! rendering (P38).

/// Declares the set once: the variant, its label, its status and its meaning.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $class:ident;)*) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DenyReason { $($(#[$doc])* $name,)* }

        impl DenyReason {
            /// Every reason, for metrics and documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason's stable name, as in metrics and logs.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// Whose fault it is, and so which status the client gets.
            pub const fn class(self) -> RefusalClass {
                match self { $(Self::$name => RefusalClass::$class,)* }
            }
        }
    };
}

/// What the client is told: the class of a refusal fixes its status and nothing else about it leaves (P37).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalClass {
    /// 400: malformed or ambiguous.
    BadRequest,
    /// 401: no credential, or one that does not count.
    Unauthorized,
    /// 401 with `insufficient_user_authentication` (RFC 9470 §3): authenticate again, or more strongly.
    StepUp,
    /// 403: known, and not allowed.
    Forbidden,
    /// 403 with `insufficient_scope` (RFC 6750 §3.1).
    InsufficientScope,
    /// 503: something we need is missing; nothing is known about the credential.
    Unavailable,
}

impl RefusalClass {
    /// The HTTP status.
    pub const fn status(self) -> http::StatusCode {
        match self {
            Self::BadRequest => http::StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::StepUp => http::StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::InsufficientScope => http::StatusCode::FORBIDDEN,
            Self::Unavailable => http::StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

reasons! {
    /// The check itself cannot be read: no HTTP request in it, or fields out of bounds.
    MalformedRequest = "malformed_request", BadRequest;
    /// The method is not a token (RFC 9110 §9.1), or the request is a plain CONNECT.
    MalformedMethod = "malformed_method", BadRequest;
    /// The host is missing, or not a host and port (RFC 3986 §3.2.2).
    MalformedHost = "malformed_host", BadRequest;
    /// The path is not one (RFC 3986 §3.3), or has dot segments, controls or a backslash in some reading.
    MalformedPath = "malformed_path", BadRequest;
    /// Servers that decode, fold or strip differently would reach different rules with this request.
    AmbiguousRequest = "ambiguous_request", BadRequest;
    /// Two different credentials, or two cookies of our name.
    AmbiguousCredential = "ambiguous_credential", BadRequest;
    /// No credential, and the rule needs one.
    NoCredential = "no_credential", Unauthorized;
    /// Not a token of ours, or its tag is wrong; the store was not asked.
    InvalidToken = "invalid_token", Unauthorized;
    /// A carrier that the policy does not accept here.
    WrongCarrier = "wrong_carrier", Unauthorized;
    /// No such session in this realm, or its secret is not the session's.
    UnknownSession = "unknown_session", Unauthorized;
    /// The session was revoked.
    RevokedSession = "revoked_session", Unauthorized;
    /// The session's absolute end has passed.
    ExpiredSession = "expired_session", Unauthorized;
    /// The session lay unused for longer than its idle timeout.
    IdleSession = "idle_session", Unauthorized;
    /// A session JWT that does not verify, or is not for an audience and namespace that the rule names.
    InvalidSessionJwt = "invalid_session_jwt", Unauthorized;
    /// A JWT of an issuer that no identity provider of the rule has.
    UnknownIssuer = "unknown_issuer", Unauthorized;
    /// A JWT that its identity provider refuses: its signature, algorithm, type, audience, times or claims are wrong.
    InvalidJwt = "invalid_jwt", Unauthorized;
    /// An API key that is in none of the Secrets of the rule's identity providers.
    UnknownApiKey = "unknown_api_key", Unauthorized;
    /// A token that its authorization server does not call active, or not for us.
    InactiveToken = "inactive_token", Unauthorized;
    /// A credential of somebody else that has ended.
    ExpiredCredential = "expired_credential", Unauthorized;
    /// In the place of a credential of somebody else stands what cannot be one, or what no identity provider of the rule judges.
    InvalidCredential = "invalid_credential", Unauthorized;
    /// The session's `acr` is not one the rule accepts.
    InsufficientAcr = "insufficient_acr", StepUp;
    /// The owner proved who they are too long ago for the rule.
    AuthenticationTooOld = "authentication_too_old", StepUp;
    /// No policy applies to the request.
    NoPolicy = "no_policy", Forbidden;
    /// Two routes with different policies may have the request, and which one gets it is not known: by two listeners that the gate
    /// serves, or of two namespaces, where the proxy is not sure to have the route that is found.
    ConflictingRoutes = "conflicting_routes", Forbidden;
    /// The proxy says that the request takes a route that we know, and by its host, path and headers it takes another, or none.
    UnknownRoute = "unknown_route", Forbidden;
    /// The policy is invalid and never had a good form: what it targets is closed (P26). Or the route's filters may change the request
    /// after the check, and it leads to a Service of another namespace that has a policy (P27).
    BrokenPolicy = "broken_policy", Forbidden;
    /// The rule says `access: Deny`.
    DeniedByRule = "denied_by_rule", Forbidden;
    /// No rule matched and the policy says `default: Deny`.
    DeniedByDefault = "denied_by_default", Forbidden;
    /// A role is missing.
    MissingRole = "missing_role", Forbidden;
    /// A scope is missing.
    MissingScope = "missing_scope", InsufficientScope;
    /// A claim is missing or has another value.
    MissingClaim = "missing_claim", Forbidden;
    /// An unsafe request that our cookie authenticates came from another site (P14).
    CrossSite = "cross_site", Forbidden;
    /// The session JWT would be larger than `jwt.maxBytes`.
    JwtTooLarge = "jwt_too_large", Forbidden;
    /// No policies have been loaded yet.
    NotReady = "not_ready", Unavailable;
    /// The session store did not answer, or the last proof of its link is too old.
    StoreUnavailable = "store_unavailable", Unavailable;
    /// Too many look-ups wait already, or the check did not come whole: in time, or into the room for those that are not.
    Overloaded = "overloaded", Unavailable;
    /// An identity provider that the rule names is not there, or never had a good form.
    ProviderMissing = "provider_missing", Unavailable;
    /// An identity provider did not answer, or its keys are too old.
    ProviderUnavailable = "provider_unavailable", Unavailable;
    /// No key to sign with.
    KeysUnavailable = "keys_unavailable", Unavailable;
    /// The clock stands before the session's own times.
    ClockBehind = "clock_behind", Unavailable;
    /// A defect of ours, caught.
    Internal = "internal_error", Unavailable;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_are_distinct() {
        let labels: HashSet<_> = DenyReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), DenyReason::ALL.len());
    }

    #[test]
    fn p38_each_reason_has_its_row_in_the_documentation() {
        let rows: Vec<_> =
            include_str!("../../docs/operations.md").lines().filter(|it| it.starts_with("| `")).collect();
        for reason in DenyReason::ALL {
            let row = format!("| `{}` | {} | ", reason.label(), reason.class().status().as_u16());
            assert_eq!(rows.iter().filter(|it| it.starts_with(&row)).count(), 1, "docs/operations.md: {row}");
        }
    }
}
