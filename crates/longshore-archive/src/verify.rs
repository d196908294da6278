//! Whether everything that a manifest names is there and holds.

mod finding;
mod proven;
mod restorable;
mod snapshots;

use futures_util::{Stream, StreamExt, TryFutureExt};
use longshore_format::Lsn;

use crate::archive::{Archive, Copy};
use crate::blocking::blocking;
use crate::error::Result;
use crate::fetch::segment::{Stored, at_once};
use crate::fetch::{TAIL_AT_ONCE, tail_object};
use crate::fork::ForkEntry;
use crate::listing::{self, Listing};
use crate::manifest::SegmentEntry;
use crate::place::Place;
pub use finding::Finding;
pub use proven::Proven;
use snapshots::Look;

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Verified {
    /// Objects that were fetched and hold.
    pub objects: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
    /// Objects that were found to hold before: they are there, as long as they were, and were not fetched again.
    pub known: u64,
    /// Of so many objects in all, as far as they are known by now.
    pub of: u64,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// What the next look need not fetch again.
    pub proven: Proven,
}

/// Fetches every object that the log's manifests name, in every store, and checks it; `watch` is told of each. Of a store that
/// was [passed over](Archive::passed_over) nothing is known.
///
/// # Errors
/// What a store says that does not answer: nothing is known of its objects then.
pub async fn verify(archive: &Archive, watch: impl FnMut(&Verified)) -> Result<Verified> {
    verify_since(archive, &Proven::default(), watch).await
}

/// As [`verify`], but what was proven before is only looked for, and not fetched again.
///
/// # Errors
/// As [`verify`].
pub async fn verify_since(archive: &Archive, proven: &Proven, mut watch: impl FnMut(&Verified)) -> Result<Verified> {
    let mut verified = Verified { of: archive.copies().iter().map(count).sum(), ..Verified::default() };
    for copy in archive.copies() {
        let before = verified.findings.len();
        let place = archive.place(copy);
        let listing = Listing::of(&place).await?;
        let known = known(proven, &place, copy);
        let look = Look { place: &place, listing: &listing, proven };
        for earlier in before_gaps(&mut verified, &place, copy).await? {
            // Before its gap an archive changes no more: it was fetched when what is behind the gap was.
            let known = if 0 < known && earlier.lost.is_empty() { earlier.segments.len() } else { 0 };
            verified.findings.extend(earlier.lost.iter().cloned());
            look_for_known(&mut verified, &place, &earlier, &listing, known).await?;
            fetch_rest(&mut verified, archive, &earlier, known, &look, &mut watch).await?;
        }
        verified.findings.extend(copy.lost.iter().cloned());
        let whole_before = verified.findings.len() == before;
        for (fork, branch) in branches(&mut verified, &place, copy).await? {
            let before = verified.findings.len();
            // Nothing is added to it any more.
            let known = if proven.holds_branch(&place, fork) { branch.segments.len() } else { 0 };
            look_for_known(&mut verified, &place, &branch, &listing, known).await?;
            match proven.holds_branch(&place, fork) {
                true => look_for_tail(&mut verified, &place, &branch, &look, &mut watch).await?,
                false => fetch_rest(&mut verified, archive, &branch, known, &look, &mut watch).await?,
            }
            if verified.findings.len() == before {
                verified.proven.note_branch(&place, fork);
            }
        }
        look_for_known(&mut verified, &place, copy, &listing, known).await?;
        watch(&verified);
        fetch_rest(&mut verified, archive, copy, known, &look, &mut watch).await?;
        forget_superseded(&mut verified, &place, before).await?;
        match whole_before {
            true => note_proven(&mut verified, &place, copy, before),
            false => verified.proven.note(&place, None),
        }
        verified.findings.extend(listing.unnamed(&place, copy).await);
        verified.findings.extend(copy.manifest.gaps.iter().map(|gap| Finding::AcknowledgedGap {
            store: place.store.label().to_owned(),
            start: Lsn::new(gap.start),
            end: Lsn::new(gap.end),
            time: gap.time,
        }));
    }
    Ok(verified)
}

/// What the archive was before each of its gaps, the last one first. One whose manifest does not hold is a finding, and with it
/// all before.
async fn before_gaps(verified: &mut Verified, place: &Place<'_>, copy: &Copy) -> Result<Vec<Copy>> {
    let mut copies: Vec<Copy> = Vec::new();
    while let Some(gap) = copies.last().unwrap_or(copy).manifest.gaps.last() {
        let range = (Lsn::ZERO, Lsn::new(gap.start));
        match copy.before(place, gap).await {
            Ok(earlier) => {
                verified.of += count(&earlier);
                copies.push(earlier);
            }
            Err(error) => {
                note(verified, Err(error), 0, range)?;
                break;
            }
        }
    }
    Ok(copies)
}

/// What lies beyond each fork, and nothing of what the log went on with.
async fn branches<'a>(
    verified: &mut Verified,
    place: &Place<'_>,
    copy: &'a Copy,
) -> Result<Vec<(&'a ForkEntry, Copy)>> {
    let mut branches = Vec::new();
    for fork in &copy.manifest.forks {
        match copy.branch(place, fork).await {
            Ok(mut branch) => {
                branch.forget_before(Lsn::new(fork.start));
                verified.findings.extend(branch.lost.iter().cloned());
                verified.of += count(&branch);
                branches.push((fork, branch));
            }
            Err(error) => note(verified, Err(error), 0, (Lsn::new(fork.start), Lsn::new(fork.end)))?,
        }
    }
    Ok(branches)
}

