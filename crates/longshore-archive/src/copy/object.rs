//! One object after the other: by the store itself where it can, and through this machine otherwise.

use std::collections::{HashMap, HashSet};

use longshore_format::{ErrorKind, Lsn};
use object_store::ObjectMeta;

use super::{Copied, CopyPlan};
use crate::error::{Error, Result, told};
use crate::manifest::Manifest;
use crate::place::Place;
use crate::store::{Made, refuses};

/// No object holds more than the longest segment.
const LONGEST: u64 = 1 << 30;

/// What was copied up to now, however often the source was read anew.
#[derive(Default)]
pub(super) struct Done {
    pub(super) copied: Copied,
    /// What a manifest that was read before named, a later one may name no more.
    names: HashSet<String>,
}

impl Done {
    /// These are to be copied.
    pub(super) fn begin(&mut self, objects: &[String]) {
        let named: HashSet<_> = objects.iter().collect();
        let gone = self.names.iter().filter(|name| !named.contains(name)).count();
        self.copied.objects = (objects.len() + gone) as u64;
    }

    fn add(&mut self, object: &str, bytes: u64, by_store: bool) {
        // One that has gone from the target meanwhile is one object still.
        if !self.names.insert(object.to_owned()) {
            return;
        }
        self.copied.copied += 1;
        self.copied.bytes += bytes;
        if by_store {
            self.copied.by_store += 1;
            self.copied.by_store_bytes += bytes;
        }
    }
}

/// A copy under way, of one manifest.
pub(super) struct Copying<'a> {
    source: &'a Place<'a>,
    target: &'a Place<'a>,
    how: CopyPlan,
    /// How long objects are, where the source's manifest says so.
    lengths: HashMap<String, u64>,
    pub(super) done: &'a mut Done,
}

impl<'a> Copying<'a> {
    pub(super) async fn new(
        source: &'a Place<'a>,
        target: &'a Place<'a>,
        manifest: &Manifest,
        how: CopyPlan,
        done: &'a mut Done,
    ) -> Result<Copying<'a>> {
        let mut lengths = HashMap::new();
        if target.store.is_one_bucket_with(source.store) {
            let segments = manifest.all_segments(source).await?.into_iter().map(|entry| (entry.object, entry.bytes));
            lengths.extend(segments);
            lengths.extend(manifest.tail().iter().map(|entry| (entry.object.clone(), entry.bytes)));
        }
        Ok(Copying { source, target, how, lengths, done })
    }

    /// Sees to it that an object is in the target.
    pub(super) async fn object(&mut self, object: &str) -> Result<()> {
        let name = self.source.name(object);
        let Some(meta) = self.source.store.stat(&name).await? else { return Err(self.missing(object)) };
        let there = self.target.store.len(&name).await?;
        if there == Some(meta.size) && (!self.how.full || self.holds(object).await?) {
            return Ok(());
        }
        // What takes the place of a damaged one is looked at here first.
        let may_store = there.is_none() && self.may_store(object, &meta);
        let by_store = may_store && (self.how.plan_only || self.by_store(object, &meta).await?);
        if !by_store && !self.how.plan_only {
            let put = self.through_here(object).await;
            if may_store && put.is_err() {
                self.clear(object).await;
            }
            put?;
        }
        self.done.add(object, meta.size, by_store);
        Ok(())
    }

    /// Whether the store may copy an object that nobody here has looked at. One that is not as long as the manifest says is
    /// known to be damaged.
    fn may_store(&self, object: &str, meta: &ObjectMeta) -> bool {
        self.target.store.is_one_bucket_with(self.source.store)
            && self.done.copied.refused.is_none()
            && self.lengths.get(object).is_none_or(|len| *len == meta.size)
    }

    /// Has the store copy an object; whether it did, and what it made holds. A store that refuses is not asked again; of any
    /// other error only this object goes through here, where it shows whether it is still there.
    async fn by_store(&mut self, object: &str, meta: &ObjectMeta) -> Result<bool> {
        let made = match self.target.store.copy_within(self.source.store, &self.source.name(object), meta).await {
            Err(Error::Store { source, .. }) => {
                if refuses(&source) {
                    self.done.copied.refused = Some(told(&source));
                }
                return Ok(false);
            }
            made => made?,
        };
        match made {
            Made::Equal if !self.how.full => Ok(true),
            Made::Equal | Made::Untold => {
                self.done.copied.read_back += meta.size;
                self.holds(object).await
            }
            Made::Other => Ok(false),
        }
    }

    /// Reads an object, checks it against the digest in it, and puts it as it is.
    async fn through_here(&self, object: &str) -> Result<()> {
        let got = self.source.store.get(&self.source.name(object)).await?;
        let (bytes, _) = got.ok_or_else(|| self.missing(object))?;
        self.source.unseal(object, &bytes, LONGEST)?;
        self.target.put_sealed(object, bytes).await
    }

    /// Removes what a store has made that does not hold, where nothing took its place: nobody is to find it there. What holds,
    /// somebody else has put there meanwhile.
    async fn clear(&self, object: &str) {
        let name = self.target.name(object);
        let cleared = async {
            match self.target.store.len(&name).await? {
                Some(_) if !self.holds(object).await? => self.target.store.remove(&name).await,
                _ => Ok(()),
            }
        };
        if let Err(error) = cleared.await {
            tracing::warn!(object, %error, "a copy stays that may be damaged; `longshore archive copy --full` looks at it");
        }
    }

    /// It went while it was copied, or before.
    fn missing(&self, object: &str) -> Error {
        let (store, object) = (self.source.store.label().to_owned(), self.source.name(object));
        Error::Missing { store, object, start: Lsn::ZERO, end: Lsn::MAX }
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
