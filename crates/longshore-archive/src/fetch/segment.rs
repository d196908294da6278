//! A sealed segment out of a store: read piece by piece, and hashed once on the way.

use std::sync::Arc;

use longshore_format::{Digest, Lsn, SegmentSize};
use object_store::Error as StoreError;

use crate::archive::{Archive, Copy};
use crate::envelope::{EnvelopeError, Opening};
use crate::error::{Error, Result};
use crate::keys::{Context, KeyProvider};
use crate::manifest::SegmentEntry;
use crate::store::{Body, Store};

/// A segment that the manifest of a store names. It owns all that it takes to read it.
pub(crate) struct Stored {
    store: Store,
    object: String,
    context: Context,
    keys: Option<Arc<dyn KeyProvider>>,
    size: SegmentSize,
    base: u64,
    digest: String,
}

/// What is read, hashed and written before the next is read: little enough to stay in a processor's cache meanwhile, and
/// enough for the hash to use all of its lanes.
const PIECE: usize = 256 << 10;
/// What segments may hold that are on their way together.
const IN_FLIGHT: u64 = 256 << 20;

/// How many segments are on their way together: of small ones so many that the time of a request does not count, and never
/// so few that nothing is computed while files are synced.
pub(crate) fn at_once(size: SegmentSize) -> usize {
    (IN_FLIGHT / size.get()).clamp(4, 16) as usize
}

impl Stored {
    pub(crate) fn new(archive: &Archive, copy: &Copy, entry: &SegmentEntry) -> Stored {
        let place = archive.place(copy);
        Stored {
            store: copy.store.clone(),
            object: place.name(&entry.object),
            context: place.context(&entry.object),
            keys: archive.keys(),
            size: archive.facts().size,
            base: entry.base,
            digest: entry.digest.clone(),
        }
    }

    pub(crate) fn size(&self) -> SegmentSize {
        self.size
    }

    /// Its bytes, as the store has them.
    pub(crate) async fn body(&self) -> Result<Body> {
        if let Some(body) = self.store.body(&self.object).await? {
            return Ok(body);
        }
        let (start, end) = (Lsn::new(self.base), Lsn::new(self.base.saturating_add(self.size.get())));
        Err(Error::Missing { store: self.store.label().to_owned(), object: self.object.clone(), start, end })
    }

    /// Reads the body and gives the segment to `take`, piece by piece; `Ok` says that it is what was sealed. For a thread that
    /// may wait.
    pub(crate) fn check(&self, body: Body, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let failed = |source| self.failed(source);
        let (len, keys) = (body.len, self.keys.as_deref());
        let mut opening = Opening::new(body, len, &self.context, keys, self.size.get()).map_err(failed)?;
        let (mut piece, mut at, mut digest) = (vec![0; PIECE], 0, None);
        let footer = self.size.body_end_offset();
        loop {
            // The object's own digest goes over all of it, the segment's over what comes before the footer: a piece ends there.
            let room = if at < footer { (footer - at).min(PIECE as u64) as usize } else { PIECE };
            let read = opening.read(&mut piece[..room]).map_err(failed)?;
            if read == 0 {
                break;
            }
            take(&piece[..read])?;
            at += read as u64;
            if at == footer {
                digest = Some(Digest::from_bytes(*opening.digest().as_bytes()));
            }
        }
        opening.finish().map_err(failed)?;
        match digest {
            Some(digest) if at == self.size.get() && digest.to_string() == self.digest => Ok(()),
            Some(digest) if at == self.size.get() => {
                Err(self.corrupt(format!("its digest is {digest} instead of {}", self.digest)))
            }
            _ => Err(self.corrupt(format!("it holds {at} bytes and not a whole segment"))),
        }
    }

    fn corrupt(&self, what: String) -> Error {
        Error::Corrupt { store: self.store.label().to_owned(), object: self.object.clone(), what }
    }

    fn failed(&self, source: EnvelopeError) -> Error {
        match source {
            EnvelopeError::Read(error) => self.store.failed(&self.object, said(error)),
            source => {
                let (store, object) = (self.store.label().to_owned(), self.object.clone());
                Error::Envelope { store, object, source: Box::new(source) }
            }
        }
    }
}

/// What a store said, out of what a reader of its bytes says.
fn said(error: std::io::Error) -> StoreError {
    error.downcast().unwrap_or_else(|source| StoreError::Generic { store: "body", source: Box::new(source) })
}
