//! Who holds what: the acks of all nodes, and what they prove together.

use std::collections::BTreeMap;

use longshore_format::Lsn;

use crate::{Ack, Durability, Error, Limits, NodeId, Policy, Quorum, Region, Result};

/// What is known of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Where it is, if the grants say so.
    pub region: Option<Region>,
    /// How far it is known to be.
    pub ack: Ack,
    /// Whether a stream of it, or of a node that relays for it, is open now.
    pub connected: bool,
}

/// What is known of one object store that the local node archives the log into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreState {
    /// Up to where the log is archived there.
    pub archived: Lsn,
    /// Whether it has answered, and takes what it is given.
    pub taking: bool,
}

/// The acks of every node that may count for one log, the local node's own kept apart, and the stores it is archived in.
///
/// Only admitted nodes are kept: an upstream admits those its grants know, so that no replica can invent others.
#[derive(Debug, Clone, Default)]
pub struct AckTable {
    local: Ack,
    nodes: BTreeMap<NodeId, NodeState>,
    stores: Vec<StoreState>,
    /// The policies that hold, of which each one's voters must have a position; without any, every node counts.
    policies: Vec<Policy>,
    /// Where the first record of this writer's epoch ends.
    floor: Lsn,
}

impl AckTable {
    /// A table that knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `node` count, in `region`. Known nodes keep their ack.
    pub fn admit(&mut self, node: NodeId, region: Option<Region>) -> Result<()> {
        if self.nodes.len() >= Limits::MAX_NODES && !self.nodes.contains_key(&node) {
            return Err(Error::TooManyNodes { limit: Limits::MAX_NODES });
        }
        let state = NodeState { region: None, ack: Ack::NONE, connected: false };
        self.nodes.entry(node).or_insert(state).region = region;
        Ok(())
    }

    /// No longer counts `node`.
    pub fn forget(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// From now on only the voters of these policies count, of each as many as are asked for: one policy, or two while a
    /// change from one to the other is not durable under both.
    pub fn set_policies(&mut self, policies: Vec<Policy>) {
        self.policies = policies;
    }

    /// The policies that hold.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// From now on no ack below `floor` counts: where the first record of this writer's epoch ends.
    ///
    /// A node that holds less may yet lose that to a node whose epoch is older than this one and newer than the record's
    /// (Raft, figure 8 of Ongaro and Ousterhout, 2014). What holds the epoch's first record cannot.
    pub fn set_floor(&mut self, floor: Lsn) {
        self.floor = floor;
    }

    /// The position up to which every policy that holds is met, each by its own voters; the local end of what is durable
    /// without a policy.
    pub fn policies_reached(&self) -> Lsn {
        let reached = self.policies.iter().map(|policy| self.reached_by(&policy.durability, Some(policy)));
        reached.min().unwrap_or(self.local.durable())
    }

    /// Sets the local node's own positions.
    pub fn set_local(&mut self, ack: Ack) {
        self.local = ack;
    }

    /// Sets what the stores hold, each of them once. True when something moved.
    pub fn set_stores(&mut self, stores: Vec<StoreState>) -> bool {
        let moved = self.stores != stores;
        self.stores = stores;
        moved
    }

    /// What the stores hold.
    pub fn stores(&self) -> &[StoreState] {
        &self.stores
    }

    /// The local node's own positions.
    pub fn local(&self) -> Ack {
        self.local
    }

    /// Sets what `node` holds, also when that is less than it was: it opened a new stream, or lost its disk.
    /// False when the node is not admitted.
    pub fn set(&mut self, node: &NodeId, ack: Ack) -> bool {
        self.nodes.get_mut(node).map(|state| state.ack = ack).is_some()
    }

    /// Takes an ack of `node`, by whatever path; one that is behind changes nothing. True when something moved.
    pub fn merge(&mut self, node: &NodeId, ack: Ack) -> bool {
        let Some(state) = self.nodes.get_mut(node) else {
            return false;
        };
        let merged = state.ack.max(ack);
        let moved = merged != state.ack;
        state.ack = merged;
        moved
    }

    /// Notes whether `node` can be reached.
    pub fn set_connected(&mut self, node: &NodeId, connected: bool) {
        if let Some(state) = self.nodes.get_mut(node) {
            state.connected = connected;
        }
    }

    /// What is known of each node, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &NodeState)> {
        self.nodes.iter()
    }

