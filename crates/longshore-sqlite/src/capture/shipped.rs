//! What the log says of the database: where its `-wal` stood, and the hash of every page.
//!
//! ```text
//! the file from which the next capture goes on (integers little-endian)
//!   0  magic     8 bytes
//!   8  log id    16 bytes
//!  24  lsn       u64            the end of the last run that it knows
//!  32  page size u8             its binary logarithm; then 3 zeros
//!  36  pages     u32
//!  40  place     5 × u32        salts, frame, checksum
//!  60  hashes    u64 a page
//!   …  link      u32            the checksum of the record that ends there; older files have none
//!   …  note      32 bytes       of the database itself ([`note`](super::note)); older files have none
//!   …  sum       32 bytes       BLAKE3 of everything before, the note's last four bytes taken for zero: they are written in place
//! ```
//!
//! It only saves time: what is missing of it is gathered from the log, but for the note. Without one, what was put in the
//! place of a database is taken for it.

use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use longshore_format::{LogId, Lsn};
use longshore_wal::Wal;

use super::note::{NOTE_LEN, Note, Written};
use crate::error::Error;
use crate::pages::{PageHash, PageRuns, PageSize, PageTable, WalPlace};

const MAGIC: &[u8; 8] = b"LONGPAGE";
const HEAD_LEN: usize = 60;
const SUM_LEN: usize = 32;
const WRITTEN_LEN: usize = 4;
const LINK_LEN: usize = 4;

/// What was written down.
pub(super) struct Kept {
    pub(super) table: PageTable,
    link: Option<u32>,
    pub(super) note: Option<Note>,
}

impl Kept {
    /// Whether it is of this log, which may have parted from what was written here and have come back to the same length.
    fn is_of(&self, log: &Wal) -> bool {
        let lsn = self.table.lsn;
        let links = || self.link.is_none_or(|link| log.crc_at(lsn).is_ok_and(|there| there == link));
        log.first() <= lsn && lsn <= log.end() && links()
    }
}

/// What was shipped, up to the end of the log, if that says all of it: from what was `kept`, or from the last whole image on.
/// `None` if it does not reach back to either, or holds pages of another size.
pub(super) fn gather(log: &Wal, kept: Option<Kept>, size: PageSize) -> Result<Option<PageTable>, Error> {
    log.wait_blocking(log.end(), None).map_err(Error::Log)?;
    let mut gathered = kept.filter(|kept| kept.is_of(log)).map(|kept| kept.table);
    let from = gathered.as_ref().map_or(log.first(), |kept| kept.lsn);
    let mut runs = PageRuns::from(log.reader(from).map_err(Error::Log)?);
    while let Some(run) = runs.next()? {
        PageTable::follow(&mut gathered, &run);
    }
    Ok(gathered.filter(|shipped| shipped.size() == size))
}

/// What the log says of a database that is `found`, as far as it reaches back: of pages that it does not write it says nothing.
pub(super) fn said_of(log: &Wal, found: &PageTable) -> Result<PageTable, Error> {
    let mut said = Some(found.clone());
    let mut runs = PageRuns::from(log.reader(log.first()).map_err(Error::Log)?);
    while let Some(run) = runs.next()? {
        PageTable::follow(&mut said, &run);
    }
    Ok(said.expect("it was there from the beginning"))
}

/// How long the file is.
pub(super) fn file_len(shipped: &PageTable) -> u64 {
    (HEAD_LEN + 8 * shipped.hashes().len() + LINK_LEN + NOTE_LEN + SUM_LEN) as u64
}

/// Writes it down, whole or not at all. All of it is durable in the log.
pub(super) fn save(shipped: &PageTable, note: &Note, path: &Path, log: &Wal) -> Result<(), Error> {
    let link = log.crc_at(shipped.lsn).map_err(Error::Log)?;
    let mut bytes = Vec::with_capacity(file_len(shipped) as usize);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(log.id().as_bytes());
    bytes.extend_from_slice(&shipped.lsn.get().to_le_bytes());
    bytes.extend_from_slice(&[shipped.size().log2(), 0, 0, 0]);
    let WalPlace { salts, frame, checksum } = shipped.place;
    for word in [shipped.pages(), salts[0], salts[1], frame, checksum[0], checksum[1]] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    shipped.hashes().iter().for_each(|hash| bytes.extend_from_slice(&hash.0.to_le_bytes()));
    bytes.extend_from_slice(&link.to_le_bytes());
    bytes.extend_from_slice(&note.encode());
    bytes.extend_from_slice(sum_but_for_written(&bytes).as_bytes());
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    // What it says stays true, whether this one or the one before is there after a power cut: no need to sync its name.
    write().map_err(|error| {
        // Where there was no room it would take what there is.
        let _there_or_not = std::fs::remove_file(&temporary);
        Error::at(path)(error)
    })
}

/// Writes down when the database file was written last, in place and not synced: where that is lost, the file is compared.
pub(super) fn note_written(path: &Path, written: Option<Written>) {
    let write = || {
        let file = std::fs::OpenOptions::new().write(true).open(path)?;
        let at = file.metadata()?.len().checked_sub((WRITTEN_LEN + SUM_LEN) as u64);
        at.map_or(Ok(()), |at| file.write_all_at(&Written::encode(written), at))
    };
    let _compared_at_the_next_start: std::io::Result<()> = write();
}

/// Removes what was written down.
pub(super) fn forget(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::at(path)(error)),
        _ => Ok(()),
    }
}

/// What was written down of the log's database. `None` where it is not there, or not whole.
pub(super) fn load(path: &Path, log: LogId) -> Option<Kept> {
    let bytes = std::fs::read(path).ok()?;
    let (content, sum) = bytes.split_last_chunk::<SUM_LEN>()?;
    let (head, rest) = content.split_first_chunk::<HEAD_LEN>()?;
    // The first is that of an older file, which has no note.
    let is_whole = blake3::hash(content) == *sum || sum_but_for_written(content) == *sum;
    if head[..8] != *MAGIC || head[8..24] != *log.as_bytes() || !is_whole {
        return None;
    }
    let word = |at: usize| u32::from_le_bytes(*head[at..].first_chunk().expect("inside the head"));
    let lsn = Lsn::new(u64::from_le_bytes(*head[24..].first_chunk().expect("inside the head")));
    let place = WalPlace { salts: [word(40), word(44)], frame: word(48), checksum: [word(52), word(56)] };
    let hash = |bytes: &[u8]| PageHash(u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes")));
    let (hashes, rest) = rest.split_at_checked((word(36) as usize).checked_mul(8)?)?;
    let (link, note) = match rest.len() {
        0 => (None, None),
        NOTE_LEN => (None, Some(rest)),
        _ => rest.split_first_chunk::<LINK_LEN>().map(|(link, note)| (Some(u32::from_le_bytes(*link)), Some(note)))?,
    };
    let note = match note {
        Some(note) => Some(Note::decode(note.try_into().ok()?)),
        None => None,
    };
    let hashes = hashes.chunks_exact(8).map(hash).collect();
    let table = PageTable::of(lsn, place, PageSize::from_log2(head[32]).ok()?, hashes);
    Some(Kept { table, link, note })
}

fn sum_but_for_written(content: &[u8]) -> blake3::Hash {
    let len = content.len().saturating_sub(WRITTEN_LEN);
    blake3::Hasher::new().update(&content[..len]).update(&[0; WRITTEN_LEN]).finalize()
}
