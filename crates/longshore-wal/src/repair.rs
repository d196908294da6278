//! Putting a good copy in the place of one damaged, or missing, sealed segment.
//!
//! The copy is first written beside the damaged file and checked there: its header, every record, its footer and digest,
//! that it continues the segment before it and that the one after continues it. Only then is the damaged file renamed to
//! `<name>.corrupt-<unixtime>` and the copy to its name, with the directory synced after each. Whenever it is
//! interrupted, the log is as damaged as it was or repaired, the damaged bytes are kept, and running it again finishes
//! the work.
//!
//! What ties the copy to this log is stronger than checksums: its footer names the BLAKE3 digest of the segment before it,
//! and the next segment's names the copy's.

mod error;
mod site;

use std::io::Read;
use std::sync::Arc;

use longshore_format::{Digest, Lsn};
use longshore_storage::{Access, Directory, File, Trouble};

use self::site::Site;
use crate::Error;
use crate::control_file::ControlFile;
use crate::inspect::Finding;

pub use error::RepairError;

/// What a repair would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The segment: its base.
    pub base: Lsn,
    /// Its file.
    pub file: String,
    /// How many bytes the copy has, and must fit on the disk beside what is there.
    pub size: u64,
    /// What is wrong with it now.
    pub findings: Vec<Finding>,
    /// The digest that the copy must have, as far as this log says: its own footer, or the next segment's.
    pub digest: Option<Digest>,
    /// What the segment before has, which the copy must name; `None` only if that one is damaged too.
    pub previous: Option<Digest>,
    /// The name under which the damaged file is kept; `None` if there is none.
    pub aside: Option<String>,
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// What was planned.
    pub plan: Plan,
    /// The digest of the segment now.
    pub digest: Digest,
    /// How many records it has.
    pub records: u64,
}

type Result<T, E = RepairError> = std::result::Result<T, E>;

/// Looks what a repair of the segment at `base` would do at `now` (seconds since 1970 UTC), and changes nothing.
pub fn plan(dir: &Arc<dyn Directory>, base: Lsn, now: u64) -> Result<Plan> {
    Site::survey(dir, base).map(|site| site.plan(now))
}

/// Replaces the segment at `base` by the bytes of `source`, which are those of a whole sealed segment file: another
/// directory's ([`open_copy`]) or a peer's. Takes the log's lock: nobody may have it open. `now`, in seconds since 1970
/// UTC, names the damaged file that is kept.
pub fn repair(dir: &Arc<dyn Directory>, base: Lsn, now: u64, source: &mut dyn Read) -> Result<Repaired> {
    let _lock = dir.lock().map_err(Error::io("lock the log"))?;
    let site = Site::survey(dir, base)?;
    let plan = site.plan(now);
    let temporary = format!("{base:020}{TEMPORARY}");
    remove_if_there(dir, &temporary)?;
    let free = dir.free_space().map_err(Error::io("ask for free space"))?;
    if free < plan.size {
        return Err(Error::Full(crate::Full::NoSpace { needed: plan.size }).into());
    }
    let checked = site.bring_in(&temporary, source).and_then(|file| {
        let checked = site.check(&file)?;
        file.sync().map_err(Error::io("sync the copy"))?;
        Ok(checked)
    });
    let (digest, records) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            remove_if_there(dir, &temporary)?;
            return Err(error);
        }
    };
    put_in_place(dir, &plan, &temporary)?;
    Ok(Repaired { plan, digest, records })
}

/// The bytes of the segment at `base` in another copy of the log, to repair from.
pub fn open_copy(dir: &Arc<dyn Directory>, base: Lsn) -> Result<impl Read + use<>> {
    let size = ControlFile::read(dir)?.size;
    let file = dir.open(&size.file_name(base), Access::Read).map_err(Error::io("open the copy"))?;
    Ok(Bytes { file, offset: 0 })
}

/// A file read from its beginning.
struct Bytes {
    file: Arc<dyn File>,
    offset: u64,
}

impl Read for Bytes {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buf, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// The damaged file goes aside, durably, before the copy takes its name: at no moment is a crash able to lose either.
fn put_in_place(dir: &Arc<dyn Directory>, plan: &Plan, temporary: &str) -> Result<()> {
    // The copy's own name first, so that it cannot vanish together with the damaged one.
    dir.sync().map_err(Error::io("sync the log's directory"))?;
    if let Some(aside) = &plan.aside {
        dir.rename(&plan.file, aside).map_err(Error::io("put the damaged segment aside"))?;
        dir.sync().map_err(Error::io("sync the log's directory"))?;
    }
    dir.rename(temporary, &plan.file).map_err(Error::io("put the copy in place; run the repair again"))?;
    Ok(dir.sync().map_err(Error::io("sync the log's directory"))?)
}

fn remove_if_there(dir: &Arc<dyn Directory>, name: &str) -> Result<()> {
    match dir.remove(name) {
        Err(error) if Trouble::of(&error) != Trouble::NotFound => {
            Err(Error::io("remove an unfinished copy")(error).into())
        }
        _ => Ok(()),
    }
}

/// A name that opening the log removes, if a crash left it.
const TEMPORARY: &str = ".repair.tmp";
