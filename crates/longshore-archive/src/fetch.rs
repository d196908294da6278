//! Segments out of the archive, laid out as a directory that is an ordinary log.
//!
//! What was fetched is checked before it gets its name, so that a file with a segment's name is that segment: an interrupted
//! fetch goes on where it was.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use longshore_format::{Lsn, SegmentDigest, SegmentHeader, SegmentSize};
use longshore_storage::{Directory, FsDirectory};
use longshore_wal::{FollowerSpec, Wal};

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::manifest::{SegmentEntry, TailEntry};

/// How much of the log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// All of it.
    End,
    /// Up to a position, and the transaction that it lies in.
    Position(Lsn),
    /// Everything that was written until then, microseconds UTC.
    Time(u64),
}

/// What would be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPlan {
    /// The store that reaches furthest.
    pub store: String,
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

/// What may be in memory at once for segments on their way.
const IN_FLIGHT: u64 = 160 << 20;

impl FetchPlan {
    /// How many objects are fetched.
    pub fn objects(&self) -> u64 {
        (self.segments.len() + self.tail.len()) as u64
    }

    /// How many of them are sealed segments.
    pub fn segments(&self) -> u64 {
        self.segments.len() as u64
    }
}

impl Archive {
    /// Says what is to be fetched so that the log can be read from its first archived position, at least up to `until`.
    ///
    /// # Errors
    /// [`Error::Unreachable`] names what can be had.
    pub fn plan(&self, until: Until) -> Result<FetchPlan> {
        let best = self.best();
        let (first, archived) = (self.first(), self.end());
        if let Until::Position(wanted) = until
            && !(first..=archived).contains(&wanted)
        {
            let (store, log) = (best.store.label().to_owned(), self.name().clone());
            return Err(Error::Unreachable { store, log, wanted, first, end: archived });
        }
        let size = self.facts().size;
        // A run that begins before the target may end after it: where it ends is seen in the next segment at the latest.
        let needed = |start: u64, time: u64| match until {
            Until::End => true,
            Until::Position(wanted) => start <= wanted.get().saturating_add(size.get()),
            Until::Time(wanted) => time <= wanted,
        };
        let mut segments: Vec<SegmentEntry> = Vec::new();
        let mut over = 0;
        for entry in &best.segments {
            if !needed(entry.base, entry.time) {
                over += 1;
            }
            if 1 < over {
                break;
            }
            segments.push(entry.clone());
        }
        let tail = if over < 2 { best.manifest.tail().to_vec() } else { Vec::new() };
        let after = segments.last().map_or(first, |last| size.first_in(Lsn::new(last.base.saturating_add(size.get()))));
        let end = tail.last().map_or(after, |last| Lsn::new(last.end));
        let bytes = segments.iter().map(|entry| entry.bytes).chain(tail.iter().map(|entry| entry.bytes)).sum();
        let space = (segments.len() as u64 + u64::from(!tail.is_empty())) * size.get();
        Ok(FetchPlan { store: best.store.label().to_owned(), first, end, archived, bytes, space, segments, tail })
    }

    /// Fetches what was planned into `dir`, which becomes an ordinary log; `watch` is told of each object.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Corrupt`] name what no store has whole; [`Error::Io`]; what the stores say. What was
    /// fetched stays, and the next fetch goes on from there.
    pub async fn fetch(&self, plan: &FetchPlan, dir: &Path, mut watch: impl FnMut(Fetched)) -> Result<()> {
        let directory = FsDirectory::create(dir).map_err(io(dir))?;
        let size = self.facts().size;
        let parallel = usize::try_from((IN_FLIGHT / (2 * size.get())).clamp(1, 16)).unwrap_or(1);
        let mut fetched = Fetched { objects: 0, of: plan.objects(), bytes: 0 };
        let wanted = plan.segments.iter().map(|entry| self.lay_segment(entry, dir));
        let mut running = futures_util::stream::iter(wanted).buffered(parallel);
        while let Some(bytes) = running.next().await {
            fetched.objects += 1;
            fetched.bytes += bytes?;
            watch(fetched);
        }
        if let Some(first) = plan.tail.first() {
            let path = dir.join(size.file_name(Lsn::new(first.start)));
            let mut bytes = Vec::new();
            for entry in &plan.tail {
                bytes.extend_from_slice(&self.tail_bytes(entry, Lsn::new(first.start), bytes.len()).await?);
                fetched.objects += 1;
                fetched.bytes += entry.bytes;
                watch(fetched);
            }
            write(&path, &bytes, size.get()).map_err(io(&path))?;
        }
        self.adopt(plan, directory, dir)
    }

