//! A writer of SQLite's own `-wal`, beside connections of any process that read.
//!
//! It appends frames, syncs them and publishes them in the wal-index exactly as SQLite's `walFrames`, `walIndexAppend` and
//! `walIndexWriteHdr` do, while it holds SQLite's write lock. Readers, recovery and checkpoints are SQLite's own: they find
//! nothing but a transaction of another writer. It needs nothing that SQLite must be compiled with.
//!
//! The write lock is held as long as a [`ReplicaDb`] lives, and is the *fence*: any other writer is told that the database is
//! busy. Checkpoints run on a connection of ours that takes the lock for granted; foreign ones may copy frames too, but not
//! begin the `-wal` anew, so what [`ReplicaDb`] knows about frames stays true.

mod index;
mod reader;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

pub(crate) use self::index::pages as pages_of_frames;
pub(crate) use self::reader::ReplicaReader;
use crate::error::Error;
use crate::pages::{PageSize, WalPlace};
use crate::points::reached;
use crate::shm::{Granted, Slot, WalFile};
use crate::sidecar::beside;
use crate::wal_format::{FRAME_HEAD_LEN, FrameHead, HEADER_LEN, IndexHeader, WalHeader, frame_offset};

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

/// A connection that holds the write lock, or for which another one does.
#[derive(Debug)]
struct Fence {
    file: WalFile,
    lent: Option<WriteFence>,
}

