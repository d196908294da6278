//! Tails: what forks set aside, each a log directory of its own below the log's.
//!
//! A tail begins with the segment that the fork is in, so that its files hold the bytes before the fork too; what is its own
//! lies from [`Tail::from`] to [`Tail::to`]. It stays until an operator has it removed by [`forget`]: nothing else does that.
//!
//! Forgetting renames the directory to a name that no tail has, durably, before the first file goes; its control file goes
//! last. A crash in the middle leaves what the next `forget` of that place, or of any other, removes.

mod branch;

use std::sync::Arc;

use longshore_format::{Epoch, Intent, Kind, Lsn};
use longshore_storage::{Directory, Lock, Trouble};

use crate::control_file::{self, ControlFile};
use crate::names::DIVERGED;
use crate::{Error, ReadLog, Result};
use branch::Branch;

/// A tail that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Its directory below the log's: `diverged/<fork>-<time>`.
    pub place: String,
    /// The fork: where it leaves the history that won.
    pub from: Lsn,
    /// Where it ends.
    pub to: Lsn,
    /// Bytes that its files take.
    pub disk: u64,
    /// The epoch of its last record: the branch that died.
    pub epoch: Epoch,
    /// When it was set aside, in microseconds since 1970 UTC.
    pub time: u64,
}

/// Keeps a tail from being forgotten while it is read, as far as a lock can be had: not on a medium that cannot be written,
/// and not a second one beside the first.
#[derive(Debug)]
pub struct InUse {
    _lock: Option<Box<dyn Lock>>,
}

/// What users wrote in the end of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Their records.
    pub records: u64,
    /// Transactions that end there.
    pub transactions: u64,
    /// When the last of the records was written, in microseconds since 1970 UTC; 0 without one.
    pub last_time: u64,
}

impl Written {
    /// Counts from the boundary `from` to the end, reading all of it.
    pub fn after(log: &ReadLog, from: Lsn) -> Result<Written> {
        let (mut reader, mut written) = (log.reader(from)?, Written::default());
        while let Some(record) = reader.next()? {
            if record.kind.is_user() {
                written.records += 1;
                written.transactions += u64::from(record.is_last());
                written.last_time = record.time;
            }
        }
        Ok(written)
    }
}

/// The tails of a log, by fork and time. Reads one directory and a control file for each; changes nothing.
///
/// # Errors
/// What the system says; a tail whose control file is damaged.
pub fn list(log: &Arc<dyn Directory>) -> Result<Vec<Tail>> {
    let Some(diverged) = diverged(log)? else { return Ok(Vec::new()) };
    let unfinished = unfinished(log)?;
    let mut tails = Vec::new();
    for entry in diverged.list().map_err(Error::io("list the tails"))? {
        let Some((from, time)) = parse(&entry.name).filter(|_| entry.directory) else { continue };
        if unfinished != Some((from, time)) {
            tails.extend(look_at(&diverged, &entry.name, from, time)?);
        }
    }
    tails.sort_unstable_by_key(|tail: &Tail| (tail.from, tail.time));
    Ok(tails)
}

/// The tail at `place`, as [`Tail::place`] or without the `diverged/`.
///
/// # Errors
/// `NotFound`, naming the tails there are.
pub fn find(log: &Arc<dyn Directory>, place: &str) -> Result<Tail> {
    let tails = list(log)?;
    let inner = inner_of(place);
    if let Some(tail) = tails.iter().find(|tail| inner_of(&tail.place) == inner) {
        return Ok(tail.clone());
    }
    let present = tails.into_iter().map(|tail| tail.place).collect();
    Err(Error::NoTail { place: place.to_owned(), present })
}

/// Removes the tail at `place`, durably, and returns what it was. Beside the log's owner, too.
///
/// # Errors
/// `Busy` while somebody reads it, `NotFound` naming the tails there are. After a crash, call it again.
pub fn forget(log: &Arc<dyn Directory>, place: &str) -> Result<Tail> {
    let mut begun = sweep(log)?;
    if let Some(at) = begun.iter().position(|tail| inner_of(&tail.place) == inner_of(place)) {
        return Ok(begun.swap_remove(at));
    }
    let tail = find(log, place)?;
    let directory = tail.directory(log)?;
    let lock = directory.lock().map_err(Error::io("take the tail's lock, because it is being read"))?;
    let diverged = open(log, DIVERGED)?;
    let (name, forgotten) = (inner_of(&tail.place), format!("{}{FORGOTTEN}", inner_of(&tail.place)));
    let renamed = diverged.rename(name, &forgotten).and_then(|()| diverged.sync());
    renamed.map_err(Error::io("rename a tail that is forgotten"))?;
    drop(lock);
    remove(&diverged, &forgotten)?;
    Ok(tail)
}

/// Forgets the tail at `place` if nobody wrote anything in it; whether that was so. What a log writes of itself, as every kill
/// and return of a writer leaves one record of, is neither worth a segment's disk nor an operator's look.
///
/// # Errors
/// As [`forget`]; what is damaged. The tail is kept then.
pub fn forget_unless_written(log: &Arc<dyn Directory>, place: &str) -> Result<bool> {
    let tail = find(log, place)?;
    let branch = ReadLog::open(tail.branch(log)?)?;
    let mut reader = branch.reader(tail.from)?;
    while let Some(record) = reader.next()? {
        if record.kind.is_user() || record.kind == Kind::MARK {
            return Ok(false);
        }
    }
    // Nothing is given up that could not be read.
    if reader.position() < branch.segment_size().normalise(tail.to) {
        return Ok(false);
    }
    drop((reader, branch));
    forget(log, place).map(|_| true)
}

