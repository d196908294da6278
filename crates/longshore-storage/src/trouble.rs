//! Why an operation on the disk failed, told apart by what one can do about it.

use std::io;

use rustix::io::Errno;

/// The cause of an [`io::Error`] of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The disk or the quota is used up (ENOSPC, EDQUOT): free space, then try again.
    NoSpace,
    /// The process or the machine has too many open files (EMFILE, ENFILE): try again when some are closed.
    TooManyFiles,
    /// No memory or no more maps to be had (ENOMEM): try again later.
    NoMemory,
    /// The file system is read only (EROFS), perhaps since an error: reads go on, writes do not.
    ReadOnly,
    /// The name is taken, or another process holds the lock.
    Busy,
    /// Nothing has this name.
    NotFound,
    /// Not permitted to this user.
    Denied,
    /// Anything else, a failing device (EIO) above all: stop.
    Device,
}

impl Trouble {
    /// Tells the cause of an error, through the context that this crate adds to it.
    pub fn of(error: &io::Error) -> Trouble {
        if let Some(errno) = raw_errno(error).map(Errno::from_raw_os_error) {
            match errno {
                Errno::NOSPC | Errno::DQUOT => return Trouble::NoSpace,
                Errno::MFILE | Errno::NFILE => return Trouble::TooManyFiles,
                Errno::NOMEM => return Trouble::NoMemory,
                Errno::ROFS => return Trouble::ReadOnly,
                _ => {}
            }
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::NoSpace,
            io::ErrorKind::OutOfMemory => Trouble::NoMemory,
            io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
            io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy => Trouble::Busy,
            io::ErrorKind::NotFound => Trouble::NotFound,
            io::ErrorKind::PermissionDenied => Trouble::Denied,
            _ => Trouble::Device,
        }
    }
}

/// An error of the system with what was tried and where.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}")]
struct Located {
    operation: &'static str,
    path: String,
    source: io::Error,
}

/// Adds what was tried, and on which path, to an error of the system.
pub(crate) fn located(operation: &'static str, path: impl Into<String>, source: impl Into<io::Error>) -> io::Error {
    let source = source.into();
    io::Error::new(source.kind(), Located { operation, path: path.into(), source })
}

/// Short for `map_err` with [`located`].
pub(crate) trait Locate<T> {
    fn locate(self, operation: &'static str, path: impl Into<String>) -> io::Result<T>;
}

impl<T, E: Into<io::Error>> Locate<T> for Result<T, E> {
    fn locate(self, operation: &'static str, path: impl Into<String>) -> io::Result<T> {
        self.map_err(|error| located(operation, path, error))
    }
}

fn raw_errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        let inner = error.get_ref()?.downcast_ref::<Located>()?;
        raw_errno(&inner.source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_059_f_067_f_068_causes_are_told_apart_through_the_context() {
        let check = |errno: Errno, expected: Trouble| {
            let error = located("create", "/data/x", errno);
            assert_eq!(Trouble::of(&error), expected, "{error}");
            assert!(error.to_string().starts_with("cannot create /data/x: "), "{error}");
        };
        check(Errno::NOSPC, Trouble::NoSpace);
        check(Errno::DQUOT, Trouble::NoSpace);
        check(Errno::MFILE, Trouble::TooManyFiles);
        check(Errno::NFILE, Trouble::TooManyFiles);
        check(Errno::NOMEM, Trouble::NoMemory);
        check(Errno::ROFS, Trouble::ReadOnly);
        check(Errno::EXIST, Trouble::Busy);
        check(Errno::NOENT, Trouble::NotFound);
        check(Errno::ACCESS, Trouble::Denied);
        check(Errno::IO, Trouble::Device);
    }
}
