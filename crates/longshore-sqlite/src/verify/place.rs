//! Where in its log a database is.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_format::Lsn;
use longshore_wal::ReadLog;

use super::PagesProgress;
use super::expected::{BeforeWal, Expected};
use super::snapshot::{Database, Snapshot};
use crate::error::Error;
use crate::pages::WalPlace;
use crate::sidecar::{Sidecar, Standing};

/// Which end of the log a database is at.
pub(crate) enum Side {
    /// It is captured.
    Primary,
    /// The log is applied to it; the path is its own.
    Replica(PathBuf),
}

/// What says where a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// The place in the `-wal` is the one in some run.
    Place(WalPlace),
    /// The end of a run.
    Run(Lsn),
}

/// Whether the log says where a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Located {
    /// The table is there.
    There,
    /// The `-wal` has no frame, and the log does not say yet where the next one begins: the database is what the last run
    /// left, unless somebody wrote while nobody captured.
    LikelyThere,
    /// It does not, or not yet.
    Nowhere,
}

impl Side {
    /// A replica has its position beside it.
    pub(super) fn of(path: &Path, log: &ReadLog) -> Result<Side, Error> {
        match Sidecar::look(path)? {
            None => Ok(Side::Primary),
            // An application writes it, and it is captured.
            Some(standing) if standing.log == log.id() && standing.base().is_some() => Ok(Side::Primary),
            Some(Standing { log: held, .. }) if held == log.id() => Ok(Side::Replica(path.to_owned())),
            Some(Standing { log: held, intent, .. }) => Err(Error::OtherLog { held, lsn: intent.lsn, asked: log.id() }),
        }
    }

    pub(super) fn is_replica(&self) -> bool {
        matches!(self, Side::Replica(_))
    }

    /// What is wrong with a database that is further than the log, which ends at `end`; `page` differs from that.
    pub(super) fn is_ahead(&self, end: Lsn, page: Option<u32>) -> Error {
        match self {
            Side::Primary => Error::AheadOfLog { end, page },
            Side::Replica(path) => match standing(path) {
                Ok(Standing { intent, .. }) => Error::BeyondLog { held: intent.lsn, end },
                Err(error) => error,
            },
        }
    }

    /// Lets the table follow the log as far as the next snapshot is certain to be, so that it need not wait for long.
    pub(super) fn follow(
        &self,
        expected: &mut Expected<'_>,
        progress: &mut dyn FnMut(PagesProgress),
    ) -> Result<(), Error> {
        let end = expected.refresh()?;
        let lsn = match self {
            // Whatever the log says was committed before.
            Side::Primary => end,
            Side::Replica(path) => {
                let standing = standing(path)?;
                // Nothing was applied before the run that made it.
                standing.applied.unwrap_or(standing.intent).lsn
            }
        };
        expected.follow_to(lsn, progress)
    }

    /// The database as it is now, and what says where that is.
    pub(crate) fn snapshot<'a>(&self, database: &'a Database) -> Result<(Snapshot<'a>, At), Error> {
        let Side::Replica(path) = self else {
            let snapshot = database.snapshot()?;
            let place = snapshot.place();
            return Ok((snapshot, At::Place(place)));
        };
        for _ in 0..TRIES {
            let before = standing(path)?;
            let snapshot = database.snapshot()?;
            // Between two positions that are told nothing else was committed than the one that the witness tells of.
            if standing(path)? != before {
                continue;
            }
            let held = match before.page_size == snapshot.page_size() {
                true => before.held(|page| snapshot.hash(page))?,
                false => None,
            };
            let held = held.ok_or_else(|| Error::OtherPosition { position: Sidecar::path_of(path) })?;
            return Ok((snapshot, At::Run(held.lsn)));
        }
        Err(Error::Unstable)
    }
}

impl At {
    /// Lets the table follow the log to here, and waits for a log that is not that far yet.
    pub(super) fn reach(self, expected: &mut Expected<'_>, within: Duration) -> Result<Located, Error> {
        let until = Instant::now() + within;
        loop {
            let end = expected.refresh()?;
            let located = self.follow(expected, end)?;
            let says_all = expected.table().is_ok();
            if says_all && located != Located::Nowhere {
                return Ok(located);
            }
            if until <= Instant::now() || !expected.goes_on() {
                return Ok(Located::Nowhere);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn follow(self, expected: &mut Expected<'_>, end: Lsn) -> Result<Located, Error> {
        let is_there = match self {
            At::Run(lsn) => {
                expected.follow_to(lsn, &mut |_| {})?;
                lsn <= end
            }
            At::Place(place) if place.frame == 0 => match expected.follow_to_before(place.salts)? {
                BeforeWal::Certain => true,
                BeforeWal::AtTheEnd => return Ok(Located::LikelyThere),
            },
            At::Place(place) => expected.follow_to_frame(place)?,
        };
        Ok(if is_there { Located::There } else { Located::Nowhere })
    }
}

fn standing(database: &Path) -> Result<Standing, Error> {
    Sidecar::look(database)?.ok_or_else(|| Error::NoPosition { position: Sidecar::path_of(database) })
}

/// A position is written once for each group of runs, which takes far longer than reading it twice.
const TRIES: u32 = 1000;
/// How often it is looked whether the log is there.
const LOOK_AGAIN: Duration = Duration::from_millis(3);
