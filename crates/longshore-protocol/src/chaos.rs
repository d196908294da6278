//! Random orders, repeats, losses and crashes between the two state machines: whatever happens, a replica's log is a
//! prefix of the upstream's, and no ack is beyond what its disk holds.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use longshore_format::Lsn;
use proptest::prelude::*;

use crate::fake::{Fake, RECORD, START, epoch, lsn, node, peer, secs};
use crate::{
    Ack, AckTable, Fit, Follower, FollowerTurn, Frames, Heard, Limits, LogState, Offer, Reception, Registry, Reply,
    Session, ToReplica, ToUpstream, Verdict,
};

#[derive(Debug, Clone)]
enum Op {
    /// The upstream makes more records durable.
    Append(u8),
    /// The upstream sends what it may.
    Ship,
    /// The replica says what is due.
    Say,
    /// A message on the way down or up arrives; which one is chosen at random, so that order is lost.
    Down(prop::sample::Index),
    Up(prop::sample::Index),
    /// The oldest message on the way down or up arrives.
    DownNext,
    UpNext,
    /// A message is there twice.
    Repeat(prop::sample::Index),
    /// A message is lost.
    Lose(prop::sample::Index),
    /// The replica's disk catches up.
    Sync,
    /// The replica loses power and comes back.
    Crash,
    /// The stream breaks, and is opened again.
    Reconnect,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (1..20u8).prop_map(Op::Append),
        6 => Just(Op::Ship),
        5 => Just(Op::Say),
        // The first in line most often, else nothing would ever fit.
        8 => Just(Op::DownNext),
        2 => index().prop_map(Op::Down),
        5 => index().prop_map(Op::Up),
        1 => index().prop_map(Op::Repeat),
        1 => index().prop_map(Op::Lose),
        3 => Just(Op::Sync),
        1 => Just(Op::Crash),
        1 => Just(Op::Reconnect),
    ]
}

struct World {
    upstream: usize,
    registry: Registry,
    table: AckTable,
    session: Session,
    follower: Follower,
    /// The replica's log and how much of it its disk holds.
    log: Vec<u32>,
    durable: usize,
    down: VecDeque<ToReplica>,
    up: VecDeque<ToUpstream>,
    reconnects: usize,
}

const TOTAL: usize = 100_000;

fn limits() -> Limits {
    Limits { window: 3000, batch: 700, ..Limits::default() }
}

fn whole() -> &'static Fake {
    static WHOLE: std::sync::OnceLock<Fake> = std::sync::OnceLock::new();
    WHOLE.get_or_init(|| Fake::new(&[(1, 1, 1, TOTAL)]))
}

impl World {
    fn new() -> Self {
        let mut registry = Registry::new(1);
        let mut table = AckTable::new();
        table.admit(node("eu-west"), None).unwrap();
        let (session, follower) = connect(&mut registry, 10, 0);
        let (down, up) = Default::default();
        let log = Vec::new();
        World { upstream: 10, registry, table, session, follower, log, durable: 0, down, up, reconnects: 0 }
    }

    fn reconnect(&mut self) {
        self.reconnects += 1;
        (self.down, self.up) = Default::default();
        (self.session, self.follower) = connect(&mut self.registry, self.upstream, self.log.len());
    }

    fn ship(&mut self) {
        let Some(want) = self.session.wants(lsn(self.upstream)) else {
            return;
        };
        let from = ((want.from.get() - START) / RECORD) as usize;
        let to = (from + (want.max / RECORD as usize).max(1)).min(self.upstream);
        let mut bytes = BytesMut::zeroed((to - from) * RECORD as usize);
        for (record, bytes) in (from..to).zip(bytes.chunks_mut(RECORD as usize)) {
            bytes[..4].copy_from_slice(&whole().crcs[record + 1].to_le_bytes());
        }
        self.session.on_sent(lsn(to), bytes.len(), secs(0));
        let frames = Frames { start: want.from, epoch: epoch(1, 1), bytes: bytes.freeze() };
        self.down.push_back(ToReplica::Frames(frames));
    }

    fn say(&mut self) {
        let own = Ack::new(lsn(self.log.len()), lsn(self.durable), Lsn::ZERO).unwrap();
        self.up.extend(self.follower.say(own, &[], secs(0)).unwrap());
    }

    /// Delivers one message to the replica; one that does not fit ends the stream.
    fn deliver_down(&mut self, message: ToReplica) {
        match self.follower.on(&message, secs(0)) {
            Err(_) => self.reconnect(),
            Ok(FollowerTurn::Frames) => {
                let ToReplica::Frames(frames) = message else { unreachable!() };
                match self.follower.fit(frames.start, frames.bytes.len()) {
                    Ok(fit) => self.store(fit, &frames),
                    Err(_) => self.reconnect(),
                }
            }
            Ok(_) => {}
        }
    }

