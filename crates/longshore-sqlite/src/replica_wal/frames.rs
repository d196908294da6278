//! The writing of a transaction: its frames, their sync, and what the wal-index says of them.

use std::os::unix::fs::FileExt;

use super::{ReplicaDb, index};
use crate::error::Error;
use crate::points::reached;
use crate::wal_format::{FrameHead, HEADER_LEN, IndexHeader, WalHeader, frame_offset};

/// The frames of a transaction that is not published yet.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Their pages.
    pub(super) pages: Vec<u32>,
    /// How many of them stand in the file, the rest being in `buffer`.
    written: u32,
    buffer: Vec<u8>,
    /// The sum of the last one.
    checksum: [u32; 2],
    /// The last page, kept back: only the commit knows whether its frame ends the transaction.
    pub(super) last: Option<(u32, Vec<u8>)>,
}

/// Frames are written in pieces of this size.
const WRITE_AT_ONCE: usize = 256 << 10;

impl ReplicaDb {
    /// Appends a page to the transaction, each page once.
    pub(crate) fn append(&mut self, page: u32, bytes: &[u8]) -> Result<(), Error> {
        self.writing(|db| db.append_frame(page, bytes))
    }

    /// Makes what was appended durable and then visible, whole. The database has `pages` pages from then on.
    pub(crate) fn commit(&mut self, pages: u32) -> Result<(), Error> {
        self.writing(|db| db.commit_frames(pages))
    }

    /// Forgets what was appended and not committed.
    pub(crate) fn forget(&mut self) {
        self.open = Open::default();
    }

    fn append_frame(&mut self, page: u32, bytes: &[u8]) -> Result<(), Error> {
        let mut next = match self.open.last.take() {
            Some((before, bytes)) => {
                self.encode(before, 0, &bytes)?;
                bytes
            }
            None => Vec::new(),
        };
        next.clear();
        next.extend_from_slice(bytes);
        self.open.last = Some((page, next));
        Ok(())
    }

    fn commit_frames(&mut self, pages: u32) -> Result<(), Error> {
        let last = match self.open.last.take() {
            Some(last) => last,
            None => {
                let mut first = vec![0; self.page_size.bytes()];
                self.read(1, &mut first)?;
                (1, first)
            }
        };
        self.encode(last.0, pages, &last.1)?;
        self.write_out()?;
        reached("frames are written");
        self.sync()?;
        let (before, count) = (self.header.max_frame, self.open.pages.len() as u32);
        index::append(&self.fence.file, before, &self.open.pages)?;
        self.header = IndexHeader {
            change: self.header.change.wrapping_add(1),
            big_endian: false,
            max_frame: before + count,
            pages,
            checksum: self.open.checksum,
            ..self.header
        };
        index::publish(&self.fence.file, &self.header)?;
        for (page, frame) in self.open.pages.drain(..).zip(before + 1..) {
            self.frames.insert(page, frame);
        }
        self.open.written = 0;
        self.before = None;
        Ok(())
    }

    /// Adds a frame to those that wait to be written.
    fn encode(&mut self, page: u32, commit: u32, bytes: &[u8]) -> Result<(), Error> {
        if self.open.pages.is_empty() {
            if self.header.max_frame == 0 {
                self.begin_wal()?;
            }
            self.open.checksum = self.header.checksum;
        }
        let first;
        let bytes = match page {
            1 => {
                first = self.own_first(bytes)?;
                &first
            }
            _ => bytes,
        };
        let Open { buffer, checksum, .. } = &mut self.open;
        *checksum = FrameHead::encode(page, commit, self.header.salts, bytes, *checksum, buffer);
        self.open.pages.push(page);
        if WRITE_AT_ONCE <= self.open.buffer.len() { self.write_out() } else { Ok(()) }
    }

    /// Page 1 as SQLite commits it: with this copy's own change counter, and who wrote it.
    fn own_first(&self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut own = vec![0; bytes.len()];
        self.read(1, &mut own)?;
        let counter = u32::from_be_bytes(*own[24..].first_chunk().expect("a page is longer")).wrapping_add(1);
        own.copy_from_slice(bytes);
        own[24..28].copy_from_slice(&counter.to_be_bytes());
        own[92..96].copy_from_slice(&counter.to_be_bytes());
        own[96..100].copy_from_slice(&(rusqlite::version_number() as u32).to_be_bytes());
        Ok(own)
    }

    fn write_out(&mut self) -> Result<(), Error> {
        let at = frame_offset(self.page_size, self.header.max_frame + 1 + self.open.written);
        self.wal.write_all_at(&self.open.buffer, at).map_err(Error::at(&self.wal_path))?;
        self.open.buffer.clear();
        self.open.written = self.open.pages.len() as u32;
        Ok(())
    }

    /// Writes the header of a `-wal` without a frame.
    fn begin_wal(&mut self) -> Result<(), Error> {
        if self.header.salts == [0, 0] {
            self.header.salts = self.random()?;
        }
        let (header, bytes) = WalHeader::new(self.page_size, self.checkpoints, self.header.salts);
        self.checkpoints = self.checkpoints.wrapping_add(1);
        self.header.checksum = header.checksum;
        let has_frames = self.wal.metadata().map_err(Error::at(&self.wal_path))?.len() > HEADER_LEN as u64;
        self.wal.write_all_at(&bytes, 0).map_err(Error::at(&self.wal_path))?;
        reached("the -wal has another header");
        // New frames that are on disk under an old header would be taken for its own.
        if has_frames { self.sync() } else { Ok(()) }
    }

    pub(super) fn next_checkpoint_number(&self) -> Result<u32, Error> {
        let mut bytes = [0; HEADER_LEN];
        match self.wal.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(WalHeader::decode(&bytes).map_or(0, |header| header.checkpoints.wrapping_add(1))),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(Error::at(&self.wal_path)(error)),
        }
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.wal.sync_data().map_err(Error::at(&self.wal_path))
    }

    /// Once a write has failed, nothing more is written.
    fn writing(&mut self, write: impl FnOnce(&mut ReplicaDb) -> Result<(), Error>) -> Result<(), Error> {
        if self.has_failed {
            return Err(Error::at(&self.wal_path)(std::io::Error::other("an earlier write failed, open it again")));
        }
        let written = write(self);
        self.has_failed = written.is_err();
        written
    }

    pub(super) fn random(&self) -> Result<[u32; 2], Error> {
        let word = |bytes: Vec<u8>| u32::from_be_bytes(*bytes.first_chunk().expect("four bytes were asked for"));
        let sql = "SELECT randomblob(4), randomblob(4)";
        Ok(self.checkpointer.connection().query_row(sql, [], |row| Ok([word(row.get(0)?), word(row.get(1)?)]))?)
    }
}
