//! A price table read from TOML, every key checked.

use toml::{Table, Value};

use super::super::{Continent, Region, nearest};
use super::{DEFAULT, Layer, Price};

/// Why a price table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PriceFault {
    /// It is no TOML.
    #[error("no TOML: {reason}")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// A key that means nothing here.
    #[error("unknown key {key}; the nearest known key is {nearest}")]
    UnknownKey {
        /// The key from the top, with dots.
        key: String,
        /// What may have been meant.
        nearest: String,
    },
    /// A value of the wrong form.
    #[error("{key} must be {expected}")]
    Value {
        /// The key from the top, with dots.
        key: String,
        /// What to write.
        expected: &'static str,
    },
}

/// Reads a table; whatever is not known there is refused.
pub(super) fn parse(text: &str) -> Result<Layer, PriceFault> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| PriceFault::Syntax {
        reason: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    })?;
    let mut layer = Layer::new();
    for (provider, sheets) in &table {
        known("", provider, &PROVIDERS)?;
        let names = sheet_names(provider);
        for (sheet, items) in subtable(provider, sheets)? {
            known(&format!("{provider}."), sheet, &names)?;
            let sheet = format!("{provider}.{sheet}");
            for (item, value) in subtable(&sheet, items)? {
                known(&format!("{sheet}."), item, &["storage", "put", "get", "egress"])?;
                let key = format!("{sheet}.{item}");
                if item == "egress" {
                    egress(provider, &key, value, &mut layer)?;
                } else {
                    layer.insert(key.clone(), price(&key, value)?);
                }
            }
        }
    }
    Ok(layer)
}

fn egress(provider: &str, key: &str, value: &Value, layer: &mut Layer) -> Result<(), PriceFault> {
    let regions: Vec<String> = Region::all().iter().map(Region::to_string).collect();
    let internet: Vec<String> = Continent::ALL.iter().map(|at| format!("internet:{}", at.as_str())).collect();
    let mut names = sheet_names(provider);
    names.retain(|name| *name != DEFAULT);
    names.extend(["same-region", "other-region", "internet"]);
    names.extend(internet.iter().chain(&regions).map(String::as_str));
    for (destination, value) in subtable(key, value)? {
        known(&format!("{key}."), destination, &names)?;
        let key = format!("{key}.{}", quoted(destination));
        layer.insert(key.clone(), price(&key, value)?);
    }
    Ok(())
}

fn price(key: &str, value: &Value) -> Result<Price, PriceFault> {
    let table = subtable(key, value)?;
    for part in table.keys() {
        known(&format!("{key}."), part, &["usd", "source", "date"])?;
    }
    let usd = table.get("usd").and_then(|usd| usd.as_float().or_else(|| usd.as_integer().map(|usd| usd as f64)));
    let usd = usd.filter(|usd| usd.is_finite() && *usd >= 0.0);
    let text = |part: &str| table.get(part).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    match (usd, text("source"), text("date")) {
        (Some(usd), Some(source), Some(date)) => Ok(Price { usd, source, date }),
        _ => Err(PriceFault::Value { key: key.to_owned(), expected: A_PRICE }),
    }
}

const A_PRICE: &str =
    "a price with its source and date, as { usd = 0.023, source = \"our contract\", date = \"2026-05\" }";

fn subtable<'a>(key: &str, value: &'a Value) -> Result<&'a Table, PriceFault> {
    let expected = if key.matches('.').count() < 2 || key.ends_with(".egress") { "a table" } else { A_PRICE };
    value.as_table().ok_or_else(|| PriceFault::Value { key: key.to_owned(), expected })
}

/// The regions of a provider, the continents, and the default.
fn sheet_names(provider: &str) -> Vec<&'static str> {
    let regions = Region::all().iter().filter(|region| region.provider == provider).map(|region| region.name);
    regions.chain(Continent::ALL.map(Continent::as_str)).chain([DEFAULT]).collect()
}

fn known(above: &str, key: &str, names: &[&str]) -> Result<(), PriceFault> {
    if names.contains(&key) {
        return Ok(());
    }
    let near = nearest(key, names.iter().copied()).or(names.first().copied()).unwrap_or_default();
    Err(PriceFault::UnknownKey { key: format!("{above}{}", quoted(key)), nearest: format!("{above}{}", quoted(near)) })
}

/// A key as TOML wants it written.
fn quoted(key: &str) -> String {
    match key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        true => key.to_owned(),
        false => format!("{key:?}"),
    }
}

const PROVIDERS: [&str; 3] = ["aws", "gcp", "azure"];
