//! The upstream's side of a stream on which frames flow.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use longshore_format::{Digest, Lsn};

use crate::pulse::Pulse;
use crate::telling::Telling;
use crate::{
    Ack, Error, Limits, Locate, Located, LogState, NodeAck, NodeId, Peer, Probed, Refusal, Result, ToReplica,
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
        Self { next: first, newest: BTreeMap::new() }
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
        if self.newest.get(node) == Some(&id) { Ok(()) } else { Err(Error::Superseded { node: node.clone() }) }
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
    limits: Limits,
    pulse: Pulse,
    /// Everything before this was sent or was already there.
    sent: Lsn,
    sent_bytes: u64,
    granted: u64,
    acked: Ack,
    /// Digests the replica reported of segments that are not sealed here yet, oldest first.
    unproved: VecDeque<(Lsn, Digest)>,
    locate: Option<(Locate, Option<Duration>)>,
    /// Only where frames are shipped ahead of the local sync.
    telling: Option<Telling>,
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

    pub(crate) fn new(id: SessionId, peer: Peer, at: Lsn, ahead: bool, limits: Limits, now: Duration) -> Self {
        Self {
            id,
            peer,
            limits,
            pulse: Pulse::new(now),
            sent: at,
            sent_bytes: 0,
            granted: 0,
            acked: Ack::NONE,
            unproved: VecDeque::new(),
            locate: None,
            telling: ahead.then(|| Telling::new(at)),
        }
    }

    /// Which stream this is.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Whether frames may leave before they are shown here: both ends can, and want to.
    pub fn ships_ahead(&self) -> bool {
        self.telling.is_some()
    }

    /// Whether the replica is to be told now, by a heartbeat, that what lies before `durable` is durable here, because no frames
    /// have told it lately: it shows nothing of what was shipped ahead before. It then counts as told. To be asked before
    /// [`turn`](Self::turn), which says when to ask again.
    pub fn take_news(&mut self, durable: Lsn, now: Duration) -> bool {
        self.telling.as_mut().is_some_and(|telling| telling.tell(self.sent, durable, now))
    }

    /// The end of what was sent, or was there before.
    pub fn sent(&self) -> Lsn {
        self.sent
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
            ToUpstream::Hello(_) => Err(Error::OutOfTurn { what: "a second hello" }),
        }
    }

    fn on_acks(&mut self, ack: Ack, relayed: Vec<NodeAck>) -> Result<Heard> {
        if self.sent < ack.received() {
            let node = self.peer.node.clone();
            return Err(Error::AckBeyond { node, acked: ack.received(), sent: self.sent });
        }
        if Limits::MAX_RELAYED < relayed.len() {
            return Err(Error::Malformed { what: "list of relayed acks" });
        }
        let mut moved = Vec::with_capacity(1 + relayed.len());
        let merged = self.acked.max(ack);
        if merged != self.acked {
            self.acked = merged;
            moved.push(NodeAck { node: self.peer.node.clone(), ack: merged });
        }
        // A node below the replica holds nothing that the replica was not sent; and nobody else speaks for the replica.
        let below = relayed.into_iter().filter(|relayed| relayed.node != self.peer.node);
        moved.extend(below.map(|NodeAck { node, ack }| NodeAck { node, ack: ack.min(self.sent) }));
        Ok(if moved.is_empty() { Heard::Nothing } else { Heard::Acks(moved) })
    }

    /// What to send next, when there is credit for it. `end` is the end of what may be shipped: of what is durable, or offered to
    /// a replica to which this [ships ahead](Self::ships_ahead).
    pub fn wants(&self, end: Lsn) -> Option<Want> {
        let credit = self.granted.saturating_sub(self.sent_bytes);
        if end <= self.sent || credit == 0 || self.locate.is_some() {
            return None;
        }
        let max = self.limits.batch.min(Limits::MAX_FRAMES).min(usize::try_from(credit).unwrap_or(usize::MAX));
        Some(Want { from: self.sent, max })
    }

    /// Notes that frames of `bytes` bytes were sent just now, and that the next ones begin at `next`.
    ///
    /// A record that is longer than the credit left may be sent whole: credit is then overdrawn by at most that record.
    pub fn on_sent(&mut self, next: Lsn, bytes: usize, now: Duration) {
        debug_assert!(self.sent < next, "frames go forward");
        self.sent = self.sent.max(next);
        self.sent_bytes = self.sent_bytes.saturating_add(bytes as u64);
        if let Some(telling) = &mut self.telling {
            telling.put_off(now);
        }
    }

    /// What is due now; an error when the peer is to be given up.
    pub fn turn(&mut self, now: Duration) -> Result<Turn> {
        let asked = self.locate.as_ref().and_then(|(_, asked)| *asked);
        let news = self.telling.as_ref().map_or(Duration::MAX, Telling::deadline);
        Ok(match self.pulse.turn(&self.limits, asked, now)? {
            Turn::Until(wake) => Turn::Until(wake.min(news)),
            turn => turn,
        })
    }

    /// A digest that the replica reported and that is yet to be compared.
    pub fn unproved(&self) -> Option<(Lsn, Digest)> {
        self.unproved.front().copied()
    }

    /// Compares the digest of [`unproved`](Self::unproved) with that of our own segment at `base`, whose records are at
    /// `records`.
    ///
    /// The proof is to be sent. When they differ nothing more is sent; [`locate`](Self::locate) finds the place.
    pub fn compare(&mut self, ours: Digest, base: Lsn, records: Range<Lsn>) -> Option<ToReplica> {
        let (_, theirs) = self.unproved.pop_front().filter(|(at, _)| *at == base)?;
        if theirs == ours {
            return Some(ToReplica::Proved { base, end: records.end });
        }
        self.locate = Some((Locate::new(records.start, records.end), None));
        None
    }

    /// Drops the digest of [`unproved`](Self::unproved), because our own segment is gone.
    pub fn skip_unproved(&mut self) {
        self.unproved.pop_front();
    }

    /// The next step of the search for the first differing record, when digests differed. `None` when none is on, or
    /// while its last question is not answered.
    pub fn locate<L: LogState>(&mut self, log: &L, now: Duration) -> Option<Result<Located, L::Error>> {
        let (locate, asked) = self.locate.as_mut().filter(|(_, asked)| asked.is_none())?;
        let located = locate.step(log);
        if let Ok(Located::Ask(_)) = located {
            *asked = Some(now);
        }
        Some(located)
    }

    fn on_probed(&mut self, probed: Probed) -> Result<Heard> {
        let Some((locate, asked)) = self.locate.as_mut() else {
            return Err(Error::OutOfTurn { what: "the answer to a probe" });
        };
        *asked = None;
        locate.answer(probed)?;
        Ok(Heard::Probed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, lsn, node, peer, reception, secs};

    /// A session of a replica that holds `records` records, opened at second 0.
    fn session(records: usize, limits: Limits) -> Session {
        Session::new(SessionId(1), peer("eu-west"), lsn(records), false, limits, secs(0))
    }

    fn ack(received: usize, durable: usize, applied: usize) -> Ack {
        Ack::new(lsn(received), lsn(durable), lsn(applied)).unwrap()
    }

    fn acked(ack: Ack, relayed: &[(&str, Ack)]) -> ToUpstream {
        let relayed = relayed.iter().map(|(name, ack)| NodeAck { node: node(name), ack: *ack });
        ToUpstream::Ack { ack, relayed: relayed.collect() }
    }

    #[test]
    fn a_session_comes_only_from_a_verdict_to_continue() {
        let upstream = Fake::new(&[(1, 1, 1, 9)]);
        let (behind, diverged) = (Fake::new(&[(1, 1, 1, 5)]), Fake::new(&[(2, 2, 2, 5)]));
        for (replica, expected) in [(behind, Some(lsn(5))), (diverged, None)] {
            let mut reception = reception(&replica);
            assert!(matches!(reception.step(&upstream, secs(0)), Ok(crate::Reply::Verdict(_))));
            assert_eq!(reception.into_session(secs(0)).map(|session| session.sent()), expected);
        }
        assert!(reception(&upstream).into_session(secs(0)).is_none(), "nothing decided yet");
    }

    #[test]
    fn frames_are_sent_only_up_to_what_is_durable_and_within_credit_f096() {
        let limits = Limits { batch: 1000, ..Limits::default() };
        let mut session = session(5, limits);
        assert_eq!(session.wants(lsn(50)), None, "no credit yet");
        session.on(ToUpstream::Credit { total: 1500 }, secs(0)).unwrap();
        assert_eq!(session.wants(lsn(5)), None, "nothing durable beyond what it has");
        assert_eq!(session.wants(lsn(4)), None, "a watermark behind the replica");
        let want = |from, max| Some(Want { from: lsn(from), max });
        assert_eq!(session.wants(lsn(50)), want(5, 1000), "a batch");
        session.on_sent(lsn(15), 1000, secs(0));
        assert_eq!(session.wants(lsn(50)), want(15, 500), "what is left");
        session.on_sent(lsn(23), 800, secs(0));
        assert_eq!(session.wants(lsn(50)), None, "overdrawn by a long record");
        session.on(ToUpstream::Credit { total: 1700 }, secs(0)).unwrap();
        assert_eq!(session.wants(lsn(50)), None, "still");
        session.on(ToUpstream::Credit { total: 1900 }, secs(0)).unwrap();
        assert_eq!(session.wants(lsn(50)), want(23, 100));
        session.on(ToUpstream::Credit { total: 10 }, secs(0)).unwrap();
        assert_eq!(session.wants(lsn(50)), want(23, 100), "an older total takes nothing back");
        session.on(ToUpstream::Credit { total: u64::MAX }, secs(0)).unwrap();
        assert_eq!(session.wants(lsn(50)), want(23, 1000), "and the greatest is only much (F-100)");
    }

    #[test]
    fn an_ack_beyond_what_was_sent_is_not_believed_f100() {
        for beyond in [lsn(6), Lsn::MAX] {
            let mut session = session(5, Limits::default());
            let ack = Ack::new(beyond, lsn(5), lsn(0)).unwrap();
            let error = session.on(acked(ack, &[]), secs(0)).unwrap_err();
            assert!(matches!(error, Error::AckBeyond { .. }), "{error}");
        }
    }

    #[test]
    fn late_acks_take_nothing_back() {
        let mut session = session(9, Limits::default());
        let news = session.on(acked(ack(9, 5, 1), &[]), secs(0)).unwrap();
        assert_eq!(news, Heard::Acks(vec![NodeAck { node: node("eu-west"), ack: ack(9, 5, 1) }]));
        let late = session.on(acked(ack(8, 4, 0), &[]), secs(0)).unwrap();
        assert_eq!(late, Heard::Nothing);
        assert_eq!(session.acked, ack(9, 5, 1));
    }

    #[test]
    fn relayed_acks_are_cut_to_what_the_relay_was_sent_and_none_speaks_for_the_relay() {
        let mut session = session(9, Limits::default());
        let relayed = [("below", ack(20, 15, 2)), ("eu-west", ack(9, 9, 9))];
        let Heard::Acks(acks) = session.on(acked(ack(9, 5, 1), &relayed), secs(0)).unwrap() else {
            panic!("acks expected")
        };
        let expected = [("eu-west", ack(9, 5, 1)), ("below", ack(9, 9, 2))];
        assert_eq!(acks, expected.map(|(name, ack)| NodeAck { node: node(name), ack }));
    }

    #[test]
    fn a_list_of_relayed_acks_is_bounded_f101() {
        let many = vec![NodeAck { node: node("x"), ack: Ack::NONE }; Limits::MAX_RELAYED + 1];
        let message = ToUpstream::Ack { ack: Ack::NONE, relayed: many };
        assert!(session(1, Limits::default()).on(message, secs(0)).is_err());
    }

    #[test]
    fn only_the_newest_session_of_a_replica_is_served_f091() {
        let mut registry = Registry::new(7);
        let (eu, us) = (node("eu-west"), node("us-east"));
        let old = registry.open(&eu);
        let other = registry.open(&us);
        registry.check(&eu, old).unwrap();
        let new = registry.open(&eu);
        assert!(old < new);
        assert_eq!(registry.check(&eu, old), Err(Error::Superseded { node: eu.clone() }));
        registry.check(&eu, new).unwrap();
        registry.check(&us, other).unwrap();
        assert!(!registry.close(&eu, old), "the end of an old stream changes nothing");
        registry.check(&eu, new).unwrap();
        assert!(registry.close(&eu, new));
        assert!(registry.check(&eu, new).is_err());
    }

    #[test]
    fn any_message_counts_as_life_and_silence_ends_the_stream_f086_f087() {
        let mut session = session(1, Limits::default());
        assert_eq!(session.turn(secs(0)).unwrap(), Turn::Until(secs(2)));
        assert_eq!(session.turn(secs(2)).unwrap(), Turn::Heartbeat);
        assert_eq!(session.turn(secs(2)).unwrap(), Turn::Until(secs(4)));
        session.on(ToUpstream::Credit { total: 1 }, secs(9)).unwrap();
        assert_eq!(session.turn(secs(18)).unwrap(), Turn::Heartbeat);
        assert_eq!(session.turn(secs(18)).unwrap(), Turn::Until(secs(19)));
        assert_eq!(session.turn(secs(19)), Err(Error::Silent { heard: secs(10) }));
    }

    #[test]
    fn an_equal_digest_proves_and_another_one_starts_the_search() {
        let log = Fake::new(&[(1, 1, 1, 9)]);
        let replica = Fake::salted(&[(1, 1, 1, 9)], 6, 1);
        let mut session = session(9, Limits::default());
        let (ours, theirs) = (Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32]));
        session.on(ToUpstream::Credit { total: 1 << 20 }, secs(1)).unwrap();
        for digest in [ours, theirs] {
            let sealed = ToUpstream::Sealed { base: lsn(0), digest };
            assert_eq!(session.on(sealed, secs(1)).unwrap(), Heard::Sealed);
        }

        assert_eq!(session.unproved(), Some((lsn(0), ours)));
        let proof = session.compare(ours, lsn(0), lsn(0)..lsn(5));
        assert_eq!(proof, Some(ToReplica::Proved { base: lsn(0), end: lsn(5) }));
        assert!(session.locate(&log, secs(2)).is_none());

        assert_eq!(session.compare(ours, lsn(0), lsn(0)..lsn(9)), None);
        assert_eq!(session.wants(lsn(50)), None, "nothing more is sent");
        let found = loop {
            match session.locate(&log, secs(3)).unwrap().unwrap() {
                crate::Located::At(at) => break at,
                crate::Located::Ask(at) => {
                    let probed = ToUpstream::Probed(Probed { at, crc: replica.crc_at(at) });
                    assert_eq!(session.on(probed, secs(3)).unwrap(), Heard::Probed);
                }
            }
        };
        assert_eq!(found, lsn(6));
        assert_eq!(log.end(), lsn(9));
    }

    #[test]
    fn a_peer_that_beats_but_does_not_answer_is_given_up_f088() {
        let mut session = session(9, Limits::default());
        let digest = |byte| Digest::from_bytes([byte; 32]);
        let sealed = ToUpstream::Sealed { base: lsn(0), digest: digest(1) };
        session.on(sealed, secs(0)).unwrap();
        session.compare(digest(2), lsn(0), lsn(0)..lsn(9));
        session.locate(&Fake::new(&[(1, 1, 1, 9)]), secs(1)).unwrap().unwrap();
        session.on(ToUpstream::Heartbeat, secs(10)).unwrap();
        session.turn(secs(10)).unwrap();
        assert!(matches!(session.turn(secs(11)), Err(Error::Stalled { .. })));
    }

    #[test]
    fn digests_that_cannot_be_compared_yet_are_bounded() {
        let mut session = session(9, Limits::default());
        for i in 0..100 {
            let digest = Digest::from_bytes([i; 32]);
            session.on(ToUpstream::Sealed { base: lsn(i as usize), digest }, secs(0)).unwrap();
        }
        let mut kept = 0;
        while session.unproved().is_some() {
            session.skip_unproved();
            kept += 1;
        }
        assert_eq!(kept, Session::MAX_UNPROVED);
    }

    #[test]
    fn a_second_hello_and_unasked_answers_are_out_of_turn() {
        let hello = Fake::new(&[(1, 1, 1, 9)]).hello();
        for message in [ToUpstream::Hello(Box::new(hello)), ToUpstream::Probed(Probed { at: lsn(1), crc: None })] {
            let error = session(9, Limits::default()).on(message, secs(0)).unwrap_err();
            assert!(matches!(error, Error::OutOfTurn { .. }));
        }
    }
}
