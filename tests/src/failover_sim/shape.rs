//! What a seed is about: who may vote, what is promised, whether there is a lease.

use std::collections::BTreeMap;

use longshore_protocol::{NodeId, Policy, Region, Shortfall};

use crate::sim_rng::Rng;

/// How many nodes there are: a primary and three replicas.
pub(super) const NODES: usize = 4;

const NAMES: [&str; NODES] = ["p", "a", "b", "c"];
const REGIONS: [&str; NODES] = ["eu", "eu", "us", "ap"];

/// What may be promised, and among whom.
const PROMISES: &[(&str, &[usize])] = &[
    ("replicas:1", &[0, 1, 2]),
    ("replicas:1", &[0, 1, 2, 3]),
    ("replicas:2", &[0, 1, 2, 3]),
    ("replicas:2", &[0, 1, 2, 3]),
    ("replicas:2", &[0, 2, 3]),
    ("replicas:3", &[0, 1, 2, 3]),
    ("regions:2", &[0, 1, 2, 3]),
    ("regions:2", &[0, 1, 2, 3]),
    ("regions:1@us,ap", &[0, 1, 2, 3]),
    ("replicas:1", &[1, 2, 3]),
    ("replicas:2", &[1, 2, 3]),
];

/// What only the archive keeps.
const ARCHIVED: (&str, &[usize]) = ("archived:1", &[0, 1, 2, 3]);

pub(super) fn name(node: usize) -> NodeId {
    NodeId::new(NAMES[node]).expect("a name")
}

pub(super) fn number(node: &NodeId) -> usize {
    NAMES.iter().position(|name| *name == node.as_str()).expect("a node of this world")
}

pub(super) fn region(node: usize) -> Region {
    Region::new(REGIONS[node]).expect("a name")
}

/// A promise of a log that `writer` writes; where every writer archives it, now and then that it is archived.
pub(super) fn promise(writer: usize, archives: bool, rng: &mut Rng) -> Policy {
    let archived = archives && rng.one_in(10);
    let (durability, voters) = if archived { &ARCHIVED } else { rng.pick(PROMISES) };
    let voters: BTreeMap<_, _> = voters.iter().map(|voter| (name(*voter), Some(region(*voter)))).collect();
    Policy {
        writer: name(writer),
        durability: durability.parse().expect("a durability"),
        shortfall: Shortfall::Accept,
        degraded: false,
        voters,
    }
}
