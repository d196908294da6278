//! An archive from one store into another: every object as it is, the manifest last.

mod object;
#[cfg(test)]
mod tests;

use longshore_format::{Fork, Name};

use crate::error::{Error, Result};
use crate::gap;
use crate::keys::KeyProvider;
use crate::manifest::{Facts, Manifest};
use crate::place::Place;
use crate::store::{Store, Version};
use object::{Copying, Done};

/// What a copy did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Copied {
    /// Objects in the archive, and those that were copied and that it has put together with others meanwhile.
    pub objects: u64,
    /// Of them, copied now; the others were there.
    pub copied: u64,
    /// Bytes copied now.
    pub bytes: u64,
    /// Of those copied now, what the store copied itself; the others went through this machine.
    pub by_store: u64,
    /// The bytes of what the store copied itself.
    pub by_store_bytes: u64,
    /// Of what the store was to copy itself, the bytes that were read back, because it keeps no checksum that can be compared, or
    /// because everything was to be read.
    pub read_back: u64,
    /// Why the store is not asked any more to copy itself what it could.
    pub refused: Option<String>,
}

/// How to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CopyPlan {
    /// Says what would be done, and does nothing.
    pub plan_only: bool,
    /// Reads what is there already, too, and what a store has copied itself, and puts right what does not hold; otherwise what is
    /// as long as it should be does.
    pub full: bool,
}

/// How often a source is read anew that goes on while it is copied.
const ATTEMPTS: u32 = 5;

/// Copies the archive of a log; what is there already is not copied again. Each object is put as it is: it stays encrypted, and
/// the same keys open it. Run again, it goes on where it was, and takes what has been archived since. What the target has and the
/// source has not, before or after, stays.
///
/// Each object is checked against the digest in it before it is put. Where both are prefixes of one bucket, the store copies it
/// itself, and it passes through here only if the store's checksums of source and copy do not tell that they are equal: then the
/// copy is read back and checked. What was damaged in the source without a change of its length is then damaged in the copy; with
/// [`CopyPlan::full`] everything is read back.
///
/// What does not hold is left out: everything else is copied, and a target that had nothing is an archive with that hole.
///
/// # Errors
/// [`Error::Overlap`] if one lies in the other; [`Error::NoLog`], [`Error::NoManifest`]; [`Error::Missing`] and
/// [`Error::Envelope`] name the first object that is missing or damaged; [`Error::Fenced`] if the target holds another history,
/// or was changed meanwhile; [`Error::Gap`] if there is one between the two.
pub async fn copy(
    from: &Store,
    to: &Store,
    log: &Name,
    keys: Option<&dyn KeyProvider>,
    how: CopyPlan,
    mut watch: impl FnMut(&Copied),
) -> Result<Copied> {
    from.must_be_apart(to, log)?;
    let mut source = Place { store: from, log, id: None, keys, level: None };
    let (mut seen, mut done) = (None, Done::default());
    for _ in 0..ATTEMPTS {
        if how.plan_only {
            // Nothing was done by what was planned before.
            done = Done::default();
        }
        let Some((manifest, _)) = source.manifest().await? else {
            return Err(source.no_manifest().await);
        };
        source.id = Some(manifest.facts().map_err(|what| source.corrupt(crate::manifest::MANIFEST, what))?.log);
        let is_as_it_was = seen.as_ref() == Some(&manifest);
        match copy_once(&source, to, &manifest, is_as_it_was, how, &mut done, &mut watch).await {
            // What the source has put together since has another name: it is all there only if nothing changed.
            Err(Error::Missing { .. }) if !is_as_it_was => seen = Some(manifest),
            copied => return copied.map(|()| done.copied),
        }
    }
    Err(source.unsteady())
}

