//! One seed: faults first, then peace, and what must hold throughout.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore::feed::{FeedReport, feed};
use longshore::follow::{FollowEnd, FollowReport, follow};
use longshore_format::{ErrorKind, Lsn, SegmentSize};
use longshore_protocol::{
    Ack, Backoff, Error as ProtocolError, Hello, Holding, Limits, NodeAck, NodeId, Offer, Peer, ToUpstream, Verdict,
};
use longshore_testkit::sim_rng::Rng;
use longshore_wal::{RecordDraft, Wal};
use tokio::time::{Instant, sleep};

use crate::line::{Faults, connect};
use crate::node::{Log, Node, Tasks};
use crate::tally::Tally;

/// Runs the story of a seed; an error says which promise was broken.
pub(crate) fn run(seed: u64) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { Story::new(seed)?.tell().await })
}

struct Story {
    rng: Rng,
    /// The primary first; each other one follows an earlier one.
    nodes: Vec<Node>,
    follows: Vec<usize>,
    limits: Limits,
    faults: Arc<Mutex<Faults>>,
    /// What every upstream believed of every node at any time: the node's disk must keep it for ever.
    believed: Arc<Mutex<Vec<NodeAck>>>,
    tally: Arc<Mutex<Tally>>,
    broken: Arc<Mutex<Option<String>>>,
    trace: Trace,
    appended: u64,
    ahead: bool,
    /// Up to where the primary could tell anybody that a record is durable at both ends.
    confirmed: Lsn,
    /// Who is to set aside what lies behind where.
    forks: Arc<Mutex<Vec<(NodeId, Lsn)>>>,
}

/// What happened last, for the report of a broken promise.
#[derive(Clone)]
struct Trace(Arc<Mutex<VecDeque<String>>>, Instant);

impl Trace {
    const LINES: usize = 60;

    fn note(&self, line: impl FnOnce() -> String) {
        let mut lines = self.0.lock().unwrap();
        if lines.len() == Self::LINES {
            lines.pop_front();
        }
        lines.push_back(format!("{:>9.3} {}", self.1.elapsed().as_secs_f64(), line()));
    }

    fn told(&self, what: &str) -> String {
        let lines = self.0.lock().unwrap();
        lines.iter().chain([&what.to_owned()]).map(|line| format!("    {line}\n")).collect()
    }
}

const NAMES: [&str; 3] = ["primary", "eu-west", "us-east"];

impl Story {
    fn new(seed: u64) -> Result<Self, String> {
        let mut rng = Rng::new(seed);
        let tally = Arc::new(Mutex::new(Tally::default()));
        let follows = rng.pick(&[&[0][..], &[0, 0], &[0, 1]]).to_vec();
        tally.lock().unwrap().cascades += u64::from(follows == [0, 1]);
        let ahead = rng.one_in(2);
        tally.lock().unwrap().ahead += u64::from(ahead);
        let mut nodes = vec![Node::primary(&mut rng, NAMES[0], ahead)?];
        let spec = nodes[0].log.wal.start_point().map_err(|error| error.to_string())?;
        for (name, _) in NAMES[1..].iter().zip(&follows) {
            nodes.push(Node::replica(&mut rng, name, &spec)?);
        }
        let limits = Limits {
            window: *rng.pick(&[1_000, 20_000, 200_000]),
            batch: *rng.pick(&[1, 500, 5_000, 100_000]),
            ..Limits::default()
        };
        let sometimes = |rng: &mut Rng, one_in| if rng.one_in(2) { one_in } else { 0 };
        let faults = Faults {
            cut: sometimes(&mut rng, 30),
            stall: sometimes(&mut rng, 100),
            black_hole: sometimes(&mut rng, 200),
            mangle: sometimes(&mut rng, 15),
            latency: *rng.pick(&[0, 5, 50, 500]),
        };
        Ok(Self {
            rng,
            nodes,
            follows,
            limits,
            faults: Arc::new(Mutex::new(faults)),
            believed: Arc::default(),
            tally,
            broken: Arc::default(),
            trace: Trace(Arc::default(), Instant::now()),
            appended: 0,
            ahead,
            confirmed: Lsn::ZERO,
            forks: Arc::default(),
        })
    }

    async fn tell(mut self) -> Result<Tally, String> {
        let trace = self.trace.clone();
        self.try_tell().await.map_err(|what| trace.told(&what))
    }

    async fn try_tell(&mut self) -> Result<Tally, String> {
        for replica in 1..self.nodes.len() {
            self.start_following(replica);
        }
        for _ in 0..10 + self.rng.below(20) {
            self.act().await?;
            self.part()?;
            self.check()?;
        }
        self.peace().await?;
        let mut tally = self.tally.lock().unwrap().clone();
        tally.records += self.appended;
        tally.bytes += self.nodes[0].log.wal.end().get();
        Ok(tally)
    }

