//! Four nodes, what is under way between them, and the one order in which everything happens.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use longshore_format::{Epoch, EpochEntry, EpochHistory, Incarnation, SegmentSize, WriterId};
use longshore_protocol::Limits;

use super::archive::{Errand, Reply};
use super::bucket::Bucket;
use super::clock::{MILLI, Moment, SECOND};
use super::ledger::Ledger;
use super::net::{Call, Net, StreamId, Way};
use super::node::Node;
use super::record::{Id, Records, What};
use super::shape::{NODES, promise};
use super::tally::Tally;
use super::tenancy::{Answer, Ask, Store};
use crate::sim_rng::Rng;

/// What broke a rule.
pub(super) type Step<T = ()> = Result<T, String>;

/// What is to happen.
#[derive(Debug)]
pub(super) enum Event {
    /// A node looks what is due; void if it has set another alarm since.
    Wake(usize, u64),
    /// The disk of a node is done, if that has not restarted since.
    Synced(usize, u64),
    /// The next message on a stream arrives.
    Stream(StreamId, Way),
    /// A question or an answer arrives.
    Call(Call),
    /// A question of a node arrives at the store that holds the lease.
    Ask(Box<Ask>),
    /// Its answer arrives at the node.
    Told(Box<(Ask, Answer)>),
    /// A question of a node arrives at the store that the log is archived in.
    Errand(Box<Errand>),
    /// Its answer arrives at the node, and when it was given.
    Reply(Box<(Errand, Reply, Moment)>),
    /// A client appends somewhere.
    Client,
    /// Something goes wrong.
    Trouble,
    /// All links work again.
    Mend,
    /// A node that crashed comes back.
    Start(usize),
    /// Nothing goes wrong from here on.
    Calm,
    /// Whether all is well again.
    Look,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) at: Moment,
    queue: BTreeMap<(Moment, u64), Event>,
    scheduled: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) net: Net,
    /// The store that holds the lease.
    pub(super) store: Option<Store>,
    /// The store that the log is archived in, and how often it was asked.
    pub(super) bucket: Option<Bucket>,
    pub(super) errands: u64,
    pub(super) records: Records,
    pub(super) ledger: Ledger,
    pub(super) tally: Tally,
    /// Since when nothing goes wrong, if it is so.
    pub(super) calm: Option<Moment>,
    pub(super) clients: bool,
    /// What was done, if anybody wants to know.
    pub(super) trace: Option<Vec<String>>,
    pub(super) limits: Limits,
    /// Whether writers ship what they have not made durable yet.
    pub(super) ships_ahead: bool,
    pub(super) done: bool,
    /// How much was acknowledged when it was last seen to grow, and when.
    pub(super) progress: (u64, Moment),
}

impl World {
    pub(super) fn new(seed: u64, traced: bool) -> World {
        let mut rng = Rng::new(seed);
        let life = EpochEntry {
            start: SegmentSize::FIRST_LSN,
            epoch: Epoch { number: 1, writer: WriterId::from_bytes(random_bytes(&mut rng)) },
            incarnation: Incarnation::new(rng.next_u64()),
        };
        let history = EpochHistory::new(life);
        let nodes = (0..NODES).map(|number| Node::new(number, history.clone(), &mut rng)).collect();
        let mut world = World {
            at: 0,
            queue: BTreeMap::new(),
            scheduled: 0,
            nodes,
            net: Net::default(),
            store: None,
            bucket: None,
            errands: 0,
            records: Records::default(),
            ledger: Ledger::new(history),
            tally: Tally { seeds: 1, ..Tally::default() },
            calm: None,
            clients: true,
            trace: traced.then(Vec::new),
            limits: limits(&mut rng),
            ships_ahead: rng.one_in(2),
            done: false,
            progress: (0, 0),
            rng,
        };
        world.found();
        world
    }

    /// The log begins at the primary, with what it promises.
    fn found(&mut self) {
        if self.rng.one_in(2) {
            self.establish_archive();
        }
        let policy = What::Policy(Rc::new(promise(0, self.all_archive(), &mut self.rng)));
        let first = self.records.mint(None, 0, policy);
        let primary = &mut self.nodes[0].copy;
        primary.own_first_life();
        assert!(primary.append(first, &self.records), "the first record belongs to the beginning");
        primary.sync();
        self.take_office(0);
        if self.rng.one_in(3) {
            self.establish_lease();
        }
        for node in 0..NODES {
            self.set_alarm(node, node as u64 * MILLI);
        }
        self.schedule(SECOND, Event::Client);
        self.schedule(2 * SECOND, Event::Trouble);
        let trouble = self.rng.within(60..240) * SECOND;
        self.schedule(trouble, Event::Calm);
    }

