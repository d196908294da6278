//! Whether the file under a captured database's name still is that database, or another one in its place.
//!
//! What was merely written while nobody captured it is found by comparing and shipped. An old copy, another database or an
//! empty file would be found in the same way, and would take the place of the one before everywhere. What tells them apart is
//! noted with the hashes of what was shipped: which file it was, and numbers of its header that never go back. In WAL mode
//! SQLite seldom raises the change counter, so that a higher one proves nothing, and neither does an equal one.
//!
//! ```text
//! the note (integers little-endian)
//!   0  inode        u64
//!   8  born         u64     in nanoseconds since 1970; 0 where the file system does not say
//!  16  counter      u32     the file change counter of page 1
//!  20  schema       u32     the schema's version
//!  24  application  u32     its id
//!  28  written      u32     when the file was written last, folded; 0 where that was not noted
//! ```

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use longshore_wal::Wal;

use super::attach::connect;
use super::{Capture, CaptureSettings, shipped};
use crate::error::Error;
use crate::pages::{Commit, PageHash, PageRuns, page_hash};
use crate::shm::WalFile;
use crate::sidecar::Sidecar;
use crate::wal_format::IndexHeader;

pub(super) const NOTE_LEN: usize = 32;

/// What is noted of a database that is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) file: FileId,
    pub(super) header: Header,
    /// Whoever puts an older copy into the file changes that, as does whoever copies a `-wal` back.
    pub(super) written: Written,
}

/// When a file was written last: nanoseconds since 1970, the halves of which are folded into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written(u32);

/// A file, whatever its name. An inode alone is given to the next file once it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    inode: u64,
    born: u64,
}

/// What page 1 says of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    counter: u32,
    schema: u32,
    application: u32,
    /// It gives free pages back by itself. Not noted.
    shrinks: bool,
}

impl FileId {
    /// Not the device, which is another one where a volume is mounted again. Opens nothing.
    pub(super) fn of(path: &Path) -> Result<FileId, Error> {
        let metadata = std::fs::metadata(path).map_err(Error::at(path))?;
        let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Ok(FileId { inode: metadata.ino(), born: born.map_or(0, |born| born.as_nanos() as u64) })
    }
}

impl Written {
    /// Opens nothing.
    pub(super) fn of(path: &Path) -> Result<Written, Error> {
        let metadata = std::fs::metadata(path).map_err(Error::at(path))?;
        let at = metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec());
        Ok(Written(((at ^ at >> 32) as u32).max(1)))
    }

    pub(super) fn encode(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }
}

impl Header {
    pub(super) fn of(page: &[u8]) -> Header {
        let word = |at: usize| u32::from_be_bytes(*page[at..].first_chunk().expect("a page is longer"));
        Header { counter: word(24), schema: word(40), application: word(68), shrinks: word(52) != 0 }
    }

    /// What a database that was only written since does not have in common with this one.
    fn gone_back(&self, now: &Header) -> Option<&'static str> {
        let is_other = |then: u32, now: u32| then != 0 && now != 0 && then != now;
        match () {
            () if now.counter < self.counter => {
                Some("its change counter has gone back, as in an older copy or a new file")
            }
            () if now.schema < self.schema => Some("the version of its schema has gone back, as in an older copy"),
            () if is_other(self.application, now.application) => Some("its application id is another one"),
            () => None,
        }
    }
}

impl Note {
    pub(super) fn encode(&self) -> [u8; NOTE_LEN] {
        let Note { file: FileId { inode, born }, header, written } = self;
        let Header { counter, schema, application, .. } = header;
        let mut bytes = [0; NOTE_LEN];
        bytes[..8].copy_from_slice(&inode.to_le_bytes());
        bytes[8..16].copy_from_slice(&born.to_le_bytes());
        for (at, word) in (16..).step_by(4).zip([counter, schema, application]) {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[NOTE_LEN - 4..].copy_from_slice(&written.encode());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; NOTE_LEN]) -> Note {
        let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("inside the note"));
        let long = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("inside the note"));
        let header = Header { counter: word(16), schema: word(20), application: word(24), shrinks: false };
        Note { file: FileId { inode: long(0), born: long(8) }, header, written: Written(word(28)) }
    }
}

