//! Tails that forks set aside, as this node's status shows them.

use longshore_transport::TailStatus;
use longshore_wal::Wal;
use longshore_wal::tails::{self, Tail};

/// The tails of an open log. What cannot be listed is told in the trace and stands in the way of nothing else.
pub(crate) fn statuses(wal: &Wal) -> Vec<TailStatus> {
    let tails = tails::list(wal.directory()).unwrap_or_else(|error| {
        tracing::warn!(%error, "the tails of a log cannot be listed");
        Vec::new()
    });
    tails.into_iter().map(status).collect()
}

fn status(tail: Tail) -> TailStatus {
    let Tail { place, from, to, disk, epoch, time } = tail;
    TailStatus { place, from, to, disk, epoch, set_aside: time }
}
