//! What stores are asked for costs, as far as their addresses and the built-in prices tell.

use std::fmt;
use std::ops::Add;

use longshore::archive::Store;
use longshore::archive::estimate::{Prices, RegionId};
use serde::Serialize;

/// US dollars; `None` is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Cost {
    /// For the requests.
    requests_usd: Option<f64>,
    /// For the bytes, where they stay in the store's region.
    egress_usd_same_region: Option<f64>,
    /// For the bytes, where they go out to the internet, which is the most that it can be.
    egress_usd_internet: Option<f64>,
}

/// What is asked of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Requests at the price of a put.
    pub(crate) puts: u64,
    /// Requests at the price of a get.
    pub(crate) gets: u64,
    /// Bytes that leave it.
    pub(crate) bytes: u64,
}

impl Cost {
    const NOTHING: Cost =
        Cost { requests_usd: Some(0.0), egress_usd_same_region: Some(0.0), egress_usd_internet: Some(0.0) };

    /// Of what is asked of a store; nothing where that is a directory.
    pub(crate) fn of(store: &Store, asked: Asked) -> Cost {
        match store.is_directory() {
            true => Cost::NOTHING,
            false => Cost::at(store.priced_as(), asked),
        }
    }

    fn at(region: Option<&RegionId>, asked: Asked) -> Cost {
        let Some(at) = region else {
            return Cost { requests_usd: None, egress_usd_same_region: None, egress_usd_internet: None };
        };
        let prices = Prices::built_in();
        let thousands = |requests: u64| requests as f64 / 1000.0;
        let gigabytes = asked.bytes as f64 / GB;
        // What was not asked for costs nothing whatever its price.
        let priced = |price: Option<f64>, many: f64| if many == 0.0 { Some(0.0) } else { price.map(|usd| usd * many) };
        let gets = priced(prices.get(at).map(|price| price.usd), thousands(asked.gets));
        let puts = priced(prices.put(at).map(|price| price.usd), thousands(asked.puts));
        Cost {
            requests_usd: sum(gets, puts),
            egress_usd_same_region: prices.egress(at, at).map(|price| price.usd * gigabytes),
            egress_usd_internet: prices.internet(at).map(|price| price.usd * gigabytes),
        }
    }
}

/// Of one store and of another.
impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            requests_usd: sum(self.requests_usd, other.requests_usd),
            egress_usd_same_region: sum(self.egress_usd_same_region, other.egress_usd_same_region),
            egress_usd_internet: sum(self.egress_usd_internet, other.egress_usd_internet),
        }
    }
}

fn sum(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.zip(other).map(|(one, other)| one + other)
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.requests_usd, self.egress_usd_same_region, self.egress_usd_internet];
        if parts == [Some(0.0); 3] {
            return f.write_str("nothing");
        }
        if parts == [None; 3] {
            return f.write_str("unknown: the store's address does not say whose prices are asked");
        }
        let [requests, inside, outside] = parts.map(dollars);
        write!(f, "requests {requests}; egress {inside} within the store's region, {outside} to the internet")
    }
}

fn dollars(usd: Option<f64>) -> String {
    match usd {
        None => "unknown".to_owned(),
        Some(0.0) => "$0".to_owned(),
        Some(usd) if usd < 0.01 => "less than $0.01".to_owned(),
        Some(usd) => format!("${usd:.2}"),
    }
}

/// What providers bill as a GB.
const GB: f64 = (1_u64 << 30) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_requests_and_egress_and_what_is_not_known_is_unknown() {
        let cost = |at: &str, asked: Asked| Cost::at(Some(&at.parse().unwrap()), asked);
        let fetched = |gets, bytes| Asked { puts: 0, gets, bytes };
        // 2,000 × $0.0004 / 1,000; 100 GB × $0.09.
        let one = cost("aws:eu-west-1", fetched(2000, 100 << 30));
        assert_eq!(
            one.to_string(),
            "requests less than $0.01; egress $0 within the store's region, $9.00 to the internet"
        );
        let disk = tempfile::tempdir().unwrap();
        let file = Store::open(&format!("file://{}", disk.path().display())).unwrap();
        let file = Cost::of(&file, fetched(10, 10));
        assert_eq!(file.to_string(), "nothing");
        assert_eq!(file + one, one);
        assert!(Cost::at(None, fetched(10, 10)).to_string().starts_with("unknown"));
        let unknown = cost("azure:unknown", fetched(10, 1 << 40)).to_string();
        assert!(unknown.starts_with("requests unknown; egress $0 within"), "{unknown}");
        // 100,000 × $0.005 / 1,000.
        let copied = cost("aws:eu-west-1", Asked { puts: 100_000, ..Asked::default() });
        assert!(copied.to_string().starts_with("requests $0.50; egress $0 "), "{copied}");
    }
}
