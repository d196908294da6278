//! The upstream's side of a stream until frames may flow.

use std::time::Duration;

use longshore_format::Lsn;

use crate::pulse::Pulse;
use crate::{
    Agreed, Difference, Error, Feature, Hello, Limits, Locate, Located, LogState, NodeId, Offer, Probed, Region,
    Result, Session, SessionId, ToUpstream, Turn, Verdict, Welcome, decide,
};

/// Who the peer is, as its certificate and the grants say; nothing of it comes from a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The identity in its certificate.
    pub node: NodeId,
    /// Its region, if the grants name one.
    pub region: Option<Region>,
    /// Whether it may promote: only then is a higher epoch believed when it says so.
    pub may_promote: bool,
}

/// A replica whose `Hello` was acceptable, and on whose log a verdict is due.
///
/// ```text
///  new ──▶ step ──▶ Probe ── probed ──▶ step …
///           │ └───▶ Verdict(wait) ── more is durable ──▶ step …
///           └─────▶ Verdict(continue) ──▶ into_session
/// ```
#[derive(Debug)]
pub struct Reception {
    peer: Peer,
    hello: Hello,
    agreed: Agreed,
    session: SessionId,
    limits: Limits,
    pulse: Pulse,
    stage: Stage,
    asked: Option<Duration>,
    probes: u32,
}

#[derive(Debug)]
enum Stage {
    /// Nothing asked yet.
    Deciding,
    /// Asking whether a replica that is ahead holds our last record; with our checksum.
    CheckingPrefix { at: Lsn, crc: u32 },
    /// The replica is ahead, with the same past; it may not know yet.
    Waiting { told: bool },
    /// The bytes differ; looking for the first record that does.
    Locating(Locate),
    /// The verdict is final.
    Decided(Verdict),
}

/// What a [`Reception`] wants to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Ask this, then step again with the answer.
    Probe {
        /// The position.
        at: Lsn,
    },
    /// Send this. After [`Verdict::Wait`] step again when more is durable, after [`Verdict::Continue`] take the
    /// session; every other verdict is the last message.
    Verdict(Verdict),
    /// Wait for the answer to the last question, or for the log to reach the replica's end.
    Nothing,
}

impl Reception {
    /// The most questions to one replica: a bisection of 2^64 bytes takes fewer.
    const MAX_PROBES: u32 = 160;

    /// Checks names, versions and features of a first message.
    pub fn new(
        hello: Hello,
        peer: Peer,
        ours: &Offer,
        session: SessionId,
        limits: Limits,
        now: Duration,
    ) -> Result<Self> {
        if hello.node != peer.node {
            return Err(Error::Identity { certificate: peer.node, claimed: hello.node });
        }
        let agreed = ours.agree(&hello.offer)?;
        let holding = &hello.holding;
        if holding.end < holding.first || holding.end < holding.history.current().start {
            return Err(Error::Malformed { what: "description of a log" });
        }
        Ok(Self {
            peer,
            hello,
            agreed,
            session,
            limits,
            pulse: Pulse::new(now),
            stage: Stage::Deciding,
            asked: None,
            probes: 0,
        })
    }

    /// The answer to the first message.
    pub fn welcome<L: LogState>(&self, node: NodeId, log: &L) -> Welcome {
        Welcome { session: self.session, agreed: self.agreed.clone(), node, epoch: log.accepted(), durable: log.end() }
    }

    /// Whether frames may leave before they are shown here: both ends can, and want to.
    pub fn ships_ahead(&self) -> bool {
        self.agreed.has(Feature::SHIP_AHEAD)
    }

    /// The peer.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What the peer said.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether a [`Verdict::Stale`] is to be believed, so that this node steps down.
    pub fn is_believed(&self) -> bool {
        self.peer.may_promote
    }

    /// Takes a message; step again after it.
    pub fn on(&mut self, message: ToUpstream, now: Duration) -> Result<()> {
        self.pulse.hear(now);
        match message {
            ToUpstream::Heartbeat => Ok(()),
            ToUpstream::Probed(probed) => self.probed(probed),
            ToUpstream::Refused(refusal) => Err(Error::Refused(refusal)),
            _ => Err(Error::OutOfTurn { what: "a message that only a running stream takes" }),
        }
    }

    /// What is due now besides the next step; an error when the peer is to be given up.
    pub fn turn(&mut self, now: Duration) -> Result<Turn> {
        self.pulse.turn(&self.limits, self.asked, now)
    }

