//! The file of a Unix domain socket: made where none or a dead one is, and removed in the end.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The file of a socket that this process made.
#[derive(Debug, Clone)]
pub struct SocketFile {
    path: PathBuf,
    /// By which it is told from one that another process has put in its place.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// Binds a socket to this path. A file that is left of a server which is gone is replaced.
    pub async fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        if !folder.is_dir() {
            return Err(io::Error::other(format!("there is no folder {}", folder.display())));
        }
        // Two servers that start at a time must not both find nobody, and one then remove the other's file. Where
        // the folder can't be locked they are on their own.
        let folder = File::open(folder).ok();
        let _locked = folder.as_ref().map(File::lock);
        remove_dead(path).await?;
        let listener = UnixListener::bind(path)?;
        Ok((listener, SocketFile { path: path.into(), identity: identity(path) }))
    }

    /// Removes the file, unless another process has put its own there.
    pub fn remove(&self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _gone_already = fs::remove_file(&self.path);
        }
    }
}

async fn remove_dead(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::other("there is a file of that name, which is no socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing the socket of a server that is gone");
            fs::remove_file(path)
        }
        // One whose backlog is full is alive too.
        Ok(_) => Err(io::Error::other("another server answers there")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::other("another server listens there"))
        }
        Err(error) => Err(error),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
