//! Going through one segment, record by record and byte by byte, in bounded memory.

use std::sync::Arc;

use longshore_format::{
    Bad, Chain, Corruption, Cursor, Digest, EpochHistory, IndexBuilder, Lsn, SegmentDigest, SegmentHeader, SegmentSize,
    Step,
};
use longshore_storage::File;

use super::Finding;
use crate::Error;
use crate::reader::fault_of;
use crate::window::{Pool, READ_LEN, Source, Window, read_record};

/// What a segment's records say.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// How many there are, the `Roll` included.
    pub(crate) records: u64,
    /// Where the last record before a `Roll` ends, and the `Roll` starts if there is one.
    pub(crate) last: Lsn,
    /// The state behind the last one.
    pub(crate) end: Chain,
    /// The lives up to there.
    pub(crate) history: EpochHistory,
    /// The index as it must be.
    pub(crate) index: Vec<Chain>,
    /// Where the bytes end that records take, as an offset.
    pub(crate) used: u64,
    /// Whether the last record is a `Roll`.
    pub(crate) full: bool,
    /// What stands where the next record would be, if the segment is not full.
    pub(crate) stop: Option<Bad>,
}

impl Scanned {
    /// The bad record, or missing one, at which the scan stopped.
    pub(crate) fn corruption(&self, size: SegmentSize) -> Option<Corruption> {
        let position = self.end.position;
        self.stop.map(|bad| Corruption { segment: size.base_of(position), position, fault: bad.fault })
    }
}

/// Reads every record of the segment with this header, as far as they hold.
pub(crate) fn scan(header: &SegmentHeader, file: &Arc<dyn File>, pool: &Arc<Pool>) -> Result<Scanned, Finding> {
    let size = header.size;
    let mut window = Window::new(header.base(), Source::File(Arc::clone(file)), Arc::clone(pool));
    let mut cursor = Cursor::new(header.log, size, header.chain);
    let mut index = IndexBuilder::new(size);
    let mut history = header.history.clone();
    let (mut records, mut last, mut used) = (0, header.chain.position, size.header_len());
    let (full, stop) = loop {
        let before = *cursor.chain();
        let record = match read_record(&mut cursor, &mut window, READ_LEN, size.body_end_offset()) {
            Ok(Step::Record(record)) => record,
            Ok(Step::Bad(bad)) => break (false, Some(bad)),
            Ok(step) => break (false, Some(Bad { fault: fault_of(step), extent: None })),
            Err(Error::Unreadable { offset, source, .. }) => return Err(Finding::unreadable(offset, &source)),
            Err(error) => return Err(Finding::Unreadable { offset: used, cause: error.to_string() }),
        };
        index.observe(&before);
        records += 1;
        used += record.extent();
        let life = cursor.chain().life;
        if life != before.life {
            history.push(life).expect("the cursor accepted the life");
        }
        last = before.position;
        if size.base_of(cursor.position()) != header.base() {
            break (true, None);
        }
        last = cursor.position();
    };
    let index = index.finish();
    Ok(Scanned { records, last, end: *cursor.chain(), history, index, used, full, stop })
}

/// The digest of everything before a segment's footer, and where the first byte is at or after offset `zeros_from`
/// that is not zero.
pub(crate) fn digest_of(file: &dyn File, size: SegmentSize, zeros_from: u64) -> Result<(Digest, Option<u64>), Finding> {
    let mut buffer = vec![0; READ_LEN];
    let mut digest = SegmentDigest::new();
    let mut stray = None;
    while digest.offset() < size.body_end_offset() {
        let offset = digest.offset();
        let wanted = (size.body_end_offset() - offset).min(buffer.len() as u64) as usize;
        let read = file.read_at(&mut buffer[..wanted], offset).map_err(|error| Finding::unreadable(offset, &error))?;
        if read == 0 {
            return Err(Finding::Length { len: offset, size: size.get() });
        }
        let piece = &buffer[..read];
        let checked = (zeros_from.saturating_sub(offset) as usize).min(read);
        if stray.is_none() {
            let found = piece[checked..].iter().position(|byte| *byte != 0);
            stray = found.map(|at| offset + (checked + at) as u64);
        }
        digest.update(piece);
    }
    Ok((digest.finish(size), stray))
}