/// SQLite's write lock, held whether a log is applied to the database at the moment or not. Clones hold the same one.
#[derive(Debug, Clone)]
pub(crate) struct WriteFence(#[expect(dead_code, reason = "it holds a lock as long as it lives")] Arc<Mutex<WalFile>>);

impl WriteFence {
    /// Takes the lock, of a database in WAL mode.
    ///
    /// # Errors
    /// As [`ReplicaDb::open`].
    pub(crate) fn put_up(path: &Path) -> Result<WriteFence, Error> {
        let other = connect(path)?;
        Ok(WriteFence::of(take_lock(connect(path)?, &other)?))
    }

    /// Of a connection that has the lock.
    pub(crate) fn of(holder: WalFile) -> WriteFence {
        WriteFence(Arc::new(Mutex::new(holder)))
    }
}

/// The frames of a transaction that is not published yet.
#[derive(Debug, Default)]
struct Open {
    /// Their pages.
    pages: Vec<u32>,
    /// How many of them stand in the file, the rest being in `buffer`.
    written: u32,
    buffer: Vec<u8>,
    /// The sum of the last one.
    checksum: [u32; 2],
    /// The last page, kept back: only the commit knows whether its frame ends the transaction.
    last: Option<(u32, Vec<u8>)>,
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

    /// Copies back what readers allow, for whom it waits a moment; whether the database file is all of it now.
    pub(crate) fn copy_back(&mut self) -> Result<bool, Error> {
        self.checkpoint("FULL", PATIENCE)?;
        self.is_in_file()
    }

    fn is_in_file(&self) -> Result<bool, Error> {
        Ok(self.header.max_frame == index::backfilled(&self.fence.file)?)
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

    /// Copies frames into the database if the `-wal` has grown, as far as readers allow. Whether the file is all of it by now: then
    /// [`begin_anew`](Self::begin_anew).
    pub(crate) fn copy_back_if_due(&mut self) -> Result<bool, Error> {
        let frames = self.header.max_frame;
        if frames < self.tried_at.saturating_add(CHECKPOINT_FRAMES) {
            return Ok(false);
        }
        self.tried_at = frames;
        if self.is_long()? {
            return self.copy_back();
        }
        self.checkpoint("PASSIVE", Duration::ZERO)?;
        self.is_in_file()
    }

    /// Begins the `-wal` anew once all of it is in the file, unless somebody reads from it.
    pub(crate) fn begin_anew(&mut self) -> Result<(), Error> {
        let place = self.place();
        if if self.is_long()? { self.shorten()? } else { self.overwrite()? } {
            (self.before, self.tried_at) = (Some(place), 0);
        }
        Ok(())
    }

    /// As [`begin_anew`](Self::begin_anew), and leaves an empty file.
    pub(crate) fn empty(&mut self) -> Result<(), Error> {
        if self.shorten()? {
            (self.before, self.tried_at) = (None, 0);
        }
        Ok(())
    }

    fn is_long(&self) -> Result<bool, Error> {
        Ok(SHORTEN_FROM <= self.wal.metadata().map_err(Error::at(&self.wal_path))?.len())
    }

    /// Frames are overwritten from now on, if nobody reads them: a file that does not grow is synced in half the time.
    fn overwrite(&mut self) -> Result<bool, Error> {
        let random = self.random()?[0];
        let Some(header) = index::begin_anew(&self.fence.file, &self.header, random)? else { return Ok(false) };
        self.header = header;
        self.frames.clear();
        Ok(true)
    }

    /// Copies everything and leaves an empty `-wal`. Readers that come while nothing is committed do not use it once it is
    /// copied: waiting for those before them ends soon, unless one of them sits.
    fn shorten(&mut self) -> Result<bool, Error> {
        let is_busy = self.checkpoint("TRUNCATE", PATIENCE)?;
        let header = index::read(&self.fence.file, self.page_size)?.ok_or(Error::Vfs("its wal-index is damaged"))?;
        if is_busy || header.max_frame != 0 {
            return Ok(false);
        }
        self.header = IndexHeader { pages: self.header.pages, ..header };
        self.frames = HashMap::new();
        Ok(true)
    }

    /// SQLite's own checkpoint; whether somebody was in its way.
    fn checkpoint(&self, mode: &str, patience: Duration) -> Result<bool, Error> {
        debug_assert!(self.open.pages.is_empty() && self.open.last.is_none(), "between transactions");
        let connection = self.checkpointer.connection();
        connection.busy_timeout(patience)?;
        Ok(connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(0))?)
    }

    fn random(&self) -> Result<[u32; 2], Error> {
        let word = |bytes: Vec<u8>| u32::from_be_bytes(*bytes.first_chunk().expect("four bytes were asked for"));
        let sql = "SELECT randomblob(4), randomblob(4)";
        Ok(self.checkpointer.connection().query_row(sql, [], |row| Ok([word(row.get(0)?), word(row.get(1)?)]))?)
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

    fn next_checkpoint_number(&self) -> Result<u32, Error> {
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
}

/// Takes the write lock when nobody has it and the wal-index is whole. A writer that died in the middle of its header
/// leaves one that the next reader recovers, which needs the lock itself.
fn take_lock(connection: WalFile, other: &WalFile) -> Result<WalFile, Error> {
    let until = Instant::now() + PATIENCE_TO_OPEN;
    loop {
        if connection.try_lock(Slot::Write)? {
            if index::is_whole(&connection)? {
                return Ok(connection);
            }
            connection.unlock(Slot::Write)?;
            read_schema(other.connection())?;
        }
        if until < Instant::now() {
            return Err(Error::Written);
        }
        sleep(Duration::from_millis(5));
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        if self.lent.is_none() {
            // SQLite does not give back at its close what it did not take itself. An error here means that it has no lock.
            let _no_lock = self.file.unlock(Slot::Write);
        }
    }
}

/// Opens a connection and reads, so that SQLite has recovered and the wal-index is there.
fn connect(path: &Path) -> Result<WalFile, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE_TO_OPEN)?;
    connection.pragma_update(None, "synchronous", "full")?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::JournalMode(mode));
    }
    read_schema(&connection)?;
    WalFile::new(connection)
}

fn read_schema(connection: &Connection) -> Result<(), Error> {
    Ok(connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?)
}

/// Makes the names in the directory of `path` durable.
pub(crate) fn sync_directory_of(path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(Error::at(parent))
}

/// As many as SQLite lets come together by default.
const CHECKPOINT_FRAMES: u32 = 1000;
/// A `-wal` of this length is made short again, and readers are waited for before it grows further.
const SHORTEN_FROM: u64 = 16 << 20;
/// How long to wait for them.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long to wait for a writer that was there before the fence.
const PATIENCE_TO_OPEN: Duration = Duration::from_secs(2);
/// Frames are written in pieces of this size.
const WRITE_AT_ONCE: usize = 256 << 10;

#[cfg(test)]
mod tests;
