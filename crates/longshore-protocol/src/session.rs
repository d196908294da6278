//! The upstream's side of a stream on which frames flow.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use longshore_format::{Digest, Epoch, Lsn};

use crate::pulse::Pulse;
use crate::{
    Ack, Agreed, Error, Limits, Locate, NodeAck, NodeId, Peer, Probed, Refusal, Result, ToReplica,
    ToUpstream,
};

/// One stream of one replica; a greater id is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which stream of each replica of one log is the newest: only that one is served (F-091).
#[derive(Debug, Clone)]
pub struct Registry {
    next: u64,
    newest: BTreeMap<NodeId, SessionId>,
}

impl Registry {
    /// An empty registry whose ids begin at `first`; a random one tells the runs of a program apart.
    pub fn new(first: u64) -> Self {
        Self {
            next: first,
            newest: BTreeMap::new(),
        }
    }

    /// A new stream of `node`, whose older one is no longer served.
    pub fn open(&mut self, node: &NodeId) -> SessionId {
        let id = SessionId(self.next);
        self.next = self.next.wrapping_add(1);
        self.newest.insert(node.clone(), id);
        id
    }

    /// Fails when a newer stream of `node` is open.
    pub fn check(&self, node: &NodeId, id: SessionId) -> Result<()> {
        if self.newest.get(node) == Some(&id) {
            Ok(())
        } else {
            Err(Error::Superseded { node: node.clone() })
        }
    }

    /// The stream has ended. True when it was the newest, so that `node` is no longer connected.
    pub fn close(&mut self, node: &NodeId, id: SessionId) -> bool {
        let newest = self.newest.get(node) == Some(&id);
        if newest {
            self.newest.remove(node);
        }
        newest
    }
}

/// The rules of the upstream's end: what may be sent, which acks are believed, when the peer is given up.
///
/// It exists only after a `Hello` was accepted and the verdict was to continue.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    peer: Peer,
    agreed: Agreed,
    limits: Limits,
    pulse: Pulse,
    /// Everything before this was sent or was already there.
    sent: Lsn,
    sent_bytes: u64,
    granted: u64,
    acked: Ack,
    /// Digests the replica reported of segments that are not sealed here yet, oldest first.
    unproved: VecDeque<(Lsn, Digest)>,
    equality: Option<Equality>,
    locate: Option<(Locate, Option<Duration>)>,
}

/// Proof that a replica's bytes are the upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Equality {
    /// The end of the newest segment found equal.
    pub to: Lsn,
    /// When.
    pub at: Duration,
}

/// Which frames to send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Where they begin.
    pub from: Lsn,
    /// About how many bytes; one record may be longer.
    pub max: usize,
}

/// What a message from the replica means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Nothing to be done.
    Nothing,
    /// These nodes hold more than before, the replica itself first.
    Acks(Vec<NodeAck>),
    /// Compare digests: see [`Session::unproved`].
    Sealed,
    /// The answer to a probe was taken: step the location again.
    Probed,
    /// The replica ends the stream, for this reason.
    Refused(Refusal),
}

/// What is due at the upstream's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Say something.
    Heartbeat,
    /// Nothing before this moment, unless a message comes.
    Until(Duration),
}

impl Session {
    /// The most digests kept for comparing: more than two unsealed segments cannot be.
    const MAX_UNPROVED: usize = 4;

    pub(crate) fn new(
        id: SessionId,
        peer: Peer,
        agreed: Agreed,
        at: Lsn,
        limits: Limits,
        now: Duration,
    ) -> Self {
        Self {
            id,
            peer,
            agreed,
            limits,
            pulse: Pulse::new(now),
            sent: at,
            sent_bytes: 0,
            granted: 0,
            acked: Ack::NONE,
            unproved: VecDeque::new(),
            equality: None,
            locate: None,
        }
    }

    /// Which stream this is.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Whose stream this is.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What was agreed.
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// The end of what was sent, or was there before.
    pub fn sent(&self) -> Lsn {
        self.sent
    }

    /// What the replica acknowledged on this stream.
    pub fn acked(&self) -> Ack {
        self.acked
    }

    /// The newest proof that the replica is equal.
    pub fn equality(&self) -> Option<Equality> {
        self.equality
    }

    /// Takes a message.
    pub fn on(&mut self, message: ToUpstream, now: Duration) -> Result<Heard> {
        self.pulse.hear(now);
        match message {
            ToUpstream::Heartbeat => Ok(Heard::Nothing),
            ToUpstream::Ack { ack, relayed } => self.on_acks(ack, relayed),
            ToUpstream::Credit { total } => {
                // Totals make a lost or repeated message harmless; one that goes back is simply older.
                self.granted = self.granted.max(total);
                Ok(Heard::Nothing)
            }
            ToUpstream::Sealed { base, digest } => {
                self.unproved.push_back((base, digest));
                if Self::MAX_UNPROVED < self.unproved.len() {
                    self.unproved.pop_front();
                }
                Ok(Heard::Sealed)
            }
            ToUpstream::Probed(probed) => self.on_probed(probed),
            ToUpstream::Refused(refusal) => Ok(Heard::Refused(refusal)),
            ToUpstream::Hello(_) => Err(Error::OutOfTurn {
                what: "a second hello",
            }),
        }
    }