/// Refuses a file that is not fit to be captured if it is not the database that was captured, which is the better reason.
pub(super) fn check_unfit(path: &Path, log: &Wal, settings: &CaptureSettings) -> Result<(), Error> {
    if settings.replaced {
        return Ok(());
    }
    let other = |why| Err(Error::OtherFile { path: path.to_owned(), why, end: log.end() });
    let noted = shipped::noted(&settings.hashes, log.id());
    let Ok(file) = FileId::of(path) else { return Ok(()) };
    let resolved = path.canonicalize().map_err(Error::at(path))?;
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) {
        let was_applied = || Ok::<_, Error>(Sidecar::look(&resolved)?.is_some_and(|standing| standing.log == log.id()));
        return if noted.is_some() || was_applied()? { other("it is empty") } else { Ok(()) };
    }
    let Some(noted) = noted else { return Ok(()) };
    if noted.file != file {
        return other("another file has its name");
    }
    match connect(path).and_then(|database| header_of(&database)) {
        Ok(now) => noted.header.gone_back(&now).map_or(Ok(()), other),
        // What is the matter with it is told.
        Err(_) => Ok(()),
    }
}

/// Of a file without a `-wal`.
fn header_of(database: &WalFile) -> Result<Header, Error> {
    let mut first = [0; 100];
    database.read_database(0, &mut first)?;
    Ok(Header::of(&first))
}

impl Capture {
    /// What is to be noted of it, as it was shipped.
    pub(super) fn note_of_it(&self) -> Result<Note, Error> {
        let mut first = vec![0; self.size.bytes()];
        let is_there = self.view.page(&self.guard, 1, &mut first).is_ok();
        if !is_there || self.shipped.hash(1) != Some(page_hash(1, &first)) {
            // The -wal was emptied or began anew: all of it is in the file by then.
            self.guard.read_database(0, &mut first)?;
        }
        Ok(Note { file: self.file, header: Header::of(&first), written: Written::of(&self.path)? })
    }

    /// What its first page says now.
    fn header(&self) -> Result<Header, Error> {
        let mut first = vec![0; self.size.bytes()];
        self.view.page(&self.guard, 1, &mut first)?;
        Ok(Header::of(&first))
    }

    /// Whether the file is the one that was noted, and nobody wrote it since. Where it is, nobody need read it.
    pub(super) fn is_untouched(&self, noted: Option<Note>) -> Result<bool, Error> {
        let Some(noted) = noted.filter(|noted| noted.file == self.file) else { return Ok(false) };
        Ok(noted.written == Written::of(&self.path)?)
    }

    /// Refuses a database that is to be compared, or shipped anew, and is not the one that was captured.
    pub(super) fn check_is_the_same(&self, noted: Option<Note>, commit: &Commit) -> Result<(), Error> {
        if self.settings.replaced {
            return Ok(());
        }
        let why = match noted {
            Some(noted) => self.why_other(&noted, commit)?,
            None => self.why_never_its_own(commit)?,
        };
        match why {
            Some(why) => Err(Error::OtherFile { path: self.path.clone(), why, end: self.log.end() }),
            None => Ok(()),
        }
    }

