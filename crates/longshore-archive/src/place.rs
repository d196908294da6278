//! The objects of one log in one store, sealed on their way there and opened on their way back.

use std::borrow::Cow;

use longshore_format::{LogId, Lsn, Name};

use crate::envelope::{self, Sealing};
use crate::error::{Error, Result};
use crate::keys::{Context, KeyProvider};
use crate::listing;
use crate::manifest::{LONGEST, MANIFEST, Manifest};
use crate::store::{Store, Version};

/// The objects of one log in one store.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) store: &'a Store,
    pub(crate) log: &'a Name,
    /// None for the manifest itself, from which it is learned.
    pub(crate) id: Option<LogId>,
    pub(crate) keys: Option<&'a dyn KeyProvider>,
    pub(crate) level: Option<i32>,
}

impl Place<'_> {
    /// Where an object lies in the store.
    pub(crate) fn name(&self, object: &str) -> String {
        format!("{}/{object}", self.log)
    }

    pub(crate) fn context(&self, object: &str) -> Context {
        // The manifest is opened before the log's id is known, and says it; it is bound to its name alone.
        let id = self.id.filter(|_| object != MANIFEST).unwrap_or(LogId::from_bytes([0; 16]));
        let object = if object == MANIFEST { self.name(object) } else { object.to_owned() };
        Context { log: id, object }
    }

    pub(crate) fn corrupt(&self, object: &str, what: String) -> Error {
        Error::Corrupt { store: self.store.label().to_owned(), object: self.name(object), what }
    }

    pub(crate) fn seal<'p>(&self, object: &str, plain: impl Into<Cow<'p, [u8]>>) -> Result<bytes::Bytes> {
        let sealed = envelope::seal(plain, &self.context(object), &Sealing { level: self.level, keys: self.keys });
        sealed.map(bytes::Bytes::from).map_err(|source| self.envelope(object, source))
    }

    pub(crate) fn unseal(&self, object: &str, bytes: &[u8], longest: u64) -> Result<Vec<u8>> {
        let opened = envelope::open(bytes, &self.context(object), self.keys, longest);
        opened.map_err(|source| self.envelope(object, source))
    }

    fn envelope(&self, object: &str, source: envelope::EnvelopeError) -> Error {
        Error::Envelope { store: self.store.label().to_owned(), object: self.name(object), source: Box::new(source) }
    }

    /// Makes an object of what it holds; how long it is.
    pub(crate) async fn put(&self, object: &str, plain: &[u8]) -> Result<u64> {
        let sealed = self.seal(object, plain)?;
        let len = sealed.len() as u64;
        self.put_sealed(object, sealed).await?;
        Ok(len)
    }

    /// Makes an object, whose name says what it holds. One that is there is made anew, so that no clean-up takes it for old
    /// before the manifest names it.
    pub(crate) async fn put_sealed(&self, object: &str, sealed: bytes::Bytes) -> Result<()> {
        self.store.replace(&self.name(object), sealed).await
    }

    /// An object that must be there: without it nobody knows what is archived from `start` to `end`.
    pub(crate) async fn get(&self, object: &str, (start, end): (Lsn, Lsn)) -> Result<Vec<u8>> {
        match self.store.get(&self.name(object)).await? {
            Some((bytes, _)) => self.unseal(object, &bytes, LONGEST),
            None => Err(Error::Missing { store: self.store.label().to_owned(), object: self.name(object), start, end }),
        }
    }

    /// The manifest, and what a swap needs of it; `None` if the log is not archived there.
    pub(crate) async fn manifest(&self) -> Result<Option<(Manifest, Version)>> {
        let Some((bytes, version)) = self.store.get(&self.name(MANIFEST)).await? else { return Ok(None) };
        let json = self.unseal(MANIFEST, &bytes, LONGEST)?;
        let manifest: Manifest =
            serde_json::from_slice(&json).map_err(|error| self.corrupt(MANIFEST, error.to_string()))?;
        manifest.facts().map_err(|what| self.corrupt(MANIFEST, what))?;
        Ok(Some((manifest, version)))
    }

    /// Why there is no manifest: nothing of the log was ever archived, as far as the store tells, or the manifest alone is gone.
    pub(crate) async fn no_manifest(&self) -> Error {
        let (store, log) = (self.store.label().to_owned(), self.log.clone());
        match listing::has_objects(self).await {
            Ok(true) => Error::NoManifest { store, log },
            Ok(false) | Err(_) => Error::NoLog { store, log },
        }
    }

    /// What is to be told where somebody has always been faster.
    pub(crate) fn unsteady(&self) -> Error {
        self.corrupt(MANIFEST, "it changed each time that it was read: try again".to_owned())
    }

    /// Puts a manifest in the place of the one that was seen; `None` if somebody else was faster.
    pub(crate) async fn swap(&self, manifest: &Manifest, seen: Option<Version>) -> Result<Option<Version>> {
        let json = serde_json::to_vec(manifest).expect("plain data can be written as JSON");
        self.store.swap(&self.name(MANIFEST), self.seal(MANIFEST, &json)?, seen).await
    }
}
