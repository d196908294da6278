//! A writer of SQLite's own `-wal`, beside connections of any process that read.
//!
//! It appends frames, syncs them and publishes them in the wal-index exactly as SQLite's `walFrames`, `walIndexAppend` and
//! `walIndexWriteHdr` do, while it holds SQLite's write lock. Readers, recovery and checkpoints are SQLite's own: they find
//! nothing but a transaction of another writer. It needs nothing that SQLite must be compiled with.
//!
//! The write lock is held as long as a [`ReplicaDb`] lives, and is the *fence*: any other writer is told that the database is
//! busy. Checkpoints run on a connection of ours that takes the lock for granted; foreign ones may copy frames too, but not
//! begin the `-wal` anew, so what [`ReplicaDb`] knows about frames stays true.

mod copy_back;
mod fence;
mod frames;
mod index;
mod reader;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use self::fence::WriteFence;
use self::fence::{Fence, connect, take_lock};
use self::frames::Open;
pub(crate) use self::index::pages as pages_of_frames;
pub(crate) use self::reader::ReplicaReader;
use crate::error::Error;
use crate::pages::{PageSize, WalPlace};
use crate::shm::{Granted, WalFile};
use crate::sidecar::beside;
use crate::wal_format::{FRAME_HEAD_LEN, FrameHead, IndexHeader, frame_offset};

/// A database in WAL mode that nobody else can write to.
///
/// A transaction is [`append`](Self::append) for each page and one [`commit`](Self::commit); until then nobody sees any of
/// it, and [`forget`](Self::forget) or a crash undoes it.
#[derive(Debug)]
pub(crate) struct ReplicaDb {
    fence: Fence,
    /// Has it granted, and checkpoints.
    checkpointer: WalFile,
    wal: File,
    wal_path: PathBuf,
    page_size: PageSize,
    /// What is published, but for the salts and the sum of a `-wal` that is about to begin.
    header: IndexHeader,
    /// The newest published frame of each page that has one.
    frames: HashMap<u32, u32>,
    /// Where the `-wal` stood before it began anew, until a frame of it is published: so it stands again where its index is lost.
    before: Option<WalPlace>,
    /// Of the header that the `-wal` gets next.
    checkpoints: u32,
    open: Open,
    /// Published frames at which a checkpoint was last tried.
    tried_at: u32,
    /// A write or a sync failed: what is on disk is not known, and nothing more is written.
    has_failed: bool,
}

impl ReplicaDb {
    /// Opens a database in WAL mode, lets SQLite recover it, and puts up the fence.
    ///
    /// # Errors
    /// [`Error::JournalMode`], [`Error::Written`] if another writer does not end its transaction.
    pub(crate) fn open(path: &Path) -> Result<ReplicaDb, Error> {
        ReplicaDb::open_behind(path, None)
    }

    /// As [`open`](Self::open), where the fence may be up already.
    pub(crate) fn open_behind(path: &Path, lent: Option<WriteFence>) -> Result<ReplicaDb, Error> {
        let file = connect(path)?;
        let mut checkpointer = connect(path)?;
        let file = if lent.is_some() { file } else { take_lock(file, &checkpointer)? };
        let fence = Fence { file, lent };
        let number = |pragma| checkpointer.connection().pragma_query_value(None, pragma, |row| row.get::<_, u32>(0));
        let page_size = PageSize::new(number("page_size")?)?;
        let pages = number("page_count")?;
        let header =
            index::read(&fence.file, page_size)?.ok_or(Error::Vfs("its wal-index is not stable under the lock"))?;
        checkpointer.grant(Granted::Write);
        checkpointer.connection().busy_timeout(Duration::ZERO)?;
        let name = fence.file.connection().path().ok_or(Error::NoFile)?;
        let wal_path = beside(Path::new(name), "-wal");
        let wal = OpenOptions::new().read(true).write(true).open(&wal_path).map_err(Error::at(&wal_path))?;
        sync_directory_of(&wal_path)?;
        let mut db = ReplicaDb {
            fence,
            checkpointer,
            wal,
            wal_path,
            page_size,
            header: IndexHeader { pages, ..header },
            frames: HashMap::new(),
            before: None,
            checkpoints: 0,
            open: Open::default(),
            tried_at: 0,
            has_failed: false,
        };
        db.checkpoints = db.next_checkpoint_number()?;
        for (frame, page) in (1..).zip(index::pages(&db.fence.file, db.header.max_frame)?) {
            db.frames.insert(page, frame);
        }
        if db.header.big_endian && db.header.max_frame != 0 && !db.shorten()? {
            return Err(Error::Written);
        }
        Ok(db)
    }

