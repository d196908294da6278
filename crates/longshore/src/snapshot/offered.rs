//! The snapshots that a log's agent sends: one file, made when it is asked for, kept as long as it is of use.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use longshore_apply::{SnapshotError, Snapshotter};
use longshore_format::{ErrorKind, Lsn};
use longshore_transport::{BoxStream, RecordOutline, Snapshot, SnapshotOutline, SnapshotPlace};

use super::file::{HEAD_LEN, SnapshotHead, SnapshotReader, SnapshotWriter, digest_of};
use crate::chunks;
use crate::error::{Error, Result};
use crate::log::Log;

/// What a log offers to replicas that it no longer reaches.
#[derive(Default)]
pub(crate) struct Offered {
    /// Apart from the state, which is locked for as long as a snapshot takes: a capture that begins meanwhile does not wait.
    snapshotter: Mutex<Option<Arc<dyn Snapshotter>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the file was last asked for.
    asked: Option<Duration>,
}

/// How long a file is kept that nobody asks for.
const KEPT: Duration = Duration::from_secs(600);
/// A file is made anew when the log has grown since by more than itself, and at least by this.
const FRESH: u64 = 64 << 20;
/// How much of a file one answer outlines: whoever asks has something to compare soon.
const OUTLINED_AT_ONCE: usize = 64 << 20;
/// How much is written between two looks at the free space.
const LOOK: u64 = 16 << 20;

impl Offered {
    pub(crate) fn set(&self, snapshotter: Arc<dyn Snapshotter>) {
        *crate::lock(&self.snapshotter) = Some(snapshotter);
    }

    /// Whether anything makes snapshots.
    pub(crate) fn is_set(&self) -> bool {
        crate::lock(&self.snapshotter).is_some()
    }

    /// The snapshot that was begun at `resume`, from there on, or another. Making one takes as long as copying the database.
    pub(crate) fn open(&self, log: &Log, path: &Path, resume: Option<SnapshotPlace>) -> Result<Snapshot> {
        let (head, file, len) = self.file(log, path, resume)?;
        let place = place(head, len, resume, 0);
        let whole = place.offset..len;
        Ok(Snapshot { place, len, chunks: send(path, file, &[whole]) })
    }

    /// The next records of the outline that was begun at `resume`, or another's first ones: at most `most`. They are read for it:
    /// another file would have to be kept beside each snapshot, and most are never asked for theirs.
    pub(crate) fn outline(
        &self,
        log: &Log,
        path: &Path,
        resume: Option<SnapshotPlace>,
        most: usize,
    ) -> Result<SnapshotOutline> {
        let (head, file, len) = self.file(log, path, resume)?;
        let place = place(head, len, resume, HEAD_LEN as u64);
        let mut reader = SnapshotReader::at(path, file, head, place.offset)?;
        let (mut records, mut payload, mut read) = (Vec::new(), Vec::new(), 0);
        while records.len() < most && read < OUTLINED_AT_ONCE {
            let Some(bytes) = reader.next_payload(&mut payload)? else { break };
            records.push(RecordOutline { len: bytes as u32, digest: digest_of(&payload) });
            read += bytes;
        }
        Ok(SnapshotOutline { place, len, records })
    }

    /// Parts of the snapshot at `position`, if that is still there.
    pub(crate) fn ranges(
        &self,
        log: &Log,
        path: &Path,
        position: Lsn,
        ranges: &[Range<u64>],
    ) -> Result<BoxStream<Bytes>> {
        let mut state = self.lock();
        state.asked = Some(log.now());
        let resume = SnapshotPlace { position, offset: 0 };
        self.usable(log, path, Some(resume)).filter(|head| head.lsn == position).ok_or_else(|| gone(log, position))?;
        let (file, len) = opened(path)?;
        match ranges.last() {
            Some(last) if len < last.end => Err(Error::Refused {
                kind: ErrorKind::Invalid,
                reason: format!("a part of a snapshot of {len} bytes that ends at {}; ask for its outline", last.end),
                at: None,
            }),
            _ => Ok(send(path, file, ranges)),
        }
    }

    /// The file that is there, if it can be gone on with, or a new one.
    fn file(&self, log: &Log, path: &Path, resume: Option<SnapshotPlace>) -> Result<(SnapshotHead, File, u64)> {
        // Held throughout: two that ask at once get the same one.
        let mut state = self.lock();
        let snapshotter = self.snapshotter().ok_or(Error::NotOffered { what: "a snapshot of this log" })?;
        state.asked = Some(log.now());
        let head = match self.usable(log, path, resume) {
            Some(head) => head,
            None => make(log, &*snapshotter, path)?,
        };
        let (file, len) = opened(path)?;
        Ok((head, file, len))
    }

    /// The snapshot as it is now, for an archive, if it holds more than everything up to `beyond`; `None` if none can be made.
    pub(crate) fn for_archive(&self, log: &Log, path: &Path, beyond: Lsn) -> Result<Option<(SnapshotHead, File)>> {
        let mut state = self.lock();
        let Some(snapshotter) = self.snapshotter() else { return Ok(None) };
        state.asked = Some(log.now());
        let head = match self.usable(log, path, None).filter(|head| beyond < head.lsn) {
            Some(head) => head,
            None => make(log, &*snapshotter, path)?,
        };
        let file = File::open(path).map_err(|error| Error::io("read a snapshot", path, error))?;
        Ok((beyond < head.lsn).then_some((head, file)))
    }

