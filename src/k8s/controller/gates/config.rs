//! What gates are to have, as the configuration says it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::store_users::StoreUsers;

/// What is brought, and to whom.
#[derive(Clone, Debug, Default)]
pub struct GatesConfig {
    /// The Secrets that are made once in the install's namespace.
    pub once: BTreeSet<OnceMade>,
    /// What enrolled namespaces get; without it, nothing.
    pub sidecars: Option<SidecarsConfig>,
    /// Whether the text of the sidecars' file, with a namespace in it, can be used. What is no good is copied to nobody.
    pub check: FileCheck,
    /// Where it is told which namespaces have a user of the store, and with which passwords.
    pub store_users: StoreUsers,
}

/// What enrolled namespaces get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarsConfig {
    /// The file of their gates. `${namespace}` in it becomes the namespace.
    pub config_file: PathBuf,
    /// Where the store's password lies, in the install's namespace.
    pub password: Option<FileInSecret>,
    /// Where that of its sentinels lies, if they ask for one.
    pub sentinel_password: Option<FileInSecret>,
    /// Where the certificates lie that prove the store.
    pub ca: Option<FileInSecret>,
    /// Whether each namespace has a user of the store, with a password that is made for it.
    pub users: bool,
}

/// One file of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInSecret {
    /// The Secret's name.
    pub secret: String,
    /// The file's.
    pub key: String,
}

/// Says what is wrong with a file's text, if anything.
pub type Check = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// A [`Check`] that is handed on.
#[derive(Clone)]
pub struct FileCheck(pub Arc<Check>);

impl Default for FileCheck {
    fn default() -> Self {
        Self(Arc::new(|_| Ok(())))
    }
}

impl std::fmt::Debug for FileCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileCheck")
    }
}

/// A Secret of the install that is made with random content when it is missing, and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnceMade {
    /// The key that tags tokens: one for all gates of a store.
    Token,
    /// The admin token of a shared gate.
    Admin,
    /// The password of the bundled store.
    Store,
}

impl OnceMade {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Token, Self::Admin, Self::Store];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Admin => "admin",
            Self::Store => "store",
        }
    }

    /// The Secret, and the file in it.
    pub(super) fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Token => ("cloakroom-token", "token.key"),
            Self::Admin => ("cloakroom-admin", "admin.token"),
            Self::Store => ("cloakroom-store", "password"),
        }
    }
}

impl SidecarsConfig {
    /// The text of the file for `namespace`.
    pub fn for_namespace(text: &str, namespace: &str) -> String {
        text.replace("${namespace}", namespace)
    }
}
