//! Becoming a log's writer: whom to ask, in which order, and when to stop.
//!
//! [`longshore_protocol::Promotion`] decides everything; this asks, fetches and writes down as it says. Every step can be run
//! again: what a node accepted it keeps, and an epoch that did not begin is void once the node that was to begin it says so.

mod again;
mod archives;
mod fetch;
mod memory;
mod own;
mod peers;
mod report;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_format::{Epoch, ErrorKind, Lsn, Name, WriterId};
use longshore_protocol::{Dispute, Fence, NodeId, Policy, Promotion, Step, Witness};
use longshore_storage::Environment;
use longshore_transport::{Promote, Promoted};
use longshore_wal::Role;
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::log::Log;
use crate::node::Node;
use crate::server::blocking;
use crate::uncaptured;

use again::{PATIENCE, again};
use archives::Archives;
pub(crate) use memory::Memory;
pub(crate) use own::{COUNTED, fence, survey};
use peers::Peers;
use report::Report;

/// Whoever is to take its role back asks others, and may have to fetch something: what a switchover had near is soon done.
const BACK: Duration = Duration::from_secs(30);

/// Makes this node the log's writer, or says what that would take and lose.
///
/// Dropping it stops it at some step; run again, it goes on.
pub(crate) async fn promote(node: &Node, request: &Promote) -> Result<Promoted> {
    let promoted = promote_in(node, request, None).await?;
    Ok(uncaptured::warned(node, request, promoted).await)
}

/// As [`promote`], in an epoch that a lease has minted.
pub(crate) async fn promote_in(node: &Node, request: &Promote, minted: Option<Epoch>) -> Result<Promoted> {
    let log = node.require(&request.log)?;
    let writes = log.wal.role() == Role::Writer && !log.wal.is_fenced();
    if writes && let Some(promoted) = already(node, &log, request).await? {
        return Ok(promoted);
    }
    let log = if request.plan { log } else { follows(node, log).await? };
    let (peers, archives) = survey_all(node, &log, request).await?;
    let mut report = Report::new(node, &log, (&peers, &archives), request.given_up)?;
    if let Some(to) = request.to {
        must_reach(&log, report.position(), to)?;
    }
    if request.plan {
        if let Some(to) = request.to {
            report.cut(&log, &peers, to).await?;
        }
        return Ok(report.planned());
    }
    // Whoever follows for the log meanwhile would take from one node what another is asked for.
    let busy = || refused(ErrorKind::Busy, &request.log, "another promotion of it is under way here; wait for its end");
    let claimed = Arc::clone(&log);
    let claim = claimed.claim.take().ok_or_else(busy)?;
    let outcome = Attempt { node, name: &request.log, request, minted, peers, archives, report }.run().await;
    drop(claim);
    outcome
}

/// What everybody holds. A plan waits for whom the promotion waits for, and as long: it would else call somebody silent whom
/// that goes on with.
async fn survey_all(node: &Node, log: &Log, request: &Promote) -> Result<(Peers, Archives)> {
    let own = own::witness(node, log)?;
    let enough = |peers: &Peers| {
        let has_writer = !request.switchover || peers.writer().is_some();
        let is_enough = || peers::is_enough(&report::supposed(&own, peers, u64::MAX, request.given_up));
        has_writer && is_enough()
    };
    let peers = Peers::survey(node, log, &request.peers, enough);
    let (peers, archives) = tokio::join!(peers, Archives::survey(node, log));
    Ok((peers?, archives))
}

