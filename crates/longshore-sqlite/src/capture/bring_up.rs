//! A database that a log was applied to becomes the one that it comes from.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use longshore_apply::{Applier, Held, Step, Target};
use longshore_format::Lsn;
use longshore_wal::Wal;

use super::becomes::Becomes;
use super::remake::remake;
use super::{Capture, CaptureSettings, shipped};
use crate::error::Error;
use crate::log_database::LogDatabase;
use crate::page_sink::PageSink;
use crate::pages::{Commit, PageTable, page_hash};
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
    let becomes = match standing.base() {
        Some(base) => Becomes::of_captured(log, base)?,
        None => {
            // What was shipped when this node wrote the log before may be of a branch that ended.
            shipped::forget(&settings.hashes)?;
            let left = PageSink::left(&resolved, &sidecar, database.fence(&resolved)?, log)?;
            Becomes::of_applied(log, &standing, left)?
        }
    };
    match becomes {
        Becomes::Captured => Ok(None),
        Becomes::CapturedFrom(origin) => {
            sidecar.write(Standing::captured(log.id(), standing.page_size, origin))?;
            Ok(None)
        }
        Becomes::All => give_the_rest(log, database).map(Some),
        Becomes::AllFrom(origin) => {
            sidecar.write(Standing::at(log.id(), standing.page_size, origin))?;
            give_the_rest(log, database).map(Some)
        }
        Becomes::Anew => made_anew(database, log, settings).map(Some),
        Becomes::Astray => Err(Error::Astray { path: path.to_owned() }),
    }
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

impl Capture {
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
