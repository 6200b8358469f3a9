//! `realms`: which there are, and which namespaces may do what in each.

use std::collections::{BTreeMap, BTreeSet};

use super::file::RealmFile;
use super::{Wrong, realm, wrong};
use crate::api::meta::is_label;
use crate::authz::policy::{Namespaces, RealmRights};
use crate::authz::session::Realm;

/// The realms of the file and the install's `own`, which everyone may use and change unless the file says otherwise.
pub(super) fn resolve(
    own: &Realm,
    written: BTreeMap<String, RealmFile>,
) -> Result<BTreeMap<Realm, RealmRights>, Wrong> {
    let mut realms = BTreeMap::from([(own.clone(), RealmRights::default())]);
    for (name, file) in written {
        let named = realm("realms", &name)?;
        let list = |key: &str, given| namespaces(&format!("realms.{name}.{key}"), given);
        let uses = list("use", file.uses)?;
        let create = list("create", file.create)?;
        let write = list("write", file.write)?;
        for (key, given) in [("create", &create), ("write", &write)] {
            if let Some(namespace) = beyond(given, &uses) {
                return Err(wrong(
                    format!("realms.{name}.{key}"),
                    format!("`{namespace}` may not use the realm, so this has no effect: add it to realms.{name}.use"),
                ));
            }
        }
        realms.insert(named, RealmRights { uses, create, write });
    }
    Ok(realms)
}

/// A namespace that is named in `given` and is not in `uses`.
fn beyond<'a>(given: &'a Namespaces, uses: &Namespaces) -> Option<&'a str> {
    match given {
        Namespaces::Everyone => None,
        Namespaces::Only(these) => these.iter().map(String::as_str).find(|namespace| !uses.contains(namespace)),
    }
}

/// A list of namespaces: left out or `['*']`, it is every one; empty, none.
fn namespaces(key: &str, given: Option<Vec<String>>) -> Result<Namespaces, Wrong> {
    let Some(given) = given else { return Ok(Namespaces::Everyone) };
    if given == ["*"] {
        return Ok(Namespaces::Everyone);
    }
    let mut these = BTreeSet::new();
    for namespace in given {
        let problem = if namespace == "*" {
            "`*` is every namespace: write it alone, or leave it out".to_owned()
        } else if !is_label(&namespace) {
            not_a_namespace(&namespace)
        } else if these.contains(&namespace) {
            format!("`{namespace}` is named twice")
        } else {
            these.insert(namespace);
            continue;
        };
        return Err(wrong(key.to_owned(), problem));
    }
    Ok(Namespaces::Only(these))
}

fn not_a_namespace(text: &str) -> String {
    let near = text.trim().to_ascii_lowercase().replace(['_', '.', ' '], "-");
    let cure = match near.trim_matches('-') {
        near if is_label(near) => format!("did you mean `{near}`?"),
        _ if text.contains('*') => "write the namespaces out, or `['*']` for every one".to_owned(),
        _ => "write 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends".to_owned(),
    };
    format!("`{text}` is not a namespace: {cure}")
}
