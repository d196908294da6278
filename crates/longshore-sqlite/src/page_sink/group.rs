//! Runs that come together, as the pages that they leave.

use std::collections::BTreeMap;
use std::ops::Range;

use longshore_apply::Held;
use longshore_format::Lsn;

use super::hash_in;
use crate::error::Error;
use crate::pages::{Change, Form, PageHash, PageSize, page_hash};
use crate::replica_wal::ReplicaDb;
use crate::sidecar::Witness;

/// Pages by number, in the order in which they are written.
type Pages = BTreeMap<u32, Image>;

/// A database, the runs that are complete and not in it yet, and the one that is coming.
#[derive(Debug)]
pub(super) struct Group {
    db: ReplicaDb,
    /// What the complete ones leave.
    waiting: Pages,
    /// How many pages the database has after them.
    pages: u32,
    /// Where the last of them ends.
    end: Option<Held>,
    run: Pages,
    /// The run has passed memory, and its beginning is in the `-wal`; nothing waits then.
    has_spilled: bool,
    /// A page of that beginning which differs from what it was.
    spilled: Option<Witness>,
    /// For a page as it was.
    before: Vec<u8>,
}

/// A page as it will be.
#[derive(Debug)]
struct Image {
    bytes: Box<[u8]>,
    /// Known when it came as a difference.
    hash: Option<PageHash>,
}

impl Group {
    pub(super) fn new(db: ReplicaDb) -> Group {
        let (pages, before) = (db.pages(), vec![0; db.page_size().bytes()]);
        let (waiting, run) = (Pages::new(), Pages::new());
        Group { db, waiting, pages, end: None, run, has_spilled: false, spilled: None, before }
    }

    pub(super) fn database(&self) -> &ReplicaDb {
        &self.db
    }

    pub(super) fn page_size(&self) -> PageSize {
        self.db.page_size()
    }