    /// Runs to the end.
    pub(super) fn run(&mut self) -> Step {
        while !self.done {
            let ((at, _), event) = self.queue.pop_first().ok_or("nothing is to happen any more")?;
            self.at = at;
            self.tally.events += 1;
            self.happen(event)?;
            self.check()?;
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Step {
        if let Some(node) = self.concerned(&event) {
            if !self.nodes[node].up {
                return Ok(());
            }
            if self.at < self.nodes[node].asleep_until {
                let until = self.nodes[node].asleep_until;
                self.schedule(until, event);
                return Ok(());
            }
        }
        match event {
            Event::Wake(node, alarm) if alarm == self.nodes[node].alarm.0 => self.attend(node),
            Event::Wake(..) => Ok(()),
            Event::Synced(node, life) if life == self.nodes[node].life => self.synced(node),
            Event::Synced(..) => Ok(()),
            Event::Stream(stream, way) => self.arrives(stream, way),
            Event::Call(call) => self.called(call),
            Event::Ask(ask) => self.asked(*ask),
            Event::Told(told) => self.told(told.0, told.1),
            Event::Errand(errand) => self.errand(*errand),
            Event::Reply(reply) => self.replied(reply.0, reply.1, reply.2),
            Event::Client => self.client(),
            Event::Trouble => self.trouble(),
            Event::Mend => self.mend(),
            Event::Start(node) => self.start(node),
            Event::Calm => self.calm_down(),
            Event::Look => self.look(),
        }
    }

    /// Who has to be awake for it.
    fn concerned(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Wake(node, _) | Event::Synced(node, _) => Some(*node),
            Event::Told(told) => Some(told.0.node),
            Event::Reply(reply) => Some(reply.0.node),
            Event::Call(call) => Some(call.to),
            _ => None,
        }
    }

    /// A node does all that it can do now.
    pub(super) fn attend(&mut self, node: usize) -> Step {
        if !self.nodes[node].up {
            return Ok(());
        }
        self.abide(node);
        self.attend_lease(node)?;
        self.attend_attempt(node)?;
        self.attend_following(node)?;
        self.attend_feeds(node)?;
        self.attend_writing(node)?;
        self.attend_archiving(node)?;
        if self.nodes[node].up {
            self.write_back(node);
            self.rearm(node);
        }
        Ok(())
    }

    /// The disk begins to make durable what is not.
    fn write_back(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.syncing || node.copy.synced() == node.copy.log().len() {
            return;
        }
        node.syncing = true;
        let life = node.life;
        let takes = match self.calm.is_none() && self.rng.one_in(12) {
            true => self.rng.within(SECOND..6 * SECOND),
            false => self.rng.within(MILLI / 2..20 * MILLI),
        };
        self.schedule(self.at + takes, Event::Synced(number, life));
    }

    fn synced(&mut self, node: usize) -> Step {
        self.nodes[node].syncing = false;
        self.nodes[node].copy.sync();
        self.attend(node)
    }

    fn rearm(&mut self, number: usize) {
        let node = &self.nodes[number];
        let now = node.clock.boot(self.at);
        let streams = node.follow.iter().map(|follow| follow.follower.deadline());
        let lease = node.tenancy.iter().map(|tenancy| tenancy.wake(now));
        let by_clock = streams
            .chain(lease)
            .min()
            .map_or(30 * SECOND, |wake| u64::try_from(wake.saturating_sub(now).as_micros()).unwrap_or(30 * SECOND));
        let mut at = (self.at + by_clock).min(self.at + 2 * SECOND);
        at = at.min(node.attempt.as_ref().map_or(at, |attempt| attempt.wake()));
        if node.follow.is_none() && node.writer.is_none() {
            at = at.min(node.dial_at);
        }
        // Timers are late, but no less than a little, so that time goes by.
        let late = self.rng.within(MILLI..10 * MILLI);
        self.set_alarm(number, at.max(self.at) + late);
    }

    fn set_alarm(&mut self, number: usize, at: Moment) {
        let (alarm, goes_off) = self.nodes[number].alarm;
        if goes_off <= self.at || at < goes_off {
            self.nodes[number].alarm = (alarm + 1, at);
            self.schedule(at, Event::Wake(number, alarm + 1));
        }
    }

    pub(super) fn schedule(&mut self, at: Moment, event: Event) {
        self.scheduled += 1;
        self.queue.insert((at, self.scheduled), event);
    }

    /// Puts a record at the end of a node's log; false if it does not belong there.
    pub(super) fn append(&mut self, node: usize, id: Id) -> Step<bool> {
        let appended = self.nodes[node].copy.append(id, &self.records);
        if appended {
            self.check_fork(node)?;
        }
        Ok(appended)
    }

    pub(super) fn mint(&mut self, node: usize, what: What) -> Step {
        let before = self.nodes[node].copy.log().last().copied();
        let time = self.nodes[node].clock.wall(self.at);
        let id = self.records.mint(before, time, what);
        match self.append(node, id)? {
            true => Ok(()),
            false => Err(format!("{} cannot append to its own log", self.nodes[node].id)),
        }
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} {}", self.at as f64 / SECOND as f64, what()));
        }
    }
}

/// Small, so that credit and batches matter; and some are patient, so that what is over is found out late.
fn limits(rng: &mut Rng) -> Limits {
    let heartbeat = Duration::from_secs(rng.within(2..9));
    Limits { window: 2048, batch: 160, heartbeat, silence: 5 * heartbeat, answer: 5 * heartbeat, ..Limits::default() }
}

pub(super) fn random_bytes(rng: &mut Rng) -> [u8; 16] {
    let mut bytes = [0; 16];
    rng.fill(&mut bytes);
    bytes
}
