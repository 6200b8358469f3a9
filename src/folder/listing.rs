//! Which files count, and whether they changed.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::FileError;

/// The largest file, in bytes: as much as a ConfigMap holds.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const MAX_FILES: usize = 4096;
const MAX_DEPTH: usize = 8;

/// The policy files below some paths, and what tells one version of them from the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing(Vec<(PathBuf, Version)>);

/// Which version of a file was seen. A volume of Kubernetes swaps a link, so the inode is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Listing {
    /// The files at and below `paths`, in order of their names.
    pub(super) fn of(paths: &[PathBuf]) -> Result<Self, FileError> {
        let mut files = Vec::new();
        for path in paths {
            let metadata =
                fs::metadata(path).map_err(|error| FileError::new(path, format!("cannot be read: {error}")))?;
            if metadata.is_dir() {
                add_folder(path, 0, &mut files)?;
            } else {
                files.push((path.clone(), Version::of(&metadata)));
            }
        }
        files.sort_by(|(one, _), (two, _)| one.cmp(two));
        files.dedup_by(|(one, _), (two, _)| one == two);
        Ok(Self(files))
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }
}

impl Version {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Hidden entries do not count: editors leave them, and volumes of Kubernetes keep their versions in them (`..data`).
fn add_folder(folder: &Path, depth: usize, files: &mut Vec<(PathBuf, Version)>) -> Result<(), FileError> {
    if depth > MAX_DEPTH {
        return Err(FileError::new(folder, format!("more than {MAX_DEPTH} folders deep (a link that leads back?)")));
    }
    let unreadable = |error: std::io::Error| FileError::new(folder, format!("cannot be read: {error}"));
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let is_policy = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // What leads nowhere matters only if it would count.
            Err(_) if !is_policy => continue,
            Err(error) => return Err(FileError::new(&path, format!("cannot be read: {error}"))),
        };
        if metadata.is_dir() {
            add_folder(&path, depth + 1, files)?;
        } else if is_policy {
            if files.len() >= MAX_FILES {
                return Err(FileError::new(folder, format!("more than {MAX_FILES} policy files")));
            }
            files.push((path, Version::of(&metadata)));
        }
    }
    Ok(())
}

/// A file's text, if it is one of bearable length.
pub(super) fn text(file: &Path) -> Result<String, FileError> {
    let unreadable = |error: std::io::Error| FileError::new(file, format!("cannot be read: {error}"));
    // A pipe would be read for ever.
    if !fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(FileError::new(file, "is not a file"));
    }
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).map_err(unreadable)?;
    opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(FileError::new(file, format!("is over {MAX_FILE_BYTES} bytes: divide it into several files")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        FileError { line: Some(line), ..FileError::new(file, "is not UTF-8 text") }
    })
}
