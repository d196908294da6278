//! Segments out of the archive, laid out as a directory that is an ordinary log.
//!
//! What was fetched is checked before it gets its name, so that a file with a segment's name is that segment: an interrupted
//! fetch goes on where it was.

mod partial;
pub(crate) mod segment;
pub(crate) mod tail;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::Either;
use longshore_format::{Footer, Lsn, SegmentHeader, SegmentSize};
use longshore_storage::{Directory, FsDirectory};
use longshore_wal::{FollowerSpec, Wal};

use crate::archive::Archive;
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::files::io;
use crate::manifest::{MANIFEST, SegmentEntry, TailEntry};
use crate::place::Place;
use crate::plan::FetchPlan;
use partial::Partial;
use segment::Stored;
use tail::{Lost, Tail};

/// Where a log was fetched no further, because what comes next cannot be had and is not needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutShort {
    /// Where it ends: a boundary.
    pub end: Lsn,
    /// When the first record there was written, microseconds UTC; `None` if nobody knows: then it is not needed.
    pub time: Option<u64>,
    /// Why it cannot be had.
    pub why: String,
}

/// How far a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Objects that are here.
    pub objects: u64,
    /// Of so many.
    pub of: u64,
    /// Bytes of them, as they are stored.
    pub bytes: u64,
}

/// What became of a piece of a log.
struct Laid {
    objects: u64,
    bytes: u64,
    lost: Option<Lost>,
}

/// Tail objects that are fetched together: most are small, and a request takes longer than they do.
pub(crate) const TAIL_AT_ONCE: usize = 16;

impl Archive {
    /// Fetches what was planned into `dir`, which becomes an ordinary log; `watch` is told of each object. The directory is
    /// locked meanwhile, as a log is that somebody has open. Where it ends is returned if that is before what was planned:
    /// what only tells what the target leaves out need not be there.
    ///
    /// Cancel safe: what was fetched stays, and the next fetch goes on from there.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Corrupt`] name what no store has whole, [`Error::Broken`] also where what is whole ends;
    /// [`Error::Io`]; what the stores say. What was fetched stays.
    pub async fn fetch(&self, plan: &FetchPlan, dir: &Path, watch: impl FnMut(Fetched)) -> Result<Option<CutShort>> {
        let directory: Arc<dyn Directory> = Arc::new(FsDirectory::create(dir).map_err(io(dir))?);
        let _lock = directory.lock().map_err(io(dir))?;
        partial::clear(dir)?;
        self.clear_others(plan, &directory, dir)?;
        let cut = match self.lay_all(plan, dir, watch).await? {
            Some(Lost { start, time, damage }) if plan.needs(start, time) => {
                return Err(damage.behind(plan.first, start));
            }
            Some(Lost { start, time, damage }) => {
                Some(CutShort { end: start, time: Some(time), why: damage.to_string() })
            }
            None => plan.cut.clone().map(|why| CutShort { end: plan.end, time: None, why }),
        };
        if let Some(cut) = &cut {
            self.clear_from(cut.end, &directory, dir)?;
        }
        self.adopt(plan, cut.as_ref().map_or(plan.end, |cut| cut.end), &directory, dir)?;
        Ok(cut)
    }

    /// Lays out every piece of a plan; the first in the log that no store has whole, if there is one. All pieces before that are
    /// here then.
    async fn lay_all(&self, plan: &FetchPlan, dir: &Path, mut watch: impl FnMut(Fetched)) -> Result<Option<Lost>> {
        let mut fetched = Fetched { objects: 0, of: plan.objects(), bytes: 0 };
        // The tail first: nothing is left to fetch while the last files are synced.
        let tail = plan.tail.first().map(|first| (Lsn::new(first.start), Either::Left(self.lay_tail(plan, dir))));
        let segments =
            plan.segments.iter().map(|entry| (Lsn::new(entry.base), Either::Right(self.lay_segment(entry, dir))));
        // Collected first: a closure that borrows would keep this from being sent between threads.
        let (mut pieces, mut missing) = (Vec::new(), BTreeSet::new());
        for (base, piece) in tail.into_iter().chain(segments) {
            missing.insert(base);
            pieces.push(async move { (base, piece.await) });
        }
        let mut lost: Option<Lost> = None;
        let mut laid = futures_util::stream::iter(pieces).buffer_unordered(segment::at_once(self.facts().size));
        while let Some((base, laid)) = laid.next().await {
            let laid = laid?;
            missing.remove(&base);
            fetched.objects += laid.objects;
            fetched.bytes += laid.bytes;
            watch(fetched);
            lost = lost.into_iter().chain(laid.lost).min_by_key(|lost| lost.start);
            // What comes before it may be lost, too, and is needed by what can still be had.
            let first = lost.as_ref().filter(|lost| plan.needs(lost.start, lost.time));
            if first.is_some_and(|lost| missing.range(..lost.start).next().is_none()) {
                break;
            }
        }
        Ok(lost)
    }

