//! What a log says of a database at one of its positions: the hash of every page.

use longshore_format::{Flags, Lsn};
use longshore_wal::Reader;

use super::hash::{PageHash, page_hash};
use super::record::{Change, Commit, Form, PageRecord, WalPlace};
use super::size::PageSize;
use crate::error::Error;

/// A database as the hashes of its pages, at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageTable {
    /// Where that run ends.
    pub(crate) lsn: Lsn,
    /// Where the `-wal` stood then.
    pub(crate) place: WalPlace,
    size: PageSize,
    /// One for each page of the database.
    hashes: Vec<PageHash>,
}

impl PageTable {
    /// A database without a page.
    pub(crate) fn nothing(size: PageSize) -> PageTable {
        PageTable { lsn: Lsn::ZERO, place: WalPlace::default(), size, hashes: Vec::new() }
    }

    /// A table that was written down.
    pub(crate) fn of(lsn: Lsn, place: WalPlace, size: PageSize, hashes: Vec<PageHash>) -> PageTable {
        PageTable { lsn, place, size, hashes }
    }

    /// What the next run makes of it. The first that there can be is that of a whole image: what comes before one says too
    /// little.
    pub(crate) fn follow(table: &mut Option<PageTable>, run: &PageRun) {
        if run.is_image {
            *table = Some(PageTable::nothing(run.size));
        }
        if let Some(table) = table {
            run.changes.iter().for_each(|(page, hash)| table.set(*page, *hash));
            table.end_at(run.end, run.commit);
        }
    }

    pub(crate) fn size(&self) -> PageSize {
        self.size
    }

    pub(crate) fn pages(&self) -> u32 {
        self.hashes.len() as u32
    }

    /// The hash of a page; `None` if the database has no such page.
    pub(crate) fn hash(&self, page: u32) -> Option<PageHash> {
        self.hashes.get(page as usize - 1).copied()
    }

    /// Of all pages, in their order. The default is that of a page that no run wrote.
    pub(crate) fn hashes(&self) -> &[PageHash] {
        &self.hashes
    }

    pub(crate) fn set(&mut self, page: u32, hash: PageHash) {
        let index = page as usize - 1;
        if self.hashes.len() <= index {
            // SQLite writes every page that a database grows by; one that it does not is zeros.
            self.hashes.resize(index + 1, PageHash::default());
        }
        self.hashes[index] = hash;
    }

    pub(crate) fn end_at(&mut self, lsn: Lsn, commit: Commit) {
        self.hashes.resize(commit.pages as usize, PageHash::default());
        (self.lsn, self.place) = (lsn, commit.place);
    }
}

/// A run as the hashes that it leaves.
#[derive(Debug)]
pub(crate) struct PageRun {
    /// Where it ends in the log.
    pub(crate) end: Lsn,
    pub(crate) commit: Commit,
    /// What it does not name is gone.
    pub(crate) is_image: bool,
    /// Pages and what they are from now on.
    pub(crate) changes: Vec<(u32, PageHash)>,
    size: PageSize,
}

/// The runs of a log, from a place between two of them on.
#[derive(Debug)]
pub(crate) struct PageRuns {
    reader: Reader,
    /// Of the run that is being read.
    changes: Vec<(u32, PageHash)>,
}

impl PageRuns {
    pub(crate) fn from(reader: Reader) -> PageRuns {
        PageRuns { reader, changes: Vec::new() }
    }

    /// The next run; `None` at the end of the log, where a later call may find more, the rest of a run included.
    pub(crate) fn next(&mut self) -> Result<Option<PageRun>, Error> {
        while let Some(record) = self.reader.next().map_err(Error::Log)? {
            if !record.kind.is_user() {
                continue;
            }
            if record.flags.contains(Flags::FIRST) {
                self.changes.clear();
            }
            let pages = PageRecord::decode(record.payload)?;
            for change in pages.changes() {
                let change = change?;
                self.changes.push((change.page, hash_of(&change, pages.size)));
            }
            if let Some(commit) = pages.commit {
                let (mut changes, is_image, size) = (std::mem::take(&mut self.changes), pages.is_image, pages.size);
                // A page beyond the end is none, and takes no room.
                changes.retain(|(page, _)| *page <= commit.pages);
                return Ok(Some(PageRun { end: record.end, commit, is_image, changes, size }));
            }
        }
        Ok(None)
    }

    /// How far it has read.
    pub(crate) fn position(&self) -> Lsn {
        self.reader.position()
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
