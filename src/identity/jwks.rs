//! Keys that issuers publish (RFC 7517 §5; OpenID Connect Discovery 1.0 §4), fetched and kept.
//!
//! | what | bound |
//! |---|---|
//! | a fetch | 256 KiB a document, 64 keys, 5 s in all, no redirect, the addresses that the install allows |
//! | fetched again | after what `Cache-Control` says, within 1 min to 1 h; after 10 min if it says nothing |
//! | because of an unknown `kid` | once in 30 s at most, however many ask |
//! | after a failure | each 5 s, in the background |
//! | begun in one second that no request asks for | 64, the longest due first |
//! | used after the last good fetch | 1 h; then nothing is known, and that is 503 |
//!
//! Each source has a flight of its own, in a task of its own: who waits for one issuer does not wait for another (P25).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::outbound::{Answer, FetchError, Outbound};
use super::stats::{Asked, ProviderStats};
use crate::api::exchange::JwkSet;
use crate::authz::policy::exchange::KeySet;
use crate::authz::policy::provider::{IdentityProvider, JwtIssuer, KeySource, ProviderKind};

const MAX_DOCUMENT: usize = 256 * 1024;
const MAX_KEYS: usize = 64;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const USUAL_LIFE: Duration = Duration::from_secs(600);
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(3600);
/// How far apart fetches are that requests cause.
const ASKED_AGAIN: Duration = Duration::from_secs(30);
/// How long after a failure it is tried again.
const TRIED_AGAIN: Duration = Duration::from_secs(5);
/// How many fetches are begun at once that no request asks for.
const MAX_BEGUN: usize = 64;
/// How long keys are used after the last good fetch.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// A source of keys, by the namespace whose providers name it: tenants share no fetches, and so no delays. And by the object that
/// names it, where that is known: one that is made again begins with keys of its own.
type SourceName = (Arc<str>, Option<Arc<str>>, KeySource);

/// Every source that a policy's provider names.
pub(super) struct KeySources {
    sources: Mutex<HashMap<SourceName, Arc<PublishedKeys>>>,
    parts: Parts,
}

/// What a fetch needs.
#[derive(Clone)]
struct Parts {
    outbound: Arc<Outbound>,
    stats: Arc<ProviderStats>,
    tasks: TaskTracker,
}

/// The keys of one source.
pub(super) struct PublishedKeys {
    at: KeySource,
    /// For logs.
    namespace: Arc<str>,
    parts: Parts,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    good: Option<Good>,
    /// When the last fetch ended, and whether it failed.
    ended: Option<(Instant, bool)>,
    /// When a request last caused a fetch.
    asked: Option<Instant>,
    /// The fetch under way; what it hears is its end.
    flight: Option<watch::Receiver<()>>,
    /// No provider names it any more.
    is_retired: bool,
}

/// The last good fetch.
struct Good {
    written: JwkSet,
    keys: Arc<KeySet>,
    since: Instant,
    fresh_for: Duration,
}

/// What came of looking for newer keys.
pub(super) enum Newer {
    /// These are others than before.
    Keys(Arc<KeySet>),
    /// There are none: what was known is what the issuer publishes.
    Same,
    /// Nothing can be known now.
    Unavailable,
}

impl fmt::Debug for PublishedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishedKeys").field("at", &self.at).finish_non_exhaustive()
    }
}

impl KeySources {
    pub(super) fn new(outbound: Arc<Outbound>, stats: Arc<ProviderStats>, tasks: TaskTracker) -> Self {
        Self { sources: Mutex::default(), parts: Parts { outbound, stats, tasks } }
    }

    /// Where this issuer's keys come from; `None` when they are in the object.
    pub(super) fn of(&self, provider: &IdentityProvider, issuer: &JwtIssuer) -> Option<Arc<PublishedKeys>> {
        if issuer.keys == KeySource::Inline {
            return None;
        }
        let name = (Arc::clone(&provider.name.namespace), provider.uid().map(Arc::from), issuer.keys.clone());
        let new = || Arc::new(PublishedKeys::new(&name, self.parts.clone()));
        Some(Arc::clone(self.sources().entry(name.clone()).or_insert_with(new)))
    }

    /// Forgets every source but those of these providers.
    pub(super) fn retain(&self, named: &[&Arc<IdentityProvider>]) {
        let sources = named.iter().filter_map(|provider| match &provider.kind {
            ProviderKind::Jwt(issuer) => self.of(provider, issuer),
            _ => None,
        });
        // Held while they are compared, so that an address stands for one source.
        let held: Vec<_> = sources.collect();
        let kept: HashSet<_> = held.iter().map(Arc::as_ptr).collect();
        self.sources().retain(|_, source| {
            let stays = kept.contains(&Arc::as_ptr(source));
            if !stays {
                source.retire();
            }
            stays
        });
    }

