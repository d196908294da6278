//! A database that a log was applied to becomes the one that it comes from.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_apply::{Applier, Held, Step, Target};
use longshore_format::{LogId, Lsn};
use longshore_wal::Wal;

use super::remake::remake;
use super::{Capture, CaptureSettings, shipped};
use crate::error::Error;
use crate::log_database::LogDatabase;
use crate::page_sink::{Left, PageSink};
use crate::pages::{Commit, PageRuns, PageTable, page_hash};
use crate::sidecar::{Sidecar, Standing};

/// A database that is all of the log, which nobody writes.
pub(super) struct Brought {
    held: Held,
    database: Arc<LogDatabase>,
}

/// Applies what a log has beyond a database that was made by it, and has its position say that an application writes it from
/// then on. `None` for one that no log was ever applied to, or that is captured already.
pub(super) fn bring_up(path: &Path, log: &Wal, settings: &CaptureSettings) -> Result<Option<Brought>, Error> {
    let resolved = path.canonicalize().map_err(Error::at(path))?;
    let Some(mut sidecar) = Sidecar::open(&resolved)? else { return Ok(None) };
    let standing = *sidecar.standing();
    if standing.log != log.id() {
        // Restored from another log, to begin this one with.
        return Ok(None);
    }
    let database = settings.database.clone().unwrap_or_else(|| Arc::new(LogDatabase::new(path)));
    if let Some(base) = standing.base() {
        return match is_its_own(log, base)? {
            true => Ok(None),
            // Nobody else need have written it: the log may be an old copy, and the database newer than all of it.
            false if log.end() < base.lsn => Err(Error::Astray { path: path.to_owned() }),
            false => made_anew(database, log, settings).map(Some),
        };
    }
    // What was shipped when this node wrote the log before may be of a branch that ended.
    shipped::forget(&settings.hashes)?;
    if let Left::Astray { held, .. } = PageSink::left(&resolved, &sidecar, database.fence(&resolved)?, log)? {
        let origin = held.or(standing.origin()).filter(|origin| origin.lsn != Lsn::ZERO);
        let Some(origin) = origin else { return made_anew(database, log, settings).map(Some) };
        if log.end() < origin.lsn {
            return Err(Error::Astray { path: path.to_owned() });
        }
        if standing.written.is_some_and(|written| written.only_log) {
            if lacks_some(log, origin.lsn)? {
                return made_anew(database, log, settings).map(Some);
            }
            // Nobody is left to seed it from: it is the database now, and what somebody wrote becomes a run once it is compared.
            sidecar.write(Standing::at(log.id(), standing.page_size, origin))?;
            return give_the_rest(log, database).map(Some);
        }
        if !is_its_own(log, origin)? || has_another_s(log, origin.lsn)? {
            return made_anew(database, log, settings).map(Some);
        }
        // All that the log has beyond is of the application, as is what was written since: as if it had been captured throughout.
        sidecar.write(Standing::captured(log.id(), standing.page_size, origin))?;
        return Ok(None);
    }
    give_the_rest(log, database).map(Some)
}

/// Whether the log changes pages beyond `origin`, or may have.
fn lacks_some(log: &Wal, origin: Lsn) -> Result<bool, Error> {
    if origin < log.first() {
        return Ok(true);
    }
    Ok(PageRuns::from(log.reader(origin).map_err(Error::Log)?).next()?.is_some())
}

/// Applies what the log has beyond the database.
fn give_the_rest(log: &Wal, database: Arc<LogDatabase>) -> Result<Brought, Error> {
    let sink = PageSink::of(Arc::clone(&database)).held_against(Some(log.clone())).giving_way();
    let mut applier = Applier::open(log.clone(), sink, Target::LATEST)?;
    while applier.step()? != Step::Idle {}
    let held = applier.finish()?.held;
    brought(database, log, held)
}

/// Instead of a database that holds what the log does not, what the log holds.
fn made_anew(database: Arc<LogDatabase>, log: &Wal, settings: &CaptureSettings) -> Result<Brought, Error> {
    shipped::forget(&settings.hashes)?;
    match remake(&database, log) {
        Ok(held) => brought(database, log, held),
        Err(Error::NoImageKept { .. }) => Err(Error::Astray { path: database.path().to_owned() }),
        Err(error) => Err(error),
    }
}

fn brought(database: Arc<LogDatabase>, log: &Wal, held: Lsn) -> Result<Brought, Error> {
    let crc = Some(log.crc_at(held).map_err(Error::Log)?);
    Ok(Brought { held: Held { lsn: held, crc }, database })
}