    /// Fetches one segment unless it is here; how many bytes that were.
    async fn lay_segment(&self, entry: &SegmentEntry, dir: &Path) -> Result<u64> {
        let size = self.facts().size;
        let path = dir.join(size.file_name(Lsn::new(entry.base)));
        if path.metadata().is_ok_and(|there| there.len() == size.get()) {
            return Ok(entry.bytes);
        }
        let bytes = self.segment_bytes(entry).await?;
        let written = tokio::task::spawn_blocking({
            let path = path.clone();
            move || write(&path, &bytes, size.get())
        });
        written.await.map_err(std::io::Error::other).and_then(|written| written).map_err(io(&path))?;
        Ok(entry.bytes)
    }

    /// A segment, from the first store that has it whole.
    pub(crate) async fn segment_bytes(&self, wanted: &SegmentEntry) -> Result<Vec<u8>> {
        let size = self.facts().size;
        let mut trouble = None;
        for copy in self.copies() {
            let Some(entry) = copy.segment(wanted.base).filter(|entry| entry.digest == wanted.digest) else { continue };
            let place = self.place(copy);
            match checked_segment(&place, entry, size).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => {
                    tracing::warn!(store = copy.store.label(), %error, "another store is asked");
                    trouble = trouble.or(Some(error));
                }
            }
        }
        Err(trouble.expect("the store whose plan it is was asked"))
    }

    async fn tail_bytes(&self, entry: &TailEntry, base: Lsn, at: usize) -> Result<Vec<u8>> {
        let place = self.place(self.best());
        let len = entry.end.saturating_sub(entry.start);
        if entry.start != base.get() + at as u64 || self.facts().size.get() < len {
            return Err(place.corrupt(crate::manifest::MANIFEST, format!("its tail does not join at {}", entry.start)));
        }
        let bytes = tail_object(&place, entry).await?;
        match bytes.len() as u64 == len {
            true => Ok(bytes),
            false => Err(place.corrupt(&entry.object, format!("it holds {} bytes instead of {len}", bytes.len()))),
        }
    }

    /// Makes a log of the files.
    fn adopt(&self, plan: &FetchPlan, directory: FsDirectory, dir: &Path) -> Result<()> {
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
        let spec = FollowerSpec { header, before: facts.before };
        let directory: std::sync::Arc<dyn Directory> = std::sync::Arc::new(directory);
        match Wal::adopt(&directory, &spec, &facts.history, plan.end) {
            // Laid out before, by a fetch that was interrupted afterwards.
            Err(longshore_wal::Error::Exists { .. }) => Ok(()),
            adopted => Ok(adopted?),
        }
    }
}

/// A segment as it was sealed, or what is wrong with it.
pub(crate) async fn checked_segment(
    place: &crate::manifest::Place<'_>,
    entry: &SegmentEntry,
    size: SegmentSize,
) -> Result<Vec<u8>> {
    let Some((object, _)) = place.store.get(&place.name(&entry.object)).await? else {
        let (start, end) = (Lsn::new(entry.base), Lsn::new(entry.base.saturating_add(size.get())));
        let store = place.store.label().to_owned();
        return Err(Error::Missing { store, object: place.name(&entry.object), start, end });
    };
    let bytes = place.unseal(&entry.object, &object, size.get())?;
    if bytes.len() as u64 != size.get() {
        return Err(place.corrupt(&entry.object, format!("it holds {} bytes and not a whole segment", bytes.len())));
    }
    let digest = SegmentDigest::of(&bytes[..size.body_end_offset() as usize]);
    match digest.to_string() == entry.digest {
        true => Ok(bytes),
        false => Err(place.corrupt(&entry.object, format!("its digest is {digest} instead of {}", entry.digest))),
    }
}

/// The bytes of a tail object.
pub(crate) async fn tail_object(place: &crate::manifest::Place<'_>, entry: &TailEntry) -> Result<Vec<u8>> {
    let Some((object, _)) = place.store.get(&place.name(&entry.object)).await? else {
        let (store, object) = (place.store.label().to_owned(), place.name(&entry.object));
        return Err(Error::Missing { store, object, start: Lsn::new(entry.start), end: Lsn::new(entry.end) });
    };
    place.unseal(&entry.object, &object, entry.end.saturating_sub(entry.start))
}

/// Writes a file of `len` bytes that begins with these, durably, and then gives it its name.
fn write(path: &Path, bytes: &[u8], len: u64) -> std::io::Result<()> {
    let temporary = PathBuf::from(format!("{}.partial", path.display()));
    let mut file = private(&temporary)?;
    file.write_all(bytes)?;
    file.set_len(len)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

fn private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}
