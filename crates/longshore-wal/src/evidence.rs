//! Proof that a bad record is corruption and not the end of a torn tail: a later record of our own that says so.
//!
//! Each record says what its writer knew to be durable on its own disk. If this node is that writer, and the bad record
//! lies below what such a record says, then the bad record was durable here and has been damaged since. A promise of
//! another node describes another disk, and proves nothing here.

use std::sync::Arc;

use longshore_format::{Control, EpochEntry, Lsn, RECORD_HEADER_LEN, Resync};
use longshore_storage::File;

use crate::Result;
use crate::survey::{Files, Head, Walk, read_at};
use crate::window::longest_record;

/// The bytes beyond a bad record.
pub(crate) struct Evidence<'a> {
    pub(crate) files: &'a Files<'a>,
    pub(crate) walk: &'a Walk,
    pub(crate) bases: &'a [Lsn],
    /// Where the bad record starts.
    pub(crate) position: Lsn,
    /// How far it reaches, if its header can be believed about that.
    pub(crate) extent: Option<u64>,
}

impl Evidence<'_> {
    /// The greatest promise of ours beyond the bad record that says that the record was durable.
    pub(crate) fn promise(&self) -> Result<Option<Lsn>> {
        let control = self.files.control;
        let size = control.size;
        let lives = lives(control, self.walk.cursor.chain().life);
        let mut greatest = None;
        for base in self.bases.iter().filter(|base| size.base_of(self.position) <= **base) {
            let (head, file) = self.files.head(*base)?;
            let search = match head {
                // A header that can be believed about its length is passed over whole (F-019).
                _ if *base == size.base_of(self.position) => {
                    let start = self.position.checked_add(self.extent.unwrap_or(0)).unwrap_or(Lsn::MAX);
                    Resync::new(control.log, size, &lives, start, &[])
                }
                Head::Good(header) => Resync::in_segment(&header, &lives, &[]),
                _ => Resync::new(control.log, size, &lives, size.first_in(*base), &[]),
            };
            greatest = greatest.max(promise(control, &file, search)?);
        }
        Ok(greatest.filter(|promise| self.position < *promise))
    }
}

/// The lives that records after a bad one can be of: the one there, and all later ones that are known.
pub(crate) fn lives(control: &Control, current: EpochEntry) -> Vec<EpochEntry> {
    let later = control.history.entries().iter().filter(|life| current.start < life.start);
    std::iter::once(current).chain(later.copied()).collect()
}

/// The greatest promise of ours in the records that a search finds from its position to the end of the segment, whose
/// file this is. Reads a window at a time: the rest of a segment may be longer than memory is.
pub(crate) fn promise(control: &Control, file: &Arc<dyn File>, mut search: Resync<'static>) -> Result<Option<Lsn>> {
    let size = control.size;
    let (base, limit, ahead) = (size.base_of(search.position()), size.body_end_offset(), longest_record(size));
    let mut buffer = vec![0; WINDOW.min(size.get() as usize)];
    let mut greatest = None;
    loop {
        let offset = search.position().since(base);
        let len = buffer.len().min(limit.saturating_sub(offset) as usize);
        let read = read_at(file, base, &mut buffer[..len], offset)?;
        // The last header may end in zeros, of which a file cut short lacks some.
        let held = len.min(read + RECORD_HEADER_LEN);
        buffer[read..held].fill(0);
        let is_last = read < len || limit <= offset + len as u64;
        let mut found = search.over(&buffer[..held], if is_last { 0 } else { ahead });
        let ours = found.by_ref().filter(|found| control.writers.contains(&found.life.epoch.writer));
        greatest = ours.filter_map(|found| found.promise).chain(greatest).max();
        if is_last {
            return Ok(greatest);
        }
        search = found.over(&[], 0);
    }
}

/// How much of a segment is searched at once; several times the longest record.
const WINDOW: usize = 4 << 20;

/// What a segment's file holds from `from` up to the last byte before `limit` that is not zero.
pub(crate) fn body_from(file: &Arc<dyn File>, base: Lsn, from: u64, limit: u64) -> Result<Vec<u8>> {
    const STEP: usize = 256 << 10;
    let mut bytes = Vec::new();
    let mut used = 0;
    let mut buffer = vec![0; STEP];
    let mut offset = from;
    while offset < limit {
        let len = STEP.min((limit - offset) as usize);
        let read = read_at(file, base, &mut buffer[..len], offset)?;
        if let Some(last) = last_nonzero(&buffer[..read]) {
            // Zeros in between count; those after the last other byte need not be held.
            bytes.resize((offset - from) as usize, 0);
            bytes.extend_from_slice(&buffer[..=last]);
            used = bytes.len();
        }
        if read < len {
            break;
        }
        offset += read as u64;
    }
    bytes.truncate(used);
    Ok(bytes)
}

/// Where the last byte that is not zero stands. Mostly all are: whole blocks are compared first, which is as fast as
/// memory.
fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut end = bytes.len();
    while end > 0 {
        let start = (end - 1) / ZEROS.len() * ZEROS.len();
        let block = &bytes[start..end];
        if block != &ZEROS[..block.len()] {
            return block.iter().rposition(|byte| *byte != 0).map(|last| start + last);
        }
        end = start;
    }
    None
}
