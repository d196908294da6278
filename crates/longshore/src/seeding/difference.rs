//! A snapshot that is put together of what is held here and what is fetched.
//!
//! The upstream tells of each record of its snapshot how long it is and what its payload hashes to. What a sink holds is read
//! beside it, record for record, as the records that an image of it would be: where the two agree, the payload is taken from
//! here, and all the others are asked for. What comes of it is byte for byte the upstream's file.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use longshore_apply::DatabaseImage;
use longshore_format::{ErrorKind, LogId, Lsn};
use longshore_transport::{RecordOutline, SnapshotOutline, SnapshotPlace};

use crate::error::{Error, Result};
use crate::snapshot::SnapshotHead;
use crate::snapshot::file::{FRAME_LEN, HEAD_LEN, LONGEST, damaged, digest_of, frame_of, len_in};

/// A file that has another name than a seed until it is whole, for how long it is says nothing of how much of it is there.
pub(super) struct Difference {
    path: PathBuf,
    file: File,
    position: Lsn,
    /// Of the whole file.
    len: u64,
    /// Where the next record begins of which nothing is known yet.
    next: u64,
    /// `None` once it has ended.
    image: Option<Box<dyn DatabaseImage>>,
    payload: Vec<u8>,
    /// What an earlier attempt has left, which may be anything, ends here.
    left: u64,
    /// What is to be fetched before more is found out: one outline's at most.
    missing: VecDeque<Part>,
    /// The beginning of the first of these.
    arrived: Vec<u8>,
    /// How often that was asked for: what comes of an earlier connection is not wanted any more.
    asked: u64,
    /// The file has its name.
    is_finished: bool,
    fetched: u64,
    held: u64,
}

/// A part of the file that has to be fetched.
#[derive(Debug)]
struct Part {
    at: u64,
    len: usize,
    /// Of the payload behind the frame; `None` for the file's head.
    digest: Option<[u8; 16]>,
}

impl Difference {
    /// Begins with the first outline that the upstream gave.
    pub(super) fn begin(path: &Path, image: Box<dyn DatabaseImage>, first: &SnapshotOutline) -> Result<Difference> {
        let (position, len, begin) = (first.place.position, first.len, HEAD_LEN as u64);
        if first.place.offset != begin || len < begin + FRAME_LEN as u64 {
            return Err(damaged(path, "its outline does not begin where a snapshot does"));
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let failed = |error| Error::io("write a snapshot", path, error);
        let file = options.open(path).map_err(failed)?;
        let left = file.metadata().map_err(failed)?.len();
        let missing = VecDeque::from([Part { at: 0, len: HEAD_LEN, digest: None }]);
        Ok(Difference {
            path: path.to_owned(),
            file,
            position,
            len,
            next: begin,
            image: Some(image),
            payload: Vec::new(),
            left,
            missing,
            arrived: Vec::new(),
            asked: 0,
            is_finished: false,
            fetched: 0,
            held: 0,
        })
    }

    /// Where the outline is to go on.
    pub(super) fn place(&self) -> SnapshotPlace {
        SnapshotPlace { position: self.position, offset: self.next }
    }

    /// Whether an outline is of this snapshot, and of what comes next in it.
    pub(super) fn goes_on_with(&self, outline: &SnapshotOutline) -> bool {
        outline.place == self.place() && outline.len == self.len
    }

    /// Where the outline ends: all records are known.
    pub(super) fn is_outlined(&self) -> bool {
        self.next + FRAME_LEN as u64 == self.len
    }

    /// Bytes that were fetched, and bytes that were held here.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.fetched, self.held)
    }

    /// Compares the next records with what is held; what that does not have is [`wanted`](Self::wanted) from then on.
    pub(super) fn compare(&mut self, records: &[RecordOutline]) -> Result<()> {
        if records.is_empty() && !self.is_outlined() {
            return Err(self.refused("its outline ends before it does"));
        }
        for record in records {
            self.compare_next(record)?;
        }
        Ok(())
    }

