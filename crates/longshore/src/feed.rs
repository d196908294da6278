//! The upstream's loop: serves one log to one replica over one stream.
//!
//! [`Reception`] and [`Session`] decide everything; this moves messages between them, the log and the channel.
//! Everything but frames goes ahead of the frames that wait, and acks are taken also while frames find no room.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_format::{Epoch, Lsn};
use longshore_protocol::{
    Difference, Error as ProtocolError, Feature, Frames, Heard, Hello, Limits, Located, NodeAck, NodeId, Offer, Peer,
    Reception, Refusal, Registry, Reply, Session, SessionId, ToReplica, ToUpstream, Turn, Verdict,
};
use longshore_transport::UpstreamEnd;
use longshore_wal::{Chunk, Reader, Role, Wal};

use crate::error::{Error, Result};
use crate::feed_state::State;
use crate::link::{self, Inlet, Outlet, moved};
use crate::lock;
use crate::log::Log;

/// A log that is served to replicas, as [`feed`] sees it.
pub trait Upstream: Send + Sync {
    /// The log.
    fn wal(&self) -> &Wal;
    /// The newest stream of each replica of this log.
    fn registry(&self) -> &Mutex<Registry>;
    /// The oldest position that some replica of this log still needs.
    fn retain(&self) -> Lsn;
    /// Whether replicas that hold back are sent what is shown to nobody yet.
    fn ships_ahead(&self) -> bool;
}

/// What a feed tells of its replica.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedReport {
    /// Its hello was read, and its stream is the newest of this replica; an older one, if there is any, ends.
    Opened,
    /// It gets frames from here on: everything before is on its disk, and nothing else.
    Accepted {
        /// From where.
        from: Lsn,
    },
    /// It holds more of the same history than is durable here, and waits. For a writer that means that bytes which were
    /// acknowledged are gone here, or that an old copy of the log was restored.
    Ahead {
        /// Up to where it holds the log.
        holds: Lsn,
    },
    /// Frames were sent.
    Sent {
        /// Up to here.
        to: Lsn,
    },
    /// It lives.
    Heard,
    /// It or nodes below it hold more.
    Acks(Vec<NodeAck>),
    /// Its bytes are proved equal.
    Proved {
        /// Up to here.
        to: Lsn,
    },
    /// It has seen a higher epoch than this node has.
    Stale {
        /// That epoch.
        epoch: Epoch,
        /// Whether its own log is in that epoch; else it has only accepted it.
        begun: bool,
        /// Whether its certificate may promote, so that this node must step down.
        believed: bool,
    },
    /// Its bytes are not this node's.
    Diverged {
        /// From here on.
        at: Lsn,
    },
    /// Its stream has ended and no newer one was open. A stream that a newer one replaced does not say so.
    Left,
}

/// Who takes the reports of a feed. [`Opened`](FeedReport::Opened) and [`Left`](FeedReport::Left) of the streams of one replica come
/// in the order in which it happened: they are told with [`Upstream::registry`] locked, which is not to be locked again meanwhile.
pub type Report<'a> = &'a (dyn Fn(FeedReport) + Sync);

type Out = Outlet<ToReplica>;
type In = Inlet<ToReplica, ToUpstream>;

