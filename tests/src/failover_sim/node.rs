//! One node: its copy of the log, its clocks, and everything that a crash takes.

use std::collections::BTreeMap;

use longshore_format::EpochHistory;
use longshore_protocol::{Ack, NodeId, Registry};

use super::archive::{Archiver, When};
use super::clock::{Clock, Moment};
use super::copy::Copy;
use super::follow::Follow;
use super::promote::Attempt;
use super::record::lsn;
use super::serve::Feed;
use super::shape::name;
use super::tenancy::Tenancy;
use super::write::Writer;
use crate::sim_rng::Rng;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) copy: Copy,
    pub(super) clock: Clock,
    pub(super) up: bool,
    pub(super) asleep_until: Moment,
    /// How often it was started: what an earlier life was waiting for comes to nothing.
    pub(super) life: u64,
    /// Its newest alarm, and when that goes off; older ones are void.
    pub(super) alarm: (u64, Moment),
    /// Whether its disk is at work.
    pub(super) syncing: bool,
    pub(super) registry: Registry,
    pub(super) feeds: BTreeMap<usize, Feed>,
    /// How far those are that follow it, in any depth.
    pub(super) below: BTreeMap<NodeId, Ack>,
    pub(super) follow: Option<Follow>,
    pub(super) dial_at: Moment,
    pub(super) writer: Option<Writer>,
    pub(super) attempt: Option<Attempt>,
    pub(super) tenancy: Option<Tenancy>,
    pub(super) archiver: Archiver,
    pub(super) archives: When,
}

impl Node {
    pub(super) fn new(number: usize, history: EpochHistory, rng: &mut Rng) -> Node {
        Node {
            id: name(number),
            copy: Copy::new(history),
            clock: Clock::new(rng),
            up: true,
            asleep_until: 0,
            life: 0,
            alarm: (0, 0),
            syncing: false,
            registry: Registry::new(rng.next_u64()),
            feeds: BTreeMap::new(),
            below: BTreeMap::new(),
            follow: None,
            dial_at: 0,
            writer: None,
            attempt: None,
            tenancy: None,
            archiver: Archiver::default(),
            archives: When::Never,
        }
    }

    /// How far it is.
    pub(super) fn ack(&self) -> Ack {
        let (received, durable) = (lsn(self.copy.log().len()), lsn(self.copy.synced()));
        Ack::new(received, durable, longshore_format::Lsn::ZERO).expect("what is durable was received")
    }

    /// Forgets what is in no file.
    pub(super) fn forget(&mut self) {
        self.life += 1;
        self.syncing = false;
        self.feeds.clear();
        self.below.clear();
        (self.follow, self.writer, self.attempt) = (None, None, None);
        self.archiver = Archiver::default();
    }
}