    /// What is known of one node.
    pub fn node(&self, node: &NodeId) -> Option<&NodeState> {
        self.nodes.get(node)
    }

    /// The position up to which `durability` holds; zero when too few nodes are known.
    ///
    /// ```
    /// # use longshore_protocol::*;
    /// # use longshore_format::Lsn;
    /// let mut table = AckTable::new();
    /// for (node, region, at) in [("a", "eu-west", 300), ("b", "eu-west", 200), ("c", "us-east", 100)] {
    ///     let node = NodeId::new(node)?;
    ///     table.admit(node.clone(), Some(Region::new(region)?))?;
    ///     table.merge(&node, Ack::new(Lsn::new(at), Lsn::new(at), Lsn::ZERO)?);
    /// }
    /// assert_eq!(table.reached(&"replicas:2".parse()?), Lsn::new(200));
    /// assert_eq!(table.reached(&"regions:2".parse()?), Lsn::new(100));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reached(&self, durability: &Durability) -> Lsn {
        let reached = self.electorates().map(|electorate| self.reached_by(durability, electorate));
        reached.min().expect("there is one electorate at least")
    }

    fn reached_by(&self, durability: &Durability, electorate: Option<&Policy>) -> Lsn {
        let stage = durability.stage;
        let (count, positions) = match &durability.quorum {
            Quorum::Local => return self.local.at(stage),
            Quorum::Archived(count) => (count, self.stores.iter().map(|store| store.archived).collect()),
            Quorum::Replicas(count) => {
                (count, self.counted(electorate).map(|(_, state)| state.ack.at(stage)).collect())
            }
            Quorum::Regions { count, .. } => {
                (count, self.per_region(durability, electorate, |state| state.ack.at(stage)))
            }
        };
        let reached = nth_greatest(positions, count.get()).unwrap_or(Lsn::ZERO);
        if reached < self.floor { Lsn::ZERO } else { reached }
    }

    /// Whose voters must have a position: those of each policy that names any, else everybody.
    fn electorates(&self) -> impl Iterator<Item = Option<&Policy>> {
        let policies = self.policies.iter().filter(|policy| !policy.voters.is_empty());
        let everybody = self.policies.iter().all(|policy| policy.voters.is_empty()).then_some(None);
        policies.map(Some).chain(everybody)
    }

    /// The nodes that count, and the regions they count for: those that the policy says, else those that the grants do.
    fn counted<'a>(
        &'a self,
        electorate: Option<&'a Policy>,
    ) -> impl Iterator<Item = (Option<&'a Region>, &'a NodeState)> {
        let electorate = electorate.filter(|policy| !policy.voters.is_empty());
        self.nodes.iter().filter_map(move |(node, state)| match electorate {
            None => Some((state.region.as_ref(), state)),
            Some(policy) => policy.voters.get(node).map(|region| (region.as_ref(), state)),
        })
    }

    /// Whether enough nodes are connected, or stores take what they are given, that a new record could become this durable.
    pub fn within_reach(&self, durability: &Durability) -> bool {
        self.electorates().all(|electorate| {
            let up = match &durability.quorum {
                Quorum::Local => return true,
                Quorum::Archived(count) => (count, self.stores.iter().map(|store| store.taking).collect()),
                Quorum::Replicas(count) => {
                    (count, self.counted(electorate).map(|(_, state)| state.connected).collect())
                }
                Quorum::Regions { count, .. } => {
                    (count, self.per_region(durability, electorate, |state| state.connected))
                }
            };
            nth_greatest(up.1, up.0.get()).unwrap_or(false)
        })
    }

    /// The best value of each region that counts.
    fn per_region<T: Ord + Copy>(
        &self,
        durability: &Durability,
        electorate: Option<&Policy>,
        value: impl Fn(&NodeState) -> T,
    ) -> Vec<T> {
        let mut best: BTreeMap<&Region, T> = BTreeMap::new();
        let Quorum::Regions { among, .. } = &durability.quorum else {
            return Vec::new();
        };
        for (region, state) in self.counted(electorate) {
            let Some(region) = region.filter(|r| among.is_empty() || among.contains(r)) else {
                continue;
            };
            let value = value(state);
            best.entry(region).and_modify(|best| *best = value.max(*best)).or_insert(value);
        }
        best.into_values().collect()
    }
}

