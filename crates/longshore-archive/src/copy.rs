//! An archive from one store into another: every object as it is, the manifest last.

use longshore_format::{ErrorKind, Fork, Name};

use crate::error::{Error, Result};
use crate::gap;
use crate::keys::KeyProvider;
use crate::manifest::{Facts, Manifest};
use crate::place::Place;
use crate::store::Store;

/// What a copy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Copied {
    /// Objects in the archive.
    pub objects: u64,
    /// Of them, copied now; the others were there.
    pub copied: u64,
    /// Bytes copied now.
    pub bytes: u64,
}

/// No object holds more than the longest segment.
const LONGEST: u64 = 1 << 30;

/// How to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CopyPlan {
    /// Says what would be done, and does nothing.
    pub plan_only: bool,
    /// Reads what is there already, too, and puts right what does not hold; otherwise what is as long as it should be does.
    pub full: bool,
}

/// How often a source is read anew that goes on while it is copied.
const ATTEMPTS: u32 = 5;

/// Copies the archive of a log; what is there already is not copied again. Each object is checked against the digest in it
/// before it is put, and is put as it is: it stays encrypted, and the same keys open it. Run again, it goes on where it was, and
/// takes what has been archived since. What the target has and the source has not, before or after, stays.
///
/// # Errors
/// [`Error::NoLog`]; [`Error::Missing`] names what the source lacks, [`Error::Envelope`] what is damaged there;
/// [`Error::Fenced`] if the target holds another history, or was changed meanwhile; [`Error::Gap`] if there is one between the two.
pub async fn copy(
    from: &Store,
    to: &Store,
    log: &Name,
    keys: Option<&dyn KeyProvider>,
    how: CopyPlan,
    mut watch: impl FnMut(&Copied),
) -> Result<Copied> {
    let mut source = Place { store: from, log, id: None, keys, level: None };
    let mut seen = None;
    for _ in 0..ATTEMPTS {
        let Some((manifest, _)) = source.manifest().await? else {
            return Err(Error::NoLog { store: from.label().to_owned(), log: log.clone() });
        };
        source.id = Some(manifest.facts().map_err(|what| source.corrupt(crate::manifest::MANIFEST, what))?.log);
        match copy_once(&source, to, &manifest, how, &mut watch).await {
            // What the source has put together since has another name: it is all there only if nothing changed.
            Err(Error::Missing { .. }) if seen.as_ref() != Some(&manifest) => seen = Some(manifest),
            copied => return copied,
        }
    }
    Err(source.corrupt(crate::manifest::MANIFEST, "it changed each time that it was copied: try again".to_owned()))
}

async fn copy_once(
    source: &Place<'_>,
    to: &Store,
    manifest: &Manifest,
    how: CopyPlan,
    watch: &mut impl FnMut(&Copied),
) -> Result<Copied> {
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
    let mut copied = Copied { objects: objects.len() as u64, ..Copied::default() };
    for object in &objects {
        copy_object(source, &target, object, how, &mut copied).await?;
        watch(&copied);
    }
    let Some(mut next) = next.filter(|_| !how.plan_only) else { return Ok(copied) };
    next.spill(&target).await?;
    let swapped = target.swap(&next, seen.map(|(_, version)| version)).await?;
    swapped.map(|_| copied).ok_or_else(|| {
        let epoch = facts.history.current().epoch.number;
        Error::Fenced { store: to.label().to_owned(), log: source.log.clone(), theirs: epoch, ours: epoch }
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

async fn copy_object(
    source: &Place<'_>,
    target: &Place<'_>,
    object: &str,
    how: CopyPlan,
    copied: &mut Copied,
) -> Result<()> {
    let name = source.name(object);
    let len = source.store.len(&name).await?;
    if len.is_some() && target.store.len(&name).await? == len && (!how.full || holds(target, object).await?) {
        return Ok(());
    }
    let Some(len) = len else {
        let (store, start, end) =
            (source.store.label().to_owned(), longshore_format::Lsn::ZERO, longshore_format::Lsn::MAX);
        return Err(Error::Missing { store, object: name, start, end });
    };
    copied.copied += 1;
    copied.bytes += len;
    if how.plan_only {
        return Ok(());
    }
    let Some((bytes, _)) = source.store.get(&name).await? else {
        return Err(source.corrupt(object, "it went while it was copied: run this again".to_owned()));
    };
    source.unseal(object, &bytes, LONGEST)?;
    target.put_sealed(object, bytes).await
}

/// Whether an object that is there is whole.
async fn holds(target: &Place<'_>, object: &str) -> Result<bool> {
    let Some((bytes, _)) = target.store.get(&target.name(object)).await? else { return Ok(false) };
    match target.unseal(object, &bytes, LONGEST) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
        Err(error) => Err(error),
    }
}
