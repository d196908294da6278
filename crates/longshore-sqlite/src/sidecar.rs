//! How far a database made of pages is: pages have no room for it, so it stands in a file beside them.
//!
//! ```text
//! PATH-longshore    two slots, at 0 and 4096; the valid one with the greater count holds
//!   0  magic      8 bytes
//!   8  count      u64       one more with each write
//!  16  log id     16 bytes
//!  32  page size  u8        its binary logarithm
//!  33  has        u8        1: applied   2: witness   4: applied has a checksum   8: intent has one
//!                           16: an application writes it at times   32: seen   64: seen has a time   128: kept
//!  34  may        u8        1: nobody but the log was ever to write it                         only with 16
//!  35  zero       5 bytes
//!  40  applied    lsn u64, crc u32, zero u32
//!  56  intent     lsn u64, crc u32
//!  68  witness    page u32, hash before u64, hash after u64
//!  88  sum        u64       of the 88 bytes before: the beginning of their BLAKE3 hash
//!  96  seen       salts 2 × u32, frame u32, checksum 2 × u32, zero u32, time i64     only with 16
//! 128  sum        u64       of the 128 bytes before                                  only with 16
//! ```
//!
//! A group of runs is applied in this order: its end is written here as intent, beside the end of the group before, and
//! synced; then its pages are committed and synced. Whoever opens the two after a crash asks the *witness*, a page that the
//! group changes: as it was before, the group never happened; as it is after, all of it did. So a delta is never applied to a
//! page that has it already, and there is one sync here for each group. A slot is only overwritten when the other one is
//! synced: a torn one was never acted upon.
//!
//! A database that an application may write while this node writes the log is not trusted at its word: whatever ran while no
//! agent did may have written it. *Seen* is where its `-wal` stood, and when its file was last written if all of the `-wal` was
//! in it. While the application may write there is none, and no position but the one that it began from, as intent.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use longshore_apply::Held;
use longshore_format::{LogId, Lsn};

use crate::error::Error;
use crate::pages::{PageHash, PageSize, WalPlace};

/// Where a database is, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) log: LogId,
    pub(crate) page_size: PageSize,
    /// It was here for certain; `None` before it was anywhere.
    pub(crate) applied: Option<Held>,
    /// It is here, if the witness says so.
    pub(crate) intent: Held,
    /// `None` if no page differs between the two, so that either is right.
    pub(crate) witness: Option<Witness>,
    /// An application may write it, at other times than the log.
    pub(crate) written: Option<Written>,
}

/// What is known of a database that an application may write while this node writes the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    /// How it was left by the log; `None` from when the application may write it on.
    pub(crate) seen: Option<Seen>,
    /// A copy was kept of what it holds and no log does.
    pub(crate) kept: bool,
    /// This node never wrote the log with it, so that nobody but the log was to write it.
    pub(crate) only_log: bool,
}

/// How a database was left: whoever commits to it changes this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where its `-wal` stood, before what is on its way.
    pub(crate) place: WalPlace,
    /// When the file was last written, in nanoseconds, if it held all of the `-wal`.
    pub(crate) time: Option<i64>,
}

/// A page that differs between two positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) page: u32,
    pub(crate) before: PageHash,
    pub(crate) after: PageHash,
}

impl Standing {
    /// It is at `held`, and on its way nowhere.
    pub(crate) fn at(log: LogId, page_size: PageSize, held: Held) -> Standing {
        Standing { log, page_size, applied: Some(held), intent: held, witness: None, written: None }
    }

    /// An application writes it, which it may from `base` on.
    pub(crate) fn captured(log: LogId, page_size: PageSize, base: Held) -> Standing {
        Standing { applied: None, written: Some(Written::default()), ..Standing::at(log, page_size, base) }
    }

    /// Where it was when the application began to write it, if it may by now.
    pub(crate) fn base(&self) -> Option<Held> {
        self.written.filter(|written| written.seen.is_none()).map(|_| self.intent)
    }

    /// Where it was for certain before anybody wrote it who is not the log; `None` if that is one of two places.
    pub(crate) fn origin(&self) -> Option<Held> {
        let is_settled = self.witness.is_none() && self.applied.is_none_or(|applied| applied == self.intent);
        is_settled.then_some(self.intent)
    }