/// The value that `count` of `values` reach, if there are so many.
fn nth_greatest<T: Ord + Copy>(mut values: Vec<T>, count: u32) -> Option<T> {
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.get((count as usize).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shortfall;

    fn lsn(n: u64) -> Lsn {
        Lsn::new(n)
    }

    fn ack(received: u64, durable: u64, applied: u64) -> Ack {
        Ack::new(lsn(received), lsn(durable), lsn(applied)).unwrap()
    }

    fn table(rows: &[(&str, &str, Ack)]) -> AckTable {
        let mut table = AckTable::new();
        table.set_local(ack(1000, 900, 800));
        for (node, region, ack) in rows {
            let node = NodeId::new(node).unwrap();
            let region = if region.is_empty() { None } else { Some(Region::new(region).unwrap()) };
            table.admit(node.clone(), region).unwrap();
            assert!(table.set(&node, *ack));
        }
        table
    }

    #[test]
    fn each_durability_holds_up_to_what_enough_nodes_hold() {
        let table = table(&[
            ("a", "eu-west", ack(900, 700, 100)),
            ("b", "eu-west", ack(850, 800, 200)),
            ("c", "us-east", ack(600, 500, 0)),
            ("d", "", ack(950, 950, 950)),
        ]);
        for (durability, reached) in [
            ("local/received", 1000),
            ("local", 900),
            ("local/applied", 800),
            ("replicas:1", 950),
            ("replicas:2", 800),
            ("replicas:3", 700),
            ("replicas:4", 500),
            ("replicas:5", 0),
            ("replicas:2/received", 900),
            ("replicas:3/applied", 100),
            ("replicas:4/applied", 0),
            ("regions:1", 800),
            ("regions:2", 500),
            ("regions:3", 0),
            ("regions:1@us-east", 500),
            ("regions:1@us-east,eu-west", 800),
            ("regions:2@us-east,eu-west/received", 600),
            ("regions:1@ap-south", 0),
            ("replicas:4294967295", 0),
        ] {
            let durability: Durability = durability.parse().unwrap();
            assert_eq!(table.reached(&durability), lsn(reached), "{durability}");
        }
    }

    #[test]
    fn a_node_counts_once_whatever_path_its_acks_came_by() {
        let mut table = table(&[("a", "", ack(100, 100, 0)), ("b", "", Ack::NONE)]);
        let a = NodeId::new("a").unwrap();
        assert!(table.merge(&a, ack(200, 150, 0)), "relayed by b");
        assert!(!table.merge(&a, ack(120, 110, 0)), "the direct one, late");
        assert_eq!(table.reached(&"replicas:1".parse().unwrap()), lsn(150));
        assert_eq!(table.reached(&"replicas:2".parse().unwrap()), Lsn::ZERO);
    }

    #[test]
    fn a_node_nobody_admitted_counts_for_nothing() {
        let mut table = table(&[]);
        let ghost = NodeId::new("ghost").unwrap();
        assert!(!table.merge(&ghost, ack(100, 100, 100)));
        assert!(!table.set(&ghost, ack(100, 100, 100)));
        assert_eq!(table.reached(&"replicas:1/received".parse().unwrap()), Lsn::ZERO);
    }

    #[test]
    fn a_node_that_lost_its_disk_is_set_back() {
        let mut table = table(&[("a", "", ack(100, 100, 50))]);
        table.set(&NodeId::new("a").unwrap(), ack(60, 60, 50));
        assert_eq!(table.reached(&"replicas:1".parse().unwrap()), lsn(60));
    }

    #[test]
    fn a_later_stage_ahead_of_an_earlier_one_is_refused_f100() {
        for (received, durable, applied) in [(0, 1, 0), (1, 1, 2), (0, 0, u64::MAX), (5, u64::MAX, 0)] {
            assert!(Ack::new(lsn(received), lsn(durable), lsn(applied)).is_err());
        }
        assert!(Ack::new(lsn(u64::MAX), lsn(u64::MAX), lsn(u64::MAX)).is_ok());
    }

    #[test]
    fn the_table_is_bounded_f101() {
        let mut table = AckTable::new();
        for i in 0..Limits::MAX_NODES {
            table.admit(NodeId::new(&format!("n{i}")).unwrap(), None).unwrap();
        }
        assert!(table.admit(NodeId::new("one-more").unwrap(), None).is_err());
        assert!(table.admit(NodeId::new("n0").unwrap(), None).is_ok());
    }

    #[test]
    fn what_is_archived_holds_up_to_what_enough_stores_hold() {
        let mut table = table(&[("a", "eu-west", ack(900, 900, 900))]);
        let archived = |count: u32| Durability::archived(count.try_into().unwrap());
        assert_eq!(table.reached(&archived(1)), Lsn::ZERO, "replicas are no stores");
        let store = |at, taking| StoreState { archived: lsn(at), taking };
        let stores = vec![store(300, true), store(500, false), store(400, true)];
        assert!(table.set_stores(stores.clone()));
        assert!(!table.set_stores(stores), "nothing moved");
        for (count, reached, within) in [(1, 500, true), (2, 400, true), (3, 300, false), (4, 0, false)] {
            assert_eq!(table.reached(&archived(count)), lsn(reached), "archived:{count}");
            assert_eq!(table.within_reach(&archived(count)), within, "archived:{count}");
        }
        assert_eq!(table.reached(&"replicas:1".parse().unwrap()), lsn(900), "and stores are no replicas");
    }

    fn policy(durability: &str, voters: &[(&str, &str)]) -> Policy {
        let region = |region: &str| (!region.is_empty()).then(|| Region::new(region).unwrap());
        Policy {
            writer: NodeId::new("p").unwrap(),
            durability: durability.parse().unwrap(),
            shortfall: Shortfall::Accept,
            degraded: false,
            voters: voters.iter().map(|(node, at)| (NodeId::new(node).unwrap(), region(at))).collect(),
        }
    }

    #[test]
    fn only_voters_count_and_where_their_policy_has_them() {
        let mut table = table(&[
            ("a", "eu-west", ack(900, 900, 0)),
            ("b", "eu-west", ack(800, 800, 0)),
            ("c", "us-east", ack(700, 700, 0)),
        ]);
        table.set_policies(vec![policy("replicas:1", &[("b", "ap-south"), ("c", ""), ("p", "eu-west"), ("z", "")])]);
        for (durability, reached) in [
            ("local", 900),
            ("replicas:1", 800),
            ("replicas:2", 700),
            ("replicas:3", 0),
            ("regions:1", 800),
            ("regions:1@eu-west", 0),
            ("regions:1@ap-south", 800),
            ("regions:2", 0),
        ] {
            assert_eq!(table.reached(&durability.parse().unwrap()), lsn(reached), "{durability}");
        }
    }

    #[test]
    fn while_a_change_is_under_way_both_policies_must_be_met() {
        let mut table = table(&[("a", "", ack(900, 900, 0)), ("b", "", ack(500, 500, 0)), ("c", "", ack(300, 300, 0))]);
        let (old, new) = (policy("replicas:1", &[("a", "")]), policy("replicas:2", &[("b", ""), ("c", "")]));
        for (policies, one, all) in
            [(vec![old.clone()], 900, 900), (vec![old, new.clone()], 500, 300), (vec![new], 500, 300)]
        {
            table.set_policies(policies);
            assert_eq!(table.reached(&"replicas:1".parse().unwrap()), lsn(one));
            assert_eq!(table.policies_reached(), lsn(all));
        }
        table.set_policies(Vec::new());
        assert_eq!(table.policies_reached(), lsn(900), "without a policy, what is durable here");
    }

    #[test]
    fn an_ack_below_the_first_record_of_the_epoch_counts_for_nothing() {
        let mut table = table(&[("a", "", ack(900, 900, 0)), ("b", "", ack(500, 500, 0))]);
        table.set_floor(lsn(600));
        assert_eq!(table.reached(&"replicas:1".parse().unwrap()), lsn(900));
        assert_eq!(table.reached(&"replicas:2".parse().unwrap()), Lsn::ZERO);
        assert_eq!(table.reached(&Durability::LOCAL), lsn(900));
    }

    #[test]
    fn reach_is_about_who_is_connected_now() {
        let mut table = table(&[("a", "eu-west", Ack::NONE), ("b", "eu-west", Ack::NONE), ("c", "us-east", Ack::NONE)]);
        for node in ["a", "b"] {
            table.set_connected(&NodeId::new(node).unwrap(), true);
        }
        for (durability, within) in
            [("local", true), ("replicas:2", true), ("replicas:3", false), ("regions:1", true), ("regions:2", false)]
        {
            assert_eq!(table.within_reach(&durability.parse().unwrap()), within, "{durability}");
        }
    }
}