    /// Removes segments that were fetched behind one that cannot be had. An earlier fetch may have had that one: where the log
    /// ends is written anew.
    fn clear_from(&self, end: Lsn, directory: &Arc<dyn Directory>, dir: &Path) -> Result<()> {
        let size = self.facts().size;
        Wal::unadopt(directory)?;
        for entry in directory.list().map_err(io(dir))? {
            if size.parse_file_name(&entry.name).is_some_and(|base| end <= size.first_in(base)) {
                directory.remove(&entry.name).map_err(io(dir))?;
            }
        }
        Ok(())
    }

    /// Removes segments that an interrupted fetch of something else has left: with them there would be gaps between files. A
    /// directory that is a log already has none.
    fn clear_others(&self, plan: &FetchPlan, directory: &Arc<dyn Directory>, dir: &Path) -> Result<()> {
        if Wal::is_begun(directory)? {
            return Ok(());
        }
        let tail = plan.tail.first().map(|entry| entry.start);
        let wanted: BTreeSet<u64> = plan.segments.iter().map(|entry| entry.base).chain(tail).collect();
        for entry in directory.list().map_err(io(dir))? {
            let base = self.facts().size.parse_file_name(&entry.name);
            if base.is_some_and(|base| !wanted.contains(&base.get())) {
                directory.remove(&entry.name).map_err(io(dir))?;
            }
        }
        Ok(())
    }

    /// Fetches one segment unless it is here, from the first store that has it whole.
    async fn lay_segment(&self, wanted: &SegmentEntry, dir: &Path) -> Result<Laid> {
        let (size, base) = (self.facts().size, Lsn::new(wanted.base));
        let path = dir.join(size.file_name(base));
        let here = Laid { objects: 1, bytes: wanted.bytes, lost: None };
        if is_here(&path, wanted, size) {
            return Ok(here);
        }
        match self.first_whole(wanted, |segment| lay(segment, path.clone())).await {
            Err(damage) if damage.is_damage() => {
                let lost = Lost { start: size.first_in(base), time: wanted.time, damage };
                Ok(Laid { objects: 0, bytes: 0, lost: Some(lost) })
            }
            laid => laid.map(|()| here),
        }
    }

    /// A segment, from the first store that has it whole.
    pub(crate) async fn segment(&self, wanted: &SegmentEntry) -> Result<Vec<u8>> {
        self.first_whole(wanted, read).await
    }

    /// What `take` makes of a segment, from the first store that has it whole.
    async fn first_whole<T, F>(&self, wanted: &SegmentEntry, take: impl Fn(Stored) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut trouble = None;
        for copy in self.copies() {
            let Some(entry) = copy.segment(wanted.base).filter(|entry| entry.digest == wanted.digest) else { continue };
            match take(Stored::new(self, copy, entry)).await {
                // Another store does not help if the disk here is full.
                taken @ (Ok(_) | Err(Error::Io { .. })) => return taken,
                Err(error) => {
                    tracing::warn!(store = copy.store.label(), %error, "another store is asked");
                    trouble = Some(Error::or(trouble, error));
                }
            }
        }
        Err(trouble.expect("the store whose plan it is was asked"))
    }