/// How many segments need not be fetched again. Where the manifest does not hold, what it named before vouches for nothing.
fn known(proven: &Proven, place: &Place<'_>, copy: &Copy) -> usize {
    if copy.lost.is_empty() { proven.segments(place, copy) } else { 0 }
}

fn count(copy: &Copy) -> u64 {
    (copy.segments.len() + copy.manifest.tail().len()) as u64
}

/// What was proven before: it must be there still, and as long as it was.
async fn look_for_known(
    verified: &mut Verified,
    place: &Place<'_>,
    copy: &Copy,
    listing: &Listing,
    known: usize,
) -> Result<()> {
    for entry in &copy.segments[..known] {
        look_for(verified, place, listing, (&entry.object, entry.bytes), range(copy, entry)).await?;
    }
    Ok(())
}

/// The same of what is behind the segments, in a branch that was proven before.
async fn look_for_tail(
    verified: &mut Verified,
    place: &Place<'_>,
    branch: &Copy,
    look: &Look<'_>,
    watch: &mut impl FnMut(&Verified),
) -> Result<()> {
    for entry in branch.manifest.tail() {
        let range = (Lsn::new(entry.start), Lsn::new(entry.end));
        look_for(verified, place, look.listing, (&entry.object, entry.bytes), range).await?;
    }
    for entry in &branch.manifest.snapshots {
        look.at(entry, verified, watch).await?;
    }
    Ok(())
}

/// An object that was proven before: it must be there still, and as long as it was.
async fn look_for(
    verified: &mut Verified,
    place: &Place<'_>,
    listing: &Listing,
    (name, len): (&str, u64),
    (start, end): (Lsn, Lsn),
) -> Result<()> {
    let (store, object) = (place.store.label().to_owned(), place.name(name));
    match listing.len(place, name).await? {
        Some(bytes) if bytes == len => verified.known += 1,
        Some(bytes) => {
            let what = format!("it is {bytes} bytes long instead of {len}");
            verified.findings.push(Finding::Corrupt { store, object, what, start, end });
        }
        None => verified.findings.push(Finding::Missing { store, object, start, end }),
    }
    Ok(())
}

async fn fetch_rest(
    verified: &mut Verified,
    archive: &Archive,
    copy: &Copy,
    known: usize,
    look: &Look<'_>,
    watch: &mut impl FnMut(&Verified),
) -> Result<()> {
    let place = look.place;
    let mut segments = Vec::new();
    for entry in &copy.segments[known..] {
        segments.push(holds(Stored::new(archive, copy, entry)));
    }
    let mut checked = futures_util::stream::iter(segments).buffered(at_once(archive.facts().size));
    for entry in &copy.segments[known..] {
        note(verified, next(&mut checked).await, entry.bytes, range(copy, entry))?;
        watch(verified);
    }
    let mut tail = Vec::new();
    for entry in copy.manifest.tail() {
        tail.push(tail_object(place, entry).map_ok(drop));
    }
    let mut checked = futures_util::stream::iter(tail).buffered(TAIL_AT_ONCE);
    for entry in copy.manifest.tail() {
        note(verified, next(&mut checked).await, entry.bytes, (Lsn::new(entry.start), Lsn::new(entry.end)))?;
        watch(verified);
    }
    for entry in &copy.manifest.snapshots {
        look.at(entry, verified, watch).await?;
        watch(verified);
    }
    Ok(())
}

async fn holds(segment: Stored) -> Result<()> {
    let body = segment.body().await?;
    blocking(move || segment.check(body, |_| Ok(()))).await
}

async fn next(checked: &mut (impl Stream<Item = Result<()>> + Unpin)) -> Result<()> {
    checked.next().await.expect("each object is checked")
}

/// What is gone because the archive went on meanwhile is not missing: the manifest does not name it any more.
async fn forget_superseded(verified: &mut Verified, place: &Place<'_>, before: usize) -> Result<()> {
    if verified.findings.len() == before {
        return Ok(());
    }
    let Some((now, _)) = place.manifest().await? else { return Ok(()) };
    let Ok(named) = listing::named(place, &now).await else { return Ok(()) };
    let found = verified.findings.split_off(before);
    let stays = |finding: &Finding| !matches!(finding, Finding::Missing { object, .. } if !named.contains(object));
    verified.findings.extend(found.into_iter().filter(stays));
    Ok(())
}

/// The segments up to the first one that is at fault need not be fetched again.
fn note_proven(verified: &mut Verified, place: &Place<'_>, copy: &Copy, before: usize) {
    let faults = verified.findings[before..].iter().filter_map(|finding| match finding {
        Finding::Missing { object, .. } | Finding::Corrupt { object, .. } => Some(object.as_str()),
        Finding::AcknowledgedGap { .. } | Finding::InFlight { .. } | Finding::Unnamed { .. } => None,
    });
    let faults: std::collections::BTreeSet<&str> = faults.collect();
    let holds = |entry: &&SegmentEntry| !faults.contains(place.name(&entry.object).as_str());
    let last = copy.segments.iter().take_while(holds).last();
    verified.proven.note(place, last);
}

fn range(copy: &Copy, entry: &SegmentEntry) -> (Lsn, Lsn) {
    (Lsn::new(entry.base), Lsn::new(entry.base.saturating_add(copy.manifest.segment_size())))
}

fn note(verified: &mut Verified, checked: Result<()>, bytes: u64, range: (Lsn, Lsn)) -> Result<()> {
    match checked {
        Ok(()) => {
            verified.objects += 1;
            verified.bytes = verified.bytes.saturating_add(bytes);
        }
        Err(error) => verified.findings.push(Finding::of(error, range)?),
    }
    Ok(())
}
