//! Sealing: a segment's digest and index are taken as it fills, off the append path, from what the disk cache holds.
//!
//! Each record is read back and checked on the way, and so is what stands around them, so that a byte that was damaged in
//! memory between append and sync is never sealed (F-080, F-081). The footer is written when all of the segment is durable (F-074), and shown, and segments are sealed
//! in order: what lacks a footer after a crash are the last segments only, which recovery goes through again. Before a
//! segment that is sealed, a missing footer is corruption.

use std::sync::Arc;

use longshore_format::{Cursor, ErrorKind, Footer, IndexBuilder, Kind, Lsn, SegmentDigest, SegmentHeader, Step};
use longshore_storage::File;

use crate::evidence::body_from;
use crate::reader::fault_of;
use crate::shared::Shared;
use crate::survey::read_at;
use crate::view::{Segment, Upto};
use crate::window::{Window, longest_record, read_record};
use crate::{Error, Result, Wal};

/// How far the oldest unsealed segment was gone through.
#[derive(Debug, Default)]
pub(crate) struct Sealer {
    scan: Option<Scan>,
}

#[derive(Debug)]
struct Scan {
    segment: Arc<Segment>,
    window: Window,
    cursor: Cursor,
    digest: SegmentDigest,
    index: IndexBuilder,
    records: u64,
    last: Lsn,
    /// How far into the segment what was gone through reaches.
    end: u64,
}

/// Gone through at once: enough to be worth waking up for, little enough to stop soon.
const STEP: u64 = 1 << 20;

impl Wal {
    /// Goes on with the seal of the oldest unsealed segment; `false` if there is nothing to do now.
    pub fn seal_once(&self) -> Result<bool> {
        let shared = self.shared();
        let mut sealer = shared.lock(&shared.seal)?;
        shared.alive()?;
        shared.seal_step(&mut sealer).map_err(|error| match error.kind() {
            // Out of files or memory for the moment (F-067): the next call tries again.
            ErrorKind::Unavailable => error,
            _ => shared.poison(error),
        })
    }
}

impl Shared {
    fn seal_step(&self, sealer: &mut Sealer) -> Result<bool> {
        let base = self.view.sealed.get();
        if sealer.scan.is_none() {
            let Some(segment) = self.view.get(base) else { return Ok(false) };
            sealer.scan = Some(self.begin_scan(segment)?);
        }
        let scan = sealer.scan.as_mut().expect("begun above");
        let limit = self.view.limit_in(base, Upto::Durable);
        let full = limit == self.view.size.body_end_offset();
        let position = self.view.size.offset_in(scan.cursor.position());
        if !full && limit < position + STEP {
            return Ok(false);
        }
        if !self.scan_on(scan, limit)? {
            return Ok(true);
        }
        let scan = sealer.scan.take().expect("it was there");
        self.write_footer(scan)?;
        Ok(true)
    }

    fn begin_scan(&self, segment: Arc<Segment>) -> Result<Scan> {
        let size = self.view.size;
        let mut window = self.view.window(&segment)?;
        let header = window.at(0, SegmentHeader::LEN, 0, SegmentHeader::LEN as u64)?;
        let chain = self.view.decode_header(segment.base, header)?.chain;
        let mut digest = SegmentDigest::new();
        digest.update(header);
        Ok(Scan {
            cursor: Cursor::new(self.view.id, size, chain),
            index: IndexBuilder::new(size),
            last: chain.position,
            segment,
            window,
            digest,
            records: 0,
            end: size.header_len(),
        })
    }

    /// Goes through about [`STEP`] bytes; whether the segment's end was reached.
    fn scan_on(&self, scan: &mut Scan, limit: u64) -> Result<bool> {
        let size = self.view.size;
        let start = size.offset_in(scan.cursor.position());
        let want = STEP as usize + longest_record(size);
        let known = scan.index.entries().len();
        // All at once, so that it can be hashed in one piece: BLAKE3 is fast on long inputs only.
        scan.window.fresh(start, want, limit)?;
        let mut end = start;
        let mut done = false;
        while end < limit && end - start < STEP && !done {
            let before = *scan.cursor.chain();
            let record = match read_record(&mut scan.cursor, &mut scan.window, want, limit)? {
                Step::Record(record) => record,
                step => return Err(self.view.corrupt(before.position, fault_of(step))),
            };
            scan.index.observe(&before);
            scan.records += 1;
            end += record.extent();
            (scan.last, done) = (before.position, record.kind == Kind::ROLL);
        }
        scan.end = end;
        scan.digest.update(&scan.window.held(start)[..(end - start) as usize]);
        scan.segment.extend_index(&scan.index.entries()[known..]);
        Ok(done)
    }

    /// What a segment holds besides records: its header, which was read before the segment filled, and the rest of its body,
    /// which the digest takes for zeros.
    fn check_around(&self, scan: &Scan, file: &Arc<dyn File>) -> Result<()> {
        let base = scan.segment.base;
        let mut header = vec![0; SegmentHeader::LEN];
        read_at(file, base, &mut header, 0)?;
        self.view.decode_header(base, &header)?;
        match body_from(file, base, scan.end, self.view.size.body_end_offset())?.is_empty() {
            true => Ok(()),
            false => Err(self.view.damaged(base, "bytes behind its last record are not zero".to_owned())),
        }
    }

    fn write_footer(&self, scan: Scan) -> Result<()> {
        let size = self.view.size;
        let base = scan.segment.base;
        let live = scan.segment.live_file().ok_or(Error::Invalid("a segment to be sealed is not live"))?;
        self.check_around(&scan, &live.file)?;
        let footer = Footer {
            base,
            records: scan.records,
            last: scan.last,
            digest: scan.digest.finish(size),
            previous: self.view.digest_before(base)?,
            index: Some(scan.index.finish()),
        };
        let bytes = footer.encode(size).expect("the builder keeps to the limit");
        live.file.write_all_at(&bytes, size.body_end_offset()).map_err(Error::io("write a footer"))?;
        live.file.sync().map_err(Error::io("sync a footer"))?;
        let sealed = size.next_base(base).unwrap_or(Lsn::MAX);
        self.control.set_durable(self.view.synced.get());
        self.control.sync()?;
        scan.segment.set_sealed(footer);
        self.view.sealed.advance(sealed);
        self.room.ring();
        Ok(())
    }
}
