//! What can take two places down together.

use std::fmt;

use super::{Region, RegionId};

/// How near two places are to each other, the nearest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// On two continents.
    OtherContinent,
    /// On one continent.
    SameContinent,
    /// In one country: one law, one power grid, one network in trouble.
    SameCountry,
    /// In one city, whosever region: one flood, one blackout.
    SameCity,
    /// In one region of one provider.
    SameRegion,
}

/// What two places share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedFate {
    /// One provider: one account, one control plane, one bad day.
    pub same_provider: bool,
    /// `None` where one of them is on no map here.
    pub nearness: Option<Nearness>,
}

impl SharedFate {
    /// Of `a` and `b`, in whichever order.
    pub fn new(a: &RegionId, b: &RegionId) -> SharedFate {
        let nearness = match (a.region(), b.region()) {
            _ if a == b => Some(Nearness::SameRegion),
            (Some(a), Some(b)) => Some(nearness(a, b)),
            _ => None,
        };
        SharedFate { same_provider: a.provider() == b.provider(), nearness }
    }

    /// Whether one event may well take both: they are in one region or one city.
    pub fn is_one_place(&self) -> bool {
        matches!(self.nearness, Some(Nearness::SameCity | Nearness::SameRegion))
    }

    /// The more, the more is shared. A provider weighs as much as two steps of nearness; what is
    /// not known counts as one country.
    pub(super) fn weight(&self) -> u32 {
        let nearness = match self.nearness {
            Some(Nearness::OtherContinent) => 0,
            Some(Nearness::SameContinent) => 1,
            Some(Nearness::SameCountry) | None => 2,
            Some(Nearness::SameCity) => 3,
            Some(Nearness::SameRegion) => 4,
        };
        nearness + if self.same_provider { 2 } else { 0 }
    }
}

fn nearness(a: &Region, b: &Region) -> Nearness {
    match () {
        () if a.distance_km(b) < ONE_CITY_KM => Nearness::SameCity,
        () if a.country == b.country => Nearness::SameCountry,
        () if a.continent == b.continent => Nearness::SameContinent,
        () => Nearness::OtherContinent,
    }
}

/// Nearer than this, one storm or one blackout reaches both.
const ONE_CITY_KM: f64 = 100.0;

impl fmt::Display for SharedFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = if self.same_provider { "same provider" } else { "other provider" };
        let place = match self.nearness {
            Some(Nearness::OtherContinent) => "other continent",
            Some(Nearness::SameContinent) => "same continent",
            Some(Nearness::SameCountry) => "same country",
            Some(Nearness::SameCity) => "same city",
            Some(Nearness::SameRegion) => "same region",
            None => "place unknown",
        };
        write!(f, "{provider}, {place}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::regions::tests::id;
    use super::*;

    #[test]
    fn what_is_shared_is_said_in_words() {
        let rows = [
            ("aws:eu-central-1", "same provider, same region", 6),
            ("gcp:europe-west3", "other provider, same city", 3),
            ("aws:eu-west-1", "same provider, same continent", 3),
            ("gcp:europe-west1", "other provider, same continent", 1),
            ("aws:us-east-1", "same provider, other continent", 2),
            ("gcp:us-east4", "other provider, other continent", 0),
            ("hetzner:fsn1", "other provider, place unknown", 2),
        ];
        let from = id("aws:eu-central-1");
        for (to, told, weight) in rows {
            let fate = SharedFate::new(&from, &id(to));
            assert_eq!((fate.to_string().as_str(), fate.weight()), (told, weight), "{to}");
            assert_eq!(SharedFate::new(&id(to), &from), fate);
        }
        let country = SharedFate::new(&id("aws:us-east-1"), &id("aws:us-west-2"));
        assert_eq!(country.to_string(), "same provider, same country");
        assert!(SharedFate::new(&from, &id("gcp:europe-west3")).is_one_place());
    }
}