    /// Something happens at some node, then time passes.
    async fn act(&mut self) -> Result<(), String> {
        match self.rng.below(20) {
            0 => self.crash_primary()?,
            1 => {
                let replica = 1 + self.rng.index(self.nodes.len() - 1);
                self.crash_replica(replica)?;
            }
            _ => self.append()?,
        }
        let pause = *self.rng.pick(&[1, 50, 1_000, 20_000]);
        sleep(Duration::from_millis(self.rng.below(pause))).await;
        Ok(())
    }

    /// A few batches, of records of one size or of any.
    fn append(&mut self) -> Result<(), String> {
        let fixed = self.rng.one_in(3).then_some(112);
        for _ in 0..self.rng.below(8) {
            let records = 1 + self.rng.index(4);
            let payloads: Vec<Vec<u8>> = (0..records)
                .map(|_| {
                    let len = fixed.unwrap_or_else(|| self.rng.below(3000) as usize);
                    let mut payload = vec![0; len];
                    self.rng.fill(&mut payload);
                    payload
                })
                .collect();
            let batch: Vec<_> = payloads.iter().map(|payload| RecordDraft::user(payload)).collect();
            match self.nodes[0].log.wal.append(&batch, None) {
                Ok(_) => self.appended += records as u64,
                Err(error) if error.kind() == ErrorKind::Full => break,
                Err(error) => return Err(format!("append: {error}")),
            }
        }
        Ok(())
    }

    fn crash_replica(&mut self, replica: usize) -> Result<(), String> {
        self.tally.lock().unwrap().replica_crashes += 1;
        let end = self.nodes[replica].crash(&mut self.rng)?;
        self.trace.note(|| format!("{} lost power, and ends at {end}", self.nodes[replica].id));
        self.check_believed(replica, end)?;
        self.follow_again(replica);
        Ok(())
    }

    fn follow_again(&mut self, replica: usize) {
        self.start_following(replica);
        // Those who follow it lose their streams with it, and dial the new process.
        for below in (1..self.nodes.len()).filter(|below| self.follows[below - 1] == replica).collect::<Vec<_>>() {
            self.start_following(below);
        }
    }

    fn crash_primary(&mut self) -> Result<(), String> {
        self.tally.lock().unwrap().primary_crashes += 1;
        let end = self.nodes[0].crash(&mut self.rng)?;
        self.trace.note(|| format!("the primary lost power, and ends at {end}"));
        if end < self.confirmed {
            return Err(format!("the primary ends at {end}, and {} was confirmed", self.confirmed));
        }
        let mut lost = false;
        for node in &self.nodes[1..] {
            let (shown, held) = (node.log.wal.durable().get(), node.log.wal.end());
            let kept = if self.ahead { shown } else { held };
            if end < kept {
                return Err(format!("the primary lost what was shown: it ends at {end}, {} at {kept}", node.id));
            }
            lost |= end < held;
        }
        self.tally.lock().unwrap().lost_ahead += u64::from(lost);
        for below in (1..self.nodes.len()).filter(|below| self.follows[below - 1] == 0).collect::<Vec<_>>() {
            self.start_following(below);
        }
        Ok(())
    }

    /// Sets aside what the primary has lost, where verdicts have said so since.
    fn part(&mut self) -> Result<(), String> {
        let forks = std::mem::take(&mut *self.forks.lock().unwrap());
        for (id, fork) in forks {
            let replica = self.nodes.iter().position(|node| node.id == id).expect("it follows");
            let shown = self.nodes[replica].log.wal.durable().get();
            if fork < shown {
                return Err(format!("{id} is to set aside from {fork} on, and has shown what lies before {shown}"));
            }
            self.believed.lock().unwrap().retain(|acked| acked.node != id || acked.ack.durable() <= fork);
            for node in &self.nodes {
                node.log.forget(&id);
            }
            let end = self.nodes[replica].truncate(&mut self.rng, fork)?;
            self.tally.lock().unwrap().set_aside += 1;
            self.trace.note(|| format!("{id} sets aside what lies behind {end}"));
            self.follow_again(replica);
        }
        Ok(())
    }

    /// What anybody was told is durable at this node is there after a crash (F-105).
    fn check_believed(&self, node: usize, end: Lsn) -> Result<(), String> {
        let id = &self.nodes[node].id;
        let believed = self.believed.lock().unwrap();
        match believed.iter().filter(|acked| acked.node == *id).map(|acked| acked.ack.durable()).max() {
            Some(acked) if end < acked => Err(format!("{id} acknowledged {acked}, but holds only up to {end}")),
            _ => Ok(()),
        }
    }

