//! The way back: from a response to what the proxy is told to change of it (DESIGN 6).
//!
//! Which session a response may speak of comes from the sealed handle that its own request left, and from nothing else (P22);
//! what it may say of it comes from the rule as it is now, which must be the rule that judged the request.

mod awaited;
mod taken;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;

pub(super) use self::awaited::AwaitedBody;
use self::taken::{At, Taken};
use super::headers;
use super::metrics::{Outcome, ResponseMetrics};
use super::record::{self, Records, Verb, Why};
use super::reply::{Changes, Instead};
use super::wire::{Answer, HeaderMap, HttpHeaders, Metadata};
use crate::authz::attributes::own_headers::OwnHeaders;
use crate::authz::policy::exchange::{Exchange, ExchangePlace};
use crate::authz::policy::{Grants, PolicyIndex};
use crate::authz::response::{
    Command, CommandRefusal, HANDLE_METADATA, RefusalEffect, ResponseScope, Wish, asks_to_end,
};
use crate::identity::jwt::{self, JwtRefusal};
use crate::sessions::clock::Clock;
use crate::sessions::cookie::{CookieValue, set_cookie};

use crate::sessions::{Issued, NotDone, Responded, Sessions};

/// Where a request leaves the handle for its response: the filter whose metadata it is, and its name there.
const HANDLE: (&str, &str) = ("envoy.filters.http.ext_authz", HANDLE_METADATA);

/// How responses are processed.
#[derive(Clone, Debug)]
pub struct ProcessorConfig {
    /// The headers that no client sees.
    pub own_headers: OwnHeaders,
    /// The cookie that new tokens travel in, if the install has one.
    pub cookie: Option<Arc<str>>,
    /// How long a response may wait for its change. Shorter than the proxy's `message_timeout`, or the proxy answers instead.
    pub deadline: Duration,
}

/// Processes responses.
pub struct Processor {
    config: ProcessorConfig,
    policies: Arc<ArcSwap<PolicyIndex>>,
    sessions: Arc<Sessions>,
    clock: Arc<Clock>,
    records: Records,
    metrics: ResponseMetrics,
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a message comes to: its answer, and what the stream keeps for the next.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) answer: Answer,
    pub(super) awaited: Option<AwaitedBody>,
}

impl Turn {
    pub(super) fn done(answer: Answer) -> Self {
        Self { answer, awaited: None }
    }
}

/// Why a response's wish is not done, and what becomes of it. Where a JWT is in it, it does not pass (P11).
struct Refused {
    refusal: CommandRefusal,
    effect: RefusalEffect,
    why: Option<Why>,
}

impl From<CommandRefusal> for Refused {
    fn from(refusal: CommandRefusal) -> Self {
        Self { refusal, effect: refusal.effect(), why: None }
    }
}

impl From<NotDone> for Refused {
    fn from(NotDone { refusal, field }: NotDone) -> Self {
        Self { why: field.map(Why::Field), ..Self::from(refusal) }
    }
}

impl Refused {
    /// Of a response that has a JWT in it.
    fn with_jwt(refusal: CommandRefusal) -> Self {
        let effect = match refusal.effect() {
            RefusalEffect::Pass => RefusalEffect::BadGateway,
            effect => effect,
        };
        Self { refusal, effect, why: None }
    }
}

impl Processor {
    /// A processor over these policies and sessions. Both change under it; it always uses what is there.
    pub fn new(
        config: ProcessorConfig,
        policies: Arc<ArcSwap<PolicyIndex>>,
        sessions: Arc<Sessions>,
        clock: Arc<Clock>,
        metrics: ResponseMetrics,
    ) -> Self {
        let records = Records::new(metrics.records_dropped.clone());
        Self { config, policies, sessions, clock, records, metrics }
    }

    pub(super) fn metrics(&self) -> &ResponseMetrics {
        &self.metrics
    }

    pub(super) fn own_headers(&self) -> &OwnHeaders {
        &self.config.own_headers
    }

