//! Real folders: read, refused, changed under the gate.

mod documents;
mod reload;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::authz::attributes::{RawRequest, RequestAttributes};
use crate::authz::credential::{Carrier, Carriers};
use crate::authz::plan::explain::explain;
use crate::authz::policy::Install;
use crate::authz::session::{Realm, Timestamp};

fn install() -> Install {
    let carriers = Carriers::new(vec![Carrier::Bearer]).unwrap();
    Install::open(Realm::parse("shop").unwrap(), carriers)
}

/// A policy on `<name>.example` with one public rule of this name.
fn public(name: &str, rule: &str) -> String {
    format!(
        "apiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{ name: {name} }}\nspec:\n  hosts: [{name}.example]\n  \
         rules: [{{ name: {rule}, access: Public }}]\n"
    )
}

/// The rule that judges `GET <host>/`, or the reason why none does.
fn judged(index: &PolicyIndex, host: &str) -> String {
    let raw = RawRequest { method: b"GET", host: host.as_bytes(), path: b"/", ..RawRequest::default() };
    let said = explain(index, &RequestAttributes::read(raw).unwrap(), None, |_| None, Timestamp::from_millis(0));
    said.reason.map(str::to_owned).or(said.rule).unwrap_or_default()
}

struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn write(&self, file: &str, text: &str) -> &Self {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn read(&self) -> Result<Found, FolderError> {
        read(&[self.path()])
    }

    /// What is said about the folder, without its path.
    fn errors(&self) -> Vec<String> {
        let FolderError(errors) = self.read().expect_err("does not read");
        let prefix = format!("{}/", self.0.path().display());
        errors.iter().map(|error| error.to_string().replace(&prefix, "")).collect()
    }
}

fn names(found: &Found) -> Vec<String> {
    found.objects.policies.iter().map(|policy| policy.object.name.to_string()).collect()
}
