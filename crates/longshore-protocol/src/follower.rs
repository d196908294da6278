//! The replica's side of a stream.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_format::{Epoch, Lsn};

use crate::pulse::Pulse;
use crate::{Ack, Error, Feature, Limits, NodeAck, NodeId, Result, ToReplica, ToUpstream, Verdict};

/// The rules of the replica's end: what may be stored, when to ack, how much more to take.
#[derive(Debug)]
pub struct Follower {
    limits: Limits,
    pulse: Pulse,
    stage: Stage,
    /// Where the next record belongs: the end of the local log.
    position: Lsn,
    /// The highest epoch accepted, from whomever.
    epoch: Epoch,
    /// The epoch that the upstream last spoke in.
    upstream: Option<Epoch>,
    /// Bytes of frames that came on this stream.
    received_bytes: u64,
    /// Bytes of them that no longer take up room.
    stored_bytes: u64,
    granted: u64,
    acked: Option<Ack>,
    relayed: BTreeMap<NodeId, Ack>,
    /// Whether frames may come before they are durable at the upstream, and what was durable there when it welcomed this node.
    ahead: bool,
    durable_there: Lsn,
    /// Since when the upstream is known to have sent frames of which none has come.
    awaiting: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Deciding,
    Streaming,
}

/// How frames fit the end of the local log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// They begin exactly there: append them.
    Append,
    /// They are already held: compare them with the log, then pass over them (F-090).
    Duplicate,
    /// The first `skip` bytes are already held: compare those, append the rest.
    Overlap {
        /// How many bytes.
        skip: usize,
    },
}

/// What a message from the upstream means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowerTurn {
    /// The upstream accepted the stream.
    Welcomed {
        /// The end of what is durable there.
        durable: Lsn,
    },
    /// It lives.
    Heard {
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
    /// Answer with the checksum of the record that ends here.
    Answer(Lsn),
    /// Act on this verdict. After [`Verdict::Continue`] and [`Verdict::Wait`] the stream goes on.
    Verdict(Verdict),
    /// Keep the frames of this message until there is room, then ask [`Follower::fit`], store them, and call
    /// [`Follower::on_stored`].
    Frames,
}

impl Follower {
    /// A stream that begins with a `Hello` about a log that ends at `position`. `epoch` is the highest accepted so far.
    pub fn new(position: Lsn, epoch: Epoch, limits: Limits, now: Duration) -> Self {
        Self {
            limits,
            pulse: Pulse::new(now),
            stage: Stage::Greeting,
            position,
            epoch,
            upstream: None,
            received_bytes: 0,
            stored_bytes: 0,
            granted: 0,
            acked: None,
            relayed: BTreeMap::new(),
            ahead: false,
            durable_there: Lsn::ZERO,
            awaiting: None,
        }
    }

    /// Where the next record belongs.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// The highest epoch accepted: to be kept across restarts, because it never goes back.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes note of the highest epoch that this node accepted by whatever way: of an earlier one nothing more is taken, and
    /// nothing is acknowledged to an upstream that still speaks in an earlier one.
    pub fn note_accepted(&mut self, epoch: Epoch) {
        if self.epoch.number < epoch.number {
            self.epoch = epoch;
        }
    }

    /// Fails once this node has accepted a later epoch than its upstream on this stream speaks in.
    pub fn still_follows(&self) -> Result<()> {
        match self.upstream.filter(|upstream| upstream.number < self.epoch.number) {
            Some(found) => Err(Error::Fenced { current: self.epoch, found }),
            None => Ok(()),
        }
    }

    /// Whether frames may come.
    pub fn is_streaming(&self) -> bool {
        self.stage == Stage::Streaming
    }

    /// From where on what is stored is to be shown to nobody before the upstream says that it is durable there; `None` where all that
    /// comes is. Frames follow from `at`, and what lies before `shown` is shown already.
    pub fn holds_back_from(&self, at: Lsn, shown: Lsn) -> Option<Lsn> {
        self.ahead.then(|| at.min(self.durable_there).max(shown))
    }

