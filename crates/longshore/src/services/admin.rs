//! Operating a node: its status, its slots, its limits.

use std::sync::Arc;
use std::time::Duration;

use longshore_format::Name;
use longshore_storage::Directory;
use longshore_transport::grants::Role;
use longshore_transport::{
    AdminService, Caller, Error, Forget, Forgettable, Forgotten, Limits, LimitsChange, Status, async_trait,
};
use longshore_wal::tails::{self, Written};
use longshore_wal::{Consumer, ReadLog};

use super::NodeServices;
use crate::error::Error as LibraryError;
use crate::log::Log;
use crate::promotion::COUNTED;
use crate::server::blocking;
use crate::settings::ByteSize;

#[async_trait]
impl AdminService for NodeServices {
    async fn status(&self, caller: &Caller, log: Option<&Name>) -> Result<Status, Error> {
        let shown = |name: &Name| {
            log.is_none_or(|log| log == name) && (caller.may(Role::Admin, name) || caller.may(Role::Read, name))
        };
        if let Some(log) = log {
            self.node.require(log)?;
        }
        let node = self.node.clone();
        // Lag may have to be read from the log itself.
        let mut status = blocking("look at the status", move || Ok(node.status())).await?;
        status.logs.retain(|log| shown(&log.name));
        Ok(status)
    }

    async fn forget(&self, _caller: &Caller, request: Forget) -> Result<Forgotten, Error> {
        let log = self.log(&request.log)?;
        let replica = match request.what {
            Forgettable::Replica(replica) => replica.as_name().clone(),
            Forgettable::Tail(place) => {
                let forgotten = blocking("forget a tail", move || forget_tail(&log, &place, request.plan));
                return Ok(forgotten.await?);
            }
        };
        let forgotten = blocking("forget a replica", move || {
            let Some(mut forgotten) = log.forget_plan(&replica)? else {
                return Err(LibraryError::NoReplica { log: log.name.clone(), replica });
            };
            if !request.plan {
                if log.standing.is_connected(&replica.clone().into()) {
                    return Err(LibraryError::Connected { log: log.name.clone(), replica });
                }
                forgotten.forgotten = log.wal.forget(&replica)?;
                log.standing.forget(&replica.into());
            }
            Ok(forgotten)
        });
        Ok(forgotten.await?)
    }

    async fn limits(&self, _caller: &Caller, log: &Name, change: LimitsChange) -> Result<Limits, Error> {
        let log = self.log(log)?;
        Ok(log.change_limits(change))
    }
}

/// Removes a tail, or says what that would free.
fn forget_tail(log: &Log, place: &str, plan: bool) -> Result<Forgotten, LibraryError> {
    let directory = log.wal.directory();
    // What is damaged, or half forgotten, may be forgotten, too.
    let written = written(directory, place, COUNTED).ok().flatten();
    let written = written.map(|written| (written.transactions, written.records));
    let tail = if plan { tails::find(directory, place)? } else { tails::forget(directory, place)? };
    Ok(Forgotten { oldest_before: tail.from, oldest_after: tail.to, frees: tail.disk, written, forgotten: !plan })
}

/// What users wrote in a tail; `None` if that is more than `at_most` bytes to read, as somebody waits for the answer.
fn written(log: &Arc<dyn Directory>, place: &str, at_most: u64) -> longshore_wal::Result<Option<Written>> {
    let tail = tails::find(log, place)?;
    if at_most < tail.bytes() {
        return Ok(None);
    }
    let branch = ReadLog::open(tail.branch(log)?)?;
    Written::after(&branch, tail.from).map(Some)
}

impl Log {
    /// What forgetting a replica would free; none when it has no slot.
    fn forget_plan(&self, replica: &Name) -> Result<Option<Forgotten>, LibraryError> {
        if !self.wal.slots().iter().any(|slot| slot.name == *replica) {
            return Ok(None);
        }
        let (before, after) = self.wal.kept_without(&Consumer::Slot(replica.clone()))?;
        // Space comes back in whole segments.
        let size = self.wal.segment_size();
        let frees = size.base_of(after).since(size.base_of(before));
        Ok(Some(Forgotten { oldest_before: before, oldest_after: after, frees, written: None, forgotten: false }))
    }

    /// Changes what is kept, as far as asked; zero stands for "no limit" and "never".
    fn change_limits(&self, change: LimitsChange) -> Limits {
        let mut retention = self.retention();
        if let Some(cap) = change.slot_cap {
            retention.slot_cap = (cap != 0).then_some(ByteSize(cap));
        }
        if let Some(idle) = change.slot_idle {
            retention.slot_idle = (!idle.is_zero()).then_some(idle);
        }
        if let Some(keep) = change.keep_bytes {
            retention.keep_size = Some(ByteSize(keep));
        }
        if let Some(keep) = change.keep_age {
            retention.keep_age = Some(keep);
        }
        let limits = Limits {
            slot_cap: retention.slot_cap.map(|cap| cap.0),
            slot_idle: retention.slot_idle,
            keep_bytes: match (retention.keep_size, retention.keep_age) {
                (Some(size), _) => size.0,
                (None, Some(_)) => 0,
                (None, None) => u64::MAX,
            },
            keep_age: retention.keep_age.unwrap_or(Duration::ZERO),
        };
        drop(retention);
        self.lower_cap();
        limits
    }
}

#[cfg(test)]
mod tests {
    use longshore_format::Content;

    use super::*;
    use crate::local_copy::{Unwritten, set_aside};
    use crate::node::Node;
    use crate::settings::Settings;

    #[test]
    fn a_tail_is_counted_only_as_far_as_somebody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::primary(dir.path(), &Settings::default()).unwrap();
        let primary = node.create_log("orders", Content::Bytes).unwrap();
        primary.append(&["before"]).unwrap();
        let fork = primary.end();
        primary.append(&["one", "two"]).unwrap();
        drop(primary);
        let name = "orders".parse().unwrap();
        set_aside(&node, &name, fork, Unwritten::Kept).unwrap();
        let log = node.require(&name).unwrap();
        let tail = tails::list(log.wal.directory()).unwrap().remove(0);
        let counted = |at_most| written(log.wal.directory(), &tail.place, at_most).unwrap();
        assert_eq!(counted(tail.bytes()).map(|written| (written.transactions, written.records)), Some((1, 2)));
        assert_eq!(counted(tail.bytes() - 1), None);
    }
}
