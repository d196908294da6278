//! Following one log of one upstream: from the first greeting to whatever ends it.

use std::sync::Arc;
use std::time::Duration;

use longshore_format::{ErrorKind, Lsn, Name};
use longshore_protocol::{NodeId, ReseedReason, Verdict};
use longshore_transport::LogSummary;
use longshore_wal::Consumer;

use crate::archived;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::follow::{self, FollowEnd, FollowReport};
use crate::lanes::{Lane, Lanes, belongs_elsewhere};
use crate::local_copy;
use crate::log::Log;
use crate::node::Node;
use crate::seeding;
use crate::upstream_state::Doing;

/// How following a log ended, for now or for good.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Try again at once: something was put right.
    Again,
    /// Try again after a pause.
    Later(Error),
    /// A person must decide. Trying again changes nothing, and nothing was changed.
    Refused(Error),
}

/// Follows a log until the connection or the upstream ends it.
pub(crate) async fn pursue(node: &Node, lanes: &Lanes, offered: &LogSummary, path: Vec<NodeId>) -> Outcome {
    match attempt(node, lanes, offered, path).await {
        Ok(outcome) => outcome,
        // Bytes that were damaged on the way are sent again (F-103).
        Err(error @ Error::Wal(longshore_wal::Error::BadFrame { .. })) => Outcome::Later(error),
        Err(error) if is_final(error.kind()) => Outcome::Refused(error),
        Err(error) => Outcome::Later(error),
    }
}

async fn attempt(node: &Node, lanes: &Lanes, offered: &LogSummary, path: Vec<NodeId>) -> Result<Outcome> {
    let log = local_copy::open_or_create(node, lanes.live(), offered).await?;
    // As soon as it is known: it decides how the next segments are prepared.
    log.wal.set_upstream_end(offered.durable);
    node.sinks().start(&log)?;
    let lane = Lane::of(Lane::Live, log.wal.end(), offered.durable, log.wal.segment_size().get());
    let client = lanes.client(lane).await?;
    let address = client.address().to_string();
    log.upstream.set(&address, Doing::Connecting, None);
    log.upstream.heard(offered.durable, log.now());
    log.upstream.came_by(path);
    // What is offered as held must survive a power cut here.
    log.wal.wait(log.wal.end()).await?;
    let channel = client.follow(&log.name, local_copy::hello(node, &log)).await?;
    let report = |report| note(&log, &address, report);
    let end = tokio::select! {
        end = follow::follow(&log, channel, node.settings().network.limits(), &report) => end?,
        () = belongs_elsewhere(&log, lane) => return Ok(Outcome::Again),
        error = seeding::serve(&log, lanes) => return Ok(Outcome::Later(error)),
        () = log.claim.taken() => return Ok(Outcome::Again),
    };
    Ok(match end {
        FollowEnd::Closed => Outcome::Later(gone(&log.name, "the upstream ended the stream")),
        FollowEnd::Refused(refusal) => {
            let error = Error::Refused { kind: refusal.kind, reason: refusal.text, at: refusal.at };
            if is_final(refusal.kind) { Outcome::Refused(error) } else { Outcome::Later(error) }
        }
        // What the upstream no longer keeps the archive may.
        FollowEnd::Verdict(Verdict::Reseed { reason: ReseedReason::TooOld, .. })
            if archived::bridge(node, &log).await =>
        {
            Outcome::Again
        }
        FollowEnd::Verdict(Verdict::Reseed { reason: ReseedReason::TooOld, .. })
            if seeding::can_be_seeded(log.wal.content()) =>
        {
            local_copy::reseed(node, &client, &log).await?;
            Outcome::Again
        }
        FollowEnd::Verdict(verdict) => decided(node, &log, &address, verdict).await?,
    })
}

/// What a verdict other than `continue` means for the local copy.
async fn decided(node: &Node, log: &Arc<Log>, address: &str, verdict: Verdict) -> Result<Outcome> {
    let name = &log.name;
    if let Verdict::Truncate { fork, crc } = verdict {
        local_copy::truncate(node, log, fork, crc).await?;
        return Ok(Outcome::Again);
    }
    let Some(kind) = verdict.kind() else {
        return Ok(Outcome::Later(gone(name, "the stream ended")));
    };
    let at = match verdict {
        Verdict::Reseed { first_available, .. } => Some(first_available),
        Verdict::Diverged { at, .. } => {
            log.events.raise(Event::Diverged { log: name.clone(), peer: address.to_owned(), position: at });
            Some(at)
        }
        _ => None,
    };
    let error = Error::Refused { kind, reason: format!("log {name} at {address}: {verdict}"), at };
    // An upstream that is behind may yet hear of the later epoch.
    Ok(if matches!(verdict, Verdict::Stale { .. }) { Outcome::Later(error) } else { Outcome::Refused(error) })
}

/// What following reports, into the status and to whoever waits.
fn note(log: &Log, address: &str, report: FollowReport) {
    match report {
        FollowReport::Welcomed { durable } => {
            log.upstream.heard(durable, log.now());
            log.wal.set_upstream_end(durable);
        }
        FollowReport::Following { from } => {
            log.upstream.set(address, Doing::Following, None);
            let (log_name, upstream) = (log.name.clone(), address.to_owned());
            log.events.raise(Event::Following { log: log_name, upstream, from });
        }
        FollowReport::Waiting => log.upstream.set(address, Doing::Waiting, None),
        FollowReport::Upstream { durable, retain } => {
            log.upstream.heard(durable, log.now());
            log.wal.set_upstream_end(durable);
            log.wal.hold(Consumer::Upstream, (retain != Lsn::ZERO).then_some(retain));
        }
        FollowReport::Proved { to } => log.upstream.proved(to, log.now()),
        FollowReport::Epoch(epoch) => tracing::info!(log = %log.name, %epoch, "the upstream writes a later epoch"),
    }
}

/// Whether trying again would change nothing until a person has done something here.
fn is_final(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Diverged
            | ErrorKind::TooOld
            | ErrorKind::Preflight
            | ErrorKind::Corrupt
            | ErrorKind::Invalid
            | ErrorKind::Poisoned
    )
}

fn gone(log: &Name, what: &str) -> Error {
    Error::Refused {
        kind: ErrorKind::Unavailable,
        reason: format!("{what} of log {log}; it is opened again"),
        at: None,
    }
}

/// A refused log is tried again so seldom, in case it was put right at the other end.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_secs(60);
