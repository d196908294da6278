//! What lies in a store under a log's name, held against what its manifest names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longshore_format::{Lsn, SegmentSize};

use crate::archive::{Archive, Copy};
use crate::error::Result;
use crate::gap;
use crate::manifest::{MANIFEST, Manifest, SegmentEntry};
use crate::place::Place;
use crate::plan::FetchPlan;
use crate::verify::Finding;

/// The objects of one log in one store, with their lengths and ages.
pub(crate) struct Listing(BTreeMap<String, (u64, Duration)>);

impl Listing {
    pub(crate) async fn of(place: &Place<'_>) -> Result<Listing> {
        let listed = place.store.list(place.log.as_str()).await?;
        Ok(Listing(listed.into_iter().map(|(name, bytes, age)| (name, (bytes, age))).collect()))
    }

    /// How long an object is. What a listing lacks is asked for by itself: only then is it gone.
    pub(crate) async fn len(&self, place: &Place<'_>, object: &str) -> Result<Option<u64>> {
        let name = place.name(object);
        match self.0.get(&name) {
            Some((bytes, _)) => Ok(Some(*bytes)),
            None => place.store.len(&name).await,
        }
    }

    /// What is there and is named by nobody. Nothing is known of that while one of the lists does not hold.
    pub(crate) async fn unnamed(&self, place: &Place<'_>, copy: &Copy) -> Vec<Finding> {
        let Ok(named) = named(place, &copy.manifest).await else { return Vec::new() };
        let end = copy.manifest.end();
        let unnamed = self.0.iter().filter(|(name, _)| !named.contains(*name));
        let told = unnamed.map(|(name, (bytes, age))| {
            let (store, object, bytes) = (place.store.label().to_owned(), name.clone(), *bytes);
            let range = range_of(place.log.as_str(), name, copy.manifest.segment_size());
            match *age < SOON || range.is_some_and(|(start, _)| end <= start) {
                true => Finding::InFlight { store, object, range, bytes },
                false => Finding::Unnamed { store, object, range, bytes },
            }
        });
        told.collect()
    }
}

/// The names of all objects that a manifest needs, its own among them.
pub(crate) async fn named(place: &Place<'_>, manifest: &Manifest) -> Result<BTreeSet<String>> {
    let objects = gap::objects(place, manifest).await?;
    Ok(objects.iter().map(String::as_str).chain([MANIFEST]).map(|object| place.name(object)).collect())
}

/// Whether anything lies there that only an archive of the log has made; one request tells.
pub(crate) async fn has_objects(place: &Place<'_>) -> Result<bool> {
    let names = place.store.first_names(place.log.as_str()).await?;
    Ok(names.iter().any(|name| range_of(place.log.as_str(), name, 0).is_some()))
}

impl Archive {
    /// What a restore would miss: segments that the plan needs, that the store which reaches furthest has lost, or has cut short,
    /// and that no other has. Names are listed, and nothing is fetched but what is not as long as it was.
    ///
    /// # Errors
    /// What the stores say; `Denied` where the credentials may fetch and not list.
    pub async fn holes(&self, plan: &FetchPlan) -> Result<Vec<Finding>> {
        let (best, size) = (self.best(), self.facts().size);
        let mut listings: Vec<(&Copy, Listing)> = Vec::new();
        let mut holes = Vec::new();
        let listing = Listing::of(&self.place(best)).await?;
        for entry in plan.needed() {
            let place = self.place(best);
            let len = listing.len(&place, &entry.object).await?;
            if len == Some(entry.bytes) {
                continue;
            }
            if listings.is_empty() {
                for copy in self.copies().iter().skip(1) {
                    listings.push((copy, Listing::of(&self.place(copy)).await?));
                }
            }
            let mut elsewhere = false;
            for (copy, listing) in &listings {
                let same = copy.segment(entry.base).filter(|theirs| theirs.digest == entry.digest);
                if let Some(theirs) = same {
                    elsewhere |= listing.len(&self.place(copy), &theirs.object).await? == Some(theirs.bytes);
                }
            }
            // Two that archive one log may have compressed it differently: what counts is whether it holds.
            let is_whole = elsewhere || len.is_some() && self.holds(entry).await?;
            if !is_whole {
                holes.push(hole(&place, entry, len, size));
            }
        }
        Ok(holes)
    }

    /// Whether any store has a segment whole.
    async fn holds(&self, entry: &SegmentEntry) -> Result<bool> {
        match self.segment(entry).await {
            Err(error) if error.is_damage() => Ok(false),
            segment => segment.map(|_| true),
        }
    }
}

/// A segment whose object is not there, or not as long as it was.
fn hole(place: &Place<'_>, entry: &SegmentEntry, len: Option<u64>, size: SegmentSize) -> Finding {
    let (store, object) = (place.store.label().to_owned(), place.name(&entry.object));
    let (start, end) = (Lsn::new(entry.base), Lsn::new(entry.base.saturating_add(size.get())));
    match len {
        None => Finding::Missing { store, object, start, end },
        Some(len) => {
            let what = format!("it is {len} bytes long, and was {}", entry.bytes);
            Finding::Corrupt { store, object, what, start, end }
        }
    }
}

/// The positions that an object's name speaks of: `segments/EPOCH/BASE-DIGEST`, `tail/EPOCH/START-END-DIGEST`,
/// `snapshots/EPOCH/POSITION/PIECE`.
fn range_of(log: &str, name: &str, segment: u64) -> Option<(Lsn, Lsn)> {
    let parts: Vec<&str> = name.strip_prefix(log)?.strip_prefix('/')?.split('/').collect();
    let numbers = |part: &str| part.split('-').map_while(|number| number.parse::<u64>().ok()).collect::<Vec<_>>();
    let (start, end) = match parts[..] {
        ["segments", _, name] => {
            let base = *numbers(name).first()?;
            (base, base.checked_add(segment)?)
        }
        ["tail", _, name] => {
            let numbers = numbers(name);
            (*numbers.first()?, *numbers.get(1)?)
        }
        ["snapshots", _, position, _] => {
            let position = position.parse().ok()?;
            (position, position)
        }
        _ => return None,
    };
    Some((Lsn::new(start), Lsn::new(end)))
}

/// An object that is younger may be one that an archiver is about to name.
const SOON: Duration = Duration::from_secs(3600);
