//! Who holds what of one log: the acks of every node, what they prove, and who waits for it.
//!
//! One lock guards plain values and is held for lines. Everything that moves rings one bell; a
//! waiter then asks the [`AckTable`] again, which is a handful of comparisons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use longshore_format::{Epoch, Lsn};
use longshore_protocol::{Ack, AckTable, Durability, NodeAck, NodeId, Policy, Rate, Region, StoreState, Timeline};
use longshore_wal::{Bell, Listening};

use crate::lock;

/// What one log knows of its own positions over time and of every node that holds a copy.
#[derive(Debug)]
pub(crate) struct Standing {
    state: Mutex<State>,
    moved: Bell,
}

#[derive(Debug)]
struct State {
    table: AckTable,
    replicas: BTreeMap<NodeId, Known>,
    timeline: Timeline,
    appended: Rate,
}

/// What is known of a replica besides its acks.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Who runs the machine, as the grants say.
    pub(crate) provider: Option<String>,
    /// The end of what was sent to it, on a stream of this process.
    pub(crate) sent: Lsn,
    /// Bytes of log that this process sent to it, on streams and as whole segments.
    pub(crate) sent_bytes: u64,
    /// When it was last heard, on the monotonic clock.
    pub(crate) seen: Option<Duration>,
    /// Everything before this is proved equal by digests, and when that was last proved.
    pub(crate) proved: Option<(Lsn, Duration)>,
    /// How fast its durable position moves.
    pub(crate) shipped: Rate,
    /// The later epoch for which it last refused to follow this node.
    pub(crate) accepted: Option<Epoch>,
    /// The nodes that it is heard through while their streams to this node live: itself, and whoever relays for it. Without
    /// any, what is known of it is of some time before.
    ways: BTreeSet<NodeId>,
}

/// A replica as [`Standing::replicas`] shows it.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) node: NodeId,
    pub(crate) region: Option<Region>,
    pub(crate) connected: bool,
    pub(crate) ack: Ack,
    pub(crate) known: Known,
    /// How old the oldest record is that has not come to each stage; `None` where that is not known.
    pub(crate) lag: [Option<Duration>; 3],
}

impl Replica {
    /// Whether it, or whoever relays for it, follows this node now.
    pub(crate) fn is_heard(&self) -> bool {
        !self.known.ways.is_empty()
    }
}

/// Rates are smoothed over this long: what an operator sees as "now".
pub(crate) const SMOOTHING: Duration = Duration::from_secs(10);

impl Standing {
    pub(crate) fn new() -> Self {
        let state = State {
            table: AckTable::new(),
            replicas: BTreeMap::new(),
            timeline: Timeline::new(),
            appended: Rate::new(SMOOTHING),
        };
        Self { state: Mutex::new(state), moved: Bell::new() }
    }

    /// Lets a replica count. False when there are more than can be counted.
    pub(crate) fn admit(&self, node: &NodeId, region: Option<Region>, provider: Option<String>) -> bool {
        let mut state = self.lock();
        if state.table.admit(node.clone(), region).is_err() {
            return false;
        }
        let known = state.replicas.entry(node.clone()).or_insert_with(|| Known {
            provider: None,
            sent: Lsn::ZERO,
            sent_bytes: 0,
            seen: None,
            proved: None,
            shipped: Rate::new(SMOOTHING),
            accepted: None,
            ways: BTreeSet::new(),
        });
        known.provider = provider;
        true
    }

    /// No longer counts a replica.
    pub(crate) fn forget(&self, node: &NodeId) {
        let mut state = self.lock();
        state.table.forget(node);
        state.replicas.remove(node);
    }

    /// From now on only voters of these policies count, and no ack below `floor`.
    pub(crate) fn set_policies(&self, policies: Vec<Policy>, floor: Lsn) {
        let mut state = self.lock();
        state.table.set_policies(policies);
        state.table.set_floor(floor);
        drop(state);
        self.wake();
    }

    /// The position up to which every policy that holds is met.
    pub(crate) fn policies_reached(&self) -> Lsn {
        self.lock().table.policies_reached()
    }

    /// How many policies hold: two while a change is not durable under both.
    pub(crate) fn policies(&self) -> Vec<Policy> {
        self.lock().table.policies().to_vec()
    }

    /// A replica opened a stream and holds this much, even if it once held more.
    pub(crate) fn connected(&self, node: &NodeId, ack: Ack, now: Duration) {
        let mut state = self.lock();
        state.table.set(node, ack);
        state.table.set_connected(node, true);
        if let Some(known) = state.replicas.get_mut(node) {
            known.seen = Some(now);
            known.sent = ack.received();
            known.shipped = Rate::new(SMOOTHING);
            known.accepted = None;
            known.ways.insert(node.clone());
        }
        drop(state);
        self.wake();
    }