    /// Removes a file that nobody has asked for in a while, also one of an earlier life of the agent.
    pub(crate) fn tidy(&self, log: &Log, path: &Path) {
        // Held by whoever makes a file, which takes long; whoever keeps house has other logs to look after.
        let Ok(mut state) = self.state.try_lock() else { return };
        let now = log.now();
        let asked = *state.asked.get_or_insert(now);
        if KEPT < now.saturating_sub(asked) && path.exists() {
            // Otherwise the next turn tries again.
            let _removed = std::fs::remove_file(path);
        }
    }

    /// The file that is there, if a replica can go on from it.
    fn usable(&self, log: &Log, path: &Path, resume: Option<SnapshotPlace>) -> Option<SnapshotHead> {
        let head = SnapshotHead::of(path).ok()?;
        if head.log != log.wal.id() || head.lsn < log.wal.first() || log.wal.crc_at(head.lsn).ok()? != head.link {
            return None;
        }
        let len = path.metadata().ok()?.len();
        let grown = log.wal.durable().get().since(head.lsn);
        let asked_for = resume.is_some_and(|place| place.position == head.lsn);
        (asked_for || grown <= len.max(FRESH)).then_some(head)
    }

    fn snapshotter(&self) -> Option<Arc<dyn Snapshotter>> {
        crate::lock(&self.snapshotter).clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

fn opened(path: &Path) -> Result<(File, u64)> {
    let failed = |error| Error::io("read a snapshot", path, error);
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    Ok((file, len))
}

/// Where to go on with a file: at `resume`, if that was begun, else where it begins.
fn place(head: SnapshotHead, len: u64, resume: Option<SnapshotPlace>, begin: u64) -> SnapshotPlace {
    let here = |place: &SnapshotPlace| place.position == head.lsn && (begin..=len).contains(&place.offset);
    SnapshotPlace { position: head.lsn, offset: resume.filter(here).map_or(begin, |place| place.offset) }
}

/// Parts of a file on their way, one after the other.
fn send(path: &Path, file: File, ranges: &[Range<u64>]) -> BoxStream<Bytes> {
    let mut parts = Vec::with_capacity(ranges.len());
    let mut len = 0;
    for range in ranges {
        parts.push((len, range.clone()));
        len += range.end - range.start;
    }
    let owned = path.to_owned();
    let read = move |piece: &mut [u8], at: u64| {
        let (before, range) = &parts[parts.partition_point(|(before, _)| *before <= at) - 1];
        let from = range.start + (at - before);
        let here = piece.len().min(usize::try_from(range.end - from).unwrap_or(usize::MAX));
        file.read_at(&mut piece[..here], from).map_err(|error| Error::io("read a snapshot", &owned, error))
    };
    chunks::stream(read, 0, len)
}

fn gone(log: &Log, position: Lsn) -> Error {
    let reason = format!("the snapshot of log {} at {position} is no longer kept; ask for another", log.name);
    Error::Refused { kind: ErrorKind::NotFound, reason, at: Some(position) }
}

/// Makes the file. Until it is whole it has another name.
fn make(log: &Log, snapshotter: &dyn Snapshotter, path: &Path) -> Result<SnapshotHead> {
    let mut image = snapshotter.begin().map_err(cannot)?;
    let lsn = image.position();
    let head = SnapshotHead { log: log.wal.id(), lsn, link: log.wal.crc_at(lsn)?, time: log.environment.wall_micros() };
    let unfinished = Unfinished(path.with_extension("snapshot-new"));
    let mut writer = SnapshotWriter::create(&unfinished.0, &head)?;
    let (mut written, mut looked) = (0, 0);
    while let Some(payload) = image.next_payload().map_err(cannot)? {
        writer.payload(&payload)?;
        written += payload.len() as u64;
        if LOOK <= written - looked {
            looked = written;
            check_room(log, written)?;
        }
    }
    writer.finish()?;
    std::fs::rename(&unfinished.0, path).map_err(|error| Error::io("name a snapshot", path, error))?;
    tracing::info!(log = %log.name, position = %lsn, bytes = written, "made a snapshot");
    Ok(head)
}

/// The volume is the log's before it is a snapshot's.
fn check_room(log: &Log, written: u64) -> Result<()> {
    let (free, kept) = (log.wal.pressure().disk_free, log.min_free());
    match free {
        Some(free) if free < kept => Err(Error::Refused {
            kind: ErrorKind::Full,
            reason: format!(
                "a snapshot of log {} would leave less than {kept} bytes free after {written} bytes; free space on the \
                 volume of its data directory",
                log.name
            ),
            at: None,
        }),
        _ => Ok(()),
    }
}

fn cannot(error: SnapshotError) -> Error {
    let reason = format!("a snapshot cannot be made now: {error}");
    Error::Refused { kind: ErrorKind::Unavailable, reason, at: None }
}

/// A file that is removed unless it got another name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _named_by_now = std::fs::remove_file(&self.0);
    }
}

/// Where the snapshot of a log is, beside the log's own directory.
pub(crate) fn path_of(data_dir: &Path, log: &longshore_format::Name) -> PathBuf {
    data_dir.join(format!("{log}.snapshot"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use longshore_apply::DatabaseImage;

    use super::*;

    struct Never;

    impl Snapshotter for Never {
        fn begin(&self) -> Result<Box<dyn DatabaseImage>, SnapshotError> {
            Err("nothing to make one of".into())
        }
    }

    #[test]
    fn who_makes_snapshots_is_told_while_one_is_made() {
        let offered = Arc::new(Offered::default());
        let making = offered.lock();
        let (told, hear) = channel();
        let teller = Arc::clone(&offered);
        std::thread::spawn(move || {
            teller.set(Arc::new(Never));
            told.send(())
        });
        hear.recv_timeout(Duration::from_secs(10)).expect("it does not wait for the snapshot");
        assert!(offered.snapshotter().is_some());
        drop(making);
    }
}
