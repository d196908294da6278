//! Where the providers' regions are, and how far it is from one to another.
//!
//! Coordinates are those of the city or area a provider names, not of a building. The distance is
//! the great circle's by the haversine formula, `2R × asin √(sin²(Δφ/2) + cos φ₁ × cos φ₂ ×
//! sin²(Δλ/2))`. Light in fibre makes about 200 km in a millisecond, cables make detours. What
//! comes out is an estimate; `longshore status` shows the round trip that a link really has.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{duration, nearest};
use table::REGIONS;

mod table;

/// A provider and one of its regions, known here or not: `aws:eu-central-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId {
    provider: String,
    name: String,
}

/// Text that names no region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a region is written PROVIDER:REGION, as aws:eu-central-1, not {text:?}")]
pub struct RegionFault {
    /// What was written.
    pub text: String,
}

impl RegionId {
    /// `aws`, `gcp`, `azure`, or another.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The region as its provider calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known of it.
    pub fn region(&self) -> Option<&'static Region> {
        REGIONS.iter().find(|region| region.provider == self.provider && region.name == self.name)
    }

    /// The known region that is spelt most like this one; `None` for a region that is known, or
    /// that is like none.
    pub fn meant(&self) -> Option<String> {
        let known: Vec<String> = REGIONS.iter().map(Region::to_string).collect();
        match self.region() {
            Some(_) => None,
            None => nearest(&self.to_string(), known.iter().map(String::as_str)).map(str::to_owned),
        }
    }
}

impl FromStr for RegionId {
    type Err = RegionFault;

    fn from_str(text: &str) -> Result<RegionId, RegionFault> {
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match text.split_once(':') {
            Some((provider, name)) if plain(provider) && plain(name) => {
                Ok(RegionId { provider: provider.to_owned(), name: name.to_owned() })
            }
            _ => Err(RegionFault { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.name)
    }
}

/// One continent; prices are often those of a continent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "a continent is what it is called")]
pub enum Continent {
    Africa,
    Asia,
    Europe,
    NorthAmerica,
    Oceania,
    SouthAmerica,
}

impl Continent {
    /// All of them.
    pub const ALL: [Continent; 6] = [
        Continent::Africa,
        Continent::Asia,
        Continent::Europe,
        Continent::NorthAmerica,
        Continent::Oceania,
        Continent::SouthAmerica,
    ];

    /// As price tables spell it: `north-america`.
    pub fn as_str(self) -> &'static str {
        match self {
            Continent::Africa => "africa",
            Continent::Asia => "asia",
            Continent::Europe => "europe",
            Continent::NorthAmerica => "north-america",
            Continent::Oceania => "oceania",
            Continent::SouthAmerica => "south-america",
        }
    }
}

/// A known region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// `aws`, `gcp` or `azure`.
    pub provider: &'static str,
    /// As its provider calls it.
    pub name: &'static str,
    /// The city or area.
    pub place: &'static str,
    /// ISO 3166, two letters.
    pub country: &'static str,
    /// The continent.
    pub continent: Continent,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

impl Region {
    /// Every region that is known here.
    pub fn all() -> &'static [Region] {
        REGIONS
    }

    /// Kilometres along the great circle.
    pub fn distance_km(&self, other: &Region) -> f64 {
        let [from, to] = [self.latitude, other.latitude].map(f64::to_radians);
        let half_north = (to - from) / 2.0;
        let half_east = (other.longitude - self.longitude).to_radians() / 2.0;
        let haversine = half_north.sin().powi(2) + from.cos() * to.cos() * half_east.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * haversine.sqrt().min(1.0).asin()
    }

    /// The round trip, from the distance alone.
    pub fn rtt(&self, other: &Region) -> Duration {
        let millis = 2.0 * self.distance_km(other) * ROUTE_FACTOR / FIBRE_KM_PER_MS + AT_THE_ENDS_MS;
        duration(millis / 1000.0)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.name)
    }
}

/// The mean radius.
const EARTH_RADIUS_KM: f64 = 6371.0;
/// Light in glass of a refractive index of about 1.5: two thirds of its speed in vacuum.
const FIBRE_KM_PER_MS: f64 = 200.0;
/// How much longer cables are than the great circle: 1.5 between continents, up to 2 nearby.
const ROUTE_FACTOR: f64 = 1.5;
/// Switches and hosts at both ends, which is all there is within one place.
const AT_THE_ENDS_MS: f64 = 1.0;

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    pub(in super::super) fn id(text: &str) -> RegionId {
        text.parse().unwrap()
    }

    fn region(text: &str) -> &'static Region {
        id(text).region().unwrap()
    }

    #[test]
    fn distances_are_those_of_an_atlas() {
        // Great circles between the cities, within 2 %.
        let rows = [
            ("aws:eu-central-1", "gcp:europe-west2", 640.0),
            ("aws:eu-central-1", "aws:us-east-1", 6_530.0),
            ("aws:eu-west-2", "aws:ap-southeast-2", 17_000.0),
            ("aws:us-west-1", "gcp:asia-northeast1", 8_310.0),
            ("aws:eu-central-1", "gcp:europe-west3", 0.0),
        ];
        for (from, to, km) in rows {
            let distance = region(from).distance_km(region(to));
            assert!((distance - km).abs() <= km * 0.02, "{from} {to}: {distance}");
            assert!((region(to).distance_km(region(from)) - distance).abs() < 1e-6);
        }
    }

    #[test]
    fn the_round_trip_is_there_and_back_with_detours() {
        // 2 × 6,530 km × 1.5 / 200 km/ms + 1 ms = 99 ms.
        let rtt = region("aws:eu-central-1").rtt(region("aws:us-east-1"));
        assert!((97..=101).contains(&rtt.as_millis()), "{rtt:?}");
        assert_eq!(region("aws:eu-central-1").rtt(region("azure:germanywestcentral")), Duration::from_millis(1));
    }

    #[test]
    fn every_region_is_on_the_globe_once() {
        let mut seen = BTreeSet::new();
        for region in Region::all() {
            assert!(seen.insert(region.to_string()), "{region} twice");
            assert!(region.latitude.abs() <= 90.0 && region.longitude.abs() <= 180.0, "{region}");
            assert_eq!(region.to_string().parse::<RegionId>().unwrap().region(), Some(region));
            assert!(region.country.len() == 2 && !region.place.is_empty(), "{region}");
        }
    }

    #[test]
    fn a_region_is_a_provider_and_a_name() {
        for text in ["", "aws", "aws:", ":eu-west-1", "aws:EU", "aws:eu west", "a:b:c"] {
            assert!(text.parse::<RegionId>().is_err(), "{text}");
        }
        assert_eq!(id("aws:eu-centrl-1").region(), None);
        assert_eq!(id("aws:eu-centrl-1").meant().as_deref(), Some("aws:eu-central-1"));
        assert_eq!(id("aws:eu-central-1").meant(), None);
    }
}