/// Serves `log`, of which `node` has a copy, to `peer` until the stream ends. The first message in `channel` is the
/// replica's `Hello`.
///
/// Ends with an error when a rule was broken, the log failed, or the verdict needs a person. Dropping it ends the stream
/// and loses nothing.
pub async fn feed(
    log: &impl Upstream,
    node: &NodeId,
    peer: Peer,
    channel: UpstreamEnd,
    limits: Limits,
    report: Report<'_>,
) -> Result<()> {
    let (out, mut inlet) = link::open(channel, limits.stall);
    let outcome = async {
        let Some(hello) = first(limits, &mut inlet).await? else { return Ok(()) };
        let stream = Stream::open(log, node, &peer, report);
        let offer = if log.ships_ahead() { Offer::ours() } else { Offer::ours().without(Feature::SHIP_AHEAD) };
        let reception = Reception::new(hello, peer.clone(), &offer, stream.id, limits, out.now())?;
        match receive(&stream, reception, &out, &mut inlet).await? {
            Some(session) => ship(&stream, session, limits, &out, &mut inlet).await,
            None => Ok(()),
        }
    }
    .await;
    let last_words = match &outcome {
        Err(Error::Protocol(error)) => error.to_refusal(),
        Err(Error::Wal(error)) => Refusal::new(error.kind(), error.to_string(), None),
        // A verdict has said it already, or nobody is left to be told.
        _ => return outcome,
    };
    let told = tokio::time::timeout(LAST_WORDS, out.send(ToReplica::Refused(last_words)));
    let _the_replica_may_be_gone = told.await;
    outcome
}

/// How long to try to tell a peer why its stream ends.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// The replica's first message.
async fn first(limits: Limits, inlet: &mut In) -> Result<Option<Hello>> {
    let silent = ProtocolError::Stalled { what: "say who it is", waited: limits.answer };
    match tokio::time::timeout(limits.answer, inlet.next()).await.map_err(|_| silent)?? {
        Some(ToUpstream::Hello(hello)) => Ok(Some(*hello)),
        Some(_) => Err(ProtocolError::OutOfTurn { what: "something before its hello" }.into()),
        None => Ok(None),
    }
}

/// An open stream; only while it is the newest of its replica may it send or believe anything.
struct Stream<'a, U: Upstream> {
    log: &'a U,
    node: &'a NodeId,
    peer: &'a Peer,
    id: SessionId,
    report: Report<'a>,
}

impl<'a, U: Upstream> Stream<'a, U> {
    fn open(log: &'a U, node: &'a NodeId, peer: &'a Peer, report: Report<'a>) -> Self {
        let mut registry = lock(log.registry());
        let id = registry.open(&peer.node);
        report(FeedReport::Opened);
        drop(registry);
        Self { log, node, peer, id, report }
    }

    fn is_newest(&self) -> Result<(), ProtocolError> {
        lock(self.log.registry()).check(&self.peer.node, self.id)
    }

    fn heartbeat(&self, sent: Lsn) -> ToReplica {
        let wal = self.log.wal();
        // Of a fenced node too: what it has is offered to whoever accepted the same epoch, and to nobody else.
        let (durable, epoch) = (wal.durable().get(), wal.accepted_epoch());
        ToReplica::Heartbeat { durable, epoch, retain: self.log.retain(), sent }
    }
}

impl<U: Upstream> Drop for Stream<'_, U> {
    fn drop(&mut self) {
        let mut registry = lock(self.log.registry());
        if registry.close(&self.peer.node, self.id) {
            (self.report)(FeedReport::Left);
        }
    }
}

