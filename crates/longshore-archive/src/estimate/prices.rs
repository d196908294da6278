//! What providers ask for: a built-in table, and the user's own before it.
//!
//! A table is TOML: a provider, then a sheet, then the prices. A sheet is named after a region, a
//! continent, or `default`; the first of these three that has a price gives it. Each price says
//! where it is from and of when it is.
//!
//! ```toml
//! [aws.eu-central-1]
//! storage = { usd = 0.0245, source = "https://aws.amazon.com/s3/pricing/", date = "2024" }
//!
//! [aws.europe.egress]
//! internet = { usd = 0.09, source = "https://aws.amazon.com/s3/pricing/", date = "2024" }
//! ```
//!
//! `storage` is per GB and month, `put` and `get` per 1,000 requests, `egress` per GB. A
//! destination of `egress` is a region (of the same provider, or `PROVIDER:REGION`), `same-region`,
//! a continent (other regions of the provider there), `other-region` (of the provider),
//! `internet:CONTINENT` or `internet`; the closest fit counts. A GB is 2³⁰ bytes, as providers bill
//! it. Prices are those of the first tier, without free allowances.

use std::collections::BTreeMap;

use super::RegionId;
use read::parse;

mod read;

pub use read::PriceFault;

/// A price and where it is from.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// US dollars per unit; not negative.
    pub usd: f64,
    /// The page to check it on, or whatever the user wrote.
    pub source: String,
    /// The day, month or year of which it is. Of the built-in ones, only those with a day were
    /// compared with their page.
    pub date: String,
}

/// Prices by provider, sheet and item, the user's before the built-in ones.
#[derive(Debug, Clone)]
pub struct Prices {
    layers: Vec<Layer>,
}

/// One table: a price by its key from the top, as `aws.eu-central-1.egress.internet`.
type Layer = BTreeMap<String, Price>;

impl Prices {
    /// The prices that come with this version.
    pub fn built_in() -> Prices {
        Prices { layers: vec![parse(BUILT_IN).expect("a test reads the built-in table")] }
    }

    /// Puts the prices of `text`, a table of the same form, before these. Any of them goes before
    /// all of these, also where it is less specific.
    pub fn overridden_by(mut self, text: &str) -> Result<Prices, PriceFault> {
        self.layers.insert(0, parse(text)?);
        Ok(self)
    }

    /// A GB kept for a month.
    pub fn storage(&self, at: &RegionId) -> Option<&Price> {
        self.find(at, &["storage"])
    }

    /// A thousand objects put.
    pub fn put(&self, at: &RegionId) -> Option<&Price> {
        self.find(at, &["put"])
    }

    /// A thousand objects fetched.
    pub fn get(&self, at: &RegionId) -> Option<&Price> {
        self.find(at, &["get"])
    }

