//! Segments out of the archive, laid out as a directory that is an ordinary log.
//!
//! What was fetched is checked before it gets its name, so that a file with a segment's name is that segment: an interrupted
//! fetch goes on where it was.

mod partial;
pub(crate) mod segment;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::Either;
use longshore_format::{Digest, Footer, Lsn, SegmentHeader, SegmentSize};
use longshore_storage::{Directory, FsDirectory};
use longshore_wal::{FollowerSpec, Wal};

use crate::archive::Archive;
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::files::io;
use crate::manifest::{MANIFEST, SegmentEntry, SnapshotEntry, TailEntry};
use crate::place::Place;
use partial::Partial;
use segment::Stored;

/// How much of the log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// All of it.
    End,
    /// Up to a position, and the transaction that it lies in.
    Position(Lsn),
    /// Everything that was written until then, microseconds UTC.
    Time(u64),
    /// All of it, from as early as possible: where something is shows only when it is read.
    Somewhere,
}

/// Where it is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the first record that is archived.
    First,
    /// With the last snapshot that holds nothing beyond the target, if there is one.
    Snapshot(Reach),
}

/// Whether what stands at a target itself belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It does.
    Upto,
    /// It does not.
    Before,
}

/// What would be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPlan {
    /// The store that reaches furthest.
    pub store: String,
    /// What it begins with, if not with the log's own records.
    pub snapshot: Option<SnapshotEntry>,
    /// Where the log that is laid out begins.
    pub first: Lsn,
    /// And where it ends: a boundary.
    pub end: Lsn,
    /// Where the archive ends.
    pub archived: Lsn,
    /// Bytes that are fetched.
    pub bytes: u64,
    /// Bytes that it takes here while it is restored.
    pub space: u64,
    before: Digest,
    segments: Vec<SegmentEntry>,
    tail: Vec<TailEntry>,
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

/// Tail objects that are fetched together: most are small, and a request takes longer than they do.
pub(crate) const TAIL_AT_ONCE: usize = 16;

impl FetchPlan {
    /// How many objects are fetched.
    pub fn objects(&self) -> u64 {
        (self.segments.len() + self.tail.len()) as u64
    }

    pub(crate) fn wanted(&self) -> &[SegmentEntry] {
        &self.segments
    }

    /// How many of them are sealed segments.
    pub fn segments(&self) -> u64 {
        self.segments.len() as u64
    }
}

impl Archive {
    /// Says what is to be fetched so that the log can be read at least up to `until`: from its first archived position, or from
    /// a snapshot that whoever applies it was asked to begin with.
    ///
    /// # Errors
    /// [`Error::Unreachable`] names what can be had.
    pub fn plan(&self, until: Until, begin: Begin) -> Result<FetchPlan> {
        let best = self.best();
        let (first, archived) = (self.first(), self.end());
        let snapshot = match begin {
            Begin::First => None,
            Begin::Snapshot(reach) => best.snapshot(until, reach).cloned(),
        };
        if let (None, Begin::Snapshot(_), false) = (&snapshot, begin, best.manifest.is_whole()) {
            self.check_beginning(until)?;
        }
        if let Until::Position(wanted) = until
            && !(first..=archived).contains(&wanted)
        {
            let (store, log) = (best.store.label().to_owned(), self.name().clone());
            return Err(Error::Unreachable { store, log, wanted, first, end: archived });
        }
        let size = self.facts().size;
        let from = snapshot.as_ref().map_or(first, |entry| Lsn::new(entry.position));
        let skipped = best.segments.iter().take_while(|entry| entry.base < size.base_of(from).get()).count();
        // A run that begins before the target may end after it: where it ends is seen in the next segment at the latest.
        let needed = |start: u64, time: u64| match until {
            Until::End | Until::Somewhere => true,
            Until::Position(wanted) => start <= wanted.get().saturating_add(size.get()),
            Until::Time(wanted) => time <= wanted,
        };
        let mut segments: Vec<SegmentEntry> = Vec::new();
        let mut over = 0;
        for entry in &best.segments[skipped..] {
            if !needed(entry.base, entry.time) {
                over += 1;
            }
            if 1 < over {
                break;
            }
            segments.push(entry.clone());
        }
        self.check_known(size.base_of(from), &segments, over < 2)?;
        let tail = if over < 2 { best.manifest.tail().to_vec() } else { Vec::new() };
        let begins = size.first_in(size.base_of(from)).max(first);
        let after =
            segments.last().map_or(begins, |last| size.first_in(Lsn::new(last.base.saturating_add(size.get()))));
        let end = tail.last().map_or(after, |last| Lsn::new(last.end));
        let objects = segments.iter().map(|entry| entry.bytes).chain(tail.iter().map(|entry| entry.bytes));
        let bytes = objects.chain(snapshot.iter().map(|entry| entry.bytes)).fold(0, u64::saturating_add);
        let files = segments.len() as u64 + u64::from(!tail.is_empty());
        let space = files.saturating_mul(size.get()).saturating_add(snapshot.as_ref().map_or(0, |entry| entry.len));
        let before = self.digest_before(size.base_of(from))?;
        let store = best.store.label().to_owned();
        Ok(FetchPlan { store, snapshot, first: begins, end, archived, bytes, space, before, segments, tail })
    }

