//! What can be wrong with a store as a whole.

use std::io;
use std::path::{Path, PathBuf};

/// Trouble with the store. Expected outcomes of a call are statuses instead, see
/// [`crate::PutMessageStatus`] and [`crate::GetMessageStatus`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed. The operator has to look at the path and the cause.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk does not give back what was written. The operator has to look at the disk.
    #[error("read {} at {position}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The first byte in it that is not given back.
        position: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Another process (or another store of this one) works on the directory. Stop it first.
    #[error("the store {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// A file cannot be what its name says. Set the configured size right, or move the file away.
    #[error("{}: {what}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A configured value cannot work.
    #[error("configuration: {0}")]
    BadConfig(String),
    /// The store is closed. Open it again.
    #[error("the store is closed")]
    Closed,
    /// A flush failed earlier: what the disk holds is unknown until the store is opened again.
    #[error("the store stopped after a failed flush: {0}")]
    Poisoned(String),
}

impl StoreError {
    /// Whether nothing is wrong but that the disk would have to be waited for.
    pub(crate) fn would_wait(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::WouldBlock)
    }

    /// Whether a file ends before what was to be read from it.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::UnexpectedEof)
    }

    /// Whether the disk does not give back what was written.
    pub(crate) fn is_unreadable(&self) -> bool {
        match self {
            Self::Unreadable { .. } => true,
            Self::Io { source, .. } => is_unreadable(source),
            _ => false,
        }
    }

    /// Whether there is no such file.
    pub(crate) fn is_not_found(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::NotFound)
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Whether the disk does not give back what was written.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// Adds what was done, and to which file, to an I/O error; or the file alone.
pub(crate) trait IoContext<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StoreError>;
    fn at(self, path: &Path) -> io::Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { doing, path: path.to_owned(), source })
    }

    fn at(self, path: &Path) -> io::Result<T> {
        self.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }
}
