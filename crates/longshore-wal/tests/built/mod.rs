//! A log of a few small segments on the real disk, and ways to damage it.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use longshore_format::{Lsn, SegmentSize};
use longshore_storage::{Directory, FsDirectory, SystemEnvironment};
use longshore_wal::inspect::Listing;
use longshore_wal::{CreateSpec, RecordDraft, Settings, Wal};

pub(crate) struct Built {
    pub(crate) place: tempfile::TempDir,
    pub(crate) dir: Arc<dyn Directory>,
    pub(crate) end: Lsn,
    wal: Option<Wal>,
}

impl Built {
    /// A closed log whose records reach into its `segments`th segment.
    pub(crate) fn new(segments: u64) -> Built {
        let mut built = Built::open(segments);
        built.wal.take().unwrap().close().unwrap();
        built
    }

    /// As [`Built::new`], still open.
    pub(crate) fn open(segments: u64) -> Built {
        let place = tempfile::tempdir().unwrap();
        let dir: Arc<dyn Directory> = Arc::new(FsDirectory::create(place.path().join("log")).unwrap());
        let size = SegmentSize::MIN;
        let spec = CreateSpec { segment_size: size, ..CreateSpec::default() };
        Wal::create(dir.clone(), &SystemEnvironment, &spec).unwrap();
        let (wal, _) = Wal::open(dir.clone(), Arc::new(SystemEnvironment), settings()).unwrap();
        append_until(&wal, segments, 1);
        let end = wal.append(&[RecordDraft::user(b"first"), RecordDraft::user(b"last")], None).unwrap().end;
        work(&wal);
        Built { place, dir, end, wal: Some(wal) }
    }

    /// Appends to a closed log until it reaches into its `segments`th segment, and closes it again.
    pub(crate) fn grow(&self, segments: u64, fill: u8) {
        let wal = self.reopen().unwrap();
        append_until(&wal, segments, fill);
        wal.close().unwrap();
    }

    pub(crate) fn wal(&self) -> &Wal {
        self.wal.as_ref().unwrap()
    }

    pub(crate) fn reopen(&self) -> longshore_wal::Result<Wal> {
        Wal::open(self.dir.clone(), Arc::new(SystemEnvironment), settings()).map(|(wal, _)| wal)
    }

    /// How many records a listing finds.
    pub(crate) fn count(&self) -> u64 {
        let mut listing = Listing::open(self.dir.clone(), Lsn::ZERO).unwrap();
        std::iter::from_fn(|| listing.next().unwrap().map(drop)).count() as u64
    }

    pub(crate) fn path(&self, base: u64) -> PathBuf {
        self.place.path().join("log").join(SegmentSize::MIN.file_name(Lsn::new(base)))
    }

    pub(crate) fn flip(&self, base: u64, offset: u64) {
        let mut byte = [0];
        let file = std::fs::File::options().read(true).write(true).open(self.path(base)).unwrap();
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
    }

    pub(crate) fn write(&self, base: u64, offset: u64, bytes: &[u8]) {
        std::fs::File::options().write(true).open(self.path(base)).unwrap().write_all_at(bytes, offset).unwrap();
    }

    pub(crate) fn cut(&self, base: u64, len: u64) {
        std::fs::File::options().write(true).open(self.path(base)).unwrap().set_len(len).unwrap();
    }

    pub(crate) fn remove(&self, base: u64) {
        let _prepared_ones_may_be_fewer = std::fs::remove_file(self.path(base));
    }

    pub(crate) fn copy(&self, from: u64, to: u64) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    /// A copy of the whole directory, as another replica would have it.
    pub(crate) fn replica(&self) -> Built {
        let place = tempfile::tempdir().unwrap();
        let dir: Arc<dyn Directory> = Arc::new(FsDirectory::create(place.path().join("log")).unwrap());
        for (name, bytes) in self.files() {
            std::fs::write(place.path().join("log").join(name), bytes).unwrap();
        }
        Built { place, dir, end: self.end, wal: None }
    }

    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(self.place.path().join("log")).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        let mut files: Vec<_> = files
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }
}

fn settings() -> Settings {
    Settings::default()
}

fn append_until(wal: &Wal, segments: u64, fill: u8) {
    let size = wal.segment_size();
    while size.base_of(wal.end()) < Lsn::new((segments - 1) * size.get()) {
        wal.append(&[RecordDraft::user(&[fill; 3_000])], None).unwrap();
        work(wal);
    }
}

/// What the threads of a live log do, until there is nothing to do.
fn work(wal: &Wal) {
    wal.sync_once().unwrap();
    while wal.prepare_once().unwrap() {}
    while wal.seal_once().unwrap() {}
}
