//! The replica's loop: takes one log from one upstream over one stream.
//!
//! [`Follower`] decides everything; this moves messages between it, the log and the channel. Frames that find no room in
//! the log wait here, bounded by the credit that was granted, while heartbeats go on.

use std::collections::VecDeque;
use std::sync::Arc;

use longshore_format::{Epoch, Lsn};
use longshore_protocol::{
    Ack, Error as ProtocolError, Follower, FollowerTurn, Frames, Limits, NodeAck, Probed, Refusal, ToReplica,
    ToUpstream, Verdict,
};
use longshore_transport::Channel;
use longshore_wal::{Listening, Wal};

use crate::ask;
use crate::error::{Error, Result};
use crate::feed::LAST_WORDS;
use crate::follow_store::{Stored, store};
use crate::link::{self, Inlet, Outlet, moved};
use crate::log::Log;

/// A log that follows an upstream, as [`follow`] sees it.
pub trait Downstream: Send + Sync {
    /// The log.
    fn wal(&self) -> &Wal;
    /// How far this node is.
    fn ack(&self) -> Ack;
    /// How far the nodes are that follow this one.
    fn below(&self) -> Vec<NodeAck>;
    /// To be asked for before looking at [`ack`](Self::ack) and [`below`](Self::below): what was applied here, or held
    /// below, has moved.
    fn stirred(&self) -> Listening;
}

/// What following tells of the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FollowReport {
    /// It accepted the stream.
    Welcomed {
        /// The end of what is durable there.
        durable: Lsn,
    },
    /// Frames come from here on.
    Following {
        /// From where.
        from: Lsn,
    },
    /// It is behind this node.
    Waiting,
    /// A heartbeat.
    Upstream {
        /// The end of what is durable there.
        durable: Lsn,
        /// Keep at least from here.
        retain: Lsn,
    },
    /// What is held here is proved equal.
    Proved {
        /// Up to here.
        to: Lsn,
    },
    /// A higher epoch was accepted, and is kept from now on.
    Epoch(Epoch),
}

/// How following ended, other than by a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowEnd {
    /// The upstream ended the stream without a reason.
    Closed,
    /// The upstream ended it, and why.
    Refused(Refusal),
    /// What is to become of this node's log; never continue or wait.
    Verdict(Verdict),
}

/// Who takes the reports of a follower.
pub type Report<'a> = &'a (dyn Fn(FollowReport) + Sync);

type Out = Outlet<ToUpstream>;
type In = Inlet<ToUpstream, ToReplica>;

/// Follows an upstream to which the `Hello` about `log`, all of it durable, was already sent, until the stream ends.
///
/// Dropping it ends the stream and loses nothing.
pub async fn follow(
    log: &impl Downstream,
    channel: Channel<ToUpstream, ToReplica>,
    limits: Limits,
    report: Report<'_>,
) -> Result<FollowEnd> {
    let (out, mut inlet) = link::open(channel, limits.stall);
    let outcome = take(log, limits, &out, &mut inlet, report).await;
    match outcome {
        Err(Error::Protocol(ProtocolError::Refused(refusal))) => Ok(FollowEnd::Refused(refusal)),
        Err(error) => {
            let refusal = Refusal::new(error.kind(), error.to_string(), None);
            let told = tokio::time::timeout(LAST_WORDS, out.send(ToUpstream::Refused(refusal)));
            // The upstream may be what is gone: then nobody is left to be told.
            let _nobody_is_left = told.await;
            Err(error)
        }
        ended => ended,
    }
}