/// A node that believes to be the writer is asked to become it. It may be the last to know that somebody else is; or the others
/// have accepted an epoch that then did not begin, and take nothing more of its own: `None`, and it has accepted that, too. Not
/// where the promotion that follows would be refused: then it is left to write what it can.
async fn already(node: &Node, log: &Log, request: &Promote) -> Result<Option<Promoted>> {
    let peers = Peers::survey(node, log, &request.peers, |_| false).await?;
    let own = own::witness(node, log)?;
    let epoch = own.history.current().epoch.number;
    let latest = peers.witnesses().map(|witness| witness.history.current().epoch.number).max();
    if let Some(latest) = latest.filter(|latest| epoch < *latest) {
        let why = format!(
            "{} wrote it in epoch {epoch}, and has yet to hear that epoch {latest} began elsewhere; with the other nodes as \
             its upstreams it soon does, run it again then",
            node.id()
        );
        return Err(refused(ErrorKind::Unavailable, &request.log, &why));
    }
    let accepted = peers.witnesses().map(|witness| witness.accepted).max_by_key(|accepted| accepted.number);
    match accepted.filter(|accepted| own.accepted.number < accepted.number) {
        Some(accepted) if !request.plan => {
            let log = node.require(&log.name)?;
            let (peers, archives) = survey_all(node, &log, request).await?;
            let report = Report::new(node, &log, (&peers, &archives), request.given_up)?;
            Attempt { node, name: &request.log, request, minted: None, peers, archives, report }.may_succeed()?;
            own::fence(node, &log, accepted).await.map(|_| None)
        }
        Some(_) => Ok(None),
        None => report::already(node, log).map(Some),
    }
}

/// The log as one that follows: one that was written here and is fenced can take nothing that it lacks as it is.
async fn follows(node: &Node, log: Arc<Log>) -> Result<Arc<Log>> {
    let node = node.clone();
    blocking("follow what was written here", move || node.follow_on(log)).await
}

/// One attempt under one epoch.
struct Attempt<'a> {
    node: &'a Node,
    name: &'a Name,
    request: &'a Promote,
    minted: Option<Epoch>,
    peers: Peers,
    archives: Archives,
    report: Report,
}