    /// Where it is, if the page that the witness names has the hash that `hash_of` returns; `None` if nowhere it could be.
    pub(crate) fn held(&self, hash_of: impl FnOnce(u32) -> Result<PageHash, Error>) -> Result<Option<Held>, Error> {
        let Some(witness) = self.witness else { return Ok(self.applied) };
        let hash = hash_of(witness.page)?;
        Ok(match hash {
            _ if hash == witness.after => Some(self.intent),
            _ if hash == witness.before => self.applied,
            _ => None,
        })
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Sidecar {
    path: PathBuf,
    file: File,
    standing: Standing,
    /// Of the slot that holds `standing`.
    count: u64,
}

impl Sidecar {
    /// Where the position of the database at `path` is.
    pub(crate) fn path_of(database: &Path) -> PathBuf {
        beside(database, "-longshore")
    }

    /// Opens the position of a database; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::BadPosition`] if neither slot is valid.
    pub(crate) fn open(database: &Path) -> Result<Option<Sidecar>, Error> {
        let path = Sidecar::path_of(database);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Error::at(&path))?,
        };
        let (count, standing) = newest_in(&file)?;
        Ok(Some(Sidecar { path, file, standing, count }))
    }

    /// What the position of a database says, which somebody else may be writing; `None` if there is none.
    ///
    /// # Errors
    /// As [`open`](Sidecar::open).
    pub(crate) fn look(database: &Path) -> Result<Option<Standing>, Error> {
        let path = Sidecar::path_of(database);
        match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            file => Ok(Some(newest_in(&file.map_err(Error::at(&path))?)?.1)),
        }
    }

    /// Makes the position of a database that is about to get its name, in place of any other. Its name is durable once the
    /// directory is synced.
    pub(crate) fn create(database: &Path, standing: Standing) -> Result<Sidecar, Error> {
        let path = Sidecar::path_of(database);
        let made = || {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            // Both slots, so that no later write makes the file longer.
            file.set_len(SLOT_DISTANCE * 2)?;
            file.write_all_at(&encode(0, &standing), 0)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = made().map_err(Error::at(&path))?;
        Ok(Sidecar { path, file, standing, count: 0 })
    }

    /// What it says.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Says something else, durably.
    pub(crate) fn write(&mut self, standing: Standing) -> Result<(), Error> {
        let count = self.count + 1;
        let written = self
            .file
            .write_all_at(&encode(count, &standing), count % 2 * SLOT_DISTANCE)
            .and_then(|()| self.file.sync_data());
        written.map_err(Error::at(&self.path))?;
        (self.count, self.standing) = (count, standing);
        Ok(())
    }
}

/// What the valid slot with the greater count says.
fn newest_in(file: &File) -> Result<(u64, Standing), Error> {
    let slots = (0..2).filter_map(|slot| {
        let mut bytes = [0; SLOT_LEN];
        file.read_exact_at(&mut bytes, slot * SLOT_DISTANCE).ok()?;
        decode(&bytes)
    });
    slots.max_by_key(|(count, _)| *count).ok_or(Error::BadPosition)
}

/// The path of a file whose name begins with another's.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

const MAGIC: [u8; 8] = *b"lshpages";
const SLOT_LEN: usize = 136;
/// Of the two slots: in different sectors, and in different pages of the cache.
const SLOT_DISTANCE: u64 = 4096;

fn encode(count: u64, standing: &Standing) -> [u8; SLOT_LEN] {
    let Standing { log, page_size, applied, intent, witness, written } = standing;
    let mut bytes = [0; SLOT_LEN];
    let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
    put(0, &MAGIC);
    put(8, &count.to_le_bytes());
    put(16, log.as_bytes());
    let mut has = 0;
    for (held, at, is_there, has_crc) in [(*applied, 40, 1, 4), (Some(*intent), 56, 0, 8)] {
        let Some(Held { lsn, crc }) = held else { continue };
        put(at, &lsn.get().to_le_bytes());
        put(at + 8, &crc.unwrap_or(0).to_le_bytes());
        has |= is_there | if crc.is_some() { has_crc } else { 0 };
    }
    if let Some(Witness { page, before, after }) = witness {
        put(68, &page.to_le_bytes());
        put(72, &before.0.to_le_bytes());
        put(80, &after.0.to_le_bytes());
        has |= 2;
    }
    if let Some(Written { seen, kept, only_log }) = written {
        put(34, &[u8::from(*only_log)]);
        has |= 16 | if *kept { 128 } else { 0 };
        if let Some(Seen { place: WalPlace { salts, frame, checksum }, time }) = seen {
            has |= 32 | if time.is_some() { 64 } else { 0 };
            for (at, word) in (96..).step_by(4).zip([salts[0], salts[1], *frame, checksum[0], checksum[1]]) {
                put(at, &word.to_le_bytes());
            }
            put(120, &time.unwrap_or(0).to_le_bytes());
        }
    }
    put(32, &[page_size.log2(), has]);
    let sum = sum_of(&bytes[..88]);
    bytes[88..96].copy_from_slice(&sum);
    if written.is_some() {
        let sum = sum_of(&bytes[..128]);
        bytes[128..].copy_from_slice(&sum);
    }
    bytes
}

