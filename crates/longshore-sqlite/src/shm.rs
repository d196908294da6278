//! The one module that calls C by itself: a connection's database file and wal-index, through SQLite's own VFS.
//!
//! The locks and the shared memory of a `-wal` can be reached only here. Opening the database or its `-shm` by ordinary file
//! calls would not do: closing any descriptor of them drops every POSIX lock of this process, those of its SQLite included.
//!
//! Why it is sound. The file that SQLite answers `SQLITE_FCNTL_FILE_POINTER` with lives as long as its connection, which
//! [`WalFile`] owns; its methods are those of a table that lives for ever. A connection is used by one thread at a time, and
//! [`WalFile`] is not `Sync`. Regions of the wal-index that `xShmMap` has returned stay mapped while the connection is open;
//! other processes change them at any time, so they are read and written word by word with volatile accesses, never borrowed.
#![expect(unsafe_code, reason = "the one module that calls C, see above")]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ffi};

use crate::error::Error;

/// A lock of the wal-index that is held by one connection at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Whoever holds it may append to the `-wal`.
    Write = 0,
    /// Whoever holds it may copy frames into the database.
    Checkpoint = 1,
}

/// Which locks a connection takes for held without asking, because another connection of this process holds them for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granted {
    /// None: as SQLite made it.
    Nothing = 0,
    /// The write lock.
    Write = 1,
    /// The checkpoint lock.
    Checkpoint = 2,
    /// Both.
    Both = 3,
}

/// The locks of those who read from the `-wal`. Whoever needs the database file alone has the one before.
const READERS: Range<c_int> = 4..8;

/// The locks of everybody who reads.
const ALL_READERS: Range<c_int> = 3..8;

/// Bytes of one region of a wal-index.
pub(crate) const REGION_LEN: usize = 32 << 10;

/// A connection in WAL mode, and what lies beneath it.
#[derive(Debug)]
pub(crate) struct WalFile {
    connection: Connection,
    /// The slots that it holds, a bit each. SQLite does not give them back by itself when a connection closes while another
    /// one of this process has the same database open.
    held: Cell<u8>,
}

type ShmLock = unsafe extern "C" fn(*mut ffi::sqlite3_file, c_int, c_int, c_int) -> c_int;

/// SQLite's own methods, and the same with some locks granted.
struct Methods {
    shm_lock: ShmLock,
    tables: [ffi::sqlite3_io_methods; 4],
}

static METHODS: OnceLock<Methods> = OnceLock::new();

impl WalFile {
    /// Takes a connection to a database in WAL mode that has read from it already.
    ///
    /// # Errors
    /// [`Error::Vfs`] if its VFS has no shared memory, or is not the one that other connections of this process use.
    pub(crate) fn new(connection: Connection) -> Result<WalFile, Error> {
        let methods = methods_of(&connection);
        let (Some(_), Some(shm_lock)) = (methods.xShmMap, methods.xShmLock) else {
            return Err(Error::Vfs("it has no shared memory"));
        };
        let known = METHODS.get_or_init(|| {
            let with = |shm_lock: ShmLock| ffi::sqlite3_io_methods { xShmLock: Some(shm_lock), ..methods };
            Methods { shm_lock, tables: [methods, with(granting::<1>), with(granting::<2>), with(granting::<3>)] }
        });
        match ptr::fn_addr_eq(known.shm_lock, shm_lock) {
            true => Ok(WalFile { connection, held: Cell::new(0) }),
            false => Err(Error::Vfs("another database of this process uses another one")),
        }
    }

    /// The connection, for everything that SQL can do.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// From now on this connection takes `granted` for held. Between transactions only.
    pub(crate) fn grant(&mut self, granted: Granted) {
        let table = &METHODS.get().expect("set when the first was made").tables[granted as usize];
        // SAFETY: the file lives as long as the connection, which is borrowed for writing here and so in no call; the table
        // lives for ever and differs from SQLite's own in `xShmLock` alone.
        unsafe { (*self.file()).pMethods = table }
    }

    /// Takes a lock for this connection; `false` if another one holds it.
    pub(crate) fn try_lock(&self, slot: Slot) -> Result<bool, Error> {
        match self.shm_lock(slot, ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_EXCLUSIVE) {
            ffi::SQLITE_OK => {
                self.held.set(self.held.get() | 1 << slot as u8);
                Ok(true)
            }
            ffi::SQLITE_BUSY => Ok(false),
            code => Err(failure(code, "lock the wal-index")),
        }
    }

