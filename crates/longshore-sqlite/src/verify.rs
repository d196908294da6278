//! A database in use, compared with its log: page by page, at a position that the log knows.
//!
//! Whoever writes and whoever captures or applies go on meanwhile: the database is only read, and only in read transactions
//! that end within a second. So it is gone through in pieces. Each begins a snapshot, finds out where in the log that is, lets
//! the table of expected hashes follow the log to there, and compares. What a run changes after it was compared is compared
//! again, so that at the end every page has been what the log says *at the position of the last piece*.

mod expected;
mod place;
mod snapshot;

pub(crate) use place::{At, Side};
pub(crate) use snapshot::{Database, Snapshot};

use std::path::Path;
use std::time::{Duration, Instant};

use longshore_format::{Content, Lsn};
use longshore_wal::ReadLog;

use self::expected::Expected;
use self::place::Located;
use crate::error::Error;

/// What a comparison of a database with its log came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PagesVerdict {
    /// The position that the database was compared at: that of a run's end.
    pub position: Lsn,
    /// How many pages the log says that it has there.
    pub pages: u32,
    /// Of those pages, as the log says that they are: equal at one position of one log, wherever it is computed.
    pub digest: u64,
    /// Whether it is a replica's database, which has its position beside it, or the captured one.
    pub is_replica: bool,
    /// How many pages are not what the log says, those that only one of the two has included.
    pub differing: u64,
    /// The first of them, counted from 1.
    pub first_differing: Vec<u32>,
}

impl PagesVerdict {
    /// Whether every page is what the log says.
    pub fn holds(&self) -> bool {
        self.differing == 0
    }
}

/// How far a comparison is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PagesProgress {
    /// Hashes are gathered from the log.
    Gathering {
        /// Up to here.
        position: Lsn,
        /// The log's end.
        end: Lsn,
    },
    /// So many pages are compared.
    Comparing {
        /// Compared and not changed since.
        done: u32,
        /// Of so many.
        pages: u32,
    },
}

/// Compares every page of the database at `database` with what `log` says at one position, while it is in use: a captured
/// one on a primary, or a replica's. It takes no lock that a writer or a checkpoint waits for longer than the half second of
/// a read transaction, and writes nothing. What a copy legitimately has of its own on page 1 (its change counter, and who
/// wrote last) does not count. `progress` is told some times a second; memory is nine bytes a page.
///
/// A difference is a verdict, no error.
///
/// # Errors
/// [`Error::AheadOfLog`] if the database was written and the log does not say so, nor does within ten seconds while an agent
/// owns it. [`Error::NoImageKept`] if the log does not reach back to a whole image. [`Error::BeyondLog`],
/// [`Error::OtherPosition`] and [`Error::OtherLog`] if a replica's database is not where its position file says. Else what SQLite or the log say.
pub fn check_pages(database: &Path, log: &ReadLog, progress: impl FnMut(PagesProgress)) -> Result<PagesVerdict, Error> {
    check_paced(database, log, &Pace::default(), progress)
}

/// How long a piece may take.
struct Pace {
    /// To wait until the log says where the snapshot is.
    wait: Duration,
    /// To compare.
    compare: Duration,
    /// Between two snapshots: a captured database's `-wal` begins anew only while nobody reads from it, which is tried ten
    /// times a second.
    pause: Duration,
    /// After how long without a piece it is given up.
    patience: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            wait: Duration::from_millis(500),
            compare: Duration::from_millis(400),
            pause: Duration::from_millis(150),
            patience: Duration::from_secs(10),
        }
    }
}

/// What a piece came to.
enum Piece {
    /// There are pages left.
    More,
    /// Every page is compared, and the difference, if there is one, is none of position.
    Done(PagesVerdict),
    /// The log does not say where the database is: not yet, or because nobody captures it. All of it may have been compared
    /// with what it most likely is.
    Doubtful(Option<PagesVerdict>),
}

fn check_paced(
    path: &Path,
    log: &ReadLog,
    pace: &Pace,
    mut progress: impl FnMut(PagesProgress),
) -> Result<PagesVerdict, Error> {
    if log.content() != Content::SqlitePages {
        return Err(Error::NotPages { content: log.content() });
    }
    let database = Database::open(path)?;
    let side = Side::of(database.path(), log)?;
    let mut expected = Expected::begin(log)?;
    let mut clear = Instant::now();
    loop {
        side.follow(&mut expected, &mut progress)?;
        let doubtful = match piece(&database, &side, &mut expected, pace)? {
            Piece::Done(verdict) => return Ok(verdict),
            Piece::More => {
                clear = Instant::now();
                let (done, pages) = expected.done();
                progress(PagesProgress::Comparing { done, pages });
                std::thread::sleep(pace.pause);
                continue;
            }
            Piece::Doubtful(verdict) => verdict,
        };
        let given_up = pace.patience < clear.elapsed();
        match doubtful {
            // An agent that is there and has nothing more to say has said everything.
            Some(verdict) if log.has_owner() && given_up => return Ok(verdict),
            doubtful if given_up || !log.has_owner() => {
                expected.table()?;
                let page = doubtful.and_then(|verdict| verdict.first_differing.first().copied());
                return Err(side.is_ahead(log.end(), page));
            }
            _ => expected.look_again(),
        }
        std::thread::sleep(pace.pause);
    }
}

/// One snapshot: finds out where it is, and compares as much as there is time for.
fn piece(database: &Database, side: &Side, expected: &mut Expected<'_>, pace: &Pace) -> Result<Piece, Error> {
    let (snapshot, standing) = side.snapshot(database)?;
    let located = standing.reach(expected, pace.wait)?;
    if located == Located::Nowhere {
        return Ok(Piece::Doubtful(None));
    }
    if !expected.look(&snapshot, pace.compare)? {
        return Ok(Piece::More);
    }
    let verdict = expected.verdict(side.is_replica())?;
    Ok(match located {
        Located::LikelyThere if !verdict.holds() => Piece::Doubtful(Some(verdict)),
        _ => Piece::Done(verdict),
    })
}

#[cfg(test)]
mod tests;
