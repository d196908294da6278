//! The control file: two slots, of which the newest durable one is never written over.
//!
//! The watermark is written often and synced seldom. Such writes all go to the other slot, so that a crash in the
//! middle of one leaves the last synced state readable.

use std::sync::{Arc, Mutex};

use longshore_format::{Control, ControlFault, Epoch, Lsn};
use longshore_storage::{Access, Directory, File, Trouble};

use crate::shared::lock;
use crate::{Error, Result};

pub(crate) const NAME: &str = "control";
const TEMPORARY: &str = "control.tmp";
const FILE_LEN: u64 = 2 * Control::SLOT_LEN as u64;

/// The state in memory, and the file behind it. Changing the state never waits for the disk, so that acks do not.
#[derive(Debug)]
pub(crate) struct ControlFile {
    /// Locked for lines.
    state: Mutex<State>,
    /// Locked while the disk works.
    disk: Mutex<Disk>,
}

#[derive(Debug)]
struct State {
    control: Control,
    /// Counts changes.
    version: u64,
}

#[derive(Debug)]
struct Disk {
    file: Arc<dyn File>,
    /// The sequence number of the last write.
    sequence: u64,
    /// The slot that holds the newest synced state.
    synced_slot: usize,
    /// The versions of the state that were written and synced last.
    written: u64,
    synced: u64,
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
        ControlFile::open(dir, Access::Read).map(|control| control.state())
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
        let (slot, sequence, control) = Control::newest([first, second]).map_err(|fault| damaged(dir, fault))?;
        Ok(ControlFile {
            state: Mutex::new(State { control, version: 0 }),
            disk: Mutex::new(Disk { file, sequence, synced_slot: slot, written: 0, synced: 0 }),
        })
    }

    /// Makes what was read durable again, before anything else is written: the newest slot may have come from the page
    /// cache alone, and the next write goes over the other one. Writing the same bytes cannot tear.
    pub(crate) fn settle(&self) -> Result<()> {
        let disk = lock(&self.disk);
        let at = (disk.synced_slot * Control::SLOT_LEN) as u64;
        let bytes = encode(&lock(&self.state).control, disk.sequence);
        let write = || {
            disk.file.allocate(FILE_LEN)?;
            disk.file.write_all_at(&bytes, at)?;
            disk.file.sync()
        };
        write().map_err(Error::io("sync the control file"))
    }

    /// A copy of the state.
    pub(crate) fn state(&self) -> Control {
        lock(&self.state).control.clone()
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Control) -> T) -> T {
        look(&lock(&self.state).control)
    }

    /// Changes the state in memory; [`write`](Self::write) and [`sync`](Self::sync) take it further.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Control) -> T) -> T {
        let mut state = lock(&self.state);
        state.version += 1;
        change(&mut state.control)
    }

    /// Notes that everything below `durable` is durable.
    pub(crate) fn set_durable(&self, durable: Lsn) {
        let mut state = lock(&self.state);
        let control = &mut state.control;
        let regained = control.lost.is_some_and(|lost| lost <= durable);
        if control.durable < durable || regained {
            control.durable = control.durable.max(durable);
            control.lost = control.lost.filter(|_| !regained);
            state.version += 1;
        }
    }

    /// Raises the highest epoch accepted to `epoch`, in memory; returns the highest there is then.
    pub(crate) fn raise_highest(&self, epoch: Epoch) -> Epoch {
        let mut state = lock(&self.state);
        if state.control.highest.number < epoch.number {
            state.control.highest = epoch;
            state.version += 1;
        }
        state.control.highest
    }

    /// Writes the state if it changed; a crash may or may not keep it. Does nothing if the file is being synced just now:
    /// any older state is also true.
    pub(crate) fn write(&self) -> Result<()> {
        match self.disk.try_lock() {
            Ok(mut disk) => self.write_to(&mut disk),
            Err(_) => Ok(()),
        }
    }

    /// Makes the state durable, with all changes made before the call.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut disk = lock(&self.disk);
        self.write_to(&mut disk)?;
        if disk.synced != disk.written {
            disk.file.sync().map_err(Error::io("sync the control file"))?;
            disk.synced_slot = 1 - disk.synced_slot;
            disk.synced = disk.written;
        }
        Ok(())
    }

    fn write_to(&self, disk: &mut Disk) -> Result<()> {
        let state = lock(&self.state);
        if state.version == disk.written {
            return Ok(());
        }
        let bytes = encode(&state.control, disk.sequence + 1);
        let version = state.version;
        drop(state);
        let at = (1 - disk.synced_slot) * Control::SLOT_LEN;
        disk.file.write_all_at(&bytes, at as u64).map_err(Error::io("write the control file"))?;
        disk.sequence += 1;
        disk.written = version;
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
