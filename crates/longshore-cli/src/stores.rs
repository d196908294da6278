//! Object stores as they are written on the command line, and the logs in them.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use longshore::archive::keys::{KeyProvider, parse_keys};
use longshore::archive::{Archive, ArchiveSettings, Keep, Schedule, Store};
use longshore::settings::ByteSize;
use longshore::{Node, Sources};
use longshore_format::ErrorKind;

use crate::failure::Failure;
use crate::quantity::duration;

/// What agents archive, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Archive")]
pub(crate) struct ArchiveFlags {
    /// An object store to archive every log into: s3://BUCKET/PREFIX, gs://…, az://…, file:///DIR; repeatable
    #[arg(long = "archive", value_name = "URL")]
    stores: Vec<String>,

    /// While there are writes, how often what is new of them goes there
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    archive_every: Duration,

    /// How hard to compress, 1 to 19; 0 stores it as it is
    #[arg(long, value_name = "LEVEL", default_value_t = 1, value_parser = clap::value_parser!(i32).range(0..=19))]
    archive_level: i32,

    /// How long after the last one a snapshot of the database goes there, if anything was written since
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    archive_snapshot_every: Duration,

    /// After how much log a snapshot goes there sooner, if the last one is not larger than that
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    archive_snapshot_after: ByteSize,

    /// Keep so many snapshots, and everything since the oldest of them; all, unless it is told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    archive_keep_snapshots: Option<u32>,

    /// Keep every moment of so long a time restorable; all, unless it is told
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    archive_keep: Option<Duration>,

    #[command(flatten)]
    keys: Keys,
}

/// With which keys an archive is encrypted.
#[derive(Debug, Clone, Args)]
pub(crate) struct Keys {
    /// Whose keys encrypt the archive: file:PATH, kms:KEY?region=REGION for AWS KMS, or command:CMD to ask another service
    #[arg(long, value_name = "KEYS")]
    archive_keys: Option<String>,
}

impl Keys {
    /// The flag as it was given, to be told again.
    pub(crate) fn flag(&self) -> String {
        self.archive_keys.as_ref().map_or(String::new(), |keys| format!(" --archive-keys {keys}"))
    }

    pub(crate) fn open(&self) -> Result<Option<Arc<dyn KeyProvider>>, Failure> {
        let opened = self.archive_keys.as_deref().map(parse_keys).transpose();
        opened.map_err(|error| longshore::archive::Error::from(error).into())
    }
}

impl ArchiveFlags {
    /// How many stores are named, if they and their keys can be opened; asks none of them.
    pub(crate) fn check(&self) -> Result<usize, Failure> {
        self.keys.open()?;
        Ok(open(&self.stores)?.len())
    }

    /// Has a replica take from the stores what it lacks, and begin the logs that it does not hold yet. Without a store that
    /// answers it begins with its upstream instead.
    pub(crate) async fn take(&self, node: &Node) -> Result<(), Failure> {
        if self.stores.is_empty() {
            return Ok(());
        }
        let (stores, keys) = (open(&self.stores)?, self.keys.open()?);
        node.take_from(Sources { stores, keys, every: self.archive_every });
        match node.fetch_logs().await {
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied) => {
                tracing::warn!(%error, "no log is fetched from the archive");
                Ok(())
            }
            fetched => fetched.map(|_| ()).map_err(Failure::from),
        }
    }

    /// Begins to archive what the node has, and tells what that costs in requests.
    pub(crate) fn start(&self, node: &Node) -> Result<(), Failure> {
        if self.stores.is_empty() {
            return Ok(());
        }
        let stores = open(&self.stores)?;
        let level = (0 < self.archive_level).then_some(self.archive_level);
        let keys = self.keys.open()?;
        let encrypted =
            keys.as_ref().map_or("not encrypted here".to_owned(), |keys| format!("encrypted with {}", keys.describe()));
        for store in &stores {
            // An object and the manifest each time, and nothing while nothing is written.
            let requests = 2.0 * 86_400.0 / self.archive_every.as_secs_f64().max(0.001);
            tracing::info!(
                "archiving into {}, {encrypted}: at most {requests:.0} put requests a day and log while it is written without a pause",
                store.label()
            );
        }
        let snapshots =
            Schedule { every: Some(self.archive_snapshot_every), after: Some(self.archive_snapshot_after.0) };
        let keep = Keep { snapshots: self.archive_keep_snapshots.map(|count| count as usize), age: self.archive_keep };
        node.archive_into(
            stores,
            ArchiveSettings {
                tail_every: self.archive_every,
                level,
                keys,
                snapshots,
                keep,
                ..ArchiveSettings::default()
            },
        );
        Ok(())
    }
}

/// Whether something is the address of a store and not a path.
pub(crate) fn is_address(text: &str) -> bool {
    text.contains("://")
}

/// The stores at these addresses. One that is named twice would count as two.
pub(crate) fn open(urls: &[String]) -> Result<Vec<Store>, Failure> {
    let stores = urls.iter().map(|url| Ok(Store::open(url)?)).collect::<Result<Vec<_>, Failure>>()?;
    let label = |store: &Store| store.label().trim_end_matches('/').to_owned();
    let twice =
        stores.iter().enumerate().find(|(at, store)| stores[..*at].iter().any(|other| label(other) == label(store)));
    match twice {
        Some((_, store)) => {
            Err(Failure::invalid(format!("{} is named twice", store.label())).next("name each store once"))
        }
        None => Ok(stores),
    }
}

/// Refuses to go on without a store that was named and cannot be read: it may hold more than the others.
pub(crate) fn must_all_be_read(archive: &Archive) -> Result<(), Failure> {
    match archive.unread().next() {
        Some(error) => Err(Failure::library(error.kind(), error)
            .next("put it right, or leave that store out if the others are to do without it")),
        None => Ok(()),
    }
}