    /// Answers the headers of a response. `buffered` says whether its body comes whole, before they leave.
    pub(super) async fn headers(&self, http: &HttpHeaders, metadata: Option<&Metadata>, buffered: bool) -> Turn {
        let headers = http.headers.as_ref();
        let mut changes = Changes::strip(headers, &self.config.own_headers);
        let scope = self.open(metadata);
        let spoken = match &scope {
            Ok(scope) => self.speak(scope, http, buffered, &mut changes).await,
            // A request that left nothing has a response that says nothing, most times. What another handle hides is not known.
            Err(refusal) if *refusal != CommandRefusal::NoHandle || headers::has_command(headers) => {
                Err((*refusal).into())
            }
            Err(_) => {
                self.metrics.count(Outcome::Stripped);
                Ok(None)
            }
        };
        let scope = scope.ok();
        let awaited = match spoken {
            Ok(awaited) => awaited,
            Err(refused) => {
                if let Some(instead) = self.refuse(&refused, scope.as_ref(), headers::is_grpc(headers)) {
                    return Turn::done(instead);
                }
                if let Some(scope) = scope.filter(|scope| scope.dead) {
                    expire_cookie(&scope, &mut changes);
                }
                None
            }
        };
        Turn { answer: changes.into_headers(), awaited }
    }

    /// Answers the body that was waited for.
    pub(super) async fn body(&self, awaited: AwaitedBody, bytes: &Bytes) -> Answer {
        let mut changes = Changes::default();
        match self.swap(&awaited, bytes, &mut changes).await {
            Ok(body) => changes.into_body(body),
            Err(refused) => {
                let instead = self.refuse(&refused, Some(&awaited.scope), awaited.grpc);
                instead.unwrap_or_else(|| changes.into_body(None))
            }
        }
    }

    /// What the response becomes when a message about it could not be answered.
    pub(super) fn defect(&self, grpc: bool) -> Answer {
        let refused = Refused::from(CommandRefusal::Internal);
        self.note(&refused, None);
        Instead::Unavailable.answer(refused.refusal, grpc)
    }

    /// Opens the handle that the request left.
    fn open(&self, metadata: Option<&Metadata>) -> Result<ResponseScope, CommandRefusal> {
        let handle = metadata.and_then(|it| it.text(HANDLE.0, HANDLE.1)).ok_or(CommandRefusal::NoHandle)?;
        let handle = std::str::from_utf8(handle).map_err(|_| CommandRefusal::InvalidHandle)?;
        self.sessions.open(handle, self.clock.now())
    }

    /// What the rule grants, if it is still the one that judged the request.
    fn grants(&self, scope: &ResponseScope, headers: Option<&HeaderMap>) -> Result<Option<Arc<Grants>>, Refused> {
        match self.policies.load().grants(&scope.rule) {
            Some((realm, grants)) if *realm == scope.realm && grants.fingerprint == scope.fingerprint => {
                Ok(Some(Arc::clone(grants)))
            }
            // As the rule was or as it is now, no JWT of its service may leave.
            now if scope.exchanges || now.is_some_and(|(_, grants)| grants.exchange.is_some()) => {
                Err(Refused::with_jwt(CommandRefusal::PolicyChanged))
            }
            // Who asked to be logged out must not believe that it was done (P20).
            _ if asks_to_end(headers::lines(headers)) => {
                Err(Refused { effect: RefusalEffect::Unavailable, ..CommandRefusal::PolicyChanged.into() })
            }
            _ if headers::has_command(headers) => Err(CommandRefusal::PolicyChanged.into()),
            _ => Ok(None),
        }
    }

