//! What the way depends on: clocks, certificates, credentials, the file system.

use std::path::Path;
use std::time::Duration;

use longshore::archive::Store;
use longshore::archive::credentials::source;
use longshore_storage::{Concern, Directory, FsDirectory};
use serde::Serialize;

use super::chain::{Ask, Clock, Route};
use crate::cli::Tls;
use crate::connect::own_certificate_days;
use crate::failure::Failure;
use crate::quantity::show_duration;

/// Something that was found, and what is to be said against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Fact {
    pub(super) what: String,
    pub(super) found: String,
    pub(super) warning: Option<String>,
}

/// A certificate that expires sooner is warned of.
const SOON: i64 = 30;

/// Clocks further apart than this make a restore to a time something else than was meant.
const APART: Duration = Duration::from_secs(1);

pub(super) fn facts(tls: &Tls, ask: &Ask, route: &Route, data_dir: Option<&Path>) -> Result<Vec<Fact>, Failure> {
    let mut facts = Vec::new();
    let fact = |what: String, found: String, warning: Option<String>| Fact { what, found, warning };
    if let Some((clock, status)) = route.clock.zip(route.status.as_ref()) {
        facts.push(fact("clock".to_owned(), told(clock, &status.node), apart(clock)));
    }
    if let Ok(days) = own_certificate_days(tls) {
        facts.push(certificate("own certificate".to_owned(), days));
    }
    if let Some(status) = &route.status {
        facts.push(certificate(format!("certificate of {}", status.node), status.certificate_days_left));
    }
    for url in &ask.stores {
        let label = Store::open(url).map_or("an archive".to_owned(), |store| store.label().to_owned());
        facts.push(fact(format!("credentials of {label}"), source(url), None));
    }
    let keys = ask.keys.as_ref().map_or("none given".to_owned(), |keys| keys.describe());
    if !ask.stores.is_empty() {
        facts.push(fact("keys of the archive".to_owned(), keys, None));
    }
    if let Some(dir) = data_dir {
        facts.push(file_system(dir)?);
    }
    Ok(facts)
}

fn told(clock: Clock, node: &str) -> String {
    let millis =
        |time: Duration| show_duration(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
    let within = millis(clock.within.max(Duration::from_millis(1)));
    let by = Duration::from_micros(clock.ahead.unsigned_abs());
    match clock.ahead {
        _ if by < Duration::from_millis(1) => format!("{node} and this machine agree, within {within}"),
        0.. => format!("{node} is {} ahead of this machine, within {within}", millis(by)),
        _ => format!("{node} is {} behind this machine, within {within}", millis(by)),
    }
}

fn apart(clock: Clock) -> Option<String> {
    let apart = APART + clock.within < Duration::from_micros(clock.ahead.unsigned_abs());
    apart.then(|| "set both clocks by the same time service: times in the log are the primary's".to_owned())
}

fn certificate(what: String, days: Option<i64>) -> Fact {
    let (found, warning) = match days {
        None => ("none: plaintext".to_owned(), Some("use TLS beyond this machine".to_owned())),
        Some(days) if days < 0 => (format!("expired {} days ago", days.unsigned_abs()), Some(REPLACE.to_owned())),
        Some(days) if days < SOON => (format!("good for {days} days"), Some(REPLACE.to_owned())),
        Some(days) => (format!("good for {days} days"), None),
    };
    Fact { what, found, warning }
}

const REPLACE: &str = "replace its files soon; a running agent takes them";

fn file_system(dir: &Path) -> Result<Fact, Failure> {
    let medium = FsDirectory::open(dir).and_then(|directory| directory.medium());
    let medium = medium.map_err(|error| Failure::file("--data-dir", dir, &error))?;
    let warning = medium.concern().map(|concern| match concern {
        Concern::Warn(text) | Concern::Refuse(text) => text.to_owned(),
    });
    Ok(Fact { what: format!("file system of {}", dir.display()), found: medium.to_string(), warning })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_a_month_ahead() {
        for (days, found, warned) in [
            (Some(31), "good for 31 days", false),
            (Some(30), "good for 30 days", false),
            (Some(29), "good for 29 days", true),
            (Some(-2), "expired 2 days ago", true),
            (None, "none: plaintext", true),
        ] {
            let fact = certificate("own certificate".to_owned(), days);
            assert_eq!((fact.found.as_str(), fact.warning.is_some()), (found, warned));
        }
    }

    #[test]
    fn clocks_are_warned_of_when_they_are_surely_apart() {
        let clock = |ahead, within| Clock { ahead, within: Duration::from_millis(within) };
        assert_eq!(told(clock(250_000, 3), "primary"), "primary is 250ms ahead of this machine, within 3ms");
        assert_eq!(told(clock(-2_000_000, 0), "primary"), "primary is 2s behind this machine, within 1ms");
        assert_eq!(told(clock(-999, 2), "primary"), "primary and this machine agree, within 2ms");
        for (ahead, within, warned) in
            [(900_000, 0, false), (1_100_000, 0, true), (-1_100_000, 0, true), (1_100_000, 200, false)]
        {
            assert_eq!(apart(clock(ahead, within)).is_some(), warned, "{ahead} {within}");
        }
    }
}
