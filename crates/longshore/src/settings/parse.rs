//! Settings from text: unknown keys, wrong values and impossible limits refused by name.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use longshore_protocol::lease::Ttl;
use longshore_transport::Address;

use super::{ByteSize, Settings, format_duration};
use crate::error::Error;

impl Settings {
    /// Reads settings from TOML. Keys that are not given keep their defaults.
    ///
    /// # Errors
    /// `Invalid` names the key, what is wrong with it and, for an unknown key, the nearest known one.
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| Error::Settings {
            key: "the settings".to_owned(),
            reason: format!("is not TOML: {}", error.message()),
        })?;
        let known = known_keys();
        for key in flatten(&table) {
            if !known.iter().any(|known| known == &key || known.starts_with(&format!("{key}."))) {
                return Err(unknown(&key, &known));
            }
        }
        let settings: Self = table.try_into().map_err(|error: toml::de::Error| {
            let mut lines = error.to_string();
            let key = lines.find("in `").map(|at| lines.split_off(at)[4..].trim_end().trim_end_matches('`').to_owned());
            Error::Settings { key: key.unwrap_or_else(|| "the settings".to_owned()), reason: lines.trim().to_owned() }
        })?;
        settings.validate()?;
        Ok(settings)
    }

    /// Reads settings from a TOML file.
    ///
    /// # Errors
    /// As [`Settings::from_toml`]; `NotFound` when there is no such file.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io("read the settings", path, error))?;
        Self::from_toml(&text)
    }

    /// Checks every limit. Called by whatever opens something, hence rarely needed by itself.
    ///
    /// # Errors
    /// `Invalid` names the first key whose value cannot work, and the values that can.
    pub fn validate(&self) -> Result<(), Error> {
        let log = &self.log;
        if !log.segment_size.0.is_power_of_two() {
            return Err(refuse("log.segment_size", format!("must be a power of two, not {}", log.segment_size)));
        }
        size("log.segment_size", log.segment_size, ByteSize::mib(1)..=ByteSize::gib(1))?;
        size("log.unsynced_limit", log.unsynced_limit, ByteSize::mib(1)..=ByteSize::gib(64))?;
        if let Some(limit) = log.disk_limit {
            size("log.disk_limit", limit, ByteSize(4 * log.segment_size.0)..=ByteSize(u64::MAX))?;
        }
        if !(1..=64).contains(&log.prepared_segments) {
            return Err(refuse("log.prepared_segments", format!("must be 1 to 64, not {}", log.prepared_segments)));
        }
        let retention = &self.retention;
        if let Some(cap) = retention.slot_cap {
            size("retention.slot_cap", cap, ByteSize(log.segment_size.0)..=ByteSize(u64::MAX))?;
        }
        span("retention.interval", retention.interval, 10..=3_600_000)?;
        span("replica.backoff_min", self.replica.backoff_min, 1..=60_000)?;
        span("replica.backoff_max", self.replica.backoff_max, 1..=3_600_000)?;
        span("replica.discover_every", self.replica.discover_every, 10..=3_600_000)?;
        if self.replica.backoff_max < self.replica.backoff_min {
            return Err(refuse("replica.backoff_max", "must not be below replica.backoff_min".to_owned()));
        }
        for upstream in &self.replica.upstreams {
            let parsed = upstream.parse::<Address>();
            parsed.map_err(|error| refuse("replica.upstreams", error.to_string()))?;
        }
        for log in &self.replica.logs {
            crate::node::parse_name("replica.logs", log)?;
        }
        let [least, most] = [Ttl::LEAST, Ttl::MOST].map(|bound| bound.as_millis() as u64);
        span("lease.ttl", self.lease.ttl, least..=most)?;
        let network = &self.network;
        size("network.window", network.window, ByteSize::kib(64)..=ByteSize::gib(1))?;
        size("network.frame", network.frame, ByteSize::kib(256)..=ByteSize::mib(1))?;
        span("network.heartbeat", network.heartbeat, 10..=60_000)?;
        span("network.handshake", network.handshake, 100..=120_000)?;
        span("network.stall", network.stall, 100..=600_000)?;
        if network.silence < network.heartbeat * 2 {
            let least = format_duration(network.heartbeat * 2);
            return Err(refuse("network.silence", format!("must be at least two heartbeats, {least}")));
        }
        Ok(())
    }
}

fn size(key: &str, value: ByteSize, allowed: RangeInclusive<ByteSize>) -> Result<(), Error> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(refuse(key, format!("must be {} to {}, not {value}", allowed.start(), allowed.end())))
}

fn span(key: &str, value: Duration, allowed_millis: RangeInclusive<u64>) -> Result<(), Error> {
    let [least, most] = [*allowed_millis.start(), *allowed_millis.end()].map(Duration::from_millis);
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let [least, most, value] = [least, most, value].map(format_duration);
    Err(refuse(key, format!("must be {least} to {most}, not {value}")))
}

