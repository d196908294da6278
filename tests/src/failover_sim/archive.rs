//! A node that archives its log: the loop around `Archived::onward`, as thin as that of the archiver.

use std::rc::Rc;

use longshore_format::{Epoch, EpochHistory, Lsn};
use longshore_protocol::{Archived, Onward, StoreState};

use super::bucket::{Bucket, Manifest, Seen};
use super::clock::{MILLI, Moment, SECOND};
use super::copy::Copy;
use super::node::Node;
use super::record::{Id, index, lsn};
use super::shape::{NODES, name};
use super::world::{Event, Step, World};

/// A node's part. It is made anew with every role that the node's log has.
#[derive(Debug, Default)]
pub(super) struct Archiver {
    /// What it goes on from; nothing until the store has said so, and after every failure.
    seen: Option<Going>,
    waits: Option<Waits>,
    look_at: Moment,
}

/// When a node archives its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    Writing,
    Never,
}

/// What is to be gone on from, and what a swap has to name.
#[derive(Debug)]
struct Going {
    version: u64,
    manifest: Rc<Manifest>,
    /// The lives of the log that it was judged by.
    lives: EpochHistory,
    /// The log that it parts from it, until the store has it so.
    parted_by: Option<Rc<[Id]>>,
}

/// Which question is not answered, and until when that is waited for.
#[derive(Debug)]
struct Waits {
    number: u64,
    until: Moment,
}

/// What a node asks of the store: what is there, or to put another manifest in the place of the one that it has seen.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    pub(super) node: usize,
    number: u64,
    /// What was accepted when it was sent.
    accepted: Epoch,
    what: Request,
}

#[derive(Debug, Clone)]
enum Request {
    Read,
    Swap { seen: u64, next: Rc<Manifest>, epoch: Epoch, parted_by: Option<Rc<[Id]>> },
}

#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Nothing was archived yet, or this.
    Holds(Option<Seen>),
    Swapped(Seen),
    /// Somebody else was faster.
    Other,
}

impl Node {
    fn archives(&self) -> bool {
        self.archives == When::Always || self.archives == When::Writing && self.writer.is_some()
    }

    /// The stores that it archives its log into, as far as it knows.
    pub(super) fn stores(&self) -> Vec<StoreState> {
        self.archives().then(|| self.archiver.state()).into_iter().collect()
    }
}

impl Going {
    /// Where its next change ends at the earliest: with one record more, and not before it parts from what is there.
    fn reaches_at_least(&self) -> usize {
        let parts = self.parted_by.as_ref().and_then(|_| self.manifest.parts_at());
        parts.unwrap_or(0).max(self.manifest.log.len() + 1)
    }
}

impl Archiver {
    /// How far the log is archived.
    fn state(&self) -> StoreState {
        let archived = self.seen.as_ref().map_or(0, |going| going.manifest.log.len());
        let archived = if archived == 0 { Lsn::ZERO } else { lsn(archived) };
        StoreState { archived, taking: self.seen.is_some() }
    }

    fn fails(&mut self, until: Moment) {
        *self = Archiver { look_at: until, ..Archiver::default() };
    }
}

impl World {
    /// The log is archived: by one at least whatever it is, by others while they write it.
    pub(super) fn establish_archive(&mut self) {
        self.bucket = Some(Bucket::default());
        let seldom = if self.rng.one_in(2) { When::Never } else { When::Writing };
        for number in 0..NODES {
            self.nodes[number].archives = *self.rng.pick(&[When::Always, When::Always, When::Writing, seldom]);
        }
        let one = self.rng.index(NODES);
        self.nodes[one].archives = When::Always;
    }

    /// Whether any node that writes can promise that its log is archived.
    pub(super) fn all_archive(&self) -> bool {
        self.bucket.is_some() && self.nodes.iter().all(|node| node.archives != When::Never)
    }

    /// The node's log is opened anew, in whatever role: nothing of what its archiver had seen goes on.
    pub(super) fn reopen_archiver(&mut self, number: usize) {
        self.nodes[number].archiver = Archiver::default();
    }

    pub(super) fn attend_archiving(&mut self, number: usize) -> Step {
        // The log is opened as the writer's when the beginning of its epoch is durable.
        let opens = self.begins(number);
        let node = &mut self.nodes[number];
        if self.bucket.is_none() || opens || !node.archives() {
            return Ok(());
        }
        if node.archiver.waits.as_ref().is_some_and(|waits| waits.until <= self.at) {
            // What became of it is not known: it is read anew.
            let pause = self.rng.within(200 * MILLI..4 * SECOND);
            node.archiver.fails(self.at + pause);
        }
        if node.archiver.waits.is_some() || self.at < node.archiver.look_at {
            return Ok(());
        }
        let what = match &node.archiver.seen {
            None => Request::Read,
            // What a later life has made void is seen by the lives alone: it is judged again.
            Some(going) if going.lives != *node.copy.history() => Request::Read,
            Some(going) if going.manifest.log.len() < node.copy.shown() => {
                let (from, to) = (going.reaches_at_least(), node.copy.shown());
                if to < from {
                    return Ok(());
                }
                // Segments that are full go first, and not all at once.
                let end = if self.rng.one_in(4) { self.rng.within(from as u64..to as u64 + 1) as usize } else { to };
                Request::Swap {
                    seen: going.version,
                    next: Rc::new(going.manifest.with(&node.copy, end)),
                    epoch: node.copy.history().current().epoch,
                    parted_by: going.parted_by.clone(),
                }
            }
            Some(_) => return Ok(()),
        };
        let asked = self.ask_bucket(number, what);
        let until = self.at + 8 * SECOND;
        self.nodes[number].archiver.waits = Some(Waits { number: asked, until });
        Ok(())
    }

