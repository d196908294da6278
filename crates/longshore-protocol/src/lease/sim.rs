//! Three nodes and an object, with everything between them going wrong: at no moment do two of them hold the lease.
//!
//! Whole microseconds of true time that no node sees. Each has a clock of its own that runs up to 15 % fast or slow; the object
//! has no version but its content, as in a directory. Requests and answers are late, lost and repeated; nodes are suspended,
//! also between looking at the clock and sending, and start again; somebody removes the object.
//!
//! `LONGSHORE_SEED=N cargo test -p longshore-protocol lease::sim` runs one seed, `LONGSHORE_SEEDS=N` as many.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use longshore_format::{Epoch, WriterId};

use super::*;
use crate::Error;
use crate::fake::node;

const TTL: u64 = 10_000_000;
/// Until then things go wrong.
const TROUBLE: u64 = 30 * TTL;
/// By then somebody has it again.
const END: u64 = TROUBLE + 8 * TTL;

#[test]
fn at_no_moment_do_two_nodes_hold_the_lease() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("LONGSHORE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("LONGSHORE_SEEDS").unwrap_or(2_000) + 1,
    };
    let (ran, mut struck) = (seeds.end - seeds.start, BTreeMap::new());
    for seed in seeds {
        let mut world = World::new(seed);
        world.run();
        for (what, times) in world.struck {
            *struck.entry(what).or_insert(0) += times;
        }
    }
    println!("{ran} seeds: {struck:?}");
    if ran < 100 {
        return;
    }
    for what in [
        "taken",
        "kept after a restart",
        "renewed",
        "given back",
        "lapsed while held",
        "held again after it had lapsed",
        "overtaken by another",
        "request lost",
        "answer lost",
        "answer late",
        "sent twice",
        "landed after it was given up",
        "suspended",
        "suspended before sending",
        "restarted",
        "object removed",
    ] {
        assert!(0 < *struck.get(what).unwrap_or(&0), "never struck: {what}");
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

struct Node {
    tenant: Tenant,
    /// What its clock showed at the beginning, and how many millionths it is off.
    clock: (u64, i64),
    asleep_until: u64,
    /// What it waits for: which request, what was to be swapped in, when by its clock it was sent.
    asked: Option<(usize, Option<LeaseObject>, Duration)>,
    /// What the store named last.
    named: Option<LeaseObject>,
    keep: Option<Epoch>,
    alarm: u64,
    held: bool,
    lapsed: bool,
}

impl Node {
    fn now(&self, at: u64) -> Duration {
        let (offset, off) = self.clock;
        Duration::from_micros(offset + at.saturating_add_signed(at as i64 / 1_000_000 * off))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Which node, and which of its alarms: a new one takes the place of the one before.
    Wake(usize, u64),
    Trouble,
    Arrives(usize),
    Answered(usize),
}

#[derive(Clone)]
struct Request {
    node: usize,
    /// What it expects, and what it puts there; a read has neither.
    swap: Option<(Option<LeaseObject>, LeaseObject)>,
    answer: Option<Answer>,
}

#[derive(Clone)]
enum Answer {
    Holds(Option<LeaseObject>),
    Swapped,
}

struct World {
    seed: u64,
    rng: Rng,
    at: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    nodes: Vec<Node>,
    requests: Vec<Request>,
    object: Option<LeaseObject>,
    removed: bool,
    writers: BTreeMap<u64, WriterId>,
    struck: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng(seed);
        let names = ["a", "b", "c"];
        let nodes = names.map(|name| Node {
            tenant: Tenant::new(node(name), Ttl::from_millis(TTL / 1000).unwrap(), rng.next()),
            clock: (rng.below(1 << 40), rng.below(300_001) as i64 - 150_000),
            asleep_until: 0,
            asked: None,
            named: None,
            keep: None,
            alarm: 0,
            held: false,
            lapsed: false,
        });
        let mut world = World {
            seed,
            rng,
            at: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            nodes: nodes.into(),
            requests: Vec::new(),
            object: None,
            removed: false,
            writers: BTreeMap::new(),
            struck: BTreeMap::new(),
        };
        (0..names.len()).for_each(|index| world.alarm(index, 0));
        world.schedule(TTL, Event::Trouble);
        world
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, event)));
    }

    fn alarm(&mut self, index: usize, at: u64) {
        self.nodes[index].alarm += 1;
        self.schedule(at, Event::Wake(index, self.nodes[index].alarm));
    }

    fn strike(&mut self, what: &'static str) {
        *self.struck.entry(what).or_insert(0) += 1;
    }

    fn run(&mut self) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if END < at {
                break;
            }
            self.at = at;
            self.happen(event);
            self.check();
        }
        let held = self.nodes.iter().any(|node| node.held);
        assert!(held, "seed {}: nobody holds it although nothing goes wrong any more", self.seed);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Trouble => self.trouble(),
            Event::Arrives(request) => self.arrives(request),
            Event::Wake(index, alarm) if alarm != self.nodes[index].alarm => {}
            Event::Wake(index, _) => match self.asleep(index) {
                Some(until) => self.schedule(until, event),
                None => self.wakes(index),
            },
            Event::Answered(request) => match self.asleep(self.requests[request].node) {
                Some(until) => self.schedule(until, event),
                None => self.answered(request),
            },
        }
    }

    fn asleep(&self, index: usize) -> Option<u64> {
        Some(self.nodes[index].asleep_until).filter(|until| self.at < *until)
    }

    /// A node does what is due, or something of its own.
    fn wakes(&mut self, index: usize) {
        let calm = TROUBLE < self.at;
        let wish = self.rng.below(1_000);
        let node = &mut self.nodes[index];
        let now = node.now(self.at);
        if let Some((_, _, sent)) = node.asked {
            if sent + node.tenant.patience() <= now {
                node.asked = None;
                node.tenant.lost(sent, now);
            }
        } else {
            let state = node.tenant.state(now);
            let mut bid = None;
            if let Some(epoch) = node.keep {
                bid = node.tenant.bid(Claim::Keep(epoch)).ok();
                if bid.is_some() || matches!(node.tenant.bid(Claim::Keep(epoch)), Err(Error::Fenced { .. })) {
                    node.keep = None;
                }
            } else if state == LeaseState::Free && wish < 300 || wish < 2 && !calm {
                // Whoever holds it already, or whose answer was lost, may also ask.
                let writer = self.rng.next().to_le_bytes();
                let writer = WriterId::from_bytes([writer, writer].concat().try_into().expect("twice eight bytes"));
                bid = node.tenant.bid(Claim::Mint { writer, above: 0 }).ok();
            } else if wish < 10 && !calm && state.held(now).is_some() {
                bid = node.tenant.resign().ok().flatten();
            }
            match bid.map(Due::Swap).or_else(|| node.tenant.due(now)) {
                Some(Due::Read) => self.send(index, None),
                Some(Due::Swap(object)) => self.send(index, Some(object)),
                None => {}
            }
        }
        let node = &self.nodes[index];
        let next = match &node.asked {
            Some((_, _, sent)) => *sent + node.tenant.patience(),
            None => node.tenant.wake(now),
        };
        // Not to the point: timers are late. No less than a millisecond, so that time goes by.
        let late = 1_000 + self.rng.below(TTL / 50);
        let wait = next.saturating_sub(now).as_micros() as u64;
        self.alarm(index, self.at + wait.min(TTL) + late);
    }

    fn send(&mut self, index: usize, object: Option<LeaseObject>) {
        let calm = TROUBLE < self.at;
        let id = self.requests.len();
        let node = &mut self.nodes[index];
        let swap = object.map(|object| (node.named.clone(), object));
        node.asked = Some((id, swap.as_ref().map(|(_, object)| object.clone()), node.now(self.at)));
        self.requests.push(Request { node: index, swap, answer: None });
        let mut leaves = self.at;
        if !calm && self.rng.one_in(60) {
            self.strike("suspended before sending");
            leaves = TROUBLE.min(leaves + self.rng.below(3 * TTL));
            self.nodes[index].asleep_until = leaves;
        }
        if !calm && self.rng.one_in(12) {
            return self.strike("request lost");
        }
        let copies = if !calm && self.rng.one_in(12) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = self.delay();
            self.schedule(leaves + delay, Event::Arrives(id));
        }
        if copies == 2 {
            self.strike("sent twice");
        }
    }

    /// Mostly short, sometimes longer than anybody waits.
    fn delay(&mut self) -> u64 {
        match self.at < TROUBLE && self.rng.one_in(10) {
            true => self.rng.below(2 * TTL),
            false => 1_000 + self.rng.below(TTL / 50),
        }
    }

    fn arrives(&mut self, id: usize) {
        let request = self.requests[id].clone();
        let holds = self.object.clone();
        let answer = match &request.swap {
            None => Answer::Holds(holds),
            // It was sent twice, and the first one did it.
            Some((_, object)) if Some(object) == holds.as_ref() => Answer::Swapped,
            Some((expected, object)) if *expected == holds => {
                self.lands(id, object);
                self.object = Some(object.clone());
                Answer::Swapped
            }
            Some(_) => Answer::Holds(holds),
        };
        // The first answer is the one that comes back.
        self.requests[id].answer.get_or_insert(answer);
        if self.at < TROUBLE && self.rng.one_in(12) {
            return self.strike("answer lost");
        }
        let delay = self.delay();
        self.schedule(self.at + delay, Event::Answered(id));
    }

    fn lands(&mut self, id: usize, object: &LeaseObject) {
        let node = &self.nodes[self.requests[id].node];
        if node.asked.as_ref().is_none_or(|(asked, ..)| *asked != id) {
            self.strike("landed after it was given up");
        }
        let before = self.object.as_ref().map_or(0, |before| before.epoch.number);
        let Epoch { number, writer } = object.epoch;
        if !self.removed {
            assert!(before <= number, "seed {}: epoch {number} after {before}", self.seed);
            let first = *self.writers.entry(number).or_insert(writer);
            assert_eq!(first, writer, "seed {}: two writers of epoch {number}", self.seed);
        }
        match &object.holder {
            None => self.strike("given back"),
            Some(_) if before < number => self.strike("taken"),
            Some(_) => {}
        }
    }

    fn answered(&mut self, id: usize) {
        let index = self.requests[id].node;
        let answer = self.requests[id].answer.clone().expect("it arrived");
        let node = &mut self.nodes[index];
        let now = node.now(self.at);
        let Some((_, object, sent)) = node.asked.take_if(|(asked, ..)| *asked == id) else {
            return self.strike("answer late");
        };
        let before = node.tenant.state(now);
        match answer {
            Answer::Holds(holds) => {
                node.named = holds.clone();
                node.tenant.found(holds, now);
                if object.is_some() {
                    self.strike("overtaken by another");
                }
            }
            Answer::Swapped => {
                node.named = object.clone();
                node.tenant.swapped(object.expect("it was a swap"), sent, now);
                if before.held(now).is_some() && node.tenant.state(now).held(now).is_some() {
                    self.strike("renewed");
                }
            }
        }
        self.alarm(index, self.at);
    }

    /// What happens to a node by itself.
    fn trouble(&mut self) {
        let index = self.rng.below(3) as usize;
        match self.rng.below(20) {
            0..8 => {
                let longest = if self.rng.one_in(4) { 12 * TTL } else { TTL };
                self.nodes[index].asleep_until = TROUBLE.min(self.at + self.rng.below(longest));
                self.strike("suspended");
            }
            8..12 => self.restart(index),
            // In few runs, because the numbers of epochs begin anew with it.
            12 if self.seed.is_multiple_of(8) => {
                (self.object, self.removed) = (None, true);
                self.strike("object removed");
            }
            _ => {}
        }
        let next = self.at + self.rng.below(TTL);
        if next < TROUBLE {
            self.schedule(next, Event::Trouble);
        }
    }

    fn restart(&mut self, index: usize) {
        let life = self.rng.next();
        let name = ["a", "b", "c"][index];
        let node = &mut self.nodes[index];
        let now = node.now(self.at);
        node.keep = node.tenant.state(now).held(now);
        node.tenant = Tenant::new(crate::fake::node(name), Ttl::from_millis(TTL / 1000).unwrap(), life);
        (node.asked, node.named, node.held, node.lapsed) = (None, None, false, false);
        let keeps = node.keep.is_some();
        self.strike("restarted");
        if keeps {
            self.strike("kept after a restart");
        }
    }

    /// The one thing that must never be, and what of the rest was seen.
    fn check(&mut self) {
        let mut holders = Vec::new();
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            let now = node.now(self.at);
            let held = node.tenant.state(now).held(now);
            holders.extend(held.map(|epoch| (index, epoch)));
            let (was, lapsed) = (node.held, node.lapsed);
            node.held = held.is_some();
            node.lapsed = if held.is_some() { false } else { was || lapsed };
            if was && held.is_none() {
                self.strike("lapsed while held");
            }
            if lapsed && held.is_some() {
                self.strike("held again after it had lapsed");
            }
        }
        assert!(holders.len() <= 1, "seed {}: at {} µs it is held by all of {holders:?}", self.seed, self.at);
    }
}