    /// A replica's stream ended, and with it the way to those it relays for.
    pub(crate) fn disconnected(&self, node: &NodeId) {
        let mut state = self.lock();
        state.table.set_connected(node, false);
        for known in state.replicas.values_mut() {
            known.ways.remove(node);
        }
        drop(state);
        self.wake();
    }

    /// Notes that a replica accepted a later epoch and does not follow this node; whether that is news.
    pub(crate) fn note_accepted(&self, node: &NodeId, epoch: Epoch) -> bool {
        let mut state = self.lock();
        state.replicas.get_mut(node).is_some_and(|known| known.accepted.replace(epoch) != Some(epoch))
    }

    /// The replicas that do not follow this node for a later epoch than one of that number, and the epochs that they accepted.
    pub(crate) fn ahead_of(&self, number: u64) -> Vec<(NodeId, Epoch)> {
        let state = self.lock();
        let ahead = state.replicas.iter().filter_map(|(node, known)| Some((node.clone(), known.accepted?)));
        ahead.filter(|(_, accepted)| number < accepted.number).collect()
    }

    /// Something was sent to a replica.
    pub(crate) fn sent(&self, node: &NodeId, to: Lsn) {
        if let Some(known) = self.lock().replicas.get_mut(node) {
            known.sent_bytes = known.sent_bytes.saturating_add(to.since(known.sent));
            known.sent = known.sent.max(to);
        }
    }

    /// A whole segment is on its way to a replica.
    pub(crate) fn fetched(&self, node: &NodeId, bytes: u64) {
        if let Some(known) = self.lock().replicas.get_mut(node) {
            known.sent_bytes = known.sent_bytes.saturating_add(bytes);
        }
    }

    /// What the object stores of this log hold now.
    pub(crate) fn archived(&self, stores: Vec<StoreState>) {
        if self.lock().table.set_stores(stores) {
            self.wake();
        }
    }

    /// How many object stores this log is archived into.
    pub(crate) fn stores(&self) -> usize {
        self.lock().table.stores().len()
    }

    /// A replica was heard, with acks of its own and of nodes below it. Of one that was heard by no way, what is said first holds
    /// also where it is less than what was known from before.
    pub(crate) fn heard(&self, node: &NodeId, acks: &[NodeAck], now: Duration) {
        let mut state = self.lock();
        let State { table, replicas, .. } = &mut *state;
        if let Some(known) = replicas.get_mut(node) {
            known.seen = Some(now);
        }
        let mut moved = false;
        for NodeAck { node: of, ack } in acks {
            let Some(known) = replicas.get_mut(of) else { continue };
            moved |= match known.ways.is_empty() {
                true => table.set(of, *ack),
                false => table.merge(of, *ack),
            };
            known.seen = Some(now);
            known.ways.insert(node.clone());
        }
        drop(state);
        if moved {
            self.wake();
        }
    }

    /// A replica's bytes were proved equal.
    pub(crate) fn proved(&self, node: &NodeId, to: Lsn, now: Duration) {
        if let Some(known) = self.lock().replicas.get_mut(node) {
            let to = known.proved.map_or(to, |(before, _)| before.max(to));
            known.proved = Some((to, now));
        }
    }

    /// Takes the node's own positions, and how time passed for them. Called a few times a second.
    pub(crate) fn tick(&self, local: Ack, now: Duration) {
        let mut state = self.lock();
        let moved = state.table.local() != local;
        state.table.set_local(local);
        state.timeline.observe(local.durable(), now);
        state.appended.observe(local.received(), now);
        let durable: Vec<_> = state.table.nodes().map(|(node, state)| (node.clone(), state.ack.durable())).collect();
        for (node, durable) in &durable {
            if let Some(known) = state.replicas.get_mut(node) {
                known.shipped.observe(*durable, now);
            }
        }
        // Time is kept as fine as connected replicas, and stores that take what they are given, need it. For those that are away, the times in the
        // records serve: their lag is counted in minutes soon enough.
        let connected = state.table.nodes().filter(|(_, node)| node.connected);
        let stages = connected.flat_map(|(_, node)| [node.ack.durable(), node.ack.applied()]);
        let taking = state.table.stores().iter().filter(|store| store.taking);
        let stages = stages.chain(taking.map(|store| store.archived));
        let slowest = stages.filter(|position| *position != Lsn::ZERO).min();
        state.timeline.trim(slowest.unwrap_or(local.durable()));
        drop(state);
        if moved {
            self.wake();
        }
    }

    /// The position up to which `durability` holds. Not for `local`, which the log itself knows best.
    pub(crate) fn reached(&self, durability: &Durability) -> Lsn {
        self.lock().table.reached(durability)
    }

    /// Whether enough replicas are connected for `durability`.
    pub(crate) fn within_reach(&self, durability: &Durability) -> bool {
        self.lock().table.within_reach(durability)
    }

    /// How a replica stands, if it counts.
    pub(crate) fn ack_of(&self, node: &NodeId) -> Option<Ack> {
        self.lock().table.node(node).map(|state| state.ack)
    }

