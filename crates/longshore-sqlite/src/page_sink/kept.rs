//! A copy of a database before what no log holds is overwritten.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::log_database::KEPT;
use crate::replica_wal::{ReplicaDb, sync_directory_of};
use crate::sidecar::beside;

/// Copies a database as it is committed to `PATH-longshore-kept-N`, N being the first number that is free, with mode 0600. It
/// has its name once it is whole and durable.
///
/// # Errors
/// [`Error::NoRoomToKeep`] where it would leave its volume with little: nothing is there then.
pub(super) fn keep(path: &Path, db: &ReplicaDb) -> Result<PathBuf, Error> {
    let unfinished = beside(path, "-longshore-kept-new");
    check_room(path, db)?;
    if let Err(error) = copy(&unfinished, db) {
        // One that stays is begun anew.
        let _gone = std::fs::remove_file(&unfinished);
        return Err(error);
    }
    let free = (1..).map(|number: u32| beside(path, &format!("{KEPT}{number}")));
    let kept = free.into_iter().find(|kept| !kept.exists()).expect("one is free");
    std::fs::rename(&unfinished, &kept).map_err(Error::at(&kept))?;
    sync_directory_of(&kept)?;
    Ok(kept)
}

fn copy(to: &Path, db: &ReplicaDb) -> Result<(), Error> {
    let failed = Error::at(to);
    let mut options = OpenOptions::new();
    let made = options.write(true).create(true).truncate(true).mode(0o600).open(to);
    let mut file = made.map_err(failed)?;
    let mut bytes = Vec::with_capacity(AT_ONCE + db.page_size().bytes());
    let mut page = vec![0; db.page_size().bytes()];
    for number in 1..=db.pages() {
        db.read(number, &mut page)?;
        bytes.extend_from_slice(&page);
        if AT_ONCE <= bytes.len() || number == db.pages() {
            file.write_all(&bytes).map_err(Error::at(to))?;
            bytes.clear();
        }
    }
    file.sync_all().map_err(Error::at(to))
}

/// A volume that is full stops the log as well.
fn check_room(path: &Path, db: &ReplicaDb) -> Result<(), Error> {
    let needed = u64::from(db.pages()) * db.page_size().bytes() as u64;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let volume = rustix::fs::statvfs(parent).map_err(|error| Error::at(parent)(error.into()))?;
    let free = volume.f_bavail.saturating_mul(volume.f_frsize);
    match needed.saturating_add(LEFT_FREE) <= free {
        true => Ok(()),
        false => Err(Error::NoRoomToKeep { path: path.to_owned(), needed, free }),
    }
}

/// What stays free beside a copy.
const LEFT_FREE: u64 = 64 << 20;
const AT_ONCE: usize = 256 << 10;
