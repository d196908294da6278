//! A lease as a key in an etcd.
//!
//! Without etcd's own leases: those end by the clock of etcd's leader, and what a holder may rely on is the same in every store.

use bytes::Bytes;
use longshore_transport::async_trait;
use longshore_transport::etcd::{Etcd, Place, Swapped, Value};

use super::store::{Found, LeaseStore, Swap, Version};
use crate::error::Result;

/// One key, changed by a transaction that compares the revision at which it was written.
#[derive(Debug)]
pub(super) struct Key {
    etcd: Etcd,
    key: String,
    label: String,
}

impl Key {
    /// The key of that name below a place.
    pub(super) fn new(place: &Place, name: &str) -> Key {
        let key = place.key(name);
        let label = format!("{}{}/{key}", Place::SCHEME, place.members());
        Key { etcd: Etcd::new(place), key, label }
    }
}

#[async_trait]
impl LeaseStore for Key {
    fn label(&self) -> &str {
        &self.label
    }

    async fn read(&self) -> Result<Found> {
        Ok(found(self.etcd.get(&self.key).await?))
    }

    async fn swap(&self, expected: &Version, object: Bytes) -> Result<Swap> {
        let revision = match expected {
            Version::Number(revision) => i64::try_from(*revision).unwrap_or(i64::MAX),
            Version::Absent | Version::Stored(_) => 0,
        };
        Ok(match self.etcd.swap(&self.key, revision, object).await? {
            Swapped::Done(revision) => Swap::Swapped(version(revision)),
            Swapped::Conflict(there) => Swap::Conflict(found(there)),
        })
    }
}

fn found(value: Option<Value>) -> Found {
    match value {
        Some(Value { bytes, revision }) => Found { object: Some(bytes), version: version(revision) },
        None => Found { object: None, version: Version::Absent },
    }
}

/// etcd counts from 1; of what does not, no swap is ever won.
fn version(revision: i64) -> Version {
    Version::Number(u64::try_from(revision).unwrap_or(u64::MAX))
}
