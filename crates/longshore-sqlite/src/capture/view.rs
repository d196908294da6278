//! The database as it was at the last transaction that was copied: frames of the `-wal`, and the file for all other pages.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::error::Error;
use crate::pages::{PageSize, WalPlace};
use crate::shm::WalFile;
use crate::wal_format::{FRAME_HEAD_LEN, FrameHead, HEADER_LEN, INDEX_WORDS, IndexHeader, WalHeader, frame_offset};

/// The `-wal`, opened by itself: it carries no locks, so closing it drops none.
#[derive(Debug)]
pub(super) struct View {
    file: File,
    path: PathBuf,
    size: PageSize,
    /// The header of the `-wal` since it was begun last; none before its first frame.
    pub(super) header: Option<WalHeader>,
    /// The newest copied frame of each page that has one.
    pub(super) frames: HashMap<u32, u32>,
    ahead: Ahead,
}

/// Where a page was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A frame that was copied.
    Wal,
    /// The database file, into which somebody else may have copied later frames while nobody captured.
    Database,
}

/// Frames that were read at once: most transactions are a few, and the next one lies behind them.
#[derive(Debug, Default)]
struct Ahead {
    /// The first of them.
    first: u32,
    bytes: Vec<u8>,
}

impl Ahead {
    /// A frame if it is among them.
    fn get(&self, frame: u32, len: usize) -> Option<&[u8]> {
        let at = frame.checked_sub(self.first)? as usize;
        self.bytes.get(at * len..(at + 1) * len)
    }
}

impl View {
    pub(super) fn open(path: PathBuf, size: PageSize) -> Result<View, Error> {
        let file = File::options().read(true).write(true).open(&path).map_err(Error::at(&path))?;
        Ok(View { file, path, size, header: None, frames: HashMap::new(), ahead: Ahead::default() })
    }

    /// The same, with a file and a memory of its own.
    pub(super) fn of_its_own(&self) -> Result<View, Error> {
        let file = self.file.try_clone().map_err(Error::at(&self.path))?;
        let (path, frames) = (self.path.clone(), self.frames.clone());
        Ok(View { file, path, size: self.size, header: self.header, frames, ahead: Ahead::default() })
    }

    /// How long the file is. By seeking: where time stamps have many grains, asking for them makes the application's next
    /// sync write the inode as well.
    pub(super) fn file_len(&self) -> u64 {
        (&self.file).seek(SeekFrom::End(0)).unwrap_or(0)
    }

    /// Makes what was read durable before anybody acts on it.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::at(&self.path))
    }

    /// Makes the file shorter. Only with the write lock, and never below the last committed frame.
    pub(super) fn cut(&self, len: u64) -> Result<(), Error> {
        self.file.set_len(len).map_err(Error::at(&self.path))
    }

    /// Takes the synced part of the file out of the page cache, where cutting off a long file spends its time otherwise. A hint.
    pub(super) fn forget_cached(&self) {
        let _as_it_was = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }

    /// The `-wal` was begun anew: everything from before is in the database file. `false` if its header is not that of
    /// `salts` yet.
    pub(super) fn begin(&mut self, salts: [u32; 2]) -> Result<Option<WalPlace>, Error> {
        let mut bytes = [0; HEADER_LEN];
        self.read_at(&mut bytes, 0)?;
        let Some(header) = WalHeader::decode(&bytes).filter(|header| header.salts == salts) else {
            return Ok(None);
        };
        (self.header, self.frames, self.ahead) = (Some(header), HashMap::new(), Ahead::default());
        Ok(Some(WalPlace { salts, frame: 0, checksum: header.checksum }))
    }

    /// The heads of the frames up to `last`, whose pages are then read from there.
    pub(super) fn adopt(&mut self, last: u32) -> Result<(), Error> {
        for frame in 1..=last {
            let page = self.head(frame)?.page;
            self.frames.insert(page, frame);
        }
        Ok(())
    }

    pub(super) fn head(&self, frame: u32) -> Result<FrameHead, Error> {
        let mut head = [0; FRAME_HEAD_LEN];
        self.read_at(&mut head, frame_offset(self.size, frame))?;
        Ok(FrameHead::decode(&head))
    }

    /// A published frame, whole. Those behind it, at most up to `last`, are read with it: what is published stays as it is
    /// until the `-wal` begins anew.
    pub(super) fn frame(&mut self, frame: u32, last: u32) -> Result<&[u8], Error> {
        const AT_ONCE: usize = 1 << 20;
        let len = self.frame_len();
        if self.ahead.get(frame, len).is_none() {
            let mut bytes = std::mem::take(&mut self.ahead.bytes);
            bytes.resize(len * (AT_ONCE / len).clamp(1, (last - frame + 1) as usize), 0);
            self.read_at(&mut bytes, frame_offset(self.size, frame))?;
            self.ahead = Ahead { first: frame, bytes };
        }
        Ok(self.ahead.get(frame, len).expect("it was read"))
    }

    pub(super) fn frame_len(&self) -> usize {
        FRAME_HEAD_LEN + self.size.bytes()
    }

    pub(super) fn page_of_frame(&self, frame: u32, into: &mut [u8]) -> Result<(), Error> {
        match self.ahead.get(frame, self.frame_len()) {
            Some(bytes) => into.copy_from_slice(&bytes[FRAME_HEAD_LEN..]),
            None => self.read_at(into, frame_offset(self.size, frame) + FRAME_HEAD_LEN as u64)?,
        }
        Ok(())
    }

    /// A page as it was at the last transaction that was copied, and where it stands.
    pub(super) fn page(&self, database: &WalFile, page: u32, into: &mut [u8]) -> Result<Place, Error> {
        match self.frames.get(&page) {
            Some(frame) => self.page_of_frame(*frame, into).map(|()| Place::Wal),
            None => database.read_database(self.size.offset_of(page), into).map(|()| Place::Database),
        }
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read_exact_at(into, offset).map_err(Error::at(&self.path))
    }
}

/// What is committed, and up to which frame it was copied back into the database file.
pub(crate) fn published(database: &WalFile, size: PageSize) -> Result<(IndexHeader, u32), Error> {
    let mut words = [0; 2 * INDEX_WORDS + 1];
    for _ in 0..TRIES {
        database.load(0, 0, &mut words)?;
        database.barrier();
        let (first, rest) = words.split_first_chunk::<INDEX_WORDS>().expect("two headers");
        let (second, backfill) = rest.split_first_chunk::<INDEX_WORDS>().expect("two headers");
        if first == second
            && let Some(header) = IndexHeader::decode_of(first, size)
        {
            return Ok((header, backfill[0]));
        }
        // A writer is between the two copies; unless it died there, this takes it no time.
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
    Err(Error::Unstable)
}

const TRIES: usize = 2000;