    /// From now on nobody who comes can read, until [`let_readers_in`](Self::let_readers_in) or the end of this. Whether nobody
    /// reads any more who came before; if not, try again.
    pub(crate) fn keep_readers_out(&self) -> Result<bool, Error> {
        self.fence.file.keep_readers_out()
    }

    pub(crate) fn let_readers_in(&self) -> Result<(), Error> {
        self.fence.file.let_readers_in()
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// How many pages the database has.
    pub(crate) fn pages(&self) -> u32 {
        self.header.pages
    }

    /// Frames that are published and not begun anew.
    #[cfg(test)]
    pub(crate) fn frames(&self) -> u32 {
        self.header.max_frame
    }

    /// Where the `-wal` stands.
    pub(crate) fn place(&self) -> WalPlace {
        self.header.place()
    }

    /// Where the `-wal` stands, or stood last if there is nothing in it: then the file is all of the database.
    pub(crate) fn last_place(&self) -> WalPlace {
        self.before.unwrap_or(self.place())
    }

    /// The `-wal` stood at `place` when it was left: there it may stand again if nothing is in it by its index alone.
    pub(crate) fn stood_at(&mut self, place: WalPlace) {
        if self.header.max_frame == 0 {
            self.before = Some(place);
        }
    }

    /// Whether exactly one transaction was committed since the `-wal` stood at `place`: where all of it is in the file, as it was
    /// then, that may have begun anew.
    pub(crate) fn is_one_commit_beyond(&self, place: WalPlace, is_in_file: bool) -> Result<bool, Error> {
        let now = self.place();
        let from = if now.salts == place.salts { place.frame } else { 0 };
        if now.salts != place.salts && !is_in_file {
            return Ok(false);
        }
        let mut commits = 0;
        for frame in from + 1..=now.frame {
            let mut head = [0; FRAME_HEAD_LEN];
            let at = frame_offset(self.page_size, frame);
            self.wal.read_exact_at(&mut head, at).map_err(Error::at(&self.wal_path))?;
            commits += u32::from(FrameHead::decode(&head).commit != 0);
        }
        Ok(commits == 1)
    }

    /// Reads a page as it is committed; zeros if it is beyond the end. What is appended is not seen.
    pub(crate) fn read(&self, page: u32, into: &mut [u8]) -> Result<(), Error> {
        debug_assert_eq!(into.len(), self.page_size.bytes());
        if self.header.pages < page {
            into.fill(0);
            return Ok(());
        }
        match self.frames.get(&page) {
            Some(frame) => {
                let at = frame_offset(self.page_size, *frame) + FRAME_HEAD_LEN as u64;
                self.wal.read_exact_at(into, at).map_err(Error::at(&self.wal_path))
            }
            // A checkpoint, also a foreign one, only writes pages that have frames.
            None => self.fence.file.read_database(self.page_size.offset_of(page), into),
        }
    }

    /// What [`read`](Self::read) reads now, for another thread.
    pub(crate) fn reader(&self) -> Result<ReplicaReader, Error> {
        ReplicaReader::of(self)
    }
}

/// Makes the names in the directory of `path` durable.
pub(crate) fn sync_directory_of(path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(Error::at(parent))
}

#[cfg(test)]
mod tests;
