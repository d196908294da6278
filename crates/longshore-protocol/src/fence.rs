//! Fencing is arithmetic: whether a writer can still gather its policy, when these nodes have accepted a later epoch.
//!
//! A node that accepted a later epoch stores nothing of an earlier one's writer and so never acks to it again. Let V be the
//! voters and F the nodes that accepted. What must hold before a new epoch begins is that every set of nodes which could have
//! confirmed something, in any epoch before, has a node in F: that node's log holds what was confirmed, so it is found, and
//! nothing is confirmed from then on. (So do read and write quorums meet in Gifford, *Weighted Voting for Replicated Data*,
//! 1979.) There are two ways to be sure of it.
//!
//! **By voters.** The voters that are left, U = V − writer − F, cannot gather the policy: with n voters besides the writer and
//! `replicas:k`, F has n − k + 1 of them. Nor can they in an epoch that some D of them began unseen, in which the writer before
//! may ack: (U − D) + writer. By number that follows from the first; by region it does not, where D's region has another node,
//! and there it is asked for unless no such epoch can be (as below).
//!
//! **By the writer's consent.** The writer itself accepted, so its log holds all that it confirmed. But somebody may have begun
//! a later epoch without it, by voters. Such a fence leaves too few to gather the policy, so nodes that can gather it have one
//! in common with it: if F has so many, and none of them had accepted a later epoch, there is none.

use std::collections::BTreeSet;

use crate::{NodeId, Policy, Quorum, Region};

/// Whether a writer, and whoever may have followed it, is kept from confirming anything more at its log's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// It is.
    Whole,
    /// It is not, but would be if more of these nodes accepted the new epoch. Any one of them may not be enough.
    Open {
        /// The nodes that still may ack, the writer itself among them if it is known.
        unfenced: BTreeSet<NodeId>,
    },
    /// No replica can keep it from that: the policy needs none of them. Only the writer itself can accept the new epoch.
    Unprotected {
        /// The writer, if it is known.
        writer: Option<NodeId>,
    },
}

/// Whether the nodes in `fenced` keep the writer of the last known epoch from gathering `policy`.
///
/// `writer` is that node; `None` if nobody knows which it is, and then it may be any that is not fenced, so that one more must
/// be. `later` says that a node in `fenced` had accepted a later epoch than the last known one before, which may have begun:
/// the writer's own consent is then worth nothing.
pub fn fence(policy: Option<&Policy>, writer: Option<&NodeId>, fenced: &BTreeSet<NodeId>, later: bool) -> Fence {
    let consents = !later && writer.is_some_and(|writer| fenced.contains(writer));
    let Some(policy) = policy.filter(|policy| is_gathered_from_voters(policy)) else {
        return if consents { Fence::Whole } else { Fence::Unprotected { writer: writer.cloned() } };
    };
    let others = || policy.voters.keys().filter(|node| Some(*node) != writer);
    let left: BTreeSet<&NodeId> = others().filter(|node| !fenced.contains(*node)).collect();
    let silent_writer = writer.filter(|writer| !fenced.contains(*writer));
    let unseen = |begins: &NodeId| {
        let left = left.iter().copied().filter(|node| *node != begins);
        left.chain(silent_writer).collect::<BTreeSet<_>>()
    };
    // Nobody can have begun an epoch unseen if every fence that allows it would have a node in common with this one.
    let meets_every_fence = !later && gathers(policy, &others().filter(|node| fenced.contains(*node)).collect());
    let none_unseen = meets_every_fence || left.iter().all(|begins| !gathers(policy, &unseen(begins)));
    let by_voters = !gathers(policy, &left) && none_unseen;
    let by_consent = consents && meets_every_fence;
    match by_voters || by_consent {
        true => Fence::Whole,
        false => Fence::Open { unfenced: left.into_iter().chain(silent_writer).cloned().collect() },
    }
}

fn is_gathered_from_voters(policy: &Policy) -> bool {
    !policy.voters.is_empty() && matches!(policy.durability.quorum, Quorum::Replicas(_) | Quorum::Regions { .. })
}