    /// What to say next. Fails only when the log cannot be read.
    pub fn step<L: LogState>(&mut self, log: &L, now: Duration) -> Result<Reply, L::Error> {
        if self.asked.is_some() {
            return Ok(Reply::Nothing);
        }
        loop {
            match &mut self.stage {
                Stage::Decided(verdict) => return Ok(Reply::Verdict(*verdict)),
                Stage::Deciding => match decide(&self.hello.holding, log)? {
                    Verdict::Wait { end } => self.stage = self.before_waiting(end, log)?,
                    verdict => self.decided(verdict),
                },
                Stage::Waiting { told } => match decide(&self.hello.holding, log)? {
                    Verdict::Wait { .. } if *told => return Ok(Reply::Nothing),
                    wait @ Verdict::Wait { .. } => {
                        *told = true;
                        return Ok(Reply::Verdict(wait));
                    }
                    verdict => self.decided(verdict),
                },
                Stage::CheckingPrefix { at, .. } => {
                    let at = *at;
                    return Ok(self.ask(at, now));
                }
                Stage::Locating(locate) => match locate.step(log)? {
                    Located::Ask(at) if self.probes < Self::MAX_PROBES => {
                        return Ok(self.ask(at, now));
                    }
                    Located::Ask(at) | Located::At(at) => {
                        self.stage = Stage::Decided(Verdict::Diverged { at, why: Difference::Bytes });
                    }
                },
            }
        }
    }

    /// A replica that is ahead is first asked whether it holds our last record.
    fn before_waiting<L: LogState>(&self, end: Lsn, log: &L) -> Result<Stage, L::Error> {
        let holding = &self.hello.holding;
        if end < holding.first || end < log.first() {
            return Ok(Stage::Waiting { told: false });
        }
        let (at, crc) = log.boundary(end)?;
        Ok(Stage::CheckingPrefix { at, crc })
    }

    fn decided(&mut self, verdict: Verdict) {
        self.stage = match verdict {
            Verdict::Diverged { at, why: Difference::Bytes } => {
                Stage::Locating(Locate::new(at, self.hello.holding.end))
            }
            verdict => Stage::Decided(verdict),
        };
    }

    fn ask(&mut self, at: Lsn, now: Duration) -> Reply {
        self.asked = Some(now);
        self.probes += 1;
        Reply::Probe { at }
    }

    fn probed(&mut self, probed: Probed) -> Result<()> {
        if self.asked.take().is_none() {
            return Err(Error::OutOfTurn { what: "the answer to a probe" });
        }
        match &mut self.stage {
            Stage::CheckingPrefix { at, crc } if probed.at == *at => {
                let holding = &self.hello.holding;
                self.stage = if probed.crc == Some(*crc) {
                    Stage::Waiting { told: false }
                } else {
                    Stage::Locating(Locate::new(holding.first.min(*at), *at))
                };
                Ok(())
            }
            Stage::Locating(locate) => locate.answer(probed),
            _ => Err(Error::OutOfTurn { what: "the answer to a probe" }),
        }
    }