    /// What must hold at every moment.
    fn check(&mut self) -> Result<(), String> {
        let primary = &self.nodes[0].log;
        let acked = primary.known().values().map(Ack::durable).max().unwrap_or(Lsn::ZERO);
        self.confirmed = self.confirmed.max(acked.min(primary.wal.durable().get()));
        if let Some(broken) = self.broken.lock().unwrap().take() {
            return Err(broken);
        }
        for node in &self.nodes {
            while let Some(ended) = node.tasks.lock().unwrap().try_join_next() {
                if let Err(panic) = ended.map_err(tokio::task::JoinError::try_into_panic)
                    && panic.is_ok()
                {
                    return Err(format!("a task of {} panicked", node.id));
                }
            }
        }
        for node in 1..self.nodes.len() {
            let log = &self.nodes[node].log.wal;
            self.check_believed(node, log.synced().get())?;
            if self.nodes[0].log.wal.durable().get() < log.durable().get() {
                return Err(format!("{} shows what is not durable at the primary", self.nodes[node].id));
            }
        }
        Ok(())
    }

    /// No more faults: soon everybody holds everything, and everybody knows it.
    async fn peace(&mut self) -> Result<(), String> {
        self.trace
            .note(|| format!("peace; the limits were {:?}, the faults {:?}", self.limits, self.faults.lock().unwrap()));
        *self.faults.lock().unwrap() = Faults { latency: 5, ..Faults::default() };
        self.append()?;
        let began = Instant::now();
        while let Some(missing) = self.missing() {
            self.part()?;
            self.check()?;
            if Duration::from_secs(600) < began.elapsed() {
                return Err(format!("ten minutes of peace were not enough: {missing}"));
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.check()?;
        for replica in 1..self.nodes.len() {
            equal(&self.nodes[0].log.wal, &self.nodes[replica].log.wal)
                .map_err(|what| format!("{}: {what}", self.nodes[replica].id))?;
        }
        Ok(())
    }

    fn missing(&self) -> Option<String> {
        let primary = &self.nodes[0].log.wal;
        let end = primary.end();
        if primary.durable().get() < end {
            return Some("the primary has not synced".to_owned());
        }
        for node in &self.nodes[1..] {
            let durable = node.log.wal.durable().get();
            if durable < end {
                return Some(format!("{} is at {durable} of {end}", node.id));
            }
            // Also what is only relayed: a replica of a replica counts at the primary.
            let known = self.nodes[0].log.known().get(&node.id).map_or(Lsn::ZERO, Ack::durable);
            if known < end {
                return Some(format!("the primary knows {} only up to {known} of {end}", node.id));
            }
        }
        None
    }

    /// Follows as a real replica does: dials, follows until the stream ends, pauses, dials again.
    fn start_following(&mut self, replica: usize) {
        let upstream = &self.nodes[self.follows[replica - 1]];
        let (upstream_id, upstream_log) = (upstream.id.clone(), Arc::clone(&upstream.log));
        let upstream_tasks = Arc::clone(&upstream.tasks);
        let node = &self.nodes[replica];
        let dial = Dial {
            rng: self.rng.split(),
            limits: self.limits,
            faults: Arc::clone(&self.faults),
            believed: Arc::clone(&self.believed),
            tally: Arc::clone(&self.tally),
            broken: Arc::clone(&self.broken),
            trace: self.trace.clone(),
            forks: Arc::clone(&self.forks),
            ahead: self.ahead,
            peer: Peer { node: node.id.clone(), region: None, may_promote: false },
            log: Arc::clone(&node.log),
            upstream_id,
            upstream_log,
            upstream_tasks,
        };
        self.nodes[replica].follow(dial.run());
    }
}

struct Dial {
    rng: Rng,
    limits: Limits,
    faults: Arc<Mutex<Faults>>,
    believed: Arc<Mutex<Vec<NodeAck>>>,
    tally: Arc<Mutex<Tally>>,
    broken: Arc<Mutex<Option<String>>>,
    trace: Trace,
    forks: Arc<Mutex<Vec<(NodeId, Lsn)>>>,
    ahead: bool,
    peer: Peer,
    log: Arc<Log>,
    upstream_id: longshore_protocol::NodeId,
    upstream_log: Arc<Log>,
    /// Feeds and links live there: those of earlier streams until they notice, so that two can be open at once (F-091).
    upstream_tasks: Tasks,
}

impl Dial {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            self.attempt().await;
            let pause = backoff.pause(self.rng.next_u64());
            if self.rng.one_in(2) {
                backoff.reset();
            }
            sleep(pause).await;
        }
    }

