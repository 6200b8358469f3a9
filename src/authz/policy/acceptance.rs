//! Whether the proxy has a route.

/// What is told of a route at one listener. Only what is [`Self::Taken`] is sure to get the requests that it is found for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Acceptance {
    /// The Gateway's controller has taken it as it is now.
    Taken,
    /// What is told is about an earlier generation.
    Older,
    /// Nothing is told.
    Untold,
    /// It is accepted, and not all of it is there; or two controllers disagree.
    InPart,
    /// It is not accepted.
    Refused,
}

impl Acceptance {
    /// What a route's status says, after the route's name; `None` for one that is taken.
    pub(super) const fn doubt(self) -> Option<&'static str> {
        Some(match self {
            Self::Taken => return None,
            Self::Older => "has changed, and its status does not tell of this generation yet",
            Self::Untold => "has no status that says `Accepted` for this Gateway",
            Self::InPart => {
                "is accepted, and its status says that not all of it works (`ResolvedRefs`, `PartiallyInvalid`, `Programmed`)"
            }
            Self::Refused => "is not accepted by its Gateway, as its status says",
        })
    }
}
