//! A database held against what its log says of it.

use std::collections::HashMap;

use longshore_apply::Held;
use longshore_wal::Wal;

use super::hash_in;
use crate::error::Error;
use crate::pages::PageRuns;
use crate::replica_wal::ReplicaDb;

/// A page that is not what `log` says of it at `held`, as far as that reaches back. `None` also where the log does not lead there:
/// then it says nothing.
pub(super) fn differing(db: &ReplicaDb, log: &Wal, held: Held) -> Result<Option<u32>, Error> {
    if !leads_to(log, held)? {
        return Ok(None);
    }
    let (mut said, mut pages) = (HashMap::new(), db.pages());
    let mut runs = PageRuns::from(log.reader(log.first()).map_err(Error::Log)?);
    while let Some(run) = runs.next()?.filter(|run| run.end <= held.lsn) {
        said.extend(run.changes);
        pages = run.commit.pages;
    }
    if pages != db.pages() {
        return Ok(Some(pages.min(db.pages()) + 1));
    }
    for (page, hash) in said.into_iter().filter(|(page, _)| *page <= pages && *page != db.page_size().lock_page()) {
        if hash_in(db, page)? != hash {
            return Ok(Some(page));
        }
    }
    Ok(None)
}

/// Whether `held` is a position of this history of the log.
fn leads_to(log: &Wal, held: Held) -> Result<bool, Error> {
    if held.lsn < log.first() || log.durable().get() < held.lsn {
        return Ok(false);
    }
    match log.crc_at(held.lsn) {
        Ok(crc) => Ok(Some(crc) == held.crc),
        Err(longshore_wal::Error::NotABoundary { .. }) => Ok(false),
        Err(error) => Err(Error::Log(error)),
    }
}