    /// Without a snapshot nothing can be made of a log that has lost its beginning: what comes before the first one is refused.
    fn check_beginning(&self, until: Until) -> Result<()> {
        let Some(oldest) = self.best().manifest.snapshots.first() else { return Ok(()) };
        let (store, log, nearest) = (self.store().to_owned(), self.name().clone(), Lsn::new(oldest.position));
        match until {
            Until::End | Until::Somewhere => Ok(()),
            Until::Position(wanted) => Err(Error::Unreachable { store, log, wanted, first: nearest, end: self.end() }),
            Until::Time(wanted) => Err(Error::Moment { store, log, wanted, nearest, time: oldest.time }),
        }
    }

    /// Refuses a plan for segments of which one between the first and the last, or the archive's end, is not known any more.
    fn check_known(&self, first: Lsn, planned: &[SegmentEntry], to_the_end: bool) -> Result<()> {
        let (best, size) = (self.best(), self.facts().size.get());
        let mut expected = first;
        for entry in planned {
            if entry.base != expected.get() {
                return best.check_known(expected, self.name());
            }
            expected = Lsn::new(expected.get().saturating_add(size));
        }
        if to_the_end { best.check_known(expected, self.name()) } else { Ok(()) }
    }

    /// The digest of the segment before the one at a base.
    fn digest_before(&self, base: Lsn) -> Result<Digest> {
        let (best, size) = (self.best(), self.facts().size);
        if base <= size.base_of(self.first()) {
            return Ok(self.facts().before);
        }
        let before = Lsn::new(base.get().saturating_sub(size.get()));
        best.check_known(before, self.name())?;
        let digest = best.segment(before.get()).and_then(|entry| entry.digest.parse().ok());
        digest.ok_or_else(|| self.place(best).corrupt(MANIFEST, "the digest of a segment cannot be".to_owned()))
    }

