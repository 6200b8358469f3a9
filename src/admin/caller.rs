//! Who calls the session API, and what each caller may do in which realms (P36).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::problem::{Problem, ProblemKind};
use crate::authz::policy::RealmRights;
use crate::authz::session::Realm;
use crate::sessions::secret_file::{self, CURE, EXPOSED, Refused};

/// The fewest characters of an admin token: with base64 that is 192 bits.
pub const MIN_TOKEN: usize = 32;
/// The most bytes of a token file.
const MAX_TOKEN_FILE: usize = 4096;

/// What a caller may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Make sessions, and so see their tokens.
    Create,
    /// Read and list sessions.
    Read,
    /// Change sessions.
    Update,
    /// Replace a token, for whoever holds the present one.
    Rotate,
    /// End sessions.
    Revoke,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 5] = [Self::Create, Self::Read, Self::Update, Self::Rotate, Self::Revoke];

    /// Its name, as in `api.callers[].verbs` and the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
        }
    }

    /// The verb of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

/// The realms in which a caller may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Realms {
    /// In every one.
    Any,
    /// In these.
    Only(BTreeSet<Realm>),
}

/// Someone who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name that the audit log shows.
    pub name: String,
    /// Where it may act.
    pub realms: Realms,
    /// What it may do.
    pub verbs: BTreeSet<Verb>,
}

/// A caller and the file with its token.
#[derive(Clone, Debug)]
pub struct CallerConfig {
    /// The caller.
    pub caller: Caller,
    /// Its token: the whole file, white space at both ends taken off; at least [`MIN_TOKEN`] visible ASCII characters.
    pub token_file: PathBuf,
}

impl CallerConfig {
    /// The one caller of `api.tokenFile`, who may do everything everywhere.
    pub fn admin(token_file: PathBuf) -> Self {
        let caller = Caller { name: "admin".to_owned(), realms: Realms::Any, verbs: Verb::ALL.into() };
        Self { caller, token_file }
    }
}

/// Why a token file is not one.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("cannot read the admin token file {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Others may read or change it.
    #[error(
        "admin token file {}: others may read or change it (mode {mode:04o}); {CURE}", path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its content is no token.
    #[error(
        "{} must hold one admin token of {MIN_TOKEN} to {MAX_TOKEN_FILE} visible ASCII characters \
         (make one with: openssl rand -base64 32)", .0.display()
    )]
    Content(PathBuf),
    /// Two callers cannot be told apart.
    #[error("the admin token files of callers {0} and {1} hold the same token; each caller needs its own")]
    Same(String, String),
}

/// Everyone who may call.
#[derive(Clone, Debug)]
pub struct Callers(Arc<[(Arc<Caller>, PathBuf)]>);

impl Callers {
    /// These callers; their token files are read once, so that a bad one stops the start.
    ///
    /// # Errors
    /// A file that cannot be read or holds no token, or two that hold the same one.
    pub fn open(configs: Vec<CallerConfig>) -> Result<Self, TokenFileError> {
        let mut seen: Vec<(TokenDigest, &Caller)> = Vec::new();
        for config in &configs {
            let token = TokenDigest::read(&config.token_file)?;
            if let Some((_, other)) = seen.iter().find(|(other, _)| other.matches(&token)) {
                return Err(TokenFileError::Same(other.name.clone(), config.caller.name.clone()));
            }
            seen.push((token, &config.caller));
        }
        Ok(Self(configs.into_iter().map(|config| (Arc::new(config.caller), config.token_file)).collect()))
    }

    /// Who sent this request. The files are read anew each time, so that a replaced token counts at once and the one before
    /// it no longer: they are small and in the kernel's cache, and calls are few.
    ///
    /// # Errors
    /// 401 without a token that counts; 503 when that cannot be known because a file is broken.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Problem> {
        let mut sent = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (sent.next(), sent.next()) else {
            return Err(Problem::unauthorized(false, "one header `Authorization: Bearer <admin token>` is needed"));
        };
        let Some(presented) = bearer(value.as_bytes()) else {
            return Err(Problem::unauthorized(false, "`Authorization` must be `Bearer <admin token>`"));
        };
        let presented = TokenDigest::of(presented);
        let callers = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || find(&callers, &presented)).await.unwrap_or_else(|error| {
            tracing::error!(%error, "admin tokens cannot be compared");
            Err(Problem::new(ProblemKind::Internal, "a defect of the server; its log has more"))
        })
    }
}

/// Every caller is compared, whoever is found, so that the time says nothing of their order.
fn find(callers: &[(Arc<Caller>, PathBuf)], presented: &TokenDigest) -> Result<Arc<Caller>, Problem> {
    let mut found = Vec::new();
    let mut broken = false;
    for (caller, file) in callers {
        match TokenDigest::read(file) {
            Ok(token) if token.matches(presented) => found.push(caller),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(caller = caller.name, error = &error as &dyn std::error::Error, "admin token file");
                broken = true;
            }
        }
    }
    match found.as_slice() {
        [caller] => Ok(Arc::clone(caller)),
        [] if broken => Err(Problem::unavailable("an admin token file cannot be read; the log says which")),
        // Two callers with one token are never ranked, nor are their rights added up.
        [] | [_, _, ..] => Err(Problem::unauthorized(true, "the admin token is not one that counts here")),
    }
}