    /// Lays out what can be had of the segment that is not sealed yet.
    async fn lay_tail(&self, plan: &FetchPlan, dir: &Path) -> Result<Laid> {
        let Tail { bytes, objects, stored, lost } = self.tail(&plan.tail).await?;
        if let Some(first) = plan.tail.first().filter(|_| !bytes.is_empty()) {
            let (path, len) = (dir.join(plan.size.file_name(Lsn::new(first.start))), plan.size.get());
            let written = move || {
                let mut file = Partial::create(path)?;
                file.write(&bytes)?;
                file.complete(len)
            };
            blocking(written).await?;
        }
        Ok(Laid { objects, bytes: stored, lost })
    }

    /// Makes a log of the files up to an end.
    fn adopt(&self, plan: &FetchPlan, end: Lsn, directory: &Arc<dyn Directory>, dir: &Path) -> Result<()> {
        let facts = self.facts();
        let path = dir.join(facts.size.file_name(plan.first));
        let mut head = vec![0; SegmentHeader::LEN];
        let read = File::open(&path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (store, log) = (plan.store.clone(), self.name().clone());
                return Err(Error::Unreachable {
                    store,
                    log,
                    wanted: plan.first,
                    first: plan.first,
                    end: plan.archived,
                });
            }
            read => read.map_err(io(&path))?,
        }
        let header = SegmentHeader::decode(&head).map_err(|fault| Error::Corrupt {
            store: plan.store.clone(),
            object: path.display().to_string(),
            what: fault.to_string(),
        })?;
        let before = match plan.before {
            Some(before) => before,
            None => {
                let footer = footer(&path, plan.size.base_of(plan.first), plan.size);
                footer.ok_or_else(|| self.place(self.best()).corrupt(MANIFEST, NO_PREDECESSOR.to_owned()))?.previous
            }
        };
        let spec = FollowerSpec { header, before, policies: facts.policies.clone() };
        Ok(Wal::adopt(directory, &spec, &facts.history, end)?)
    }
}

/// The footer of a sealed segment, if it is whole.
fn footer(path: &Path, base: Lsn, size: SegmentSize) -> Option<Footer> {
    let mut trailer = [0; Footer::TRAILER_LEN];
    let at = size.get() - Footer::TRAILER_LEN as u64;
    File::open(path).and_then(|file| file.read_exact_at(&mut trailer, at)).ok()?;
    Footer::decode(&trailer, base, size).ok()
}

/// Whether a segment is here already. What has a footer was checked before it got its name.
fn is_here(path: &Path, wanted: &SegmentEntry, size: SegmentSize) -> bool {
    footer(path, Lsn::new(wanted.base), size).is_some_and(|footer| footer.digest.to_string() == wanted.digest)
}

const NO_PREDECESSOR: &str = "nothing tells the digest of the segment before the first that is needed";

/// Writes a segment to where it belongs, if it is what was sealed.
async fn lay(segment: Stored, path: PathBuf) -> Result<()> {
    let body = segment.body().await?;
    blocking(move || {
        let mut file = Partial::create(path)?;
        segment.check(body, |piece| file.write(piece))?;
        file.complete(segment.size().get())
    })
    .await
}

/// A whole segment, if it is what was sealed.
async fn read(segment: Stored) -> Result<Vec<u8>> {
    let body = segment.body().await?;
    blocking(move || {
        let mut bytes = Vec::with_capacity(segment.size().get() as usize);
        segment.check(body, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    })
    .await
}

/// The bytes of a tail object.
pub(crate) async fn tail_object(place: &Place<'_>, entry: &TailEntry) -> Result<Vec<u8>> {
    let Some((object, _)) = place.store.get(&place.name(&entry.object)).await? else {
        let (store, object) = (place.store.label().to_owned(), place.name(&entry.object));
        return Err(Error::Missing { store, object, start: Lsn::new(entry.start), end: Lsn::new(entry.end) });
    };
    let len = entry.end.saturating_sub(entry.start);
    if SegmentSize::MAX.get() < len {
        return Err(place.corrupt(MANIFEST, format!("a piece of its tail would be {len} bytes long")));
    }
    let bytes = place.unseal(&entry.object, &object, len)?;
    match bytes.len() as u64 == len {
        true => Ok(bytes),
        false => Err(place.corrupt(&entry.object, format!("it holds {} bytes instead of {len}", bytes.len()))),
    }
}