/// From `Hello` to the verdict that lets frames flow; `None` when there will be none on this stream.
async fn receive<U: Upstream>(
    stream: &Stream<'_, U>,
    mut reception: Reception,
    out: &Out,
    inlet: &mut In,
) -> Result<Option<Session>> {
    let wal = stream.log.wal();
    let holds_back = reception.ships_ahead() && wal.role() == Role::Follower;
    // What an earlier stream was shipped ahead is durable here before this replica's log is judged, unless it never will be.
    let judged_from = if reception.ships_ahead() && !holds_back { wal.offered().get() } else { Lsn::ZERO };
    out.send(ToReplica::Welcome(reception.welcome(stream.node.clone(), &State::of(wal)))).await?;
    loop {
        stream.is_newest()?;
        let now = out.now();
        let wake = match reception.turn(now)? {
            Turn::Until(wake) => wake,
            Turn::Heartbeat => {
                out.send_urgent(stream.heartbeat(Lsn::ZERO)).await?;
                continue;
            }
        };
        // A copy that holds back is offered whole to one that does, too: it may be the longest there is.
        let (state, grows) =
            if holds_back { (State::offered(wal), wal.offered()) } else { (State::of(wal), wal.durable()) };
        let is_settled = judged_from <= wal.durable().get() || wal.durable().ended().is_some();
        let reply = if is_settled { reception.step(&state, now)? } else { Reply::Nothing };
        match reply {
            Reply::Probe { at } => out.send(ToReplica::Probe { at }).await?,
            Reply::Verdict(verdict) => {
                out.send(ToReplica::Verdict(verdict)).await?;
                match verdict {
                    Verdict::Wait { .. } => {
                        (stream.report)(FeedReport::Ahead { holds: reception.hello().holding.end });
                    }
                    Verdict::Continue { .. } => return Ok(reception.into_session(now)),
                    verdict => {
                        let begun = reception.hello().holding.history.current().epoch;
                        return ended_by(stream, verdict, reception.is_believed(), begun).map(|()| None);
                    }
                }
            }
            Reply::Nothing => tokio::select! {
                biased;
                message = inlet.next() => match message? {
                    Some(message) => reception.on(message, out.now())?,
                    None => return Ok(None),
                },
                more = grows.wait(state.end.just_after()) => moved(more)?,
                () = tokio::time::sleep_until(out.moment(wake)) => {}
            },
        }
    }
}

/// A verdict after which nothing follows: truncation puts itself right, everything else is an error at both ends.
fn ended_by<U: Upstream>(stream: &Stream<'_, U>, verdict: Verdict, believed: bool, begun: Epoch) -> Result<()> {
    let at = match verdict {
        Verdict::Diverged { at, .. } => {
            (stream.report)(FeedReport::Diverged { at });
            Some(at)
        }
        Verdict::Stale { epoch } => {
            (stream.report)(FeedReport::Stale { epoch, begun: begun == epoch, believed });
            None
        }
        Verdict::Reseed { first_available, .. } => Some(first_available),
        _ => None,
    };
    let reason = || format!("replica {}: {verdict}", stream.peer.node);
    verdict.kind().map_or(Ok(()), |kind| Err(Error::Refused { kind, reason: reason(), at }))
}

