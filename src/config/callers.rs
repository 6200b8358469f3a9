//! `api`: who may ask the session API, and for what.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::ApiFile;
use super::{Wrong, realm, wrong};
use crate::admin::caller::{Caller, CallerConfig, Realms, Verb};
use crate::api::read::listed;
use crate::authz::policy::RealmRights;
use crate::authz::session::Realm;

/// The callers of the file: with `api.tokenFile`, one that may do everything, first.
pub(super) fn resolve(
    file: ApiFile,
    folder: &Path,
    known: &BTreeMap<Realm, RealmRights>,
) -> Result<Vec<CallerConfig>, Wrong> {
    let mut callers: Vec<_> = file.token_file.map(|path| CallerConfig::admin(folder.join(path))).into_iter().collect();
    for written in file.callers {
        let name = written.name;
        if name.is_empty() || name.len() > 64 || callers.iter().any(|it| it.caller.name == name) {
            let problem =
                format!("`{name}` is not a name of its own, 1 to 64 bytes (`admin` is the caller of api.tokenFile)");
            return Err(wrong("api.callers", problem));
        }
        let realms = match written.realms {
            None => Realms::Any,
            Some(names) => Realms::Only(names.iter().map(|name| known_realm(name, known)).collect::<Result<_, _>>()?),
        };
        let verbs = match written.verbs {
            None => Verb::ALL.into(),
            Some(names) => names.iter().map(|name| verb(name)).collect::<Result<_, _>>()?,
        };
        callers
            .push(CallerConfig { caller: Caller { name, realms, verbs }, token_file: folder.join(written.token_file) });
    }
    Ok(callers)
}

fn known_realm(name: &str, known: &BTreeMap<Realm, RealmRights>) -> Result<Realm, Wrong> {
    let named = realm("api.callers.realms", name)?;
    let problem = || wrong("api.callers.realms", format!("`{name}` is not a realm of this install: add it to realms"));
    if known.contains_key(&named) { Ok(named) } else { Err(problem()) }
}

fn verb(name: &str) -> Result<Verb, Wrong> {
    let known: Vec<&str> = Verb::ALL.iter().map(|verb| verb.name()).collect();
    Verb::parse(name)
        .ok_or_else(|| wrong("api.callers.verbs", format!("no verb `{name}`: there are {}", listed(&known))))
}
