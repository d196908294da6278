//! Where a lease stands: one object that is read, and changed only by whoever saw it last.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use longshore_format::Name;
use longshore_transport::{async_trait, etcd};

use super::etcd::Key;
use super::object::Object;
use crate::error::Result;

/// One object that many nodes reach, with compare-and-swap.
///
/// An error says that what became of the request is not known: it may have been done, or may still be. A future that is
/// dropped says as much. Nothing that is given is ever written twice, so an implementation may try again, and may take an
/// object that is equal to what it was to write for its own.
#[async_trait]
pub trait LeaseStore: Send + Sync + fmt::Debug {
    /// Where it is, as people are shown it: without anything secret.
    fn label(&self) -> &str;

    /// What is there now. Of what is longer than a lease can be, only so much as shows that.
    async fn read(&self) -> Result<Found>;

    /// Puts `object` there if what is there is still of that version.
    async fn swap(&self, expected: &Version, object: Bytes) -> Result<Swap>;
}

/// What was there when it was read.
#[derive(Debug, Clone)]
pub struct Found {
    /// The object; `None` if there is none.
    pub object: Option<Bytes>,
    /// What to expect when it is swapped.
    pub version: Version,
}

/// Which write of an object was seen.
#[derive(Debug, Clone)]
pub enum Version {
    /// There was none.
    Absent,
    /// A number that grows with every write: of etcd, or of a store of your own.
    Number(u64),
    /// What an object store tells its writes apart by.
    Stored(longshore_archive::Version),
}

/// What became of a swap.
#[derive(Debug, Clone)]
pub enum Swap {
    /// It was done; this is what it is now.
    Swapped(Version),
    /// Somebody else changed it before; this is there.
    Conflict(Found),
}

/// The store at `url`, for the lease of `log`: `s3://`, `gs://`, `az://` and `file://` as an archive has them, or
/// `etcd://HOST:PORT[,HOST:PORT…][/PREFIX][?ca=FILE&cert=FILE&key=FILE]`. There it is the object, or the key, `LOG.lease`:
/// several logs share a place, and may share it with their archive.
///
/// # Errors
/// [`Error::Archive`](crate::Error::Archive) and [`Error::Transport`](crate::Error::Transport) say what is wrong with the
/// address. Nothing is asked of the store yet.
pub fn open(url: &str, log: &Name) -> Result<Arc<dyn LeaseStore>> {
    if url.starts_with(etcd::Place::SCHEME) {
        return Ok(Arc::new(Key::new(&url.parse()?, &name(log))));
    }
    Ok(in_store(longshore_archive::Store::open(url)?, log))
}

/// An object store that was opened elsewhere, for the lease of `log`.
pub fn in_store(store: longshore_archive::Store, log: &Name) -> Arc<dyn LeaseStore> {
    Arc::new(Object::new(store, name(log)))
}

/// A name of a log has no dot, so that this is nobody's archive.
fn name(log: &Name) -> String {
    format!("{log}.lease")
}