impl Tail {
    /// How much of the log it holds that is its own.
    pub fn bytes(&self) -> u64 {
        self.to.since(self.from)
    }

    /// Its directory: a log of its own, whose first position is that of the segment with the fork.
    pub fn directory(&self, log: &Arc<dyn Directory>) -> Result<Arc<dyn Directory>> {
        open(&open(log, DIVERGED)?, inner_of(&self.place))
    }

    /// The log as it was before the tail was set aside: what is before the tail's first segment is the log's. Read only.
    pub fn branch(&self, log: &Arc<dyn Directory>) -> Result<Arc<dyn Directory>> {
        let directory = self.directory(log)?;
        let size = ControlFile::read(&directory)?.size;
        Ok(Arc::new(Branch { log: Arc::clone(log), tail: directory, size, base: size.base_of(self.from) }))
    }

    /// Where the first transaction begins that the tail finished: the fork, or before it, when one was open there.
    ///
    /// # Errors
    /// As reading [`branch`](Self::branch) does; `TooOld` when the log no longer holds where that transaction begins.
    pub fn first_run(&self, branch: &ReadLog) -> Result<Lsn> {
        let from = branch.segment_size().normalise(self.from);
        let start = branch.reader(from)?.chain().run.unwrap_or(from);
        branch.reader(start).map(|reader| reader.position())
    }

    /// Says that it is being read, until that is dropped.
    pub fn use_it(&self, log: &Arc<dyn Directory>) -> Result<InUse> {
        Ok(InUse { _lock: self.directory(log)?.lock().ok() })
    }
}

/// Removes what forgetting began to remove before a crash; what it was, where that is still known.
fn sweep(log: &Arc<dyn Directory>) -> Result<Vec<Tail>> {
    let Some(diverged) = diverged(log)? else { return Ok(Vec::new()) };
    let mut swept = Vec::new();
    for entry in diverged.list().map_err(Error::io("list the tails"))? {
        let Some(inner) = entry.name.strip_suffix(FORGOTTEN).filter(|_| entry.directory) else { continue };
        let Some((from, time)) = parse(inner) else { continue };
        let tail = look_at(&diverged, &entry.name, from, time)?;
        remove(&diverged, &entry.name)?;
        swept.extend(tail.map(|tail| Tail { place: format!("{DIVERGED}/{inner}"), ..tail }));
    }
    Ok(swept)
}

/// Removes a directory that is no tail any more, its control file last: so far it is known what it was.
fn remove(diverged: &Arc<dyn Directory>, name: &str) -> Result<()> {
    let directory = open(diverged, name)?;
    let work = || {
        let entries = directory.list()?;
        let (control, others): (Vec<_>, _) = entries.iter().partition(|entry| entry.name == control_file::NAME);
        for entry in others {
            directory.remove(&entry.name)?;
        }
        directory.sync()?;
        for entry in control {
            directory.remove(&entry.name)?;
        }
        diverged.remove_subdir(name)?;
        diverged.sync()
    };
    work().map_err(Error::io("remove a tail that is forgotten"))
}

/// What a directory holds; `None` before it is a log, which its control file makes it.
fn look_at(diverged: &Arc<dyn Directory>, name: &str, from: Lsn, time: u64) -> Result<Option<Tail>> {
    let directory = open(diverged, name)?;
    let control = match ControlFile::read(&directory) {
        Err(Error::NotFound { .. }) => return Ok(None),
        control => control?,
    };
    let entries = directory.list().map_err(Error::io("list a tail"))?;
    Ok(Some(Tail {
        place: format!("{DIVERGED}/{name}"),
        from,
        to: control.known_durable().max(from),
        disk: entries.iter().map(|entry| entry.len).sum(),
        epoch: control.history.current().epoch,
        time,
    }))
}

/// What a crash interrupted is no tail before the log was opened again, which finishes it.
fn unfinished(log: &Arc<dyn Directory>) -> Result<Option<(Lsn, u64)>> {
    Ok(match ControlFile::read(log)?.intent {
        Some(Intent::Truncate { at, time }) => Some((at, time)),
        _ => None,
    })
}

fn diverged(log: &Arc<dyn Directory>) -> Result<Option<Arc<dyn Directory>>> {
    match log.open_subdir(DIVERGED) {
        Err(error) if Trouble::of(&error) == Trouble::NotFound => Ok(None),
        directory => directory.map(Some).map_err(Error::io("open the directory of the tails")),
    }
}

fn open(directory: &Arc<dyn Directory>, name: &str) -> Result<Arc<dyn Directory>> {
    directory.open_subdir(name).map_err(Error::io("open the directory of a tail"))
}

fn parse(name: &str) -> Option<(Lsn, u64)> {
    let (from, time) = name.split_once('-')?;
    let time: Lsn = time.parse().ok()?;
    Some((from.parse().ok()?, time.get()))
}

fn inner_of(place: &str) -> &str {
    place.strip_prefix(DIVERGED).and_then(|rest| rest.strip_prefix('/')).unwrap_or(place)
}

/// Ends the name of a directory that is being removed.
const FORGOTTEN: &str = ".forgotten";
