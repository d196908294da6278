//! Tails that forks set aside: as this node's status shows them, and as its sinks may have applied them.

use longshore_apply::Held;
use longshore_transport::TailStatus;
use longshore_wal::tails::{self, Tail};
use longshore_wal::{ReadLog, Wal};

use crate::ask;
use crate::error::Result;

/// The tails of an open log. What cannot be listed is told in the trace and stands in the way of nothing else.
pub(crate) fn statuses(wal: &Wal) -> Vec<TailStatus> {
    let tails = tails::list(wal.directory()).unwrap_or_else(|error| {
        tracing::warn!(%error, "the tails of a log cannot be listed");
        Vec::new()
    });
    tails.into_iter().map(status).collect()
}

/// The tail that holds what a sink has applied last: the sink is of that branch, and no beginning of the log. It must have kept
/// the checksum of that record, without which nothing tells the branches apart.
pub(crate) fn holding(wal: &Wal, held: Held) -> Result<Option<Tail>> {
    let Held { lsn, crc: Some(crc) } = held else { return Ok(None) };
    for tail in tails::list(wal.directory())? {
        if tail.from < lsn && lsn <= tail.to {
            let read = ReadLog::open(tail.directory(wal.directory())?)?;
            if ask::crc_or_none(read.crc_at(lsn))? == Some(crc) {
                return Ok(Some(tail));
            }
        }
    }
    Ok(None)
}

fn status(tail: Tail) -> TailStatus {
    let Tail { place, from, to, disk, epoch, time } = tail;
    TailStatus { place, from, to, disk, epoch, set_aside: time }
}
