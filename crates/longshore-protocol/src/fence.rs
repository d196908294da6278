//! Fencing is arithmetic: whether a writer can still gather its policy, when these nodes have accepted a later epoch.
//!
//! A node that accepted a later epoch stores nothing of an earlier one's writer and so never acks to it again. With n voters
//! besides the writer and a policy of `replicas:k`, n − k + 1 of them leave it k − 1: one too few. The same number is what
//! makes the fenced nodes meet every set of k that confirmed something before: any two such sets of n have a node in common,
//! and that node's log holds what was confirmed. (So do read and write quorums in Gifford, *Weighted Voting for Replicated
//! Data*, 1979.)

use std::collections::BTreeSet;

use crate::{NodeId, Policy, Quorum, Region};

/// Whether a writer is kept from confirming anything more at its log's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// It is.
    Whole,
    /// It is not, but would be if more of these nodes accepted the new epoch. Any one of them may not be enough.
    Open {
        /// The nodes that still may ack to it, the writer itself among them if it is known.
        unfenced: BTreeSet<NodeId>,
    },
    /// No replica can keep it from that: the policy needs none of them. Only the writer itself can accept the new epoch.
    Unprotected {
        /// The writer, if it is known.
        writer: Option<NodeId>,
    },
}

/// Whether the nodes in `fenced` keep the writer from gathering `policy`.
///
/// `writer` is the node that writes the last epoch; `None` if nobody knows which that is, and then it may be any that is not
/// fenced, so that one more must be.
pub fn fence(policy: Option<&Policy>, writer: Option<&NodeId>, fenced: &BTreeSet<NodeId>) -> Fence {
    if writer.is_some_and(|writer| fenced.contains(writer)) {
        return Fence::Whole;
    }
    let unprotected = Fence::Unprotected { writer: writer.cloned() };
    let Some(policy) = policy.filter(|policy| !policy.voters.is_empty()) else { return unprotected };
    let free = || policy.voters.iter().filter(|(node, _)| !fenced.contains(*node) && Some(*node) != writer);
    let gathers = match &policy.durability.quorum {
        Quorum::Local | Quorum::Archived(_) => return unprotected,
        Quorum::Replicas(count) => count.get() as usize <= free().count(),
        Quorum::Regions { count, among } => {
            let regions: BTreeSet<&Region> = free().filter_map(|(_, region)| region.as_ref()).collect();
            let counted = regions.into_iter().filter(|region| among.is_empty() || among.contains(region));
            count.get() as usize <= counted.count()
        }
    };
    match gathers {
        false => Fence::Whole,
        true => Fence::Open { unfenced: free().map(|(node, _)| node.clone()).chain(writer.cloned()).collect() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shortfall;
    use crate::fake::node;

    fn policy(durability: &str, voters: &[(&str, &str)]) -> Policy {
        let region = |region: &str| (!region.is_empty()).then(|| Region::new(region).unwrap());
        Policy {
            writer: node("p"),
            durability: durability.parse().unwrap(),
            shortfall: Shortfall::Accept,
            degraded: false,
            voters: voters.iter().map(|(name, at)| (node(name), region(at))).collect(),
        }
    }

    fn nodes(names: &str) -> BTreeSet<NodeId> {
        names.chars().map(|name| node(&name.to_string())).collect()
    }

    const FOUR: &[(&str, &str)] = &[("p", "eu"), ("a", "eu"), ("b", "us"), ("c", "ap")];

    #[test]
    fn a_fence_is_whole_when_the_policy_can_no_longer_be_gathered() {
        for (durability, fenced, whole) in [
            // Three voters besides the writer: n - k + 1 of them.
            ("replicas:1", "ab", false),
            ("replicas:1", "abc", true),
            ("replicas:2", "a", false),
            ("replicas:2", "ab", true),
            ("replicas:3", "", false),
            ("replicas:3", "c", true),
            ("replicas:2/received", "a", false),
            // The writer itself is enough, whatever the policy.
            ("replicas:1", "p", true),
            ("local", "p", true),
            ("local", "abc", false),
            ("archived:1", "abc", false),
            ("archived:1", "p", true),
            // No k regions left.
            ("regions:2", "a", false),
            ("regions:2", "b", false),
            ("regions:2", "ab", true),
            ("regions:3", "c", true),
            ("regions:1@us,ap", "b", false),
            ("regions:1@us,ap", "bc", true),
            ("regions:1@eu", "bc", false),
            ("regions:1@eu", "a", true),
            // A stranger's word changes nothing.
            ("replicas:2", "axyz", false),
        ] {
            let found = fence(Some(&policy(durability, FOUR)), Some(&node("p")), &nodes(fenced));
            assert_eq!(found == Fence::Whole, whole, "{durability}, fenced at {fenced:?}: {found:?}");
        }
    }

    #[test]
    fn a_writer_that_nobody_knows_takes_one_more() {
        let policy = policy("replicas:1", FOUR);
        let open = Fence::Open { unfenced: nodes("p") };
        assert_eq!(fence(Some(&policy), None, &nodes("abc")), open, "who says that p is the writer?");
        assert_eq!(fence(Some(&policy), None, &nodes("abcp")), Fence::Whole);
    }

    #[test]
    fn what_no_replica_takes_part_in_is_not_protected_by_any() {
        let unprotected = Fence::Unprotected { writer: Some(node("p")) };
        for policy in [None, Some(policy("replicas:1", &[])), Some(policy("local", FOUR))] {
            assert_eq!(fence(policy.as_ref(), Some(&node("p")), &nodes("abc")), unprotected);
        }
    }

    #[test]
    fn any_fence_meets_every_set_that_could_have_confirmed() {
        // All subsets of four voters besides the writer, and every k: the arithmetic against the definition.
        let five = &[("p", "eu"), ("a", "eu"), ("b", "us"), ("c", "ap"), ("d", "us")];
        let all = ["a", "b", "c", "d"];
        let subset = |bits: u32| -> BTreeSet<NodeId> {
            all.iter().enumerate().filter(|(index, _)| bits & (1 << index) != 0).map(|(_, name)| node(name)).collect()
        };
        let regions = |nodes: &BTreeSet<NodeId>, policy: &Policy| {
            nodes.iter().filter_map(|node| policy.voters[node].clone()).collect::<BTreeSet<_>>().len()
        };
        for k in 1..=4 {
            for kind in ["replicas", "regions"] {
                let policy = policy(&format!("{kind}:{k}"), five);
                for fenced in 0..16 {
                    let fenced = subset(fenced);
                    let whole = fence(Some(&policy), Some(&node("p")), &fenced) == Fence::Whole;
                    let confirms = |set: &BTreeSet<NodeId>| match kind {
                        "replicas" => k <= set.len(),
                        _ => k <= regions(set, &policy),
                    };
                    let all_met = (0..16).map(subset).filter(confirms).all(|set| !set.is_disjoint(&fenced));
                    assert_eq!(whole, all_met, "{kind}:{k} fenced at {fenced:?}");
                }
            }
        }
    }
}
