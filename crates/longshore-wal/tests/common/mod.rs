//! A log in a temporary directory, stepped by hand.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::PathBuf;
use std::sync::Arc;

use longshore_format::{Kind, Lsn, SegmentSize};
use longshore_storage::{Directory, FsDirectory, SystemEnvironment};
use longshore_wal::{Appended, CreateSpec, Error, ReadLog, Reader, RecordDraft, Recovery, Result, Role, Settings, Wal};

/// A place for one log.
pub(crate) struct Place {
    _temporary: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

pub(crate) fn small() -> SegmentSize {
    SegmentSize::MIN
}

pub(crate) fn settings() -> Settings {
    Settings { any_medium: true, ..Settings::default() }
}

pub(crate) fn follower() -> Settings {
    Settings { role: Role::Follower, ..settings() }
}

impl Place {
    /// An empty directory.
    pub(crate) fn empty() -> Place {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("log");
        FsDirectory::create(&path).unwrap();
        Place { _temporary: temporary, path }
    }

    /// A new log of small segments.
    pub(crate) fn new() -> Place {
        let place = Place::empty();
        let spec = CreateSpec { segment_size: small(), ..CreateSpec::default() };
        Wal::create(place.dir(), &SystemEnvironment, &spec).unwrap();
        place
    }

    pub(crate) fn dir(&self) -> Arc<dyn Directory> {
        Arc::new(FsDirectory::open(&self.path).unwrap())
    }

    pub(crate) fn try_open(&self, settings: Settings) -> Result<(Wal, Recovery)> {
        Wal::open(self.dir(), Arc::new(SystemEnvironment), settings)
    }

    pub(crate) fn open(&self) -> Wal {
        self.try_open(settings()).unwrap().0
    }

    pub(crate) fn read(&self) -> ReadLog {
        ReadLog::open(self.dir()).unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn segment(&self, base: u64) -> PathBuf {
        self.file(&small().file_name(Lsn::new(base)))
    }

    /// Changes a file behind the log's back.
    pub(crate) fn damage(&self, base: u64, offset: u64, bytes: &[u8]) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).open(self.segment(base)).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }
}

/// Appends one record, doing by hand whatever the threads would do if it is refused.
pub(crate) fn append(wal: &Wal, payload: &[u8]) -> Appended {
    batch(wal, &[payload])
}

pub(crate) fn batch(wal: &Wal, payloads: &[&[u8]]) -> Appended {
    let drafts: Vec<_> = payloads.iter().map(|payload| RecordDraft::user(payload)).collect();
    loop {
        match wal.append(&drafts, None) {
            Err(Error::Full(_)) => step(wal),
            other => return other.unwrap(),
        }
    }
}

/// One round of what the threads do.
pub(crate) fn step(wal: &Wal) {
    wal.sync_once().unwrap();
    while wal.seal_once().unwrap() {}
    while wal.prepare_once().unwrap() {}
}

/// The user payloads from a position to the durable end.
pub(crate) fn payloads(mut reader: Reader) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        if record.kind.is_user() {
            payloads.push(record.payload.to_vec());
        }
    }
    payloads
}

/// The kinds of all records.
pub(crate) fn kinds(mut reader: Reader) -> Vec<Kind> {
    let mut kinds = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        kinds.push(record.kind);
    }
    kinds
}

/// `count` different payloads of about `len` bytes.
pub(crate) fn numbered(count: usize, len: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("{number:0len$}").into_bytes()).collect()
}