    /// Does what the headers of a response say. What is left to do when its body comes is the answer.
    async fn speak(
        &self,
        scope: &ResponseScope,
        http: &HttpHeaders,
        buffered: bool,
        changes: &mut Changes,
    ) -> Result<Option<AwaitedBody>, Refused> {
        let headers = http.headers.as_ref();
        let Some(grants) = self.grants(scope, headers)? else {
            self.metrics.count(Outcome::Stripped);
            if scope.dead {
                expire_cookie(scope, changes);
            }
            return Ok(None);
        };
        let wish = Wish::read(headers::lines(headers), &grants);
        if let Some(refusal) = wish.refused {
            self.note(&refusal.into(), Some(scope));
        }
        let commanded = wish.command.is_some();
        // Before anything that could keep the response back: who asked to be logged out is.
        let ends = matches!(wish.command, Some(Command::End(_)));
        let command = match wish.command {
            Some(end @ Command::End(_)) => {
                self.carry_out(scope, end).await?;
                changes.no_store();
                None
            }
            other => other,
        };
        let awaits_body = grants.exchange.as_ref().is_some_and(is_in_body) && !http.end_of_stream;
        if awaits_body && !buffered {
            return Err(CommandRefusal::NotBuffered.into());
        }
        if awaits_body && (headers::is_encoded(headers) || headers::is_part(headers)) {
            return Err(CommandRefusal::UnreadableBody.into());
        }
        let taken = grants.exchange.as_ref().map_or(Taken::Nothing, |exchange| Taken::find(&exchange.place, headers));
        if let Taken::One { at, .. } = &taken {
            at.take_off(headers, changes);
        }
        if grants.exchange.is_some() && taken.leaves_jwt(headers, &self.config.own_headers) {
            return Err(Refused::with_jwt(CommandRefusal::InvalidJwt));
        }
        let mut old_cookie_is_over = scope.dead || ends;
        match (command, taken, &grants.exchange) {
            (_, Taken::Several, _) => return Err(Refused::with_jwt(CommandRefusal::InvalidJwt)),
            // It is taken off, and nothing is made of it.
            (None, Taken::One { .. }, _) if ends => {
                self.note(&CommandRefusal::ConflictingCommands.into(), Some(scope));
            }
            (Some(_), Taken::One { .. }, _) => return Err(Refused::with_jwt(CommandRefusal::ConflictingCommands)),
            (Some(command), Taken::Nothing, _) => {
                let cookie = matches!(command, Command::Create(_)).then(|| self.cookie()).transpose()?;
                if let (Some(issued), Some(cookie)) = (self.carry_out(scope, command).await?, cookie) {
                    self.give_cookie(cookie, &issued, changes);
                    old_cookie_is_over = false;
                }
            }
            (None, Taken::One { jwt, at: At::Cookie(_), .. }, Some(exchange)) => {
                let cookie = self.cookie()?;
                self.give_cookie(cookie, &self.exchange(scope, exchange, &jwt).await?, changes);
                old_cookie_is_over = false;
            }
            (None, Taken::One { jwt, at: At::Header(name), .. }, Some(exchange)) => {
                let issued = self.exchange(scope, exchange, &jwt).await?;
                changes.overwrite(name, Bytes::copy_from_slice(issued.token.reveal().as_bytes()));
                changes.no_store();
                old_cookie_is_over = true;
            }
            (None, ..) if ends || awaits_body || wish.refused.is_some() => {}
            (None, ..) => self.metrics.count(Outcome::Stripped),
        }
        if old_cookie_is_over {
            expire_cookie(scope, changes);
        }
        Ok(awaits_body.then(|| AwaitedBody::of(scope.clone(), grants, headers, commanded)))
    }

    /// Does what was wished, within the deadline; answers the session that was made, if one was.
    async fn carry_out(&self, scope: &ResponseScope, command: Command) -> Result<Option<Issued>, Refused> {
        let verb = Verb::of(&command);
        let (outcome, issued) = match self.respond(scope, verb, command).await.map_err(Refused::from)? {
            Responded::Created { issued, .. } => (Outcome::Created, Some(issued)),
            Responded::Updated => (Outcome::Updated, None),
            Responded::Unchanged | Responded::Ended(0) => (Outcome::Unchanged, None),
            Responded::Ended(_) => (Outcome::Ended, None),
        };
        self.metrics.count(outcome);
        Ok(issued)
    }