    /// Begins the fetches that are due, those that wait the longest first.
    pub(super) fn refresh_due(&self) {
        let now = Instant::now();
        let sources = self.sources();
        let due = sources.values().filter_map(|source| {
            let state = source.state();
            state.is_due(now).then(|| (state.ended.map(|(at, _)| at), Arc::clone(source)))
        });
        let mut due: Vec<_> = due.collect();
        drop(sources);
        due.sort_by_key(|(ended, _)| *ended);
        for (_, source) in due.into_iter().take(MAX_BEGUN) {
            source.fetch();
        }
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<SourceName, Arc<PublishedKeys>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PublishedKeys {
    fn new((namespace, _, at): &SourceName, parts: Parts) -> Self {
        Self { at: at.clone(), namespace: Arc::clone(namespace), parts, state: Mutex::default() }
    }

    /// Lets its keys go for good: whoever holds on to it finds none from now on.
    fn retire(&self) {
        let mut state = self.state();
        (state.good, state.is_retired) = (None, true);
    }

    /// The keys, while they are young enough to be used.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.state().usable(Instant::now())
    }

    /// Waits for keys other than `known`, fetching them if that is allowed now.
    pub(super) async fn newer(self: &Arc<Self>, known: Option<&Arc<KeySet>>) -> Newer {
        let flight = {
            let mut state = self.state();
            let now = Instant::now();
            if let Some(newer) = state.newer(known, now) {
                return Newer::Keys(newer);
            }
            match &state.flight {
                Some(flight) => flight.clone(),
                None if state.may_ask(now) => {
                    // The very first fetch is owed to nobody's unknown key.
                    state.asked = state.good.is_some().then_some(now);
                    self.begin(&mut state)
                }
                None => return state.verdict(now),
            }
        };
        let mut flight = flight;
        // An error says that the fetch has ended, too.
        let _ = flight.changed().await;
        let (state, now) = (self.state(), Instant::now());
        state.newer(known, now).map_or_else(|| state.verdict(now), Newer::Keys)
    }

    fn fetch(self: &Arc<Self>) {
        let mut state = self.state();
        if state.flight.is_none() {
            self.begin(&mut state);
        }
    }

    /// Begins a fetch in a task of its own: it goes on when whoever waits for it goes away.
    fn begin(self: &Arc<Self>, state: &mut State) -> watch::Receiver<()> {
        let (landing, flight) = watch::channel(());
        state.flight = Some(flight.clone());
        let source = Arc::clone(self);
        self.parts.tasks.spawn(async move {
            let fetched =
                tokio::time::timeout(FETCH_TIMEOUT, source.fetched()).await.unwrap_or(Err(FetchError::Timeout));
            source.land(fetched);
            landing.send_replace(());
        });
        flight
    }

    fn land(&self, fetched: Result<(JwkSet, Duration), FetchError>) {
        self.parts.stats.asked(Asked::Keys, fetched.is_ok());
        let mut state = self.state();
        let had_failed = state.ended.is_some_and(|(_, failed)| failed);
        let now = Instant::now();
        state.flight = None;
        state.ended = Some((now, fetched.is_err()));
        match fetched {
            Ok((written, fresh_for)) => {
                // The very same keys stay the very same value, so that what was verified with them still counts.
                let keys = match state.good.take() {
                    Some(good) if good.written == written => good.keys,
                    _ => Arc::new(KeySet::published(&written)),
                };
                if keys.is_empty() {
                    tracing::warn!(namespace = &*self.namespace, source = ?self.at, "an issuer publishes no key that can be used");
                } else if had_failed {
                    tracing::info!(namespace = &*self.namespace, source = ?self.at, "an issuer's keys are fetched again");
                }
                state.good = Some(Good { written, keys, since: now, fresh_for });
            }
            Err(error) if !had_failed => {
                tracing::warn!(
                    namespace = &*self.namespace,
                    source = ?self.at,
                    error = &error as &dyn std::error::Error,
                    "an issuer's keys cannot be fetched; the last good ones are used for an hour"
                );
            }
            Err(_) => {}
        }
    }

    async fn fetched(&self) -> Result<(JwkSet, Duration), FetchError> {
        let outbound = &self.parts.outbound;
        let answer = match &self.at {
            KeySource::Uri(uri) => outbound.get(uri, MAX_DOCUMENT).await?,
            KeySource::Discovery(issuer) => {
                let document = outbound.get(&discovery_url(issuer), MAX_DOCUMENT).await?;
                let document: Discovery = serde_json::from_slice(&document.body).map_err(|_| FetchError::Malformed)?;
                // OpenID Connect Discovery 1.0 §4.3: the very same, or somebody else's keys would be taken for this issuer's.
                if document.issuer != **issuer {
                    return Err(FetchError::Issuer);
                }
                outbound.get(&document.jwks_uri, MAX_DOCUMENT).await?
            }
            KeySource::Inline => return Err(FetchError::Address),
        };
        let set: JwkSet = serde_json::from_slice(&answer.body).map_err(|_| FetchError::Malformed)?;
        if set.keys.len() > MAX_KEYS {
            return Err(FetchError::TooLarge);
        }
        Ok((set, life(&answer)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether it is time to fetch, whoever asks.
    fn is_due(&self, now: Instant) -> bool {
        let (None, Some((at, failed))) = (&self.flight, self.ended) else {
            return self.flight.is_none();
        };
        let pause = match &self.good {
            Some(good) if !failed => good.fresh_for,
            _ => TRIED_AGAIN,
        };
        now.duration_since(at) >= pause
    }

    /// Whether a request may cause a fetch.
    fn may_ask(&self, now: Instant) -> bool {
        let passed = |since: Instant, pause| now.duration_since(since) >= pause;
        match (&self.good, self.ended) {
            (None, Some((at, _))) => passed(at, TRIED_AGAIN),
            (None, None) => true,
            (Some(_), _) => self.asked.is_none_or(|asked| passed(asked, ASKED_AGAIN)),
        }
    }

    fn usable(&self, now: Instant) -> Option<Arc<KeySet>> {
        let good = self.good.as_ref().filter(|_| !self.is_retired)?;
        (now.duration_since(good.since) <= MAX_AGE).then(|| Arc::clone(&good.keys))
    }

    fn newer(&self, known: Option<&Arc<KeySet>>, now: Instant) -> Option<Arc<KeySet>> {
        self.usable(now).filter(|now| known.is_none_or(|known| !Arc::ptr_eq(now, known)))
    }

    /// What is to be said of a key that is not among those we have: unknown when the issuer said so itself, at last.
    fn verdict(&self, now: Instant) -> Newer {
        match self.ended {
            Some((_, false)) if self.usable(now).is_some() => Newer::Same,
            _ => Newer::Unavailable,
        }
    }
}

/// What counts of a discovery document.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// OpenID Connect Discovery 1.0 §4: a slash at the issuer's end is not doubled.
fn discovery_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// How long a set is fresh, within our bounds (RFC 9111 §5.2.2).
fn life(answer: &Answer) -> Duration {
    let mut life = USUAL_LIFE;
    for directive in answer.cache_control.split(',').map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("max-age") {
            life = value.trim_matches('"').parse().map_or(life, Duration::from_secs);
        } else if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return SHORTEST_LIFE;
        }
    }
    life.clamp(SHORTEST_LIFE, LONGEST_LIFE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_says_how_long_its_keys_are_fresh_within_bounds() {
        for (cache_control, seconds) in [
            ("", 600),
            ("public, max-age=300", 300),
            ("max-age=5", 60),
            ("max-age=86400", 3600),
            ("MAX-AGE=\"120\"", 120),
            ("max-age=soon", 600),
            ("no-cache, max-age=300", 60),
            ("max-age=300, no-store", 60),
            ("max-age=99999999999999999999", 600),
        ] {
            let answer = Answer { body: Vec::new(), cache_control: cache_control.to_owned() };
            assert_eq!(life(&answer).as_secs(), seconds, "{cache_control}");
        }
    }

    fn fetched(at: Instant, fresh_for: Duration) -> State {
        let written: JwkSet = serde_json::from_value(serde_json::json!({ "keys": [] })).unwrap();
        let good = Good { written, keys: Arc::default(), since: at, fresh_for };
        State { good: Some(good), ended: Some((at, false)), ..State::default() }
    }

    #[test]
    fn p25_last_good_keys_are_used_for_an_hour() {
        let start = Instant::now();
        let mut state = fetched(start, USUAL_LIFE);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!state.is_due(at(599)) && state.is_due(at(600)));
        state.ended = Some((at(600), true));
        assert!(!state.is_due(at(604)) && state.is_due(at(605)), "tried again soon");
        assert!(state.usable(at(3600)).is_some() && state.usable(at(3601)).is_none());
        assert!(matches!(state.verdict(at(700)), Newer::Unavailable), "nobody can say what is published now");
        state.ended = Some((at(700), false));
        assert!(matches!(state.verdict(at(700)), Newer::Same));
        assert!(matches!(state.verdict(at(3601)), Newer::Unavailable));
        assert!(State::default().is_due(start) && State::default().usable(start).is_none());
        // An unknown key makes a fetch each half minute at most; a source that has answered nothing is asked each 5 s.
        let mut asked = fetched(start, USUAL_LIFE);
        assert!(asked.may_ask(at(1)));
        asked.asked = Some(at(1));
        assert!(!asked.may_ask(at(30)) && asked.may_ask(at(31)));
        let failed = State { ended: Some((start, true)), ..State::default() };
        assert!(State::default().may_ask(start) && !failed.may_ask(at(4)) && failed.may_ask(at(5)));
        let under_way = State { flight: Some(watch::channel(()).1), ..State::default() };
        assert!(!under_way.is_due(at(9999)));
    }

    #[test]
    fn discovery_is_below_the_issuer() {
        for (issuer, url) in [
            ("https://a.example", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/realms/x", "https://a.example/realms/x/.well-known/openid-configuration"),
        ] {
            assert_eq!(discovery_url(issuer), url);
        }
    }
}