    /// Fetches what was planned into `dir`, which becomes an ordinary log; `watch` is told of each object. The directory is
    /// locked meanwhile, as a log is that somebody has open.
    ///
    /// Cancel safe: what was fetched stays, and the next fetch goes on from there.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Corrupt`] name what no store has whole; [`Error::Io`]; what the stores say. What was
    /// fetched stays.
    pub async fn fetch(&self, plan: &FetchPlan, dir: &Path, mut watch: impl FnMut(Fetched)) -> Result<()> {
        let directory: Arc<dyn Directory> = Arc::new(FsDirectory::create(dir).map_err(io(dir))?);
        let _lock = directory.lock().map_err(io(dir))?;
        partial::clear(dir)?;
        self.clear_others(plan, &directory, dir)?;
        let mut fetched = Fetched { objects: 0, of: plan.objects(), bytes: 0 };
        // The tail first: nothing is left to fetch while the last files are synced.
        let tail = Either::Left(self.lay_tail(plan, dir));
        // Collected first: a closure that borrows would keep this from being sent between threads.
        let mut pieces = vec![tail];
        for entry in &plan.segments {
            pieces.push(Either::Right(self.lay_segment(entry, dir)));
        }
        let mut laid = futures_util::stream::iter(pieces).buffer_unordered(segment::at_once(self.facts().size));
        while let Some(laid) = laid.next().await {
            let (objects, bytes) = laid?;
            fetched.objects += objects;
            fetched.bytes += bytes;
            watch(fetched);
        }
        self.adopt(plan, &directory, dir)
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

    /// Fetches one segment unless it is here, from the first store that has it whole; how many objects and bytes that were.
    async fn lay_segment(&self, wanted: &SegmentEntry, dir: &Path) -> Result<(u64, u64)> {
        let size = self.facts().size;
        let path = dir.join(size.file_name(Lsn::new(wanted.base)));
        if is_here(&path, wanted, size) {
            return Ok((1, wanted.bytes));
        }
        self.first_whole(wanted, |segment| lay(segment, path.clone())).await?;
        Ok((1, wanted.bytes))
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
                    trouble = trouble.or(Some(error));
                }
            }
        }
        Err(trouble.expect("the store whose plan it is was asked"))
    }

    /// A tail object, from the first store that has it whole: wherever it lies, its name says what it holds.
    pub(crate) async fn tail_from_any(&self, entry: &TailEntry) -> Result<Vec<u8>> {
        let mut trouble = None;
        for copy in self.copies() {
            match tail_object(&self.place(copy), entry).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        Err(trouble.expect("an archive has a copy"))
    }

    /// Joins the objects of the segment that is not sealed yet.
    async fn lay_tail(&self, plan: &FetchPlan, dir: &Path) -> Result<(u64, u64)> {
        let (place, size) = (self.place(self.best()), self.facts().size);
        let Some(first) = plan.tail.first() else { return Ok((0, 0)) };
        let mut objects = Vec::new();
        for entry in &plan.tail {
            objects.push(self.tail_from_any(entry));
        }
        let mut objects = futures_util::stream::iter(objects).buffered(TAIL_AT_ONCE);
        let mut bytes = Vec::new();
        for entry in &plan.tail {
            let more = objects.next().await.expect("each object is fetched")?;
            if entry.start != first.start + bytes.len() as u64 || size.get() < entry.end.saturating_sub(first.start) {
                let what = format!("its tail does not join at {}", entry.start);
                return Err(place.corrupt(MANIFEST, what));
            }
            bytes.extend_from_slice(&more);
        }
        let path = dir.join(size.file_name(Lsn::new(first.start)));
        let written = move || {
            let mut file = Partial::create(path)?;
            file.write(&bytes)?;
            file.complete(size.get())
        };
        blocking(written).await?;
        Ok((plan.tail.len() as u64, plan.tail.iter().map(|entry| entry.bytes).sum()))
    }

    /// Makes a log of the files.
    fn adopt(&self, plan: &FetchPlan, directory: &Arc<dyn Directory>, dir: &Path) -> Result<()> {
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
        let spec = FollowerSpec { header, before: plan.before, policies: facts.policies.clone() };
        Ok(Wal::adopt(directory, &spec, &facts.history, plan.end)?)
    }
}

/// Whether a segment is here already. What has a footer was checked before it got its name.
fn is_here(path: &Path, wanted: &SegmentEntry, size: SegmentSize) -> bool {
    let mut trailer = [0; Footer::TRAILER_LEN];
    let at = size.get() - Footer::TRAILER_LEN as u64;
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut trailer, at));
    let footer = read.ok().and_then(|()| Footer::decode(&trailer, Lsn::new(wanted.base), size).ok());
    footer.is_some_and(|footer| footer.digest.to_string() == wanted.digest)
}

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
