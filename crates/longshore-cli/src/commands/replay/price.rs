//! What a fetch costs, as far as the store's address and the built-in prices tell.

use std::fmt;

use longshore::archive::estimate::{Prices, RegionId};
use serde::Serialize;

/// US dollars; `None` is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Cost {
    /// For the requests.
    requests_usd: Option<f64>,
    /// For the bytes, where they stay in the store's region.
    egress_usd_same_region: Option<f64>,
    /// For the bytes, where they go out to the internet, which is the most that it can be.
    egress_usd_internet: Option<f64>,
}

impl Cost {
    /// Of so many objects and bytes from the store at `url`.
    pub(super) fn of(url: &str, objects: u64, bytes: u64) -> Cost {
        if url.starts_with("file://") {
            return Cost { requests_usd: Some(0.0), egress_usd_same_region: Some(0.0), egress_usd_internet: Some(0.0) };
        }
        let Some(at) = region(url, |name| std::env::var(name).ok()) else {
            return Cost { requests_usd: None, egress_usd_same_region: None, egress_usd_internet: None };
        };
        let prices = Prices::built_in();
        let (thousands, gigabytes) = (objects as f64 / 1000.0, bytes as f64 / GB);
        Cost {
            requests_usd: prices.get(&at).map(|price| price.usd * thousands),
            egress_usd_same_region: prices.egress(&at, &at).map(|price| price.usd * gigabytes),
            egress_usd_internet: prices.internet(&at).map(|price| price.usd * gigabytes),
        }
    }
}

/// Where a store is, if its address says so. An endpoint of its own is another provider's.
fn region(url: &str, environment: impl Fn(&str) -> Option<String>) -> Option<RegionId> {
    let (scheme, rest) = url.split_once("://")?;
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let option = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
    };
    if option("endpoint").is_some() {
        return None;
    }
    let endpoints = ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"];
    let provider = match scheme {
        "s3" if endpoints.iter().any(|name| environment(name).is_some()) => return None,
        "s3" => "aws",
        "gs" => "gcp",
        "az" => "azure",
        _ => return None,
    };
    let named = match provider {
        "aws" => option("region").or_else(|| environment("AWS_REGION")).or_else(|| environment("AWS_DEFAULT_REGION")),
        _ => option("region"),
    };
    // Some prices are the same in all regions.
    format!("{provider}:{}", named.as_deref().unwrap_or("unknown")).parse().ok()
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
    fn the_address_says_whose_prices_count() {
        let env = |name: &str| (name == "AWS_REGION").then(|| "us-east-1".to_owned());
        for (url, environment, expected) in [
            ("s3://b/p?region=eu-west-1", true, Some("aws:eu-west-1")),
            ("s3://b/p", true, Some("aws:us-east-1")),
            ("s3://b/p", false, Some("aws:unknown")),
            ("s3://b/p?region=eu-west-1&endpoint=http://minio:9000", true, None),
            ("gs://b/p", true, Some("gcp:unknown")),
            ("gs://b/p?region=europe-west1", true, Some("gcp:europe-west1")),
            ("az://c/p", true, Some("azure:unknown")),
            ("ftp://b/p", true, None),
        ] {
            let found = region(url, |name| env(name).filter(|_| environment)).map(|region| region.to_string());
            assert_eq!(found.as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_cost_is_requests_and_egress_and_what_is_not_known_is_unknown() {
        // 2,000 × $0.0004 / 1,000; 100 GB × $0.09.
        let cost = Cost::of("s3://b/p?region=eu-west-1", 2000, 100 << 30);
        assert_eq!(
            cost.to_string(),
            "requests less than $0.01; egress $0 within the store's region, $9.00 to the internet"
        );
        assert_eq!(Cost::of("file:///mnt/a", 10, 10).to_string(), "nothing");
        assert!(Cost::of("s3://b/p?endpoint=http://minio", 10, 10).to_string().starts_with("unknown"));
        let cost = Cost::of("az://c/p", 10, 1 << 40).to_string();
        assert!(cost.starts_with("requests unknown; egress $0 within"), "{cost}");
    }
}
