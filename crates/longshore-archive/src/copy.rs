//! An archive from one store into another: every object as it is, the manifest last.

use longshore_format::{Fork, Name};

use crate::error::{Error, Result};
use crate::gap;
use crate::keys::KeyProvider;
use crate::manifest::{Facts, Manifest, Place};
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

/// Copies the archive of a log; what is there already is not copied again. Each object is checked against the digest in it
/// before it is put, and is put as it is: it stays encrypted, and the same keys open it. Run again, it goes on where it was, and
/// takes what has been archived since.
///
/// # Errors
/// [`Error::NoLog`]; [`Error::Missing`] names what the source lacks, [`Error::Envelope`] what is damaged there;
/// [`Error::Fenced`] if the target holds another history, or was changed meanwhile.
pub async fn copy(
    from: &Store,
    to: &Store,
    log: &Name,
    keys: Option<&dyn KeyProvider>,
    plan_only: bool,
    mut watch: impl FnMut(&Copied),
) -> Result<Copied> {
    let mut source = Place { store: from, log, id: None, keys, level: None };
    let Some((manifest, _)) = source.manifest().await? else {
        return Err(Error::NoLog { store: from.label().to_owned(), log: log.clone() });
    };
    let facts = manifest.facts().map_err(|what| source.corrupt(crate::manifest::MANIFEST, what))?;
    source.id = Some(facts.log);
    let target = Place { store: to, ..source };
    let seen = target.manifest().await?;
    if let Some((there, _)) = &seen
        && !goes_on(&target, &manifest, &facts, there)?
    {
        return Ok(Copied { objects: manifest.segment_count() + manifest.tail().len() as u64, ..Copied::default() });
    }
    let objects = gap::objects(&source, &manifest).await?;
    let mut copied = Copied { objects: objects.len() as u64, ..Copied::default() };
    for object in &objects {
        copy_object(&source, &target, object, plan_only, &mut copied).await?;
        watch(&copied);
    }
    if plan_only {
        return Ok(copied);
    }
    let swapped = target.swap(&manifest, seen.map(|(_, version)| version)).await?;
    swapped.map(|_| copied).ok_or_else(|| {
        let epoch = facts.history.current().epoch.number;
        Error::Fenced { store: to.label().to_owned(), log: log.clone(), theirs: epoch, ours: epoch }
    })
}

/// Whether an archive goes on from the one that is there; `false` if that holds all of it, and more. What has parted is never
/// put in the place of the other.
fn goes_on(target: &Place<'_>, manifest: &Manifest, facts: &Facts, there: &Manifest) -> Result<bool> {
    let theirs = there.facts().map_err(|what| target.corrupt(crate::manifest::MANIFEST, what))?;
    let (store, log) = (target.store.label().to_owned(), target.log.clone());
    if theirs.log != facts.log {
        let (theirs, ours) = (theirs.log.to_string(), facts.log.to_string());
        return Err(Error::OtherLog { store, log, theirs, ours });
    }
    let (end, end_there) = (manifest.end(), there.end());
    match facts.history.fork(&theirs.history) {
        Fork::Same => Ok(end_there < end),
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
    plan_only: bool,
    copied: &mut Copied,
) -> Result<()> {
    let name = source.name(object);
    let len = source.store.len(&name).await?;
    if len.is_some() && target.store.len(&name).await? == len {
        return Ok(());
    }
    let Some(len) = len else {
        let (store, start, end) =
            (source.store.label().to_owned(), longshore_format::Lsn::ZERO, longshore_format::Lsn::MAX);
        return Err(Error::Missing { store, object: name, start, end });
    };
    copied.copied += 1;
    copied.bytes += len;
    if plan_only {
        return Ok(());
    }
    let Some((bytes, _)) = source.store.get(&name).await? else {
        return Err(source.corrupt(object, "it went while it was copied: run this again".to_owned()));
    };
    source.unseal(object, &bytes, LONGEST)?;
    target.put_sealed(object, bytes).await
}
