//! Attaching: the locks, and the place in the `-wal` that the log ends at.

use std::path::Path;
use std::time::{Duration, Instant};

use longshore_format::{Content, Lsn};
use longshore_wal::Wal;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::base::Base;
use super::brake::Brake;
use super::holder::Holder;
use super::note::{FileId, Note, Written};
use super::replaced::check_unfit;
use super::saved::Saved;
use super::seal::Seals;
use super::view::{View, published};
use super::{Capture, CaptureSettings, CaptureStatus, bring_up, shipped};
use crate::check::must_be_fit;
use crate::error::Error;
use crate::log_database::identity_of;
use crate::pages::{Commit, PageSize, PageTable, RunWriter};
use crate::points::reached;
use crate::shm::{Granted, Slot, WalFile};
use crate::sidecar::beside;
use crate::wal_format::IndexHeader;

impl Capture {
    /// Takes a database over: waits for the checkpoint lock, finds where the log ends in its `-wal`, and if that place is
    /// gone compares the database with what was shipped. The first time, and whenever the log no longer says what was
    /// shipped, the whole database becomes a run.
    ///
    /// A database that a log was applied to is given what it lacks of this one first, and then goes on from there: nobody writes
    /// it before.
    ///
    /// # Errors
    /// [`Error::Unfit`] says what stands in the way and how to mend it; [`Error::Guarded`] when another holds the checkpoint
    /// lock for all of `attach_within`; [`Error::Astray`] for a database that holds what the log does not, where that cannot be
    /// what it is to ship; [`Error::OtherFile`] for one that is not the one that was captured.
    pub fn attach(database: &Path, log: Wal, settings: CaptureSettings) -> Result<Capture, Error> {
        if log.content() != Content::SqlitePages {
            return Err(Error::NotPages { content: log.content() });
        }
        if let Err(unfit) = must_be_fit(database) {
            check_unfit(database, &log, &settings)?;
            return Err(unfit);
        }
        let deadline = Instant::now() + settings.attach_within;
        let brought = bring_up::bring_up(database, &log, &settings)?;
        let (guard, mut checkpointer, reader) = (connect(database)?, connect(database)?, connect(database)?);
        take_guard(&guard, database, deadline)?;
        checkpointer.grant(Granted::Checkpoint);
        checkpointer.connection().busy_timeout(Duration::ZERO)?;
        let size = PageSize::new(guard.connection().pragma_query_value(None, "page_size", |row| row.get(0))?)?;
        if !RunWriter::fits(size, log.segment_size().max_payload()) {
            return Err(Error::SegmentsTooSmall { page: size.bytes() });
        }
        let name = guard.connection().path().ok_or(Error::NoFile)?.to_owned();
        let view = View::open(beside(Path::new(&name), "-wal"), size)?;
        let kept = shipped::load(&settings.hashes, log.id());
        let noted = kept.as_ref().and_then(|kept| kept.note);
        let saved = Saved::at(kept.as_ref().map_or(Lsn::ZERO, |kept| kept.table.lsn));
        let shipped = match brought {
            // The file may be from before the log changed hands.
            Some(_) => None,
            None => shipped::gather(&log, kept, size)?,
        };
        let known = shipped.is_some();
        let mut capture = Capture {
            guard,
            checkpointer,
            reader,
            brake: Brake::start(connect(database)?, size, log.clone())?,
            view,
            shipped: shipped.unwrap_or_else(|| PageTable::nothing(size)),
            saved,
            size,
            log,
            settings,
            seals: Seals::default(),
            status: CaptureStatus::default(),
            stepped: 0,
            held: Duration::ZERO,
            identity: identity_of(database)?,
            file: FileId::of(database)?,
            written: Written::of(database),
            path: database.to_owned(),
            looked: Instant::now(),
            base: None,
        };
        match brought {
            Some(brought) => capture.take_over(brought, deadline)?,
            None => capture.find_place(known, noted, deadline)?,
        }
        capture.base = Base::of(database, capture.log.id())?;
        capture.raise_base()?;
        if let Some(database) = &capture.settings.database {
            // From here on the application writes.
            database.let_go();
        }
        Ok(capture)
    }