    /// Pages in memory.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.run.len()
    }

    /// Pages of the database after the complete runs.
    pub(super) fn pages(&self) -> u32 {
        self.pages
    }

    /// Where the last complete run ends that the database does not hold.
    pub(super) fn end(&self) -> Option<Held> {
        self.end
    }

    pub(super) fn is_resized(&self) -> bool {
        self.pages != self.db.pages()
    }

    /// Applies a change of the run, from the record that ends at `position`; each page once, ascending.
    pub(super) fn change(&mut self, change: Change<'_>, position: Lsn) -> Result<(), Error> {
        let Change { page, form, patch } = change;
        let image = match form {
            Form::Whole => {
                let mut bytes = vec![0; self.page_size().bytes()].into_boxed_slice();
                patch.apply(&mut bytes);
                self.load(page)?;
                // Nothing is written that is there already. Beyond the end nothing is there, though it reads as zeros: a frame
                // from before the database shrank would come back.
                if page <= self.pages && is_same(page, &bytes, &self.before) {
                    return Ok(());
                }
                Image { bytes, hash: None }
            }
            Form::Delta { base, result } => {
                let known = self.load(page)?;
                let here = known.unwrap_or_else(|| page_hash(page, &self.before));
                if here == result && page <= self.pages {
                    return Ok(());
                }
                if here != base {
                    return Err(Error::OtherBase { page, position });
                }
                let mut bytes = self.before.clone().into_boxed_slice();
                patch.apply(&mut bytes);
                if page_hash(page, &bytes) != result {
                    return Err(Error::Pages(format!("a difference of page {page} does not make what it says")));
                }
                Image { bytes, hash: Some(result) }
            }
        };
        self.put(page, image)
    }

    /// Makes zeros of pages that a whole database does not have.
    pub(super) fn clear(&mut self, pages: Range<u32>) -> Result<(), Error> {
        for page in pages.start..pages.end.min(self.pages + 1) {
            self.load(page)?;
            if page != self.page_size().lock_page() && self.before.iter().any(|byte| *byte != 0) {
                let bytes = vec![0; self.before.len()].into_boxed_slice();
                self.put(page, Image { bytes, hash: None })?;
            }
        }
        Ok(())
    }

    /// The run is complete. Whether it has to be committed at once.
    pub(super) fn end_run(&mut self, pages: u32, end: Held) -> bool {
        self.waiting.append(&mut self.run);
        if let Some(beyond) = pages.checked_add(1) {
            self.waiting.split_off(&beyond);
        }
        self.pages = pages;
        self.end = Some(end);
        self.has_spilled
    }

    pub(super) fn forget_run(&mut self) {
        self.run.clear();
        if self.end.is_none() && self.has_spilled {
            self.db.forget();
            (self.has_spilled, self.spilled) = (false, None);
        }
    }

    /// Moves the run from memory to the `-wal`; nothing else waits.
    pub(super) fn spill(&mut self) -> Result<(), Error> {
        debug_assert!(self.end.is_none() && self.waiting.is_empty(), "complete runs are in the database");
        self.has_spilled = true;
        for (page, image) in std::mem::take(&mut self.run) {
            self.write(page, &image)?;
        }
        Ok(())
    }

    /// A page that differs from what the database holds; `None` if there is none.
    pub(super) fn witness(&self) -> Result<Option<Witness>, Error> {
        if self.has_spilled {
            return Ok(self.spilled);
        }
        for (page, image) in &self.waiting {
            let (before, after) = (hash_in(&self.db, *page)?, image.hash_as(*page));
            if before != after {
                return Ok(Some(Witness { page: *page, before, after }));
            }
        }
        Ok(None)
    }

    /// Makes the complete runs durable, then visible.
    pub(super) fn commit(&mut self) -> Result<(), Error> {
        for (page, image) in std::mem::take(&mut self.waiting) {
            self.db.append(page, &image.bytes)?;
        }
        self.db.commit(self.pages)?;
        (self.end, self.has_spilled, self.spilled) = (None, false, None);
        Ok(())
    }

    /// The complete runs have left everything as it was.
    pub(super) fn close_unchanged(&mut self) {
        debug_assert!(!self.has_spilled, "what has spilled differs, or makes the database longer");
        self.waiting.clear();
        self.end = None;
    }

    #[cfg(test)]
    pub(super) fn frames(&self) -> u32 {
        self.db.frames()
    }

    /// The database, whose `-wal` is copied back and begun anew.
    pub(super) fn database_mut(&mut self) -> &mut ReplicaDb {
        debug_assert!(self.waiting.is_empty() && !self.has_spilled, "between groups");
        &mut self.db
    }

    fn put(&mut self, page: u32, image: Image) -> Result<(), Error> {
        if self.has_spilled {
            return self.write(page, &image);
        }
        self.run.insert(page, image);
        Ok(())
    }

    fn write(&mut self, page: u32, image: &Image) -> Result<(), Error> {
        if self.spilled.is_none() {
            let (before, after) = (hash_in(&self.db, page)?, image.hash_as(page));
            self.spilled = (before != after).then_some(Witness { page, before, after });
        }
        self.db.append(page, &image.bytes)
    }

    /// Fills `before` with a page as it was before the run, and says its hash if that is known.
    fn load(&mut self, page: u32) -> Result<Option<PageHash>, Error> {
        match self.waiting.get(&page) {
            Some(image) => {
                self.before.copy_from_slice(&image.bytes);
                Ok(image.hash)
            }
            None if self.pages < page => {
                self.before.fill(0);
                Ok(None)
            }
            None => self.db.read(page, &mut self.before).map(|()| None),
        }
    }
}

impl Image {
    fn hash_as(&self, page: u32) -> PageHash {
        self.hash.unwrap_or_else(|| page_hash(page, &self.bytes))
    }
}

/// Whether two images of a page are the same database's.
fn is_same(page: u32, a: &[u8], b: &[u8]) -> bool {
    a == b || page == 1 && page_hash(1, a) == page_hash(1, b)
}
