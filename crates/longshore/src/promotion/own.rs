//! This node's own copy, as a promotion hears of it: surveyed, fenced, attempted, cut.

use std::sync::Arc;

use longshore_format::{Epoch, Lsn, Name};
use longshore_protocol::Witness;
use longshore_transport::Surveyed;
use longshore_wal::{Error as WalError, Role};

use crate::error::Result;
use crate::link::moved;
use crate::local_copy::{self, Unwritten};
use crate::log::Log;
use crate::node::Node;
use crate::policy;
use crate::server::blocking;

/// So much log is read to count records in it: a second of a slow disk.
pub(crate) const COUNTED: u64 = 64 << 20;

/// What this node's copy is; with `since`, how many of the user's records lie behind that position, if they are soon counted.
pub(crate) async fn survey(node: &Node, log: &Arc<Log>, since: Option<Lsn>) -> Result<Surveyed> {
    let (node, log) = (node.clone(), Arc::clone(log));
    blocking("survey a log", move || {
        let witness = witness(&node, &log)?;
        let records_since = since.map_or(Ok(None), |since| count(&log, since))?;
        Ok(Surveyed { log: log.wal.id(), witness, records_since, left_open: false })
    })
    .await
}

/// Accepts somebody's epoch and then says what this node's copy is: all of it durable, and nothing of an earlier epoch's writer
/// comes to it from here on. One that was accepted before changes nothing.
pub(crate) async fn fence(node: &Node, log: &Arc<Log>, epoch: Epoch) -> Result<Surveyed> {
    if log.wal.accepted_epoch() != epoch {
        let (node, log) = (node.clone(), Arc::clone(log));
        blocking("accept an epoch", move || node.accept_epoch(&log, epoch)).await?;
    }
    moved(log.wal.synced().wait(log.wal.end()).await)?;
    let left_open = node.memory().is_left_open(&log.name, log.wal.history().current().epoch);
    Ok(Surveyed { log: log.wal.id(), witness: witness(node, log)?, records_since: None, left_open })
}

/// What this node says of its copy.
pub(super) fn witness(node: &Node, log: &Log) -> Result<Witness> {
    let wal = &log.wal;
    // The end first: lives and policies are known before their records are durable, never after.
    let end = wal.synced().get();
    Ok(Witness {
        node: node.id().clone(),
        history: wal.history(),
        first: wal.first(),
        end,
        accepted: wal.accepted_epoch(),
        writes: wal.role() == Role::Writer,
        lost: wal.lost(),
        policies: policy::in_force(wal)?,
        time: log.last_time().unwrap_or(0),
        gave_way: node.memory().gave_way(&log.name, wal.accepted_epoch(), wal.history().current().epoch),
        given_up: node.memory().given_up(&log.name, wal.history().current().epoch),
    })
}

fn count(log: &Log, since: Lsn) -> Result<Option<u64>> {
    let end = log.wal.synced().get();
    if end <= since {
        return Ok(Some(0));
    }
    if COUNTED < end.since(since) {
        return Ok(None);
    }
    let mut reader = match log.wal.offered_reader(since) {
        Err(WalError::NotABoundary { .. } | WalError::TooOld { .. } | WalError::Beyond { .. }) => return Ok(None),
        reader => reader?,
    };
    let mut records = 0;
    while let Some(record) = reader.next()? {
        records += u64::from(record.kind.is_user());
    }
    Ok(Some(records))
}

/// What this copy holds behind a boundary of it.
pub(super) struct Behind {
    /// The user's records, if they are soon counted.
    pub(super) records: Option<u64>,
    /// When the last record before the boundary was written, microseconds UTC; zero if there is none.
    pub(super) time: u64,
}

/// What this copy holds behind `to`.
///
/// # Errors
/// Where no record ends there, or the log no longer reaches back: the nearest position is named.
pub(super) async fn behind(log: &Arc<Log>, to: Lsn) -> Result<Behind> {
    let log = Arc::clone(log);
    blocking("count records", move || {
        let time = log.wal.offered_reader(to)?.chain().time;
        Ok(Behind { records: count(&log, to)?, time })
    })
    .await
}

/// Sets what lies behind `to` aside, because the epoch is to begin there.
pub(super) fn cut(node: &Node, name: &Name, to: Lsn) -> Result<()> {
    let log = node.require(name)?;
    if log.wal.end() == to {
        return Ok(());
    }
    log.wal.crc_at(to)?;
    drop(log);
    local_copy::set_aside(node, name, to, Unwritten::Kept)
}
