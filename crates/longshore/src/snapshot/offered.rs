//! The snapshots that a log's agent sends: one file, made when it is asked for, kept as long as it is of use.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use longshore_apply::{SnapshotError, Snapshotter};
use longshore_format::{ErrorKind, Lsn};
use longshore_transport::{Snapshot, SnapshotPlace};

use super::file::{SnapshotHead, SnapshotWriter};
use crate::chunks;
use crate::error::{Error, Result};
use crate::log::Log;

/// What a log offers to replicas that it no longer reaches.
#[derive(Default)]
pub(crate) struct Offered {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    snapshotter: Option<Arc<dyn Snapshotter>>,
    /// When the file was last asked for.
    asked: Option<Duration>,
}

/// How long a file is kept that nobody asks for.
const KEPT: Duration = Duration::from_secs(600);
/// A file is made anew when the log has grown since by more than itself, and at least by this.
const FRESH: u64 = 64 << 20;
/// How much is written between two looks at the free space.
const LOOK: u64 = 16 << 20;

impl Offered {
    pub(crate) fn set(&self, snapshotter: Arc<dyn Snapshotter>) {
        self.lock().snapshotter = Some(snapshotter);
    }

    /// The snapshot that was begun at `resume`, from there on, or another. Making one takes as long as copying the database.
    pub(crate) fn open(&self, log: &Log, path: &Path, resume: Option<SnapshotPlace>) -> Result<Snapshot> {
        // Held throughout: two that ask at once get the same one.
        let mut state = self.lock();
        let snapshotter = state.snapshotter.clone().ok_or(Error::NotOffered { what: "a snapshot of this log" })?;
        state.asked = Some(log.now());
        let head = match self.usable(log, path, resume) {
            Some(head) => head,
            None => make(log, &*snapshotter, path)?,
        };
        let failed = |error| Error::io("read a snapshot", path, error);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let offset = resume.filter(|place| place.position == head.lsn && place.offset <= len);
        let offset = offset.map_or(0, |place| place.offset);
        let owned = path.to_owned();
        let read = move |piece: &mut [u8], at| {
            file.read_at(piece, at).map_err(|error| Error::io("read a snapshot", &owned, error))
        };
        let place = SnapshotPlace { position: head.lsn, offset };
        Ok(Snapshot { place, len, chunks: chunks::stream(read, offset, len) })
    }

    /// The snapshot as it is now, for an archive, if it holds more than everything up to `beyond`; `None` if none can be made.
    pub(crate) fn for_archive(&self, log: &Log, path: &Path, beyond: Lsn) -> Result<Option<(SnapshotHead, File)>> {
        let mut state = self.lock();
        let Some(snapshotter) = state.snapshotter.clone() else { return Ok(None) };
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

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
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