    fn store(&mut self, fit: Fit, frames: &Frames) {
        let crcs = |bytes: &Bytes| -> Vec<u32> {
            let crc = |record: &[u8]| u32::from_le_bytes(record[..4].try_into().unwrap());
            bytes.chunks(RECORD as usize).map(crc).collect()
        };
        let skip = match fit {
            Fit::Append => 0,
            Fit::Overlap { skip } => skip,
            Fit::Duplicate => frames.bytes.len(),
        };
        let at = ((frames.start.get() - START) / RECORD) as usize;
        let held = crcs(&frames.bytes.slice(..skip));
        assert_eq!(held, self.log[at..at + held.len()], "a duplicate holds the same bytes");
        self.log.extend(crcs(&frames.bytes.slice(skip..)));
        let expected = &whole().crcs[at + 1..=self.log.len().max(at)];
        assert_eq!(self.log[at..], *expected, "a prefix, without a gap (F-092)");
        self.follower.on_stored(lsn(self.log.len()), frames.bytes.len());
    }

    fn deliver_up(&mut self, message: ToUpstream) {
        let node = node("eu-west");
        match self.session.on(message, secs(0)).expect("an honest replica breaks no rule") {
            Heard::Acks(acks) => {
                self.registry.check(&node, self.session.id()).unwrap();
                for acked in acks {
                    self.table.merge(&acked.node, acked.ack);
                }
            }
            heard => assert_eq!(heard, Heard::Nothing),
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(records) => self.upstream = (self.upstream + usize::from(*records)).min(TOTAL),
            Op::Ship => self.ship(),
            Op::Say => self.say(),
            Op::Sync => self.durable = self.log.len(),
            Op::Crash => {
                self.log.truncate(self.durable);
                self.reconnect();
            }
            Op::Reconnect => self.reconnect(),
            Op::Down(index) if !self.down.is_empty() => {
                let message = self.down.remove(index.index(self.down.len())).unwrap();
                self.deliver_down(message);
            }
            Op::Up(index) if !self.up.is_empty() => {
                let message = self.up.remove(index.index(self.up.len())).unwrap();
                self.deliver_up(message);
            }
            Op::DownNext => {
                if let Some(message) = self.down.pop_front() {
                    self.deliver_down(message);
                }
            }
            Op::UpNext => {
                if let Some(message) = self.up.pop_front() {
                    self.deliver_up(message);
                }
            }
            Op::Repeat(index) if !self.down.is_empty() => {
                let message = self.down[index.index(self.down.len())].clone();
                self.down.push_back(message);
            }
            Op::Lose(index) if !self.down.is_empty() => {
                self.down.remove(index.index(self.down.len()));
            }
            _ => {}
        }
        self.check();
    }

    fn check(&self) {
        assert!(
            self.log.len() <= self.upstream,
            "only durable bytes are shipped where nothing is shipped ahead (F-096)"
        );
        let reached = self.table.reached(&"replicas:1".parse().unwrap());
        assert!(reached <= lsn(self.durable), "acked durable is durable (F-105)");
    }
}

/// A new stream of a replica that holds `held` records.
fn connect(registry: &mut Registry, upstream: usize, held: usize) -> (Session, Follower) {
    let upstream = Fake::new(&[(1, 1, 1, upstream)]);
    let replica = Fake::new(&[(1, 1, 1, held)]);
    let session = registry.open(&node("eu-west"));
    let mut reception =
        Reception::new(replica.hello(), peer("eu-west"), &Offer::ours(), session, limits(), secs(0)).unwrap();
    let mut follower = Follower::new(lsn(held), epoch(1, 1), limits(), secs(0));
    let welcome = ToReplica::Welcome(reception.welcome(node("primary"), &upstream));
    follower.on(&welcome, secs(0)).unwrap();
    let Ok(Reply::Verdict(verdict)) = reception.step(&upstream, secs(0)) else { panic!("a verdict is due") };
    assert_eq!(verdict, Verdict::Continue { at: replica.end() });
    follower.on(&ToReplica::Verdict(verdict), secs(0)).unwrap();
    (reception.into_session(secs(0)).unwrap(), follower)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_messages_makes_a_gap_or_a_false_ack_f085_f090_f092_f104_f105(
        ops in prop::collection::vec(op(), 1..300)
    ) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
        // Once all goes well again, the replica gets everything, and the upstream learns of it.
        world.reconnect();
        for _ in 0..world.upstream / 6 + 20 {
            for op in [Op::Say, Op::UpNext, Op::Ship, Op::DownNext, Op::Sync] {
                world.apply(&op);
            }
        }
        prop_assert_eq!(world.log.len(), world.upstream);
        prop_assert_eq!(world.table.reached(&"replicas:1".parse().unwrap()), lsn(world.upstream));
    }
}
