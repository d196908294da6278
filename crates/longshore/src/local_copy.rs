//! A replica's own copy of a log: opened, or made new, and never made in place of a lost one.

use std::sync::Arc;

use longshore_format::{ErrorKind, Lsn, Name, SegmentHeader};
use longshore_protocol::{Hello, Holding, Offer};
use longshore_storage::Directory;
use longshore_transport::{Client, LogSummary};
use longshore_wal::{FollowerSpec, SetAside, Wal};

use crate::error::{Error, Result};
use crate::event::Event;
use crate::log::Log;
use crate::node::Node;
use crate::seeding;
use crate::server::blocking;

/// The copy of a log that the upstream offers.
///
/// It is made only when the upstream keeps no slot for this node: with a slot there was a copy once,
/// and a volume that is not mounted must not look like a new replica (F-049).
pub(crate) async fn open_or_create(node: &Node, client: &Client, offered: &LogSummary) -> Result<Arc<Log>> {
    let name = offered.name.clone();
    let (here, present) = {
        let (node, name) = (node.clone(), name.clone());
        blocking("look for the log", move || Ok((node.get(&name), node.present()?.contains(&name)))).await?
    };
    let node = node.clone();
    if let Some(log) = here {
        return blocking("follow what was written here", move || node.follow_on(log)).await;
    }
    if present {
        return blocking("open a log", move || node.open(name.as_str())).await;
    }
    if offered.has_slot && !node.settings().replica.reseed {
        let (dir, upstream) = (node.data_dir().to_owned(), client.address().to_string());
        return Err(Error::VolumeMissing { log: name, dir, upstream });
    }
    let spec = beginning(client, &name).await?;
    blocking("create a log", move || node.create_follower(&name, &spec)).await
}

/// Where a new copy of a log begins: with the oldest segment that the upstream holds.
async fn beginning(client: &Client, name: &Name) -> Result<FollowerSpec> {
    let description = client.describe(name).await?;
    let header = SegmentHeader::decode(&description.header).map_err(|fault| Error::Refused {
        kind: ErrorKind::Corrupt,
        reason: format!(
            "the upstream described log {name} by a header that does not hold: {fault}; check it with verify"
        ),
        at: None,
    })?;
    Ok(FollowerSpec { header, before: description.before, policies: description.policies })
}

/// Begins the copy anew where the upstream's log begins by now. Its sinks are given a snapshot, which the upstream must have:
/// without one the copy that is here stays.
pub(crate) async fn reseed(node: &Node, client: &Client, log: &Arc<Log>) -> Result<()> {
    if !log.applying.sinks().is_empty() {
        // It is made now, and sent when the sinks ask for it.
        seeding::have_made(client, &log.name).await?;
    }
    let spec = beginning(client, &log.name).await?;
    let (node, name, end) = (node.clone(), log.name.clone(), log.wal.end());
    blocking("begin a log anew", move || {
        node.close_log(&name)?;
        node.discard_log(&name)?;
        let log = node.create_follower(&name, &spec)?;
        node.events().raise(Event::Reseeded { log: name, from: end, to: log.wal.first() });
        Ok(())
    })
    .await
}

/// What this node says of itself and its copy when it begins to follow.
pub(crate) fn hello(node: &Node, log: &Log) -> Hello {
    let wal = &log.wal;
    let applying = !log.applying.sinks().is_empty();
    Hello {
        node: node.id().clone(),
        offer: Offer::ours(),
        holding: Holding {
            log: wal.id(),
            content: wal.content(),
            segment_size: wal.segment_size(),
            history: wal.history(),
            accepted: wal.accepted_epoch(),
            first: wal.first(),
            end: wal.end(),
            last_crc: wal.last_crc(),
            lost: wal.lost(),
            applied: applying.then(|| log.applying.applied(wal.end())),
        },
    }
}

/// Refuses a fork before which the copy here is not the upstream's, whatever the histories say.
pub(crate) fn must_agree(log: &Log, fork: Lsn, crc: u32) -> Result<()> {
    if log.wal.crc_at(fork)? == crc {
        return Ok(());
    }
    Err(Error::Refused {
        kind: ErrorKind::Diverged,
        reason: format!(
            "log {} differs from its upstream's before the fork at {fork} that their histories name; \
             nothing was changed, compare the two with verify --against",
            log.name
        ),
        at: Some(fork),
    })
}

