//! One owner per directory: an advisory lock on a file, which also names its owner for the message (F-052).

use std::fmt;
use std::fs::File as StdFile;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::{Errno, retry_on_intr};

use crate::Lock;
use crate::trouble::{Locate, located};

/// The name of the lock file of [`Directory::lock`](crate::Directory::lock). The file stays when the lock goes: removing it would
/// let two owners lock two files.
pub(super) const NAME: &str = "lock";

/// A `flock` held through its own open file, so that a second open in the same process is refused as well.
#[derive(Debug)]
pub(super) struct FsLock {
    _file: StdFile,
}

impl Lock for FsLock {}

impl FsLock {
    pub(super) fn take(directory: &OwnedFd, name: &str, path: String) -> io::Result<FsLock> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR))
            .locate("open the lock", &path)?;
        let file = StdFile::from(fd);
        if !exclusively(&file).locate("lock", &path)? {
            let holder = io::Error::new(io::ErrorKind::ResourceBusy, Holder::read(&file).to_string());
            return Err(located("lock", path, holder));
        }
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR).locate("set the mode of the lock", &path)?;
        Holder::this_process().write(&file).locate("write the lock", &path)?;
        Ok(FsLock { _file: file })
    }

    /// Whether somebody holds the lock, found out by a shared lock that is let go at once.
    pub(super) fn is_held(directory: &OwnedFd, path: String) -> io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match retry_on_intr(|| rustix::fs::openat(directory, NAME, flags, Mode::empty())) {
            Ok(fd) => StdFile::from(fd),
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(located("open the lock", path, error)),
        };
        Ok(!try_lock(&file, FlockOperation::NonBlockingLockShared).locate("look at the lock", path)?)
    }
}

/// Takes the lock for good; `false` if another owner has it. One that only looks, by a shared lock, is waited for.
fn exclusively(file: &StdFile) -> io::Result<bool> {
    for _ in 0..100 {
        if try_lock(file, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(true);
        }
        if !try_lock(file, FlockOperation::NonBlockingLockShared)? {
            return Ok(false);
        }
        retry_on_intr(|| flock(file, FlockOperation::Unlock))?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}

fn try_lock(file: &StdFile, operation: FlockOperation) -> io::Result<bool> {
    match retry_on_intr(|| flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Who holds the lock, as its file says; for messages only, never believed.
struct Holder {
    pid: Option<u32>,
    boot: String,
}

impl Holder {
    fn this_process() -> Holder {
        Holder { pid: Some(std::process::id()), boot: boot_id() }
    }

    fn write(&self, file: &StdFile) -> io::Result<()> {
        let text = format!("pid {}\nboot {}\n", self.pid.unwrap_or(0), self.boot);
        file.set_len(0)?;
        file.write_all_at(text.as_bytes(), 0)
    }

    fn read(file: &StdFile) -> Holder {
        let mut bytes = [0; 128];
        let read = file.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..read]);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Holder {
            pid: field("pid ").and_then(|pid| pid.parse().ok()),
            boot: field("boot ").unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            // A pid of another boot, or another machine, says nothing about a process here.
            Some(pid) if self.boot == boot_id() => {
                write!(f, "held by process {pid}; stop it first")
            }
            Some(pid) => write!(f, "held by process {pid} of another machine or container; stop it first"),
            None => write!(f, "held by another process; stop it first"),
        }
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| String::new(), |id| id.trim().to_owned())
}
