//! The control file: two slots, of which the newest durable one is never written over.
//!
//! The watermark is written often and synced seldom. Such writes all go to the other slot, so that a crash in the
//! middle of one leaves the last synced state readable.

use std::sync::Arc;

use longshore_format::{Control, ControlFault, Lsn};
use longshore_storage::{Access, Directory, File, Trouble};

use crate::{Error, Result};

pub(crate) const NAME: &str = "control";
const TEMPORARY: &str = "control.tmp";
const FILE_LEN: u64 = 2 * Control::SLOT_LEN as u64;

#[derive(Debug)]
pub(crate) struct ControlFile {
    file: Arc<dyn File>,
    state: Control,
    /// The sequence number of the last write.
    sequence: u64,
    /// The slot that holds the newest synced state.
    synced: usize,
    /// Whether `state` differs from what was written last, and what was written from what was synced.
    unwritten: bool,
    unsynced: bool,
}

impl ControlFile {
    /// Creates the file, durably; that is what makes a directory a log.
    pub(crate) fn create(dir: &Arc<dyn Directory>, state: Control) -> Result<()> {
        match dir.remove(TEMPORARY) {
            Err(error) if Trouble::of(&error) != Trouble::NotFound => {
                return Err(Error::io("remove an old temporary control file")(error));
            }
            _ => {}
        }
        let write = || {
            let file = dir.create(TEMPORARY)?;
            file.allocate(FILE_LEN)?;
            file.write_all_at(&encode(&state, 1), 0)?;
            file.sync()?;
            dir.rename(TEMPORARY, NAME)?;
            dir.sync()
        };
        write().map_err(Error::io("create the control file"))
    }

    /// Reads the newest state, without anything to write it back.
    pub(crate) fn read(dir: &Arc<dyn Directory>) -> Result<Control> {
        ControlFile::open(dir, Access::Read).map(|control| control.state)
    }

    pub(crate) fn open(dir: &Arc<dyn Directory>, access: Access) -> Result<ControlFile> {
        let file = dir.open(NAME, access).map_err(|error| match Trouble::of(&error) {
            Trouble::NotFound => Error::NotFound { path: dir.path_hint(), missing: NAME },
            _ => Error::io("open the control file")(error),
        })?;
        let mut bytes = vec![0; FILE_LEN as usize];
        let read = file.read_at(&mut bytes, 0).map_err(Error::io("read the control file"))?;
        let (first, second) = bytes[..read].split_at(read.min(Control::SLOT_LEN));
        // F-047: the older slot stands in for a torn newer one; with none at all the log is not opened.
        let (slot, sequence, state) = Control::newest([first, second]).map_err(|fault| damaged(dir, fault))?;
        Ok(ControlFile { file, state, sequence, synced: slot, unwritten: false, unsynced: false })
    }

    /// Makes what was read durable again, before anything else is written: the newest slot may have come from the page
    /// cache alone, and the next write goes over the other one. Writing the same bytes cannot tear.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let at = (self.synced * Control::SLOT_LEN) as u64;
        let bytes = encode(&self.state, self.sequence);
        let write = || {
            self.file.allocate(FILE_LEN)?;
            self.file.write_all_at(&bytes, at)?;
            self.file.sync()
        };
        write().map_err(Error::io("sync the control file"))
    }

    pub(crate) fn state(&self) -> &Control {
        &self.state
    }

    /// Changes the state in memory; [`write`](Self::write) and [`sync`](Self::sync) take it further.
    pub(crate) fn change(&mut self) -> &mut Control {
        self.unwritten = true;
        &mut self.state
    }

    /// Notes that everything below `durable` is durable.
    pub(crate) fn set_durable(&mut self, durable: Lsn) {
        if self.state.durable < durable {
            self.change().durable = durable;
        }
        if self.state.lost.is_some_and(|lost| lost <= durable) {
            self.change().lost = None;
        }
    }

    /// Writes the state if it changed; a crash may or may not keep it.
    pub(crate) fn write(&mut self) -> Result<()> {
        if !self.unwritten {
            return Ok(());
        }
        let bytes = encode(&self.state, self.sequence + 1);
        let at = (1 - self.synced) * Control::SLOT_LEN;
        self.file.write_all_at(&bytes, at as u64).map_err(Error::io("write the control file"))?;
        self.sequence += 1;
        self.unwritten = false;
        self.unsynced = true;
        Ok(())
    }

    /// Makes the state durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.write()?;
        if self.unsynced {
            self.file.sync().map_err(Error::io("sync the control file"))?;
            self.synced = 1 - self.synced;
            self.unsynced = false;
        }
        Ok(())
    }
}

fn encode(state: &Control, sequence: u64) -> Vec<u8> {
    state.encode_slot(sequence).expect("slots and writers are kept within their limits")
}

fn damaged(dir: &Arc<dyn Directory>, fault: ControlFault) -> Error {
    let (path, file) = (dir.path_hint(), NAME.to_owned());
    match fault {
        ControlFault::NewerVersion(version) => Error::NewerVersion { path, file, version },
        fault => Error::Damaged { path, file, fault: fault.to_string() },
    }
}