    /// Takes a message. Nothing of a refused one may be stored.
    pub fn on(&mut self, message: &ToReplica, now: Duration) -> Result<FollowerTurn> {
        self.pulse.hear(now);
        match (message, self.stage) {
            (ToReplica::Refused(refusal), _) => Err(Error::Refused(refusal.clone())),
            (ToReplica::Welcome(welcome), Stage::Greeting) => {
                self.stage = Stage::Deciding;
                self.upstream = Some(welcome.epoch);
                self.ahead = welcome.agreed.has(Feature::SHIP_AHEAD);
                self.durable_there = welcome.durable;
                Ok(FollowerTurn::Welcomed { durable: welcome.durable })
            }
            (ToReplica::Probe { at }, Stage::Deciding | Stage::Streaming) => Ok(FollowerTurn::Answer(*at)),
            (ToReplica::Verdict(verdict), Stage::Deciding) => self.on_verdict(*verdict),
            (ToReplica::Verdict(verdict @ Verdict::Diverged { .. }), Stage::Streaming) => {
                Ok(FollowerTurn::Verdict(*verdict))
            }
            (ToReplica::Frames(frames), Stage::Streaming) => {
                self.accept(frames.epoch)?;
                self.awaiting = None;
                self.on_frames(frames.start, frames.bytes.len())?;
                Ok(FollowerTurn::Frames)
            }
            (ToReplica::Heartbeat { durable, epoch, retain, sent }, stage) => {
                if stage == Stage::Streaming {
                    self.accept(*epoch)?;
                }
                if stage == Stage::Streaming && self.position < *sent && self.received_bytes == self.stored_bytes {
                    self.awaiting.get_or_insert(now);
                }
                Ok(FollowerTurn::Heard { durable: *durable, retain: *retain })
            }
            (ToReplica::Proved { end, .. }, Stage::Streaming) => Ok(FollowerTurn::Proved { to: *end }),
            (message, _) => Err(Error::OutOfTurn { what: name_of(message) }),
        }
    }

    fn on_verdict(&mut self, verdict: Verdict) -> Result<FollowerTurn> {
        if let Verdict::Continue { at } = verdict {
            if at != self.position {
                return Err(Error::Gap { expected: self.position, found: at });
            }
            self.stage = Stage::Streaming;
        }
        Ok(FollowerTurn::Verdict(verdict))
    }

    /// A lower epoch is over, a higher one is accepted: the upstream is a peer that this node was told to follow.
    fn accept(&mut self, epoch: Epoch) -> Result<()> {
        let current = self.epoch;
        if epoch.number < current.number {
            return Err(Error::Fenced { current, found: epoch });
        }
        if epoch.number == current.number && epoch.writer != current.writer {
            return Err(Error::TwoWriters { current, found: epoch });
        }
        self.epoch = epoch;
        self.upstream = Some(epoch);
        Ok(())
    }

    fn on_frames(&mut self, start: Lsn, len: usize) -> Result<()> {
        if Limits::MAX_FRAMES < len {
            return Err(Error::TooLarge { bytes: len, limit: Limits::MAX_FRAMES });
        }
        if len == 0 {
            return Err(Error::Malformed { what: "batch of frames: it is empty" });
        }
        if start.checked_add(len as u64).is_none() {
            return Err(Error::Malformed { what: "position" });
        }
        self.received_bytes = self.received_bytes.saturating_add(len as u64);
        // One record may overdraw the credit, and no more.
        let over = self.received_bytes.saturating_sub(self.granted);
        if Limits::MAX_FRAMES as u64 <= over {
            return Err(Error::OverCredit { over });
        }
        Ok(())
    }

