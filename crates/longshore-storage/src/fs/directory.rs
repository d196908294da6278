//! A real directory, reached through one open descriptor so that nobody can move it from under us unnoticed.

use std::fs::File as StdFile;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::file::FsFile;
use super::lock::FsLock;
use crate::trouble::{Locate, located};
use crate::{Access, DirEntry, Directory, File, Lock, Medium};

/// A directory of the real file system.
///
/// A symbolic link in the path is resolved once, when it is opened; from then on everything goes through the open
/// directory, and [`Directory::intact`] tells whether the path still leads to it. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct FsDirectory {
    fd: Arc<OwnedFd>,
    path: Arc<Path>,
}

impl FsDirectory {
    /// Opens a directory that exists.
    pub fn open(path: impl AsRef<Path>) -> io::Result<FsDirectory> {
        let path = path.as_ref();
        let real = path.canonicalize().locate("open the directory", path.display().to_string())?;
        let fd = retry_on_intr(|| rustix::fs::open(&real, DIRECTORY, Mode::empty()))
            .locate("open the directory", real.display().to_string())?;
        Ok(FsDirectory { fd: Arc::new(fd), path: real.into() })
    }

    /// Opens a directory, creating it (mode 0700) and what is missing above it, all durably.
    pub fn create(path: impl AsRef<Path>) -> io::Result<FsDirectory> {
        let path = std::path::absolute(path.as_ref())?;
        if path.is_dir() {
            return FsDirectory::open(&path);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(located("create the directory", path.display().to_string(), Errno::INVAL));
        };
        let parent = FsDirectory::create(parent)?;
        parent.make_subdir(name)?;
        parent.sync()?;
        parent.open_fs_subdir(name)
    }

    /// As [`Directory::lock`], by a file of this name: for a directory in which `lock` may be called what a user named.
    pub fn lock_by(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        single(name)?;
        Ok(Box::new(FsLock::take(&self.fd, name, self.path_of(name))?))
    }

    /// The path that was opened, with symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn path_of(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn make_subdir(&self, name: &str) -> io::Result<()> {
        single(name)?;
        match retry_on_intr(|| rustix::fs::mkdirat(&*self.fd, name, Mode::RWXU)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(error) => return Err(located("create the directory", self.path_of(name), error)),
        }
        // The umask may have taken bits away; never more than a moment passes with fewer than 0700, never with more.
        let made = self.open_fd(name, DIRECTORY | OFlags::NOFOLLOW)?;
        rustix::fs::fchmod(&made, Mode::RWXU).locate("set the mode of", self.path_of(name))
    }

    fn open_fs_subdir(&self, name: &str) -> io::Result<FsDirectory> {
        single(name)?;
        let fd = self.open_fd(name, DIRECTORY | OFlags::NOFOLLOW)?;
        Ok(FsDirectory { fd: Arc::new(fd), path: self.path.join(name).into() })
    }

    fn open_fd(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        retry_on_intr(|| rustix::fs::openat(&*self.fd, name, flags, Mode::empty())).locate("open", self.path_of(name))
    }

    fn entry(&self, name: &std::ffi::CStr) -> io::Result<Option<DirEntry>> {
        let text = name.to_string_lossy();
        let stat = match retry_on_intr(|| rustix::fs::statat(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None), // removed since it was listed
            Err(error) => return Err(located("look at", self.path_of(&text), error)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let regular = kind == FileType::RegularFile && name.to_str().is_ok();
        Ok(Some(DirEntry {
            name: text.into_owned(),
            len: if regular { stat.st_size as u64 } else { 0 },
            regular,
            directory: kind == FileType::Directory,
        }))
    }
}

impl Directory for FsDirectory {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let listing = || -> io::Result<Vec<DirEntry>> {
            let mut entries = Vec::new();
            for item in Dir::read_from(&*self.fd)? {
                let item = item?;
                if !matches!(item.file_name().to_bytes(), b"." | b"..") {
                    entries.extend(self.entry(item.file_name())?);
                }
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        };
        listing().locate("list", self.path_hint())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        single(name)?;
        let mode = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        // NONBLOCK so that a pipe in our way is looked at and refused instead of waited for; it means nothing to a file.
        let fd = self.open_fd(name, mode | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC)?;
        let file = FsFile::new(StdFile::from(fd), self.path_of(name));
        file.refuse_strange(access)?;
        Ok(Arc::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        single(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let owner_only = Mode::RUSR | Mode::WUSR;
        let fd = retry_on_intr(|| rustix::fs::openat(&*self.fd, name, flags, owner_only))
            .locate("create", self.path_of(name))?;
        rustix::fs::fchmod(&fd, owner_only).locate("set the mode of", self.path_of(name))?;
        Ok(Arc::new(FsFile::new(StdFile::from(fd), self.path_of(name))))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        single(from)?;
        for component in to.split('/') {
            single(component)?;
        }
        retry_on_intr(|| rustix::fs::renameat(&*self.fd, from, &*self.fd, to))
            .locate("rename", format!("{} to {to}", self.path_of(from)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        single(name)?;
        retry_on_intr(|| rustix::fs::unlinkat(&*self.fd, name, AtFlags::empty())).locate("remove", self.path_of(name))
    }

    fn remove_subdir(&self, name: &str) -> io::Result<()> {
        single(name)?;
        retry_on_intr(|| rustix::fs::unlinkat(&*self.fd, name, AtFlags::REMOVEDIR)).locate("remove", self.path_of(name))
    }

    fn sync(&self) -> io::Result<()> {
        retry_on_intr(|| rustix::fs::fsync(&*self.fd)).locate("sync the directory", self.path_hint())
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        self.make_subdir(name)?;
        self.open_subdir(name)
    }

    fn open_subdir(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        Ok(Arc::new(self.open_fs_subdir(name)?))
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        Ok(Box::new(FsLock::take(&self.fd, super::lock::NAME, self.path_of(super::lock::NAME))?))
    }

    fn locked(&self) -> io::Result<bool> {
        FsLock::is_held(&self.fd, self.path_of(super::lock::NAME))
    }

    fn intact(&self) -> io::Result<bool> {
        let held = rustix::fs::fstat(&*self.fd).locate("look at", self.path_hint())?;
        match retry_on_intr(|| rustix::fs::stat(&*self.path)) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(error) => Err(located("look at", self.path_hint(), error)),
        }
    }

    fn free_space(&self) -> io::Result<u64> {
        let stat = retry_on_intr(|| rustix::fs::fstatvfs(&*self.fd)).locate("ask for space on", self.path_hint())?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn is_writable(&self) -> bool {
        use rustix::fs::{Access, AtFlags, accessat};
        accessat(&*self.fd, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    }

    fn medium(&self) -> io::Result<Medium> {
        let stat = retry_on_intr(|| rustix::fs::fstatfs(&*self.fd)).locate("ask for the kind of", self.path_hint())?;
        // The magic is a 32-bit number in a signed word; sign bits above it mean nothing.
        Ok(Medium::from_magic(u64::from(stat.f_type as u32)))
    }

    fn path_hint(&self) -> String {
        self.path.display().to_string()
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Refuses what is not one component of a path: a caller that passes one would leave the directory.
fn single(name: &str) -> io::Result<()> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a file name: {name:?}")));
    }
    Ok(())
}
