//! What the log says of the database: where its `-wal` stood, and the hash of every page.
//!
//! ```text
//! the file between two runs of an agent (integers little-endian)
//!   0  magic     8 bytes
//!   8  log id    16 bytes
//!  24  lsn       u64            the end of the log's last run
//!  32  page size u8             its binary logarithm; then 3 zeros
//!  36  pages     u32
//!  40  place     5 × u32        salts, frame, checksum
//!  60  hashes    u64 a page
//!   …  sum       32 bytes       BLAKE3 of everything before
//! ```
//!
//! It only saves time: what is missing of it is gathered from the log.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use longshore_format::{Flags, LogId, Lsn};
use longshore_wal::Wal;

use crate::error::Error;
use crate::pages::{Change, Commit, Form, PageHash, PageRecord, PageSize, WalPlace, page_hash};

const MAGIC: &[u8; 8] = b"LONGPAGE";
const HEAD_LEN: usize = 60;
const SUM_LEN: usize = 32;

/// What was shipped, up to the end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shipped {
    /// Where the last run ends.
    pub(super) lsn: Lsn,
    pub(super) place: WalPlace,
    size: PageSize,
    /// One for each page of the database.
    hashes: Vec<PageHash>,
}

impl Shipped {
    /// Nothing yet.
    pub(super) fn nothing(size: PageSize) -> Shipped {
        Shipped { lsn: Lsn::ZERO, place: WalPlace::default(), size, hashes: Vec::new() }
    }

    /// What the log holds, if it says all of it: from the file, or from the last whole image on. `None` if it does not reach
    /// back to either, or holds pages of another size.
    pub(super) fn gather(log: &Wal, file: &Path, size: PageSize) -> Result<Option<Shipped>, Error> {
        log.wait_blocking(log.end(), None).map_err(Error::Log)?;
        let kept = Shipped::load(file, log.id()).filter(|kept| log.first() <= kept.lsn && kept.lsn <= log.end());
        let from = kept.as_ref().map_or(log.first(), |kept| kept.lsn);
        let mut gathered = kept;
        let mut run: Vec<(u32, PageHash)> = Vec::new();
        let mut reader = log.reader(from).map_err(Error::Log)?;
        while let Some(record) = reader.next().map_err(Error::Log)? {
            if !record.kind.is_user() {
                continue;
            }
            if record.flags.contains(Flags::FIRST) {
                run.clear();
            }
            let pages = PageRecord::decode(record.payload)?;
            for change in pages.changes() {
                let change = change?;
                run.push((change.page, hash_of(&change, pages.size)));
            }
            let Some(commit) = pages.commit else { continue };
            if pages.is_image {
                gathered = Some(Shipped::nothing(pages.size));
            }
            if let Some(shipped) = &mut gathered {
                run.drain(..).for_each(|(page, hash)| shipped.set(page, hash));
                shipped.end_at(record.end, commit);
            }
        }
        Ok(gathered.filter(|shipped| shipped.size == size))
    }

    /// The hash of a page as it was shipped; `None` if the database had no such page.
    pub(super) fn hash(&self, page: u32) -> Option<PageHash> {
        self.hashes.get(page as usize - 1).copied()
    }

    pub(super) fn pages(&self) -> u32 {
        self.hashes.len() as u32
    }

    pub(super) fn set(&mut self, page: u32, hash: PageHash) {
        let index = page as usize - 1;
        if self.hashes.len() <= index {
            // SQLite writes every page that a database grows by; one that it does not is zeros.
            self.hashes.resize(index + 1, PageHash::default());
        }
        self.hashes[index] = hash;
    }

    pub(super) fn end_at(&mut self, lsn: Lsn, commit: Commit) {
        self.hashes.resize(commit.pages as usize, PageHash::default());
        (self.lsn, self.place) = (lsn, commit.place);
    }

    /// Writes it down, durably and whole or not at all.
    pub(super) fn save(&self, path: &Path, log: LogId) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(HEAD_LEN + 8 * self.hashes.len() + SUM_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(log.as_bytes());
        bytes.extend_from_slice(&self.lsn.get().to_le_bytes());
        bytes.extend_from_slice(&[self.size.log2(), 0, 0, 0]);
        let WalPlace { salts, frame, checksum } = self.place;
        for word in [self.pages(), salts[0], salts[1], frame, checksum[0], checksum[1]] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.hashes.iter().for_each(|hash| bytes.extend_from_slice(&hash.0.to_le_bytes()));
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        let temporary = path.with_extension("tmp");
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)
        };
        write().map_err(Error::at(path))
    }

    fn load(path: &Path, log: LogId) -> Option<Shipped> {
        let bytes = std::fs::read(path).ok()?;
        let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_LEN)?)?;
        let (head, hashes) = content.split_first_chunk::<HEAD_LEN>()?;
        if head[..8] != *MAGIC || head[8..24] != *log.as_bytes() || blake3::hash(content).as_bytes() != sum {
            return None;
        }
        let word = |at: usize| u32::from_le_bytes(*head[at..].first_chunk().expect("inside the head"));
        let lsn = Lsn::new(u64::from_le_bytes(*head[24..].first_chunk().expect("inside the head")));
        let place = WalPlace { salts: [word(40), word(44)], frame: word(48), checksum: [word(52), word(56)] };
        let hash = |bytes: &[u8]| PageHash(u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes")));
        let hashes: Vec<_> = hashes.chunks_exact(8).map(hash).collect();
        let whole = hashes.len() == word(36) as usize;
        whole.then_some(Shipped { lsn, place, size: PageSize::from_log2(head[32]).ok()?, hashes })
    }
}

fn hash_of(change: &Change<'_>, size: PageSize) -> PageHash {
    match change.form {
        Form::Delta { result, .. } => result,
        Form::Whole => {
            let mut page = vec![0; size.bytes()];
            change.patch.apply(&mut page);
            page_hash(change.page, &page)
        }
    }
}