/// Whether acks of all these nodes meet the policy.
fn gathers(policy: &Policy, nodes: &BTreeSet<&NodeId>) -> bool {
    match &policy.durability.quorum {
        Quorum::Local | Quorum::Archived(_) => true,
        Quorum::Replicas(count) => count.get() as usize <= nodes.len(),
        Quorum::Regions { count, among } => {
            let regions = nodes.iter().filter_map(|node| policy.voters.get(*node)?.as_ref());
            let counted = regions.filter(|region| among.is_empty() || among.contains(region));
            count.get() as usize <= counted.collect::<BTreeSet<&Region>>().len()
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
            // The writer itself, with so many that nobody began a later epoch without it.
            ("replicas:1", "p", false),
            ("replicas:1", "pa", true),
            ("replicas:2", "pa", false),
            ("replicas:2", "pb", false),
            ("replicas:2", "pab", true),
            ("regions:2", "pa", false),
            ("regions:2", "pac", true),
            ("local", "p", true),
            ("local", "abc", false),
            ("archived:1", "abc", false),
            ("archived:1", "p", true),
            // No k regions left, nor with the writer when another writes.
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
            let found = fence(Some(&policy(durability, FOUR)), Some(&node("p")), &nodes(fenced), false);
            assert_eq!(found == Fence::Whole, whole, "{durability}, fenced at {fenced:?}: {found:?}");
        }
    }

    #[test]
    fn a_writer_that_nobody_knows_takes_one_more() {
        let policy = policy("replicas:1", FOUR);
        let open = Fence::Open { unfenced: nodes("p") };
        assert_eq!(fence(Some(&policy), None, &nodes("abc"), false), open, "who says that p is the writer?");
        assert_eq!(fence(Some(&policy), None, &nodes("abcp"), false), Fence::Whole);
    }

    #[test]
    fn what_no_replica_takes_part_in_is_not_protected_by_any() {
        let unprotected = Fence::Unprotected { writer: Some(node("p")) };
        for policy in [None, Some(policy("replicas:1", &[])), Some(policy("local", FOUR))] {
            assert_eq!(fence(policy.as_ref(), Some(&node("p")), &nodes("abc"), false), unprotected);
        }
    }

    #[test]
    fn the_writers_consent_is_worth_nothing_where_a_later_epoch_may_have_begun() {
        for (durability, fenced, whole) in [
            ("local", "pabc", false),
            ("replicas:1", "pa", false),
            ("replicas:2", "pa", false),
            ("replicas:2", "pab", true),
        ] {
            let found = fence(Some(&policy(durability, FOUR)), Some(&node("p")), &nodes(fenced), true);
            assert_eq!(found == Fence::Whole, whole, "{durability}, fenced at {fenced:?}: {found:?}");
        }
    }

    /// Every history of up to two promotions of five nodes, by brute force: whoever began an epoch, and whoever acked in it, a
    /// later promotion that is let through sees it.
    #[test]
    fn whatever_was_confirmed_in_an_epoch_that_nobody_tells_of_is_found() {
        let all = ["a", "b", "c", "d", "p"];
        let set = |bits: u32| -> BTreeSet<NodeId> {
            all.iter().enumerate().filter(|(index, _)| bits & (1 << index) != 0).map(|(_, name)| node(name)).collect()
        };
        let places: [&[(&str, &str)]; 3] = [
            &[("a", "eu"), ("b", "us"), ("c", "ap"), ("d", "us"), ("p", "eu")],
            &[("a", "r1"), ("b", "r1"), ("c", "r2"), ("d", "r1"), ("p", "r3")],
            &[("a", "r1"), ("b", "r1"), ("c", "r2"), ("d", "r2"), ("p", "r1")],
        ];
        let p = node("p");
        let mut tried = 0;
        for (voters, k, kind) in places
            .iter()
            .flat_map(|voters| (1..=4).flat_map(move |k| ["replicas", "regions"].map(move |kind| (*voters, k, kind))))
        {
            let policy = policy(&format!("{kind}:{k}"), voters);
            let confirms = |acks: &BTreeSet<NodeId>| gathers(&policy, &acks.iter().collect());
            let whole =
                |fenced: &BTreeSet<NodeId>, later| fence(Some(&policy), Some(&p), fenced, later) == Fence::Whole;
            let seconds = [false, true].into_iter().flat_map(|later| (0..32).map(move |bits| (set(bits), later)));
            for (second, later) in seconds.filter(|(fenced, later)| whole(fenced, *later)) {
                // What p itself confirmed is found, too.
                let without = |nodes: &BTreeSet<NodeId>, one: &NodeId| {
                    nodes.iter().filter(|node| *node != one).cloned().collect()
                };
                let seen = |acks: &BTreeSet<NodeId>| !acks.is_disjoint(&second);
                let all_seen =
                    (0..16).map(set).filter(|acks| confirms(acks)).all(|acks| seen(&acks) || second.contains(&p));
                assert!(all_seen, "{kind}:{k} {voters:?} fenced at {second:?}");
                // A first promotion, of a node that the second does not ask. If it fenced one that the second asks, that tells.
                let unseen = |first: &BTreeSet<NodeId>| later || first.is_disjoint(&second);
                for first in (0..32).map(set).filter(|first| whole(first, false) && unseen(first)) {
                    for begins in first.iter().filter(|node| **node != p && !second.contains(*node)) {
                        for acks in (0..32).map(set).map(|acks| -> BTreeSet<NodeId> { without(&acks, begins) }) {
                            tried += 1;
                            assert!(
                                !confirms(&acks) || seen(&acks),
                                "{kind}:{k} {voters:?}: {begins} began by {first:?}, {acks:?} acked, unseen by {second:?}"
                            );
                        }
                    }
                }
            }
        }
        assert!(1000 < tried, "{tried}");
    }
}
