//! How durable somebody wants a position to be, in the one spelling used everywhere.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::{Error, Region};

/// How far a node is with a position. Each stage includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Stage {
    /// In the node's log, perhaps in memory only: lost if the node loses power.
    Received,
    /// On the node's disk.
    #[default]
    Durable,
    /// In the node's sink.
    Applied,
}

/// Whose copies count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quorum {
    /// The primary alone. Never protected by failover.
    Local,
    /// That many replicas besides the primary, wherever they are.
    Replicas(NonZeroU32),
    /// Replicas in that many different regions. A replica whose grants name no region counts in none.
    Regions {
        /// How many regions.
        count: NonZeroU32,
        /// Only these regions count; empty means that any does.
        among: BTreeSet<Region>,
    },
    /// That many of the object stores that this node archives the log into. A store has one stage only: it is archived there
    /// or it is not.
    Archived(NonZeroU32),
}

/// What a wait asks for: `local`, `replicas:2`, `regions:2`, `regions:2@eu-west,us-east`, each with an optional
/// `/received`, `/durable` (the default) or `/applied`; or `archived:1`, which takes none of them.
///
/// ```
/// use longshore_protocol::Durability;
/// let asked: Durability = "regions:2@us-east,eu-west/durable".parse()?;
/// assert_eq!(asked.to_string(), "regions:2@eu-west,us-east");
/// # Ok::<(), longshore_protocol::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Durability {
    /// Whose copies count.
    pub quorum: Quorum,
    /// How far each of them must be.
    pub stage: Stage,
}

impl Durability {
    /// Durable on the primary's own disk.
    pub const LOCAL: Self = Self { quorum: Quorum::Local, stage: Stage::Durable };

    /// Durable on `count` replicas.
    pub fn replicas(count: NonZeroU32) -> Self {
        Self { quorum: Quorum::Replicas(count), stage: Stage::Durable }
    }

    /// Durable in `count` regions, whichever they are.
    pub fn regions(count: NonZeroU32) -> Self {
        Self { quorum: Quorum::Regions { count, among: BTreeSet::new() }, stage: Stage::Durable }
    }

    /// Archived in `count` stores.
    pub fn archived(count: NonZeroU32) -> Self {
        Self { quorum: Quorum::Archived(count), stage: Stage::Durable }
    }

    /// The same quorum at another stage. What is archived knows one stage only and stays as it is.
    pub fn at(self, stage: Stage) -> Self {
        match self.quorum {
            Quorum::Archived(_) => self,
            _ => Self { stage, ..self },
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Received => "received",
            Self::Durable => "durable",
            Self::Applied => "applied",
        })
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.quorum {
            Quorum::Local => f.write_str("local")?,
            Quorum::Replicas(count) => write!(f, "replicas:{count}")?,
            Quorum::Regions { count, among } => {
                write!(f, "regions:{count}")?;
                for (i, region) in among.iter().enumerate() {
                    write!(f, "{}{region}", if i == 0 { "@" } else { "," })?;
                }
            }
            Quorum::Archived(count) => return write!(f, "archived:{count}"),
        }
        if self.stage == Stage::Durable { Ok(()) } else { write!(f, "/{}", self.stage) }
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let bad = |why| Error::Durability { given: s.chars().take(200).collect(), why };
        let (quorum, stage) = match s.split_once('/') {
            None => (s, Stage::Durable),
            Some((quorum, "received")) => (quorum, Stage::Received),
            Some((quorum, "durable")) => (quorum, Stage::Durable),
            Some((quorum, "applied")) => (quorum, Stage::Applied),
            Some(_) => return Err(bad("the stage is one of received, durable, applied")),
        };
        let count = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse::<NonZeroU32>().map_err(|_| bad("the count is a number from 1 on")),
            false => Err(bad("the count is a number from 1 on")),
        };
        let quorum = match quorum.split_once(':') {
            None if quorum == "local" => Quorum::Local,
            Some(("replicas", k)) => Quorum::Replicas(count(k)?),
            Some(("regions", rest)) => {
                let (k, names) = rest.split_once('@').map_or((rest, None), |(k, names)| (k, Some(names)));
                let mut among = BTreeSet::new();
                for name in names.into_iter().flat_map(|names| names.split(',')) {
                    let region = Region::new(name).map_err(|_| bad("a region is a name like eu-west"))?;
                    if !among.insert(region) {
                        return Err(bad("a region is named twice"));
                    }
                }
                let count = count(k)?;
                if names.is_some() && among.len() < count.get() as usize {
                    return Err(bad("more regions are asked for than are named"));
                }
                Quorum::Regions { count, among }
            }
            Some(("archived", _)) if stage != Stage::Durable => {
                return Err(bad("a store neither receives nor applies: write archived:K without a stage"));
            }
            Some(("archived", k)) => Quorum::Archived(count(k)?),
            _ => return Err(bad("write local, replicas:K, regions:K[@NAME,NAME], or archived:K")),
        };
        Ok(Self { quorum, stage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_reads_back_as_it_prints() {
        for (given, printed) in [
            ("local", "local"),
            ("local/durable", "local"),
            ("local/received", "local/received"),
            ("replicas:1", "replicas:1"),
            ("replicas:02/applied", "replicas:2/applied"),
            ("regions:2", "regions:2"),
            ("regions:2/received", "regions:2/received"),
            ("regions:2@us-east,eu-west", "regions:2@eu-west,us-east"),
            ("regions:1@eu-west,us-east/applied", "regions:1@eu-west,us-east/applied"),
            ("replicas:4294967295", "replicas:4294967295"),
            ("archived:1", "archived:1"),
            ("archived:02", "archived:2"),
            ("archived:3/durable", "archived:3"),
        ] {
            let parsed: Durability = given.parse().unwrap();
            assert_eq!(parsed.to_string(), printed);
            assert_eq!(printed.parse::<Durability>().unwrap(), parsed);
        }
    }

    #[test]
    fn what_can_never_be_had_is_refused_with_the_grammar() {
        for bad in [
            "",
            "Local",
            "local:1",
            "local/",
            "local/synced",
            "local/durable/applied",
            "replicas",
            "replicas:",
            "replicas:0",
            "replicas:-1",
            "replicas:+1",
            "replicas: 1",
            "replicas:4294967296",
            "replicas:2@eu-west",
            "regions:0",
            "regions:2@",
            "regions:2@eu-west",
            "regions:2@eu-west,eu-west",
            "regions:1@EU",
            "quorum:2",
            "archived",
            "archived:",
            "archived:0",
            "archived:-1",
            "archived:1@eu-west",
            "archived:1/received",
            "archived:1/applied",
            "archived:1/archived",
        ] {
            let error = bad.parse::<Durability>().unwrap_err();
            assert!(error.to_string().starts_with("no durability"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_stage_of_what_is_archived_is_refused_with_what_to_write() {
        for stage in ["received", "applied"] {
            let error = format!("archived:1/{stage}").parse::<Durability>().unwrap_err().to_string();
            assert!(error.contains("write archived:K without a stage"), "{error}");
        }
        let one = Durability::archived(NonZeroU32::MIN);
        assert_eq!(one.clone().at(Stage::Applied), one);
    }
}
