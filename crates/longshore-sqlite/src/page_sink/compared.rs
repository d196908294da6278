//! A database held against what its log says of it.

use std::collections::HashMap;

use longshore_apply::Held;
use longshore_wal::Wal;

use super::hash_in;
use crate::error::Error;
use crate::pages::PageRuns;
use crate::replica_wal::ReplicaDb;

/// What a log says of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// All of it is what the log left.
    All,
    /// What the log reaches back to is, which may be nothing.
    Some,
    /// A page is not.
    Otherwise,
}

/// What `log` says of a database that is to be at `held`.
pub(super) fn said_of(db: &ReplicaDb, log: &Wal, held: Held) -> Result<Said, Error> {
    if !leads_to(log, held)? {
        return Ok(Said::Some);
    }
    let (mut said, mut pages) = (HashMap::new(), db.pages());
    let mut runs = PageRuns::from(log.reader(log.first()).map_err(Error::Log)?);
    while let Some(run) = runs.next()?.filter(|run| run.end <= held.lsn) {
        said.extend(run.changes);
        pages = run.commit.pages;
    }
    if pages != db.pages() {
        return Ok(Said::Otherwise);
    }
    let mut all = Said::All;
    for page in (1..=pages).filter(|page| *page != db.page_size().lock_page()) {
        match said.get(&page) {
            None => all = Said::Some,
            Some(hash) if *hash == hash_in(db, page)? => {}
            Some(_) => return Ok(Said::Otherwise),
        }
    }
    Ok(all)
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