    fn on_acks(&mut self, ack: Ack, relayed: Vec<NodeAck>) -> Result<Heard> {
        if self.sent < ack.received() {
            let node = self.peer.node.clone();
            return Err(Error::AckBeyond {
                node,
                acked: ack.received(),
                sent: self.sent,
            });
        }
        if Limits::MAX_RELAYED < relayed.len() {
            return Err(Error::Malformed {
                what: "list of relayed acks",
            });
        }
        let mut moved = Vec::with_capacity(1 + relayed.len());
        let merged = self.acked.max(ack);
        if merged != self.acked {
            self.acked = merged;
            moved.push(NodeAck {
                node: self.peer.node.clone(),
                ack: merged,
            });
        }
        // A node below the replica holds nothing that the replica was not sent; and nobody else speaks for the replica.
        let below = relayed
            .into_iter()
            .filter(|relayed| relayed.node != self.peer.node);
        moved.extend(below.map(|NodeAck { node, ack }| NodeAck {
            node,
            ack: ack.min(self.sent),
        }));
        Ok(if moved.is_empty() {
            Heard::Nothing
        } else {
            Heard::Acks(moved)
        })
    }

    /// What to send next, when there is credit for it. `durable` is the end of what may be shipped.
    pub fn wants(&self, durable: Lsn) -> Option<Want> {
        let credit = self.granted.saturating_sub(self.sent_bytes);
        if durable <= self.sent || credit == 0 || self.locate.is_some() {
            return None;
        }
        let max = self
            .limits
            .batch
            .min(Limits::MAX_FRAMES)
            .min(usize::try_from(credit).unwrap_or(usize::MAX));
        Some(Want {
            from: self.sent,
            max,
        })
    }

    /// Notes that frames of `bytes` bytes were sent, and that the next ones begin at `next`.
    ///
    /// A record that is longer than the credit left may be sent whole: credit is then overdrawn by at most that record.
    pub fn on_sent(&mut self, next: Lsn, bytes: usize, now: Duration) {
        debug_assert!(self.sent < next, "frames go forward");
        self.sent = self.sent.max(next);
        self.sent_bytes = self.sent_bytes.saturating_add(bytes as u64);
        self.pulse.say(now);
    }

    /// What is due now; an error when the peer is to be given up.
    pub fn turn(&mut self, now: Duration) -> Result<Turn> {
        if let Some((_, Some(asked))) = &self.locate {
            let waited = now.saturating_sub(*asked);
            if self.limits.answer <= waited {
                return Err(Error::Stalled {
                    what: "answer a question",
                    waited,
                });
            }
        }
        if self.pulse.beat(&self.limits, now)? {
            self.pulse.say(now);
            return Ok(Turn::Heartbeat);
        }
        Ok(Turn::Until(self.pulse.deadline(&self.limits)))
    }

    /// A heartbeat.
    pub fn heartbeat(&self, durable: Lsn, epoch: Epoch, retain: Lsn) -> ToReplica {
        ToReplica::Heartbeat {
            durable,
            epoch,
            retain,
        }
    }

    /// A digest that the replica reported and that is yet to be compared.
    pub fn unproved(&self) -> Option<(Lsn, Digest)> {
        self.unproved.front().copied()
    }

    /// Compares the digest of [`unproved`](Self::unproved) with that of our own segment, which spans `base..end`.
    ///
    /// The proof is to be sent. When they differ nothing more is sent; [`locating`](Self::locating) finds the place.
    pub fn compare(
        &mut self,
        ours: Digest,
        base: Lsn,
        end: Lsn,
        now: Duration,
    ) -> Option<ToReplica> {
        let (_, theirs) = self.unproved.pop_front().filter(|(at, _)| *at == base)?;
        if theirs == ours {
            let to = self.equality.map_or(end, |equality| equality.to.max(end));
            self.equality = Some(Equality { to, at: now });
            return Some(ToReplica::Proved { base, end });
        }
        self.locate = Some((Locate::new(base, end), None));
        None
    }

    /// Drops the digest of [`unproved`](Self::unproved), because our own segment is gone.
    pub fn skip_unproved(&mut self) {
        self.unproved.pop_front();
    }

    /// The search for the first differing record, when digests differed.
    pub fn locating(&mut self, now: Duration) -> Option<&mut Locate> {
        self.locate.as_mut().map(|(locate, asked)| {
            asked.get_or_insert(now);
            locate
        })
    }

    fn on_probed(&mut self, probed: Probed) -> Result<Heard> {
        let Some((locate, asked)) = self.locate.as_mut() else {
            return Err(Error::OutOfTurn {
                what: "the answer to a probe",
            });
        };
        *asked = None;
        locate.answer(probed)?;
        Ok(Heard::Probed)
    }
}
