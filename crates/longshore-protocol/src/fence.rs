//! Fencing is arithmetic: whether a writer can still gather its policy, when these nodes have accepted a later epoch.
//!
//! A node that accepted a later epoch stores nothing of an earlier one's writer and so never acks to it again. With n voters
//! besides the writer and a policy of `replicas:k`, n − k + 1 of them leave it k − 1: one too few. The same number is what
//! makes the fenced nodes meet every set of k that confirmed something before: any two such sets of n have a node in common,
//! and that node's log holds what was confirmed. (So do read and write quorums in Gifford, *Weighted Voting for Replicated
//! Data*, 1979.)
//!
//! The writer counts as one of the voters, and no more. That it accepted the epoch itself is not enough: nobody can know that
//! no other voter began an epoch in between, at nodes that this promotion never asked. So the fence is whole when *whichever*
//! voter is not fenced, and were it a writer, could not gather the policy from the others. (As in Lamport, Malkhi and Zhou,
//! *Vertical Paxos*, 2009, and with k + 1 and n − k + 1 of n + 1 nodes the quorums of Howard, Malkhi and Spiegelman,
//! *Flexible Paxos*, 2016.) That only voters begin epochs is for [`Promotion`](crate::Promotion) to see to.

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

/// Whether the nodes in `fenced` keep every writer before from gathering `policy`.
///
/// `writer` is the node that writes the last epoch; `None` if nobody knows which that is, and then it may be any that is not
/// fenced, so that one more must be.
pub fn fence(policy: Option<&Policy>, writer: Option<&NodeId>, fenced: &BTreeSet<NodeId>) -> Fence {
    let consents = writer.is_some_and(|writer| fenced.contains(writer));
    let unprotected = || Fence::Unprotected { writer: writer.cloned() };
    if policy.is_none_or(Policy::rests_on_its_writer) && !consents {
        return unprotected();
    }
    let Some(policy) = policy.filter(|policy| policy.needs_voters()) else { return Fence::Whole };
    let free: BTreeSet<&NodeId> = policy.voters.keys().filter(|node| !fenced.contains(*node)).collect();
    let known = writer.filter(|writer| !fenced.contains(*writer));
    let anybody = writer.is_none().then_some(None);
    let mut writers = free.iter().copied().chain(known).map(Some).chain(anybody);
    match writers.any(|writer| gathers(policy, free.iter().copied().filter(|node| Some(*node) != writer))) {
        false => Fence::Whole,
        true => Fence::Open { unfenced: free.into_iter().chain(known).cloned().collect() },
    }
}

/// Whether acks of these voters are enough.
fn gathers<'a>(policy: &Policy, voters: impl Iterator<Item = &'a NodeId>) -> bool {
    match &policy.durability.quorum {
        Quorum::Local | Quorum::Archived(_) => true,
        Quorum::Replicas(count) => count.get() as usize <= voters.count(),
        Quorum::Regions { count, among } => {
            let regions: BTreeSet<&Region> = voters.filter_map(|node| policy.voters[node].as_ref()).collect();
            let counted = regions.into_iter().filter(|region| among.is_empty() || among.contains(region));
            count.get() as usize <= counted.count()
        }
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
            // The writer counts like one of them: another may have taken its place meanwhile.
            ("replicas:1", "p", false),
            ("replicas:1", "pa", false),
            ("replicas:1", "pab", true),
            ("replicas:2", "p", false),
            ("replicas:2", "pa", true),
            ("replicas:3", "p", true),
            // Where nobody takes part the writer itself is all that there is.
            ("local", "p", true),
            ("local", "abc", false),
            ("archived:1", "abc", false),
            ("archived:1", "p", true),
            // No k regions left, for whichever of those that are left.
            ("regions:2", "a", false),
            ("regions:2", "b", false),
            ("regions:2", "ab", true),
            ("regions:2", "bc", true),
            ("regions:3", "c", true),
            ("regions:1@us,ap", "b", false),
            ("regions:1@us,ap", "bc", true),
            ("regions:1@eu", "bc", false),
            ("regions:1@eu", "a", false),
            ("regions:1@eu", "pa", true),
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
    fn a_writer_that_may_degrade_is_fenced_only_by_itself() {
        let degrades =
            Policy { shortfall: Shortfall::Degrade { after: Default::default() }, ..policy("replicas:2", FOUR) };
        let fence = |fenced| fence(Some(&degrades), Some(&node("p")), &nodes(fenced));
        assert_eq!(fence("abc"), Fence::Unprotected { writer: Some(node("p")) });
        assert!(matches!(fence("p"), Fence::Open { .. }), "others may have begun an epoch meanwhile");
        assert_eq!(fence("pab"), Fence::Whole);
    }

    #[test]
    fn any_fence_meets_every_set_that_could_have_confirmed() {
        // All subsets of five voters, every k, and whichever of them was the writer: the arithmetic against the definition.
        let five = &[("p", "eu"), ("a", "eu"), ("b", "us"), ("c", "ap"), ("d", "us")];
        let subset = |bits: u32| -> BTreeSet<NodeId> {
            five.iter()
                .enumerate()
                .filter(|(index, _)| bits & (1 << index) != 0)
                .map(|(_, (name, _))| node(name))
                .collect()
        };
        for (k, kind) in (1..=4).flat_map(|k| [(k, "replicas"), (k, "regions")]) {
            let policy = policy(&format!("{kind}:{k}"), five);
            let confirms = |set: &BTreeSet<NodeId>, writer: &NodeId| {
                let others = set.iter().filter(|node| *node != writer);
                let count = match kind {
                    "replicas" => others.count(),
                    _ => others.map(|node| policy.voters[node].clone()).collect::<BTreeSet<_>>().len(),
                };
                set.contains(writer) && k <= count
            };
            let could: Vec<_> =
                (0..32).map(subset).filter(|set| policy.voters.keys().any(|writer| confirms(set, writer))).collect();
            for fenced in (0..32).map(subset) {
                let whole = fence(Some(&policy), Some(&node("p")), &fenced) == Fence::Whole;
                let all_met = could.iter().all(|set| !set.is_disjoint(&fenced));
                assert_eq!(whole, all_met, "{kind}:{k} fenced at {fenced:?}");
            }
        }
    }
}
