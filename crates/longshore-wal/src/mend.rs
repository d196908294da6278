//! Making a surveyed log whole: what is kept becomes durable again, what is cut is kept aside, what is later goes.
//!
//! May crash at any point; the next survey finds the same end. The order is: copy aside, write and sync what stays, remove
//! what is later and sync the directory, note it in control. Only then is anything served or appended.
//!
//! What the page cache shows is not believed (F-063): after a failed sync it may hold bytes that the disk has not, also for
//! the next process. So all that is kept above the saved watermark is written again, zeros included, before it is synced.

use std::sync::Arc;

use longshore_format::{Control, Lsn};
use longshore_storage::{Access, Directory, File};

use crate::control_file::ControlFile;
use crate::evidence::body_from;
use crate::names::CUT;
use crate::prepare::{TEMPORARY, remove_if_there};
use crate::survey::{Survey, read_at};
use crate::{Error, Result};

/// What was cut from the tail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut {
    pub(crate) bytes: u64,
    /// The first of the files that keep them.
    pub(crate) file: Option<String>,
}

/// Makes the log end where the survey says. Afterwards the directory holds nothing else of it but, after a clean close,
/// prepared segments.
pub(crate) fn mend(dir: &Arc<dyn Directory>, control: &ControlFile, survey: &Survey, now: u64) -> Result<Cut> {
    control.settle()?;
    for name in &survey.names.temporaries {
        remove_if_there(&**dir, name).map_err(Error::io("remove a temporary file"))?;
    }
    let mut cut = Cut::default();
    if !survey.clean {
        let mender = Mender { dir, control: &control.state(), survey };
        cut = mender.copy_aside(now)?;
        mender.write_again()?;
        mender.remove_later()?;
    }
    control.change(|state| {
        state.clean = None;
        state.durable = survey.chain.position;
        state.history = survey.history.clone();
        state.cut_policies(survey.chain.position);
        // Ahead of the log it stays as it is; behind, control is an old copy, and the log knows better (F-048).
        let epoch = survey.history.current().epoch;
        if state.highest.number < epoch.number {
            state.highest = epoch;
        }
        state.lost = state.lost.max(survey.lost).filter(|lost| survey.chain.position < *lost);
        for slot in &mut state.slots {
            slot.durable = slot.durable.min(survey.chain.position);
            slot.applied = slot.applied.min(survey.chain.position);
        }
    });
    control.sync()?;
    Ok(cut)
}

struct Mender<'a> {
    dir: &'a Arc<dyn Directory>,
    control: &'a Control,
    survey: &'a Survey,
}

