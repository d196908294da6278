//! What becomes of a database that a log was applied to, once this node writes the log.

use longshore_apply::Held;
use longshore_format::Lsn;
use longshore_wal::Wal;

use crate::error::Error;
use crate::page_sink::Left;
use crate::pages::PageRuns;
use crate::sidecar::Standing;

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    /// It is captured as it is, as before.
    Captured,
    /// It is captured as if it had been since then: all that the log has beyond is of the application, as is what was written since.
    CapturedFrom(Held),
    /// It is given what the log has beyond it.
    All,
    /// The same from there on. Nobody is left to seed it from: it is the database now, and what somebody wrote becomes a run once
    /// it is compared.
    AllFrom(Held),
    /// What the log holds takes its place, and a copy is kept.
    Anew,
    /// It stays as it is, and nobody writes it: the log may be an old copy, and the database newer than all of it.
    Astray,
}

impl Becomes {
    /// Of one that was captured from `base` on when it was left.
    pub(super) fn of_captured(log: &Wal, base: Held) -> Result<Becomes, Error> {
        Ok(match is_its_own(log, base)? {
            true => Becomes::Captured,
            // Nobody else need have written it.
            false if log.end() < base.lsn => Becomes::Astray,
            false => Becomes::Anew,
        })
    }

    /// Of one that the log was applied to, as its position says, and that is found as it was `left`.
    pub(super) fn of_applied(log: &Wal, standing: &Standing, left: Left) -> Result<Becomes, Error> {
        let Left::Astray { held, .. } = left else { return Ok(Becomes::All) };
        let origin = held.or(standing.origin()).filter(|origin| origin.lsn != Lsn::ZERO);
        Ok(match origin {
            None => Becomes::Anew,
            Some(origin) if log.end() < origin.lsn => Becomes::Astray,
            Some(origin) if standing.written.is_some_and(|written| written.only_log) => {
                match lacks_some(log, origin.lsn)? {
                    true => Becomes::Anew,
                    false => Becomes::AllFrom(origin),
                }
            }
            Some(origin) if !is_its_own(log, origin)? || has_another_s(log, origin.lsn)? => Becomes::Anew,
            Some(origin) => Becomes::CapturedFrom(origin),
        })
    }
}

/// Whether the log changes pages beyond `origin`, or may have.
fn lacks_some(log: &Wal, origin: Lsn) -> Result<bool, Error> {
    if origin < log.first() {
        return Ok(true);
    }
    Ok(PageRuns::from(log.reader(origin).map_err(Error::Log)?).next()?.is_some())
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