    /// Whether this connection took a lock and did not give it back.
    pub(crate) fn holds(&self, slot: Slot) -> bool {
        self.held.get() & 1 << slot as u8 != 0
    }

    /// Takes a lock for this connection, which others may have for so long.
    pub(crate) fn take(&self, slot: Slot, wait: Duration) -> Result<bool, Error> {
        // A writer that never pauses has it all the time but for some microseconds between two transactions: whoever sleeps
        // meanwhile misses them. And it is ahead by dozens of frames for each millisecond that this takes.
        const EAGER: Duration = Duration::from_millis(3);
        let asked = Instant::now();
        while !self.try_lock(slot)? {
            match asked.elapsed() {
                waited if wait <= waited => return Ok(false),
                waited if waited < EAGER => std::hint::spin_loop(),
                _ => std::thread::sleep(Duration::from_micros(50)),
            }
        }
        Ok(true)
    }

    /// Gives a lock back that [`try_lock`](Self::try_lock) took.
    pub(crate) fn unlock(&self, slot: Slot) -> Result<(), Error> {
        match self.shm_lock(slot, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE) {
            ffi::SQLITE_OK => {
                self.held.set(self.held.get() & !(1 << slot as u8));
                Ok(())
            }
            code => Err(failure(code, "unlock the wal-index")),
        }
    }

    /// Takes the locks of readers that nobody has: who comes from now on finds none. Whether all of them are taken; if not,
    /// somebody reads who came before, and it is to be tried again.
    pub(crate) fn keep_readers_out(&self) -> Result<bool, Error> {
        let mut all = true;
        for slot in ALL_READERS.filter(|slot| self.held.get() & 1 << slot == 0) {
            match self.shm_locks(slot..slot + 1, ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_EXCLUSIVE) {
                ffi::SQLITE_OK => self.held.set(self.held.get() | 1 << slot),
                ffi::SQLITE_BUSY => all = false,
                code => return Err(failure(code, "lock the wal-index")),
            }
        }
        Ok(all)
    }

    /// Gives back what [`keep_readers_out`](Self::keep_readers_out) took.
    pub(crate) fn let_readers_in(&self) -> Result<(), Error> {
        for slot in ALL_READERS.filter(|slot| self.held.get() & 1 << slot != 0) {
            match self.shm_locks(slot..slot + 1, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE) {
                ffi::SQLITE_OK => self.held.set(self.held.get() & !(1 << slot)),
                code => return Err(failure(code, "unlock the wal-index")),
            }
        }
        Ok(())
    }

    /// Runs `work` while nobody reads from the `-wal`; `None` if somebody does.
    pub(crate) fn without_readers<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<Option<T>, Error> {
        let readers = |flag| self.shm_locks(READERS, flag | ffi::SQLITE_SHM_EXCLUSIVE);
        match readers(ffi::SQLITE_SHM_LOCK) {
            ffi::SQLITE_OK => {}
            ffi::SQLITE_BUSY => return Ok(None),
            code => return Err(failure(code, "lock the wal-index")),
        }
        let done = work();
        match readers(ffi::SQLITE_SHM_UNLOCK) {
            ffi::SQLITE_OK => done.map(Some),
            code => Err(failure(code, "unlock the wal-index")),
        }
    }