    /// The session, if the verdict was [`Verdict::Continue`].
    pub fn into_session(self, now: Duration) -> Option<Session> {
        let Stage::Decided(Verdict::Continue { at }) = self.stage else {
            return None;
        };
        let ahead = self.ships_ahead();
        Some(Session::new(self.session, self.peer, at, ahead, self.limits, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, lsn, node, peer, reception, secs};

    /// Steps until something other than a probe comes, answering probes from `replica`; and how many there were.
    fn ask(reception: &mut Reception, upstream: &Fake, replica: &Fake) -> (Reply, usize) {
        for probes in 0.. {
            match reception.step(upstream, secs(0)).unwrap() {
                Reply::Probe { at } => {
                    let probed = Probed { at, crc: replica.crc_at(at) };
                    reception.on(ToUpstream::Probed(probed), secs(0)).unwrap();
                }
                reply => return (reply, probes),
            }
        }
        unreachable!()
    }

    #[test]
    fn the_first_differing_record_is_found_in_few_questions_f097() {
        let records = 10_000;
        let upstream = Fake::new(&[(1, 1, 1, records)]);
        for ends_at in [records, records - 1, 5003, 1] {
            for differs in [0, 1, 17, 4999, 5000, 5001, 9998] {
                if ends_at <= differs {
                    continue;
                }
                let replica = Fake::salted(&[(1, 1, 1, ends_at)], differs, 3);
                let (reply, probes) = ask(&mut reception(&replica), &upstream, &replica);
                let at = lsn(differs);
                let expected = Verdict::Diverged { at, why: Difference::Bytes };
                assert_eq!(reply, Reply::Verdict(expected), "{ends_at} {differs}");
                assert!(probes <= 21, "{probes}");
            }
        }
    }

    #[test]
    fn a_replica_ahead_waits_until_the_upstream_reaches_its_end_f095() {
        let replica = Fake::new(&[(1, 1, 1, 20)]);
        let mut reception = reception(&replica);
        let upstream = |records| Fake::new(&[(1, 1, 1, records)]);
        let wait = Reply::Verdict(Verdict::Wait { end: lsn(10) });
        assert_eq!(ask(&mut reception, &upstream(10), &replica), (wait, 1));
        assert_eq!(ask(&mut reception, &upstream(19), &replica), (Reply::Nothing, 0));
        let go = Reply::Verdict(Verdict::Continue { at: lsn(20) });
        assert_eq!(ask(&mut reception, &upstream(21), &replica), (go, 0));
        assert_eq!(reception.into_session(secs(0)).unwrap().sent(), lsn(20));
    }

    #[test]
    fn a_replica_ahead_of_a_restored_primary_has_diverged_f095() {
        let replica = Fake::new(&[(1, 1, 1, 20)]);
        // It already wrote other bytes below the replica's end.
        let mut early = reception(&replica);
        let upstream = Fake::salted(&[(1, 1, 1, 10)], 8, 3);
        let diverged = Reply::Verdict(Verdict::Diverged { at: lsn(8), why: Difference::Bytes });
        assert_eq!(ask(&mut early, &upstream, &replica).0, diverged);
        // It does so while the replica waits.
        let mut late = reception(&replica);
        let upstream = Fake::new(&[(1, 1, 1, 8)]);
        assert_eq!(ask(&mut late, &upstream, &replica).0, Reply::Verdict(Verdict::Wait { end: lsn(8) }));
        let upstream = Fake::salted(&[(1, 1, 1, 30)], 8, 3);
        assert_eq!(ask(&mut late, &upstream, &replica).0, diverged);
    }

    #[test]
    fn a_peer_that_calls_itself_by_another_name_is_refused_f124() {
        let hello = Fake::new(&[(1, 1, 1, 5)]).hello();
        let limits = Limits::default();
        let error = Reception::new(hello, peer("us-east"), &Offer::ours(), SessionId(1), limits, secs(0)).unwrap_err();
        let (certificate, claimed) = (node("us-east"), node("eu-west"));
        assert_eq!(error, Error::Identity { certificate, claimed });
    }

    #[test]
    fn a_log_that_cannot_be_is_malformed_f100() {
        for change in [
            |holding: &mut crate::Holding| holding.first = Lsn::MAX,
            |holding: &mut crate::Holding| holding.end = Lsn::ZERO,
        ] {
            let mut hello = Fake::new(&[(1, 1, 1, 5)]).hello();
            change(&mut hello.holding);
            let peer = peer("eu-west");
            let limits = Limits::default();
            let error = Reception::new(hello, peer, &Offer::ours(), SessionId(1), limits, secs(0));
            assert!(matches!(error, Err(Error::Malformed { .. })));
        }
    }

    #[test]
    fn positions_near_the_end_of_the_number_line_are_only_positions_f100() {
        let upstream = Fake::new(&[(1, 1, 1, 5)]);
        let mut hello = upstream.hello();
        hello.holding.end = Lsn::MAX;
        let mut reception =
            Reception::new(hello, peer("eu-west"), &Offer::ours(), SessionId(1), Limits::default(), secs(0)).unwrap();
        let wait = Reply::Verdict(Verdict::Wait { end: lsn(5) });
        assert_eq!(ask(&mut reception, &upstream, &upstream).0, wait);
    }

    #[test]
    fn answers_that_nobody_asked_for_are_refused() {
        let fake = Fake::new(&[(1, 1, 1, 5)]);
        let unasked = Probed { at: lsn(1), crc: None };
        assert!(reception(&fake).on(ToUpstream::Probed(unasked), secs(0)).is_err());

        let longer = Fake::new(&[(1, 1, 1, 9)]);
        let mut reception = reception(&longer);
        assert_eq!(reception.step(&fake, secs(0)).unwrap(), Reply::Probe { at: lsn(5) });
        assert!(reception.on(ToUpstream::Probed(unasked), secs(0)).is_err());
    }

    #[test]
    fn only_a_peer_that_may_promote_is_believed_about_a_higher_epoch() {
        let fake = Fake::new(&[(1, 1, 1, 5)]);
        for may_promote in [false, true] {
            let peer = Peer { may_promote, ..peer("eu-west") };
            let reception =
                Reception::new(fake.hello(), peer, &Offer::ours(), SessionId(1), Limits::default(), secs(0));
            assert_eq!(reception.unwrap().is_believed(), may_promote);
        }
    }
}