async fn copy_once(
    source: &Place<'_>,
    to: &Store,
    manifest: &Manifest,
    is_as_it_was: bool,
    how: CopyPlan,
    done: &mut Done,
    watch: &mut impl FnMut(&Copied),
) -> Result<()> {
    let facts = manifest.facts().map_err(|what| source.corrupt(crate::manifest::MANIFEST, what))?;
    let target = Place { store: to, ..*source };
    let seen = target.manifest().await?;
    let mut objects = gap::objects(source, manifest).await?;
    let next = match &seen {
        None => Some(manifest.clone()),
        Some((there, _)) => joined(source, &target, manifest, &facts, there).await?,
    };
    if let (None, Some((there, _))) = (&next, &seen)
        && there != manifest
    {
        // The target keeps its manifest: only what that names is of use there.
        let named = gap::objects(&target, there).await.unwrap_or_default();
        objects.retain(|object| named.contains(object));
    }
    done.begin(&objects);
    let mut copying = Copying::new(source, &target, manifest, how, done).await?;
    let mut lost = None;
    for object in &objects {
        match copying.object(object).await {
            Err(error @ Error::Missing { .. }) if !is_as_it_was => return Err(error),
            Err(error) if error.is_damage() => lost = lost.or(Some(error)),
            copied => copied?,
        }
        watch(&copying.done.copied);
    }
    match (lost, next) {
        // Where nothing is yet, what is left of a damaged archive is better than none. A target that has a manifest keeps it, for
        // it may name the beginning of what is lost.
        (Some(error), Some(next)) if seen.is_none() && !how.plan_only => {
            write(&target, next, None, &facts).await.and(Err(error))
        }
        (Some(error), _) => Err(error),
        (None, Some(next)) if !how.plan_only => write(&target, next, seen.map(|(_, version)| version), &facts).await,
        (None, _) => Ok(()),
    }
}

/// Gives the target its manifest.
async fn write(target: &Place<'_>, mut next: Manifest, seen: Option<Version>, facts: &Facts) -> Result<()> {
    next.spill(target).await?;
    let swapped = target.swap(&next, seen).await?;
    swapped.map(|_| ()).ok_or_else(|| {
        let epoch = facts.history.current().epoch.number;
        Error::Fenced { store: target.store.label().to_owned(), log: target.log.clone(), theirs: epoch, ours: epoch }
    })
}

/// The manifest that the target is to have; `None` if it keeps its own, which reaches as far, and as far back.
async fn joined(
    source: &Place<'_>,
    target: &Place<'_>,
    manifest: &Manifest,
    facts: &Facts,
    there: &Manifest,
) -> Result<Option<Manifest>> {
    if !goes_on(target, manifest, facts, there)? {
        return Ok(None);
    }
    if manifest.first() <= there.first() {
        return Ok((manifest != there).then(|| manifest.clone()));
    }
    if there.end() < manifest.first() {
        let (store, log) = (target.store.label().to_owned(), target.log.clone());
        return Err(Error::Gap { store, log, expected: there.end(), found: manifest.first() });
    }
    if manifest.end() == there.end() {
        return Ok(None);
    }
    let mut next = there.clone();
    next.go_on_with(manifest, manifest.all_segments(source).await?);
    Ok(Some(next))
}

/// Whether an archive reaches as far as the one that is there; `false` if that holds more. What has parted is never put in the
/// place of the other.
fn goes_on(target: &Place<'_>, manifest: &Manifest, facts: &Facts, there: &Manifest) -> Result<bool> {
    let theirs = there.facts().map_err(|what| target.corrupt(crate::manifest::MANIFEST, what))?;
    let (store, log) = (target.store.label().to_owned(), target.log.clone());
    if theirs.log != facts.log {
        let (theirs, ours) = (theirs.log.to_string(), facts.log.to_string());
        return Err(Error::OtherLog { store, log, theirs, ours });
    }
    let (end, end_there) = (manifest.end(), there.end());
    match facts.history.fork(&theirs.history) {
        Fork::Same if end_there == end && manifest.has_parted_at_end(there) => {
            Err(Error::Parted { store, log, end: end_there })
        }
        Fork::Same => Ok(end_there <= end),
        Fork::Ahead { at } if end_there <= at => Ok(true),
        Fork::Behind { at } if end <= at => Ok(false),
        _ => {
            let (theirs, ours) = (theirs.history.current().epoch.number, facts.history.current().epoch.number);
            Err(Error::Fenced { store, log, theirs, ours })
        }
    }
}
