//! The JWT that an exchange takes out of the headers of a response.

use bytes::Bytes;

use crate::authz::attributes::own_headers::OwnHeaders;
use crate::authz::policy::exchange::ExchangePlace;
use crate::ext_proc::reply::{Changes, SET_COOKIE};
use crate::ext_proc::wire::HeaderMap;
use crate::ext_proc::{cookies, plain_sight};

/// What the headers have in the place of an exchange.
pub(super) enum Taken<'a> {
    /// Nothing: it is not there, or empty, or the exchange is in the body.
    Nothing,
    /// One text.
    One {
        /// The text.
        jwt: Bytes,
        /// Where it is.
        at: At<'a>,
        /// Which of the headers' lines that is.
        line: usize,
    },
    /// More than one: which of them counts would hang on the client.
    Several,
}

/// A place in the headers.
pub(super) enum At<'a> {
    /// The header of this name.
    Header(&'a Bytes),
    /// The cookie of this name.
    Cookie(&'a str),
}

impl<'a> Taken<'a> {
    /// Looks in the headers.
    pub(super) fn find(place: &'a ExchangePlace, headers: Option<&'a HeaderMap>) -> Self {
        let lines = headers.into_iter().flat_map(HeaderMap::iter).enumerate();
        match place {
            ExchangePlace::BodyField(_) => Self::Nothing,
            ExchangePlace::Header(name) => Self::single(
                lines
                    .filter(|(_, (found, _))| *found == name.as_bytes())
                    .map(|(line, (found, value))| (trimmed(value), At::Header(found), line)),
            ),
            ExchangePlace::Cookie(name) => Self::single(
                lines
                    .filter(|(_, (found, value))| *found == SET_COOKIE && cookies::sets(value, name))
                    .map(|(line, (_, value))| (cookies::value(value), At::Cookie(name), line)),
            ),
        }
    }

    fn single(found: impl Iterator<Item = (Bytes, At<'a>, usize)>) -> Self {
        // An empty one is how a service takes back what its client never got.
        let mut found = found.filter(|(jwt, ..)| !jwt.is_empty());
        match (found.next(), found.next()) {
            (None, _) => Self::Nothing,
            (Some((jwt, at, line)), None) => Self::One { jwt, at, line },
            (Some(_), Some(_)) => Self::Several,
        }
    }

    /// Whether a JWT stands in plain sight in any other line of the headers. Ours are not looked at: none of them leaves.
    pub(super) fn leaves_jwt(&self, headers: Option<&HeaderMap>, own: &OwnHeaders) -> bool {
        let taken = match self {
            Self::One { line, .. } => Some(*line),
            Self::Nothing | Self::Several => None,
        };
        let lines = headers.into_iter().flat_map(HeaderMap::iter).enumerate();
        let mut others = lines.filter(|(line, (name, _))| Some(*line) != taken && !own.owns(name));
        others.any(|(_, (_, value))| plain_sight::holds_jwt(value))
    }
}

impl At<'_> {
    /// Takes it out of the response: a header as a whole, and of the cookies no other.
    pub(super) fn take_off(&self, headers: Option<&HeaderMap>, changes: &mut Changes) {
        match self {
            Self::Header(name) => changes.remove(name),
            Self::Cookie(name) => {
                let set_cookie = Bytes::from_static(SET_COOKIE);
                changes.remove(&set_cookie);
                let lines = headers.into_iter().flat_map(HeaderMap::iter).filter(|(found, _)| *found == SET_COOKIE);
                for (_, line) in lines.filter(|(_, line)| !cookies::sets(line, name)) {
                    changes.add(&set_cookie, line.clone());
                }
            }
        }
    }
}

fn trimmed(value: &Bytes) -> Bytes {
    let bare = value.trim_ascii();
    if bare.is_empty() { Bytes::new() } else { value.slice_ref(bare) }
}