    /// A GB that leaves `from` for `to`, as `from`'s provider bills it; `None` if both are that one's, one of them is no region
    /// of the table, and no price names it.
    pub fn egress(&self, from: &RegionId, to: &RegionId) -> Option<&Price> {
        let continent = to.region().map(|region| region.continent.as_str());
        let mut destinations = vec![format!("{:?}", to.to_string())];
        if from == to {
            destinations.push("same-region".to_owned());
        } else if from.provider() == to.provider() && (from.region().is_none() || to.region().is_none()) {
            // Between a provider's regions a price is of those that there are.
            destinations.push(to.name().to_owned());
        } else if from.provider() == to.provider() {
            destinations.push(to.name().to_owned());
            destinations.extend(continent.map(str::to_owned));
            destinations.push("other-region".to_owned());
        } else {
            destinations.extend(continent.map(|continent| format!("{:?}", format!("internet:{continent}"))));
            destinations.push("internet".to_owned());
        }
        let items: Vec<String> = destinations.into_iter().map(|to| format!("egress.{to}")).collect();
        self.find(from, &items.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A GB that leaves `from` for anywhere on the internet.
    pub fn internet(&self, from: &RegionId) -> Option<&Price> {
        self.find(from, &["egress.internet"])
    }

    /// The first of `items` in the first sheet of the first table that has one.
    fn find(&self, at: &RegionId, items: &[&str]) -> Option<&Price> {
        let continent = at.region().map(|region| region.continent.as_str());
        let sheets: Vec<&str> = [Some(at.name()), continent, Some(DEFAULT)].into_iter().flatten().collect();
        let keys = sheets.iter().flat_map(|sheet| items.iter().map(move |item| format!("{sheet}.{item}")));
        let keys: Vec<String> = keys.map(|key| format!("{}.{key}", at.provider())).collect();
        self.layers.iter().find_map(|layer| keys.iter().find_map(|key| layer.get(key)))
    }
}

/// The sheet for whatever has no closer one.
const DEFAULT: &str = "default";
const BUILT_IN: &str = include_str!("prices.toml");

#[cfg(test)]
mod tests {
    use super::super::regions::tests::id;
    use super::*;

    fn usd(price: Option<&Price>) -> Option<f64> {
        price.map(|price| price.usd)
    }

    #[test]
    fn every_built_in_price_has_a_page_and_a_date() {
        let layer = parse(BUILT_IN).unwrap();
        assert!(layer.len() > 50);
        for (key, price) in layer {
            assert!(price.source.starts_with("https://"), "{key}: {}", price.source);
            let digits = price.date.bytes().filter(u8::is_ascii_digit).count();
            assert!(price.date.starts_with("20") && matches!(digits, 4 | 6 | 8), "{key}: {}", price.date);
            assert!(price.usd < 1.0, "{key}: {}", price.usd);
        }
    }

    #[test]
    fn egress_is_priced_by_the_closest_fit() {
        let prices = Prices::built_in();
        let rows = [
            ("aws:us-east-1", "aws:us-east-1", Some(0.0)),
            ("aws:us-east-1", "aws:us-east-2", Some(0.01)),
            ("aws:us-east-1", "aws:eu-west-1", Some(0.02)),
            ("aws:eu-central-1", "gcp:europe-west1", Some(0.09)),
            ("gcp:europe-west1", "gcp:europe-west3", Some(0.02)),
            ("gcp:europe-west1", "gcp:us-east4", Some(0.05)),
            ("gcp:europe-west1", "gcp:asia-southeast1", None),
            ("gcp:europe-west1", "aws:eu-west-1", Some(0.12)),
            ("hetzner:fsn1", "aws:eu-west-1", None),
            ("aws:eu-central-1", "hetzner:fsn1", Some(0.09)),
            ("aws:eu-central-1", "aws:mars-1", None),
        ];
        for (from, to, expected) in rows {
            assert_eq!(usd(prices.egress(&id(from), &id(to))), expected, "{from} {to}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_unknown() {
        let prices = Prices::built_in();
        assert_eq!(usd(prices.storage(&id("aws:eu-central-1"))), Some(0.0245));
        assert_eq!(usd(prices.storage(&id("aws:xx-nowhere-9"))), None);
        assert_eq!(usd(prices.put(&id("hetzner:fsn1"))), None);
    }

    #[test]
    fn the_users_price_wins_even_where_it_is_less_specific() {
        let ours = r#"
            [aws.default]
            storage = { usd = 0.01, source = "our contract", date = "2026-05" }
            [aws.eu-central-1.egress]
            "gcp:europe-west1" = { usd = 0, source = "our own line", date = "2026-05" }
        "#;
        let prices = Prices::built_in().overridden_by(ours).unwrap();
        assert_eq!(prices.storage(&id("aws:eu-central-1")).unwrap().source, "our contract");
        assert_eq!(usd(prices.egress(&id("aws:eu-central-1"), &id("gcp:europe-west1"))), Some(0.0));
        assert_eq!(usd(prices.egress(&id("aws:eu-central-1"), &id("gcp:europe-west3"))), Some(0.09));
        assert_eq!(usd(prices.put(&id("aws:us-east-1"))), Some(0.005));
    }

    #[test]
    fn what_is_misspelt_is_refused_by_name() {
        let price = r#"{ usd = 0.01, source = "x", date = "2026" }"#;
        let rows = [
            (
                format!("[aws.eu-centrl-1]\nput = {price}"),
                "unknown key aws.eu-centrl-1; the nearest known key is aws.eu-central-1",
            ),
            (
                format!("[aws.default]\nputs = {price}"),
                "unknown key aws.default.puts; the nearest known key is aws.default.put",
            ),
            (format!("[asw.default]\nput = {price}"), "unknown key asw; the nearest known key is aws"),
            (
                format!("[gcp.default.egress]\ninternt = {price}"),
                "unknown key gcp.default.egress.internt; the nearest known key is gcp.default.egress.internet",
            ),
            (
                "[aws.default]\nput = { usd = 1.0, source = \"x\", dat = \"2026\" }".to_owned(),
                "unknown key aws.default.put.dat; the nearest known key is aws.default.put.date",
            ),
        ];
        for (text, told) in rows {
            assert_eq!(Prices::built_in().overridden_by(&text).unwrap_err().to_string(), told);
        }
        let wrong = ["-1.0", "nan", "\"1\""].map(|usd| format!("{{ usd = {usd}, source = \"x\", date = \"2026\" }}"));
        let none = ["0.01", r#"{ usd = 0.01, date = "2026" }"#, r#"{ usd = 0.01, source = "", date = "2026" }"#];
        for value in wrong.iter().map(String::as_str).chain(none) {
            let fault = Prices::built_in().overridden_by(&format!("[aws.default]\nput = {value}")).unwrap_err();
            assert!(fault.to_string().starts_with("aws.default.put must be a price"), "{fault}");
        }
        assert!(Prices::built_in().overridden_by("[aws").is_err());
        assert!(Prices::built_in().overridden_by("aws = 1").is_err());
    }
}
