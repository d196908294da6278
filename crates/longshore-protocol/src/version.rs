//! Agreeing on a protocol version and on features before anything else is believed (F-108).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::name::named;
use crate::{Error, Name};

named! {
    /// Something a peer may be able to do, by name.
    Feature
}

impl Feature {
    /// A replica can hold frames that are not durable at its upstream yet, and show them to nobody until they are.
    pub const SHIP_AHEAD: &str = "ship-ahead";
}

/// The versions of the protocol that a program speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    min: u32,
    max: u32,
}

impl VersionRange {
    /// What this program speaks.
    pub const OURS: Self = Self { min: 1, max: 1 };

    /// A range; refused when it is empty.
    pub fn new(min: u32, max: u32) -> Result<Self, Error> {
        if min <= max { Ok(Self { min, max }) } else { Err(Error::Malformed { what: "version range" }) }
    }

    /// The oldest version.
    pub fn min(self) -> u32 {
        self.min
    }

    /// The newest version.
    pub fn max(self) -> u32 {
        self.max
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}-{}", self.min, self.max) }
    }
}

/// What one end brings to the negotiation. Unknown *optional* features are passed over, unknown *required* ones end it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The versions it speaks.
    pub versions: VersionRange,
    /// What it can do, the required features included.
    pub features: BTreeSet<Feature>,
    /// What it will not do without.
    pub required: BTreeSet<Feature>,
    /// The program's own version, for messages only.
    pub program: String,
}

/// What both ends will keep to on this stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// The newest version that both speak.
    pub version: u32,
    /// What both can do.
    pub features: BTreeSet<Feature>,
}

impl Offer {
    /// The most features one offer may name; a peer that sends more is refused before they are kept.
    pub const MAX_FEATURES: usize = 64;
    /// The longest [`program`](Self::program), in bytes.
    pub const MAX_PROGRAM: usize = 64;

    /// What this program offers.
    pub fn ours() -> Self {
        Self {
            versions: VersionRange::OURS,
            features: BTreeSet::from([Feature::new(Feature::SHIP_AHEAD).expect("it is a name")]),
            required: BTreeSet::new(),
            program: concat!("longshore ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The same, but for one feature.
    pub fn without(mut self, feature: &str) -> Self {
        self.features.retain(|known| known.as_str() != feature);
        self
    }

    /// What these two ends have in common; the error names both sides' versions.
    pub fn agree(&self, theirs: &Offer) -> Result<Agreed, Error> {
        let disagree = |missing: Option<&Feature>, here: bool| Error::Version {
            ours: self.versions,
            our_program: self.program.clone(),
            theirs: theirs.versions,
            their_program: theirs.program.chars().take(Self::MAX_PROGRAM).flat_map(char::escape_default).collect(),
            missing: missing.cloned(),
            missing_here: here,
        };
        let version = self.versions.max.min(theirs.versions.max);
        if version < self.versions.min.max(theirs.versions.min) {
            return Err(disagree(None, false));
        }
        if let Some(feature) = theirs.required.difference(&self.features).next() {
            return Err(disagree(Some(feature), true));
        }
        if let Some(feature) = self.required.difference(&theirs.features).next() {
            return Err(disagree(Some(feature), false));
        }
        Ok(Agreed { version, features: self.features.intersection(&theirs.features).cloned().collect() })
    }
}

impl Agreed {
    /// Whether both ends can do `feature`.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known.as_str() == feature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(versions: (u32, u32), features: &[&str], required: &[&str]) -> Offer {
        let set = |names: &[&str]| names.iter().map(|name| Feature::new(name).unwrap()).collect();
        Offer {
            versions: VersionRange::new(versions.0, versions.1).unwrap(),
            features: set(features),
            required: set(required),
            program: format!("test {}", versions.1),
        }
    }

    #[test]
    fn both_ends_agree_on_the_newest_common_version_whoever_asks() {
        for (a, b, agreed) in [
            ((1, 1), (1, 1), Some(1)),
            ((1, 2), (1, 1), Some(1)),
            ((1, 3), (2, 5), Some(3)),
            ((0, u32::MAX), (u32::MAX, u32::MAX), Some(u32::MAX)),
            ((1, 1), (2, 3), None),
            ((3, 4), (1, 2), None),
        ] {
            let (a, b) = (offer(a, &[], &[]), offer(b, &[], &[]));
            assert_eq!(a.agree(&b).ok().map(|agreed| agreed.version), agreed);
            assert_eq!(b.agree(&a).ok().map(|agreed| agreed.version), agreed);
        }
    }

    #[test]
    fn version_skew_is_refused_naming_both_versions_f108() {
        let error = offer((1, 2), &[], &[]).agree(&offer((3, 9), &[], &[])).unwrap_err().to_string();
        assert!(error.contains("1-2") && error.contains("3-9"), "{error}");
    }

    #[test]
    fn an_unknown_optional_feature_is_passed_over_and_a_required_one_is_refused_f108() {
        let ours = offer((1, 1), &["zstd"], &[]);
        let agreed = ours.agree(&offer((1, 1), &["zstd", "teleport"], &[])).unwrap();
        assert!(agreed.has("zstd") && !agreed.has("teleport"));

        let theirs = offer((1, 1), &["teleport"], &["teleport"]);
        for error in [ours.agree(&theirs).unwrap_err(), theirs.agree(&ours).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("teleport") && text.contains("version 1"), "{text}");
        }
    }

    #[test]
    fn an_empty_version_range_is_malformed() {
        assert!(VersionRange::new(2, 1).is_err());
    }
}
