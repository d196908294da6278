//! The upstream's side of a stream until frames may flow.

use std::time::Duration;

use longshore_format::Lsn;

use crate::{
    Agreed, Difference, Error, Hello, Limits, Locate, Located, LogState, NodeId, Offer, Probed,
    Region, Result, Session, SessionId, Verdict, Welcome, decide,
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
    /// The replica is ahead, with the same past.
    Waiting,
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
    /// Still waiting for the log to reach the replica's end.
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
    ) -> Result<Self> {
        if hello.node != peer.node {
            return Err(Error::Identity {
                certificate: peer.node,
                claimed: hello.node,
            });
        }
        let agreed = ours.agree(&hello.offer)?;
        let holding = &hello.holding;
        if holding.end < holding.first || holding.end < holding.history.current().start {
            return Err(Error::Malformed {
                what: "description of a log",
            });
        }
        Ok(Self {
            peer,
            hello,
            agreed,
            session,
            limits,
            stage: Stage::Deciding,
            asked: None,
            probes: 0,
        })
    }

    /// The answer to the first message.
    pub fn welcome<L: LogState>(&self, node: NodeId, log: &L) -> Welcome {
        Welcome {
            session: self.session,
            agreed: self.agreed.clone(),
            node,
            epoch: log.history().current().epoch,
            durable: log.end(),
        }
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

    /// What to say next. Fails only when the log cannot be read.
    pub fn step<L: LogState>(&mut self, log: &L, now: Duration) -> Result<Reply, L::Error> {
        loop {
            match &mut self.stage {
                Stage::Decided(verdict) => return Ok(Reply::Verdict(*verdict)),
                Stage::Deciding => {
                    self.stage = match decide(&self.hello.holding, log)? {
                        Verdict::Wait { end } => match log.boundary(end)? {
                            (at, crc) if at == end && self.hello.holding.first <= end => {
                                Stage::CheckingPrefix { at, crc }
                            }
                            _ => Stage::Waiting,
                        },
                        Verdict::Diverged {
                            at,
                            why: Difference::Bytes,
                        } => Stage::Locating(Locate::new(at, self.hello.holding.end)),
                        verdict => Stage::Decided(verdict),
                    };
                    if let Stage::Waiting = self.stage {
                        return Ok(Reply::Verdict(Verdict::Wait { end: log.end() }));
                    }
                }
                Stage::CheckingPrefix { at, .. } => {
                    let at = *at;
                    return Ok(self.ask(at, now));
                }
                Stage::Waiting if log.end() < self.hello.holding.end => return Ok(Reply::Nothing),
                Stage::Waiting => self.stage = Stage::Deciding,
                Stage::Locating(locate) => match locate.step(log)? {
                    Located::Ask(at) if self.probes < Self::MAX_PROBES => {
                        return Ok(self.ask(at, now));
                    }
                    Located::Ask(at) | Located::At(at) => {
                        self.stage = Stage::Decided(Verdict::Diverged {
                            at,
                            why: Difference::Bytes,
                        });
                    }
                },
            }
        }
    }

    fn ask(&mut self, at: Lsn, now: Duration) -> Reply {
        self.asked = Some(now);
        self.probes += 1;
        Reply::Probe { at }
    }

    /// Takes the answer to a probe; step again after it.
    pub fn probed(&mut self, probed: Probed) -> Result<()> {
        if self.asked.take().is_none() {
            return Err(Error::OutOfTurn {
                what: "the answer to a probe",
            });
        }
        match &mut self.stage {
            Stage::CheckingPrefix { at, crc } if probed.at == *at => {
                let holding = &self.hello.holding;
                self.stage = if probed.crc == Some(*crc) {
                    Stage::Waiting
                } else {
                    Stage::Locating(Locate::new(holding.first.min(*at), *at))
                };
                Ok(())
            }
            Stage::Locating(locate) => locate.answer(probed),
            _ => Err(Error::OutOfTurn {
                what: "the answer to a probe",
            }),
        }
    }

    /// The session, if the verdict was [`Verdict::Continue`].
    pub fn into_session(self, now: Duration) -> Option<Session> {
        let Stage::Decided(Verdict::Continue { at }) = self.stage else {
            return None;
        };
        Some(Session::new(
            self.session,
            self.peer,
            self.agreed,
            at,
            self.limits,
            now,
        ))
    }
}
