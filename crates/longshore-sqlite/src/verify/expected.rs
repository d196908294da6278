//! What the log says that every page is, at a position that moves forward, and which pages were seen to be that.

use std::time::{Duration, Instant};

use longshore_format::Lsn;
use longshore_wal::ReadLog;

use super::snapshot::Snapshot;
use super::{PagesProgress, PagesVerdict};
use crate::error::Error;
use crate::pages::{PageHash, PageRun, PageRuns, PageTable, WalPlace, page_hash};

/// The table of a log that is followed, run by run.
pub(super) struct Expected<'a> {
    log: &'a ReadLog,
    runs: PageRuns,
    /// A run that was read and is not to be followed yet.
    next: Option<PageRun>,
    /// `None` before the first whole image.
    table: Option<PageTable>,
    /// For each page of the table.
    looks: Vec<Look>,
    /// How many pages the database had when it was looked at last.
    pages_here: u32,
}

/// Whether a page was compared with what the table says of it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    NotYet,
    Same,
    Differs,
}

/// Where the table is, with respect to a `-wal` without frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BeforeWal {
    /// The next run is the first in it, or the last one was made when it had begun.
    Certain,
    /// At the end of what is known of the log.
    AtTheEnd,
}

impl<'a> Expected<'a> {
    /// Nothing yet, at the log's beginning.
    pub(super) fn begin(log: &'a ReadLog) -> Result<Expected<'a>, Error> {
        let runs = PageRuns::from(log.reader(log.first()).map_err(Error::Log)?);
        Ok(Expected { log, runs, next: None, table: None, looks: Vec::new(), pages_here: 0 })
    }

    /// Looks how far the log is by now.
    pub(super) fn refresh(&self) -> Result<Lsn, Error> {
        self.log.refresh().map_err(Error::Log)
    }

    /// Whether somebody owns the log, who may append to it.
    pub(super) fn goes_on(&self) -> bool {
        self.log.has_owner()
    }

    /// Follows the log up to `lsn`, or its end.
    pub(super) fn follow_to(&mut self, lsn: Lsn, progress: &mut dyn FnMut(PagesProgress)) -> Result<(), Error> {
        let mut told = Instant::now();
        while let Some(run) = self.take_if(|run| run.end <= lsn)? {
            self.follow(&run);
            if TELL < told.elapsed() {
                told = Instant::now();
                let (position, end) = (self.runs.position(), lsn.min(self.log.end()));
                progress(PagesProgress::Gathering { position, end });
            }
        }
        Ok(())
    }

    /// Follows the log to the run that ended at this frame of the `-wal`, or to its end; whether it is there.
    pub(super) fn follow_to_frame(&mut self, place: WalPlace) -> Result<bool, Error> {
        while self.table.as_ref().is_none_or(|table| table.place != place) {
            let Some(run) = self.take_if(|_| true)? else { return Ok(false) };
            self.follow(&run);
        }
        Ok(true)
    }

    /// Follows the log to before the first run in the `-wal` with these salts.
    pub(super) fn follow_to_before(&mut self, salts: [u32; 2]) -> Result<BeforeWal, Error> {
        let is_in_it = |place: &WalPlace| place.salts == salts && place.frame != 0;
        while let Some(run) = self.take_if(|run| !is_in_it(&run.commit.place))? {
            self.follow(&run);
        }
        // A -wal that was never written to has no salts, and neither has the next one.
        let has_begun = |table: &PageTable| table.place.salts == salts && salts != [0, 0];
        match self.next.is_some() || self.table.as_ref().is_some_and(has_begun) {
            true => Ok(BeforeWal::Certain),
            false => Ok(BeforeWal::AtTheEnd),
        }
    }

    /// What it says now.
    ///
    /// # Errors
    /// [`Error::NoImageKept`] if no image was reached.
    pub(super) fn table(&self) -> Result<&PageTable, Error> {
        self.table.as_ref().ok_or(Error::NoImageKept { first: self.log.first() })
    }

    /// Compares the pages that are left, until the time is up; whether none is left. At least one is compared.
    pub(super) fn look(&mut self, snapshot: &Snapshot<'_>, within: Duration) -> Result<bool, Error> {
        let until = Instant::now() + within;
        let size = self.table()?.size();
        if size != snapshot.page_size() {
            return Err(Error::OtherPageSize { here: snapshot.page_size().bytes(), there: size.bytes() });
        }
        self.pages_here = snapshot.pages();
        let mut bytes = vec![0; size.bytes()];
        let unwritten = page_hash(2, &bytes);
        for index in 0..self.looks.len() {
            if self.looks[index] != Look::NotYet {
                continue;
            }
            let page = index as u32 + 1;
            let is_same = snapshot.read(page, &mut bytes)? && page_hash(page, &bytes) == self.expected(page, unwritten);
            self.looks[index] = if is_same { Look::Same } else { Look::Differs };
            if until <= Instant::now() {
                return Ok(!self.looks[index..].contains(&Look::NotYet));
            }
        }
        Ok(true)
    }

    /// Compares those again that differed: the log may have gone on.
    pub(super) fn look_again(&mut self) {
        self.looks.iter_mut().filter(|look| **look == Look::Differs).for_each(|look| *look = Look::NotYet);
    }

    /// How many pages were compared, and of how many.
    pub(super) fn done(&self) -> (u32, u32) {
        let done = self.looks.iter().filter(|look| **look != Look::NotYet).count();
        (done as u32, self.looks.len() as u32)
    }

    /// What the comparison came to, once no page is left.
    pub(super) fn verdict(&self, is_replica: bool) -> Result<PagesVerdict, Error> {
        let table = self.table()?;
        let unwritten = page_hash(2, &vec![0; table.size().bytes()]);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[table.size().log2()]);
        for page in 1..=table.pages() {
            hasher.update(&self.expected(page, unwritten).0.to_le_bytes());
        }
        let digest = *hasher.finalize().as_bytes().first_chunk().expect("a hash is 32 bytes");
        let differs = (1..).zip(&self.looks).filter(|(_, look)| **look == Look::Differs).map(|(page, _)| page);
        let beyond = table.pages() + 1..self.pages_here.saturating_add(1);
        let differing = differs.chain(beyond);
        Ok(PagesVerdict {
            position: table.lsn,
            pages: table.pages(),
            digest: u64::from_be_bytes(digest),
            is_replica,
            differing: differing.clone().count() as u64,
            first_differing: differing.take(NAMED).collect(),
        })
    }

    /// What a page is to be. `unwritten` is the hash of zeros, which a page is that no run wrote.
    fn expected(&self, page: u32, unwritten: PageHash) -> PageHash {
        let said = self.table.as_ref().and_then(|table| table.hash(page)).unwrap_or_default();
        if said == PageHash::default() { unwritten } else { said }
    }

    /// The next run, if it is wanted; otherwise it stays the next one.
    fn take_if(&mut self, is_wanted: impl FnOnce(&PageRun) -> bool) -> Result<Option<PageRun>, Error> {
        if self.next.is_none() {
            self.next = self.runs.next()?;
        }
        Ok(self.next.take_if(|run| is_wanted(run)))
    }

    fn follow(&mut self, run: &PageRun) {
        PageTable::follow(&mut self.table, run);
        if run.is_image {
            self.looks.clear();
        }
        self.looks.resize(self.table.as_ref().map_or(0, |table| table.pages() as usize), Look::NotYet);
        for (page, _) in &run.changes {
            if let Some(look) = self.looks.get_mut(*page as usize - 1) {
                *look = Look::NotYet;
            }
        }
    }
}

/// How many differing pages are named.
const NAMED: usize = 8;
/// How often it is told how far it is.
const TELL: Duration = Duration::from_millis(100);
