//! Records as they stand in the files, whether or not a reader would show them.

use std::sync::Arc;

use longshore_format::{
    Corruption, Cursor, EpochEntry, Frames, HeaderFault, LogId, Lsn, Record, SegmentHeader, SegmentSize, Step,
};
use longshore_storage::{Access, Directory};

use super::names::sorted_out;
use crate::control_file::ControlFile;
use crate::reader::fault_of;
use crate::window::{Pool, READ_LEN, Source, Window, read_record};
use crate::{Error, Result};

/// Lists the records of a log in order, the log's own included, up to the last that holds, durable or not.
///
/// At damage it fails; [`Listing::next_segment`] goes on behind it.
#[derive(Debug)]
pub struct Listing {
    dir: Arc<dyn Directory>,
    log: LogId,
    size: SegmentSize,
    /// The segments not begun yet, last first.
    ahead: Vec<Lsn>,
    current: Option<(Cursor, Window)>,
    /// Records that end at or before this are passed over.
    from: Lsn,
    pool: Arc<Pool>,
}

impl Listing {
    /// A listing of the records from the first that ends behind `from`.
    pub fn open(dir: Arc<dyn Directory>, from: Lsn) -> Result<Listing> {
        let control = ControlFile::read(&dir)?;
        let size = control.size;
        let (names, _) = sorted_out(dir.as_ref(), size)?;
        let start = size.base_of(size.normalise(from));
        let mut ahead: Vec<_> = names.iter().map(|name| name.base).filter(|base| start <= *base).collect();
        ahead.reverse();
        Ok(Listing { dir, log: control.log, size, ahead, current: None, from, pool: Arc::default() })
    }

    /// The next record; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the listing, which no Iterator can say")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        loop {
            if !self.enter()? {
                return Ok(None);
            }
            let (cursor, window) = self.current.as_mut().expect("entered");
            let position = cursor.position();
            let passed = match read_record(cursor, window, READ_LEN, self.size.body_end_offset())? {
                Step::Record(record) => record.end <= self.from,
                Step::End => {
                    self.next_segment();
                    self.ahead.clear();
                    return Ok(None);
                }
                step => {
                    let (segment, fault) = (self.size.base_of(position), fault_of(step));
                    let corruption = Corruption { segment, position, fault };
                    return Err(Error::Corrupt { path: self.dir.path_hint(), corruption });
                }
            };
            if !passed {
                // The record was checked just now; it is borrowed again so that those passed over need not be.
                let (_, window) = self.current.as_ref().expect("entered");
                let bytes = window.held(self.size.offset_in(position));
                return Ok(Frames::new(position, self.size, bytes).next());
            }
        }
    }

    /// The life of the record that would come next, if a segment is entered.
    pub fn life(&self) -> Option<EpochEntry> {
        self.current.as_ref().map(|(cursor, _)| cursor.chain().life)
    }

    /// Leaves the segment in which a record was bad; `false` if there is none after it.
    pub fn next_segment(&mut self) -> bool {
        self.current = None;
        !self.ahead.is_empty()
    }

    /// Makes the current segment the one of the next record; `false` at the end.
    fn enter(&mut self) -> Result<bool> {
        if let Some((cursor, window)) = &self.current
            && self.size.base_of(cursor.position()) == window.base()
        {
            return Ok(true);
        }
        self.current = None;
        let Some(base) = self.ahead.pop() else { return Ok(false) };
        let name = self.size.file_name(base);
        let file = self.dir.open(&name, Access::Read).map_err(Error::io("open a segment"))?;
        let mut window = Window::new(base, Source::File(file), Arc::clone(&self.pool));
        let bytes = window.at(0, SegmentHeader::LEN, READ_LEN, self.size.get())?;
        let header = match SegmentHeader::decode(bytes) {
            Ok(header) if header.log == self.log && header.base() == base && header.size == self.size => header,
            // Prepared, never begun: the end.
            Err(HeaderFault::Empty) => return Ok(false),
            Err(HeaderFault::Short) if bytes.is_empty() => return Ok(false),
            other => {
                let fault =
                    other.err().map_or_else(|| "its header is of another log or place".into(), |f| f.to_string());
                return Err(Error::Damaged { path: self.dir.path_hint(), file: name, fault });
            }
        };
        self.current = Some((Cursor::new(self.log, self.size, header.chain), window));
        Ok(true)
    }
}