    /// How frames that were accepted fit the end of the log as it is now.
    pub fn fit(&self, start: Lsn, len: usize) -> Result<Fit> {
        if self.position < start {
            return Err(Error::Gap { expected: self.position, found: start });
        }
        match usize::try_from(self.position.since(start)) {
            Ok(0) => Ok(Fit::Append),
            Ok(skip) if skip < len => Ok(Fit::Overlap { skip }),
            _ => Ok(Fit::Duplicate),
        }
    }

    /// Notes that `bytes` bytes of frames no longer take up room, and that the log now ends at `position`.
    pub fn on_stored(&mut self, position: Lsn, bytes: usize) {
        self.position = self.position.max(position);
        self.stored_bytes = self.stored_bytes.saturating_add(bytes as u64);
    }

    /// What to say now, most urgent first; `own` is how far the local log is, `below` who follows this node.
    ///
    /// An error means that the upstream is to be given up. Call it after every message and at
    /// [`deadline`](Self::deadline), until it has nothing to say.
    pub fn say(&mut self, own: Ack, below: &[NodeAck], now: Duration) -> Result<Option<ToUpstream>> {
        let heartbeat = self.pulse.beat(&self.limits, now)?;
        if self.awaited_until() <= now {
            let waited = now.saturating_sub(self.awaiting.unwrap_or(now));
            return Err(Error::Stalled { what: "deliver the frames it sent", waited });
        }
        let message =
            if self.stage == Stage::Streaming { self.ack(own, below).or_else(|| self.credit()) } else { None };
        let message = message.or(heartbeat.then_some(ToUpstream::Heartbeat));
        if message.is_some() {
            self.pulse.say(now);
        }
        Ok(message)
    }

    /// When [`say`](Self::say) must be asked again, if nothing happens before.
    pub fn deadline(&self) -> Duration {
        self.pulse.deadline(&self.limits).min(self.awaited_until())
    }

    /// When frames that were sent, and are not here, count as lost.
    fn awaited_until(&self) -> Duration {
        self.awaiting.map_or(Duration::MAX, |since| since.saturating_add(self.limits.stall))
    }

    /// Everything new since the last ack, if there is any.
    ///
    /// An ack is for whoever writes in the epoch that this node accepted, or a later one. A writer of an earlier one could count
    /// it, and with it what came here, or to a node below, by another way after the later epoch's promotion had asked.
    fn ack(&mut self, own: Ack, below: &[NodeAck]) -> Option<ToUpstream> {
        if self.upstream.is_none_or(|upstream| upstream.number < self.epoch.number) {
            return None;
        }
        let news =
            |relayed: &&NodeAck| relayed.ack != Ack::NONE && self.relayed.get(&relayed.node) != Some(&relayed.ack);
        let relayed: Vec<NodeAck> = below.iter().filter(news).take(Limits::MAX_RELAYED).cloned().collect();
        if self.acked == Some(own) && relayed.is_empty() {
            return None;
        }
        self.acked = Some(own);
        self.relayed.extend(relayed.iter().map(|relayed| (relayed.node.clone(), relayed.ack)));
        Some(ToUpstream::Ack { ack: own, relayed })
    }

    /// A new total, once a quarter of the window is free again.
    fn credit(&mut self) -> Option<ToUpstream> {
        let total = self.stored_bytes.saturating_add(self.limits.window);
        let due = self.granted == 0 || self.limits.window / 4 <= total - self.granted;
        if !due || total == self.granted {
            return None;
        }
        self.granted = total;
        Some(ToUpstream::Credit { total })
    }
}

fn name_of(message: &ToReplica) -> &'static str {
    match message {
        ToReplica::Welcome(_) => "a welcome",
        ToReplica::Probe { .. } => "a probe",
        ToReplica::Verdict(_) => "a verdict",
        ToReplica::Frames(_) => "frames",
        ToReplica::Heartbeat { .. } => "a heartbeat",
        ToReplica::Proved { .. } => "a proof",
        ToReplica::Refused(_) => "a refusal",
    }
}

#[cfg(test)]
mod tests;
