//! The body of a response that was waited for, and the JWT in it.

use std::sync::Arc;

use bytes::Bytes;

use super::{Processor, Refused, expire_cookie};
use crate::authz::policy::Grants;
use crate::authz::policy::exchange::{Exchange, ExchangePlace};
use crate::authz::response::{CommandRefusal, ResponseScope};
use crate::ext_proc::headers::{self, CONTENT_LENGTH};
use crate::ext_proc::metrics::Outcome;
use crate::ext_proc::reply::Changes;
use crate::ext_proc::wire::HeaderMap;
use crate::ext_proc::{body, plain_sight};

/// A response whose body may hold the JWT of an exchange.
#[derive(Debug)]
pub(in crate::ext_proc) struct AwaitedBody {
    pub(super) scope: ResponseScope,
    grants: Arc<Grants>,
    /// Its headers wished something already: one response makes one session.
    commanded: bool,
    /// Its headers tell its length.
    has_length: bool,
    /// Its headers say that it is JSON.
    says_json: bool,
    /// It is one of gRPC.
    pub(super) grpc: bool,
}

impl AwaitedBody {
    /// The body behind these headers. `commanded` says whether they wished something.
    pub(super) fn of(scope: ResponseScope, grants: Arc<Grants>, headers: Option<&HeaderMap>, commanded: bool) -> Self {
        Self {
            scope,
            grants,
            commanded,
            has_length: headers::lines(headers).any(|(name, _)| name == CONTENT_LENGTH),
            says_json: headers::is_json(headers),
            grpc: headers::is_grpc(headers),
        }
    }
}

impl Processor {
    /// Swaps the JWT in a body for a token: the new body, if there was one in it.
    pub(super) async fn swap(
        &self,
        awaited: &AwaitedBody,
        bytes: &Bytes,
        changes: &mut Changes,
    ) -> Result<Option<Bytes>, Refused> {
        let AwaitedBody { scope, grants, commanded, has_length, says_json, grpc } = awaited;
        let Some(exchange @ Exchange { place: ExchangePlace::BodyField(path), .. }) = &grants.exchange else {
            return Err(Refused::with_jwt(CommandRefusal::Internal));
        };
        // A gRPC message is no JSON, whatever it looks like.
        let found = match *grpc {
            true if body::is_plain_grpc(bytes) => Ok(None),
            true => Err(body::Unreadable),
            false => body::find(bytes, path, *says_json),
        };
        let found = found.map_err(|body::Unreadable| CommandRefusal::UnreadableBody)?;
        let Some(found) = found else {
            // Not where the rule looks, and a JWT all the same: in another form of body, a part of one, under another name.
            if plain_sight::body_holds_jwt(bytes) {
                return Err(CommandRefusal::UnreadableBody.into());
            }
            if !commanded {
                self.metrics.count(Outcome::Stripped);
            }
            return Ok(None);
        };
        if *commanded {
            return Err(Refused::with_jwt(CommandRefusal::ConflictingCommands));
        }
        // Its copy, an `id_token` beside it: swapping one of them keeps no promise.
        if found.leaves_jwt() {
            return Err(CommandRefusal::UnreadableBody.into());
        }
        let issued = self.exchange(scope, exchange, found.text().as_bytes()).await?;
        changes.no_store();
        if !scope.dead {
            expire_cookie(scope, changes); // of a dead one, the answer to the headers has told
        }
        let body = found.replace(&issued.token.reveal());
        if *has_length {
            // Envoy refuses a body of another length than its header tells, and corrects none that it held back.
            changes.overwrite(&Bytes::from_static(CONTENT_LENGTH), body.len().to_string().into());
        }
        Ok(Some(body))
    }
}
