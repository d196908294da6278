//! Who holds the checkpoint lock of a database.
//!
//! SQLite's locks are POSIX locks on bytes of the `-shm`, of which the kernel tells. That file must not be opened for asking:
//! closing it again would drop the locks of this process.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::shm::Slot;
use crate::sidecar::beside;

/// A process that holds a lock, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder(Option<(u32, String)>);

/// Where in the `-shm` SQLite's locks begin.
const FIRST_LOCK: u64 = 120;

impl Holder {
    /// Who holds it now. Nobody can be told of in another namespace, or where the lock was given back meanwhile.
    pub(super) fn of(database: &Path) -> Holder {
        let pid = std::fs::metadata(beside(database, "-shm")).ok().and_then(|shm| {
            let locks = std::fs::read_to_string("/proc/locks").ok()?;
            holder_in(&locks, (shm.dev(), shm.ino()), FIRST_LOCK + Slot::Checkpoint as u64)
        });
        Holder(pid.map(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            (pid, name.trim().to_owned())
        }))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((pid, name)) if name.is_empty() => write!(f, "process {pid}"),
            Some((pid, name)) => write!(f, "process {pid} ({name})"),
            None => f.write_str("another process"),
        }
    }
}

/// The process that holds a byte of a file for itself, in the words of `/proc/locks`.
fn holder_in(locks: &str, (device, inode): (u64, u64), byte: u64) -> Option<u32> {
    let file = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    locks.lines().find_map(|line| {
        // `1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 121 121`; who waits has a `->` before that.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, "WRITE", pid, of, from, to] = words[..] else { return None };
        let to = to.parse().unwrap_or(u64::MAX);
        (of == file && (from.parse().ok()?..=to).contains(&byte)).then_some(pid)?.parse().ok().filter(|pid| *pid != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_who_has_that_byte_of_that_file() {
        let (device, file) = (rustix::fs::makedev(0xfe, 0), 5678);
        let other = "1: POSIX  ADVISORY  WRITE 11 fe:00:5679 121 121\n2: POSIX  ADVISORY  WRITE 12 fd:00:5678 121 121\n\
                     3: POSIX  ADVISORY  WRITE 13 fe:00:5678 120 120\n4: POSIX  ADVISORY  READ 14 fe:00:5678 121 121\n\
                     5: -> POSIX  ADVISORY  WRITE 15 fe:00:5678 121 121\n6: FLOCK  ADVISORY  WRITE 16 fe:00:5678\nnonsense\n";
        let holder = |line: &str| holder_in(&format!("{other}{line}"), (device, file), 121);
        for (line, found) in [
            ("", None),
            ("7: POSIX  ADVISORY  WRITE 17 fe:00:5678 121 121\n", Some(17)),
            ("7: POSIX  ADVISORY  WRITE 17 fe:00:5678 120 127\n", Some(17)),
            ("7: POSIX  ADVISORY  WRITE 17 fe:00:5678 0 EOF\n", Some(17)),
            ("7: POSIX  ADVISORY  WRITE 0 fe:00:5678 121 121\n", None),
            ("7: OFDLCK ADVISORY  WRITE -1 fe:00:5678 121 121\n", None),
            ("7: POSIX  ADVISORY  WRITE 17 fe:00:5678 122 120\n", None),
        ] {
            assert_eq!(holder(line), found, "{line}");
        }
    }

    #[test]
    fn it_is_told_as_far_as_it_is_known() {
        assert_eq!(Holder::default().to_string(), "another process");
        assert_eq!(Holder(Some((7, String::new()))).to_string(), "process 7");
        assert_eq!(Holder(Some((7, "app".to_owned()))).to_string(), "process 7 (app)");
    }
}
