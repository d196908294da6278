//! Proof that a bad record is corruption and not the end of a torn tail: a later record of our own that says so.
//!
//! Each record says what its writer knew to be durable on its own disk. If this node is that writer, and the bad record
//! lies below what such a record says, then the bad record was durable here and has been damaged since. A promise of
//! another node describes another disk, and proves nothing here.

use std::sync::Arc;

use longshore_format::{EpochEntry, Lsn, RECORD_HEADER_LEN, Resync};
use longshore_storage::File;

use crate::Result;
use crate::survey::{Files, Head, Walk, read_at};

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
        let lives = self.lives();
        let own = |life: &EpochEntry| control.writers.contains(&life.epoch.writer);
        let mut greatest = None;
        let mut consider = |search: Resync<'_>| {
            let ours = search.filter(|found| own(&found.life)).filter_map(|found| found.promise);
            greatest = ours.filter(|promise| self.position < *promise).chain(greatest).max();
        };
        for base in self.bases.iter().filter(|base| size.base_of(self.position) <= **base) {
            let (head, file) = self.files.head(*base)?;
            let here = *base == size.base_of(self.position);
            let from = if here { size.offset_in(self.position) } else { size.header_len() };
            let mut body = body_from(&file, *base, from, size.body_end_offset())?;
            // The last header may itself end in zeros.
            body.resize((body.len() + RECORD_HEADER_LEN).min((size.body_end_offset() - from) as usize), 0);
            match head {
                Head::Good(header) if !here => consider(Resync::in_segment(&header, &lives, &body)),
                _ => {
                    // A header that can be believed about its length is passed over whole (F-019).
                    let skip = if here { self.extent.unwrap_or(0) } else { 0 };
                    let start = base.checked_add(from + skip).unwrap_or(Lsn::MAX);
                    let rest = body.get(skip as usize..).unwrap_or_default();
                    consider(Resync::new(control.log, size, &lives, start, rest));
                }
            }
        }
        Ok(greatest)
    }

    /// The lives that later records can be of.
    fn lives(&self) -> Vec<EpochEntry> {
        let current = self.walk.cursor.chain().life;
        let later = self.files.control.history.entries().iter().filter(|life| current.start < life.start);
        std::iter::once(current).chain(later.copied()).collect()
    }
}

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
