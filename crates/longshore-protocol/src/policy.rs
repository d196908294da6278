//! What a log promises and whose copies count, as the log's own records say.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_format as format;
use longshore_format::Lsn;

use crate::{Durability, NodeId, Quorum, Region, Result, Shortfall};

/// A log's policy: the record of kind [`Policy`](longshore_format::Kind::POLICY), read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The node that wrote the record.
    pub writer: NodeId,
    /// What a wait asks for by default, and what a promotion protects.
    pub durability: Durability,
    /// What an append does while it cannot be had.
    pub shortfall: Shortfall,
    /// The writer goes on without it, as `shortfall` allows.
    pub degraded: bool,
    /// The nodes whose copies count, and where they are.
    pub voters: BTreeMap<NodeId, Option<Region>>,
}

impl Policy {
    /// The policy of a record.
    ///
    /// # Errors
    /// `Invalid` for a durability that this version cannot spell.
    pub fn of_record(record: &format::Policy) -> Result<Policy> {
        let voter = |voter: &format::Voter| (voter.node.clone().into(), voter.region.clone().map(Region::from));
        Ok(Policy {
            writer: record.writer.clone().into(),
            durability: record.durability.parse()?,
            shortfall: match record.shortfall {
                format::Shortfall::Block => Shortfall::Accept,
                format::Shortfall::Fail => Shortfall::Refuse,
                format::Shortfall::Degrade(after) => Shortfall::Degrade { after: Duration::from_millis(after.into()) },
            },
            degraded: record.degraded,
            voters: record.voters.iter().map(voter).collect(),
        })
    }

    /// Whether anybody but the writer must hold what is confirmed; else no failover protects it.
    pub fn needs_voters(&self) -> bool {
        !self.voters.is_empty() && matches!(self.durability.quorum, Quorum::Replicas(_) | Quorum::Regions { .. })
    }

    /// Whether the writer may confirm without any voter, at once or after a while: then it alone can be fenced.
    pub fn rests_on_its_writer(&self) -> bool {
        !self.needs_voters() || matches!(self.shortfall, Shortfall::Degrade { .. })
    }

    /// Whether a node may take a lease that is free and promote itself, which nobody orders: only a voter, and where no fence
    /// protects what was confirmed, nobody.
    pub fn may_stand(&self, node: &NodeId) -> bool {
        self.needs_voters() && self.voters.contains_key(node)
    }

    /// Whether two policies promise the same, whoever wrote them.
    pub fn promises_as(&self, other: &Policy) -> bool {
        self.durability == other.durability && self.voters == other.voters
    }

    /// The record that says so.
    pub fn to_record(&self) -> format::Policy {
        let voter = |(node, region): (&NodeId, &Option<Region>)| format::Voter {
            node: node.as_name().clone(),
            region: region.as_ref().map(|region| region.as_name().clone()),
        };
        format::Policy {
            writer: self.writer.as_name().clone(),
            durability: self.durability.to_string(),
            shortfall: match self.shortfall {
                Shortfall::Accept => format::Shortfall::Block,
                Shortfall::Refuse => format::Shortfall::Fail,
                Shortfall::Degrade { after } => {
                    format::Shortfall::Degrade(u32::try_from(after.as_millis()).unwrap_or(u32::MAX))
                }
            },
            degraded: self.degraded,
            voters: self.voters.iter().map(voter).collect(),
        }
    }
}

/// The policies that hold in a log, of its policy records in their order: the last two, or one if both promise the same.
///
/// So a change is under way from its record on, and over once the new policy stands there twice. Meanwhile both hold: a
/// position is confirmed by the voters of each, and a fence is one for each. The writer appends the second record when the
/// first one is confirmed so, and until then what [`records_of`] says; whoever begins an epoch meanwhile writes both again. (Raft's
/// joint consensus, section 6 of Ongaro and Ousterhout, 2014, in records of one kind.)
pub fn in_force<P: std::borrow::Borrow<Policy>>(records: &[(Lsn, P)]) -> &[(Lsn, P)] {
    let holding = match records {
        [.., (_, old), (_, new)] if !old.borrow().promises_as(new.borrow()) => 2,
        [..] => 1,
    };
    &records[records.len().saturating_sub(holding)..]
}