    async fn attempt(&mut self) {
        self.tally.lock().unwrap().streams += 1;
        let faults = *self.faults.lock().unwrap();
        let (mut replica_end, upstream_end) = connect(&mut self.rng, faults, &self.tally, &self.upstream_tasks);
        let feeding = self.feeding(upstream_end);
        self.upstream_tasks.lock().unwrap().spawn(feeding);
        let wal = &self.log.wal;
        wal.synced().wait(wal.end()).await.expect("the log is open");
        let hello = ToUpstream::Hello(Box::new(self.hello()));
        if replica_end.send(hello).await.is_err() {
            return;
        }
        let report = |report| {
            if let FollowReport::Proved { .. } = report {
                self.tally.lock().unwrap().proofs += 1;
            }
        };
        let ended = follow(&*self.log, replica_end, self.limits, &report).await;
        self.judge(ended);
    }

    fn hello(&self) -> Hello {
        Hello { node: self.peer.node.clone(), offer: Offer::ours(), holding: holding(&self.log.wal) }
    }

    /// Serves this replica at its upstream, whose reports are what must be true.
    fn feeding(&self, channel: longshore_transport::UpstreamEnd) -> impl Future<Output = ()> + Send + 'static {
        let (log, id, peer, limits) =
            (Arc::clone(&self.upstream_log), self.upstream_id.clone(), self.peer.clone(), self.limits);
        let (believed, tally, trace) = (Arc::clone(&self.believed), Arc::clone(&self.tally), self.trace.clone());
        async move {
            let report = |report| {
                let acks = match report {
                    FeedReport::Accepted { from } => {
                        let ack = Ack::new(from, from, Lsn::ZERO).unwrap();
                        vec![NodeAck { node: peer.node.clone(), ack }]
                    }
                    FeedReport::Acks(acks) => acks,
                    _ => return,
                };
                let relayed = acks.iter().filter(|acked| acked.node != peer.node).count();
                tally.lock().unwrap().relayed += relayed as u64;
                log.acked(&acks);
                believed.lock().unwrap().extend(acks);
            };
            let ended = feed(&*log, &id, peer.clone(), channel, limits, &report).await;
            trace.note(|| format!("{id} no longer serves {}: {ended:?}", peer.node));
            let mut tally = tally.lock().unwrap();
            match ended {
                Err(longshore::Error::Protocol(ProtocolError::Superseded { .. })) => tally.superseded += 1,
                Err(longshore::Error::Protocol(ProtocolError::Silent { .. })) => tally.silences += 1,
                _ => {}
            }
        }
    }

    /// Only what the link did may end a stream; a verdict to truncate, re-seed or that logs differ is a broken promise.
    fn judge(&self, ended: Result<FollowEnd, longshore::Error>) {
        self.trace.note(|| format!("{} no longer follows, at {}: {ended:?}", self.peer.node, self.log.wal.end()));
        let mut tally = self.tally.lock().unwrap();
        match ended {
            Ok(FollowEnd::Verdict(Verdict::Truncate { fork, .. })) if self.ahead => {
                self.forks.lock().unwrap().push((self.peer.node.clone(), fork));
            }
            Ok(FollowEnd::Verdict(verdict)) => {
                *self.broken.lock().unwrap() = Some(format!("{}: {verdict}", self.peer.node));
            }
            Err(error) if matches!(error.kind(), ErrorKind::Diverged | ErrorKind::Fenced | ErrorKind::Internal) => {
                *self.broken.lock().unwrap() = Some(format!("{}: {error}", self.peer.node));
            }
            Err(longshore::Error::Protocol(ProtocolError::Gap { .. })) => tally.gaps += 1,
            Err(longshore::Error::Protocol(ProtocolError::Silent { .. })) => tally.silences += 1,
            Err(longshore::Error::Wal(_)) => tally.bad_frames += 1,
            _ => {}
        }
    }
}

/// What a replica says that it holds.
pub(crate) fn holding(wal: &Wal) -> Holding {
    Holding {
        log: wal.id(),
        content: wal.content(),
        segment_size: wal.segment_size(),
        history: wal.history(),
        accepted: wal.accepted_epoch(),
        first: wal.first(),
        end: wal.end(),
        last_crc: wal.last_crc(),
        lost: wal.lost(),
        applied: None,
    }
}

/// Two logs hold the same bytes: the replica's is a prefix of the primary's, here all of it.
fn equal(primary: &Wal, replica: &Wal) -> Result<(), String> {
    let mut ours = primary.reader(primary.first()).map_err(|error| error.to_string())?;
    let mut theirs = replica.reader(replica.first()).map_err(|error| error.to_string())?;
    let whole = SegmentSize::MIN.get() as usize;
    loop {
        let at = ours.position();
        let (ours, theirs) = (ours.next_frames(whole), theirs.next_frames(whole));
        match (ours.map_err(|error| error.to_string())?, theirs.map_err(|error| error.to_string())?) {
            (None, None) => return Ok(()),
            (Some(ours), Some(theirs)) if ours == theirs => {}
            _ => return Err(format!("its bytes differ from the primary's somewhere after {at}")),
        }
    }
}
