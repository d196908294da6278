//! Where a database is, and whether it still is what the log left there.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use longshore_apply::Held;
use longshore_wal::Wal;

use super::compared::{self, Said};
use super::hash_in;
use crate::error::Error;
use crate::pages::WalPlace;
use crate::replica_wal::ReplicaDb;
use crate::sidecar::{Seen, Sidecar, Standing, Written};

/// What a position file says of the database beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It is there.
    At(Held),
    /// Somebody else has written it, or may have.
    Astray {
        /// Not since it was found to be so.
        is_as_left: bool,
        /// Where it would be otherwise, as far as that is known.
        held: Option<Held>,
    },
}

/// Where a database is, which `log` is applied to if it is given.
///
/// # Errors
/// [`Error::OtherPosition`] if it is nowhere, though nobody else ever wrote it.
pub(super) fn find(path: &Path, sidecar: &Sidecar, db: &ReplicaDb, log: Option<&Wal>) -> Result<Left, Error> {
    let standing = sidecar.standing();
    let held = match standing.page_size == db.page_size() {
        true => standing.held(|page| hash_in(db, page))?,
        false => None,
    };
    match standing.written {
        None => held.map(Left::At).ok_or_else(|| Error::OtherPosition { position: Sidecar::path_of(path) }),
        Some(written) => {
            let is_as_left = is_as_left(&written, standing, held, path, db)?;
            match held {
                Some(held) if is_as_left || written.only_log && is_what_the_log_says(standing, db, log, held)? => {
                    Ok(Left::At(held))
                }
                held => Ok(Left::Astray { is_as_left, held }),
            }
        }
    }
}

/// Whether a database that nobody was to write, and that is not as it was left, is what its log says. Where that does not say all of
/// it, who closed it last may have copied a `-wal` back and taken it away, after the agent was killed: nobody need have written it.
fn is_what_the_log_says(standing: &Standing, db: &ReplicaDb, log: Option<&Wal>, held: Held) -> Result<bool, Error> {
    // Who reads begins no -wal.
    if db.place().frame != 0 {
        return Ok(false);
    }
    let had_a_wal = standing.written.and_then(|written| written.seen).is_none_or(|seen| seen.place.frame != 0);
    let had_a_wal = had_a_wal || standing.applied != Some(standing.intent);
    Ok(match log.map_or(Ok(Said::Some), |log| compared::said_of(db, log, held))? {
        Said::All => true,
        Said::Some => had_a_wal,
        Said::Otherwise => false,
    })
}

/// Whether nobody has committed to it but the log: nothing, or what was on its way to where it is `held` now.
fn is_as_left(
    written: &Written,
    standing: &Standing,
    held: Option<Held>,
    path: &Path,
    db: &ReplicaDb,
) -> Result<bool, Error> {
    let Some(Seen { place, time }) = written.seen else { return Ok(false) };
    let now = db.place();
    // A -wal that was never written to has no salts, and neither has the next one: that proves nothing.
    let is_it = now.salts == place.salts && now.salts != [0, 0];
    let is_same = is_it && now.frame == place.frame && (now.frame == 0 || now.checksum == place.checksum);
    // Whoever closes a database last takes its -wal away, and where all of that was in the file it leaves the file as it is.
    let is_file_same = time.is_some() && time == Some(time_of(path)?);
    let is_same = is_same || now.frame == 0 && is_file_same;
    // Where no page differs, what is on its way does not say whether it has come.
    let has_come =
        standing.applied != Some(standing.intent) && (standing.witness.is_none() || held == Some(standing.intent));
    Ok(is_same || has_come && db.is_one_commit_beyond(place, is_file_same)?)
}

/// How a database is left whose `-wal` stands at `place`, and is in the file if it is settled.
pub(crate) fn seen(path: &Path, place: WalPlace, is_settled: bool) -> Result<Seen, Error> {
    Ok(Seen { place, time: if is_settled { Some(time_of(path)?) } else { None } })
}

/// When a file was last written.
fn time_of(path: &Path) -> Result<i64, Error> {
    let metadata = std::fs::metadata(path).map_err(Error::at(path))?;
    Ok(metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests;