    /// Nothing is noted: it is captured for the first time, or what was noted is lost. The log may be another database's then.
    fn why_never_its_own(&self, commit: &Commit) -> Result<Option<&'static str>, Error> {
        let differing = self.differing(commit)?;
        let count = differing.len();
        if self.shipped.pages() != 0 && self.has_gone_back(differing)? {
            return Ok(Some(IS_OLD));
        }
        let resolved = self.path.canonicalize().map_err(Error::at(&self.path))?;
        if Sidecar::look(&resolved)?.is_some_and(|standing| standing.log == self.log.id()) {
            return Ok(None);
        }
        if PageRuns::from(self.log.reader(self.log.first()).map_err(Error::Log)?).next()?.is_none() {
            return Ok(None);
        }
        if self.shipped.pages() == 0 {
            return Ok(Some("nothing tells whether it ever was the log's"));
        }
        let pages = (1..=commit.pages).filter(|page| *page != self.size.lock_page()).count();
        let alike = pages - count;
        Ok((alike * 2 < self.shipped.pages() as usize).then_some("little of it is what the log holds"))
    }

    fn why_other(&self, noted: &Note, commit: &Commit) -> Result<Option<&'static str>, Error> {
        let now = self.header()?;
        if let Some(why) = noted.header.gone_back(&now) {
            return Ok(Some(why));
        }
        let was = self.shipped.pages();
        if commit.pages < was && now.schema == noted.header.schema && !now.shrinks {
            // Only VACUUM makes it shorter then, and that makes another version of the schema.
            return Ok(Some("it has fewer pages and was not vacuumed"));
        }
        let differing = self.differing(commit)?;
        let count = differing.len();
        if noted.file != self.file && (was != commit.pages || count != 0) {
            return Ok(Some("another file has its name, and holds something else"));
        }
        let is_old = was != 0 && self.has_gone_back(differing)?;
        Ok(is_old.then_some(IS_OLD))
    }

    /// Pages that are not what was shipped, and what they are.
    fn differing(&self, commit: &Commit) -> Result<HashMap<u32, PageHash>, Error> {
        let (mut differing, mut bytes) = (HashMap::new(), vec![0; self.size.bytes()]);
        for page in (1..=commit.pages).filter(|page| *page != self.size.lock_page()) {
            self.view.page(&self.guard, page, &mut bytes)?;
            let hash = page_hash(page, &bytes);
            if self.shipped.hash(page) != Some(hash) {
                differing.insert(page, hash);
            }
        }
        Ok(differing)
    }

    /// Whether most of the pages that differ are what they were in the log, all at one time, before they became something else.
    fn has_gone_back(&self, mut differing: HashMap<u32, PageHash>) -> Result<bool, Error> {
        // Free pages come and go as zeros.
        let free = page_hash(2, &vec![0; self.size.bytes()]);
        differing.retain(|_, hash| *hash != free);
        if differing.len() < SOME_PAGES {
            return Ok(false);
        }
        let (mut back, mut most) = (HashSet::new(), 0);
        let mut runs = PageRuns::from(self.log.reader(self.log.first()).map_err(Error::Log)?);
        while let Some(run) = runs.next()? {
            for (page, hash) in run.changes {
                if differing.get(&page) == Some(&hash) {
                    back.insert(page);
                } else {
                    back.remove(&page);
                }
            }
            most = most.max(back.len());
        }
        Ok(SOME_PAGES <= most && differing.len() * 3 <= most * 4)
    }

    /// Whether pages that have no frame in the `-wal` are what was shipped. Looks at no frame afterwards.
    pub(super) fn rest_is_what_was_shipped(&mut self, index: &IndexHeader) -> Result<bool, Error> {
        self.view.adopt(index.max_frame)?;
        let framed = std::mem::take(&mut self.view.frames);
        self.pages_are_what_was_shipped(index.pages, |page| !framed.contains_key(&page))
    }

    /// Whether the database file by itself is what the log ends with.
    pub(super) fn file_is_what_was_shipped(&self) -> Result<bool, Error> {
        Ok(0 < self.shipped.pages() && self.pages_are_what_was_shipped(u32::MAX, |_| true)?)
    }

    /// Whether pages of the database file, up to `last`, are.
    fn pages_are_what_was_shipped(&self, last: u32, is_one: impl Fn(u32) -> bool) -> Result<bool, Error> {
        let mut bytes = vec![0; self.size.bytes()];
        let lock_page = self.size.lock_page();
        for page in (1..=last.min(self.shipped.pages())).filter(|page| *page != lock_page && is_one(*page)) {
            self.guard.read_database(self.size.offset_of(page), &mut bytes)?;
            if self.shipped.hash(page) != Some(page_hash(page, &bytes)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

const IS_OLD: &str = "its pages hold what the log has of an earlier time, as in an older copy";

/// An application itself may make a page or two what they were before, with a flag that it sets and takes back. What it writes besides
/// is new.
const SOME_PAGES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_a_header_goes_back_by_writing() {
        let header = |counter, schema, application| Header { counter, schema, application, shrinks: false };
        for (then, now, said) in [
            (header(5, 5, 5), header(5, 5, 5), ""),
            (header(5, 5, 0), header(9, 9, 5), ""),
            (header(5, 5, 5), header(9, 9, 0), ""),
            (header(5, 5, 0), header(4, 9, 0), "change counter"),
            (header(5, 5, 0), header(9, 4, 0), "version of its schema"),
            (header(5, 5, 5), header(9, 9, 6), "application id"),
        ] {
            let why = then.gone_back(&now).unwrap_or_default();
            assert!(why.contains(said) && why.is_empty() == said.is_empty(), "{then:?}, then {now:?}: {why}");
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let header = Header { counter: 1, schema: 2, application: 3, shrinks: false };
        let note = Note { file: FileId { inode: 4, born: u64::MAX }, header, written: Written(5) };
        assert_eq!(Note::decode(&note.encode()), note);
    }
}