/// Whether what the log holds beyond `base` came from the database that was there and captured from then on: nobody else wrote
/// the log since.
fn is_its_own(log: &Wal, base: Held) -> Result<bool, Error> {
    if log.end() < base.lsn || base.lsn < log.first() {
        return Ok(false);
    }
    match log.crc_at(base.lsn) {
        Ok(crc) if Some(crc) == base.crc => {}
        Ok(_) | Err(longshore_wal::Error::NotABoundary { .. }) => return Ok(false),
        Err(error) => return Err(Error::Log(error)),
    }
    let history = log.history();
    let (then, now) = (history.at(base.lsn).map(|entry| entry.epoch), history.current().epoch);
    let since = history.entries().iter().filter(|entry| base.lsn < entry.start);
    Ok(since.map(|entry| entry.epoch).all(|epoch| Some(epoch) == then || epoch == now))
}

/// Whether another node wrote something into the log between `origin`, up to where it was applied to a database, and what this
/// node writes: the epoch that it was applied in may have gone on elsewhere.
fn has_another_s(log: &Wal, origin: Lsn) -> Result<bool, Error> {
    let history = log.history();
    if history.at(origin).is_some_and(|entry| log.wrote(entry.epoch)) {
        return Ok(false);
    }
    let next = PageRuns::from(log.reader(origin).map_err(Error::Log)?).next()?;
    Ok(next.is_some_and(|run| run.end <= history.current().start))
}

/// The position of a database that an application writes: where it began to, or any later place up to which all of the log came
/// from it. It must be one that the log still has at the next start.
#[derive(Debug)]
pub(super) struct Base {
    sidecar: Sidecar,
    raised: Instant,
}

/// How often it is raised at least where anything was captured.
const RAISE: Duration = Duration::from_secs(60);

impl Base {
    /// `None` where no log was ever applied.
    pub(super) fn of(database: &Path, log: LogId) -> Result<Option<Base>, Error> {
        let resolved = database.canonicalize().map_err(Error::at(database))?;
        let is_one = |standing: &Standing| standing.log != log || standing.base().is_some();
        let sidecar = Sidecar::open(&resolved)?.filter(|sidecar| is_one(sidecar.standing()));
        Ok(sidecar.map(|sidecar| Base { sidecar, raised: Instant::now() }))
    }

    /// Zero where it is a position of another log.
    fn lsn(&self, log: LogId) -> Lsn {
        let standing = self.sidecar.standing();
        if standing.log == log { standing.intent.lsn } else { Lsn::ZERO }
    }
}

impl Capture {
    /// Raises the position before the log is trimmed beyond it.
    pub(super) fn raise_base_if_due(&mut self) -> Result<(), Error> {
        let Some(base) = &self.base else { return Ok(()) };
        let grown = self.shipped.lsn.since(base.lsn(self.log.id()));
        let is_due = self.log.segment_size().get() / 2 <= grown || 0 < grown && RAISE <= base.raised.elapsed();
        if is_due { self.raise_base() } else { Ok(()) }
    }

    /// Raises it to what was captured last.
    pub(super) fn raise_base(&mut self) -> Result<(), Error> {
        let (lsn, log) = (self.shipped.lsn, self.log.id());
        let Some(base) = self.base.as_mut().filter(|base| base.lsn(log) != lsn) else { return Ok(()) };
        self.log.wait_blocking(lsn, None).map_err(Error::Log)?;
        let held = Held { lsn, crc: Some(self.log.crc_at(lsn).map_err(Error::Log)?) };
        base.sidecar.write(Standing::captured(self.log.id(), self.size, held))?;
        base.raised = Instant::now();
        Ok(())
    }

    /// Goes on from a database that is all of the log. Its hashes are taken from itself while the application writes already:
    /// with the checkpoint lock held here, neither the file changes nor a frame that is not in it.
    pub(super) fn take_over(&mut self, brought: Brought, deadline: Instant) -> Result<(), Error> {
        let Brought { held, database } = brought;
        let (index, backfilled) = self.settled(deadline)?;
        self.view.sync()?;
        if backfilled < index.max_frame {
            self.view.begin(index.salts)?.ok_or(Error::Unstable)?;
            self.view.adopt(index.max_frame)?;
        }
        let pages = match index.pages {
            0 => self.guard.connection().pragma_query_value(None, "page_count", |row| row.get(0))?,
            pages => pages,
        };
        database.let_go();
        let (mut table, mut bytes) = (PageTable::nothing(self.size), vec![0; self.size.bytes()]);
        for page in (1..=pages).filter(|page| *page != self.size.lock_page()) {
            self.view.page(&self.guard, page, &mut bytes)?;
            table.set(page, page_hash(page, &bytes));
        }
        let commit = Commit { pages, place: index.place() };
        table.end_at(held.lsn, commit);
        self.shipped = shipped::said_of(&self.log, &table)?;
        if self.shipped.hashes() != table.hashes() {
            // What somebody wrote beside the log is in no run; the next one would change pages that no other copy has.
            tracing::warn!(database = %self.path.display(), "somebody else wrote it while the log was applied to it: the difference becomes a run");
            self.status.resyncs += 1;
            self.ship_difference(commit, false)?;
        }
        self.shipped.place = commit.place;
        self.save()
    }
}