    /// Asks what is archived, for whoever promotes; answers with the question's number.
    pub(super) fn read_bucket(&mut self, number: usize) -> u64 {
        self.ask_bucket(number, Request::Read)
    }

    fn ask_bucket(&mut self, node: usize, what: Request) -> u64 {
        self.errands += 1;
        let (number, accepted) = (self.errands, self.nodes[node].copy.accepted());
        let errand = Errand { node, number, accepted, what };
        for _ in 0..self.times() {
            let delay = self.delay();
            self.schedule(self.at + delay, Event::Errand(Box::new(errand.clone())));
        }
        number
    }

    /// A question arrives at the store.
    pub(super) fn errand(&mut self, errand: Errand) -> Step {
        let cut = self.net.store_cut[errand.node];
        let Some(bucket) = &mut self.bucket else { return Ok(()) };
        if cut || self.at < bucket.away_until {
            self.tally.lost += 1;
            return Ok(());
        }
        let reply = match &errand.what {
            Request::Read => Reply::Holds(bucket.manifest()),
            Request::Swap { seen, next, epoch, parted_by } => match bucket.swap(*seen, next, *epoch, &self.records)? {
                Some(version) => {
                    if let Some(log) = parted_by {
                        self.ledger.sets_aside(next.set_aside(), log, &self.records)?;
                    }
                    Reply::Swapped((version, Rc::clone(next)))
                }
                None => Reply::Other,
            },
        };
        match reply {
            Reply::Swapped(_) => self.tally.archive_changes += 1,
            Reply::Other => self.tally.archive_races += 1,
            Reply::Holds(_) => {}
        }
        if self.calm.is_none() && self.rng.one_in(30) {
            self.tally.lost += 1;
            self.tally.archive_unanswered += u64::from(matches!(reply, Reply::Swapped(_)));
            return Ok(());
        }
        let (delay, served) = (self.delay(), self.at);
        self.schedule(self.at + delay, Event::Reply(Box::new((errand, reply, served))));
        Ok(())
    }

    /// An answer of the store arrives, as things were when it was `served`.
    pub(super) fn replied(&mut self, errand: Errand, reply: Reply, served: Moment) -> Step {
        if self.net.store_cut[errand.node] {
            self.tally.lost += 1;
            return Ok(());
        }
        let number = errand.node;
        let node = &mut self.nodes[number];
        let accepted = node.copy.accepted();
        self.tally.archive_late += u64::from(accepted != errand.accepted);
        if self.replied_to_promotion(number, errand.number, &reply, served)? {
            return self.attend(number);
        }
        let archiver = &mut self.nodes[number].archiver;
        if archiver.waits.take_if(|waits| waits.number == errand.number).is_none() {
            return Ok(());
        }
        match reply {
            Reply::Holds(Some((version, manifest))) => self.judge(number, version, manifest)?,
            Reply::Holds(None) => {
                let lives = self.nodes[number].copy.history().clone();
                let manifest = Rc::new(Manifest::beginning(&lives));
                self.nodes[number].archiver.seen = Some(Going { version: 0, manifest, lives, parted_by: None });
            }
            Reply::Swapped((version, manifest)) => {
                let pause = self.rng.within(200 * MILLI..SECOND);
                archiver.look_at = self.at + pause;
                if let Some(going) = &mut archiver.seen {
                    (going.version, going.manifest, going.parted_by) = (version, manifest, None);
                }
            }
            // What they did counts, and is gone on from.
            Reply::Other => archiver.seen = None,
        }
        self.attend(number)
    }

    /// Whether this log goes on from what is there, and how.
    fn judge(&mut self, number: usize, version: u64, manifest: Rc<Manifest>) -> Step {
        let pause = self.rng.within(SECOND..10 * SECOND);
        let node = &mut self.nodes[number];
        let mut parted_by = None;
        let manifest = match manifest.archived().onward(node.copy.history()) {
            Onward::Join => manifest,
            Onward::Part { at } => {
                self.tally.archive_forks += 1;
                let parted = manifest.parted(index(at));
                parted_by = Some(node.copy.log().into());
                Rc::new(parted)
            }
            Onward::Fenced => {
                self.tally.archive_fenced += u64::from(node.writer.is_some());
                node.archiver.fails(self.at + pause);
                return Ok(());
            }
        };
        let (end, lives) = (manifest.log.len(), node.copy.history().clone());
        let joins = match node.copy.crc_at(lsn(end), &self.records) {
            Some(ours) => ours == self.records.crc(manifest.log.last().copied()),
            // It may only not have received it yet.
            None => node.writer.is_none(),
        };
        if !joins && !self.ledger.loss_accepted {
            return Err(format!("{} has not what is archived up to {end}, and their lives are the same", name(number)));
        }
        match joins {
            true => node.archiver.seen = Some(Going { version, manifest, lives, parted_by }),
            false => node.archiver.fails(self.at + pause),
        }
        Ok(())
    }

    /// The log is archived as it is.
    pub(super) fn is_archived(&self) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| bucket.log() == self.nodes[0].copy.log())
    }
}

impl Manifest {
    /// As a promotion and an archiver see it.
    pub(super) fn archived(&self) -> Archived {
        Archived { history: self.history.clone(), end: lsn(self.log.len()) }
    }

    /// With what a copy has beyond its end, up to `end`.
    fn with(&self, copy: &Copy, end: usize) -> Manifest {
        let mut next = self.clone();
        next.log.extend_from_slice(&copy.log()[next.log.len()..end]);
        next.pieces.push(end);
        next.history = copy.history().before(lsn(end)).unwrap_or_else(|| copy.history().clone());
        next
    }
}
