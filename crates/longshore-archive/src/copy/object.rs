//! One object after the other: by the store itself where it can, and through this machine otherwise.

use std::collections::HashMap;

use longshore_format::{ErrorKind, Lsn};
use object_store::ObjectMeta;

use super::{Copied, CopyPlan};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::place::Place;
use crate::store::Made;

/// No object holds more than the longest segment.
const LONGEST: u64 = 1 << 30;

/// A copy under way.
pub(super) struct Copying<'a> {
    source: &'a Place<'a>,
    target: &'a Place<'a>,
    how: CopyPlan,
    /// How long objects are, where the source's manifest says so.
    lengths: HashMap<String, u64>,
    pub(super) copied: Copied,
}

impl<'a> Copying<'a> {
    pub(super) async fn new(
        source: &'a Place<'a>,
        target: &'a Place<'a>,
        manifest: &Manifest,
        how: CopyPlan,
    ) -> Result<Copying<'a>> {
        let mut lengths = HashMap::new();
        if target.store.is_one_bucket_with(source.store) {
            let segments = manifest.all_segments(source).await?.into_iter().map(|entry| (entry.object, entry.bytes));
            lengths.extend(segments);
            lengths.extend(manifest.tail().iter().map(|entry| (entry.object.clone(), entry.bytes)));
        }
        Ok(Copying { source, target, how, lengths, copied: Copied::default() })
    }

    /// Sees to it that an object is in the target.
    pub(super) async fn object(&mut self, object: &str) -> Result<()> {
        let name = self.source.name(object);
        let Some(meta) = self.source.store.stat(&name).await? else {
            let (store, start, end) = (self.source.store.label().to_owned(), Lsn::ZERO, Lsn::MAX);
            return Err(Error::Missing { store, object: name, start, end });
        };
        let there = self.target.store.len(&name).await?;
        if there == Some(meta.size) && (!self.how.full || self.holds(object).await?) {
            return Ok(());
        }
        self.copied.copied += 1;
        self.copied.bytes += meta.size;
        // What takes the place of a damaged one is looked at here first.
        let by_store = there.is_none() && self.can_store(object, &meta);
        if by_store && (self.how.plan_only || self.by_store(object, &meta).await?) {
            self.copied.by_store += 1;
            self.copied.by_store_bytes += meta.size;
        } else if !self.how.plan_only {
            self.through_here(object).await?;
        }
        Ok(())
    }

    /// Whether the store may copy an object that nobody here has looked at. One that is not as long as the manifest says is
    /// known to be damaged.
    fn can_store(&self, object: &str, meta: &ObjectMeta) -> bool {
        self.target.store.is_one_bucket_with(self.source.store)
            && self.copied.refused.is_none()
            && self.lengths.get(object).is_none_or(|len| *len == meta.size)
    }

    /// Has the store copy an object; whether it did, and what it made holds. A store that refuses is not asked again.
    async fn by_store(&mut self, object: &str, meta: &ObjectMeta) -> Result<bool> {
        let name = self.source.name(object);
        let made = match self.target.store.copy_within(self.source.store, &name, meta).await {
            Err(Error::Store { source, .. }) => {
                self.copied.refused = Some(crate::error::told(&source));
                return Ok(false);
            }
            made => made?,
        };
        let holds = match made {
            Made::Equal if !self.how.full => true,
            Made::Equal | Made::Untold => {
                self.copied.read_back += meta.size;
                self.holds(object).await?
            }
            Made::Other => false,
        };
        if !holds {
            // Nobody is to find there what does not hold, should the source not hold either.
            self.target.store.remove(&name).await?;
        }
        Ok(holds)
    }

    /// Reads an object, checks it against the digest in it, and puts it as it is.
    async fn through_here(&self, object: &str) -> Result<()> {
        let Some((bytes, _)) = self.source.store.get(&self.source.name(object)).await? else {
            return Err(self.source.corrupt(object, "it went while it was copied: run this again".to_owned()));
        };
        self.source.unseal(object, &bytes, LONGEST)?;
        self.target.put_sealed(object, bytes).await
    }

    /// Whether an object of the target is whole.
    async fn holds(&self, object: &str) -> Result<bool> {
        let Some((bytes, _)) = self.target.store.get(&self.target.name(object)).await? else { return Ok(false) };
        match self.target.unseal(object, &bytes, LONGEST) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
            Err(error) => Err(error),
        }
    }
}