    /// Reads `words.len()` words of the wal-index from the word `at` of region `region` on, in ascending order. Zeros, if the
    /// region is not there yet.
    pub(crate) fn load(&self, region: usize, at: usize, words: &mut [u32]) -> Result<(), Error> {
        assert!(at + words.len() <= REGION_LEN / 4, "inside one region");
        let Some(base) = self.region(region, false)? else {
            words.fill(0);
            return Ok(());
        };
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: the region is mapped, at least REGION_LEN bytes long and page-aligned, and the word lies inside it.
            *word = unsafe { base.add(at + index).read_volatile() };
        }
        Ok(())
    }

    /// Writes words of the wal-index, in ascending order; makes the region if it is not there. Only with the write lock.
    pub(crate) fn store(&self, region: usize, at: usize, words: &[u32]) -> Result<(), Error> {
        assert!(at + words.len() <= REGION_LEN / 4, "inside one region");
        let base = self.region(region, true)?.ok_or(Error::Vfs("it made no shared memory"))?;
        for (index, word) in words.iter().enumerate() {
            // SAFETY: as in `load`.
            unsafe { base.add(at + index).write_volatile(*word) };
        }
        Ok(())
    }

    /// Orders what was read or written of the wal-index before against what comes after, for all processes.
    pub(crate) fn barrier(&self) {
        fence(Ordering::SeqCst);
        if let Some(barrier) = self.methods().xShmBarrier {
            // SAFETY: the file is this connection's, and open.
            unsafe { barrier(self.file()) };
        }
    }

    /// Reads of the database file itself, past the `-wal`; what lies beyond its end reads as zeros. Only while nobody can
    /// copy frames into it.
    pub(crate) fn read_database(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let read = self.methods().xRead.expect("every file can be read");
        let (len, offset) = (buffer.len() as c_int, i64::try_from(offset).expect("a database is shorter"));
        // SAFETY: `buffer` is `len` bytes long, and SQLite fills it whole, with zeros where the file ends.
        match unsafe { read(self.file(), buffer.as_mut_ptr().cast::<c_void>(), len, offset) } {
            ffi::SQLITE_OK | ffi::SQLITE_IOERR_SHORT_READ => Ok(()),
            code => Err(failure(code, "read the database file")),
        }
    }

    /// Makes what checkpoints wrote into the database file durable.
    pub(crate) fn sync_database(&self) -> Result<(), Error> {
        let sync = self.methods().xSync.expect("every file can be synced");
        // SAFETY: the file is this connection's, and open.
        match unsafe { sync(self.file(), ffi::SQLITE_SYNC_NORMAL) } {
            ffi::SQLITE_OK => Ok(()),
            code => Err(failure(code, "sync the database file")),
        }
    }

    fn region(&self, region: usize, make: bool) -> Result<Option<*mut u32>, Error> {
        let map = self.methods().xShmMap.expect("checked when it was made");
        let (number, mut base) = (region as c_int, ptr::null_mut::<c_void>());
        // SAFETY: the file is this connection's, and open; `base` is written if the answer is OK.
        match unsafe { map(self.file(), number, REGION_LEN as c_int, make.into(), (&raw mut base).cast()) } {
            ffi::SQLITE_OK => Ok((!base.is_null()).then_some(base.cast())),
            code => Err(failure(code, "map the wal-index")),
        }
    }

    fn shm_lock(&self, slot: Slot, flags: c_int) -> c_int {
        self.shm_locks(slot as c_int..slot as c_int + 1, flags)
    }

    fn shm_locks(&self, slots: Range<c_int>, flags: c_int) -> c_int {
        let lock = METHODS.get().expect("set when the first was made").shm_lock;
        // SAFETY: the file is this connection's, and open; SQLite's own method, so that a granted lock is asked for, too.
        unsafe { lock(self.file(), slots.start, slots.len() as c_int, flags) }
    }

    fn methods(&self) -> ffi::sqlite3_io_methods {
        methods_of(&self.connection)
    }

    fn file(&self) -> *mut ffi::sqlite3_file {
        file_of(&self.connection)
    }
}

impl Drop for WalFile {
    fn drop(&mut self) {
        for slot in [Slot::Write, Slot::Checkpoint] {
            if self.held.get() & 1 << slot as u8 != 0 {
                // If even this fails, the end of the process gives it back.
                let _given_back_later = self.unlock(slot);
            }
        }
        let _given_back_later = self.let_readers_in();
        // The connection closes with the methods that it was opened with.
        self.grant(Granted::Nothing);
    }
}

/// `xShmLock` of a connection that has the locks of `MASK` granted. Locks that are taken several at once, as recovery does,
/// are always asked for.
unsafe extern "C" fn granting<const MASK: c_int>(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    if count == 1 && (0..2).contains(&offset) && MASK & (1 << offset) != 0 {
        return ffi::SQLITE_OK;
    }
    let lock = METHODS.get().expect("set before any file got this method").shm_lock;
    // SAFETY: SQLite calls this as it would call its own method, with the same arguments.
    unsafe { lock(file, offset, count, flags) }
}

fn methods_of(connection: &Connection) -> ffi::sqlite3_io_methods {
    // SAFETY: an open file has methods.
    unsafe { *(*file_of(connection)).pMethods }
}

fn file_of(connection: &Connection) -> *mut ffi::sqlite3_file {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open, "main" is a C string, and this opcode writes one pointer.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            (&raw mut file).cast::<c_void>(),
        )
    };
    assert!(code == ffi::SQLITE_OK && !file.is_null(), "an open connection has a main database");
    file
}

fn failure(code: c_int, what: &str) -> Error {
    Error::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(format!("cannot {what}"))))
}