/// Ships what is durable, or offered already, as credit allows, and takes acks, until the stream ends.
async fn ship<U: Upstream>(
    stream: &Stream<'_, U>,
    mut session: Session,
    limits: Limits,
    out: &Out,
    inlet: &mut In,
) -> Result<()> {
    let wal = stream.log.wal();
    (stream.report)(FeedReport::Accepted { from: session.sent() });
    let from = session.sent();
    let mut reader = if session.ships_ahead() { wal.offered_reader(from)? } else { wal.reader(from)? };
    let mut waiting: Option<Waiting> = None;
    loop {
        stream.is_newest()?;
        let now = out.now();
        let news = session.take_news(wal.durable().get(), now);
        let wake = match session.turn(now)? {
            Turn::Until(wake) if !news => wake,
            Turn::Until(_) | Turn::Heartbeat => {
                out.send_urgent(stream.heartbeat(session.sent())).await?;
                continue;
            }
        };
        prove(stream, &mut session, out).await?;
        locate(stream, &mut session, out).await?;
        if waiting.is_none() {
            waiting = next_chunk(&session, &mut reader, wal)?.map(|chunk| Waiting { chunk, since: now });
        }
        let stalled = waiting.as_ref().map_or(Duration::MAX, |waiting| waiting.since.saturating_add(limits.stall));
        if stalled <= now {
            return Err(ProtocolError::Stalled { what: "read its frames", waited: limits.stall }.into());
        }
        let wake = out.moment(wake.min(stalled));
        let unproved = session.unproved().is_some();
        tokio::select! {
            biased;
            message = inlet.next() => match message? {
                Some(message) => hear(stream, &mut session, message, out.now())?,
                None => return Ok(()),
            },
            sent = send(waiting.as_ref(), wal, out) => {
                let (end, bytes) = sent?;
                waiting = None;
                session.on_sent(end, bytes, out.now());
                (stream.report)(FeedReport::Sent { to: session.sent() });
            }
            more = reader.ready(), if waiting.is_none() && session.wants(Lsn::MAX).is_some() => more?,
            sealed = wal.sealed().wait(wal.sealed().get().just_after()), if unproved => moved(sealed)?,
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

fn next_chunk(session: &Session, reader: &mut Reader, wal: &Wal) -> Result<Option<Chunk>> {
    let end = if session.ships_ahead() { wal.offered().get() } else { wal.durable().get() };
    match session.wants(end) {
        Some(want) => Ok(reader.next_frames(want.max)?),
        None => Ok(None),
    }
}

/// Frames that find no room yet.
struct Waiting {
    chunk: Chunk,
    since: Duration,
}

/// Sends what waits; answers where it ends and how many bytes it was. Without anything that waits it never ends.
async fn send(waiting: Option<&Waiting>, wal: &Wal, out: &Out) -> Result<(Lsn, usize)> {
    let Some(Waiting { chunk, .. }) = waiting else { return std::future::pending().await };
    // As of now: a heartbeat that overtook it may have told of a later epoch.
    let epoch = wal.accepted_epoch();
    out.sender.send(ToReplica::Frames(Frames { start: chunk.start, epoch, bytes: chunk.bytes.clone() })).await?;
    Ok((chunk.end, chunk.bytes.len()))
}

fn hear<U: Upstream>(stream: &Stream<'_, U>, session: &mut Session, message: ToUpstream, now: Duration) -> Result<()> {
    // A newer stream may have been opened while this message was under way.
    stream.is_newest()?;
    match session.on(message, now)? {
        Heard::Refused(refusal) => return Err(ProtocolError::Refused(refusal).into()),
        Heard::Acks(acks) => (stream.report)(FeedReport::Acks(acks)),
        Heard::Nothing | Heard::Sealed | Heard::Probed => (stream.report)(FeedReport::Heard),
    }
    Ok(())
}

/// Compares the digests that the replica reported with those of segments that are sealed here, too.
async fn prove<U: Upstream>(stream: &Stream<'_, U>, session: &mut Session, out: &Out) -> Result<()> {
    let wal = stream.log.wal();
    let size = wal.segment_size();
    while let Some((base, _)) = session.unproved() {
        let end = size.next_base(size.base_of(base)).map(|next| size.first_in(next));
        match (wal.digest(base)?, end) {
            (Some(ours), Some(end)) => {
                if let Some(proof) = session.compare(ours, base, size.first_in(base)..end) {
                    (stream.report)(FeedReport::Proved { to: end });
                    out.send_urgent(proof).await?;
                }
            }
            // Not sealed here yet: a replica can be faster.
            (None, Some(_)) if wal.sealed().get() <= base => return Ok(()),
            _ => session.skip_unproved(),
        }
    }
    Ok(())
}

/// Goes on looking for the first record that differs, if digests did.
async fn locate<U: Upstream>(stream: &Stream<'_, U>, session: &mut Session, out: &Out) -> Result<()> {
    match session.locate(&State::of(stream.log.wal()), out.now()) {
        None => Ok(()),
        Some(located) => match located? {
            Located::Ask(at) => out.send_urgent(ToReplica::Probe { at }).await,
            Located::At(at) => {
                let verdict = Verdict::Diverged { at, why: Difference::Bytes };
                out.send_urgent(ToReplica::Verdict(verdict)).await?;
                ended_by(stream, verdict, false, stream.log.wal().accepted_epoch())
            }
        },
    }
}

impl Upstream for Arc<Log> {
    fn wal(&self) -> &Wal {
        &self.wal
    }

    fn registry(&self) -> &Mutex<Registry> {
        &self.registry
    }

    fn retain(&self) -> Lsn {
        let needed = self.wal.slots().into_iter().filter(|slot| !slot.lost).map(|slot| slot.ack.durable);
        needed.min().unwrap_or_else(|| self.wal.durable().get())
    }

    fn ships_ahead(&self) -> bool {
        Log::ships_ahead(self)
    }
}
