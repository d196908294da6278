//! Following one log of one upstream: from the first greeting to whatever ends it.

use std::sync::Arc;
use std::time::Duration;

use longshore_format::{ErrorKind, Lsn, Name};
use longshore_protocol::{NodeId, ReseedReason, Verdict};
use longshore_transport::{Client, LogSummary};
use longshore_wal::Consumer;

use crate::applying::Applying;
use crate::archived;
use crate::ask;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::follow::{self, FollowEnd, FollowReport};
use crate::lanes::{Lane, Lanes, belongs_elsewhere};
use crate::link::moved;
use crate::local_copy;
use crate::log::Log;
use crate::node::Node;
use crate::seeding;
use crate::settings::RejoinHow;
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
    moved(log.wal.synced().wait(log.wal.end()).await)?;
    Applying::known(&log).await;
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
        FollowEnd::Verdict(Verdict::Reseed { reason: ReseedReason::AppliedPastFork, .. }) => {
            past_fork(node, &client, &log).await?
        }
        FollowEnd::Verdict(verdict) => decided(node, &log, &address, verdict).await?,
    })
}

/// What a verdict other than `continue` means for the local copy.
async fn decided(node: &Node, log: &Arc<Log>, address: &str, verdict: Verdict) -> Result<Outcome> {
    let name = &log.name;
    if let Verdict::Truncate { fork, crc } = verdict {
        return leave(node, log, address, fork, crc).await;
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

/// Sets aside what lies behind a fork that the histories prove, unless an operator is to decide that.
async fn leave(node: &Node, log: &Arc<Log>, address: &str, fork: Lsn, crc: u32) -> Result<Outcome> {
    local_copy::must_agree(log, fork, crc)?;
    if node.settings().replica.rejoin == RejoinHow::Manual {
        return Ok(Outcome::Refused(local_copy::left_alone(node, log, address, fork)));
    }
    local_copy::truncate(node, log, fork).await?;
    Ok(Outcome::Again)
}

/// A sink holds records from behind a fork. The log's are set aside; the sink finds that out when it is opened again, and is
/// given a snapshot, which the upstream must have: without one, or with another kind of sink, nothing is changed.
async fn past_fork(node: &Node, client: &Client, log: &Arc<Log>) -> Result<Outcome> {
    let address = client.address().to_string();
    if !seeding::can_be_seeded(log.wal.content()) {
        return Ok(Outcome::Refused(local_copy::applied_past_fork(node, log, &address)));
    }
    let mut hello = local_copy::hello(node, log);
    hello.holding.applied = None;
    let limits = node.settings().network.limits();
    let of_log = ask::verdict(client, &log.name, hello, limits, |at| ask::crc_or_none(log.wal.crc_at(at))).await?;
    if matches!(of_log, Verdict::Truncate { .. }) && node.settings().replica.rejoin == RejoinHow::Auto {
        // It is made now, and sent when the sink asks for it.
        seeding::have_made(client, &log.name).await?;
    }
    decided(node, log, &address, of_log).await
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