fn decode(bytes: &[u8; SLOT_LEN]) -> Option<(u64, Standing)> {
    if bytes[..8] != MAGIC || bytes[88..96] != sum_of(&bytes[..88]) {
        return None;
    }
    let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("inside the slot"));
    let long = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("inside the slot"));
    let has = |flag: u8| bytes[33] & flag != 0;
    if has(16) && bytes[128..] != sum_of(&bytes[..128]) {
        return None;
    }
    let held = |at: usize, has_crc: bool| Held { lsn: Lsn::new(long(at)), crc: has_crc.then(|| word(at + 8)) };
    let seen = || Seen {
        place: WalPlace { salts: [word(96), word(100)], frame: word(104), checksum: [word(108), word(112)] },
        time: has(64).then(|| long(120).cast_signed()),
    };
    let witness = Witness { page: word(68), before: PageHash(long(72)), after: PageHash(long(80)) };
    let standing = Standing {
        log: LogId::from_bytes(*bytes[16..].first_chunk().expect("inside the slot")),
        page_size: PageSize::from_log2(bytes[32]).ok()?,
        applied: has(1).then(|| held(40, has(4))),
        intent: held(56, has(8)),
        witness: has(2).then_some(witness),
        written: has(16).then(|| Written { seen: has(32).then(seen), kept: has(128), only_log: bytes[34] & 1 != 0 }),
    };
    Some((long(8), standing))
}

fn sum_of(bytes: &[u8]) -> [u8; 8] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("a hash is 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn standing(lsn: u64) -> Standing {
        let held = |lsn, crc| Held { lsn: Lsn::new(lsn), crc };
        Standing {
            log: LogId::from_bytes([7; 16]),
            page_size: PageSize::new(65536).unwrap(),
            applied: Some(held(lsn - 8, None)),
            intent: held(lsn, Some(5)),
            witness: Some(Witness { page: 3, before: PageHash(1), after: PageHash(2) }),
            written: None,
        }
    }

    /// The same of a database that an application writes at times.
    fn written(lsn: u64) -> Standing {
        let place = WalPlace { salts: [lsn as u32, 8], frame: 9, checksum: [10, 11] };
        let seen = Some(Seen { place, time: Some(-12) });
        Standing { written: Some(Written { seen, kept: true, only_log: lsn.is_multiple_of(16) }), ..standing(lsn) }
    }

    #[test]
    fn what_was_written_last_is_read() {
        let place = tempfile::tempdir().unwrap();
        let database = place.path().join("a.db");
        assert!(Sidecar::open(&database).unwrap().is_none());
        let mut file = Sidecar::create(&database, Standing { applied: None, witness: None, ..standing(8) }).unwrap();
        for lsn in [8, 16, 24, 32, 40] {
            assert_eq!(Sidecar::open(&database).unwrap().unwrap().standing(), file.standing());
            file.write(standing(lsn)).unwrap();
        }
        assert_eq!(Sidecar::open(&database).unwrap().unwrap().standing(), &standing(40));
        let captured = Standing::captured(standing(8).log, standing(8).page_size, standing(48).intent);
        for standing in [written(48), captured, standing(56)] {
            file.write(standing).unwrap();
            assert_eq!(Sidecar::open(&database).unwrap().unwrap().standing(), &standing);
        }
        let meta = std::fs::metadata(Sidecar::path_of(&database)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }

    /// Torn at every byte while it was overwritten, or flipped anywhere: the one before holds.
    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        torn_at_every_byte(standing);
        torn_at_every_byte(written);
    }

    fn torn_at_every_byte(standing: impl Fn(u64) -> Standing) {
        let place = tempfile::tempdir().unwrap();
        let database = place.path().join("a.db");
        let path = Sidecar::path_of(&database);
        let mut file = Sidecar::create(&database, standing(8)).unwrap();
        file.write(standing(16)).unwrap();
        let before = std::fs::read(&path).unwrap();
        file.write(standing(24)).unwrap();
        let after = std::fs::read(&path).unwrap();
        for torn in 0..SLOT_LEN {
            let mut bytes = before.clone();
            bytes[..torn].copy_from_slice(&after[..torn]);
            // What is equal in both is not torn.
            let whole = bytes[..SLOT_LEN] == after[..SLOT_LEN];
            std::fs::write(&path, &bytes).unwrap();
            let read = *Sidecar::open(&database).unwrap().unwrap().standing();
            assert_eq!(read, standing(if whole { 24 } else { 16 }), "torn at {torn}");
        }
        std::fs::write(&path, [1; 8192]).unwrap();
        assert!(matches!(Sidecar::open(&database), Err(Error::BadPosition)));
    }

    #[test]
    fn the_witness_says_which_of_two_positions_it_is() {
        let standing = standing(16);
        let held = |hash| standing.held(|page| Ok(PageHash(if page == 3 { hash } else { 0 }))).unwrap();
        assert_eq!(held(1), standing.applied);
        assert_eq!(held(2), Some(standing.intent));
        assert_eq!(held(3), None);
    }
}