/// The records with which the writer of a log in which these policies hold says `policy`.
///
/// While a change is under way that is the old policy again and then this one, so that both go on holding: one record with the
/// new promise, for whatever reason it was written, would end the change unconfirmed. `None` if it would be another change
/// meanwhile.
///
/// ```
/// # use longshore_protocol::*;
/// let policy = |durability: &str| -> Result<Policy> {
///     let (writer, durability) = (NodeId::new("eu-west")?, durability.parse()?);
///     Ok(Policy { writer, durability, shortfall: Shortfall::Accept, degraded: false, voters: Default::default() })
/// };
/// let (old, new) = (policy("replicas:1")?, policy("replicas:2")?);
/// let degraded = Policy { degraded: true, ..new.clone() };
/// assert_eq!(records_of(&[old.clone()], new.clone()), Some(vec![new.clone()]));
/// assert_eq!(records_of(&[old.clone(), new.clone()], degraded.clone()), Some(vec![old.clone(), degraded]));
/// assert_eq!(records_of(&[old, new], policy("replicas:3")?), None);
/// # Ok::<(), Error>(())
/// ```
pub fn records_of(holding: &[Policy], policy: Policy) -> Option<Vec<Policy>> {
    match holding {
        [old, new] if new.promises_as(&policy) => {
            let again = Policy { writer: policy.writer.clone(), ..old.clone() };
            Some(vec![again, policy])
        }
        [_, _] => None,
        _ => Some(vec![policy]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::node;

    #[test]
    fn a_policy_is_the_same_after_a_way_through_its_record() {
        for (durability, shortfall, degraded) in [
            ("local", Shortfall::Accept, false),
            ("replicas:2/received", Shortfall::Refuse, false),
            ("regions:2@eu-west,us-east", Shortfall::Degrade { after: Duration::from_secs(10) }, true),
        ] {
            let durability = durability.parse().unwrap();
            let voters = [(node("a"), None), (node("b"), Some(Region::new("eu-west").unwrap()))].into();
            let policy = Policy { writer: node("a"), durability, shortfall, degraded, voters };
            assert_eq!(Policy::of_record(&policy.to_record()).unwrap(), policy);
        }
        let unreadable = format::Policy { durability: "planets:2".to_owned(), ..simple() };
        assert!(Policy::of_record(&unreadable).is_err());
    }

    #[test]
    fn a_change_is_over_once_the_new_policy_stands_there_twice() {
        let policy = |durability: &str| Policy { durability: durability.parse().unwrap(), ..read(&simple()) };
        let (one, two) = (policy("replicas:1"), policy("replicas:2"));
        let (other, degraded) = (Policy { writer: node("b"), ..two.clone() }, Policy { degraded: true, ..two.clone() });
        let moved = Policy { voters: [(node("a"), None)].into(), ..two.clone() };
        for (records, holding) in [
            (vec![], 0),
            (vec![&one], 1),
            (vec![&one, &two], 2),
            (vec![&one, &two, &two], 1),
            // A promotion in between writes both again.
            (vec![&one, &two, &one, &other], 2),
            (vec![&one, &two, &other, &degraded], 1),
            (vec![&two, &two, &moved], 2),
            (vec![&one, &one, &one], 1),
        ] {
            let records: Vec<_> =
                records.into_iter().enumerate().map(|(at, policy)| (Lsn::new(at as u64), policy)).collect();
            assert_eq!(in_force(&records), &records[records.len() - holding..], "{records:?}");
        }
    }

    #[test]
    fn only_a_voter_stands_and_nobody_where_no_voter_is_needed() {
        let voters: BTreeMap<_, _> = [(node("a"), None)].into();
        for (durability, voters, stands) in [
            ("replicas:1", voters.clone(), true),
            ("regions:1", voters.clone(), true),
            ("replicas:1", BTreeMap::new(), false),
            ("local", voters.clone(), false),
            ("archived:1", voters, false),
        ] {
            let policy = Policy { durability: durability.parse().unwrap(), voters, ..read(&simple()) };
            assert_eq!(policy.may_stand(&node("a")), stands, "{durability}");
            assert!(!policy.may_stand(&node("z")), "{durability}");
        }
    }

    fn read(record: &format::Policy) -> Policy {
        Policy::of_record(record).unwrap()
    }

    fn simple() -> format::Policy {
        let durability = Durability::LOCAL;
        let shortfall = Shortfall::Accept;
        Policy { writer: node("a"), durability, shortfall, degraded: false, voters: BTreeMap::new() }.to_record()
    }
}
