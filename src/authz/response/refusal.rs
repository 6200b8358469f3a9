//! Why a response's wish was not done: one closed set, of which metric labels, records and what the client gets are
//! renderings (P38).

/// What becomes of a response whose wish is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalEffect {
    /// It passes without its wish: the service's own mistake changes nothing for its client.
    Pass,
    /// 502 instead of it (RFC 9110 §15.6.3): it holds, or may hold, a JWT that cannot be taken out or swapped (P11).
    BadGateway,
    /// 503 instead of it: what it wished could not be made durable, and its client must not believe that it was (P20).
    Unavailable,
}

/// Declares the set once: the variant, its label, its effect and its meaning.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $effect:ident;)*) => {
        /// Why a response's wish was not done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CommandRefusal { $($(#[$doc])* $name,)* }

        impl CommandRefusal {
            /// Every one, for metrics and documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its stable name, as in metrics and logs.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// What becomes of the response.
            pub const fn effect(self) -> RefusalEffect {
                match self { $(Self::$name => RefusalEffect::$effect,)* }
            }
        }
    };
}

refusals! {
    /// The request was let pass by a rule without `session`, or was not judged by us at all.
    NoHandle = "no_handle", Pass;
    /// The handle is not one of ours, or not whole: whether a JWT must be kept in is not known.
    InvalidHandle = "invalid_handle", BadGateway;
    /// The service took longer to answer than a handle lives.
    ExpiredHandle = "expired_handle", BadGateway;
    /// The rule's `session` is another one now, or the rule is gone.
    PolicyChanged = "policy_changed", Pass;
    /// The rule's `session` does not let the service do this.
    NotGranted = "not_granted", Pass;
    /// The command is not what its header takes.
    MalformedCommand = "malformed_command", Pass;
    /// A command's header stands there more than once.
    RepeatedCommand = "repeated_command", Pass;
    /// Commands that cannot be done together.
    ConflictingCommands = "conflicting_commands", Pass;
    /// A claim that is not among the rule's `writableClaims`.
    ClaimNotWritable = "claim_not_writable", Pass;
    /// A value is out of the bounds of a session.
    OutOfBounds = "out_of_bounds", Pass;
    /// The session JWT would be larger than `jwt.maxBytes`.
    JwtTooLarge = "jwt_too_large", Pass;
    /// The session is over, or the request had none.
    SessionOver = "session_over", Pass;
    /// The JWT to be exchanged does not verify.
    InvalidJwt = "invalid_jwt", BadGateway;
    /// What the JWT to be exchanged says cannot become a session.
    UnusableJwt = "unusable_jwt", BadGateway;
    /// The body in which a JWT is to be exchanged is encoded, too large, or says the member twice.
    UnreadableBody = "unreadable_body", BadGateway;
    /// The proxy does not hold the body back in which a JWT is to be exchanged.
    NotBuffered = "not_buffered", BadGateway;
    /// The session store did not answer in time, or not at all.
    StoreUnavailable = "store_unavailable", Unavailable;
    /// Too many others changed the session at the same time.
    UpdateConflict = "update_conflict", Unavailable;
    /// No key to make a token with.
    KeysUnavailable = "keys_unavailable", Unavailable;
    /// A defect of ours, caught.
    Internal = "internal_error", Unavailable;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_are_distinct() {
        let labels: HashSet<_> = CommandRefusal::ALL.iter().map(|refusal| refusal.label()).collect();
        assert_eq!(labels.len(), CommandRefusal::ALL.len());
    }
}
