//! What a log promises, and whose copies count: the payload of [`Kind::POLICY`](crate::Kind::POLICY).

use crate::bytes::Fields;
use crate::{FormatError, Name};

/// A log's durability policy and its voting set, as a record of the log.
///
/// The set names every node whose copy may count, the writer's too; of a writer's own copy nobody counts an ack. Regions stand
/// here as the writer's grants had them when it wrote the record, so that whoever promotes counts as the writer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The node that wrote the record: the writer of the epoch that the record is of.
    pub writer: Name,
    /// The durability, in the one spelling (`replicas:2`, `regions:2@eu-west,us-east`).
    pub durability: String,
    /// What happens while it cannot be had.
    pub shortfall: Shortfall,
    /// The writer goes on without the policy since this record, as `shortfall` allows. Whoever promotes must fence as if it did
    /// not.
    pub degraded: bool,
    /// The nodes that vote, by name, each once.
    pub voters: Vec<Voter>,
}

/// A node whose copy counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Voter {
    /// Its identity.
    pub node: Name,
    /// Where it is.
    pub region: Option<Name>,
}

/// What a writer does while a policy cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Shortfall {
    /// Takes appends; waits for them end by time.
    #[default]
    Block,
    /// Refuses appends.
    Fail,
    /// Confirms what is durable at the writer alone, once the policy could not be had for so many milliseconds.
    Degrade(u32),
}

impl Policy {
    /// The most voters.
    pub const MAX_VOTERS: usize = 32;
    /// The longest spelling of a durability.
    pub const MAX_DURABILITY: usize = 1024;

    /// The payload as bytes: writer, durability, shortfall 1 and its milliseconds 4, degraded 1, how many voters 1, then node
    /// and region of each. A text is its length (1, of the durability 2) and its bytes; no region is an empty one.
    ///
    /// # Errors
    /// If there are more voters, or a longer durability, than fit.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        within("voters", Policy::MAX_VOTERS, self.voters.len())?;
        within("bytes of a durability", Policy::MAX_DURABILITY, self.durability.len())?;
        let mut bytes = Vec::with_capacity(64 + self.durability.len() + self.voters.len() * 40);
        push_name(&mut bytes, Some(&self.writer));
        bytes.extend_from_slice(&(self.durability.len() as u16).to_le_bytes());
        bytes.extend_from_slice(self.durability.as_bytes());
        let (code, after) = match self.shortfall {
            Shortfall::Block => (0, 0),
            Shortfall::Fail => (1, 0),
            Shortfall::Degrade(after) => (2, after),
        };
        bytes.push(code);
        bytes.extend_from_slice(&after.to_le_bytes());
        bytes.push(self.degraded.into());
        bytes.push(self.voters.len() as u8);
        for voter in &self.voters {
            push_name(&mut bytes, Some(&voter.node));
            push_name(&mut bytes, voter.region.as_ref());
        }
        Ok(bytes)
    }

    /// The payload that exactly these bytes hold; voters must be in order, each once.
    pub fn decode(payload: &[u8]) -> Option<Policy> {
        let mut fields = Fields(payload);
        let writer = take_name(&mut fields)??;
        let length = Some(usize::from(fields.u16()?)).filter(|length| *length <= Policy::MAX_DURABILITY)?;
        let durability = std::str::from_utf8(fields.take(length)?).ok()?.to_owned();
        let shortfall = match (fields.u8()?, fields.u32()?) {
            (0, 0) => Shortfall::Block,
            (1, 0) => Shortfall::Fail,
            (2, after) => Shortfall::Degrade(after),
            _ => return None,
        };
        let degraded = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let count = Some(usize::from(fields.u8()?)).filter(|count| *count <= Policy::MAX_VOTERS)?;
        let voters =
            (0..count).map(|_| Some(Voter { node: take_name(&mut fields)??, region: take_name(&mut fields)? }));
        let voters = voters.collect::<Option<Vec<_>>>()?;
        let in_order = voters.windows(2).all(|pair| pair[0].node < pair[1].node);
        (in_order && fields.0.is_empty()).then_some(Policy { writer, durability, shortfall, degraded, voters })
    }
}

fn within(what: &'static str, limit: usize, got: usize) -> Result<(), FormatError> {
    if got <= limit { Ok(()) } else { Err(FormatError::TooMany { what, limit, got }) }
}

fn push_name(bytes: &mut Vec<u8>, name: Option<&Name>) {
    let name = name.map_or("", Name::as_str);
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name.as_bytes());
}

/// The outer `Option` is whether the bytes held up; an empty name is none.
fn take_name(fields: &mut Fields<'_>) -> Option<Option<Name>> {
    let length = fields.u8()?.into();
    match std::str::from_utf8(fields.take(length)?).ok()? {
        "" => Some(None),
        text => Name::new(text).ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn policy() -> Policy {
        let voter = |node: &str, region: Option<&str>| Voter { node: name(node), region: region.map(name) };
        Policy {
            writer: name("a"),
            durability: "regions:2@eu-west,us-east".to_owned(),
            shortfall: Shortfall::Degrade(5000),
            degraded: true,
            voters: vec![voter("a", Some("eu-west")), voter("b", Some("us-east")), voter("c", None)],
        }
    }

    #[test]
    fn a_policy_comes_back_as_it_was_and_no_cut_or_flip_panics() {
        let rows = [
            policy(),
            Policy { shortfall: Shortfall::Block, degraded: false, voters: Vec::new(), ..policy() },
            Policy { shortfall: Shortfall::Fail, durability: String::new(), ..policy() },
        ];
        for policy in rows {
            let bytes = policy.encode().unwrap();
            assert_eq!(Policy::decode(&bytes), Some(policy.clone()));
            for cut in 0..bytes.len() {
                assert_eq!(Policy::decode(&bytes[..cut]), None, "cut at {cut}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(Policy::decode(&flipped), Some(policy.clone()), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_voter_named_twice_or_out_of_order_is_refused_because_it_would_count_twice() {
        for order in [[0, 0], [1, 0]] {
            let voters = order.map(|index| policy().voters[index].clone()).to_vec();
            let bytes = Policy { voters, ..policy() }.encode().unwrap();
            assert_eq!(Policy::decode(&bytes), None, "{order:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_f101() {
        let voter = policy().voters[0].clone();
        assert!(Policy { voters: vec![voter; 33], ..policy() }.encode().is_err());
        assert!(Policy { durability: "x".repeat(1025), ..policy() }.encode().is_err());
    }
}