async fn take(
    log: &impl Downstream,
    limits: Limits,
    out: &Out,
    inlet: &mut In,
    report: Report<'_>,
) -> Result<FollowEnd> {
    let wal = log.wal();
    let mut follower = Follower::new(wal.end(), wal.accepted_epoch(), limits, out.now());
    let mut kept: VecDeque<Frames> = VecDeque::new();
    // The newest segment that is sealed already is reported, too: so a proof comes soon after each start.
    let mut reported = Lsn::new(wal.sealed().get().get().saturating_sub(wal.segment_size().get()));
    loop {
        // Whoever fenced this node meanwhile has been told where its log ends.
        follower.note_accepted(wal.accepted_epoch());
        if follower.is_streaming() {
            follower.still_follows()?;
        }
        let room = store_kept(wal, &mut follower, &mut kept).await?;
        // Who waits for this ack waits for every switch of threads.
        let synced_here = wal.sync_if_quick()?;
        // Listen first, then look: nothing that moves in between is missed.
        let (stirred, synced, sealed) = (log.stirred(), wal.synced().get(), wal.sealed().get());
        while let Some(message) = follower.say(log.ack(), &log.below(), out.now())? {
            out.send(message).await?;
        }
        if synced_here {
            // Once the ack is on its way.
            tokio::task::yield_now().await;
            wal.note_synced()?;
        }
        if follower.is_streaming() {
            reported = report_seals(wal, reported, sealed, out).await?;
        }
        let wake = out.moment(follower.deadline());
        tokio::select! {
            biased;
            message = inlet.next() => match message? {
                None => return Ok(FollowEnd::Closed),
                Some(message) => {
                    if let Some(end) = hear(wal, &mut follower, message, &mut kept, out, report).await? {
                        return Ok(end);
                    }
                }
            },
            more = wal.synced().wait(synced.just_after()) => moved(more)?,
            () = stirred => {}
            more = wal.sealed().wait(sealed.just_after()) => moved(more)?,
            free = wal.wait_room(room), if room != 0 => free?,
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

/// Stores frames in order while there is room; answers how much more room the next ones need.
async fn store_kept(wal: &Wal, follower: &mut Follower, kept: &mut VecDeque<Frames>) -> Result<u64> {
    while let Some(frames) = kept.front() {
        match store(wal, follower, frames).await? {
            Stored::To(position) => follower.on_stored(position, frames.bytes.len()),
            Stored::NoRoom => return Ok(frames.bytes.len() as u64),
        }
        kept.pop_front();
    }
    Ok(0)
}

/// Acts on one message; answers with the end if it is the last.
async fn hear(
    wal: &Wal,
    follower: &mut Follower,
    message: ToReplica,
    kept: &mut VecDeque<Frames>,
    out: &Out,
    report: Report<'_>,
) -> Result<Option<FollowEnd>> {
    let epoch = follower.epoch();
    let turn = follower.on(&message, out.now())?;
    if follower.epoch() != epoch {
        // Before anything is done on its word: a restart must not bring the old epoch's writer back (F-113).
        wal.accept_epoch(follower.epoch())?;
        report(FollowReport::Epoch(follower.epoch()));
    }
    match turn {
        FollowerTurn::Welcomed { durable } => report(FollowReport::Welcomed { durable }),
        FollowerTurn::Heard { durable, retain } => {
            if follower.is_streaming() {
                wal.show_up_to(durable);
            }
            report(FollowReport::Upstream { durable, retain });
        }
        FollowerTurn::Proved { to } => report(FollowReport::Proved { to }),
        FollowerTurn::Frames => {
            if let ToReplica::Frames(frames) = message {
                kept.push_back(frames);
            }
        }
        FollowerTurn::Answer(at) => {
            let crc = crc_at(wal, at)?;
            out.send(ToUpstream::Probed(Probed { at, crc })).await?;
        }
        FollowerTurn::Verdict(Verdict::Continue { at }) => {
            match follower.holds_back_from(at, wal.durable().get()) {
                Some(from) => wal.hold_back(from)?,
                // What is here is durable there, and what comes will be.
                None => wal.show_all(),
            }
            report(FollowReport::Following { from: at });
        }
        FollowerTurn::Verdict(Verdict::Wait { .. }) => report(FollowReport::Waiting),
        FollowerTurn::Verdict(Verdict::Truncate { fork, crc }) if crc_at(wal, fork)? != Some(crc) => {
            return Err(ProtocolError::Diverged { at: fork }.into());
        }
        FollowerTurn::Verdict(verdict) => return Ok(Some(FollowEnd::Verdict(verdict))),
    }
    Ok(None)
}

/// Reports the digest of every segment that was sealed since; answers up to where that is done.
async fn report_seals(wal: &Wal, reported: Lsn, sealed: Lsn, out: &Out) -> Result<Lsn> {
    let segments = wal.segments().into_iter().map(|segment| segment.base);
    for base in segments.filter(|base| reported <= *base && *base < sealed) {
        if let Some(digest) = wal.digest(base)? {
            out.send(ToUpstream::Sealed { base, digest }).await?;
        }
    }
    Ok(sealed.max(reported))
}

/// The checksum of the record that ends at `at`, if one does and it is still held.
fn crc_at(wal: &Wal, at: Lsn) -> Result<Option<u32>> {
    ask::crc_or_none(wal.crc_at(at))
}

impl Downstream for Arc<Log> {
    fn wal(&self) -> &Wal {
        &self.wal
    }

    fn ack(&self) -> Ack {
        Log::ack(self)
    }

    fn below(&self) -> Vec<NodeAck> {
        self.standing.relayed()
    }

    fn stirred(&self) -> Listening {
        self.standing.listen()
    }
}
