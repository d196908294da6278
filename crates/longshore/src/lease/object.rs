//! A lease as an object in a bucket or a directory.

use bytes::Bytes;
use longshore_archive::Store;
use longshore_protocol::lease::LeaseObject;
use longshore_transport::async_trait;

use super::store::{Found, LeaseStore, Swap, Version};
use crate::error::Result;

/// One object of a store, changed by the store's conditional put; in a directory, under a lock between processes.
#[derive(Debug)]
pub(super) struct Object {
    store: Store,
    name: String,
    label: String,
}

impl Object {
    /// The object of that name.
    pub(super) fn new(store: Store, name: String) -> Object {
        let label = format!("{}/{name}", store.label().trim_end_matches('/'));
        Object { store, name, label }
    }
}

#[async_trait]
impl LeaseStore for Object {
    fn label(&self) -> &str {
        &self.label
    }

    async fn read(&self) -> Result<Found> {
        Ok(match self.store.get_short(&self.name, LeaseObject::MAX_LEN).await? {
            Some((bytes, version)) => Found { object: Some(bytes), version: Version::Stored(version) },
            None => Found { object: None, version: Version::Absent },
        })
    }

    async fn swap(&self, expected: &Version, object: Bytes) -> Result<Swap> {
        let seen = match expected {
            Version::Stored(version) => Some(version.clone()),
            Version::Absent | Version::Number(_) => None,
        };
        match self.store.swap(&self.name, object, seen).await? {
            Some(version) => Ok(Swap::Swapped(Version::Stored(version))),
            None => Ok(Swap::Conflict(self.read().await?)),
        }
    }
}