impl Attempt<'_> {
    async fn run(mut self) -> Result<Promoted> {
        self.must_accept_cut(self.report.position())?;
        if self.request.switchover && self.peers.writer().is_none() {
            self.must_be_let()?;
            let why = "no node that answers writes it; `longshore promote` goes on without one";
            return Err(refused(ErrorKind::Unavailable, self.name, why));
        }
        self.may_succeed()?;
        self.may_fetch().await?;
        if self.request.switchover {
            self.come_near().await?;
        }
        let mut promotion = self.report.surveyed(&self.peers, self.epoch()?);
        promotion.heard(own::fence(self.node, &self.log()?, promotion.epoch()).await?.witness);
        let taken = self.take_over(&mut promotion).await;
        if taken.is_err() && self.has_begun(promotion.epoch()) {
            // It is the log's whatever failed afterwards: nobody is told that it was given up, and no role is given back.
            return taken;
        }
        if taken.is_err()
            && promotion.fence() == Ok(Fence::Whole)
            && let Ok(log) = self.log()
        {
            // Whoever accepted it gave way to nobody. Of one that somebody may have hidden another behind nothing is said.
            self.node.memory().gave_up(self.name, promotion.epoch(), log.wal.history().current().epoch);
        }
        match taken {
            // Somebody else's attempt has gone further: the role is now theirs to take or to give back.
            Err(error) if self.peers.superseded => Err(error),
            Err(error) if self.request.switchover => Err(self.give_back(promotion.epoch(), error).await),
            done => done,
        }
    }

    fn has_begun(&self, epoch: Epoch) -> bool {
        self.log().is_ok_and(|log| log.wal.history().current().epoch == epoch)
    }

    /// From here on the writer before may have stopped.
    async fn take_over(&mut self, promotion: &mut Promotion) -> Result<Promoted> {
        let stopped = Instant::now();
        let fenced = self.peers.fence(self.name, promotion, self.request.switchover).await;
        // Also of an attempt that comes to nothing: whoever said so may not answer the next one.
        let noted = self.note_left_open(promotion.epoch());
        fenced?;
        noted?;
        let policies = self.settle(promotion).await?;
        let left_open = self.node.memory().left_open_before(self.name, promotion.epoch());
        self.report.settled(promotion, &self.peers, &self.archives, left_open);
        // What the old writer appended meanwhile is given up as little as the rest.
        self.must_accept_cut(self.report.position())?;
        if let Some(to) = self.request.to {
            self.report.cut(&self.log()?, &self.peers, to).await?;
        }
        let log = self.begin(promotion.epoch(), policies).await?;
        let pause = self.report.had_writer().then(|| stopped.elapsed());
        Ok(self.report.promoted(&log, pause))
    }

    /// Keeps at which node a transaction was left behind: as it says now, else as it said to an attempt before.
    fn note_left_open(&self, epoch: Epoch) -> Result<()> {
        let (memory, current) = (self.node.memory(), self.log()?.wal.history().current().epoch);
        let told = self.peers.surveyed().find(|surveyed| surveyed.left_open);
        let told = told.map(|surveyed| surveyed.witness.node.clone());
        if let Some(node) = told.or_else(|| memory.left_open_since(self.name, current)) {
            memory.note_left_open_at(self.name, node, epoch);
        }
        Ok(())
    }

    /// Refuses what cannot come to a good end even if everybody who answered accepts the epoch: whoever accepts one takes
    /// nothing more from the writer before, and so would be disturbed for nothing.
    fn may_succeed(&self) -> Result<()> {
        let supposed = self.report.supposed(&self.peers);
        match supposed.step().map_err(|dispute| self.disputed(&dispute))? {
            Step::Fence(fence) if !self.request.accept_loss => {
                self.must_be_let()?;
                Err(self.unfenced(&fence))
            }
            Step::NoVote { voters } if !self.request.accept_loss => Err(self.without_vote(&voters)),
            Step::Lost { to } if !self.request.accept_loss => Err(self.having_lost(to)),
            _ => self.must_be_latest(&self.report.would_begin(&supposed, &self.archives)),
        }
    }

    /// Says what this node lacks, where that is a role at somebody who answers.
    fn must_be_let(&self) -> Result<()> {
        let denied = |denial| refused(ErrorKind::Denied, self.name, &format!("{denial}. Nobody was fenced"));
        self.peers.denial().map_or(Ok(()), |denial| Err(denied(denial)))
    }

    /// Refuses what cannot be fetched for want of a role, before anybody is fenced: the writer may have more than it says now, and
    /// nobody would write the log afterwards.
    async fn may_fetch(&self) -> Result<()> {
        let from = match self.report.supposed(&self.peers).step() {
            Ok(Step::Fetch { from, .. }) => Some(from),
            _ => None,
        };
        let needed = |witness: &&Witness| witness.writes || Some(&witness.node) == from.as_ref();
        for witness in self.peers.witnesses().filter(needed) {
            let Some(peer) = self.peers.client(&witness.node) else { continue };
            // Whoever is silent by now is found out where it is needed.
            let Ok(Ok(logs)) = timeout(PATIENCE, peer.logs()).await else { continue };
            if logs.iter().all(|log| log.name != *self.name) {
                let why = format!(
                    "{} offers no such log to {}, which may have to fetch from there: grant it the role replicate there; if it has \
                     that, the log is just changing hands, so run it again. Nobody was fenced",
                    witness.node,
                    self.node.id()
                );
                return Err(refused(ErrorKind::Denied, self.name, &why));
            }
        }
        Ok(())
    }

    /// Refuses to go on from a copy whose end may be what died when a later epoch began, as an archive knows, unless that loss
    /// was accepted.
    fn must_be_latest(&self, copy: &Witness) -> Result<()> {
        match self.archives.later(copy) {
            Some((store, held, at)) if !self.request.accept_loss => {
                let (epoch, end) = (held.epoch(), copy.end);
                let why = format!(
                    "{store} holds epoch {epoch} of it, which began at {at}, before the end of this copy at {end}; \
                     promote a node that has epoch {epoch}, "
                );
                Err(self.refused(why + "or go on with --accept-loss"))
            }
            _ => Ok(()),
        }
    }

    fn without_vote(&self, voters: &BTreeSet<NodeId>) -> Error {
        let voters: Vec<&str> = voters.iter().map(NodeId::as_str).collect();
        let why = format!("this node has no vote in its policy; promote one of {}, ", voters.join(", "));
        self.refused(why + "or go on with --accept-loss")
    }

    fn having_lost(&self, to: Lsn) -> Error {
        let why = format!("this node once acknowledged up to {to} and lost what its log lacks; ");
        self.refused(why + "let it fetch that, promote another node, or go on with --accept-loss")
    }

    /// Does what the rules say until nothing is left but to begin.
    async fn settle(&mut self, promotion: &mut Promotion) -> Result<Vec<Policy>> {
        loop {
            let step = match self.request.accept_loss {
                true => promotion.step_accepting_loss(),
                false => promotion.step(),
            };
            match step.map_err(|dispute| self.disputed(&dispute))? {
                Step::Begin { policies } => match self.fetch_archived().await? {
                    true => self.heard_own(promotion)?,
                    false => return Ok(policies),
                },
                Step::Fetch { from, to } => {
                    let peer = self.peers.client(&from).expect("only peers and this node are heard");
                    fetch::up_to(self.node, self.name, peer, to).await?;
                    self.heard_own(promotion)?;
                }
                Step::NoVote { voters } => return Err(self.without_vote(&voters)),
                Step::Fence(fence) => return Err(self.unfenced(&fence)),
                Step::Lost { to } => return Err(self.having_lost(to)),
            }
        }
    }

    /// Decides anew by what this copy is after a fetch.
    fn heard_own(&mut self, promotion: &mut Promotion) -> Result<()> {
        let own = own::witness(self.node, &*self.log()?)?;
        let accepted = own.accepted;
        if promotion.heard(own) {
            return Ok(());
        }
        // Whoever it was fetched from has begun a later epoch meanwhile, and that came with it.
        self.peers.superseded = true;
        let why = format!("epoch {accepted} was accepted here meanwhile, of another attempt; run it again");
        Err(refused(ErrorKind::Fenced, self.name, &why))
    }

    /// Fetches what an archive has beyond this copy; whether that was anything.
    async fn fetch_archived(&mut self) -> Result<bool> {
        let own = own::witness(self.node, &*self.log()?)?;
        self.must_be_latest(&own)?;
        let Some((store, to)) = self.archives.beyond(&own).map(|(store, to)| (store.to_owned(), to)) else {
            return Ok(false);
        };
        match self.archives.fetch(self.node, self.name, &store, to).await {
            Ok(()) => Ok(true),
            Err(error) if self.request.accept_loss => {
                tracing::warn!(log = %self.name, store, %error, "what is archived is not fetched");
                Ok(false)
            }
            Err(error) => {
                let why = format!("{store} holds it up to {to}, and that cannot be had: {error}; run it again, ");
                Err(refused(error.kind(), self.name, &(why + "or go on with --accept-loss")))
            }
        }
    }

    /// Refuses to give up what lies between `to` and the end, unless that was accepted.
    fn must_accept_cut(&self, end: Lsn) -> Result<()> {
        match self.request.to {
            Some(to) if end < to => Err(beyond(self.name, end, to)),
            Some(to) if to < end && !self.request.accept_loss => {
                let bytes = end.since(to);
                let why = format!("{bytes} bytes of log lie between {to} and its end at {end}; ");
                Err(self.refused(why + "begin at the end, or give them up with --accept-loss"))
            }
            _ => Ok(()),
        }
    }

    /// Begins the epoch.
    async fn begin(&self, epoch: Epoch, policies: Vec<Policy>) -> Result<Arc<Log>> {
        let own = |policy: Policy| Policy { writer: self.node.id().clone(), degraded: false, ..policy };
        let policies = policies.into_iter().map(|policy| own(policy).to_record()).collect();
        let (node, name, to) = (self.node.clone(), self.name.clone(), self.request.to);
        blocking("begin an epoch", move || {
            if let Some(to) = to {
                own::cut(&node, &name, to)?;
            }
            node.begin_epoch(&name, &longshore_wal::Promotion { epoch, policies })
        })
        .await
    }

    /// A writer that gives its role up stops for as long as this node lacks something: so it should lack little.
    async fn come_near(&self) -> Result<()> {
        let Some((writer, _)) = self.peers.writer() else { return Ok(()) };
        let peer = self.peers.client(&writer).expect("it answered");
        fetch::near(self.node, self.name, peer).await
    }

    /// Has the old writer take its role back, if it gave that up for nothing: the log is written again when this returns, or the
    /// error says what to run for that.
    async fn give_back(&self, epoch: Epoch, error: Error) -> Error {
        let Some((writer, _)) = self.peers.writer() else { return error };
        let address = self.peers.address(&writer).expect("it answered");
        let others = self.node.settings().replica.upstreams.iter().chain(&self.request.peers);
        let back =
            Promote { peers: others.cloned().collect(), given_up: Some(epoch), ..Promote::of(self.name.clone()) };
        let take = async || {
            // It may not have heard of the epoch that this node has accepted, and would stop once it does.
            let client = peers::tell_again(self.node, address, self.name, epoch).await?;
            client.promote(&back).await.map(drop).map_err(Error::from)
        };
        // Its log may just be becoming one that follows.
        let taken = again(take, |error: &Error| error.kind() == ErrorKind::Unavailable);
        let left = match timeout(BACK, taken).await {
            Ok(Ok(())) => return error,
            Ok(Err(left)) => left.to_string(),
            Err(_) => format!("no answer within {} s", BACK.as_secs()),
        };
        let log = self.name;
        let why = format!(
            "{error}; and {writer}, which gave its role up, does not take it back: {left}; until \
             `longshore promote --server {address} --log {log}` nobody writes it"
        );
        refused(error.kind(), self.name, &why)
    }

    fn log(&self) -> Result<Arc<Log>> {
        self.node.require(self.name)
    }

    /// The epoch that was minted for this attempt; else a number above every one that was heard of, and an id of its own.
    fn epoch(&self) -> Result<Epoch> {
        let own = own::witness(self.node, &*self.log()?)?;
        let number = report::next_number(&own, &self.peers, &self.archives);
        match self.minted {
            Some(minted) if minted.number < number => {
                let why = format!("epoch {minted} was minted for it, but {} was accepted meanwhile", number - 1);
                Err(refused(ErrorKind::Fenced, self.name, &why))
            }
            Some(minted) => Ok(minted),
            None => Ok(Epoch { number, writer: draw_writer(&**self.node.environment())? }),
        }
    }

    fn unfenced(&self, fence: &Fence) -> Error {
        let what = match fence {
            Fence::Open { unfenced } => {
                let nodes: Vec<&str> = unfenced.iter().map(NodeId::as_str).collect();
                format!("the writer before may still confirm appends with {}: reach them, ", nodes.join(", "))
            }
            Fence::Unprotected { writer } => {
                let writer = writer.as_ref().map_or("the writer before".to_owned(), NodeId::to_string);
                format!(
                    "its policy needs no replica, or none after a while, so only {writer} itself can be fenced: stop it for good or reach it, "
                )
            }
            Fence::Whole => String::new(),
        };
        self.refused(what + "or go on with --accept-loss, and what it confirms from now on is lost")
    }

    fn disputed(&self, dispute: &Dispute) -> Error {
        let (a, b) = &dispute.between;
        let at = dispute.at.map_or("nowhere in what they still know".to_owned(), |at| format!("at {at}"));
        let why = format!(
            "{a} and {b} wrote one epoch in two ways, and part {at}: `longshore rejoin` sets one of them aside"
        );
        refused(ErrorKind::Diverged, self.name, &why)
    }

    fn refused(&self, why: String) -> Error {
        refused(ErrorKind::Fenced, self.name, &why)
    }
}

/// Refuses a position at which the log cannot end: what this node has of it must be a boundary, and what it fetches first is
/// looked at when it is here.
fn must_reach(log: &Log, end: Lsn, to: Lsn) -> Result<()> {
    if end < to {
        return Err(beyond(&log.name, end, to));
    }
    match log.wal.crc_at(to) {
        Err(longshore_wal::Error::Beyond { .. }) => Ok(()),
        found => Ok(found.map(drop)?),
    }
}

fn beyond(log: &Name, end: Lsn, to: Lsn) -> Error {
    refused(ErrorKind::Unreachable, log, &format!("it ends at {end}, before {to}; the nearest position is {end}"))
}

fn refused(kind: ErrorKind, log: &Name, why: &str) -> Error {
    Error::Refused { kind, reason: format!("log {log} has no new writer: {why}"), at: None }
}

/// A fresh id of whoever begins an epoch.
pub(crate) fn draw_writer(environment: &dyn Environment) -> Result<WriterId> {
    let mut bytes = [0; 16];
    environment
        .random(&mut bytes)
        .map_err(|error| Error::io("draw a random number from", "the system".as_ref(), error))?;
    Ok(WriterId::from_bytes(bytes))
}
