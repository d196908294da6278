//! The library's settings as flags.
//!
//! `retention.slot_cap` of [`Settings`] is `--retention-slot-cap`, `LONGSHORE_RETENTION_SLOT_CAP`
//! and `slot_cap` in the file's `[retention]`. Defaults, types and limits are the library's own: the
//! flags carry text, and [`Settings::from_toml`] reads it. Only the one-line help stands here, and
//! a test holds the list against the library's.

use clap::{Arg, ArgMatches, Command, FromArgMatches};
use longshore::settings::Settings;
use toml::{Table, Value};

use crate::failure::Failure;

/// The key, what its value is called, and what it does.
type Row = (&'static str, &'static str, &'static str);

/// Settings of every agent.
const SHARED: &[Row] = &[
    ("log.segment_size", "SIZE", "Segment size of logs created from here on, when the request names none"),
    ("log.unsynced_limit", "SIZE", "Appended but not yet synced bytes above which appends are refused as full"),
    ("log.disk_limit", "SIZE|none", "Bytes a log may take on disk, above which appends are refused as full"),
    ("log.prepared_segments", "N", "Segments kept ready ahead of the active one"),
    (
        "log.accept_weak_storage",
        "true|false",
        "Accept a filesystem that cannot keep its promise (tmpfs, FUSE, network)",
    ),
    ("retention.slot_cap", "SIZE|none", "Bytes of log kept for the slowest replica"),
    ("retention.at_cap", "drop|block", "At the cap: drop the replica, or block the writers"),
    ("retention.archive_at_cap", "block|drop", "At the cap of an archive: block the writers, or leave a gap in it"),
    ("retention.slot_idle", "DURATION|none", "A replica not seen for so long loses its slot"),
    ("retention.keep_age", "DURATION|none", "Keep at least so much time of log, whoever has it"),
    ("retention.keep_size", "SIZE|none", "Keep at least so many bytes of log, whoever has them"),
    ("retention.min_free", "SIZE", "Free space on the volume below which slots are dropped as at their cap"),
    ("retention.interval", "DURATION", "How often retention runs"),
    ("network.window", "SIZE", "Bytes in flight per stream: at least 2.5 × bandwidth × round trip"),
    ("network.frame", "SIZE", "Largest message of log frames, 256KiB to 1MiB"),
    (
        "network.ship_ahead",
        "true|false",
        "Ship what is appended while it is still synced here: commits that wait for replicas are faster",
    ),
    ("network.heartbeat", "DURATION", "How often both ends say that they live"),
    ("network.silence", "DURATION", "Silence after which the other end counts as gone"),
    ("network.stall", "DURATION", "How long a replica may take nothing of what is sent to it before it is dropped"),
    ("network.handshake", "DURATION", "Deadline of a dial, a TLS handshake and a first message"),
    ("replica.backoff_min", "DURATION", "First pause before dialling again, doubled up to the longest"),
    ("replica.backoff_max", "DURATION", "Longest pause before dialling again"),
    ("replica.discover_every", "DURATION", "How often upstream is asked for new logs"),
    ("shutdown.ship_for", "DURATION", "On SIGTERM, how long replicas are given to take what is durable here"),
];

/// Settings of a primary alone.
const PRIMARY: &[Row] = &[
    (
        "ack.durability",
        "DURABILITY",
        "What a confirmed append means: local, replicas:K, regions:K[@a,b], each with /received, /durable, /applied; archived:K",
    ),
    ("ack.timeout", "DURATION", "How long a confirmed append waits for it"),
    ("ack.shortfall", "accept|refuse|degrade", "What an append is answered while it cannot be had"),
    ("ack.degrade_after", "DURATION", "With degrade: after how long what is durable here alone is confirmed"),
    (
        "ack.voters",
        "NAME,NAME,…",
        "The nodes whose copies count, this one too; without it, all that the grants let replicate the log",
    ),
];

/// Settings of a replica alone.
const REPLICA: &[Row] =
    &[("replica.logs", "NAME", "A log to follow; without it, every log that is granted. Repeat it for several")];

/// Settings that commands take under names of their own.
#[cfg(test)]
const ELSEWHERE: &[&str] = &[
    "lease.url",
    "lease.ttl",
    "network.listen",
    "network.http",
    "replica.upstreams",
    "replica.reseed",
    "replica.rejoin",
    "tls.plaintext",
];

/// What an agent was told about the library's settings; `R` says which agent it is.
#[derive(Debug, Clone)]
pub(crate) struct Tuning<R> {
    told: Table,
    role: std::marker::PhantomData<R>,
}

/// Which rows an agent takes.
pub(crate) trait Role {
    const ROWS: &'static [Row];
}

/// A primary's rows.
#[derive(Debug, Clone)]
pub(crate) struct PrimaryRole;
/// A replica's rows.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaRole;

impl Role for PrimaryRole {
    const ROWS: &'static [Row] = PRIMARY;
}

impl Role for ReplicaRole {
    const ROWS: &'static [Row] = REPLICA;
}

impl<R: Role> Tuning<R> {
    /// The settings: the library's defaults, and over them what was told.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let text = toml::to_string(&self.told).expect("a table of text, numbers and lists is TOML");
        Ok(Settings::from_toml(&text)?)
    }
}

