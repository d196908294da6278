//! A log to archive.

use std::path::Path;
use std::sync::Arc;

use longshore_archive::{ArchiveSettings, Archiver, Store};
use longshore_format::{Lsn, Name, SegmentSize};
use longshore_storage::{Directory, FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, ReadLog, Reader, RecordDraft, Role, Settings, Wal};

/// A log with small segments.
#[allow(dead_code, reason = "each test file uses its part")]
pub(crate) struct Rig {
    pub dir: tempfile::TempDir,
    pub wal: Wal,
    _threads: longshore_wal::Threads,
}

pub(crate) fn name() -> Name {
    "app".parse().unwrap()
}

#[allow(dead_code, reason = "each test file uses its part")]
impl Rig {
    pub(crate) fn new() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let log: Arc<dyn Directory> = Arc::new(FsDirectory::create(dir.path().join("log")).unwrap());
        let spec = CreateSpec { segment_size: SegmentSize::MIN, ..CreateSpec::default() };
        Wal::create(log, &SystemEnvironment, &spec).unwrap();
        Rig::open(dir)
    }

    fn open(dir: tempfile::TempDir) -> Rig {
        let log: Arc<dyn Directory> = Arc::new(FsDirectory::open(dir.path().join("log")).unwrap());
        let (wal, _) = Wal::open(log, Arc::new(SystemEnvironment), Settings::default()).unwrap();
        let threads = wal.start();
        Rig { dir, wal, _threads: threads }
    }

    /// Another writer of the log as it is now, who does not know of this one.
    pub(crate) fn twin(&self) -> Rig {
        Rig::open(copy_of(&self.dir))
    }

    /// A replica of the log as it is now.
    pub(crate) fn follower(&self) -> Rig {
        let dir = copy_of(&self.dir);
        let log: Arc<dyn Directory> = Arc::new(FsDirectory::open(dir.path().join("log")).unwrap());
        let settings = Settings { role: Role::Follower, ..Settings::default() };
        let (wal, _) = Wal::open(log, Arc::new(SystemEnvironment), settings).unwrap();
        let threads = wal.start();
        Rig { dir, wal, _threads: threads }
    }

    /// Stores all that another has beyond this one's end, and makes it durable.
    pub(crate) fn follow(&self, other: &Rig) {
        let mut reader = other.wal.reader(self.wal.end()).unwrap();
        while let Some(chunk) = reader.next_frames(1 << 16).unwrap() {
            self.wal.append_frames(other.wal.accepted_epoch(), chunk.start, &chunk.bytes).unwrap();
        }
        self.wal.wait_blocking(self.wal.end(), None).unwrap();
    }

    /// The log, closed in order, and a copy of its directory, as a backup is: both open again, in the same life.
    pub(crate) fn and_its_copy(self) -> (Rig, Rig) {
        self.wal.close().unwrap();
        let Rig { dir, wal, _threads } = self;
        drop((wal, _threads));
        let copy = copy_of(&dir);
        (Rig::open(dir), Rig::open(copy))
    }

    /// Appends so many records, each other than the last, and makes them durable.
    pub(crate) fn append(&self, records: usize) -> Lsn {
        self.append_as("", records)
    }

    /// The same with other bytes, as a writer that parted has them.
    pub(crate) fn append_other(&self, records: usize) -> Lsn {
        self.append_as("another", records)
    }

    fn append_as(&self, who: &str, records: usize) -> Lsn {
        let mut end = self.wal.end();
        for _ in 0..records {
            let payload = who.to_owned() + &end.get().to_string().repeat(1 + (end.get() as usize / 8) % 200);
            let drafts = [RecordDraft::user(payload.as_bytes())];
            end = loop {
                match self.wal.append(&drafts, None) {
                    Ok(appended) => break appended.end,
                    Err(_) => self.wal.wait_room_blocking(4096, None).map(|_| ()).unwrap(),
                }
            };
        }
        self.wal.wait_blocking(end, None).unwrap();
        end
    }

    /// Appends records that are as long as can be, until so many more segments are full and sealed.
    pub(crate) fn append_segments(&self, segments: usize) -> Lsn {
        let size = self.wal.segment_size();
        let until = size.base_of(self.wal.end()).get() + segments as u64 * size.get();
        while self.wal.end().get() < until {
            let payload = vec![self.wal.end().get() as u8; size.get() as usize / 5];
            match self.wal.append(&[RecordDraft::user(&payload)], None) {
                Ok(_) => {}
                Err(_) => self.wal.wait_room_blocking(payload.len() as u64, None).map(|_| ()).unwrap(),
            }
        }
        self.wal.wait_blocking(self.wal.end(), None).unwrap();
        self.seal();
        self.wal.end()
    }

    /// Waits until all full segments are sealed.
    pub(crate) fn seal(&self) {
        let size = self.wal.segment_size();
        let active = size.base_of(self.wal.end());
        while self.wal.sealed().get() < active {
            std::thread::yield_now();
        }
    }

    /// Every record that is durable.
    pub(crate) fn records(&self) -> Vec<(Lsn, Vec<u8>)> {
        records(self.wal.reader(self.wal.first()).unwrap())
    }

    pub(crate) async fn archiver(&self, store: &Store, settings: &ArchiveSettings) -> Archiver {
        Archiver::open(store.clone(), name(), self.wal.clone(), settings.clone()).await.unwrap()
    }
}

/// A copy of a log's directory, whoever has it open.
fn copy_of(dir: &tempfile::TempDir) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let to = copy.path().join("log");
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(dir.path().join("log")).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            match std::fs::copy(entry.path(), to.join(entry.file_name())) {
                // A segment that was just being prepared has got its name.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => copied.map(|_| ()).unwrap(),
            }
        }
    }
    copy
}

/// Every record of a log, as it stands there.
pub(crate) fn records(mut reader: Reader) -> Vec<(Lsn, Vec<u8>)> {
    let mut records = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        records.push((record.start, record.payload.to_vec()));
    }
    records
}

pub(crate) fn open(dir: &Path) -> ReadLog {
    ReadLog::open(Arc::new(FsDirectory::open(dir).unwrap())).unwrap()
}