/// That an operator is to decide about what lies beyond a proven fork, and how that is done.
pub(crate) fn left_alone(node: &Node, log: &Log, upstream: &str, fork: Lsn) -> Error {
    let (name, end) = (&log.name, log.wal.end());
    let reason = format!(
        "log {name} left the history of {upstream} at {fork}: the {} bytes from there to {end} are no part of it, and with \
         rejoin = manual nothing was changed; stop the agent and see what would be set aside with \
         `longshore rejoin --data-dir {} --log {name} --upstream {upstream} --plan`, then run it without --plan",
        end.since(fork),
        node.data_dir().display(),
    );
    Error::Refused { kind: ErrorKind::Diverged, reason, at: Some(fork) }
}

/// That a sink holds what lies beyond a proven fork, and can neither be taken back nor given a snapshot.
pub(crate) fn applied_past_fork(node: &Node, log: &Log, upstream: &str) -> Error {
    let (name, sinks) = (&log.name, log.applying.sinks());
    let sinks: Vec<_> = sinks.iter().map(|sink| sink.label.as_str()).collect();
    let reason = format!(
        "log {name} left the history of {upstream}, and {} has applied more of it and cannot be taken back; nothing was changed: \
         stop the agent, run `longshore rejoin --data-dir {} --log {name} --upstream {upstream}`, move away what the sink has \
         made and start it again",
        sinks.join(" and "),
        node.data_dir().display(),
    );
    Error::Refused { kind: ErrorKind::Diverged, reason, at: None }
}

/// Sets what lies beyond a proven fork aside as a log of its own, and opens the rest (F-095).
pub(crate) async fn truncate(node: &Node, log: &Arc<Log>, fork: Lsn) -> Result<()> {
    // A sink may be where nobody wrote anything; only the tail then says on which branch.
    let unwritten = if log.applying.sinks().is_empty() { Unwritten::Forgotten } else { Unwritten::Kept };
    let (node, name) = (node.clone(), log.name.clone());
    blocking("set a tail aside", move || set_aside(&node, &name, fork, unwritten)).await
}

/// What becomes of a tail in which nobody wrote anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// It is kept as any other.
    Kept,
    /// It is removed.
    Forgotten,
}

/// Closes a log, sets what lies behind `at` aside, and opens the rest in the role that this node has. Where nothing could be set
/// aside, the log is open again, too.
pub(crate) fn set_aside(node: &Node, name: &Name, at: Lsn, unwritten: Unwritten) -> Result<()> {
    node.close_log(name)?;
    let directory = node.directory_of(name)?;
    let aside = longshore_wal::set_aside(&directory, node.environment(), at);
    let event = aside.map(|SetAside { place, from, to }| match unwritten {
        Unwritten::Forgotten if holds_nothing(&directory, &place) => {
            Event::NothingAside { log: name.clone(), from, to }
        }
        _ => Event::SetAside { log: name.clone(), from, to, place },
    });
    let opened = node.open_by(name.as_str(), Wal::open_in_role);
    node.events().raise(event?);
    opened.map(drop)
}

/// Whether nobody wrote anything in a tail, and it is gone.
fn holds_nothing(log: &Arc<dyn Directory>, place: &str) -> bool {
    longshore_wal::tails::forget_unless_written(log, place).unwrap_or_else(|error| {
        tracing::warn!(place, %error, "a tail is kept, as it cannot be read through");
        false
    })
}

#[cfg(test)]
mod tests {
    use longshore_format::Content;

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn a_log_of_which_nothing_can_be_set_aside_is_open_again() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::primary(dir.path(), &Settings::default()).unwrap();
        node.create_log("orders", Content::Bytes).unwrap();
        let (name, beyond) = ("orders".parse().unwrap(), Lsn::new(1 << 40));
        let error = set_aside(&node, &name, beyond, Unwritten::Kept).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(node.get(&name).is_some(), "and whoever tries again finds it");
    }
}