impl<R: Role> clap::Args for Tuning<R> {
    fn augment_args(command: Command) -> Command {
        let defaults = defaults();
        let mut command = command.next_help_heading("Tuning");
        for row in SHARED.iter().chain(R::ROWS) {
            command = command.arg(arg(row, &defaults));
        }
        command.next_help_heading(None::<&str>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn arg((key, value_name, help): &Row, defaults: &Table) -> Arg {
    let arg = Arg::new(*key).long(flag(key)).value_name(*value_name).help(*help).hide_short_help(true);
    match lookup(defaults, key) {
        Some(Value::Array(_)) => arg.action(clap::ArgAction::Append).value_delimiter(','),
        Some(Value::String(text)) => arg.default_value(text.clone()),
        Some(value) => arg.default_value(value.to_string()),
        None => arg,
    }
}

impl<R: Role> FromArgMatches for Tuning<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let defaults = defaults();
        let mut told = Table::new();
        for (key, ..) in SHARED.iter().chain(R::ROWS) {
            let texts: Vec<&String> = matches.get_many(key).into_iter().flatten().collect();
            let Some(value) = typed(&texts, lookup(&defaults, key)) else { continue };
            let (section, name) = key.split_once('.').expect("every key is section.name");
            let section = told.entry(section).or_insert_with(|| Value::Table(Table::new()));
            section.as_table_mut().expect("made as a table").insert(name.to_owned(), value);
        }
        Ok(Self { told, role: std::marker::PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The text as a value of the type the default has; text that is not one is left for the library
/// to refuse by its key.
fn typed(texts: &[&String], default: Option<&Value>) -> Option<Value> {
    let last = (*texts.last()?).clone();
    Some(match default {
        Some(Value::Array(_)) => Value::Array(texts.iter().map(|text| Value::String((*text).clone())).collect()),
        Some(Value::Integer(_)) => last.parse().map_or(Value::String(last), Value::Integer),
        Some(Value::Boolean(_)) => last.parse().map_or(Value::String(last), Value::Boolean),
        _ => Value::String(last),
    })
}

fn defaults() -> Table {
    Table::try_from(Settings::default()).expect("settings have a TOML form")
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let (section, name) = key.split_once('.')?;
    table.get(section)?.get(name)
}

fn flag(key: &str) -> String {
    key.replace(['.', '_'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_the_library_can_be_given_on_the_command_line() {
        let mut known: Vec<_> = [SHARED, PRIMARY, REPLICA].concat().iter().map(|(key, ..)| key.to_string()).collect();
        known.extend(ELSEWHERE.iter().map(|key| key.to_string()));
        known.sort();
        let mut expected = Vec::new();
        for (section, inner) in defaults() {
            let inner = inner.as_table().unwrap().keys().map(|name| format!("{section}.{name}"));
            expected.extend(inner);
        }
        expected.sort();
        assert_eq!(known, expected);
    }
}