impl Mender<'_> {
    /// Copies what is about to be zeroed or removed to files of its own.
    fn copy_aside(&self, now: u64) -> Result<Cut> {
        let size = self.control.size;
        let mut cut = Cut::default();
        let end = self.survey.chain.position;
        let active = self.survey.walked.last().filter(|last| !last.is_full());
        if let Some(active) = active {
            let bytes = body_from(&active.file, active.base(), size.offset_in(end), size.get())?;
            self.keep(&mut cut, end, &bytes, now)?;
        }
        for base in &self.survey.later {
            let file = self.open(*base, Access::Read)?;
            let bytes = body_from(&file, *base, 0, size.get())?;
            self.keep(&mut cut, *base, &bytes, now)?;
        }
        Ok(cut)
    }

    fn keep(&self, cut: &mut Cut, at: Lsn, bytes: &[u8], now: u64) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        cut.bytes += bytes.len() as u64;
        let name = match self.kept_already(at, bytes)? {
            Some(name) => name,
            None => {
                let name = format!("{CUT}{at}-{now}");
                let temporary = format!("{name}{TEMPORARY}");
                let write = || {
                    remove_if_there(&**self.dir, &temporary)?;
                    let file = self.dir.create(&temporary)?;
                    file.write_all_at(bytes, 0)?;
                    file.sync()?;
                    self.dir.rename(&temporary, &name)?;
                    self.dir.sync()
                };
                write().map_err(Error::io("copy the torn tail aside"))?;
                name
            }
        };
        cut.file.get_or_insert(name);
        Ok(())
    }

    /// Recovery that crashed after copying has left the same copy already; a crash loop must not fill the disk.
    fn kept_already(&self, at: Lsn, bytes: &[u8]) -> Result<Option<String>> {
        let prefix = format!("{CUT}{at}-");
        let entries = self.dir.list().map_err(Error::io("list the log's directory"))?;
        for entry in entries {
            let candidate = entry.regular && entry.name.starts_with(&prefix) && !entry.name.ends_with(TEMPORARY);
            if !candidate || entry.len != bytes.len() as u64 {
                continue;
            }
            let read = || {
                let file = self.dir.open(&entry.name, Access::Write)?;
                let mut kept = vec![0; bytes.len()];
                file.read_exact_at(&mut kept, 0)?;
                // It may be in the page cache only.
                file.sync()?;
                self.dir.sync()?;
                Ok(kept == bytes)
            };
            if read().map_err(Error::io("read an earlier copy of the torn tail"))? {
                return Ok(Some(entry.name));
            }
        }
        Ok(None)
    }

    /// Writes and syncs what stays above the saved watermark, and the zeros after it.
    fn write_again(&self) -> Result<()> {
        let size = self.control.size;
        let saved = size.normalise(self.control.durable);
        let end = self.survey.chain.position;
        for segment in &self.survey.walked {
            let base = segment.base();
            let file = self.open(base, Access::Write)?;
            let from = match size.base_of(saved) {
                _ if saved <= size.first_in(base) => 0,
                at if at == base => size.offset_in(saved),
                _ => size.get(),
            };
            let to = if segment.is_full() { size.body_end_offset() } else { size.offset_in(end) };
            file.allocate(size.get()).map_err(Error::io("allocate a segment"))?;
            // The last segments' footers were written shortly before the crash, if at all.
            rewrite(&file, base, from..to)?;
            match segment.is_full() {
                true => rewrite(&file, base, size.body_end_offset()..size.get())?,
                false => file.zero_fill(to..size.get()).map_err(Error::io("zero a torn tail"))?,
            }
            file.sync().map_err(Error::io("sync a segment"))?;
        }
        let first_walked = self.survey.walked.first().map(|segment| segment.base());
        let before = first_walked.and_then(|base| base.checked_sub(size.get()));
        if let Some(base) = before.filter(|base| self.survey.bases.contains(base)) {
            let file = self.open(base, Access::Write)?;
            rewrite(&file, base, size.body_end_offset()..size.get())?;
            file.sync().map_err(Error::io("sync a footer"))?;
        }
        Ok(())
    }

    /// Removes the later segments, the last first and each durably, so that a crash in between leaves no gap (F-075).
    fn remove_later(&self) -> Result<()> {
        for base in self.survey.later.iter().rev() {
            self.dir.remove(&self.control.size.file_name(*base)).map_err(Error::io("remove a later segment"))?;
            self.dir.sync().map_err(Error::io("sync the log's directory"))?;
        }
        // Also for what an earlier process renamed and did not live to sync.
        self.dir.sync().map_err(Error::io("sync the log's directory"))
    }

    fn open(&self, base: Lsn, access: Access) -> Result<Arc<dyn File>> {
        self.dir.open(&self.control.size.file_name(base), access).map_err(Error::io("open a segment"))
    }
}

/// Writes a part of a file over itself.
fn rewrite(file: &Arc<dyn File>, base: Lsn, range: std::ops::Range<u64>) -> Result<()> {
    const STEP: u64 = 256 << 10;
    let mut buffer = vec![0; STEP as usize];
    let mut at = range.start;
    while at < range.end {
        let len = STEP.min(range.end - at) as usize;
        let read = read_at(file, base, &mut buffer[..len], at)?;
        file.write_all_at(&buffer[..read], at).map_err(Error::io("write to a segment"))?;
        at += len as u64;
    }
    Ok(())
}