fn refuse(key: &str, reason: String) -> Error {
    Error::Settings { key: key.to_owned(), reason }
}

fn unknown(key: &str, known: &[String]) -> Error {
    // A key that was written outside its table is compared by its last part.
    let likeness = |known: &str| {
        let name = known.rsplit('.').next().filter(|_| !key.contains('.')).unwrap_or(known);
        strsim::jaro_winkler(key, known).max(strsim::jaro_winkler(key, name))
    };
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = nearest.map(|known| format!("; the nearest known key is {known}")).unwrap_or_default();
    refuse(key, format!("is not a known key{hint}"))
}

/// Keys that the defaults do not print because they are absent.
const ABSENT: [&str; 6] = ["tls.dir", "tls.identity", "tls.ca", "tls.cert", "tls.key", "tls.grants"];

fn known_keys() -> Vec<String> {
    let defaults = toml::Table::try_from(Settings::default()).expect("every setting has a TOML form");
    let mut keys = flatten(&defaults);
    keys.extend(ABSENT.map(str::to_owned));
    keys
}

/// The dotted keys of all leaves.
fn flatten(table: &toml::Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => {
                keys.extend(flatten(inner).into_iter().map(|inner| format!("{key}.{inner}")));
            }
            _ => keys.push(key.clone()),
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_survive_a_round_trip() {
        let defaults = Settings::default();
        defaults.validate().unwrap();
        let text = toml::to_string(&defaults).unwrap();
        assert_eq!(Settings::from_toml(&text).unwrap(), defaults);
        assert_eq!(Settings::from_toml("").unwrap(), defaults);
    }

    #[test]
    fn a_file_is_read_or_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("longshore.toml");
        let error = Settings::from_file(&path).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::NotFound);
        assert!(error.to_string().contains("longshore.toml"), "{error}");
        std::fs::write(&path, "[log]\nsegment_size = '1MiB'").unwrap();
        assert_eq!(Settings::from_file(&path).unwrap().log.segment_size.0, 1 << 20);
    }

    #[test]
    fn a_durability_is_spelt_in_a_file_as_everywhere() {
        for spelling in ["local/received", "replicas:2", "regions:2@eu-west,us-east/applied", "archived:1"] {
            let settings = Settings::from_toml(&format!("[ack]\ndurability = '{spelling}'")).unwrap();
            assert_eq!(settings.ack.durability.to_string(), spelling);
            let written = toml::to_string(&settings).unwrap();
            assert!(written.contains(&format!("durability = \"{spelling}\"")), "{written}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        // F-126
        let rows = [
            ("[retention]\nslot_idel = '1d'", "retention.slot_idle"),
            ("[log]\nsegment-size = '64MiB'", "log.segment_size"),
            ("[networks]\nwindow = '1MiB'", "network.window"),
            ("[tls]\nidentty = 'a'", "tls.identity"),
            ("upstreams = []", "replica.upstreams"),
            ("[lease]\nuri = 's3://bucket'", "lease.url"),
        ];
        for (text, nearest) in rows {
            let message = Settings::from_toml(text).unwrap_err().to_string();
            assert!(message.contains(nearest), "{text}: {message}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_by_the_name_of_its_key() {
        // F-126: wrong unit, zero, negative, huge, contradiction.
        let rows = [
            ("[log]\nsegment_size = '64 parsecs'", "log.segment_size"),
            ("[log]\nsegment_size = '63MiB'", "log.segment_size"),
            ("[log]\nsegment_size = '64KiB'", "log.segment_size"),
            ("[log]\nunsynced_limit = '0B'", "log.unsynced_limit"),
            ("[log]\nprepared_segments = 0", "log.prepared_segments"),
            ("[network]\nheartbeat = '-1s'", "network.heartbeat"),
            ("[network]\nheartbeat = '30'", "network.heartbeat"),
            ("[network]\nheartbeat = '20s'", "network.silence"),
            ("[network]\nlisten = 'everywhere'", "network.listen"),
            ("[ack]\ndurability = 'replicas:0'", "ack.durability"),
            ("[ack]\ndurability = 'archived:1/applied'", "ack.durability"),
            ("[ack]\nshortfall = 'hope'", "ack.shortfall"),
            ("[replica]\nupstreams = ['a@h:1', 'primary']", "replica.upstreams"),
            ("[retention]\nslot_cap = '1B'", "retention.slot_cap"),
            ("[lease]\nttl = '499ms'", "lease.ttl"),
            ("[lease]\nttl = '2h'", "lease.ttl"),
        ];
        for (text, key) in rows {
            let message = Settings::from_toml(text).unwrap_err().to_string();
            assert!(message.contains(key), "{text}: {message}");
        }
    }
}