    /// Makes a session of a JWT that the service issued.
    async fn exchange(&self, scope: &ResponseScope, exchange: &Exchange, text: &[u8]) -> Result<Issued, Refused> {
        let invalid = |why| Refused { why: Some(Why::Jwt(why)), ..Refused::with_jwt(CommandRefusal::InvalidJwt) };
        let text = std::str::from_utf8(text).map_err(|_| invalid(JwtRefusal::Malformed))?;
        let identity = jwt::verify(&exchange.issuer, text, self.clock.now()).map_err(invalid)?;
        match self.respond(scope, Verb::Exchange, Command::Create(Box::new(identity))).await {
            Ok(Responded::Created { issued, .. }) => {
                self.metrics.count(Outcome::Exchanged);
                Ok(issued)
            }
            Ok(_) => Err(Refused::with_jwt(CommandRefusal::Internal)),
            Err(refused) if refused.refusal.effect() == RefusalEffect::Pass => {
                Err(Refused { why: Some(Why::Unusable(refused)), ..Refused::with_jwt(CommandRefusal::UnusableJwt) })
            }
            Err(refused) => Err(refused.into()),
        }
    }

    async fn respond(&self, scope: &ResponseScope, verb: Verb, command: Command) -> Result<Responded, NotDone> {
        let for_log = scope.clone();
        let told = move |came: Result<&Responded, NotDone>| record::asked(&for_log, verb, came);
        // Boxed: most responses wish nothing, and need no room for it.
        let responded = Box::pin(self.sessions.respond(scope, command, self.clock.now(), told));
        within(self.config.deadline, responded).await
    }

    /// The cookie for a new token. A policy that needs one is refused where the install has none.
    fn cookie(&self) -> Result<&str, Refused> {
        self.config.cookie.as_deref().ok_or_else(|| Refused::with_jwt(CommandRefusal::Internal))
    }

    fn give_cookie(&self, name: &str, issued: &Issued, changes: &mut Changes) {
        let left = issued.session.absolute_end.since(self.clock.now());
        changes.set_cookie(&set_cookie(name, &CookieValue::Token(&issued.token, left)));
    }

    fn note(&self, refused: &Refused, scope: Option<&ResponseScope>) {
        self.metrics.count(Outcome::Refused(refused.refusal));
        self.records.refused(refused.refusal, scope, refused.why);
    }

    /// Notes that a wish is not done; answers what takes the place of the response, if it must not pass. Where a rule exchanges
    /// JWTs, none passes about which anything is wrong: there may be one in it.
    fn refuse(&self, refused: &Refused, scope: Option<&ResponseScope>, grpc: bool) -> Option<Answer> {
        self.note(refused, scope);
        let instead = match refused.effect {
            RefusalEffect::Pass if scope.is_some_and(|scope| scope.exchanges) => Instead::BadGateway,
            RefusalEffect::Pass => return None,
            RefusalEffect::BadGateway => Instead::BadGateway,
            RefusalEffect::Unavailable => Instead::Unavailable,
        };
        Some(instead.answer(refused.refusal, grpc))
    }
}

/// What waits past the deadline can only be waiting for the store. It goes on without us, and may be done all the same; the
/// client is told to look again.
async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, NotDone>>) -> Result<T, NotDone> {
    tokio::time::timeout(deadline, work).await.unwrap_or(Err(CommandRefusal::StoreUnavailable.into()))
}

/// Takes back the cookie that the request's credential came in, if it came in one.
fn expire_cookie(scope: &ResponseScope, changes: &mut Changes) {
    if let Some(name) = &scope.cookie {
        changes.set_cookie(&set_cookie(name, &CookieValue::Expired));
    }
}

fn is_in_body(exchange: &Exchange) -> bool {
    matches!(exchange.place, ExchangePlace::BodyField(_))
}

#[cfg(test)]
pub(super) mod tests;
