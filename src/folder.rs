//! Policies from a folder: every `*.yaml` and `*.yml` below it, read whole or not at all, compiled, and published as one.
//!
//! A file that cannot be parsed stops the start; later, the last good set stays and the status says why. An object that
//! parses and is wrong is that object's trouble alone (P26).

mod document;
mod listing;
mod watch;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::listing::Listing;
pub use self::watch::PolicyFolder;
use crate::authz::policy::{Install, Origin, PolicyIndex, PolicyObjects, PolicyProblem};

/// What was found in a folder, or in some files.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The objects.
    pub objects: PolicyObjects,
}

/// Why files do not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", FileError::list(.0))]
pub struct FolderError(pub Vec<FileError>);

/// Why a file does not read: where, what, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file, or the folder.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: Option<u64>,
    /// What is wrong, and what would be right.
    pub words: String,
}

impl FileError {
    fn new(file: &Path, words: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, words: words.into() }
    }

    fn list(errors: &[Self]) -> String {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.words)
    }
}

/// Reads these files, and every policy file below those that are folders.
///
/// # Errors
/// Each file that does not read; then nothing of the others counts either (P29).
pub fn read(paths: &[PathBuf]) -> Result<Found, FolderError> {
    let listing = Listing::of(paths).map_err(|error| FolderError(vec![error]))?;
    read_listed(&listing)
}

fn read_listed(listing: &Listing) -> Result<Found, FolderError> {
    let mut gathering = document::Gathering::default();
    let mut errors = Vec::new();
    for file in listing.files() {
        match listing::text(file) {
            Ok(text) => gathering.add_file(file, &text, &mut errors),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(gathering.found) } else { Err(FolderError(errors)) }
}

/// What `cloakroom policy check` says of these files: every problem of every object in them.
///
/// # Errors
/// Each file that does not read.
pub fn check(paths: &[PathBuf], install: &Install) -> Result<(PolicyIndex, Vec<PolicyProblem>), FolderError> {
    let found = read(paths)?;
    Ok(PolicyIndex::compile(&found.objects, install, None))
}

fn origin(file: &Path, line: u64) -> Origin {
    Origin(Arc::from(format!("{}:{line}", file.display())))
}
