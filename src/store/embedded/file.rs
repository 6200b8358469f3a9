//! The store's file: found, made, checked.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, StorageError};

use super::EmbeddedStore;
use super::tables::{self, FORMAT, Snapshot, Trouble};

/// Why the embedded store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder of the file is missing.
    #[error("session store {path}: its folder does not exist; make it, or name another file in sessions.store.path")]
    Folder {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses the file.
    #[error("session store {path}: cannot be used; this user must own the file and be able to write to its folder")]
    Access {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A folder, a device or the like.
    #[error("session store {path}: is not a regular file; name another one in sessions.store.path")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it.
    #[error(
        "session store {path}: in use by another process; stop that one, or give each process a file of its own \
         (a fleet shares a Redis store instead)"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Something else is in the file.
    #[error(
        "session store {path}: the file holds something else; move it away, or name another one in sessions.store.path"
    )]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// Written by a release that keeps sessions in another way.
    #[error(
        "session store {path}: written in format {found}, this release reads {FORMAT}; run the release that wrote it, \
         or move the file away, which ends every session"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The content is damaged.
    #[error("session store {path}: cannot be read; restore the file, or move it away, which ends every session")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb said.
        #[source]
        source: Box<redb::Error>,
    },
    /// No thread for the writer.
    #[error("session store {path}: the system gives no thread to write with")]
    Thread {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Where the database comes from, now and again after it has failed.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// A disk that fails on command.
    #[cfg(test)]
    pub(super) disk: Option<std::sync::Arc<super::tests::Disk>>,
}

impl Source {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            #[cfg(test)]
            disk: None,
        }
    }

    pub(super) fn open_or_create(&self) -> Result<(Database, Box<Snapshot>), OpenError> {
        match std::fs::metadata(&self.path) {
            Ok(found) if !found.is_file() => Err(OpenError::NotAFile { path: self.path.clone() }),
            Ok(found) if found.len() > 0 => self.open(),
            Ok(_) => self.create(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(false),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Opens the file, which must be a store.
    pub(super) fn open(&self) -> Result<(Database, Box<Snapshot>), OpenError> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path).map_err(|error| self.refused(error))?;
        let mode = file.metadata().map_err(|error| self.refused(error))?.permissions().mode();
        if mode & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600)).map_err(|error| self.refused(error))?;
        }
        let database = self.database(file)?;
        match tables::format(&database) {
            Ok(Some(FORMAT)) => {}
            Ok(Some(found)) => return Err(OpenError::Version { path: self.path.clone(), found }),
            Ok(None) => return Err(OpenError::NotAStore { path: self.path.clone() }),
            Err(error) => return Err(self.damaged(error)),
        }
        let snapshot = self.snapshot(&database)?;
        Ok((database, snapshot))
    }

    /// Makes the store under another name and then gives it its own, whole: a file cut short by a crash at this moment
    /// would neither be empty nor a store.
    fn create(&self, replace_empty: bool) -> Result<(Database, Box<Snapshot>), OpenError> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let unfinished = PathBuf::from(name);
        let refused = |error| self.refused(error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&unfinished)
            .map_err(refused)?;
        // Only whoever holds the lock may empty what an earlier start left behind.
        file.try_lock().map_err(|_| OpenError::Locked { path: self.path.clone() })?;
        file.set_len(0).map_err(refused)?;
        let database = self.database(file)?;
        tables::initialise(&database).map_err(|error| self.damaged(error))?;
        if replace_empty {
            std::fs::rename(&unfinished, &self.path).map_err(refused)?;
        } else {
            // Unlike a rename, this does not replace what another process has made meanwhile.
            std::fs::hard_link(&unfinished, &self.path).map_err(refused)?;
            std::fs::remove_file(&unfinished).map_err(refused)?;
        }
        // The name must be on the disk too before a session in the file is called durable.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused)?;
        let snapshot = self.snapshot(&database)?;
        Ok((database, snapshot))
    }

    fn database(&self, file: File) -> Result<Database, OpenError> {
        let mut builder = Builder::new();
        builder.set_cache_size(EmbeddedStore::CACHE_BYTES);
        #[cfg(test)]
        if let Some(disk) = &self.disk {
            let backend = super::tests::FailingBackend::new(file, disk);
            // Every read reaches the disk that may fail it.
            builder.set_cache_size(0);
            return builder.create_with_backend(backend).map_err(|error| self.unusable(error));
        }
        let backend = FileBackend::new(file).map_err(|error| self.unusable(error))?;
        builder.create_with_backend(backend).map_err(|error| self.unusable(error))
    }

    fn snapshot(&self, database: &Database) -> Result<Box<Snapshot>, OpenError> {
        database
            .begin_read()
            .map_err(redb::Error::from)
            .and_then(|read| Snapshot::of(&read))
            .map(Box::new)
            .map_err(|e| self.damaged(e.into()))
    }

    fn unusable(&self, error: DatabaseError) -> OpenError {
        let path = self.path.clone();
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => OpenError::Locked { path },
            DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                OpenError::NotAStore { path }
            }
            DatabaseError::Storage(StorageError::Io(source)) => OpenError::Access { path, source },
            DatabaseError::UpgradeRequired(found) => OpenError::Version { path, found: found.into() },
            other => OpenError::Damaged { path, source: Box::new(other.into()) },
        }
    }

    fn refused(&self, source: io::Error) -> OpenError {
        let path = self.path.clone();
        let folder_missing = path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        match source.kind() {
            io::ErrorKind::NotFound if folder_missing => OpenError::Folder { path },
            _ => OpenError::Access { path, source },
        }
    }

    fn damaged(&self, error: Trouble) -> OpenError {
        let path = self.path.clone();
        match error {
            Trouble::File(redb::Error::Io(source)) => OpenError::Access { path, source },
            Trouble::File(redb::Error::TableTypeMismatch { .. }) | Trouble::Record(_) => OpenError::NotAStore { path },
            Trouble::File(source) => OpenError::Damaged { path, source: Box::new(source) },
        }
    }
}
