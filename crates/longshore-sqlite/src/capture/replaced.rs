//! Whether the file under a captured database's name still is that database, or another one in its place.
//!
//! What was merely written while nobody captured it is found by comparing and shipped. An old copy, another database or an
//! empty file would be found in the same way, and would take the place of the one before everywhere. What tells them apart is
//! noted with the hashes of what was shipped: which file it was, and numbers of its header that never go back. In WAL mode
//! SQLite seldom raises the change counter, so that a higher one proves nothing, and neither does an equal one.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use longshore_wal::Wal;

use super::attach::connect;
use super::note::{FileId, Header, Note};
use super::{Capture, CaptureSettings, shipped};
use crate::error::Error;
use crate::pages::{Commit, PageHash, PageRuns, page_hash};
use crate::shm::WalFile;
use crate::sidecar::Sidecar;
use crate::wal_format::IndexHeader;

/// Refuses a file that is not fit to be captured if it is not the database that was captured, which is the better reason.
pub(super) fn check_unfit(path: &Path, log: &Wal, settings: &CaptureSettings) -> Result<(), Error> {
    if settings.replaced {
        return Ok(());
    }
    let other = |why| Err(Error::OtherFile { path: path.to_owned(), why, end: log.end() });
    let noted = shipped::load(&settings.hashes, log.id()).and_then(|kept| kept.note);
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
        Ok(Note { file: self.file, header: Header::of(&first), written: self.written })
    }

    /// What its first page says now.
    fn header(&self) -> Result<Header, Error> {
        let mut first = vec![0; self.size.bytes()];
        self.view.page(&self.guard, 1, &mut first)?;
        Ok(Header::of(&first))
    }

    /// Whether the file is the one that was noted, and nobody wrote it since. Where it is, nobody need read it.
    pub(super) fn is_untouched(&self, noted: Option<Note>) -> bool {
        noted.is_some_and(|noted| noted.file == self.file && noted.written.is_some() && noted.written == self.written)
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