/// The token of `Bearer <token>` (RFC 6750 §2.1); the scheme in any letter case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ") && is_token(token)).then_some(token)
}

fn is_token(text: &[u8]) -> bool {
    (MIN_TOKEN..=MAX_TOKEN_FILE).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// SHA-256 of an admin token: only ever compared, in constant time.
struct TokenDigest([u8; 32]);

impl TokenDigest {
    fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(bytes)
    }

    fn read(file: &Path) -> Result<Self, TokenFileError> {
        let error = |error| TokenFileError::Read(file.to_owned(), error);
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_TOKEN_FILE + 1));
        let opened = secret_file::open(file, EXPOSED).map_err(|refused| match refused {
            Refused::Io(source) => error(source),
            Refused::Exposed(mode) => TokenFileError::Exposed { path: file.to_owned(), mode },
        })?;
        io::Read::read_to_end(&mut io::Read::take(opened, MAX_TOKEN_FILE as u64 + 1), &mut content).map_err(error)?;
        let token = content.trim_ascii();
        if content.len() > MAX_TOKEN_FILE || !is_token(token) {
            return Err(TokenFileError::Content(file.to_owned()));
        }
        Ok(Self::of(token))
    }

    fn matches(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// The one namespace that a gate serves, and what it may do in which realms: whoever holds its admin token may do no more than
/// its policies may (P27).
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The namespace.
    pub namespace: String,
    /// The realms there are.
    pub realms: BTreeMap<Realm, RealmRights>,
}

impl Tenant {
    fn check(&self, verb: Verb, realm: &Realm) -> Result<(), Problem> {
        let (right, may) = match (verb, self.realms.get(realm)) {
            (Verb::Create, rights) => ("create", rights.map(|it| &it.create)),
            (Verb::Read, rights) => ("use", rights.map(|it| &it.uses)),
            (Verb::Update | Verb::Rotate | Verb::Revoke, rights) => ("write", rights.map(|it| &it.write)),
        };
        if may.is_some_and(|it| it.contains(&self.namespace)) {
            return Ok(());
        }
        let (verb, namespace) = (verb.name(), &self.namespace);
        let words = format!(
            "namespace `{namespace}` may not {verb} sessions of the realm `{realm}`: `realms.{realm}.{right}` of the install does \
             not name it",
            realm = realm.as_str()
        );
        Err(Problem::new(ProblemKind::NotAllowed, words))
    }
}

/// The proof that a caller may do something in a realm; every change asks for one.
#[derive(Clone, Debug)]
pub struct Grant {
    caller: Arc<Caller>,
    verb: Verb,
    realm: Realm,
}

impl Grant {
    /// The grant of `verb` in `realm` to `caller`, at a gate that serves `tenant` alone, if it does.
    ///
    /// # Errors
    /// 403 when the caller, or the tenant, has no such right.
    pub fn check(caller: Arc<Caller>, tenant: Option<&Tenant>, verb: Verb, realm: Realm) -> Result<Self, Problem> {
        let realm_allowed = match &caller.realms {
            Realms::Any => true,
            Realms::Only(realms) => realms.contains(&realm),
        };
        match (caller.verbs.contains(&verb), realm_allowed) {
            (true, true) => {
                tenant.map_or(Ok(()), |it| it.check(verb, &realm))?;
                Ok(Self { caller, verb, realm })
            }
            (false, _) => {
                Err(Problem::new(ProblemKind::NotAllowed, format!("this caller may not {} sessions", verb.name())))
            }
            (true, false) => Err(Problem::new(ProblemKind::NotAllowed, "this caller may not act in this realm")),
        }
    }

    /// Who it was given to.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// For what.
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// Where.
    pub fn realm(&self) -> &Realm {
        &self.realm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::policy::Namespaces;

    #[test]
    fn p27_an_admin_of_one_namespace_may_do_what_its_policies_may() {
        let realm = |name: &str| Realm::parse(name).unwrap();
        let only = |name: &str| Namespaces::Only([name.to_owned()].into());
        let rights = |create, write, uses| RealmRights { uses, create, write };
        let tenant = Tenant {
            namespace: "shop".to_owned(),
            realms: BTreeMap::from([
                (realm("own"), RealmRights::default()),
                (realm("made"), rights(only("shop"), only("bank"), Namespaces::Everyone)),
                (realm("kept"), rights(only("bank"), only("shop"), Namespaces::Everyone)),
                (realm("bank"), rights(only("bank"), only("bank"), only("bank"))),
            ]),
        };
        let admin = Arc::new(CallerConfig::admin("unused".into()).caller);
        let all = Verb::ALL.as_slice();
        for (name, may) in [
            ("own", all),
            ("made", &[Verb::Create, Verb::Read]),
            ("kept", &[Verb::Read, Verb::Update, Verb::Rotate, Verb::Revoke]),
            ("bank", &[]),
            // What the install does not know, nobody has a right in.
            ("none", &[]),
        ] {
            for verb in Verb::ALL {
                let granted = Grant::check(Arc::clone(&admin), Some(&tenant), verb, realm(name));
                assert_eq!(granted.is_ok(), may.contains(&verb), "{name} {verb:?}");
                assert!(Grant::check(Arc::clone(&admin), None, verb, realm(name)).is_ok(), "a gate of all namespaces");
            }
        }
    }
}