    /// The nodes that follow this node, for its own upstream. Of one that has gone, or follows elsewhere by now, nothing is
    /// told: it would pass for what that node has now.
    pub(crate) fn relayed(&self) -> Vec<NodeAck> {
        let state = self.lock();
        let lives = |node: &NodeId| state.replicas.get(node).is_some_and(|known| !known.ways.is_empty());
        let nodes = state.table.nodes().filter(|(node, _)| lives(node));
        nodes.map(|(node, state)| NodeAck { node: node.clone(), ack: state.ack }).collect()
    }

    /// Bytes appended per second.
    pub(crate) fn append_rate(&self) -> f64 {
        self.lock().appended.per_second()
    }

    /// How old the oldest record is that lies beyond `position`; `None` when that was before anybody looked.
    pub(crate) fn lag(&self, position: Lsn, now: Duration) -> Option<Duration> {
        self.lock().timeline.lag(position, now)
    }

    /// Whether a stream to this replica lives.
    pub(crate) fn is_connected(&self, node: &NodeId) -> bool {
        self.lock().table.nodes().any(|(known, position)| known == node && position.connected)
    }

    /// Every replica that counts, by name.
    pub(crate) fn replicas(&self, now: Duration) -> Vec<Replica> {
        let state = self.lock();
        let nodes = state.table.nodes().filter_map(|(node, position)| {
            let ack = position.ack;
            let lag = [ack.received(), ack.durable(), ack.applied()].map(|at| state.timeline.lag(at, now));
            Some(Replica {
                node: node.clone(),
                region: position.region.clone(),
                connected: position.connected,
                ack,
                known: state.replicas.get(node)?.clone(),
                lag,
            })
        });
        nodes.collect()
    }

    /// To be asked for before looking whether something holds, and waited for if it does not.
    pub(crate) fn listen(&self) -> Listening {
        self.moved.listen()
    }

    /// Lets every waiter look again.
    pub(crate) fn wake(&self) {
        self.moved.ring();
    }

    /// The state is plain values, whole after every line: a panic elsewhere cannot have torn it.
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    fn ack(at: u64) -> Ack {
        Ack::new(Lsn::new(at), Lsn::new(at), Lsn::ZERO).unwrap()
    }

    fn of(name: &str, at: u64) -> NodeAck {
        NodeAck { node: node(name), ack: ack(at) }
    }

    /// Knows `names` from their slots, each at 1000.
    fn standing(names: &[&str]) -> Standing {
        let standing = Standing::new();
        for name in names {
            assert!(standing.admit(&node(name), None, None));
            standing.heard(&node(name), &[of(name, 1000)], Duration::ZERO);
            standing.disconnected(&node(name));
        }
        standing
    }

    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn what_a_slot_says_counts_here_and_is_relayed_only_while_its_replica_is_heard() {
        let standing = standing(&["a", "b"]);
        assert_eq!(standing.reached(&"replicas:2".parse().unwrap()), Lsn::new(1000));
        assert_eq!(standing.relayed(), [], "nobody follows this node");
        standing.connected(&node("a"), ack(700), NOW);
        assert_eq!(standing.relayed(), [of("a", 700)]);
        standing.heard(&node("a"), &[of("a", 800)], NOW);
        assert_eq!(standing.relayed(), [of("a", 800)]);
        standing.disconnected(&node("a"));
        assert_eq!(standing.relayed(), [], "it may follow elsewhere by now");
    }

    #[test]
    fn a_node_below_a_replica_is_relayed_while_that_is_heard_and_as_that_says() {
        let standing = standing(&["a", "below"]);
        standing.connected(&node("a"), ack(900), NOW);
        assert_eq!(standing.relayed(), [of("a", 900)]);
        standing.heard(&node("a"), &[of("below", 600)], NOW);
        assert_eq!(standing.relayed(), [of("a", 900), of("below", 600)], "not what it once had");
        standing.heard(&node("a"), &[of("below", 500)], NOW);
        assert_eq!(standing.ack_of(&node("below")), Some(ack(600)), "an ack that is late moves nothing back");
        standing.disconnected(&node("a"));
        assert_eq!(standing.relayed(), []);
    }

    #[test]
    fn a_node_that_is_heard_by_two_ways_is_relayed_until_the_last_of_them_ends() {
        let standing = standing(&["a", "b", "below"]);
        standing.connected(&node("a"), ack(900), NOW);
        standing.connected(&node("b"), ack(900), NOW);
        standing.heard(&node("a"), &[of("below", 600)], NOW);
        standing.heard(&node("b"), &[of("below", 700)], NOW);
        standing.disconnected(&node("a"));
        assert_eq!(standing.relayed(), [of("b", 900), of("below", 700)]);
        standing.disconnected(&node("b"));
        assert_eq!(standing.relayed(), []);
    }
}
