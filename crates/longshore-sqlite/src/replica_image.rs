//! Snapshots of a database that a log is applied to, while it is applied and read.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use longshore_apply::{DatabaseImage, SnapshotError, Snapshotter};
use longshore_format::Lsn;

use crate::error::Error;
use crate::pages::{Commit, ImageRun, WalPlace};
use crate::verify::{At, Database, Side, Snapshot};

/// Makes snapshots of the database of a [`PageSink`](crate::PageSink), for replicas of this replica and for archives. Nobody
/// waits for it: neither who reads the database nor who applies to it, whose `-wal` grows meanwhile.
#[derive(Debug)]
pub struct ReplicaSnapshotter {
    path: PathBuf,
    longest: usize,
}

impl ReplicaSnapshotter {
    /// Of the database at `path`, in payloads of at most `longest` bytes.
    pub fn new(path: impl AsRef<Path>, longest: usize) -> ReplicaSnapshotter {
        ReplicaSnapshotter { path: path.as_ref().to_owned(), longest }
    }
}

impl Snapshotter for ReplicaSnapshotter {
    fn begin(&self) -> Result<Box<dyn DatabaseImage>, SnapshotError> {
        let (sender, payloads) = sync_channel(AHEAD);
        let (begun, position) = sync_channel(1);
        let (path, longest) = (self.path.clone(), self.longest);
        // A thread of its own holds the read transaction, as long as somebody takes what it reads.
        std::thread::Builder::new().name("longshore-image".to_owned()).spawn(move || {
            if let Err(error) = read(&path, longest, &begun, &sender) {
                // It had not begun: otherwise whoever takes the payloads was told.
                let _nobody = begun.send(Err(error));
            }
        })?;
        let position = position.recv().map_err(|_| Error::Unstable)??;
        Ok(Box::new(ReplicaImage { position, payloads }))
    }
}

/// A payload; `None` after the last.
type Payload = Result<Option<Vec<u8>>, Error>;

/// Payloads that are read before they are asked for.
const AHEAD: usize = 4;

struct ReplicaImage {
    position: Lsn,
    payloads: Receiver<Payload>,
}

impl DatabaseImage for ReplicaImage {
    fn position(&self) -> Lsn {
        self.position
    }

    fn next_payload(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        // A thread that ends without saying so has not given everything.
        Ok(self.payloads.recv().map_err(|_| Error::Unstable)??)
    }
}

/// Reads the whole database as it is now.
fn read(
    path: &Path,
    longest: usize,
    begun: &SyncSender<Result<Lsn, Error>>,
    payloads: &SyncSender<Payload>,
) -> Result<(), Error> {
    let database = Database::open(path)?;
    let (snapshot, at) = Side::Replica(database.path().to_owned()).snapshot(&database)?;
    let At::Run(position) = at else { unreachable!("a replica's position is a run's end") };
    if begun.send(Ok(position)).is_err() {
        return Ok(());
    }
    let given = give(&snapshot, longest, |payload| payloads.send(Ok(Some(payload))).is_ok());
    let _nobody_is_left = payloads.send(given.map(|()| None));
    Ok(())
}

/// Gives the pages as one run, as long as they are taken.
fn give(snapshot: &Snapshot<'_>, longest: usize, mut take: impl FnMut(Vec<u8>) -> bool) -> Result<(), Error> {
    // Where the -wal stands here is of no use to anybody.
    let commit = Commit { pages: snapshot.pages(), place: WalPlace::default() };
    let mut run = ImageRun::new(snapshot.page_size(), longest, commit);
    while let Some(payload) = run.next(|page, bytes| snapshot.read(page, bytes).map(drop))? {
        if !take(payload) {
            return Ok(());
        }
    }
    Ok(())
}