    fn compare_next(&mut self, record: &RecordOutline) -> Result<()> {
        let len = FRAME_LEN + record.len as usize;
        let end = self.next.checked_add(len as u64).filter(|end| *end <= self.len - FRAME_LEN as u64);
        let (Some(end), 1..=LONGEST) = (end, record.len as usize) else {
            return Err(self.refused("its outline has a record of a length that it could not have"));
        };
        let payload = self.image.as_mut().and_then(|image| match image.next_payload() {
            Ok(payload) => payload,
            Err(error) => {
                tracing::debug!(%error, "what is held here is not read further");
                None
            }
        });
        self.image.take_if(|_| payload.is_none());
        match payload.filter(|payload| payload.len() == record.len as usize && digest_of(payload) == record.digest) {
            Some(payload) => {
                self.write(&[&frame_of(&payload)[..], &payload].concat(), self.next)?;
                self.held += len as u64;
            }
            None if self.is_left(record, end)? => self.held += len as u64,
            None => self.missing.push_back(Part { at: self.next, len, digest: Some(record.digest) }),
        }
        self.next = end;
        Ok(())
    }

    /// Whether an earlier attempt has come as far as to fetch it.
    fn is_left(&mut self, record: &RecordOutline, end: u64) -> Result<bool> {
        if self.left < end {
            return Ok(false);
        }
        let mut frame = [0; FRAME_LEN];
        self.payload.resize(record.len as usize, 0);
        let read = self.file.read_exact_at(&mut frame, self.next);
        let read = read.and_then(|()| self.file.read_exact_at(&mut self.payload, self.next + FRAME_LEN as u64));
        read.map_err(|error| Error::io("read a snapshot", &self.path, error))?;
        Ok(digest_of(&self.payload) == record.digest && frame == frame_of(&self.payload))
    }

    /// What is to be fetched, neighbours together, and no more at once than may be asked for; and the number by which it is
    /// given. What of it had arrived in part is fetched again.
    pub(super) fn wanted(&mut self) -> (Vec<Range<u64>>, u64) {
        self.arrived.clear();
        self.asked += 1;
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for part in &self.missing {
            let end = part.at + part.len as u64;
            if let Some(last) = ranges.last_mut().filter(|last| last.end == part.at) {
                last.end = end;
            } else if ranges.len() < SnapshotOutline::MOST_RANGES {
                ranges.push(part.at..end);
            } else {
                break;
            }
        }
        (ranges, self.asked)
    }

    /// The next bytes of what was wanted last.
    pub(super) fn take(&mut self, asked: u64, mut bytes: &[u8]) -> Result<()> {
        if asked != self.asked {
            return Ok(());
        }
        self.fetched += bytes.len() as u64;
        while !bytes.is_empty() {
            let Some(part) = self.missing.front() else {
                return Err(self.refused("more of it came than was asked for"));
            };
            let (some, rest) = bytes.split_at(bytes.len().min(part.len - self.arrived.len()));
            self.arrived.extend_from_slice(some);
            bytes = rest;
            if self.arrived.len() == part.len {
                if !part.is(&self.arrived) {
                    return Err(self.refused("what came is not what its outline says"));
                }
                let (at, whole) = (part.at, std::mem::take(&mut self.arrived));
                self.write(&whole, at)?;
                self.missing.pop_front();
                self.arrived = whole;
                self.arrived.clear();
            }
        }
        Ok(())
    }

    /// Gives the file the name of a seed: all of it is there.
    pub(super) fn finish(&mut self, log: LogId, path: &Path) -> Result<()> {
        assert!(self.is_outlined() && self.missing.is_empty(), "nothing is missing");
        // Whoever asked before may have gone before it heard.
        if self.is_finished {
            return Ok(());
        }
        self.write(&[0; FRAME_LEN], self.next)?;
        // What has that name after a power cut is taken for all that its length says.
        let synced = self.file.set_len(self.len).and_then(|()| self.file.sync_data());
        synced.map_err(|error| Error::io("write a snapshot", &self.path, error))?;
        let head = SnapshotHead::of(&self.path)?;
        if head.log != log || head.lsn != self.position {
            return Err(self.refused("its head is that of another one"));
        }
        std::fs::rename(&self.path, path).map_err(|error| Error::io("name a snapshot", path, error))?;
        self.is_finished = true;
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|error| Error::io("write a snapshot", &self.path, error))
    }

    fn refused(&self, what: &str) -> Error {
        damaged(&self.path, what)
    }
}

impl Part {
    fn is(&self, bytes: &[u8]) -> bool {
        let Some(digest) = self.digest else { return true };
        let (frame, payload) = bytes.split_first_chunk().expect("a part begins with a frame");
        len_in(frame) as usize == payload.len() && digest_of(payload) == digest
    }
}

/// Whether an error is about what the upstream says, so that all of its snapshot has to be fetched.
pub(super) fn is_of_outline(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid)
}

#[cfg(test)]
mod tests;
