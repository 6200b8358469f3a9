//! A socket file that only its owner and group may use, in a place where nobody can exchange it.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::BindError;

/// A listening socket file; removed when dropped, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// The device and inode of our file.
    file: (u64, u64),
}

impl SocketFile {
    /// The owner and the group may connect: the proxy runs as one of them.
    const MODE: u32 = 0o660;
    /// A folder that is made: the group may reach the socket.
    const FOLDER_MODE: u32 = 0o750;
    /// Nobody else may write to the folder: who can, puts a socket of their own there and answers checks.
    const FOREIGN_WRITE: u32 = 0o022;

    /// Opens the socket. Its folder is made if it is missing, and no other: Kubernetes gives every user the right to write to the
    /// volumes that it makes, and so ours needs a folder of its own inside. A stale file of a server that is gone is replaced; a live server is not.
    ///
    /// The file is made under another name and moved to its own when its mode is right, so that there is no moment in which it
    /// could be reached with a wider one.
    pub(super) async fn bind(path: &Path) -> Result<Self, BindError> {
        let system = |source| BindError::System { address: path.display().to_string(), source };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        make_folder(folder, Self::FOLDER_MODE).map_err(system)?;
        let about_folder = fs::metadata(folder).map_err(system)?;
        let wrong = |problem| BindError::Folder { folder: folder.to_owned(), problem };
        if about_folder.mode() & Self::FOREIGN_WRITE != 0 {
            return Err(wrong("can be written to by others"));
        }
        vacate(path, system).await?;

        let mut draft = path.as_os_str().to_owned();
        draft.push("~");
        let draft = PathBuf::from(draft);
        vacate(&draft, system).await?;
        let listener = UnixListener::bind(&draft).map_err(system)?;
        let placed = || -> io::Result<Metadata> {
            fs::set_permissions(&draft, fs::Permissions::from_mode(Self::MODE))?;
            fs::rename(&draft, path)?;
            fs::symlink_metadata(path)
        };
        let ours = placed().map_err(|error| {
            let _ = fs::remove_file(&draft); // best effort: the error at hand says more
            system(error)
        })?;
        let socket = Self { listener, path: path.to_owned(), file: (ours.dev(), ours.ino()) };
        // The folder's owner could exchange the file as well.
        if about_folder.uid() != 0 && about_folder.uid() != ours.uid() {
            return Err(wrong("belongs to another user"));
        }
        Ok(socket)
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file);
        if still_ours {
            // A file that cannot be removed is stale, and replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a folder, if it is missing, with this mode whatever the process's mask is.
fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(folder) {
        Ok(()) => {
            // Where the folder above hands on its group, as volumes of a pod with an `fsGroup` do, the socket is to have it too.
            let hands_on = fs::metadata(folder)?.mode() & 0o2000;
            fs::set_permissions(folder, fs::Permissions::from_mode(mode | hands_on))
        }
        // There already, or not to be made here: what is there is judged next.
        Err(_) => Ok(()),
    }
}

/// Makes sure that nobody listens at `path` and nothing but a socket lies there.
async fn vacate(path: &Path, system: impl Fn(io::Error) -> BindError) -> Result<(), BindError> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
    };
    if !file.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(system(error)),
            _ => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Answered, full, or not for us to ask: somebody is there.
        _ => Err(BindError::InUse(path.to_owned())),
    }
}