    /// Goes on where the log ends, or compares.
    fn find_place(&mut self, known: bool, noted: Option<Note>, deadline: Instant) -> Result<(), Error> {
        let is_untouched = self.is_untouched(noted);
        let (index, backfill) = self.settled(deadline)?;
        // Once all of it is in the database file, the next writer may begin the -wal anew at any moment: frames that were not
        // copied by then cannot be counted on.
        let is_kept = backfill < index.max_frame;
        if known
            && self.still_stands(&index)?
            && (is_kept || index.max_frame == self.shipped.place.frame)
            // An old copy beside the -wal of the one before, or written over the file, is neither of the two.
            && (is_untouched || self.file_goes_with(&index, is_kept)?)
        {
            if is_kept {
                self.view.adopt(self.shipped.place.frame)?;
            }
            return self.save_unless(is_untouched);
        }
        // The -wal was copied back to the last frame, by the last capture, and then began anew: what it holds now needs no
        // comparing, and stays one run a transaction.
        if known && backfill == 0 && index.salts != self.shipped.place.salts && self.file_is_what_was_shipped()? {
            return self.save_unless(is_untouched);
        }
        self.view.sync()?;
        if is_kept && self.view.begin(index.salts)?.is_some() {
            self.view.adopt(index.max_frame)?;
        }
        let pages = match index.pages {
            // While nothing was ever written to this -wal, its index does not know.
            0 => self.guard.connection().pragma_query_value(None, "page_count", |row| row.get(0))?,
            pages => pages,
        };
        let commit = Commit { pages, place: index.place() };
        self.check_is_the_same(noted, &commit)?;
        self.status.resyncs += u64::from(known);
        self.ship_difference(commit, !known)?;
        self.save()
    }

    /// Whether the database file is the one that this `-wal` belongs to, which holds the frame that the log ends at. It cannot
    /// change meanwhile, for the checkpoint lock is held; and with some of the `-wal` left to be copied back, no writer can begin
    /// that anew before it is.
    fn file_goes_with(&mut self, index: &IndexHeader, is_kept: bool) -> Result<bool, Error> {
        reached("the file is compared");
        match is_kept {
            true => self.rest_is_what_was_shipped(index),
            // All of it is there, whatever becomes of the -wal.
            false => self.file_is_what_was_shipped(),
        }
    }

    /// Whether the frame that the log ends at is still where it was.
    fn still_stands(&mut self, index: &IndexHeader) -> Result<bool, Error> {
        let place = self.shipped.place;
        // A -wal that was never written to has no salts, and neither has the next one: that proves nothing.
        if place.salts == [0, 0] || index.salts != place.salts || index.max_frame < place.frame {
            return Ok(false);
        }
        if place.frame == 0 {
            // Nothing was written since, or all of it was.
            return Ok(index.max_frame == 0 || self.view.begin(place.salts)?.is_some());
        }
        Ok(self.view.begin(place.salts)?.is_some() && self.view.head(place.frame)?.checksum == place.checksum)
    }

    /// What is committed, once the wal-index is whole. A writer that died between its two copies leaves one that SQLite's
    /// next reader recovers, for which it needs the lock that is held here.
    pub(super) fn settled(&self, deadline: Instant) -> Result<(IndexHeader, u32), Error> {
        loop {
            match published(&self.guard, self.size) {
                Err(Error::Unstable) if Instant::now() < deadline => {
                    self.guard.unlock(Slot::Checkpoint)?;
                    let recovered: Result<i64, _> =
                        self.reader.connection().query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0));
                    take_guard(&self.guard, &self.path, deadline)?;
                    recovered?;
                }
                settled => return settled,
            }
        }
    }
}

/// A connection of ours: it never checkpoints by itself, not even as the last one that closes, which would take the `-wal`
/// away and the place in it; and is as durable as can be.
pub(super) fn connect(database: &Path) -> Result<WalFile, Error> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Maps the wal-index, and recovers it if need be.
    let _: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    WalFile::new(connection)
}

fn take_guard(guard: &WalFile, database: &Path, deadline: Instant) -> Result<(), Error> {
    while !guard.try_lock(Slot::Checkpoint)? {
        if deadline <= Instant::now() {
            return Err(Error::Guarded { by: Holder::of(database) });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
